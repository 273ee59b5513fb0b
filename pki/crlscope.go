package pki

import (
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
)

// Where an authority puts its lists, and what each of them covers. A list says it in
// its issuing distribution point (RFC 5280, section 5.2.5), a certificate in its
// distribution points (section 4.2.1.13), and the two have to meet: any point of the
// certificate's, by any of its names.

// reasonFlags are reasons for revocation, a bit for each (ReasonFlags). The first,
// "unused", is none.
type reasonFlags uint16

const allReasons reasonFlags = 1<<9 - 2

func (f reasonFlags) words() string {
	var out []string
	for i, name := range [...]string{"", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
		"cessationOfOperation", "certificateHold", "privilegeWithdrawn", "aACompromise"} {
		if i > 0 && f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ", ")
}

// scope is an issuing distribution point; that of a list without one is every
// certificate of its issuer, and raw is nil.
type scope struct {
	raw                                      []byte
	point                                    *pointName // nil: wherever
	users, authorities, attributes, indirect bool
	reasons                                  reasonFlags
}

// pointName is a DistributionPointName: full names, or one relative to an issuer's,
// the contents of a RelativeDistinguishedName.
type pointName struct {
	full     []generalName
	relative []byte
}

// distributionPoint is one of a certificate's.
type distributionPoint struct {
	name    *pointName // nil: it is with the issuer of the list
	reasons reasonFlags
	issuers []generalName // who makes the list, where that is not the certificate's issuer
}

// maxPoints bounds the distribution points of one certificate, and maxPointNames the
// names of one of them: each is held against each of a list's.
const (
	maxPoints     = 32
	maxPointNames = 32
)

func readScope(value []byte) (scope, bool) {
	s := scope{raw: value, reasons: allReasons}
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || seq.Empty() || len(value) > MaxCertificate {
		return s, false
	}
	var ok bool
	if s.point, ok = readOptionalPointName(&seq); !ok {
		return s, false
	}
	for _, b := range []struct {
		tag  uint8
		into *bool
	}{{1, &s.users}, {2, &s.authorities}, {3, nil}, {4, &s.indirect}, {5, &s.attributes}} {
		tag := der.Tag(b.tag).ContextSpecific()
		if !seq.PeekASN1Tag(tag) {
			continue
		}
		var body cryptobyte.String
		if !seq.ReadASN1(&body, tag) {
			return s, false
		}
		if b.into == nil {
			if s.reasons, ok = readReasons(body); !ok {
				return s, false
			}
			continue
		}
		if len(body) != 1 || body[0] != 0xff { // FALSE is the default, which DER leaves out
			return s, false
		}
		*b.into = true
	}
	only := 0
	for _, b := range []bool{s.users, s.authorities, s.attributes} {
		if b {
			only++
		}
	}
	return s, seq.Empty() && only <= 1
}

// readReasons reads the contents of a BIT STRING of reasons.
func readReasons(body []byte) (reasonFlags, bool) {
	if len(body) < 1 || len(body) > 3 || body[0] > 7 || len(body) == 1 && body[0] != 0 {
		return 0, false
	}
	var f reasonFlags
	for i := range 8 * (len(body) - 1) {
		if body[1+i/8]&(0x80>>(i%8)) != 0 && i < 9 {
			f |= 1 << i
		}
	}
	return f & allReasons, true
}

func readOptionalPointName(in *cryptobyte.String) (*pointName, bool) {
	if !in.PeekASN1Tag(explicit(0)) {
		return nil, true
	}
	var outer, body cryptobyte.String
	if !in.ReadASN1(&outer, explicit(0)) {
		return nil, false
	}
	var p pointName
	var ok bool
	switch {
	case outer.PeekASN1Tag(explicit(0)):
		if !outer.ReadASN1(&body, explicit(0)) {
			return nil, false
		}
		if p.full, ok = readNamesOf(body); !ok {
			return nil, false
		}
	default:
		if !outer.ReadASN1(&body, explicit(1)) || body.Empty() {
			return nil, false
		}
		p.relative = body
	}
	return &p, outer.Empty()
}

