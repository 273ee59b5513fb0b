package explain

import (
	"bytes"
	"crypto"
	"crypto/dsa" //nolint:staticcheck // to see it named
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
)

func block(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func written(t testing.TB, th *Thing, name string) string {
	t.Helper()
	var b bytes.Buffer
	if err := th.Write(&b, name, noon, Look{}); err != nil {
		t.Fatal(err)
	}
	checkSafe(t, "the inspection", b.Bytes())
	return b.String()
}

func TestChainIsToldCertificateByCertificate(t *testing.T) {
	years := mint.Valid(noon.AddDate(0, 0, -3), noon.AddDate(3, 0, 0))
	root := mint.Root("Example Root", years, mint.Serial(big.NewInt(1)))
	ca := root.Intermediate("Example Issuing CA", years, mint.PathLen(0), mint.Serial(big.NewInt(2)))
	leaf := ca.Leaf("orders.example.com", valid, mint.Serial(big.NewInt(0xabcd)), mint.IPs("192.0.2.1"), mint.URIs("spiffe://x.internal/orders"))
	th := must[*Thing](t)(Inspect(slices.Concat(leaf.CertPEM(), leaf.KeyPEM()), noon))
	golden(t, "inspect chain", []byte(written(t, th, "orders.pem")))

	j := asJSON(t, th)
	for key, want := range map[string]any{
		"kind": "chain", "subject": "CN=orders.example.com", "serial": "abcd", "issuer": "CN=Example Issuing CA",
		"not_before": "2026-03-01T11:00:00Z", "not_after": "2026-03-02T11:00:00Z", "key": "ECDSA P-256", "ca": false,
	} {
		if j[key] != want {
			t.Errorf("%s is %v, expected %v", key, j[key], want)
		}
	}
	if got := len(j["names"].([]any)); got != 3 {
		t.Errorf("there are %d names, expected 3", got)
	}
	if got := j["usages"].([]any); len(got) != 3 || got[0] != "digitalSignature" {
		t.Errorf("the usages are %v", got)
	}
	both := j["certificates"].([]any)
	if len(both) != 2 || both[1].(map[string]any)["ca"] != true || both[0].(map[string]any)["sha256"] != j["sha256"] {
		t.Errorf("the certificates are %v", both)
	}
	if j["private_key"].(map[string]any)["key"] != "ECDSA P-256" {
		t.Errorf("the private key is %v", j["private_key"])
	}
}

// TestEveryKindHasEveryKey: a script may ask for any of them, whatever the file.
func TestEveryKindHasEveryKeyInItsJSON(t *testing.T) {
	w := newWorld(t)
	csr := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a"}}, w.web.Key))
	for kind, b := range map[string][]byte{
		"certificate": w.root.PEM(), "chain": w.web.CertPEM(), "key": w.web.KeyPEM(), "csr": block("CERTIFICATE REQUEST", csr),
	} {
		j := asJSON(t, must[*Thing](t)(Inspect(b, noon)))
		if j["kind"] != kind {
			t.Errorf("the kind is %v, expected %s", j["kind"], kind)
		}
		for _, key := range []string{"subject", "names", "serial", "issuer", "not_before", "not_after", "key", "usages", "ca", "sha256"} {
			if _, ok := j[key]; !ok {
				t.Errorf("%s has no %s", kind, key)
			}
		}
	}
}

func TestKeysAreToldByKindAndNothingMore(t *testing.T) {
	p256 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p224 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	rsaKey := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := must[*ecdh.PrivateKey](t)(ecdh.X25519().GenerateKey(rand.Reader))
	in8 := func(k any) []byte { return must[[]byte](t)(x509.MarshalPKCS8PrivateKey(k)) }
	pss := mint.Root("r").Leaf("a", mint.Key("rsapss2048"))
	encrypted := must[[]byte](t)(asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}}, []byte("sealed")}))
	for name, c := range map[string]struct {
		b      []byte
		key    string
		format string
		locked bool
		secret []byte
	}{
		"PKCS #8 P-256":    {block("PRIVATE KEY", in8(p256)), "ECDSA P-256", "PKCS #8", false, must[[]byte](t)(p256.Bytes())},
		"PKCS #8 DER":      {in8(p384), "ECDSA P-384", "PKCS #8", false, must[[]byte](t)(p384.Bytes())},
		"PKCS #8 Ed25519":  {block("PRIVATE KEY", in8(ed)), "Ed25519", "PKCS #8", false, ed.Seed()},
		"PKCS #8 RSA":      {block("PRIVATE KEY", in8(rsaKey)), "RSA 2048 bits", "PKCS #8", false, rsaKey.D.Bytes()},
		"PKCS #8 PSS":      {pss.KeyPEM(), "RSA 2048 bits for RSASSA-PSS only", "PKCS #8", false, nil},
		"SEC 1":            {block("EC PRIVATE KEY", must[[]byte](t)(x509.MarshalECPrivateKey(p256))), "ECDSA P-256", "SEC 1", false, must[[]byte](t)(p256.Bytes())},
		"SEC 1 DER":        {must[[]byte](t)(x509.MarshalECPrivateKey(p256)), "ECDSA P-256", "SEC 1", false, must[[]byte](t)(p256.Bytes())},
		"PKCS #1":          {block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey)), "RSA 2048 bits", "PKCS #1", false, rsaKey.D.Bytes()},
		"PKCS #1 DER":      {x509.MarshalPKCS1PrivateKey(rsaKey), "RSA 2048 bits", "PKCS #1", false, rsaKey.D.Bytes()},
		"too small":        {block("PRIVATE KEY", in8(p224)), "ECDSA P-224", "PKCS #8", false, must[[]byte](t)(p224.Bytes())},
		"not for signing":  {block("PRIVATE KEY", in8(x)), "X25519", "PKCS #8", false, x.Bytes()},
		"encrypted":        {block("ENCRYPTED PRIVATE KEY", encrypted), "not known: the key is encrypted", "PKCS #8, encrypted", true, nil},
		"encrypted DER":    {encrypted, "not known: the key is encrypted", "PKCS #8, encrypted", true, nil},
		"encrypted of old": {[]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"), "RSA; more is not known: the key is encrypted", "PEM encryption of old (RFC 1421)", true, nil},
		"OpenSSH":          {block("OPENSSH PRIVATE KEY", ssh("none")), "ssh-ed25519", "OpenSSH", false, nil},
		"OpenSSH locked":   {block("OPENSSH PRIVATE KEY", ssh("aes256-ctr")), "ssh-ed25519", "OpenSSH", true, nil},
		"Ed448":            {block("PRIVATE KEY", foreign(t, asn1.ObjectIdentifier{1, 3, 101, 113})), "Ed448", "PKCS #8", false, nil},
		"secp256k1":        {block("EC PRIVATE KEY", foreignCurve(t)), "ECDSA secp256k1", "SEC 1", false, nil},
		"DSA":              {block("DSA PRIVATE KEY", []byte{0x30, 0}), "DSA", "PEM DSA PRIVATE KEY", false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			th := must[*Thing](t)(Inspect(slices.Clone(c.b), noon))
			if th.Kind != "key" || th.Key != c.key || th.Format != c.format || th.Encrypted != c.locked {
				t.Errorf("it is told as %s %q, %q, encrypted %v; expected %q, %q, %v", th.Kind, th.Key, th.Format, th.Encrypted, c.key, c.format, c.locked)
			}
			usable := slices.Contains([]string{"ECDSA P-256", "ECDSA P-384", "Ed25519"}, c.key) || strings.HasPrefix(c.key, "RSA ")
			if usable == (len(th.Warnings) > 0) && !c.locked {
				t.Errorf("the warnings are %q", th.Warnings)
			}
			out := written(t, th, "a.key")
			for _, secret := range []string{string(c.secret), hex.EncodeToString(c.secret), base64.StdEncoding.EncodeToString(c.secret)} {
				if secret != "" && strings.Contains(out, secret) {
					t.Error("the secret is in what was written")
				}
			}
		})
	}
}

