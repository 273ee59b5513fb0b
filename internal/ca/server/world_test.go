package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/pki"
)

// hand is a clock that runs, and that tests set.
type hand struct {
	mu  sync.Mutex
	off time.Duration
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Round(0).Add(h.off)
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.off += d
}

// book keeps what is logged.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// line is the line of the log that has all of the words.
func (b *book) line(words ...string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
next:
	for l := range strings.Lines(b.b.String()) {
		for _, w := range words {
			if !strings.Contains(l, w) {
				continue next
			}
		}
		return l
	}
	return ""
}

// world is an authority that is served.
type world struct {
	testing.TB
	ctx    context.Context
	ca     *ca.Authority
	server *Server
	clock  *hand
	book   *book
	folder string
	port   string
	halt   func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldAt(t, func(l net.Listener) net.Listener { return l })
}

// newWorldAt is one whose port is a listener in between.
func newWorldAt(t testing.TB, between func(net.Listener) net.Listener) *world {
	t.Helper()
	w := &world{TB: t, ctx: t.Context(), clock: &hand{}, book: &book{}, folder: filepath.Join(t.TempDir(), "ca")}
	log := slog.New(slog.NewJSONHandler(w.book, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o := ca.Options{Folder: w.folder, Clock: w.clock.Now, Log: log}
	err := ca.Create(w.ctx, o)
	if err == nil {
		w.ca, err = ca.Open(w.ctx, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.port = l.Addr().String()
	socket, err := ListenAdmin(w.folder)
	if err != nil {
		t.Fatal(err)
	}
	w.server, err = New(w.ctx, Config{Authority: w.ca, Listen: between(l), Admin: socket, Advertise: []string{w.port}, Log: log, Clock: w.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	done := make(chan error, 1)
	go func() { done <- w.server.Run(ctx) }()
	var once sync.Once
	w.halt = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the server ended with %v", err)
			}
			if err := w.ca.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(w.halt)
	return w
}

// request is a certificate request, and its key.
func request(t testing.TB, names ...string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr, key
}

func (w *world) token(name string) join.Token {
	w.Helper()
	k, _, err := w.ca.NewToken(w.ctx, api.TokenRequest{Name: name})
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// joined enrols a name, by the port.
func (w *world) joined(name string) *mtls.Certificate {
	w.Helper()
	csr, key := request(w)
	out, err := client.Join(w.ctx, &join.Line{Name: name, Authority: []string{w.port}, Root: w.ca.Root().SHA256, Token: w.token(name)}, csr, 0, w.clock.Now)
	if err != nil {
		w.Fatal(err)
	}
	c, err := mtls.NewCertificate(out.Chain, key)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// connect is a connection to the port, as whoever own is (nil: nobody).
func (w *world) connect(own *mtls.Certificate, alpn ...string) (*mtls.Conn, error) {
	cfg := mtls.ClientConfig{Servers: mtls.Authorities(pki.NewAnchors(w.ca.Root())), ALPN: alpn, Common: mtls.Common{Clock: w.clock.Now}}
	if own != nil {
		cfg.Identity = own
	}
	c, err := mtls.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	plain, err := net.Dial("tcp", w.port)
	if err != nil {
		return nil, err
	}
	return c.Connect(w.ctx, plain, "spiffe://"+w.ca.Domain()+"/authority")
}

// web is an HTTP client at the port.
func (w *world) web(own *mtls.Certificate, alpn string) *http.Client {
	t := nethttp.NewTransportDial(func(context.Context, string) (*mtls.Conn, error) { return w.connect(own, alpn) }, &http.Transport{})
	w.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// ask sends a request to the port, and answers with the status and the problem.
func (w *world) ask(c *http.Client, method, path string, body io.Reader) (int, *api.Problem, []byte) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, "https://authority"+path, body)
	if err != nil {
		w.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	p := &api.Problem{}
	if resp.Header.Get("Content-Type") == api.ProblemType {
		if err := json.Unmarshal(b, p); err != nil {
			w.Fatalf("%q: %v", b, err)
		}
	}
	return resp.StatusCode, p, b
}

// refused wants a problem with a code, and the same in the log under its id.
func (w *world) refused(status int, p *api.Problem, wantStatus int, want code.Code) {
	w.Helper()
	if status != wantStatus || p.Status != wantStatus || p.Code != string(want) || p.Detail == "" || p.Mend == "" || p.ID == "" {
		w.Fatalf("%d, %+v, expected %d and %s", status, p, wantStatus, want)
	}
	if w.book.line(fmt.Sprintf("%q:%q", "id", p.ID), p.Code) == "" {
		w.Fatalf("the log has no line of %s, id %s", p.Code, p.ID)
	}
}

// record is what the authority has on record, to see that nothing was added.
func (w *world) record() string {
	w.Helper()
	all, err := w.ca.Certificates(w.ctx, true)
	if err != nil {
		w.Fatal(err)
	}
	s, err := w.ca.Status(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	return fmt.Sprint(len(all), s.Lineages, s.Valid, s.Revoked, s.Statement, len(s.Alarms))
}

// await waits until something is so.
func (w *world) await(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("it never came to be that %s", what)
		}
	}
}

func asJSON(t testing.TB, v any) io.Reader {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(b)
}
