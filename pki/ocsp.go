package pki

import (
	"bytes"
	"crypto"
	"crypto/sha1" // names of keys and issuers, where collisions buy nothing
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/message"
)

// MaxOCSPResponse is the longest response that is parsed, in bytes. Real ones have
// 0.5 to 3 KiB, and with ML-DSA some 10.
const MaxOCSPResponse = 64 << 10

const (
	maxOCSPAnswers   = 64 // in one response; responders sign one, or a handful
	maxOCSPDelegates = 4
)

// OCSPStatus is what an authority says of a certificate (RFC 6960, section 2.2).
type OCSPStatus uint8

// The statuses. Unknown is not good: the responder does not know the certificate.
const (
	OCSPGood OCSPStatus = iota + 1
	OCSPRevoked
	OCSPUnknown
)

// String is the status in a word.
func (s OCSPStatus) String() string {
	switch s {
	case OCSPGood:
		return "good"
	case OCSPRevoked:
		return "revoked"
	}
	return "unknown"
}

// OCSPResponse is a response that was parsed and not verified: About answers from
// it, and nothing else does. It is immutable and may be shared.
type OCSPResponse struct {
	tbs, algorithm, signature []byte
	byName                    []byte // the responder's name in DER, or
	byKey                     []byte // the SHA-1 of its key
	produced                  time.Time
	answers                   []ocspSingle
	certificates              [][]byte
	fault                     string // why nothing can be relied on
}

// ocspSingle is a SingleResponse.
type ocspSingle struct {
	hash       string // OID
	name, key  []byte
	serial     []byte // the contents of the INTEGER, every byte
	status     OCSPStatus
	revoked    time.Time
	reason     int
	this, next time.Time
	fault      string
	timestamps [][]byte
}

// OCSPAnswer is what an authority, or its delegate, has signed about a certificate.
type OCSPAnswer struct {
	Status OCSPStatus
	// RevokedAt and Reason (RFC 5280, section 5.3.1) are told of a revoked one.
	RevokedAt time.Time
	Reason    int
	// ThisUpdate and NextUpdate are from when and until when it is the newest.
	ThisUpdate, NextUpdate time.Time
	// Delegate is who signed in the issuer's place, nil for the issuer itself.
	Delegate *Certificate
	// Timestamps are those of logs that stand in it, unverified.
	Timestamps [][]byte
}

var errOCSP = errors.New("not an OCSP response: it is not well-formed DER of its form")

var (
	oidOCSPBasic    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidOCSPSCTs     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 5}
	oidOCSPNonce    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidOCSPExtended = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 9}
	oidOCSPNoCheck  = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	oidTLSFeature   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
)

