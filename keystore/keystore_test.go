package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
)

func check[T any](t testing.TB, v T, err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func ecKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	return check(t, k, err)
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	return check(t, k, err)
}

func edKey(t testing.TB) ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return check(t, k, err)
}

func certificate(t testing.TB, name string, key crypto.Signer) []byte {
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	return check(t, der, err)
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func cert(t testing.TB, name string, key crypto.Signer) []byte {
	return block("CERTIFICATE", certificate(t, name, key))
}

func pkcs8(t testing.TB, key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return block("PRIVATE KEY", check(t, der, err))
}

// pssPKCS8 wraps an RSA key with the OID id-RSASSA-PSS and no parameters.
func pssPKCS8(t testing.TB, key *rsa.PrivateKey) []byte {
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}}, x509.MarshalPKCS1PrivateKey(key)})
	return block("PRIVATE KEY", check(t, der, err))
}

// pssCertificate is a certificate whose key has the OID id-RSASSA-PSS. Its
// signature is of no matter here.
func pssCertificate(t testing.TB, key *rsa.PrivateKey) []byte {
	der := certificate(t, "pss", key)
	var whole struct {
		TBS struct {
			Version   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial    *big.Int
			Algorithm asn1.RawValue
			Issuer    asn1.RawValue
			Validity  asn1.RawValue
			Subject   asn1.RawValue
			Key       struct {
				Algorithm pkix.AlgorithmIdentifier
				Key       asn1.BitString
			}
			Extensions []pkix.Extension `asn1:"optional,explicit,tag:3"`
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &whole); err != nil {
		t.Fatal(err)
	}
	whole.TBS.Key.Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}}
	out, err := asn1.Marshal(whole)
	return block("CERTIFICATE", check(t, out, err))
}

