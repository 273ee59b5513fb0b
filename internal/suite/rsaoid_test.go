package suite

import (
	"crypto"
	"crypto/rand"
	"testing"
)

func TestAnRSAKeyGoesByTheOIDOfItsCertificate(t *testing.T) {
	keys := testKeys()
	for _, c := range []struct {
		name string
		key  crypto.Signer
		pss  bool
		want Scheme
	}{
		{"a plain key", keys["rsa2048"], false, RSAPSSWithSHA256},
		{"a plain key in a certificate for PSS", keys["rsa2048"], true, PSSPSSWithSHA256},
		{"a key for PSS", keys["rsapss"], true, PSSPSSWithSHA256},
		{"a key for PSS in a plain certificate", keys["rsapss"], false, RSAPSSWithSHA256},
		{"there and back", GoBy(keys["rsa2048"], true), false, RSAPSSWithSHA256},
		{"another kind", keys["p256"], true, ECDSAWithP256AndSHA256},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := GoBy(c.key, c.pss)
			pub, err := PublicOf(key)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := Sign(rand.Reader, key, c.want, []byte("message"))
			if err != nil || pub.Verify(c.want, []byte("message"), sig) != nil {
				t.Errorf("it does not sign with %v: %v", c.want, err)
			}
		})
	}
	if _, err := GoBy(keys["rsa2048"], true).Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
		t.Error("a key for PSS made a signature of PKCS #1 v1.5")
	}
}
