package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
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

// roots is a file of 150 roots, as many as a system has: the one that counts stands
// last, and every other one has an RSA key.
var roots = sync.OnceValue(func() []byte {
	var out []byte
	for i := range 149 {
		out = append(out, mint.Root(fmt.Sprintf("Bench Root %d", i), mint.Key([]string{"p256", "rsa2048"}[i%2])).PEM()...)
	}
	return append(out, root.PEM()...)
})

func underOurs(eachTime bool) (func(int) error, error) {
	var anchors *pki.Anchors
	return func(n int) error {
		for range n {
			if anchors == nil || eachTime {
				certs, err := pki.ParsePEM(roots())
				if err != nil {
					return err
				}
				anchors = pki.NewAnchors(certs...)
			}
			chain, err := pki.ParseChain(orders.Chain)
			if err != nil {
				return err
			}
			if v := pki.Verify(pki.Question{Chain: chain, Anchors: anchors, Purpose: pki.ForServer, Name: "orders.internal", At: time.Now()}); !v.OK {
				return errors.New(v.Sentence())
			}
		}
		return nil
	}, nil
}

func underTheirs(eachTime bool) (func(int) error, error) {
	var pool *x509.CertPool
	return func(n int) error {
		for range n {
			if pool == nil || eachTime {
				pool = x509.NewCertPool()
				if !pool.AppendCertsFromPEM(roots()) {
					return errors.New("no root")
				}
			}
			o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), DNSName: "orders.internal",
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, CurrentTime: time.Now()}
			chain := make([]*x509.Certificate, len(orders.Chain))
			for i, der := range orders.Chain {
				var err error
				if chain[i], err = x509.ParseCertificate(der); err != nil {
					return err
				}
			}
			for _, c := range chain[1:] {
				o.Intermediates.AddCert(c)
			}
			if _, err := chain[0].Verify(o); err != nil {
				return err
			}
		}
		return nil
	}, nil
}
