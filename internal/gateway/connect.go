package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/mtls"
)

// Target is the server that a gateway reaches for its callers.
type Target struct {
	// Name is what the server has to prove to be, and Where is where it is, in
	// words.
	Name, Where string
	// Reach connects to it; an error that is a *mtls.Refusal says why not.
	Reach func(ctx context.Context) (*mtls.Conn, error)
	// Recheck judges what stands again.
	Recheck func(ctx context.Context)
}

// At is the Target at one address.
func At(address Address, client *mtls.Client, serverName string) Target {
	return Target{Name: serverName, Where: address.String(), Recheck: client.Recheck, Reach: func(ctx context.Context) (*mtls.Conn, error) {
		transport, err := address.Dial(ctx)
		if err != nil {
			return nil, mtls.Unreachable(address.String(), err)
		}
		return client.Connect(ctx, transport, serverName)
	}}
}

// Connect makes a gateway that takes plain connections in and carries each over
// a protected one to the target. It listens already when Connect returns.
func Connect(cfg Config, to Target) (*Gateway, error) {
	g := newGateway(cfg, slog.LevelWarn)
	l, err := g.open()
	if err != nil {
		return nil, err
	}
	g.listener, g.recheck = l, to.Recheck
	var a admission
	g.session = func(ctx context.Context, c net.Conn) { g.outbound(ctx, c, to, &a) }
	return g, nil
}

// outbound never lets a refusal pass for an empty answer: where the server can't
// be reached or proven, or refuses us, the plain side sees its connection break.
func (g *Gateway) outbound(ctx context.Context, plain net.Conn, to Target, a *admission) {
	secure, err := to.Reach(ctx)
	if err == nil && plain.LocalAddr().Network() == "unix" {
		err = a.of(ctx, secure)
	}
	if err != nil {
		awaitUnread(plain)
		reset(plain)
		if ctx.Err() == nil {
			g.unreached(to, err)
		}
		return
	}
	g.cfg.Log.Debug("connection", "peer", to.Name, "remote", secure.RemoteAddr().String())
	g.carry(ctx, plain, secure, to.Name)
}

func (g *Gateway) unreached(to Target, err error) {
	if r, ok := mtls.RefusalOf(err); ok {
		g.refusals.Tell(to.Where, r)
		return
	}
	attrs := []any{"peer", to.Name}
	var p *api.Problem
	if errors.As(err, &p) {
		attrs = append(attrs, "code", p.Code, "mend", p.Mend)
	}
	if g.refusals.Admit(to.Where) {
		g.cfg.Log.Warn(fmt.Sprintf("%s can't be reached: %v", to.Name, err), attrs...)
	}
}

// How long a connection over a Unix socket waits for the server's judgement of us.
// Our own servers give it with their first words, which may take one that is busy
// a while. What others keep to themselves can't be waited for: once a server has,
// it is given little time.
const (
	admissionTime = 5 * time.Second
	silentTime    = 500 * time.Millisecond
)

// admission awaits a server's judgements, over and over.
type admission struct{ silent atomic.Bool }

// of answers with the server's refusal, if it comes in time. A Unix socket can't
// be reset. It breaks only while bytes lie in it that nobody read, and ends else as
// after an orderly answer: so nothing is read from it before the server has judged
// us, and a refusal is no empty answer there either.
func (a *admission) of(ctx context.Context, secure *mtls.Conn) error {
	limit := admissionTime
	if a.silent.Load() {
		limit = silentTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	switch err := secure.Admitted(ctx); {
	case err == nil:
		a.silent.Store(false)
		return nil
	case errors.Is(err, mtls.ErrAdmissionUnknown):
		if ctx.Err() != nil {
			a.silent.Store(true)
		}
		return nil
	default:
		_ = secure.Abort()
		return err
	}
}
