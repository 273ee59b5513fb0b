package joined

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

// load asks at every address, again and again, until stop is called, which says
// how many requests there were. One that fails fails the test. settle waits until
// every request that is under way is over, and a next one, too.
func load(t *testing.T, addresses ...string) (stop func() int64, settle func()) {
	t.Helper()
	var all sync.WaitGroup
	var asked atomic.Int64
	each := make([]atomic.Int64, len(addresses))
	over := make(chan struct{})
	for i, address := range addresses {
		all.Go(func() {
			pause := time.NewTicker(20 * time.Millisecond)
			defer pause.Stop()
			for {
				select {
				case <-over:
					return
				case <-pause.C:
				}
				if err := stage.Once(address); err != nil {
					t.Errorf("request %d failed: %v", asked.Load(), err)
					return
				}
				asked.Add(1)
				each[i].Add(1)
			}
		})
	}
	var once sync.Once
	stop = func() int64 {
		once.Do(func() { close(over) })
		all.Wait()
		return asked.Load()
	}
	settle = func() {
		t.Helper()
		for i := range each {
			from := each[i].Load()
			stage.Await(t, "no requests", func() error {
				if n := each[i].Load() - from; n < 2 && !t.Failed() {
					return fmt.Errorf("%d requests went through %s, expected 2", n, addresses[i])
				}
				return nil
			})
		}
	}
	t.Cleanup(func() { stop() })
	return stop, settle
}

// rotations is how often a gateway has taken a new certificate.
func rotations(g *stage.Gate) (n int) {
	for _, e := range g.Log() {
		if strings.HasPrefix(e.Msg, "a new certificate is in use") {
			n++
		}
	}
	return n
}

// awaitRotations waits until each gateway has taken n new certificates.
func awaitRotations(t *testing.T, n int, gates ...*stage.Gate) {
	t.Helper()
	for _, g := range gates {
		stage.Await(t, "not renewed", func() error {
			if had := rotations(g); had < n {
				return fmt.Errorf("%d new certificates, expected %d", had, n)
			}
			return nil
		})
	}
}

// Ten agents side by side renew twenty times each while requests go through all of
// them. A step of the clock is past the time of renewal, and short of the end. The
// grace time is what it is usually, in steps.
func TestTwoHundredRotationsLoseNoRequest(t *testing.T) {
	h := newMovedHouse(t)
	const callers, turns = 9, 20
	var names, addresses []string
	for n := range callers {
		names = append(names, fmt.Sprintf("web%d", n))
	}
	orders := h.orders("--lifetime", "1h", "--grace", "5h", "--allow", strings.Join(names, ","))
	gates := []*stage.Gate{orders}
	for _, name := range names {
		g := h.caller(name, orders.Lines[name], "--lifetime", "1h", "--grace", "5h")
		gates, addresses = append(gates, g), append(addresses, g.Address)
	}
	begun := make(map[*stage.Gate]int) // lines of their logs, when the last of them has found its way
	for _, address := range addresses {
		stage.AwaitAnswer(t, address)
	}
	for _, g := range gates {
		begun[g] = len(g.Log())
	}
	stop, settle := load(t, addresses...)
	for turn := range turns {
		h.clock.set(time.Duration(turn+1) * 44 * time.Minute)
		awaitRotations(t, turn+1, gates...)
		settle() // what began with a former certificate is not to meet a second step
	}
	if n := stop(); n < callers*turns {
		t.Errorf("%d requests are no load", n)
	}
	for _, g := range gates {
		for _, e := range g.Log()[begun[g]:] {
			if e.Level != "INFO" {
				t.Errorf("%s: %s", e.Level, e.Msg)
			}
		}
	}
}

// An authority that is away when it is time to renew is tried again; nobody who is
// already in notices.
func TestAnAuthorityThatIsAwayAtRenewalCostsNothing(t *testing.T) {
	h := newMovedHouse(t)
	authority := h.authority()
	// On a machine of its own: it does not host the authority meanwhile.
	orders := h.start("serve", "orders", "--to", h.to, "--allow", "web", "--join-file", write(t, h.place("line"), h.line("orders")),
		"--data", h.place("o"), "--listen", "127.0.0.1:0", "--lifetime", "1h")
	web := h.caller("b", h.line("web", "--service", "orders"), "--lifetime", "1h")
	stage.AwaitAnswer(t, web.Address)
	stop, _ := load(t, web.Address)
	authority.Stop()
	h.clock.set(45 * time.Minute)
	for _, g := range []*stage.Gate{orders, web} {
		stage.Await(t, "no two attempts", func() error {
			n := 0
			for _, e := range g.Log() {
				if e.Code == "M0921" && strings.Contains(e.Msg, "could not be renewed") {
					n++
				}
			}
			if n < 2 {
				return fmt.Errorf("%d attempts:\n%s", n, g.Output())
			}
			return nil
		})
	}
	h.authority()
	awaitRotations(t, 1, orders, web)
	if stop() == 0 {
		t.Error("nothing was asked")
	}
}

