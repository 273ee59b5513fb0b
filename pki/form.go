package pki

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
)

// fault writes down that the certificate leaves a form.
func (c *Certificate) fault(in profileSet, expected, found string) {
	c.faults = append(c.faults, fault{in: in, code: code.CertificateForm, expected: expected, found: found})
}

// authority says whether the certificate says of itself that it is an authority's.
func (c *Certificate) authority() bool { return c.X509.BasicConstraintsValid && c.X509.IsCA }

// emptySubject says that the subject is a Name without parts: "30 00".
func (c *Certificate) emptySubject() bool { return len(c.X509.RawSubject) <= 2 }

// readForm holds the certificate to the forms of all profiles, once. What is
// looked for is in RFC 5280 where no other place is named.
func (c *Certificate) readForm(f *fields) {
	x := c.X509
	if x.Version != 3 {
		c.fault(inRFC, "a certificate of version 3", "version "+itoa(x.Version))
	}
	// Section 4.1.2.2: a positive number of at most 20 bytes.
	if x.SerialNumber.Sign() <= 0 || x.SerialNumber.BitLen()/8+1 > 20 {
		c.fault(inRFC, "a positive serial number of at most 20 bytes", "serial "+cut(c.Serial()))
	}
	if len(x.RawIssuer) <= 2 {
		c.fault(everywhere, "an issuer that has a name", "an empty issuer")
	}
	if c.emptySubject() && c.authority() {
		c.fault(everywhere, "an authority that has a name", "an empty subject")
	}
	if c.emptySubject() && !c.authority() && !c.altCritical {
		c.fault(inRFC, "a critical subject alternative name where the subject is empty", "one that is not critical, or none")
	}
	c.readTimes(f)
	if f.uniqueIDs {
		c.fault(inRFC, "no unique identifiers beside the names (section 4.1.2.8)", "one")
	}
	c.readKeyIdentifiers(f)
	c.readAuthorityForm(f)
	c.readUsageForm(f)
	c.readNamesForm()
	c.readWebForm(f)
	c.readSVIDForm(f)
}

// readTimes: section 4.1.2.5: UTCTime through the year 2049, GeneralizedTime from 2050.
func (c *Certificate) readTimes(f *fields) {
	for i, at := range []time.Time{c.X509.NotBefore, c.X509.NotAfter} {
		if want := at.Year() < 2050 && at.Year() >= 1950; want != (f.times[i] == der.UTCTime) {
			c.fault(inRFC, "UTCTime for years to 2049 and GeneralizedTime for later ones", "the other form for "+stamp(at))
		}
	}
	if f.loose {
		c.fault(inRFC, "times to the second, in UTC", "one in another form")
	}
	if c.X509.NotAfter.Before(c.X509.NotBefore) {
		c.fault(everywhere, "an end after the beginning", "an end before it")
	}
}

func (c *Certificate) readKeyIdentifiers(f *fields) {
	if f.critical[extAuthorityKeyID] || f.critical[extSubjectKeyID] {
		c.fault(inRFC, "key identifiers that are not critical", "a critical one")
	}
	if f.value[extAuthorityKeyID] == nil {
		if !c.selfIssued { // section 4.2.1.1: who signs itself may leave it out
			c.fault(inRFC, "an authority key identifier, by which to find the issuer", "none")
			c.faults[len(c.faults)-1].sparesAnchor = true // it signs itself, or is not intact
		}
	} else if id, other, ok := readAuthorityKeyID(f.value[extAuthorityKeyID]); !ok {
		c.fault(everywhere, "a well-formed authority key identifier", "one that is not")
	} else {
		if !c.selfIssued && len(id) == 0 {
			c.fault(inRFC, "an authority key identifier that names a key", "one that does not")
		}
		if other {
			c.fault(inWebPKI, "an authority key identifier without issuer and serial number", "one with them")
		}
		if c.selfIssued && c.authority() && (len(id) == 0 || string(id) != string(c.X509.SubjectKeyId)) {
			c.fault(inWebPKI, "a root whose authority key identifier is its own", "another one")
		}
	}
	if c.authority() && len(c.X509.SubjectKeyId) == 0 {
		c.fault(inRFC, "a subject key identifier in an authority's certificate", "none")
	}
}

// readAuthorityKeyID reads AuthorityKeyIdentifier; other says that it has issuer
// and serial number.
func readAuthorityKeyID(value []byte) (id []byte, other, ok bool) {
	in := cryptobyte.String(value)
	var seq, key, names, serial cryptobyte.String
	var hasNames, hasSerial bool
	ok = in.ReadASN1(&seq, der.SEQUENCE) && in.Empty() &&
		seq.ReadOptionalASN1(&key, nil, der.Tag(0).ContextSpecific()) &&
		seq.ReadOptionalASN1(&names, &hasNames, der.Tag(1).ContextSpecific().Constructed()) &&
		seq.ReadOptionalASN1(&serial, &hasSerial, der.Tag(2).ContextSpecific()) && seq.Empty()
	return key, hasNames || hasSerial, ok
}

