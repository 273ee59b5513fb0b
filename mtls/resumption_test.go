package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

// place is an address where clients and servers meet again and again: a client
// files its sessions by it.
type place struct {
	t testing.TB
	l net.Listener
}

func newPlace(t testing.TB) *place {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &place{t, l}
}

// transports are the two ends of a connection.
func (p *place) transports() (server, client net.Conn) {
	p.t.Helper()
	client, err := net.Dial("tcp", p.l.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	server, err = p.l.Accept()
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = server.Close(); _ = client.Close() })
	return server, client
}

// try carries out a handshake, and sends a byte each way, behind which the ticket
// has been read.
func (p *place) try(s *mtls.Server, c *mtls.Client, name string) (server, client *mtls.Conn, serverErr, clientErr error) {
	p.t.Helper()
	st, ct := p.transports()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() {
		if server, serverErr = s.Accept(ctx, st); serverErr == nil {
			_, serverErr = server.Write([]byte{1})
		}
	})
	if client, clientErr = c.Connect(ctx, ct, name); clientErr == nil {
		_ = client.SetReadDeadline(soon())
		_, clientErr = client.Read(make([]byte, 1))
	}
	wait.Wait()
	return server, client, serverErr, clientErr
}

// visit is try where both must get along; it says whether they resumed.
func (p *place) visit(s *mtls.Server, c *mtls.Client, name string) (server, client *mtls.Conn, resumed bool) {
	p.t.Helper()
	server, client, serr, cerr := p.try(s, c, name)
	if serr != nil || cerr != nil {
		p.t.Fatalf("server: %v\nclient: %v", serr, cerr)
	}
	if s, c := server.Negotiated().Resumed, client.Negotiated().Resumed; s != c {
		p.t.Fatalf("the server resumed: %v, the client: %v", s, c)
	}
	return server, client, client.Negotiated().Resumed
}

// resuming turns resumption on, on both sides.
func (h *house) resuming() (mtls.ServerConfig, mtls.ClientConfig) {
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Resumption, cc.Resumption = &mtls.ServerResumption{}, &mtls.ClientResumption{}
	return sc, cc
}

