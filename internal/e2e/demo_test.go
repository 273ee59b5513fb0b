package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	Event, Name, Answer, Caller, With, Line, Dir, Join, Code string
	PID, Requests, Rotations, Exit                           int
	Refused                                                  bool
	Command                                                  []string
	Certificates                                             []struct{ Name, State, Lineage string }
	Server, Client                                           *struct {
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

// shortFolder has a short name: sockets of the demo's lie in it, and have to fit
// into the 104 bytes that a system gives to the path of one.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// demoOnce runs a demo to its end, in a folder for temporary files that is its own.
func demoOnce(t *testing.T, args ...string) (out, words, folder string) {
	t.Helper()
	folder = shortFolder(t)
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
	folder = shortFolder(t)
	args = append([]string{"TMPDIR=" + folder, binary, "demo"}, args...)
	return peers.Start(t, nil, peers.Need(t, "env"), args...), folder
}

// nothingIsLeft waits until no file and no process of a demo is there. It started
// four that stay, the authority and the other one, if it came so far.
func nothingIsLeft(t *testing.T, folder string, all []story) {
	t.Helper()
	processes := 0
	for end := time.Now().Add(peers.Patience); ; time.Sleep(5 * time.Millisecond) {
		left, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		var alive []string
		processes = 0
		for _, e := range all {
			if e.PID != 0 {
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
	if processes != 6 {
		t.Errorf("the demo started %d processes that stay, expected 6", processes)
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
		"mutual serve orders --to", "--allow web", "mutual+join:1/web/orders/127.0.0.1:", "mutual connect", "web heard from orders: order 7 is",
		"M0402  the client at", "M0501  orders refused us: a certificate is required",
		"M0103  the client at", "M0502  orders refused web: unknown authority",
		"M0101  the client at", "M0503  orders refused web: certificate expired",
		"M0401  the client at", "M0508  orders refused ops: access denied",
		" rotations, no error", "M0902", "exit code 3, and the token was not sent",
		"NAME     STATE", "ops      valid", "client   ClientHello", "keys     TLS 1.3, X25519MLKEM768",
		"curl --resolve orders:", "openssl s_client", "nothing is left of it",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the story lacks %q:\n%s", want, out)
		}
	}
	token := regexp.MustCompile(`mutual\+join:[^ ']*/[A-Za-z0-9_-]{22}/`)
	if words != "" || strings.Contains(out, "\x1b") || strings.Contains(out, "PRIVATE KEY") || token.MatchString(out) {
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
	enrolled := map[string]int{}
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
		case "rotated":
			if e.Rotations < 2 || e.Requests < 20 {
				t.Errorf("%d rotations under %d requests", e.Rotations, e.Requests)
			}
		case "misled":
			if e.Code != "M0902" || e.Exit != 3 || !strings.Contains(e.Answer, "not the authority of the join line") {
				t.Errorf("the line that leads elsewhere: %+v", e)
			}
		case "list":
			for _, c := range e.Certificates {
				enrolled[c.Name+" "+c.State]++
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
	if enrolled["orders valid"] != 1 || enrolled["web valid"] != 2 || enrolled["web expired"] != 1 || enrolled["ops valid"] != 1 {
		t.Errorf("enrolled are %v", enrolled)
	}
	one(t, all, func(e story) bool { return e.Event == "handshake" })
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
			secretsAreTheirOwners(t, folder)
			demo.Await("M0402") // the demo has seen who was refused
			_ = demo.Cmd.Process.Signal(os.Interrupt)
			if err := demo.Wait(peers.Patience); err != nil {
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

// secretsAreTheirOwners holds the folder of a demo and the keys in it to their modes.
func secretsAreTheirOwners(t *testing.T, folder string) {
	t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(folder, "mutual-demo-*"))
	if len(dirs) != 1 {
		t.Fatalf("the folders are %v", dirs)
	}
	if st, err := os.Stat(dirs[0]); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", st.Mode(), err)
	}
	keys := 0
	err := filepath.WalkDir(dirs[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".key" && d.Name() != "identity.pem" && filepath.Ext(path) != ".join" {
			return nil // a file that is being written may be gone
		}
		keys++
		if st, err := d.Info(); err == nil && st.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", path, st.Mode())
		}
		return nil
	})
	// Two authorities with three keys, three identities, three PEM files, a line.
	if err != nil || keys != 2*3+3+3+1 {
		t.Errorf("there are %d secrets (%v)", keys, err)
	}
}

// However a demo ends, and however early, what it started ends with it.
func TestADemoThatIsStoppedOrKilledLeavesNothing(t *testing.T) {
	for name, how := range map[string]os.Signal{"terminated": syscall.SIGTERM, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			demo, folder := stayingDemo(t, "--json")
			demo.Await(`"event":"load"`)
			all := events(t, demo.Output())
			if err := demo.Cmd.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			if err := demo.Wait(peers.Patience); err == nil {
				t.Error("it ended well, in the middle of its story")
			}
			nothingIsLeft(t, folder, all)
		})
	}
}

func TestADemoWhoseGatewayFallsFailsAndSaysSo(t *testing.T) {
	t.Parallel()
	demo, folder := stayingDemo(t, "--json")
	demo.Await(`"event":"load"`)
	all := events(t, demo.Output())
	p, err := os.FindProcess(one(t, all, func(e story) bool { return e.Name == "mutual serve" }).PID)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := demo.Wait(peers.Patience); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, expected exit code 1", err)
	}
	// A request may notice before the demo does.
	if out := demo.Output(); !strings.Contains(out, "mutual serve ended, and nobody had asked it to") && !strings.Contains(out, "web was asked for") || strings.Contains(out, `"done"`) {
		t.Errorf("it said\n%s", out)
	}
	nothingIsLeft(t, folder, all)
}
