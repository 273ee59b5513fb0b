package mtls_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// The standard library as the other end, in every suite, group and scheme that
// both sides have. What it says is a second opinion on what we say.

// exchange sends data through c and wants it back.
func exchange(c net.Conn, data []byte) error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(data)
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		done <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if err := <-done; err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if !bytes.Equal(got, data) {
		return fmt.Errorf("%d bytes came back changed, of %d", len(got), len(data))
	}
	return nil
}

// foreign is the standard library's view of a leaf.
func foreign(l *mint.Leaf) tls.Certificate {
	return tls.Certificate{Certificate: l.Chain, PrivateKey: l.Key}
}

func pool(roots ...*mint.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range roots {
		p.AddCert(r.Cert)
	}
	return p
}

// combination is one way to agree.
type combination struct {
	name   string
	mutual bool
	suite  mtls.Suite
	group  mtls.Group
	key    string
}

// combinations are all suites, groups and kinds of key, each at least once with
// and without a client's certificate.
func combinations() []combination {
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
	suites, groups := suite.Suites(), suite.Groups()
	for _, g := range groups {
		add(suites[0], g, "p256")
	}
	for _, s := range suites[1:] {
		add(s, groups[0], "p256")
	}
	for _, key := range []string{"p384", "p521", "ed25519", "rsa2048", "rsa3072"} {
		add(suites[0], groups[1], key)
	}
	return out
}

