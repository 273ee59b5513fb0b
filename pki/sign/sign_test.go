package sign_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

var now = time.Now().Truncate(time.Second)

func newKey(t testing.TB, keyType string) crypto.Signer {
	t.Helper()
	key, err := keystore.NewKey(keyType)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string, change func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true}
	change(c)
	return c
}

func authority(c *x509.Certificate) {
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
}

func server(c *x509.Certificate) {
	c.DNSNames, c.KeyUsage, c.ExtKeyUsage = []string{"orders.internal"}, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
}

// made is what a call of the package made, parsed.
func made(t testing.TB, der []byte, err error) *pki.Certificate {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// chain is a root, an intermediate and a leaf with keys of the types given.
func chain(t testing.TB, root, issuer, leaf string) (certs []*pki.Certificate, keys []crypto.Signer) {
	t.Helper()
	keys = []crypto.Signer{newKey(t, root), newKey(t, issuer), newKey(t, leaf)}
	top := template("Root", authority)
	der, err := sign.Certificate(nil, top, top, keys[0].Public(), keys[0])
	r := made(t, der, err)
	der, err = sign.Certificate(rand.Reader, template("Issuing", authority), r.X509, keys[1].Public(), keys[0])
	i := made(t, der, err)
	der, err = sign.Certificate(nil, template("orders", server), i.X509, keys[2].Public(), keys[1])
	return []*pki.Certificate{made(t, der, err), i, r}, keys
}

func TestKeysOfEveryTypeStandAboveBelowAndAmongEachOther(t *testing.T) {
	for _, types := range [][3]string{{"mldsa65", "mldsa65", "mldsa65"}, {"mldsa87", "p256", "p256"}, {"p256", "mldsa44", "ed25519"}, {"rsa", "p384", "mldsa44"},
		{"ed25519", "mldsa87", "rsa"}, {"p256", "p256", "p256"}} {
		c, keys := chain(t, types[0], types[1], types[2])
		for _, profile := range []pki.Profile{pki.Basic, pki.Private} {
			v := pki.Verify(pki.Question{Chain: c[:2], Anchors: pki.NewAnchors(c[2]), Purpose: pki.ForServer, Name: "orders.internal", At: now, Profile: profile})
			if !v.OK {
				t.Errorf("%v: %s", types, v.Sentence())
			}
		}
		if !c[2].Intact() || !bytes.Equal(c[0].X509.AuthorityKeyId, c[1].X509.SubjectKeyId) || !bytes.Equal(c[1].X509.AuthorityKeyId, c[2].X509.SubjectKeyId) {
			t.Errorf("%v: the key identifiers do not lead upwards", types)
		}
		for i, c := range c {
			if public, err := suite.MarshalPublicKey(keys[2-i].Public()); err != nil || !bytes.Equal(public, c.X509.RawSubjectPublicKeyInfo) {
				t.Errorf("%v: %s has another key, %v", types, c.Label(), err)
			}
		}
	}
}

func TestTheKeyIdentifierIsTheKeysOwn(t *testing.T) {
	top := template("Root", authority)
	keys := []crypto.Signer{newKey(t, "mldsa44"), newKey(t, "mldsa44")}
	var ids [][]byte
	for _, key := range []crypto.Signer{keys[0], keys[0], keys[1]} {
		der, err := sign.Certificate(nil, top, top, key.Public(), key)
		ids = append(ids, made(t, der, err).X509.SubjectKeyId)
	}
	if len(ids[0]) != 20 || !bytes.Equal(ids[0], ids[1]) || bytes.Equal(ids[0], ids[2]) {
		t.Errorf("%x", ids)
	}
	if top.SubjectKeyId != nil {
		t.Error("the template was changed")
	}
	named := template("Root", func(c *x509.Certificate) { authority(c); c.SubjectKeyId = []byte("named") })
	der, err := sign.Certificate(nil, named, named, keys[0].Public(), keys[0])
	if c := made(t, der, err); string(c.X509.SubjectKeyId) != "named" {
		t.Errorf("%q", c.X509.SubjectKeyId)
	}
}

func TestAKeyThatSignsIsGivenNoOtherUsage(t *testing.T) {
	key := newKey(t, "mldsa65")
	for _, u := range []x509.KeyUsage{x509.KeyUsageKeyEncipherment, x509.KeyUsageDataEncipherment, x509.KeyUsageKeyAgreement, x509.KeyUsageEncipherOnly, x509.KeyUsageDecipherOnly} {
		c := template("orders", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature | u })
		if _, err := sign.Certificate(nil, c, c, key.Public(), key); err == nil || !strings.Contains(err.Error(), "RFC 9881") {
			t.Errorf("key usage %b: %v", c.KeyUsage, err)
		}
	}
}

