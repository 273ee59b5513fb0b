package wycheproof

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

// scalar brings a private key, which is a number with or without leading zeros,
// to n bytes.
func scalar(b []byte, n int) []byte {
	b = bytes.TrimLeft(b, "\x00")
	return append(make([]byte, n-len(b)), b...)
}

func TestX25519(t *testing.T) {
	each(t, "x25519", 500, func(t *testing.T, _ *group, v *vector) {
		key, err := suite.Generate(suite.X25519, bytes.NewReader(v.Private))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := key.Agree(v.Public)
		if bytes.Equal(v.Shared, make([]byte, 32)) {
			if !errors.Is(err, suite.ErrBadShare) {
				t.Errorf("a secret of zeros: error %v", err)
			}
			return
		}
		if err != nil || !bytes.Equal(secret, v.Shared) {
			t.Errorf("secret %x, error %v, expected %x", secret, err, v.Shared)
		}
	})
}

func TestECDH(t *testing.T) {
	for _, c := range []struct {
		file  string
		g     suite.GroupID
		n     int
		least int
	}{
		{"ecdh_secp256r1_ecpoint", suite.P256, 32, 300},
		{"ecdh_secp384r1_ecpoint", suite.P384, 48, 700},
	} {
		each(t, c.file, c.least, func(t *testing.T, _ *group, v *vector) {
			key, err := suite.Generate(c.g, bytes.NewReader(scalar(v.Private, c.n)))
			if err != nil {
				t.Fatal(err)
			}
			secret, err := key.Agree(v.Public)
			if v.Result == "invalid" || len(v.Public) != c.g.ServerShareLen() { // compressed: not in TLS
				if !errors.Is(err, suite.ErrBadShare) || secret != nil {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(secret, v.Shared) {
				t.Errorf("secret %x, error %v, expected %x", secret, err, v.Shared)
			}
		})
	}
}

// kem reaches ML-KEM through a hybrid, whose curve gets an honest partner.
type kem struct {
	g        suite.GroupID
	classic  suite.GroupID
	kemFirst bool
	secret   int // bytes of the curve's secret and of its scalar
}

var kems = map[string]kem{
	"768":  {suite.X25519MLKEM768, suite.X25519, true, 32},
	"1024": {suite.SecP384r1MLKEM1024, suite.P384, false, 48},
}

func (k kem) join(kem, curve []byte) []byte {
	if k.kemFirst {
		return slices.Concat(kem, curve)
	}
	return slices.Concat(curve, kem)
}

// kemPart cuts the KEM's part out of a share or secret.
func (k kem) kemPart(b []byte, curveLen int) []byte {
	if k.kemFirst {
		return b[:len(b)-curveLen]
	}
	return b[curveLen:]
}

func (k kem) partner(t *testing.T) []byte {
	p, err := suite.Generate(k.classic, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return p.Public()
}

// generate makes a decapsulation key of a seed; the curve's scalar is read after it.
func (k kem) generate(t *testing.T, seed []byte) *suite.KeyShare {
	key, err := suite.Generate(k.g, io.MultiReader(bytes.NewReader(seed), rand.Reader))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestMLKEM(t *testing.T) {
	for name, k := range kems {
		point := k.classic.ClientShareLen()
		each(t, "mlkem_"+name, 100, func(t *testing.T, _ *group, v *vector) {
			if len(v.Seed) != 64 {
				return // a seed is ours, and has 64 bytes
			}
			key := k.generate(t, v.Seed)
			if ek := k.kemPart(key.Public(), point); len(v.Ek) > 0 && !bytes.Equal(ek, v.Ek) {
				t.Fatalf("encapsulation key\n     %x\nwant %x", ek, v.Ek)
			}
			secret, err := key.Agree(k.join(v.C, k.partner(t)))
			if v.Result != "valid" {
				if !errors.Is(err, suite.ErrBadShare) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(k.kemPart(secret, k.secret), v.K) {
				t.Errorf("secret %x, error %v, expected %x", secret, err, v.K)
			}
		})
		each(t, "mlkem_"+name+"_keygen_seed", 50, func(t *testing.T, _ *group, v *vector) {
			if ek := k.kemPart(k.generate(t, v.Seed).Public(), point); !bytes.Equal(ek, v.Ek) {
				t.Errorf("encapsulation key\n     %x\nwant %x", ek, v.Ek)
			}
		})
		each(t, "mlkem_"+name+"_encaps", 200, func(t *testing.T, _ *group, v *vector) {
			own := make([]byte, k.secret) // a scalar for the curve is read first
			own[len(own)-1] = 1
			share, secret, err := suite.Respond(k.g, io.MultiReader(bytes.NewReader(own), bytes.NewReader(v.M)), k.join(v.Ek, k.partner(t)))
			if v.Result != "valid" {
				if !errors.Is(err, suite.ErrBadShare) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !bytes.Equal(k.kemPart(share, point), v.C) || !bytes.Equal(k.kemPart(secret, k.secret), v.K) {
				t.Errorf("share %x, secret %x, error %v", share, secret, err)
			}
		})
	}
}
