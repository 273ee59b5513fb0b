package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
)

// block is a fenced block of a document that says "run": the machine that it is
// for, whether it stays, whether it takes the place of what stays on its machine,
// and its exit code.
type block struct {
	where   string // FILE:LINE
	machine string
	stays   bool
	again   bool
	code    int
	script  string
}

var fence = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

// notRun are commands that build the program, or that are the system's own.
var notRun = regexp.MustCompile(`^(make|go|sudo|systemctl|journalctl|systemd-analyze) `)

// runnable are the blocks of a document that are to be run. Whatever is shown as a
// shell's, and is neither that nor a build, is a mistake.
func runnable(t *testing.T, name, text string) []block {
	t.Helper()
	var out []block
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		words := strings.Fields(text[m[2]:m[3]])
		b := block{where: fmt.Sprintf("%s:%d", name, 1+strings.Count(text[:m[0]], "\n")), script: text[m[4]:m[5]]}
		if len(words) == 0 || words[0] != "sh" {
			continue
		}
		if len(words) < 2 || words[1] != "run" {
			for line := range strings.Lines(strings.ReplaceAll(b.script, "\\\n", "")) {
				if !notRun.MatchString(line) {
					t.Errorf("%s shows %q, and no test runs it: write ```sh run MACHINE", b.where, line)
				}
			}
			continue
		}
		for _, w := range words[2:] {
			code, isCode := strings.CutPrefix(w, "exit=")
			switch {
			case len(w) == 1 && w >= "A" && w <= "C":
				b.machine = w
			case w == "stays":
				b.stays = true
			case w == "again":
				b.stays, b.again = true, true
			case isCode:
				var err error
				if b.code, err = strconv.Atoi(code); err != nil {
					t.Fatalf("%s: %v", b.where, err)
				}
			default:
				t.Fatalf("%s: what is %q?", b.where, w)
			}
		}
		if b.machine == "" {
			t.Fatalf("%s does not say on which machine", b.where)
		}
		out = append(out, b)
	}
	return out
}

// onMachine is `mutual` as it is found on a machine: the folder of its data is that
// machine's, and all listen on free ports of the loopback.
const onMachine = `#!/bin/sh
own=
case " $* " in *" --cert "*|*" --help "*) own=1 ;; esac
case "$1" in
serve|connect|ca|token|issue|list|revoke)
	[ "$own" ] || set -- "$@" --data 'DATA' ;;
esac
case "$1 $2 $own" in
"serve "*" 1"|"ca status "*) ;;
"ca "*)
	set -- "$@" --announce 'DATA.json'
	case " $* " in *" --listen "*) ;; *) set -- "$@" --listen 127.0.0.1:0 ;; esac ;;
"serve "*)
	set -- "$@" --announce 'DATA.json'
	case " $* " in *" --listen "*) ;; *) set -- "$@" --listen 127.0.0.1:PORT ;; esac
	case " $* " in *" --join-file "*|*" --ca-listen "*) ;; *) set -- "$@" --ca-listen 127.0.0.1:0 ;; esac ;;
esac
exec 'PROGRAM' "$@"
`

// reader follows a document.
type reader struct {
	t       *testing.T
	dir     string
	shell   string
	here    *strings.Replacer
	web     string // its join line
	staying map[string][]*peers.Process
}