func (c *Certificate) readAuthorityForm(f *fields) {
	x := c.X509
	signs := x.KeyUsage&x509.KeyUsageCertSign != 0
	if c.authority() && !f.critical[extBasic] {
		c.fault(inRFC, "basic constraints that are critical in an authority's certificate", "basic constraints that are not")
	}
	if f.pathLength && (!c.authority() || c.hasKeyUsage && !signs) {
		c.fault(inRFC, "a path length in an authority's certificate only", "one where no certificate may be signed")
	}
	if c.hasKeyUsage && signs && !c.authority() {
		c.fault(inRFC, "key usage keyCertSign in an authority's certificate only", "keyCertSign and CA:FALSE")
	}
	if c.hasKeyUsage && x.KeyUsage == 0 {
		c.fault(inRFC, "a key usage that names one", "an empty key usage")
	}
	if v := f.value[extNameConstraints]; v != nil {
		k, wrong, dotted := readConstraints(v)
		c.constraints = k
		switch {
		case wrong != "":
			c.fault(everywhere, "name constraints that can be judged", wrong)
		case !c.authority():
			c.fault(everywhere, "name constraints in an authority's certificate only", "name constraints and CA:FALSE")
		}
		if dotted {
			c.fault(inRFC, "DNS constraints without a leading dot", "a leading dot")
		}
		if !f.critical[extNameConstraints] {
			c.fault(inRFCAlone, "name constraints that are critical", "name constraints that are not")
		}
	}
	for _, arc := range []int{extPolicyConstraints, extInhibitAny} {
		if f.value[arc] != nil && !f.critical[arc] {
			c.fault(inRFC, "policy constraints that are critical", "policy constraints that are not")
		}
	}
	if wrong := c.readPolicies(f); wrong != "" {
		c.fault(everywhere, "policies that can be judged", wrong)
	}
}

func (c *Certificate) readUsageForm(f *fields) {
	if c.hasUsages && len(c.X509.ExtKeyUsage)+len(c.X509.UnknownExtKeyUsage) == 0 {
		c.faults = append(c.faults, fault{in: inRFC, code: code.WrongUsage, expected: "an extended key usage that names one", found: "an extended key usage that lists none"})
	}
	if v := f.value[extAuthorityInfo]; v != nil {
		switch ok, plain := readAccess(v); {
		case !ok:
			c.fault(inRFC, "an authority information access that is well-formed", "one that is not")
		case !plain: // Baseline Requirements, section 7.1.2.7.7
			c.fault(inWebPKI, "an authority information access of OCSP and issuers at http:// alone", "another one")
		}
	}
}

// readAccess: AuthorityInfoAccessSyntax has one description or more, each a method
// and a place (section 4.2.2.1). plain says that each is of the two methods that there
// are, and at an HTTP URL.
func readAccess(value []byte) (ok, plain bool) {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || seq.Empty() {
		return false, false
	}
	plain = true
	for !seq.Empty() {
		var one, method cryptobyte.String
		if !seq.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1(&method, der.OBJECT_IDENTIFIER) {
			return false, false
		}
		place, ok := readGeneralName(&one)
		if !ok || !one.Empty() {
			return false, false
		}
		const ocsp, issuers = "\x2b\x06\x01\x05\x05\x07\x30\x01", "\x2b\x06\x01\x05\x05\x07\x30\x02"
		plain = plain && (string(method) == ocsp || string(method) == issuers) &&
			place.kind == nameURI && len(place.bytes) > 7 && identity.EqualFold(place.bytes[:7], "http://")
	}
	return true, plain
}

// readNamesForm: section 4.2.1.6.
func (c *Certificate) readNamesForm() {
	if c.hasAlt && len(c.alt) == 0 {
		c.fault(inRFC, "a subject alternative name that holds one", "one that holds none")
	}
	for i := range c.alt {
		n := &c.alt[i]
		good, form := true, ""
		switch n.kind {
		case nameDNS:
			form = "DNS names of letters, digits, hyphens and dots, or such ones behind \"*.\""
			good = preferredDNS(strings.TrimPrefix(n.bytes, "*."))
		case nameEmail:
			form = "email addresses as in who@example.com"
			_, _, good = splitEmail(n.bytes)
		case nameURI:
			form = "URIs that begin with a scheme"
			colon := strings.IndexByte(n.bytes, ':')
			good = colon > 0 && colon+1 < len(n.bytes) && validScheme(n.bytes[:colon])
		case nameIP:
			form = "IP addresses of 4 or 16 bytes"
			good = len(n.bytes) == 4 || len(n.bytes) == 16
		case nameDirectory:
			form = "directory names that are well-formed DER"
			_, good = readDirectoryName(n.bytes)
		}
		if !good {
			c.fault(inRFC, form, n.words())
			return // one is enough, and there may be thousands
		}
	}
}

// The longest validity of a server's certificate, in days, by the day of its
// issue (Baseline Requirements, section 6.3.2). What was issued before is old
// enough to have ended.
var longest = []struct {
	from time.Time
	days int
}{
	{time.Date(2029, 3, 15, 0, 0, 0, 0, time.UTC), 47},
	{time.Date(2027, 3, 15, 0, 0, 0, 0, time.UTC), 100},
	{time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC), 200},
	{time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC), 398},
	{time.Date(2018, 3, 1, 0, 0, 0, 0, time.UTC), 825},
}

