package mtls_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// asking are a server that asks later, and a client that lets it.
func asking(h *house) (mtls.ServerConfig, mtls.ClientConfig) {
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.OnRequest(h.verifier())
	cc.PostHandshakeAuth = true
	return sc, cc
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// reads has c read to its end beside the test.
func reads(t testing.TB, c *mtls.Conn) {
	var all sync.WaitGroup
	all.Go(func() { _, _ = io.Copy(io.Discard, c) })
	t.Cleanup(func() { _ = c.Close(); all.Wait() })
}

func TestAServerAsksForACertificateLater(t *testing.T) {
	h := newHouse(t)
	sc, cc := asking(h)
	s := newServer(t, sc)
	server, client, serr, cerr := meet(t, s, newClient(t, cc), "orders")
	if serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	reads(t, client)
	if _, ok := server.Peer(); ok || server.Negotiated().ClientAuthenticated || s.Standing() != 0 || client.Local() != nil {
		t.Error("somebody was proven before anybody was asked")
	}
	if err := server.RequestCertificate(within(t)); err != nil {
		t.Fatal(err)
	}
	p, ok := server.Peer()
	if !ok || p.Name() != "web" || !server.Negotiated().ClientAuthenticated || server.Verdict() == nil || len(server.PeerChain()) == 0 {
		t.Errorf("the peer is %v, %v", p.Name(), ok)
	}
	if s.Standing() != 1 {
		t.Errorf("%d connections stand", s.Standing())
	}
	if client.Local() == nil {
		t.Error("the client does not know what it showed")
	}
	// It is judged like any other from now on.
	if err := server.RequestCertificate(within(t)); err != nil {
		t.Errorf("a second time: %v", err)
	}
	_ = server.Close()
	if s.Standing() != 0 {
		t.Errorf("%d connections stand behind Close", s.Standing())
	}
}

// The answer comes while data flows, and the data is the reader's.
func TestACertificateIsAskedForWhileDataFlows(t *testing.T) {
	h := newHouse(t)
	sc, cc := asking(h)
	server, client := met(t, sc, cc)
	const rounds = 200
	echoed := make(chan error, 1)
	go func() { echoed <- echo(server) }()
	go func() {
		for range rounds {
			if _, err := client.Write(noise(3000)); err != nil {
				return
			}
		}
		_ = client.CloseWrite()
	}()
	proven := make(chan error, 1)
	go func() {
		for range 3 {
			if err := server.RequestCertificate(within(t)); err != nil {
				proven <- err
				return
			}
		}
		proven <- nil
	}()
	got := wait(t, "the echo", func() int {
		n, _ := io.Copy(io.Discard, client)
		return int(n)
	})
	if got != rounds*3000 {
		t.Errorf("%d bytes came back of %d", got, rounds*3000)
	}
	// Where the data ended first, the last answers find the connection closed.
	if err := <-proven; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		if _, ok := mtls.RefusalOf(err); ok || errors.Is(err, mtls.ErrDeclined) {
			t.Error(err)
		}
	}
	if err := <-echoed; err != nil {
		t.Error(err)
	}
}

// slowKey signs when it is let.
type slowKey struct {
	crypto.Signer
	began, let chan struct{}
}

func (k *slowKey) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	close(k.began)
	<-k.let
	return k.Signer.Sign(r, digest, o)
}

