package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki"
)

// Signer is a certificate authority: a key that nothing but Sign reaches, and the
// certificate that says what the key may sign.
type Signer struct {
	// Certificate is the authority's own; nil while a root's key has not signed it
	// yet.
	Certificate *pki.Certificate

	key       crypto.Signer
	public    *suite.PublicKey
	spki      []byte
	scheme    suite.Scheme // of certificates and lists
	algorithm []byte       // scheme as an AlgorithmIdentifier
	random    io.Reader
}

// New is the authority with a key and its certificate. The certificate is nil for
// a root that is about to be made.
func New(key crypto.Signer, certificate *pki.Certificate, random io.Reader) (*Signer, error) {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("the authority's key: %w", err)
	}
	if certificate != nil && !bytes.Equal(spki, certificate.X509.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("the key is not the one of the certificate %s", certificate.Label())
	}
	s := &Signer{Certificate: certificate, key: key, spki: spki, random: random}
	if s.public, err = suite.ParsePublicKey(spki); err != nil {
		return nil, err
	}
	s.scheme, s.algorithm, err = algorithmOf(s.public)
	return s, err
}

// Algorithm is the AlgorithmIdentifier, in DER, of what the key signs.
func (s *Signer) Algorithm() []byte { return s.algorithm }

// SPKI is the SubjectPublicKeyInfo of the key, in DER.
func (s *Signer) SPKI() []byte { return s.spki }

// Judged are bytes that may be signed once they are on record.
type Judged struct {
	by       *Signer
	kind     kind
	bytes    []byte
	sum      [sha256.Size]byte
	recorded atomic.Bool
}

type kind int

const (
	certificate kind = iota
	list
	statement
)

// judged takes a copy, so that nobody changes what was judged.
func (s *Signer) judged(k kind, b []byte) *Judged {
	return &Judged{by: s, kind: k, bytes: bytes.Clone(b), sum: sha256.Sum256(b)}
}

// Record has the bytes recorded by the function given, and gives leave to sign
// them if that succeeded. It can be done once.
func (j *Judged) Record(record func() error) (*Leave, error) {
	if j.recorded.Swap(true) {
		return nil, errLeave
	}
	if err := record(); err != nil {
		return nil, err
	}
	return &Leave{by: j.by, kind: j.kind, bytes: j.bytes, sum: j.sum}, nil
}

// Leave is the leave to sign something once.
type Leave struct {
	by    *Signer
	kind  kind
	bytes []byte
	sum   [sha256.Size]byte
	used  atomic.Bool
}

var errLeave = errors.New("there is no leave to sign this")

// Sign is the one function that signs. It answers with the certificate, or the
// list of revocations, in DER; or with the bare signature of a statement.
func (s *Signer) Sign(l *Leave) ([]byte, error) {
	if l == nil || l.used.Swap(true) || l.by == nil || l.by != s || sha256.Sum256(l.bytes) != l.sum {
		return nil, errLeave
	}
	if s.key == nil {
		return nil, errors.New("the key was closed")
	}
	if l.kind == statement {
		scheme, err := api.StatementScheme(s.public)
		if err != nil {
			return nil, err
		}
		return suite.Sign(s.random, s.key, scheme, l.bytes)
	}
	signature, err := suite.Sign(s.random, s.key, s.scheme, l.bytes)
	if err != nil {
		return nil, err
	}
	// A signature that a fault spoiled is not let out.
	if err := s.public.VerifyCertificate(s.algorithm, l.bytes, signature); err != nil {
		return nil, fmt.Errorf("the signature that was just made does not verify: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(l.bytes)
		b.AddBytes(s.algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// JudgeStatement judges a statement of anchors, which only a root may sign.
func (s *Signer) JudgeStatement(signed []byte) (*Judged, error) {
	if c := s.Certificate; c == nil || !c.SelfIssued() || !c.X509.IsCA {
		return nil, &Broken{"statement-signer", "only a root signs a statement of anchors"}
	}
	if len(signed) == 0 || len(signed) > api.MaxBody {
		return nil, &Broken{"statement-size", fmt.Sprintf("the statement has %d bytes, expected 1 to %d", len(signed), api.MaxBody)}
	}
	return s.judged(statement, api.StatementBytes(signed)), nil
}

// Close zeroes the key as far as it is reachable. Nothing is signed afterwards.
func (s *Signer) Close() {
	switch k := s.key.(type) {
	case *ecdsa.PrivateKey:
		if k.D != nil { //nolint:staticcheck // to be zeroed, which has no other way
			clear(k.D.Bits()) //nolint:staticcheck // as above
		}
	case ed25519.PrivateKey:
		clear(k)
	case *rsa.PrivateKey:
		clear(k.D.Bits())
		for _, p := range k.Primes {
			clear(p.Bits())
		}
	}
	s.key = nil
}

// algorithmOf is how an authority's key signs: with the hash that fits its size,
// and RSA in PKCS #1 v1.5, which every verifier of certificates knows.
func algorithmOf(k *suite.PublicKey) (suite.Scheme, []byte, error) {
	for _, a := range []struct {
		scheme     suite.Scheme
		identifier string
	}{
		{suite.ECDSAWithP256AndSHA256, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"},
		{suite.ECDSAWithP384AndSHA384, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03"},
		{suite.ECDSAWithP521AndSHA512, "\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04"},
		{suite.Ed25519, "\x30\x05\x06\x03\x2b\x65\x70"},
		{suite.PKCS1WithSHA256, "\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"},
	} {
		if k.Fits(a.scheme) {
			return a.scheme, []byte(a.identifier), nil
		}
	}
	return 0, nil, errors.New("a key of this kind can't sign certificates; take ECDSA, Ed25519 or RSA")
}