// readWebForm: the Baseline Requirements, section 7.1, and 6.1.5 for keys.
func (c *Certificate) readWebForm(f *fields) {
	x := c.X509
	if c.Key != nil {
		switch k := c.Key.Key.(type) {
		case *rsa.PublicKey:
			if k.N.BitLen()%8 != 0 {
				c.faults = append(c.faults, fault{in: inWebPKI, code: code.WeakKey, expected: "an RSA modulus of whole bytes", found: itoa(k.N.BitLen()) + " bits"})
			}
		case *ecdsa.PublicKey:
		default:
			c.faults = append(c.faults, fault{in: inWebPKI, code: code.UnsupportedKey, expected: "an RSA or ECDSA key", found: c.keyName()})
		}
	}
	if c.authority() {
		if !c.hasKeyUsage {
			c.fault(inWebPKI, "a key usage in an authority's certificate", "none")
		}
		if c.selfIssued && c.hasUsages {
			c.fault(inWebPKI, "a root without extended key usages", c.usagesWords())
		}
		return
	}
	if !c.hasUsages {
		c.fault(onWeb, "an extended key usage", "none")
	}
	if c.usages&usageAny != 0 || f.critical[extUsages] {
		c.fault(inWebPKI, "an extended key usage that is not critical, and not for any use", c.usagesWords())
	}
	if !c.hasAlt {
		c.faults = append(c.faults, fault{in: onWeb, code: code.NoNames, expected: "a subject alternative name", found: "none"})
	}
	if c.altCritical && !c.emptySubject() { // section 7.1.2.7.12
		c.fault(inWebPKI, "a subject alternative name that is not critical beside a subject", "a critical one")
	}
	for i := range c.alt {
		if k := c.alt[i].kind; k != nameDNS && k != nameIP { // section 7.1.2.7.12
			c.fault(inWebPKI, "subject alternative names that are DNS names and IP addresses alone", "")
			break
		}
	}
	for _, l := range longest {
		if x.NotBefore.Before(l.from) {
			continue
		}
		if whole := x.NotAfter.Sub(x.NotBefore) + time.Second; whole > time.Duration(l.days)*24*time.Hour {
			c.fault(onWeb, "a validity of at most "+plural(l.days, "day", "days")+" for what was issued on "+stamp(x.NotBefore),
				ago(whole))
		}
		break
	}
	c.readCommonName()
}

// readCommonName: section 7.1.4.3: a common name is a copy of one of the names.
// That of the domain behind a wildcard is let pass.
func (c *Certificate) readCommonName() {
	var names []string
	for _, a := range c.X509.Subject.Names {
		if len(a.Type) == 4 && a.Type[0] == 2 && a.Type[1] == 5 && a.Type[2] == 4 && a.Type[3] == 3 {
			s, _ := a.Value.(string)
			names = append(names, s)
		}
	}
	if len(names) == 0 {
		return
	}
	cn, found := names[0], false
	if ip, err := netip.ParseAddr(cn); err == nil {
		found = ip.String() == cn && slices.Contains(c.IPs, ip)
	} else {
		found = slices.ContainsFunc(c.DNS, func(d string) bool { return d == cn || strings.TrimPrefix(d, "*.") == cn })
	}
	if !found || len(names) > 1 {
		c.fault(inWebPKI, commonNameRule, "common name "+identity.Quote(cn))
	}
}

const commonNameRule = "a common name, if any, that is one of the subject alternative names"

// readSVIDForm: X.509-SVID, sections 2 to 4.
func (c *Certificate) readSVIDForm(f *fields) {
	x := c.X509
	var id identity.SPIFFE
	none := c.SPIFFE == ""
	if !none { // it is known to be one
		id, _ = identity.ParseSPIFFE(c.SPIFFE)
	}
	if c.authority() {
		switch {
		case len(c.URIs) > 1 || len(c.URIs) == 1 && none:
			c.fault(inSVID, "a signing certificate with at most one URI, a SPIFFE ID", plural(len(c.URIs), "URI", "URIs"))
		case !none && id.Path() != "":
			c.fault(inSVID, "a signing certificate's SPIFFE ID without a path", identity.Quote(c.SPIFFE))
		}
		if !c.hasKeyUsage {
			c.fault(inSVID, "key usage keyCertSign", "no key usage")
		}
		return
	}
	switch {
	case none: // what there is instead is told when somebody asks: this is nearly every certificate
		c.faults = append(c.faults, fault{in: inSVID, code: code.WrongName, expected: "one URI, a SPIFFE ID"})
	case id.Path() == "":
		c.faults = append(c.faults, fault{in: inSVID, code: code.WrongName, expected: "a SPIFFE ID with a path", found: identity.Quote(c.SPIFFE)})
	}
	const signing = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	if !c.hasKeyUsage || !f.critical[extKeyUsage] || x.KeyUsage&signing != 0 {
		c.fault(inSVID, "a critical key usage without keyCertSign and cRLSign", c.keyUsageWords())
	}
}
