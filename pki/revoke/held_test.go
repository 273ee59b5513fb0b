package revoke

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki"
)

// words is a log.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *words) to(c *Config) { c.Log = slog.New(slog.NewTextHandler(w, nil)) }

// A process that was started anew knows what the one before it knew, before it has
// asked anybody, and asks nobody before somebody needs it.
func TestWhatIsOnDiskIsRecalled(t *testing.T) {
	w := newWorld(t)
	listed, answered := w.listed(), w.ocspLeaf()
	dir := filepath.Join(t.TempDir(), "revocations")
	keep := func(c *Config) { c.Cache, c.Recall = dir, true }
	list, answer := w.list(3, listed), w.answer(answered, ocsp.Good, nil)
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		b := list
		if strings.HasPrefix(r.URL.Path, "/ocsp") {
			b = answer
		}
		_, _ = rw.Write(b)
	})
	k := w.checker(keep)
	if h := k.Held(); len(h) != 0 {
		t.Errorf("held before anything came: %v", h)
	}
	w.is(k, listed, pki.Revoked, "")
	w.is(k, answered, pki.NotRevoked, "")
	k.Close()

	w.serve(http.NotFound)
	asked := w.asked.Load()
	k = w.checker(keep)
	held := k.Held()
	if len(held) != 2 {
		t.Fatalf("held are %v", held)
	}
	for _, h := range held {
		what := "number 3"
		if h.About != "" {
			what = "(good)"
		}
		if s := h.Words(w.now()); !strings.Contains(s, what) || !strings.Contains(s, "old, which holds until") || h.Why != "" || !strings.HasPrefix(h.From, w.server.URL) {
			t.Errorf("%s: %+v", s, h)
		}
	}
	for c, want := range map[*pki.Certificate]pki.RevocationState{listed: pki.Revoked, answered: pki.NotRevoked} {
		e := k.Evidence(c, w.issuer()) // from memory, at once
		if st := pki.RevocationOf(c, w.issuer(), e, w.now()); st.State != want {
			t.Errorf("%v: %s", st.State, st.Found)
		}
	}
	if w.asked.Load() != asked {
		t.Error("what is held and good was asked for")
	}
	k.Close()

	// Whoever writes into the folder has nobody asked: what ended is due, and waits for
	// somebody who needs it.
	w.later(48 * time.Hour)
	asked = w.asked.Load()
	k = w.checker(keep)
	k.mu.Lock()
	for _, it := range k.items {
		k.begin(it)
	}
	k.mu.Unlock()
	k.due()
	k.Close()
	if w.asked.Load() != asked {
		t.Error("a place was asked that nobody needs")
	}
	// A list that ended says still who is revoked.
	k = w.checker(keep)
	if st := pki.RevocationOf(listed, w.issuer(), k.Evidence(listed, w.issuer()), w.now()); st.State != pki.Revoked {
		t.Errorf("%v: %s", st.State, st.Found)
	}
	if h := k.Held(); len(h) != 1 || !strings.Contains(h[0].Words(w.now()), "which ended at") {
		t.Errorf("%+v", h)
	}
}

// What is no file of ours, by whatever name, is not read for one, and stops nothing.
func TestNothingElseIsRecalled(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := mint.Root("Root")
	good := &item{key: key{kind: aList, url: w.server.URL + "/list.crl", issuer: w.issuer().SHA256}, issuer: w.issuer()}
	far := &item{key: key{kind: aList, url: "ldap://pki.example/", issuer: w.issuer().SHA256}, issuer: w.issuer()}
	whole := func(it *item, b []byte) []byte {
		b, err := appendCached(it, b)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	late := w.listBy(w.root, 4, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = w.now().Add(time.Hour), w.now().Add(2*time.Hour)
	}, c)
	for name, b := range map[string][]byte{
		"other.rev":                      whole(good, w.list(1, c)), // under another's name
		good.name() + ".rev":             whole(good, w.listBy(other, 1, nil, c)),
		good.name() + ".txt":             whole(good, w.list(1, c)),
		far.name() + ".rev":              whole(far, w.list(1, c)),
		strings.Repeat("0", 64) + ".rev": nil,
		strings.Repeat("1", 64) + ".rev": []byte(cacheMagic),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "folder.rev"), 0o700); err != nil {
		t.Fatal(err)
	}
	keep := func(cfg *Config) { cfg.Cache, cfg.Recall = dir, true }
	if h := w.checker(keep).Held(); len(h) != 0 {
		t.Errorf("recalled: %+v", h)
	}
	if err := os.WriteFile(filepath.Join(dir, good.name()+".rev"), whole(good, late), 0o600); err != nil {
		t.Fatal(err)
	}
	if h := w.checker(keep).Held(); len(h) != 0 {
		t.Errorf("recalled from the future: %+v", h)
	}
}

