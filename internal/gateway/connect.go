package gateway

import (
	"context"
	"log/slog"
	"net"

	"github.com/mutual-tls/mutual/mtls"
)

// Connect makes a gateway that takes plain connections in and carries each over
// a protected one to the server at cfg.To, which must prove to be serverName. It
// listens already when Connect returns.
func Connect(cfg Config, client *mtls.Client, serverName string) (*Gateway, error) {
	g := newGateway(cfg, slog.LevelWarn)
	l, err := g.open()
	if err != nil {
		return nil, err
	}
	g.listener, g.recheck = l, client.Recheck
	g.session = func(ctx context.Context, c net.Conn) { g.outbound(ctx, c, client, serverName) }
	return g, nil
}

// outbound never lets a refusal pass for an empty answer: where the server can't
// be reached or proven, or refuses us, the plain side sees its connection break.
func (g *Gateway) outbound(ctx context.Context, plain net.Conn, client *mtls.Client, serverName string) {
	secure, err := g.reach(ctx, client, serverName)
	if err != nil {
		reset(plain)
		if r, ok := mtls.RefusalOf(err); ok && ctx.Err() == nil {
			g.refusals.tell(g.cfg.To.String(), r)
		}
		return
	}
	g.cfg.Log.Debug("connection", "peer", serverName, "remote", secure.RemoteAddr().String())
	g.carry(ctx, plain, secure, serverName)
}

func (g *Gateway) reach(ctx context.Context, client *mtls.Client, serverName string) (*mtls.Conn, error) {
	transport, err := g.cfg.To.Dial(ctx)
	if err != nil {
		return nil, mtls.Unreachable(g.cfg.To.String(), err)
	}
	return client.Connect(ctx, transport, serverName)
}
