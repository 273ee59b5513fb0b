package credential

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// Files are where the PEM lies. Cert and Key come together; what is "" is not
// there: no certificate is shown, no authority of our own is asked. CRLs are lists of
// what those in CA, and authorities below them, have revoked; Revocation, if not nil,
// is asked beside them.
type Files struct {
	Cert, Key, CA string
	CRLs          []string
	Revocation    *mtls.Revocation
}

// trusted are the files that say whom to trust.
func (f *Files) trusted() []string { return append([]string{f.CA}, f.CRLs...) }

// maxFile is the most that a file may hold: some thousand certificates.
const maxFile = 8 << 20

// Live is what the files say. Its Identity and Verifier are for mtls, and stay
// the same while what they hold is exchanged.
type Live struct {
	// Identity is nil where no certificate was given.
	Identity *mtls.Swap
	// Verifier is nil where no authorities were given.
	Verifier *mtls.SwapVerifier

	files Files
	wrap  func(mtls.Verifier) mtls.Verifier

	mu   sync.Mutex
	leaf *pki.Certificate
	pair seen
	ca   seen
}

// seen is what was last read of some files, good or bad.
type seen struct {
	stat  string            // sizes, times and places, to see that nothing changed
	sum   [sha256.Size]byte // of the contents
	doubt [sha256.Size]byte // of contents that were seen once, and may be half written
}

// news answers whether contents are to be acted upon. They are looked at a second
// time first: somebody may be writing them just now, and what is there so far may
// be whole in itself, a chain whose intermediate is still to come. Good ones are
// taken at once where somebody said that they are finished.
func (s *seen) news(stat string, sum [sha256.Size]byte, sure bool) bool {
	switch {
	case sum == s.sum:
		s.stat, s.doubt = stat, sum // touched, or bad as before
		return false
	case !sure && s.doubt != sum:
		s.doubt, s.stat = sum, ""
		return false
	}
	s.stat, s.sum = stat, sum
	return true
}

// Open reads the files. wrap, if not nil, makes of a verifier by the authorities
// the one to use, as by adding rules.
func Open(f Files, wrap func(mtls.Verifier) mtls.Verifier) (*Live, error) {
	l := &Live{files: f, wrap: wrap}
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("a certificate and its key come together: give both --cert and --key")
	}
	if f.Cert != "" {
		cert, leaf, sum, err := readPair(f)
		if err != nil {
			return nil, err
		}
		l.Identity, l.leaf = mtls.NewSwap(cert), leaf
		l.pair = seen{stat: stat(f.Cert, f.Key), sum: sum}
	}
	if f.CA != "" {
		v, sum, err := l.readCA()
		if err != nil {
			return nil, err
		}
		l.Verifier = mtls.NewSwapVerifier(v)
		l.ca = seen{stat: stat(f.trusted()...), sum: sum}
	}
	return l, nil
}

// Leaf is the certificate in use, nil for none.
func (l *Live) Leaf() *pki.Certificate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leaf
}

// Valid is nil while the certificate in use is valid, or there is none; else a
// sentence.
func (l *Live) Valid(now time.Time) error {
	leaf := l.Leaf()
	switch {
	case leaf == nil:
		return nil
	case now.Before(leaf.NotBefore()):
		return fmt.Errorf("the certificate of %s is not valid before %s", leaf.Label(), leaf.NotBefore().UTC().Format(time.RFC3339))
	case now.After(leaf.NotAfter()):
		return fmt.Errorf("the certificate of %s expired at %s; put a new one into %s and %s", leaf.Label(),
			leaf.NotAfter().UTC().Format(time.RFC3339), l.files.Cert, l.files.Key)
	}
	return nil
}

// Watch looks at the files every so often, and at once for each nudge, until ctx
// ends. What is new and whole is used, after a second look or at the nudge of who
// wrote it; what is not is said once, and what was in
// use stays. retrust is called after the authorities changed: what stands is to
// be judged again.
func (l *Live) Watch(ctx context.Context, every time.Duration, nudge <-chan os.Signal, log *slog.Logger, retrust func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-nudge:
			look = true
		}
		l.reload(look, log, retrust)
	}
}

func (l *Live) reload(look bool, log *slog.Logger, retrust func()) {
	if l.Identity != nil {
		if s := stat(l.files.Cert, l.files.Key); look || s != l.pair.stat {
			l.reloadPair(s, look, log)
		}
	}
	if l.Verifier != nil {
		if s := stat(l.files.trusted()...); look || s != l.ca.stat {
			if l.reloadCA(s, look, log) && retrust != nil {
				retrust()
			}
		}
	}
}

func (l *Live) reloadPair(stat string, look bool, log *slog.Logger) {
	cert, leaf, sum, err := readPair(l.files)
	if !l.pair.news(stat, sum, look && err == nil) {
		return
	}
	if err != nil {
		said(log, err, "the certificate and key on disk are not used, and the former stay in use: "+err.Error())
		return
	}
	l.mu.Lock()
	l.leaf = leaf
	l.mu.Unlock()
	l.Identity.Set(cert)
	log.Info(fmt.Sprintf("a new certificate is in use: %s, valid until %s", leaf.Label(), leaf.NotAfter().UTC().Format(time.RFC3339)),
		"serial", leaf.Serial(), "file", l.files.Cert)
}

