package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"

	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

func init() {
	register(doesWith("use-client-ca-list", func(s *settings, v string) error {
		if v == "<EMPTY>" || v == "<NULL>" {
			return nil // a Verifier that knows of no authorities names none
		}
		list, err := names(v)
		if err != nil {
			return err
		}
		verifier, err := naming(list)
		s.change(func(c *config) {
			switch {
			case c.server == nil:
			case s.requirePeer:
				c.server.Clients = mtls.Required(named{verifier, c.process()})
			case s.verifyPeer:
				c.server.Clients = mtls.Optional(named{verifier, c.process()})
			}
		})
		return err
	}))
}

// named is a process that names the authorities that a SwapVerifier holds.
type named struct {
	*mtls.SwapVerifier
	process *process
}

func (n named) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	return n.process.Verify(ctx, claim)
}

func (n named) Generation() ([sha256.Size]byte, bool) { return n.process.Generation() }

// naming holds authorities of those names. The runner gives names alone, and one
// that is trusted is a certificate: each is made here.
func naming(list [][]byte) (*mtls.SwapVerifier, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var certs []*pki.Certificate
	for _, name := range list {
		root := &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: name, IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
		if err != nil {
			return nil, err
		}
		c, err := pki.Parse(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	return mtls.NewSwapVerifier(mtls.Authorities(pki.NewAnchors(certs...))), nil
}
