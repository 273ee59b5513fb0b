package mtls_test

import (
	"context"
	"crypto/x509/pkix"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// judged is a verifier whose verdict a test changes while it is in use.
type judged struct {
	inner   mtls.Verifier
	change  atomic.Pointer[func(*mtls.Claim, *mtls.Verdict) (*mtls.Verdict, error)]
	entered chan struct{} // if not nil, told when a judgement begins
	release chan struct{} // if not nil, waited for
}

func (j *judged) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	if j.entered != nil {
		j.entered <- struct{}{}
		<-j.release
	}
	v, err := j.inner.Verify(ctx, claim)
	if f := j.change.Load(); f != nil && err == nil {
		return (*f)(claim, v)
	}
	return v, err
}

func (j *judged) set(f func(*mtls.Claim, *mtls.Verdict) (*mtls.Verdict, error)) { j.change.Store(&f) }

// until makes good verdicts end after d.
func until(d time.Duration) func(*mtls.Claim, *mtls.Verdict) (*mtls.Verdict, error) {
	return func(_ *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) {
		own := *v
		own.Until = time.Now().Add(d)
		return &own, nil
	}
}

// ended waits for the end of c's context, and is its cause.
func ended(t *testing.T, c *mtls.Conn) error {
	t.Helper()
	select {
	case <-c.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the context does not end")
	}
	return context.Cause(c.Context())
}

func TestAClientIsAdmittedAfterItsJudgementAndNotBefore(t *testing.T) {
	h := newHouse(t)
	sc := h.serverConfig()
	j := &judged{inner: h.verifier(), entered: make(chan struct{}, 1), release: make(chan struct{})}
	sc.Clients = mtls.Required(j)
	s, c := newServer(t, sc), newClient(t, h.clientConfig())
	st, ct := loopback(t)
	accepted := make(chan *mtls.Conn, 1)
	go func() {
		conn, _ := s.Accept(context.Background(), st)
		accepted <- conn
	}()
	client, err := c.Connect(context.Background(), ct, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	<-j.entered
	// The server is thinking. Who asks now, and has no time, is told "unknown",
	// and the connection is as good as before.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := client.Admitted(ctx); !errors.Is(err, mtls.ErrAdmissionUnknown) {
		t.Fatalf("before the judgement Admitted gives %v", err)
	}
	answers := make(chan error, 3)
	for range 2 {
		go func() { answers <- client.Admitted(context.Background()) }()
	}
	go func() { // somebody reads meanwhile
		var b [5]byte
		_, err := io.ReadFull(client, b[:])
		if err == nil && string(b[:]) != "hello" {
			err = errors.New("read " + string(b[:]))
		}
		answers <- err
	}()
	close(j.release)
	server := <-accepted
	if server == nil {
		t.Fatal("not accepted")
	}
	defer server.Close()
	if _, err := server.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if err := client.Admitted(context.Background()); err != nil {
		t.Errorf("asked again: %v", err)
	}
	if err := server.Admitted(context.Background()); err != nil {
		t.Errorf("a server asks: %v", err)
	}
}

func TestAdmittedTellsTheRefusal(t *testing.T) {
	h := newHouse(t)
	cc := h.clientConfig()
	cc.Identity = certificate(t, mint.Root("Stranger").Leaf("web"))
	_, _, serr, cerr := meet(t, newServer(t, h.serverConfig()), newClient(t, cc), "orders")
	if r := refusal(t, serr); r.Code != "M0103" || !r.Sent || r.Fault != mtls.OurPolicy || r.Shown.Name() != "web" || r.Verdict == nil || r.Mend == "" || r.At != "CertificateVerify" {
		t.Errorf("the server: %+v", r)
	}
	if r := refusal(t, cerr); r.Alert.String() != "unknown_ca" || r.Sent || r.Fault != mtls.PeerRefusedUs || r.Mend == "" {
		t.Errorf("the client: %+v", r)
	}
}

