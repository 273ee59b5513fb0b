package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// RevocationMode is what becomes of a certificate of which nobody can tell whether it
// is revoked. One that is revoked is refused in any mode.
type RevocationMode uint8

// The modes.
const (
	// RevocationGiven asks about what is given alone: without anything that is about a
	// certificate, it stands. A list that is about it and can't be relied on, where no
	// other answers, refuses it.
	RevocationGiven RevocationMode = iota
	// RevocationSoft lets the certificate stand: who keeps news from us is not noticed.
	RevocationSoft
	// RevocationHard refuses it.
	RevocationHard
	revocationModes
)

// String is "given", "soft" or "hard".
func (m RevocationMode) String() string {
	switch m {
	case RevocationGiven:
		return "given"
	case RevocationSoft:
		return "soft"
	case RevocationHard:
		return "hard"
	}
	return "none"
}

// RevocationSource holds what authorities have said of revocations. It is asked in
// the middle of a search, about certificates whose issuer's path stands but for this, so
// it answers from memory: it does not wait, and fetches nothing. pki/revoke has one that
// fetches by the side, Lists makes one of lists.
type RevocationSource interface {
	// Evidence is what there is about c, which issuer issued. More than that does no
	// harm: each is held to what it covers, and to its signature.
	Evidence(c, issuer *Certificate) Evidence
	// Generation is another whenever Evidence may be: what was judged before is then
	// judged again.
	Generation() [sha256.Size]byte
}

// Evidence is what a source has about a certificate.
type Evidence struct {
	Lists     []*RevocationList
	Responses []*OCSPResponse
	// Missing says, where there is less than there could be, why: it is told where
	// nobody knows whether the certificate is revoked.
	Missing string
}

// Lists is a source that has these lists, and never others.
func Lists(lists ...*RevocationList) RevocationSource {
	h := sha256.New()
	for _, r := range lists {
		h.Write(r.sum[:])
	}
	s := &fixedLists{lists: slices.Clone(lists)}
	h.Sum(s.generation[:0])
	return s
}

type fixedLists struct {
	lists      []*RevocationList
	generation [sha256.Size]byte
}

func (f *fixedLists) Generation() [sha256.Size]byte { return f.generation }

func (f *fixedLists) Evidence(_, issuer *Certificate) Evidence {
	var e Evidence
	for _, r := range f.lists {
		if r.IssuedBy(issuer) {
			e.Lists = append(e.Lists, r)
		}
	}
	return e
}

// RevocationState is what is known of a certificate.
type RevocationState uint8

// The states.
const (
	RevocationUnknown RevocationState = iota
	NotRevoked
	Revoked
)

// String is the state in a word, as OCSP has it.
func (s RevocationState) String() string {
	switch s {
	case NotRevoked:
		return "good"
	case Revoked:
		return "revoked"
	}
	return "unknown"
}

// RevocationStatus is what is known of one certificate's revocation, and by whom.
type RevocationStatus struct {
	State RevocationState
	// Entry is told of a revoked one.
	Entry RevocationEntry
	// Until is, of one that is not revoked, when what says so ends.
	Until time.Time
	// Found is all of it in words, safe to print.
	Found string

	bad bool // something is about it, and can't be relied on
}

// RevocationOf judges what is given about c, which issuer issued and whose path
// stands, as Verify does.
func RevocationOf(c, issuer *Certificate, e Evidence, at time.Time) *RevocationStatus {
	s := &search{q: Question{At: at, Chain: []*Certificate{c, issuer}}}
	s.edges, s.n = s.few[:0], 2
	s.path[0], s.path[1] = c, issuer
	st := s.statusOf(0, &e)
	return &st
}

// listEdge is a list that was held to a possible signer of it.
type listEdge struct {
	list   *RevocationList
	signer *Certificate
	ok     bool
}

// listSigned says whether signer's key signed r. It costs one signature of the budget.
func (s *search) listSigned(r *RevocationList, signer *Certificate) bool {
	for _, e := range s.lists {
		if e.list == r && e.signer == signer {
			return e.ok
		}
	}
	if len(s.edges)+len(s.lists) >= maxSignatures {
		s.spent = true
		return false
	}
	e := listEdge{r, signer, r.SignedBy(signer)}
	s.lists = append(s.lists, e)
	return e.ok
}

