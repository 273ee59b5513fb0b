package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// earlier turns early data on, on both sides. Their clocks stand: a ticket's age must
// not differ by how long a busy machine takes.
func (h *house) earlier() (mtls.ServerConfig, mtls.ClientConfig) {
	sc, cc := h.resuming()
	now := time.Now()
	sc.Clock = func() time.Time { return now }
	cc.Clock = sc.Clock
	sc.Resumption.EarlyData = &mtls.ServerEarlyData{}
	return sc, cc
}

// early carries out a connection over which the client sends data early, and the
// server answers it with what reply makes of it.
type early struct {
	server, client *mtls.Conn
	serverErr      error
	read           []byte // early, by the server
	answer         []byte
	sent           error
	wire           []byte // what the client sent first
}

// recorder keeps what is written to it.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	wire []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.wire = append(r.wire, b...)
	r.mu.Unlock()
	return r.Conn.Write(b)
}

func (p *place) early(s *mtls.Server, c *mtls.Client, data string) *early {
	p.t.Helper()
	st, ct := p.transports()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	p.t.Cleanup(cancel)
	e := &early{}
	var wait sync.WaitGroup
	wait.Go(func() {
		if e.server, e.serverErr = s.Accept(ctx, st); e.serverErr != nil {
			return
		}
		_ = e.server.SetDeadline(soon())
		if e.read, e.serverErr = readEarly(e.server); e.serverErr == nil {
			_, e.serverErr = e.server.Write([]byte("answer to " + string(e.read)))
		}
	})
	rec := &recorder{Conn: ct}
	var err error
	if e.client, err = c.ConnectEarly(ctx, rec, "orders"); err != nil {
		p.t.Fatal(err)
	}
	_ = e.client.SetDeadline(soon())
	_, e.sent = e.client.WriteEarly([]byte(data))
	rec.mu.Lock()
	e.wire = bytes.Clone(rec.wire)
	rec.mu.Unlock()
	b := make([]byte, 1000)
	n, err := e.client.Read(b)
	if err != nil {
		p.t.Fatal(err)
	}
	e.answer = b[:n]
	wait.Wait()
	if e.serverErr != nil {
		p.t.Fatal(e.serverErr)
	}
	if got := e.server.Negotiated().EarlyData; got != e.client.Negotiated().EarlyData {
		p.t.Errorf("the server says %v of early data, the client %v", got, e.client.Negotiated().EarlyData)
	}
	return e
}