func explicit(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// ParseOCSPResponse reads a response in DER. It keeps b.
func ParseOCSPResponse(b []byte) (*OCSPResponse, error) {
	if len(b) > MaxOCSPResponse {
		return nil, fmt.Errorf("the OCSP response has %d bytes; at most %d are taken", len(b), MaxOCSPResponse)
	}
	in := cryptobyte.String(b)
	var outer, wrapped, typed, basic, octets cryptobyte.String
	var status int
	var kind asn1.ObjectIdentifier
	if !in.ReadASN1(&outer, der.SEQUENCE) || !in.Empty() || !outer.ReadASN1Enum(&status) {
		return nil, errOCSP
	}
	if status != 0 { // section 4.2.1: not successful, and unsigned
		return nil, fmt.Errorf("the OCSP responder gave no answer (status %d)", status)
	}
	if !outer.ReadASN1(&wrapped, explicit(0)) || !outer.Empty() || !wrapped.ReadASN1(&typed, der.SEQUENCE) || !wrapped.Empty() ||
		!typed.ReadASN1ObjectIdentifier(&kind) || !typed.ReadASN1(&octets, der.OCTET_STRING) || !typed.Empty() {
		return nil, errOCSP
	}
	if !kind.Equal(oidOCSPBasic) {
		return nil, errors.New("the OCSP response is not of the basic type")
	}
	if !octets.ReadASN1(&basic, der.SEQUENCE) || !octets.Empty() {
		return nil, errOCSP
	}
	r := &OCSPResponse{}
	var tbs, algorithm, certs cryptobyte.String
	var has bool
	if !basic.ReadASN1Element(&tbs, der.SEQUENCE) || !basic.ReadASN1Element(&algorithm, der.SEQUENCE) ||
		!basic.ReadASN1BitStringAsBytes(&r.signature) || !basic.ReadOptionalASN1(&certs, &has, explicit(0)) || !basic.Empty() {
		return nil, errOCSP
	}
	r.tbs, r.algorithm = tbs, algorithm
	if has {
		var list cryptobyte.String
		if !certs.ReadASN1(&list, der.SEQUENCE) || !certs.Empty() {
			return nil, errOCSP
		}
		for !list.Empty() {
			var one cryptobyte.String
			if !list.ReadASN1Element(&one, der.SEQUENCE) || len(r.certificates) == maxOCSPDelegates {
				return nil, errOCSP
			}
			r.certificates = append(r.certificates, one)
		}
	}
	if !r.readData(tbs) {
		return nil, errOCSP
	}
	return r, nil
}

// readData reads ResponseData.
func (r *OCSPResponse) readData(tbs cryptobyte.String) bool {
	var data, id, list, exts cryptobyte.String
	var has bool
	var version int
	if !tbs.ReadASN1(&data, der.SEQUENCE) || !data.ReadOptionalASN1Integer(&version, explicit(0), 0) || version != 0 {
		return false
	}
	switch {
	case data.PeekASN1Tag(explicit(1)):
		if !data.ReadASN1(&id, explicit(1)) || len(id) == 0 {
			return false
		}
		r.byName = id
	default:
		var key cryptobyte.String
		if !data.ReadASN1(&id, explicit(2)) || !id.ReadASN1(&key, der.OCTET_STRING) || !id.Empty() || len(key) != sha1.Size {
			return false
		}
		r.byKey = key
	}
	if !data.ReadASN1GeneralizedTime(&r.produced) || !data.ReadASN1(&list, der.SEQUENCE) ||
		!data.ReadOptionalASN1(&exts, &has, explicit(1)) || !data.Empty() {
		return false
	}
	if has && !readOCSPExtensions(exts, func(oid asn1.ObjectIdentifier, critical bool, _ []byte) bool {
		if critical && !oid.Equal(oidOCSPNonce) && !oid.Equal(oidOCSPExtended) {
			r.fault = "it has the unknown critical extension " + cut(oid.String())
		}
		return true
	}) {
		return false
	}
	for !list.Empty() {
		var one ocspSingle
		if len(r.answers) == maxOCSPAnswers || !one.read(&list) {
			return false
		}
		r.answers = append(r.answers, one)
	}
	return len(r.answers) > 0
}

// read reads a SingleResponse off list.
func (s *ocspSingle) read(list *cryptobyte.String) bool {
	var one, id, algorithm, hash, name, key, serial, next, exts cryptobyte.String
	var hasNext, has bool
	if !list.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1(&id, der.SEQUENCE) ||
		!id.ReadASN1(&algorithm, der.SEQUENCE) || !algorithm.ReadASN1(&hash, der.OBJECT_IDENTIFIER) ||
		!id.ReadASN1(&name, der.OCTET_STRING) || !id.ReadASN1(&key, der.OCTET_STRING) ||
		!id.ReadASN1(&serial, der.INTEGER) || !id.Empty() || len(serial) == 0 {
		return false
	}
	s.hash, s.name, s.key, s.serial = string(hash), name, key, serial
	good, revoked, unknown := der.Tag(0).ContextSpecific(), explicit(1), der.Tag(2).ContextSpecific()
	var body cryptobyte.String
	switch {
	case one.PeekASN1Tag(good):
		s.status = OCSPGood
		if !one.ReadASN1(&body, good) || !body.Empty() {
			return false
		}
	case one.PeekASN1Tag(unknown):
		s.status = OCSPUnknown
		if !one.ReadASN1(&body, unknown) || !body.Empty() {
			return false
		}
	default:
		var reason cryptobyte.String
		var hasReason bool
		s.status = OCSPRevoked
		if !one.ReadASN1(&body, revoked) || !body.ReadASN1GeneralizedTime(&s.revoked) ||
			!body.ReadOptionalASN1(&reason, &hasReason, explicit(0)) || !body.Empty() ||
			hasReason && (!reason.ReadASN1Enum(&s.reason) || !reason.Empty()) {
			return false
		}
	}
	if !one.ReadASN1GeneralizedTime(&s.this) || !one.ReadOptionalASN1(&next, &hasNext, explicit(0)) ||
		!one.ReadOptionalASN1(&exts, &has, explicit(1)) || !one.Empty() ||
		hasNext && (!next.ReadASN1GeneralizedTime(&s.next) || !next.Empty()) {
		return false
	}
	return !has || readOCSPExtensions(exts, func(oid asn1.ObjectIdentifier, critical bool, value []byte) bool {
		if oid.Equal(oidOCSPSCTs) {
			v := cryptobyte.String(value)
			var list cryptobyte.String
			if !v.ReadASN1(&list, der.OCTET_STRING) || !v.Empty() {
				return false
			}
			var err error
			s.timestamps, err = message.SCTList(list)
			return err == nil
		}
		if critical {
			s.fault = "it has the unknown critical extension " + cut(oid.String())
		}
		return true
	})
}

// readOCSPExtensions reads Extensions.
func readOCSPExtensions(in cryptobyte.String, each func(oid asn1.ObjectIdentifier, critical bool, value []byte) bool) bool {
	var list cryptobyte.String
	if !in.ReadASN1(&list, der.SEQUENCE) || !in.Empty() {
		return false
	}
	for !list.Empty() {
		var one, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		critical := false
		if !list.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) ||
			one.PeekASN1Tag(der.BOOLEAN) && !one.ReadASN1Boolean(&critical) ||
			!one.ReadASN1(&value, der.OCTET_STRING) || !one.Empty() || !each(oid, critical, value) {
			return false
		}
	}
	return true
}