// foreign is a key in PKCS #8 that crypto/x509 does not know.
func foreign(t *testing.T, oid asn1.ObjectIdentifier) []byte {
	return must[[]byte](t)(asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Key       []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: oid}, []byte("secret")}))
}

// foreignCurve is a key in SEC 1 on a curve that crypto/x509 does not know.
func foreignCurve(t *testing.T) []byte {
	return must[[]byte](t)(asn1.Marshal(struct {
		Version int
		Key     []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, []byte("secret"), asn1.ObjectIdentifier{1, 3, 132, 0, 10}}))
}

// ssh is the head of a key in OpenSSH's format.
func ssh(cipher string) []byte {
	b := []byte("openssh-key-v1\x00")
	field := func(to []byte, s string) []byte { return append(append(to, 0, 0, 0, byte(len(s))), s...) }
	b = field(field(field(b, cipher), "none"), "")
	b = append(b, 0, 0, 0, 1)
	return field(b, string(field(nil, "ssh-ed25519")))
}

func TestInspectedFileDoesNotGiveAwayItsKey(t *testing.T) {
	leaf := mint.Root("r").Leaf("a")
	b := leaf.KeyPEM()
	decoded, _ := pem.Decode(b)
	th := must[*Thing](t)(Inspect(b, noon))
	if decoded == nil || strings.Contains(written(t, th, "k"), string(b)) {
		t.Error("the key is in what was written")
	}
	spki := must[[]byte](t)(x509.MarshalPKIXPublicKey(leaf.Key.Public()))
	if th.KeySHA256 != sum(spki) || th.SHA256 != th.KeySHA256 {
		t.Errorf("the key's hash is %s, expected that of its public half", th.KeySHA256)
	}
}

