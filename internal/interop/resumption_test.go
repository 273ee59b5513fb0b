package interop

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// Other people's TLS resumes with us, both ways, at once and after a
// HelloRetryRequest.

// resumption is one way to do it. What is agreed on is the same again.
type resumption struct {
	name           string
	mutual, retry  bool
	suite          mtls.Suite
	client, server []mtls.Group
}

func resumptions() []resumption {
	one := []mtls.Group{suite.X25519}
	two := []mtls.Group{suite.X25519, suite.P384}
	return []resumption{
		{"server-only", false, false, suite.AES128GCMSHA256, one, one},
		{"mutual", true, false, suite.AES128GCMSHA256, one, one},
		{"mutual, SHA-384", true, false, suite.AES256GCMSHA384, one, one},
		{"server-only, retry", false, true, suite.AES128GCMSHA256, two, two[1:]},
		{"mutual, retry, SHA-384", true, true, suite.AES256GCMSHA384, two, two[1:]},
	}
}

// names are groups as OpenSSL wants them.
func names(groups []mtls.Group) string {
	var out []string
	for _, g := range groups {
		out = append(out, opensslGroup[g])
	}
	return strings.Join(out, ":")
}

// serving is a server of ours that resumes.
func (r *resumption) serving(w *world) mtls.ServerConfig {
	cfg := mtls.ServerConfig{
		Identity: own(w.t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Resumption: &mtls.ServerResumption{},
		Common: mtls.Common{Suites: []mtls.Suite{r.suite}, Groups: r.server},
	}
	if r.mutual {
		cfg.Clients = mtls.Required(w.verifier())
	}
	return cfg
}

// calling is a client of ours that resumes.
func (r *resumption) calling(w *world) mtls.ClientConfig {
	cfg := mtls.ClientConfig{Servers: w.verifier(), Resumption: &mtls.ClientResumption{}, Common: mtls.Common{Suites: []mtls.Suite{r.suite}, Groups: r.client}}
	if r.mutual {
		cfg.Identity = own(w.t, w.issuing.Leaf("web"))
	}
	return cfg
}

// serveTwice takes two connections, one after the other, as serveOnce takes one.
func (w *world) serveTwice(cfg mtls.ServerConfig, n int) (port int, results <-chan outcome) {
	w.t.Helper()
	s := w.server(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan outcome, 2)
	go func() {
		for range 2 {
			transport, err := l.Accept()
			if err != nil {
				done <- outcome{err: err}
				continue
			}
			done <- carry(s, transport, n)
		}
	}()
	w.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().(*net.TCPAddr).Port, done
}

// check holds the outcome of our server's n-th connection to what it should be.
func (r *resumption) check(t *testing.T, n int, o outcome, want string) {
	t.Helper()
	peer := ""
	if r.mutual {
		peer = "web"
	}
	if o.err != nil || o.got != want || o.peer != peer {
		t.Errorf("connection %d: we saw %d bytes of %q: %v", n, len(o.got), o.peer, o.err)
	}
	if o.neg.Resumed != (n > 1) || o.neg.Retried != r.retry || o.neg.Suite != r.suite || o.neg.ClientAuthenticated != r.mutual {
		t.Errorf("connection %d: agreed on %+v", n, o.neg)
	}
}

// callThrice reaches a peer's server three times with one client of ours. talk
// exchanges what the server gives, behind which its tickets have come.
func (r *resumption) callThrice(w *world, port int, talk func(net.Conn) error) {
	w.t.Helper()
	cfg := r.calling(w)
	cfg.Limits = patient
	client, err := mtls.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	for n := range 3 {
		transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			w.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
		conn, err := client.Connect(ctx, transport, "orders")
		cancel()
		if err != nil {
			w.t.Fatalf("connection %d: %v", n+1, err)
		}
		_ = conn.SetDeadline(time.Now().Add(peers.Patience))
		if err := errors.Join(talk(conn), conn.Close()); err != nil {
			w.t.Fatalf("connection %d: %v", n+1, err)
		}
		peer, ok := conn.Peer()
		if neg := conn.Negotiated(); neg.Resumed != (n > 0) || neg.Retried != r.retry || neg.ClientAuthenticated != r.mutual || !ok || peer.Name() != "orders" {
			w.t.Errorf("connection %d: agreed on %+v with %q", n+1, neg, peer.Name())
		}
	}
}

func TestOpenSSLResumesAsAClient(t *testing.T) { eachOpenSSL(t, openSSLResumesAsAClient) }

func openSSLResumesAsAClient(t *testing.T, openssl string) {
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			port, results := w.serveTwice(r.serving(w), 6)
			args := []string{"-groups", names(r.client)}
			if r.mutual {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "-cert", cert, "-key", key, "-cert_chain", cert)
			}
			file := filepath.Join(w.dir, "session")
			for i, how := range []string{"-sess_out", "-sess_in"} {
				out, code := w.sClient(openssl, port, "again\n", append(args, how, file)...)
				if code != 0 {
					t.Errorf("exit %d:\n%s", code, out)
				}
				r.check(t, i+1, await(t, results), "again\n")
			}
		})
	}
}

