package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/mint"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mutual")
	if err != nil {
		panic(err)
	}
	if binary, err = stage.Build(dir, "mutual", "-race"); err != nil {
		fmt.Fprintln(os.Stderr, err)
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
	*stage.Gate
	address, health string
}

// start starts the program and waits until it has announced where it is.
func (w *world) start(args ...string) *gate {
	w.t.Helper()
	g := stage.Start(w.t, w.t.TempDir(), exec.Command(binary, args...))
	return &gate{g, g.Address, g.Health}
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
	if network == "tcp" {
		return stage.Service(w.t, handle)
	}
	path := filepath.Join(w.t.TempDir(), "s")
	l, err := net.Listen(network, path)
	if err != nil {
		w.t.Fatal(err)
	}
	stage.Serve(w.t, l, handle)
	return "unix:" + path
}

func echo(c net.Conn) { stage.Echo(c) }

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	return stage.Dial(t, address)
}

func ask(c net.Conn, line string) error { return stage.Ask(c, line) }

// entry is a line of the log.
type entry = stage.Entry

// awaitLog waits for a log line with the code.
func (g *gate) awaitLog(t *testing.T, code string) entry {
	t.Helper()
	return g.AwaitLog(t, code)
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
