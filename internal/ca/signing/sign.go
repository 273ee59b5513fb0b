package signing

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

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
	algorithm []byte // of certificates and lists, as an AlgorithmIdentifier
	random    io.Reader
}

// New is the authority with a key and its certificate. The certificate is nil for
// a root that is about to be made.
func New(key crypto.Signer, certificate *pki.Certificate, random io.Reader) (*Signer, error) {
	spki, err := suite.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("the authority's key: %w", err)
	}
	if certificate != nil && !bytes.Equal(spki, certificate.X509.RawSubjectPublicKeyInfo) {
		return nil, fmt.Errorf("the key is not the one of the certificate %s", certificate.Label())
	}
	s := &Signer{Certificate: certificate, key: suite.Fast(key), spki: spki, random: random}
	if s.public, err = suite.ParsePublicKey(spki); err != nil {
		return nil, err
	}
	_, s.algorithm, err = s.public.AuthorityScheme()
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
	return suite.SignWhole(s.random, s.key, l.bytes)
}

// JudgeStatement judges a statement of anchors, which only a root may sign.
func (s *Signer) JudgeStatement(signed []byte) (*Judged, error) {
	if c := s.Certificate; c == nil || !c.SelfIssued() || !c.X509.IsCA {
		return nil, &Broken{"statement-signer", "only a root signs a statement of anchors"}
	}
	if len(signed) == 0 || len(signed) > api.MaxStatement {
		return nil, &Broken{"statement-size", fmt.Sprintf("the statement has %d bytes, expected 1 to %d", len(signed), api.MaxStatement)}
	}
	return s.judged(statement, api.StatementBytes(signed)), nil
}

// Close zeroes the key as far as it is reachable, which one of ML-DSA is not.
// Nothing is signed afterwards.
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