// OCSPSays is what a response says of one serial number, unverified: for telling, not
// for judging.
type OCSPSays struct {
	Serial string // in hex, as Certificate.Serial has it
	OCSPAnswer
}

// Says is all that the response says, unverified.
func (r *OCSPResponse) Says() []OCSPSays {
	out := make([]OCSPSays, len(r.answers))
	for i, s := range r.answers {
		out[i] = OCSPSays{serialHex(s.serial), OCSPAnswer{
			Status: s.status, RevokedAt: s.revoked, Reason: s.reason, ThisUpdate: s.this, NextUpdate: s.next, Timestamps: s.timestamps}}
	}
	return out
}

// Produced is when the response says that it was signed.
func (r *OCSPResponse) Produced() time.Time { return r.produced }

// Signer is whom the response says that it is signed by: quote it before printing.
func (r *OCSPResponse) Signer() string {
	if r.byName == nil {
		return "the key with the SHA-1 hash " + hex.EncodeToString(r.byKey)
	}
	return nameText(r.byName)
}

// AlgorithmName is what the response is signed with.
func (r *OCSPResponse) AlgorithmName() string { return AlgorithmName(r.algorithm) }

// About is what the response says about c, which issuer issued, at a time. An error
// says why it can't be relied on, or that it speaks of other certificates.
//
// The whole CertID has to match, every byte of the serial number; whoever signed
// is the issuer, by its key, or a delegate whose certificate the issuer signed for
// this purpose (RFC 6960, section 4.2.2.2). Whether a delegate was itself revoked
// is not asked here; a path's judgement asks the lists that it has.
func (r *OCSPResponse) About(c, issuer *Certificate, at time.Time) (*OCSPAnswer, error) {
	if r.fault != "" {
		return nil, errors.New(r.fault)
	}
	var found *ocspSingle
	for i := range r.answers { // of several the one that revokes
		if one := &r.answers[i]; one.of(c, issuer) && (found == nil || found.status == OCSPGood) {
			found = one
		}
	}
	switch {
	case found == nil:
		return nil, errors.New("it is about another certificate")
	case found.fault != "":
		return nil, errors.New(found.fault)
	case r.produced.After(at.Add(revocationSkew)):
		return nil, fmt.Errorf("it was produced at %s, in the future", stamp(r.produced))
	case found.this.After(at.Add(revocationSkew)):
		return nil, fmt.Errorf("it begins at %s", stamp(found.this))
	case found.next.IsZero():
		return nil, errors.New("it has no end, so nobody can tell whether it is the newest")
	case found.next.Before(found.this):
		return nil, errors.New("it ends before it begins")
	case at.After(found.next.Add(revocationSkew)):
		return nil, fmt.Errorf("it ended at %s", stamp(found.next))
	}
	delegate, err := r.signer(issuer, at)
	if err != nil {
		return nil, err
	}
	return &OCSPAnswer{
		Status: found.status, RevokedAt: found.revoked, Reason: found.reason, ThisUpdate: found.this, NextUpdate: found.next,
		Delegate: delegate, Timestamps: found.timestamps,
	}, nil
}

