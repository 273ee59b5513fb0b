package interop

import (
	"crypto"
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// Other people's TLS proves itself to us, and we to it, by a key that both have.

// pskPeer is a program that knows external keys.
type pskPeer struct {
	name string
	// hash goes with its keys.
	hash crypto.Hash
	// client is the command that calls the port with the key.
	client func(w *world, port int, k mtls.PSK) []string
	// used is what its client says where it used the key.
	used string
	// server starts a server that takes the key, and says what it sends back for a
	// line; nil where there is none.
	server func(w *world, k mtls.PSK) (p *peers.Process, port int, answer func(line string) []byte)
	// welcomed is what its server says where the key was used: nothing, where it has
	// no certificate to do without.
	welcomed string
	// alert is how its client prints decrypt_error, for a key that is wrong.
	alert string
	// refuses is the alert by which its server says it.
	refuses string
}

func pskPeers() []pskPeer {
	var all []pskPeer
	for program, refuses := range map[string]string{"openssl": "illegal_parameter", "openssl35": "decrypt_error"} {
		key := func(_ *world, k mtls.PSK) []string { return []string{"-psk", hex.EncodeToString(k.Secret)} }
		all = append(all, opensslPSK(program, "-psk", refuses, crypto.SHA256, key),
			opensslPSK(program, "-psk_session", refuses, crypto.SHA384, func(w *world, k mtls.PSK) []string { return []string{"-psk_session", w.pskSession(k)} }))
	}
	for _, programs := range [][2]string{{"gnutls-cli", "gnutls-serv"}, {"gnutls38-cli", "gnutls38-serv"}} {
		all = append(all, gnutlsPSK(programs[0], programs[1]))
	}
	return append(all, nssPSK)
}

// external is a key that web and orders share: each time another one.
func external(hash crypto.Hash) mtls.PSK {
	return mtls.PSK{Identity: []byte("web-and-orders"), Secret: random(32), Hash: hash, Raw: true, Client: "web", Server: "orders"}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func opensslPSK(program, option, refuses string, hash crypto.Hash, key func(*world, mtls.PSK) []string) pskPeer {
	return pskPeer{
		name: program + " " + option, hash: hash, used: "Reused, TLSv1.3", alert: "SSL alert number 51", refuses: refuses,
		client: func(w *world, port int, k mtls.PSK) []string {
			return append([]string{peers.Need(w.t, program), "s_client", "-connect", "127.0.0.1:" + strconv.Itoa(port), "-servername", "orders", "-ign_eof",
				"-psk_identity", string(k.Identity)}, key(w, k)...)
		},
		server: func(w *world, k mtls.PSK) (*peers.Process, int, func(string) []byte) {
			w.t.Helper()
			port := peers.FreePort(w.t)
			p := peers.Start(w.t, nil, peers.Need(w.t, program), append([]string{"s_server", "-accept", "127.0.0.1:" + strconv.Itoa(port), "-nocert", "-rev",
				"-psk_identity", string(k.Identity)}, key(w, k)...)...)
			p.AwaitListening(port)
			return p, port, backwards
		},
	}
}

// pskSession is a file with the key as OpenSSL keeps sessions: with a suite, and so
// with a hash.
func (w *world) pskSession(k mtls.PSK) string {
	w.t.Helper()
	suites := map[crypto.Hash][]byte{crypto.SHA256: {0x13, 0x01}, crypto.SHA384: {0x13, 0x02}}
	der, err := asn1.Marshal(struct {
		Version, TLS      int
		Suite, ID, Secret []byte
	}{1, 0x0304, suites[k.Hash], nil, k.Secret})
	if err != nil {
		w.t.Fatal(err)
	}
	name := filepath.Join(w.dir, "psk.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "SSL SESSION PARAMETERS", Bytes: der}), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return name
}

func gnutlsPSK(cli, serv string) pskPeer {
	priority := []string{"--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK"}
	return pskPeer{
		name: cli, hash: crypto.SHA256, used: "- PSK authentication.", welcomed: "Connected as 'web-and-orders'", alert: "Received alert [51]", refuses: "illegal_parameter",
		client: func(w *world, port int, k mtls.PSK) []string {
			return append([]string{peers.Need(w.t, cli), "--port", strconv.Itoa(port), "--sni-hostname", "orders", "127.0.0.1",
				"--pskusername", string(k.Identity), "--pskkey", hex.EncodeToString(k.Secret)}, priority...)
		},
		server: func(w *world, k mtls.PSK) (*peers.Process, int, func(string) []byte) {
			w.t.Helper()
			file := filepath.Join(w.dir, "psk.txt")
			if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%x\n", k.Identity, k.Secret), 0o600); err != nil {
				w.t.Fatal(err)
			}
			port := peers.FreePort(w.t)
			p := peers.Start(w.t, nil, peers.Need(w.t, serv), append([]string{"--echo", "--debug", "5", "--port", strconv.Itoa(port), "--pskpasswd", file}, priority...)...)
			p.AwaitListening(port)
			return p, port, func(line string) []byte { return []byte(line) }
		},
	}
}

func TestExternalKeysOfCallers(t *testing.T) {
	for _, p := range pskPeers() {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := external(p.hash)
			line := "by a key that both have\n"
			port, result := w.serveOnce(mtls.ServerConfig{PSKs: []mtls.PSK{k}}, len(line))
			it := w.typed(p.client(w, port, k), line)
			it.Await(line)
			it.Await(p.used)
			it.Stop()
			if o := await(t, result); o.err != nil || o.got != line || o.peer != "web" || o.neg.PSK != string(k.Identity) || !o.neg.ClientAuthenticated {
				t.Errorf("we saw %q of %q, %+v: %v", o.got, o.peer, o.neg, o.err)
			}
		})
		t.Run(p.name+", another key", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := external(p.hash)
			port, result := w.serveOnce(mtls.ServerConfig{PSKs: []mtls.PSK{k}}, 1)
			k.Secret = random(32)
			it := w.typed(p.client(w, port, k), "x\n")
			weRefused(t, await(t, result).err, "decrypt_error")
			it.Await(p.alert)
		})
	}
}

