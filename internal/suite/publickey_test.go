package suite

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// certificateAlgorithm takes the AlgorithmIdentifier beside the signature out of
// a certificate.
func certificateAlgorithm(t testing.TB, cert []byte) []byte {
	t.Helper()
	in := cryptobyte.String(cert)
	var whole, algorithm cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.SkipASN1(der.SEQUENCE) || !whole.ReadASN1Element(&algorithm, der.SEQUENCE) {
		t.Fatal("not a certificate")
	}
	return algorithm
}

func tlv(tag byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	var b cryptobyte.Builder
	b.AddASN1(der.Tag(tag), func(b *cryptobyte.Builder) { b.AddBytes(body) })
	return b.BytesOrPanic()
}

func oid(contents string) []byte { return tlv(6, []byte(contents)) }

func spki(algorithm, key []byte) []byte {
	return tlv(0x30, tlv(0x30, algorithm), tlv(3, []byte{0}, key))
}

func rsaKey(n *big.Int, e int64) []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1BigInt(n); b.AddASN1Int64(e) })
	return b.BytesOrPanic()
}

var null = []byte{5, 0}

// pssParams writes RSASSA-PSS-params; a negative salt or trailer is left out.
func pssParams(hash, mgfHash string, salt, trailer int) []byte {
	var fields [][]byte
	if hash != "" {
		fields = append(fields, tlv(0xa0, tlv(0x30, oid(hash), null)))
	}
	if mgfHash != "" {
		fields = append(fields, tlv(0xa1, tlv(0x30, oid(oidMGF1), tlv(0x30, oid(mgfHash), null))))
	}
	if salt >= 0 {
		fields = append(fields, tlv(0xa2, tlv(2, []byte{byte(salt)})))
	}
	if trailer >= 0 {
		fields = append(fields, tlv(0xa3, tlv(2, []byte{byte(trailer)})))
	}
	return tlv(0x30, fields...)
}

