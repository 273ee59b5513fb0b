package pki

import (
	"bytes"
	"math/bits"
	"time"

	"github.com/mutual-tls/mutual/identity"
)

// search is one search. path holds the n certificates from the leaf upwards that
// it stands on now.
//
// Of all the orders of RFC 4158, section 3, this is the one that a peer can do
// least about. Short paths come before long ones, however many certificates are
// piled up beside them. What no way by names leads up from to an anchor is not
// looked at. And no signature is checked before the names have reached an anchor,
// and then from the anchor down: what a peer makes up itself hangs from nothing
// there, and costs one signature for each certificate, not one for each pair.
// None of this decides what stands; it decides what is tried while the budget lasts.
type search struct {
	q    Question
	name identity.Name

	path [maxPath]*Certificate
	at   [maxPath]uint8 // where in the chain those of path are, but for the anchor
	n    int

	shown   []shown
	fewer   [4]shown
	told    *telling // nil: paths are judged, and the first that stands is taken
	least   int      // how well key identifiers have to fit: those that differ come last
	differs bool     // some path was left out because they do
	longer  bool     // some path was left out for its length
	doomed  int      // no path stands that begins with so many certificates of this one
	spent   bool
	edges   []edge // every signature that was checked, so that none is checked twice
	few     [6]edge
	lists   []listEdge
	asked   []askedAbout // of the source of revocations

	policies []string // the question's, as the bytes of their OIDs

	steps, looks, comparisons, policyWork int
	scale                                 int // how many times over the last three may be spent

	staples     int
	staple      *OCSPAnswer // about the leaf
	ends        time.Time   // when what is known of revocations ends that the path rests on
	generation  [32]byte    // of the source of revocations, when the search began
	from, until time.Time   // between these the same would be judged of revocations; zero is no limit

	transparency []logged // for each key that may have signed the leaf
}

// shown is what is known of one certificate of the chain.
type shown struct {
	anchors []*Certificate    // that may have issued it, by name
	shut    bool              // and none of which did
	above   [keyRanks]certSet // those of the chain that may have, by how their key identifier fits
	far     int               // how many certificates stand above it at least, with the anchor; 0: no way leads to one
}

// certSet is a set of certificates of the chain.
type certSet [(MaxShown + 63) / 64]uint64

func (b *certSet) add(i int)    { b[i/64] |= 1 << (i % 64) }
func (b *certSet) remove(i int) { b[i/64] &^= 1 << (i % 64) }

