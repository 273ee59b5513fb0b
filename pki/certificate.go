package pki

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
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
	subject, issuer uint64 // hashes of the raw names
	algorithm       []byte // of the signature, an AlgorithmIdentifier in DER
	signature       []byte
	algorithmCode   code.Code // "" where accepted
	keyCode         code.Code // "" where usable
	keyError        error
	critical        string // the first critical extension that is not known
	constrained     bool   // has name constraints
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
		subject:    maphash.Bytes(seed, x.RawSubject),
		issuer:     maphash.Bytes(seed, x.RawIssuer),
		selfIssued: bytes.Equal(x.RawSubject, x.RawIssuer),
	}
	if err := c.readSignature(); err != nil {
		return nil, err
	}
	if err := c.readExtensions(); err != nil {
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
	return c, nil
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
func (c *Certificate) readSignature() error {
	in := cryptobyte.String(c.Raw)
	var whole, tbs, outer, inner cryptobyte.String
	ok := in.ReadASN1(&whole, der.SEQUENCE) && in.Empty() &&
		whole.ReadASN1(&tbs, der.SEQUENCE) &&
		whole.ReadASN1Element(&outer, der.SEQUENCE) &&
		whole.ReadASN1BitStringAsBytes(&c.signature) && whole.Empty() &&
		tbs.SkipOptionalASN1(der.Tag(0).ContextSpecific().Constructed()) &&
		tbs.SkipASN1(der.INTEGER) &&
		tbs.ReadASN1Element(&inner, der.SEQUENCE)
	if !ok {
		return errors.New("not a certificate: its outer structure is not well-formed DER")
	}
	if !bytes.Equal(inner, outer) {
		return errors.New("the certificate names one signature algorithm in its signed part and another outside")
	}
	c.algorithm = outer
	c.algorithmCode, _ = judgeAlgorithm(outer)
	return nil
}

// The extensions that are known, by the last arc of 2.5.29 (RFC 5280, section 4.2.1).
const (
	extSubjectKeyID    = 14
	extKeyUsage        = 15
	extSAN             = 17
	extBasic           = 19
	extNameConstraints = 30
	extAuthorityKeyID  = 35
	extUsages          = 37
)

func (c *Certificate) readExtensions() error {
	for _, e := range c.X509.Extensions {
		arc := -1
		if len(e.Id) == 4 && e.Id[0] == 2 && e.Id[1] == 5 && e.Id[2] == 29 {
			arc = e.Id[3]
		}
		switch arc {
		case extSubjectKeyID, extBasic, extAuthorityKeyID:
		case extKeyUsage:
			c.hasKeyUsage = true
		case extUsages:
			c.hasUsages = true
		case extNameConstraints:
			c.constrained = true
		case extSAN:
			if len(c.X509.URIs) == 0 {
				break
			}
			// As they are written: what net/url makes of them may differ, and
			// a name is compared by its bytes.
			uris, ok := readURIs(e.Value)
			if !ok {
				return errors.New("the certificate's subject alternative names are not well-formed DER")
			}
			c.URIs = uris
		default:
			if e.Critical && c.critical == "" {
				c.critical = e.Id.String()
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

func readURIs(san []byte) ([]string, bool) {
	in := cryptobyte.String(san)
	var names cryptobyte.String
	if !in.ReadASN1(&names, der.SEQUENCE) || !in.Empty() {
		return nil, false
	}
	var out []string
	for !names.Empty() {
		var name cryptobyte.String
		var tag der.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return nil, false
		}
		if tag == der.Tag(6).ContextSpecific() {
			out = append(out, string(name))
		}
	}
	return out, true
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

// SelfIssued says that subject and issuer are one name.
func (c *Certificate) SelfIssued() bool { return c.selfIssued }

// Equal says that the two are the same certificate, byte for byte.
func (c *Certificate) Equal(d *Certificate) bool {
	return c == d || c != nil && d != nil && c.SHA256 == d.SHA256
}

func (c *Certificate) sameEntity(d *Certificate) bool {
	return c.subject == d.subject && bytes.Equal(c.X509.RawSubject, d.X509.RawSubject) &&
		bytes.Equal(c.X509.RawSubjectPublicKeyInfo, d.X509.RawSubjectPublicKeyInfo)
}

func (c *Certificate) issuedBy(d *Certificate) bool {
	return c.issuer == d.subject && bytes.Equal(c.X509.RawIssuer, d.X509.RawSubject)
}
