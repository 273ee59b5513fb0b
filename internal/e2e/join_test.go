package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
)

// house is a machine with an authority: a data folder and a plain service.
type house struct {
	*world
	data, to string
}

func newHouse(t *testing.T) *house {
	t.Parallel()
	w := &world{t: t, dir: t.TempDir()}
	return &house{world: w, data: filepath.Join(w.dir, "a"), to: w.service("tcp", echo)}
}

// orders serves the service "orders", and the authority with it.
func (h *house) orders(more ...string) *gate {
	h.t.Helper()
	return h.start(append([]string{"serve", "orders", "--to", h.to, "--allow", "web", "--data", h.data, "--listen", "127.0.0.1:0", "--ca-listen", "127.0.0.1:0"}, more...)...)
}

// caller connects by a line on a machine of its own.
func (h *house) caller(data, line string, more ...string) *gate {
	h.t.Helper()
	return h.start(append([]string{"connect", line, "--data", filepath.Join(h.dir, data), "--listen", "127.0.0.1:0"}, more...)...)
}

// run runs a command of the authority's machine to its end.
func (h *house) run(args ...string) (string, int) {
	h.t.Helper()
	return peers.Run(h.t, "", binary, append(args, "--data", h.data)...)
}

// awaitAsk asks until it is answered: what restarts needs its time.
func awaitAsk(t *testing.T, address string) {
	t.Helper()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		c := dial(t, address)
		err = ask(c, "hello\n")
		_ = c.Close()
		if err == nil {
			return
		}
	}
	t.Fatalf("nothing came back: %v", err)
}

func TestTwoCommandsAndNothingElse(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	if len(orders.lines) != 1 || len(orders.authority) != 1 {
		t.Fatalf("announced %v and %v", orders.lines, orders.authority)
	}
	line := orders.lines["web"]
	web := h.caller("b", line)
	awaitAsk(t, web.address)

	// The same two commands find what is on disk, however they ended.
	orders.Stop()
	web.Stop()
	orders = h.orders()
	if len(orders.lines) != 0 {
		t.Errorf("a second line for who has joined: %v", orders.lines)
	}
	web = h.caller("b", line)
	awaitAsk(t, web.address)

	out, code := h.run("list", "--json")
	var list []struct{ Name, Serial, State, Lineage string }
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list) != 2 {
		t.Fatalf("%d: %s", code, out)
	}
	for _, c := range list {
		if c.State != "valid" || c.Serial == "" || c.Lineage == "" || c.Name != "orders" && c.Name != "web" {
			t.Errorf("%+v", c)
		}
	}
}

func TestARevokedCallerIsRefusedWithinSeconds(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	web := h.caller("b", orders.lines["web"])
	awaitAsk(t, web.address)
	if out, code := h.run("revoke", "web"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	began := time.Now()
	for {
		c := dial(t, web.address)
		err := ask(c, "hello\n")
		_ = c.Close()
		if err != nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal("it is still let in")
		}
	}
	orders.awaitLog(t, "M0121")
	if out, code := h.run("revoke", "nobody"); code != 1 || !strings.Contains(out, "M0919") {
		t.Errorf("%d: %s", code, out)
	}
}

// A line of one authority whose address leads to another: the caller is told, and
// the one who answers learns nothing.
func TestALineThatLeadsToAnotherRootIsRefused(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	strange := &house{world: h.world, data: filepath.Join(h.dir, "c"), to: h.to}
	other := strange.orders()
	l, err := join.Parse(orders.lines["web"])
	if err != nil {
		t.Fatal(err)
	}
	l.Authority = other.authority
	out, code := peers.Run(t, "", binary, "connect", l.Text(), "--data", filepath.Join(h.dir, "d"), "--listen", "127.0.0.1:0")
	if code != 3 || !strings.Contains(out, "M0902") || !strings.Contains(out, "not the authority of the join line") {
		t.Errorf("%d: %s", code, out)
	}
	// The token is still good where it belongs.
	awaitAsk(t, h.caller("b", orders.lines["web"]).address)
	// A paste that was cut off is a usage error, and makes nothing.
	out, code = peers.Run(t, "", binary, "connect", orders.lines["web"][:80], "--data", filepath.Join(h.dir, "e"), "--listen", "127.0.0.1:0")
	if _, err := os.Stat(filepath.Join(h.dir, "e")); code != 2 || !strings.Contains(out, "cut off") || err == nil {
		t.Errorf("%d: %s", code, out)
	}
}
