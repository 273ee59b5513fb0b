package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// rawList is a revocation list with every part open.
type rawList struct {
	version    []byte
	issuer     []byte
	this, next []byte
	entries    []byte // nil leaves revokedCertificates out
	extensions [][]byte
	inner      []byte // algorithm in the signed part
}

func extDER(arc byte, critical bool, value []byte) []byte {
	if critical {
		return tlv(0x30, []byte{6, 3, 0x55, 0x1d, arc, 1, 1, 0xff}, tlv(4, value))
	}
	return tlv(0x30, []byte{6, 3, 0x55, 0x1d, arc}, tlv(4, value))
}

func number(n byte) []byte { return extDER(20, false, []byte{2, 1, n}) }

// entryDER is an entry; reason 0 is none.
func entryDER(c *Certificate, reason byte) []byte {
	parts := [][]byte{tlv(2, serialBytes(c)), utc(now.Add(-2 * time.Hour))}
	if reason != 0 {
		parts = append(parts, tlv(0x30, extDER(21, false, []byte{10, 1, reason})))
	}
	return tlv(0x30, parts...)
}

func utc(t time.Time) []byte { return tlv(0x17, []byte(t.UTC().Format("060102150405Z"))) }

// raw is a list of the entity's, good but for what edit does.
func (e *entity) raw(edit func(*rawList)) []byte {
	l := &rawList{version: []byte{2, 1, 1}, issuer: e.X509.RawSubject, this: utc(now.Add(-time.Hour)), next: utc(now.Add(time.Hour)),
		extensions: [][]byte{number(7), extDER(35, false, tlv(0x30, tlv(0x80, e.X509.SubjectKeyId)))}, inner: ecdsaWithSHA256}
	edit(l)
	parts := [][]byte{l.version, l.inner, l.issuer, l.this, l.next}
	if l.entries != nil {
		parts = append(parts, tlv(0x30, l.entries))
	}
	if l.extensions != nil {
		parts = append(parts, tlv(0xa0, tlv(0x30, l.extensions...)))
	}
	tbs := tlv(0x30, parts...)
	d := sha256.Sum256(tbs)
	sig, err := e.key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return tlv(0x30, tbs, ecdsaWithSHA256, tlv(3, []byte{0}, sig))
}