func TestRequestIsToldWithWhatItAsksFor(t *testing.T) {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	uri, _ := url.Parse("spiffe://x.internal/web")
	usage := must[[]byte](t)(asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 2, 3}}))
	basic := must[[]byte](t)(asn1.Marshal(struct{ CA bool }{true}))
	bits := must[[]byte](t)(asn1.Marshal(asn1.BitString{Bytes: []byte{0x80}, BitLength: 1}))
	der := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "web \u202e"}, DNSNames: []string{"web"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}, URIs: []*url.URL{uri},
		ExtraExtensions: []pkix.Extension{{Id: oidExtendedUsage, Value: usage}, {Id: oidBasic, Value: basic}, {Id: oidKeyUsage, Value: bits}},
	}, key))
	for _, b := range [][]byte{der, block("NEW CERTIFICATE REQUEST", der)} {
		th := must[*Thing](t)(Inspect(slices.Clone(b), noon))
		if th.Kind != "csr" || !th.CA || !slices.Equal(th.Names, []string{"web", "192.0.2.1", "spiffe://x.internal/web"}) ||
			!slices.Equal(th.Usages, []string{"clientAuth", "1.2.3", "digitalSignature"}) || len(th.Warnings) > 0 {
			t.Errorf("the request is told as %+v", th)
		}
		golden(t, "inspect request", []byte(written(t, th, "web.csr")))
	}
	der[len(der)-1] ^= 1
	if th := must[*Thing](t)(Inspect(der, noon)); len(th.Warnings) != 1 || !strings.Contains(th.Warnings[0], "does not verify") {
		t.Errorf("the warnings are %q, expected one on the signature", th.Warnings)
	}
}

