package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/refusals"
	"github.com/mutual-tls/mutual/mtls"
)

// Config is what both kinds of gateway are told.
type Config struct {
	// Name is what this gateway is called in words: the service's name.
	Name string
	// Listen is where connections come in, To is where they go.
	Listen, To Address
	// Health is where /healthz and /readyz answer; nil for nowhere.
	Health *Address
	// Announce is a file to write when all is ready; "" for none.
	Announce string
	// Authority and Join are announced too.
	Authority []string
	Join      map[string]string
	// Drain is how long connections may take to end by themselves after a stop.
	Drain time.Duration
	// Idle is how long a connection may stand still; 0 is for ever.
	Idle time.Duration
	// MaxConnections is how many are carried at once; 0 is no limit. Above it,
	// what comes waits: a proven caller behind its handshake, so that who is none
	// takes the place of none.
	MaxConnections int
	// EarlyData has a first HTTP/1.1 request that came early, and is safe, carried at
	// once: see takeEarly. It takes a server with early data.
	EarlyData bool
	// Ready answers why this gateway can't do its work now, nil if it can.
	Ready func() error
	// Log is told what happens.
	Log *slog.Logger
}

// Gateway carries connections until it is stopped.
type Gateway struct {
	cfg      Config
	refusals *refusals.Log
	network  slog.Level // how loud its trouble is
	serving  bool       // what is plain is a service, and not a caller
	listener net.Listener
	health   net.Listener

	// session carries one connection that came in.
	session func(ctx context.Context, c net.Conn)
	// recheck judges what stands again.
	recheck func(context.Context)

	standing atomic.Int64
	draining atomic.Bool
	wait     sync.WaitGroup
	ctx      context.Context // ends when what still stands is cut
	cut      context.CancelFunc
}

func newGateway(cfg Config, network slog.Level) *Gateway {
	g := &Gateway{cfg: cfg, network: network, refusals: refusals.New(cfg.Log, network)}
	g.ctx, g.cut = context.WithCancel(context.Background())
	return g
}

