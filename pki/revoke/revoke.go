package revoke

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// Config says what a Checker holds. The zero value holds nothing and fetches nothing.
type Config struct {
	// Files are files of revocation lists, DER or PEM, or folders of such. They are
	// looked at again every few seconds, and what changed is used.
	Files []string
	// Fetch has the lists and OCSP responders asked that certificates name, by the side,
	// and again before what they said ends.
	Fetch bool
	// InHandshake, if not 0, has a handshake wait so long for what was never fetched
	// before. 0 waits for nothing: the first handshake with a stranger is judged
	// without.
	InHandshake time.Duration
	// Private lets lists and responders be on this machine and in private networks.
	// Without, only addresses that the Internet routes are asked. Where clouds tell a
	// machine who it is and give it keys (link-local addresses, and some others) nobody
	// is ever asked, and nobody who is outside can redirect inside.
	Private bool
	// Cache is a folder for what was fetched, made with mode 0700; "" keeps it in memory
	// alone. Several processes may share it. CacheSize is the most bytes that lie there;
	// 0 is 256 MiB.
	Cache     string
	CacheSize int64
	// Recall has New read all that lies there, so that a process that was started anew
	// knows what the one before it knew. Without, each is read when it is asked for.
	Recall bool
	// Timeout is how long one fetch may take; 0 is 30 s.
	Timeout time.Duration
	// Log is told what is fetched and what fails; nil tells nobody.
	Log *slog.Logger
	// Clock is the time to judge by; nil is time.Now.
	Clock func() time.Time
}

const (
	// maxItems is how many places are followed at once, the latest that were asked for;
	// maxMemory is how many bytes of what was fetched are kept.
	maxItems  = 4096
	maxMemory = 256 << 20
	// maxPlaces is how many places of one certificate are asked.
	maxPlaces = 8
	// maxFetches is how many are asked at the same time.
	maxFetches = 4
	// maxFiles is how many files of one folder are read.
	maxFiles = 4096
	// pollTime is how often files are looked at.
	pollTime = 5 * time.Second
	// skew is how far ahead of ours another's clock may be.
	skew = 5 * time.Minute
)

// Checker holds what is known of revocations. It is safe for concurrent use.
type Checker struct {
	cfg   Config
	web   *web
	disk  *disk
	slots chan struct{}
	wake  chan struct{}

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu        sync.Mutex
	files     []*pki.RevocationList
	seen      string // what the files looked like
	items     map[key]*item
	silent    silent
	memory    int
	instance  [16]byte
	count     uint64
	listeners map[int]func()
	nextID    int
}

// key is what is fetched: where, for whose issuer, and for an OCSP response about whom.
type key struct {
	kind          kind
	url           string
	issuer, about [sha256.Size]byte
}

type kind uint8

const (
	aList kind = iota + 1
	aResponse
)

// New makes a Checker, and reads its files: one that can't be read is an error. Close
// ends it.
func New(cfg Config) (*Checker, error) {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 256 << 20
	}
	if cfg.Timeout < 0 || cfg.CacheSize < 0 || cfg.InHandshake < 0 {
		return nil, errors.New("times and sizes of a revocation checker can't be less than nothing")
	}
	k := &Checker{cfg: cfg, web: newWeb(cfg.Private, cfg.Timeout), slots: make(chan struct{}, maxFetches), wake: make(chan struct{}, 1),
		items: make(map[key]*item), silent: make(silent), listeners: make(map[int]func())}
	_, _ = rand.Read(k.instance[:])
	if cfg.Cache != "" {
		if err := folder.Make(cfg.Cache); err != nil {
			return nil, fmt.Errorf("the folder for fetched revocation lists: %w", err)
		}
		k.disk = &disk{dir: cfg.Cache, most: cfg.CacheSize}
	}
	if err := k.readFiles(); err != nil {
		return nil, err
	}
	if cfg.Recall && k.disk != nil {
		if err := k.recallAll(); err != nil {
			return nil, fmt.Errorf("the folder for fetched revocation lists: %w", err)
		}
	}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	if cfg.Fetch || len(cfg.Files) > 0 {
		k.work.Go(k.follow)
	}
	return k, nil
}

