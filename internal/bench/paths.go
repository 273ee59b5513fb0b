package main

import (
	"crypto/x509"
	"errors"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// A path is a leaf, an intermediate and a root, each parsed before. Every
// signature is verified every time, since neither side remembers a verdict; and
// then once more with ours remembering, as a Server and a Client do.

func verifyOurs() (func(int) error, error) { return verifyBy(nil) }

func verifyOursAgain() (func(int) error, error) { return verifyBy(&pki.Known{}) }

func verifyBy(known *pki.Known) (func(int) error, error) {
	chain, err := pki.ParseChain(orders.Chain)
	if err != nil {
		return nil, err
	}
	anchor, err := pki.Parse(root.DER)
	if err != nil {
		return nil, err
	}
	q := pki.Question{Chain: chain, Anchors: pki.NewAnchors(anchor), Purpose: pki.ForServer, Name: "orders.internal", At: time.Now(), Known: known}
	return func(n int) error {
		for range n {
			if v := pki.Verify(q); !v.OK {
				return errors.New(v.Sentence())
			}
		}
		return nil
	}, nil
}

func verifyTheirs() (func(int) error, error) {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), DNSName: "orders.internal",
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: time.Now()}
	o.Roots.AddCert(root.Cert)
	leaf, err := x509.ParseCertificate(orders.Chain[0])
	if err != nil {
		return nil, err
	}
	o.Intermediates.AddCert(inter.Cert)
	return func(n int) error {
		for range n {
			if _, err := leaf.Verify(o); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
