package interop

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

// The distribution's OpenSSL 3.0 knows no hybrid groups; openssl35 does, as Node's.
var (
	opensslGroups = []mtls.Group{suite.X25519, suite.P256, suite.P384}
	opensslKeys   = []string{"p384", "p521", "ed25519", "rsa2048", "rsapss2048"}
	opensslGroup  = map[mtls.Group]string{suite.X25519: "X25519", suite.P256: "P-256", suite.P384: "P-384"}
)

// eachOpenSSL runs a test with OpenSSL 3.0 and with 3.5.
func eachOpenSSL(t *testing.T, test func(t *testing.T, openssl string)) {
	for _, program := range []string{"openssl", "openssl35"} {
		t.Run(program, func(t *testing.T) { test(t, peers.Need(t, program)) })
	}
}

func TestOpenSSLServes(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	for _, c := range combinations(opensslGroups, opensslKeys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders", mint.Key(c.key)), "orders")
			cfg := mtls.ClientConfig{Servers: w.verifier(), Common: c.common()}
			args := []string{"-ciphersuites", c.suite.String(), "-groups", opensslGroup[c.group]}
			if c.mutual {
				args = append(args, "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
				cfg.Identity = own(t, w.issuing.Leaf("web", mint.Key(c.key)))
			}
			_, port := w.sServer(openssl, cert, key, args...)
			conn, err := w.call(cfg, port)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Repeat("stressed ", 200) + "\n"
			reversed := strings.Repeat(" desserts", 200) + "\n"
			for range 20 { // -rev sends each line back reversed
				if err := exchange(conn, []byte(line), []byte(reversed)); err != nil {
					t.Fatal(err)
				}
			}
			if n := conn.Negotiated(); n.Suite != c.suite || n.Group != c.group || n.ClientAuthenticated != c.mutual {
				t.Errorf("agreed on %+v", n)
			}
		})
	}
}

// sServer starts s_server, which answers each line with its reverse.
func (w *world) sServer(openssl, cert, key string, args ...string) (*peers.Process, int) {
	w.t.Helper()
	port := peers.FreePort(w.t)
	p := peers.Start(w.t, nil, openssl, append([]string{"s_server", "-accept", "127.0.0.1:" + strconv.Itoa(port), "-cert", cert, "-key", key,
		"-cert_chain", cert, "-no_ticket", "-rev"}, args...)...)
	p.AwaitListening(port)
	return p, port
}

func TestOpenSSLCalls(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	for _, c := range combinations(opensslGroups, opensslKeys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders", mint.Key(c.key))), Clients: mtls.Anonymous(), Common: c.common()}
			args := []string{"-ciphersuites", c.suite.String(), "-groups", opensslGroup[c.group]}
			peer := ""
			if c.mutual {
				cfg.Clients, peer = mtls.Required(w.verifier()), "web"
				cert, key := w.files(w.issuing.Leaf("web", mint.Key(c.key)), "web")
				args = append(args, "-cert", cert, "-key", key, "-cert_chain", cert)
			}
			line := strings.Repeat("a line to be sent and sent back ", 500) + "\n"
			port, result := w.serveOnce(cfg, len(line))
			out, code := w.sClient(openssl, port, line, args...)
			o := await(t, result)
			if o.err != nil || o.got != line || o.peer != peer {
				t.Errorf("we saw %d bytes of %q: %v", len(o.got), o.peer, o.err)
			}
			if code != 0 || !strings.Contains(out, line) {
				t.Errorf("exit %d:\n%s", code, out)
			}
			if o.neg.Suite != c.suite || o.neg.Group != c.group {
				t.Errorf("agreed on %+v", o.neg)
			}
		})
	}
}

func (w *world) sClient(openssl string, port int, input string, args ...string) (string, int) {
	w.t.Helper()
	return peers.Run(w.t, input, openssl, append([]string{"s_client", "-connect", "127.0.0.1:" + strconv.Itoa(port), "-servername", "orders",
		"-CAfile", w.ca, "-verify_return_error", "-verify_hostname", "orders", "-quiet"}, args...)...)
}

