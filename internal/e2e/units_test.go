package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
)

// unit is a systemd unit of docs/systemd, as far as a test wants to know: its
// settings in order, and the command that it starts.
type unit struct {
	file     string
	settings []string
	command  []string // without the program
}

func units(t *testing.T) []unit {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(peers.Repository(), "docs", "systemd", "*.service"))
	if err != nil || len(files) != 3 {
		t.Fatalf("the units are %q (%v), expected 3", files, err)
	}
	var all []unit
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		u := unit{file: file}
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' || line[0] == '[' {
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok {
				t.Errorf("%s: %q is no setting", filepath.Base(file), line)
			}
			if name == "ExecStart" {
				words := strings.Fields(value)
				if words[0] != "/usr/local/bin/mutual" {
					t.Errorf("%s starts %s", filepath.Base(file), words[0])
				}
				u.command = words[1:]
			}
			u.settings = append(u.settings, line)
		}
		all = append(all, u)
	}
	return all
}

// The commands of the units are run, with what their files of settings would say.
func TestTheUnitsStartWhatTheySay(t *testing.T) {
	t.Parallel()
	dir := shortFolder(t)
	line := &join.Line{Name: "web", Service: "orders", Authority: []string{"127.0.0.1:9"}}
	if err := os.WriteFile(filepath.Join(dir, "join"), []byte(line.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	values := strings.NewReplacer("${TO}", "127.0.0.1:8080", "${ALLOW}", "web", "${LISTEN}", "127.0.0.1:0", "%i", "orders",
		"${CREDENTIALS_DIRECTORY}", dir, "/var/lib/mutual", filepath.Join(dir, "data"))
	for _, u := range units(t) {
		var args []string
		for _, word := range u.command {
			if word != "$MORE" { // empty, and so no word
				args = append(args, values.Replace(word))
			}
		}
		if args[0] == "ca" { // which has no --dry-run
			p := peers.Start(t, nil, binary, append(args, "--listen", "127.0.0.1:0")...)
			p.Await("listening on")
			continue
		}
		if out, code := peers.Run(t, "", binary, append(args, "--dry-run")...); code != 0 || !strings.Contains(out, "would") {
			t.Errorf("%s: %q ended with %d: %s", filepath.Base(u.file), args, code, out)
		}
	}
}

func TestTheUnitsAreHardenedAlike(t *testing.T) {
	t.Parallel()
	var first []string
	for _, u := range units(t) {
		for _, want := range []string{"User=mutual", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes",
			"PrivateDevices=yes", "MemoryDenyWriteExecute=yes", "SystemCallFilter=@system-service", "StateDirectoryMode=0700", "UMask=0077", "LimitCORE=0"} {
			if !slices.Contains(u.settings, want) {
				t.Errorf("%s lacks %s", filepath.Base(u.file), want)
			}
		}
		hardening := u.settings[slices.Index(u.settings, "NoNewPrivileges=yes"):]
		if first == nil {
			first = hardening
		}
		if !slices.Equal(first, hardening) {
			t.Errorf("%s is hardened as %q, and another unit as %q", filepath.Base(u.file), hardening, first)
		}
	}
}

// systemd itself reads them, where it is there; elsewhere the other tests have.
func TestSystemdTakesTheUnits(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not here")
		return
	}
	dir := t.TempDir()
	args := []string{"verify"}
	for _, u := range units(t) {
		b, err := os.ReadFile(u.file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, strings.Replace(filepath.Base(u.file), "@.", "@orders.", 1))
		if err := os.WriteFile(name, []byte(strings.ReplaceAll(string(b), "/usr/local/bin/mutual", binary)), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, name)
	}
	if out, code := peers.Run(t, "", analyze, args...); code != 0 || strings.Contains(out, dir) {
		t.Errorf("systemd-analyze ended with %d: %s", code, out)
	}
}