// Each news is told, and each trouble with its code, what is held still, and the mend.
func TestWhatCameOfAFetchIsTold(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	var log words
	k := w.checker(log.to)
	again := func(later time.Duration) { // at once, so that follow does not find it due before
		k.mu.Lock()
		w.later(later)
		for _, it := range k.items {
			it.due = time.Time{}
		}
		k.silent = make(silent)
		k.mu.Unlock()
	}
	told := func(n int, parts ...string) {
		t.Helper()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != n {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), n, log.String())
		}
		for _, p := range parts {
			if !strings.Contains(lines[n-1], p) {
				t.Errorf("%q is not in %s", p, lines[n-1])
			}
		}
	}
	w.is(k, c, pki.RevocationUnknown, "status 404")
	told(1, "level=WARN", "status 404", "code=M0812", "mend=", "nothing came yet")
	w.serveBytes(w.list(4, c))
	again(0)
	w.is(k, c, pki.Revoked, "")
	told(2, "level=INFO", "list number 4 of", "with 1 revoked", "age=", "next_update=")
	again(0)
	w.is(k, c, pki.Revoked, "") // the same again is no news
	told(2)
	w.serve(http.NotFound)
	again(0)
	w.is(k, c, pki.Revoked, "")
	told(3, "level=WARN", "status 404", "list number 4", "holds until")
	again(0)
	w.is(k, c, pki.Revoked, "") // told once, while what is held holds
	told(3)
	again(25 * time.Hour)
	w.is(k, c, pki.Revoked, "")
	told(4, "level=WARN", "which ended at")
	w.serveBytes(w.list(5))
	again(0)
	w.is(k, c, pki.NotRevoked, "")
	told(5, "level=INFO", "list number 5")
}

// A host that does not answer is asked by one for all: thousands of certificates name
// it, and their time-outs would hold up everybody else's news.
func TestAHostThatIsSilentIsAskedOnce(t *testing.T) {
	w := newWorld(t)
	gone := newWorld(t)
	gone.server.Close()
	k := w.checker(nil)
	first := w.leaf(mint.Responders(gone.server.URL + "/ocsp"))
	w.is(k, first, pki.RevocationUnknown, "refused")
	k.mu.Lock()
	k.silent[gone.server.URL].until = w.now().Add(maxPause) // however slow this machine is
	before := *k.silent[gone.server.URL]
	k.mu.Unlock()
	for range 3 {
		w.is(k, w.leaf(mint.Responders(gone.server.URL+"/ocsp")), pki.RevocationUnknown, "refused")
	}
	k.mu.Lock()
	after := *k.silent[gone.server.URL]
	var put int
	for _, it := range k.items {
		if it.due.Equal(after.until) {
			put++
		}
	}
	k.mu.Unlock()
	if before != after || put != 3 {
		t.Errorf("before %+v, after %+v, and %d were put off", before, after, put)
	}
	// Who answers, with whatever, is not silent, and others are asked meanwhile.
	w.is(k, w.ocspLeaf(), pki.RevocationUnknown, "404")
	now := time.Now()
	s := silent{}
	s.heard("http://a/x", &silence{errors.New("no")}, now)
	s.heard("http://a/y", &silence{errors.New("no")}, now) // at the same time: it counts once
	if until, why, waits := s.waits("http://a/z", now); !waits || why != "no" || s["http://a"].fails != 1 || until.Sub(now) > 2*minPause {
		t.Errorf("%v, %q, %v", until, why, waits)
	}
	if _, _, waits := s.waits("http://a/z", now.Add(-24*time.Hour)); waits {
		t.Error("a clock that was put back has it wait for a day")
	}
	if _, _, waits := s.waits("http://a:81/z", now); waits {
		t.Error("another port is another host")
	}
	s.heard("http://a/x", &statusError{500}, now)
	if len(s) != 0 {
		t.Error("who answers is silent")
	}
	s.heard("http://a/x", &silence{errors.New("no")}, now)
	if s.forget(now.Add(3 * forgetAfter)); len(s) != 0 {
		t.Error("it is remembered for ever")
	}
}

// Where our clock was wrong by a year and is put right, what was planned then is not
// waited for.
func TestAClockThatIsPutBackStopsNoFetching(t *testing.T) {
	w := newWorld(t)
	w.later(365 * 24 * time.Hour)
	c := w.leaf(mint.Lists(w.server.URL+"/list.crl"), mint.Lifetime(2*365*24*time.Hour))
	w.serveBytes(w.list(1))
	k := w.checker(nil)
	w.is(k, c, pki.NotRevoked, "")
	k.mu.Lock() // at once, so that follow does not find the former list due
	w.later(-365 * 24 * time.Hour)
	w.serveBytes(w.list(2, c)) // of today
	k.mu.Unlock()
	w.is(k, c, pki.Revoked, "number 2")
	k.mu.Lock()
	for _, it := range k.items {
		it.used = w.now().Add(24 * time.Hour)
	}
	k.mu.Unlock()
	k.due()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		if it.used.After(w.now()) {
			t.Error("it is used in the future")
		}
	}
}

func TestNothingGoesOnAfterClose(t *testing.T) {
	w := newWorld(t)
	began := make(chan struct{}, 1)
	w.serve(func(_ http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		<-r.Context().Done()
	})
	k := w.checker(nil)
	k.Evidence(w.listed(), w.issuer())
	<-began
	done := make(chan struct{})
	go func() { k.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Close waits for a place that does not answer")
	}
	k.Evidence(w.listed(), w.issuer())
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		if k.begin(it) != nil {
			t.Error("something is fetched after the end")
		}
	}
}