// Admitted does not outlive the connection.
func TestCloseEndsAdmitted(t *testing.T) {
	h := newHouse(t)
	sc := h.serverConfig()
	j := &judged{inner: h.verifier(), entered: make(chan struct{}, 1), release: make(chan struct{})}
	sc.Clients = mtls.Required(j)
	s, c := newServer(t, sc), newClient(t, h.clientConfig())
	for range 20 {
		st, ct := loopback(t)
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if conn, err := s.Accept(context.Background(), st); err == nil {
				_ = conn.Close()
			}
		}()
		client, err := c.Connect(context.Background(), ct, "orders")
		if err != nil {
			t.Fatal(err)
		}
		<-j.entered
		over := make(chan error, 4)
		for range 4 {
			go func() { over <- client.Admitted(context.Background()) }()
		}
		_ = client.Close()
		for range 4 {
			select {
			case err := <-over:
				if err == nil {
					t.Error("admitted by nobody")
				}
			case <-time.After(time.Minute):
				t.Fatal("Admitted waits for a connection that is closed")
			}
		}
		j.release <- struct{}{}
		<-gone
	}
}

func TestPeerIsWhoWasProvenAndNobodyElse(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	server, client := met(t, sc, cc)
	if p, ok := server.Peer(); !ok || p.Name() != "web" || len(p.Path) != 3 || server.PeerChain()[0] != p.Leaf {
		t.Errorf("the server sees %+v, %v", p, ok)
	}
	if p, ok := client.Peer(); !ok || p.Name() != "orders" || len(p.Path) != 3 {
		t.Errorf("the client sees %+v, %v", p, ok)
	}
	for name, clients := range map[string]mtls.ClientPolicy{"anonymous": mtls.Anonymous(), "optional": mtls.Optional(h.verifier())} {
		sc, cc := h.serverConfig(), h.clientConfig()
		sc.Clients = clients
		if name == "optional" {
			cc.Identity = nil
		}
		server, client := met(t, sc, cc)
		p, ok := server.Peer()
		if ok || p.Leaf != nil || p.Name() != "" || server.PeerChain() != nil || server.Verdict() != nil || server.Negotiated().ClientAuthenticated || client.Negotiated().ClientAuthenticated {
			t.Errorf("%s: the server sees %+v, %v", name, p, ok)
		}
	}
}

// A verifier of the user's that admits whoever proves a key does not make a peer
// of what does not parse.
func TestWhatDoesNotParseIsNobody(t *testing.T) {
	h := newHouse(t)
	// It is a certificate, and larger than any that we read.
	huge := h.leaf("web", mint.Extension(pkix.Extension{Id: []int{1, 2, 3, 4}, Value: make([]byte, pki.MaxCertificate)}))
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) {
		return &mtls.Verdict{OK: true}, nil
	}))
	s := newServer(t, sc)
	_, _, serr, _ := meet(t, s, newClient(t, cc), "orders")
	if serr != nil {
		t.Fatalf("an honest client: %v", serr)
	}
	cc.Identity = huge
	_, _, serr, cerr := meet(t, s, newClient(t, cc), "orders")
	if r := refusal(t, serr); r.Code != "M0117" || r.Alert.String() != "bad_certificate" || r.Mend == "" {
		t.Errorf("the server: %+v", r)
	}
	refusal(t, cerr)
}

