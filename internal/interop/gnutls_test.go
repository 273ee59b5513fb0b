package interop

import (
	"fmt"
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

// GnuTLS 3.7 knows no hybrid groups.
var (
	gnutlsGroups = []mtls.Group{suite.X25519, suite.P256, suite.P384}
	gnutlsKeys   = []string{"p384", "p521", "ed25519", "rsa2048", "rsapss2048"}
	gnutlsGroup  = map[mtls.Group]string{suite.X25519: "GROUP-X25519", suite.P256: "GROUP-SECP256R1", suite.P384: "GROUP-SECP384R1"}
	gnutlsCipher = map[mtls.Suite]string{suite.AES128GCMSHA256: "AES-128-GCM", suite.AES256GCMSHA384: "AES-256-GCM", suite.ChaCha20Poly1305SHA256: "CHACHA20-POLY1305"}
)

// priority makes GnuTLS agree to one suite and one group, and nothing older.
func priority(c combination) string {
	return "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+" + gnutlsCipher[c.suite] + ":-GROUP-ALL:+" + gnutlsGroup[c.group]
}

// gnutlsServ starts gnutls-serv, which sends back what comes.
func (w *world) gnutlsServ(program, cert, key string, args ...string) (*peers.Process, int) {
	w.t.Helper()
	port := peers.FreePort(w.t)
	p := peers.Start(w.t, nil, program, append([]string{"--echo", "--debug", "5", "--port", strconv.Itoa(port), "--x509certfile", cert, "--x509keyfile", key}, args...)...)
	p.AwaitListening(port)
	return p, port
}

// asksClients are gnutls-serv's options to want a certificate of our authority.
func (w *world) asksClients() []string {
	return []string{"--require-client-cert", "--verify-client-cert", "--x509cafile", w.ca}
}

func (w *world) gnutlsCLI(program string, port int, input string, args ...string) (string, int) {
	w.t.Helper()
	return peers.Run(w.t, input, program, append([]string{"--port", strconv.Itoa(port), "--sni-hostname", "orders", "--verify-hostname", "orders",
		"--x509cafile", w.ca, "127.0.0.1"}, args...)...)
}

func TestGnuTLSServes(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	for _, c := range combinations(gnutlsGroups, gnutlsKeys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders", mint.Key(c.key)), "orders")
			cfg := mtls.ClientConfig{Servers: w.verifier(), Common: c.common()}
			args := []string{"--priority", priority(c)}
			if c.mutual {
				args = append(args, w.asksClients()...)
				cfg.Identity = own(t, w.issuing.Leaf("web", mint.Key(c.key)))
			} else {
				args = append(args, "--disable-client-cert")
			}
			_, port := w.gnutlsServ(serv, cert, key, args...)
			conn, err := w.call(cfg, port)
			if err != nil {
				t.Fatal(err)
			}
			line := []byte(strings.Repeat("there and back again ", 100) + "\n")
			for range 20 {
				if err := exchange(conn, line, line); err != nil {
					t.Fatal(err)
				}
			}
			if n := conn.Negotiated(); n.Suite != c.suite || n.Group != c.group || n.ClientAuthenticated != c.mutual {
				t.Errorf("agreed on %+v", n)
			}
		})
	}
}

func TestGnuTLSCalls(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
	for _, c := range combinations(gnutlsGroups, gnutlsKeys) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders", mint.Key(c.key))), Clients: mtls.Anonymous(), Common: c.common()}
			args := []string{"--priority", priority(c)}
			peer := ""
			if c.mutual {
				cfg.Clients, peer = mtls.Required(w.verifier()), "web"
				cert, key := w.files(w.issuing.Leaf("web", mint.Key(c.key)), "web")
				args = append(args, "--x509certfile", cert, "--x509keyfile", key)
			}
			line := strings.Repeat("a line to be sent and sent back ", 100) + "\n"
			port, result := w.serveOnce(cfg, len(line))
			out, code := w.gnutlsCLI(cli, port, line, args...)
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

func TestGnuTLSAsksAgain(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	w := newWorld(t)
	cert, key := w.files(w.issuing.Leaf("orders"), "orders")
	_, port := w.gnutlsServ(serv, cert, key, "--priority", "NORMAL:-GROUP-ALL:+GROUP-SECP384R1")
	conn, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
	if err != nil {
		t.Fatal(err)
	}
	if n := conn.Negotiated(); !n.Retried || n.Group != suite.P384 {
		t.Errorf("agreed on %+v", n)
	}
	if err := exchange(conn, []byte("again\n"), []byte("again\n")); err != nil {
		t.Error(err)
	}
}

func TestGnuTLSIsAskedAgain(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
	w := newWorld(t)
	port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{Groups: []mtls.Group{suite.P384}}}, 6)
	out, code := w.gnutlsCLI(cli, port, "again\n", "--single-key-share", "--priority", "NORMAL:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP384R1")
	o := await(t, result)
	if o.err != nil || code != 0 || !o.neg.Retried || o.neg.Group != suite.P384 {
		t.Errorf("%+v; exit %d: %s", o, code, out)
	}
}

