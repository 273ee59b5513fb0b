package mtls_test

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// asked is an Identity that notes what it was asked.
type asked struct {
	mtls.Identity
	mu   sync.Mutex
	asks []*mtls.Ask
}

func (a *asked) Certificate(ctx context.Context, ask *mtls.Ask) (*mtls.Certificate, error) {
	a.mu.Lock()
	a.asks = append(a.asks, ask)
	a.mu.Unlock()
	return a.Identity.Certificate(ctx, ask)
}

func (a *asked) last(t *testing.T) *mtls.Ask {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.asks) == 0 {
		t.Fatal("it was not asked")
	}
	return a.asks[len(a.asks)-1]
}

// A server tells whom it trusts, and a client of several certificates shows the
// one that stands there.
func TestAClientShowsTheCertificateThatTheServerAsksFor(t *testing.T) {
	h := newHouse(t)
	other, third := mint.Root("Other Root"), mint.Root("Third Root")
	mine, foreign := h.leaf("web"), certificate(t, other.Intermediate("Other Issuing").Leaf("web.other"))
	both := anchorsOf(t, h.root, other)
	for name, c := range map[string]struct {
		verifier mtls.Verifier
		shows    string // the name in the certificate, "" for none
		hints    int
	}{
		"the first":               {mtls.Authorities(h.anchors), "web", 1},
		"the second":              {mtls.Authorities(anchorsOf(t, other)), "web.other", 1},
		"either":                  {mtls.Authorities(both), "web", 2},
		"none":                    {mtls.Authorities(anchorsOf(t, third)), "", 1},
		"one of several ways":     {mtls.AnyOf(mtls.Authorities(anchorsOf(t, third)), mtls.Authorities(anchorsOf(t, other))), "web.other", 2},
		"swapped":                 {mtls.NewSwapVerifier(mtls.Authorities(anchorsOf(t, other))), "web.other", 1},
		"who trusts whom unknown": {mtls.AnyOf(mtls.Authorities(anchorsOf(t, third)), mtls.NewSwapVerifier(admitAll())), "web", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.serverConfig(), h.clientConfig()
			sc.Clients = mtls.Optional(c.verifier)
			id := &asked{Identity: mtls.Choose(mine, foreign)}
			cc.Identity = id
			server, client := met(t, sc, cc)
			p, ok := server.Peer()
			if ok != (c.shows != "") || p.Name() != c.shows || (client.Local() != nil) != ok {
				t.Errorf("shown: %q, %v; expected %q", p.Name(), ok, c.shows)
			}
			if got := len(id.last(t).Authorities); got != c.hints {
				t.Errorf("told of %d authorities, expected %d", got, c.hints)
			}
		})
	}
}

func admitAll() mtls.Verifier {
	return mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) { return &mtls.Verdict{OK: true}, nil })
}

// However many authorities a server trusts, its handshakes work: too many are not
// told at all.
func TestManyAuthoritiesAreTrustedAndNotTold(t *testing.T) {
	h := newHouse(t)
	key := mint.Key("p256")
	roots := []*mint.Authority{h.root}
	for i := range 20 {
		long := pkix.Name{CommonName: fmt.Sprint("Root ", i)}
		for j := range 60 {
			long.OrganizationalUnit = append(long.OrganizationalUnit, fmt.Sprintf("%02d %s", j, strings.Repeat("x", 50)))
		}
		roots = append(roots, mint.Root("x", key, mint.Subject(long)))
	}
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(mtls.Authorities(anchorsOf(t, roots...)))
	id := &asked{Identity: mtls.Choose(h.leaf("web"))}
	cc.Identity = id
	met(t, sc, cc)
	if got := id.last(t).Authorities; len(got) != 0 {
		t.Errorf("told of %d authorities", len(got))
	}
	// A list that fits is told whole.
	sc.Clients = mtls.Required(mtls.Authorities(anchorsOf(t, roots[:4]...)))
	met(t, sc, cc)
	if got := id.last(t).Authorities; len(got) != 4 {
		t.Errorf("told of %d authorities", len(got))
	}
}

// A client that has no certificate whose key the server verifies says so.
func TestACertificateThatCannotSignIsNotShown(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Identity = h.leaf("orders", mint.Key("ed25519"))
	sc.Schemes = []mtls.Scheme{0x0807}
	cc.Identity = mtls.Choose(h.leaf("web", mint.Key("p384")), h.leaf("web", mint.Key("ed25519")))
	server, _ := met(t, sc, cc)
	if n := server.Negotiated(); n.Scheme != 0x0807 {
		t.Errorf("signed with %v", n.Scheme)
	}
}

func TestAServerIsAskedWithWhatTheClientOffers(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	id := &asked{Identity: sc.Identity}
	sc.Identity, sc.ALPN, cc.ALPN = id, []string{"b", "a"}, []string{"a", "b"}
	server, client := met(t, sc, cc)
	ask := id.last(t)
	if ask.Role != mtls.RoleServer || ask.ServerName != "orders" || !slices.Equal(ask.ALPN, cc.ALPN) || len(ask.Schemes) == 0 || ask.Remote == nil {
		t.Errorf("asked %+v", ask)
	}
	if s, c := server.Negotiated(), client.Negotiated(); s.ALPN != "b" || c.ALPN != "b" || s.ServerName != "orders" {
		t.Errorf("%+v, %+v", s, c)
	}
}

