package wycheproof

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

func TestAEADs(t *testing.T) {
	for _, c := range []struct {
		file  string
		id    suite.ID
		least int
	}{
		{"aes_gcm", suite.AES128GCMSHA256, 300},
		{"aes_gcm", suite.AES256GCMSHA384, 300},
		{"chacha20_poly1305", suite.ChaCha20Poly1305SHA256, 300},
	} {
		s, used := suite.ByID(c.id), 0
		each(t, c.file, c.least, func(t *testing.T, g *group, v *vector) {
			if g.KeySize != 8*s.KeyLen || g.IVSize != 8*suite.IVLen || g.TagSize != 8*suite.TagLen {
				return
			}
			used++
			aead, err := s.AEAD(v.Key)
			if err != nil {
				t.Fatal(err)
			}
			sealed := slices.Concat(v.Ct, v.Tag)
			if v.Result == "valid" {
				if got := aead.Seal(nil, v.IV, v.Msg, v.AAD); !bytes.Equal(got, sealed) {
					t.Errorf("sealed to %x, expected %x", got, sealed)
				}
			}
			got, err := aead.Open(sealed[:0], v.IV, sealed, v.AAD)
			if v.Result != "valid" {
				if err == nil {
					t.Error("a forgery opens")
				}
			} else if err != nil || !bytes.Equal(got, v.Msg) {
				t.Errorf("opened to %x, error %v, expected %x", got, err, v.Msg)
			}
		})
		if used < 60 {
			t.Errorf("%v: %d vectors fit, expected at least 60", c.id, used)
		}
	}
}