func TestOpenSSLResumesAsAServer(t *testing.T) { eachOpenSSL(t, openSSLResumesAsAServer) }

func openSSLResumesAsAServer(t *testing.T, openssl string) {
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			port := peers.FreePort(t)
			args := []string{"s_server", "-accept", "127.0.0.1:" + strconv.Itoa(port), "-cert", cert, "-key", key, "-cert_chain", cert, "-rev", "-groups", names(r.server)}
			if r.mutual {
				args = append(args, "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
			}
			p := peers.Start(t, nil, openssl, args...)
			p.AwaitListening(port)
			r.callThrice(w, port, func(c net.Conn) error { return exchange(c, []byte("stressed\n"), []byte("desserts\n")) })
		})
	}
}

func TestGnuTLSResumesAsAClient(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			port, results := w.serveTwice(r.serving(w), 6)
			priority := "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL"
			for _, g := range r.client {
				priority += ":+" + gnutlsGroup[g]
			}
			args := []string{"--resume", "--waitresumption", "--single-key-share", "--priority", priority}
			if r.mutual {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "--x509certfile", cert, "--x509keyfile", key)
			}
			out, _ := w.gnutlsCLI(cli, port, "again\n", args...)
			first := await(t, results) // it ends at once, to come back
			if first.neg.Resumed || first.neg.Retried != r.retry {
				t.Errorf("agreed on %+v", first.neg)
			}
			r.check(t, 2, await(t, results), "again\n")
			says(t, out, "This is a resumed session")
		})
	}
}

func TestGnuTLSResumesAsAServer(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			priority := "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL"
			for _, g := range r.server {
				priority += ":+" + gnutlsGroup[g]
			}
			args := []string{"--priority", priority, "--disable-client-cert"}
			if r.mutual {
				args = append([]string{"--priority", priority}, w.asksClients()...)
			}
			_, port := w.gnutlsServ(serv, cert, key, args...)
			r.callThrice(w, port, func(c net.Conn) error { return exchange(c, []byte("there and back\n"), []byte("there and back\n")) })
		})
	}
}

func TestNodeResumesAsAClient(t *testing.T) {
	s := node(t)
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			port, results := w.serveTwice(r.serving(w), 5)
			o := order{Groups: names(r.client), Send: "again", Again: true}
			if r.mutual {
				o.Cert, o.Key = w.files(w.issuing.Leaf("web"), "web")
			}
			it, out := s.connect(t, w, port, o)
			for n := range 2 {
				r.check(t, n+1, await(t, results), "again")
			}
			if it.Agreed == nil || !it.Agreed.Resumed || it.Error != "" {
				t.Errorf("it says\n%s", out)
			}
		})
	}
}

func TestNodeResumesAsAServer(t *testing.T) {
	s := node(t)
	for _, r := range resumptions() {
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			o := order{Groups: names(r.server)}
			o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
			if r.mutual {
				o.Mutual, o.CA = true, w.ca
			}
			p, port := s.listen(t, o)
			r.callThrice(w, port, func(c net.Conn) error { return exchange(c, []byte("again"), []byte("again")) })
			p.AwaitThat("a resumed connection", func(output string) bool { return strings.Contains(output, `"resumed":true`) })
		})
	}
}
