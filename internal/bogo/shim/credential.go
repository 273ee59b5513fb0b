package main

import (
	"bytes"
	"context"
	"crypto"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
)

// credential is one of ours. The first of the settings is the default; flags
// that say "new" put others before it.
type credential struct {
	certFile, keyFile string
	schemes           []mtls.Scheme
	mustMatchIssuer   bool
	raw               bool   // a key without a certificate
	delegated         []byte // the delegated credential of the key
	properties        []byte // of the certificate

	response, timestamps []byte // what is shown beside it

	certificate *mtls.Certificate
	unfit       bool      // it is there, and can't sign as it is to
	psk         *mtls.PSK // nil: it is a certificate
}

func init() {
	register(
		does("new-x509-credential", func(s *settings) { s.own = append(s.own, &credential{}) }),
		text("cert-file", func(s *settings) *string { return &s.credential().certFile }),
		text("key-file", func(s *settings) *string { return &s.credential().keyFile }),
		numbers("signing-prefs", func(s *settings) *[]mtls.Scheme { return &s.credential().schemes }),
		toggle("must-match-issuer", func(s *settings) *bool { return &s.credential().mustMatchIssuer }),
	)
}

// credential is the one that flags are about now.
func (s *settings) credential() *credential { return s.own[len(s.own)-1] }

// load reads the credentials' files.
func (s *settings) load(now time.Time) error {
	for _, c := range s.own {
		if c.certFile == "" && c.keyFile == "" || c.certificate != nil || c.unfit {
			continue
		}
		if c.keyFile == "" {
			c.keyFile = c.certFile
		}
		var chain [][]byte
		var key crypto.Signer
		var err error
		switch {
		case c.delegated != nil:
			if key, err = keystore.LoadKeyFile(c.keyFile); err == nil {
				chain, err = readChain(c.certFile)
			}
		case c.raw:
			key, err = keystore.LoadKeyFile(c.keyFile)
		default:
			chain, key, err = keystore.LoadFiles(c.certFile, c.keyFile)
		}
		if err != nil {
			return err
		}
		if s.async {
			key = lateSigner{key}
		}
		switch {
		case c.raw:
			c.certificate, err = mtls.NewRawKey(key)
		case c.delegated != nil:
			c.certificate, err = mtls.NewDelegated(chain, c.delegated, key)
		default:
			c.certificate, err = mtls.NewCertificate(chain, key)
		}
		if err != nil {
			return err
		}
		if len(c.schemes) > 0 {
			// One that is to sign as it can't, or as nobody may, fits nowhere.
			c.certificate, err = c.certificate.Signing(c.schemes...)
			c.unfit = err != nil
		}
		if c.certificate == nil {
			continue
		}
		if err := c.stand(); err != nil {
			return err
		}
		if err := c.staple(now, !s.beside.declines); err != nil {
			return err
		}
	}
	return nil
}

// Certificate makes a connection the Identity of its own end.
func (c *connection) Certificate(_ context.Context, ask *mtls.Ask) (*mtls.Certificate, error) {
	c.late()
	if c.failCert {
		return nil, errors.New("the runner wants the identity to fail")
	}
	if c.failEarly {
		return nil, nil
	}
	if err := c.beside.mayShow(); err != nil {
		return nil, err
	}
	if want := c.expect.advertisedALPN; want != "" && c.server && !slices.Equal(ask.ALPN, protocols(want)) {
		return nil, errors.New("the client offers other protocols than expected")
	}
	if want := c.expect.verifyPrefs; want != nil && !slices.Equal(ask.Schemes, want) {
		return nil, errors.New("the peer verifies other schemes than expected")
	}
	if want := c.expect.authorities; want != nil && !slices.EqualFunc(ask.Authorities, want, bytes.Equal) {
		return nil, errors.New("the peer names other authorities than expected")
	}
	// In order, and the default last.
	for _, one := range append(slices.Clone(c.own[1:]), c.own[0]) {
		if one.certificate != nil && one.fits(ask) {
			return one.certificate, nil
		}
	}
	if slices.ContainsFunc(c.own, func(o *credential) bool { return o.unfit }) {
		return nil, mtls.ErrNoneFits
	}
	// Whoever has one certificate shows it, as a Certificate that is an Identity does.
	if len(c.own) == 1 {
		if own := c.own[0]; own.certificate == nil || own.kindFits(ask) {
			return own.certificate, nil
		}
	}
	if !slices.ContainsFunc(c.own, func(o *credential) bool { return o.certificate != nil }) {
		return nil, nil // keys alone
	}
	return nil, mtls.ErrNoneFits
}

func (c *credential) fits(ask *mtls.Ask) bool {
	return c.certificate.Fits(ask) &&
		(!c.mustMatchIssuer || c.certificate.IssuedUnder(ask.Authorities) || c.certificate.UnderTrustAnchor(ask.TrustAnchors))
}

// shown is the number of the credential that we showed, -1 for the default.
func (c *connection) shown() int {
	if used := c.conn.Negotiated().PSK; used != "" {
		return slices.IndexFunc(c.own, func(o *credential) bool { return o.psk != nil && string(o.psk.Identity) == used }) - 1
	}
	local := c.conn.Local()
	return slices.IndexFunc(c.own, func(o *credential) bool { return o.certificate == local }) - 1
}

// lateSigner is a key that takes its time.
type lateSigner struct{ crypto.Signer }

func (l lateSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	time.Sleep(lateness)
	return l.Signer.Sign(random, digest, opts)
}

func readChain(file string) (chain [][]byte, err error) {
	b, err := os.ReadFile(file)
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	return chain, err
}