func TestTheContextEndsWithTheCertificateAndTheConnectionAfterTheGrace(t *testing.T) {
	h := newHouse(t)
	for _, grace := range []time.Duration{-1, 60 * time.Millisecond} {
		sc := h.serverConfig()
		j := &judged{inner: h.verifier()}
		j.set(until(3 * time.Second))
		sc.Clients = mtls.Required(j)
		sc.Limits = &mtls.Limits{Grace: grace}
		server, client := met(t, sc, h.clientConfig())
		read := make(chan error, 1)
		go func() {
			_, err := server.Read(make([]byte, 1))
			read <- err
		}()
		r := refusal(t, ended(t, server))
		if r.Code != "M0405" || r.Mend == "" || r.Alert.String() != "certificate_expired" || r.Shown.Name() != "web" || r.Fault != mtls.OurPolicy {
			t.Errorf("%+v", r)
		}
		if got := refusal(t, <-read); got.Code != r.Code {
			t.Errorf("Read gave %+v", got)
		}
		_, err := server.Write([]byte("x"))
		if got := refusal(t, err); got.Code != r.Code {
			t.Errorf("Write gave %+v", got)
		}
		_ = client.SetReadDeadline(soon())
		_, err = client.Read(make([]byte, 1))
		if got := refusal(t, err); got.Alert.String() != "certificate_expired" || got.Sent {
			t.Errorf("the client was told %+v", got)
		}
	}
}

// slowToCut holds up whoever cuts its connection off, as soon as the reader was
// woken.
type slowToCut struct {
	net.Conn
	woken         atomic.Bool
	held, release chan struct{}
}

func (s *slowToCut) SetReadDeadline(t time.Time) error {
	if !t.IsZero() && t.Before(time.Now()) {
		s.woken.Store(true)
	}
	return s.Conn.SetReadDeadline(t)
}

func (s *slowToCut) SetWriteDeadline(t time.Time) error {
	if s.woken.Swap(false) {
		close(s.held)
		<-s.release
	}
	return s.Conn.SetWriteDeadline(t)
}

// Whoever Read has told that the peer is not allowed any more sends it nothing, and
// says no farewell: the alert is the last that the peer gets, and it is not late.
func TestNothingIsSaidAfterReadSaidThatItIsOver(t *testing.T) {
	h := newHouse(t)
	for name, then := range map[string]func(*mtls.Conn) error{
		"Write":      func(c *mtls.Conn) error { _, err := c.Write([]byte("x")); return err },
		"CloseWrite": func(c *mtls.Conn) error { return c.CloseWrite() },
		"Close":      func(c *mtls.Conn) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			sc := h.serverConfig()
			j := &judged{inner: h.verifier()}
			sc.Clients = mtls.Required(j)
			s := newServer(t, sc)
			st, ct := loopback(t)
			slow := &slowToCut{Conn: st, held: make(chan struct{}), release: make(chan struct{})}
			type accepted struct {
				conn *mtls.Conn
				err  error
			}
			done := make(chan accepted, 1)
			go func() {
				conn, err := s.Accept(context.Background(), slow)
				done <- accepted{conn, err}
			}()
			client, err := newClient(t, h.clientConfig()).Connect(context.Background(), ct, "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			a := <-done
			if a.err != nil {
				t.Fatal(a.err)
			}
			j.set(func(*mtls.Claim, *mtls.Verdict) (*mtls.Verdict, error) {
				return &mtls.Verdict{Code: "M0121", Reason: "it was revoked"}, nil
			})
			go s.Recheck(context.Background())
			_, err = a.conn.Read(make([]byte, 1))
			if r := refusal(t, err); r.Code != "M0121" {
				t.Errorf("Read gave %+v", r)
			}
			<-slow.held
			err = then(a.conn)
			close(slow.release)
			if name == "Close" {
				if err != nil {
					t.Error(err)
				}
			} else if r := refusal(t, err); r.Code != "M0121" {
				t.Errorf("it gave %+v", r)
			}
			_ = client.SetReadDeadline(soon())
			n, err := client.Read(make([]byte, 1))
			if r := refusal(t, err); n != 0 || r.Alert.String() != "certificate_revoked" {
				t.Errorf("the client got %d bytes and %+v", n, r)
			}
		})
	}
}