// Signing may take its time: what the server sends meanwhile is read, and what the
// client sends goes out.
func TestASlowKeyHoldsUpNobody(t *testing.T) {
	h := newHouse(t)
	sc, cc := asking(h)
	l := h.issuing.Leaf("web")
	key := &slowKey{l.Key, make(chan struct{}), make(chan struct{})}
	own, err := mtls.NewCertificate(l.Chain, key)
	if err != nil {
		t.Fatal(err)
	}
	cc.Identity = own
	server, client := met(t, sc, cc)
	_ = client.SetDeadline(soon())
	_ = server.SetDeadline(soon())
	proven := make(chan error, 1)
	first := make([]byte, 4)
	go func() { proven <- server.RequestCertificate(within(t)) }()
	read := make(chan error, 1)
	go func() { _, err := io.ReadFull(client, first); read <- err }()
	<-key.began
	if _, err := server.Write([]byte("down")); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil || string(first) != "down" {
		t.Fatalf("%q, %v", first, err)
	}
	if _, err := client.Write([]byte("up")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(server, first[:2]); err != nil || string(first[:2]) != "up" {
		t.Fatalf("%q, %v", first, err)
	}
	close(key.let)
	if err := <-proven; err != nil {
		t.Error(err)
	}
}

func TestAClientMayDecline(t *testing.T) {
	h := newHouse(t)
	for name, identity := range map[string]mtls.Identity{
		"has none":      nil,
		"shows none":    mtls.Choose(),
		"is in trouble": failing{},
	} {
		sc, cc := asking(h)
		cc.Identity = identity
		server, client := met(t, sc, cc)
		reads(t, client)
		if err := server.RequestCertificate(within(t)); !errors.Is(err, mtls.ErrDeclined) {
			t.Errorf("%s: %v", name, err)
		}
		if _, ok := server.Peer(); ok || client.Local() != nil {
			t.Errorf("%s, and somebody is proven", name)
		}
		if _, err := server.Write([]byte("goes on")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct{}

func (failing) Certificate(context.Context, *mtls.Ask) (*mtls.Certificate, error) {
	return nil, errors.New("the store is on fire")
}

// A certificate that is refused ends the connection, as in the handshake.
func TestALateCertificateThatIsRefusedEndsTheConnection(t *testing.T) {
	h := newHouse(t)
	sc, cc := asking(h)
	cc.Identity = certificate(t, mint.Root("Another Root").Leaf("web"))
	server, client := met(t, sc, cc)
	told := make(chan error, 1)
	go func() { _, err := client.Read(make([]byte, 1)); told <- err }()
	r := refusal(t, server.RequestCertificate(within(t)))
	if r.Alert.String() != "unknown_ca" || !r.Sent || r.Fault != mtls.OurPolicy {
		t.Errorf("%+v", r)
	}
	if r := refusal(t, <-told); r.Alert.String() != "unknown_ca" || r.Fault != mtls.PeerRefusedUs {
		t.Errorf("the client is told %+v", r)
	}
	<-server.Context().Done()
	if _, ok := server.Peer(); ok {
		t.Error("the refused is proven")
	}
}

func TestWhenNoCertificateCanBeAskedFor(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		set  func(*mtls.ServerConfig, *mtls.ClientConfig)
		want error
	}{
		"the client does not offer it": {func(_ *mtls.ServerConfig, cc *mtls.ClientConfig) { cc.PostHandshakeAuth = false }, mtls.ErrAuthNotOffered},
		"all that it speaks is HTTP/2": {func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) { sc.ALPN, cc.ALPN = []string{"h2"}, []string{"h2"} }, mtls.ErrAuthNotOffered},
		"HTTP/2 was chosen": {func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.ALPN, cc.ALPN = []string{"h2"}, []string{"h2", "http/1.1"}
		}, mtls.ErrAuthForbidden},
	} {
		sc, cc := asking(h)
		c.set(&sc, &cc)
		server, client := met(t, sc, cc)
		if err := server.RequestCertificate(within(t)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r := refusal(t, client.RequestCertificate(within(t))); r.Fault != mtls.Misuse {
			t.Errorf("a client asks: %+v", r)
		}
	}
	sc, cc := asking(h)
	sc.Clients = mtls.Anonymous()
	server, _ := met(t, sc, cc)
	if r := refusal(t, server.RequestCertificate(within(t))); r.Fault != mtls.Misuse {
		t.Errorf("without a Verifier: %+v", r)
	}
}

// Who waits for a certificate waits as long as its context says, and no longer
// than the connection lives.
func TestWaitingForACertificateEnds(t *testing.T) {
	h := newHouse(t)
	sc, cc := asking(h)
	server, client := met(t, sc, cc)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := server.RequestCertificate(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = server.SetReadDeadline(soon())
	if _, err := server.Read(make([]byte, 1)); err != nil {
		t.Fatalf("reading goes on: %v", err)
	}
	_ = client.Close()
	if err := server.RequestCertificate(within(t)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the client is gone: %v", err)
	}
}

// What was proven later is judged again like what was proven at first.
func TestWhoWasProvenLaterIsJudgedAgain(t *testing.T) {
	h := newHouse(t)
	trust := mtls.NewSwapVerifier(h.verifier())
	sc, cc := asking(h)
	sc.Clients = mtls.OnRequest(trust)
	s := newServer(t, sc)
	server, client, serr, cerr := meet(t, s, newClient(t, cc), "orders")
	if serr != nil || cerr != nil {
		t.Fatal(serr, cerr)
	}
	reads(t, client)
	if err := server.RequestCertificate(within(t)); err != nil {
		t.Fatal(err)
	}
	trust.Set(mtls.Authorities(pki.NewAnchors(anchorsOf(t, mint.Root("Another Root")).Certificates()...)))
	s.Recheck(t.Context())
	<-server.Context().Done()
	if r := refusal(t, context.Cause(server.Context())); r.Alert.String() != "unknown_ca" {
		t.Errorf("%+v", r)
	}
}
