package interop

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// OpenSSL sends us early data, and we answer it before its handshake is over.
func TestOpenSSLSendsEarlyData(t *testing.T) { eachOpenSSL(t, openSSLSendsEarlyData) }

func openSSLSendsEarlyData(t *testing.T, openssl string) {
	for _, r := range resumptions() {
		if r.retry {
			continue // a second hello brings none
		}
		t.Run(r.name, func(t *testing.T) {
			w := newWorld(t)
			cfg := r.serving(w)
			cfg.Resumption.EarlyData = &mtls.ServerEarlyData{}
			port, results := w.takeEarly(cfg, 5)
			args := []string{"-groups", names(r.client)}
			if r.mutual {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "-cert", cert, "-key", key, "-cert_chain", cert)
			}
			session, question := filepath.Join(w.dir, "session"), filepath.Join(w.dir, "question")
			if err := os.WriteFile(question, []byte("early"), 0o600); err != nil {
				t.Fatal(err)
			}
			out, code := w.sClient(openssl, port, "late\n", append(args, "-sess_out", session)...)
			if o := await(t, results); code != 0 || o.err != nil || o.got != " late\n" {
				t.Fatalf("exit %d: %q, %v\n%s", code, o.got, o.err, out)
			}
			out, code = w.sClient(openssl, port, "late\n", append(args, "-sess_in", session, "-early_data", question)...)
			o := await(t, results)
			if code != 0 || o.err != nil || o.got != "early late\n" || o.neg.EarlyData != mtls.EarlyAccepted || (o.peer == "web") != r.mutual {
				t.Errorf("exit %d: %q of %q, %+v, %v\n%s", code, o.got, o.peer, o.neg, o.err, out)
			}
			says(t, out, "answer to early")
		})
	}
}