// A connection outlives the certificates that it began with: both ends prove the
// next ones in place, and neither the caller nor the service notices. No grace
// carries it.
func TestAStandingConnectionOutlivesTheCertificatesItBeganWith(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders("--lifetime", "1h", "--grace", "0s", "--verbose")
	web := h.caller("b", orders.Lines["web"], "--lifetime", "1h", "--grace", "0s", "--verbose")
	conn := stage.Dial(t, web.Address)
	still := func(when string) {
		t.Helper()
		if err := stage.Ask(conn, "still there?\n"); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	still("at once")
	for turn := range 3 {
		now := time.Duration(turn+1) * 44 * time.Minute // time to renew certificates, and not yet connections
		h.clock.set(now)
		awaitRotations(t, turn+1, orders, web)
		still(fmt.Sprintf("after rotation %d", turn+1))
		h.clock.set(now + 8*time.Minute) // now it is
		for _, g := range []*stage.Gate{orders, web} {
			stage.Await(t, "the connection is not renewed", func() error {
				if n := renewals(g); n <= turn {
					return fmt.Errorf("%d renewals, expected %d:\n%s", n, turn+1, g.Output())
				}
				return nil
			})
		}
		still(fmt.Sprintf("after renewal %d", turn+1))
	}
	// Who comes now comes by the same certificates.
	stage.AwaitAnswer(t, web.Address)
	still("at the end")
	_ = conn.Close()
}

// renewals is how often a gateway says that a connection was renewed.
func renewals(g *stage.Gate) (n int) {
	for _, e := range g.Log() {
		if e.Msg == "connection renewed" {
			n++
		}
	}
	return n
}

// A stop in the middle of a renewal leaves an identity that goes on.
func TestAnAgentThatIsKilledWhileItRenewsGoesOn(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders("--lifetime", "1h")
	line := orders.Lines["web"]
	for turn := range 6 {
		web := h.caller("b", line, "--lifetime", "1h")
		stage.AwaitAnswer(t, web.Address)
		h.clock.set(time.Duration(turn+1) * 44 * time.Minute)
		// At one moment or another of it, as it comes.
		next, _ := filepath.Glob(filepath.Join(h.place("b"), "id", "*", "web"))
		stage.Await(t, "no renewal", func() error {
			if _, err := os.Stat(filepath.Join(next[0], "next.key")); err != nil && rotations(web) == 0 {
				return err
			}
			return nil
		})
		if err := web.Cmd.Process.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		_ = web.Wait(peers.Patience)
	}
	// An answer that is outstanding is taken first: its key is not to be lost here.
	settled := h.caller("b", line, "--lifetime", "1h")
	stage.AwaitAnswer(t, settled.Address)
	found, err := filepath.Glob(filepath.Join(h.place("b"), "id", "*", "web", "identity.pem"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	// It answers by what it had, while it renews.
	stage.Await(t, "not settled", func() error {
		if _, err := os.Stat(filepath.Join(filepath.Dir(found[0]), "next.key")); err == nil {
			return errors.New("a request is outstanding")
		}
		if end, due := leafEnd(t, found[0]), time.Now().Add(6*44*time.Minute+40*time.Minute); end.Before(due) {
			return fmt.Errorf("the certificate ends at %v, and will be renewed", end)
		}
		return nil
	})
	settled.Stop()
	// The worst moment: the new certificate is on disk, and its key still lies
	// where the next one is made.
	both, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(string(both), "-----BEGIN CERTIFICATE-----")
	write(t, filepath.Join(filepath.Dir(found[0]), "next.key"), key)
	h.clock.set(7 * 44 * time.Minute)
	web := h.caller("b", line, "--lifetime", "1h")
	awaitRotations(t, 1, web)
	stage.AwaitAnswer(t, web.Address)
	for _, c := range h.list() {
		if c.State != "valid" {
			t.Errorf("%+v", c)
		}
	}
}

// leafEnd is the end of the certificate in an identity's file.
func leafEnd(t *testing.T, name string) time.Time {
	t.Helper()
	rest, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			t.Fatalf("there is no certificate in %s", name)
		}
		if b.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			return c.NotAfter
		}
	}
}
