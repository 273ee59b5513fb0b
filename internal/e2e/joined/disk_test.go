//go:build linux

package joined

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
)

// disk is a small disk that a test can fill.
type disk struct {
	t    *testing.T
	path string
}

func newDisk(t *testing.T, path string, size string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk")
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("this system mounts no tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return &disk{t, path}
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill leaves no room at all.
func (d *disk) fill() {
	d.t.Helper()
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 64<<10)
	for len(b) > 0 {
		if _, err := f.Write(b); errors.Is(err, syscall.ENOSPC) {
			b = b[:len(b)/2]
		} else if err != nil {
			d.t.Fatal(err)
		}
	}
}

func (d *disk) free() {
	d.t.Helper()
	if err := os.Remove(d.filler()); err != nil {
		d.t.Fatal(err)
	}
}

// Where an agent's disk is full, joining and renewing say so, and lose nothing:
// the same line joins and the identity renews when there is room.
func TestAFullDiskOfAnAgents(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders()
	line := orders.Lines["web"]
	d := newDisk(t, h.place("b"), "2m")
	d.fill()
	if out, code := h.runAt(d.path, "connect", line, "--listen", "127.0.0.1:0"); code != 1 || !strings.Contains(out, "no space left on device") || !strings.Contains(out, "M0935") {
		t.Errorf("%d: %s", code, out)
	}
	d.free()
	web := h.start("connect", line, "--data", d.path, "--listen", "127.0.0.1:0")
	stage.AwaitAnswer(t, web.Address)

	d.fill()
	h.clock.set(18 * time.Hour)
	e := web.AwaitEntry(t, "of a failed renewal", func(e stage.Entry) bool { return strings.Contains(e.Msg, "could not be renewed") })
	if e.Code != "M0929" || !strings.Contains(e.Msg, "no space left on device") {
		t.Errorf("%+v", e)
	}
	stage.AwaitAnswer(t, web.Address)
	// Also for a process that starts now.
	web.Stop()
	web = stage.Start(t, t.TempDir(), h.command("connect", line, "--data", d.path, "--listen", "127.0.0.1:0"))
	stage.AwaitAnswer(t, web.Address)
	d.free()
	awaitRotations(t, 1, web)
	stage.AwaitAnswer(t, web.Address)
	for _, c := range h.list() {
		if c.State != "valid" {
			t.Errorf("%+v", c)
		}
	}
}

// Where the authority's disk is full it records nothing, and so signs nothing; it
// says so, answers whoever reads, and goes on when there is room.
func TestAFullDiskOfTheAuthoritys(t *testing.T) {
	h := newMovedHouse(t)
	d := newDisk(t, h.data, "4m")
	authority := h.authority()
	orders := h.start("serve", "orders", "--to", h.to, "--allow", "web", "--join-file", write(t, h.place("line"), h.line("orders")),
		"--data", h.place("o"), "--listen", "127.0.0.1:0")
	line := h.line("web", "--service", "orders")
	web := h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)
	spare := h.line("spare", "--service", "orders", "--lifetime", "48h")

	d.fill()
	// What is written goes on until the room that the database has is used up.
	full := false
	for n := 0; n < 2000 && !full; n++ {
		out, code := h.run("token", fmt.Sprintf("n%d", n), "--out", filepath.Join(t.TempDir(), "t"))
		if full = code != 0; full && (code != 1 || !strings.Contains(out, "M0923")) {
			t.Fatalf("%d: %s", code, out)
		}
	}
	if !full {
		t.Fatal("a full disk is not noticed")
	}
	e := authority.AwaitEntry(t, "of a full disk", func(e stage.Entry) bool { return e.Code == "M0923" })
	if !strings.Contains(e.Msg, "full") && !strings.Contains(e.Msg, "space") {
		t.Errorf("%+v", e)
	}
	before := h.list("--all")
	if out, code := h.run("issue", "db", "--out", h.place("pem")); code != 1 || !strings.Contains(out, "M0923") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := h.runAt(h.place("c"), "connect", spare, "--listen", "127.0.0.1:0"); code != 1 || !strings.Contains(out, "M0923") {
		t.Errorf("%d: %s", code, out)
	}
	h.clock.set(18 * time.Hour)
	web.AwaitEntry(t, "of a failed renewal", func(e stage.Entry) bool { return e.Code == "M0923" && strings.Contains(e.Msg, "could not be renewed") })
	stage.AwaitAnswer(t, web.Address)
	if after := h.list("--all"); len(after) != len(before) {
		t.Errorf("%d certificates on record, and %d before", len(after), len(before))
	}
	// A start on the full disk is refused or works, and breaks nothing.
	authority.Stop()
	if out, code := h.run("ca", "--listen", "not:an:address"); code != 2 {
		t.Errorf("%d: %s", code, out)
	}

	d.free()
	h.authority()
	awaitRotations(t, 1, orders, web)
	stage.AwaitAnswer(t, web.Address)
	h.caller("c", spare).Stop()
	states := make(map[string]string)
	for _, c := range h.list() {
		states[c.Name] += c.State
	}
	for _, name := range []string{"orders", "web", "spare"} {
		if states[name] != "valid" {
			t.Errorf("%s is %q", name, states[name])
		}
	}
}

// A folder that others can enter, or somebody else's, stops the start, with the
// command that mends it.
func TestAFolderThatIsNotItsOwnersAlone(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	line := orders.Lines["web"]
	web := h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)
	web.Stop()
	orders.Stop()
	found, err := filepath.Glob(filepath.Join(h.place("b"), "id", "*", "web"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	serve := []string{"serve", "orders", "--to", h.to, "--allow", "web", "--data", h.data, "--listen", "127.0.0.1:0"}
	connect := []string{"connect", line, "--data", h.place("b"), "--listen", "127.0.0.1:0"}
	authority := []string{"ca", "--data", h.data, "--listen", "127.0.0.1:0"}
	for _, c := range []struct {
		path    string
		command []string
	}{
		{h.data, serve},
		{filepath.Join(h.data, "ca"), serve},
		{filepath.Join(h.data, "ca"), authority},
		{filepath.Join(h.data, "ca", "issuer-1.key"), authority},
		{filepath.Join(h.data, "ca", "ca.db"), authority},
		{h.place("b"), connect},
		{found[0], connect},
		{filepath.Join(found[0], "identity.pem"), connect},
	} {
		breaks := []func() error{func() error { return os.Chmod(c.path, 0o750) }}
		if os.Geteuid() == 0 {
			breaks = append(breaks, func() error { return os.Chown(c.path, 12345, -1) })
		}
		for n, broken := range breaks {
			if err := broken(); err != nil {
				t.Fatal(err)
			}
			out, code := h.runCommand(h.command(c.command...))
			_, mend, ok := strings.Cut(out, "mend it with: ")
			if code != 1 || !ok || !strings.Contains(out, "M0924") {
				t.Fatalf("%s, %d, %v: %d: %s", c.path, n, c.command[0], code, out)
			}
			mend, _, _ = strings.Cut(mend, "\n")
			if out, code := h.runCommand(shell(mend)); code != 0 {
				t.Fatalf("%s: %d: %s", mend, code, out)
			}
		}
	}
	h.orders()
	stage.AwaitAnswer(t, h.caller("b", line).Address)
}
