package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// pair is both ends of a connection.
func pair(t *testing.T, network, address string) (here, there plainConn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a.(plainConn), b.(plainConn)
}

// A source wakes for bytes that come late, for the end of its time, and for a close.
func TestASourceThatWaitsIsWoken(t *testing.T) {
	here, there := pair(t, "tcp", "127.0.0.1:0")
	s := sourceOf(here)
	type came struct {
		n   int
		err error
	}
	next := func() <-chan came {
		c := make(chan came, 1)
		go func() {
			_, n, err := s.next()
			c <- came{n, err}
		}()
		return c
	}
	first := next()
	if _, err := there.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if c := <-first; c.n != 5 || c.err != nil {
		t.Errorf("%d bytes and %v", c.n, c.err)
	}
	second := next()
	_ = here.SetReadDeadline(time.Unix(1, 0))
	if c := <-second; c.n != 0 || c.err == nil {
		t.Errorf("%d bytes and %v after the deadline", c.n, c.err)
	}
	_ = here.SetReadDeadline(time.Time{})
	third := next()
	_ = here.Close()
	if c := <-third; c.n != 0 || c.err == nil || c.err == io.EOF {
		t.Errorf("%d bytes and %v after a close", c.n, c.err)
	}
}

func TestABrokenConnectionIsNoEnd(t *testing.T) {
	here, there := pair(t, "tcp", "127.0.0.1:0")
	reset(there)
	if _, n, err := sourceOf(here).next(); n != 0 || err == nil || err == io.EOF {
		t.Errorf("%d bytes and %v after a reset", n, err)
	}
}

// trusting is a verifier by one authority.
func trusting(t *testing.T, root *mint.Authority) mtls.Verifier {
	t.Helper()
	c, err := pki.Parse(root.DER)
	if err != nil {
		t.Fatal(err)
	}
	return mtls.Authorities(pki.NewAnchors(c))
}

// own is a certificate of an authority, as our ends show it.
func own(t *testing.T, l *mint.Leaf) *mtls.Certificate {
	t.Helper()
	c, err := mtls.NewCertificate(l.Chain, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