func shared(t testing.TB, first byte) *mtls.TicketKeys {
	t.Helper()
	k, err := mtls.SharedTicketKeys([32]byte{first})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// All that a connection tells is the same whether it was resumed or not.
func TestAResumedConnectionIsLikeAFullOne(t *testing.T) {
	h := newHouse(t)
	retry := func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
		cc.Groups, sc.Groups = []mtls.Group{suite.X25519, suite.P256}, []mtls.Group{suite.P256}
	}
	for name, set := range map[string]func(*mtls.ServerConfig, *mtls.ClientConfig){
		"as it is": func(*mtls.ServerConfig, *mtls.ClientConfig) {},
		"SHA-384": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Suites = []mtls.Suite{suite.AES256GCMSHA384}
		},
		"HelloRetryRequest": retry,
		"HelloRetryRequest, SHA-384": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			retry(sc, cc)
			sc.Suites = []mtls.Suite{suite.AES256GCMSHA384}
		},
		"a store": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Resumption.Store = mtls.NewSessionMemory(10)
		},
		"an anonymous client": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Clients = mtls.Anonymous() },
		"optional": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Clients = mtls.Optional(h.verifier())
		},
		"optional, without": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Clients, cc.Identity = mtls.Optional(h.verifier()), nil
		},
		"pins and a function": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			inner := h.verifier()
			sc.Clients = mtls.Required(mtls.VerifierFunc(inner.Verify))
		},
		"ALPN": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.ALPN, cc.ALPN = []string{"h2"}, []string{"h2"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.resuming()
			set(&sc, &cc)
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			fs, fc, resumed := p.visit(s, c, "orders")
			if resumed {
				t.Fatal("the first connection was resumed")
			}
			for i := range 3 { // each renews the session
				rs, rc, resumed := p.visit(s, c, "orders")
				if !resumed {
					t.Fatalf("connection %d was not resumed", i+2)
				}
				for _, pair := range [][2]*mtls.Conn{{fs, rs}, {fc, rc}} {
					full, again := pair[0], pair[1]
					n, m := full.Negotiated(), again.Negotiated()
					n.Scheme, n.Resumed = 0, true
					m.TicketAgeSkew = 0 // by the clock, and no part of what is agreed on
					if n != m {
						t.Errorf("agreed on %+v, and %+v when resumed", n, m)
					}
					one, ok1 := full.Peer()
					two, ok2 := again.Peer()
					if ok1 != ok2 || one.Name() != two.Name() || one.Serial != two.Serial {
						t.Errorf("the peer was %q %v, and is %q %v", one.Name(), ok1, two.Name(), ok2)
					}
					a, b := full.PeerChain(), again.PeerChain()
					if len(a) != len(b) || ok1 && !bytes.Equal(a[0].X509.Raw, b[0].X509.Raw) {
						t.Errorf("the chain had %d certificates, and has %d", len(a), len(b))
					}
					if full.Local() != again.Local() {
						t.Errorf("we showed %v, and %v", full.Local(), again.Local())
					}
					if (full.Verdict() == nil) != (again.Verdict() == nil) {
						t.Error("the verdict is missing on one side")
					}
				}
				one, err1 := rs.Export("EXPORTER-test", nil, 32)
				two, err2 := rc.Export("EXPORTER-test", nil, 32)
				if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
					t.Errorf("exported %x (%v) and %x (%v)", one, err1, two, err2)
				}
				if err := rc.Admitted(context.Background()); err != nil {
					t.Errorf("admitted: %v", err)
				}
				go func() { _ = echo(rs) }()
				_ = rc.SetDeadline(soon())
				if err := exchange(rc, noise(100<<10)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Without Resumption on one side nothing is resumed, and all else is as ever.
func TestResumptionIsOffUnlessBothWantIt(t *testing.T) {
	h := newHouse(t)
	for _, side := range []string{"server", "client", "both"} {
		sc, cc := h.resuming()
		if side != "client" {
			sc.Resumption = nil
		}
		if side != "server" {
			cc.Resumption = nil
		}
		s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
		for range 2 {
			if _, _, resumed := p.visit(s, c, "orders"); resumed {
				t.Errorf("off on the %s's side, and resumed", side)
			}
		}
	}
}

// Two servers share the keys of their tickets. What the session rests on, and
// only that, decides whether the second one takes it; in each case the
// connection comes about.
func TestATicketIsBoundToWhatItRestsOn(t *testing.T) {
	h := newHouse(t)
	other := mint.Root("Another Root")
	rules := func(r ...string) *policy.Policy {
		p, err := policy.Parse(r, "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	orders := h.issuing.Leaf("orders")
	for name, change := range map[string]struct {
		resumes bool
		set     func(*mtls.ServerConfig)
	}{
		"nothing": {true, func(*mtls.ServerConfig) {}},
		"the same, made anew": {true, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.Allow(mtls.Authorities(anchorsOf(t, h.root)), rules("web")))
			sc.Identity = certificate(t, orders)
		}},
		"ALPN": {true, func(sc *mtls.ServerConfig) { sc.ALPN = []string{"h2"} }},
		"one more anchor": {false, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.Allow(mtls.Authorities(anchorsOf(t, h.root, other)), rules("web")))
		}},
		"the issuer as anchor": {false, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.Allow(mtls.Authorities(anchorsOf(t, h.issuing)), rules("web")))
		}},
		"policy": {false, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.Allow(h.verifier(), rules("web", "payments")))
		}},
		"no policy": {false, func(sc *mtls.ServerConfig) { sc.Clients = mtls.Required(h.verifier()) }},
		"optional clients": {false, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Optional(mtls.Allow(h.verifier(), rules("web")))
		}},
		"anonymous clients": {false, func(sc *mtls.ServerConfig) { sc.Clients = mtls.Anonymous() }},
		"a verifier that does not tell": {false, func(sc *mtls.ServerConfig) {
			inner := h.verifier()
			sc.Clients = mtls.Required(mtls.VerifierFunc(inner.Verify))
		}},
		"the server's certificate": {false, func(sc *mtls.ServerConfig) { sc.Identity = h.leaf("orders") }},
		"the hash of the suite":    {false, func(sc *mtls.ServerConfig) { sc.Suites = []mtls.Suite{suite.AES256GCMSHA384} }},
		"the suite, not its hash":  {true, func(sc *mtls.ServerConfig) { sc.Suites = []mtls.Suite{suite.ChaCha20Poly1305SHA256} }},
		"the ticket keys":          {false, func(sc *mtls.ServerConfig) { sc.Resumption = &mtls.ServerResumption{Keys: shared(t, 2)} }},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.resuming()
			sc.Identity, sc.Clients = certificate(t, orders), mtls.Required(mtls.Allow(h.verifier(), rules("web")))
			sc.Resumption.Keys, sc.Suites = shared(t, 1), []mtls.Suite{suite.AES128GCMSHA256}
			before := newServer(t, sc)
			sc.Suites = []mtls.Suite{suite.AES128GCMSHA256}
			change.set(&sc)
			after, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			if _, _, resumed := p.visit(before, c, "orders"); resumed {
				t.Fatal("the first connection was resumed")
			}
			if _, _, resumed := p.visit(after, c, "orders"); resumed != change.resumes {
				t.Errorf("resumed: %v, expected %v", resumed, change.resumes)
			}
			// The full handshake gave a ticket that holds under what is now.
			if _, _, resumed := p.visit(after, c, "orders"); !resumed {
				t.Error("the server does not take its own ticket")
			}
		})
	}
}