// readNamesOf reads the contents of GeneralNames, one or more.
func readNamesOf(in cryptobyte.String) (out []generalName, ok bool) {
	for !in.Empty() {
		n, ok := readGeneralName(&in)
		if !ok || len(out) == maxPointNames {
			return nil, false
		}
		out = append(out, n)
	}
	return out, len(out) > 0
}

// readDistributionPoints reads CRLDistributionPoints.
func readDistributionPoints(value []byte) (out []distributionPoint, ok bool) {
	in := cryptobyte.String(value)
	var list cryptobyte.String
	if !in.ReadASN1(&list, der.SEQUENCE) || !in.Empty() || list.Empty() {
		return nil, false
	}
	for !list.Empty() {
		var one, body cryptobyte.String
		if !list.ReadASN1(&one, der.SEQUENCE) || len(out) == maxPoints {
			return nil, false
		}
		p := distributionPoint{reasons: allReasons}
		if p.name, ok = readOptionalPointName(&one); !ok {
			return nil, false
		}
		if tag := der.Tag(1).ContextSpecific(); one.PeekASN1Tag(tag) {
			if !one.ReadASN1(&body, tag) {
				return nil, false
			}
			if p.reasons, ok = readReasons(body); !ok {
				return nil, false
			}
		}
		if one.PeekASN1Tag(explicit(2)) {
			if !one.ReadASN1(&body, explicit(2)) {
				return nil, false
			}
			if p.issuers, ok = readNamesOf(body); !ok {
				return nil, false
			}
		}
		if !one.Empty() || p.name == nil && p.issuers == nil {
			return nil, false
		}
		out = append(out, p)
	}
	return out, true
}

// points are the certificate's distribution points, or those of its deltas
// (freshestCRL, section 4.2.1.15).
func (c *Certificate) points(arc int) (out []distributionPoint, ok bool) {
	for i := range c.X509.Extensions {
		e := &c.X509.Extensions[i]
		if len(e.Id) == 4 && e.Id[0] == 2 && e.Id[1] == 5 && e.Id[2] == 29 && e.Id[3] == arc {
			return readDistributionPoints(e.Value)
		}
	}
	return nil, true
}

const (
	extDistributionPoints = 31
	extFreshest           = 46
)

// covers says for which reasons for a revocation the list speaks of c, which bears
// the list's issuer as its own; none, and why, where it does not.
func (s *scope) covers(c *Certificate) (reasonFlags, string) {
	switch {
	case s.attributes:
		return 0, "a list of attribute certificates"
	case s.users && c.authority():
		return 0, "a list without authorities' certificates"
	case s.authorities && !c.authority():
		return 0, "a list of authorities' certificates"
	}
	points, ok := c.points(extDistributionPoints)
	switch {
	case s.point == nil: // it covers all, whatever the places are that the certificate names
		return s.reasons, ""
	case !ok:
		return 0, "a list of one distribution point, and the certificate's are not well-formed"
	case len(points) == 0:
		// The place is then the issuer's name (section 6.3.3, at its end).
		own := pointName{full: []generalName{{nameDirectory, string(c.X509.RawIssuer)}}}
		if s.point.meets(&own, c.X509.RawIssuer) {
			return s.reasons, ""
		}
		return 0, "a list of one distribution point, and the certificate has none"
	}
	var all reasonFlags
	for i := range points {
		if p := &points[i]; p.own(c) && s.meets(p, c) {
			all |= s.reasons & p.reasons
		}
	}
	if all == 0 {
		return 0, "a list of another distribution point than the certificate's"
	}
	return all, ""
}

// own says whether the point's list is made by the certificate's issuer.
func (p *distributionPoint) own(c *Certificate) bool {
	if p.issuers == nil {
		return true
	}
	for _, n := range p.issuers {
		if n.kind == nameDirectory && compared([]byte(n.bytes)) == c.issuerName {
			return true
		}
	}
	return false
}

func (s *scope) meets(p *distributionPoint, c *Certificate) bool {
	name := p.name
	if name == nil { // section 6.3.3, (b) (2) (i): one of the issuers' names
		name = &pointName{full: p.issuers}
	}
	return s.point.meets(name, c.X509.RawIssuer)
}

