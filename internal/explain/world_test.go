package explain

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

var update = flag.Bool("update", false, "write the golden files anew")

// noon is the time of all tests, so that what is told of validities stays.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var valid = mint.Valid(noon.Add(-time.Hour), noon.Add(23*time.Hour))

// world is an authority, a server and a client under it.
type world struct {
	root, ca    *mint.Authority
	orders, web *mint.Leaf
	anchors     *pki.Anchors
}

func newWorld(t testing.TB) *world {
	t.Helper()
	years := mint.Valid(noon.Add(-time.Hour), noon.AddDate(10, 0, 0))
	w := &world{root: mint.Root("Example Root", years)}
	w.ca = w.root.Intermediate("Example Issuing CA", years)
	w.orders = w.ca.Leaf("orders.example.com", mint.IPs("127.0.0.1"), valid)
	w.web = w.ca.Leaf("web", valid)
	w.anchors = anchors(t, w.root)
	return w
}

func anchors(t testing.TB, authorities ...*mint.Authority) *pki.Anchors {
	t.Helper()
	var out []*pki.Certificate
	for _, a := range authorities {
		c, err := pki.Parse(a.DER)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return pki.NewAnchors(out...)
}

func shown(t testing.TB, l *mint.Leaf) *mtls.Certificate {
	t.Helper()
	c, err := mtls.NewCertificate(l.Chain, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// theirs is a server's configuration of crypto/tls, at noon.
func (w *world) theirs(l *mint.Leaf) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(w.root.Cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: l.Chain, PrivateKey: l.Key}},
		ClientCAs:    pool, Time: func() time.Time { return noon },
	}
}

// serve runs crypto/tls servers until the test ends.
func serve(t testing.TB, cfg *tls.Config) string {
	return listenWith(t, func(c net.Conn) {
		s := tls.Server(c, cfg)
		if s.Handshake() == nil {
			_, _ = s.Read(make([]byte, 1))
		}
		_ = s.Close()
	})
}

// listenWith hands every connection to handle, which need not close it.
func listenWith(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

// ours is a server's configuration of mtls, at noon. Its story does not depend on
// the version of Go.
func (w *world) ours(t testing.TB) mtls.ServerConfig {
	return mtls.ServerConfig{
		Identity: shown(t, w.orders), Clients: mtls.Anonymous(),
		Common: mtls.Common{Clock: func() time.Time { return noon }},
	}
}

// serveOurs runs a server of mtls until the test ends.
func serveOurs(t testing.TB, cfg mtls.ServerConfig) string {
	t.Helper()
	server, err := mtls.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return listenWith(t, func(c net.Conn) {
		if conn, err := server.Accept(context.Background(), c); err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	})
}

// target is a server at address that is to be orders.example.com. Whoever answers may
// take long: only a server that says nothing is given up sooner.
func (w *world) target(address string) Target {
	return Target{
		Address: address, ServerName: "orders.example.com", Anchors: w.anchors, Trusted: "an authority in ca.crt",
		Timeout: time.Minute, Wait: time.Minute, Clock: func() time.Time { return noon },
		suites: []mtls.Suite{suite.AES128GCMSHA256, suite.AES256GCMSHA384}, probe: time.Minute,
	}
}

// told is a story of a live handshake, with an address that is always the same.
func told(t testing.TB, target Target) *Story {
	t.Helper()
	s := Live(context.Background(), target)
	s.Target, s.Address = "orders.example.com:8443", "192.0.2.1:8443"
	return s
}

var steady = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "(64 hex digits)"},
	{regexp.MustCompile(`127\.0\.0\.1:[0-9]+`), "127.0.0.1:PORT"},
}

// golden holds got against a file, in which what is random is not told.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	for _, s := range steady {
		got = s.pattern.ReplaceAll(got, []byte(s.with))
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make it with: go test ./internal/explain -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; see whether the new one reads well, and then: go test ./internal/explain -update\n--- now\n%s\n--- in the file\n%s", file, got, want)
	}
}

func text(t testing.TB, s *Story, l Look) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b, l); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// checkSafe holds what every output must be: printable ASCII, our own few signs,
// and line breaks.
func checkSafe(t testing.TB, what string, b []byte) {
	t.Helper()
	for _, r := range string(b) {
		switch {
		case r >= ' ' && r <= '~', r == '\n', r == '✓', r == '✗', r == '≠', r == '…':
		default:
			t.Errorf("%s lets %U through to the terminal:\n%q", what, r, b)
			return
		}
	}
}