// Why a ticket that does not open costs a full handshake is told to who watches.
func TestATicketThatDoesNotOpenIsTold(t *testing.T) {
	h := newHouse(t)
	for name, again := range map[string]*mtls.ServerResumption{
		"other keys":    {Keys: shared(t, 2)},
		"another store": {Store: mtls.NewSessionMemory(1)},
	} {
		sc, cc := h.resuming()
		sc.Resumption.Keys = shared(t, 1)
		c, p := newClient(t, cc), newPlace(t)
		p.visit(newServer(t, sc), c, "orders")
		var told []string
		sc.Resumption = again
		sc.Observer = observerFunc(func(e mtls.Event) {
			if e.Label == "full handshake" {
				told = append(told, e.Value)
			}
		})
		s := newServer(t, sc)
		if _, _, resumed := p.visit(s, c, "orders"); resumed || len(told) != 1 {
			t.Errorf("%s: resumed: %v, told %q", name, resumed, told)
		}
		if _, _, resumed := p.visit(s, c, "orders"); !resumed || len(told) != 1 {
			t.Errorf("%s: resumed by its own ticket: %v, told %q", name, resumed, told)
		}
	}
}

// A verifier of clients that stops saying yes, on one occasion or on all.
type fickle struct {
	inner mtls.Verifier
	mu    sync.Mutex
	no    func(*mtls.Claim) bool
	asked []mtls.Occasion
}

func (f *fickle) Generation() ([32]byte, bool) { return [32]byte{1}, true }

func (f *fickle) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, claim.Occasion)
	if f.no != nil && f.no(claim) {
		return &mtls.Verdict{Code: "M0121", Reason: "it was revoked"}, nil
	}
	return f.inner.Verify(ctx, claim)
}

func (f *fickle) refuse(no func(*mtls.Claim) bool) (asked []mtls.Occasion) {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked, f.no, f.asked = f.asked, no, nil
	return asked
}

// Each side asks its verifier at each resumption. One that does not want to go on
// from a session gets a full handshake; what it refuses then, too, is refused.
func TestTheVerifierIsAskedAtEachResumption(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		h := newHouse(t)
		sc, cc := h.resuming()
		v := &fickle{inner: h.verifier()}
		if side == "server" {
			sc.Clients = mtls.Required(v)
		} else {
			cc.Servers = v
		}
		s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
		p.visit(s, c, "orders")
		if _, _, resumed := p.visit(s, c, "orders"); !resumed {
			t.Fatalf("%s: not resumed", side)
		}
		asked := v.refuse(func(c *mtls.Claim) bool { return c.Occasion == mtls.Resumption })
		if !slices.Equal(asked, []mtls.Occasion{mtls.FullHandshake, mtls.Resumption}) {
			t.Errorf("%s: asked on the occasions %v", side, asked)
		}
		if _, _, resumed := p.visit(s, c, "orders"); resumed {
			t.Errorf("%s: resumed, though the verifier wants a full handshake", side)
		}
		asked = v.refuse(func(*mtls.Claim) bool { return true })
		if !slices.Equal(asked, []mtls.Occasion{mtls.Resumption, mtls.FullHandshake}) {
			t.Errorf("%s: asked on the occasions %v", side, asked)
		}
		_, _, serr, cerr := p.try(s, c, "orders")
		ours, theirs := serr, cerr
		if side == "client" {
			ours, theirs = cerr, serr
		}
		if r := refusal(t, ours); r.Code != "M0121" || !r.Sent {
			t.Errorf("%s: refused with %+v", side, r)
		}
		if r := refusal(t, theirs); r.Alert.String() != "certificate_revoked" || r.Sent {
			t.Errorf("%s: the peer was told %+v", side, r)
		}
	}
}

