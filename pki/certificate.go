package pki

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/pemfile"
	"github.com/mutual-tls/mutual/internal/suite"
)

// MaxCertificate is the longest certificate that is parsed, in bytes. The
// longest real ones (a hundred names, large RSA keys) have some 10 KiB.
const MaxCertificate = 1 << 16

// Certificate is a parsed certificate. It is immutable, may be shared, and must
// not be changed; nothing in it has been verified.
type Certificate struct {
	// Raw is the certificate in DER.
	Raw []byte
	// X509 is what the standard library makes of it. Its methods that verify
	// anything are not used, and not to be relied on.
	X509 *x509.Certificate
	// Key is the public key, id-RSASSA-PSS keys included; nil where the key is of
	// a kind that is not supported, and no path stands on such a certificate.
	Key *suite.PublicKey
	// DNS, IPs and URIs are the subject alternative names, as they are written.
	DNS  []string
	IPs  []netip.Addr
	URIs []string
	// SPIFFE is the certificate's SPIFFE ID. A certificate with several URIs, or
	// one that is no SPIFFE ID, has none (X.509-SVID, section 2).
	SPIFFE string
	// SHA256 is the hash of Raw.
	SHA256 [sha256.Size]byte

	// What the search asks for again and again, worked out once.
	subject, issuer uint64 // hashes of the names, as they are compared
	subjectName     string // as it is compared
	issuerName      string
	algorithm       []byte // of the signature, an AlgorithmIdentifier in DER
	signature       []byte
	algorithmCode   code.Code // "" where accepted
	keyCode         code.Code // "" where usable
	keyError        error
	critical        string // the first critical extension that is not known
	faults          []fault
	alt             []generalName // every subject alternative name
	constraints     *constraints  // nil for none
	policies        *policies     // nil for none
	hasAlt          bool
	altCritical     bool
	hasKeyUsage     bool
	hasUsages       bool
	usages          usages
	selfIssued      bool
	integrity       integrity
}

// Parse reads one certificate in DER. It copies der. What was verified lately is
// not parsed again: the result may be shared with other callers.
func Parse(der []byte) (*Certificate, error) {
	if len(der) > MaxCertificate {
		return nil, fmt.Errorf("the certificate has %d bytes; at most %d are taken", len(der), MaxCertificate)
	}
	sum := sha256.Sum256(der)
	if c := verified.get(&sum); c != nil {
		return c, nil
	}
	return parse(bytes.Clone(der), sum)
}

// ParseChain parses certificates as a peer shows them. The error is a
// *ParseError, which Refused makes a Verdict of.
func ParseChain(chain [][]byte) ([]*Certificate, error) {
	out := make([]*Certificate, len(chain))
	for i, der := range chain {
		c, err := Parse(der)
		if err != nil {
			return nil, &ParseError{Link: i, Err: err}
		}
		out[i] = c
	}
	return out, nil
}

// ParseError says which certificate of a chain does not parse. Link counts from 0.
type ParseError struct {
	Link int
	Err  error
}

// Error is the reason in one line.
func (e *ParseError) Error() string {
	return fmt.Sprintf("certificate %d of the chain does not parse: %v", e.Link+1, e.Err)
}

// Unwrap is the reason.
func (e *ParseError) Unwrap() error { return e.Err }

// maxBlocks is how many certificates one file may hold: all the Web's authorities
// are some hundred and fifty.
const maxBlocks = 10000

// ParsePEM reads every certificate in b. What is between PEM blocks is comment.
// A block that is not a certificate or is cut off is an error, and so is a file
// with none: fewer anchors than were written are never taken.
func ParsePEM(b []byte) ([]*Certificate, error) {
	blocks, err := pemfile.Blocks(b, maxBlocks)
	if err != nil {
		return nil, err
	}
	var out []*Certificate
	for i, block := range blocks {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("PEM block %d is %s, expected CERTIFICATE; give certificates only", i+1, identity.Quote(block.Type))
		}
		c, err := Parse(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", i+1, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		if len(b) > 0 && b[0] == 0x30 {
			return nil, errors.New(`expected PEM ("-----BEGIN CERTIFICATE-----"), found what looks like DER; convert it with "openssl x509 -inform der -in FILE -out FILE.pem"`)
		}
		return nil, errors.New(`expected at least one PEM block "-----BEGIN CERTIFICATE-----", found none`)
	}
	return out, nil
}

var seed = maphash.MakeSeed()

