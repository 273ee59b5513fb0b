package suite

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// pssSigner is an RSA key with the OID id-RSASSA-PSS.
type pssSigner struct{ *rsa.PrivateKey }

func (pssSigner) RSAPSS() bool { return true }

// testKeys are made once: RSA keys take their time.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	rsa2048 := must(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return map[string]crypto.Signer{
		"p256":    must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"p384":    must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"p521":    must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"ed25519": ed,
		"rsa1024": must(rsa.GenerateKey(rand.Reader, 1024)),
		"rsa2048": rsa2048,
		"rsapss":  pssSigner{rsa2048},
	}
})

var fits = map[string][]Scheme{
	"p256":    {ECDSAWithP256AndSHA256},
	"p384":    {ECDSAWithP384AndSHA384},
	"p521":    {ECDSAWithP521AndSHA512},
	"ed25519": {Ed25519},
	"rsa1024": {RSAPSSWithSHA256, RSAPSSWithSHA384},
	"rsa2048": {RSAPSSWithSHA256, RSAPSSWithSHA384, RSAPSSWithSHA512},
	"rsapss":  {PSSPSSWithSHA256, PSSPSSWithSHA384, PSSPSSWithSHA512},
}

func TestKeysSignWithTheSchemesThatFit(t *testing.T) {
	message := []byte("what both sides know")
	for name, key := range testKeys() {
		pub, err := PublicOf(key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(pub.Schemes(), fits[name]) {
			t.Errorf("%s: schemes %v, expected %v", name, pub.Schemes(), fits[name])
		}
		for _, s := range append(slices.Clone(CertificateSchemes()), PKCS1WithSHA1, ECDSAWithSHA1, Ed448, 0, 0x0a0a) {
			f, _ := s.kind()
			want := slices.Contains(fits[name], s) || f == familyPKCS1 && (name == "rsa1024" || name == "rsa2048")
			if pub.Fits(s) != want {
				t.Errorf("%s fits %v: %v, expected %v", name, s, !want, want)
			}
			sig, err := Sign(rand.Reader, key, s, message)
			if (err == nil) != want {
				t.Errorf("%s signs with %v: error %v", name, s, err)
			}
			if err != nil {
				if pub.Verify(s, message, make([]byte, 64)) == nil {
					t.Errorf("%s verifies with %v", name, s)
				}
				continue
			}
			if err := pub.Verify(s, message, sig); err != nil {
				t.Errorf("%s, %v: %v", name, s, err)
			}
			if pub.Verify(s, []byte("what both sides knew"), sig) == nil {
				t.Errorf("%s, %v: another message verifies", name, s)
			}
			for _, bad := range [][]byte{nil, sig[1:], sig[:len(sig)-1], append(slices.Clone(sig), 0)} {
				if pub.Verify(s, message, bad) == nil {
					t.Errorf("%s, %v: a signature of %d bytes for %d verifies", name, s, len(bad), len(sig))
				}
			}
			for i := 0; i < len(sig); i += 7 {
				bad := bytes.Clone(sig)
				bad[i] ^= 0x10
				if pub.Verify(s, message, bad) == nil {
					t.Errorf("%s, %v: a changed signature verifies", name, s)
				}
			}
		}
	}
}

func TestSchemesOfCertificateVerifyHaveNoPKCS1(t *testing.T) {
	for _, s := range Schemes() {
		if f, _ := s.kind(); f == familyPKCS1 || f == noFamily {
			t.Errorf("%v is in Schemes", s)
		}
	}
	if len(CertificateSchemes()) != len(Schemes())+3 || cap(Schemes()) != len(Schemes()) {
		t.Error("CertificateSchemes is not Schemes and three more")
	}
}

func TestPSSSaltMustBeAsLongAsTheHash(t *testing.T) {
	key := testKeys()["rsa2048"].(*rsa.PrivateKey)
	pub, _ := PublicOf(key)
	sum := sha256.Sum256([]byte("message"))
	for _, c := range []struct {
		salt int
		ok   bool
	}{{32, true}, {0, false}, {20, false}, {31, false}, {33, false}, {222, false}} {
		salt := c.salt
		if salt == 0 {
			salt = 1 // 0 means "as long as possible" to crypto/rsa
		}
		sig := must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: salt}))
		if err := pub.Verify(RSAPSSWithSHA256, []byte("message"), sig); (err == nil) != c.ok {
			t.Errorf("a salt of %d bytes: error %v", salt, err)
		}
	}
	pkcs1 := must(rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]))
	if pub.Verify(RSAPSSWithSHA256, []byte("message"), pkcs1) == nil {
		t.Error("PKCS #1 v1.5 passes for PSS")
	}
	if err := pub.Verify(PKCS1WithSHA256, []byte("message"), pkcs1); err != nil {
		t.Errorf("PKCS #1 v1.5: %v", err)
	}
}

