package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
)

func TestRenewalIsDueAtTwoThirdsAndALittleLater(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	life := a.Leaf().NotAfter().Sub(a.state.IssuedAt)
	seen := map[time.Duration]bool{}
	for range 50 {
		a.jitter = drawJitter()
		at := a.due().Sub(a.state.IssuedAt)
		if at < life*2/3 || at > life*2/3+life/20 {
			t.Fatalf("due after %v of %v", at, life)
		}
		seen[at] = true
	}
	if len(seen) < 40 {
		t.Error("those who joined together would renew together")
	}
	a.options.Lifetime = time.Hour // asked for since
	if at := a.due().Sub(a.state.IssuedAt); at > time.Hour {
		t.Errorf("due after %v, where an hour is asked for", at)
	}
	a.state.IssuedAt = time.Time{} // unknown, or another's
	if at := a.due(); at.Before(a.Leaf().NotBefore()) {
		t.Errorf("due at %v", at)
	}
}

func TestAnAgentRenewsInTimeWithANewKey(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	w.run(a)
	first := a.Leaf()
	w.await("it follows", func() bool { return !a.Heard().IsZero() })
	w.clock.move(15 * time.Hour)
	rest(w.ctx, 2*tick) // whatever it does, it does now
	if !a.Leaf().Equal(first) {
		t.Error("it has renewed before its time")
	}
	w.clock.move(3 * time.Hour)
	w.await("it has renewed", func() bool { return !a.Leaf().Equal(first) })
	if bytes.Equal(first.X509.RawSubjectPublicKeyInfo, a.Leaf().X509.RawSubjectPublicKeyInfo) {
		t.Error("with the same key")
	}
	if n := len(w.issued("web")); n != 2 {
		t.Errorf("%d certificates", n)
	}
}

