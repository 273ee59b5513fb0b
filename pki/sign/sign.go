package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/suite"
)

// Certificate makes a certificate in DER for a public key, as
// x509.CreateCertificate does: parent is template itself for one that signs itself,
// and key is the parent's. A key of ML-DSA is a *mldsa.PublicKey of
// filippo.io/mldsa, and its signer any whose Public is one; keystore.NewKey makes
// them. random is nil for crypto/rand.
func Certificate(random io.Reader, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) ([]byte, error) {
	if template == nil || parent == nil || key == nil {
		return nil, errors.New("a certificate needs a template, its parent and the parent's key")
	}
	if random == nil {
		random = rand.Reader
	}
	_, subject := public.(*mldsa.PublicKey)
	if !subject && !isMLDSA(key) {
		return x509.CreateCertificate(random, template, parent, public, key)
	}
	if subject && template.KeyUsage&^signs != 0 {
		return nil, errors.New("a key of ML-DSA signs and does nothing else: its key usage can hold digitalSignature, contentCommitment, keyCertSign and cRLSign (RFC 9881, section 5)")
	}
	if err := oneAlgorithm(template.SignatureAlgorithm); err != nil {
		return nil, err
	}
	if err := belongs(parent, key); err != nil {
		return nil, err
	}
	spki, err := suite.MarshalPublicKey(public)
	if err != nil {
		return nil, err
	}
	body, above := *template, *parent
	if body.IsCA && len(body.SubjectKeyId) == 0 {
		if body.SubjectKeyId, err = keyID(spki); err != nil {
			return nil, err
		}
	}
	if parent == template {
		above = body
	}
	stand := standIn()
	if subject {
		public = stand.Public()
	}
	signer := key
	if isMLDSA(key) {
		signer, above.PublicKey = stand, stand.Public()
	}
	made, err := x509.CreateCertificate(random, &body, &above, public, signer)
	if err != nil {
		return nil, err
	}
	return again(random, made, key, place{2, algorithmOf}, place{6, func(crypto.Signer) ([]byte, error) { return spki, nil }})
}

// Request makes a certificate request in DER (PKCS #10), signed by the key that is
// to be certified, as x509.CreateCertificateRequest does.
func Request(random io.Reader, template *x509.CertificateRequest, key crypto.Signer) ([]byte, error) {
	if template == nil || key == nil {
		return nil, errors.New("a request needs a template and the key that is to be certified")
	}
	if random == nil {
		random = rand.Reader
	}
	if !isMLDSA(key) {
		return x509.CreateCertificateRequest(random, template, key)
	}
	if err := oneAlgorithm(template.SignatureAlgorithm); err != nil {
		return nil, err
	}
	made, err := x509.CreateCertificateRequest(random, template, standIn())
	if err != nil {
		return nil, err
	}
	return again(random, made, key, place{2, func(key crypto.Signer) ([]byte, error) { return suite.MarshalPublicKey(key.Public()) }})
}

// List makes a list of revocations in DER, signed by its issuer's key, as
// x509.CreateRevocationList does.
func List(random io.Reader, template *x509.RevocationList, issuer *x509.Certificate, key crypto.Signer) ([]byte, error) {
	if template == nil || issuer == nil || key == nil {
		return nil, errors.New("a list needs a template, its issuer and the issuer's key")
	}
	if random == nil {
		random = rand.Reader
	}
	if !isMLDSA(key) {
		return x509.CreateRevocationList(random, template, issuer, key)
	}
	if err := oneAlgorithm(template.SignatureAlgorithm); err != nil {
		return nil, err
	}
	if err := belongs(issuer, key); err != nil {
		return nil, err
	}
	made, err := x509.CreateRevocationList(random, template, issuer, standIn())
	if err != nil {
		return nil, err
	}
	return again(random, made, key, place{1, algorithmOf})
}

// signs are the usages of a key that signs and does nothing else.
const signs = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageCertSign | x509.KeyUsageCRLSign

func isMLDSA(key crypto.Signer) bool {
	_, ok := key.Public().(*mldsa.PublicKey)
	return ok
}

// oneAlgorithm refuses a choice where none is heeded.
func oneAlgorithm(asked x509.SignatureAlgorithm) error {
	if asked != x509.UnknownSignatureAlgorithm {
		return fmt.Errorf("where a key of ML-DSA is signed, or signs, every key signs in its usual way: leave SignatureAlgorithm, which is %v, out", asked)
	}
	return nil
}

// belongs holds a key against a certificate that was parsed. One that is being made
// has no key yet; crypto/x509 holds its own kinds against each other by itself.
func belongs(c *x509.Certificate, key crypto.Signer) error {
	if len(c.RawSubjectPublicKeyInfo) == 0 {
		return nil
	}
	spki, err := suite.MarshalPublicKey(key.Public())
	if err != nil {
		return err
	}
	if !bytes.Equal(spki, c.RawSubjectPublicKeyInfo) {
		return errors.New("the key is not the one of the certificate that is to sign")
	}
	return nil
}

// standIn is the key that crypto/x509 is shown in the place of one that it does not
// know. Nothing that it signs leaves.
var standIn = sync.OnceValue(func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no randomness is no reason to go on
	}
	return key
})

// place is where another value is put into what crypto/x509 built: the number of
// the member, of which the version is the first, 0.
type place struct {
	member int
	value  func(crypto.Signer) ([]byte, error)
}

func algorithmOf(key crypto.Signer) ([]byte, error) {
	public, err := suite.PublicOf(key)
	if err != nil {
		return nil, err
	}
	_, algorithm, err := public.AuthorityScheme()
	return algorithm, err
}

// again takes out of made what is to be signed, puts the right key and algorithm
// into their places, and signs it with key.
func again(random io.Reader, made []byte, key crypto.Signer, places ...place) ([]byte, error) {
	in := cryptobyte.String(made)
	var whole, body, member cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.ReadASN1(&body, der.SEQUENCE) {
		return nil, errForm
	}
	var b cryptobyte.Builder
	var fault error
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for i := 0; !body.Empty(); i++ {
			if !body.ReadAnyASN1Element(&member, nil) {
				fault = errForm
				return
			}
			for _, p := range places {
				if p.member == i {
					if member, fault = p.value(key); fault != nil {
						return
					}
				}
			}
			b.AddBytes(member)
		}
	})
	if fault != nil {
		return nil, fault
	}
	tbs, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return suite.SignWhole(random, key, tbs)
}

var errForm = errors.New("what crypto/x509 made is not of the form of RFC 5280")

// keyID names a key: the first 160 bits of the SHA-256 of its bits (RFC 7093,
// section 2, method 1), as crypto/x509 does for the keys that it knows.
func keyID(spki []byte) ([]byte, error) {
	in := cryptobyte.String(spki)
	var info cryptobyte.String
	var key []byte
	if !in.ReadASN1(&info, der.SEQUENCE) || !info.SkipASN1(der.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&key) {
		return nil, errForm
	}
	sum := sha256.Sum256(key)
	return sum[:20], nil
}
