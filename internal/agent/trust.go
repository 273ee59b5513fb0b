package agent

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// trust is whom an identity trusts: the roots of the statement in force, less what
// their issuers have revoked.
type trust struct {
	home     home
	domain   string
	options  Options
	verifier *mtls.SwapVerifier
	changed  func()           // told after a change; not nil once the agent is whole
	heard    func() time.Time // when the authority was heard of last; the same

	mu        sync.Mutex
	statement api.Statement
	anchors   *api.Verified
	lists     map[string]revocations // by issuer
}

// revocations is one issuer's list, as it was verified, and the issuer.
type revocations struct {
	*pki.RevocationList
	issuer *pki.Certificate
}

func openTrust(h home, domain string, o Options) (*trust, error) {
	t := &trust{home: h, domain: domain, options: o, lists: make(map[string]revocations)}
	if err := h.readJSON(anchorsFile, &t.statement); err != nil {
		return nil, err
	}
	// What is on disk is this user's own. It is held to its own signatures all the
	// same, so that a damaged file is noticed.
	roots, err := t.statement.Claimed()
	if err != nil {
		return nil, err
	}
	if t.anchors, err = t.statement.Verify(domain, roots, o.Clock()); err != nil {
		return nil, fmt.Errorf("%s: %w", anchorsFile, err)
	}
	var kept api.Revocations
	switch err := h.readJSON(revocationsFile, &kept); {
	case err == nil:
		if _, err := t.readLists(kept.Lists, kept.Issuers); err != nil {
			o.Log.Warn("on disk: "+err.Error(), "code", string(code.RevocationsRefused))
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	t.verifier = mtls.NewSwapVerifier(t.judge())
	return t, nil
}

// blindAfter is how long nothing may be heard of the authority before sessions are
// no longer resumed: what was revoked meanwhile is not known.
const blindAfter = 15 * time.Minute

// blind says whether it is so. Who has heard nothing yet is, too.
func (t *trust) blind() bool {
	return t.heard == nil || t.options.Clock().Sub(t.heard()) > blindAfter
}

// judge is the verifier of this moment.
//
// The lists are read as pki reads them, and looked up here: mtls.WithRevocation asks
// whether a path stands, and what an authority of ours has taken back is out wherever
// it is shown, by any list that ever came, also by one whose time is over because
// nobody reaches the authority any more.
func (t *trust) judge() mtls.Verifier {
	lists := maps.Clone(t.lists)
	return mtls.AllOf(mtls.AuthoritiesWith(pki.NewAnchors(t.anchors.Roots...), pki.Private), mtls.VerifierOf(
		sha256.Sum256([]byte("the revocations of "+t.domain)), // which are looked up each time
		func(_ context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
			if claim.Occasion == mtls.Resumption && t.blind() {
				return &mtls.Verdict{Code: string(code.AuthorityDown), Reason: "nothing was heard of the authority for " + clock.Words(blindAfter) +
					", and without news of revocations no session goes on"}, nil
			}
			chain, err := claim.Certificates()
			if err != nil {
				return nil, err
			}
			// Whatever was shown counts, not the path alone: who shows a revoked
			// intermediate stands on it.
			for _, c := range chain {
				l, listed := lists[string(c.X509.RawIssuer)]
				if listed {
					_, listed = l.Entry(c)
				}
				if listed {
					return &mtls.Verdict{Code: string(code.CertificateRevoked), Reason: fmt.Sprintf("the certificate of %s, serial %s, was revoked by %s", c.Label(), c.Serial(), c.IssuerLabel())}, nil
				}
			}
			return &mtls.Verdict{OK: true}, nil
		}))
}

// follow takes a statement that may be newer. What is not taken is an error, and
// changes nothing.
func (t *trust) follow(s api.Statement) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(s.Signed) == 0 || bytes.Equal(s.Signed, t.statement.Signed) {
		return nil
	}
	v, err := s.Verify(t.domain, t.anchors.Roots, t.options.Clock())
	if err != nil {
		return err
	}
	if v.Number <= t.anchors.Number {
		return fmt.Errorf("its number is %d, and %d is in force", v.Number, t.anchors.Number)
	}
	// On disk first: an agent that forgot a statement would take an old one again.
	if err := t.home.writeJSON(anchorsFile, s); err != nil {
		return err
	}
	t.statement, t.anchors = s, v
	t.swap()
	words := fmt.Sprintf("statement %d of %s is in force: %d roots", v.Number, t.domain, len(v.Roots))
	t.options.Log.Info(words, "number", v.Number)
	return nil
}

// revise takes lists of revocations that may be newer, and tells those that it
// does not take.
func (t *trust) revise(lists, issuers [][]byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed, err := t.readLists(lists, issuers)
	if !changed {
		return err
	}
	var kept api.Revocations
	for _, l := range t.lists {
		kept.Lists = append(kept.Lists, l.Raw)
		kept.Issuers = append(kept.Issuers, l.issuer.Raw)
	}
	t.swap() // in force also where the disk is full
	if werr := t.home.writeJSON(revocationsFile, kept); werr != nil && err == nil {
		err = werr
	}
	return err
}

func (t *trust) swap() {
	t.verifier.Set(t.judge())
	if t.changed != nil {
		t.changed()
	}
}

// maxLists bounds how many issuers' lists are kept.
const maxLists = 64

// skew is how far ahead of ours the authority's clock may be.
const skew = 5 * time.Minute

// readLists takes in the lists that are newer than ours, each signed by an issuer
// that a root in force has certified.
func (t *trust) readLists(lists, issuers [][]byte) (changed bool, err error) {
	if len(lists) > maxLists || len(issuers) > maxLists {
		return false, fmt.Errorf("%d lists of revocations are too many", len(lists))
	}
	var known []*pki.Certificate
	for _, der := range issuers {
		if c, err := pki.Parse(der); err == nil && t.certified(c) {
			known = append(known, c)
		}
	}
	for _, der := range lists {
		if e := t.readList(der, known, &changed); e != nil {
			err = e
		}
	}
	return changed, err
}

func (t *trust) readList(der []byte, issuers []*pki.Certificate, changed *bool) error {
	list, err := pki.ParseRevocationList(der)
	if err != nil {
		return errors.New("a list of revocations does not parse")
	}
	var issuer *pki.Certificate
	for _, c := range issuers {
		if list.IssuedBy(c) && c.X509.KeyUsage&x509.KeyUsageCRLSign != 0 && list.SignedBy(c) {
			issuer = c
		}
	}
	switch {
	case issuer == nil:
		return errors.New("a list of revocations is not signed by an issuer of ours")
	case list.Fault() != "":
		return fmt.Errorf("a list of revocations can't be relied on: %s", list.Fault())
	case list.Base() != nil:
		return errors.New("a list of revocations says only what has changed")
	case list.ThisUpdate.After(t.options.Clock().Add(skew)):
		return fmt.Errorf("a list of revocations is of %s, which is to come", list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	key := string(issuer.X509.RawSubject)
	if now, ok := t.lists[key]; ok {
		if now.SHA256() == list.SHA256() {
			return nil
		}
		if !list.Newer(now.RevocationList) {
			return fmt.Errorf("a list of revocations has the number %s, and %s is in use", list.Number(), now.Number())
		}
	}
	t.lists[key] = revocations{list, issuer}
	*changed = true
	return nil
}

// certified says whether a root in force has certified an issuer.
func (t *trust) certified(c *pki.Certificate) bool {
	now := t.options.Clock()
	if now.Before(c.NotBefore().Add(-skew)) || now.After(c.NotAfter()) {
		return false
	}
	for _, r := range t.anchors.Roots {
		if c.X509.IsCA && c.IssuedInName(r) && c.CheckSignatureBy(r) == nil {
			return true
		}
	}
	return false
}

// anchorsNow are the anchors in force.
func (t *trust) anchorsNow() *pki.Anchors {
	t.mu.Lock()
	defer t.mu.Unlock()
	return pki.NewAnchors(t.anchors.Roots...)
}
