// Package mutual is mutual TLS between services, in six functions. A program
// joins with a line that the authority made, and from then on serves and calls
// others by name, both ends proven, over an identity that renews itself:
//
//	id, err := mutual.Join(ctx, line)          // or mutual.Open(ctx, "web") later
//	defer id.Close()
//	err = mutual.Serve(ctx, id, ":8443", handler, "web")  // who may come in, by name
//	resp, err := mutual.Client(id).Get("https://orders/") // the service "orders"
//
// Nothing here starts an authority: `mutual serve` and `mutual ca` do. What is
// refused is a *mtls.Refusal, and what the authority refuses says why, too.
package mutual

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/policy"
)

// Identity is who this program is, kept fresh until Close. It is safe for
// concurrent use.
type Identity struct {
	agent *agent.Agent
	stop  context.CancelFunc
	done  chan struct{}
	raw   *mtls.Client // for Dial
	web   *mtls.Client // for Client
}

// Option is a choice that Join and Open take.
type Option func(*options)

type options struct {
	agent.Options
	domain string
}

// Data is the folder in which identities lie; by default /var/lib/mutual for
// root, else $XDG_STATE_HOME/mutual.
func Data(folder string) Option { return func(o *options) { o.Data = folder } }

// Lifetime is how long certificates are to be good for, 30 seconds to 90 days, 24
// hours by default. They are renewed at two thirds of it.
func Lifetime(d time.Duration) Option { return func(o *options) { o.Options.Lifetime = d } }

// Logger is told of renewals, and of trouble; by default slog.Default().
func Logger(l *slog.Logger) Option { return func(o *options) { o.Log = l } }

// Domain says which trust domain's identity Open is to open, where there are
// identities of the name in several.
func Domain(name string) Option { return func(o *options) { o.domain = name } }

// Join makes the identity that a join line names, or opens it where the line was
// used here before; then nothing is asked of the authority. ctx bounds the
// joining alone: the identity keeps itself fresh until it is closed.
func Join(ctx context.Context, line string, choices ...Option) (*Identity, error) {
	l, err := join.Parse(line)
	if err != nil {
		return nil, fmt.Errorf("the join line: %w (%s)", err, code.JoinLineDamaged)
	}
	o := settle(choices)
	a, err := agent.Join(ctx, l, o.Options)
	if err != nil {
		return nil, err
	}
	return start(ctx, a)
}

// Open opens the identity that an earlier Join, or the commands, left under a
// name.
func Open(ctx context.Context, name string, choices ...Option) (*Identity, error) {
	o := settle(choices)
	a, err := agent.Open(o.domain, name, o.Options)
	if err != nil {
		return nil, err
	}
	return start(ctx, a)
}

func settle(choices []Option) *options {
	o := &options{}
	for _, c := range choices {
		c(o)
	}
	return o
}

