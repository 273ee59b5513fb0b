// Package mutual is mutual TLS between services, in six functions. A program
// joins with a line that the authority made, and from then on serves and calls
// others by name, both ends proven, over an identity that renews itself:
//
//	id, err := mutual.Join(ctx, line)                    // or mutual.Open(ctx, "web") later
//	defer id.Close()
//	err = mutual.Serve(ctx, id, ":8443", handler, "web") // who may come in, by name
//	resp, err := mutual.Client(id).Get("https://orders/") // the service "orders"
//
// Listen and Dial are the same for what is not HTTP. Nothing here starts an
// authority: `mutual serve` and `mutual ca` do.
//
// Both ends stay proven. What the authority revokes, and whom it stops trusting,
// reaches connections that stand, on both sides, and new ones.
//
// Whatever was refused, here, by the other end or by the authority, is a
// *mtls.Refusal, which mtls.RefusalOf finds: why, with a code, and what mends it.
package mutual

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/refusals"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// Identity is who this program is, kept fresh until Close. It is safe for
// concurrent use.
type Identity struct {
	agent    *agent.Agent
	log      *slog.Logger
	clock    func() time.Time
	refusals *refusals.Log
	raw      *mtls.Client // for Dial
	web      *mtls.Client // for Client
	requests *nethttp.Transport

	open context.Context // ends when Close begins
	stop context.CancelFunc
	work sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	doors      []*door
	advertised []string // instead of where the doors are
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

// KeyType is what the identity's keys are to be, from the next one that is made:
// p256, p384, ed25519, rsa, mldsa44, mldsa65 or mldsa87 (keystore.KeyTypes). By
// default they are as they were, and p256 at first.
func KeyType(name string) Option { return func(o *options) { o.Options.KeyType = name } }

// Logger is told of renewals, of refusals, and of trouble; by default
// slog.Default().
func Logger(l *slog.Logger) Option { return func(o *options) { o.Log = l } }

// Domain says which trust domain's identity Open is to open, where there are
// identities of the name in several.
func Domain(name string) Option { return func(o *options) { o.domain = name } }

// Join makes the identity that a join line names, or opens it where the line was
// used here before; then nothing is asked of the authority. ctx bounds the
// joining alone: the identity keeps itself fresh until it is closed.
func Join(ctx context.Context, line string, choices ...Option) (*Identity, error) {
	o, err := settle(choices)
	if err != nil {
		return nil, err
	}
	l, err := join.Parse(line)
	if err != nil {
		return nil, refuse(code.JoinLineDamaged, mtls.Misuse, "the join line can't be used: "+err.Error(), err)
	}
	a, err := agent.Join(ctx, l, o.Options)
	if err != nil {
		return nil, told(err)
	}
	return start(ctx, a, o)
}

// Open opens the identity that an earlier Join, or the commands, left under a
// name. Where it slept past its end it is renewed first, which ctx bounds; an
// authority that is away is no error, and the renewal is tried again.
func Open(ctx context.Context, name string, choices ...Option) (*Identity, error) {
	o, err := settle(choices)
	if err != nil {
		return nil, err
	}
	a, err := agent.Open(o.domain, name, o.Options)
	if err != nil {
		return nil, told(err)
	}
	return start(ctx, a, o)
}

// The shortest and the longest life that can be asked for; what the authority
// grants, its profile says.
const (
	minLifetime = 30 * time.Second
	maxLifetime = 90 * 24 * time.Hour
)

func settle(choices []Option) (*options, error) {
	o := &options{}
	for _, c := range choices {
		c(o)
	}
	if d := o.Options.Lifetime; d != 0 && (d < minLifetime || d > maxLifetime) {
		return nil, refuse(code.OutsideProfile, mtls.Misuse, fmt.Sprintf("a lifetime of %v can't be asked for; it can be %v to %v (90 days)", d, minLifetime, maxLifetime), nil)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.Now
	}
	return o, nil
}

// renewTime is how long an identity that has ended waits for its renewal before it
// is given to the caller all the same.
const renewTime = 30 * time.Second

func start(ctx context.Context, a *agent.Agent, o *options) (*Identity, error) {
	id := &Identity{agent: a, log: o.Log, clock: o.Clock, refusals: refusals.New(o.Log, slog.LevelDebug)}
	var err error
	if id.raw, err = id.client(nil); err == nil {
		id.web, err = id.client(nethttp.Protocols())
	}
	if err != nil {
		_ = a.Close()
		return nil, err
	}
	id.requests = nethttp.NewTransportDial(id.dialURL, nil)
	if ended := a.Valid(); ended != nil {
		renewing, cancel := context.WithTimeout(ctx, renewTime)
		if err := a.Renew(renewing); err != nil {
			o.Log.Warn(fmt.Sprintf("%v: %v", ended, err), "code", string(code.RenewalFailed))
		}
		cancel()
	}
	id.open, id.stop = context.WithCancel(context.WithoutCancel(ctx))
	changed := a.Changed() // taken before anything can change
	id.work.Go(func() { a.Run(id.open) })
	id.work.Go(func() { id.judgeAgain(id.open, changed) })
	return id, nil
}

func (id *Identity) client(alpn []string) (*mtls.Client, error) {
	return mtls.NewClient(mtls.ClientConfig{
		Identity: id.agent.Identity(), Servers: id.agent.Server(), ALPN: alpn, Resumption: &mtls.ClientResumption{}, PostHandshakeAuth: true,
		Common: mtls.Common{Clock: id.clock, Renewal: &mtls.Renewal{}},
	})
}

// judgeAgain judges all that stands at every change of trust.
func (id *Identity) judgeAgain(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		// The next change is awaited before this one is acted on: none is missed.
		changed = id.agent.Changed()
		id.raw.Recheck(ctx)
		id.web.Recheck(ctx)
		for _, s := range id.servers() {
			s.Recheck(ctx)
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
// are is for the caller to ask. Such a Server or Client is to Recheck whenever
// Changed says so.
func (id *Identity) Identity() mtls.Identity { return id.agent.Identity() }

// Verifier judges peers; see Identity.
func (id *Identity) Verifier() mtls.Verifier { return id.agent.Verifier() }

// Changed is closed at the next change of whom to trust. Take the next one before
// acting on it.
func (id *Identity) Changed() <-chan struct{} { return id.agent.Changed() }

// Close ends all that rests on the identity: its renewals, its listeners, and the
// connections that stand, since nobody would hear any more that their peers were
// revoked. Whoever wants requests to be finished ends Serve by its context first.
// The identity stays on disk, for Open. A second Close does nothing.
func (id *Identity) Close() error {
	id.mu.Lock()
	closed, doors := id.closed, id.doors
	id.closed, id.doors = true, nil
	id.mu.Unlock()
	if !closed {
		id.stop()
		for _, d := range doors {
			_ = d.listener.Close()
			d.server.Abort()
		}
		id.requests.CloseIdleConnections()
		id.raw.Abort()
		id.web.Abort()
	}
	id.work.Wait()
	return id.agent.Close()
}

func (id *Identity) isClosed() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.closed {
		return refuse(code.Closed, mtls.Misuse, "the identity "+id.Name()+" was closed", net.ErrClosed)
	}
	return nil
}
