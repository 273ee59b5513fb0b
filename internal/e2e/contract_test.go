package e2e

import (
	"bytes"
	"encoding/json"
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

// With --json standard output is a line for what goes on, and nothing else.
func TestAGatewaySaysInJSONWhatGoesOn(t *testing.T) {
	w := newWorld(t)
	args := []string{"serve", "orders", "--to", w.service("tcp", echo), "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0", "--allow", "web", "--json",
		"--cert", w.file("orders.crt"), "--key", w.file("orders.key"), "--client-ca", w.file("ca.crt")}
	type line struct {
		Event, Name, To string
		NotAfter        string `json:"not_after"`
		Listen, Health  []string
		Names           []string
	}
	read := func(out string) (lines []line) {
		for s := range strings.Lines(out) {
			var l line
			if err := json.Unmarshal([]byte(s), &l); err != nil {
				t.Fatalf("no JSON: %q", s)
			}
			lines = append(lines, l)
		}
		return lines
	}
	plan := exec.Command(binary, append(args, "--dry-run")...)
	out, err := plan.Output()
	if l := read(string(out)); err != nil || len(l) != 1 || l[0].Event != "planned" || l[0].Listen[0] != "127.0.0.1:0" {
		t.Errorf("the plan is %s, %v", out, err)
	}
	cmd := exec.Command(binary, args...)
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(peers.Patience, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop(); _ = cmd.Process.Kill() })
	d := json.NewDecoder(r)
	var ready line
	if err := d.Decode(&ready); err != nil {
		t.Fatal(err)
	}
	if ready.Event != "ready" || ready.Name != "orders" || ready.To != args[3] || len(ready.Names) == 0 {
		t.Errorf("ready: %+v", ready)
	}
	if _, err := time.Parse(time.RFC3339, ready.NotAfter); err != nil {
		t.Error(err)
	}
	for _, at := range [][]string{ready.Listen, ready.Health} {
		if len(at) != 1 {
			t.Fatalf("ready: %+v", ready)
		}
		_ = dial(t, at[0]).Close()
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	var rest bytes.Buffer
	_, _ = rest.ReadFrom(d.Buffered())
	_, _ = rest.ReadFrom(r)
	if l := read(strings.TrimLeft(rest.String(), "\n")); len(l) != 1 || l[0].Event != "stopped" {
		t.Errorf("at the end it said %q", rest.String())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// What scripts read in the log of a refusal.
func TestARefusalInTheLogHasItsFields(t *testing.T) {
	w := newWorld(t)
	w.leaf("ops", w.issuing.Leaf("ops", mint.URIs("spiffe://prod.example/ops")))
	w.leaf("old", w.issuing.Leaf("web", mint.Lifetime(-time.Minute)))
	s := w.mutual(w.service("tcp", echo))
	for base, c := range map[string]struct {
		code   string
		fields []string
	}{
		"ops": {"M0401", []string{"time", "level", "msg", "code", "id", "peer", "step", "rule", "mend", "alert", "sent"}},
		"old": {"M0101", []string{"time", "level", "msg", "code", "id", "peer", "step", "link", "expected", "found", "mend", "alert", "sent"}},
	} {
		_ = ask(dial(t, w.connect(s.address, base).address), "hello")
		e := s.awaitLog(t, c.code)
		var peer struct{ Name, SPIFFE, Serial string }
		if err := json.Unmarshal(e.Peer, &peer); err != nil || peer.Name == "" || peer.Serial == "" || (peer.SPIFFE == "spiffe://prod.example/ops") != (base == "ops") {
			t.Errorf("%s: the peer is %s, %v", base, e.Peer, err)
		}
		for line := range strings.Lines(s.Output()) {
			if !strings.Contains(line, `"code":"`+c.code) {
				continue
			}
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil {
				t.Fatal(err)
			}
			for _, f := range c.fields {
				if _, ok := fields[f]; !ok {
					t.Errorf("%s: the log line has no %s: %s", base, f, line)
				}
			}
		}
	}
}

// A socket's path has some hundred bytes. Where the folder is longer, whoever needs
// the authority there is told so, and nothing is made.
func TestAFolderTooLongForTheAdminSocketIsRefused(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	for _, args := range [][]string{{"ca", "--loopback"}, {"serve", "orders", "--to", "127.0.0.1:1", "--allow", "web", "--listen", "127.0.0.1:0"}, {"list"}} {
		out, code := peers.Run(t, "", binary, append(args, "--data", data)...)
		if code != 1 || !strings.Contains(out, "too long") || !strings.Contains(out, "--data") {
			t.Errorf("%q ended with %d: %s", args, code, out)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%q made a folder", args)
		}
	}
}
