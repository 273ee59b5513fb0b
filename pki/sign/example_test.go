package sign_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log"
	"math/big"
	"time"

	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

// A root with a key of ML-DSA-65, and what it signs for a service with a key of
// ECDSA.
func Example() {
	rootKey, err := keystore.NewKey("mldsa65")
	if err != nil {
		log.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Example Root"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(10, 0, 0),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	rootDER, err := sign.Certificate(nil, root, root, rootKey.Public(), rootKey)
	if err != nil {
		log.Fatal(err)
	}
	if root, err = x509.ParseCertificate(rootDER); err != nil {
		log.Fatal(err)
	}

	key, err := keystore.NewKey("p256")
	if err != nil {
		log.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"orders.internal"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(0, 0, 1), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	leafDER, err := sign.Certificate(nil, leaf, root, key.Public(), rootKey)
	if err != nil {
		log.Fatal(err)
	}

	chain, err := pki.ParseChain([][]byte{leafDER, rootDER})
	if err != nil {
		log.Fatal(err)
	}
	v := pki.Verify(pki.Question{Chain: chain[:1], Anchors: pki.NewAnchors(chain[1]), Purpose: pki.ForServer, Name: "orders.internal", At: time.Now()})
	fmt.Println(v.OK, chain[0].AlgorithmName())
	// Output: true ML-DSA-65
}