// faulty is a signer that a fault hits.
type faulty struct {
	crypto.Signer
	fault func([]byte) ([]byte, error)
}

func (f faulty) Sign(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
	sig, err := f.Signer.Sign(r, d, o)
	if err != nil {
		return nil, err
	}
	return f.fault(sig)
}

type faultyPSS struct{ faulty }

func (faultyPSS) RSAPSS() bool { return true }

func TestSpoiledRSASignaturesAreNotSent(t *testing.T) {
	key := faulty{testKeys()["rsa2048"], func(sig []byte) ([]byte, error) { sig[100] ^= 1; return sig, nil }}
	for s, signer := range map[Scheme]crypto.Signer{
		RSAPSSWithSHA256: key, PKCS1WithSHA256: key, PSSPSSWithSHA256: faultyPSS{key},
	} {
		sig, err := Sign(rand.Reader, signer, s, []byte("m"))
		if err == nil || sig != nil {
			t.Errorf("%v: a spoiled signature was handed out", s)
		} else if !strings.Contains(err.Error(), "does not verify") {
			t.Errorf("%v: refused for another reason: %v", s, err)
		}
	}
	lost := errors.New("the token was pulled out")
	_, err := Sign(rand.Reader, faulty{testKeys()["p256"], func([]byte) ([]byte, error) { return nil, lost }}, ECDSAWithP256AndSHA256, nil)
	if !errors.Is(err, lost) {
		t.Errorf("the signer's error became %v", err)
	}
	if _, err := Sign(rand.Reader, nil, Ed25519, nil); err == nil {
		t.Error("no key, and no error")
	}
}

