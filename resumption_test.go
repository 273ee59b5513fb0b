package mutual_test

import (
	"testing"
	"time"

	"github.com/mutual-tls/mutual"
)

// Connections of one identity to a service go on from each other, and stop doing
// so when the identity of either is renewed, and when nothing is heard of the
// authority.
func TestConnectionsGoOnFromEachOther(t *testing.T) {
	w := newWorld(t)
	orders, web := w.join("orders"), w.join("web")
	w.listen(orders, "web")
	w.known("orders")
	resumed := func() bool {
		t.Helper()
		c, err := mutual.Dial(t.Context(), web, "orders")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ask(c); err != nil {
			t.Fatal(err)
		}
		if p, ok := c.Peer(); !ok || p.SPIFFE != orders.SPIFFE() {
			t.Errorf("the peer is %v", p)
		}
		return c.Negotiated().Resumed
	}
	if resumed() {
		t.Error("the first connection went on from another")
	}
	// Each side has to have heard of the authority once.
	w.until("a connection goes on from another", resumed)

	before := [2]time.Time{web.Expires(), orders.Expires()}
	w.clock.move(18 * time.Hour)
	w.until("both are renewed", func() bool { return web.Expires().After(before[0]) && orders.Expires().After(before[1]) })
	if resumed() {
		t.Error("a connection went on from one with another certificate")
	}
	w.until("a connection goes on from another again", resumed)

	w.end()
	w.clock.move(20 * time.Minute)
	for range 2 { // the first could have left what the second goes on from
		if resumed() {
			t.Error("a connection went on from another, and nothing is known of what was revoked")
		}
	}
}
