package interop

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

// script is a program that runs JavaScript, with one of the drivers in testdata,
// and what its TLS can do.
type script struct {
	program string
	args    []string
	// server is the name by which it calls us.
	server string
	groups []mtls.Group
	keys   []string
	// choose is how it is told to use one group, nil where it can't be.
	choose func(mtls.Group) string
	// alert is how it prints an alert.
	alert func(name string) string
	// tellsWhy is whether it sends an alert when it refuses a server. Programs that
	// judge certificates after the handshake, in JavaScript, just close.
	tellsWhy bool
	// mayForget is whether it sometimes closes before its alert is sent.
	mayForget bool
}

func newScript(t *testing.T, program, driver string, args ...string) *script {
	t.Helper()
	return &script{program: peers.Need(t, program), args: append(args, filepath.Join("testdata", driver)), server: "orders"}
}

// order is what a driver is told to do.
type order struct {
	Port   int      `json:"port,omitempty"` // to call
	Name   string   `json:"name,omitempty"`
	CA     string   `json:"ca,omitempty"`
	Cert   string   `json:"cert,omitempty"`
	Key    string   `json:"key,omitempty"`
	Mutual bool     `json:"mutual,omitempty"` // to ask the caller for a certificate
	Suite  string   `json:"suite,omitempty"`
	Groups string   `json:"groups,omitempty"`
	ALPN   []string `json:"alpn,omitempty"`
	Old    string   `json:"old,omitempty"` // the one version to speak, instead of TLS 1.3
	Send   string   `json:"send,omitempty"`
	Again  bool     `json:"again,omitempty"` // to call a second time with the session
}

// told is everything that a driver told.
type told struct {
	Port   int
	Got    string
	Error  string
	Agreed *agreed
}

type agreed struct {
	Suite, Peer string
	ALPN        any // no string where none was agreed on
	Authorized  bool
	Resumed     bool
}

// read takes a driver's lines together. Others are the program's own.
func read(output string) told {
	var all told
	for line := range strings.Lines(output) {
		_ = json.Unmarshal([]byte(line), &all)
	}
	return all
}

func (s *script) command(t *testing.T, role string, o order) []string {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(s.args), role, string(b))
}

// connect calls our server, sends, and reads to the end.
func (s *script) connect(t *testing.T, w *world, port int, o order) (told, string) {
	t.Helper()
	o.Port, o.Name, o.CA = port, s.server, w.ca
	out, _ := peers.Run(t, "", s.program, s.command(t, "connect", o)...)
	return read(out), out
}

// listen starts a server that sends back whatever it gets.
func (s *script) listen(t *testing.T, o order) (*peers.Process, int) {
	t.Helper()
	p := peers.Start(t, nil, s.program, s.command(t, "listen", o)...)
	p.Await(`"port":`)
	return p, read(p.Output()).Port
}

func (s *script) group(g mtls.Group) string {
	if s.choose == nil {
		return ""
	}
	return s.choose(g)
}

// text is longer than two records.
var text = strings.Repeat("a line to be sent and sent back\n", 1100)

func (s *script) callsEveryWay(t *testing.T) {
	for _, c := range combinations(s.groups, s.keys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders", mint.Key(c.key))), Clients: mtls.Anonymous(), Common: c.common()}
			o := order{Suite: c.suite.String(), Groups: s.group(c.group), Send: text}
			peer := ""
			if c.mutual {
				cfg.Clients, peer = mtls.Required(w.verifier()), "web"
				o.Cert, o.Key = w.files(w.issuing.Leaf("web", mint.Key(c.key)), "web")
			}
			port, result := w.serveOnce(cfg, len(text))
			it, out := s.connect(t, w, port, o)
			us := await(t, result)
			if us.err != nil || us.got != text || us.peer != peer {
				t.Errorf("we saw %d bytes of %q: %v", len(us.got), us.peer, us.err)
			}
			if it.Got != text || it.Error != "" {
				t.Errorf("it says\n%s", out)
			}
			if us.neg.Suite != c.suite || us.neg.Group != c.group || it.Agreed == nil || it.Agreed.Suite != c.suite.String() {
				t.Errorf("agreed on %+v, and it says\n%s", us.neg, out)
			}
		})
	}
}

