package suite

import (
	"crypto"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"

	"filippo.io/mldsa"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// ML-DSA (FIPS 204), in certificates (RFC 9881) and in CertificateVerify
// (draft-ietf-tls-mldsa): the key's OID is the signature's as well, parameters are
// absent, and the context is empty.
//
// Keys are filippo.io/mldsa's, which is what the standard library will have. It is
// circl that signs and verifies: the first in a third of the time, the second,
// with the key to be expanded each time, in two thirds. An expanded key has tens
// of kilobytes, so none is kept but our own.

// Object identifiers, as the bytes of their DER contents (RFC 9881, section 2).
const (
	oidMLDSA44 = "\x60\x86\x48\x01\x65\x03\x04\x03\x11"
	oidMLDSA65 = "\x60\x86\x48\x01\x65\x03\x04\x03\x12"
	oidMLDSA87 = "\x60\x86\x48\x01\x65\x03\x04\x03\x13"
)

var mldsaParameters = map[string]mldsa.Parameters{
	oidMLDSA44: mldsa.MLDSA44(), oidMLDSA65: mldsa.MLDSA65(), oidMLDSA87: mldsa.MLDSA87(),
}

// mldsaScheme is the one scheme of a parameter set.
func mldsaScheme(of mldsa.Parameters) Scheme {
	switch of {
	case mldsa.MLDSA44():
		return MLDSA44
	case mldsa.MLDSA65():
		return MLDSA65
	}
	return MLDSA87
}

func parseMLDSA(of mldsa.Parameters, parameters cryptobyte.String, key []byte) (*PublicKey, error) {
	if !parameters.Empty() { // RFC 9881, section 2
		return nil, fmt.Errorf("%w: an ML-DSA key has no parameters", errSPKI)
	}
	pub, err := mldsa.NewPublicKey(of, key)
	if err != nil {
		return nil, fmt.Errorf("%w: not an %s key of %d bytes", errSPKI, of, of.PublicKeySize())
	}
	return &PublicKey{Key: pub}, nil
}

// mldsaFits says whether a signature's algorithm is that of the key.
func mldsaFits(pub *mldsa.PublicKey, algorithm string) bool {
	of, ok := mldsaParameters[algorithm]
	return ok && of == pub.Parameters()
}

func verifyMLDSA(pub *mldsa.PublicKey, message, signature []byte) error {
	ok := false
	switch b := pub.Bytes(); pub.Parameters() {
	case mldsa.MLDSA44():
		var k mldsa44.PublicKey
		k.Unpack((*[mldsa44.PublicKeySize]byte)(b))
		ok = len(signature) == mldsa44.SignatureSize && mldsa44.Verify(&k, message, nil, signature)
	case mldsa.MLDSA65():
		var k mldsa65.PublicKey
		k.Unpack((*[mldsa65.PublicKeySize]byte)(b))
		ok = len(signature) == mldsa65.SignatureSize && mldsa65.Verify(&k, message, nil, signature)
	case mldsa.MLDSA87():
		var k mldsa87.PublicKey
		k.Unpack((*[mldsa87.PublicKeySize]byte)(b))
		ok = len(signature) == mldsa87.SignatureSize && mldsa87.Verify(&k, message, nil, signature)
	}
	if !ok {
		return errSignature
	}
	return nil
}

// Fast gives back a signer that signs as key does, and sooner where that can be:
// an ML-DSA key is expanded once. Other keys are given back as they are.
func Fast(key crypto.Signer) crypto.Signer {
	own, ok := key.(*mldsa.PrivateKey)
	if !ok {
		return key
	}
	b := own.Bytes() // a copy
	seed := [32]byte(b)
	clear(b)
	defer clear(seed[:])
	k := &expandedMLDSA{public: own.PublicKey()}
	switch own.PublicKey().Parameters() {
	case mldsa.MLDSA44():
		_, x := mldsa44.NewKeyFromSeed(&seed)
		k.size = mldsa44.SignatureSize
		k.sign = func(m, sig []byte) error { return mldsa44.SignTo(x, m, nil, true, sig) }
	case mldsa.MLDSA65():
		_, x := mldsa65.NewKeyFromSeed(&seed)
		k.size = mldsa65.SignatureSize
		k.sign = func(m, sig []byte) error { return mldsa65.SignTo(x, m, nil, true, sig) }
	case mldsa.MLDSA87():
		_, x := mldsa87.NewKeyFromSeed(&seed)
		k.size = mldsa87.SignatureSize
		k.sign = func(m, sig []byte) error { return mldsa87.SignTo(x, m, nil, true, sig) }
	default:
		return key
	}
	return k
}

// expandedMLDSA is an ML-DSA key ready to sign.
type expandedMLDSA struct {
	public *mldsa.PublicKey
	size   int
	sign   func(message, signature []byte) error
}

// Public is the public key, a *mldsa.PublicKey.
func (k *expandedMLDSA) Public() crypto.PublicKey { return k.public }

// Sign signs the message itself, hedged with randomness of the system's (FIPS 204,
// section 3.4).
func (k *expandedMLDSA) Sign(_ io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts != nil && opts.HashFunc() != 0 {
		return nil, errors.New("an ML-DSA key signs messages, not their digests")
	}
	sig := make([]byte, k.size)
	if err := k.sign(message, sig); err != nil {
		return nil, err
	}
	return sig, nil
}

// ErrNoSeed is the error of an ML-DSA private key that was written without its
// seed.
var ErrNoSeed = errors.New("the ML-DSA key is there without the seed that it was made from")

// MLDSAPrivateKey reads what PKCS #8 holds under one of ML-DSA's OIDs (RFC 9881,
// section 6): the seed alone, or the seed and the expanded key, which must be the
// seed's. ok is false where oid is none of ML-DSA's.
func MLDSAPrivateKey(oid string, key []byte) (signer crypto.Signer, ok bool, err error) {
	of, ok := mldsaParameters[oid]
	if !ok {
		return nil, false, nil
	}
	in := cryptobyte.String(key)
	var seed, both, expanded cryptobyte.String
	seedTag := der.Tag(0).ContextSpecific()
	switch {
	case in.PeekASN1Tag(seedTag):
		ok = in.ReadASN1(&seed, seedTag) && in.Empty()
	case in.PeekASN1Tag(der.SEQUENCE):
		ok = in.ReadASN1(&both, der.SEQUENCE) && in.Empty() && both.ReadASN1(&seed, der.OCTET_STRING) &&
			both.ReadASN1(&expanded, der.OCTET_STRING) && both.Empty()
	case in.PeekASN1Tag(der.OCTET_STRING):
		return nil, true, ErrNoSeed
	default:
		ok = false
	}
	if !ok || len(seed) != mldsa.PrivateKeySize {
		return nil, true, fmt.Errorf("the %s private key does not hold a seed of %d bytes", of, mldsa.PrivateKeySize)
	}
	k, err := mldsa.NewPrivateKey(of, seed)
	if err != nil {
		return nil, true, err
	}
	if both != nil && !expandsTo(of, [32]byte(seed), expanded) {
		return nil, true, fmt.Errorf("the expanded %s private key is not that of the seed beside it", of)
	}
	return k, true, nil
}

// expandsTo says whether expanded is the private key that seed makes.
func expandsTo(of mldsa.Parameters, seed [32]byte, expanded []byte) bool {
	defer clear(seed[:])
	var want []byte
	switch of {
	case mldsa.MLDSA44():
		_, k := mldsa44.NewKeyFromSeed(&seed)
		want = k.Bytes()
	case mldsa.MLDSA65():
		_, k := mldsa65.NewKeyFromSeed(&seed)
		want = k.Bytes()
	default:
		_, k := mldsa87.NewKeyFromSeed(&seed)
		want = k.Bytes()
	}
	defer clear(want)
	return subtle.ConstantTimeCompare(want, expanded) == 1
}
