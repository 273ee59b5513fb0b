package interop

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// world is an authority, with files for the other program.
type world struct {
	t       *testing.T
	dir     string
	root    *mint.Authority
	issuing *mint.Authority
	anchors *pki.Anchors
	ca      string // the file
}

func newWorld(t *testing.T, opts ...mint.Option) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), root: mint.Root("Example Root", opts...)}
	w.issuing = w.root.Intermediate("Example Issuing", opts...)
	c, err := pki.Parse(w.root.DER)
	if err != nil {
		t.Fatal(err)
	}
	w.anchors = pki.NewAnchors(c)
	w.ca = filepath.Join(w.dir, "ca.crt")
	if err := w.root.WriteFile(w.ca); err != nil {
		t.Fatal(err)
	}
	return w
}

// files are a leaf's PEM files.
func (w *world) files(l *mint.Leaf, base string) (cert, key string) {
	w.t.Helper()
	cert, key, err := l.WriteFiles(w.dir, base)
	if err != nil {
		w.t.Fatal(err)
	}
	return cert, key
}

// blob is a file of n bytes.
func (w *world) blob(n int) string {
	w.t.Helper()
	name := filepath.Join(w.dir, "blob")
	if err := os.WriteFile(name, bytes.Repeat([]byte("0123456789abcdef"), n/16), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func own(t testing.TB, l *mint.Leaf) *mtls.Certificate {
	t.Helper()
	c, err := mtls.NewCertificate(l.Chain, l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) verifier() mtls.Verifier { return mtls.Authorities(w.anchors) }

// combination is one way to agree.
type combination struct {
	name   string
	mutual bool
	suite  mtls.Suite
	group  mtls.Group
	key    string
}

// combinations are all suites, and the groups and kinds of key of a peer, each
// with and without a client's certificate.
func combinations(groups []mtls.Group, keys []string) []combination {
	var out []combination
	add := func(s mtls.Suite, g mtls.Group, key string) {
		for _, mutual := range []bool{false, true} {
			kind := "server-only"
			if mutual {
				kind = "mutual"
			}
			out = append(out, combination{fmt.Sprintf("%s/%v/%v/%s", kind, s, g, key), mutual, s, g, key})
		}
	}
	suites := suite.Suites()
	for _, s := range suites {
		add(s, groups[0], "p256")
	}
	for _, g := range groups[1:] {
		add(suites[0], g, "p256")
	}
	for _, k := range keys {
		add(suites[0], groups[0], k)
	}
	return out
}

func (c *combination) common() mtls.Common {
	return mtls.Common{Suites: []mtls.Suite{c.suite}, Groups: []mtls.Group{c.group}}
}

// trouble is a certificate that must be refused, and the alerts of the table.
type trouble struct {
	name               string
	leaf               func(w *world, name string) *mint.Leaf
	byServer, byClient string
}

var troubles = []trouble{
	{"none at all", func(*world, string) *mint.Leaf { return nil }, "certificate_required", ""},
	{"another authority", func(_ *world, n string) *mint.Leaf { return mint.Root("Another Root").Leaf(n) }, "unknown_ca", "unknown_ca"},
	{"expired", func(w *world, n string) *mint.Leaf { return w.issuing.Leaf(n, mint.Lifetime(-time.Hour)) }, "certificate_expired", "certificate_expired"},
	{"for servers only", func(w *world, n string) *mint.Leaf {
		return w.issuing.Leaf(n, mint.Usage(x509.ExtKeyUsageServerAuth))
	}, "unsupported_certificate", ""},
	{"for clients only", func(w *world, n string) *mint.Leaf {
		return w.issuing.Leaf(n, mint.Usage(x509.ExtKeyUsageClientAuth))
	}, "", "unsupported_certificate"},
	{"another name", func(w *world, _ string) *mint.Leaf { return w.issuing.Leaf("payments") }, "access_denied", "bad_certificate"},
}

// alertNumber is how programs of OpenSSL's kind print an alert.
var alertNumber = map[string]int{
	"certificate_required": 116, "unknown_ca": 48, "certificate_expired": 45, "unsupported_certificate": 43,
	"bad_certificate": 42, "access_denied": 49, "protocol_version": 70,
}

// outcome is how the one connection that a server of ours took went.
type outcome struct {
	got  string
	peer string
	neg  mtls.Negotiated
	err  error
}

// server is a server of ours that gives its caller all the time that one needs on
// a machine that has too much to do.
func (w *world) server(cfg mtls.ServerConfig) *mtls.Server {
	w.t.Helper()
	cfg.Limits = patient
	s, err := mtls.NewServer(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

var patient = &mtls.Limits{HandshakeTime: peers.Patience}

// serveOnce takes one connection, reads n bytes, sends them back, and says
// close_notify.
func (w *world) serveOnce(cfg mtls.ServerConfig, n int) (port int, result <-chan outcome) {
	w.t.Helper()
	s := w.server(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan outcome, 1)
	go func() {
		defer l.Close()
		transport, err := l.Accept()
		if err != nil {
			done <- outcome{err: err}
			return
		}
		done <- carry(s, transport, n)
	}()
	w.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port, done
}

func carry(s *mtls.Server, transport net.Conn, n int) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
	defer cancel()
	c, err := s.Accept(ctx, transport)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	o := outcome{neg: c.Negotiated()}
	if p, ok := c.Peer(); ok {
		o.peer = p.Name()
	}
	b := make([]byte, n)
	k, err := io.ReadFull(c, b)
	o.got = string(b[:k])
	if err != nil {
		o.err = err
		return o
	}
	if _, err := c.Write(b); err != nil {
		o.err = err
		return o
	}
	o.err = c.CloseWrite()
	_, _ = io.Copy(io.Discard, c)
	return o
}

func await(t *testing.T, result <-chan outcome) outcome {
	t.Helper()
	select {
	case o := <-result:
		return o
	case <-time.After(2 * peers.Patience):
		t.Fatal("the connection did not end")
		return outcome{}
	}
}

// call connects to a peer's server.
func (w *world) call(cfg mtls.ClientConfig, port int) (*mtls.Conn, error) {
	w.t.Helper()
	transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.callOver(transport, cfg)
}

func (w *world) callOver(transport net.Conn, cfg mtls.ClientConfig) (*mtls.Conn, error) {
	w.t.Helper()
	cfg.Limits = patient
	client, err := mtls.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
	defer cancel()
	c, err := client.Connect(ctx, transport, "orders")
	if err == nil {
		w.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(peers.Patience))
	}
	return c, err
}

// exchange writes data and reads until what is wanted has come back.
func exchange(c net.Conn, data, want []byte) error {
	if _, err := c.Write(data); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %d bytes %q: %w", n, got[:min(n, 80)], err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%q came back", got[:min(len(got), 80)])
	}
	return nil
}

// refusedUs checks that the peer refused us with the alert, and that whoever reads
// is told so.
func refusedUs(t *testing.T, c *mtls.Conn, err error, alert string) {
	t.Helper()
	if err == nil && c != nil {
		_, err = c.Read(make([]byte, 1))
	}
	r, ok := mtls.RefusalOf(err)
	if !ok || r.Fault != mtls.PeerRefusedUs || r.Sent || r.Alert.String() != alert {
		t.Errorf("expected to be refused with %s, found %v", alert, err)
	}
}

// weRefused checks that we refused the peer with the alert.
func weRefused(t *testing.T, err error, alert string) {
	t.Helper()
	r, ok := mtls.RefusalOf(err)
	if !ok || !r.Sent || r.Alert.String() != alert || r.Mend == "" || r.Code == "" {
		t.Errorf("expected to refuse with %s, found %v", alert, err)
	}
}

// says checks that a program's output has one of the words.
func says(t *testing.T, output string, words ...string) {
	t.Helper()
	if !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(output, w) }) {
		t.Errorf("it does not say %q but\n%s", words, output)
	}
}