func (s *script) servesEveryWay(t *testing.T) {
	for _, c := range combinations(s.groups, s.keys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := mtls.ClientConfig{Servers: w.verifier(), Common: c.common()}
			o := order{Suite: c.suite.String(), Groups: s.group(c.group)}
			o.Cert, o.Key = w.files(w.issuing.Leaf("orders", mint.Key(c.key)), "orders")
			if c.mutual {
				o.Mutual, o.CA = true, w.ca
				cfg.Identity = own(t, w.issuing.Leaf("web", mint.Key(c.key)))
			}
			p, port := s.listen(t, o)
			conn, err := w.call(cfg, port)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte(text), []byte(text)); err != nil {
				t.Fatal(err)
			}
			n := conn.Negotiated()
			if n.Suite != c.suite || n.Group != c.group || n.ClientAuthenticated != c.mutual {
				t.Errorf("agreed on %+v", n)
			}
			p.Await(`"agreed":`)
			if it := read(p.Output()).Agreed; it.Suite != c.suite.String() || c.mutual && (it.Peer != "web" || !it.Authorized) {
				t.Errorf("it says\n%s", p.Output())
			}
		})
	}
}

func (s *script) isRefusedAsAClient(t *testing.T) {
	for _, c := range troubles {
		if c.byServer == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			rules, err := policy.Parse([]string{"web"}, "")
			if err != nil {
				t.Fatal(err)
			}
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf(s.server)), Clients: mtls.Required(mtls.Allow(w.verifier(), rules))}, 1)
			o := order{Send: text}
			if l := c.leaf(w, "web"); l != nil {
				o.Cert, o.Key = w.files(l, "caller")
			}
			_, out := s.connect(t, w, port, o)
			weRefused(t, await(t, result).err, c.byServer)
			s.sawAlert(t, out, c.byServer)
		})
	}
}

func (s *script) isRefusedAsAServer(t *testing.T) {
	for _, c := range troubles {
		if c.byClient == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var o order
			o.Cert, o.Key = w.files(c.leaf(w, "orders"), "orders")
			p, port := s.listen(t, o)
			_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
			weRefused(t, err, c.byClient)
			p.Await(s.alert(c.byClient))
			s.sawAlert(t, p.Output(), c.byClient)
		})
	}
}

// sawAlert checks that the program tells of the alert, and of no broken
// connection: the alert came before the end did.
func (s *script) sawAlert(t *testing.T, output, alert string) {
	t.Helper()
	says(t, output, s.alert(alert))
	if strings.Contains(output, "ECONNRESET") || strings.Contains(output, "EPIPE") {
		t.Errorf("the connection broke:\n%s", output)
	}
}

// These programs judge our certificate in JavaScript, after the handshake, and
// close without an alert. Only for none at all their library says it.
func (s *script) refusesUsAsAClient(t *testing.T) {
	for _, c := range troubles {
		if c.byServer == "" || c.byServer == "access_denied" { // it has no rules for names
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			o := order{Mutual: true, CA: w.ca}
			o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
			p, port := s.listen(t, o)
			cfg := mtls.ClientConfig{Servers: w.verifier()}
			l := c.leaf(w, "web")
			if l != nil {
				cfg.Identity = own(t, l)
			}
			conn, err := w.call(cfg, port)
			if err == nil {
				_, err = conn.Read(make([]byte, 1))
			}
			if l != nil || s.mayForget && errors.Is(err, io.ErrUnexpectedEOF) {
				brokeOff(t, err)
			} else {
				refusedUs(t, nil, err, c.byServer)
			}
			if strings.Contains(p.Output(), `"agreed":`) {
				t.Errorf("it let us in:\n%s", p.Output())
			}
		})
	}
}

// brokeOff checks that an end without a word is not taken for an orderly one.
func brokeOff(t *testing.T, err error) {
	t.Helper()
	r, ok := mtls.RefusalOf(err)
	if !ok || r.Fault != mtls.Network || errors.Is(err, io.EOF) {
		t.Errorf("expected a connection that broke off, found %v", err)
	}
}

