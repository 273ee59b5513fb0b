package pki

import (
	"crypto"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki/sign"
)

var mldsaSets = []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()}

func mldsaKey(t *testing.T, of mldsa.Parameters) crypto.Signer {
	t.Helper()
	k, err := mldsa.GenerateKey(of)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestMLDSASignsAboveBelowAndAmongOtherKeys(t *testing.T) {
	for _, of := range mldsaSets {
		pq := func() crypto.Signer { return mldsaKey(t, of) }
		for name, keys := range map[string][3]crypto.Signer{
			"all": {pq(), pq(), pq()}, "root": {pq(), p256(), p256()}, "leaf": {p256(), p256(), pq()},
			"intermediate": {p256(), pq(), p256()}, "above Ed25519": {pq(), pq(), ed()},
		} {
			r := issue(t, nil, "R", withKey(keys[0]), authority)
			i := issue(t, r, "I", withKey(keys[1]), authority)
			l := issue(t, i, "api.internal", withKey(keys[2]), dns("api.internal"))
			accept(t, standing{r, i, l}.question(), l, i, r)
			if keys[2] == keys[0] && KeyName(l.Key) != of.String() {
				t.Errorf("%s: %s", name, KeyName(l.Key))
			}
		}
	}
}

func TestAnMLDSASignatureIsHeldToItsKey(t *testing.T) {
	r := issue(t, nil, "R", withKey(mldsaKey(t, mldsa.MLDSA65())), authority)
	// The second forger's key is of another parameter set than the root's.
	for _, forger := range []crypto.Signer{mldsaKey(t, mldsa.MLDSA65()), mldsaKey(t, mldsa.MLDSA44())} {
		l := issue(t, r, "api.internal", dns("api.internal"), func(r *request) { r.signer = forger })
		refuse(t, Question{Chain: chain(l), Anchors: anchors(r), Purpose: ForServer, At: now}, code.BadSignature)
	}
}

func TestAListOfAnMLDSAIssuerIsHeldToItsKey(t *testing.T) {
	r := issue(t, nil, "R", withKey(mldsaKey(t, mldsa.MLDSA65())), authority)
	b, err := sign.List(nil, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, r.X509, r.key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseRevocationList(b)
	if err != nil {
		t.Fatal(err)
	}
	if !list.IssuedBy(r.Certificate) || !list.SignedBy(r.Certificate) || list.Fault() != "" || list.AlgorithmName() != "ML-DSA-65" {
		t.Errorf("issued by it %v, signed by it %v, %q, with %s", list.IssuedBy(r.Certificate), list.SignedBy(r.Certificate), list.Fault(), list.AlgorithmName())
	}
	b[len(b)-1] ^= 1
	if list, err = ParseRevocationList(b); err != nil || list.SignedBy(r.Certificate) {
		t.Errorf("a changed signature: %v", err)
	}
	if stranger := issue(t, nil, "R", withKey(mldsaKey(t, mldsa.MLDSA65())), authority); list.SignedBy(stranger.Certificate) {
		t.Error("another authority of the name has signed it")
	}
}