func start(ctx context.Context, a *agent.Agent) (*Identity, error) {
	if a.Valid() != nil {
		// It slept past its end: renew before it is used, if that can be had.
		_ = a.Renew(ctx)
	}
	id := &Identity{agent: a, done: make(chan struct{})}
	for alpn, c := range map[bool]**mtls.Client{false: &id.raw, true: &id.web} {
		cfg := mtls.ClientConfig{Identity: a.Identity(), Servers: a.Server()}
		if alpn {
			cfg.ALPN = nethttp.Protocols()
		}
		made, err := mtls.NewClient(cfg)
		if err != nil {
			return nil, err
		}
		*c = made
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	id.stop = stop
	var all sync.WaitGroup
	all.Go(func() { a.Run(run) })
	all.Go(func() {
		id.whenTrustChanges(run, func(ctx context.Context) {
			id.raw.Recheck(ctx)
			id.web.Recheck(ctx)
		})
	})
	go func() {
		all.Wait()
		close(id.done)
	}()
	return id, nil
}

func (id *Identity) whenTrustChanges(ctx context.Context, judge func(context.Context)) {
	for {
		changed := id.agent.Changed()
		select {
		case <-ctx.Done():
			return
		case <-id.done:
			return
		case <-changed:
			judge(ctx)
		}
	}
}

// Name is who the identity is: "web".
func (id *Identity) Name() string { return id.agent.Name() }

// SPIFFE is its SPIFFE ID: "spiffe://prod.example/web".
func (id *Identity) SPIFFE() string { return id.agent.SPIFFE() }

// Service is the service that the join line named to be reached, or "".
func (id *Identity) Service() string { return id.agent.Service() }

// Expires is when the certificate in use ends; it is renewed before.
func (id *Identity) Expires() time.Time { return id.agent.Leaf().NotAfter() }

// Identity and Verifier are for a Server or Client of package mtls that is made
// by hand; Verifier judges peers of the trust domain's authority, and who they
// are is for the caller to ask.
func (id *Identity) Identity() mtls.Identity { return id.agent.Identity() }

// Verifier judges peers; see Identity.
func (id *Identity) Verifier() mtls.Verifier { return id.agent.Verifier() }

// Close ends the renewals. Listeners and connections stay, and end with the
// certificate at the latest.
func (id *Identity) Close() error {
	id.stop()
	<-id.done
	return id.agent.Close()
}

// Listen takes connections of those whom allow names: "web" in our own trust
// domain, "*.example.com", or a whole SPIFFE ID. Everybody else is refused. The
// authority is told the address, so that others find it by this identity's name;
// for an address that others reach another way see Advertise. The listener is
// closed when ctx ends.
func Listen(ctx context.Context, id *Identity, address string, allow ...string) (*mtls.Listener, error) {
	return listen(ctx, id, address, nil, allow)
}

func listen(ctx context.Context, id *Identity, address string, alpn []string, allow []string) (*mtls.Listener, error) {
	rules, err := policy.Parse(allow, id.agent.Domain())
	if err != nil {
		return nil, err
	}
	server, err := mtls.NewServer(mtls.ServerConfig{Identity: id.agent.Identity(), Clients: mtls.Required(mtls.Allow(id.agent.Verifier(), rules)), ALPN: alpn})
	if err != nil {
		return nil, err
	}
	l, err := server.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	where, err := agent.Advertise(l.Addr())
	if err != nil {
		_ = l.Close()
		return nil, err
	}
	id.agent.Register(where)
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go id.whenTrustChanges(ctx, server.Recheck)
	return l, nil
}

// Advertise tells the authority where others reach this identity, HOST:PORT each,
// instead of the address that Listen was given: behind a load balancer, say.
func (id *Identity) Advertise(addresses ...string) { id.agent.Register(addresses) }

// Dial connects to a service by its name. The authority knows where it is, and
// whoever answers has to prove to be the service in our own trust domain.
func Dial(ctx context.Context, id *Identity, service string) (*mtls.Conn, error) {
	return id.agent.Reach(ctx, id.raw, service)
}

// Serve answers HTTP/1.1 and HTTP/2 requests of those whom allow names with h, as
// Listen says, until ctx ends; requests in flight then have half a minute. Who
// asks, nethttp.Peer tells.
func Serve(ctx context.Context, id *Identity, address string, h http.Handler, allow ...string) error {
	// Not closed with ctx, but after what is in flight.
	serving, over := context.WithCancel(context.WithoutCancel(ctx))
	defer over()
	l, err := listen(serving, id, address, nethttp.Protocols(), allow)
	if err != nil {
		return err
	}
	s := nethttp.NewServer(&http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute})
	ended := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err := s.Shutdown(end)
		if err != nil {
			_ = s.Close()
		}
		ended <- err
	})
	err = s.Serve(l)
	_ = l.Close()
	if !stop() {
		return <-ended
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Client is an HTTP client whose host names are services: https://orders/ means
// the service "orders", wherever it is. It keeps connections; make one and use it.
func Client(id *Identity) *http.Client {
	return &http.Client{Transport: nethttp.NewTransportDial(func(ctx context.Context, address string) (*mtls.Conn, error) {
		service, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return id.agent.Reach(ctx, id.web, service)
	}, nil)}
}
