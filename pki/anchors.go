package pki

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
)

// Anchors are the certificates that trust begins with. They are immutable and
// safe for concurrent use; a nil *Anchors is none.
type Anchors struct {
	certs     []*Certificate
	bySubject map[uint64][]*Certificate
	bySum     map[[32]byte]struct{}
	subjects  [][]byte
	sum       [32]byte
}

// NewAnchors makes certificates the beginning of trust. The same certificate
// twice counts once.
func NewAnchors(certs ...*Certificate) *Anchors {
	a := &Anchors{
		bySubject: make(map[uint64][]*Certificate, len(certs)),
		bySum:     make(map[[32]byte]struct{}, len(certs)),
	}
	named := make(map[string]bool, len(certs))
	for _, c := range certs {
		if c == nil || a.Contains(c) {
			continue
		}
		a.bySum[c.SHA256] = struct{}{}
		a.certs = append(a.certs, c)
		a.bySubject[c.subject] = append(a.bySubject[c.subject], c)
		if s := c.X509.RawSubject; !named[string(s)] {
			named[string(s)] = true
			a.subjects = append(a.subjects, s)
		}
	}
	a.sum = sumOf(a.certs)
	return a
}

// sumOf is a digest of the certificates, whatever their order.
func sumOf(certs []*Certificate) [32]byte {
	sums := make([][]byte, len(certs))
	for i, c := range certs {
		sums[i] = c.SHA256[:]
	}
	slices.SortFunc(sums, bytes.Compare)
	return sha256.Sum256(bytes.Join(sums, nil))
}

// Sum is a digest of what is in it: two with the same Sum hold the same anchors.
func (a *Anchors) Sum() [32]byte {
	if a == nil {
		return sumOf(nil)
	}
	return a.sum
}

// Len is how many anchors there are.
func (a *Anchors) Len() int {
	if a == nil {
		return 0
	}
	return len(a.certs)
}

// Certificates are the anchors, in the order in which they were given. The slice
// must not be changed.
func (a *Anchors) Certificates() []*Certificate {
	if a == nil {
		return nil
	}
	return a.certs
}

// Contains says whether c itself, byte for byte, is an anchor.
func (a *Anchors) Contains(c *Certificate) bool {
	if a == nil || c == nil {
		return false
	}
	_, ok := a.bySum[c.SHA256]
	return ok
}

// Subjects are the anchors' names in DER, each once: what a server tells its
// clients in certificate_authorities (RFC 8446, section 4.2.4). They must not be
// changed.
func (a *Anchors) Subjects() [][]byte {
	if a == nil {
		return nil
	}
	return a.subjects
}

// named are the anchors that may have issued c, by name.
func (a *Anchors) named(c *Certificate) []*Certificate {
	if a == nil {
		return nil
	}
	return a.bySubject[c.issuer]
}

// String says how many there are, for a log.
func (a *Anchors) String() string {
	if a.Len() == 1 {
		return fmt.Sprintf("1 anchor (%s)", a.certs[0].Label())
	}
	return fmt.Sprintf("%d anchors", a.Len())
}
