package pki

import (
	"crypto"
	"testing"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/internal/code"
)

var mldsaSets = map[string]mldsa.Parameters{
	"2.16.840.1.101.3.4.3.17": mldsa.MLDSA44(),
	"2.16.840.1.101.3.4.3.18": mldsa.MLDSA65(),
	"2.16.840.1.101.3.4.3.19": mldsa.MLDSA87(),
}

func mldsaKey(t *testing.T, of mldsa.Parameters) crypto.Signer {
	t.Helper()
	k, err := mldsa.GenerateKey(of)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mldsaOID(of mldsa.Parameters) []byte {
	for oid, p := range mldsaSets {
		if p == of {
			return oidDER(oid)
		}
	}
	return nil
}

// grown makes a certificate that crypto/x509 can't: with an ML-DSA key in it, or
// signed by one. by is nil for a root.
func grown(t *testing.T, by *entity, name string, key crypto.Signer, opts ...option) *entity {
	t.Helper()
	stand, signer := (*entity)(nil), key
	if by != nil { // its name and key identifier, with a key that the standard library knows
		c := *by.X509
		k := p256()
		c.PublicKey = k.Public()
		stand, signer = &entity{&Certificate{X509: &c}, k}, by.key
	}
	raw := issue(t, stand, name, append(opts, withKey(p256()))...)
	b := remake(t, raw.Raw, signer, func(b *tbs) {
		if k, ok := key.(*mldsa.PrivateKey); ok {
			b.Key.FullBytes = tlv(0x30, tlv(0x30, mldsaOID(k.PublicKey().Parameters())), tlv(0x03, []byte{0}, k.PublicKey().Bytes()))
		} else {
			b.Key.FullBytes = issue(t, nil, "x", withKey(key)).X509.RawSubjectPublicKeyInfo
		}
		if k, ok := signer.(*mldsa.PrivateKey); ok {
			b.Algorithm.FullBytes = tlv(0x30, mldsaOID(k.PublicKey().Parameters()))
		}
	})
	c, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return &entity{c, key}
}

func TestMLDSASignsAboveBelowAndAmongOtherKeys(t *testing.T) {
	for _, of := range mldsaSets {
		pq := func() crypto.Signer { return mldsaKey(t, of) }
		for name, keys := range map[string][3]crypto.Signer{
			"all": {pq(), pq(), pq()}, "root": {pq(), p256(), p256()}, "leaf": {p256(), p256(), pq()},
			"intermediate": {p256(), pq(), p256()}, "above Ed25519": {pq(), pq(), ed()},
		} {
			r := grown(t, nil, "R", keys[0], authority)
			i := grown(t, r, "I", keys[1], authority)
			l := grown(t, i, "api.internal", keys[2], dns("api.internal"))
			accept(t, standing{r, i, l}.question(), l, i, r)
			if keys[2] == keys[0] && KeyName(l.Key) != of.String() {
				t.Errorf("%s: %s", name, KeyName(l.Key))
			}
		}
	}
}

func TestAnMLDSASignatureIsHeldToItsKey(t *testing.T) {
	r := grown(t, nil, "R", mldsaKey(t, mldsa.MLDSA65()), authority)
	forger := &entity{r.Certificate, mldsaKey(t, mldsa.MLDSA65())}
	l := grown(t, forger, "api.internal", p256(), dns("api.internal"))
	q := Question{Chain: chain(l), Anchors: anchors(r), Purpose: ForServer, At: now}
	refuse(t, q, code.BadSignature)

	other := &entity{r.Certificate, mldsaKey(t, mldsa.MLDSA44())} // another set than the root's key is of
	q.Chain = chain(grown(t, other, "api.internal", p256(), dns("api.internal")))
	refuse(t, q, code.BadSignature)
}