// typed starts a program and types the line; its input stays open.
func (w *world) typed(command []string, line string) *peers.Process {
	w.t.Helper()
	in, typed, err := os.Pipe()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = typed.Close() })
	p := peers.Start(w.t, in, command[0], command[1:]...)
	_ = in.Close()
	if _, err := typed.WriteString(line); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestExternalKeysOfServers(t *testing.T) {
	for _, p := range pskPeers() {
		if p.server == nil {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := external(p.hash)
			it, port, answer := p.server(w, k)
			conn, err := w.call(mtls.ClientConfig{PSKs: []mtls.PSK{k}}, port)
			if err != nil {
				t.Fatal(err)
			}
			line := "stressed\n"
			if err := exchange(conn, []byte(line), answer(line)); err != nil {
				t.Fatal(err)
			}
			if peer, _ := conn.Peer(); peer.Name() != "orders" || conn.Negotiated().PSK != string(k.Identity) {
				t.Errorf("agreed on %+v with %q", conn.Negotiated(), peer.Name())
			}
			if p.welcomed != "" {
				it.Await(p.welcomed)
			}
		})
		t.Run(p.name+", another key", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			k := external(p.hash)
			_, port, _ := p.server(w, k)
			k.Secret = random(32)
			conn, err := w.call(mtls.ClientConfig{PSKs: []mtls.PSK{k}}, port)
			if err == nil {
				err = exchange(conn, []byte("x\n"), []byte("x\n"))
			}
			refusedUs(t, nil, err, p.refuses)
		})
	}
}

// An imported key (RFC 9258) is not known to be one by any program's options: so
// GnuTLS's library is driven.

func importedKey() mtls.PSK {
	k := external(crypto.SHA256)
	k.Raw, k.Context = false, []byte("web to orders")
	return k
}

// importer is the command of one end with the key.
func (w *world) importer(role string, port int, k mtls.PSK) []string {
	w.t.Helper()
	o, err := json.Marshal(map[string]any{"port": port, "name": "orders", "identity": string(k.Identity), "context": string(k.Context), "key": hex.EncodeToString(k.Secret)})
	if err != nil {
		w.t.Fatal(err)
	}
	return []string{peers.Need(w.t, "python313"), filepath.Join("testdata", "importer.py"), role, string(o)}
}

func TestGnuTLSImportsKeysAsAClient(t *testing.T) {
	w := newWorld(t)
	k := importedKey()
	line := "imported by both\n"
	port, result := w.serveOnce(mtls.ServerConfig{PSKs: []mtls.PSK{k}}, len(line))
	command := w.importer("connect", port, k)
	out, code := peers.Run(t, "", command[0], command[1:]...)
	if o := await(t, result); o.err != nil || o.got != line || o.peer != "web" || o.neg.PSK != string(k.Identity) {
		t.Errorf("%+v", o)
	}
	if code != 0 || !strings.Contains(out, line) {
		t.Errorf("exit %d: %s", code, out)
	}
	k.Context = []byte("another context")
	port, result = w.serveOnce(mtls.ServerConfig{PSKs: []mtls.PSK{k}}, len(line))
	k.Context = []byte("web to orders")
	command = w.importer("connect", port, k)
	if out, code := peers.Run(t, "", command[0], command[1:]...); code == 0 {
		t.Errorf("a key of another context will do: %s", out)
	}
	weRefused(t, await(t, result).err, "handshake_failure")
}

func TestGnuTLSImportsKeysAsAServer(t *testing.T) {
	w := newWorld(t)
	k := importedKey()
	command := w.importer("listen", 0, k)
	p := peers.Start(t, nil, command[0], command[1:]...)
	p.AwaitThat("its port", func(out string) bool { return strings.Contains(out, "\n") })
	var port int
	if _, err := fmt.Sscanf(p.Output(), "port %d", &port); err != nil {
		t.Fatal(err, p.Output())
	}
	conn, err := w.call(mtls.ClientConfig{PSKs: []mtls.PSK{k}}, port)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, []byte("imported\n"), []byte("imported\n")); err != nil {
		t.Fatal(err)
	}
	if peer, _ := conn.Peer(); peer.Name() != "orders" || conn.Negotiated().PSK != string(k.Identity) {
		t.Errorf("agreed on %+v with %q", conn.Negotiated(), peer.Name())
	}
	p.Await("imported ")
}