// listSigner finds whose key signed r, which bears the name of the issuer of the
// certificate at place i: the issuer's, or another key of the same name, by a
// certificate that is an anchor, or that the issuer's own issuer or the issuer itself
// has signed (section 6.3.3, (f): an authority that was given a new key signs its
// lists with that, for what it issued before too). why is "" where r is another
// authority's of the same name, and not about the certificate at all.
func (s *search) listSigner(r *RevocationList, i int) (signer *Certificate, why string) {
	issuer := s.path[i+1]
	if fitsKey(r, issuer) {
		if issuer.hasKeyUsage && issuer.X509.KeyUsage&x509.KeyUsageCRLSign == 0 { // section 4.2.1.3
			return nil, "a list by an issuer whose key usage lacks cRLSign"
		}
		if s.listSigned(r, issuer) {
			return issuer, ""
		}
		why = "a list that its issuer's key did not sign"
	}
	try := func(c *Certificate) bool {
		if c.sameEntity(issuer) || !r.IssuedBy(c) || !fitsKey(r, c) || c.critical != "" || c.keyCode != "" ||
			!c.hasKeyUsage || c.X509.KeyUsage&x509.KeyUsageCRLSign == 0 ||
			s.q.At.After(c.X509.NotAfter) || s.q.At.Before(c.X509.NotBefore) {
			return false
		}
		if !s.q.Anchors.Contains(c) && (c.algorithmCode != "" || !s.vouched(c, i)) {
			return false
		}
		return s.listSigned(r, c)
	}
	for _, c := range s.q.Chain[1:] {
		if try(c) {
			return c, ""
		}
	}
	if s.q.Anchors != nil {
		for _, c := range s.q.Anchors.bySubject[issuer.subject] {
			if try(c) {
				return c, ""
			}
		}
	}
	return nil, why
}

// vouched says whether c, which bears the name of the issuer of the certificate at
// place i, was certified by that issuer's key or by that issuer's own issuer.
func (s *search) vouched(c *Certificate, i int) bool {
	if c.issuedBy(s.path[i+1]) && s.signed(c, s.path[i+1]) {
		return true
	}
	return i+2 < s.n && c.issuedBy(s.path[i+2]) && s.signed(c, s.path[i+2])
}

func fitsKey(r *RevocationList, c *Certificate) bool {
	return len(r.keyID) == 0 || len(c.X509.SubjectKeyId) == 0 || bytes.Equal(r.keyID, c.X509.SubjectKeyId)
}

// sameBetween narrows the times between which the judgement is the same to those on this
// side of begin and of end.
func (s *search) sameBetween(begin, end time.Time) {
	at := s.q.At
	later := func(t time.Time) {
		if t.After(s.from) {
			s.from = t
		}
	}
	sooner := func(t time.Time) {
		if s.until.IsZero() || t.Before(s.until) {
			s.until = t
		}
	}
	switch {
	case at.Before(begin):
		sooner(begin)
	case at.After(end):
		later(end)
	default:
		later(begin)
		sooner(end)
	}
}

// when says why r can't be relied on at the time; "" where it can.
func (s *search) when(r *RevocationList) string {
	if r.NextUpdate.IsZero() {
		return "a list without an end"
	}
	begin, end := r.ThisUpdate.Add(-revocationSkew), r.NextUpdate.Add(revocationSkew)
	s.sameBetween(begin, end)
	switch {
	case r.NextUpdate.Before(r.ThisUpdate):
		return "a list that ends before it begins"
	case s.q.At.Before(begin):
		return "a list that begins at " + stamp(r.ThisUpdate)
	case s.q.At.After(end):
		return "a list that ended at " + stamp(r.NextUpdate)
	}
	return ""
}

// heldList is a list that is about a certificate, and signed.
type heldList struct {
	*RevocationList
	signer *Certificate
	covers reasonFlags
	late   string // why it is no longer, or not yet, to be relied on
}

// statusOf judges what there is about the certificate at place i.
func (s *search) statusOf(i int, e *Evidence) RevocationStatus {
	st := s.listsStatus(i, e.Lists)
	if st.State == Revoked || s.spent {
		return st
	}
	o := s.responsesStatus(i, e)
	switch {
	case o.State == Revoked, s.spent:
		return o
	case st.State == NotRevoked && (o.State != NotRevoked || st.Until.After(o.Until)):
		return st
	case o.State == NotRevoked:
		return o
	}
	st.bad = st.bad || o.bad
	switch {
	case st.Found == "":
		st.Found = o.Found
	case o.Found != "":
		st.Found += "; " + o.Found
	}
	if e.Missing != "" {
		if st.Found != "" {
			st.Found += "; "
		}
		st.Found += e.Missing
	}
	return st
}