func parse(raw []byte, sum [sha256.Size]byte) (*Certificate, error) {
	x, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, fmt.Errorf("not a certificate: %s", cut(err.Error()))
	}
	c := &Certificate{
		Raw: raw, X509: x, DNS: x.DNSNames, SHA256: sum,
		subjectName: compared(x.RawSubject), issuerName: compared(x.RawIssuer),
	}
	c.subject, c.issuer = maphash.String(seed, c.subjectName), maphash.String(seed, c.issuerName)
	c.selfIssued = c.subjectName == c.issuerName
	var f fields
	if err := c.readSignature(&f); err != nil {
		return nil, err
	}
	if err := c.readExtensions(&f); err != nil {
		return nil, err
	}
	for _, ip := range x.IPAddresses {
		a, ok := netip.AddrFromSlice(ip)
		if !ok {
			return nil, errors.New("an IP address in the certificate has neither 4 nor 16 bytes")
		}
		c.IPs = append(c.IPs, a)
	}
	if len(c.URIs) == 1 && identity.ValidSPIFFE(c.URIs[0]) {
		c.SPIFFE = c.URIs[0]
	}
	c.readKey()
	c.readForm(&f)
	return c, nil
}

// fields are parts of a certificate that are looked at once, when it is parsed.
type fields struct {
	times     [2]der.Tag // of notBefore and notAfter
	loose     bool       // one of them is not to the second, in UTC
	uniqueIDs bool
	// The known extensions by their number below; value is nil where there is none.
	value      [64][]byte
	critical   [64]bool
	pathLength bool
}

func (c *Certificate) readKey() {
	key, err := suite.ParsePublicKey(c.X509.RawSubjectPublicKeyInfo)
	if err != nil {
		c.keyError, c.keyCode = err, code.UnsupportedKey
		if _, ok := c.X509.PublicKey.(*rsa.PublicKey); ok {
			c.keyCode = code.WeakKey
		}
		return
	}
	c.Key = key
	if k, ok := key.Key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSA {
		c.keyCode = code.WeakKey
	}
}

// readSignature takes out the signature and its algorithm, which stands in the
// certificate twice: once signed, once not. RFC 5280, section 4.1.1.2, wants the
// two to be equal; were they not, the unsigned one would rule.
func (c *Certificate) readSignature(f *fields) error {
	in := cryptobyte.String(c.Raw)
	var whole, tbs, outer, inner, validity cryptobyte.String
	var times [2]cryptobyte.String
	ok := in.ReadASN1(&whole, der.SEQUENCE) && in.Empty() &&
		whole.ReadASN1(&tbs, der.SEQUENCE) &&
		whole.ReadASN1Element(&outer, der.SEQUENCE) &&
		whole.ReadASN1BitStringAsBytes(&c.signature) && whole.Empty() &&
		tbs.SkipOptionalASN1(der.Tag(0).ContextSpecific().Constructed()) &&
		tbs.SkipASN1(der.INTEGER) &&
		tbs.ReadASN1Element(&inner, der.SEQUENCE) &&
		tbs.SkipASN1(der.SEQUENCE) && // issuer
		tbs.ReadASN1(&validity, der.SEQUENCE) &&
		validity.ReadAnyASN1(&times[0], &f.times[0]) &&
		validity.ReadAnyASN1(&times[1], &f.times[1]) && validity.Empty() &&
		tbs.SkipASN1(der.SEQUENCE) && tbs.SkipASN1(der.SEQUENCE) // subject, key
	if !ok {
		return errors.New("not a certificate: its outer structure is not well-formed DER")
	}
	f.uniqueIDs = tbs.PeekASN1Tag(der.Tag(1).ContextSpecific()) || tbs.PeekASN1Tag(der.Tag(2).ContextSpecific())
	if !bytes.Equal(inner, outer) {
		return errors.New("the certificate names one signature algorithm in its signed part and another outside")
	}
	for i, t := range times {
		whole := len("YYMMDDHHMMSSZ")
		if f.times[i] == der.GeneralizedTime {
			whole = len("YYYYMMDDHHMMSSZ")
		}
		f.loose = f.loose || len(t) != whole || t[whole-1] != 'Z'
	}
	c.algorithm = outer
	c.algorithmCode, _ = judgeAlgorithm(outer)
	return nil
}

// The extensions that are known, by the last arc of 2.5.29 (RFC 5280, section 4.2.1).
const (
	extSubjectKeyID      = 14
	extKeyUsage          = 15
	extSAN               = 17
	extBasic             = 19
	extNameConstraints   = 30
	extPolicies          = 32
	extMappings          = 33
	extAuthorityKeyID    = 35
	extPolicyConstraints = 36
	extUsages            = 37
	extInhibitAny        = 54

	extAuthorityInfo = 63 // 1.3.6.1.5.5.7.1.1, which must not be critical (section 4.2.2.1)
)

var oidAuthorityInfo = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}

// knownExtension is the number of an extension that is known here, -1 for others.
func knownExtension(oid asn1.ObjectIdentifier) int {
	if len(oid) == 4 && oid[0] == 2 && oid[1] == 5 && oid[2] == 29 {
		switch oid[3] {
		case extSubjectKeyID, extKeyUsage, extSAN, extBasic, extNameConstraints, extPolicies,
			extMappings, extAuthorityKeyID, extPolicyConstraints, extUsages, extInhibitAny:
			return oid[3]
		}
	}
	return -1
}

