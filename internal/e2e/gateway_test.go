package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
	"github.com/mutual-tls/mutual/pki"
)

func TestBytesGoThroughBothGateways(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			w := newWorld(t)
			s := w.mutual(w.service(network, echo))
			listen := []string{}
			if network == "unix" {
				listen = []string{"--listen", "unix:" + filepath.Join(t.TempDir(), "c")}
			}
			c := w.connect(s.address, "web", listen...)
			if err := ask(dial(t, c.address), "hello\n"); err != nil {
				t.Fatal(err)
			}
			// Much at once, both ways, with a half-close at its end.
			conn := dial(t, c.address)
			data := noise(8 << 20)
			go func() {
				_, _ = conn.Write(data)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d of %d bytes came back: %v", len(got), len(data), err)
			}
		})
	}
}

// A service may speak first, and long before a foreign server would have shown
// whether it admits anybody.
func TestAServiceThatSpeaksFirstIsHeard(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", func(c net.Conn) { fmt.Fprint(c, "220 ready\r\n"); _, _ = io.Copy(io.Discard, c) }))
	conn := dial(t, w.connect(s.address, "web").address)
	b := make([]byte, 11)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "220 ready\r\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// One side has finished sending, and the other goes on for long.
func TestAHalfCloseIsNotTheEnd(t *testing.T) {
	w := newWorld(t)
	long := noise(3 << 20)
	s := w.mutual(w.service("tcp", func(c net.Conn) {
		asked, _ := io.ReadAll(c) // to the half-close
		time.Sleep(200 * time.Millisecond)
		_, _ = c.Write(append(asked, long...))
	}))
	conn := dial(t, w.connect(s.address, "web").address)
	_, _ = conn.Write([]byte("question"))
	_ = conn.(*net.TCPConn).CloseWrite()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, append([]byte("question"), long...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// A service that breaks off is not taken for one that ended.
func TestABrokenServiceBreaksTheCallersConnection(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", func(c net.Conn) {
		_, _ = c.Write([]byte("half an ans"))
		time.Sleep(100 * time.Millisecond)
		_ = c.(*net.TCPConn).SetLinger(0)
	}))
	conn := dial(t, w.connect(s.address, "web").address)
	if got, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAServiceThatIsAwayBreaksTheCallersConnection(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t)))
	conn := dial(t, w.connect(s.address, "web").address)
	if got, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("%q, %v", got, err)
	}
	if e := s.awaitLog(t, "M0801"); !strings.Contains(e.Msg, "can't be reached for web") || e.Mend == "" {
		t.Errorf("the log says %+v", e)
	}
}

func TestWhoIsRefusedLearnsWhyOnBothSides(t *testing.T) {
	for _, c := range []struct {
		name         string
		leaf         func(w *world) *mint.Leaf
		here, alert  string // the server's code and the alert
		there, words string // the client's code, and what its log says
	}{
		{"nobody", nil, "M0402", "certificate_required", "M0501", "orders refused us: a certificate is required"},
		{"another authority", func(*world) *mint.Leaf { return mint.Root("Other").Leaf("web") }, "M0103", "unknown_ca", "M0502", "orders refused web: unknown authority"},
		{"expired", func(w *world) *mint.Leaf { return w.issuing.Leaf("web", mint.Lifetime(-time.Hour)) }, "M0101", "certificate_expired", "M0503", "orders refused web: certificate expired"},
		{"not allowed", func(w *world) *mint.Leaf { return w.issuing.Leaf("ops") }, "M0401", "access_denied", "M0508", "orders refused ops: access denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			base := ""
			if c.leaf != nil {
				base = "caller"
				w.leaf(base, c.leaf(w))
			}
			s := w.mutual(w.service("tcp", echo))
			gate := w.connect(s.address, base)
			conn := dial(t, gate.address)
			if got, err := stage.Say(conn, "GET / HTTP/1.1\r\n\r\n"); !wasReset(err) || len(got) > 0 {
				t.Errorf("the plain side saw %q, %v: a refusal must not pass for an answer", got, err)
			}
			here, there := s.awaitLog(t, c.here), gate.awaitLog(t, c.there)
			if here.Alert != c.alert || here.Sent == nil || !*here.Sent || here.Mend == "" || here.ID == "" || here.Step == "" {
				t.Errorf("the server's log says %+v", here)
			}
			if there.Alert != c.alert || there.Sent == nil || *there.Sent || !strings.Contains(there.Msg, c.words) || there.Mend == "" {
				t.Errorf("the client's log says %+v", there)
			}
			if c.here == "M0101" && (here.Link == nil || here.Expected == "" || here.Found == "") {
				t.Errorf("the server's log does not say which link: %+v", here)
			}
			if c.here == "M0401" && !strings.Contains(here.Rule, "web") {
				t.Errorf("the server's log does not say which rule: %+v", here)
			}
		})
	}
}

