package joined

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

// Who is revoked is not let in by a ticket either.
func TestARevokedCallerDoesNotResume(t *testing.T) {
	h, wire := newHouse(t), stage.NewWire(t)
	orders := h.orders("--advertise", wire.Address)
	wire.To(orders.Address)
	web := h.caller("b", orders.Lines["web"])
	// As long as the first news of the authority come in, sessions end.
	stage.Await(t, "it does not resume", func() error {
		err := stage.Once(web.Address)
		if got := wire.Resumed(); err == nil && !slices.Contains(got, true) {
			err = errors.New("a full handshake")
		}
		return err
	})
	if out, code := h.run("revoke", "web"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	for end := time.Now().Add(peers.Patience); ; wire.Resumed() {
		if stage.Once(web.Address) != nil {
			break // it has got round
		}
		if time.Now().After(end) {
			t.Fatal("it is still let in")
		}
	}
	orders.AwaitLog(t, "M0121")
	wire.Resumed() // what was refused may have been let in a moment before, and cut
	for range 3 {
		if stage.Once(web.Address) == nil {
			t.Error("it is let in again")
		}
	}
	if got := wire.Resumed(); slices.Contains(got, true) {
		t.Errorf("since it was refused: resumed %v", got)
	}
}
