package suite

import (
	"crypto"
	"crypto/rand"
	"errors"
	"slices"
	"testing"

	"filippo.io/mldsa"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
)

func TestAnMLDSAKeyIsReadAsItIsWrittenAndNotOtherwise(t *testing.T) {
	key, err := mldsa.GenerateKey(mldsa.MLDSA44())
	if err != nil {
		t.Fatal(err)
	}
	const oid = "\x06\x09\x60\x86\x48\x01\x65\x03\x04\x03\x11"
	spki := func(parameters string, key []byte) []byte {
		algorithm := oid + parameters
		body := append(append([]byte{0x30, byte(len(algorithm))}, algorithm...), 0x03, 0x82, byte((len(key)+1)>>8), byte(len(key)+1), 0)
		body = append(body, key...)
		return append([]byte{0x30, 0x82, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	pub := key.PublicKey().Bytes()
	k, err := ParsePublicKey(spki("", pub))
	if err != nil {
		t.Fatal(err)
	}
	for why, b := range map[string][]byte{
		"parameters": spki("\x05\x00", pub), "a byte less": spki("", pub[1:]), "a byte more": spki("", append([]byte{0}, pub...)), "nothing": spki("", nil),
	} {
		if _, err := ParsePublicKey(b); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
	if !slices.Equal(k.Schemes(), []Scheme{MLDSA44}) {
		t.Errorf("it fits the schemes %v", k.Schemes())
	}

	message := []byte("to be signed")
	sig, err := key.Sign(nil, message, &mldsa.Options{})
	if err != nil {
		t.Fatal(err)
	}
	algorithm := []byte("\x30\x0b" + oid)
	if err := k.VerifyCertificate(algorithm, message, sig); err != nil {
		t.Error(err)
	}
	for why, c := range map[string]struct{ algorithm, message, sig []byte }{
		"another message":       {algorithm, []byte("to be signeD"), sig},
		"a byte less":           {algorithm, message, sig[1:]},
		"no signature":          {algorithm, message, nil},
		"another set":           {[]byte("\x30\x0b" + oid[:10] + "\x12"), message, sig},
		"parameters":            {[]byte("\x30\x0d" + oid + "\x05\x00"), message, sig},
		"an algorithm of RSA's": {[]byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"), message, sig},
	} {
		if k.VerifyCertificate(c.algorithm, c.message, c.sig) == nil {
			t.Errorf("%s: verifies", why)
		}
	}
	withContext, err := key.Sign(nil, message, &mldsa.Options{Context: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if k.VerifyCertificate(algorithm, message, withContext) == nil {
		t.Error("a signature with a context verifies")
	}
}

// What one library signs the other verifies, and what one refuses so does the other.
func TestTheFastMLDSAAgreesWithTheOther(t *testing.T) {
	for _, of := range mldsaParameters {
		own, err := mldsa.GenerateKey(of)
		if err != nil {
			t.Fatal(err)
		}
		pub, err := PublicOf(own)
		if err != nil {
			t.Fatal(err)
		}
		scheme := mldsaScheme(of)
		if other := Fast(own); !own.PublicKey().Equal(other.Public()) {
			t.Fatalf("%s: another public key", of)
		}
		for i := range 8 {
			message := make([]byte, i*33)
			_, _ = rand.Read(message)
			for name, key := range map[string]crypto.Signer{"fast": Fast(own), "slow": own} {
				sig, err := Sign(rand.Reader, key, scheme, message)
				if err != nil {
					t.Fatal(err)
				}
				if err := mldsa.Verify(own.PublicKey(), message, sig, nil); err != nil {
					t.Errorf("%s, %s: the slow one refuses: %v", of, name, err)
				}
				if err := pub.Verify(scheme, message, sig); err != nil {
					t.Errorf("%s, %s: the fast one refuses: %v", of, name, err)
				}
				for at := 0; at < len(sig); at += len(sig) / 40 {
					bad := slices.Clone(sig)
					bad[at] ^= 1 << (at % 8)
					slow, fast := mldsa.Verify(own.PublicKey(), message, bad, nil), pub.Verify(scheme, message, bad)
					if slow == nil || fast == nil {
						t.Errorf("%s: with byte %d changed the one says %v, the other %v", of, at, slow, fast)
					}
				}
			}
		}
		if _, err := Fast(own).Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err == nil {
			t.Error("it signs a digest")
		}
		if _, err := Sign(rand.Reader, own, Ed25519, nil); err == nil {
			t.Error("it signs with another scheme")
		}
	}
}

func TestAnMLDSAPrivateKeyIsItsSeed(t *testing.T) {
	const oid = "\x60\x86\x48\x01\x65\x03\x04\x03\x12"
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	want, err := mldsa.NewPrivateKey(mldsa.MLDSA65(), seed[:])
	if err != nil {
		t.Fatal(err)
	}
	_, x := mldsa65.NewKeyFromSeed(&seed)
	long := func(tag byte, b []byte) []byte {
		return append([]byte{tag, 0x82, byte(len(b) >> 8), byte(len(b))}, b...)
	}
	both := func(seed, expanded []byte) []byte {
		return long(0x30, append(append([]byte{4, byte(len(seed))}, seed...), long(4, expanded)...))
	}
	for _, good := range [][]byte{append([]byte{0x80, 32}, seed[:]...), both(seed[:], x.Bytes())} {
		k, ok, err := MLDSAPrivateKey(oid, good)
		if err != nil || !ok || !want.PublicKey().Equal(k.Public()) {
			t.Errorf("%x…: %v", good[:4], err)
		}
	}
	other := slices.Clone(x.Bytes())
	other[1000] ^= 1
	for why, bad := range map[string][]byte{
		"nothing": nil, "a short seed": append([]byte{0x80, 31}, seed[1:]...), "more behind": append(append([]byte{0x80, 32}, seed[:]...), 0),
		"another key beside": both(seed[:], other), "half a key beside": both(seed[:], x.Bytes()[:2000]), "a number": {2, 1, 1},
	} {
		if k, ok, err := MLDSAPrivateKey(oid, bad); err == nil || !ok || k != nil {
			t.Errorf("%s: taken", why)
		}
	}
	if _, _, err := MLDSAPrivateKey(oid, long(4, x.Bytes())); !errors.Is(err, ErrNoSeed) {
		t.Errorf("without the seed: %v", err)
	}
	if _, ok, err := MLDSAPrivateKey("\x2b\x65\x70", seed[:]); ok || err != nil {
		t.Error("Ed25519's OID is taken for ML-DSA's")
	}
}
