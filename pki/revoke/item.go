package revoke

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/pki"
)

// item is one thing that is fetched, and what came last. The Checker's lock guards it.
type item struct {
	key
	issuer, about *pki.Certificate

	list     *pki.RevocationList
	response *pki.OCSPResponse
	bytes    int // of the response
	status   pki.OCSPStatus
	from, to time.Time // when what is held is the newest

	used, due time.Time
	fails     int
	why       string        // the last failure
	looked    bool          // whether the disk was looked at
	recalled  bool          // whether it is from the disk, and nobody asked for it since
	asked     bool          // whether all were made to ask again since it was used
	done      chan struct{} // not nil while it is fetched; closed then
}

func (it *item) size() int {
	if it.list != nil {
		return it.list.Size()
	}
	return it.bytes
}

// missing says why there is nothing to go by; "" where there is.
func (it *item) missing() string {
	switch {
	case it.why != "":
		return identity.Quote(it.url) + ": " + it.why
	case it.list == nil && it.response == nil:
		return identity.Quote(it.url) + " was not fetched yet"
	case it.unproven():
		return identity.Quote(it.url) + " has a list that its issuer's key did not sign"
	}
	return ""
}

// unproven says whether what is held is a list by another key than the issuer's, of
// which pki is to find out whose it is.
func (it *item) unproven() bool { return it.list != nil && !it.list.SignedBy(it.issuer) }

// begin starts to fetch what is due, or joins in where that goes on. It is called with
// the lock held, and nil says that there is nothing to wait for.
func (k *Checker) begin(it *item) chan struct{} {
	now := k.now()
	if it.due.After(now.Add(maxRefresh)) {
		it.due = now // nothing is put off so long: our clock was put back
	}
	if it.done != nil || it.recalled || it.due.After(now) || k.ctx.Err() != nil {
		return it.done
	}
	done := make(chan struct{})
	it.done = done
	k.work.Go(func() {
		select {
		case k.slots <- struct{}{}:
			k.fetch(it)
			<-k.slots
		case <-k.ctx.Done():
		}
		k.mu.Lock()
		it.done = nil
		k.mu.Unlock()
		close(done)
	})
	return done
}

// follow fetches what is due, until the Checker is closed.
func (k *Checker) follow() {
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-k.wake:
		case <-tick.C:
			k.reread()
		}
		if !k.cfg.Fetch {
			continue
		}
		if k.due() {
			k.changed()
		}
	}
}

// due begins to fetch what is due, and forgets what nobody asked for again. ask says
// that all who may still need something have to ask now: by answers that are
// remembered, and on connections that stand, nobody asks for days, and their news are
// not to be lost.
func (k *Checker) due() (ask bool) {
	now := k.now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.silent.forget(now)
	for _, it := range k.items {
		if it.used.After(now) { // our clock was put back
			it.used = now
		}
		idle := now.Sub(it.used)
		if it.done == nil && idle > forgetAfter {
			k.forget(it)
			continue
		}
		if idle > askAfter && !it.asked {
			it.asked, ask = true, true
		}
		k.begin(it)
	}
	return ask
}

const (
	// forgetAfter is how long a place is followed that nobody asked for again, askAfter
	// when it is seen to that whoever needs it asks.
	forgetAfter = 48 * time.Hour
	askAfter    = forgetAfter / 2
	// A failure is followed by another try after minPause, twice that, and so on up to
	// maxPause; each up to half again as long, so that not all come back at once.
	minPause = 30 * time.Second
	maxPause = time.Hour
	// minRefresh is how long what was fetched is left alone at least, maxRefresh at
	// most.
	minRefresh = time.Minute
	maxRefresh = 24 * time.Hour
)