func TestECDSASignaturesAreStrictDER(t *testing.T) {
	one, n := []byte{1}, elliptic.P256().Params().N.Bytes()
	integer := func(b []byte) []byte {
		if len(b) > 0 && b[0] >= 0x80 {
			b = append([]byte{0}, b...)
		}
		return append([]byte{2, byte(len(b))}, b...)
	}
	seq := func(parts ...[]byte) []byte {
		b := slices.Concat(parts...)
		return append([]byte{0x30, byte(len(b))}, b...)
	}
	below := new(big.Int).Sub(elliptic.P256().Params().N, big.NewInt(1)).Bytes()
	good := seq(integer(one), integer(below))
	for _, c := range []struct {
		name string
		sig  []byte
		want error
	}{
		{"least and greatest", good, nil},
		{"r is 0", seq(integer([]byte{0}), integer(one)), errECDSARange},
		{"s is 0", seq(integer(one), integer([]byte{0})), errECDSARange},
		{"r is n", seq(integer(n), integer(one)), errECDSARange},
		{"s is n", seq(integer(one), integer(n)), errECDSARange},
		{"s is longer than n", seq(integer(one), integer(append([]byte{1}, n...))), errECDSARange},
		{"r is negative", seq([]byte{2, 1, 0xff}, integer(one)), errECDSARange},
		{"needless zero", seq([]byte{2, 2, 0, 1}, integer(one)), errECDSADER},
		{"needless ones", seq([]byte{2, 2, 0xff, 0x80}, integer(one)), errECDSADER},
		{"empty integer", seq([]byte{2, 0}, integer(one)), errECDSADER},
		{"one integer", seq(integer(one)), errECDSADER},
		{"three integers", seq(integer(one), integer(one), integer(one)), errECDSADER},
		{"byte after", append(slices.Clone(good), 0), errECDSADER},
		{"byte inside", seq(integer(one), integer(one), []byte{0}), errECDSADER},
		{"long form length", append([]byte{0x30, 0x81, 6}, integer(one)...), errECDSADER},
		{"needless long form", append([]byte{0x30, 0x81, 6}, append(integer(one), integer(one)...)...), errECDSADER},
		{"two length bytes", append([]byte{0x30, 0x82, 0, 6}, append(integer(one), integer(one)...)...), errECDSADER},
		{"indefinite", append([]byte{0x30, 0x80}, append(integer(one), 2, 1, 1, 0, 0)...), errECDSADER},
		{"a set", append([]byte{0x31}, good[1:]...), errECDSADER},
		{"bit strings", seq([]byte{3, 1, 1}, []byte{3, 1, 1}), errECDSADER},
		{"nothing", nil, errECDSADER},
		{"cut", good[:len(good)-1], errECDSADER},
	} {
		if err := checkECDSA(elliptic.P256(), c.sig); !errors.Is(err, c.want) {
			t.Errorf("%s (%x): error %v, expected %v", c.name, c.sig, err, c.want)
		}
	}
	// P-521 needs the long form.
	key := testKeys()["p521"]
	for range 20 {
		sum := make([]byte, 64)
		rand.Read(sum)
		if err := checkECDSA(elliptic.P521(), must(key.Sign(rand.Reader, sum, crypto.SHA512))); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever our check lets through, crypto/ecdsa must find well-formed too, and
// the other way round: it never accepts what we refuse.
func FuzzECDSA(f *testing.F) {
	key := testKeys()["p256"].(*ecdsa.PrivateKey)
	sum := sha256.Sum256([]byte("message"))
	f.Add(must(key.Sign(rand.Reader, sum[:], crypto.SHA256)))
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	f.Add([]byte{0x30, 0x81, 6, 2, 1, 1, 2, 1, 1})
	f.Fuzz(func(t *testing.T, sig []byte) {
		if checkECDSA(key.Curve, sig) != nil && ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) {
			t.Fatalf("%x verifies, and is not strict", sig)
		}
	})
}

func TestVerificationAllocatesLittle(t *testing.T) {
	key := testKeys()["p256"].(*ecdsa.PrivateKey)
	pub, _ := PublicOf(key)
	message := []byte("message")
	sig := must(Sign(rand.Reader, key, ECDSAWithP256AndSHA256, message))
	if got := testing.AllocsPerRun(50, func() { checkECDSA(key.Curve, sig) }); got != 0 {
		t.Errorf("checking an ECDSA signature's form makes %v allocations", got)
	}
	if got := testing.AllocsPerRun(50, func() { pub.Schemes() }); got != 0 {
		t.Errorf("Schemes makes %v allocations", got)
	}
	sum := sha256.Sum256(message)
	std := testing.AllocsPerRun(50, func() { ecdsa.VerifyASN1(&key.PublicKey, sum[:], sig) })
	if got := testing.AllocsPerRun(50, func() { pub.Verify(ECDSAWithP256AndSHA256, message, sig) }); got > std+1 {
		t.Errorf("Verify makes %v allocations, crypto/ecdsa alone %v", got, std)
	}
}

// certificate makes a self-signed certificate, and returns it with the parts
// that a signature check takes.
func certificate(t testing.TB, key crypto.Signer, alg x509.SignatureAlgorithm) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"test"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), SignatureAlgorithm: alg,
	}
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
}

func TestCertificateSignatures(t *testing.T) {
	for _, c := range []struct {
		key string
		alg x509.SignatureAlgorithm
	}{
		{"p256", x509.ECDSAWithSHA256},
		{"p256", x509.ECDSAWithSHA384},
		{"p384", x509.ECDSAWithSHA256}, // what openssl makes by default
		{"p384", x509.ECDSAWithSHA384},
		{"p521", x509.ECDSAWithSHA512},
		{"ed25519", x509.PureEd25519},
		{"rsa2048", x509.SHA256WithRSA},
		{"rsa2048", x509.SHA384WithRSA},
		{"rsa2048", x509.SHA512WithRSA},
		{"rsa2048", x509.SHA256WithRSAPSS},
		{"rsa2048", x509.SHA384WithRSAPSS},
		{"rsa2048", x509.SHA512WithRSAPSS},
	} {
		cert := certificate(t, testKeys()[c.key], c.alg)
		algorithm := certificateAlgorithm(t, cert.Raw)
		pub, err := CertificateKey(cert.Raw)
		if err != nil {
			t.Fatalf("%s: %v", c.key, err)
		}
		if err := pub.VerifyCertificate(algorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
			t.Errorf("%s, %v: %v", c.key, c.alg, err)
		}
		bad := bytes.Clone(cert.RawTBSCertificate)
		bad[len(bad)/2] ^= 1
		if pub.VerifyCertificate(algorithm, bad, cert.Signature) == nil {
			t.Errorf("%s, %v: a changed certificate verifies", c.key, c.alg)
		}
		for name, key := range testKeys() {
			other, _ := PublicOf(key)
			if name != c.key && name != "rsapss" && other.VerifyCertificate(algorithm, cert.RawTBSCertificate, cert.Signature) == nil {
				t.Errorf("%s, %v: verifies with the key %s", c.key, c.alg, name)
			}
		}
	}
}
