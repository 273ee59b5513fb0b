package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// Options are what Join and Open take. The zero value is right where the data
// lies in its usual place.
type Options struct {
	// Data is the folder that holds the identities in id/; "" is folder.Default.
	Data string
	// Lifetime is what to ask for; 0 leaves it to the authority.
	Lifetime time.Duration
	// KeyType is what keys are to be that are made from now on, as keystore.NewKey
	// takes it; "" is the type of the certificate in hand, and p256 for a first one.
	KeyType string
	// Log is told what happens; nil is slog.Default.
	Log *slog.Logger
	// Clock is the time; nil is the wall clock.
	Clock func() time.Time
}

func (o *Options) settle() error {
	if o.KeyType != "" {
		if err := keystore.CheckKeyType(o.KeyType); err != nil {
			return err
		}
	}
	if o.Data == "" {
		data, err := folder.Default()
		if err != nil {
			return err
		}
		o.Data = data
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = clock.Now
	}
	return nil
}

// Agent is an identity that is kept fresh while Run runs. It is safe for
// concurrent use.
type Agent struct {
	options Options
	home    home
	swap    *mtls.Swap
	trust   *trust
	client  *client.Client
	changes changes

	mu         sync.Mutex // of what follows
	state      state
	leaf       *pki.Certificate
	stamp      string // of identity.pem, as it was read last
	jitter     time.Duration
	registered []string        // where we are
	told       []string        // the same, as the authority knows it
	toldAt     time.Time       // by the wall clock: a machine's sleep counts, and the authority forgets
	interest   map[string]bool // services whose addresses are followed
	heard      time.Time       // when the authority answered last
	wake       chan struct{}   // what is followed has changed
}

