package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
)

// Whoever answers at a line's address, and is not the authority of its root, learns
// no token, whatever it can prove.
func TestAnImpostorLearnsNoToken(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	orders := w.join("orders")
	chain, key := keyOf(t, orders)
	root := w.ca.Root().Raw
	service, err := mtls.NewCertificate(append(append([][]byte{}, chain...), root), key)
	if err != nil {
		t.Fatal(err)
	}
	shown, ownKey, err := w.ca.Serving(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	own, err := mtls.NewCertificate(shown, ownKey)
	if err != nil {
		t.Fatal(err)
	}
	foreignChain, foreignKey, err := other.ca.Serving(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	// The line's root is only laid beside a chain that does not lead to it.
	foreign, err := mtls.NewCertificate(append(foreignChain, root), foreignKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cfg  mtls.ServerConfig
		want []code.Code
	}{
		{"a service under the true root", mtls.ServerConfig{Identity: service, Clients: mtls.Anonymous(), ALPN: []string{api.ALPNJoin}}, []code.Code{code.NotTheAuthority}},
		{"a service's own port", mtls.ServerConfig{Identity: orders.Identity(), Clients: mtls.Required(orders.Verifier())}, []code.Code{code.NotTheAuthority}},
		{"another authority with this root beside", mtls.ServerConfig{Identity: foreign, Clients: mtls.Anonymous(), ALPN: []string{api.ALPNJoin}}, []code.Code{code.NotTheAuthority}},
		{"the authority's leaf without the protocol of joining", mtls.ServerConfig{Identity: own, Clients: mtls.Anonymous(), ALPN: []string{api.ALPN}}, []code.Code{code.NotTheAuthority, code.RefusedALPN}},
		{"the authority's leaf without any protocol", mtls.ServerConfig{Identity: own, Clients: mtls.Anonymous()}, []code.Code{code.NotTheAuthority}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := w.serve(c.cfg)
			l := w.line("web")
			l.Authority = []string{s.address}
			_, err := Join(w.ctx, l, w.agentOptions())
			refused(t, err, c.want...)
			text, _ := l.Token.MarshalText()
			if told, _ := s.heard(); len(told) != 0 || bytes.Contains(told, text) {
				t.Errorf("it was told %q", told)
			}
			l.Authority = []string{w.address}
			if _, err := Join(w.ctx, l, w.agentOptions()); err != nil {
				t.Errorf("the token was not left unspent: %v", err)
			}
		})
	}
	t.Run("another authority", func(t *testing.T) {
		l := w.line("web")
		l.Authority = []string{other.address}
		_, err := Join(w.ctx, l, w.agentOptions())
		refused(t, err, code.NotTheAuthority)
		if s, err := other.ca.Status(w.ctx); err != nil || s.Lineages != 0 || len(s.Alarms) != 0 {
			t.Errorf("%+v, %v", s, err)
		}
		// The true one behind it in the line is found.
		l.Authority = []string{other.address, w.address}
		if _, err := Join(w.ctx, l, w.agentOptions()); err != nil {
			t.Error(err)
		}
	})
}

func TestOneOfTwentyJoinersWins(t *testing.T) {
	w := newWorld(t)
	l := w.line("web")
	var all sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		o := w.agentOptions()
		all.Go(func() {
			_, err := Join(w.ctx, l, o)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				return
			}
			var p *api.Problem
			if !errors.As(err, &p) || p.Code != string(code.TokenOtherKey) {
				t.Errorf("%v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(o.Data, "id", ".joining-*")); len(left) != 0 {
				t.Errorf("a key that is good for nothing was kept: %v", left)
			}
		})
	}
	all.Wait()
	if won != 1 || len(w.issued("web")) != 1 {
		t.Errorf("%d joined, and %d certificates were issued", won, len(w.issued("web")))
	}
	if a := w.alarms(); len(a) != 1 || a[0] != string(code.TokenOtherKey) {
		t.Errorf("the alarms are %v", a)
	}
}

