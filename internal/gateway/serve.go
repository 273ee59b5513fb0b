package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
)

// Serve makes a gateway that takes protected connections in and carries them to
// what stands behind. make is given whom to tell of refusals. It listens already
// when Serve returns.
func Serve(cfg Config, make func(refused func(net.Addr, *mtls.Refusal)) (*mtls.Server, error)) (*Gateway, error) {
	g := newGateway(cfg, slog.LevelInfo)
	g.serving = true
	server, err := make(func(remote net.Addr, r *mtls.Refusal) {
		if g.draining.Load() && r.Code == string(code.Canceled) {
			return // we stop, and the caller did nothing
		}
		g.refusals.Tell(remote.String(), r)
	})
	if err != nil {
		return nil, err
	}
	l, err := g.open()
	if err != nil {
		return nil, err
	}
	g.listener, g.recheck = server.Wrap(l), server.Recheck
	g.session = func(ctx context.Context, c net.Conn) { g.inbound(ctx, c.(*mtls.Conn)) }
	return g, nil
}

func (g *Gateway) inbound(ctx context.Context, secure *mtls.Conn) {
	who := "anonymous"
	if p, ok := secure.Peer(); ok {
		who = identity.Plain(p.Name())
	}
	plain, err := g.cfg.To.Dial(ctx)
	if err != nil {
		_ = secure.Abort()
		if ctx.Err() == nil {
			g.unanswered(who, err)
		}
		return
	}
	g.cfg.Log.Debug("connection", "peer", who, "remote", secure.RemoteAddr().String())
	r := &relay{plain: plain.(plainConn), secure: secure, from: secure, idle: g.cfg.Idle}
	if g.cfg.EarlyData && !secure.HandshakeOver() {
		from, err := g.takeEarly(ctx, r.plain, secure, who)
		if from == nil {
			if err != nil {
				r.broke(err)
			}
			return
		}
		r.from = from
	}
	g.relay(ctx, r, who)
}

// behind is what the lines about the service behind are counted by.
const behind = "the service behind"

// unanswered tells that what stands behind could not be reached.
func (g *Gateway) unanswered(who string, err error) {
	if !g.refusals.Admit(behind) {
		return
	}
	mend := "start what listens at " + g.cfg.To.String() + ", or give another address with --to"
	g.cfg.Log.Error(fmt.Sprintf("%s can't be reached for %s: %v", g.cfg.To, who, err), "code", string(code.UpstreamUnreachable), "peer", who, "mend", mend)
}
