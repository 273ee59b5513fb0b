package mint_test

import (
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

func TestEveryKindOfKeyStandsUnderItsRoot(t *testing.T) {
	for _, above := range []string{"p256", "p384", "ed25519", "rsa2048", "mldsa65"} {
		root := mint.Root("Root", mint.Key(above))
		inter := root.Intermediate("Issuing", mint.Key(above))
		for _, kind := range []string{"p256", "p384", "p521", "ed25519", "rsa2048", "rsa3072", "rsapss2048", "mldsa44", "mldsa87"} {
			t.Run(kind+" under "+above, func(t *testing.T) {
				leaf := inter.Leaf("orders", mint.Key(kind), mint.URIs("spiffe://example/orders"), mint.IPs("127.0.0.1"))
				if kind != "rsapss2048" && !strings.HasPrefix(kind, "mldsa") && above != "mldsa65" { // which the standard library does not know
					roots, inters := x509.NewCertPool(), x509.NewCertPool()
					roots.AddCert(root.Cert)
					inters.AddCert(inter.Cert)
					if _, err := leaf.Cert.Verify(x509.VerifyOptions{DNSName: "orders", Roots: roots, Intermediates: inters}); err != nil {
						t.Error(err)
					}
				}
				anchor, err := pki.Parse(root.DER)
				if err != nil {
					t.Fatal(err)
				}
				chain, err := pki.ParseChain(leaf.Chain)
				if err != nil {
					t.Fatal(err)
				}
				v := pki.Verify(pki.Question{Chain: chain, Anchors: pki.NewAnchors(anchor), Purpose: pki.ForClient, Name: "127.0.0.1", At: time.Now()})
				if !v.OK {
					t.Error(v.Sentence())
				}
				cert, key, err := leaf.WriteFiles(t.TempDir(), "orders")
				if err != nil {
					t.Fatal(err)
				}
				if _, _, err := keystore.LoadFiles(cert, key); err != nil {
					t.Error(err)
				}
				if st, err := os.Stat(key); err != nil || st.Mode().Perm() != 0o600 {
					t.Errorf("the key's file is %v, %v", st.Mode(), err)
				}
			})
		}
	}
}
