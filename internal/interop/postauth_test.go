package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// serveAsking takes one connection, asks the client for a certificate, and sends a
// line back.
func (w *world) serveAsking() (port int, result <-chan outcome) {
	w.t.Helper()
	s := w.server(mtls.ServerConfig{Identity: own(w.t, w.issuing.Leaf("orders")), Clients: mtls.OnRequest(w.verifier())})
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	done := make(chan outcome, 1)
	go func() {
		c, err := l.AcceptConn()
		if err != nil {
			done <- outcome{err: err}
			return
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
		defer cancel()
		_ = c.SetDeadline(time.Now().Add(peers.Patience))
		o := outcome{}
		for range 2 { // a second request, under another context
			if o.err = c.RequestCertificate(ctx); o.err != nil {
				break
			}
		}
		if p, ok := c.Peer(); ok {
			o.peer = p.Name()
		}
		if _, err := c.Write([]byte("asked\n")); o.err == nil {
			o.err = err
		}
		done <- o
	}()
	return l.Addr().(*net.TCPAddr).Port, done
}

func TestOpenSSLIsAskedForACertificateLater(t *testing.T) {
	eachOpenSSL(t, openSSLIsAskedForACertificateLater)
}

func openSSLIsAskedForACertificateLater(t *testing.T, openssl string) {
	for _, shows := range []bool{true, false} {
		t.Run(fmt.Sprintf("shows %v", shows), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			port, result := w.serveAsking()
			args := []string{"s_client", "-connect", "127.0.0.1:" + strconv.Itoa(port), "-servername", "orders", "-CAfile", w.ca, "-verify_return_error", "-quiet", "-enable_pha"}
			if shows {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "-cert", cert, "-key", key, "-cert_chain", cert)
			}
			asked(t, w, openssl, args, result, shows)
		})
	}
}

func TestGnuTLSIsAskedForACertificateLater(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
	for _, shows := range []bool{true, false} {
		t.Run(fmt.Sprintf("shows %v", shows), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			port, result := w.serveAsking()
			args := []string{"--post-handshake-auth", "--port", strconv.Itoa(port), "--sni-hostname", "orders", "--verify-hostname", "orders", "--x509cafile", w.ca}
			if shows {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "--x509certfile", cert, "--x509keyfile", key)
			}
			asked(t, w, cli, append(args, "127.0.0.1"), result, shows)
		})
	}
}

// asked runs a client, which has its input open, to what becomes of our request.
func asked(t *testing.T, w *world, program string, args []string, result <-chan outcome, shows bool) {
	t.Helper()
	in, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer typed.Close()
	p := peers.Start(t, in, program, args...)
	p.Await("asked")
	o := await(t, result)
	switch {
	case shows && (o.err != nil || o.peer != "web"):
		t.Errorf("we proved %q: %v\n%s", o.peer, o.err, p.Output())
	case !shows && (!errors.Is(o.err, mtls.ErrDeclined) || o.peer != ""):
		t.Errorf("we proved %q: %v\n%s", o.peer, o.err, p.Output())
	}
}

// s_server asks when it is told to ("c"), and says what it got.
func TestOpenSSLAsksForACertificateLater(t *testing.T) {
	eachOpenSSL(t, openSSLAsksForACertificateLater)
}

func openSSLAsksForACertificateLater(t *testing.T, openssl string) {
	for _, shows := range []bool{true, false} {
		t.Run(fmt.Sprintf("shows %v", shows), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			in, typed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer typed.Close()
			port := peers.FreePort(t)
			p := peers.Start(t, in, openssl, "s_server", "-accept", "127.0.0.1:"+strconv.Itoa(port), "-cert", cert, "-key", key,
				"-cert_chain", cert, "-CAfile", w.ca, "-verify_return_error", "-tls1_3")
			p.AwaitListening(port)
			answered := make(answers, 1)
			cfg := mtls.ClientConfig{Servers: w.verifier(), PostHandshakeAuth: true, Common: mtls.Common{Observer: answered}}
			if shows {
				cfg.Identity = own(t, w.issuing.Leaf("web"))
			}
			conn, err := w.call(cfg, port)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Write([]byte("hello from us\n")); err != nil {
				t.Fatal(err)
			}
			p.Await("hello from us")
			got := make(chan string, 1)
			go func() {
				b := make([]byte, 6)
				n, _ := io.ReadFull(conn, b)
				got <- string(b[:n])
			}()
			fmt.Fprint(typed, "c\n") // a command, if nothing else comes with it
			select {
			case <-answered:
			case <-time.After(peers.Patience):
				t.Fatalf("no request came: %s", p.Output())
			}
			fmt.Fprint(typed, "words\n")
			if words := <-got; words != "words\n" {
				t.Fatalf("%q", words)
			}
			if _, err := conn.Write([]byte("and again\n")); err != nil {
				t.Fatal(err)
			}
			if shows {
				p.AwaitThat("our name", func(out string) bool { return strings.Contains(strings.ReplaceAll(out, " ", ""), "CN=web") })
			}
			p.Await("and again")
			if (conn.Local() != nil) != shows {
				t.Errorf("we showed %v", conn.Local())
			}
		})
	}
}

// gnutls-serv asks when the line **REAUTH** comes.
func TestGnuTLSAsksForACertificateLater(t *testing.T) {
	serv := peers.Need(t, "gnutls-serv")
	w := newWorld(t)
	cert, key := w.files(w.issuing.Leaf("orders"), "orders")
	_, port := w.gnutlsServ(serv, cert, key, "--x509cafile", w.ca)
	conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web")), PostHandshakeAuth: true}, port)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("**REAUTH**\n")); err != nil {
		t.Fatal(err)
	}
	// It takes nothing else while it waits, and says what came of it.
	b := make([]byte, 64)
	n, err := conn.Read(b)
	if err != nil || !strings.Contains(string(b[:n]), "Successfully executed") {
		t.Fatalf("%q, %v", b[:n], err)
	}
	if err := exchange(conn, []byte("live\n"), []byte("live\n")); err != nil {
		t.Fatal(err)
	}
}

// answers observes our answers after the handshake.
type answers chan struct{}

func (a answers) Observe(e mtls.Event) {
	if e.Kind == observe.Message && e.Level == observe.Application && e.Type == message.TypeFinished {
		a <- struct{}{}
	}
}