func TestGnuTLSIsRefusedAsAClient(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
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
				args = []string{"--x509certfile", cert, "--x509keyfile", key}
			}
			out, code := w.gnutlsCLI(cli, port, strings.Repeat("data on its way\n", 5000), args...)
			weRefused(t, await(t, result).err, c.byServer)
			if code == 0 {
				t.Error("it ended as if all were well")
			}
			says(t, out, fmt.Sprintf("Received alert [%d]", alertNumber[c.byServer]))
		})
	}
}

func TestGnuTLSIsRefusedAsAServer(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	for _, c := range troubles {
		if c.byClient == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(c.leaf(w, "orders"), "orders")
			p, port := w.gnutlsServ(serv, cert, key)
			_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
			weRefused(t, err, c.byClient)
			p.Await(fmt.Sprintf("Alert[2|%d]", alertNumber[c.byClient]))
		})
	}
}

// Of what it refuses itself, gnutls-serv tells less than the table: everything
// that does not verify is access_denied, and it looks at no client's usage.
func TestGnuTLSRefusesUs(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	says := map[string]string{"none at all": "certificate_required", "another authority": "access_denied", "expired": "access_denied"}
	for _, c := range troubles {
		if says[c.name] == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			_, port := w.gnutlsServ(serv, cert, key, w.asksClients()...)
			cfg := mtls.ClientConfig{Servers: w.verifier()}
			if l := c.leaf(w, "web"); l != nil {
				cfg.Identity = own(t, l)
			}
			conn, err := w.call(cfg, port)
			refusedUs(t, conn, err, says[c.name])
		})
	}
}

func TestGnuTLSOfOldVersionsIsRefused(t *testing.T) {
	cli, serv := peers.Need(t, "gnutls-cli"), peers.Need(t, "gnutls-serv")
	for _, version := range []string{"1.2", "1.1", "1.0"} {
		lax := []string{"--priority", "NORMAL:-VERS-ALL:+VERS-TLS" + version + ":%COMPAT"}
		t.Run("it calls with "+version, func(t *testing.T) {
			w := newWorld(t)
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()}, 1)
			out, _ := w.gnutlsCLI(cli, port, "x", lax...)
			weRefused(t, await(t, result).err, "protocol_version")
			says(t, out, "Received alert [70]")
		})
		t.Run("it serves with "+version, func(t *testing.T) {
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			_, port := w.gnutlsServ(serv, cert, key, lax...)
			_, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
			refusedUs(t, nil, err, "handshake_failure") // it looks for a suite before a version
		})
	}
}

// Keys change while data flows, at its wish and at ours.
func TestGnuTLSChangesKeys(t *testing.T) {
	t.Run("it calls, and asks for ours too", func(t *testing.T) {
		cli := peers.Need(t, "gnutls-cli")
		w := newWorld(t)
		lines := "before\nafter\n"
		port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous()}, len(lines))
		in, typed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer typed.Close()
		p := peers.Start(t, in, cli, "--inline-commands", "--port", strconv.Itoa(port), "--sni-hostname", "orders", "--verify-hostname", "orders", "--x509cafile", w.ca, "127.0.0.1")
		p.Await("Simple Client Mode")
		fmt.Fprint(typed, "before\n^rekey^\n")
		p.Await("Rekey was completed")
		fmt.Fprint(typed, "after\n")
		o := await(t, result)
		if o.err != nil || o.got != lines {
			t.Errorf("%q, %v", o.got, o.err)
		}
		p.Await("before\nafter\n")
	})
	t.Run("it serves, and we change keys", func(t *testing.T) {
		serv := peers.Need(t, "gnutls-serv")
		w := newWorld(t)
		cert, key := w.files(w.issuing.Leaf("orders"), "orders")
		_, port := w.gnutlsServ(serv, cert, key)
		conn, err := w.call(mtls.ClientConfig{Servers: w.verifier()}, port)
		if err != nil {
			t.Fatal(err)
		}
		for _, both := range []bool{false, true, true, false} {
			if err := conn.Rekey(both); err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("live\n"), []byte("live\n")); err != nil {
				t.Fatal(err)
			}
		}
	})
}