// listsStatus judges lists: RFC 5280, section 6.3.3, for lists that the certificate's
// own issuer made.
func (s *search) listsStatus(i int, lists []*RevocationList) (st RevocationStatus) {
	c, issuer := s.path[i], s.path[i+1]
	var whole, deltas []heldList
	bad := func(why string) {
		if !st.bad {
			st.bad, st.Found = true, why
		}
	}
	for _, r := range lists {
		if r == nil || !r.IssuedBy(issuer) {
			continue
		}
		if r.fault != "" {
			if fitsKey(r, issuer) {
				bad(r.fault)
			}
			continue
		}
		covers, elsewhere := r.scope.covers(c)
		if elsewhere != "" {
			if st.Found == "" {
				st.Found = elsewhere
			}
			continue
		}
		signer, why := s.listSigner(r, i)
		switch {
		case s.spent:
			return RevocationStatus{Found: "a list too many", bad: true}
		case why != "":
			bad(why)
			continue
		case signer == nil:
			continue
		}
		h := heldList{r, signer, covers, s.when(r)}
		if r.base != nil {
			deltas = append(deltas, h)
		} else {
			whole = append(whole, h)
		}
	}
	return s.weigh(c, whole, deltas, st)
}

// weigh answers from lists that are about a certificate. st tells of those that were
// not taken.
func (s *search) weigh(c *Certificate, whole, deltas []heldList, st RevocationStatus) RevocationStatus {
	var covered reasonFlags
	serial := serialBytes(c)
	bad := func(why string) {
		if !st.bad {
			st.bad, st.Found = true, why
		}
	}
	newest := func(h *heldList, all []heldList) bool {
		return !slices.ContainsFunc(all, func(o heldList) bool {
			return o.signer == h.signer && o.SameScope(h.RevocationList) && o.Newer(h.RevocationList) && s.begun(o)
		})
	}
	good := ""
	for j := range whole {
		h := &whole[j]
		if !newest(h, whole) {
			continue // what it said may have been taken back since
		}
		entry, on := h.lookup(serial)
		last := h
		if d := s.deltaOf(h, deltas); d != nil {
			last = d
			if change, there := d.lookup(serial); there && change.Reason != reasonRemoved {
				entry, on = change, true
			} else if there && entry.Reason == reasonHold { // nothing else is ever taken back
				on = false
			}
		}
		switch {
		case on && (last.late == "" || s.begun(*last) && entry.Reason != reasonHold):
			// Also by a list that has ended: nothing but a hold is ever taken back.
			return revokedBy(c, last, entry)
		case last.late != "":
			bad(last.late)
			continue
		}
		covered |= h.covers
		if st.Until.IsZero() || last.NextUpdate.Before(st.Until) {
			st.Until = last.NextUpdate
		}
		good = "not on list number " + cut(last.number.String()) + " of " + stamp(last.ThisUpdate) + ", which holds until " + stamp(last.NextUpdate)
	}
	for j := range deltas {
		d := &deltas[j]
		if d.late != "" || slices.ContainsFunc(whole, func(o heldList) bool { return !d.Newer(o.RevocationList) && s.begun(o) }) || !newest(d, deltas) {
			continue
		}
		// It has no complete list here, and what it adds counts all the same.
		if entry, there := d.lookup(serial); there && entry.Reason != reasonRemoved {
			return revokedBy(c, d, entry)
		}
		if len(whole) == 0 {
			bad("a delta list, which says only what has changed, and not the list number " + cut(d.base.String()) + " or later that it goes with")
		}
	}
	switch {
	case covered == allReasons:
		st.State, st.bad, st.Found = NotRevoked, false, good
	case covered != 0:
		st.Until = time.Time{}
		bad("lists for some reasons alone: " + covered.words())
	}
	return st
}

// begun says whether the list is of today or before.
func (s *search) begun(h heldList) bool { return !s.q.At.Before(h.ThisUpdate.Add(-revocationSkew)) }