func TestWhatIsWrongWithAFileIsSaid(t *testing.T) {
	w := newWorld(t)
	ended := w.ca.Leaf("a", mint.Valid(noon.AddDate(0, -1, 0), noon.AddDate(0, 0, -1)))
	early := w.ca.Leaf("a", mint.Valid(noon.AddDate(0, 0, 1), noon.AddDate(0, 1, 0)))
	soon := w.ca.Leaf("a", mint.Valid(noon.AddDate(0, -3, 0), noon.AddDate(0, 0, 3)))
	nameless := w.ca.Leaf("a", valid, mint.Names())
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"expired":     {block("CERTIFICATE", ended.Chain[0]), "ended"},
		"not yet":     {block("CERTIFICATE", early.Chain[0]), "begins"},
		"ends soon":   {block("CERTIFICATE", soon.Chain[0]), "ends soon"},
		"no name":     {block("CERTIFICATE", nameless.Chain[0]), "no name that counts"},
		"wrong order": {slices.Concat(block("CERTIFICATE", w.web.Chain[1]), block("CERTIFICATE", w.web.Chain[0])), "certificate 1 was not issued by certificate 2"},
		"wrong key":   {slices.Concat(w.web.CertPEM(), w.orders.KeyPEM()), "does not belong"},
		"more in it":  {slices.Concat(w.web.KeyPEM(), block("PUBLIC KEY", w.web.Cert.RawSubjectPublicKeyInfo)), "not told"},
	} {
		th := must[*Thing](t)(Inspect(slices.Clone(c.b), noon))
		if !strings.Contains(strings.Join(th.Warnings, "\n"), c.want) {
			t.Errorf("%s: the warnings are %q, expected one with %q", name, th.Warnings, c.want)
		}
	}
	if th := must[*Thing](t)(Inspect(w.web.CertPEM(), noon)); len(th.Warnings) > 0 {
		t.Errorf("a good chain has the warnings %q", th.Warnings)
	}
}

func TestWhatCantBeToldIsRefusedWithTheReason(t *testing.T) {
	w := newWorld(t)
	p12 := must[[]byte](t)(asn1.Marshal(struct {
		Version int
		Safe    struct{ Type asn1.ObjectIdentifier }
	}{Version: 3, Safe: struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}}}))
	p7 := must[[]byte](t)(asn1.Marshal(struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}}))
	damaged := slices.Clone(w.web.Chain[0])
	damaged[len(damaged)/2] ^= 0xff
	damaged = damaged[:len(damaged)-3]
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":        {[]byte(" \n"), "empty"},
		"text":         {[]byte("hello"), "found neither"},
		"UTF-16":       {[]byte("\xff\xfe-\x00"), "UTF-16"},
		"PKCS #12":     {p12, "openssl pkcs12"},
		"PKCS #7":      {p7, "openssl pkcs7"},
		"PKCS #7, PEM": {block("PKCS7", p7), "openssl pkcs7"},
		"a bad CRL":    {block("X509 CRL", []byte{0x30, 0}), "revocation list"},
		"other PEM":    {block("DH PARAMETERS", []byte{0x30, 0}), `"DH PARAMETERS"`},
		"cut off":      {slices.Concat(block("CERTIFICATE", w.web.Chain[0]), block("CERTIFICATE", w.web.Chain[1])[:99]), "PEM block 2 begins and does not end"},
		"other DER":    {[]byte{0x30, 3, 2, 1, 1}, "neither a certificate"},
		"damaged":      {block("CERTIFICATE", damaged), "PEM block 1"},
		"bad key":      {block("PRIVATE KEY", []byte{0x30, 0}), "does not parse as a private key"},
		"bad secret":   {block("EC PRIVATE KEY", []byte("secret!")), "does not parse as a private key"},
	} {
		_, err := Inspect(c.b, noon)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, expected one with %q", name, err, c.want)
		}
	}
}

func TestInspectFileReadsFilesAndStandardInput(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	cert, key, err := w.web.WriteFiles(dir, "web")
	if err != nil {
		t.Fatal(err)
	}
	if th := must[*Thing](t)(InspectFile(key, nil, noon)); len(th.Warnings) > 0 {
		t.Errorf("a key file of 0600 has the warnings %q", th.Warnings)
	}
	open := filepath.Join(dir, "open.pem")
	if err := os.WriteFile(open, slices.Concat(w.web.CertPEM(), w.web.KeyPEM()), 0o644); err != nil {
		t.Fatal(err)
	}
	if th := must[*Thing](t)(InspectFile(open, nil, noon)); runtime.GOOS != "windows" && (len(th.PrivateKey.Warnings) != 1 || !strings.Contains(th.PrivateKey.Warnings[0], "chmod 600")) {
		t.Errorf("a key that everybody may read has the warnings %q", th.PrivateKey.Warnings)
	}
	if th := must[*Thing](t)(InspectFile("-", bytes.NewReader(w.web.CertPEM()), noon)); th.Kind != "chain" {
		t.Errorf("standard input is told as %s", th.Kind)
	}
	for _, name := range []string{dir, filepath.Join(dir, "none"), cert + "x"} {
		if _, err := InspectFile(name, nil, noon); err == nil {
			t.Errorf("%s is told", name)
		}
	}
	if _, err := InspectFile("-", bytes.NewReader(make([]byte, maxFile+1)), noon); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a file without end: %v", err)
	}
}

