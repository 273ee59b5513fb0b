package suite

import (
	"bytes"
	"crypto"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestSuitesAreCompleteAndOrderedByTheProcessor(t *testing.T) {
	ids := Suites()
	if len(ids) != 3 {
		t.Fatalf("%d suites, expected 3", len(ids))
	}
	first := ChaCha20Poly1305SHA256
	if AcceleratedAES() {
		first = AES128GCMSHA256
	}
	if ids[0] != first {
		t.Errorf("the first suite is %v, expected %v", ids[0], first)
	}
	sorted := func(a []ID) []ID { return slices.Sorted(slices.Values(a)) }
	if !slices.Equal(sorted(acceleratedOrder), sorted(plainOrder)) {
		t.Error("the two orders have different suites")
	}
	for _, c := range []struct {
		id   ID
		hash crypto.Hash
		key  int
	}{
		{AES128GCMSHA256, crypto.SHA256, 16},
		{AES256GCMSHA384, crypto.SHA384, 32},
		{ChaCha20Poly1305SHA256, crypto.SHA256, 32},
	} {
		s := ByID(c.id)
		if s == nil || s.ID != c.id || s.Hash != c.hash || s.KeyLen != c.key || s.Limit == 0 {
			t.Fatalf("%v is %+v", c.id, s)
		}
		if s.NewHash().Size() != c.hash.Size() {
			t.Errorf("%v: the hash has %d bytes", c.id, s.NewHash().Size())
		}
		aead, err := s.AEAD(make([]byte, c.key))
		if err != nil || aead.NonceSize() != IVLen || aead.Overhead() != TagLen {
			t.Errorf("%v: %v, error %v", c.id, aead, err)
		}
		for _, n := range []int{0, 15, 24, 31, 33} {
			if _, err := s.AEAD(make([]byte, n)); err == nil {
				t.Errorf("%v takes a key of %d bytes", c.id, n)
			}
		}
	}
	if ByID(0x1304) != nil || ByID(0) != nil {
		t.Error("there is a suite that is not supported")
	}
}

func TestNamesAreThoseOfTheRegistry(t *testing.T) {
	for _, c := range []struct {
		v    fmt.Stringer
		want string
	}{
		{AES128GCMSHA256, "TLS_AES_128_GCM_SHA256"},
		{AES256GCMSHA384, "TLS_AES_256_GCM_SHA384"},
		{ChaCha20Poly1305SHA256, "TLS_CHACHA20_POLY1305_SHA256"},
		{X25519MLKEM768, "X25519MLKEM768"},
		{SecP256r1MLKEM768, "SecP256r1MLKEM768"},
		{SecP384r1MLKEM1024, "SecP384r1MLKEM1024"},
		{X25519, "x25519"}, {P256, "secp256r1"}, {P384, "secp384r1"}, {P521, "secp521r1"},
		{ECDSAWithP256AndSHA256, "ecdsa_secp256r1_sha256"},
		{Ed25519, "ed25519"},
		{RSAPSSWithSHA256, "rsa_pss_rsae_sha256"},
		{PSSPSSWithSHA512, "rsa_pss_pss_sha512"},
		{PKCS1WithSHA384, "rsa_pkcs1_sha384"},
		{ID(0x0a0a), "GREASE(0x0a0a)"}, {GroupID(0xfafa), "GREASE(0xfafa)"}, {Scheme(0x1a2a), "0x1a2a"}, {ID(0xc02b), "0xc02b"},
	} {
		if got := c.v.String(); got != c.want {
			t.Errorf("%#v prints as %s, expected %s", c.v, got, c.want)
		}
	}
	// Whatever we support has a name of its own.
	seen := map[string]bool{}
	check := func(s fmt.Stringer) {
		if name := s.String(); seen[name] || strings.HasPrefix(name, "0x") {
			t.Errorf("%s is no name, or is there twice", name)
		} else {
			seen[name] = true
		}
	}
	for _, id := range Suites() {
		check(id)
	}
	for _, g := range Groups() {
		check(g)
	}
	for _, s := range CertificateSchemes() {
		check(s)
	}
}

func TestAEADsSealDifferently(t *testing.T) {
	seen := map[string]ID{}
	for _, id := range Suites() {
		s := ByID(id)
		key := bytes.Repeat([]byte{1}, s.KeyLen)
		aead, err := s.AEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		c := aead.Seal(nil, make([]byte, IVLen), []byte("plaintext"), nil)
		if other, dup := seen[string(c)]; dup {
			t.Errorf("%v and %v give the same ciphertext", id, other)
		}
		seen[string(c)] = id
	}
}

// The engine stands beside crypto/tls, never on it.
func TestSuiteDoesNotStandOnCryptoTLS(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for dep := range strings.Lines(string(out)) {
		if strings.TrimSpace(dep) == "crypto/tls" {
			t.Error("crypto/tls is among the dependencies")
		}
	}
}