func newReader(t *testing.T) *reader {
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "12 orders") }))
	t.Cleanup(orders.Close)
	// Sockets lie in it: see shortFolder.
	r := &reader{t: t, dir: shortFolder(t), shell: peers.Need(t, "sh"), staying: make(map[string][]*peers.Process)}
	port := func() string { return strconv.Itoa(peers.FreePort(t)) }
	serves := port()
	for _, machine := range []string{"A", "B", "C"} {
		at := filepath.Join(r.dir, machine)
		if err := os.MkdirAll(filepath.Join(at, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
		wrapper := strings.NewReplacer("DATA", r.data(machine), "PORT", serves, "PROGRAM", binary).Replace(onMachine)
		// By a program: what this process writes another that it starts at the same
		// moment may still hold open, and what is open for writing can't be run.
		if out, code := peers.Run(t, wrapper, r.shell, "-c", `cat > "$0" && chmod 700 "$0"`, filepath.Join(at, "bin", "mutual")); code != 0 {
			t.Fatal(out)
		}
	}
	r.here = strings.NewReplacer(
		"192.0.2.10:", "127.0.0.1:",
		"127.0.0.1:8080", strings.TrimPrefix(orders.URL, "http://"),
		"127.0.0.1:9000", "127.0.0.1:"+port(), "127.0.0.1:9001", "127.0.0.1:"+port(), "127.0.0.1:9002", "127.0.0.1:"+port(),
		" :8440", " 127.0.0.1:"+port(), "8443", serves, "8444", port(), "8453", port(),
	)
	return r
}

// data is the data folder of a machine. What a program there announces lies beside it.
func (r *reader) data(machine string) string { return filepath.Join(r.dir, machine, "data") }

// line is the join line of web, as machine A announced it first.
func (r *reader) line() string {
	if r.web != "" {
		return r.web
	}
	b, err := os.ReadFile(r.data("A") + ".json")
	var said struct{ Join map[string]string }
	if err != nil || json.Unmarshal(b, &said) != nil || said.Join["web"] == "" {
		r.t.Fatalf("machine A has announced no line for web: %v", err)
	}
	r.web = said.Join["web"]
	return r.web
}

// script is a block as it can be run here: each machine is a folder.
func (r *reader) script(b block) string {
	var s strings.Builder
	at := filepath.Join(r.dir, b.machine)
	fmt.Fprintf(&s, "set -e\ncd '%s'\nPATH='%s/bin':$PATH\n", at, at)
	for line := range strings.Lines(b.script) {
		if files, ok := strings.CutPrefix(line, "scp "); ok {
			line = "cp -p " + strings.ReplaceAll(files, "192.0.2.10:", "../A/")
		}
		line = strings.ReplaceAll(line, "/var/lib/mutual", r.data(b.machine))
		if strings.Contains(line, "<join line>") {
			line = strings.ReplaceAll(line, "<join line>", r.line())
		}
		s.WriteString(r.here.Replace(line))
	}
	return s.String()
}

func (r *reader) follow(b block) {
	r.t.Helper()
	script := r.script(b)
	if b.stays {
		if b.again {
			for _, p := range r.staying[b.machine] {
				p.Stop()
			}
		}
		announced := r.data(b.machine) + ".json"
		_ = os.Remove(announced)
		p := peers.Start(r.t, nil, r.shell, "-c", script)
		r.staying[b.machine] = append(r.staying[b.machine], p)
		switch {
		case strings.Contains(b.script, "--cert") && strings.Contains(b.script, "mutual serve"):
			p.Await("serving")
		case strings.Contains(b.script, "mutual connect"):
			p.Await("listening on")
		default:
			for end := time.Now().Add(peers.Patience); ; time.Sleep(10 * time.Millisecond) {
				if _, err := os.Stat(announced); err == nil {
					return
				}
				if p.Ended() || time.Now().After(end) {
					r.t.Fatalf("%s: it did not start:\n%s\n%s", b.where, b.script, p.Output())
				}
			}
		}
		return
	}
	out, code := peers.Run(r.t, "", r.shell, "-c", script)
	if code != b.code {
		r.t.Fatalf("%s: the exit code is %d, expected %d:\n%s\n%s", b.where, code, b.code, b.script, out)
	}
	if strings.Contains(b.script, "curl ") && code == 0 && !strings.Contains(out, "12 orders") {
		r.t.Fatalf("%s: no orders came:\n%s\n%s", b.where, b.script, out)
	}
}

// Each machine is a folder, the network is the loopback, and the ports are free
// ones; all else is run as it is written.
func TestTheDocumentsCanBeFollowed(t *testing.T) {
	for _, program := range []string{"sh", "openssl", "curl"} {
		peers.Need(t, program)
	}
	files, err := filepath.Glob(filepath.Join(peers.Repository(), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(peers.Repository(), "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file)
		blocks := runnable(t, name, string(text))
		if least := map[string]int{"README.md": 15, "start.md": 10, "files.md": 3, "trust.md": 2, "moving.md": 6}[name]; len(blocks) < least {
			t.Errorf("only %d blocks of %s are marked to be run, expected %d", len(blocks), name, least)
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReader(t)
			for _, b := range blocks {
				r.follow(b)
			}
		})
	}
}
