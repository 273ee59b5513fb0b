package joined

import (
	"bufio"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
)

// parsed is a line that has to read as one.
func parsed(t *testing.T, line string) *join.Line {
	t.Helper()
	l, err := join.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// write writes a file that is its owner's alone.
func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tree is what lies in a folder.
func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestALineComesByArgumentFileOrStandardInput(t *testing.T) {
	h := newHouse(t)
	h.orders("--allow", "file,input,dash")
	file := write(t, h.place("line"), h.line("file", "--service", "orders")+"\n")
	stage.AwaitAnswer(t, h.start("connect", "--join-file", file, "--data", h.place("f"), "--listen", "127.0.0.1:0").Address)
	for name, args := range map[string][]string{"input": {"--join-file", "-"}, "dash": {"-"}} {
		cmd := h.command(append([]string{"connect", "--data", h.place(name), "--listen", "127.0.0.1:0"}, args...)...)
		cmd.Stdin = strings.NewReader("  '" + h.line(name, "--service", "orders") + "'\r\n")
		stage.AwaitAnswer(t, stage.Start(t, t.TempDir(), cmd).Address)
	}
}

// A line is shown in the announcement and in --join-out, and never on a standard
// output that is no terminal.
func TestALineIsShownWhereItIsAskedForAlone(t *testing.T) {
	h := newHouse(t)
	out := h.place("lines")
	first := h.orders("--allow", "api,*.shops,spiffe://elsewhere/x", "--join-out", out)
	if len(first.Lines) != 2 || first.Lines["web"] == "" || first.Lines["api"] == "" {
		t.Fatalf("lines of %v", first.Lines)
	}
	for _, line := range first.Lines {
		if l := parsed(t, line); l.Service != "orders" || strings.Contains(first.Output(), line) {
			t.Errorf("%v, in\n%s", l, first.Output())
		}
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(out)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if n := strings.Count(string(b), "\n"); n != 2 || !strings.Contains(string(b), first.Lines["web"]+"\n") || !strings.Contains(string(b), first.Lines["api"]+"\n") {
		t.Errorf("--join-out has %d lines, and should have those of web and api", n)
	}
	// Who waits with a line gets no second one, nor who joined; a new name does.
	h.caller("b", first.Lines["web"]).Stop()
	first.Stop()
	second := h.orders("--allow", "api,third")
	if len(second.Lines) != 1 || second.Lines["third"] == "" {
		t.Errorf("after a restart: lines of %d names", len(second.Lines))
	}
	// Without a place to show it none is made.
	second.Stop()
	cmd := h.command("serve", "orders", "--to", h.to, "--allow", "fourth", "--data", h.data, "--listen", "127.0.0.1:0", "--json")
	r, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { kill(t, cmd.Process.Pid); _ = cmd.Wait() }()
	line, err := bufio.NewReader(r).ReadString('\n')
	var ready struct {
		Event, Name, Domain string
		Listen              []string
	}
	if err == nil {
		err = json.Unmarshal([]byte(line), &ready)
	}
	if err != nil || ready.Event != "ready" || ready.Name != "orders" || len(ready.Listen) != 1 || ready.Domain != h.status().Domain {
		t.Errorf("%v: %s", err, line)
	}
	if strings.Contains(line, "mutual+join:") {
		t.Error("--json shows a line")
	}
	var info []certificate
	h.json(&info, "list")
	if out, code := h.run("token", "fourth"); code != 2 || !strings.Contains(out, "--out") {
		t.Errorf("%d: %s", code, out)
	}
}

// A person at a terminal sees the line, in the command that uses it.
func TestALineIsShownOnATerminal(t *testing.T) {
	terminal := peers.Need(t, "script")
	h := newHouse(t)
	h.authority()
	on := func(command string) *peers.Process {
		keys, typed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p := peers.Start(t, keys, terminal, "-qec", command+" --data "+h.data, "/dev/null")
		_ = keys.Close()
		// What runs on a terminal has a session of its own, and would outlive it: a
		// person ends it.
		t.Cleanup(func() {
			_, _ = typed.WriteString("\x03") // Ctrl-C
			if err := p.Wait(peers.Patience); err != nil && !p.Ended() {
				t.Error(err)
			}
			_ = typed.Close()
		})
		return p
	}
	token := on(h.program + " token api --service orders")
	token.Await("mutual+join:1/api/orders/")
	orders := on(h.program + " serve orders --to " + h.to + " --allow web --listen 127.0.0.1:0")
	orders.AwaitThat("the command for web", func(out string) bool {
		_, rest, ok := strings.Cut(out, "mutual connect '")
		line, _, whole := strings.Cut(rest, "'")
		return ok && whole && parsed(t, line).Name == "web"
	})
}

func TestADryRunMakesNothing(t *testing.T) {
	h := newHouse(t)
	// Before there is anything.
	out, code := h.run("serve", "orders", "--to", h.to, "--allow", "web", "--listen", "127.0.0.1:0", "--dry-run")
	for _, want := range []string{"would serve", "would be made in " + filepath.Join(h.data, "ca"), "web"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d: no %q in: %s", code, want, out)
		}
	}
	if out, code := h.run("serve", "orders", "--to", h.to, "--allow", "web", "--listen", "127.0.0.1:0", "--dry-run", "--json"); code != 0 || !strings.Contains(out, `"event":"planned"`) {
		t.Errorf("%d: %s", code, out)
	}
	if _, err := os.Stat(h.data); err == nil {
		t.Errorf("made %v", tree(t, h.data))
	}
	orders := h.orders()
	line := orders.Lines["web"]
	if out, code := h.runAt(h.place("b"), "connect", line, "--listen", "127.0.0.1:0", "--dry-run"); code != 0 || !strings.Contains(out, orders.Authority[0]) || !strings.Contains(out, "would be asked for") {
		t.Errorf("%d: %s", code, out)
	}
	cmd := h.command("connect", line, "--listen", "127.0.0.1:0", "--dry-run", "--json", "--data", h.place("b"))
	var planned struct{ Event, Name string }
	if b, err := cmd.Output(); err != nil || json.Unmarshal(b, &planned) != nil || planned.Event != "planned" || planned.Name != "orders" {
		t.Errorf("%v: %s", err, b)
	}
	if out, code := h.runAt(h.place("c"), "serve", "web", "--to", h.to, "--allow", "x", "--listen", "127.0.0.1:0", "--join-file", write(t, h.place("line"), line), "--dry-run"); code != 0 || !strings.Contains(out, "by the join line") {
		t.Errorf("%d: %s", code, out)
	}
	for _, name := range []string{"b", "c"} {
		if _, err := os.Stat(h.place(name)); err == nil {
			t.Errorf("made %v", tree(t, h.place(name)))
		}
	}
	// The token is still good, and then the identity is found.
	stage.AwaitAnswer(t, h.caller("b", line).Address)
	if out, code := h.runAt(h.place("b"), "connect", line, "--listen", "127.0.0.1:0", "--dry-run"); code != 0 || !strings.Contains(out, "is in "+h.place("b")) {
		t.Errorf("%d: %s", code, out)
	}
}

func TestReservedNamesAreRefused(t *testing.T) {
	h := newHouse(t)
	if out, code := h.run("serve", "authority", "--to", h.to, "--allow", "web"); code != 2 || !strings.Contains(out, "belongs to the product") {
		t.Errorf("%d: %s", code, out)
	}
	orders := h.orders("--allow", "console")
	if orders.Lines["console"] != "" {
		t.Error("a line for a reserved name")
	}
	for _, name := range []string{"authority", "console", "gateway"} {
		if out, code := h.run("token", name, "--out", h.place("t")); code != 3 || !strings.Contains(out, "M0910") {
			t.Errorf("%d: %s", code, out)
		}
		if out, code := h.run("issue", name, "--out", h.place("i")); code != 3 || !strings.Contains(out, "M0910") {
			t.Errorf("%d: %s", code, out)
		}
	}
}

// A line of a second authority makes a second identity beside the first, and each
// is found by its own line.
func TestTwoAuthoritiesMakeTwoIdentities(t *testing.T) {
	h := newHouse(t)
	other := &house{t: t, program: h.program, dir: h.dir, data: h.place("z"), to: h.to}
	here, there := h.orders().Lines["web"], other.orders().Lines["web"]
	stage.AwaitAnswer(t, h.caller("b", here).Address)
	stage.AwaitAnswer(t, h.caller("b", there).Address)
	found, err := filepath.Glob(filepath.Join(h.place("b"), "id", "*", "web", "identity.pem"))
	if err != nil || len(found) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	stage.AwaitAnswer(t, h.caller("b", here).Address)
	stage.AwaitAnswer(t, h.caller("b", there).Address)
	if a, b := len(h.list()), len(other.list()); a != 2 || b != 2 {
		t.Errorf("%d and %d identities, expected 2 and 2", a, b)
	}
}

// Another machine serves by a line, and the line's reader reaches what it is told.
func TestAServiceOnAnotherMachineJoinsByALine(t *testing.T) {
	h := newHouse(t)
	h.orders()
	file := write(t, h.place("line"), h.line("stock"))
	at := h.place("s")
	serve := func(more ...string) *stage.Gate {
		return h.start(append([]string{"serve", "stock", "--to", h.to, "--allow", "web", "--data", at, "--listen", "127.0.0.1:0"}, more...)...)
	}
	stock := serve("--join-file", file)
	if _, err := os.Stat(filepath.Join(at, "ca")); err == nil || len(stock.Authority) != 0 {
		t.Errorf("an authority was made: %v", stock.Authority)
	}
	line := h.line("web", "--service", "orders")
	web := h.caller("b", line, "--service", "stock")
	stage.AwaitAnswer(t, web.Address)
	// The same command again, with the line and without it: its new address
	// reaches the caller, who runs on.
	for _, more := range [][]string{{"--join-file", file}, nil} {
		stock.Stop()
		stock = serve(more...)
		stage.AwaitAnswer(t, web.Address)
	}
	// A name that the line does not make.
	if out, code := h.runAt(h.place("x"), "serve", "other", "--to", h.to, "--allow", "web", "--listen", "127.0.0.1:0", "--join-file", file); code != 2 || !strings.Contains(out, "stock") {
		t.Errorf("%d: %s", code, out)
	}
}
