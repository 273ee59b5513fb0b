package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

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
	if err == nil && plain.LocalAddr().Network() == "unix" {
		err = admitted(ctx, secure)
	}
	if err != nil {
		awaitUnread(plain)
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

// admissionTime is how long a connection over a Unix socket waits for the server's
// judgement of us. Our own servers give it with their first words; what others
// keep to themselves can't be waited for.
const admissionTime = 500 * time.Millisecond

// admitted answers with the server's refusal, if it comes in time. A Unix socket
// can't be reset. It breaks only while bytes lie in it that nobody read, and ends
// else as after an orderly answer: so nothing is read from it before the server
// has judged us, and a refusal is no empty answer there either.
func admitted(ctx context.Context, secure *mtls.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, admissionTime)
	defer cancel()
	err := secure.Admitted(ctx)
	if err == nil || errors.Is(err, mtls.ErrAdmissionUnknown) {
		return nil
	}
	_ = secure.Abort()
	return err
}