// A request for an id-RSASSA-PSS key is beyond crypto/x509, which knows neither the
// key nor whether the signature is the key's.
func TestARequestOfAnRSAPSSKeyIsTold(t *testing.T) {
	key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))
	raw := must[[]byte](t)(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		DNSNames: []string{"web"}, SignatureAlgorithm: x509.SHA256WithRSAPSS,
	}, key))
	// The OID of the key is exchanged, and the whole signed again.
	var whole struct {
		TBS struct {
			Version int
			Subject asn1.RawValue
			Key     struct {
				Algorithm pkix.AlgorithmIdentifier
				Bits      asn1.BitString
			}
			Attributes asn1.RawValue
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(raw, &whole); err != nil {
		t.Fatal(err)
	}
	whole.TBS.Key.Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}}
	tbs := must[[]byte](t)(asn1.Marshal(whole.TBS))
	digest := sha256.Sum256(tbs)
	sig := must[[]byte](t)(rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32}))
	whole.Signature = asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}
	raw = must[[]byte](t)(asn1.Marshal(whole))
	th := must[*Thing](t)(Inspect(raw, noon))
	if th.Key != "RSA 2048 bits for RSASSA-PSS only" || th.Signature != "RSASSA-PSS with SHA256" || len(th.Warnings) > 0 {
		t.Errorf("told as %q, %q, %q", th.Key, th.Signature, th.Warnings)
	}
	raw[len(raw)-1] ^= 1
	if th = must[*Thing](t)(Inspect(raw, noon)); len(th.Warnings) != 1 || !strings.Contains(th.Warnings[0], "does not verify") {
		t.Errorf("with a damaged signature: %q", th.Warnings)
	}
}

func TestKeysThatAreNotForTLSAreNamed(t *testing.T) {
	public := func(algorithm ...int) []byte {
		return must[[]byte](t)(asn1.Marshal(struct {
			Algorithm pkix.AlgorithmIdentifier
			Bits      asn1.BitString
		}{pkix.AlgorithmIdentifier{Algorithm: algorithm}, asn1.BitString{Bytes: make([]byte, 57), BitLength: 456}}))
	}
	for want, spki := range map[string][]byte{
		"ML-DSA-65": public(2, 16, 840, 1, 101, 3, 4, 3, 18),
		"Ed448":     public(1, 3, 101, 113),
	} {
		if th := must[*Thing](t)(Inspect(block("PUBLIC KEY", spki), noon)); th.Key != want {
			t.Errorf("a key of %s is told as %q", want, th.Key)
		}
	}
}

func TestStrangeKeysHaveNamesToo(t *testing.T) {
	if got := KeyName(&dsa.PublicKey{Parameters: dsa.Parameters{P: big.NewInt(1023)}}); got != "DSA 10 bits" {
		t.Error(got)
	}
	if got := KeyName(nil); got != "a key of an unsupported kind" {
		t.Error(got)
	}
}

func FuzzInspect(f *testing.F) {
	leaf := mint.Root("r").Leaf("a")
	f.Add(leaf.CertPEM())
	f.Add(leaf.KeyPEM())
	f.Add(leaf.Chain[0])
	f.Add(block("OPENSSH PRIVATE KEY", ssh("none")))
	f.Fuzz(func(t *testing.T, b []byte) {
		th, err := Inspect(b, noon)
		if err != nil {
			checkSafe(t, "the error", []byte(err.Error()))
			return
		}
		written(t, th, "a")
		var out bytes.Buffer
		if err := WriteJSON(&out, th); err != nil {
			t.Fatal(err)
		}
		checkSafe(t, "the JSON", out.Bytes())
	})
}