func (l *Live) reloadCA(stat string, look bool, log *slog.Logger) bool {
	v, sum, err := l.readCA()
	if !l.ca.news(stat, sum, look && err == nil) {
		return false
	}
	if err != nil {
		said(log, err, "the authorities on disk are not used, and the former stay in use: "+err.Error())
		return false
	}
	l.Verifier.Set(v)
	log.Info("new authorities are in use, and what stands is judged again", "file", l.files.CA)
	return true
}

func said(log *slog.Logger, err error, sentence string) {
	entry, _ := code.Lookup(code.ReloadFailed)
	log.Warn(sentence, "code", string(code.ReloadFailed), "mend", entry.Mend, "error", err.Error())
}

// readPair reads certificate and key. The sum is of what was read, so that the
// same trouble is told once.
func readPair(f Files) (*mtls.Certificate, *pki.Certificate, [sha256.Size]byte, error) {
	sum := sha256.New()
	certPEM, err := read(f.Cert, "certificate")
	if err != nil {
		return nil, nil, sha256.Sum256([]byte(err.Error())), err
	}
	keyPEM, err := read(f.Key, "key")
	if err != nil {
		return nil, nil, sha256.Sum256([]byte(err.Error())), err
	}
	defer clear(keyPEM)
	sum.Write(certPEM)
	sum.Write(keyPEM)
	of := [sha256.Size]byte(sum.Sum(nil))
	chain, key, err := keystore.Load(certPEM, keyPEM)
	if err != nil {
		return nil, nil, of, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	cert, err := mtls.NewCertificate(chain, key)
	if err != nil {
		return nil, nil, of, fmt.Errorf("%s and %s: %w", f.Cert, f.Key, err)
	}
	leaf, err := pki.Parse(chain[0])
	if err != nil {
		return nil, nil, of, fmt.Errorf("%s: %w", f.Cert, err)
	}
	return cert, leaf, of, nil
}

func (l *Live) readCA() (mtls.Verifier, [sha256.Size]byte, error) {
	anchors, sum, err := readAnchors(l.files.CA)
	if err != nil {
		return nil, sum, err
	}
	var r mtls.Revocation
	if l.files.Revocation != nil {
		r = *l.files.Revocation
	}
	if len(l.files.CRLs) > 0 {
		lists, of, err := readLists(l.files.CRLs)
		sum = sha256.Sum256(append(sum[:], of[:]...))
		if err != nil {
			return nil, sum, err
		}
		r.Source = both(pki.Lists(lists...), r.Source)
	}
	v := mtls.Authorities(anchors)
	if r.Source != nil {
		v = mtls.WithRevocation(v, r)
	}
	if l.wrap != nil {
		v = l.wrap(v)
	}
	return v, sum, nil
}

// readLists reads revocation lists.
func readLists(files []string) (lists []*pki.RevocationList, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	for _, file := range files {
		b, err := readAtMost(file, "revocation list", 2*pki.MaxRevocationList)
		if err != nil {
			return nil, sha256.Sum256([]byte(err.Error())), err
		}
		h.Write(b)
		some, err := pki.ParseRevocationLists(b)
		if err != nil {
			return nil, [sha256.Size]byte(h.Sum(nil)), fmt.Errorf("%s: %w", file, err)
		}
		lists = append(lists, some...)
	}
	return lists, [sha256.Size]byte(h.Sum(nil)), nil
}

// ReadAnchors reads a file of authorities.
func ReadAnchors(file string) (*pki.Anchors, error) {
	a, _, err := readAnchors(file)
	return a, err
}

func readAnchors(file string) (*pki.Anchors, [sha256.Size]byte, error) {
	b, err := read(file, "authorities' file")
	if err != nil {
		return nil, sha256.Sum256([]byte(err.Error())), err
	}
	sum := sha256.Sum256(b)
	certs, err := pki.ParsePEM(b)
	if err != nil {
		return nil, sum, fmt.Errorf("%s: %w", file, err)
	}
	if len(certs) == 0 {
		return nil, sum, fmt.Errorf("%s holds no certificate, so nobody could be admitted: put the authority's certificate there, in PEM", file)
	}
	return pki.NewAnchors(certs...), sum, nil
}

func read(file, what string) ([]byte, error) { return readAtMost(file, what, maxFile) }

func readAtMost(file, what string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the %s can't be read: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("the %s can't be read: %w", what, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("the %s %s has more than %d MiB", what, file, most>>20)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, fmt.Errorf("the %s %s is empty", what, file)
	}
	return b, nil
}

// stat tells whether files may have changed. It follows links: who renews by
// exchanging a link changes what it leads to.
func stat(files ...string) string {
	var b bytes.Buffer
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d %s;", st.Size(), st.ModTime().UnixNano(), place(st))
	}
	return b.String()
}