// meets says whether the two share a name. A relative one is made whole by issuer, a
// Name in DER.
func (p *pointName) meets(q *pointName, issuer []byte) bool {
	a, b := p.names(issuer), q.names(issuer)
	for i := range a {
		for j := range b {
			if sameGeneralName(a[i], b[j]) {
				return true
			}
		}
	}
	return false
}

func (p *pointName) names(issuer []byte) []generalName {
	if p.relative == nil {
		return p.full
	}
	in := cryptobyte.String(issuer)
	var rdns cryptobyte.String
	if !in.ReadASN1(&rdns, der.SEQUENCE) {
		return nil
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(rdns)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(p.relative) })
	})
	whole, err := b.Bytes()
	if err != nil {
		return nil
	}
	return []generalName{{nameDirectory, string(whole)}}
}

func sameGeneralName(a, b generalName) bool {
	switch {
	case a.kind != b.kind:
		return false
	case a.kind == nameDirectory:
		return sameName([]byte(a.bytes), []byte(b.bytes))
	case a.kind == nameURI:
		return a.bytes == b.bytes || canonicalURI(a.bytes) == canonicalURI(b.bytes)
	case a.kind == nameDNS:
		return strings.EqualFold(a.bytes, b.bytes)
	}
	return a.bytes == b.bytes
}

// canonicalURI has scheme and host in lower case (section 7.4).
func canonicalURI(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	return identity.Lower(scheme) + "://" + identity.Lower(rest[:end]) + rest[end:]
}

func (s *scope) words() string {
	what := "every certificate of its issuer"
	switch {
	case s.users:
		what = "its issuer's certificates but for authorities'"
	case s.authorities:
		what = "its issuer's certificates of authorities"
	case s.attributes:
		what = "its issuer's attribute certificates"
	}
	if s.indirect {
		what += " and of others"
	}
	if s.point != nil {
		what += " with the distribution point " + s.point.words()
	}
	if s.reasons != allReasons {
		what += ", for these reasons alone: " + s.reasons.words()
	}
	return what
}

func (p *pointName) words() string {
	if p.relative != nil {
		return "relative to its issuer's name"
	}
	first := p.full[0].words()
	if len(p.full) > 1 {
		first += " and " + plural(len(p.full)-1, "other name", "other names")
	}
	return first
}

// urls are the places of points whose lists the certificate's own issuer makes, as
// they are written.
func urls(points []distributionPoint, own func(*distributionPoint) bool) (out []string) {
	for i := range points {
		p := &points[i]
		if p.name == nil || !own(p) {
			continue
		}
		for _, n := range p.name.full {
			if n.kind == nameURI {
				out = append(out, n.bytes)
			}
		}
	}
	return out
}

// RevocationPlaces are where what is known of a certificate's revocation can be
// fetched, by what the certificate says: lists, lists of what has changed, and who
// answers by OCSP. They are URLs as they are written, and whoever made the
// certificate chose them. Indirect says that some list is another issuer's, which is
// not judged here and left out.
type RevocationPlaces struct {
	Lists, Deltas, OCSP []string
	Indirect            bool
}

// RevocationPlaces tells them.
func (c *Certificate) RevocationPlaces() RevocationPlaces {
	var p RevocationPlaces
	own := func(d *distributionPoint) bool {
		if d.own(c) {
			return true
		}
		p.Indirect = true
		return false
	}
	points, _ := c.points(extDistributionPoints)
	p.Lists = urls(points, own)
	deltas, _ := c.points(extFreshest)
	p.Deltas = urls(deltas, own)
	p.OCSP = append(p.OCSP, c.X509.OCSPServer...)
	return p
}

// Deltas are where the list says that what changes after it can be fetched.
func (r *RevocationList) Deltas() []string {
	return urls(r.freshest, func(p *distributionPoint) bool {
		return p.issuers == nil || len(p.issuers) == 1 && p.issuers[0].kind == nameDirectory && compared([]byte(p.issuers[0].bytes)) == r.issuerName
	})
}