// A Unix socket can't be reset, and ends as after an answer unless bytes lie in it
// that nobody read.
func TestARefusalIsNoEmptyAnswerOnAUnixSocket(t *testing.T) {
	w := newWorld(t)
	w.leaf("ops", w.issuing.Leaf("ops"))
	s := w.mutual(w.service("tcp", echo))
	for _, base := range []string{"ops", ""} {
		gate := w.connect(s.address, base, "--listen", "unix:"+filepath.Join(t.TempDir(), "s"))
		for _, limit := range []string{"at once", "later"} {
			conn := dial(t, gate.address)
			if limit == "later" {
				time.Sleep(50 * time.Millisecond) // beyond the handshake, mostly
			}
			if got, err := stage.Say(conn, "GET / HTTP/1.0\r\n\r\n"); !wasReset(err) || len(got) > 0 {
				t.Errorf("%q, %s: the plain side saw %q, %v", base, limit, got, err)
			}
		}
	}
	gate := w.connect(s.address, "web", "--listen", "unix:"+filepath.Join(t.TempDir(), "s"), "--max-connections", "1")
	for range 2 {
		conn := dial(t, gate.address)
		if err := ask(conn, "hello"); err != nil {
			t.Error(err)
		}
		_ = conn.Close()
	}
}

func TestTheCallersSideSaysThatTheServerWentAway(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo))
	gate := w.connect(s.address, "web")
	conn := dial(t, gate.address)
	if err := ask(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = s.Cmd.Process.Kill()
	if _, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("the plain side saw %v", err)
	}
	gate.Await(`the server \"orders\"`)
}

func TestAServerThatCannotProveItselfIsRefused(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo))
	c := w.connect(s.address, "web", "--server-name", "payments")
	conn := dial(t, c.address)
	if got, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("the plain side saw %q, %v", got, err)
	}
	if e := c.awaitLog(t, "M0105"); e.Alert != "bad_certificate" || !strings.Contains(e.Msg, "payments") {
		t.Errorf("the log says %+v", e)
	}
}

func TestWithoutClientAuthItIsAnOrdinaryFrontEnd(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.service("tcp", echo), "--client-auth", "none")
	if err := ask(dial(t, w.connect(s.address, "").address), "hello"); err != nil {
		t.Error(err)
	}
}

// What is behind may speak anything: no protocol is agreed on that nobody named.
func TestNoALPNIsAgreedOnUnlessItIsNamed(t *testing.T) {
	w := newWorld(t)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.root.PEM())
	agree := func(s *gate, offered ...string) (string, error) {
		c, err := tls.Dial("tcp", s.address, &tls.Config{RootCAs: roots, ServerName: "orders", NextProtos: offered, MinVersion: tls.VersionTLS13})
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.ConnectionState().NegotiatedProtocol, nil
	}
	s := w.serve(w.service("tcp", echo), "--client-auth", "none")
	if got, err := agree(s, "h2", "http/1.1"); got != "" || err != nil {
		t.Errorf("without --alpn %q was agreed on, %v", got, err)
	}
	s = w.serve(w.service("tcp", echo), "--client-auth", "none", "--alpn", "http/1.1")
	if got, err := agree(s, "h2", "http/1.1"); got != "http/1.1" || err != nil {
		t.Errorf("with --alpn http/1.1 %q was agreed on, %v", got, err)
	}
	if got, err := agree(s); got != "" || err != nil {
		t.Errorf("who offers nothing got %q, %v", got, err)
	}
	if _, err := agree(s, "h2"); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("without overlap the client saw %v", err)
	}
}

