package stage

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

	"github.com/mutual-tls/mutual/internal/peers"
)

// Build builds the program into dir, with flags of `go build`. Whoever may enter
// dir may run it.
func Build(dir, name string, flags ...string) (string, error) {
	program := filepath.Join(dir, name)
	args := append([]string{"build", "-o", program}, flags...)
	if out, err := exec.Command("go", append(args, "github.com/mutual-tls/mutual/cmd/mutual")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, os.Chmod(program, 0o755)
}

// Gate is a running gateway, or an authority.
type Gate struct {
	*peers.Process
	// Address is where a gateway listens; "" for an authority.
	Address, Health string
	Authority       []string
	Lines           map[string]string // join lines, by name
}

// Start starts a gateway and waits until it has announced where it is. The
// announcement goes to a folder that the program's user may write to.
func Start(t testing.TB, folder string, cmd *exec.Cmd) *Gate {
	t.Helper()
	announce := filepath.Join(folder, fmt.Sprintf("announce-%d.json", time.Now().UnixNano()))
	cmd.Args = append(cmd.Args, "--announce", announce, "--log", "json")
	g := &Gate{}
	t.Cleanup(func() { // after the program has ended
		if g.Process != nil && strings.Contains(g.Output(), "WARNING: DATA RACE") {
			t.Errorf("%v has a data race:\n%s", cmd.Args, g.Output())
		}
	})
	g.Process = peers.StartCommand(t, cmd)
	for end := time.Now().Add(peers.Patience); ; time.Sleep(5 * time.Millisecond) {
		over := g.Ended()
		if b, err := os.ReadFile(announce); err == nil {
			g.read(t, announce, b)
			return g
		}
		if over || time.Now().After(end) {
			t.Fatalf("%v did not start:\n%s", cmd.Args, g.Output())
		}
	}
}

func (g *Gate) read(t testing.TB, file string, b []byte) {
	t.Helper()
	var said struct {
		Listen, Health, Authority []string
		Join                      map[string]string
	}
	if err := json.Unmarshal(b, &said); err != nil || len(said.Listen) > 1 || len(said.Listen)+len(said.Authority) == 0 {
		t.Fatalf("announced %q: %v", b, err)
	}
	g.Authority, g.Lines = said.Authority, said.Join
	if len(said.Listen) > 0 {
		g.Address = said.Listen[0]
	}
	if len(said.Health) > 0 {
		g.Health = said.Health[0]
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the announcement is %v, %v", st, err)
	}
}

// Entry is a line of the log.
type Entry struct {
	Level, Msg                                         string
	Code, ID, Step, Rule, Expected, Found, Mend, Alert string
	Sent                                               *bool
	Link                                               *int
	Peer                                               json.RawMessage
}

// Log is what was logged so far.
func (g *Gate) Log() (all []Entry) {
	for line := range strings.Lines(g.Output()) {
		var e Entry
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg != "" {
			all = append(all, e)
		}
	}
	return all
}

// AwaitLog waits for a log line with the code.
func (g *Gate) AwaitLog(t testing.TB, code string) Entry {
	t.Helper()
	return g.AwaitEntry(t, "with code "+code, func(e Entry) bool { return e.Code == code })
}

// AwaitEntry waits for a log line as wanted; what says in words what that is.
func (g *Gate) AwaitEntry(t testing.TB, what string, wanted func(Entry) bool) Entry {
	t.Helper()
	for end := time.Now().Add(peers.Patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, e := range g.Log() {
			if wanted(e) {
				return e
			}
		}
	}
	t.Fatalf("no line %s in\n%s", what, g.Output())
	return Entry{}
}

// Serve gives each connection that comes to l to handle, and closes it.
func Serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	t.Cleanup(func() { _ = l.Close() })
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
}

// Service is a plain service at a port of its own.
func Service(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	Serve(t, l, handle)
	return l.Addr().String()
}

// Echo sends back what comes, and its end.
func Echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(interface{ CloseWrite() error }).CloseWrite()
}

// Dial connects to a TCP address or to unix:PATH. What is broken before Dial has
// looked is a connection that broke, and it is for the test to say what it makes
// of that.
func Dial(t testing.TB, address string) net.Conn {
	t.Helper()
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	c, err := net.Dial(network, address)
	if errors.Is(err, syscall.ECONNRESET) {
		return broken{err: err}
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	return c
}

// broken is a connection that was reset before it could be used.
type broken struct {
	net.Conn
	err error
}

func (b broken) Read([]byte) (int, error)        { return 0, b.err }
func (b broken) Write([]byte) (int, error)       { return 0, b.err }
func (b broken) CloseWrite() error               { return b.err }
func (b broken) Close() error                    { return nil }
func (b broken) SetDeadline(time.Time) error     { return nil }
func (b broken) SetReadDeadline(time.Time) error { return nil }

// Ask sends one line and wants it back.
func Ask(c net.Conn, line string) error {
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

// Say sends words and reads to the end. A write that fails is the break of the
// connection, as is a read: the system tells of a reset once, and behind it a read
// sees no more than an end.
func Say(c net.Conn, words string) ([]byte, error) {
	if _, err := io.WriteString(c, words); err != nil {
		return nil, err
	}
	return io.ReadAll(c)
}

// Once asks over a connection of its own.
func Once(address string) error {
	c, err := net.DialTimeout("tcp", address, peers.Patience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	return Ask(c, "hello\n")
}

// Await waits until f is without an error, and fails with its last one.
func Await(t testing.TB, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(peers.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// AwaitAnswer asks until there is an answer: what restarts needs its time.
func AwaitAnswer(t testing.TB, address string) {
	t.Helper()
	Await(t, "nothing came back", func() error { return Once(address) })
}