// The server of another stack asks again, and its cookie, which is its own affair,
// comes back to it.
func TestOpenSSLAsksAgainWithACookie(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	w := newWorld(t)
	cert, key := w.files(w.issuing.Leaf("orders"), "orders")
	port := peers.FreePort(t)
	// -stateless needs s_server's plain mode, where it shows what comes.
	in, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	p := peers.Start(t, in, openssl, "s_server", "-accept", "127.0.0.1:"+strconv.Itoa(port), "-cert", cert, "-key", key,
		"-cert_chain", cert, "-no_ticket", "-stateless", "-tls1_3", "-msg")
	p.AwaitListening(port)
	transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := w.callOver(withoutCompatibility{transport}, mtls.ClientConfig{Servers: w.verifier()})
	if err != nil {
		t.Fatal(err)
	}
	if !conn.Negotiated().Retried {
		t.Error("it did not ask again")
	}
	if err := exchange(conn, []byte("as it asked\n"), nil); err != nil {
		t.Error(err)
	}
	p.Await("\nas it asked\n")
	// Its second answer came to a hello with a cookie (extension 44).
	if hellos := strings.Count(p.Output(), "ClientHello"); hellos != 2 || !strings.Contains(p.Output(), "00 2c ") {
		t.Errorf("it saw %d hellos:\n%s", hellos, p.Output())
	}
}

// withoutCompatibility keeps the one-byte change_cipher_spec to itself. A server
// without state must drop it (RFC 8446, section 4.2.2), and OpenSSL 3.0's gives up.
type withoutCompatibility struct{ net.Conn }

func (c withoutCompatibility) Write(p []byte) (int, error) {
	rest := bytes.TrimPrefix(p, []byte{20, 3, 3, 0, 1, 1})
	n, err := c.Conn.Write(rest)
	return n + len(p) - len(rest), err
}

func TestOpenSSLIsAskedAgain(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	w := newWorld(t)
	port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{Groups: []mtls.Group{suite.P384}}}, 6)
	out, code := w.sClient(openssl, port, "again\n", "-groups", "X25519:P-384")
	o := await(t, result)
	if o.err != nil || code != 0 || !o.neg.Retried || o.neg.Group != suite.P384 {
		t.Errorf("%+v; exit %d: %s", o, code, out)
	}
}

func TestOpenSSLIsRefusedAsAClient(t *testing.T) {
	openssl := peers.Need(t, "openssl")
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
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Required(mtls.Allow(w.verifier(), rules))}, 1)
			var args []string
			if l := c.leaf(w, "web"); l != nil {
				cert, key := w.files(l, "caller")
				args = []string{"-cert", cert, "-key", key, "-cert_chain", cert}
			}
			out, code := w.sClient(openssl, port, strings.Repeat("data on its way\n", 5000), args...)
			weRefused(t, await(t, result).err, c.byServer)
			if code == 0 {
				t.Error("it ended as if all were well")
			}
			says(t, out, fmt.Sprintf("SSL alert number %d", alertNumber[c.byServer]))
		})
	}
}

func TestOpenSSLIsRefusedAsAServer(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	for _, c := range troubles {
		if c.byClient == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(c.leaf(w, "orders"), "orders")
			p, port := w.sServer(openssl, cert, key)
			_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
			weRefused(t, err, c.byClient)
			p.Await(fmt.Sprintf("SSL alert number %d", alertNumber[c.byClient]))
		})
	}
}

func TestOpenSSLRefusesUs(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	for _, c := range troubles {
		if c.byServer == "" || c.byServer == "access_denied" { // it has no rules for names
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			_, port := w.sServer(openssl, cert, key, "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
			cfg := mtls.ClientConfig{Servers: w.verifier()}
			if l := c.leaf(w, "web"); l != nil {
				cfg.Identity = own(t, l)
			}
			conn, err := w.call(cfg, port)
			refusedUs(t, conn, err, c.byServer)
		})
	}
}

// Of ML-DSA from the root to the leaf, on both sides, with each hybrid group.
func TestOpenSSLKnowsMLDSAChains(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	for kind, group := range map[string]mtls.Group{"mldsa44": suite.X25519MLKEM768, "mldsa65": suite.SecP256r1MLKEM768, "mldsa87": suite.SecP384r1MLKEM1024} {
		common := mtls.Common{Groups: []mtls.Group{group}}
		t.Run("it calls, "+kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mint.Key(kind))
			cert, key := w.files(w.issuing.Leaf("web", mint.Key(kind)), "web")
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders", mint.Key(kind))), Clients: mtls.Required(w.verifier()), Common: common}, 5)
			out, code := w.sClient(openssl, port, "long\n", "-groups", group.String(), "-cert", cert, "-key", key, "-cert_chain", cert)
			if o := await(t, result); o.err != nil || o.peer != "web" || o.neg.Group != group || o.neg.Scheme.String() != kind || code != 0 {
				t.Errorf("%+v; exit %d:\n%s", o, code, out)
			}
		})
		t.Run("it serves, "+kind, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mint.Key(kind))
			cert, key := w.files(w.issuing.Leaf("orders", mint.Key(kind)), "orders")
			p, port := w.sServer(openssl, cert, key, "-groups", group.String(), "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
			conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web", mint.Key(kind))), Common: common}, port)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("stressed\n"), []byte("desserts\n")); err != nil {
				t.Fatal(err)
			}
			if n := conn.Negotiated(); n.Group != group || n.Scheme.String() != kind || !n.ClientAuthenticated {
				t.Errorf("agreed on %+v", n)
			}
			p.Await("Signature type: " + kind)
		})
	}
}

