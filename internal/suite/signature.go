package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

var errSignature = errors.New("the signature does not verify")

// Fits reports whether the key is of the kind that the scheme names: the curve,
// the OID and its parameters (RFC 8446, section 4.2.3), and a modulus that has
// room for the padding. PKCS #1 v1.5 fits keys with the OID rsaEncryption.
func (k *PublicKey) Fits(s Scheme) bool {
	f, h := s.kind()
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return s == ECDSAWithP256AndSHA256
		case elliptic.P384():
			return s == ECDSAWithP384AndSHA384
		case elliptic.P521():
			return s == ECDSAWithP521AndSHA512
		}
	case ed25519.PublicKey:
		return f == familyEd25519
	case *mldsa.PublicKey:
		return s == mldsaScheme(pub.Parameters())
	case *rsa.PublicKey:
		switch f {
		case familyPKCS1:
			return !k.PSS
		case familyPSS:
			return !k.PSS && roomForPSS(pub, h)
		case familyPSSID:
			return k.PSS && roomForPSS(pub, h) && (k.pssHash == 0 || k.pssHash == h && k.pssSalt <= h.Size())
		}
	}
	return false
}

// roomForPSS is the bound of RFC 8017, section 9.1.1, step 3, for a salt as long
// as the hash. It keeps SHA-512 from keys of 1024 bits.
func roomForPSS(pub *rsa.PublicKey, h crypto.Hash) bool {
	if pub.N == nil {
		return false
	}
	emLen := (pub.N.BitLen() - 1 + 7) / 8
	return emLen >= 2*h.Size()+2
}

// Schemes returns the schemes for CertificateVerify that the key can sign with,
// the preferred first. Not to be changed by the caller.
func (k *PublicKey) Schemes() []Scheme {
	for i, s := range schemes {
		if !k.Fits(s) {
			continue
		}
		n := 1
		for i+n < len(schemes) && k.Fits(schemes[i+n]) {
			n++
		}
		return schemes[i : i+n : i+n]
	}
	return nil
}

// Verify checks a signature of message, which is given whole and hashed here.
// The scheme must fit the key. An error says no, and nothing more.
func (k *PublicKey) Verify(s Scheme, message, signature []byte) error {
	if !k.Fits(s) {
		return fmt.Errorf("the signature scheme %v does not fit the peer's key", s)
	}
	f, h := s.kind()
	return k.verify(f, h, message, signature)
}

func (k *PublicKey) verify(f family, h crypto.Hash, message, signature []byte) error {
	var sum [sha512.Size]byte
	d := digest(&sum, h, message)
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		if err := checkECDSA(pub.Curve, signature); err != nil {
			return err
		}
		if !ecdsa.VerifyASN1(pub, d, signature) {
			return errSignature
		}
		return nil
	case *mldsa.PublicKey:
		return verifyMLDSA(pub, message, signature)
	case ed25519.PublicKey:
		if !ed25519.Verify(pub, message, signature) {
			return errSignature
		}
		return nil
	case *rsa.PublicKey:
		var err error
		if f == familyPKCS1 {
			err = rsa.VerifyPKCS1v15(pub, h, d, signature)
		} else {
			err = rsa.VerifyPSS(pub, h, d, signature, pssOptions(h))
		}
		if err != nil {
			return errSignature
		}
		return nil
	}
	return errSignature
}

// digest hashes the message into sum, and returns the part of it that the hash
// fills; nothing for no hash.
func digest(sum *[sha512.Size]byte, h crypto.Hash, message []byte) []byte {
	switch h {
	case crypto.SHA256:
		d := sha256.Sum256(message)
		return sum[:copy(sum[:], d[:])]
	case crypto.SHA384:
		d := sha512.Sum384(message)
		return sum[:copy(sum[:], d[:])]
	case crypto.SHA512:
		*sum = sha512.Sum512(message)
		return sum[:]
	}
	return nil
}

// The salt is as long as the hash, no other length is taken (RFC 8446, section
// 4.2.3). Shared, so that a signature does not allocate them.
var (
	pss256 = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	pss384 = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA384}
	pss512 = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA512}
)

func pssOptions(h crypto.Hash) *rsa.PSSOptions {
	switch h {
	case crypto.SHA384:
		return pss384
	case crypto.SHA512:
		return pss512
	}
	return pss256
}

// Sign makes a signature of message, which is given whole and hashed here. The
// scheme must fit the key. An RSA signature is verified before it leaves: one
// that a fault has spoiled gives the key away (RFC 8446, appendix C.3).
func Sign(rand io.Reader, key crypto.Signer, s Scheme, message []byte) ([]byte, error) {
	pub, err := publicOf(key)
	if err != nil {
		return nil, err
	}
	if !pub.Fits(s) {
		return nil, fmt.Errorf("our key cannot sign with %v", s)
	}
	f, h := s.kind()
	var sum [sha512.Size]byte
	var sig []byte
	switch f {
	case familyEd25519, familyMLDSA:
		sig, err = key.Sign(rand, message, crypto.Hash(0))
	case familyPSS, familyPSSID:
		sig, err = key.Sign(rand, digest(&sum, h, message), pssOptions(h))
	default:
		sig, err = key.Sign(rand, digest(&sum, h, message), h)
	}
	if err != nil {
		return nil, fmt.Errorf("our key failed to sign with %v: %w", s, err)
	}
	if _, ok := pub.Key.(*rsa.PublicKey); ok && pub.verify(f, h, message, sig) != nil {
		return nil, errors.New("the RSA signature that our key made does not verify; it was not sent, because it could give the key away")
	}
	return sig, nil
}