// deltaOf is the newest delta that goes with a complete list (section 5.2.4): of the
// same scope and the same key, beginning from its number or an earlier one, and later
// than it.
func (s *search) deltaOf(h *heldList, deltas []heldList) *heldList {
	var best *heldList
	for j := range deltas {
		d := &deltas[j]
		if d.late != "" || d.signer != h.signer || !bytes.Equal(d.scope.raw, h.scope.raw) || !bytes.Equal(d.keyID, h.keyID) ||
			d.base.Cmp(h.number) > 0 || d.number.Cmp(h.number) <= 0 || best != nil && !d.Newer(best.RevocationList) || !s.begun(*h) {
			continue
		}
		best = d
	}
	return best
}

func revokedBy(c *Certificate, h *heldList, e RevocationEntry) RevocationStatus {
	found := "serial " + cut(c.Serial()) + " on list number " + cut(h.number.String()) + ", revoked since " + stamp(e.RevokedAt)
	if e.Reason != 0 {
		found += " (" + ReasonWords(e.Reason) + ")"
	}
	if !e.InvalidSince.IsZero() {
		found += ", its key in doubt since " + stamp(e.InvalidSince)
	}
	return RevocationStatus{State: Revoked, Entry: e, Found: found}
}

// responsesStatus judges OCSP responses from a source.
func (s *search) responsesStatus(i int, e *Evidence) (st RevocationStatus) {
	for _, r := range e.Responses {
		if r == nil {
			continue
		}
		if s.staples++; s.staples > maxStaples {
			s.spent = true
			return RevocationStatus{Found: "too many responses", bad: true}
		}
		a, err := r.About(s.path[i], s.path[i+1], s.q.At)
		if err != nil {
			s.sameBetween(s.q.At, s.q.At) // whatever was wrong may be right at another time
			if st.Found == "" {
				st.Found = "a response that does not count: " + cut(err.Error())
			}
			continue
		}
		s.sameBetween(a.ThisUpdate.Add(-revocationSkew), a.NextUpdate.Add(revocationSkew))
		if one := s.answered(a, i, e.Lists); one.State != RevocationUnknown {
			if one.State == Revoked || one.Until.After(st.Until) {
				st = one
			}
			if st.State == Revoked {
				return st
			}
		} else if st.Found == "" {
			st.Found = one.Found
		}
	}
	return st
}

// answered makes a status of an answer about the certificate at place i. lists may
// say that the delegate who signed it is revoked itself (RFC 6960, section 4.2.2.2.1);
// where they don't know, it is relied on while it lasts.
func (s *search) answered(a *OCSPAnswer, i int, lists []*RevocationList) RevocationStatus {
	if d := a.Delegate; d != nil && len(lists) > 0 && !d.noCheck() {
		t := &search{q: s.q}
		t.edges, t.n, t.lists = t.few[:0], 2, s.lists
		t.path[0], t.path[1] = d, s.path[i+1]
		if of := t.listsStatus(0, lists); of.State == Revoked {
			return RevocationStatus{Found: "a response that does not count: its signer's own certificate is revoked"}
		}
	}
	switch a.Status {
	case OCSPRevoked:
		e := RevocationEntry{RevokedAt: a.RevokedAt, Reason: a.Reason}
		found := "revoked since " + stamp(a.RevokedAt)
		if a.Reason != 0 {
			found += " (" + ReasonWords(a.Reason) + ")"
		}
		return RevocationStatus{State: Revoked, Entry: e, Found: found + ", says its issuer's OCSP response"}
	case OCSPUnknown:
		return RevocationStatus{State: Revoked, Found: "an OCSP response of its issuer, which does not know it"}
	}
	return RevocationStatus{State: NotRevoked, Until: a.NextUpdate,
		Found: "good by its issuer's OCSP response of " + stamp(a.ThisUpdate) + ", which holds until " + stamp(a.NextUpdate)}
}

// judgeRevocation holds the path against all that is known of revocations.
func (s *search) judgeRevocation() code.Code {
	if !s.q.asksRevocation() {
		return ""
	}
	s.staple, s.ends = nil, time.Time{}
	for i := s.n - 2; i >= 0; i-- { // no news are asked for of what somebody revoked has issued
		if c, _ := s.revocationAt(i); c != "" {
			return c
		}
	}
	return ""
}

// asksRevocation says whether there is anything to judge.
func (q *Question) asksRevocation() bool {
	return len(q.RevocationLists) > 0 || len(q.OCSP) > 0 || q.Stapled || q.Revocation != RevocationGiven || q.RevocationSource != nil
}

