package mtls_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

func anchor(t testing.TB, s string) mtls.TrustAnchorID {
	t.Helper()
	id, err := mtls.ParseTrustAnchorID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func anchors(t testing.TB, list ...string) (out []mtls.TrustAnchorID) {
	for _, s := range list {
		out = append(out, anchor(t, s))
	}
	return out
}

func with(t testing.TB, c *mtls.Certificate, p mtls.CertificateProperties) *mtls.Certificate {
	t.Helper()
	own, err := c.WithProperties(p)
	if err != nil {
		t.Fatal(err)
	}
	return own
}

// anchored is a house whose server has certificates under two roots, 32473.1 and,
// the second, 32473.2, which is in the groups 32473.9.3 and later ones; and its
// certificates' names for tests.
type anchored struct {
	*house
	other         *mint.Authority
	first, second *mtls.Certificate
}

func newAnchored(t testing.TB) *anchored {
	h := newHouse(t)
	a := &anchored{house: h, other: mint.Root("Other Root")}
	opts := []mint.Option{mint.Names("orders"), mint.IPs("127.0.0.1")}
	a.first = with(t, h.leaf("orders", opts...), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.1")})
	a.second = with(t, certificate(t, a.other.Intermediate("Other Issuing").Leaf("orders", opts...)), mtls.CertificateProperties{
		TrustAnchor: anchor(t, "32473.2"), Groups: []mtls.TrustAnchorRange{{Base: anchor(t, "32473.9"), Min: 3, Max: math.MaxUint64}},
	})
	return a
}

// both is a verifier by both roots.
func (a *anchored) both() mtls.Verifier { return mtls.Authorities(anchorsOf(a.t, a.root, a.other)) }

func (a *anchored) server(identity mtls.Identity) mtls.ServerConfig {
	return mtls.ServerConfig{Identity: identity, Clients: mtls.Anonymous()}
}

func (a *anchored) client(verifier mtls.Verifier, named ...mtls.TrustAnchorID) mtls.ClientConfig {
	return mtls.ClientConfig{Servers: verifier, Common: mtls.Common{TrustAnchors: &mtls.TrustAnchors{Named: named}}}
}

func TestAServerShowsWhatTheClientsTrustAnchorsChoose(t *testing.T) {
	a := newAnchored(t)
	all := anchors(t, "32473.1", "32473.2")
	for name, c := range map[string]struct {
		names  []mtls.TrustAnchorID
		shows  *mtls.Certificate
		chosen bool
	}{
		"the second":       {anchors(t, "32473.2"), a.second, true},
		"a group of it":    {anchors(t, "32473.7", "32473.9.5"), a.second, true},
		"a group before":   {anchors(t, "32473.9.2"), a.first, false},
		"the base alone":   {anchors(t, "32473.9"), a.first, false},
		"both":             {anchors(t, "32473.2", "32473.1"), a.first, true}, // the server's order counts
		"what nobody has":  {anchors(t, "32473.77"), a.first, false},
		"nothing, but ask": {nil, a.first, false},
	} {
		server, client := met(t, a.server(mtls.Choose(a.first, a.second)), a.client(a.both(), c.names...))
		if server.Local() != c.shows || client.Negotiated().TrustAnchor != c.chosen {
			t.Errorf("%s: the first %v, chosen for it %v", name, server.Local() == a.first, client.Negotiated().TrustAnchor)
		}
		if got := client.TrustAnchors(); !slices.Equal(got, all) {
			t.Errorf("%s: the server has %v", name, got)
		}
	}
	// One Certificate alone, and one in a Swap, take part as well.
	for _, id := range []mtls.Identity{a.second, mtls.NewSwap(a.second)} {
		_, client := met(t, a.server(id), a.client(a.both(), anchors(t, "32473.2")...))
		if got := client.TrustAnchors(); !slices.Equal(got, all[1:]) || !client.Negotiated().TrustAnchor {
			t.Errorf("%T: %v", id, got)
		}
	}
}

// Who does not speak of trust anchors sees nothing of them.
func TestTrustAnchorsAreOffUnlessAskedFor(t *testing.T) {
	a := newAnchored(t)
	cc := a.client(a.both())
	cc.TrustAnchors = nil
	id := &asked{Identity: mtls.Choose(a.second, a.first)}
	server, client := met(t, a.server(id), cc)
	if server.Local() != a.second || client.TrustAnchors() != nil || client.Negotiated().TrustAnchor || id.last(t).TrustAnchors != nil {
		t.Errorf("%v, %v", client.TrustAnchors(), client.Negotiated())
	}
	// An Identity that does not say what it has tells nothing; what it shows is
	// marked all the same.
	_, client = met(t, a.server(&asked{Identity: a.second}), a.client(a.both(), anchors(t, "32473.2")...))
	if client.TrustAnchors() != nil || !client.Negotiated().TrustAnchor {
		t.Errorf("%v, %v", client.TrustAnchors(), client.Negotiated().TrustAnchor)
	}
}

// A server tells what it could show this client, not what it has.
func TestAServerTellsOfNoCertificateThatTheClientCanNotTake(t *testing.T) {
	a := newAnchored(t)
	other := with(t, a.leaf("orders", mint.Key("ed25519")), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.3")})
	same := with(t, a.leaf("orders"), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.1")})
	cc := a.client(a.both())
	cc.Schemes = []mtls.Scheme{0x0403}
	_, client := met(t, a.server(mtls.Choose(other, a.second, a.first, same)), cc)
	if got := client.TrustAnchors(); !slices.Equal(got, anchors(t, "32473.2", "32473.1")) {
		t.Errorf("the server tells of %v", got)
	}
}

// A path that is kept for those who named its anchor is no fallback.
func TestANegotiatedPathIsNoFallback(t *testing.T) {
	a := newAnchored(t)
	p := a.second.Properties()
	p.Negotiated = true
	kept := with(t, a.second, p)
	for _, id := range []mtls.Identity{kept, mtls.Choose(kept)} {
		for _, named := range [][]mtls.TrustAnchorID{nil, anchors(t, "32473.1")} {
			_, _, serr, cerr := meet(t, newServer(t, a.server(id)), newClient(t, a.client(a.both(), named...)), "orders")
			if refusal(t, serr).Code != string(code.NoFittingCertificate) || refusal(t, cerr).Alert != alert.HandshakeFailure {
				t.Errorf("%T: %v, %v", id, serr, cerr)
			}
		}
		met(t, a.server(id), a.client(a.both(), anchors(t, "32473.2")...))
	}
	// Behind it stands one that is for everybody; who names the authority's whole
	// name gets it, too.
	server, _ := met(t, a.server(mtls.Choose(kept, a.first)), a.client(a.both()))
	if server.Local() != a.first {
		t.Error("it was shown to somebody who did not name its anchor")
	}
	cc := a.client(mtls.Authorities(anchorsOf(t, a.other)))
	cc.NameAuthorities = true
	if server, _ = met(t, a.server(mtls.Choose(a.first, kept)), cc); server.Local() != kept {
		t.Error("it was not shown to who named its authority")
	}
}

// A server names what it trusts, too, and a client of several certificates shows
// the one that stands there.
func TestAClientShowsWhatTheServersTrustAnchorsChoose(t *testing.T) {
	a := newAnchored(t)
	mine := with(t, a.leaf("web"), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.1")})
	foreign := with(t, certificate(t, a.other.Leaf("web.other")), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.2")})
	plain := certificate(t, a.other.Leaf("web.plain"))
	for name, c := range map[string]struct {
		names  []mtls.TrustAnchorID
		has    []*mtls.Certificate
		shows  *mtls.Certificate
		chosen bool
	}{
		"the second":              {anchors(t, "32473.2"), []*mtls.Certificate{mine, foreign}, foreign, true},
		"none of them":            {anchors(t, "32473.4"), []*mtls.Certificate{mine, foreign}, nil, false},
		"one that may be":         {anchors(t, "32473.4"), []*mtls.Certificate{mine, plain}, plain, false},
		"one, whoever named what": {nil, []*mtls.Certificate{mine, foreign}, mine, false},
	} {
		sc := a.server(a.first)
		sc.Clients = mtls.Optional(unhinted{a.both()})
		if c.names != nil {
			sc.TrustAnchors = &mtls.TrustAnchors{Named: c.names}
		}
		cc := a.client(a.both())
		cc.TrustAnchors, cc.Identity = nil, mtls.Choose(c.has...)
		server, client := met(t, sc, cc)
		if client.Local() != c.shows || server.Negotiated().TrustAnchor != c.chosen {
			t.Errorf("%s: %v", name, server.Negotiated().TrustAnchor)
		}
		if server.TrustAnchors() != nil || client.TrustAnchors() != nil {
			t.Errorf("%s: %v, %v", name, server.TrustAnchors(), client.TrustAnchors())
		}
	}
}

// unhinted is a Verifier that names no authorities.
type unhinted struct{ mtls.Verifier }

func (u unhinted) Generation() ([sha256.Size]byte, bool) { return [sha256.Size]byte{7}, true }

// What else can stand beside a certificate stands there with the mark, however the
// certificate travels, and in a copy with fewer schemes.
func TestTheMarkStandsBesideAllElse(t *testing.T) {
	a := newAnchored(t)
	narrow, err := a.second.Signing(a.second.Schemes()[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*mtls.Certificate{a.second, narrow} {
		now := time.Now()
		if err := errors.Join(c.Staple(mtls.Staple{Response: []byte("a response"), From: now.Add(-time.Hour), Until: now.Add(time.Hour)}), c.Timestamps([]byte("a timestamp"))); err != nil {
			t.Fatal(err)
		}
		var claim mtls.Claim
		cc := a.client(mtls.VerifierFunc(func(ctx context.Context, cl *mtls.Claim) (*mtls.Verdict, error) {
			claim = *cl
			return a.both().Verify(ctx, cl)
		}), anchors(t, "32473.2")...)
		cc.Beside = mtls.Beside{OCSP: true, Timestamps: true}
		cc.Compression.Offer = true
		for range 2 {
			_, client := met(t, a.server(c), cc)
			if !client.Negotiated().TrustAnchor || string(claim.OCSP[0]) != "a response" || len(claim.Timestamps) != 1 {
				t.Errorf("%v, %q, %q", client.Negotiated().TrustAnchor, claim.OCSP, claim.Timestamps)
			}
		}
		if err := errors.Join(c.Staple(mtls.Staple{Response: []byte("another"), From: now.Add(-time.Hour), Until: now.Add(time.Hour)}), c.Timestamps([]byte("another"))); err != nil {
			t.Fatal(err)
		}
		if met(t, a.server(c), cc); string(claim.OCSP[0]) != "another" || string(claim.Timestamps[0]) != "another" {
			t.Errorf("what was taken back is shown: %q, %q", claim.OCSP, claim.Timestamps)
		}
	}
}

// A resumed session shows no certificate, and nobody tells which there are. A client
// resumes where it would show the same certificate to the same trust anchors.
func TestAResumedSessionNeedsNoTrustAnchors(t *testing.T) {
	a := newAnchored(t)
	sc, cc := a.server(mtls.Choose(a.first, a.second)), a.client(a.both(), anchors(t, "32473.2")...)
	sc.Clients, sc.TrustAnchors = mtls.Required(unhinted{a.both()}), &mtls.TrustAnchors{Named: anchors(t, "32473.4")}
	cc.Identity = mtls.Choose(
		with(t, a.leaf("web"), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.1")}),
		with(t, a.leaf("web"), mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.4")}))
	sc.Resumption, cc.Resumption = &mtls.ServerResumption{}, &mtls.ClientResumption{}
	server, client, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	for i := range 3 {
		s, c, resumed := p.visit(server, client, "orders")
		if resumed != (i > 0) {
			t.Fatalf("connection %d resumed: %v", i, resumed)
		}
		for _, end := range []*mtls.Conn{s, c} {
			if end.Negotiated().TrustAnchor == resumed {
				t.Errorf("connection %d, resumed %v: %+v", i, resumed, end.Negotiated())
			}
		}
		if got := c.TrustAnchors(); (got == nil) != resumed {
			t.Errorf("connection %d: the server has %v", i, got)
		}
	}
}

// A client that was shown what it does not trust tries once more, naming the one
// that the server has of those that it trusts.
func TestDialNamesWhatTheServerHas(t *testing.T) {
	a := newAnchored(t)
	id := &asked{Identity: mtls.Choose(a.first, a.second)}
	address, came := listening(t, newServer(t, a.server(listed{id})))
	trusts := mtls.Authorities(anchorsOf(t, a.other))
	for name, c := range map[string]struct {
		named, ifOffered []mtls.TrustAnchorID
		connections      int32
		code             code.Code // "" where it comes to be
		last             []mtls.TrustAnchorID
	}{
		"what it kept to itself":      {nil, anchors(t, "32473.5", "32473.2"), 2, "", anchors(t, "32473.2")},
		"named at once":               {anchors(t, "32473.2"), nil, 1, "", anchors(t, "32473.2")},
		"a group that it is not in":   {anchors(t, "32473.9.1"), anchors(t, "32473.2"), 2, "", anchors(t, "32473.2")},
		"the second of those named":   {anchors(t, "32473.1", "32473.2"), nil, 2, "", anchors(t, "32473.2")},
		"one that the server has not": {nil, anchors(t, "32473.5"), 1, code.UnknownAuthority, nil},
		"one that is no good":         {nil, anchors(t, "32473.1"), 2, code.UnknownAuthority, anchors(t, "32473.1")},
		"the only one, named already": {anchors(t, "32473.1"), nil, 1, code.UnknownAuthority, anchors(t, "32473.1")},
	} {
		t.Run(name, func(t *testing.T) {
			came.Store(0)
			cc := a.client(trusts, c.named...)
			cc.TrustAnchors.IfOffered = c.ifOffered
			conn, err := newClient(t, cc).Dial(context.Background(), "tcp", address)
			if n := came.Load(); n != c.connections {
				t.Errorf("%d connections", n)
			}
			if got := id.last(t).TrustAnchors; !slices.Equal(got, c.last) {
				t.Errorf("named at last: %v", got)
			}
			if c.code != "" {
				r := refusal(t, err)
				if r.Code != string(c.code) || !slices.Equal(r.TrustAnchors, anchors(t, "32473.1", "32473.2")) {
					t.Errorf("%v, the server has %v", r, r.TrustAnchors)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, noise(100)); err != nil || !conn.Negotiated().TrustAnchor {
				t.Error(err, conn.Negotiated().TrustAnchor)
			}
			_ = conn.Close()
		})
	}
}

// listed is an Identity that says what it has, and notes what it is asked.
type listed struct{ *asked }

func (l listed) TrustAnchors(ask *mtls.Ask) []mtls.TrustAnchorID {
	return l.Identity.(mtls.Anchored).TrustAnchors(ask)
}

// A server that says what it does not have is not asked a third time.
func TestDialBelievesAServerOnce(t *testing.T) {
	a := newAnchored(t)
	address, came := listening(t, newServer(t, a.server(boasting{a.first, anchors(t, "32473.2", "32473.3")})))
	cc := a.client(mtls.Authorities(anchorsOf(t, a.other)))
	cc.TrustAnchors.IfOffered = anchors(t, "32473.2", "32473.3")
	_, err := newClient(t, cc).Dial(context.Background(), "tcp", address)
	if r := refusal(t, err); r.Code != string(code.UnknownAuthority) || came.Load() != 2 {
		t.Errorf("%v after %d connections", r, came.Load())
	}
}

type boasting struct {
	mtls.Identity
	has []mtls.TrustAnchorID
}

func (b boasting) TrustAnchors(*mtls.Ask) []mtls.TrustAnchorID { return b.has }

// However much an Identity says, and whatever, a client can read it.
func TestAListOfTrustAnchorsIsCutToWhatClientsTake(t *testing.T) {
	a := newAnchored(t)
	var many []mtls.TrustAnchorID
	for i := range 3000 {
		many = append(many, mtls.TrustAnchorID([]byte{1 + byte(i>>7)&0x7f, byte(i) & 0x7f}))
	}
	many = append([]mtls.TrustAnchorID{"", "\x80", "\x01\x00"}, many...)
	_, client := met(t, a.server(boasting{a.first, many}), a.client(a.both()))
	if got := client.TrustAnchors(); len(got) != 1024 || got[0] != "\x01\x00" {
		t.Errorf("%d of them, the first %v", len(got), got[0])
	}
}

// Who makes the transport himself finds in the refusal what to name.
func TestWhoDialsByHimselfNamesWhatTheServerHas(t *testing.T) {
	a := newAnchored(t)
	address, _ := listening(t, newServer(t, a.server(mtls.Choose(a.first, a.second))))
	client := newClient(t, a.client(mtls.Authorities(anchorsOf(t, a.other))))
	_, err := client.Connect(context.Background(), dialed(t, address), "orders")
	r := refusal(t, err)
	if !slices.Equal(r.TrustAnchors, anchors(t, "32473.1", "32473.2")) {
		t.Fatalf("the server has %v", r.TrustAnchors)
	}
	conn, err := client.ConnectNaming(context.Background(), dialed(t, address), "orders", r.TrustAnchors[1])
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if _, err := client.ConnectNaming(context.Background(), dialed(t, address), "orders", "\x80"); refusal(t, err).Code != string(code.Misuse) {
		t.Error(err)
	}
}

func TestWrongTrustAnchorsAreRefusedAtTheStart(t *testing.T) {
	a := newAnchored(t)
	one := anchors(t, "1")
	var many []mtls.TrustAnchorID
	for i := range 1025 {
		many = append(many, mtls.TrustAnchorID([]byte{byte(i >> 7), byte(i) & 0x7f}))
	}
	for name, c := range map[string]*mtls.TrustAnchors{
		"no identifier":       {Named: []mtls.TrustAnchorID{"\x81"}},
		"an empty one":        {IfOffered: []mtls.TrustAnchorID{""}},
		"twice":               {Named: append(one, one...)},
		"in both lists":       {Named: one, IfOffered: one},
		"more than are taken": {Named: many},
	} {
		cc := a.client(a.both())
		cc.TrustAnchors = c
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("a client with %s", name)
		}
	}
	for name, c := range map[string]*mtls.TrustAnchors{
		"none": {}, "conditions": {Named: one, IfOffered: anchors(t, "2")}, "no identifier": {Named: []mtls.TrustAnchorID{"\x81"}},
	} {
		sc := a.server(a.first)
		sc.Clients = mtls.Optional(a.both())
		sc.TrustAnchors = c
		if _, err := mtls.NewServer(sc); err == nil {
			t.Errorf("a server with %s", name)
		}
	}
}

func TestAPathWithATrustAnchorIsInOrder(t *testing.T) {
	h := newHouse(t)
	l := h.issuing.Leaf("orders")
	id := anchor(t, "32473.1")
	for name, c := range map[string]struct {
		chain [][]byte
		p     mtls.CertificateProperties
		says  string
	}{
		"with the anchor":     {slices.Concat(l.Chain, [][]byte{h.root.DER}), mtls.CertificateProperties{TrustAnchor: id}, "leave that out"},
		"with something else": {slices.Concat(l.Chain, [][]byte{mint.Root("x").DER}), mtls.CertificateProperties{TrustAnchor: id}, "did not issue the one before"},
		"no identifier":       {l.Chain, mtls.CertificateProperties{TrustAnchor: "\x80"}, "no trust anchor identifier"},
		"groups alone":        {l.Chain, mtls.CertificateProperties{Groups: []mtls.TrustAnchorRange{{Base: id}}}, "not the trust anchor"},
		"a range backwards":   {l.Chain, mtls.CertificateProperties{TrustAnchor: id, Groups: []mtls.TrustAnchorRange{{Base: id, Min: 2, Max: 1}}}, "no range"},
		"a range of nothing":  {l.Chain, mtls.CertificateProperties{TrustAnchor: id, Groups: []mtls.TrustAnchorRange{{Max: 1}}}, "no range"},
		"too many groups":     {l.Chain, mtls.CertificateProperties{TrustAnchor: id, Groups: make([]mtls.TrustAnchorRange, 65)}, "at most 64"},
	} {
		whole, err := mtls.NewCertificate(c.chain, l.Key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := whole.WithProperties(c.p); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	key, err := mtls.NewRawKey(l.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.WithProperties(mtls.CertificateProperties{TrustAnchor: id}); err == nil {
		t.Error("a raw public key stands under a trust anchor")
	}
}

// A file as ACME gives it: the properties, and the chain.
func TestAChainIsReadWithItsProperties(t *testing.T) {
	h := newHouse(t)
	l := h.issuing.Leaf("orders")
	want := mtls.CertificateProperties{TrustAnchor: anchor(t, "32473.1"), Groups: []mtls.TrustAnchorRange{{Base: anchor(t, "2187.2"), Min: 100, Max: 200}}, Negotiated: true}
	data, err := want.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	properties := block("CERTIFICATE PROPERTIES", data)
	chain := ""
	for _, der := range l.Chain {
		chain += block("CERTIFICATE", der)
	}
	dir := t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(l.Key)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyFile := file("key.pem", block("PRIVATE KEY", key))
	c, err := mtls.LoadCertificateWithProperties(file("whole.pem", properties+chain), keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Properties(); p.TrustAnchor != want.TrustAnchor || !slices.Equal(p.Groups, want.Groups) || !p.Negotiated || !slices.EqualFunc(c.Chain(), l.Chain, bytes.Equal) {
		t.Errorf("%+v", p)
	}
	for name, content := range map[string]string{
		"chain alone":        chain,
		"properties alone":   properties,
		"properties last":    chain + properties,
		"properties twice":   properties + properties + chain,
		"key":                properties + chain + block("PRIVATE KEY", key),
		"damaged properties": block("CERTIFICATE PROPERTIES", data[:len(data)-1]) + chain,
		"cut off":            (properties + chain)[:len(properties+chain)-10],
	} {
		if _, err := mtls.LoadCertificateWithProperties(file("bad.pem", content), keyFile); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := mtls.LoadCertificateWithProperties(file("big.pem", properties+strings.Repeat("x", 1<<20)+chain), keyFile); err == nil {
		t.Error("a huge file was taken")
	}
}

func dialed(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
