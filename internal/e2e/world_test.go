package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mutual")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "mutual")
	build := exec.Command("go", "build", "-race", "-o", binary, "github.com/mutual-tls/mutual/cmd/mutual")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// world is an authority, its files, and a plain service.
type world struct {
	t       *testing.T
	dir     string
	root    *mint.Authority
	issuing *mint.Authority
}

func newWorld(t *testing.T) *world {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir(), root: mint.Root("Example Root")}
	w.issuing = w.root.Intermediate("Example Issuing")
	if err := w.root.WriteFile(w.file("ca.crt")); err != nil {
		t.Fatal(err)
	}
	w.leaf("orders", w.issuing.Leaf("orders", mint.Names("orders", "localhost"), mint.IPs("127.0.0.1")))
	w.leaf("web", w.issuing.Leaf("web"))
	return w
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) leaf(base string, l *mint.Leaf) {
	w.t.Helper()
	if _, _, err := l.WriteFiles(w.dir, base); err != nil {
		w.t.Fatal(err)
	}
}

// gate is a running gateway.
type gate struct {
	*peers.Process
	address, health string
	authority       []string
	lines           map[string]string // join lines, by name
}

// start starts the program and waits until it has announced where it is.
func (w *world) start(args ...string) *gate {
	w.t.Helper()
	announce := filepath.Join(w.t.TempDir(), "announce.json")
	args = append(args, "--announce", announce, "--log", "json")
	g := &gate{Process: peers.Start(w.t, nil, binary, args...)}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(announce)
		if err == nil {
			var said struct {
				Listen, Health, Authority []string
				Join                      map[string]string
			}
			if err := json.Unmarshal(b, &said); err != nil || len(said.Listen) != 1 {
				w.t.Fatalf("announced %q: %v", b, err)
			}
			g.address, g.authority, g.lines = said.Listen[0], said.Authority, said.Join
			if len(said.Health) > 0 {
				g.health = said.Health[0]
			}
			if st, _ := os.Stat(announce); st.Mode().Perm() != 0o600 {
				w.t.Errorf("the announcement is %v", st.Mode())
			}
			return g
		}
		if g.Ended() || time.Now().After(end) {
			w.t.Fatalf("%v did not start:\n%s", args, g.Output())
		}
	}
}

// serve starts a server gateway for the service at to.
func (w *world) serve(to string, more ...string) *gate {
	w.t.Helper()
	args := []string{"serve", "orders", "--to", to, "--listen", "127.0.0.1:0", "--cert", w.file("orders.crt"), "--key", w.file("orders.key")}
	return w.start(append(args, more...)...)
}

// mutual is serve for the caller "web" alone.
func (w *world) mutual(to string, more ...string) *gate {
	w.t.Helper()
	return w.serve(to, append([]string{"--client-ca", w.file("ca.crt"), "--allow", "web"}, more...)...)
}

// connect starts a client gateway that shows the certificate of base.
func (w *world) connect(to, base string, more ...string) *gate {
	w.t.Helper()
	args := []string{"connect", "--to", to, "--server-name", "orders", "--server-ca", w.file("ca.crt"), "--listen", "127.0.0.1:0"}
	if base != "" {
		args = append(args, "--cert", w.file(base+".crt"), "--key", w.file(base+".key"))
	}
	return w.start(append(args, more...)...)
}

// service is a plain service: each connection is given to handle, and closed.
func (w *world) service(network string, handle func(net.Conn)) string {
	w.t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(w.t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	if network == "unix" {
		return "unix:" + address
	}
	return l.Addr().String()
}

// echo sends back what comes, and its end.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	return c
}

// ask sends one line and wants it back.
func ask(c net.Conn, line string) error {
	if _, err := io.WriteString(c, line); err != nil {
		return err
	}
	b := make([]byte, len(line))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != line {
		return fmt.Errorf("%q came back for %q", b, line)
	}
	return nil
}

// entry is a line of the log.
type entry struct {
	Level, Msg                                         string
	Code, ID, Step, Rule, Expected, Found, Mend, Alert string
	Sent                                               *bool
	Link                                               *int
	Peer                                               json.RawMessage
}

// awaitLog waits for a log line with the code.
func (g *gate) awaitLog(t *testing.T, code string) entry {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(g.Output()) {
			var e entry
			if json.Unmarshal([]byte(line), &e) == nil && e.Code == code {
				return e
			}
		}
	}
	t.Fatalf("no line with code %s in\n%s", code, g.Output())
	return entry{}
}

// wasReset is whether err is a connection that broke.
func wasReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func noise(n int) []byte {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return b
}
