package suite

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/rsa"
	"testing"
)

// The standard library's numbers stand beside ours: they are why mlkem.go and
// x25519_amd64.go do not use it.

func BenchmarkKeyShare(b *testing.B) {
	for _, g := range Groups() {
		b.Run(g.String()+"/generate", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k, err := Generate(g, rand.Reader)
				if err != nil {
					b.Fatal(err)
				}
				k.Destroy()
			}
		})
		client, err := Generate(g, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(g.String()+"/respond", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Respond(g, rand.Reader, client.Public()); err != nil {
					b.Fatal(err)
				}
			}
		})
		share, _, err := Respond(g, rand.Reader, client.Public())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(g.String()+"/agree", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				once := *client // Agree destroys the key
				if client.kem.k768 != nil {
					k := *client.kem.k768
					once.kem.k768 = &k
				}
				if client.kem.k1024 != nil {
					k := *client.kem.k1024
					once.kem.k1024 = &k
				}
				if _, err := once.Agree(share); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkStandardLibrary(b *testing.B) {
	b.Run("X25519/generate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ecdh.X25519().GenerateKey(rand.Reader); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("X25519/agree", func(b *testing.B) {
		b.ReportAllocs()
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if _, err := k.ECDH(k.PublicKey()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("MLKEM768/generate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			k, err := mlkem.GenerateKey768()
			if err != nil {
				b.Fatal(err)
			}
			k.EncapsulationKey().Bytes()
		}
	})
	k, err := mlkem.GenerateKey768()
	if err != nil {
		b.Fatal(err)
	}
	public := k.EncapsulationKey().Bytes()
	b.Run("MLKEM768/encapsulate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ek, err := mlkem.NewEncapsulationKey768(public)
			if err != nil {
				b.Fatal(err)
			}
			ek.Encapsulate()
		}
	})
	b.Run("MLKEM768/decapsulate", func(b *testing.B) {
		b.ReportAllocs()
		_, c := k.EncapsulationKey().Encapsulate()
		for b.Loop() {
			if _, err := k.Decapsulate(c); err != nil {
				b.Fatal(err)
			}
		}
	})
	message := make([]byte, 130)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ECDSA-P256/verify", func(b *testing.B) {
		b.ReportAllocs()
		sig, err := ec.Sign(rand.Reader, message[:32], crypto.SHA256)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if !ecdsa.VerifyASN1(&ec.PublicKey, message[:32], sig) {
				b.Fatal("does not verify")
			}
		}
	})
}

func BenchmarkSignature(b *testing.B) {
	message := make([]byte, 130) // what CertificateVerify signs, with SHA-256
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	for _, key := range []crypto.Signer{p256, p384, ed, rsa2048} {
		pub, err := PublicOf(key)
		if err != nil {
			b.Fatal(err)
		}
		s := pub.Schemes()[0]
		b.Run(s.String()+"/sign", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Sign(rand.Reader, key, s, message); err != nil {
					b.Fatal(err)
				}
			}
		})
		sig, err := Sign(rand.Reader, key, s, message)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(s.String()+"/verify", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := pub.Verify(s, message, sig); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