func TestKeysStayOfTheirKindUnlessTold(t *testing.T) {
	w := newWorld(t, func(o *ca.Options) { o.KeyType = "mldsa44" })
	a := w.join("web")
	is := func(a *Agent, want string) {
		t.Helper()
		if got := keystore.TypeOf(a.Leaf().Key.Key); got != want {
			t.Errorf("its key is %s, expected %s", got, want)
		}
	}
	renew := func(a *Agent) {
		t.Helper()
		if err := a.Renew(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	is(a, "p256")
	told := a.options
	told.KeyType = "mldsa65"
	b, err := Open("", "web", told)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	is(b, "p256") // until the next one is made
	renew(b)
	is(b, "mldsa65")
	again := w.reopen(b)
	again.options.KeyType = ""
	renew(again)
	is(again, "mldsa65")
	told.KeyType = "mldsa66"
	if _, err := Open("", "web", told); err == nil || !strings.Contains(err.Error(), "not a type of key") {
		t.Errorf("a type that is none: %v", err)
	}
	// Revoked by an issuer of ML-DSA, which the agents' lists are signed by.
	orders := w.join("orders")
	w.run(orders)
	chain, _ := keyOf(t, again)
	if !admits(t, orders, chain) {
		t.Fatal("it is not let in")
	}
	if _, err := w.ca.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
		t.Fatal(err)
	}
	w.await("it is refused", func() bool { return !admits(t, orders, chain) })
}

func TestTheAuthorityMayBeAwayForAWhile(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	first := a.Leaf()
	w.run(a)
	w.await("it follows", func() bool { return !a.Heard().IsZero() })
	w.stop()
	w.clock.move(18 * time.Hour)
	w.await("it knows that it is blind", func() bool { return bytes.Contains(w.book.Bytes(), []byte("M0927")) })
	w.await("two renewals have failed", func() bool { return bytes.Count(w.book.Bytes(), []byte("could not be renewed")) >= 2 })
	if err := a.Valid(); err != nil || !a.Leaf().Equal(first) {
		t.Errorf("what is in use does not stay in use: %v", err)
	}
	w.start()
	w.await("it has renewed", func() bool { return !a.Leaf().Equal(first) })
	if n := len(w.issued("web")); n != 2 || len(w.alarms()) != 0 {
		t.Errorf("%d certificates, alarms %v", n, w.alarms())
	}
}

func TestAnIdentityThatSleptPastItsEndComesBack(t *testing.T) {
	w := newWorld(t)
	web, orders := w.join("web"), w.join("orders")
	w.clock.move(30 * 24 * time.Hour)
	w.await("it is renewed", func() bool { return web.Renew(w.ctx) == nil })
	if err := web.Valid(); err != nil {
		t.Error(err)
	}
	w.clock.move(25 * time.Hour)
	var err error
	w.await("the authority is itself again", func() bool { err = web.Renew(w.ctx); return err == nil })
	refused(t, orders.Renew(w.ctx), code.RefusedCertificateExpired, code.RenewalTooLate)
	if n := len(w.issued("orders")); n != 1 {
		t.Errorf("%d certificates", n)
	}
	// Only a new line brings it back.
	if _, err := Join(w.ctx, w.line("orders"), orders.options); err != nil {
		t.Error(err)
	}
}

// A clock that is set, forth or back, costs nothing once it is right again.
func TestAClockThatIsSetIsSurvived(t *testing.T) {
	w := newWorld(t)
	own := &hand{}
	a := w.join("web", func(o *Options) { o.Clock = own.Now })
	first := a.Leaf()
	w.run(a)
	w.await("it follows", func() bool { return !a.Heard().IsZero() })
	own.move(365 * 24 * time.Hour)
	w.await("a renewal has failed", func() bool { return w.book.has("could not be renewed") })
	own.move(-2 * 365 * 24 * time.Hour)
	rest(w.ctx, 2*tick) // whatever it does, it does now
	own.move(365 * 24 * time.Hour)
	if !a.Leaf().Equal(first) || len(w.issued("web")) != 1 {
		t.Error("it has renewed by a wrong clock")
	}
	own.move(18 * time.Hour)
	w.clock.move(18 * time.Hour)
	w.await("it renews as if nothing had been", func() bool { return !a.Leaf().Equal(first) })
	if len(w.alarms()) != 0 {
		t.Errorf("alarms %v", w.alarms())
	}
}

func TestOfTwoProcessesOneRenewsAndTheOtherAdopts(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	b := w.reopen(a)
	w.run(a, b)
	for round := 2; round < 5; round++ {
		was := a.Leaf()
		w.clock.move(18 * time.Hour)
		w.await("both have the new certificate", func() bool { return !a.Leaf().Equal(was) && a.Leaf().Equal(b.Leaf()) })
		if n := len(w.issued("web")); n != round || len(w.alarms()) != 0 {
			t.Errorf("%d certificates after %d renewals, alarms %v", n, round-1, w.alarms())
		}
	}
}

func TestManyWhoRenewAtOnceRenewInOneLine(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	var all sync.WaitGroup
	for range 8 {
		one := w.reopen(a)
		all.Go(func() {
			if err := one.Renew(w.ctx); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(w.alarms()) != 0 {
		t.Errorf("alarms %v", w.alarms())
	}
}

func TestASwapClosesNothing(t *testing.T) {
	w := newWorld(t)
	web, orders := w.join("web"), w.join("orders")
	s := w.serve(mtls.ServerConfig{Identity: orders.Identity(), Clients: mtls.Required(orders.Verifier())})
	c, err := mtls.NewClient(mtls.ClientConfig{Identity: web.Identity(), Servers: web.Server(), Common: mtls.Common{Clock: w.clock.Now}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Connect(w.ctx, plain, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 3 {
		if _, err := conn.Write([]byte("word")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		for _, a := range []*Agent{web, orders} {
			if err := a.Renew(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.speak(web, s.address, "orders"); err != nil {
		t.Errorf("with the new ones: %v", err)
	}
}

// Whoever hears that a service is ready may call it at once.
func TestAServiceThatSaysItIsReadyIsFound(t *testing.T) {
	w := newWorld(t)
	orders, web := w.join("orders"), w.join("web")
	orders.Register([]string{"127.0.0.1:1"})
	orders.Findable(w.ctx) // before Run
	if found, err := web.Addresses(w.ctx, "orders"); err != nil || !slices.Equal(found, []string{"127.0.0.1:1"}) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestMoreServicesThanAreFollowedDoNotEndUpdates(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	stop := w.run(a)
	for i := range 70 {
		name := fmt.Sprintf("s%d", i)
		s := w.join(name)
		if err := s.client.Register(w.ctx, name, []string{"127.0.0.1:1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Addresses(w.ctx, name); err != nil {
			t.Fatal(err)
		}
		_, err := a.Addresses(w.ctx, fmt.Sprintf("unknown%d", i))
		refused(t, err, code.ServiceUnknown)
	}
	changed := a.Changed()
	if _, err := w.ca.Revoke(w.ctx, api.RevokeRequest{Target: "s0"}); err != nil {
		t.Fatal(err)
	}
	w.await("a revocation is heard of", func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	})
	stop()
}

// secrets are bytes that must not be found anywhere.
type secrets struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (s *secrets) add(what string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[what] = b
	s.all[what+" in hex"] = []byte(hex.EncodeToString(b))
	s.all[what+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(b[:len(b)/3*3]))
	s.all[what+" in base64url"] = []byte(base64.RawURLEncoding.EncodeToString(b[:len(b)/3*3]))
}

func (s *secrets) key(t testing.TB, what string, a *Agent) {
	t.Helper()
	_, key := keyOf(t, a)
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s.add(what, scalar)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.add(what+" as PKCS #8", der)
}

func (s *secrets) search(t testing.TB, where string, b []byte) {
	t.Helper()
	for what, secret := range s.all {
		if bytes.Contains(b, secret) {
			t.Errorf("%s has %s", where, what)
		}
	}
}

// Fifty join, renew and talk through one authority at once. After all of it no
// token and no key is in a log, in the database, or in a file that is not the
// identity's own; and nothing runs on.
func TestFiftyAgentsAtOnce(t *testing.T) {
	before := runtime.NumGoroutine()
	w := newWorld(t)
	hidden := &secrets{all: map[string][]byte{}}
	orders := w.join("orders")
	s := w.serve(mtls.ServerConfig{Identity: orders.Identity(), Clients: mtls.Required(orders.Verifier())})
	orders.Register([]string{s.address})
	stopOrders := w.run(orders)
	const n = 50
	agents := make([]*Agent, n)
	var all sync.WaitGroup
	for i := range n {
		l, o := w.line(fmt.Sprintf("web%d", i)), w.agentOptions()
		hidden.add(l.Name+"'s token", bytes.Clone(l.Token[:]))
		all.Go(func() {
			var err error
			if agents[i], err = Join(w.ctx, l, o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if t.Failed() {
		return
	}
	stop := w.run(agents...)
	for round := range 3 {
		old := map[string]bool{}
		for i, a := range append(agents, orders) {
			hidden.key(t, fmt.Sprintf("the key %d of agent %d", round, i), a)
			old[a.Leaf().Serial()] = true
		}
		for _, a := range agents {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(w.ctx, peers.Patience)
				defer cancel()
				var where []string
				w.awaitOr(ctx, func() bool { where, _ = a.Addresses(ctx, "orders"); return len(where) == 1 })
				if len(where) != 1 || where[0] != s.address {
					t.Errorf("orders is at %v", where)
					return
				}
				if err := w.speak(a, where[0], "orders"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if round == 2 || t.Failed() {
			break
		}
		w.clock.move(18 * time.Hour)
		for _, a := range append(agents, orders) {
			w.await("all have renewed", func() bool { return !old[a.Leaf().Serial()] })
		}
	}
	status, err := w.ca.Status(w.ctx)
	if err != nil || status.Lineages != n+1 || len(status.Alarms) != 0 {
		t.Errorf("%+v, %v", status, err)
	}
	stop()
	stopOrders()
	w.stop()
	hidden.search(t, "the log", w.book.Bytes())
	hidden.search(t, "the database, or another file of the authority's", w.files(w.folder))
	for _, a := range agents {
		for _, f := range []string{stateFile, anchorsFile, revocationsFile} {
			b, err := os.ReadFile(a.home.file(f))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			hidden.search(t, f, b)
		}
	}
	const service = 2 // the test's own, that listens
	w.await("nothing runs on", func() bool { return runtime.NumGoroutine() <= before+service })
}

func (w *world) awaitOr(ctx context.Context, is func() bool) {
	for ctx.Err() == nil && !is() {
		rest(ctx, 20*time.Millisecond)
	}
}

// files is all that lies in a folder.
func (w *world) files(folder string) (all []byte) {
	w.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return all
}

func TestNothingRunsOnAfterTheEnd(t *testing.T) {
	before := runtime.NumGoroutine()
	w := newWorld(t)
	a := w.join("web")
	stop := w.run(a)
	w.await("it follows", func() bool { return !a.Heard().IsZero() })
	stop()
	w.stop()
	w.await("nothing runs on", func() bool { return runtime.NumGoroutine() <= before })
}
