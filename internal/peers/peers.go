package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Need is the path of a program: on the PATH, or in the repository's .peers/.
func Need(t testing.TB, program string) string {
	t.Helper()
	if dir := Repository(); dir != "" {
		own := filepath.Join(dir, ".peers", program)
		if st, err := os.Stat(own); err == nil && st.Mode()&0o111 != 0 {
			return own
		}
	}
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing; `make peers` installs it", program)
	}
	t.Skipf("%s is missing; `make peers` installs it", program)
	return ""
}

// Repository is the folder that holds go.mod, "" where there is none above.
func Repository() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// Process is a program that runs beside a test. It is ended with the test, its
// children with it, and what it printed is shown where the test fails.
type Process struct {
	Cmd  *exec.Cmd
	t    testing.TB
	out  buffer
	done chan struct{}
	err  error
}

// Start starts a program, with input on its standard input (nil: none).
func Start(t testing.TB, input *os.File, program string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...)
	if input != nil {
		cmd.Stdin = input
	}
	return StartCommand(t, cmd)
}

// StartCommand starts a program that has an environment, a user or a standard
// input of its own.
func StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Cmd: cmd, t: t, done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = &p.out, &p.out
	p.Cmd.WaitDelay = lastWords
	ownGroup(p.Cmd)
	if err := p.Cmd.Start(); err != nil {
		t.Fatalf("%s: %v", cmd.Path, err)
	}
	go func() {
		p.err = p.Cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(cmd.Path), p.Output())
		}
	})
	return p
}

// Stop kills the program and its children, and waits.
func (p *Process) Stop() {
	killGroup(p.Cmd)
	<-p.done
}

// Wait waits for the program to end by itself, for at most d.
func (p *Process) Wait(d time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(d):
		return fmt.Errorf("%s did not end within %v", filepath.Base(p.Cmd.Path), d)
	}
}

// Ended is whether the program has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Output is what the program printed so far.
func (p *Process) Output() string { return p.out.String() }

// Await waits until the program printed s.
func (p *Process) Await(s string) {
	p.t.Helper()
	p.AwaitThat(strconv.Quote(s), func(out string) bool { return strings.Contains(out, s) })
}

// AwaitThat waits until what the program printed is as wanted; what says in words
// what that is.
func (p *Process) AwaitThat(what string, wanted func(output string) bool) {
	p.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		ended := p.Ended() // before the look, so that its last words are looked at
		if wanted(p.Output()) {
			return
		}
		if ended {
			p.t.Fatalf("%s ended (%v) and never printed %s, but\n%s", filepath.Base(p.Cmd.Path), p.err, what, p.Output())
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s did not print %s in %v, but\n%s", filepath.Base(p.Cmd.Path), what, Patience, p.Output())
		}
	}
}

// AwaitListening waits until somebody listens at address, and does not connect:
// many a test server takes one connection and ends.
func (p *Process) AwaitListening(port int) {
	p.t.Helper()
	for end := time.Now().Add(Patience); ; time.Sleep(10 * time.Millisecond) {
		if taken(port) {
			return
		}
		select {
		case <-p.done:
			p.t.Fatalf("%s ended (%v) before it listened:\n%s", filepath.Base(p.Cmd.Path), p.err, p.Output())
		default:
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s does not listen on port %d after %v:\n%s", filepath.Base(p.Cmd.Path), port, Patience, p.Output())
		}
	}
}

// Patience is how long anything may take that usually takes no time: to start, to
// shake hands, to end. It is not a measurement.
const Patience = 2 * time.Minute

// lastWords is how long what a program printed may take to come when it has ended.
// Where that is never, because a child of its own holds the pipe, it costs as much.
const lastWords = 10 * time.Second

// taken is whether somebody listens on the port, on any address. The kernel is
// asked, and not the port: a look that bound it would be in the program's way.
func taken(port int) bool {
	for _, table := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			// sl local_address rem_address st …, all hexadecimal; 0A is LISTEN
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				return true
			}
		}
	}
	return false
}

// FreePort is a port that nobody listens on now, and that nobody is given by
// chance before its program listens there: it lies below those that the system
// hands out by itself, and is given once, to one of the test programs that run at
// the same time. Its twin of UDP, held until this program ends, says so to the
// others: a port that two look at is one that AwaitListening would take for the
// other's.
func FreePort(t testing.TB) int {
	t.Helper()
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		mine, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		if l, err := net.Listen("tcp", fmt.Sprintf(":%d", port)); err == nil {
			_ = l.Close()
			held.Lock()
			held.ports = append(held.ports, mine) // one that nothing names is closed
			held.Unlock()
			return port
		}
		_ = mine.Close()
	}
	t.Fatalf("none of the ports from %d to %d is free", firstPort, firstPort+ports-1)
	return 0
}

var held struct {
	sync.Mutex
	ports []net.PacketConn
}

// The systems' own ranges begin at 32768 or above.
const firstPort, ports = 20000, 12000

var nextPort atomic.Uint32

func init() { nextPort.Store(uint32(os.Getpid()) * 331) }

// Run runs a program to its end, for as long as Patience lasts, and answers with
// what it printed and its exit code.
func Run(t testing.TB, input string, program string, args ...string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = lastWords
	ownGroup(cmd)
	cmd.Cancel = func() error { killGroup(cmd); return nil }
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case ctx.Err() != nil:
		t.Fatalf("%s did not end within %v:\n%s", filepath.Base(program), Patience, out)
	case errors.As(err, &exit):
		return string(out), exit.ExitCode()
	}
	t.Fatalf("%s: %v", program, err)
	return "", 0
}

// buffer is what a program printed.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
