package schedule

import (
	"bytes"
	"crypto/hkdf"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

// The identity has its lengths before its parts, so that no two keys have the same
// (RFC 9258, section 5.1).
func TestAnImportedIdentityIsOneOfItsParts(t *testing.T) {
	target := map[string]*suite.Suite{"\x03\x04\x00\x01": suite.ByID(suite.AES128GCMSHA256), "\x03\x04\x00\x02": suite.ByID(suite.AES256GCMSHA384)}
	for end, s := range target {
		same(t, "the identity", ImportedIdentity([]byte("a\x00key"), []byte("site"), s), []byte("\x00\x05a\x00key\x00\x04site"+end))
	}
	s := target["\x03\x04\x00\x01"]
	if bytes.Equal(ImportedIdentity([]byte("ab"), []byte("c"), s), ImportedIdentity([]byte("a"), []byte("bc"), s)) {
		t.Error("two keys have one identity")
	}
}

// RFC 9258, section 5.2, once more with the standard library; and what is imported
// for one hash, identity or context is no key for another, nor for what tickets and
// keys that are not imported sign with.
func TestAnImportedKeyIsForOneUseAlone(t *testing.T) {
	psk := fill(32)
	seen := map[string]string{string(psk): "the key itself"}
	for _, own := range []suite.ID{suite.AES128GCMSHA256, suite.AES256GCMSHA384} {
		for _, to := range []suite.ID{suite.AES128GCMSHA256, suite.AES256GCMSHA384} {
			for _, context := range []string{"", "site 3"} {
				o, s := suite.ByID(own), suite.ByID(to)
				identity := ImportedIdentity([]byte("sensor"), []byte(context), s)
				got := ImportPSK(o, s, psk, identity)
				key, err := hkdf.Extract(o.Hash.New, psk, make([]byte, o.Hash.Size()))
				if err != nil {
					t.Fatal(err)
				}
				h := o.Hash.New()
				h.Write(identity)
				n := s.Hash.Size()
				label := append([]byte{0, byte(n), byte(len("tls13 derived psk"))}, "tls13 derived psk"...)
				label = append(append(label, byte(o.Hash.Size())), h.Sum(nil)...)
				want, err := hkdf.Expand(o.Hash.New, key, string(label), n)
				if err != nil {
					t.Fatal(err)
				}
				same(t, "the imported key", got, want)
				for what, k := range map[string][]byte{
					"the key": got, "its binder": NewEarly(s, TLS, got).ImportedBinderKey(), "an external binder": NewEarly(s, TLS, got).BinderKey(true),
					"a ticket's binder": NewEarly(s, TLS, got).BinderKey(false),
				} {
					what += " of " + own.String() + " for " + to.String() + " in context " + context
					if other := seen[string(k)]; other != "" {
						t.Errorf("%s is %s", what, other)
					}
					seen[string(k)] = what
				}
			}
		}
	}
}