// of compares the whole CertID.
func (s *ocspSingle) of(c, issuer *Certificate) bool {
	h := map[string]func([]byte) []byte{
		"\x2b\x0e\x03\x02\x1a":                 func(b []byte) []byte { h := sha1.Sum(b); return h[:] },
		"\x60\x86\x48\x01\x65\x03\x04\x02\x01": func(b []byte) []byte { h := sha256.Sum256(b); return h[:] },
		"\x60\x86\x48\x01\x65\x03\x04\x02\x02": func(b []byte) []byte { h := sha512.Sum384(b); return h[:] },
		"\x60\x86\x48\x01\x65\x03\x04\x02\x03": func(b []byte) []byte { h := sha512.Sum512(b); return h[:] },
	}[s.hash]
	return h != nil && bytes.Equal(s.serial, serialBytes(c)) && c.issuedBy(issuer) &&
		bytes.Equal(s.name, h(c.X509.RawIssuer)) && bytes.Equal(s.key, h(keyBits(issuer)))
}

// serialBytes are the contents of the serial number's INTEGER.
func serialBytes(c *Certificate) []byte {
	var tbs, serial cryptobyte.String
	in := cryptobyte.String(c.X509.RawTBSCertificate)
	_ = in.ReadASN1(&tbs, der.SEQUENCE) && tbs.SkipOptionalASN1(explicit(0)) && tbs.ReadASN1(&serial, der.INTEGER)
	return serial
}

// keyBits are the bits of a certificate's public key, without its algorithm.
func keyBits(c *Certificate) []byte {
	var info cryptobyte.String
	var bits []byte
	in := cryptobyte.String(c.X509.RawSubjectPublicKeyInfo)
	_ = in.ReadASN1(&info, der.SEQUENCE) && info.SkipASN1(der.SEQUENCE) && info.ReadASN1BitStringAsBytes(&bits)
	return bits
}

// signer verifies the signature, by the issuer (nil) or by its delegate.
func (r *OCSPResponse) signer(issuer *Certificate, at time.Time) (*Certificate, error) {
	if c, _ := judgeAlgorithm(r.algorithm); c != "" {
		return nil, errors.New("it is signed with an algorithm that is not accepted: " + AlgorithmName(r.algorithm))
	}
	if r.names(issuer) {
		if !r.signedBy(issuer) {
			return nil, errors.New("its issuer's key did not sign it")
		}
		return nil, nil
	}
	for _, raw := range r.certificates {
		d, err := Parse(raw)
		if err != nil || !r.names(d) {
			continue
		}
		if why := delegateFault(d, issuer, at); why != "" {
			return nil, errors.New("its signer is no delegate of the issuer: " + why)
		}
		if !r.signedBy(d) {
			return nil, errors.New("its delegate's key did not sign it")
		}
		return d, nil
	}
	return nil, errors.New("it is signed by somebody else than the issuer and its delegates")
}

// names says whether c is whom the response names as its signer.
func (r *OCSPResponse) names(c *Certificate) bool {
	if r.byName != nil {
		return bytes.Equal(r.byName, c.X509.RawSubject)
	}
	sum := sha1.Sum(keyBits(c))
	return bytes.Equal(r.byKey, sum[:])
}

func (r *OCSPResponse) signedBy(c *Certificate) bool {
	return c.Key != nil && c.keyCode == "" && c.Key.VerifyCertificate(r.algorithm, r.tbs, r.signature) == nil
}