func TestTrafficWithTheStandardLibrary(t *testing.T) {
	h := newHouse(t)
	data := noise(1 << 20)
	for _, c := range combinations() {
		orders, web := h.issuing.Leaf("orders", mint.Key(c.key)), h.issuing.Leaf("web", mint.Key(c.key))
		std := &tls.Config{MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveID(c.group)}}
		common := mtls.Common{Suites: []mtls.Suite{c.suite}, Groups: []mtls.Group{c.group}}

		t.Run(c.name+"/they serve", func(t *testing.T) {
			cfg := std.Clone()
			cfg.Certificates = []tls.Certificate{foreign(orders)}
			cc := mtls.ClientConfig{Servers: h.verifier(), Common: common}
			if c.mutual {
				cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, pool(h.root)
				cc.Identity = certificate(t, web)
			}
			st, ct := loopback(t)
			served := make(chan error, 1)
			go func() {
				s := tls.Server(st, cfg)
				err := echo(s)
				if n := len(s.ConnectionState().PeerCertificates); err == nil && c.mutual != (n > 0) {
					err = fmt.Errorf("they saw %d certificates", n)
				}
				_ = s.Close()
				served <- err
			}()
			ctx, cancel := context.WithDeadline(context.Background(), soon())
			defer cancel()
			conn, err := newClient(t, cc).Connect(ctx, ct, "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			n := conn.Negotiated()
			if n.Suite != c.suite || n.Group != c.group || n.ClientAuthenticated != c.mutual {
				t.Errorf("agreed on %+v", n)
			}
			if p, ok := conn.Peer(); !ok || p.Name() != "orders" {
				t.Errorf("the peer is %q, %v", p.Name(), ok)
			}
			if err := exchange(conn, data); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})

		t.Run(c.name+"/they call", func(t *testing.T) {
			cfg := std.Clone()
			cfg.RootCAs, cfg.ServerName = pool(h.root), "orders"
			sc := mtls.ServerConfig{Identity: certificate(t, orders), Clients: mtls.Anonymous(), Common: common}
			if c.mutual {
				cfg.Certificates = []tls.Certificate{foreign(web)}
				sc.Clients = mtls.Required(h.verifier())
			}
			st, ct := loopback(t)
			served := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithDeadline(context.Background(), soon())
				defer cancel()
				s, err := newServer(t, sc).Accept(ctx, st)
				if err == nil {
					if p, ok := s.Peer(); ok != c.mutual || ok && p.Name() != "web" {
						err = fmt.Errorf("the peer is %q, %v", p.Name(), ok)
					}
					err = errors.Join(err, echo(s))
					_ = s.Close()
				}
				served <- err
			}()
			conn := tls.Client(ct, cfg)
			defer conn.Close()
			if err := exchange(conn, data); err != nil {
				t.Error(err)
			}
			if s := conn.ConnectionState(); s.CipherSuite != uint16(c.suite) || s.CurveID != tls.CurveID(c.group) {
				t.Errorf("agreed on %#x and %v", s.CipherSuite, s.CurveID)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// A group that the client knows and sends no share of costs one round trip more.
func TestHelloRetryRequestWithTheStandardLibrary(t *testing.T) {
	h := newHouse(t)
	orders := h.issuing.Leaf("orders")
	for _, g := range []mtls.Group{suite.P384, suite.SecP256r1MLKEM768} {
		t.Run(g.String()+"/they ask again", func(t *testing.T) {
			st, ct := loopback(t)
			go func() {
				_ = echo(tls.Server(st, &tls.Config{Certificates: []tls.Certificate{foreign(orders)}, CurvePreferences: []tls.CurveID{tls.CurveID(g)}}))
			}()
			ctx, cancel := context.WithDeadline(context.Background(), soon())
			defer cancel()
			conn, err := newClient(t, mtls.ClientConfig{Servers: h.verifier()}).Connect(ctx, ct, "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if n := conn.Negotiated(); !n.Retried || n.Group != g {
				t.Errorf("agreed on %+v", n)
			}
			if err := exchange(conn, noise(1000)); err != nil {
				t.Error(err)
			}
		})
		if g != suite.P384 {
			continue // they always send a share of it, if they know it
		}
		t.Run(g.String()+"/we ask again", func(t *testing.T) {
			s := newServer(t, mtls.ServerConfig{Identity: certificate(t, orders), Clients: mtls.Anonymous(), Common: mtls.Common{Groups: []mtls.Group{g}}})
			st, ct := loopback(t)
			retried := make(chan bool, 1)
			go func() {
				c, err := s.Accept(context.Background(), st)
				if err != nil {
					t.Error(err)
					retried <- false
					return
				}
				retried <- c.Negotiated().Retried
				_ = echo(c)
			}()
			conn := tls.Client(ct, &tls.Config{RootCAs: pool(h.root), ServerName: "orders", CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveID(g)}})
			if err := exchange(conn, noise(1000)); err != nil {
				t.Error(err)
			}
			if !<-retried || !conn.ConnectionState().HelloRetryRequest {
				t.Error("it went without a HelloRetryRequest")
			}
		})
	}
}

// trouble is a certificate that must be refused, and how.
type trouble struct {
	name string
	leaf func(h *house) *mint.Leaf
	// byServer and byClient are the alerts of the table in COMMANDS.md; "" where
	// the case is none for that side.
	byServer, byClient string
	code               string
}

var troubles = []trouble{
	{"none at all", func(*house) *mint.Leaf { return nil }, "certificate_required", "", "M0110"},
	{"another authority", func(*house) *mint.Leaf { return mint.Root("Another Root").Leaf("orders") }, "unknown_ca", "unknown_ca", ""},
	{"self-signed", func(*house) *mint.Leaf { return mint.SelfSigned("orders") }, "unknown_ca", "unknown_ca", ""},
	{"expired", func(h *house) *mint.Leaf { return h.issuing.Leaf("orders", mint.Lifetime(-time.Hour)) }, "certificate_expired", "certificate_expired", ""},
	{"not yet valid", func(h *house) *mint.Leaf {
		return h.issuing.Leaf("orders", mint.Valid(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)))
	}, "certificate_expired", "certificate_expired", ""},
	{"for servers only", func(h *house) *mint.Leaf {
		return h.issuing.Leaf("orders", mint.Usage(x509.ExtKeyUsageServerAuth))
	}, "unsupported_certificate", "", ""},
	{"for clients only", func(h *house) *mint.Leaf {
		return h.issuing.Leaf("orders", mint.Usage(x509.ExtKeyUsageClientAuth))
	}, "", "unsupported_certificate", ""},
	{"another name", func(h *house) *mint.Leaf { return h.issuing.Leaf("payments") }, "", "bad_certificate", ""},
	{"an intermediate with a bad signature", func(h *house) *mint.Leaf {
		l := h.issuing.Leaf("orders")
		l.Chain = slices.Clone(l.Chain)
		l.Chain[1] = slices.Clone(l.Chain[1])
		l.Chain[1][len(l.Chain[1])-1] ^= 1
		return l
	}, "bad_certificate", "bad_certificate", ""},
	{"a leaf that is an authority's child by a leaf", func(h *house) *mint.Leaf {
		return h.root.Intermediate("No CA", mint.CA(false)).Leaf("orders")
	}, "bad_certificate", "bad_certificate", ""},
	{"an unknown critical extension", func(h *house) *mint.Leaf {
		return h.issuing.Leaf("orders", mint.CriticalExtension(1, 3, 6, 1, 4, 1, 99999, 1))
	}, "unsupported_certificate|bad_certificate", "unsupported_certificate|bad_certificate", ""},
}

// A refused client learns the alert, as any other stack's client does: it is read,
// and no reset overtakes it.
func TestAClientOfTheStandardLibraryIsRefusedWithTheRightAlert(t *testing.T) {
	h := newHouse(t)
	s := newServer(t, h.serverConfig())
	for _, c := range troubles {
		if c.byServer == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			leaf := c.leaf(h)
			st, ct := loopback(t)
			refused := make(chan error, 1)
			go func() {
				_, err := s.Accept(context.Background(), st)
				refused <- err
			}()
			// It gives its certificate whatever authorities are asked for, and it
			// has more to say, which lies unread when the server closes.
			cfg := &tls.Config{RootCAs: pool(h.root), ServerName: "orders", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if leaf == nil {
					return &tls.Certificate{}, nil
				}
				f := foreign(leaf)
				return &f, nil
			}}
			conn := tls.Client(ct, cfg)
			_ = conn.SetDeadline(soon())
			if err := conn.Handshake(); err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(noise(100 << 10))
			_, err := conn.Read(make([]byte, 1))
			_ = conn.Close()
			r := refusal(t, <-refused)
			if !r.HasAlert || !r.Sent || !slices.Contains(strings.Split(c.byServer, "|"), r.Alert.String()) {
				t.Errorf("we say %v", r)
			}
			if want := "remote error: " + tls.AlertError(r.Alert).Error(); err == nil || err.Error() != want {
				t.Errorf("the client saw %v, not %s", err, want)
			}
			if r.Code == "" || r.Reason == "" || r.Mend == "" || r.ID == "" || r.At == "" {
				t.Errorf("the refusal does not say everything: %+v", r)
			}
			if leaf == nil {
				return
			}
			if r.Fault != mtls.OurPolicy || r.Verdict == nil || r.Verdict.OK || r.Shown.Name() != "orders" {
				t.Errorf("fault %v, verdict %+v, shown %q", r.Fault, r.Verdict, r.Shown.Name())
			}
		})
	}
}