// now is the time by the wall clock: what is signed ends by the calendar, and a
// machine's sleep counts.
func (k *Checker) now() time.Time { return k.cfg.Clock().Round(0) }

// recallAll reads what lies on disk, the newest first, as much as is kept in memory.
// Whoever wrote it there chose the places, so none is asked before somebody needs it.
func (k *Checker) recallAll() error {
	names, err := k.disk.names()
	for _, name := range names {
		if len(k.items) >= maxItems/2 || k.memory > maxMemory/2 {
			break
		}
		it, answer, err := k.disk.read(name)
		if err != nil || k.web.refuse(it.url) != "" || k.items[it.key] != nil {
			continue
		}
		it.used, it.recalled = k.now(), true
		k.items[it.key] = it
		if !k.recall(it, answer) {
			delete(k.items, it.key)
		}
	}
	return err
}

// Close stops what goes on by the side, and waits for it. What is held stays.
func (k *Checker) Close() {
	k.mu.Lock()
	k.cancel()
	k.mu.Unlock()
	k.work.Wait()
	k.web.close()
}

// OnChange has f called after each change of what is held: there a Server or Client
// should Recheck what stands. stop ends it.
func (k *Checker) OnChange(f func()) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := k.nextID
	k.nextID++
	k.listeners[id] = f
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.listeners, id)
	}
}

// changed tells that something changed. It is called without the lock.
func (k *Checker) changed() {
	k.mu.Lock()
	k.count++
	var all []func()
	for _, f := range k.listeners {
		all = append(all, f)
	}
	k.mu.Unlock()
	for _, f := range all {
		f()
	}
}

// Generation is another after each change.
func (k *Checker) Generation() [sha256.Size]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return sha256.Sum256(binary.BigEndian.AppendUint64(k.instance[:len(k.instance):len(k.instance)], k.count))
}

// Evidence is what is held about c, which issuer issued and whose path stands. With
// Fetch, what is missing is fetched from then on.
func (k *Checker) Evidence(c, issuer *pki.Certificate) pki.Evidence {
	k.mu.Lock()
	defer k.mu.Unlock()
	var e pki.Evidence
	for _, r := range k.files {
		if r.IssuedBy(issuer) {
			e.Lists = append(e.Lists, r)
		}
	}
	if !k.cfg.Fetch {
		if len(e.Lists) == 0 {
			e.Missing = "no list of " + issuer.Label() + " was given, and none is fetched"
		}
		return e
	}
	items, none := k.wanted(c, issuer)
	var missing []string
	if len(items) == 0 {
		missing = append(missing, none)
	}
	for _, it := range items {
		if it.list != nil {
			e.Lists = append(e.Lists, it.list)
		}
		if it.response != nil {
			e.Responses = append(e.Responses, it.response)
		}
		if why := it.missing(); why != "" && len(missing) < 3 {
			missing = append(missing, why)
		}
	}
	e.Missing = strings.Join(missing, "; ")
	return e
}