// Browsers offer brotli and nothing else (RFC 8879).
func TestABrowsersFormOfACertificateIsMade(t *testing.T) {
	w := newWorld(t)
	s := w.serve(w.service("tcp", echo), "--client-auth", "none")
	root, err := pki.Parse(w.root.DER)
	if err != nil {
		t.Fatal(err)
	}
	var sent compressed
	client, err := mtls.NewClient(mtls.ClientConfig{
		Servers: mtls.Authorities(pki.NewAnchors(root)),
		Common: mtls.Common{
			Observer:    &sent,
			Compression: mtls.Compression{Offer: true, Algorithms: []mtls.CompressionAlgorithm{brotli.Algorithm()}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Connect(t.Context(), dial(t, s.address), "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := ask(c, "hello"); err != nil {
		t.Error(err)
	}
	if !sent {
		t.Error("the server's certificate came as it is, expected it in brotli")
	}
}

// compressed is whether a server sent its certificate compressed.
type compressed bool

func (c *compressed) Observe(e observe.Event) {
	*c = *c || e.From == observe.Server && e.Type == message.TypeCompressedCertificate
}

func TestRequestLetsTheAnonymousInAndTheBadNot(t *testing.T) {
	w := newWorld(t)
	w.leaf("bad", mint.Root("Other").Leaf("web"))
	s := w.mutual(w.service("tcp", echo), "--client-auth", "request")
	for base, want := range map[string]bool{"": true, "web": true, "bad": false} {
		if err := ask(dial(t, w.connect(s.address, base).address), "hello"); (err == nil) != want {
			t.Errorf("with %q: %v", base, err)
		}
	}
}

// Both are written, or neither is used; what stands goes on.
func TestANewCertificateIsUsedWithoutARestart(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo))
	c := w.connect(s.address, "web")
	standing := dial(t, c.address)
	if err := ask(standing, "before"); err != nil {
		t.Fatal(err)
	}
	next := w.issuing.Leaf("orders")
	if err := os.WriteFile(w.file("orders.crt"), next.CertPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.awaitLog(t, "M0809")
	if err := ask(dial(t, c.address), "the former is in use"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.file("orders.key"), next.KeyPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Await("a new certificate is in use")
	if err := ask(dial(t, c.address), "the new one is in use"); err != nil {
		t.Fatal(err)
	}
	if err := ask(standing, "what stood goes on"); err != nil {
		t.Error(err)
	}
}

// An authority that is trusted no more takes its callers along, at once.
func TestAnAuthorityTakenOutCutsWhoStoodUnderIt(t *testing.T) {
	w := newWorld(t)
	other := mint.Root("Other")
	w.leaf("guest", other.Leaf("web"))
	both := append(w.root.PEM(), other.PEM()...)
	if err := os.WriteFile(w.file("callers.crt"), both, 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.serve(w.service("tcp", echo), "--client-ca", w.file("callers.crt"), "--allow", "web")
	stays, goes := dial(t, w.connect(s.address, "web").address), dial(t, w.connect(s.address, "guest").address)
	for _, c := range []net.Conn{stays, goes} {
		if err := ask(c, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(w.file("callers.crt"), w.root.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(goes); !wasReset(err) {
		t.Errorf("the one whose authority went saw %q, %v", got, err)
	}
	if err := ask(stays, "still here"); err != nil {
		t.Error(err)
	}
	if e := s.awaitLog(t, "M0103"); !strings.Contains(e.Msg, "second look") || e.Alert != "unknown_ca" {
		t.Errorf("the log says %+v", e)
	}
}

func TestAnAuthorityTakenOutDuringADrainCutsWhoStoodUnderIt(t *testing.T) {
	w := newWorld(t)
	other := mint.Root("Other")
	w.leaf("guest", other.Leaf("web"))
	if err := os.WriteFile(w.file("callers.crt"), append(w.root.PEM(), other.PEM()...), 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.serve(w.service("tcp", echo), "--client-ca", w.file("callers.crt"), "--allow", "web", "--drain", "10m")
	stays, goes := dial(t, w.connect(s.address, "web").address), dial(t, w.connect(s.address, "guest").address)
	for _, c := range []net.Conn{stays, goes} {
		if err := ask(c, "hello"); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Cmd.Process.Signal(syscall.SIGTERM)
	s.Await("may take up to")
	if err := os.WriteFile(w.file("callers.crt"), w.root.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = s.Cmd.Process.Signal(syscall.SIGHUP)
	if _, err := io.ReadAll(goes); !wasReset(err) {
		t.Errorf("the one whose authority went saw %v", err)
	}
	if err := ask(stays, "still here"); err != nil {
		t.Error(err)
	}
}

func TestACertificateThatEndsTakesItsConnectionAlong(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo), "--grace", "1s")
	var conn net.Conn
	briefly(t, func(life time.Duration) error {
		w.leaf("brief", w.issuing.Leaf("web", mint.Lifetime(life)))
		gate := w.connect(s.address, "brief")
		conn = dial(t, gate.address)
		return ask(conn, "hello")
	})
	if got, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("saw %q, %v", got, err)
	}
	s.awaitLog(t, "M0405")
}

func TestAStopLetsWhatIsUnderWayFinish(t *testing.T) {
	w := newWorld(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	s := w.mutual(w.service("tcp", func(c net.Conn) {
		b := make([]byte, 4)
		_, _ = io.ReadFull(c, b)
		close(begun)
		<-finish
		fmt.Fprint(c, "whole")
	}), "--health", "127.0.0.1:0", "--drain", "10m")
	gate := w.connect(s.address, "web", "--drain", "10m")
	conn := dial(t, gate.address)
	_, _ = conn.Write([]byte("work"))
	<-begun
	for _, p := range []*peers.Process{s.Process, gate.Process} {
		_ = p.Cmd.Process.Signal(syscall.SIGTERM)
		p.Await("may take up to")
	}
	close(finish)
	if got, err := io.ReadAll(conn); err != nil || string(got) != "whole" {
		t.Errorf("%q, %v", got, err)
	}
	_ = conn.Close()
	for _, p := range []*peers.Process{s.Process, gate.Process} {
		if err := p.Wait(peers.Patience); err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
	if c, err := net.Dial("tcp", s.address); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}

func TestWhatDoesNotEndIsCutAfterTheDrainOrASecondSignal(t *testing.T) {
	for name, c := range map[string]struct {
		drain  string
		second bool
	}{"the drain is over": {"300ms", false}, "a second signal": {"10m", true}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.mutual(w.service("tcp", echo), "--drain", c.drain)
			conn := dial(t, w.connect(s.address, "web").address)
			if err := ask(conn, "hello"); err != nil {
				t.Fatal(err)
			}
			_ = s.Cmd.Process.Signal(syscall.SIGTERM)
			s.Await("may take up to")
			if c.second {
				_ = s.Cmd.Process.Signal(syscall.SIGTERM)
			}
			if err := s.Wait(peers.Patience); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if _, err := io.ReadAll(conn); !wasReset(err) {
				t.Errorf("the connection that was cut ended with %v", err)
			}
			s.awaitLog(t, "M0806")
		})
	}
}

// briefly has something succeed that must not take longer than what it is given,
// and gives it more where the machine is too busy for that.
func briefly(t *testing.T, do func(time.Duration) error) {
	t.Helper()
	for d := 3 * time.Second; ; d *= 3 {
		err := do(d)
		if err == nil {
			return
		}
		if d > time.Minute {
			t.Fatal(err)
		}
	}
}

func TestHealth(t *testing.T) {
	w := newWorld(t)
	var s *gate
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + s.health + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	briefly(t, func(life time.Duration) error {
		w.leaf("orders", w.issuing.Leaf("orders", mint.Lifetime(life)))
		s = w.mutual(w.service("tcp", echo), "--health", "127.0.0.1:0")
		if code, body := get("/readyz"); code != 200 || body != "ready\n" {
			return fmt.Errorf("/readyz: %d %q", code, body)
		}
		return nil
	})
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	for end := time.Now().Add(peers.Patience); ; time.Sleep(50 * time.Millisecond) {
		if code, body := get("/readyz"); code == 503 && strings.Contains(body, "expired at") {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it is ready with a certificate that ended")
		}
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
}

func TestAboveTheLimitConnectionsWaitAndAreNotLost(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo), "--max-connections", "2")
	gate := w.connect(s.address, "web")
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			c, err := net.Dial("tcp", gate.address)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(peers.Patience))
			if err := ask(c, fmt.Sprintf("hello %d", i)); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wait.Wait()
}

func TestAnIdleConnectionIsCut(t *testing.T) {
	w := newWorld(t)
	var s *gate
	var conn net.Conn
	briefly(t, func(limit time.Duration) error {
		s = w.mutual(w.service("tcp", echo), "--idle-timeout", limit.String())
		conn = dial(t, w.connect(s.address, "web").address)
		for range 12 { // longer than the limit, in one direction after the other
			if err := ask(conn, "hello"); err != nil {
				return err
			}
			time.Sleep(limit / 10)
		}
		return nil
	})
	if _, err := io.ReadAll(conn); !wasReset(err) {
		t.Errorf("it ended with %v", err)
	}
	s.awaitLog(t, "M0807")
}

// What does not speak TLS, or does not speak at all, is told so and holds up nobody.
func TestStrangersHoldUpNobody(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo), "--handshake-timeout", "20s")
	var silent []net.Conn
	for range 20 {
		silent = append(silent, dial(t, s.address))
	}
	plain := dial(t, s.address)
	fmt.Fprint(plain, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n")
	_, _ = io.ReadAll(plain)
	if err := ask(dial(t, w.connect(s.address, "web").address), "hello"); err != nil {
		t.Error(err)
	}
	for _, c := range silent {
		if _, err := io.ReadAll(c); err != nil && !wasReset(err) {
			t.Errorf("a silent caller was kept: %v", err)
		}
	}
}

// A flood of refusals is a few lines, and a count.
func TestAFloodOfRefusalsDoesNotFloodTheLog(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo))
	gate := w.connect(s.address, "")
	began, refused := time.Now(), 0
	for flood := time.Duration(0); flood < peers.Patience && !strings.Contains(s.Output(), "were not told one by one"); flood = time.Since(began) {
		for range 40 {
			c := dial(t, gate.address)
			_, _ = io.ReadAll(c)
			refused++
		}
	}
	s.Await("were not told one by one")
	// Ten lines in ten seconds, and perhaps in the ten before and behind.
	windows := 2 + int(time.Since(began)/(10*time.Second))
	if n := strings.Count(s.Output(), `"code":"M0402"`); n == 0 || n > 10*windows || n >= refused {
		t.Errorf("%d lines for %d times one and the same", n, refused)
	}
}

func TestMistakesAtTheCommandLine(t *testing.T) {
	w := newWorld(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	pem := []string{"--cert", w.file("orders.crt"), "--key", w.file("orders.key")}
	serve := append([]string{"serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0"}, pem...)
	with := func(a []string, more ...string) []string { return append(append([]string{}, a...), more...) }
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no name":                           {[]string{"serve"}, 2, "NAME"},
		"no target":                         {with([]string{"serve", "orders"}, pem...), 2, "--to"},
		"a target that is no address":       {[]string{"serve", "orders", "--to", "8080", "--cert", "x", "--key", "y", "--client-auth", "none"}, 2, "HOST:PORT"},
		"no certificate":                    {[]string{"serve", "orders", "--to", "127.0.0.1:1", "--key", w.file("orders.key")}, 2, "--cert"},
		"nobody let in":                     {[]string{"serve", "orders", "--to", "127.0.0.1:1"}, 2, "--allow"},
		"no authorities":                    {with(serve, "--allow", "web"), 2, "--client-ca"},
		"require without rules":             {with(serve, "--client-ca", w.file("ca.crt")), 2, "--allow"},
		"none with rules":                   {with(serve, "--client-auth", "none", "--allow", "web"), 2, "--allow"},
		"an unknown mode":                   {with(serve, "--client-auth", "maybe"), 2, "none, request or require"},
		"a rule that is no name":            {with(serve, "--client-ca", w.file("ca.crt"), "--allow", "*"), 2, "--allow"},
		"a missing file":                    {with(serve, "--client-ca", w.file("nowhere.crt"), "--allow", "web"), 1, "can't be read"},
		"a file that holds no certificate":  {with(serve, "--client-ca", w.file("web.key"), "--allow", "web"), 1, "(M0610)"},
		"another's key":                     {[]string{"serve", "orders", "--to", "127.0.0.1:1", "--cert", w.file("orders.crt"), "--key", w.file("web.key"), "--client-auth", "none"}, 1, "key"},
		"a port that is taken":              {with(serve, "--client-auth", "none", "--listen", taken.Addr().String()), 1, "taken by another program"},
		"a taken port has a code":           {with(serve, "--client-auth", "none", "--listen", taken.Addr().String()), 1, "(M0808)"},
		"an unknown flag":                   {with(serve, "--clientca", "x"), 2, "--clientca"},
		"an unknown command":                {[]string{"sreve"}, 2, "did you mean serve"},
		"an authority's flag":               {with(serve, "--advertise", "orders:8443"), 2, "authority"},
		"connect without a target":          {[]string{"connect", "--listen", "127.0.0.1:0"}, 2, "--to"},
		"connect without an address":        {[]string{"connect", "--to", "orders:1"}, 2, "--listen"},
		"connect with half an identity":     {[]string{"connect", "--to", "orders:1", "--listen", "127.0.0.1:0", "--cert", "x"}, 2, "--key"},
		"connect with a name that is none":  {[]string{"connect", "--to", "orders:1", "--listen", "127.0.0.1:0", "--server-name", "or ders"}, 2, "--server-name"},
		"connect with a damaged line":       {[]string{"connect", "mutual-join-1-x", "--listen", "127.0.0.1:0"}, 2, "M0901"},
		"connect with a line and a target":  {[]string{"connect", "mutual+join:1/x", "--to", "orders:1", "--listen", "127.0.0.1:0"}, 2, "one or the other"},
		"a log in a format that is unknown": {with(serve, "--client-auth", "none", "--log", "xml"), 2, "text or json"},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := peers.Run(t, "", binary, c.args...)
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit %d, saying %q; expected %d and %q", code, out, c.code, c.says)
			}
			if n := strings.Count(strings.TrimSpace(out), "\n"); n > 0 && c.code == 2 {
				t.Errorf("a usage error of %d lines: %q", n+1, out)
			}
		})
	}
}