func TestOpenSSLOfOldVersionsIsRefused(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	// The distribution's own policy would not let it go below TLS 1.2.
	lax := []string{"-cipher", "DEFAULT@SECLEVEL=0"}
	for _, version := range []string{"-tls1_2", "-tls1_1", "-tls1"} {
		t.Run("it calls with "+version, func(t *testing.T) {
			w := newWorld(t)
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()}, 1)
			out, _ := w.sClient(openssl, port, "x", append(lax, version)...)
			weRefused(t, await(t, result).err, "protocol_version")
			says(t, out, "SSL alert number 70")
		})
		t.Run("it serves with "+version, func(t *testing.T) {
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			p, port := w.sServer(openssl, cert, key, append(lax, version)...)
			_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
			r, ok := mtls.RefusalOf(err)
			if !ok || r.Alert.String() != "protocol_version" {
				t.Errorf("got %v", err)
			}
			if r.Sent {
				p.Await("SSL alert number 70")
			}
		})
	}
}

// Keys change while data flows, at its wish and at ours.
func TestOpenSSLChangesKeys(t *testing.T) { eachOpenSSL(t, openSSLChangesKeys) }

func openSSLChangesKeys(t *testing.T, openssl string) {
	t.Run("it calls, and asks for ours too", func(t *testing.T) {
		w := newWorld(t)
		lines := "before\nafter\n"
		port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()}, len(lines))
		in, typed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer typed.Close()
		p := peers.Start(t, in, openssl, "s_client", "-connect", "127.0.0.1:"+strconv.Itoa(port), "-servername", "orders", "-CAfile", w.ca, "-msg")
		p.Await("Verify return code: 0")
		for _, s := range []string{"before\n", "K\n", "k\n", "after\n"} {
			// A line of K or k is its command, if nothing else comes with it.
			sent := strings.Count(p.Output(), ">>> TLS 1.2, RecordHeader")
			fmt.Fprint(typed, s)
			p.AwaitThat("one more record sent", func(out string) bool { return strings.Count(out, ">>> TLS 1.2, RecordHeader") > sent })
		}
		o := await(t, result)
		if o.err != nil || o.got != lines {
			t.Errorf("%q, %v", o.got, o.err)
		}
		p.Await("KEYUPDATE")
		p.Await("before\nafter\n")
	})
	t.Run("it serves, and we change keys", func(t *testing.T) {
		t.Parallel() // it sleeps for a second over each KeyUpdate
		w := newWorld(t)
		cert, key := w.files(w.issuing.Leaf("orders"), "orders")
		_, port := w.sServer(openssl, cert, key)
		conn, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
		if err != nil {
			t.Fatal(err)
		}
		for _, both := range []bool{false, true, true, false} {
			if err := conn.Rekey(both); err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("live\n"), []byte("evil\n")); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What the two ends export is the same.
func TestOpenSSLExportsTheSame(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	w := newWorld(t)
	s := w.server(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()})
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	exported := make(chan []byte, 1)
	go func() {
		c, err := l.AcceptConn()
		if err != nil {
			close(exported)
			return
		}
		b, _ := c.Export("EXPORTER-test", nil, 20)
		exported <- b
		_ = c.Close()
	}()
	_, port, _ := strings.Cut(l.Addr().String(), ":")
	out, _ := peers.Run(t, "", openssl, "s_client", "-connect", "127.0.0.1:"+port, "-servername", "orders", "-CAfile", w.ca, "-keymatexport", "EXPORTER-test", "-ign_eof")
	want := fmt.Sprintf("Keying material: %X", <-exported)
	if !bytes.Contains([]byte(out), []byte(want)) {
		t.Errorf("ours is %q, and it says\n%s", want, out)
	}
}