// revocationAt judges the certificate at place i of the path.
func (s *search) revocationAt(i int) (code.Code, string) {
	if i > 0 && s.q.RevocationLeafOnly {
		return "", "not asked: the leaf alone is"
	}
	e := Evidence{Lists: s.q.RevocationLists}
	if s.q.RevocationSource != nil {
		e = s.evidence(s.path[i], s.path[i+1])
		e.Lists = append(slices.Clip(e.Lists), s.q.RevocationLists...)
	}
	var stapled *OCSPAnswer
	missing := "no response"
	if len(s.q.OCSP) > 0 {
		stapled, missing = s.stapleFor(i)
	}
	st := s.statusOf(i, &e)
	if s.spent {
		return code.Budget, st.Found
	}
	if stapled != nil && st.State != Revoked {
		if o := s.answered(stapled, i, e.Lists); o.State == Revoked || o.State == NotRevoked && (st.State != NotRevoked || o.Until.After(st.Until)) {
			st = o
		}
	}
	if i == 0 {
		s.staple = stapled
		if stapled != nil && s.q.Stapled && s.path[0].MustStaple() { // whatever else is known, and by any mode
			s.endsBy(stapled.NextUpdate)
		}
	}
	switch {
	case st.State == Revoked:
		return code.CertificateRevoked, st.Found
	case i == 0 && stapled == nil && s.q.Stapled && s.path[0].MustStaple():
		return code.NoStaple, missing
	case st.State == NotRevoked:
		if s.q.Revocation != RevocationSoft {
			s.endsBy(st.Until)
		}
		return "", st.Found
	}
	if i == 0 && len(s.q.OCSP) > 0 && stapled == nil { // of authorities nobody is shown one
		if st.Found != "" {
			st.Found += "; "
		}
		st.Found += missing
	}
	if st.Found == "" {
		st.Found = nothingKnown
	}
	switch s.q.Revocation {
	case RevocationSoft:
		return "", "unknown, and let pass: " + st.Found
	case RevocationHard:
		if st.bad {
			return code.BadRevocationList, st.Found
		}
		return code.RevocationUnknown, st.Found
	}
	if st.bad {
		return code.BadRevocationList, st.Found
	}
	return "", st.Found
}

// askedAbout is what the source had about a certificate.
type askedAbout struct {
	c, issuer *Certificate
	evidence  Evidence
}

// evidence asks the source once in a search: what comes meanwhile is for the next one,
// and does not make a path stand that was refused a moment before, or the reverse.
func (s *search) evidence(c, issuer *Certificate) Evidence {
	for i := range s.asked {
		if s.asked[i].c == c && s.asked[i].issuer == issuer {
			return s.asked[i].evidence
		}
	}
	e := s.q.RevocationSource.Evidence(c, issuer)
	s.asked = append(s.asked, askedAbout{c, issuer, e})
	return e
}

// endsBy has the judgement end where something ends that it rests on.
func (s *search) endsBy(t time.Time) {
	if t = t.Add(revocationSkew); s.ends.IsZero() || t.Before(s.ends) {
		s.ends = t
	}
}

const nothingKnown = "nothing that was given is about it"

// wordsRevocation says what was expected of a certificate where k came of it.
func (s *search) wordsRevocation(k code.Code) string {
	switch {
	case k == code.NoStaple:
		return "a good OCSP response of its issuer, as the certificate says that it comes with one"
	case s.q.Revocation == RevocationHard:
		return "a revocation list or an OCSP response of its issuer by which it is good"
	case len(s.q.RevocationLists) > 0 || s.q.RevocationSource != nil && k == code.BadRevocationList:
		return "a good revocation list of its issuer, without it"
	}
	return "no word of its issuer that it is revoked"
}

// describeRevocation tells every certificate of the path but its end, from place first
// on. What is below, or below one that is revoked, may be made up by somebody who may
// not issue it, and its places with it: nobody is asked about it.
func (s *search) describeRevocation(first int, add func(Check)) {
	if !s.q.asksRevocation() {
		return
	}
	var checks []Check
	for i := s.n - 2; i >= first; i-- {
		k, found := s.revocationAt(i)
		if found == nothingKnown && len(s.q.RevocationLists) == 0 && s.q.RevocationSource == nil {
			continue // a server was asked for its answer, and nobody for more
		}
		checks = append(checks, Check{Name: "revocation", Certificate: i, Code: k, Expected: s.wordsRevocation(k), Found: found})
		if k == code.CertificateRevoked {
			break
		}
	}
	for _, k := range slices.Backward(checks) {
		add(k)
	}
}
