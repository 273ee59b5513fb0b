package joined

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

var (
	binary string
	// moved is the program with a clock that can be moved.
	moved = sync.OnceValues(func() (string, error) { return stage.Build(binaries, "moved", "-tags", "mutualtest") })

	binaries string
)

func TestMain(m *testing.M) {
	var err error
	if binaries, err = os.MkdirTemp("", "mutual"); err != nil {
		panic(err)
	}
	// Other users run it, too.
	if err := os.Chmod(binaries, 0o755); err != nil {
		panic(err)
	}
	if binary, err = stage.Build(binaries, "mutual", "-race"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(binaries)
	os.Exit(code)
}

// house is a machine with an authority: a data folder and a plain service. Callers
// have folders beside it.
type house struct {
	t             *testing.T
	program       string
	dir, data, to string
	at            string // where its authority listens: see listening
	clock         *clock // of all its processes; nil for the true one
}

func newHouse(t *testing.T) *house {
	t.Parallel()
	h := &house{t: t, program: binary, dir: t.TempDir(), to: stage.Service(t, stage.Echo)}
	h.data = filepath.Join(h.dir, "a")
	return h
}

// clock is a clock that stands a while before or behind the true one.
type clock struct {
	t    *testing.T
	file string
}

// newMovedHouse is a house with a clock that can be moved.
func newMovedHouse(t *testing.T) *house {
	h := newHouse(t)
	var err error
	if h.program, err = moved(); err != nil {
		t.Fatal(err)
	}
	h.clock = newClock(t, h.dir)
	return h
}

func newClock(t *testing.T, dir string) *clock {
	c := &clock{t: t, file: filepath.Join(dir, fmt.Sprintf("clock-%d", time.Now().UnixNano()))}
	c.set(0)
	return c
}

// set has the clock stand by d before the true one. Whoever reads it sees all of
// the former or of the new time.
func (c *clock) set(d time.Duration) {
	c.t.Helper()
	next := c.file + ".new"
	if err := os.WriteFile(next, []byte(d.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
}

// command is the program by the house's clock.
func (h *house) command(args ...string) *exec.Cmd {
	cmd := exec.Command(h.program, args...)
	if h.clock != nil {
		cmd.Env = append(os.Environ(), "MUTUAL_TEST_CLOCK="+h.clock.file)
	}
	return cmd
}

// start starts a gateway or an authority.
func (h *house) start(args ...string) *stage.Gate {
	h.t.Helper()
	return stage.Start(h.t, h.t.TempDir(), h.command(args...))
}

// listening is where the authority listens, and again when it was away: at a port
// that the system gives to nobody else meanwhile.
func (h *house) listening() string {
	h.t.Helper()
	if h.at == "" {
		h.at = fmt.Sprintf("127.0.0.1:%d", peers.FreePort(h.t))
	}
	return h.at
}

// orders serves the service "orders", and the authority with it.
func (h *house) orders(more ...string) *stage.Gate {
	h.t.Helper()
	return h.serve("orders", append([]string{"--allow", "web"}, more...)...)
}

func (h *house) serve(name string, more ...string) *stage.Gate {
	h.t.Helper()
	return h.start(append([]string{"serve", name, "--to", h.to, "--data", h.data, "--listen", "127.0.0.1:0", "--ca-listen", h.listening()}, more...)...)
}

// authority serves the authority alone.
func (h *house) authority(more ...string) *stage.Gate {
	h.t.Helper()
	return h.start(append([]string{"ca", "--data", h.data, "--listen", h.listening()}, more...)...)
}

// caller connects by a line on a machine of its own.
func (h *house) caller(data, line string, more ...string) *stage.Gate {
	h.t.Helper()
	return h.start(append([]string{"connect", line, "--data", h.place(data), "--listen", "127.0.0.1:0"}, more...)...)
}

// place is a folder beside the authority's.
func (h *house) place(name string) string { return filepath.Join(h.dir, name) }

// run runs a command of the authority's machine to its end.
func (h *house) run(args ...string) (string, int) {
	h.t.Helper()
	return h.runAt(h.data, args...)
}

func (h *house) runAt(data string, args ...string) (string, int) {
	h.t.Helper()
	return h.runCommand(h.command(append(args, "--data", data)...))
}

// runCommand runs it to its end.
func (h *house) runCommand(cmd *exec.Cmd) (string, int) {
	h.t.Helper()
	p := peers.StartCommand(h.t, cmd)
	_ = p.Wait(peers.Patience)
	if !p.Ended() {
		h.t.Fatalf("%v does not end:\n%s", cmd.Args, p.Output())
	}
	return p.Output(), cmd.ProcessState.ExitCode()
}

// line makes a join line at the authority.
func (h *house) line(name string, more ...string) string {
	h.t.Helper()
	file := filepath.Join(h.t.TempDir(), "line")
	if out, code := h.run(append([]string{"token", name, "--out", file}, more...)...); code != 0 {
		h.t.Fatalf("token: %d: %s", code, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b[:len(b)-1])
}

// certificate is one of `mutual list --json`.
type certificate struct {
	Name, Serial, State, Lineage string
	NotBefore                    time.Time `json:"not_before"`
	NotAfter                     time.Time `json:"not_after"`
}

// list is what the authority has on record.
func (h *house) list(more ...string) (all []certificate) {
	h.t.Helper()
	h.json(&all, append([]string{"list"}, more...)...)
	return all
}

// json runs a command with --json, and reads what it printed.
func (h *house) json(v any, args ...string) {
	h.t.Helper()
	cmd := h.command(append(args, "--json", "--data", h.data)...)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, v)
	}
	if err != nil {
		h.t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// status is what `mutual ca status --json` says, as far as tests want to know.
type status struct {
	Domain    string
	Root      string
	Process   int
	Authority []string
	Statement int64
	Lineages  int
	Valid     int
	Revoked   int
	Encrypted bool `json:"root_key_encrypted"`
	Issuers   []struct{ Role string }
	Alarms    []struct{ Code, Name string }
	Warnings  []string
}

func (h *house) status() (s status) {
	h.t.Helper()
	h.json(&s, "ca", "status")
	return s
}

// kill ends the process at once, and its children as they notice.
func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// shell is a command as a person types it.
func shell(line string) *exec.Cmd { return exec.Command("sh", "-c", line) }