func (e *entity) rawList(t testing.TB, edit func(*rawList)) *RevocationList {
	t.Helper()
	r, err := ParseRevocationList(e.raw(edit))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// scoped gives a list an issuing distribution point.
func scoped(parts ...[]byte) func(*rawList) {
	return func(l *rawList) { l.extensions = append(l.extensions, extDER(28, true, tlv(0x30, parts...))) }
}

func uriName(s string) []byte { return tlv(0x86, []byte(s)) }

// place is a DistributionPointName with full names, as [0] of what holds it.
func place(names ...[]byte) []byte { return tlv(0xa0, tlv(0xa0, names...)) }

// points gives a certificate its distribution points.
func points(all ...[]byte) option { return extension(false, tlv(0x30, all...), 2, 5, 29, 31) }

func at(parts ...[]byte) []byte { return tlv(0x30, parts...) }

var (
	onlyUsers       = tlv(0x81, []byte{0xff})
	onlyAuthorities = tlv(0x82, []byte{0xff})
	indirect        = tlv(0x84, []byte{0xff})
	onlyAttributes  = tlv(0x85, []byte{0xff})
	keyReasons      = []byte{0x83, 2, 5, 0x60} // keyCompromise, cACompromise
	otherReasons    = []byte{0x83, 3, 7, 0x1f, 0x80}
)

// A list counts where its scope meets any distribution point of the certificate's, by
// any of its names (RFC 5280, section 6.3.3, (b); RUSTSEC-2026-0049: all but the first
// point were forgotten).
func TestEveryDistributionPointIsHeldAgainstAListsScope(t *testing.T) {
	r := root(t, "R")
	i := r.intermediate(t, "I")
	own := tlv(0xa4, i.X509.RawSubject)
	relative := tlv(0x30, []byte{6, 3, 0x55, 4, 3}, tlv(12, []byte("part 2")))
	whole := dnOf(t, i.X509.RawSubject, tlv(0x31, relative))
	for why, c := range map[string]struct {
		points []byte // of the certificate, nil for none
		scope  func(*rawList)
		want   RevocationState // where the certificate is not on the list
	}{
		"no scope and no point":         {nil, func(*rawList) {}, NotRevoked},
		"no scope and a point":          {at(place(uriName("http://a/1"))), func(*rawList) {}, NotRevoked},
		"the only point":                {at(place(uriName("http://a/1"))), scoped(place(uriName("http://a/1"))), NotRevoked},
		"host in capitals":              {at(place(uriName("HTTP://A/1"))), scoped(place(uriName("http://a/1"))), NotRevoked},
		"path in capitals":              {at(place(uriName("http://a/P"))), scoped(place(uriName("http://a/p"))), RevocationUnknown},
		"another point":                 {at(place(uriName("http://a/1"))), scoped(place(uriName("http://a/2"))), RevocationUnknown},
		"the second point":              {bytes.Join([][]byte{at(place(uriName("http://a/1"))), at(place(uriName("http://a/2")))}, nil), scoped(place(uriName("http://a/2"))), NotRevoked},
		"the second name":               {at(place(uriName("ldap://a"), uriName("http://a/2"))), scoped(place(uriName("http://a/2"))), NotRevoked},
		"the list's second name":        {at(place(uriName("http://a/2"))), scoped(place(uriName("ldap://b"), uriName("http://a/2"))), NotRevoked},
		"a name of another kind":        {at(place(tlv(0x82, []byte("a")))), scoped(place(uriName("a"))), RevocationUnknown},
		"a point and no place":          {nil, scoped(place(uriName("http://a/1"))), RevocationUnknown},
		"the issuer's name for a place": {nil, scoped(place(own)), NotRevoked},
		"the list relative":             {at(place(tlv(0xa4, whole))), scoped(tlv(0xa0, tlv(0xa1, relative))), NotRevoked},
		"by another issuer":             {at(place(uriName("http://a/1")), tlv(0xa2, tlv(0xa4, r.X509.RawSubject))), scoped(place(uriName("http://a/1"))), RevocationUnknown},
		"by its issuer, who says so":    {at(place(uriName("http://a/1")), tlv(0xa2, own)), scoped(place(uriName("http://a/1"))), NotRevoked},
		"no place but its issuer":       {at(tlv(0xa2, own)), scoped(place(own)), NotRevoked},
		"no place but another issuer":   {at(tlv(0xa2, tlv(0xa4, r.X509.RawSubject))), scoped(place(own)), RevocationUnknown},
		"users alone":                   {nil, scoped(onlyUsers), NotRevoked},
		"authorities alone":             {nil, scoped(onlyAuthorities), RevocationUnknown},
		"attribute certificates":        {nil, scoped(onlyAttributes), RevocationUnknown},
		"some reasons":                  {nil, scoped(keyReasons), RevocationUnknown},
		"some reasons at the point":     {at(place(uriName("http://a/1")), tlv(0x81, []byte{5, 0x60})), scoped(place(uriName("http://a/1"))), RevocationUnknown},
		"indirect":                      {nil, scoped(indirect), RevocationUnknown},
		"points that are no points":     {[]byte{0x30, 0}, scoped(place(uriName("http://a/1"))), RevocationUnknown},
	} {
		var opts []option
		if c.points != nil {
			opts = append(opts, points(c.points))
		}
		l := i.leaf(t, "api.internal", opts...)
		st := RevocationOf(l.Certificate, i.Certificate, Evidence{Lists: []*RevocationList{i.rawList(t, c.scope)}}, now)
		if st.State != c.want {
			t.Errorf("%s: %v: %s", why, st.State, st.Found)
		}
		on := i.rawList(t, func(l0 *rawList) { c.scope(l0); l0.entries = entryDER(l.Certificate, 1) })
		want := Revoked
		if c.want != NotRevoked && !strings.Contains(why, "some reasons") {
			want = RevocationUnknown
		}
		if st := RevocationOf(l.Certificate, i.Certificate, Evidence{Lists: []*RevocationList{on}}, now); st.State != want {
			t.Errorf("%s, on it: %v: %s", why, st.State, st.Found)
		}
	}
	// An authority's own certificate.
	for why, c := range map[string]struct {
		scope func(*rawList)
		want  RevocationState
	}{"users": {scoped(onlyUsers), RevocationUnknown}, "authorities": {scoped(onlyAuthorities), NotRevoked}} {
		if st := RevocationOf(i.Certificate, r.Certificate, Evidence{Lists: []*RevocationList{r.rawList(t, c.scope)}}, now); st.State != c.want {
			t.Errorf("an authority on a list of %s: %v: %s", why, st.State, st.Found)
		}
	}
}

// dnOf is a Name with one more relative name at its end.
func dnOf(t *testing.T, name, rdn []byte) []byte {
	t.Helper()
	if name[1] >= 0x80 {
		t.Fatal("a long name")
	}
	return tlv(0x30, name[2:], rdn)
}

func TestListsForSomeReasonsAddUp(t *testing.T) {
	s := stand(t)
	some, rest := s.inter.rawList(t, scoped(keyReasons)), s.inter.rawList(t, scoped(otherReasons))
	for why, c := range map[string]struct {
		lists []*RevocationList
		want  code.Code
	}{
		"one":  {[]*RevocationList{some}, code.BadRevocationList},
		"both": {[]*RevocationList{some, rest}, ""},
	} {
		q := s.question()
		q.RevocationLists = c.lists
		if v := Verify(q); v.Code != c.want {
			t.Errorf("%s: %s", why, v.Sentence())
		}
	}
}

// delta makes a list a delta from base.
func delta(base, n byte, entries ...[]byte) func(*rawList) {
	return func(l *rawList) {
		l.extensions[0] = number(n)
		l.extensions = append(l.extensions, extDER(27, true, []byte{2, 1, base}))
		l.entries = bytes.Join(entries, nil)
	}
}

func numbered(n byte, entries ...[]byte) func(*rawList) {
	return func(l *rawList) { l.extensions[0], l.entries = number(n), bytes.Join(entries, nil) }
}

func both(f ...func(*rawList)) func(*rawList) {
	return func(l *rawList) {
		for _, g := range f {
			g(l)
		}
	}
}

func ended(l *rawList) { l.this, l.next = utc(now.Add(-3*time.Hour)), utc(now.Add(-time.Hour)) }

// Who keeps newer lists from us does not make good again whom the last one names.
func TestAListThatHasEndedStillSaysWhoIsRevoked(t *testing.T) {
	s := stand(t)
	on := func(reason byte) []byte { return entryDER(s.leaf.Certificate, reason) }
	for why, c := range map[string]struct {
		lists []func(*rawList)
		want  RevocationState
	}{
		"revoked":                  {[]func(*rawList){both(numbered(5, on(1)), ended)}, Revoked},
		"held":                     {[]func(*rawList){both(numbered(5, on(6)), ended)}, RevocationUnknown},
		"not on it":                {[]func(*rawList){both(numbered(5), ended)}, RevocationUnknown},
		"not on the one after it":  {[]func(*rawList){both(numbered(5, on(1)), ended), numbered(6)}, NotRevoked},
		"on one that is yet to be": {[]func(*rawList){both(numbered(5, on(1)), func(l *rawList) { l.this = utc(now.Add(30 * time.Minute)) })}, RevocationUnknown},
	} {
		var e Evidence
		for _, f := range c.lists {
			e.Lists = append(e.Lists, s.inter.rawList(t, f))
		}
		if st := RevocationOf(s.leaf.Certificate, s.inter.Certificate, e, now); st.State != c.want {
			t.Errorf("%s: %v, want %v: %s", why, st.State, c.want, st.Found)
		}
	}
}

// RFC 5280, section 5.2.4.
func TestADeltaGoesWithTheListsThatItFollows(t *testing.T) {
	s := stand(t)
	on := func(reason byte) []byte { return entryDER(s.leaf.Certificate, reason) }
	for why, c := range map[string]struct {
		lists []func(*rawList)
		want  code.Code
	}{
		"what it adds":                    {[]func(*rawList){numbered(5), delta(5, 6, on(1))}, code.CertificateRevoked},
		"what it adds, from an older one": {[]func(*rawList){numbered(5), delta(3, 6, on(1))}, code.CertificateRevoked},
		"nothing":                         {[]func(*rawList){numbered(5), delta(5, 6)}, ""},
		"out of hold":                     {[]func(*rawList){numbered(5, on(6)), delta(5, 6, on(8))}, ""},
		"out of more than hold":           {[]func(*rawList){numbered(5, on(1)), delta(5, 6, on(8))}, code.CertificateRevoked},
		"out of what has no reason":       {[]func(*rawList){numbered(5, on(0)), delta(5, 6, on(8))}, code.CertificateRevoked},
		"out of hold, an older delta":     {[]func(*rawList){numbered(7, on(6)), delta(5, 6, on(8))}, code.CertificateRevoked},
		"out of hold, from a later list":  {[]func(*rawList){numbered(5, on(6)), delta(6, 7, on(8))}, code.CertificateRevoked},
		"the newest of two":               {[]func(*rawList){numbered(5), delta(5, 6, on(6)), delta(5, 7, on(8))}, ""},
		"the newest of two, in any order": {[]func(*rawList){delta(5, 7, on(6)), delta(5, 6), numbered(5)}, code.CertificateRevoked},
		"from a later list, adding":       {[]func(*rawList){numbered(5), delta(6, 7, on(1))}, code.CertificateRevoked},
		"from a later list, nothing":      {[]func(*rawList){numbered(5), delta(6, 7)}, ""},
		"adding what a later list undid":  {[]func(*rawList){numbered(8), delta(5, 7, on(6))}, ""},
		"alone":                           {[]func(*rawList){delta(5, 6)}, code.BadRevocationList},
		"alone, adding":                   {[]func(*rawList){delta(5, 6, on(1))}, code.CertificateRevoked},
		"of a list that has ended":        {[]func(*rawList){both(numbered(5), ended), delta(5, 6)}, ""},
		"ended itself":                    {[]func(*rawList){numbered(5, on(6)), both(delta(5, 6, on(8)), ended)}, code.CertificateRevoked},
		"both ended":                      {[]func(*rawList){both(numbered(5), ended), both(delta(5, 6), ended)}, code.BadRevocationList},
		"of another scope":                {[]func(*rawList){numbered(5, on(6)), both(delta(5, 6, on(8)), scoped(onlyUsers))}, code.CertificateRevoked},
		"of its scope":                    {[]func(*rawList){both(numbered(5, on(6)), scoped(onlyUsers)), both(delta(5, 6, on(8)), scoped(onlyUsers))}, ""},
		"not critical": {[]func(*rawList){numbered(5), func(l *rawList) {
			l.extensions = append(l.extensions, extDER(27, false, []byte{2, 1, 5}))
		}}, ""},
		"a newer list":           {[]func(*rawList){numbered(5, on(6)), numbered(6)}, ""},
		"an older list":          {[]func(*rawList){numbered(6, on(6)), numbered(5)}, code.CertificateRevoked},
		"a newer list to come":   {[]func(*rawList){numbered(5, on(6)), both(numbered(6), func(l *rawList) { l.this, l.next = utc(now.Add(time.Hour)), utc(now.Add(2*time.Hour)) })}, code.CertificateRevoked},
		"an ended list and good": {[]func(*rawList){both(numbered(5), ended), numbered(6)}, ""},
	} {
		q := s.question()
		for _, edit := range c.lists {
			q.RevocationLists = append(q.RevocationLists, s.inter.rawList(t, edit))
		}
		if v := Verify(q); v.Code != c.want {
			t.Errorf("%s: %q, want %q: %s", why, v.Code, c.want, v.Sentence())
		}
	}
}

// An authority that was given a new key signs its lists with that one, for what it
// issued before too (RFC 5280, section 6.3.3, (f)).
func TestAListOfAnAuthoritysNewKeyCounts(t *testing.T) {
	s := stand(t)
	name := organization("Example")
	certSign := keyUsage(x509.KeyUsageCertSign)
	again := s.root.intermediate(t, "Example Issuing 1", name)
	over := issue(t, s.inter, "Example Issuing 1", authority, name) // by the key before
	mute := s.root.intermediate(t, "Example Issuing 1", name, certSign)
	stranger := root(t, "Elsewhere").intermediate(t, "Example Issuing 1", name)
	for why, c := range map[string]struct {
		signer  *entity
		shown   bool
		anchor  bool
		revoked bool
	}{
		"not at hand":                    {again, false, false, false},
		"certified by the same issuer":   {again, true, false, true},
		"certified by the key before":    {over, true, false, true},
		"an anchor":                      {stranger, false, true, true},
		"certified by somebody":          {stranger, true, false, false},
		"not meant to sign lists at all": {mute, true, false, false},
	} {
		if c.signer == mute {
			c.signer = &entity{mute.Certificate, mute.key}
		}
		q := s.question()
		q.RevocationLists = []*RevocationList{c.signer.rawList(t, numbered(7, entryDER(s.leaf.Certificate, 1)))}
		if c.shown {
			q.Chain = append(q.Chain, c.signer.Certificate)
		}
		if c.anchor {
			q.Anchors = NewAnchors(s.root.Certificate, c.signer.Certificate)
		}
		if v := Verify(q); v.OK == c.revoked || c.revoked && v.Code != code.CertificateRevoked {
			t.Errorf("%s: %s", why, v.Sentence())
		}
	}
}

func TestWhatIsNotKnownIsLetPassOrRefusedAsTheModeSays(t *testing.T) {
	s := stand(t)
	rootList := s.root.rawList(t, numbered(1))
	good := s.inter.rawList(t, numbered(1))
	over := s.inter.rawList(t, ended)
	revoked := s.inter.rawList(t, numbered(1, entryDER(s.leaf.Certificate, 1)))
	answer := mustOCSP(t, respond(s.leaf, s.inter).make(t))
	for why, c := range map[string]struct {
		mode RevocationMode
		leaf bool
		e    Evidence
		ocsp []*OCSPResponse
		want code.Code
	}{
		"soft, nothing":                  {RevocationSoft, false, Evidence{}, nil, ""},
		"soft, a list that is over":      {RevocationSoft, false, Evidence{Lists: []*RevocationList{over}}, nil, ""},
		"soft, revoked":                  {RevocationSoft, false, Evidence{Lists: []*RevocationList{revoked}}, nil, code.CertificateRevoked},
		"hard, nothing":                  {RevocationHard, false, Evidence{Missing: "not fetched yet"}, nil, code.RevocationUnknown},
		"hard, the leaf alone":           {RevocationHard, false, Evidence{Lists: []*RevocationList{good}}, nil, code.RevocationUnknown},
		"hard, the leaf alone is asked":  {RevocationHard, true, Evidence{Lists: []*RevocationList{good}}, nil, ""},
		"hard, all":                      {RevocationHard, false, Evidence{Lists: []*RevocationList{good, rootList}}, nil, ""},
		"hard, a list that is over":      {RevocationHard, true, Evidence{Lists: []*RevocationList{over}}, nil, code.BadRevocationList},
		"hard, an answer for the leaf":   {RevocationHard, false, Evidence{Lists: []*RevocationList{rootList}, Responses: []*OCSPResponse{answer}}, nil, ""},
		"hard, an answer that was shown": {RevocationHard, false, Evidence{Lists: []*RevocationList{rootList}}, []*OCSPResponse{answer}, ""},
		"hard, revoked":                  {RevocationHard, true, Evidence{Lists: []*RevocationList{revoked}, Responses: []*OCSPResponse{answer}}, nil, code.CertificateRevoked},
	} {
		q := s.question()
		q.Revocation, q.RevocationLeafOnly, q.OCSP, q.RevocationSource = c.mode, c.leaf, c.ocsp, &steady{e: c.e}
		v := Verify(q)
		if v.Code != c.want {
			t.Errorf("%s: %q, want %q: %s", why, v.Code, c.want, v.Sentence())
		}
		if c.e.Missing != "" && !strings.Contains(v.Sentence(), c.e.Missing) {
			t.Errorf("%s: %s", why, v.Sentence())
		}
		if w := Explain(q); w.Code != v.Code || w.OK != v.OK {
			t.Errorf("%s: Explain says %q", why, w.Code)
		}
	}
}

// steady is a source that says the same of everybody.
type steady struct {
	e          Evidence
	generation byte
}

func (s *steady) Evidence(*Certificate, *Certificate) Evidence { return s.e }
func (s *steady) Generation() [32]byte                         { return [32]byte{s.generation} }

func TestNewsOfASourceAreNotAnsweredFromMemory(t *testing.T) {
	s := stand(t)
	source := &steady{e: Evidence{Lists: []*RevocationList{s.inter.rawList(t, numbered(1))}}}
	q := s.question()
	q.RevocationSource, q.Known = source, &Known{}
	met(t, &q)
	if !answered(q) {
		t.Fatal("it is not remembered at all")
	}
	*source = steady{Evidence{Lists: []*RevocationList{s.inter.rawList(t, numbered(2, entryDER(s.leaf.Certificate, 0)))}}, 1}
	refuse(t, q, code.CertificateRevoked)
	// News that come in the middle of a judgement are not mixed up with it.
	between := &turning{steady: steady{Evidence{Lists: []*RevocationList{s.inter.rawList(t, numbered(1))}}, 100}}
	q.RevocationSource = between
	accept(t, q)
	if answered(q) {
		t.Error("what was judged by old news is remembered as judged by the new")
	}
	// A list of tomorrow's is no answer today, and ends what is remembered.
	q.RevocationSource = &steady{Evidence{Lists: []*RevocationList{s.inter.rawList(t, numbered(1)), s.inter.rawList(t, func(l *rawList) {
		numbered(2, entryDER(s.leaf.Certificate, 0))(l)
		l.this, l.next = utc(now.Add(30*time.Minute)), utc(now.Add(2*time.Hour))
	})}}, 7}
	met(t, &q)
	q.At = now.Add(40 * time.Minute)
	refuse(t, q, code.CertificateRevoked)
}

type turning struct{ steady }

func (s *turning) Evidence(c, i *Certificate) Evidence {
	s.generation++
	return s.steady.Evidence(c, i)
}

func TestADelegateThatIsRevokedAnswersNothing(t *testing.T) {
	s := stand(t)
	d := s.inter.leaf(t, "ocsp", usage(x509.ExtKeyUsageOCSPSigning))
	x := respond(s.leaf, s.inter)
	x.signer, x.certs = d, [][]byte{d.Raw}
	e := Evidence{Responses: []*OCSPResponse{mustOCSP(t, x.make(t))}}
	if st := RevocationOf(s.leaf.Certificate, s.inter.Certificate, e, now); st.State != NotRevoked {
		t.Fatal(st.Found)
	}
	e.Lists = []*RevocationList{s.inter.rawList(t, both(numbered(1, entryDER(d.Certificate, 1)), scoped(keyReasons)))}
	if st := RevocationOf(s.leaf.Certificate, s.inter.Certificate, e, now); st.State != RevocationUnknown || !strings.Contains(st.Found, "signer") {
		t.Errorf("%v: %s", st.State, st.Found)
	}
}

func TestAnEntryTellsWhenAndWhy(t *testing.T) {
	s := stand(t)
	l := s.inter.rawList(t, func(l *rawList) {
		l.entries = tlv(0x30, tlv(2, serialBytes(s.leaf.Certificate)), utc(now), tlv(0x30,
			extDER(21, false, []byte{10, 1, 1}), extDER(24, false, generalized(now.Add(-24*time.Hour)))))
	})
	e, on := l.Entry(s.leaf.Certificate)
	if !on || e.Reason != 1 || !e.RevokedAt.Equal(now) || !e.InvalidSince.Equal(now.Add(-24*time.Hour)) {
		t.Errorf("%v, %+v", on, e)
	}
	st := RevocationOf(s.leaf.Certificate, s.inter.Certificate, Evidence{Lists: []*RevocationList{l}}, now)
	if st.State != Revoked || !strings.Contains(st.Found, "keyCompromise") || !strings.Contains(st.Found, "in doubt since 2026-05-31") {
		t.Error(st.Found)
	}
	if l.Len() != 1 || l.Number().Int64() != 7 || l.Base() != nil || l.IssuerWords() == "" || l.AlgorithmName() != "ecdsa-with-SHA256" ||
		l.ScopeWords() != "every certificate of its issuer" || l.KeyID() != fmt.Sprintf("%x", s.inter.X509.SubjectKeyId) {
		t.Errorf("%+v", l)
	}
}

func TestWhatIsNoRevocationListDoesNotParse(t *testing.T) {
	s := stand(t)
	whole := s.inter.raw(func(l *rawList) { l.entries = entryDER(s.leaf.Certificate, 1) })
	for i := range whole {
		if _, err := ParseRevocationList(whole[:i]); err == nil {
			t.Fatalf("%d bytes of %d are taken", i, len(whole))
		}
	}
	for why, edit := range map[string]func(*rawList){
		"version 3":                 func(l *rawList) { l.version = []byte{2, 1, 2} },
		"extensions in version 1":   func(l *rawList) { l.version = nil },
		"two algorithms":            func(l *rawList) { l.inner = []byte{0x30, 5, 6, 3, 0x2b, 0x65, 0x70} },
		"no day":                    func(l *rawList) { l.this = tlv(0x17, []byte("260231000000Z")) },
		"no second":                 func(l *rawList) { l.this = tlv(0x17, []byte("2601310000Z")) },
		"a zone":                    func(l *rawList) { l.this = tlv(0x17, []byte("260131000000+0100")) },
		"a number twice":            func(l *rawList) { l.extensions = append(l.extensions, number(8)) },
		"a number below zero":       func(l *rawList) { l.extensions[0] = extDER(20, false, []byte{2, 1, 0xff}) },
		"a number of 21 bytes":      func(l *rawList) { l.extensions[0] = extDER(20, false, tlv(2, append([]byte{1}, make([]byte, 20)...))) },
		"an empty scope":            scoped(),
		"a scope that is false":     scoped(tlv(0x81, []byte{0})),
		"users and authorities":     scoped(onlyUsers, onlyAuthorities),
		"a scope in another order":  scoped(onlyAuthorities, place(uriName("http://a"))),
		"a place without a name":    scoped(tlv(0xa0, tlv(0xa0))),
		"a long serial":             func(l *rawList) { l.entries = tlv(0x30, []byte{2, 2, 0, 1}, utc(now)) },
		"an empty serial":           func(l *rawList) { l.entries = tlv(0x30, []byte{2, 0}, utc(now)) },
		"more in an entry":          func(l *rawList) { l.entries = tlv(0x30, []byte{2, 1, 1}, utc(now), tlv(0x30), []byte{5, 0}) },
		"an extension that is none": func(l *rawList) { l.extensions = [][]byte{{0x30, 0}} },
	} {
		if _, err := ParseRevocationList(s.inter.raw(edit)); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	if _, err := ParseRevocationList(make([]byte, MaxRevocationList+1)); err == nil {
		t.Error("any size is taken")
	}
	if _, err := ParseRevocationLists([]byte("nothing")); err == nil {
		t.Error("a file of nothing is taken")
	}
}

// manyEntries is a list with n entries, of serial numbers of 16 bytes that are drawn.
func manyEntries(t testing.TB, by *entity, n int, also ...[]byte) *RevocationList {
	t.Helper()
	var b bytes.Buffer
	serial := make([]byte, 16)
	when := utc(now.Add(-time.Hour))
	for range n {
		if _, err := rand.Read(serial); err != nil {
			t.Fatal(err)
		}
		serial[0] = serial[0]&0x7f | 1
		b.Write(tlv(0x30, tlv(2, serial), when))
	}
	for _, e := range also {
		b.Write(e)
	}
	r, err := ParseRevocationList(by.raw(func(l *rawList) { l.entries = b.Bytes() }))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAHundredThousandEntriesCostLittleMoreThanTheirBytes(t *testing.T) {
	s := stand(t)
	r := manyEntries(t, s.inter, 100000, entryDER(s.leaf.Certificate, 1))
	if r.Len() != 100001 {
		t.Fatal(r.Len())
	}
	if table := 4 * len(r.places); table > 2<<20 {
		t.Errorf("the table has %d bytes beside a list of %d", table, len(r.Raw))
	}
	other := s.inter.leaf(t, "other.internal").Certificate
	if _, on := r.Entry(s.leaf.Certificate); !on {
		t.Error("an entry is not found")
	}
	if _, on := r.Entry(other); on {
		t.Error("an entry is found that is not there")
	}
	if !r.SignedBy(s.inter.Certificate) {
		t.Fatal("not signed")
	}
	e := Evidence{Lists: []*RevocationList{r}}
	if n := testing.AllocsPerRun(100, func() { RevocationOf(other, s.inter.Certificate, e, now) }); n > 60 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseRevocationListOf100000(b *testing.B) {
	s := stand(b)
	raw := manyEntries(b, s.inter, 100000).Raw
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRevocationList(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRevocationOfAmong100000(b *testing.B) {
	s := stand(b)
	e := Evidence{Lists: []*RevocationList{manyEntries(b, s.inter, 100000)}}
	b.ReportAllocs()
	for b.Loop() {
		if st := RevocationOf(s.leaf.Certificate, s.inter.Certificate, e, now); st.State != NotRevoked {
			b.Fatal(st.Found)
		}
	}
}

func BenchmarkEntryAmong100000(b *testing.B) {
	s := stand(b)
	r := manyEntries(b, s.inter, 100000)
	b.ReportAllocs()
	for b.Loop() {
		if _, on := r.Entry(s.leaf.Certificate); on {
			b.Fatal("on it")
		}
	}
}

func FuzzRevocationListInParts(f *testing.F) {
	r := root(f, "R")
	i := r.intermediate(f, "I")
	l := i.leaf(f, "api.internal", points(at(place(uriName("http://a/1")), tlv(0x81, []byte{5, 0x60}))))
	f.Add(tlv(0x30, onlyUsers), []byte{2, 1, 5}, entryDER(l.Certificate, 6))
	f.Add(tlv(0x30, place(uriName("http://a/1")), keyReasons), []byte{2, 1, 5}, entryDER(l.Certificate, 8))
	f.Fuzz(func(t *testing.T, scope, base, entries []byte) {
		if len(scope) > 1000 || len(base) > 100 || len(entries) > 10000 {
			return
		}
		r, err := ParseRevocationList(i.raw(func(l *rawList) {
			l.entries = entries
			l.extensions = append(l.extensions, extDER(28, true, scope))
			if len(base) > 0 {
				l.extensions = append(l.extensions, extDER(27, true, base))
			}
		}))
		if err != nil {
			if !safe(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		st := RevocationOf(l.Certificate, i.Certificate, Evidence{Lists: []*RevocationList{r, r}}, now)
		if !safe(st.Found) || !safe(r.ScopeWords()) {
			t.Errorf("%q", st.Found)
		}
		if _, on := r.Entry(l.Certificate); !on && st.State == Revoked {
			t.Error("revoked by a list on which it is not")
		}
	})
}

// breaking is a source whose news come just after it was asked for the first time.
type breaking struct {
	RevocationSource
	asked map[*Certificate]bool
}

func (b *breaking) Evidence(c, issuer *Certificate) Evidence {
	if !b.asked[c] {
		b.asked[c] = true
		return Evidence{Missing: "it was not fetched yet"}
	}
	return b.RevocationSource.Evidence(c, issuer)
}

// A verdict and its words are of one moment, though news come in the middle.
func TestNewsThatComeInTheMiddleAreForTheNextJudgement(t *testing.T) {
	s := stand(t)
	q := s.question()
	q.Revocation, q.RevocationLeafOnly, q.RevocationSource = RevocationHard, true, &breaking{Lists(s.inter.list(t, nil)), map[*Certificate]bool{}}
	if v := refuse(t, q, code.RevocationUnknown); !strings.Contains(v.Found, "not fetched yet") {
		t.Errorf("found %q", v.Found)
	}
	accept(t, q)
}
