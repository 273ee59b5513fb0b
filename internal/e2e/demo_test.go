package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
)

// story is what `mutual demo --json` tells, as far as tests want to know.
type story struct {
	Event, Name, Answer, Caller, With, Line, Dir string
	PID                                          int
	Refused                                      bool
	Command                                      []string
	Server, Client                               *struct {
		Code, Msg, Mend, Alert string
		Sent                   bool
	}
}

func events(t *testing.T, out string) (all []story) {
	t.Helper()
	for line := range strings.Lines(out) {
		var e story
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("no JSON line: %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// one is the first event that is wanted.
func one(t *testing.T, all []story, wanted func(story) bool) story {
	t.Helper()
	for _, e := range all {
		if wanted(e) {
			return e
		}
	}
	t.Fatalf("an event is missing from %+v", all)
	return story{}
}

// demoOnce runs a demo to its end, in a folder for temporary files that is its own.
func demoOnce(t *testing.T, args ...string) (out, words, folder string) {
	t.Helper()
	folder = t.TempDir()
	cmd := exec.Command(binary, append([]string{"demo", "--once"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+folder)
	var o, w bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &w
	if err := cmd.Run(); err != nil {
		t.Fatalf("the demo ended with %v:\n%s%s", err, o.String(), w.String())
	}
	return o.String(), w.String(), folder
}

// stayingDemo starts a demo that stays up.
func stayingDemo(t *testing.T, args ...string) (p *peers.Process, folder string) {
	t.Helper()
	folder = t.TempDir()
	args = append([]string{"TMPDIR=" + folder, binary, "demo"}, args...)
	return peers.Start(t, nil, peers.Need(t, "env"), args...), folder
}

// nothingIsLeft waits until no file and no process of a demo is there.
func nothingIsLeft(t *testing.T, folder string, all []story) {
	t.Helper()
	processes := 0
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var alive []string
		processes = 0
		for _, e := range all {
			if e.Event == "started" {
				if processes++; lives(e.PID) {
					alive = append(alive, e.Name)
				}
			}
		}
		if len(left) == 0 && len(alive) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("there are still files %v and processes %q", left, alive)
		}
	}
	if processes != 4 {
		t.Errorf("the demo started %d processes that stay, expected 4", processes)
	}
}

// lives is whether a process is there, and is no dead one that nobody asked for.
func lives(pid int) bool {
	if runtime.GOOS == "linux" {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		_, after, _ := strings.Cut(string(b), ") ")
		return err == nil && !strings.HasPrefix(after, "Z")
	}
	p, err := os.FindProcess(pid)
	return err == nil && p.Signal(syscall.Signal(0)) == nil
}

func TestTheDemoTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	out, words, folder := demoOnce(t)
	for _, want := range []string{
		"mutual serve orders --to", "mutual connect --to", "web heard from orders: order 7 is",
		"M0402  the client at", "M0501  orders refused us: a certificate is required",
		"M0103  the client at", "M0502  orders refused web: unknown authority",
		"M0101  the client at", "M0503  orders refused web: certificate expired",
		"M0401  the client at", "M0508  orders refused ops: access denied",
		"curl --resolve orders:", "openssl s_client", "nothing is left of it",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the story lacks %q:\n%s", want, out)
		}
	}
	if words != "" || strings.Contains(out, "\x1b") || strings.Contains(out, "PRIVATE KEY") {
		t.Errorf("there is too much in\n%s%s", out, words)
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

func TestTheDemoTellsTheStoryInJSON(t *testing.T) {
	t.Parallel()
	out, words, folder := demoOnce(t, "--json")
	all := events(t, out)
	if words != "" || all[len(all)-1].Event != "done" {
		t.Errorf("it ended with %+v, and on standard error %q", all[len(all)-1], words)
	}
	answers, refused := 0, map[string]string{}
	for _, e := range all {
		switch e.Event {
		case "answer":
			answers++
		case "refused":
			if e.Server == nil || e.Client == nil {
				t.Fatalf("only one end was heard: %+v", e)
			}
			refused[e.Server.Code+" "+e.Client.Code] = e.Server.Alert
			if e.Caller == "" || e.Server.Alert != e.Client.Alert || !e.Server.Sent || e.Client.Sent || e.Server.Msg == "" || e.Client.Msg == "" || e.Server.Mend == "" {
				t.Errorf("the refusal of %s says %+v and %+v", e.Caller, e.Server, e.Client)
			}
		case "started":
			if st, err := os.Stat(e.Command[0]); err != nil || st.IsDir() {
				t.Errorf("%s is no program: %v", e.Command[0], err)
			}
		}
	}
	want := map[string]string{"M0402 M0501": "certificate_required", "M0103 M0502": "unknown_ca", "M0101 M0503": "certificate_expired", "M0401 M0508": "access_denied"}
	for codes, alert := range want {
		if refused[codes] != alert {
			t.Errorf("refused were %v; expected %v", refused, want)
		}
	}
	if answers != 3 || len(refused) != 4 {
		t.Errorf("%d answers and %d refusals; expected 3 and 4", answers, len(refused))
	}
	nothingIsLeft(t, folder, all)
}

// The lines are run as they are printed, by a shell, while the demo stays up.
func TestTheDemosLinesWorkAsTheyArePrinted(t *testing.T) {
	for _, program := range []string{"curl", "openssl", "sh"} {
		peers.Need(t, program)
	}
	for _, form := range []string{"json", "text"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			var lines []string
			var all []story
			demo, folder := stayingDemo(t, map[string][]string{"json": {"--json"}}[form]...)
			if form == "json" {
				demo.Await(`"event":"ready"`)
				all = events(t, demo.Output())
				for _, e := range all {
					if e.Event == "try" {
						lines = append(lines, e.Line)
					}
				}
			} else {
				demo.Await("Ctrl-C ends it")
				for _, block := range strings.Split(demo.Output(), "   # ")[1:] {
					_, block, _ = strings.Cut(block, "\n")
					block, _, _ = strings.Cut(block, "\n\n")
					lines = append(lines, block)
				}
			}
			if len(lines) != 4 {
				t.Fatalf("there are %d lines to try, expected 4: %q", len(lines), lines)
			}
			for i, want := range []string{"order 7 is five figs, paid", "order 7 is five figs, paid", "The connection stands", "certificate required"} {
				out, code := peers.Run(t, "", "/bin/sh", "-c", lines[i])
				if !strings.Contains(out, want) || (code == 0) != (i < 3) {
					t.Errorf("%s\nended with %d, and said\n%s", lines[i], code, out)
				}
			}
			demo.Await("M0402") // the demo has seen who was refused
			_ = demo.Cmd.Process.Signal(os.Interrupt)
			if err := demo.Wait(30 * time.Second); err != nil {
				t.Errorf("it ended with %v", err)
			}
			if form == "json" {
				nothingIsLeft(t, folder, all)
			} else if left, _ := os.ReadDir(folder); len(left) > 0 {
				t.Errorf("it left %v", left)
			}
		})
	}
}

func TestTheDemosFolderIsItsOwners(t *testing.T) {
	t.Parallel()
	demo, _ := stayingDemo(t, "--json")
	demo.Await(`"event":"ready"`)
	dir := one(t, events(t, demo.Output()), func(e story) bool { return e.Event == "certificates" }).Dir
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", st.Mode(), err)
	}
	keys, _ := filepath.Glob(filepath.Join(dir, "*.key"))
	for _, k := range keys {
		if st, err := os.Stat(k); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v, %v", k, st.Mode(), err)
		}
	}
	if len(keys) != 5 {
		t.Errorf("there are %d keys, expected 5", len(keys))
	}
}

// However a demo ends, what it started ends with it.
func TestADemoThatIsStoppedOrKilledLeavesNothing(t *testing.T) {
	for name, how := range map[string]os.Signal{"terminated": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			demo, folder := stayingDemo(t, "--json")
			demo.Await(`"event":"ready"`)
			all := events(t, demo.Output())
			if err := demo.Cmd.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			if err := demo.Wait(30 * time.Second); (err == nil) != (how == syscall.SIGTERM) {
				t.Errorf("it ended with %v", err)
			}
			nothingIsLeft(t, folder, all)
		})
	}
}

func TestADemoWhoseGatewayFallsFailsAndSaysSo(t *testing.T) {
	t.Parallel()
	demo, folder := stayingDemo(t, "--json")
	demo.Await(`"event":"ready"`)
	all := events(t, demo.Output())
	p, err := os.FindProcess(one(t, all, func(e story) bool { return e.Name == "mutual serve" }).PID)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := demo.Wait(30 * time.Second); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, expected exit code 1", err)
	}
	if out := demo.Output(); !strings.Contains(out, "mutual serve ended, and nobody had asked it to") || strings.Contains(out, `"done"`) {
		t.Errorf("it said\n%s", out)
	}
	nothingIsLeft(t, folder, all)
}