// Who shows another certificate now, or would be judged by another verifier, does
// not go on from what it was.
func TestAClientDoesNotOfferWhatItIsNoMore(t *testing.T) {
	h := newHouse(t)
	web := h.leaf("web")
	for name, want := range map[string]struct {
		resumes bool
		change  func(*mtls.Swap, *mtls.SwapVerifier)
	}{
		"nothing":              {true, func(*mtls.Swap, *mtls.SwapVerifier) {}},
		"the same certificate": {true, func(i *mtls.Swap, _ *mtls.SwapVerifier) { i.Set(web) }},
		"another certificate":  {false, func(i *mtls.Swap, _ *mtls.SwapVerifier) { i.Set(h.leaf("payments")) }},
		"the same authorities": {true, func(_ *mtls.Swap, v *mtls.SwapVerifier) { v.Set(mtls.Authorities(anchorsOf(t, h.root))) }},
		"other authorities": {false, func(_ *mtls.Swap, v *mtls.SwapVerifier) {
			v.Set(mtls.Authorities(anchorsOf(t, h.root, mint.Root("Another Root"))))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.resuming()
			i, v := mtls.NewSwap(web), mtls.NewSwapVerifier(h.verifier())
			cc.Identity, cc.Servers = i, v
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(s, c, "orders")
			want.change(i, v)
			server, _, resumed := p.visit(s, c, "orders")
			if resumed != want.resumes {
				t.Errorf("resumed: %v", resumed)
			}
			if peer, ok := server.Peer(); !ok || peer.Serial != peerSerial(t, i.Current()) {
				t.Errorf("the server sees %q %v", peer.Name(), ok)
			}
		})
	}
}

func peerSerial(t *testing.T, c *mtls.Certificate) string {
	t.Helper()
	parsed, err := (&mtls.Claim{Chain: c.Chain()}).Certificates()
	if err != nil {
		t.Fatal(err)
	}
	return parsed[0].Serial()
}

// A session is for the server that was meant, by name and port.
func TestAClientFilesByPeer(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.resuming()
	sc.Identity = h.leaf("orders", mint.Names("orders", "payments"))
	s, c, here, there := newServer(t, sc), newClient(t, cc), newPlace(t), newPlace(t)
	here.visit(s, c, "orders")
	for name, visit := range map[string]func() bool{
		"another name": func() bool { _, _, r := here.visit(s, c, "payments"); return r },
		"another port": func() bool { _, _, r := there.visit(s, c, "orders"); return r },
	} {
		if visit() {
			t.Errorf("%s: resumed", name)
		}
	}
	if _, _, resumed := here.visit(s, c, "orders"); !resumed {
		t.Error("the session is gone")
	}
}

// clock is a time that tests move.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Now().Unix())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(c.at.Load(), 0) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d / time.Second)) }
func (c *clock) common() mtls.Common  { return mtls.Common{Clock: c.now} }
func valid(d time.Duration) mint.Option {
	return mint.Valid(time.Now().Add(-time.Hour), time.Now().Add(d))
}

// A session ends seven days after its full handshake, however often it is renewed.
func TestASessionEndsAWeekAfterItsFullHandshake(t *testing.T) {
	const step = 20 * time.Hour
	for _, side := range []string{"server", "client"} {
		h := newHouse(t)
		sc, cc := h.resuming()
		sc.Identity, cc.Identity = h.leaf("orders", valid(80*24*time.Hour)), h.leaf("web", valid(80*24*time.Hour))
		hour, still := newClock(), newClock()
		sc.Common, cc.Common = hour.common(), hour.common()
		// The other side's clock stands: it would go on for ever.
		if side == "server" {
			cc.Common = still.common()
		} else {
			sc.Common = still.common()
		}
		s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
		p.visit(s, c, "orders")
		for passed := step; passed <= 10*24*time.Hour; passed += step {
			hour.pass(step)
			_, _, resumed := p.visit(s, c, "orders")
			if want := passed < 7*24*time.Hour; resumed != want {
				t.Fatalf("%s: after %v resumed: %v", side, passed, resumed)
			}
			if !resumed {
				break
			}
		}
	}
}

