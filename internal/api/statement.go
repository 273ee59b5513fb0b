package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki"
)

// StatementContext stands before what is signed, so that the signature can pass
// for nothing else.
const StatementContext = "mutual: statement of anchors, version 1\x00"

// maxRoots bounds the roots of a statement; there are two while one follows the
// other.
const maxRoots = 8

// StatementBytes are the bytes that a root signs.
func StatementBytes(signed []byte) []byte {
	return append([]byte(StatementContext), signed...)
}

// StatementScheme is how the key of a root signs a statement: the scheme of TLS 1.3
// that it would sign a handshake with.
func StatementScheme(key *suite.PublicKey) (suite.Scheme, error) {
	s := key.Schemes()
	if len(s) == 0 {
		return 0, fmt.Errorf("the root's key can't sign a statement")
	}
	return s[0], nil
}

// Verified is a statement whose signatures were checked, and what it says.
type Verified struct {
	Anchors
	Roots []*pki.Certificate
}

// Verify checks a statement against the roots that are in force here, and answers
// with what it says. It has to be of the domain, signed by a root in force and by
// each of its own roots, and not past its end. A number that is not higher than
// the one in use is for the caller to refuse.
//
// inForce is never empty; after a join line it is the one root that the line
// names.
func (s *Statement) Verify(domain string, inForce []*pki.Certificate, now time.Time) (*Verified, error) {
	if len(s.Signed) > MaxStatement || len(s.Signatures) > 2*maxRoots {
		return nil, fmt.Errorf("the statement is too large")
	}
	signers := map[[32]byte]bool{}
	trusted := false
	for _, r := range inForce {
		if s.signedBy(r) {
			signers[r.SHA256], trusted = true, true
		}
	}
	if !trusted {
		return nil, fmt.Errorf("the statement is not signed by a root in force")
	}
	// From here on the bytes are those of a root in force.
	var a Anchors
	d := json.NewDecoder(bytes.NewReader(s.Signed))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil || d.More() {
		return nil, fmt.Errorf("the statement does not parse")
	}
	switch {
	case domain != "" && a.Domain != domain:
		return nil, fmt.Errorf("the statement is of the trust domain %q, expected %q", a.Domain, domain)
	case a.Number < 1:
		return nil, fmt.Errorf("the statement has the number %d", a.Number)
	case len(a.Roots) == 0 || len(a.Roots) > maxRoots:
		return nil, fmt.Errorf("the statement has %d roots, expected 1 to %d", len(a.Roots), maxRoots)
	case now.After(a.NotAfter):
		return nil, fmt.Errorf("the statement ended at %s", a.NotAfter.UTC().Format(time.RFC3339))
	}
	v := &Verified{Anchors: a}
	for i, der := range a.Roots {
		r, err := pki.Parse(der)
		if err != nil {
			return nil, fmt.Errorf("root %d of the statement does not parse: %w", i+1, err)
		}
		if slices.ContainsFunc(v.Roots, r.Equal) {
			return nil, fmt.Errorf("the statement names a root twice")
		}
		if !signers[r.SHA256] && !s.signedBy(r) {
			return nil, fmt.Errorf("root %d of the statement, %s, has not signed it", i+1, r.Label())
		}
		if a.NotAfter.After(r.NotAfter()) {
			return nil, fmt.Errorf("the statement outlives its root %s", r.Label())
		}
		v.Roots = append(v.Roots, r)
	}
	return v, nil
}

// Claimed are the roots that the statement says it has, not verified: for a
// statement that lies on one's own disk, to be held to its own signatures.
func (s *Statement) Claimed() ([]*pki.Certificate, error) {
	var a Anchors
	if err := json.Unmarshal(s.Signed, &a); err != nil {
		return nil, fmt.Errorf("the statement does not parse")
	}
	return pki.ParseChain(a.Roots)
}

func (s *Statement) signedBy(r *pki.Certificate) bool {
	if r.Key == nil {
		return false
	}
	scheme, err := StatementScheme(r.Key)
	if err != nil {
		return false
	}
	for _, sig := range s.Signatures {
		if bytes.Equal(sig.Root, r.SHA256[:]) && r.Key.Verify(scheme, StatementBytes(s.Signed), sig.Signature) == nil {
			return true
		}
	}
	return false
}
