package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
)

// block is a fenced block of the README that says "run": the machine that it is
// for, whether it stays, and its exit code.
type block struct {
	line    int
	machine string
	stays   bool
	code    int
	script  string
}

var fence = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

func runnable(t *testing.T, readme string) []block {
	t.Helper()
	var out []block
	for _, m := range fence.FindAllStringSubmatchIndex(readme, -1) {
		words := strings.Fields(readme[m[2]:m[3]])
		if len(words) < 2 || words[0] != "sh" || words[1] != "run" {
			continue
		}
		b := block{line: 1 + strings.Count(readme[:m[0]], "\n"), script: readme[m[4]:m[5]]}
		for _, w := range words[2:] {
			code, isCode := strings.CutPrefix(w, "exit=")
			switch {
			case w == "A" || w == "B":
				b.machine = w
			case w == "stays":
				b.stays = true
			case isCode:
				var err error
				if b.code, err = strconv.Atoi(code); err != nil {
					t.Fatalf("README.md:%d: %v", b.line, err)
				}
			default:
				t.Fatalf("README.md:%d: what is %q?", b.line, w)
			}
		}
		if b.machine == "" {
			t.Fatalf("README.md:%d does not say on which machine", b.line)
		}
		out = append(out, b)
	}
	return out
}

// Each machine is a folder, the network is the loopback, and the ports are free
// ones; all else is run as it is written.
func TestTheReadmeCanBeFollowed(t *testing.T) {
	t.Parallel()
	shell := peers.Need(t, "sh")
	peers.Need(t, "openssl")
	peers.Need(t, "curl")
	readme, err := os.ReadFile(filepath.Join(peers.Repository(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	orders := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "12 orders") }))
	t.Cleanup(orders.Close)
	dir := t.TempDir()
	for _, machine := range []string{"A", "B"} {
		if err := os.Mkdir(filepath.Join(dir, machine), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	here := strings.NewReplacer(
		"192.0.2.10:", "127.0.0.1:",
		"127.0.0.1:8080", strings.TrimPrefix(orders.URL, "http://"),
		"127.0.0.1:9000", fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t)),
		"8443", strconv.Itoa(peers.FreePort(t)),
	)

	blocks := runnable(t, string(readme))
	if len(blocks) < 12 {
		t.Fatalf("only %d blocks of README.md are marked to be run", len(blocks))
	}
	for _, b := range blocks {
		var script strings.Builder
		fmt.Fprintf(&script, "set -e\ncd '%s'\nPATH='%s':$PATH\n", filepath.Join(dir, b.machine), filepath.Dir(binary))
		for line := range strings.Lines(b.script) {
			if files, ok := strings.CutPrefix(line, "scp "); ok {
				line = "cp " + strings.ReplaceAll(files, "192.0.2.10:", "../A/")
			}
			script.WriteString(here.Replace(line))
		}
		if b.stays {
			p := peers.Start(t, nil, shell, "-c", script.String())
			if strings.Contains(b.script, "mutual serve") {
				p.Await("serving")
			} else {
				p.Await("listening on")
			}
			continue
		}
		out, code := peers.Run(t, "", shell, "-c", script.String())
		if code != b.code {
			t.Fatalf("README.md:%d: the exit code is %d, expected %d:\n%s\n%s", b.line, code, b.code, b.script, out)
		}
		if strings.Contains(b.script, "curl ") && !strings.Contains(out, "12 orders") {
			t.Fatalf("README.md:%d: no orders came:\n%s\n%s", b.line, b.script, out)
		}
	}
}
