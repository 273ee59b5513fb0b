package joined

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

// dead is an address that nobody listens at.
func dead(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t))
}

// What is expected is the name, never the address: an address where nobody
// answers is passed over, and so is one where another service does.
func TestAddressesAreTriedInOrder(t *testing.T) {
	h := newHouse(t)
	first := h.orders()
	other := h.start("serve", "other", "--to", stage.Service(t, func(c net.Conn) { _, _ = c.Write([]byte("wrong\n")) }), "--allow", "web", "--data", h.data, "--listen", "127.0.0.1:0")
	first.Stop()
	at := dead(t) // where it will listen: it is told before
	orders := h.start("serve", "orders", "--to", h.to, "--allow", "web", "--data", h.data, "--listen", at,
		"--advertise", dead(t)+","+other.Address+","+at)
	web := h.caller("b", first.Lines["web"])
	stage.AwaitAnswer(t, web.Address)
	// With none left but those, the one that answered says why.
	orders.Stop()
	if err := stage.Once(web.Address); err == nil {
		t.Fatal("somebody else answered")
	}
	e := web.AwaitEntry(t, "that names the service that answered", func(e stage.Entry) bool { return e.Code != "" && strings.Contains(e.Msg, "other") })
	if e.Level != "WARN" || !strings.Contains(e.Msg, "orders") {
		t.Errorf("%+v", e)
	}
}

// A service that comes back at another address is found by callers that run on.
func TestANewAddressReachesARunningCaller(t *testing.T) {
	h := newHouse(t)
	h.authority()
	orders := h.orders()
	web := h.caller("b", orders.Lines["web"])
	stage.AwaitAnswer(t, web.Address)
	for range 2 {
		old := orders.Address
		orders.Stop()
		for orders = h.orders(); orders.Address == old; orders = h.orders() {
			orders.Stop() // the system gave the same port again
		}
		stage.AwaitAnswer(t, web.Address)
	}
}