// takeEarly takes two connections, one after the other, and wants so many bytes that
// are not early.
func (w *world) takeEarly(cfg mtls.ServerConfig, late int) (port int, results <-chan outcome) {
	w.t.Helper()
	s := w.server(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	done := make(chan outcome, 2)
	go func() {
		for n := range 2 {
			transport, err := l.Accept()
			if err != nil {
				done <- outcome{err: err}
				return
			}
			if n == 1 {
				transport = &unhurried{Conn: transport}
			}
			done <- answerEarly(s, transport, late)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, done
}

// unhurried reads nothing until there is a protected record: else a client that was
// answered quickly might say late what it could have said early.
type unhurried struct {
	net.Conn
	heard []byte
	early bool
}

func (u *unhurried) Read(p []byte) (int, error) {
	for !u.early {
		b := make([]byte, 4<<10)
		n, err := u.Conn.Read(b)
		if err != nil {
			return 0, err
		}
		u.heard = append(u.heard, b[:n]...)
		for rest := u.heard; len(rest) >= header && !u.early; {
			end := header + int(rest[3])<<8 + int(rest[4])
			if end > len(rest) {
				break
			}
			u.early, rest = rest[0] == 23, rest[end:]
		}
	}
	if len(u.heard) > 0 {
		n := copy(p, u.heard)
		u.heard = u.heard[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// answerEarly answers what comes early before the handshake is over, and takes
// what follows.
func answerEarly(s *mtls.Server, transport net.Conn, late int) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
	defer cancel()
	c, err := s.Accept(ctx, transport)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	o.neg = c.Negotiated()
	if p, ok := c.Peer(); ok {
		o.peer = p.Name()
	}
	b := make([]byte, 5)
	if o.neg.EarlyData == mtls.EarlyAccepted {
		if _, o.err = c.ReadEarly(b); o.err != nil {
			return o
		}
		o.got = string(b)
	}
	if _, o.err = c.Write([]byte("answer to " + o.got + "\n")); o.err != nil {
		return o
	}
	if o.err = c.Handshake(ctx); o.err != nil {
		return o
	}
	rest := make([]byte, late)
	_, o.err = io.ReadFull(c, rest)
	o.got += " " + string(rest)
	if o.err == nil {
		o.err = c.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, c)
	return o
}

// OpenSSL takes our early data.
func TestOpenSSLTakesEarlyData(t *testing.T) { eachOpenSSL(t, openSSLTakesEarlyData) }

func openSSLTakesEarlyData(t *testing.T, openssl string) {
	w := newWorld(t)
	cert, key := w.files(w.issuing.Leaf("orders"), "orders")
	port := peers.FreePort(t)
	in, typed, err := os.Pipe() // s_server shows what comes, as long as nobody closes its input
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer typed.Close()
	p := peers.Start(t, in, openssl, "s_server", "-accept", "127.0.0.1:"+strconv.Itoa(port), "-cert", cert, "-key", key, "-cert_chain", cert,
		"-early_data", "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
	p.AwaitListening(port)
	late := 0
	w.sendEarly(port, func(c *mtls.Conn) error {
		if _, err := c.Write([]byte("a late one\n")); err != nil {
			return err
		}
		late++
		p.AwaitThat("the data", func(out string) bool { return strings.Count(out, "a late one") == late })
		return nil
	})
	p.Await("an early question")
}

// sendEarly connects twice, the second time with early data, which has to be taken.
// talk is for what follows.
func (w *world) sendEarly(port int, talk func(*mtls.Conn) error) {
	w.t.Helper()
	r := resumptions()[1]
	cfg := r.calling(w)
	cfg.Limits = patient
	client, err := mtls.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	for n := range 2 {
		transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			w.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
		defer cancel()
		c, err := client.ConnectEarly(ctx, transport, "orders")
		if err != nil {
			w.t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(peers.Patience))
		want := mtls.NoEarlyData
		if n > 0 {
			want = mtls.EarlyAccepted
			if _, err := c.WriteEarly([]byte("an early question\n")); err != nil {
				w.t.Fatal(err)
			}
		}
		if err := c.Handshake(ctx); err != nil {
			w.t.Fatal(err)
		}
		if got := c.Negotiated().EarlyData; got != want {
			w.t.Errorf("connection %d: early data: %v", n+1, got)
		}
		if err := talk(c); err != nil {
			w.t.Error(err)
		}
		// The ticket comes behind the handshake.
		if err := c.Admitted(ctx); err != nil {
			w.t.Fatal(err)
		}
		_ = c.Close()
	}
}

// GnuTLS 3.7 sends us early data. (That of 3.8.9 sends none, not to its own server
// either: it gives up in the first connection already, which has no session.)
func TestGnuTLSSendsEarlyData(t *testing.T) {
	cli := peers.Need(t, "gnutls-cli")
	w := newWorld(t)
	r := resumptions()[1]
	cfg := r.serving(w)
	cfg.Resumption.EarlyData = &mtls.ServerEarlyData{}
	port, results := w.takeEarly(cfg, 5)
	cert, key := w.files(w.issuing.Leaf("web"), "web")
	question := filepath.Join(w.dir, "question")
	if err := os.WriteFile(question, []byte("early"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.typed([]string{cli, "--port", strconv.Itoa(port), "--sni-hostname", "orders", "--verify-hostname", "orders", "--x509cafile", w.ca, "127.0.0.1",
		"--resume", "--waitresumption", "--earlydata", question, "--x509certfile", cert, "--x509keyfile", key}, "late\n")
	await(t, results) // it ends at once, to come back
	p.Await("answer to early")
	p.Await("This is a resumed session")
	p.Await("Peer has closed")
	p.Stop()
	if o := await(t, results); o.err != nil || o.got != "early late\n" || o.neg.EarlyData != mtls.EarlyAccepted || o.peer != "web" {
		t.Errorf("%+v", o)
	}
}

// GnuTLS takes our early data.
func TestGnuTLSTakesEarlyData(t *testing.T) {
	for _, program := range []string{"gnutls-serv", "gnutls38-serv"} {
		t.Run(program, func(t *testing.T) {
			serv := peers.Need(t, program)
			t.Parallel()
			w := newWorld(t)
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			p, port := w.gnutlsServ(serv, cert, key, append(w.asksClients(), "--earlydata")...)
			w.sendEarly(port, func(c *mtls.Conn) error { return exchange(c, []byte("a late one\n"), []byte("a late one\n")) })
			p.Await("early data accepted")
			p.Await("decrypted early data with length: 18,")
		})
	}
}