// readEarly reads what came early, as far as it has come.
func readEarly(c *mtls.Conn) ([]byte, error) {
	b := make([]byte, 1000)
	n, err := c.ReadEarly(b)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// outcome says what became of early data.
func (e *early) outcome(t testing.TB, want mtls.EarlyData, data string) {
	t.Helper()
	if got := e.client.Negotiated().EarlyData; got != want {
		t.Fatalf("early data: %v, expected %v; %v; %+v", got, want, e.sent, e.client.Negotiated())
	}
	if want != mtls.EarlyAccepted {
		data = ""
	}
	if string(e.read) != data || string(e.answer) != "answer to "+data {
		t.Errorf("the server read %q early, and answered %q", e.read, e.answer)
	}
}

func TestEarlyDataIsAnsweredBeforeTheHandshakeIsOver(t *testing.T) {
	h := newHouse(t)
	for name, set := range map[string]func(*mtls.ServerConfig, *mtls.ClientConfig){
		"as it is":            func(*mtls.ServerConfig, *mtls.ClientConfig) {},
		"an anonymous client": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Clients = mtls.Anonymous() },
		"a store":             func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Resumption.Store = mtls.NewSessionMemory(10) },
		"SHA-384":             func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Suites = []mtls.Suite{suite.AES256GCMSHA384} },
		"ALPN": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.ALPN, cc.ALPN = []string{"b", "a"}, []string{"a", "b"}
		},
		"shared keys and a shared register": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Resumption.Keys, sc.Resumption.EarlyData.Register = shared(t, 1), &register{now: sc.Clock}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.earlier()
			set(&sc, &cc)
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(s, c, "orders")
			for range 3 {
				e := p.early(s, c, "a question")
				if e.sent != nil {
					t.Fatal(e.sent)
				}
				e.outcome(t, mtls.EarlyAccepted, "a question")
				one, err1 := e.client.ExportEarly("EXPORTER-test", nil, 32)
				two, err2 := e.server.ExportEarly("EXPORTER-test", nil, 32)
				if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
					t.Errorf("exported %x (%v) and %x (%v)", one, err1, two, err2)
				}
				three, err1 := e.client.Export("EXPORTER-test", nil, 32)
				four, err2 := e.server.Export("EXPORTER-test", nil, 32)
				if err1 != nil || err2 != nil || !bytes.Equal(three, four) || bytes.Equal(one, three) {
					t.Errorf("exported %x (%v) and %x (%v)", three, err1, four, err2)
				}
				if n := e.client.Negotiated(); !n.Resumed || n.ALPN != e.client.EarlyProtocol() {
					t.Errorf("agreed on %+v, early for %q", n, e.client.EarlyProtocol())
				}
				one1, ok1 := e.client.Peer()
				two1, ok2 := e.server.Peer()
				if !ok1 || one1.Name() != "orders" || ok2 != e.server.Negotiated().ClientAuthenticated || ok2 && two1.Name() != "web" {
					t.Errorf("the peers are %q, %q", one1.Name(), two1.Name())
				}
				go func() { _ = echo(e.server) }()
				if err := exchange(e.client, noise(100<<10)); err != nil {
					t.Error(err)
				}
				_, _ = e.client.Close(), e.server.Close()
			}
		})
	}
}

// register is one for a fleet.
type register struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[[32]byte]bool
	err  error
}

func (r *register) Register(_ context.Context, id [32]byte, until time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[[32]byte]bool{}
	}
	fresh := !r.seen[id] && until.Sub(r.now()) > 20*time.Second
	r.seen[id] = true
	return fresh, r.err
}

// Whatever has changed makes early data be lost, and nobody sends it again.
func TestEarlyDataIsLostWhere(t *testing.T) {
	h := newHouse(t)
	var now, refuse time.Duration
	for name, c := range map[string]struct {
		before func(*mtls.ServerConfig, *mtls.ClientConfig)
		change func(*mtls.ServerConfig)
		full   bool
	}{
		"it was turned off":        {change: func(sc *mtls.ServerConfig) { sc.Resumption.EarlyData = nil }},
		"less is allowed now":      {change: func(sc *mtls.ServerConfig) { sc.Resumption.EarlyData = &mtls.ServerEarlyData{Most: 100} }},
		"the protocol has changed": {change: func(sc *mtls.ServerConfig) { sc.ALPN = []string{"b", "a"} }},
		"the trust has changed": {change: func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.Authorities(anchorsOf(t, h.root, newHouse(t).root)))
		}, full: true},
		"the client auth is another": {change: func(sc *mtls.ServerConfig) { sc.Clients = mtls.Optional(h.verifier()) }, full: true},
		"the ticket keys are others": {change: func(sc *mtls.ServerConfig) { sc.Resumption.Keys = nil }, full: true},
		"it takes another hello": {before: func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			cc.Groups, sc.Groups = []mtls.Group{suite.X25519, suite.P256}, []mtls.Group{suite.P256}
		}},
		"the register fails": {before: func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Resumption.EarlyData.Register = &register{now: sc.Clock, err: errors.New("it is down")}
		}},
		"the server's clock has jumped": {before: func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Clock = func() time.Time { return time.Now().Add(now) }
		}, change: func(*mtls.ServerConfig) { now = 15 * time.Second }},
		"the client is not let in any more": {before: func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			inner := h.verifier()
			sc.Clients = mtls.Required(rejudged{inner, func(c *mtls.Claim, v *mtls.Verdict) *mtls.Verdict {
				if refuse != 0 && c.Occasion == mtls.Resumption {
					v.OK = false
				}
				return v
			}})
		}, change: func(*mtls.ServerConfig) { refuse = 1 }, full: true},
	} {
		t.Run(name, func(t *testing.T) {
			now, refuse = 0, 0
			sc, cc := h.earlier()
			sc.ALPN, cc.ALPN = []string{"a", "b"}, []string{"a", "b"}
			keys, err := mtls.NewTicketKeys(0)
			if err != nil {
				t.Fatal(err)
			}
			sc.Resumption.Keys = keys
			if c.before != nil {
				c.before(&sc, &cc)
			}
			client, p := newClient(t, cc), newPlace(t)
			p.visit(newServer(t, sc), client, "orders")
			other := *sc.Resumption
			sc.Resumption = &other
			if c.change != nil {
				c.change(&sc)
			}
			e := p.early(newServer(t, sc), client, "a question")
			if e.sent != nil {
				t.Fatal(e.sent)
			}
			e.outcome(t, mtls.EarlyRejected, "")
			if e.client.Negotiated().Resumed == c.full {
				t.Errorf("resumed: %v", !c.full)
			}
			if _, err := e.client.ExportEarly("EXPORTER-test", nil, 32); err == nil {
				t.Error("something is exported of what was lost")
			}
			if _, err := e.client.WriteEarly([]byte("again")); err != mtls.ErrEarlyDataOver {
				t.Errorf("more was sent early: %v", err)
			}
		})
	}
}