// fetch fetches it once: from the disk, if that was not looked at, and where nothing
// current is there from its place.
func (k *Checker) fetch(it *item) {
	if !it.looked && k.disk != nil {
		if b, err := k.disk.load(it); err == nil && k.recall(it, b) {
			k.changed()
			k.mu.Lock()
			ready := it.due.After(k.now())
			k.mu.Unlock()
			if ready {
				return
			}
		}
	}
	it.looked = true
	if k.postponed(it) {
		return
	}
	b, err := k.web.get(k.ctx, it)
	before := it.sum()
	if err == nil {
		err = k.take(it, b, false)
	}
	if k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	again := it.fails
	k.silent.heard(it.url, err, k.now())
	if err != nil {
		it.why = err.Error()
		it.due = k.now().Add(pause(it.fails))
		it.fails++
	} else {
		it.why, it.fails = "", 0
		k.plan(it)
	}
	held := it.held()
	k.mu.Unlock()
	k.tell(held, it.sum() != before, again)
	if it.sum() == before {
		return
	}
	if k.disk != nil {
		if err := k.disk.store(it, b); err != nil {
			k.cfg.Log.Warn("fetched news of revocations are not on disk: " + err.Error())
		}
	}
	k.changed()
}

// recall takes what lay on the disk, and says whether it did.
func (k *Checker) recall(it *item, answer []byte) bool {
	it.looked = true
	if k.take(it, answer, true) != nil {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.plan(it); k.now().After(it.to) {
		it.due = k.now()
	}
	return true
}

// pause is how long nothing is tried after so many failures in a row, and one more.
func pause(fails int) time.Duration {
	d := min(minPause<<min(fails, 20), maxPause)
	return d + rand.N(d/2)
}

// sum is what is held, to see whether it changed.
func (it *item) sum() any {
	if it.list != nil {
		return it.list
	}
	return it.response
}

// plan sets when to fetch again: in the last quarter of its time, at some moment, so
// that not everybody comes at once; and within a day, since a list that holds for a
// year may be followed by another one tomorrow.
func (k *Checker) plan(it *item) {
	now := k.now()
	quarter := it.to.Sub(it.from) / 4
	due := it.to
	if quarter > 0 {
		due = it.to.Add(-quarter + rand.N(quarter/2+1))
	}
	if left := it.to.Sub(now); due.Before(now) { // the place has nothing newer yet
		due = now.Add(left / 4)
	}
	if latest := now.Add(maxRefresh - rand.N(maxRefresh/4)); due.After(latest) {
		due = latest
	}
	if it.unproven() && due.After(now.Add(maxPause)) {
		due = now.Add(maxPause)
	}
	if soonest := now.Add(minRefresh); due.Before(soonest) {
		due = soonest
	}
	it.due = due
}

// take holds b to what it has to be, and keeps it in place of what is held where it is
// newer. An older one never takes the place of a newer one. A list that another key
// than the issuer's signed may be that of the issuer's new key, which pki finds out;
// from the disk none is taken, and none in place of one that the issuer's key signed
// and that holds. Anybody on the way can make such a list: whatever its number, it
// stands in the way of nothing. One that has ended is taken from the disk alone, where
// nobody can have kept a newer one back: whom it names stays revoked.
func (k *Checker) take(it *item, b []byte, disk bool) error {
	now := k.now()
	if it.kind == aResponse {
		r, err := pki.ParseOCSPResponse(b)
		if err != nil {
			return err
		}
		a, err := r.About(it.about, it.issuer, now)
		if err != nil {
			return fmt.Errorf("an OCSP response that does not count: %w", err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if it.response != nil && a.ThisUpdate.Before(it.from) {
			return fmt.Errorf("an OCSP response of %s, and one of %s was there before", stamp(a.ThisUpdate), stamp(it.from))
		}
		k.memory += len(b) - it.size()
		it.response, it.bytes, it.status, it.from, it.to = r, len(b), a.Status, a.ThisUpdate, a.NextUpdate
		k.count++ // no answer of before counts from here on
		k.makeRoom()
		return nil
	}
	r, err := pki.ParseRevocationList(b)
	if err != nil {
		return err
	}
	switch {
	case !r.IssuedBy(it.issuer):
		return fmt.Errorf("a list of another issuer, %s", r.IssuerWords())
	case r.Fault() != "":
		return errors.New(r.Fault())
	case r.ThisUpdate.After(now.Add(skew)):
		return fmt.Errorf("a list that begins at %s", stamp(r.ThisUpdate))
	case r.NextUpdate.IsZero():
		return errors.New("a list without an end")
	case now.After(r.NextUpdate.Add(skew)) && !disk:
		return fmt.Errorf("a list that ended at %s", stamp(r.NextUpdate))
	}
	signed := r.SignedBy(it.issuer)
	if !signed && (disk || r.KeyID() == "" || r.KeyID() == hex.EncodeToString(it.issuer.X509.SubjectKeyId)) {
		return errors.New("a list that its issuer's key did not sign")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch old := it.list; {
	case old == nil:
	case old.SHA256() == r.SHA256():
		return nil
	case !old.SignedBy(it.issuer):
	case !signed && !now.After(old.NextUpdate.Add(skew)):
		return errors.New("a list that its issuer's key did not sign")
	case signed && old.Newer(r):
		return fmt.Errorf("list number %s, and number %s was there before", r.Number(), old.Number())
	}
	k.memory += r.Size() - it.size()
	it.list, it.from, it.to = r, r.ThisUpdate, r.NextUpdate
	k.count++
	k.makeRoom()
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// readFiles reads the files that were given.
func (k *Checker) readFiles() error {
	seen, names, err := k.look()
	if err != nil {
		return err
	}
	var lists []*pki.RevocationList
	for _, name := range names {
		b, err := readFile(name, pki.MaxRevocationList*2)
		if err != nil {
			return fmt.Errorf("a revocation list can't be read: %w", err)
		}
		some, err := pki.ParseRevocationLists(b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		lists = append(lists, some...)
	}
	k.mu.Lock()
	k.files, k.seen = lists, seen
	k.mu.Unlock()
	return nil
}

// look lists the files, and what they look like from outside.
func (k *Checker) look() (seen string, names []string, err error) {
	var b strings.Builder
	for _, place := range k.cfg.Files {
		info, err := os.Stat(place)
		if err != nil {
			return "", nil, fmt.Errorf("a revocation list can't be read: %w", err)
		}
		some := []string{place}
		if info.IsDir() {
			entries, err := os.ReadDir(place)
			if err != nil {
				return "", nil, fmt.Errorf("a folder of revocation lists can't be read: %w", err)
			}
			some = nil
			for _, e := range entries {
				if name := e.Name(); !e.IsDir() && (strings.HasSuffix(name, ".crl") || strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, ".der")) {
					some = append(some, filepath.Join(place, name))
				}
			}
		}
		if len(names)+len(some) > maxFiles {
			return "", nil, fmt.Errorf("more than %d files of revocation lists", maxFiles)
		}
		for _, name := range some {
			info, err := os.Stat(name)
			if err != nil {
				return "", nil, fmt.Errorf("a revocation list can't be read: %w", err)
			}
			fmt.Fprintf(&b, "%q %d %d;", name, info.Size(), info.ModTime().UnixNano())
		}
		names = append(names, some...)
	}
	return b.String(), names, nil
}

// reread reads the files where they changed. What can't be read leaves the former in
// use, and is told once.
func (k *Checker) reread() {
	if len(k.cfg.Files) == 0 {
		return
	}
	seen, _, err := k.look()
	k.mu.Lock()
	same := err == nil && seen == k.seen || err != nil && k.seen == err.Error()
	k.mu.Unlock()
	if same {
		return
	}
	if err == nil {
		err = k.readFiles()
	} else {
		seen = err.Error()
	}
	if err != nil {
		k.mu.Lock()
		k.seen = seen
		k.mu.Unlock()
		k.cfg.Log.Warn("the revocation lists on disk are not used, and the former stay in use: " + err.Error())
		return
	}
	k.changed()
}