func (s *script) refusesUsAsAServer(t *testing.T) {
	for _, c := range troubles {
		if c.byClient == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, c.leaf(w, s.server)), Clients: mtls.Anonymous()}, 1)
			it, out := s.connect(t, w, port, order{Send: "x"})
			if it.Error == "" || it.Agreed != nil || it.Got != "" {
				t.Errorf("it took us:\n%s", out)
			}
			err := await(t, result).err
			if s.tellsWhy {
				refusedUs(t, nil, err, c.byClient)
			} else {
				brokeOff(t, err)
			}
		})
	}
}

// Of several protocols one is agreed on, in both directions, and none in common
// ends it (RFC 7301, section 3.2).
func (s *script) agreesOnAProtocol(t *testing.T) {
	serve := func(w *world, alpn ...string) (int, <-chan outcome) {
		return w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), ALPN: alpn}, 1)
	}
	t.Run("it calls", func(t *testing.T) {
		w := newWorld(t)
		port, result := serve(w, "http/1.1")
		it, out := s.connect(t, w, port, order{ALPN: []string{"h2", "http/1.1"}, Send: "x"})
		if us := await(t, result); us.err != nil || us.neg.ALPN != "http/1.1" || it.Agreed == nil || it.Agreed.ALPN != "http/1.1" {
			t.Errorf("we agreed on %+v: %v; it says\n%s", us.neg, us.err, out)
		}
	})
	t.Run("it calls and has none in common", func(t *testing.T) {
		w := newWorld(t)
		port, result := serve(w, "http/1.1")
		_, out := s.connect(t, w, port, order{ALPN: []string{"h2"}, Send: "x"})
		weRefused(t, await(t, result).err, "no_application_protocol")
		s.sawAlert(t, out, "no_application_protocol")
	})
	t.Run("it serves", func(t *testing.T) {
		w := newWorld(t)
		o := order{ALPN: []string{"http/1.1"}}
		o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
		p, port := s.listen(t, o)
		conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), ALPN: []string{"h2", "http/1.1"}}, port)
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(conn, []byte("x"), []byte("x")); err != nil {
			t.Fatal(err)
		}
		p.Await(`"agreed":`)
		if it := read(p.Output()).Agreed; conn.Negotiated().ALPN != "http/1.1" || it.ALPN != "http/1.1" {
			t.Errorf("we agreed on %+v, it on %+v", conn.Negotiated(), it)
		}
		_, err = w.call(mtls.ClientConfig{Servers: w.verifier(), ALPN: []string{"h2"}}, port)
		refusedUs(t, nil, err, "no_application_protocol")
	})
}

// asksAgain has our client meet a HelloRetryRequest: its one key share is in a
// group that the server does not have, and both have wanted.
func (s *script) asksAgain(t *testing.T, unknown, wanted mtls.Group) {
	t.Helper()
	w := newWorld(t)
	o := order{Groups: s.group(wanted)}
	o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
	_, port := s.listen(t, o)
	conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), KeyShares: 1, Common: mtls.Common{Groups: []mtls.Group{unknown, wanted}}}, port)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, []byte("x"), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n := conn.Negotiated(); !n.Retried || n.Group != wanted {
		t.Errorf("agreed on %+v", n)
	}
}

// isAskedAgain has it meet a HelloRetryRequest of ours, for a group in which it
// sent no share.
func (s *script) isAskedAgain(t *testing.T, groups string, wanted mtls.Group) {
	t.Helper()
	w := newWorld(t)
	port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{Groups: []mtls.Group{wanted}}}, 1)
	it, out := s.connect(t, w, port, order{Groups: groups, Send: "x"})
	if us := await(t, result); us.err != nil || !us.neg.Retried || us.neg.Group != wanted || it.Got != "x" {
		t.Errorf("%+v; it says\n%s", us, out)
	}
}

// ofOldVersionsIsRefused has it speak nothing newer than TLS 1.2.
func (s *script) ofOldVersionsIsRefused(t *testing.T) {
	w := newWorld(t)
	port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()}, 1)
	_, out := s.connect(t, w, port, order{Old: "TLSv1.2", Send: "x"})
	weRefused(t, await(t, result).err, "protocol_version")
	s.sawAlert(t, out, "protocol_version")

	o := order{Old: "TLSv1.2"}
	o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
	_, port = s.listen(t, o)
	_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
	if r, ok := mtls.RefusalOf(err); !ok || r.Alert.String() != "protocol_version" {
		t.Errorf("got %v", err)
	}
}