// VerifyCertificate checks a signature made under an AlgorithmIdentifier in DER,
// as certificates, CRLs, OCSP responses and requests carry it. Unlike in
// CertificateVerify, ECDSA takes any of the hashes with any of the curves, and
// the OID of an RSA key does not matter unless it is id-RSASSA-PSS (then so must
// be the algorithm's, and within the key's parameters).
func (k *PublicKey) VerifyCertificate(algorithm, message, signature []byte) error {
	f, h, err := parseSignatureAlgorithm(algorithm)
	if err != nil {
		return err
	}
	fits := false
	switch pub := k.Key.(type) {
	case *ecdsa.PublicKey:
		fits = f == familyECDSA
	case ed25519.PublicKey:
		fits = f == familyEd25519
	case *mldsa.PublicKey:
		fits = f == familyMLDSA && mldsaFits(pub, signatureOID(algorithm))
	case *rsa.PublicKey:
		switch f {
		case familyPKCS1:
			fits = !k.PSS
		case familyPSS:
			fits = roomForPSS(pub, h) && (!k.PSS || k.pssHash == 0 || k.pssHash == h && k.pssSalt <= h.Size())
		}
	}
	if !fits {
		return errors.New("the signature's algorithm does not fit the issuer's key")
	}
	return k.verify(f, h, message, signature)
}

const (
	oidECDSAWithSHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02"
	oidECDSAWithSHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidECDSAWithSHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"
	oidPKCS1SHA256     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidPKCS1SHA384     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidPKCS1SHA512     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"
)

func parseSignatureAlgorithm(algorithm []byte) (family, crypto.Hash, error) {
	in := cryptobyte.String(algorithm)
	var seq, oid cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || !seq.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return noFamily, 0, errors.New("the signature's algorithm is not well-formed DER")
	}
	var f family
	var h crypto.Hash
	switch string(oid) {
	case oidECDSAWithSHA256:
		f, h = familyECDSA, crypto.SHA256
	case oidECDSAWithSHA384:
		f, h = familyECDSA, crypto.SHA384
	case oidECDSAWithSHA512:
		f, h = familyECDSA, crypto.SHA512
	case oidEd25519:
		f = familyEd25519
	case oidPKCS1SHA256:
		f, h = familyPKCS1, crypto.SHA256
	case oidPKCS1SHA384:
		f, h = familyPKCS1, crypto.SHA384
	case oidPKCS1SHA512:
		f, h = familyPKCS1, crypto.SHA512
	case oidRSASSAPSS:
		p, err := parsePSSParameters(&seq)
		if err != nil {
			return noFamily, 0, err
		}
		if p.salt != p.hash.Size() {
			return noFamily, 0, fmt.Errorf("the signature's RSASSA-PSS salt has %d bytes, expected %d, as many as its hash", p.salt, p.hash.Size())
		}
		f, h = familyPSS, p.hash
	default:
		if _, ok := mldsaParameters[string(oid)]; ok {
			f = familyMLDSA
			break
		}
		return noFamily, 0, fmt.Errorf("the signature's algorithm %s is none of those accepted (ECDSA, Ed25519, ML-DSA, RSA with SHA-2)", dotted(oid))
	}
	// The parameters of PKCS #1 are NULL (RFC 4055, section 5; absent is taken,
	// as that section asks); those of the others are absent.
	if f == familyPKCS1 && !seq.Empty() {
		var null cryptobyte.String
		if !seq.ReadASN1(&null, der.NULL) || !null.Empty() {
			return noFamily, 0, errors.New("the parameters of the signature's algorithm are not NULL")
		}
	}
	if !seq.Empty() {
		return noFamily, 0, errors.New("the signature's algorithm has parameters that it must not have")
	}
	return f, h, nil
}

// signatureOID is the OID of an AlgorithmIdentifier that was parsed before.
func signatureOID(algorithm []byte) string {
	in := cryptobyte.String(algorithm)
	var seq, oid cryptobyte.String
	_ = in.ReadASN1(&seq, der.SEQUENCE) && seq.ReadASN1(&oid, der.OBJECT_IDENTIFIER)
	return string(oid)
}

// SchemesOfCertificate are the schemes that name how a certificate in DER is
// signed; none where that is not known here. For ECDSA it is the hash alone that
// tells: the curve is the issuer's, whose key is not at hand.
func SchemesOfCertificate(cert []byte) []Scheme {
	in := cryptobyte.String(cert)
	var whole, algorithm cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.SkipASN1(der.SEQUENCE) || !whole.ReadASN1Element(&algorithm, der.SEQUENCE) {
		return nil
	}
	f, h, err := parseSignatureAlgorithm(algorithm)
	if err != nil {
		return nil
	}
	if f == familyMLDSA {
		return []Scheme{mldsaScheme(mldsaParameters[signatureOID(algorithm)])}
	}
	var out []Scheme
	for _, s := range certificateSchemes {
		of, hash := s.kind()
		if hash == h && (of == f || of == familyPSSID && f == familyPSS) {
			out = append(out, s)
		}
	}
	return out
}