func sec1(t testing.TB, key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalECPrivateKey(key)
	return block("EC PRIVATE KEY", check(t, der, err))
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestEveryFormOfKeyLoadsAndSigns(t *testing.T) {
	p256, p384, p521 := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384()), ecKey(t, elliptic.P521())
	r, e := rsaKey(t, 2048), edKey(t)
	parameters := block("EC PARAMETERS", []byte("\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"))
	for name, c := range map[string]struct {
		cert, key []byte
		scheme    suite.Scheme
	}{
		"PKCS #8 P-256":               {cert(t, "a", p256), pkcs8(t, p256), suite.ECDSAWithP256AndSHA256},
		"PKCS #8 P-384":               {cert(t, "a", p384), pkcs8(t, p384), suite.ECDSAWithP384AndSHA384},
		"PKCS #8 P-521":               {cert(t, "a", p521), pkcs8(t, p521), suite.ECDSAWithP521AndSHA512},
		"PKCS #8 Ed25519":             {cert(t, "a", e), pkcs8(t, e), suite.Ed25519},
		"PKCS #8 RSA":                 {cert(t, "a", r), pkcs8(t, r), suite.RSAPSSWithSHA256},
		"PKCS #1":                     {cert(t, "a", r), block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r)), suite.RSAPSSWithSHA384},
		"SEC 1 after its parameters":  {cert(t, "a", p256), join(parameters, sec1(t, p256)), suite.ECDSAWithP256AndSHA256},
		"id-RSASSA-PSS":               {pssCertificate(t, r), pssPKCS8(t, r), suite.PSSPSSWithSHA256},
		"PSS in the certificate only": {pssCertificate(t, r), pkcs8(t, r), suite.PSSPSSWithSHA512},
		"PSS in the key file only":    {cert(t, "a", r), pssPKCS8(t, r), suite.RSAPSSWithSHA256},
		"all in one":                  {join(pkcs8(t, p256), cert(t, "a", p256)), join(pkcs8(t, p256), cert(t, "a", p256)), suite.ECDSAWithP256AndSHA256},
		"windows text":                {join([]byte("\xef\xbb\xbf"), bytes.ReplaceAll(cert(t, "a", p256), []byte("\n"), []byte("\r\n"))), bytes.ReplaceAll(pkcs8(t, p256), []byte("\n"), []byte("\r\n")), suite.ECDSAWithP256AndSHA256},
		"words around":                {join([]byte("subject=a\n"), cert(t, "a", p256), []byte("issuer\n"), cert(t, "b", e)), join([]byte("my key\n"), pkcs8(t, p256)), suite.ECDSAWithP256AndSHA256},
	} {
		t.Run(name, func(t *testing.T) {
			chain, key, err := Load(c.cert, c.key)
			if err != nil {
				t.Fatal(err)
			}
			message := []byte("what is signed")
			sig, err := suite.Sign(rand.Reader, key, c.scheme, message)
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := suite.CertificateKey(chain[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := leaf.Verify(c.scheme, message, sig); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAChainKeepsItsOrder(t *testing.T) {
	a, b := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	first, second := certificate(t, "leaf", a), certificate(t, "issuer", b)
	chain, _, err := Load(join(block("CERTIFICATE", first), block("CERTIFICATE", second)), pkcs8(t, a))
	if err != nil || len(chain) != 2 || !bytes.Equal(chain[0], first) || !bytes.Equal(chain[1], second) {
		t.Errorf("%d certificates, %v", len(chain), err)
	}
}

func TestWhatIsNoIdentitySaysWhatMendsIt(t *testing.T) {
	a, b, small := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256()), rsaKey(t, 1024)
	p224 := ecKey(t, elliptic.P224())
	good, key := cert(t, "web", a), pkcs8(t, a)
	encrypted := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})
	for name, c := range map[string]struct {
		cert, key []byte
		why       string
	}{
		"encrypted":                {good, block("ENCRYPTED PRIVATE KEY", []byte("x")), "openssl pkey -in"},
		"encrypted the old way":    {good, encrypted, "openssl pkey -in"},
		"swapped":                  {key, good, "swapped"},
		"wrong order":              {join(cert(t, "issuer", b), good), key, `certificate 2 in the certificate file ("web"), not to the first ("issuer"); put the leaf first`},
		"another's key":            {good, pkcs8(t, b), "does not belong to the certificate"},
		"another kind of key":      {good, pkcs8(t, edKey(t)), "(Ed25519) does not belong"},
		"no key":                   {good, good, "holds no private key"},
		"key in the other file":    {join(good, key), cert(t, "x", b), "the key seems to be in the certificate file"},
		"no certificate":           {pkcs8(t, a), pkcs8(t, a), "holds no certificate"},
		"a request":                {block("CERTIFICATE REQUEST", []byte("x")), key, "CERTIFICATE REQUEST"},
		"two keys":                 {good, join(key, pkcs8(t, b)), "2 private keys"},
		"public key":               {good, block("PUBLIC KEY", []byte("x")), "PUBLIC KEY"},
		"OpenSSH":                  {good, block("OPENSSH PRIVATE KEY", []byte("x")), "ssh-keygen"},
		"DSA":                      {good, block("DSA PRIVATE KEY", []byte("x")), "DSA"},
		"DER certificate":          {certificate(t, "web", a), key, "openssl x509 -inform der"},
		"empty key":                {good, nil, "the key file is empty"},
		"blank certificate":        {[]byte(" \n"), key, "the certificate file is empty"},
		"UTF-16":                   {[]byte("\xff\xfe-\x00-\x00"), key, "UTF-16"},
		"damaged certificate":      {block("CERTIFICATE", []byte("\x30\x03abc")), key, "certificate 1 in the certificate file does not parse"},
		"damaged key":              {good, block("PRIVATE KEY", []byte("\x30\x03abc")), "does not parse as PKCS #8"},
		"RSA of 1024 bits":         {cert(t, "web", small), pkcs8(t, small), "1024 bits, expected at least 2048"},
		"P-224":                    {cert(t, "web", p224), sec1(t, p224), `"P-224"`},
		"leaf of an unusable kind": {cert(t, "web", p224), key, "P-256, P-384 and P-521"},
		"a chain that is cut off":  {join(good, good[:len(good)-40]), key, "the certificate file: PEM block 2 begins and does not end"},
		"not PEM at all":           {[]byte("hello"), key, "no PEM at all"},
		"a thousand blocks":        {bytes.Repeat(block("X", nil), maxBlocks+1), key, "more than 1000"},
	} {
		chain, signer, err := Load(c.cert, c.key)
		if err == nil || !strings.Contains(err.Error(), c.why) || chain != nil || signer != nil {
			t.Errorf("%s: %v, want an error with %q", name, err, c.why)
		}
	}
}

func TestErrorsNameTheFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, b []byte) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	crt, key, other := put("web.crt", cert(t, "web", a)), put("web.key", pkcs8(t, a)), put("other.key", pkcs8(t, b))
	if _, _, err := LoadFiles(crt, key); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cert, key, why string }{
		{crt, other, other},
		{key, crt, "swapped: " + key},
		{filepath.Join(dir, "none.crt"), key, "does not exist"},
		{crt, dir, "is a directory"},
		{crt, put("big", bytes.Repeat([]byte("x"), maxFile+1)), "is larger than"},
	} {
		if _, _, err := LoadFiles(c.cert, c.key); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%v, want an error with %q", err, c.why)
		}
	}
}