// wanted are the items about c. Those that are new are fetched soon.
func (k *Checker) wanted(c, issuer *pki.Certificate) (items []*item, none string) {
	p := c.RevocationPlaces()
	now := k.now()
	var refused string
	add := func(kind kind, place string) *item {
		if len(items) == maxPlaces {
			return nil
		}
		if why := k.web.refuse(place); why != "" {
			refused = identity.Quote(place) + ": " + why
			return nil
		}
		id := key{kind: kind, url: place, issuer: issuer.SHA256}
		if kind == aResponse {
			id.about = c.SHA256
		}
		it := k.items[id]
		if it == nil {
			k.makeRoom()
			it = &item{key: id, issuer: issuer, about: c}
			k.items[id] = it
			k.soon()
		} else if it.recalled {
			it.recalled = false
			k.soon()
		}
		it.used, it.asked = now, false
		if !slices.Contains(items, it) {
			items = append(items, it)
		}
		return it
	}
	deltas := p.Deltas
	for _, u := range p.Lists {
		if it := add(aList, u); it != nil && it.list != nil {
			deltas = append(deltas, it.list.Deltas()...)
		}
	}
	for _, u := range p.OCSP {
		add(aResponse, u)
	}
	for _, u := range deltas {
		add(aList, u)
	}
	switch {
	case refused != "":
		none = "nothing is fetched from " + refused
	case p.Indirect:
		none = c.Label() + " names a list of another issuer (an indirect one), which is not judged here"
	default:
		none = c.Label() + " names no place of a list and no OCSP responder"
	}
	return items, none
}

// soon has follow look at what is due.
func (k *Checker) soon() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// makeRoom forgets the item that was not asked for longest, where there are too many.
func (k *Checker) makeRoom() {
	for len(k.items) >= maxItems || k.memory > maxMemory {
		var oldest *item
		for _, it := range k.items {
			if it.done == nil && (oldest == nil || it.used.Before(oldest.used)) && (len(k.items) >= maxItems || it.size() > 0) {
				oldest = it
			}
		}
		if oldest == nil {
			return
		}
		k.forget(oldest)
	}
}

// forget drops it. Answers that are remembered stop to count, so that whoever is still
// spoken to is asked about, and followed, again.
func (k *Checker) forget(it *item) {
	k.memory -= it.size()
	delete(k.items, it.key)
	k.count++
}

// Waits says whether Await does, and so whether a handshake may.
func (k *Checker) Waits() bool { return k.cfg.Fetch && k.cfg.InHandshake > 0 }

// Await is told that the path, leaf first and proven but for this, is about to be
// judged. It waits for what was never fetched as long as Config.InHandshake says.
func (k *Checker) Await(ctx context.Context, path []*pki.Certificate) {
	if !k.Waits() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.cfg.InHandshake)
	defer cancel()
	k.Fetch(ctx, path)
}

// Fetch fetches what is missing about a path that is proven but for this, leaf first
// and its anchor last, and waits for it until ctx ends. Without Config.Fetch there is
// nothing to do.
func (k *Checker) Fetch(ctx context.Context, path []*pki.Certificate) {
	if !k.cfg.Fetch {
		return
	}
	for range 2 { // lists say where their deltas are
		var waits []chan struct{}
		k.mu.Lock()
		for i := 0; i+1 < len(path); i++ {
			items, _ := k.wanted(path[i], path[i+1])
			for _, it := range items {
				if done := k.begin(it); done != nil {
					waits = append(waits, done)
				}
			}
		}
		k.mu.Unlock()
		for _, done := range waits {
			select {
			case <-done:
			case <-ctx.Done():
				return
			case <-k.ctx.Done():
				return
			}
		}
	}
}

// Status fetches what is missing about c, which issuer issued, and says what is known.
// It proves nothing of issuer: that its path stands is for the caller to know.
func (k *Checker) Status(ctx context.Context, c, issuer *pki.Certificate) *pki.RevocationStatus {
	k.Fetch(ctx, []*pki.Certificate{c, issuer})
	return pki.RevocationOf(c, issuer, k.Evidence(c, issuer), k.now())
}

// name is what the item's file in the cache is called.
func (id *key) name() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %d ", id.kind, len(id.url))
	h.Write([]byte(id.url))
	h.Write(id.issuer[:])
	h.Write(id.about[:])
	return hex.EncodeToString(h.Sum(nil))
}

// host is whom a place is at, for a log.
func host(place string) string {
	u, err := url.Parse(place)
	if err != nil {
		return "a place that is no URL"
	}
	return identity.Quote(u.Host)
}
