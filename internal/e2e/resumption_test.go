package e2e

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/mint"
)

// A changed anchor, on either side, and a changed policy make the tickets of the
// gateways useless: the next handshake is a full one, and the one behind it goes on
// from that.

// once asks once through gate, and wants the one handshake on the wire to be a
// resumption, or not.
func once(t *testing.T, wire *stage.Wire, gate *gate, resumes bool, when string) {
	t.Helper()
	wire.Resumed()
	if err := stage.Once(gate.address); err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if got := wire.Resumed(); !slices.Equal(got, []bool{resumes}) {
		t.Errorf("%s: resumed %v, expected %v", when, got, resumes)
	}
}

func write(t *testing.T, file string, authorities ...*mint.Authority) {
	t.Helper()
	var b []byte
	for _, a := range authorities {
		b = append(b, a.PEM()...)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// reread has g read its files again, and waits until what changed counts.
func (g *gate) reread(t *testing.T) {
	t.Helper()
	const words = "new authorities are in use"
	_ = g.Cmd.Process.Signal(syscall.SIGHUP)
	g.AwaitEntry(t, "of "+words, func(e entry) bool { return strings.HasPrefix(e.Msg, words) })
}

func TestAChangedAnchorMakesTicketsUseless(t *testing.T) {
	for _, side := range []string{"serve", "connect"} {
		t.Run(side, func(t *testing.T) {
			w, wire := newWorld(t), stage.NewWire(t)
			file := w.file("changing.crt")
			write(t, file, w.root)
			var s, c *gate
			changed := &s
			if side == "serve" {
				s = w.serve(w.service("tcp", echo), "--client-ca", file, "--allow", "web")
				c = w.connect(wire.Address, "web")
			} else {
				s = w.mutual(w.service("tcp", echo))
				c = w.start("connect", "--to", wire.Address, "--server-name", "orders", "--server-ca", file, "--listen", "127.0.0.1:0",
					"--cert", w.file("web.crt"), "--key", w.file("web.key"))
				changed = &c
			}
			wire.To(s.address)
			once(t, wire, c, false, "the first time")
			once(t, wire, c, true, "again")
			write(t, file, w.root, mint.Root("Other"))
			(*changed).reread(t)
			once(t, wire, c, false, "with one more anchor")
			once(t, wire, c, true, "and again")
		})
	}
}

// An anchor that was taken out makes no exception of whom it admitted before.
func TestATicketDoesNotOutliveItsAnchor(t *testing.T) {
	w, wire := newWorld(t), stage.NewWire(t)
	other := mint.Root("Other")
	w.leaf("guest", other.Leaf("web"))
	file := w.file("changing.crt")
	write(t, file, w.root, other)
	s := w.serve(w.service("tcp", echo), "--client-ca", file, "--allow", "web")
	c := w.connect(wire.Address, "guest")
	wire.To(s.address)
	once(t, wire, c, false, "the first time")
	once(t, wire, c, true, "again")
	write(t, file, w.root)
	s.reread(t)
	wire.Resumed()
	if err := stage.Once(c.address); err == nil {
		t.Error("who was admitted by an anchor that is gone is let in")
	}
	if got := wire.Resumed(); !slices.Equal(got, []bool{false}) {
		t.Errorf("resumed: %v", got)
	}
	s.awaitLog(t, "M0103")
}

func TestAChangedPolicyMakesTicketsUseless(t *testing.T) {
	w, wire := newWorld(t), stage.NewWire(t)
	service := w.service("tcp", echo)
	serve := func(allow string) *gate {
		s := w.serve(service, "--client-ca", w.file("ca.crt"), "--allow", allow)
		wire.To(s.address)
		return s
	}
	s := serve("web")
	c := w.connect(wire.Address, "web")
	once(t, wire, c, false, "the first time")
	once(t, wire, c, true, "again")
	s.Stop()
	s = serve("web,ops")
	once(t, wire, c, false, "under another policy")
	once(t, wire, c, true, "and again")
	s.Stop()
	s = serve("ops")
	wire.Resumed()
	if err := stage.Once(c.address); err == nil {
		t.Error("whom the policy does not name any more is let in")
	}
	if got := wire.Resumed(); !slices.Equal(got, []bool{false}) {
		t.Errorf("resumed: %v", got)
	}
	s.awaitLog(t, "M0401")
}