func TestARecheckThatRefusesCutsWhoStands(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		h := newHouse(t)
		sc, cc := h.serverConfig(), h.clientConfig()
		j := &judged{inner: h.verifier()}
		var recheck func(context.Context)
		if side == "server" {
			sc.Clients = mtls.Required(j)
		} else {
			cc.Servers = j
		}
		s, c := newServer(t, sc), newClient(t, cc)
		server, client, serr, cerr := meet(t, s, c, "orders")
		if serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		judging, peer, standing := server, client, s.Standing
		recheck = s.Recheck
		if side == "client" {
			judging, peer, standing, recheck = client, server, c.Standing, c.Recheck
		}
		recheck(context.Background())
		if standing() != 1 || judging.Context().Err() != nil {
			t.Fatalf("%s: a second look that finds nothing ended it", side)
		}
		seen := make(chan mtls.Occasion, 1)
		j.set(func(claim *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) {
			seen <- claim.Occasion
			return &mtls.Verdict{Code: "M0121", Reason: "it was revoked"}, nil
		})
		recheck(context.Background())
		if o := <-seen; o != mtls.Recheck {
			t.Errorf("%s: the occasion is %v", side, o)
		}
		if r := refusal(t, ended(t, judging)); r.Code != "M0121" || r.Alert.String() != "certificate_revoked" || r.Mend == "" {
			t.Errorf("%s: %+v", side, r)
		}
		_ = peer.SetReadDeadline(soon())
		_, err := peer.Read(make([]byte, 1))
		if r := refusal(t, err); r.Alert.String() != "certificate_revoked" || r.Sent {
			t.Errorf("%s: the peer was told %+v", side, r)
		}
		if standing() != 0 {
			t.Errorf("%s: %d stand", side, standing())
		}
	}
}

// A change that comes between a peer's judgement and the end of its handshake finds
// nobody standing yet, and must not pass it by.
func TestAChangeDuringTheHandshakeIsNotMissed(t *testing.T) {
	h := newHouse(t)
	cc := h.clientConfig()
	var c *mtls.Client
	revoked := false
	cc.Servers = mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		if claim.Occasion == mtls.Recheck {
			return &mtls.Verdict{Code: "M0121", Reason: "it was revoked"}, nil
		}
		v, err := h.verifier().Verify(ctx, claim)
		revoked = true
		c.Recheck(ctx) // all who stand; this one does not
		return v, err
	})
	c = newClient(t, cc)
	_, client, _, cerr := meet(t, newServer(t, h.serverConfig()), c, "orders")
	if !revoked {
		t.Fatal("the server was not judged")
	}
	if cerr == nil {
		cerr = ended(t, client)
	}
	if r := refusal(t, cerr); r.Code != "M0121" {
		t.Errorf("%+v", r)
	}
}

// An application that comes to know something of its peer refuses it at any time,
// and the peer learns why.
func TestAnApplicationRefusesItsPeerAtAnyTime(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		alert mtls.Alert
		who   string
	}{{alert.AccessDenied, "server"}, {alert.CertificateRevoked, "client"}, {30, "server"}} {
		ours, theirs := met(t, h.serverConfig(), h.clientConfig())
		if c.who == "client" {
			ours, theirs = theirs, ours
		}
		for _, no := range []mtls.Alert{alert.CloseNotify, alert.UserCanceled} {
			if r := refusal(t, ours.Refuse(no, "for nothing")); r.Fault != mtls.Misuse {
				t.Errorf("%s: %+v", no, r)
			}
		}
		reading, told := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := ours.Read(make([]byte, 1))
			reading <- err
		}()
		go func() {
			_ = theirs.SetDeadline(soon())
			_, err := theirs.Read(make([]byte, 1))
			told <- err
		}()
		if err := ours.Refuse(c.alert, "its account was closed"); err != nil {
			t.Fatal(err)
		}
		<-ours.Context().Done()
		_, werr := ours.Write([]byte("x"))
		for what, err := range map[string]error{"Read": <-reading, "Write": werr, "Context": context.Cause(ours.Context())} {
			if r := refusal(t, err); r.Code != "M0404" || r.Alert != c.alert || !r.Sent || r.Reason != "its account was closed" {
				t.Errorf("%s answers %+v", what, r)
			}
		}
		if r := refusal(t, <-told); r.Alert != c.alert || r.Sent {
			t.Errorf("the peer was told %+v", r)
		}
		_ = ours.Close()
		if err := ours.Refuse(c.alert, "again"); err == nil {
			t.Error("a connection that is closed was refused")
		}
	}
}