// next is the first in the set from i on; -1 where there is none.
func (b *certSet) next(i int) int {
	for w := i / 64; w < len(b); w++ {
		word := b[w]
		if w == i/64 {
			word &= ^uint64(0) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

func (b *certSet) meets(c *certSet) bool {
	for w := range b {
		if b[w]&c[w] != 0 {
			return true
		}
	}
	return false
}

// find looks for a path, and is true with a whole one in s.path: paths of two
// certificates first, then of three, and so on.
func (s *search) find() bool {
	s.n = 1
	if s.told == nil && !s.leafStands() {
		return false
	}
	if s.q.Anchors.Contains(s.path[0]) {
		return s.whole()
	}
	s.chart()
	for s.least = keyUnknown; s.least >= keyDiffers; s.least-- {
		if s.climb() {
			return true
		}
		if s.spent || !s.differs {
			return false
		}
	}
	return false
}

// climb is find among the paths whose key identifiers fit, or among the others.
func (s *search) climb() bool {
	for i := range s.shown {
		s.shown[i].shut = false
	}
	s.measure()
	for length := 2; s.shown[0].far > 0; length++ {
		if length = max(length, s.shown[0].far+1); length > maxPath {
			return false
		}
		s.longer = false
		if s.extend(0, length) {
			return true
		}
		if s.spent || !s.longer {
			return false
		}
	}
	return false
}

// chart writes down who may have issued whom, by their names.
func (s *search) chart() {
	s.shown = append(s.fewer[:0], make([]shown, len(s.q.Chain))...)
	for i, c := range s.q.Chain {
		s.shown[i].anchors = s.q.Anchors.named(c)
	}
	for j, issuer := range s.q.Chain {
		if j == 0 || s.seen(j) || !s.fitToIssue(issuer) {
			continue
		}
		for i, c := range s.q.Chain {
			if s.looks++; c.issuedBy(issuer) && !c.sameEntity(issuer) {
				rank := keyRank(c, issuer)
				s.shown[i].above[rank].add(j)
				s.differs = s.differs || rank == keyDiffers
			}
		}
	}
}

// fitToIssue says whether a shown certificate may stand on a path wherever it is
// put. When paths are told, whether it stands is what is told, and an anchor ends
// each of them.
func (s *search) fitToIssue(c *Certificate) bool {
	if s.told != nil {
		return !s.q.Anchors.Contains(c)
	}
	return c.algorithmCode == "" && s.issuerStands(c, false)
}

// seen says whether certificate j of the chain was shown before: a double adds no
// path.
func (s *search) seen(j int) bool {
	for _, c := range s.q.Chain[:j] {
		if c.Equal(s.q.Chain[j]) {
			return true
		}
	}
	return false
}

// measure works out how far an anchor is from each certificate, anew when a
// signature has shown that what the names say is not so.
func (s *search) measure() {
	var reach certSet
	for i := range s.shown {
		h := &s.shown[i]
		if h.far = 0; len(h.anchors) > 0 && !h.shut {
			h.far = 1
			reach.add(i)
		}
	}
	for far := 2; far < maxPath; far++ {
		next := reach
		for i := range s.shown {
			h := &s.shown[i]
			if h.far == 0 && (h.above[keyMatches].meets(&reach) || h.above[keyUnknown].meets(&reach) || s.least == keyDiffers && h.above[keyDiffers].meets(&reach)) {
				h.far = far
				next.add(i)
			}
		}
		if next == reach {
			return
		}
		reach = next
	}
}

// extend looks for a path of a length above certificate i of the chain, which is
// on top of s.path.
func (s *search) extend(i, length int) bool {
	if s.n+1 == length {
		return s.end(i)
	}
	for rank := keyMatches; rank >= s.least; rank-- {
		above := &s.shown[i].above[rank] // it loses what turns out not to have signed
		for j := above.next(0); j >= 0; j = above.next(j + 1) {
			switch far := s.shown[j].far; {
			case far == 0:
				continue
			case s.n+1+far > length:
				s.longer = true
				continue
			}
			c := s.q.Chain[j]
			if s.stands(c) || s.told == nil && !s.issuerStands(c, true) {
				continue
			}
			if !s.step() {
				return false
			}
			s.push(c, j)
			if s.extend(j, length) {
				return true
			}
			s.n--
			if s.spent || s.doomed <= s.n {
				return false
			}
		}
	}
	return false
}

// end looks for an anchor to put on top of certificate i of the chain.
func (s *search) end(i int) bool {
	h, top := &s.shown[i], s.q.Chain[i]
	shut := !h.shut
	for rank := keyMatches; rank >= keyDiffers && !h.shut; rank-- {
		for _, a := range h.anchors {
			if s.looks++; s.looks > maxLooks*s.scale {
				s.spent = true
				return false
			}
			if keyRank(top, a) != rank {
				continue
			}
			if rank < s.least {
				s.differs = true
				break
			}
			if s.forged(top, a) || s.told == nil && !(s.issuerStands(a, false) && a.Intact()) {
				continue
			}
			if s.stands(a) || s.told == nil && !s.issuerStands(a, true) {
				shut = false
				continue
			}
			if !s.step() {
				return false
			}
			s.push(a, 0)
			if s.whole() {
				return true
			}
			s.n--
			if s.spent || s.doomed <= s.n {
				return false
			}
			shut = shut && s.forged(top, a)
		}
	}
	for rank := s.least; rank < keyRanks; rank++ {
		for j := h.above[rank].next(0); j >= 0 && !s.longer; j = h.above[rank].next(j + 1) {
			s.longer = s.shown[j].far > 0
		}
	}
	if shut {
		h.shut = true
		s.measure()
	}
	return false
}

func (s *search) push(c *Certificate, j int) {
	s.path[s.n], s.at[s.n] = c, uint8(j)
	s.n++
	s.doomed = maxPath + 1
}

// whole judges a path that has reached an anchor: its signatures from the anchor
// down, and what only a whole path can answer.
func (s *search) whole() bool {
	for i := s.n - 2; i >= 0; i-- {
		if s.signed(s.path[i], s.path[i+1]) {
			continue
		}
		s.doomed = i + 2
		if i+2 < s.n && !s.spent {
			for rank := range keyRanks {
				s.shown[s.at[i]].above[rank].remove(int(s.at[i+1]))
			}
			s.measure()
		}
		return false
	}
	if s.least == keyDiffers && s.n > 1 && !s.crooked() { // it was tried before
		return false
	}
	if s.told != nil {
		s.told.paths = append(s.told.paths, s.describe())
		return s.told.full()
	}
	return s.pathStands()
}

// crooked says whether a key identifier on the path differs from that of the key.
func (s *search) crooked() bool {
	for i := range s.n - 1 {
		if keyRank(s.path[i], s.path[i+1]) == keyDiffers {
			return true
		}
	}
	return false
}

// pathStands judges what only a whole path can answer.
func (s *search) pathStands() bool {
	for i := 1; i < s.n; i++ {
		if judgeConstraints(s, i, s.path[i]) != "" {
			s.doomed = i + 1 // whatever stands above, those below are the same
			return false
		}
	}
	return s.judgePolicies() == "" && s.judgeRevocation() == "" && s.judgeTransparency() == ""
}

// step takes one step off the budget.
func (s *search) step() bool {
	if s.steps >= maxSteps {
		s.spent = true
	}
	if s.spent {
		return false
	}
	s.steps++
	return true
}

// How a certificate's authority key identifier fits a possible issuer's subject
// key identifier. It decides the order of trying and nothing else: identifiers
// are hints (RFC 5280, section 4.2.1.1).
const (
	keyDiffers = iota
	keyUnknown
	keyMatches
	keyRanks
)

func keyRank(child, issuer *Certificate) int {
	a, b := child.X509.AuthorityKeyId, issuer.X509.SubjectKeyId
	switch {
	case len(a) == 0 || len(b) == 0:
		return keyUnknown
	case string(a) == string(b):
		return keyMatches
	}
	return keyDiffers
}

// stands says whether who issuer is about is on the path already: an entity that
// issued itself in a circle adds nothing.
func (s *search) stands(issuer *Certificate) bool {
	for _, c := range s.path[:s.n] {
		if c.sameEntity(issuer) {
			return true
		}
	}
	return false
}

// edge is a signature that was checked.
type edge struct {
	child, issuer *Certificate
	ok            bool
}

// checked is the edge from child to issuer's key, which may stand in several
// certificates; nil where it was not checked.
func (s *search) checked(child, issuer *Certificate) *edge {
	for i := range s.edges {
		e := &s.edges[i]
		if e.child.Equal(child) && (e.issuer == issuer || bytes.Equal(e.issuer.X509.RawSubjectPublicKeyInfo, issuer.X509.RawSubjectPublicKeyInfo)) {
			return e
		}
	}
	return nil
}

// forged says that it is known that issuer's key did not sign child.
func (s *search) forged(child, issuer *Certificate) bool {
	e := s.checked(child, issuer)
	return e != nil && !e.ok
}

// signed says whether issuer's key signed child.
func (s *search) signed(child, issuer *Certificate) bool {
	if e := s.checked(child, issuer); e != nil {
		return e.ok
	}
	if len(s.edges)+len(s.lists) >= maxSignatures {
		s.spent = true
		return false
	}
	ok := s.q.Known.has(child, issuer) || issuer.Key != nil &&
		issuer.Key.VerifyCertificate(child.algorithm, child.X509.RawTBSCertificate, child.signature) == nil
	s.edges = append(s.edges, edge{child, issuer, ok})
	return ok
}

func (s *search) leafStands() bool {
	for i := range leafChecks {
		if leafChecks[i].judge(s, 0, s.path[0]) != "" {
			return false
		}
	}
	return true
}

// issuerStands judges c as the next on the path: by the checks that look at the
// path below it, or by those that don't.
func (s *search) issuerStands(c *Certificate, below bool) bool {
	for i := range issuerChecks {
		if k := &issuerChecks[i]; k.below == below && k.judge(s, s.n, c) != "" {
			return false
		}
	}
	return true
}