// Where a server resumes without the early data, the client judges it once more
// before anything else is said: what it was let in for is over, and it is later.
func TestAServerThatTakesNoEarlyDataIsJudgedOnceMore(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		takes   bool // the early data
		refused int  // which of the judgements of the session is a refusal
		asked   int
	}{{takes: true, asked: 1}, {asked: 2}, {refused: 2, asked: 2}} {
		sc, cc := h.earlier()
		v := &fickle{inner: h.verifier()}
		cc.Servers = v
		keys, err := mtls.NewTicketKeys(0)
		if err != nil {
			t.Fatal(err)
		}
		sc.Resumption.Keys = keys
		client, p := newClient(t, cc), newPlace(t)
		p.visit(newServer(t, sc), client, "orders")
		if !c.takes {
			sc.Resumption = &mtls.ServerResumption{Keys: keys}
		}
		s, judgements := newServer(t, sc), 0
		v.refuse(func(*mtls.Claim) bool {
			judgements++
			return judgements == c.refused
		})
		st, ct := p.transports()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		served := make(chan error, 1)
		go func() {
			conn, err := s.Accept(ctx, st)
			if err == nil {
				_ = conn.SetDeadline(soon())
				_, err = conn.Read(make([]byte, 1))
			}
			served <- err
		}()
		conn, err := client.ConnectEarly(ctx, ct, "orders")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if conn.HandshakeOver() {
			t.Fatal("no early data can be sent")
		}
		switch err := conn.Handshake(ctx); {
		case c.refused == 0 && err != nil:
			t.Fatal(err)
		case c.refused > 0:
			if r := refusal(t, err); r.Code != "M0121" || !r.Sent {
				t.Errorf("refused with %+v", r)
			}
			if r := refusal(t, <-served); r.Alert.String() != "certificate_revoked" || r.Sent {
				t.Errorf("the server was told %+v", r)
			}
		}
		if asked := v.refuse(nil); !slices.Equal(asked, slices.Repeat([]mtls.Occasion{mtls.Resumption}, c.asked)) {
			t.Errorf("taken: %v; asked on the occasions %v", c.takes, asked)
		}
	}
}

