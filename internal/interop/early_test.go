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
			s, err := mtls.NewServer(cfg)
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			results := make(chan outcome, 2)
			go func() {
				for range 2 {
					transport, err := l.Accept()
					if err != nil {
						results <- outcome{err: err}
						return
					}
					results <- answerEarly(s, transport)
				}
			}()
			args := []string{"-groups", names(r.client)}
			if r.mutual {
				cert, key := w.files(w.issuing.Leaf("web"), "web")
				args = append(args, "-cert", cert, "-key", key, "-cert_chain", cert)
			}
			session, question := filepath.Join(w.dir, "session"), filepath.Join(w.dir, "question")
			if err := os.WriteFile(question, []byte("early"), 0o600); err != nil {
				t.Fatal(err)
			}
			port := l.Addr().(*net.TCPAddr).Port
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

// answerEarly answers what comes early before the handshake is over, and takes
// what follows.
func answerEarly(s *mtls.Server, transport net.Conn) (o outcome) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := s.Accept(ctx, transport)
	if err != nil {
		return outcome{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
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
	_, o.err = io.ReadFull(c, b)
	o.got += " " + string(b)
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
	r := resumptions()[1]
	client, err := mtls.NewClient(r.calling(w))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		c, err := client.ConnectEarly(ctx, transport, "orders")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		want := mtls.NoEarlyData
		if n > 0 {
			want = mtls.EarlyAccepted
			if _, err := c.WriteEarly([]byte("an early question")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Write([]byte("a late one\n")); err != nil {
			t.Fatal(err)
		}
		if got := c.Negotiated().EarlyData; got != want {
			t.Errorf("connection %d: early data: %v", n+1, got)
		}
		// The ticket comes behind the handshake.
		if err := c.Admitted(ctx); err != nil {
			t.Fatal(err)
		}
		p.AwaitThat("the data", func(out string) bool { return strings.Count(out, "a late one") == n+1 })
		_ = c.Close()
	}
	p.Await("an early question")
}