// Join makes the identity that a line names, or opens it where the line was used
// here before: then nobody is asked, and the line's token may be long spent. The
// key is made here and never leaves.
//
// The error is an *mtls.Refusal or an *api.Problem where somebody refused.
func Join(ctx context.Context, l *join.Line, o Options) (*Agent, error) {
	if err := o.settle(); err != nil {
		return nil, err
	}
	if err := l.Check(); err != nil {
		return nil, api.NewProblem(0, code.JoinLineDamaged, "the join line can't be used: "+err.Error())
	}
	ids := filepath.Join(o.Data, "id")
	if err := folder.Make(o.Data); err != nil {
		return nil, err
	}
	if err := folder.Make(ids); err != nil {
		return nil, err
	}
	lock, err := await(ctx, filepath.Join(ids, ".lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Release()
	if h, ok := find(ids, l); ok {
		a, err := open(h, o)
		if err != nil || !a.spent(l) {
			return a, err
		}
		o.Log.Info(fmt.Sprintf("the identity %s on disk is %s, and the line is a new one: joining anew", a.Name(), a.standing()))
	}
	return enrol(ctx, l, ids, o)
}

// Open opens an identity that an earlier Join left. domain may be "" where only
// one trust domain has an identity of the name.
func Open(domain, name string, o Options) (*Agent, error) {
	if err := o.settle(); err != nil {
		return nil, err
	}
	if clean, err := identity.CleanDNS(name); err != nil || clean != name {
		return nil, fmt.Errorf("%s is not the name of an identity: %w", identity.Quote(name), fs.ErrNotExist)
	}
	var found []home
	var known []string
	for _, h := range homes(filepath.Join(o.Data, "id"), name) {
		d := filepath.Base(filepath.Dir(string(h)))
		known = append(known, d)
		if domain == "" || d == domain {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 1:
		return open(found[0], o)
	case 0:
		return nil, fmt.Errorf("%s holds no identity %s: join first, with a line that `mutual token %s` makes: %w", o.Data, identity.Quote(name), name, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("%s has identities in %d trust domains (%s): say which is meant", identity.Quote(name), len(known), list(known))
}

// Find opens the identity that a line was used for here before, and makes nothing.
func Find(l *join.Line, o Options) (*Agent, bool) {
	if o.settle() != nil {
		return nil, false
	}
	h, ok := find(filepath.Join(o.Data, "id"), l)
	if !ok {
		return nil, false
	}
	a, err := open(h, o)
	return a, err == nil
}

func list(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += ", "
		}
		s += identity.Quote(n)
	}
	return s
}

// open reads an identity from its folder.
func open(h home, o Options) (*Agent, error) {
	a := &Agent{options: o, home: h, interest: make(map[string]bool), wake: make(chan struct{}, 1)}
	unreadable := func(err error) error {
		var u *folder.Unsafe
		if errors.As(err, &u) {
			return err
		}
		return api.NewProblem(0, code.IdentityUnreadable, fmt.Sprintf("the identity in %s can't be used: %v", h, err))
	}
	if err := folder.Check(string(h)); err != nil {
		return nil, err
	}
	var err error
	if a.state, err = h.readState(); err != nil {
		return nil, unreadable(err)
	}
	cert, leaf, stamp, err := h.readIdentity()
	if err != nil {
		return nil, unreadable(err)
	}
	a.swap, a.leaf, a.stamp = mtls.NewSwap(cert), leaf, stamp
	if a.trust, err = openTrust(h, a.state.Domain, o); err != nil {
		return nil, unreadable(err)
	}
	a.trust.changed, a.trust.heard = a.changes.tell, a.Heard
	a.jitter = drawJitter()
	a.client, err = client.New(a.state.Domain, a.swap, a.trust.verifier, a.authority, o.Clock)
	if err != nil {
		return nil, unreadable(err)
	}
	return a, nil
}

// spent says whether the identity on disk is of no use any more, while l is a line
// that was not used for it.
func (a *Agent) spent(l *join.Line) bool {
	hash := l.Token.Hash()
	return a.state.Token != hex.EncodeToString(hash[:]) && a.useless()
}

// useless says whether the identity on disk can never be renewed again.
func (a *Agent) useless() bool {
	return a.state.Standing == api.StateRevoked || a.state.Standing == api.StateFrozen || a.TooLate()
}

func (a *Agent) standing() string {
	if a.state.Standing == api.StateRevoked || a.state.Standing == api.StateFrozen {
		return a.state.Standing
	}
	return "long expired"
}

// lateRenewal is how long after its end a certificate can still be renewed.
const lateRenewal = 30 * 24 * time.Hour

// Name is who the identity is, Domain its trust domain, Service what its line said
// it is to reach ("" for nothing in particular).
func (a *Agent) Name() string { return a.state.Name }

// Domain is the trust domain.
func (a *Agent) Domain() string { return a.state.Domain }

// Service is what the join line said that the identity is to reach, or "".
func (a *Agent) Service() string { return a.state.Service }

// SPIFFE is the identity's SPIFFE ID.
func (a *Agent) SPIFFE() string { return "spiffe://" + a.state.Domain + "/" + a.state.Name }

// Folder is where the identity lies.
func (a *Agent) Folder() string { return string(a.home) }

// Identity is the identity for mtls. It stays the same while what it holds is
// exchanged.
func (a *Agent) Identity() mtls.Identity { return a.swap }

// Leaf is the certificate in use.
func (a *Agent) Leaf() *pki.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leaf
}

// Verifier judges peers: by the anchors in force, and by what was revoked. It
// follows both. Who the peer has to be, the caller asks beside it: a server by
// its name and Member, a client by rules.
func (a *Agent) Verifier() mtls.Verifier { return a.trust.verifier }

// Server judges a server that is to be of our own trust domain, whatever name was
// asked for: another domain's "orders" is not ours.
func (a *Agent) Server() mtls.Verifier {
	return mtls.AllOf(a.trust.verifier, mtls.VerifierOf(sha256.Sum256([]byte("members of "+a.state.Domain)), a.member))
}

func (a *Agent) member(_ context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	chain, err := claim.Certificates()
	if err != nil {
		return nil, err // the verifier before this one has refused it
	}
	id, err := identity.ParseSPIFFE(chain[0].SPIFFE)
	if err == nil && id.TrustDomain() == a.state.Domain && id.Path() == "/"+claim.ServerName {
		return &mtls.Verdict{OK: true}, nil
	}
	found := "none"
	if chain[0].SPIFFE != "" {
		found = identity.Quote(chain[0].SPIFFE)
	}
	return &mtls.Verdict{Code: string(code.WrongName), Reason: fmt.Sprintf("its SPIFFE ID should be spiffe://%s/%s, and is %s", a.state.Domain, claim.ServerName, found)}, nil
}

// Valid is nil while the certificate in use is valid; else a sentence.
func (a *Agent) Valid() error {
	now, leaf := a.options.Clock(), a.Leaf()
	switch {
	case now.Before(leaf.NotBefore()):
		return fmt.Errorf("the certificate of %s is not valid before %s; this machine's clock says %s", a.Name(),
			leaf.NotBefore().UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter()):
		return fmt.Errorf("the certificate of %s ended at %s and could not be renewed; see that the authority can be reached", a.Name(), leaf.NotAfter().UTC().Format(time.RFC3339))
	}
	return nil
}

// TooLate says whether the certificate ended so long ago that it can't be renewed
// any more, but by a new line alone.
func (a *Agent) TooLate() bool {
	return a.options.Clock().After(a.Leaf().NotAfter().Add(lateRenewal))
}

// Ended is why the identity can't be used any more, as far as is known here: it was
// revoked or frozen, or ended too long ago to be renewed. It is an *api.Problem,
// nil while there is no such reason.
func (a *Agent) Ended() error {
	late := a.TooLate()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.state.Standing == api.StateRevoked:
		return api.NewProblem(403, code.LineageRevoked, fmt.Sprintf("the identity %s in %s was revoked by its authority", a.state.Name, a.home))
	case a.state.Standing == api.StateFrozen:
		return api.NewProblem(403, code.LineageFrozen, fmt.Sprintf("the identity %s in %s is frozen", a.state.Name, a.home))
	case late:
		return api.NewProblem(403, code.RenewalTooLate, fmt.Sprintf("the certificate of %s in %s ended too long ago to be renewed", a.state.Name, a.home))
	}
	return nil
}

// Freshen renews a certificate that slept past its end. Where that fails it is
// logged, and Run tries again.
func (a *Agent) Freshen(ctx context.Context) {
	if a.Valid() == nil {
		return
	}
	if err := a.Renew(ctx); err != nil {
		a.complain(err)
	}
}

// Heard is when the authority answered last, zero if it has not since Open.
func (a *Agent) Heard() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.heard
}