// A server is told how far a client's word on the age of its ticket is from what it
// knows itself, whether or not early data came.
func TestAServerTellsTheSkewOfATicketsAge(t *testing.T) {
	h := newHouse(t)
	base := time.Now()
	var serverClock, clientClock time.Duration
	sc, cc := h.resuming()
	sc.Clock = func() time.Time { return base.Add(serverClock) }
	cc.Clock = func() time.Time { return base.Add(clientClock) }
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	for _, want := range []time.Duration{0, 5 * time.Second, -61 * time.Second} {
		clientClock, serverClock = clientClock+70*time.Second+want, serverClock+70*time.Second
		server, client, resumed := p.visit(s, c, "orders")
		if !resumed {
			t.Fatal("not resumed")
		}
		if got := server.Negotiated().TicketAgeSkew; got != want {
			t.Errorf("a skew of %v, expected %v", got, want)
		}
		if got := client.Negotiated().TicketAgeSkew; got != 0 {
			t.Errorf("the client tells a skew of %v", got)
		}
	}
}

// rejudged is a verifier whose verdicts are changed; it tells its generation.
type rejudged struct {
	mtls.Verifier
	change func(*mtls.Claim, *mtls.Verdict) *mtls.Verdict
}

func (j rejudged) Verify(ctx context.Context, c *mtls.Claim) (*mtls.Verdict, error) {
	v, err := j.Verifier.Verify(ctx, c)
	if err != nil {
		return v, err
	}
	own := *v
	return j.change(c, &own), nil
}

func (j rejudged) Generation() ([32]byte, bool) { return [32]byte{1}, true }

// A hello that comes again, byte for byte, with its early data, finds a handshake
// that skips the data: on the same server and on every other one that has its
// keys.
func TestAReplayIsNotRead(t *testing.T) {
	h := newHouse(t)
	for name, set := range map[string]func(*mtls.ServerConfig){
		"keys of its own": func(sc *mtls.ServerConfig) {
			sc.Resumption.Keys, _ = mtls.NewTicketKeys(0)
		},
		"shared keys": func(sc *mtls.ServerConfig) {
			sc.Resumption.Keys, sc.Resumption.EarlyData.Register = shared(t, 1), &register{now: sc.Clock}
		},
		"a store": func(sc *mtls.ServerConfig) { sc.Resumption.Store = mtls.NewSessionMemory(10) },
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.earlier()
			set(&sc)
			s, second, c, p := newServer(t, sc), newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(s, c, "orders")
			e := p.early(s, c, "a payment")
			e.outcome(t, mtls.EarlyAccepted, "a payment")
			for i, again := range []*mtls.Server{s, second} {
				st, ct := p.transports()
				if _, err := ct.Write(e.wire); err != nil {
					t.Fatal(err)
				}
				go func() { // whoever replays has no keys to go on with
					b := make([]byte, 1)
					_, _ = ct.Read(b)
					_ = ct.(*net.TCPConn).CloseWrite()
				}()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				conn, err := again.Accept(ctx, st)
				cancel()
				if err == nil {
					got, err := readEarly(conn)
					t.Errorf("server %d took the replay: %q, %v", i, got, err)
				}
			}
		})
	}
}

// Early data is reached by ReadEarly and by nothing else.
func TestReadGivesNoEarlyData(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.earlier()
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	st, ct := p.transports()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := c.ConnectEarly(ctx, ct, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if client.HandshakeOver() || client.EarlyRoom() != 14<<10 {
		t.Fatalf("there is room for %d bytes", client.EarlyRoom())
	}
	if _, ok := client.Peer(); ok || client.Verdict() != nil || client.PeerChain() != nil || client.Local() != nil || client.Negotiated() != (mtls.Negotiated{}) {
		t.Error("something is known of the server before it has answered")
	}
	if _, err := client.Export("EXPORTER-test", nil, 32); err == nil {
		t.Error("something is exported before the handshake is over")
	}
	if _, err := client.WriteEarly([]byte("early")); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("late")) // waits for the handshake
		done <- errors.Join(err, client.CloseWrite())
	}()
	server, err := s.Accept(ctx, st)
	if err != nil {
		t.Fatal(err)
	}
	_ = server.SetDeadline(soon())
	b := make([]byte, 100)
	if n, err := server.Read(b); n != 0 || err != mtls.ErrEarlyDataUnread {
		t.Fatalf("Read gave %q, %v", b[:n], err)
	}
	if err := server.Handshake(ctx); err != nil || !server.HandshakeOver() {
		t.Fatal(err)
	}
	if n, err := server.ReadEarly(b); string(b[:n]) != "early" || err != nil {
		t.Fatalf("ReadEarly gave %q, %v", b[:n], err)
	}
	if n, err := server.ReadEarly(b); n != 0 || err != io.EOF {
		t.Fatalf("ReadEarly gave %q, %v", b[:n], err)
	}
	if got, err := io.ReadAll(server); string(got) != "late" || err != nil {
		t.Fatalf("Read gave %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if client.Negotiated().EarlyData != mtls.EarlyAccepted {
		t.Error("the client was not told")
	}
}