func TestPublicKeysParse(t *testing.T) {
	for name, key := range testKeys() {
		if name == "rsapss" {
			continue
		}
		got, err := ParsePublicKey(must(x509.MarshalPKIXPublicKey(key.Public())))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !got.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) || got.PSS {
			t.Errorf("%s: another key came out", name)
		}
	}
	n := testKeys()["rsa2048"].Public().(*rsa.PublicKey).N
	for _, c := range []struct {
		name   string
		params []byte
		want   []Scheme
	}{
		{"no parameters", nil, fits["rsapss"]},
		{"SHA-256", pssParams(oidSHA256, oidSHA256, 32, -1), []Scheme{PSSPSSWithSHA256}},
		{"SHA-256, trailer", pssParams(oidSHA256, oidSHA256, 32, 1), []Scheme{PSSPSSWithSHA256}},
		{"SHA-256, shorter salt", pssParams(oidSHA256, oidSHA256, 0, -1), []Scheme{PSSPSSWithSHA256}},
		{"SHA-384", pssParams(oidSHA384, oidSHA384, 48, -1), []Scheme{PSSPSSWithSHA384}},
		{"SHA-512, salt by default", pssParams(oidSHA512, oidSHA512, -1, -1), []Scheme{PSSPSSWithSHA512}},
	} {
		k, err := ParsePublicKey(spki(slices.Concat(oid(oidRSASSAPSS), c.params), rsaKey(n, 65537)))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if !k.PSS || !slices.Equal(k.Schemes(), c.want) {
			t.Errorf("%s: schemes %v, expected %v", c.name, k.Schemes(), c.want)
		}
		sig := must(Sign(rand.Reader, testKeys()["rsapss"], c.want[0], []byte("m")))
		if err := k.Verify(c.want[0], []byte("m"), sig); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestPublicKeysAreRefused(t *testing.T) {
	const nonsense = "\x2a\x03\x04"
	n := testKeys()["rsa2048"].Public().(*rsa.PublicKey).N
	odd := func(bits int) *big.Int {
		v := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return v.SetBit(v, 0, 1)
	}
	p256 := must(testKeys()["p256"].Public().(*ecdsa.PublicKey).Bytes())
	ec := func(curve string, point []byte) []byte {
		return spki(slices.Concat(oid(oidECPublicKey), oid(curve)), point)
	}
	rsaSPKI := func(n *big.Int, e int64) []byte {
		return spki(slices.Concat(oid(oidRSAEncryption), null), rsaKey(n, e))
	}
	pss := func(params []byte) []byte { return spki(slices.Concat(oid(oidRSASSAPSS), params), rsaKey(n, 65537)) }
	good := ec(oidP256, p256)
	foreign := map[string]bool{
		"unknown algorithm": true, "EC, unknown curve": true, "EC, secp256k1": true, "RSA, 1023 bits": true, "RSA, 8193 bits": true,
		"RSA, 100000 bits": true, "RSA, exponent 1": true, "RSA, exponent 2": true, "RSA, exponent 0": true, "RSA, exponent -3": true,
		"RSA, exponent 2^31": true, "RSA, exponent 2^62": true,
	}
	for name, b := range map[string][]byte{
		"nothing":                 nil,
		"byte after":              append(slices.Clone(good), 0),
		"unknown algorithm":       spki(oid(nonsense), []byte{1}),
		"empty algorithm":         spki(nil, []byte{1}),
		"EC, no curve":            spki(oid(oidECPublicKey), p256),
		"EC, unknown curve":       ec(nonsense, p256),
		"EC, secp256k1":           ec("\x2b\x81\x04\x00\x0a", p256),
		"EC, explicit parameters": spki(slices.Concat(oid(oidECPublicKey), tlv(0x30, []byte{2, 1, 1})), p256),
		"EC, another curve":       ec(oidP384, p256),
		"EC, compressed":          ec(oidP256, elliptic.MarshalCompressed(elliptic.P256(), new(big.Int).SetBytes(p256[1:33]), new(big.Int).SetBytes(p256[33:]))),
		"EC, infinity":            ec(oidP256, []byte{0}),
		"EC, off the curve":       ec(oidP256, append([]byte{4}, make([]byte, 64)...)),
		"EC, nothing":             ec(oidP256, nil),
		"Ed25519, 31 bytes":       spki(oid(oidEd25519), make([]byte, 31)),
		"Ed25519, parameters":     spki(slices.Concat(oid(oidEd25519), null), make([]byte, 32)),
		"RSA, no NULL":            spki(oid(oidRSAEncryption), rsaKey(n, 65537)),
		"RSA, parameters":         spki(slices.Concat(oid(oidRSAEncryption), tlv(0x30)), rsaKey(n, 65537)),
		"RSA, 1023 bits":          rsaSPKI(odd(1023), 65537),
		"RSA, 8193 bits":          rsaSPKI(odd(8193), 65537),
		"RSA, 100000 bits":        rsaSPKI(odd(100000), 65537),
		"RSA, even modulus":       rsaSPKI(new(big.Int).Lsh(big.NewInt(1), 2047), 65537),
		"RSA, negative modulus":   rsaSPKI(new(big.Int).Neg(n), 65537),
		"RSA, modulus 0":          rsaSPKI(new(big.Int), 65537),
		"RSA, exponent 1":         rsaSPKI(n, 1),
		"RSA, exponent 2":         rsaSPKI(n, 2),
		"RSA, exponent 0":         rsaSPKI(n, 0),
		"RSA, exponent -3":        rsaSPKI(n, -3),
		"RSA, exponent 2^31":      rsaSPKI(n, 1<<31+1),
		"RSA, exponent 2^62":      rsaSPKI(n, 1<<62+1),
		"RSA, not a sequence":     spki(slices.Concat(oid(oidRSAEncryption), null), []byte{2, 1, 3}),
		"RSA, three numbers":      spki(slices.Concat(oid(oidRSAEncryption), null), tlv(0x30, []byte{2, 1, 3, 2, 1, 3, 2, 1, 3})),
		"PSS, NULL":               pss(null),
		"PSS, empty parameters":   pss(tlv(0x30)), // SHA-1 by default
		"PSS, no mask function":   pss(pssParams(oidSHA256, "", 32, -1)),
		"PSS, no hash":            pss(pssParams("", oidSHA256, 32, -1)),
		"PSS, two hashes":         pss(pssParams(oidSHA256, oidSHA384, 32, -1)),
		"PSS, SHA-1":              pss(pssParams("\x2b\x0e\x03\x02\x1a", "\x2b\x0e\x03\x02\x1a", 20, -1)),
		"PSS, salt of 33":         pss(pssParams(oidSHA256, oidSHA256, 33, -1)),
		"PSS, trailer 2":          pss(pssParams(oidSHA256, oidSHA256, 32, 2)),
		"PSS, more parameters":    pss(slices.Concat(pssParams(oidSHA256, oidSHA256, 32, -1), null)),
	} {
		k, err := ParsePublicKey(b)
		if err == nil {
			t.Errorf("%s: a key came out: %+v", name, k)
			continue
		}
		// What another end could use is another matter than what nobody can read.
		var unsupported *UnsupportedKey
		if got := errors.As(err, &unsupported); got != foreign[name] && !strings.HasPrefix(name, "PSS") {
			t.Errorf("%s: %v; a key that others may use: %v", name, err, got)
		}
	}
	if k, err := ParsePublicKey(rsaSPKI(odd(8192), 3)); err != nil {
		t.Errorf("RSA of 8192 bits with the exponent 3: %v", err)
	} else if k.Key.(*rsa.PublicKey).E != 3 {
		t.Error("another exponent came out")
	}
}

func TestCertificateKeyFindsTheKey(t *testing.T) {
	for name, alg := range map[string]x509.SignatureAlgorithm{
		"p256": 0, "p384": 0, "p521": 0, "ed25519": 0, "rsa2048": 0, "rsa1024": x509.SHA256WithRSA,
	} {
		cert := certificate(t, testKeys()[name], alg)
		k, err := CertificateKey(cert.Raw)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !k.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey) {
			t.Errorf("%s: another key came out", name)
		}
		for n := range cert.Raw {
			if _, err := CertificateKey(cert.Raw[:n]); err == nil {
				t.Errorf("%s: cut to %d of %d bytes, there is a key", name, n, len(cert.Raw))
			}
		}
		if _, err := CertificateKey(append(bytes.Clone(cert.Raw), 0)); err == nil {
			t.Errorf("%s: a byte after the certificate is taken", name)
		}
	}
}