func TestAServerOfTheStandardLibraryIsRefusedWithTheRightAlert(t *testing.T) {
	h := newHouse(t)
	client := newClient(t, h.clientConfig())
	for _, c := range troubles {
		if c.byClient == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			st, ct := loopback(t)
			served := make(chan error, 1)
			go func() {
				served <- tls.Server(st, &tls.Config{Certificates: []tls.Certificate{foreign(c.leaf(h))}}).Handshake()
			}()
			ctx, cancel := context.WithDeadline(context.Background(), soon())
			defer cancel()
			_, err := client.Connect(ctx, ct, "orders")
			r := refusal(t, err)
			if r.Fault != mtls.OurPolicy || !r.Sent || !slices.Contains(strings.Split(c.byClient, "|"), r.Alert.String()) || r.Mend == "" {
				t.Errorf("got %+v", r)
			}
			err = <-served
			var op *net.OpError // what the standard library makes of a received alert
			if !errors.As(err, &op) || op.Op != "remote error" {
				t.Errorf("the server saw %v", err)
			}
		})
	}
}

// A server of the standard library refuses us, after our handshake is over. The
// refusal must reach whoever reads, writes, or waits to be admitted.
func TestARefusalByTheStandardLibraryIsTold(t *testing.T) {
	h := newHouse(t)
	stranger := newHouse(t)
	for _, c := range []struct {
		name     string
		identity mtls.Identity
		alert    string
		fault    mtls.Fault
	}{
		{"none at all", nil, "certificate_required", mtls.PeerRefusedUs},
		{"another authority", stranger.leaf("web"), "unknown_ca", mtls.PeerRefusedUs},
		{"expired", h.leaf("web", mint.Lifetime(-time.Hour)), "certificate_expired", mtls.PeerRefusedUs},
	} {
		for how, tell := range map[string]func(*mtls.Conn) error{
			"Admitted": func(c *mtls.Conn) error { return c.Admitted(context.Background()) },
			"Read":     func(c *mtls.Conn) error { _, err := c.Read(make([]byte, 1)); return err },
			"Write": func(c *mtls.Conn) error {
				for b := noise(1000); ; time.Sleep(time.Millisecond) { // to its deadline
					if _, err := c.Write(b); err != nil {
						return err
					}
				}
			},
		} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				st, ct := loopback(t)
				go func() {
					s := tls.Server(st, &tls.Config{Certificates: []tls.Certificate{foreign(h.issuing.Leaf("orders"))}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(h.root)})
					_ = s.Handshake()
					_ = s.Close()
				}()
				cc := mtls.ClientConfig{Servers: h.verifier(), Identity: c.identity}
				conn, err := newClient(t, cc).Connect(context.Background(), ct, "orders")
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_ = conn.SetDeadline(soon())
				r := refusal(t, tell(conn))
				if r.Fault != c.fault || r.Sent || r.Alert.String() != c.alert {
					t.Errorf("got %v (%v)", r, r.Fault)
				}
			})
		}
	}
}

