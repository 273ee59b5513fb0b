package joined

import (
	"encoding/json"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

// awaitStatus waits for an authority that another process serves than before.
func (h *house) awaitStatus(before int) (s status) {
	h.t.Helper()
	stage.Await(h.t, "nobody serves the authority", func() error {
		out, err := h.command("ca", "status", "--json", "--data", h.data).Output()
		if err != nil {
			return err
		}
		s = status{}
		if err := json.Unmarshal(out, &s); err != nil {
			return err
		}
		if s.Process == before {
			return errors.New("the former process serves it still")
		}
		return nil
	})
	return s
}

// says is whether the log has the words.
func says(g *stage.Gate, words string) bool {
	for _, e := range g.Log() {
		if strings.Contains(e.Msg, words) {
			return true
		}
	}
	return false
}

// One serve hosts the authority for all on its folder. When it goes, in order or
// by kill -9, another hosts it, at the same address, and nobody has to be told.
func TestTheAuthorityOutlivesTheServeThatHostsIt(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	before := h.status()
	stock := h.serve("stock", "--allow", "web")
	if got := h.status(); got.Process != before.Process || stock.Authority[0] != orders.Authority[0] {
		t.Fatalf("the second serve has an authority of its own: %+v, %v", got, stock.Authority)
	}
	web := h.caller("b", orders.Lines["web"], "--service", "stock")
	stage.AwaitAnswer(t, web.Address)

	if err := orders.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := orders.Wait(peers.Patience); err != nil {
		t.Fatal(err)
	}
	if !says(orders, "the authority of "+before.Domain+" stops with this process") {
		t.Errorf("not a word of what stops with it:\n%s", orders.Output())
	}
	after := h.awaitStatus(before.Process)
	if after.Domain != before.Domain || after.Root != before.Root || after.Authority[0] != before.Authority[0] {
		t.Errorf("from %+v to %+v", before, after)
	}
	stage.AwaitAnswer(t, web.Address)

	// Its turn, hard; another has come meanwhile.
	h.orders("--allow", "late")
	kill(t, stock.Cmd.Process.Pid)
	again := h.awaitStatus(after.Process)
	if again.Domain != before.Domain || again.Authority[0] != before.Authority[0] {
		t.Errorf("from %+v to %+v", before, again)
	}
	// Who joins, joins at the same place, and who runs on goes on.
	stage.AwaitAnswer(t, h.caller("late", h.line("late", "--service", "orders")).Address)
	web.AwaitEntry(t, "that it hears the authority", func(e stage.Entry) bool { return strings.Contains(e.Msg, "is heard of again") })
}

// A child that dies alone is started again by the serve whose it is.
func TestAnAuthorityThatDiesIsStartedAgain(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	before := h.status()
	kill(t, before.Process)
	after := h.awaitStatus(before.Process)
	if after.Authority[0] != before.Authority[0] {
		t.Errorf("from %v to %v", before.Authority, after.Authority)
	}
	stage.AwaitAnswer(t, h.caller("b", orders.Lines["web"]).Address)
}

// Whoever starts the same command the moment after kill -9 meets the former
// child, which is about to go.
func TestTheSameCommandRightAfterAKill(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	web := h.caller("b", orders.Lines["web"])
	for range 4 {
		kill(t, orders.Cmd.Process.Pid)
		orders = h.orders("--allow", "api")
		stage.AwaitAnswer(t, web.Address)
	}
}

// `mutual ca` is its own process: what comes and goes beside it hosts nothing.
func TestAnAuthorityOfItsOwn(t *testing.T) {
	h := newHouse(t)
	authority := h.authority()
	orders := h.orders()
	if at := h.status(); at.Process != authority.Cmd.Process.Pid || orders.Authority[0] != authority.Authority[0] {
		t.Errorf("%+v, and %v", at, orders.Authority)
	}
	web := h.caller("b", orders.Lines["web"])
	stage.AwaitAnswer(t, web.Address)
	if out, code := h.run("ca", "--listen", "127.0.0.1:0"); code != 1 || !strings.Contains(out, "another process") {
		t.Errorf("a second authority: %d: %s", code, out)
	}
	if err := orders.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := orders.Wait(peers.Patience); err != nil || says(orders, "stops with this process") {
		t.Errorf("%v:\n%s", err, orders.Output())
	}
	if h.status().Process != authority.Cmd.Process.Pid {
		t.Error("it went with the serve")
	}
	h.orders()
	stage.AwaitAnswer(t, web.Address)
	if err := authority.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := authority.Wait(peers.Patience); err != nil {
		t.Error(err)
	}
	// Now the serve that runs on hosts it.
	if at := h.awaitStatus(authority.Cmd.Process.Pid); at.Authority[0] != authority.Authority[0] {
		t.Errorf("%+v", at)
	}
	stage.AwaitAnswer(t, web.Address)
}