// deaf is a way to the authority on which requests arrive and no answer comes
// back: it carries what the handshake needs and no more.
func (w *world) deaf(until func() bool) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	target := w.address
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			var mu sync.Mutex
			flown, over := false, false // the server's flight has come; the client's second one has
			all.Go(func() {
				defer c.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := s.Read(b)
					mu.Lock()
					hold := over
					flown = true
					mu.Unlock()
					if err != nil {
						return
					}
					if !hold {
						_, _ = c.Write(b[:n])
					}
				}
			})
			all.Go(func() {
				defer s.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := c.Read(b)
					mu.Lock()
					over = over || flown
					mu.Unlock()
					if err != nil {
						return
					}
					_, _ = s.Write(b[:n])
				}
			})
			all.Go(func() {
				w.await("the request has done its work", until)
				c.Close()
				s.Close()
			})
		}
	})
	w.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func TestALostAnswerIsGivenAgain(t *testing.T) {
	w := newWorld(t)
	l, o := w.line("web"), w.agentOptions()
	way := w.deaf(func() bool { return len(w.issued("web")) == 1 })
	cut := *l
	cut.Authority = []string{way}
	if _, err := Join(w.ctx, &cut, o); err == nil {
		t.Fatal("an answer came through")
	}
	if _, ok := Find(l, o); ok {
		t.Error("there is an identity without an answer")
	}
	first := w.issued("web")[0]
	a, err := Join(w.ctx, l, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.issued("web"); len(got) != 1 || a.Leaf().Serial() != first.Serial || len(w.alarms()) != 0 {
		t.Errorf("%v, alarms %v", got, w.alarms())
	}

	// The same of a renewal.
	a.state.Authority = []string{w.deaf(func() bool { return len(w.issued("web")) == 2 })}
	if err := a.Renew(w.ctx); err == nil {
		t.Fatal("an answer came through")
	}
	a.state.Authority = []string{w.address}
	if err := a.Renew(w.ctx); err != nil {
		t.Fatal(err)
	}
	if got := w.issued("web"); len(got) != 2 || a.Leaf().Serial() == first.Serial || len(w.alarms()) != 0 {
		t.Errorf("%v, alarms %v", got, w.alarms())
	}
}

// back puts an identity where it lay before it had its name.
func back(t *testing.T, a *Agent) home {
	t.Helper()
	joining := filepath.Join(a.options.Data, "id", ".joining-"+a.state.Token[:16])
	if err := os.Rename(a.Folder(), joining); err != nil {
		t.Fatal(err)
	}
	return home(joining)
}

// A crash at any moment of joining costs no token.
func TestACrashWhileJoiningCostsNothing(t *testing.T) {
	w := newWorld(t)
	l, o := w.line("web"), w.agentOptions()
	a, err := Join(w.ctx, l, o)
	if err != nil {
		t.Fatal(err)
	}
	serial := a.Leaf().Serial()
	_, key := keyOf(t, a)
	again := func(when string) {
		t.Helper()
		a, err := Join(w.ctx, l, o)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if a.Leaf().Serial() != serial {
			t.Errorf("%s: another certificate", when)
		}
		if left, _ := filepath.Glob(filepath.Join(o.Data, "id", ".joining-*")); len(left) != 0 {
			t.Errorf("%s: %v was left over", when, left)
		}
		if _, err := os.Lstat(a.home.file(nextKeyFile)); err == nil {
			t.Errorf("%s: the key is there twice", when)
		}
	}
	text, err := keystore.KeyPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	steps := []string{identityFile, anchorsFile, stateFile}
	for n := range len(steps) + 1 {
		h := back(t, a)
		for _, f := range steps[n:] {
			if err := os.Remove(h.file(f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(h.file(nextKeyFile), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if n == len(steps) {
			w.stop() // whole: nobody has to be asked
		}
		again("after writing " + filepath.Join(steps[:n]...))
	}
}

func TestACrashWhileRenewingCostsNothing(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	if err := a.Renew(w.ctx); err != nil {
		t.Fatal(err)
	}
	// The new identity was written, and its key still lies beside.
	_, key := keyOf(t, a)
	text, err := keystore.KeyPEM(key)
	if err == nil {
		err = os.WriteFile(a.home.file(nextKeyFile), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := w.reopen(a).Renew(w.ctx); err != nil {
		t.Error(err)
	}
	// A file that was torn is no key of anybody's.
	if err := os.WriteFile(a.home.file(nextKeyFile), text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := w.reopen(a).Renew(w.ctx); err != nil {
		t.Error(err)
	}
}

// The answer to a token was lost, and its time went by before it was given again.
func TestAnAnswerThatComesAfterItsEndIsRenewed(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	way := w.deaf(func() bool { return len(w.issued("web")) == 2 })
	a.state.Authority = []string{way}
	if err := a.Renew(w.ctx); err == nil {
		t.Fatal("an answer came through")
	}
	a.state.Authority = []string{w.address}
	w.clock.move(5 * 24 * time.Hour)
	w.await("the authority has a new certificate, and ours is renewed", func() bool { return a.Renew(w.ctx) == nil })
	if err := a.Valid(); err != nil {
		t.Error(err)
	}
	if n := len(w.issued("web")); n != 3 {
		t.Errorf("%d certificates", n)
	}
}

func TestALineIsUsedOnceAndFoundAgain(t *testing.T) {
	w := newWorld(t)
	o := w.agentOptions()
	o.Data = filepath.Join(w.TempDir(), "odd [name]*?", "data") // no pattern may come of it
	l := w.line("web")
	a, err := Join(w.ctx, l, o)
	if err != nil {
		t.Fatal(err)
	}
	w.stop()
	again, err := Join(w.ctx, l, o)
	if err != nil || !again.Leaf().Equal(a.Leaf()) {
		t.Fatalf("the line was not found again: %v", err)
	}
	if _, err := Open("", "web", o); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"", "..", "*", "Web", "web/../web", "orders"} {
		if _, err := Open("", name, o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Two authorities may bear one trust domain's name. The identity of the one is not
// thrown away for the other's.
func TestAnotherAuthorityOfTheSameNameReplacesNothing(t *testing.T) {
	named := func(o *ca.Options) { o.Domain = "example.internal" }
	w, other := newWorld(t, named), newWorld(t, named)
	o := w.agentOptions()
	a, err := Join(w.ctx, w.line("web"), o)
	if err != nil {
		t.Fatal(err)
	}
	l := other.line("web")
	_, err = Join(w.ctx, l, o)
	refused(t, err, code.IdentityUnreadable)
	if again := w.reopen(a); !again.Leaf().Equal(a.Leaf()) {
		t.Error("another identity lies there now")
	}
	if err := os.Rename(a.Folder(), filepath.Join(o.Data, "away")); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(w.ctx, l, o); err != nil {
		t.Errorf("the line is lost: %v", err)
	}
}

func TestAFarAddressDoesNotKeepFromTheNext(t *testing.T) {
	w := newWorld(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	go func() {
		for {
			c, err := mute.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			go io.Copy(io.Discard, c)
		}
	}()
	l := w.line("web")
	l.Authority = []string{mute.Addr().String(), w.address}
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	if _, err := Join(ctx, l, w.agentOptions()); err != nil {
		t.Error(err)
	}
}
