package mutual_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

func TestServicesAreServedAndCalledByName(t *testing.T) {
	w := newWorld(t)
	orders, web := w.join("orders"), w.join("web")
	w.serve(orders, who, "web")
	for _, url := range []string{"https://orders/", "https://ORDERS", "https://orders:443/x", "https://orders./"} {
		if got, err := get(web, url); err != nil || got != "web by HTTP/2.0" {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	if web.Name() != "web" || web.SPIFFE() != "spiffe://"+w.authority.Domain()+"/web" || !web.Expires().After(time.Now()) {
		t.Errorf("%s, %s, %v", web.Name(), web.SPIFFE(), web.Expires())
	}
	// What is not a service's name is refused, and says why.
	for _, url := range []string{"https://orders:8443/", "https://127.0.0.1/", "https://[::1]/", "https://*.orders/"} {
		_, err := get(web, url)
		refusal(t, err, "M0123")
	}
	if _, err := get(web, "http://orders/"); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("in plain: %v", err)
	}
}

func TestAServiceMayHaveANameInAnyScript(t *testing.T) {
	w := newWorld(t)
	w.serve(w.join("xn--bcher-kva"), who, "web")
	if got, err := get(w.join("web"), "https://bücher/"); err != nil || got != "web by HTTP/2.0" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestConnectionsAreListenedForAndDialledByName(t *testing.T) {
	w := newWorld(t)
	orders, web := w.join("orders"), w.join("web")
	w.listen(orders, "web")
	w.known("orders")
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			c, err := mutual.Dial(t.Context(), web, "Orders")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			if err := ask(c); err != nil {
				t.Error(err)
			}
			if p, ok := c.Peer(); !ok || p.SPIFFE != orders.SPIFFE() {
				t.Errorf("the peer is %v", p)
			}
		})
	}
	all.Wait()
}

func TestAnIdentityIsOpenedAgainWithoutItsLine(t *testing.T) {
	w := newWorld(t)
	w.serve(w.join("orders"), who, "web")
	line := w.line("web", "orders")
	for i, open := range []func() (*mutual.Identity, error){
		func() (*mutual.Identity, error) { return mutual.Join(t.Context(), line, w.choices("b")...) },
		func() (*mutual.Identity, error) { return mutual.Open(t.Context(), "web", w.choices("b")...) },
		// The line is spent, and finds what it made.
		func() (*mutual.Identity, error) { return mutual.Join(t.Context(), line, w.choices("b")...) },
		func() (*mutual.Identity, error) {
			return mutual.Open(t.Context(), "web", append(w.choices("b"), mutual.Domain(w.authority.Domain()))...)
		},
	} {
		web, err := open()
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if got, err := get(web, "https://"+web.Service()+"/"); err != nil || got != "web by HTTP/2.0" {
			t.Errorf("%d: %q, %v", i, got, err)
		}
		if err := web.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err := mutual.Open(t.Context(), "nobody", w.choices("b")...)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "mutual token nobody") {
		t.Errorf("who never joined: %v", err)
	}
	// Elsewhere the line is of no use any more.
	_, err = mutual.Join(t.Context(), line, w.choices("c")...)
	refusal(t, err, "M0905")
}

func TestWhatCannotWorkSaysWhy(t *testing.T) {
	w := newWorld(t)
	orders := w.join("orders")
	_, err := mutual.Join(t.Context(), w.line("web", "")[:60], w.choices("x")...)
	refusal(t, err, "M0901")
	_, err = mutual.Join(t.Context(), w.line("web", ""), append(w.choices("x"), mutual.Lifetime(time.Second))...)
	refusal(t, err, "M0911")
	_, err = mutual.Listen(t.Context(), orders, "127.0.0.1:0")
	refusal(t, err, "M0602")
	_, err = mutual.Listen(t.Context(), orders, "127.0.0.1:0", "*")
	refusal(t, err, "M0602")
	refusal(t, orders.Advertise("10.0.0.1"), "M0602")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := mutual.Serve(t.Context(), orders, taken.Addr().String(), http.HandlerFunc(who), "web"); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("an address that is taken: %v", err)
	}
	line := w.line("web", "")
	w.end()
	_, err = mutual.Join(t.Context(), line, w.choices("x")...)
	if r := refusal(t, err, "M0921"); r.Fault != mtls.Network {
		t.Errorf("an authority that is away: %+v", r)
	}
}

