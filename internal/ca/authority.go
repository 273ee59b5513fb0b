package ca

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// Options say where an authority is, and what it is to be like. Domain, KeyType
// and Passphrase are for the ceremonies.
type Options struct {
	// Folder is the authority's own, private folder.
	Folder string
	// Domain is the trust domain; "" for one named after the root's hash.
	Domain string
	// KeyType is what KeyTypes takes; "" for p256, and for a second root for what the
	// first one is.
	KeyType string
	// Passphrase encrypts the root's key, or opens it; nil for neither.
	Passphrase []byte
	Clock      func() time.Time // nil for the machine's
	Random     io.Reader        // nil for the system's
	Log        *slog.Logger     // nil for none
}

func (o *Options) complete() {
	if o.Clock == nil {
		o.Clock = clock.Now
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// The files of an authority, in its folder.
const (
	fileStore     = "ca.db"
	fileLock      = "lock"
	fileRootKey   = "root.key"
	fileEncrypted = ".age" // appended to the name of an encrypted key
	fileIssuer    = "issuer-1.key"
	fileStandby   = "issuer-2.key"
	fileRoot      = "ca.crt"
)

// ErrStore is what every failure of the database is; the rest of the error has
// the cause.
var ErrStore = store.ErrFailed

// Authority is an authority that is open. It is safe for concurrent use.
type Authority struct {
	options Options
	store   *store.Store
	lock    *folder.Lock
	log     *slog.Logger
	now     func() time.Time

	domain  string
	keyType string
	started time.Time
	// issuer signs, issuerID is its number in the database, and root the one that
	// it stands under.
	issuer   *signing.Signer
	issuerID int64
	issuers  map[string]int64 // all that ever issued, by their names in DER
	root     *pki.Certificate

	// lastSigned is the latest time, in milliseconds, at which anything was signed.
	lastSigned atomic.Int64
	// busy keeps two requests about one token or lineage apart, so that nothing is
	// signed to be thrown away. What has to be true the database holds, not these.
	busy    [64]sync.Mutex
	seed    maphash.Seed
	lists   sync.Mutex // one list is signed at a time
	changes changes

	trust     sync.RWMutex // over what an announcement changes:
	statement api.Statement
	number    int64
	keys      map[[sha256.Size]byte]bool // of every authority in the domain
}

// Exists says whether there is an authority in the folder, whole or half made.
func Exists(path string) bool {
	for _, name := range []string{fileStore, fileRoot, fileRootKey, fileRootKey + fileEncrypted, fileIssuer, fileStandby} {
		if here(filepath.Join(path, name)) {
			return true
		}
	}
	return false
}

func here(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// Open opens the authority in the folder, which nobody else has open; else the
// error is folder.ErrLocked. What was about to be signed when the last process
// ended is signed. The root's key is not read.
func Open(ctx context.Context, o Options) (*Authority, error) {
	o.complete()
	if err := folder.Check(o.Folder); err != nil {
		return nil, err
	}
	lock, err := folder.TryLock(filepath.Join(o.Folder, fileLock))
	if err != nil {
		return nil, err
	}
	a := &Authority{options: o, lock: lock, log: o.Log, now: o.Clock, seed: maphash.MakeSeed()}
	a.changes.start(o.Clock())
	if err := a.open(ctx); err != nil {
		_ = a.Close()
		return nil, err
	}
	return a, nil
}

func (a *Authority) open(ctx context.Context) error {
	file := filepath.Join(a.options.Folder, fileStore)
	people := filepath.Join(a.options.Folder, fileRoot)
	if !here(file) {
		if here(people) { // the ceremony writes it last
			return fmt.Errorf("%w: the file %s is missing, and with it all that was issued; put a copy of it, made while the authority was stopped, in its place", ErrStore, file)
		}
		return unfinished(a.options.Folder)
	}
	var err error
	if a.store, err = store.Open(ctx, file); err != nil {
		return err
	}
	if err := a.load(ctx); err != nil {
		return err
	}
	a.started = a.now()
	if !here(people) {
		if err := folder.Write(people, certificatePEM(a.root.Raw)); err != nil {
			return err
		}
	}
	return a.recover(ctx)
}

// unfinished is the refusal of a folder whose ceremony did not end.
func unfinished(path string) error {
	return problem(500, code.AuthorityUnfinished, "the authority in %s was never finished", path)
}

// load reads what the authority is.
func (a *Authority) load(ctx context.Context) error {
	var own []*store.Authority
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if a.domain, err = tx.Setting("domain"); err != nil {
			return err
		}
		if a.domain == "" {
			return unfinished(a.options.Folder)
		}
		if a.keyType, err = tx.Setting("key_type"); err != nil {
			return err
		}
		if a.statement, a.number, err = tx.Statement(); err != nil {
			return err
		}
		last, err := tx.LastSigned()
		if err != nil {
			return err
		}
		a.signedAt(last)
		own, err = tx.Authorities()
		return err
	})
	if err != nil {
		return err
	}
	return a.loadKeys(own)
}

// loadKeys finds the issuer in use, and reads its key and no other.
func (a *Authority) loadKeys(own []*store.Authority) error {
	a.keys, a.issuers = map[[sha256.Size]byte]bool{}, map[string]int64{}
	var roots []*pki.Certificate
	var issuer *pki.Certificate
	keyFile := ""
	for _, o := range own {
		c, err := pki.Parse(o.DER)
		if err != nil {
			return fmt.Errorf("%w: a certificate of the authority's own does not parse: %w", ErrStore, err)
		}
		a.keys[o.SPKI] = true
		if o.Role == "root" {
			roots = append(roots, c)
			continue
		}
		a.issuers[string(c.X509.RawSubject)] = o.ID
		if o.Role == "issuer" {
			issuer, keyFile, a.issuerID = c, o.KeyFile, o.ID
		}
	}
	if issuer == nil {
		return fmt.Errorf("%w: it has no issuer", ErrStore)
	}
	for _, r := range roots {
		if issuer.CheckSignatureBy(r) == nil {
			a.root = r
		}
	}
	if a.root == nil {
		return fmt.Errorf("%w: the issuer %s is not signed by a root on record", ErrStore, issuer.Label())
	}
	key, err := readKey(filepath.Join(a.options.Folder, keyFile))
	if err != nil {
		return err
	}
	a.issuer, err = signing.New(key, issuer, a.options.Random)
	return err
}

// Close closes the database, forgets the key and lets another process in. No
// request is under way.
func (a *Authority) Close() error {
	var err error
	if a.store != nil {
		err = a.store.Close()
	}
	if a.issuer != nil {
		a.issuer.Close()
	}
	a.lock.Release()
	return err
}

// Domain is the trust domain.
func (a *Authority) Domain() string { return a.domain }

// Root is the root that the issuer in use stands under: the one of join lines.
func (a *Authority) Root() *pki.Certificate { return a.root }

// hold keeps others off a token or a lineage until the function that it returns
// is called.
func (a *Authority) hold(key []byte) func() {
	m := &a.busy[maphash.Bytes(a.seed, key)%uint64(len(a.busy))]
	m.Lock()
	return m.Unlock
}

// back is how far the clock may go back before nothing is signed any more: clocks
// are corrected by a little.
const back = 5 * time.Minute

// moment is now, to the precision of the database.
func (a *Authority) moment() time.Time { return a.now().UTC().Truncate(time.Millisecond) }

// time is the time at which something is to be signed, or the refusal to.
func (a *Authority) time() (time.Time, error) {
	now := a.moment()
	if last := time.UnixMilli(a.lastSigned.Load()).UTC(); now.Before(last.Add(-back)) {
		return now, problem(503, code.ClockWentBack, "the authority's clock says %s, and it signed something at %s", stamp(now), stamp(last))
	}
	return now, nil
}

// signedAt remembers the time of what was recorded to be signed.
func (a *Authority) signedAt(t time.Time) {
	for {
		last := a.lastSigned.Load()
		if t.UnixMilli() <= last || a.lastSigned.CompareAndSwap(last, t.UnixMilli()) {
			return
		}
	}
}

func problem(status int, c code.Code, format string, args ...any) *api.Problem {
	return api.NewProblem(status, c, fmt.Sprintf(format, args...))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
