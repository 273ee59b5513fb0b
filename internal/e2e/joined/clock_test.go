package joined

import (
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
)

// A machine that slept, past its certificate's end and for weeks, comes back by
// itself; after more than 30 days a new line is needed.
func TestAMachineThatSleptComesBack(t *testing.T) {
	h := newMovedHouse(t)
	h.authority()
	orders := h.orders()
	line := orders.Lines["web"]
	web := h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)

	// Asleep with its processes, for a few days.
	h.clock.set(5 * 24 * time.Hour)
	stage.AwaitAnswer(t, web.Address)

	// Switched off, and switched on after 29 days more.
	web.Stop()
	h.clock.set(34 * 24 * time.Hour)
	awaitRotations(t, 2, orders)
	web = h.caller("b", line)
	stage.AwaitAnswer(t, web.Address)
	web.Stop()

	// 32 days: too late, and said so; what needs no renewal runs on.
	h.clock.set(66 * 24 * time.Hour)
	orders.AwaitLog(t, "M0916")
	if out, code := h.runAt(h.place("b"), "connect", line, "--listen", "127.0.0.1:0"); code != 3 || !strings.Contains(out, "M0916") {
		t.Errorf("a caller that is too late: %d: %s", code, out)
	}
	// On the authority's own machine that is no more than a restart.
	orders.Stop()
	h.orders()
	stage.AwaitAnswer(t, h.caller("b", h.line("web", "--service", "orders")).Address)
}

// An authority whose clock went back signs nothing, and says so; what runs, runs
// on, and all is well when the clock is right again.
func TestAClockThatGoesBackStopsSigning(t *testing.T) {
	h := newMovedHouse(t)
	authority := h.authority()
	orders := h.orders()
	web := h.caller("b", orders.Lines["web"])
	stage.AwaitAnswer(t, web.Address)
	spare := h.line("spare", "--service", "orders")
	before := len(h.list("--all"))

	h.clock.set(-time.Hour)
	if out, code := h.run("issue", "db", "--out", h.place("pem")); code != 1 || !strings.Contains(out, "M0925") {
		t.Errorf("%d: %s", code, out)
	}
	authority.AwaitLog(t, "M0925")
	// Nor is a token spent by it. Nothing here is valid yet by this clock, and the
	// joiner is told that.
	if out, code := h.runAt(h.place("c"), "connect", spare, "--listen", "127.0.0.1:0"); code == 0 {
		t.Errorf("%d: %s", code, out)
	}
	if err := stage.Once(web.Address); err == nil {
		t.Error("a certificate that is to come is let in")
	}
	if after := len(h.list("--all")); after != before {
		t.Errorf("%d certificates on record, and %d before", after, before)
	}

	h.clock.set(0)
	stage.AwaitAnswer(t, web.Address)
	if out, code := h.run("issue", "db", "--out", h.place("pem")); code != 0 {
		t.Errorf("%d: %s", code, out)
	}
	stage.AwaitAnswer(t, web.Address)
	h.caller("c", spare).Stop()

	// A step within the tolerance is no step.
	h.clock.set(-20 * time.Second)
	if out, code := h.run("issue", "db2", "--out", h.place("pem")); code != 0 {
		t.Errorf("%d: %s", code, out)
	}
	stage.AwaitAnswer(t, web.Address)
}

// An agent's clock alone is wrong, and is set: it says what is wrong, and goes on.
func TestAnAgentsClockIsSet(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders()
	there := &house{t: t, program: h.program, dir: h.dir, data: h.data, to: h.to, clock: newClock(t, h.dir)}
	line := orders.Lines["web"]
	there.clock.set(-48 * time.Hour)
	if out, code := there.runAt(h.place("b"), "connect", line, "--listen", "127.0.0.1:0"); code == 0 || !strings.Contains(out, "not valid before") && !strings.Contains(out, "not yet valid") {
		t.Errorf("%d: %s", code, out)
	}
	there.clock.set(0)
	web := there.caller("b", line)
	stage.AwaitAnswer(t, web.Address)
	for _, d := range []time.Duration{-48 * time.Hour, 48 * time.Hour} {
		there.clock.set(d)
		if err := stage.Once(web.Address); err == nil {
			t.Errorf("by a clock that is %v wrong a server is believed", d)
		}
		there.clock.set(0)
		stage.AwaitAnswer(t, web.Address)
	}
	for _, c := range h.list() {
		if c.State != "valid" {
			t.Errorf("%+v", c)
		}
	}
}
