package mutual_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/ca/server"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// world is a trust domain with its authority, all in this process. Programs keep
// their identities each in a folder of its own.
type world struct {
	*testing.T
	dir       string
	authority *ca.Authority
	address   string // its, and again when it was away: the system gives the port to nobody else
	clock     *hand
	log       *lines // what all programs log

	end  func() // ends the authority
	mu   sync.Mutex
	last int
}

// newWorld makes one for a test that runs beside others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return newLonelyWorld(t)
}

// newLonelyWorld makes one for a test that has the process to itself, and can count
// what runs in it.
func newLonelyWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "mutual") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{T: t, dir: dir, address: fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t)), clock: &hand{}, log: &lines{}}
	if err := ca.Create(t.Context(), w.options()); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(func() { w.end() })
	return w
}

func (w *world) options() ca.Options {
	return ca.Options{Folder: filepath.Join(w.dir, "ca"), Clock: w.clock.Now, Log: slog.New(slog.DiscardHandler)}
}

// start opens the authority and its doors, at the same address each time.
func (w *world) start() {
	w.Helper()
	fatal := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
	var err error
	o := w.options()
	w.authority, err = ca.Open(context.Background(), o)
	fatal(err)
	admin, err := server.ListenAdmin(o.Folder)
	fatal(err)
	front, err := net.Listen("tcp", w.address)
	fatal(err)
	s, err := server.New(context.Background(), server.Config{Authority: w.authority, Listen: front, Admin: admin,
		Advertise: []string{w.address}, Log: o.Log, Clock: w.clock.Now})
	fatal(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.end = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.Error(err)
		}
		if err := w.authority.Close(); err != nil {
			w.Error(err)
		}
	})
}

// line is a join line for a name.
func (w *world) line(name, service string) string {
	w.Helper()
	token, _, err := w.authority.NewToken(w.Context(), api.TokenRequest{Name: name, Service: service})
	if err != nil {
		w.Fatal(err)
	}
	l := join.Line{Name: name, Service: service, Authority: []string{w.address}, Root: w.authority.Root().SHA256, Token: token}
	return l.Text()
}

// choices are the options of a program whose data lie in a folder of that name.
func (w *world) choices(folder string) []mutual.Option {
	return []mutual.Option{mutual.Data(filepath.Join(w.dir, folder)), mutual.Logger(slog.New(slog.NewTextHandler(w.log, nil))), mutual.Clock(w.clock.Now)}
}

// join joins as name. The folder is the program's own.
func (w *world) join(name string) *mutual.Identity {
	w.Helper()
	w.mu.Lock()
	w.last++
	folder := fmt.Sprintf("%d-%s", w.last, name)
	w.mu.Unlock()
	id, err := mutual.Join(w.Context(), w.line(name, ""), w.choices(folder)...)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = id.Close() })
	return id
}

// serve serves h as id, until the test or stop ends it, and answers when the
// authority knows where.
func (w *world) serve(id *mutual.Identity, h http.HandlerFunc, allow ...string) (stop func() error) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mutual.Serve(ctx, id, "127.0.0.1:0", h, allow...) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	w.Cleanup(func() { _ = stop() })
	w.known(id.Name())
	return stop
}

// known waits until the authority knows where a service is.
func (w *world) known(service string) {
	w.Helper()
	w.until("the authority knows where "+service+" is", func() bool {
		_, err := w.authority.Service(w.Context(), service)
		return err == nil
	})
}

// at waits until the authority knows a service at an address of another's.
func (w *world) at(service string, addresses ...string) {
	w.Helper()
	w.until(service+" is known at "+fmt.Sprint(addresses), func() bool {
		s, err := w.authority.Service(w.Context(), service)
		return err == nil && fmt.Sprint(s.Addresses) == fmt.Sprint(addresses)
	})
}

// until waits for a condition.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(peers.Patience); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("it never came about that %s; the log:\n%s", what, w.log)
		}
	}
}

func (w *world) revoke(name string) {
	w.Helper()
	if _, err := w.authority.Revoke(w.Context(), api.RevokeRequest{Target: name}); err != nil {
		w.Fatal(err)
	}
}

// who answers with whom it sees, and by which protocol.
func who(w http.ResponseWriter, r *http.Request) {
	p, _ := nethttp.Peer(r)
	fmt.Fprintf(w, "%s by %s", p.Name(), r.Proto)
}

func get(id *mutual.Identity, url string) (string, error) {
	resp, err := mutual.Client(id).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// listen listens as id at a free port, and echoes to whoever comes in.
func (w *world) listen(id *mutual.Identity, allow ...string) *mtls.Listener {
	w.Helper()
	l, err := mutual.Listen(w.Context(), id, "127.0.0.1:0", allow...)
	if err != nil {
		w.Fatal(err)
	}
	go func() {
		for {
			c, err := l.AcceptConn()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l
}

// ask sends a line over c and reads it back.
func ask(c *mtls.Conn) error {
	const said = "is anybody there?"
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	if _, err := io.WriteString(c, said); err != nil {
		return err
	}
	got := make([]byte, len(said))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != said {
		return fmt.Errorf("%q came back", got)
	}
	return nil
}

// refusal is the refusal in err, with the code that is wanted.
func refusal(t *testing.T, err error, code string) *mtls.Refusal {
	t.Helper()
	r, ok := mtls.RefusalOf(err)
	if !ok || r.Code != code {
		t.Fatalf("expected a refusal %s, got %v", code, err)
	}
	if r.Reason == "" || r.Mend == "" || r.Fault == 0 {
		t.Errorf("it does not say why: %+v", r)
	}
	return r
}

// hand is a clock that tests move.
type hand struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Now().Add(h.ahead)
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead += d
}

// lines is a log that can be read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) has(s string) bool { return strings.Contains(l.String(), s) }

// goroutines is how many run once all is quiet.
func (w *world) goroutines() int {
	w.Helper()
	last, same := 0, 0
	w.until("nothing begins or ends", func() bool {
		n := runtime.NumGoroutine()
		if n != last {
			last, same = n, 0
		}
		same++
		return same > 10
	})
	return last
}

// goroutinesAreBack waits until no more goroutines run than before.
func (w *world) goroutinesAreBack(before int) {
	w.Helper()
	for end := time.Now().Add(peers.Patience); runtime.NumGoroutine() > before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			all := make([]byte, 1<<20)
			w.Fatalf("%d goroutines, and %d before:\n%s", runtime.NumGoroutine(), before, all[:runtime.Stack(all, true)])
		}
	}
}
