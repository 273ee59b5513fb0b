package joined

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
)

func TestTwoCommandsAndNothingElse(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	if len(orders.Lines) != 1 || len(orders.Authority) != 1 {
		t.Fatalf("announced %v and %v", orders.Lines, orders.Authority)
	}
	line := orders.Lines["web"]
	web := h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)

	// The same two commands find what is on disk, however they ended.
	orders.Stop()
	web.Stop()
	orders = h.orders()
	if len(orders.Lines) != 0 {
		t.Errorf("a second line for who has joined: %v", orders.Lines)
	}
	web = h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)

	list := h.list()
	if len(list) != 2 {
		t.Fatalf("%+v", list)
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
	web := h.caller("b", orders.Lines["web"])
	stage.AwaitAnswer(t, web.Address)
	if out, code := h.run("revoke", "web"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	began := time.Now()
	for {
		c := stage.Dial(t, web.Address)
		err := stage.Ask(c, "hello\n")
		_ = c.Close()
		if err != nil {
			break
		}
		if time.Since(began) > peers.Patience {
			t.Fatal("it is still let in")
		}
	}
	orders.AwaitLog(t, "M0121")
	// It knows that it is of no use any more, and says so instead of starting; a new
	// line makes it anew.
	web.AwaitLog(t, "M0914")
	web.Stop()
	if out, code := h.runAt(h.place("b"), "connect", orders.Lines["web"], "--listen", "127.0.0.1:0"); code != 3 || !strings.Contains(out, "M0914") {
		t.Errorf("a start as who was revoked: %d: %s", code, out)
	}
	stage.AwaitAnswer(t, h.caller("b", h.line("web", "--service", "orders")).Address)
	if out, code := h.run("revoke", "nobody"); code != 1 || !strings.Contains(out, "M0919") {
		t.Errorf("%d: %s", code, out)
	}
}

// A line of one authority whose address leads to another: the caller is told, and
// the one who answers learns nothing.
func TestALineThatLeadsToAnotherRootIsRefused(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	strange := &house{t: t, program: binary, dir: h.dir, data: h.place("c"), to: h.to}
	other := strange.orders()
	l, err := join.Parse(orders.Lines["web"])
	if err != nil {
		t.Fatal(err)
	}
	l.Authority = other.Authority
	out, code := peers.Run(t, "", binary, "connect", l.Text(), "--data", filepath.Join(h.dir, "d"), "--listen", "127.0.0.1:0")
	if code != 3 || !strings.Contains(out, "M0902") || !strings.Contains(out, "not the authority of the join line") {
		t.Errorf("%d: %s", code, out)
	}
	// The token is still good where it belongs.
	stage.AwaitAnswer(t, h.caller("b", orders.Lines["web"]).Address)
	// A paste that was cut off is a usage error, and makes nothing.
	out, code = peers.Run(t, "", binary, "connect", orders.Lines["web"][:80], "--data", filepath.Join(h.dir, "e"), "--listen", "127.0.0.1:0")
	if _, err := os.Stat(filepath.Join(h.dir, "e")); code != 2 || !strings.Contains(out, "cut off") || err == nil {
		t.Errorf("%d: %s", code, out)
	}
}
