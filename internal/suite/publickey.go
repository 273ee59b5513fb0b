package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// PublicKey is a key that verifies. It is immutable and safe for concurrent use.
type PublicKey struct {
	Key crypto.PublicKey // *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey or *mldsa.PublicKey
	PSS bool             // an RSA key with the OID id-RSASSA-PSS (RFC 4055)

	// What the parameters of an id-RSASSA-PSS key demand; no hash: nothing.
	pssHash crypto.Hash
	pssSalt int // the shortest salt
}

// Bounds of RSA keys. Below the first nothing is safe, and crypto/rsa refuses;
// above the second one signature costs milliseconds (CVE-2023-29409). The
// exponent's bound is crypto/rsa's.
const (
	minRSABits     = 1024
	maxRSABits     = 8192
	maxRSAExponent = 1<<31 - 1
)

// Object identifiers, as the bytes of their DER contents.
const (
	oidECPublicKey   = "\x2a\x86\x48\xce\x3d\x02\x01"
	oidP256          = "\x2a\x86\x48\xce\x3d\x03\x01\x07"
	oidP384          = "\x2b\x81\x04\x00\x22"
	oidP521          = "\x2b\x81\x04\x00\x23"
	oidEd25519       = "\x2b\x65\x70"
	oidRSAEncryption = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidRSASSAPSS     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
)

// UnsupportedKey is the error of a public key that is of a kind, on a curve or of
// a size that is not used here, and may be well-formed for all that.
type UnsupportedKey struct{ reason string }

// Error is the reason.
func (e *UnsupportedKey) Error() string { return e.reason }

func unsupported(format string, args ...any) error {
	return &UnsupportedKey{fmt.Sprintf(format, args...)}
}

var errSPKI = errors.New("the public key is not a well-formed SubjectPublicKeyInfo")

// ParsePublicKey reads a SubjectPublicKeyInfo in DER: ECDSA over P-256, P-384 or
// P-521, Ed25519, ML-DSA, RSA of 1024 to 8192 bits, with either of RSA's OIDs.
func ParsePublicKey(spki []byte) (*PublicKey, error) {
	in := cryptobyte.String(spki)
	var info, algorithm, oid cryptobyte.String
	var key []byte
	if !in.ReadASN1(&info, der.SEQUENCE) || !in.Empty() ||
		!info.ReadASN1(&algorithm, der.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&key) || !info.Empty() ||
		!algorithm.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return nil, errSPKI
	}
	if of, ok := mldsaParameters[string(oid)]; ok {
		return parseMLDSA(of, algorithm, key)
	}
	switch string(oid) {
	case oidECPublicKey:
		return parseEC(algorithm, key)
	case oidEd25519:
		// RFC 8410, section 3: the parameters are absent.
		if !algorithm.Empty() || len(key) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: an Ed25519 key has 32 bytes and no parameters", errSPKI)
		}
		return &PublicKey{Key: ed25519.PublicKey(append([]byte(nil), key...))}, nil
	case oidRSAEncryption:
		// RFC 3279, section 2.3.1: the parameters are NULL.
		var null cryptobyte.String
		if !algorithm.ReadASN1(&null, der.NULL) || !null.Empty() || !algorithm.Empty() {
			return nil, fmt.Errorf("%w: the parameters of rsaEncryption are not NULL", errSPKI)
		}
		pub, err := parseRSA(key)
		if err != nil {
			return nil, err
		}
		return &PublicKey{Key: pub}, nil
	case oidRSASSAPSS:
		k := &PublicKey{PSS: true}
		if !algorithm.Empty() { // absent: no restriction (RFC 4055, section 1.2)
			p, err := parsePSSParameters(&algorithm)
			if err != nil {
				return nil, err
			}
			k.pssHash, k.pssSalt = p.hash, p.salt
		}
		if !algorithm.Empty() {
			return nil, errSPKI
		}
		pub, err := parseRSA(key)
		if err != nil {
			return nil, err
		}
		k.Key = pub
		return k, nil
	}
	return nil, unsupported("the public key's algorithm %s is none of ECDSA, Ed25519, ML-DSA and RSA", dotted(oid))
}

func parseEC(parameters cryptobyte.String, point []byte) (*PublicKey, error) {
	var named cryptobyte.String
	if !parameters.ReadASN1(&named, der.OBJECT_IDENTIFIER) || !parameters.Empty() {
		return nil, fmt.Errorf("%w: an EC key without a named curve", errSPKI)
	}
	var c elliptic.Curve
	switch string(named) {
	case oidP256:
		c = elliptic.P256()
	case oidP384:
		c = elliptic.P384()
	case oidP521:
		c = elliptic.P521()
	default:
		return nil, unsupported("the public key's curve %s is none of P-256, P-384 and P-521", dotted(named))
	}
	// It takes uncompressed points on the curve only, and not infinity.
	pub, err := ecdsa.ParseUncompressedPublicKey(c, point)
	if err != nil {
		return nil, fmt.Errorf("%w: not an uncompressed point on %s", errSPKI, c.Params().Name)
	}
	return &PublicKey{Key: pub}, nil
}

