package suite

import (
	"crypto"
	"errors"
	"fmt"
	"io"

	mldsax509 "filippo.io/mldsa/x509"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// authorities are how keys sign what X.509 signs: with the hash that fits a curve,
// and RSA in PKCS #1 v1.5, which every verifier of certificates knows.
var authorities = []struct {
	scheme     Scheme
	identifier string // an AlgorithmIdentifier
}{
	{ECDSAWithP256AndSHA256, "\x30\x0a\x06\x08" + oidECDSAWithSHA256},
	{ECDSAWithP384AndSHA384, "\x30\x0a\x06\x08" + oidECDSAWithSHA384},
	{ECDSAWithP521AndSHA512, "\x30\x0a\x06\x08" + oidECDSAWithSHA512},
	{Ed25519, "\x30\x05\x06\x03" + oidEd25519},
	{PKCS1WithSHA256, "\x30\x0d\x06\x09" + oidPKCS1SHA256 + "\x05\x00"},
	{MLDSA44, "\x30\x0b\x06\x09" + oidMLDSA44}, // without parameters (RFC 9881, section 2)
	{MLDSA65, "\x30\x0b\x06\x09" + oidMLDSA65},
	{MLDSA87, "\x30\x0b\x06\x09" + oidMLDSA87},
}

// AuthorityScheme is how a key signs certificates, requests for them and lists of
// revocations: the scheme, and the same as an AlgorithmIdentifier in DER.
func (k *PublicKey) AuthorityScheme() (Scheme, []byte, error) {
	for _, a := range authorities {
		if k.Fits(a.scheme) {
			return a.scheme, []byte(a.identifier), nil
		}
	}
	return 0, nil, errors.New("a key of this kind can't sign certificates; take ECDSA, Ed25519, ML-DSA or RSA")
}

// SignWhole signs what X.509 signs: tbs, which is DER and names AuthorityScheme
// where it names an algorithm. What comes back is the whole: a sequence of tbs, the
// algorithm and the signature, which has been verified, so that one that a fault
// spoiled is not let out.
func SignWhole(random io.Reader, key crypto.Signer, tbs []byte) ([]byte, error) {
	public, err := publicOf(key)
	if err != nil {
		return nil, err
	}
	scheme, algorithm, err := public.AuthorityScheme()
	if err != nil {
		return nil, err
	}
	signature, err := Sign(random, key, scheme, tbs)
	if err != nil {
		return nil, err
	}
	if err := public.VerifyCertificate(algorithm, tbs, signature); err != nil {
		return nil, fmt.Errorf("the signature that was just made does not verify: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// MarshalPublicKey is the SubjectPublicKeyInfo of a key, in DER.
func MarshalPublicKey(key crypto.PublicKey) ([]byte, error) {
	return mldsax509.MarshalPKIXPublicKey(key)
}

// MarshalPrivateKey is a key in PKCS #8, in DER; one of ML-DSA as its seed alone
// (RFC 9881, section 6). It is the caller's to zero.
func MarshalPrivateKey(key crypto.Signer) ([]byte, error) {
	return mldsax509.MarshalPKCS8PrivateKey(key)
}