func TestErrorsQuoteLittleOfThePeer(t *testing.T) {
	for _, b := range [][]byte{
		spki(oid(strings.Repeat("\x81", 5000)+"\x01"), nil),
		spki(oid("\x2a"+strings.Repeat("\xff", 20)+"\x7f"), nil),
		spki(oid(""), nil),
	} {
		_, err := ParsePublicKey(b)
		if err == nil || len(err.Error()) > 300 {
			t.Errorf("error %v", err)
		}
	}
	if got := dotted([]byte(oidRSASSAPSS)); got != "1.2.840.113549.1.1.10" {
		t.Errorf("id-RSASSA-PSS prints as %s", got)
	}
	if got := dotted([]byte(oidSHA256)); got != "2.16.840.1.101.3.4.2.1" {
		t.Errorf("SHA-256 prints as %s", got)
	}
}

func TestPublicOfRefuses(t *testing.T) {
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for name, key := range map[string]crypto.Signer{"nothing": nil, "P-224": p224} {
		if k, err := PublicOf(key); err == nil {
			t.Errorf("%s: a key came out: %+v", name, k)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	for _, key := range testKeys() {
		f.Add(must(x509.MarshalPKIXPublicKey(key.Public())))
	}
	n := testKeys()["rsa2048"].Public().(*rsa.PublicKey).N
	f.Add(spki(slices.Concat(oid(oidRSASSAPSS), pssParams(oidSHA256, oidSHA256, 32, 1)), rsaKey(n, 65537)))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParsePublicKey(b)
		if err != nil {
			return
		}
		for _, s := range CertificateSchemes() {
			if k.Verify(s, []byte("m"), b) == nil {
				t.Fatalf("%x is its own signature with %v", b, s)
			}
		}
		// A key that crypto/x509 reads too is the same key.
		if std, err := x509.ParsePKIXPublicKey(b); err == nil && std != nil {
			if !k.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(std) {
				t.Fatalf("crypto/x509 reads another key from %x", b)
			}
		}
	})
}

func FuzzCertificateKey(f *testing.F) {
	for _, name := range []string{"p256", "ed25519", "rsa2048"} {
		f.Add(certificate(f, testKeys()[name], 0).Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := CertificateKey(b)
		if err != nil {
			return
		}
		cert, err := x509.ParseCertificate(b)
		if err != nil || cert.PublicKey == nil {
			return // we look at less, and read RSASSA-PSS keys
		}
		if !k.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey) {
			t.Fatal("crypto/x509 finds another key")
		}
	})
}