// Who is not let in learns that it was refused, and we learn who it was.
func TestWhoIsNotAllowedIsRefusedAndBothSidesKnow(t *testing.T) {
	w := newWorld(t)
	orders, batch := w.join("orders"), w.join("batch")
	stop := w.serve(orders, who, "web")
	_, err := get(batch, "https://orders/")
	if r := refusal(t, err, "M0508"); r.Fault != mtls.PeerRefusedUs || r.Alert.String() != "access_denied" {
		t.Errorf("%+v", r)
	}
	w.until("the refusal is logged", func() bool { return w.log.has("code=M0401") && w.log.has("peer.name=batch") })
	_ = stop()

	l := w.listen(orders, "web")
	w.at("orders", l.Addr().String())
	// The new address reaches batch in a moment.
	w.until("somebody answers batch", func() bool {
		var c *mtls.Conn
		if c, err = mutual.Dial(t.Context(), batch, "orders"); err == nil {
			err = c.Admitted(t.Context())
			_ = c.Close()
		}
		r, ok := mtls.RefusalOf(err)
		return !ok || r.Fault != mtls.Network
	})
	refusal(t, err, "M0508")
}

// What is expected is the name, never the address.
func TestOfSeveralAddressesTheOneWhereTheServiceIsIsTaken(t *testing.T) {
	w := newWorld(t)
	orders, other, web := w.join("orders"), w.join("other"), w.join("web")
	_, err := mutual.Dial(t.Context(), web, "orders")
	if r := refusal(t, err, "M0918"); r.Fault != mtls.Network {
		t.Errorf("a service that never came: %+v", r)
	}
	wrong, right := w.listen(other, "web"), w.listen(orders, "web")
	dead := fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t))
	advertise := func(addresses ...string) {
		t.Helper()
		if err := orders.Advertise(addresses...); err != nil {
			t.Fatal(err)
		}
		w.at("orders", addresses...)
	}
	advertise(dead, wrong.Addr().String(), right.Addr().String())
	c, err := mutual.Dial(t.Context(), web, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(c); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	// Changes reach whoever follows; then nobody at the address is the one.
	advertise(dead, wrong.Addr().String())
	w.until("the other is refused for its name", func() bool {
		c, err = mutual.Dial(t.Context(), web, "orders")
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	if r := refusal(t, err, "M0105"); r.Fault != mtls.OurPolicy {
		t.Errorf("%+v", r)
	}
	// Without them it is where it listens again, and nowhere after that.
	if err := orders.Advertise(); err != nil {
		t.Fatal(err)
	}
	w.at("orders", right.Addr().String())
	second := w.listen(orders, "web")
	w.at("orders", right.Addr().String(), second.Addr().String())
	_ = right.Close()
	w.at("orders", second.Addr().String())
}

// What is revoked neither stays in nor comes in again, whichever side it is.
func TestWhoIsRevokedIsCutOffAndNotLetInAgain(t *testing.T) {
	for _, revoked := range []string{"web", "orders"} {
		t.Run(revoked, func(t *testing.T) {
			w := newWorld(t)
			orders, web := w.join("orders"), w.join("web")
			l := w.listen(orders, "web")
			w.known("orders")
			c, err := mutual.Dial(t.Context(), web, "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := ask(c); err != nil {
				t.Fatal(err)
			}
			// Closed, a listener still answers for those who came in by it.
			if revoked == "web" {
				_ = l.Close()
				l = w.listen(orders, "web")
				w.at("orders", l.Addr().String())
				// Who is revoked hears of no new address any more.
				w.until("web is answered at the new place", func() bool {
					again, err := mutual.Dial(t.Context(), web, "orders")
					if err == nil {
						_ = again.Close()
					}
					return err == nil
				})
			}
			w.revoke(revoked)
			_ = c.SetReadDeadline(time.Now().Add(peers.Patience))
			_, err = c.Read(make([]byte, 1))
			if r, ok := mtls.RefusalOf(err); !ok || r.Alert.String() != "certificate_revoked" {
				t.Errorf("the connection ended with %v", err)
			}
			w.until("somebody answers web", func() bool {
				if c, err = mutual.Dial(t.Context(), web, "orders"); err == nil {
					err = c.Admitted(t.Context())
					_ = c.Close()
				}
				r, ok := mtls.RefusalOf(err)
				return !ok || r.Fault != mtls.Network
			})
			if r, ok := mtls.RefusalOf(err); !ok || r.Alert.String() != "certificate_revoked" {
				t.Errorf("a new one: %v", err)
			}
		})
	}
}

// The authority away, a certificate that ends is of no use, and what stands on it
// is cut after its grace. When the authority is back all goes on.
func TestAnIdentityThatEndedIsRenewedBeforeItIsUsed(t *testing.T) {
	w := newWorld(t)
	orders := w.join("orders")
	web, err := mutual.Join(t.Context(), w.line("web", ""), w.choices("b")...)
	if err != nil {
		t.Fatal(err)
	}
	w.serve(orders, who, "web")
	if _, err := get(web, "https://orders/"); err != nil {
		t.Fatal(err)
	}
	ended := web.Expires()
	_ = web.Close()
	w.end()
	w.clock.move(25 * time.Hour)
	web, err = mutual.Open(t.Context(), "web", w.choices("b")...)
	if err != nil {
		t.Fatal(err)
	}
	if !web.Expires().Equal(ended) || !w.log.has("M0929") {
		t.Errorf("it ends at %v; the log:\n%s", web.Expires(), w.log)
	}
	_, err = get(web, "https://orders/")
	if r, ok := mtls.RefusalOf(err); !ok || r.Alert.String() != "certificate_expired" {
		t.Errorf("with certificates that ended: %v", err)
	}
	_ = web.Close()
	w.start()
	web, err = mutual.Open(t.Context(), "web", w.choices("b")...)
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	if !web.Expires().After(ended) {
		t.Errorf("it ends at %v", web.Expires())
	}
	w.until("orders has renewed, too", func() bool {
		got, err := get(web, "https://orders/")
		return err == nil && got == "web by HTTP/2.0"
	})
}

func TestServeEndsAfterWhatIsInFlight(t *testing.T) {
	w := newWorld(t)
	orders, web := w.join("orders"), w.join("web")
	started, finish := make(chan struct{}), make(chan struct{})
	stop := w.serve(orders, func(wr http.ResponseWriter, r *http.Request) {
		close(started)
		select {
		case <-finish:
			fmt.Fprint(wr, "whole")
		case <-r.Context().Done():
		}
	}, "web")
	got := make(chan string, 1)
	go func() {
		s, err := get(web, "https://orders/")
		got <- fmt.Sprint(s, err)
	}()
	<-started
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	refused := 0 // in a row; a Serve that did not wait has ended meanwhile
	w.until("nothing new is let in", func() bool {
		c, err := mutual.Dial(t.Context(), web, "orders")
		if refused++; err == nil {
			refused = 0
			_ = c.Close()
		}
		return refused > 10
	})
	select {
	case err := <-ended:
		t.Fatalf("Serve did not wait: %v", err)
	default:
	}
	close(finish)
	if s := <-got; s != "whole<nil>" {
		t.Errorf("what was in flight got %s", s)
	}
	if err := <-ended; err != nil {
		t.Errorf("Serve ended with %v", err)
	}
}

// Nobody follows revocations for an identity that is closed, so nothing rests on
// it any more.
func TestCloseEndsAllThatRestsOnTheIdentity(t *testing.T) {
	w := newLonelyWorld(t)
	before := w.goroutines()
	orders, web := w.join("orders"), w.join("web")
	l := w.listen(orders, "web")
	w.known("orders")
	c, err := mutual.Dial(t.Context(), web, "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(c); err != nil {
		t.Fatal(err)
	}
	other := w.join("other")
	served := make(chan error, 1)
	go func() {
		served <- mutual.Serve(context.Background(), other, "127.0.0.1:0", http.HandlerFunc(who), "web")
	}()
	w.known("other")
	if _, err := get(web, "https://other/"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, id := range []*mutual.Identity{orders, other, orders, other} {
		all.Go(func() {
			if err := id.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve ended with %v", err)
	}
	_ = c.SetReadDeadline(time.Now().Add(peers.Patience))
	_, err = c.Read(make([]byte, 1))
	if r, ok := mtls.RefusalOf(err); !ok || r.Timeout() {
		t.Errorf("the connection to it did not break off: %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("it still listens")
	}
	_, err = mutual.Listen(t.Context(), orders, "127.0.0.1:0", "web")
	if r := refusal(t, err, "M0609"); !errors.Is(r, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	if err := web.Close(); err != nil {
		t.Error(err)
	}
	_, err = mutual.Dial(t.Context(), web, "orders")
	refusal(t, err, "M0609")
	_, err = get(web, "https://orders/")
	refusal(t, err, "M0609")
	_ = c.Close()
	w.goroutinesAreBack(before)
}

// A listener that is closed, by its user or by its context, leaves nothing behind,
// while the identity lives on.
func TestAListenerThatIsClosedLeavesNothingBehind(t *testing.T) {
	w := newLonelyWorld(t)
	orders := w.join("orders")
	first := w.listen(orders, "web")
	w.at("orders", first.Addr().String())
	before := w.goroutines()
	for i := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		l, err := mutual.Listen(ctx, orders, "127.0.0.1:0", "web")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			cancel()
		} else {
			_ = l.Close()
		}
		if _, err := l.Accept(); err == nil {
			t.Error("it still listens")
		}
		cancel()
	}
	w.goroutinesAreBack(before)
}