// The key log holds the very secrets that the standard library logs for the same
// connection, under the same labels.
func TestTheKeyLogIsTheOneThatOthersWrite(t *testing.T) {
	h := newHouse(t)
	var ours, theirs syncBuffer
	sc := h.serverConfig()
	sc.KeyLog = &ours
	s := newServer(t, sc)
	st, ct := loopback(t)
	go func() {
		if c, err := s.Accept(context.Background(), st); err == nil {
			_ = echo(c)
			_ = c.Close()
		}
	}()
	conn := tls.Client(ct, &tls.Config{RootCAs: pool(h.root), ServerName: "orders", Certificates: []tls.Certificate{foreign(h.issuing.Leaf("web"))}, KeyLogWriter: &theirs})
	if err := exchange(conn, noise(100)); err != nil {
		t.Fatal(err)
	}
	lines := func(b *syncBuffer) []string {
		l := strings.Split(strings.TrimSpace(b.String()), "\n")
		slices.Sort(l)
		return l
	}
	want := lines(&theirs)
	for _, l := range want {
		if !slices.Contains(lines(&ours), l) {
			t.Errorf("ours has no line %q; it is\n%s", strings.Fields(l)[0], ours.String())
		}
	}
	if len(want) < 4 {
		t.Errorf("theirs is %q", want)
	}
}

type syncBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.String()
}

// Both ends export the same, for the same label and context alone.
func TestExportersAgreeWithTheStandardLibrary(t *testing.T) {
	h := newHouse(t)
	s := newServer(t, mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Anonymous()})
	st, ct := loopback(t)
	accepted := make(chan *mtls.Conn, 1)
	go func() {
		c, _ := s.Accept(context.Background(), st)
		accepted <- c
	}()
	conn := tls.Client(ct, &tls.Config{RootCAs: pool(h.root), ServerName: "orders"})
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := <-accepted
	defer c.Close()
	state := conn.ConnectionState()
	for _, q := range []struct {
		label   string
		context []byte
		n       int
	}{{"EXPORTER-one", nil, 32}, {"EXPORTER-one", []byte("context"), 32}, {"EXPORTER-two", []byte{}, 77}} {
		ours, err := c.Export(q.label, q.context, q.n)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := state.ExportKeyingMaterial(q.label, q.context, q.n)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("%q, %q: %x, and theirs %x", q.label, q.context, ours, theirs)
		}
	}
}