// hellos are the ClientHellos that were sent.
type hellos struct {
	mu  sync.Mutex
	all []message.ClientHello
}

func (h *hellos) Observe(e mtls.Event) {
	if e.Kind != observe.Message || e.Type != message.TypeClientHello {
		return
	}
	var m message.ClientHello
	if m.Parse(bytes.Clone(e.Bytes)) == nil {
		h.mu.Lock()
		h.all = append(h.all, m)
		h.mu.Unlock()
	}
}

func TestOneOrTwoKeySharesAreSent(t *testing.T) {
	const (
		hybrid, x25519, p256, p384 = mtls.Group(0x11ec), mtls.Group(0x001d), mtls.Group(0x0017), mtls.Group(0x0018)
	)
	for name, c := range map[string]struct {
		shares         int
		client, server []mtls.Group
		first          []mtls.Group // the groups of the first hello's shares
		agreed         mtls.Group
		retried        bool
	}{
		"by itself with a hybrid first":       {0, nil, nil, []mtls.Group{hybrid, x25519}, hybrid, false},
		"by itself with a classical first":    {0, []mtls.Group{x25519, p256}, nil, []mtls.Group{x25519}, x25519, false},
		"by itself with post-quantum alone":   {0, []mtls.Group{hybrid, mtls.Group(0x11eb)}, nil, []mtls.Group{hybrid}, hybrid, false},
		"by itself with ML-KEM alone first":   {0, []mtls.Group{mtls.Group(0x0202), x25519}, []mtls.Group{mtls.Group(0x0202)}, []mtls.Group{mtls.Group(0x0202), x25519}, mtls.Group(0x0202), false},
		"P-521, which has to be asked for":    {0, []mtls.Group{mtls.Group(0x0019)}, []mtls.Group{mtls.Group(0x0019)}, []mtls.Group{mtls.Group(0x0019)}, mtls.Group(0x0019), false},
		"one":                                 {1, []mtls.Group{hybrid, x25519}, nil, []mtls.Group{hybrid}, hybrid, false},
		"two":                                 {2, []mtls.Group{p256, p384}, nil, []mtls.Group{p256, p384}, p256, false},
		"two of one group":                    {2, []mtls.Group{p256}, nil, []mtls.Group{p256}, p256, false},
		"the second is taken":                 {2, []mtls.Group{hybrid, x25519}, []mtls.Group{x25519}, []mtls.Group{hybrid, x25519}, x25519, false},
		"neither is taken":                    {2, []mtls.Group{hybrid, x25519, p384}, []mtls.Group{p384}, []mtls.Group{hybrid, x25519}, p384, true},
		"the server likes one without better": {1, []mtls.Group{x25519, hybrid}, []mtls.Group{hybrid, x25519}, []mtls.Group{x25519}, hybrid, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			sc, cc := h.serverConfig(), h.clientConfig()
			sent := &hellos{}
			cc.KeyShares, cc.Groups, sc.Groups, cc.Observer = c.shares, c.client, c.server, sent
			server, client := met(t, sc, cc)
			var got []mtls.Group
			for _, k := range sent.all[0].KeyShares {
				got = append(got, k.Group)
			}
			if !slices.Equal(got, c.first) {
				t.Errorf("shares in %v, expected %v", got, c.first)
			}
			for _, n := range []mtls.Negotiated{server.Negotiated(), client.Negotiated()} {
				if n.Group != c.agreed || n.Retried != c.retried {
					t.Errorf("agreed on %v, retried: %v", n.Group, n.Retried)
				}
			}
			last := sent.all[len(sent.all)-1]
			if c.retried && (len(sent.all) != 2 || len(last.KeyShares) != 1 || last.KeyShares[0].Group != c.agreed) {
				t.Errorf("%d hellos; the last has %d shares", len(sent.all), len(last.KeyShares))
			}
		})
	}
}

// What can't work is refused at the start, in words.
func TestMistakesAreRefusedAtTheStart(t *testing.T) {
	h := newHouse(t)
	var none *mtls.Certificate
	for says, make := range map[string]func() error{
		"needs an Identity": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Clients: mtls.Anonymous()})
			return err
		},
		"a *Certificate that is nil": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Identity: none, Clients: mtls.Anonymous()})
			return err
		},
		"Certificate that is nil": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{Identity: none, Servers: h.verifier()})
			return err
		},
		"Clients is not set": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Identity: h.leaf("orders")})
			return err
		},
		"without authorities there is no start": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(nil)})
			return err
		},
		"no authorities were given": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(mtls.Authorities(pki.NewAnchors()))})
			return err
		},
		"not a way to judge clients": func() error {
			_, err := mtls.NewServer(mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Optional(mtls.SystemTrust())})
			return err
		},
		"Servers is not set": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{})
			return err
		},
		"everybody would be admitted": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{Servers: mtls.AllOf()})
			return err
		},
		"given twice": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{Servers: h.verifier(), ALPN: []string{"h2", "h2"}})
			return err
		},
		"is not one that we have": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{Servers: h.verifier(), Common: mtls.Common{Schemes: []mtls.Scheme{0x0401}}})
			return err
		},
		"one or two are sent": func() error {
			_, err := mtls.NewClient(mtls.ClientConfig{Servers: h.verifier(), KeyShares: 3})
			return err
		},
	} {
		if err := make(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, expected %q", err, says)
		}
	}
}
