package mtls_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// A house has an authority with an issuer, a server and a client under it.
type house struct {
	t       testing.TB
	root    *mint.Authority
	issuing *mint.Authority
	anchors *pki.Anchors
}

func newHouse(t testing.TB) *house {
	t.Helper()
	root := mint.Root("Example Root")
	return &house{t: t, root: root, issuing: root.Intermediate("Example Issuing"), anchors: anchorsOf(t, root)}
}

func anchorsOf(t testing.TB, roots ...*mint.Authority) *pki.Anchors {
	t.Helper()
	var certs []*pki.Certificate
	for _, r := range roots {
		c, err := pki.Parse(r.DER)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	return pki.NewAnchors(certs...)
}

func certificate(t testing.TB, l *mint.Leaf) *mtls.Certificate {
	t.Helper()
	c, err := mtls.NewCertificate(l.Chain, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) leaf(name string, opts ...mint.Option) *mtls.Certificate {
	h.t.Helper()
	return certificate(h.t, h.issuing.Leaf(name, opts...))
}

// verifier is by the house's authority.
func (h *house) verifier() mtls.Verifier { return mtls.Authorities(h.anchors) }

// serverConfig is a server "orders" that demands certificates of the house.
func (h *house) serverConfig() mtls.ServerConfig {
	return mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(h.verifier())}
}

// clientConfig is a client "web".
func (h *house) clientConfig() mtls.ClientConfig {
	return mtls.ClientConfig{Identity: h.leaf("web"), Servers: h.verifier()}
}

func newServer(t testing.TB, cfg mtls.ServerConfig) *mtls.Server {
	t.Helper()
	s, err := mtls.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t testing.TB, cfg mtls.ClientConfig) *mtls.Client {
	t.Helper()
	c, err := mtls.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loopback is the two ends of a TCP connection, closed with the test.
func loopback(t testing.TB) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			close(accepted)
			return
		}
		accepted <- c
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, ok := <-accepted
	if !ok {
		t.Fatal("nothing was accepted")
	}
	t.Cleanup(func() { _ = server.Close(); _ = client.Close() })
	return server, client
}

// meet carries out a handshake over loopback and answers with both ends, each
// nil where it failed.
func meet(t testing.TB, s *mtls.Server, c *mtls.Client, name string) (server, client *mtls.Conn, serverErr, clientErr error) {
	t.Helper()
	st, ct := loopback(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wait sync.WaitGroup
	wait.Go(func() { server, serverErr = s.Accept(ctx, st) })
	client, clientErr = c.Connect(ctx, ct, name)
	if clientErr == nil {
		// The server may still refuse; the client learns it so, or by reading.
		clientErr = client.Admitted(ctx)
		if errors.Is(clientErr, mtls.ErrAdmissionUnknown) {
			t.Error("our own server did not tell whether it admitted the client")
		}
	}
	wait.Wait()
	t.Cleanup(func() {
		if server != nil {
			_ = server.Close()
		}
		if client != nil {
			_ = client.Close()
		}
	})
	return server, client, serverErr, clientErr
}

// met is meet for those who must get along.
func met(t testing.TB, sc mtls.ServerConfig, cc mtls.ClientConfig) (server, client *mtls.Conn) {
	t.Helper()
	server, client, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders")
	if serr != nil || cerr != nil {
		t.Fatalf("server: %v\nclient: %v", serr, cerr)
	}
	return server, client
}

// refusal is err, which must be one.
func refusal(t testing.TB, err error) *mtls.Refusal {
	t.Helper()
	r, ok := mtls.RefusalOf(err)
	if !ok {
		t.Fatalf("expected a refusal, found %v", err)
	}
	return r
}

// echo sends back what comes, to its end.
func echo(c net.Conn) error {
	_, err := io.Copy(c, c)
	if w, ok := c.(interface{ CloseWrite() error }); ok && err == nil {
		err = w.CloseWrite()
	}
	return err
}

// noise is n bytes that do not repeat soon.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}

func soon() time.Time { return time.Now().Add(time.Minute) }