// A certificate that no peer will take is found at the start, and not by the peers.
func TestACertificateForAnotherUseIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	w.leaf("caller", w.issuing.Leaf("orders", mint.Usage(x509.ExtKeyUsageClientAuth)))
	w.leaf("server", w.issuing.Leaf("web", mint.Usage(x509.ExtKeyUsageServerAuth)))
	for base, args := range map[string][]string{
		"caller": {"serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--client-auth", "none"},
		"server": {"connect", "--to", "orders:1", "--listen", "127.0.0.1:0", "--server-ca", w.file("ca.crt")},
	} {
		out, code := peers.Run(t, "", binary, append(args, "--dry-run", "--cert", w.file(base+".crt"), "--key", w.file(base+".key"))...)
		if code != 0 || !strings.Contains(out, "M0107") {
			t.Errorf("%s: exit %d, %s", args[0], code, out)
		}
	}
	out, _ := peers.Run(t, "", binary, "connect", "--to", "orders:1", "--listen", "127.0.0.1:0", "--server-ca", w.file("ca.crt"), "--dry-run",
		"--cert", w.file("web.crt"), "--key", w.file("web.key"))
	if strings.Contains(out, "M0107") {
		t.Errorf("a certificate for both uses: %s", out)
	}
}

// Who only connects takes no place of --max-connections.
func TestStrangersTakeNoPlacesOfConnections(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo), "--max-connections", "1", "--handshake-timeout", "10m")
	for range 3 {
		dial(t, s.address)
	}
	gate := w.connect(s.address, "web")
	first := dial(t, gate.address)
	if err := ask(first, "hello"); err != nil {
		t.Fatal(err)
	}
	s.awaitLog(t, "M0803")
	second := dial(t, gate.address)
	_ = first.Close()
	if err := ask(second, "hello"); err != nil {
		t.Error(err)
	}
}