// Where nothing can be sent early, DialEarly is Dial, and WriteEarly sends nothing.
func TestWithoutASessionNothingIsSentEarly(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.earlier()
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	e := p.early(s, c, "too soon")
	if e.sent != mtls.ErrEarlyDataOver {
		t.Errorf("it was sent: %v", e.sent)
	}
	e.outcome(t, mtls.NoEarlyData, "")

	_, _, resumed := p.visit(s, c, "orders") // who does not ask sends none
	if !resumed {
		t.Error("not resumed")
	}
	e = p.early(s, c, string(make([]byte, 14<<10+1)))
	if e.sent != mtls.ErrEarlyDataOver {
		t.Errorf("more than is allowed was sent: %v", e.sent)
	}
}

func TestAServerDoesNotStartWithoutARegisterForItsFleet(t *testing.T) {
	h := newHouse(t)
	sc, _ := h.earlier()
	sc.Resumption.Keys = shared(t, 1)
	if _, err := mtls.NewServer(sc); err == nil {
		t.Error("it started")
	}
	sc.Resumption.Keys, sc.Resumption.EarlyData.Most = nil, 1<<20+1
	if _, err := mtls.NewServer(sc); err == nil {
		t.Error("it started with a limit above what is taken")
	}
}

// A client that does not go on is not waited for longer than for any handshake.
func TestAClientThatSendsEarlyDataAloneIsCutOff(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.earlier()
	keys, err := mtls.NewTicketKeys(0)
	if err != nil {
		t.Fatal(err)
	}
	sc.Resumption.Keys = keys
	patient := newServer(t, sc)
	c, p := newClient(t, cc), newPlace(t)
	var s *mtls.Server
	var server *mtls.Conn
	for given := time.Second; server == nil; given *= 3 { // a busy machine needs more to come so far
		p.visit(patient, c, "orders")
		sc.Limits = &mtls.Limits{HandshakeTime: given}
		s = newServer(t, sc)
		st, ct := p.transports()
		client, err := c.ConnectEarly(t.Context(), ct, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.WriteEarly([]byte("hello?")); err != nil {
			t.Fatal(err)
		}
		if server, err = s.Accept(t.Context(), st); err != nil && !refusal(t, err).Timeout() {
			t.Fatal(err)
		}
	}
	<-server.Context().Done()
	if err := server.Handshake(t.Context()); refusal(t, err).Code != "M0703" && refusal(t, err).Fault != mtls.Network {
		t.Error(err)
	}
	_, err = server.Read(make([]byte, 1))
	refusal(t, err)
	if s.Standing() != 0 {
		t.Error("it stands")
	}
}

// A server that does not answer as it should is refused, and both halves say so.
func TestAServerThatFailsAfterEarlyDataIsTold(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.earlier()
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	st, ct := p.transports()
	client, err := c.ConnectEarly(t.Context(), ct, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.WriteEarly([]byte("hello?")); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("x"))
		written <- err
	}()
	err = client.Handshake(t.Context())
	if r := refusal(t, err); r.Fault != mtls.PeerIncompatible {
		t.Error(err)
	}
	refusal(t, <-written)
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("Read goes on")
	}
	if _, ok := client.Peer(); ok || client.EarlyRoom() != 0 {
		t.Error("a peer that failed is proven")
	}
	_ = client.Close()
}
