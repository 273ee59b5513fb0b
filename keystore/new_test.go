package keystore

import (
	"bytes"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
)

func TestEveryTypeOfKeyIsMadeWrittenAndReadBack(t *testing.T) {
	for _, keyType := range KeyTypes() {
		key, err := NewKey(keyType)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckKeyType(keyType); err != nil || TypeOf(key.Public()) != keyType {
			t.Errorf("%s: %q, %v", keyType, TypeOf(key.Public()), err)
		}
		text, err := KeyPEM(key)
		if err != nil {
			t.Fatal(err)
		}
		back, err := LoadKey(text)
		if err != nil || !equalKeys(back.Public(), key.Public()) {
			t.Errorf("%s: another key came back, %v", keyType, err)
		}
		if p, err := suite.PublicOf(key); err != nil || len(p.Schemes()) == 0 {
			t.Errorf("%s can't sign a handshake: %v", keyType, err)
		}
		// A key that was cut off, or has something behind it, is none.
		block, _ := pem.Decode(text)
		for _, b := range [][]byte{block.Bytes[:len(block.Bytes)-1], block.Bytes[:len(block.Bytes)/2], append(bytes.Clone(block.Bytes), 0)} {
			_, err := LoadKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b}))
			if err == nil || !strings.Contains(err.Error(), "does not parse") {
				t.Errorf("%s with %d bytes of %d: %v", keyType, len(b), len(block.Bytes), err)
			}
		}
	}
}

func TestATypeOfKeyThatIsNoneIsToldWhichThereAre(t *testing.T) {
	for _, name := range []string{"", "P256", "mldsa", "mldsa66", "dsa", "p256/p384"} {
		if _, err := NewKey(name); err == nil || !strings.Contains(err.Error(), "take p256, p384, ed25519, rsa, mldsa44, mldsa65 or mldsa87") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if got := TypeOf("no key"); got != "" {
		t.Errorf("what is no key is of the type %q", got)
	}
	key, err := NewKey("mldsa44")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := KeyPEM(suite.Fast(key)); err == nil {
		t.Error("a key that keeps no seed was written")
	}
}

// What OpenSSL makes in each of the forms of RFC 9881, section 6.
func TestMLDSAKeysComeFromOpenSSLAndGoToIt(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	for _, keyType := range []string{"mldsa44", "mldsa65", "mldsa87"} {
		name := "ML-DSA-" + strings.TrimPrefix(keyType, "mldsa")
		for format, words := range map[string]string{"seed-only": "", "seed-priv": "", "priv-only": "expanded form alone"} {
			file := filepath.Join(t.TempDir(), "key")
			if out, err := exec.Command(openssl, "genpkey", "-algorithm", name, "-provparam", "ml-dsa.output_formats="+format, "-out", file).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			key, err := LoadKeyFile(file)
			if words != "" {
				if err == nil || !strings.Contains(err.Error(), words) {
					t.Errorf("%s, %s: %v", name, format, err)
				}
				continue
			}
			if err != nil || TypeOf(key.Public()) != keyType {
				t.Fatalf("%s, %s: %v", name, format, err)
			}
			// Written down again, it is the same key to OpenSSL.
			text, err := KeyPEM(key)
			if err != nil {
				t.Fatal(err)
			}
			again := filepath.Join(t.TempDir(), "again")
			if err := os.WriteFile(again, text, 0o600); err != nil {
				t.Fatal(err)
			}
			public := func(file string) string {
				out, err := exec.Command(openssl, "pkey", "-in", file, "-pubout").CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				return string(out)
			}
			if a, b := public(file), public(again); a != b {
				t.Errorf("%s, %s: another key:\n%s\n%s", name, format, a, b)
			}
		}
	}
}