// open begins to listen.
func (g *Gateway) open() (net.Listener, error) {
	l, err := g.cfg.Listen.Listen("--listen")
	if err != nil {
		return nil, err
	}
	if g.cfg.Health != nil {
		if g.health, err = g.cfg.Health.Listen("--health"); err != nil {
			_ = l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Addr is where connections come in.
func (g *Gateway) Addr() Address { return Of(g.listener.Addr()) }

// NetAddr is Addr as the listener has it.
func (g *Gateway) NetAddr() net.Addr { return g.listener.Addr() }

// HealthAddr is where health is told; false for nowhere.
func (g *Gateway) HealthAddr() (Address, bool) {
	if g.health == nil {
		return Address{}, false
	}
	return Of(g.health.Addr()), true
}

// Recheck judges what stands again, as after a change of trust.
func (g *Gateway) Recheck(ctx context.Context) { g.recheck(ctx) }

// Run carries connections until ctx ends; then none is accepted any more, and
// what stands has the time of Config.Drain to end by itself. now cuts it at once.
func (g *Gateway) Run(ctx context.Context, now <-chan struct{}) error {
	defer g.cut()
	if g.health != nil {
		defer ServeHealth(g.health, g.ready).Close()
	}
	if g.cfg.Announce != "" {
		if err := g.announce(); err != nil {
			_ = g.listener.Close()
			return err
		}
	}
	stopped := make(chan struct{})
	over := context.AfterFunc(ctx, func() {
		g.draining.Store(true)
		_ = g.listener.Close()
		close(stopped)
	})
	err := g.accept(ctx)
	if !over() {
		<-stopped
	} else {
		_ = g.listener.Close()
	}
	if ctx.Err() == nil {
		g.cut()
		g.wait.Wait()
		return err
	}
	g.drain(now)
	return nil
}

func (g *Gateway) accept(ctx context.Context) error {
	places := newPlaces(g.cfg.MaxConnections, g.cfg.Log)
	for {
		if !places.take(ctx) {
			return net.ErrClosed
		}
		c, err := g.listener.Accept()
		if err != nil {
			places.leave()
			if pause, ok := passing(err); ok {
				g.cfg.Log.Warn("a connection can't be accepted now: "+err.Error(), "code", string(code.AcceptFailed))
				select {
				case <-time.After(pause):
					continue
				case <-g.ctx.Done():
				}
			}
			return fmt.Errorf("listening ended: %w", err)
		}
		g.standing.Add(1)
		g.wait.Go(func() {
			defer places.leave()
			defer g.standing.Add(-1)
			g.session(g.ctx, c)
		})
	}
}

// passing says whether an error of accept will pass, and when to look again.
func passing(err error) (time.Duration, bool) {
	var temporary interface{ Temporary() bool }
	if errors.Is(err, net.ErrClosed) || !errors.As(err, &temporary) || !temporary.Temporary() {
		return 0, false
	}
	return 50 * time.Millisecond, true
}

// drain waits for what stands.
func (g *Gateway) drain(now <-chan struct{}) {
	log := g.cfg.Log
	if n := g.standing.Load(); n > 0 {
		log.Info(fmt.Sprintf("stopping: %s may take up to %s to end", connections(n), clock.Words(g.cfg.Drain)), "code", string(code.Draining), "connections", n)
	}
	ended := make(chan struct{})
	go func() { g.wait.Wait(); close(ended) }()
	limit := time.NewTimer(g.cfg.Drain)
	defer limit.Stop()
	select {
	case <-ended:
		log.Info("stopped: every connection ended by itself")
		return
	case <-limit.C:
	case <-now:
	}
	if n := g.standing.Load(); n > 0 {
		log.Warn(fmt.Sprintf("stopped: %s did not end in time and had to be cut", connections(n)), "code", string(code.DrainCut), "connections", n)
	}
	g.cut()
	<-ended
}

func connections(n int64) string {
	if n == 1 {
		return "1 connection"
	}
	return fmt.Sprintf("%d connections", n)
}

// carry joins a plain and a protected connection and tells how it went.
func (g *Gateway) carry(ctx context.Context, plain net.Conn, secure *mtls.Conn, peer string) {
	r := &relay{plain: plain.(plainConn), secure: secure, from: secure, idle: g.cfg.Idle}
	g.relay(ctx, r, peer)
}

// relay carries bytes in both directions, and tells how that ended.
func (g *Gateway) relay(ctx context.Context, r *relay, peer string) {
	stop := context.AfterFunc(ctx, func() { r.broke(errCut) })
	began := time.Now()
	err := r.run()
	stop()
	attrs := []any{"peer", peer, "in", r.in.Load(), "out", r.out.Load(), "took", time.Since(began).Round(time.Millisecond).String()}
	refusal, refused := mtls.RefusalOf(err)
	switch {
	case err == nil:
		g.cfg.Log.Debug("connection ended", attrs...)
	case refused && (refusal.Fault != mtls.Network || g.network >= slog.LevelWarn && r.err != errCut):
		// Who connects is told of a server that goes away, too: the plain side
		// sees no more than that its connection broke.
		g.refusals.Tell(r.secure.RemoteAddr().String(), refusal)
	case errors.Is(err, errIdle):
		g.cfg.Log.Info("connection cut: "+err.Error(), append(attrs, "code", string(code.IdleTimeout))...)
	case g.serving && !refused && err != errCut:
		// Not the peer or the way to it, and not we: it was what stands behind.
		if g.refusals.Admit(behind) {
			g.cfg.Log.Info("connection broke: "+err.Error(), append(attrs, "code", string(code.UpstreamFailed))...)
		}
	default:
		g.cfg.Log.Debug("connection broke: "+err.Error(), attrs...)
	}
}

var errCut = errors.New("the gateway stopped")