func TestWhatDoesNotBelongTogetherIsRefused(t *testing.T) {
	c, keys := chain(t, "mldsa44", "p256", "mldsa44")
	other := newKey(t, "mldsa44")
	want := func(what, words string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, expected %q", what, err, words)
		}
	}
	leaf := template("orders", server)
	_, err := sign.Certificate(nil, leaf, c[2].X509, newKey(t, "p256").Public(), other)
	want("another's key, of ML-DSA", "not the one of the certificate", err)
	_, err = sign.Certificate(nil, leaf, c[1].X509, other.Public(), newKey(t, "p256"))
	want("another's key, of ECDSA", "not the one of the certificate", err)
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	_, err = sign.List(nil, list, c[2].X509, other)
	want("a list with another's key", "not the one of the certificate", err)
	list.SignatureAlgorithm = x509.ECDSAWithSHA256
	_, err = sign.List(nil, list, c[2].X509, keys[0])
	want("a list by an algorithm of choice", "leave SignatureAlgorithm", err)
	leaf.SignatureAlgorithm = x509.ECDSAWithSHA384
	_, err = sign.Certificate(nil, leaf, c[1].X509, other.Public(), keys[1])
	want("a certificate by an algorithm of choice", "leave SignatureAlgorithm", err)
	_, err = sign.Request(nil, &x509.CertificateRequest{SignatureAlgorithm: x509.PureEd25519}, other)
	want("a request by an algorithm of choice", "leave SignatureAlgorithm", err)
	_, err = sign.Certificate(nil, template("orders", server), c[1].X509, struct{}{}, keys[1])
	want("a key that is none", "public key", err)
	_, err = sign.Certificate(nil, nil, c[1].X509, other.Public(), keys[1])
	want("no template", "needs", err)
	_, err = sign.Request(nil, &x509.CertificateRequest{}, nil)
	want("no key", "needs", err)
	_, err = sign.List(nil, list, nil, keys[0])
	want("no issuer", "needs", err)
	_, err = sign.List(nil, &x509.RevocationList{ThisUpdate: now}, c[2].X509, keys[0])
	want("what crypto/x509 refuses", "x509", err)
}

func TestWhereMLDSAHasNoPartItIsTheStandardLibrarysWork(t *testing.T) {
	key := newKey(t, "ed25519").(ed25519.PrivateKey)
	c := template("orders", func(c *x509.Certificate) { server(c); c.KeyUsage |= x509.KeyUsageKeyEncipherment })
	ours, err := sign.Certificate(nil, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key) // Ed25519 signs the same bytes in one way
	if err != nil || !bytes.Equal(ours, theirs) {
		t.Errorf("they differ, %v", err)
	}
	csr, err := sign.Request(nil, &x509.CertificateRequest{DNSNames: []string{"orders"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := x509.ParseCertificateRequest(csr); err != nil || r.CheckSignature() != nil {
		t.Errorf("the request: %v", err)
	}
}

// OpenSSL 3.5 knows ML-DSA, and what it says of a chain, a request, a list and a key
// counts more than what we say of our own.
func TestOpenSSLTakesWhatIsMade(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	for _, types := range [][3]string{{"mldsa44", "mldsa65", "mldsa87"}, {"mldsa87", "p256", "p256"}, {"p256", "mldsa65", "mldsa44"}} {
		t.Run(fmt.Sprint(types), func(t *testing.T) {
			dir := t.TempDir()
			file := func(name, kind string, b ...[]byte) string {
				var out []byte
				for _, b := range b {
					out = append(out, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})...)
				}
				name = filepath.Join(dir, name)
				if err := os.WriteFile(name, out, 0o600); err != nil {
					t.Fatal(err)
				}
				return name
			}
			says := func(words string, args ...string) {
				t.Helper()
				out, err := exec.Command(openssl, args...).CombinedOutput()
				if err != nil || !strings.Contains(string(out), words) {
					t.Errorf("openssl %v: %v\n%s", args, err, out)
				}
			}
			c, keys := chain(t, types[0], types[1], types[2])
			root, between, leaf := file("root", "CERTIFICATE", c[2].Raw), file("issuer", "CERTIFICATE", c[1].Raw), file("leaf", "CERTIFICATE", c[0].Raw)
			list := func(of *pki.Certificate, key crypto.Signer) []byte {
				b, err := sign.List(nil, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}, of.X509, key)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			lists := file("lists", "X509 CRL", list(c[1], keys[1]), list(c[2], keys[0]))
			says(leaf+": OK", "verify", "-x509_strict", "-CAfile", root, "-untrusted", between, "-purpose", "sslserver", "-verify_hostname", "orders.internal",
				"-crl_check_all", "-CRLfile", lists, leaf)
			csr, err := sign.Request(nil, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "orders"}, DNSNames: []string{"orders"}}, keys[2])
			if err != nil {
				t.Fatal(err)
			}
			says("verify OK", "req", "-verify", "-noout", "-in", file("csr", "CERTIFICATE REQUEST", csr))
			text, err := keystore.KeyPEM(keys[2])
			if err != nil {
				t.Fatal(err)
			}
			public, err := suite.MarshalPublicKey(keys[2].Public())
			if err != nil {
				t.Fatal(err)
			}
			key := filepath.Join(dir, "key")
			if err := os.WriteFile(key, text, 0o600); err != nil {
				t.Fatal(err)
			}
			says(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})), "pkey", "-in", key, "-pubout")
		})
	}
}