// Changed is closed at the next change of whom to trust, so that what stands can
// be judged again.
func (a *Agent) Changed() <-chan struct{} { return a.changes.next() }

func (a *Agent) authority() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state.Authority
}

// Register says where this identity can be reached, HOST:PORT each. The authority
// is told while Run runs, and told again when it forgot.
func (a *Agent) Register(addresses []string) {
	a.mu.Lock()
	a.registered = slices.Clone(addresses)
	a.mu.Unlock()
	a.nudge()
}

// Findable waits until the authority was told what Register said, so that whoever
// hears next that we are ready finds us. It waits for readyTime at most: where the
// authority is away it is told later, while Run runs.
func (a *Agent) Findable(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	_ = a.tell(ctx) // Run says why, when it fails there too
}

// tell tells the authority where we are, where it does not know.
func (a *Agent) tell(ctx context.Context) error {
	a.mu.Lock()
	now := a.registered
	known := len(now) == 0 || slices.Equal(now, a.told) && a.options.Clock().Sub(a.toldAt).Abs() <= registerEvery
	a.mu.Unlock()
	if known {
		return nil
	}
	if err := a.client.Register(ctx, a.Name(), now); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told, a.toldAt = now, a.options.Clock()
	return nil
}

// Addresses is where a service is, as the authority says, or, while it is away,
// said last. From then on changes are followed.
func (a *Agent) Addresses(ctx context.Context, service string) ([]string, error) {
	a.mu.Lock()
	followed := a.interest[service]
	known := a.state.Services[service]
	a.mu.Unlock()
	if followed && len(known) > 0 {
		return known, nil
	}
	s, err := a.client.Service(ctx, service)
	var p *api.Problem
	switch {
	case err == nil:
		a.learn([]api.Service{*s})
		a.takeInterest(service)
		return s.Addresses, nil
	case errors.As(err, &p) && p.Code == string(code.ServiceUnknown):
		return nil, err
	case len(known) > 0:
		a.takeInterest(service)
		reason, k, mend := words(err)
		a.options.Log.Warn(fmt.Sprintf("the authority can't say where %s is now; trying where it was: %s", service, reason), "code", k, "mend", mend)
		return known, nil
	}
	return nil, err
}

// maxInterest is how many services are followed: the authority refuses whoever
// asks for more, and then nothing would be heard of revocations either. What is not
// followed is asked for each time.
const maxInterest = 64

func (a *Agent) takeInterest(service string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.interest[service] {
		return
	}
	for other := range a.interest {
		if len(a.interest) < maxInterest {
			break
		}
		delete(a.interest, other)
	}
	a.interest[service] = true
	a.nudge()
}

// learn keeps the addresses of services, on disk too: a restart finds them
// without the authority.
func (a *Agent) learn(services []api.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next := maps.Clone(a.state.Services)
	if next == nil {
		next = make(map[string][]string)
	}
	changed := false
	for _, s := range services {
		if !slices.Equal(next[s.Name], s.Addresses) {
			next[s.Name], changed = s.Addresses, true
		}
	}
	if changed {
		a.state.Services = next
		a.saveState()
	}
}

// saveState writes the state; the caller holds mu. A full disk must not stop what
// works: it is said, and written at the next change.
func (a *Agent) saveState() {
	if now, err := a.home.readState(); err == nil && now.Token != a.state.Token {
		return // somebody enrolled anew meanwhile: the file is theirs, and adopt takes it
	}
	if err := a.home.writeState(a.state); err != nil {
		a.options.Log.Warn("what is known of the identity could not be written: "+err.Error(), "code", string(code.StoreFailed))
	}
}

func (a *Agent) nudge() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Close gives up what is kept. Run has to have ended.
func (a *Agent) Close() error {
	a.client.Forget()
	return nil
}

// changes is a channel that is closed and made anew at each change.
type changes struct {
	mu sync.Mutex
	c  chan struct{}
}

func (c *changes) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c == nil {
		c.c = make(chan struct{})
	}
	return c.c
}

func (c *changes) tell() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.c != nil {
		close(c.c)
		c.c = nil
	}
}

func hexOf(b [sha256.Size]byte) string { return hex.EncodeToString(b[:]) }
