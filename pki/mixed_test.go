package pki

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"testing"
)

// Every kind of key under every other, in one path of three.
func TestKindsOfKeysMixOnOnePath(t *testing.T) {
	kinds := map[string]func() crypto.Signer{
		"P-256": p256, "P-384": func() crypto.Signer { return ec(elliptic.P384()) }, "Ed25519": ed,
		"RSA": func() crypto.Signer { return rsaKey(2048, 0) },
	}
	for a, top := range kinds {
		for b, middle := range kinds {
			for c, end := range kinds {
				r := root(t, "R", withKey(top()))
				i := r.intermediate(t, "I", withKey(middle()))
				l := i.leaf(t, "api.internal", withKey(end()))
				if v := Verify(standing{r, i, l}.question()); !v.OK {
					t.Errorf("%s, %s, %s: %s", a, b, c, v.Sentence())
				}
			}
		}
	}
	// RSASSA-PSS by an RSA authority above an Ed25519 one.
	r := root(t, "R", withKey(rsaKey(2048, 0)), signedWith(x509.SHA384WithRSAPSS))
	i := r.intermediate(t, "I", withKey(ed()), signedWith(x509.SHA384WithRSAPSS))
	l := i.leaf(t, "api.internal")
	accept(t, standing{r, i, l}.question(), l, i, r)
}