func parseRSA(b []byte) (*rsa.PublicKey, error) {
	in := cryptobyte.String(b)
	var seq cryptobyte.String
	n := new(big.Int)
	var e int64
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() {
		return nil, fmt.Errorf("%w: an RSA key is a sequence", errSPKI)
	}
	// A bound on the bytes first: numbers cost by their length.
	if len(seq) > maxRSABits/8+32 {
		return nil, unsupported("the RSA key has %d bytes, more than one of %d bits needs", len(seq), maxRSABits)
	}
	if !seq.ReadASN1Integer(n) || !seq.ReadASN1Integer(&e) || !seq.Empty() {
		return nil, fmt.Errorf("%w: an RSA key is a modulus and an exponent below 2^31", errSPKI)
	}
	if e < 0 || e > maxRSAExponent { // before it becomes an int, which may be shorter
		return nil, unsupported("the RSA key's exponent is %d, expected an odd number from 3 to 2^31-1", e)
	}
	pub := &rsa.PublicKey{N: n, E: int(e)}
	if err := checkRSA(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

func checkRSA(pub *rsa.PublicKey) error {
	if pub.N == nil || pub.N.Sign() <= 0 || pub.N.Bit(0) == 0 {
		return errors.New("the RSA key's modulus is not a positive odd number")
	}
	if bits := pub.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return unsupported("the RSA key has %d bits, expected %d to %d", bits, minRSABits, maxRSABits)
	}
	if pub.E < 3 || pub.E > maxRSAExponent || pub.E&1 == 0 {
		return unsupported("the RSA key's exponent is %d, expected an odd number from 3 to 2^31-1", pub.E)
	}
	return nil
}

// CertificateKey reads the public key out of a certificate in DER and looks at
// nothing else in it but the structure that leads there. It is for proving
// possession; whether the certificate is any good is pki's to say.
func CertificateKey(cert []byte) (*PublicKey, error) {
	in := cryptobyte.String(cert)
	var whole, tbs, spki cryptobyte.String
	ok := in.ReadASN1(&whole, der.SEQUENCE) && in.Empty() &&
		whole.ReadASN1(&tbs, der.SEQUENCE) &&
		whole.SkipASN1(der.SEQUENCE) && whole.SkipASN1(der.BIT_STRING) && whole.Empty() && // algorithm, signature
		tbs.SkipOptionalASN1(der.Tag(0).ContextSpecific().Constructed()) && // version
		tbs.SkipASN1(der.INTEGER) && // serial number
		tbs.SkipASN1(der.SEQUENCE) && // signature algorithm
		tbs.SkipASN1(der.SEQUENCE) && // issuer
		tbs.SkipASN1(der.SEQUENCE) && // validity
		tbs.SkipASN1(der.SEQUENCE) && // subject
		tbs.ReadASN1Element(&spki, der.SEQUENCE)
	if !ok {
		return nil, errors.New("the certificate is not well-formed DER up to its public key")
	}
	return ParsePublicKey(spki)
}

// PublicOf returns the public half of a signer's key. A signer whose key has the
// OID id-RSASSA-PSS says so by a method RSAPSS() bool.
func PublicOf(key crypto.Signer) (*PublicKey, error) {
	k, err := publicOf(key)
	if err != nil {
		return nil, err
	}
	return &k, nil
}

func publicOf(key crypto.Signer) (PublicKey, error) {
	if key == nil {
		return PublicKey{}, errors.New("there is no private key")
	}
	k := PublicKey{Key: key.Public()}
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
			return k, nil
		}
		return PublicKey{}, errors.New("the private key's curve is none of P-256, P-384 and P-521")
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return PublicKey{}, errors.New("the Ed25519 public key does not have 32 bytes")
		}
		return k, nil
	case *mldsa.PublicKey:
		return k, nil
	case *rsa.PublicKey:
		if p, ok := key.(interface{ RSAPSS() bool }); ok {
			k.PSS = p.RSAPSS()
		}
		return k, checkRSA(pub)
	}
	return PublicKey{}, fmt.Errorf("a private key of type %T is none of ECDSA, Ed25519, ML-DSA and RSA", key)
}

// dotted prints the contents of an object identifier for an error. A peer may
// have sent anything: what is long is cut, and what overflows prints as it may.
func dotted(oid []byte) string {
	const shown = 32
	if len(oid) == 0 {
		return "(empty)"
	}
	if len(oid) > shown {
		return fmt.Sprintf("%q...", oid[:shown])
	}
	var out []byte
	var v uint64
	for _, b := range oid {
		v = v<<7 | uint64(b&0x7f)
		if b&0x80 != 0 {
			continue
		}
		if out == nil {
			first := min(v/40, 2)
			out = fmt.Appendf(out, "%d.%d", first, v-40*first)
		} else {
			out = fmt.Appendf(out, ".%d", v)
		}
		v = 0
	}
	return string(out)
}