func TestAbortEndsAllThatStands(t *testing.T) {
	h := newHouse(t)
	s, c := newServer(t, h.serverConfig()), newClient(t, h.clientConfig())
	server, client, serr, cerr := meet(t, s, c, "orders")
	if serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	s.Abort()
	if err := ended(t, server); !errors.Is(err, net.ErrClosed) || s.Standing() != 0 {
		t.Errorf("%v, and %d stand", err, s.Standing())
	}
	// Cut is not done: the other end must not take it for an orderly end.
	_ = client.SetReadDeadline(soon())
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the client sees %v", err)
	}
	c.Abort()
	if c.Standing() != 0 {
		t.Errorf("%d stand", c.Standing())
	}
}

// A second look may find another path, with another end.
func TestARecheckThatFindsAnotherEndMovesTheEnd(t *testing.T) {
	h := newHouse(t)
	sc := h.serverConfig()
	j := &judged{inner: h.verifier()}
	sc.Clients, sc.Limits = mtls.Required(j), &mtls.Limits{Grace: -1}
	s := newServer(t, sc)
	server, _, serr, cerr := meet(t, s, newClient(t, h.clientConfig()), "orders")
	if serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	j.set(until(50 * time.Millisecond))
	s.Recheck(context.Background())
	if r := refusal(t, ended(t, server)); r.Alert.String() != "certificate_expired" {
		t.Errorf("%+v", r)
	}
}

// Where our own verifier breaks, nobody is admitted, and nobody is blamed.
func TestAVerifierThatBreaksRefusesEverybody(t *testing.T) {
	h := newHouse(t)
	for name, v := range map[string]mtls.Verifier{
		"an error": mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) {
			return &mtls.Verdict{OK: true}, errors.New("the store is gone")
		}),
		"no verdict": mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) { return nil, nil }),
	} {
		sc := h.serverConfig()
		sc.Clients = mtls.Required(v)
		_, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, h.clientConfig()), "orders")
		if r := refusal(t, serr); r.Alert.String() != "certificate_unknown" || r.Mend == "" {
			t.Errorf("%s: the server: %+v", name, r)
		}
		if r := refusal(t, cerr); r.Alert.String() != "certificate_unknown" || r.Sent {
			t.Errorf("%s: the client: %+v", name, r)
		}
	}
}

// A listener that is closed leaves no handshake behind, and what it had accepted
// stays.
func TestAListenerCloses(t *testing.T) {
	h := newHouse(t)
	refused := make(chan *mtls.Refusal, 1)
	sc := h.serverConfig()
	sc.Refused = func(_ net.Addr, r *mtls.Refusal) { refused <- r }
	l, err := newServer(t, sc).Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stays := make(chan *mtls.Conn, 1)
	go func() {
		c, err := l.AcceptConn()
		if err != nil {
			t.Error(err)
		}
		stays <- c
	}()
	transport, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	client, err := newClient(t, h.clientConfig()).Connect(context.Background(), transport, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server := <-stays
	defer server.Close()
	stalls, err := net.Dial("tcp", l.Addr().String()) // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer stalls.Close()
	// It stalls in a handshake of its own once it was accepted; whether it was
	// already does not matter to what follows.
	if err := wait(t, "Close", l.Close); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept gives %v", err)
	}
	select {
	case r := <-refused:
		if r.Code != "M0608" {
			t.Errorf("%+v", r)
		}
	default:
	}
	if _, err := server.Write([]byte("x")); err != nil {
		t.Errorf("what was accepted went with the listener: %v", err)
	}
}
