package keystore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/internal/suite"
)

// rsaBits is the size of RSA keys that are made here (NIST SP 800-57: 128 bits of
// strength, for what stands beyond 2030).
const rsaBits = 3072

// keyTypes are the keys that can be made, the first where nobody says.
var keyTypes = []struct {
	name string
	make func() (crypto.Signer, error)
}{
	{"p256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{"p384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	{"ed25519", func() (crypto.Signer, error) { _, k, err := ed25519.GenerateKey(rand.Reader); return k, err }},
	{"rsa", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, rsaBits) }},
	{"mldsa44", func() (crypto.Signer, error) { return mldsa.GenerateKey(mldsa.MLDSA44()) }},
	{"mldsa65", func() (crypto.Signer, error) { return mldsa.GenerateKey(mldsa.MLDSA65()) }},
	{"mldsa87", func() (crypto.Signer, error) { return mldsa.GenerateKey(mldsa.MLDSA87()) }},
}

// KeyTypes are the names of the types of key that NewKey makes: p256, p384, ed25519,
// rsa (of 3072 bits), mldsa44, mldsa65 and mldsa87.
func KeyTypes() []string {
	names := make([]string, len(keyTypes))
	for i, t := range keyTypes {
		names[i] = t.name
	}
	return names
}

// CheckKeyType says which types there are where the name is of none.
func CheckKeyType(name string) error {
	if names := KeyTypes(); !slices.Contains(names, name) {
		last := len(names) - 1
		return fmt.Errorf("%q is not a type of key; take %s or %s", name, strings.Join(names[:last], ", "), names[last])
	}
	return nil
}

// NewKey makes a private key of a type.
func NewKey(keyType string) (crypto.Signer, error) {
	for _, t := range keyTypes {
		if t.name == keyType {
			return t.make()
		}
	}
	return nil, CheckKeyType(keyType)
}

// TypeOf is the type of a public key: the one that a successor of it is to have. It is "" for a
// key that NewKey does not make.
func TypeOf(public crypto.PublicKey) string {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "p256"
		case elliptic.P384():
			return "p384"
		}
	case ed25519.PublicKey:
		return "ed25519"
	case *rsa.PublicKey:
		return "rsa"
	case *mldsa.PublicKey:
		return strings.ToLower(strings.ReplaceAll(k.Parameters().String(), "-", ""))
	}
	return ""
}

// KeyPEM is a private key in PKCS #8 and PEM, as Load and LoadKey read it, and
// OpenSSL does. One of ML-DSA is its seed (RFC 9881, section 6). It is the
// caller's to zero.
func KeyPEM(key crypto.Signer) ([]byte, error) {
	der, err := suite.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("the private key can't be written down: %w", err)
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