// A session ends with either chain, and a ticket with its lifetime.
func TestASessionEndsWithEitherChain(t *testing.T) {
	for name, set := range map[string]func(*house, *mtls.ServerConfig, *mtls.ClientConfig){
		"the server's": func(h *house, sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Identity, cc.Servers = h.leaf("orders", valid(time.Hour)), blind{h.verifier()}
		},
		"the client's": func(h *house, sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			cc.Identity, sc.Clients = h.leaf("web", valid(time.Hour)), mtls.Required(blind{h.verifier()})
		},
		"the ticket": func(h *house, sc *mtls.ServerConfig, cc *mtls.ClientConfig) { sc.Resumption.Lifetime = time.Hour },
	} {
		for _, side := range []string{"server", "client"} {
			h := newHouse(t)
			sc, cc := h.resuming()
			hour, still := newClock(), newClock()
			sc.Common, cc.Common = hour.common(), still.common()
			if side == "client" {
				sc.Common, cc.Common = cc.Common, sc.Common
			}
			set(h, &sc, &cc)
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(s, c, "orders")
			hour.pass(50 * time.Minute)
			if _, _, resumed := p.visit(s, c, "orders"); !resumed {
				t.Errorf("%s: not resumed before its end, by the clock of the %s", name, side)
			}
			hour.pass(9*time.Minute + 59*time.Second)
			if name == "the ticket" {
				hour.pass(time.Hour)
			}
			hour.pass(time.Minute) // the certificate may have been made a little later than the clock
			_, _, serr, cerr := p.try(s, c, "orders")
			if err := errors.Join(serr, cerr); name == "the ticket" && err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if server, _, _, _ := p.try(s, c, "orders"); server != nil && name != "the ticket" && server.Negotiated().Resumed {
				t.Errorf("%s: resumed after its end, by the clock of the %s", name, side)
			}
		}
	}
}

// blind is a verifier that does not look at the time, as pins do not.
type blind struct{ inner mtls.Verifier }

func (b blind) Generation() ([32]byte, bool) { return [32]byte{2}, true }

func (b blind) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	early := *claim
	early.Now = time.Now()
	v, err := b.inner.Verify(ctx, &early)
	if v != nil {
		v.Until = time.Time{}
	}
	return v, err
}

// A ticket is used once: without a new one the next handshake is full. As many
// connections as there were tickets asked for can begin together.
func TestATicketIsUsedOnce(t *testing.T) {
	for asked, resumes := range map[int][]bool{0: {true, false}, 3: {true, true, true, false}} {
		ticketsUsedOnce(t, asked, resumes)
	}
}

func ticketsUsedOnce(t *testing.T, asked int, resumes []bool) {
	h := newHouse(t)
	sc, cc := h.resuming()
	cc.Resumption.Tickets = asked
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	for i, want := range resumes {
		st, ct := p.transports()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		served := make(chan error, 1)
		go func() { _, err := s.Accept(ctx, st); served <- err }()
		conn, err := c.Connect(ctx, ct, "orders") // and nothing is read: no new ticket
		if err = errors.Join(err, <-served); err != nil {
			t.Fatal(err)
		}
		if got := conn.Negotiated().Resumed; got != want {
			t.Errorf("connection %d resumed: %v", i+2, got)
		}
		cancel()
	}
}

// Many connections of one client at once share its sessions, and each is used by
// one of them.
func TestManyConnectionsShareTheSessions(t *testing.T) {
	for name, store := range map[string]mtls.SessionStore{"tickets": nil, "a store": mtls.NewSessionMemory(100)} {
		h := newHouse(t)
		sc, cc := h.resuming()
		sc.Resumption.Store = store
		s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
		l := s.Wrap(p.l)
		go func() {
			for {
				conn, err := l.AcceptConn()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte{1})
			}
		}()
		var resumed atomic.Int32
		var wait sync.WaitGroup
		const workers, each = 6, 5
		for range workers {
			wait.Go(func() {
				for range each {
					ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					transport, err := net.Dial("tcp", p.l.Addr().String())
					if err != nil {
						t.Error(err)
						return
					}
					conn, err := c.Connect(ctx, transport, "orders")
					if err != nil {
						t.Error(err)
						return
					}
					_ = conn.SetReadDeadline(soon())
					if _, err := conn.Read(make([]byte, 1)); err != nil {
						t.Error(err)
					}
					if conn.Negotiated().Resumed {
						resumed.Add(1)
					}
					_ = conn.Close()
				}
			})
		}
		wait.Wait()
		_ = l.Close()
		// The first of each worker may find no session; each later one finds at
		// least that of its own.
		if n := resumed.Load(); n < workers*(each-1) {
			t.Errorf("%s: %d of %d were resumed", name, n, workers*each)
		}
	}
}