// delegateFault says why d may not sign in issuer's place; "" where it may.
func delegateFault(d, issuer *Certificate, at time.Time) string {
	named := false
	for _, u := range d.X509.ExtKeyUsage {
		named = named || u == x509.ExtKeyUsageOCSPSigning
	}
	switch {
	case !named:
		return "its certificate lacks the extended key usage OCSPSigning"
	case d.hasKeyUsage && d.X509.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "its certificate's key usage lacks digitalSignature"
	case d.critical != "":
		return "its certificate has the unknown critical extension " + cut(d.critical)
	case at.After(d.X509.NotAfter.Add(revocationSkew)) || at.Before(d.X509.NotBefore.Add(-revocationSkew)):
		return "its certificate is not valid at the time"
	case !d.issuedBy(issuer):
		return "its certificate is from another issuer"
	case d.CheckSignatureBy(issuer) != nil:
		return "the issuer did not sign its certificate"
	}
	return ""
}

// noCheck says whether a delegate's issuer wants it not to be asked about (RFC 6960,
// section 4.2.2.2.1).
func (c *Certificate) noCheck() bool {
	for i := range c.X509.Extensions {
		if c.X509.Extensions[i].Id.Equal(oidOCSPNoCheck) {
			return true
		}
	}
	return false
}

// MustStaple says whether the certificate is to be shown with an OCSP response to
// whoever asks for one (RFC 7633).
func (c *Certificate) MustStaple() bool {
	const statusRequest = 5
	for i := range c.X509.Extensions {
		x := &c.X509.Extensions[i]
		if !x.Id.Equal(oidTLSFeature) {
			continue
		}
		in := cryptobyte.String(x.Value)
		var list cryptobyte.String
		if !in.ReadASN1(&list, der.SEQUENCE) {
			return true // it says something, and nobody can tell what: the stricter reading
		}
		for !list.Empty() {
			var feature int
			if !list.ReadASN1Integer(&feature) || feature == statusRequest {
				return true
			}
		}
	}
	return false
}

// OCSPRequest asks about c, which issuer issued (RFC 6960, section 4.1.1), naming
// both by h, SHA-1 or SHA-256: SHA-1 is what all responders know. There is no
// nonce, so that answers can be kept.
func OCSPRequest(c, issuer *Certificate, h crypto.Hash) ([]byte, error) {
	oid := asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	switch h {
	case crypto.SHA1:
	case crypto.SHA256:
		oid = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	default:
		return nil, errors.New("responders are asked by SHA-1 or SHA-256")
	}
	sum := func(b []byte) []byte {
		d := h.New()
		d.Write(b)
		return d.Sum(nil)
	}
	b := cryptobyte.NewBuilder(nil)
	seq := func(b *cryptobyte.Builder, f cryptobyte.BuilderContinuation) { b.AddASN1(der.SEQUENCE, f) }
	seq(b, func(b *cryptobyte.Builder) { // OCSPRequest
		seq(b, func(b *cryptobyte.Builder) { // TBSRequest
			seq(b, func(b *cryptobyte.Builder) { // requestList
				seq(b, func(b *cryptobyte.Builder) { // Request
					seq(b, func(b *cryptobyte.Builder) { // CertID
						seq(b, func(b *cryptobyte.Builder) {
							b.AddASN1ObjectIdentifier(oid)
							b.AddASN1NULL()
						})
						b.AddASN1OctetString(sum(c.X509.RawIssuer))
						b.AddASN1OctetString(sum(keyBits(issuer)))
						b.AddASN1(der.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(serialBytes(c)) })
					})
				})
			})
		})
	})
	return b.Bytes()
}

// stapleFor judges the responses that were given for the certificate at place i of
// the path: the answer of the first that can be relied on, or why none can.
func (s *search) stapleFor(i int) (*OCSPAnswer, string) {
	why := "no response"
	for _, r := range s.q.OCSP {
		if r == nil {
			continue
		}
		if s.staples++; s.staples > maxStaples {
			s.spent = true
			return nil, "too many responses"
		}
		a, err := r.About(s.path[i], s.path[i+1], s.q.At)
		if err == nil {
			return a, ""
		}
		why = "a response that does not count: " + cut(err.Error())
	}
	return nil, why
}

// maxStaples bounds how often a response is judged in one search: each may cost two
// signatures.
const maxStaples = 64
