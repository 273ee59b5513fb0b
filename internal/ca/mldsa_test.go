package ca_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// applyAs is an application with a key of a type.
func applyAs(t testing.TB, keyType string) *applicant {
	t.Helper()
	key, err := keystore.NewKey(keyType)
	if err != nil {
		t.Fatal(err)
	}
	return applyWith(t, key)
}

func TestAnMLDSAAuthoritySignsWithItsOwnKindFromTopToBottom(t *testing.T) {
	for keyType, want := range map[string][3]string{ // root, issuers, its own leaf
		"mldsa65": {"mldsa65", "mldsa65", "mldsa65"}, "mldsa87/p256": {"mldsa87", "p256", "p256"}, "p384/mldsa44": {"p384", "mldsa44", "mldsa44"},
	} {
		w := newWorld(t, func(o *ca.Options) { o.KeyType = keyType })
		chain, _, err := w.Serving(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		certs, err := pki.ParseChain(chain)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range certs {
			if got := keystore.TypeOf(c.Key.Key); got != want[2-i] {
				t.Errorf("%s: the key of %s is %s, expected %s", keyType, c.Label(), got, want[2-i])
			}
			if got := c.X509.KeyUsage; i == 0 && got != x509.KeyUsageDigitalSignature || i > 0 && got != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
				t.Errorf("%s: the key usage of %s is %b (RFC 9881, section 5)", keyType, c.Label(), got)
			}
		}
		if s, err := w.Status(w.ctx); err != nil || s.KeyType != keyType {
			t.Errorf("the status says %q, %v", s.KeyType, err)
		}
		w.reopen() // with the key as it lies on disk
		out, first := w.join("web")
		w.verify(out.Chain, "web", pki.ForServer)
		if _, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
			t.Fatal(err)
		}
		lists, err := w.Lists(w.ctx)
		if err != nil || len(lists) != 1 {
			t.Fatalf("%d lists, %v", len(lists), err)
		}
		list, err := pki.ParseRevocationList(lists[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, on := list.Entry(first); !on || !list.SignedBy(certs[1]) || list.Fault() != "" {
			t.Errorf("%s: on the list %v, which the issuer signed %v, %q", keyType, on, list.SignedBy(certs[1]), list.Fault())
		}
	}
}

func TestAKeyOfMLDSAIsProvenAndCertified(t *testing.T) {
	w := newWorld(t)
	for _, keyType := range []string{"mldsa44", "mldsa65", "mldsa87"} {
		out, err := w.Join(w.ctx, w.token(keyType), applyAs(t, keyType).csr, 0)
		if err != nil {
			t.Fatal(err)
		}
		w.verify(out.Chain, keyType, pki.ForClient)
		first := w.leaf(out)
		if got := keystore.TypeOf(first.Key.Key); got != keyType {
			t.Errorf("a key of %s was certified, expected %s", got, keyType)
		}
		again, err := w.Renew(w.ctx, first, applyAs(t, "p256").csr, 0) // and a renewal may be of another kind
		if err != nil {
			t.Fatal(err)
		}
		w.verify(again.Chain, keyType, pki.ForServer)

		good := applyAs(t, keyType).csr
		signature := bytes.Clone(good)
		signature[len(signature)-1] ^= 1
		// In the key, behind version, subject and the head of the SubjectPublicKeyInfo.
		key := bytes.Clone(good)
		key[200] ^= 1
		for what, csr := range map[string][]byte{"another signature": signature, "another key": key} {
			_, err := w.Join(w.ctx, w.token("forger"), csr, 0)
			w.refused(err, code.RequestMalformed)
			if !strings.Contains(err.Error(), "not signed by its own key") {
				t.Errorf("%s, %s: %v", keyType, what, err)
			}
		}
		for _, cut := range []int{len(good) - 1, len(good) / 2, 0} {
			_, err := w.Join(w.ctx, w.token("cut"), good[:cut], 0)
			w.refused(err, code.RequestMalformed)
		}
	}
	// The key of the one, and the signature of the other.
	mine, others := applyAs(t, "mldsa44"), applyAs(t, "mldsa65")
	_, err := w.Join(w.ctx, w.token("forger"), bytes.Join([][]byte{mine.csr[:300], others.csr[300:]}, nil), 0)
	w.refused(err, code.RequestMalformed)
}

func TestASecondRootIsOfTheFirstOnesKindUnlessTold(t *testing.T) {
	for _, c := range []struct{ first, told, second string }{{"mldsa44", "", "mldsa44"}, {"mldsa87/p256", "", "mldsa87"}, {"p256", "mldsa65", "mldsa65"}, {"mldsa44", "p384", "p384"}} {
		w := newWorld(t, func(o *ca.Options) { o.KeyType = c.first })
		o := w.options
		o.KeyType = c.told
		s, err := ca.NewRoot(w.ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Announce(w.ctx, *s); err != nil {
			t.Fatal(err)
		}
		v, err := s.Verify(w.Domain(), []*pki.Certificate{w.Root()}, w.clock.Now())
		if err != nil || len(v.Roots) != 2 {
			t.Fatalf("%v, %v", v, err)
		}
		if got := keystore.TypeOf(v.Roots[1].Key.Key); got != c.second {
			t.Errorf("%s, told %q: the second root is %s, expected %s", c.first, c.told, got, c.second)
		}
		// Its key is on disk, as well, and opens for a third.
		o.KeyType = ""
		if _, err := ca.NewRoot(w.ctx, o); err != nil {
			t.Error(err)
		}
	}
	w := newWorld(t)
	o := w.options
	o.KeyType = "mldsa87/p256"
	if _, err := ca.NewRoot(w.ctx, o); err == nil || !strings.Contains(err.Error(), "not a type of key") {
		t.Errorf("a second root of two types: %v", err)
	}
}

// The largest keys, and as many roots as a statement may have, are announced.
func TestAStatementOfEightMLDSARootsIsNotTooLarge(t *testing.T) {
	w := newWorld(t, func(o *ca.Options) { o.KeyType = "mldsa87" })
	for range 7 {
		s, err := ca.NewRoot(w.ctx, w.options)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := json.Marshal(s); err != nil || len(b) > api.MaxStatement {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if err := w.Announce(w.ctx, *s); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Statement(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Verify(w.Domain(), []*pki.Certificate{w.Root()}, w.clock.Now()); err != nil || len(v.Roots) != 8 {
		t.Errorf("%v", err)
	}
}

func TestAnAuthorityIsMadeOfKnownTypesAlone(t *testing.T) {
	for _, keyType := range []string{"mldsa", "p521", "mldsa65/", "/p256", "mldsa65/p256/p256", "mldsa65,p256"} {
		folder := filepath.Join(t.TempDir(), "ca")
		if err := ca.Create(t.Context(), ca.Options{Folder: folder, KeyType: keyType}); err == nil || !strings.Contains(err.Error(), "mldsa87") {
			t.Errorf("%q: %v", keyType, err)
		}
		if ca.Exists(folder) {
			t.Errorf("%q: something was made", keyType)
		}
	}
}

func TestADamagedMLDSAKeyOfTheAuthorityIsToldInASentence(t *testing.T) {
	w := newWorld(t, func(o *ca.Options) { o.KeyType = "mldsa65" })
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.open()
	path := filepath.Join(w.options.Folder, "issuer-1.key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Error(err)
		}
	}()
	other, err := keystore.NewKey("mldsa65")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := keystore.KeyPEM(other)
	if err != nil {
		t.Fatal(err)
	}
	for words, b := range map[string][]byte{"not the one of the certificate": foreign, "expected one": []byte("nothing"), "holds 2 private keys": append(bytes.Clone(good), good...)} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Open(w.ctx, w.options); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, expected %q", err, words)
		}
	}
}