func (c *Certificate) readExtensions(f *fields) error {
	for i := range c.X509.Extensions {
		e := &c.X509.Extensions[i]
		arc := knownExtension(e.Id)
		if arc < 0 {
			if e.Critical && c.critical == "" {
				c.critical = e.Id.String()
			}
			if !e.Id.Equal(oidAuthorityInfo) {
				continue
			}
			arc = extAuthorityInfo
		}
		f.value[arc], f.critical[arc] = e.Value, e.Critical
		if f.value[arc] == nil {
			f.value[arc] = []byte{}
		}
	}
	c.hasKeyUsage = f.value[extKeyUsage] != nil
	c.hasUsages = f.value[extUsages] != nil
	c.hasAlt, c.altCritical = f.value[extSAN] != nil, f.critical[extSAN]
	f.pathLength = c.X509.BasicConstraintsValid && hasPathLength(f.value[extBasic])
	if c.hasAlt {
		var ok bool
		// As they are written: what net/url makes of a URI may differ, and a name
		// is compared by its bytes.
		if c.alt, ok = readGeneralNames(f.value[extSAN]); !ok {
			return errors.New("the certificate's subject alternative names are not well-formed DER")
		}
		for i := range c.alt {
			if c.alt[i].kind == nameURI {
				c.URIs = append(c.URIs, c.alt[i].bytes)
			}
		}
	}
	for _, u := range c.X509.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			c.usages |= usageServer
		case x509.ExtKeyUsageClientAuth:
			c.usages |= usageClient
		case x509.ExtKeyUsageAny:
			c.usages |= usageAny
		}
	}
	return nil
}

// hasPathLength says whether BasicConstraints, whose form is known to be right,
// has a path length.
func hasPathLength(value []byte) bool {
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	return in.ReadASN1(&seq, der.SEQUENCE) && seq.SkipOptionalASN1(der.BOOLEAN) && seq.PeekASN1Tag(der.INTEGER)
}

// NotBefore is when the certificate begins.
func (c *Certificate) NotBefore() time.Time { return c.X509.NotBefore }

// NotAfter is the last second in which the certificate stands.
func (c *Certificate) NotAfter() time.Time { return c.X509.NotAfter }

// Serial is the serial number in hex, lower case, as `openssl x509 -serial`
// prints it but for the case.
func (c *Certificate) Serial() string {
	b := c.X509.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	if c.X509.SerialNumber.Sign() < 0 {
		return "-" + hex.EncodeToString(b)
	}
	return hex.EncodeToString(b)
}

// Names are the DNS names, the IP addresses and the URIs of the certificate, as
// they are written. They are a peer's bytes: quote them before printing.
func (c *Certificate) Names() []string {
	out := make([]string, 0, len(c.DNS)+len(c.IPs)+len(c.URIs))
	out = append(out, c.DNS...)
	for _, ip := range c.IPs {
		out = append(out, ip.String())
	}
	return append(out, c.URIs...)
}

// Emails are the email addresses of the certificate, as they are written.
func (c *Certificate) Emails() []string {
	var out []string
	for i := range c.alt {
		if c.alt[i].kind == nameEmail {
			out = append(out, c.alt[i].bytes)
		}
	}
	return out
}

// Label is what to call the certificate in words: a name or, lacking that, as
// authorities do, its common name, its organisation or its serial number; quoted and
// cut. The common name comes second, because whoever asks for a certificate may
// write another's there: it is never a name.
func (c *Certificate) Label() string {
	switch n := &c.X509.Subject; {
	case len(c.DNS) > 0:
		return identity.Quote(c.DNS[0])
	case len(c.URIs) > 0:
		return identity.Quote(c.URIs[0])
	case n.CommonName != "":
		return identity.Quote(n.CommonName)
	case len(n.Organization) > 0:
		return identity.Quote(n.Organization[0])
	}
	return "serial " + cut(c.Serial())
}

// IssuerLabel is Label for who issued the certificate.
func (c *Certificate) IssuerLabel() string {
	switch n := &c.X509.Issuer; {
	case n.CommonName != "":
		return identity.Quote(n.CommonName)
	case len(n.Organization) > 0:
		return identity.Quote(n.Organization[0])
	}
	return "a nameless issuer"
}

// SelfIssued says that subject and issuer are one name, by RFC 5280, section 7.1:
// it may be written in two ways.
func (c *Certificate) SelfIssued() bool { return c.selfIssued }

// Equal says that the two are the same certificate, byte for byte.
func (c *Certificate) Equal(d *Certificate) bool {
	return c == d || c != nil && d != nil && c.SHA256 == d.SHA256
}

func (c *Certificate) sameEntity(d *Certificate) bool {
	return c.subject == d.subject && c.subjectName == d.subjectName &&
		bytes.Equal(c.X509.RawSubjectPublicKeyInfo, d.X509.RawSubjectPublicKeyInfo)
}

// IssuedInName says that c names d as its issuer. It says nothing of signatures.
func (c *Certificate) IssuedInName(d *Certificate) bool { return c.issuedBy(d) }

func (c *Certificate) issuedBy(d *Certificate) bool {
	return c.issuer == d.subject && c.issuerName == d.subjectName
}
