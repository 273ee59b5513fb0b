package agent

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/ca/server"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
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

func (b *book) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func (b *book) has(s string) bool { return bytes.Contains(b.Bytes(), []byte(s)) }

func (b *book) log() *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// world is an authority that is served at a port, and its clock.
type world struct {
	*testing.T
	ctx     context.Context
	clock   *hand
	book    *book
	folder  string
	address string
	options ca.Options

	ca   *ca.Authority
	halt func() // nil while it is away
}

func newWorld(t *testing.T, change ...func(*ca.Options)) *world {
	t.Helper()
	w := &world{T: t, ctx: t.Context(), clock: &hand{}, book: &book{}, folder: filepath.Join(t.TempDir(), "ca")}
	// The system gives this port to nobody else while the authority is away.
	w.address = fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t))
	w.options = ca.Options{Folder: w.folder, Clock: w.clock.Now, Log: w.book.log()}
	for _, c := range change {
		c(&w.options)
	}
	if err := ca.Create(w.ctx, w.options); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(func() {
		if w.halt != nil {
			w.stop()
		}
	})
	return w
}

// start opens the authority, and serves it at the port that it had before.
func (w *world) start() {
	w.Helper()
	a, err := ca.Open(w.ctx, w.options)
	if err != nil {
		w.Fatal(err)
	}
	l, err := net.Listen("tcp", w.address)
	if err != nil {
		w.Fatal(err)
	}
	socket, err := server.ListenAdmin(w.folder)
	if err != nil {
		w.Fatal(err)
	}
	s, err := server.New(w.ctx, server.Config{Authority: a, Listen: l, Admin: socket, Advertise: []string{w.address}, Log: w.book.log(), Clock: w.clock.Now})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.ca = a
	w.halt = func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the server ended with %v", err)
		}
		if err := a.Close(); err != nil {
			w.Error(err)
		}
	}
}

func (w *world) stop() {
	w.halt()
	w.halt, w.ca = nil, nil
}

// line makes a token, as a join line.
func (w *world) line(name string) *join.Line {
	w.Helper()
	k, _, err := w.ca.NewToken(w.ctx, api.TokenRequest{Name: name})
	if err != nil {
		w.Fatal(err)
	}
	return &join.Line{Name: name, Authority: []string{w.address}, Root: w.ca.Root().SHA256, Token: k}
}

func (w *world) agentOptions() Options {
	return Options{Data: filepath.Join(w.TempDir(), "data"), Log: w.book.log(), Clock: w.clock.Now}
}

// join enrols in a folder of its own.
func (w *world) join(name string, change ...func(*Options)) *Agent {
	w.Helper()
	o := w.agentOptions()
	for _, c := range change {
		c(&o)
	}
	a, err := Join(w.ctx, w.line(name), o)
	if err != nil {
		w.Fatal(err)
	}
	return a
}

// reopen is a second process on an agent's folder.
func (w *world) reopen(a *Agent) *Agent {
	w.Helper()
	again, err := Open(a.Domain(), a.Name(), a.options)
	if err != nil {
		w.Fatal(err)
	}
	return again
}

// copied is an identity whose folder was copied elsewhere.
func (w *world) copied(a *Agent) *Agent {
	w.Helper()
	o := w.agentOptions()
	to := filepath.Join(o.Data, "id", a.Domain(), a.Name())
	if err := os.MkdirAll(to, 0o700); err != nil {
		w.Fatal(err)
	}
	all, err := os.ReadDir(a.Folder())
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range all {
		b, err := os.ReadFile(filepath.Join(a.Folder(), f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), b, 0o600)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	thief, err := Open(a.Domain(), a.Name(), o)
	if err != nil {
		w.Fatal(err)
	}
	return thief
}

// run keeps agents fresh until the function that it returns is called, or the test
// ends.
func (w *world) run(agents ...*Agent) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	var all sync.WaitGroup
	for _, a := range agents {
		all.Go(func() { a.Run(ctx) })
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			all.Wait()
			for _, a := range agents {
				_ = a.Close()
			}
		})
	}
	w.Cleanup(stop)
	return stop
}

// await waits until something is so.
func (w *world) await(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(peers.Patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("it never came to be that %s", what)
		}
	}
}

// refused wants a problem or a refusal with one of the codes.
func refused(t testing.TB, err error, want ...code.Code) {
	t.Helper()
	got := ""
	var p *api.Problem
	if errors.As(err, &p) {
		got = p.Code
	} else if r, ok := mtls.RefusalOf(err); ok {
		got = r.Code
	}
	for _, k := range want {
		if got == string(k) {
			return
		}
	}
	t.Fatalf("%v, expected %v", err, want)
}

// alarms are the codes of the authority's alarms.
func (w *world) alarms() (out []string) {
	w.Helper()
	s, err := w.ca.Status(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	for _, a := range s.Alarms {
		out = append(out, a.Code)
	}
	return out
}

// issued are the certificates that a name ever got.
func (w *world) issued(name string) (out []api.Certificate) {
	w.Helper()
	all, err := w.ca.Certificates(w.ctx, true)
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range all {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// keyOf is the key of the identity on disk, and its chain.
func keyOf(t testing.TB, a *Agent) ([][]byte, crypto.Signer) {
	t.Helper()
	file := filepath.Join(a.Folder(), identityFile)
	chain, key, err := keystore.LoadFiles(file, file)
	if err != nil {
		t.Fatal(err)
	}
	return chain, key
}

// answering is a server of mutual TLS that keeps what it is told.
type answering struct {
	address string
	mu      sync.Mutex
	told    []byte
	reached int // handshakes that were finished
}

func (w *world) serve(cfg mtls.ServerConfig) *answering {
	w.Helper()
	cfg.Clock = w.clock.Now
	s, err := mtls.NewServer(cfg)
	if err != nil {
		w.Fatal(err)
	}
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	a := &answering{address: l.Addr().String()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.AcceptConn()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				a.mu.Lock()
				a.reached++
				a.mu.Unlock()
				_ = c.SetReadDeadline(time.Now().Add(peers.Patience))
				b := make([]byte, 4096)
				for {
					n, err := c.Read(b)
					a.mu.Lock()
					a.told = append(a.told, b[:n]...)
					a.mu.Unlock()
					if err != nil {
						return
					}
					if _, err := c.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	w.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return a
}

func (a *answering) heard() ([]byte, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return bytes.Clone(a.told), a.reached
}

// speak is one word from one end to the other and back: it is what a service
// under the agents' own verifiers lets through.
func (w *world) speak(from *Agent, to string, name string) error {
	c, err := mtls.NewClient(mtls.ClientConfig{Identity: from.Identity(), Servers: from.Server(), Common: mtls.Common{Clock: w.clock.Now}})
	if err != nil {
		return err
	}
	plain, err := net.Dial("tcp", to)
	if err != nil {
		return err
	}
	conn, err := c.Connect(w.ctx, plain, name)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(peers.Patience))
	if _, err := conn.Write([]byte("word")); err != nil {
		return err
	}
	_, err = io.ReadFull(conn, make([]byte, 4))
	return err
}