func TestADryRunDoesNothing(t *testing.T) {
	w := newWorld(t)
	out, code := peers.Run(t, "", binary, "serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--allow", "web", "--dry-run",
		"--cert", w.file("orders.crt"), "--key", w.file("orders.key"), "--client-ca", w.file("ca.crt"), "--announce", w.file("announce"))
	if code != 0 || !strings.Contains(out, "would serve") {
		t.Errorf("exit %d, %s", code, out)
	}
	if _, err := os.Stat(w.file("announce")); !errors.Is(err, os.ErrNotExist) {
		t.Error("it announced itself")
	}
}

func TestTheKeyLogIsLoudAndItsOwners(t *testing.T) {
	w := newWorld(t)
	s := w.mutual(w.service("tcp", echo), "--keylog", w.file("keys"))
	if err := ask(dial(t, w.connect(s.address, "web").address), "hello"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(w.file("keys"))
	if err != nil || !strings.Contains(string(b), "CLIENT_TRAFFIC_SECRET_0 ") {
		t.Errorf("%q, %v", b, err)
	}
	if st, _ := os.Stat(w.file("keys")); st.Mode().Perm() != 0o600 {
		t.Errorf("the key log is %v", st.Mode())
	}
	if !strings.Contains(s.Output(), "EVERY SECRET") {
		t.Error("nobody was warned")
	}
}

func TestAStaleSocketIsPutAwayAndALivingOneIsNot(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	args := []string{"connect", "--to", "127.0.0.1:1", "--server-name", "orders", "--server-ca", w.file("ca.crt"), "--listen", "unix:" + path}
	if out, code := peers.Run(t, "", binary, args...); code != 1 || !strings.Contains(out, "taken") {
		t.Errorf("beside a living one: exit %d, %s", code, out)
	}
	l.Close()
	g := w.start(args...)
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", st.Mode(), err)
	}
	if g.address != "unix:"+path {
		t.Errorf("announced %q", g.address)
	}
}