func TestErrorsHoldNothingOfTheKey(t *testing.T) {
	a := ecKey(t, elliptic.P256())
	der, err := x509.MarshalPKCS8PrivateKey(a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range der {
		damaged := bytes.Clone(der)
		damaged[i] ^= 0x55
		_, _, err := Load(cert(t, "web", a), block("PRIVATE KEY", damaged))
		if err == nil {
			continue
		}
		for _, piece := range []string{hex.EncodeToString(der)[80:90], base64.StdEncoding.EncodeToString(der)[60:70]} {
			if strings.Contains(err.Error(), piece) {
				t.Errorf("byte %d: %v", i, err)
			}
		}
		if len(err.Error()) > 600 {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}

func TestWarningsNameAKeyThatOthersCanRead(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // no permission bits, so no warnings: nothing to see
	}
	f := filepath.Join(t.TempDir(), "web.key")
	if err := os.WriteFile(f, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "group", 0o644: "everybody", 0o666: "everybody", 0o602: "everybody"} {
		if err := os.Chmod(f, mode); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(Warnings(f), " ")
		if (got == "") != (want == "") || !strings.Contains(got, want) || got != "" && !strings.Contains(got, "chmod 600") {
			t.Errorf("mode %o: %q", mode, got)
		}
	}
	if Warnings(filepath.Join(t.TempDir(), "none")) != nil {
		t.Error("a warning about nothing")
	}
}

func TestReadFileReadsWhatHasNoSize(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := os.Stat("/dev/fd"); err != nil {
		return // no names for descriptors here
	}
	go func() {
		_, _ = w.WriteString("hello")
		_ = w.Close()
	}()
	b, err := readFile(filepath.Join("/dev/fd", big.NewInt(int64(r.Fd())).String()))
	if err != nil || string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
}

func FuzzLoad(f *testing.F) {
	a, r := ecKey(f, elliptic.P256()), rsaKey(f, 2048)
	f.Add(cert(f, "web", a), pkcs8(f, a))
	f.Add(pssCertificate(f, r), pssPKCS8(f, r))
	f.Add(cert(f, "web", a), sec1(f, a))
	f.Add(block("CERTIFICATE", nil), block("PRIVATE KEY", []byte{0x30, 0x00}))
	f.Fuzz(func(t *testing.T, c, k []byte) {
		chain, key, err := Load(c, k)
		if (err == nil) != (key != nil && len(chain) > 0) {
			t.Errorf("%d certificates, key %v, %v", len(chain), key != nil, err)
		}
		if err != nil && strings.ContainsFunc(err.Error(), func(r rune) bool { return r < 0x20 }) {
			t.Errorf("%q", err)
		}
	})
}

// A key of ML-DSA loads with its certificate, and one without its seed is told what
// it lacks (RFC 9881, section 6).
func TestAnMLDSAIdentityLoads(t *testing.T) {
	for _, kind := range []string{"mldsa44", "mldsa65", "mldsa87"} {
		leaf := mint.Root("Root", mint.Key("mldsa65")).Leaf("orders", mint.Key(kind))
		chain, key, err := Load(leaf.CertPEM(), leaf.KeyPEM())
		if err != nil {
			t.Fatal(err)
		}
		if !equalKeys(leaf.Key.Public(), key.Public()) || len(chain) != 1 {
			t.Errorf("%s: another key, or a chain of %d", kind, len(chain))
		}
		other := mint.Root("Root").Leaf("orders", mint.Key(kind))
		if _, _, err := Load(leaf.CertPEM(), other.KeyPEM()); err == nil || !strings.Contains(err.Error(), "ML-DSA") {
			t.Errorf("%s: with another's key: %v", kind, err)
		}
	}
	leaf := mint.Root("Root").Leaf("orders", mint.Key("mldsa44"))
	inner, err := asn1.Marshal(make([]byte, 2560))
	check(t, inner, err)
	pkcs8, err := asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17}}, inner})
	check(t, pkcs8, err)
	if _, _, err := Load(leaf.CertPEM(), block("PRIVATE KEY", pkcs8)); err == nil || !strings.Contains(err.Error(), "seed") {
		t.Errorf("without a seed: %v", err)
	}
}

func TestAKeyAloneIsRead(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, blocks ...*pem.Block) string {
		var b []byte
		for _, block := range blocks {
			b = append(b, pem.EncodeToMemory(block)...)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	got, err := LoadKeyFile(file("one", block))
	if err != nil || !key.Equal(got) {
		t.Fatalf("%v, %v", got, err)
	}
	for _, bad := range []string{file("two", block, block), file("none", &pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), filepath.Join(dir, "absent")} {
		if _, err := LoadKeyFile(bad); err == nil {
			t.Errorf("%s was taken", filepath.Base(bad))
		}
	}
}
