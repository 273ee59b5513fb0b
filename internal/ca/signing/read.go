package signing

import (
	"bytes"
	"errors"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/suite"
)

// paper is a TBSCertificate as it reads: what the rules judge is what stands in
// the bytes, not what somebody meant to write there.
type paper struct {
	version             int64
	serial              []byte // the INTEGER's contents
	algorithm           []byte
	issuer, subject     []byte
	commonNames         []string
	otherAttributes     int
	notBefore, notAfter time.Time
	spki                []byte
	key                 *suite.PublicKey
	keyError            error
	extensions          []extension

	// Out of the extensions; a zero value where the extension is absent.
	ca             bool
	pathLen        int64 // -1: none
	keyUsage       []byte
	usages         []string
	dns            []string
	ips            []netip.Addr
	uris           []string
	otherNames     int
	subjectKeyID   []byte
	authorityKeyID []byte
}

type extension struct {
	oid      string
	critical bool
	value    cryptobyte.String
}

var errTBS = errors.New("the bytes to be signed are not a well-formed TBSCertificate in DER")

func read(tbs []byte) (*paper, error) {
	in := cryptobyte.String(tbs)
	var body, version, serial, algorithm, issuer, validity, subject, spki, wrapped, extensions cryptobyte.String
	p := &paper{pathLen: -1}
	ok := in.ReadASN1(&body, der.SEQUENCE) && in.Empty() &&
		body.ReadASN1(&version, der.Tag(0).Constructed().ContextSpecific()) &&
		version.ReadASN1Integer(&p.version) && version.Empty() &&
		body.ReadASN1(&serial, der.INTEGER) &&
		body.ReadASN1Element(&algorithm, der.SEQUENCE) &&
		body.ReadASN1Element(&issuer, der.SEQUENCE) &&
		body.ReadASN1(&validity, der.SEQUENCE) &&
		readTime(&validity, &p.notBefore) && readTime(&validity, &p.notAfter) && validity.Empty() &&
		body.ReadASN1Element(&subject, der.SEQUENCE) &&
		body.ReadASN1Element(&spki, der.SEQUENCE) &&
		body.ReadASN1(&wrapped, der.Tag(3).Constructed().ContextSpecific()) && body.Empty() &&
		wrapped.ReadASN1(&extensions, der.SEQUENCE) && wrapped.Empty()
	if !ok || !p.readSubject(subject) {
		return nil, errTBS
	}
	p.serial, p.algorithm, p.issuer, p.subject, p.spki = serial, algorithm, issuer, subject, spki
	p.key, p.keyError = suite.ParsePublicKey(spki)
	for !extensions.Empty() {
		var e, oid cryptobyte.String
		x := extension{}
		if !extensions.ReadASN1(&e, der.SEQUENCE) || !e.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
			e.PeekASN1Tag(der.BOOLEAN) && (!e.ReadASN1Boolean(&x.critical) || !x.critical) ||
			!e.ReadASN1(&x.value, der.OCTET_STRING) || !e.Empty() {
			return nil, errTBS
		}
		x.oid = string(oid)
		p.extensions = append(p.extensions, x)
		if !p.readExtension(x) {
			return nil, errTBS
		}
	}
	return p, nil
}

// readTime takes one of the two forms, and only the one that the year asks for.
func readTime(in *cryptobyte.String, t *time.Time) bool {
	if in.PeekASN1Tag(der.UTCTime) {
		return in.ReadASN1UTCTime(t)
	}
	return in.ReadASN1GeneralizedTime(t) && t.Year() >= 2050
}

func (p *paper) readSubject(name cryptobyte.String) bool {
	var rdns cryptobyte.String
	if !name.ReadASN1(&rdns, der.SEQUENCE) {
		return false
	}
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, der.SET) || set.Empty() {
			return false
		}
		for !set.Empty() {
			var pair, oid, value cryptobyte.String
			var tag der.Tag
			if !set.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
				!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
				return false
			}
			if string(oid) == oidCommonName && (tag == der.UTF8String || tag == der.PrintableString) {
				p.commonNames = append(p.commonNames, string(value))
			} else {
				p.otherAttributes++
			}
		}
	}
	return true
}

// readExtension reads an extension that is known; one that is not has no say, and
// is refused by a rule.
func (p *paper) readExtension(x extension) bool {
	v := x.value
	var seq cryptobyte.String
	switch x.oid {
	case oidSubjectKeyID:
		var id cryptobyte.String
		ok := v.ReadASN1(&id, der.OCTET_STRING) && v.Empty()
		p.subjectKeyID = id
		return ok
	case oidAuthorityKeyID:
		var id cryptobyte.String
		ok := v.ReadASN1(&seq, der.SEQUENCE) && v.Empty() && seq.ReadASN1(&id, der.Tag(0).ContextSpecific()) && seq.Empty()
		p.authorityKeyID = id
		return ok
	case oidBasic:
		if !v.ReadASN1(&seq, der.SEQUENCE) || !v.Empty() {
			return false
		}
		if seq.PeekASN1Tag(der.BOOLEAN) && (!seq.ReadASN1Boolean(&p.ca) || !p.ca) {
			return false
		}
		if seq.PeekASN1Tag(der.INTEGER) && (!seq.ReadASN1Integer(&p.pathLen) || p.pathLen < 0) {
			return false
		}
		return seq.Empty()
	case oidKeyUsage:
		ok := v.ReadASN1(&seq, der.BIT_STRING) && v.Empty()
		p.keyUsage = bytes.Clone(seq)
		return ok
	case oidUsages:
		if !v.ReadASN1(&seq, der.SEQUENCE) || !v.Empty() || seq.Empty() {
			return false
		}
		for !seq.Empty() {
			var oid cryptobyte.String
			if !seq.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
				return false
			}
			p.usages = append(p.usages, string(oid))
		}
	case oidSAN:
		return p.readNames(v)
	}
	return true
}

func (p *paper) readNames(v cryptobyte.String) bool {
	var names cryptobyte.String
	if !v.ReadASN1(&names, der.SEQUENCE) || !v.Empty() {
		return false
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag der.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return false
		}
		switch tag {
		case tagDNS:
			p.dns = append(p.dns, string(name))
		case tagURI:
			p.uris = append(p.uris, string(name))
		case tagIP:
			ip, ok := netip.AddrFromSlice(name)
			if !ok {
				return false
			}
			p.ips = append(p.ips, ip)
		default:
			p.otherNames++
		}
	}
	return true
}

// has counts the extensions with an object identifier.
func (p *paper) has(oid string) (n int, critical bool) {
	for _, x := range p.extensions {
		if x.oid == oid {
			n, critical = n+1, x.critical
		}
	}
	return n, critical
}