// What stands by a session is judged like anything that stands.
func TestAResumedConnectionIsRecheckedAndEnds(t *testing.T) {
	for _, how := range []string{"recheck", "end"} {
		for _, side := range []string{"server", "client"} {
			h := newHouse(t)
			sc, cc := h.resuming()
			j := &judged{inner: h.verifier()}
			sc.Limits = &mtls.Limits{Grace: -1}
			var ahead atomic.Int64
			sc.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
			cc.Common = sc.Common
			if side == "server" {
				sc.Clients = mtls.Required(j)
			} else {
				cc.Servers = j
			}
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			fs, fc, _ := p.visit(s, c, "orders")
			fs.Close()
			fc.Close()
			if how == "end" {
				j.set(until(time.Hour))
			}
			server, client, resumed := p.visit(s, c, "orders")
			if !resumed {
				t.Fatalf("%s: not resumed", side)
			}
			if how == "end" {
				ahead.Store(int64(2 * time.Hour))
			}
			judging, want := server, "certificate_expired"
			if side == "client" {
				judging = client
			}
			if how == "recheck" {
				want = "certificate_revoked"
				j.set(func(claim *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) {
					if claim.Occasion != mtls.Recheck || len(claim.Chain) == 0 {
						t.Errorf("asked %+v", claim)
					}
					return &mtls.Verdict{Code: "M0121", Peer: v.Peer}, nil
				})
				s.Recheck(context.Background())
				c.Recheck(context.Background())
			}
			if r := refusal(t, ended(t, judging)); r.Alert.String() != want || r.Shown.Name() == "" {
				t.Errorf("%s by %s: %+v", side, how, r)
			}
		}
	}
}

// A store that fails, forgets or holds nonsense costs a full handshake.
type badStore struct {
	mtls.SessionStore
	put, take error
	nonsense  []byte
}

func (b *badStore) Put(ctx context.Context, id [32]byte, session []byte, until time.Time) error {
	if b.put != nil {
		return b.put
	}
	return b.SessionStore.Put(ctx, id, session, until)
}

func (b *badStore) Take(ctx context.Context, id [32]byte) ([]byte, error) {
	if b.take != nil || b.nonsense != nil {
		return b.nonsense, b.take
	}
	return b.SessionStore.Take(ctx, id)
}

func TestAStoreThatFailsCostsAFullHandshake(t *testing.T) {
	h := newHouse(t)
	for name, b := range map[string]*badStore{
		"can't keep": {put: io.ErrShortWrite}, "can't give": {take: io.ErrUnexpectedEOF}, "gives nonsense": {nonsense: []byte{1, 19, 1, 32}},
	} {
		sc, cc := h.resuming()
		b.SessionStore = mtls.NewSessionMemory(4)
		sc.Resumption.Store = b
		s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
		for range 2 {
			if _, _, resumed := p.visit(s, c, "orders"); resumed {
				t.Errorf("%s: resumed", name)
			}
		}
	}
}

func TestSettingsOfResumptionThatCanNotBeAreErrors(t *testing.T) {
	h := newHouse(t)
	for name, r := range map[string]*mtls.ServerResumption{
		"keys and a store":  {Keys: shared(t, 1), Store: mtls.NewSessionMemory(1)},
		"chains in a store": {Chains: mtls.NewChainMemory(0, 0), Store: mtls.NewSessionMemory(1)},
		"no key yet":        {Keys: &mtls.TicketKeys{}},
		"eight days":        {Lifetime: 8 * 24 * time.Hour},
		"negative lifetime": {Lifetime: -1},
		"negative tickets":  {Tickets: -1},
		"17 tickets":        {Tickets: 17},
	} {
		sc := h.serverConfig()
		sc.Resumption = r
		if _, err := mtls.NewServer(sc); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, r := range []mtls.ClientResumption{{Sessions: -1}, {Tickets: -1}, {Tickets: 9}} {
		cc := h.clientConfig()
		cc.Resumption = &r
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("%+v: accepted", r)
		}
	}
}
