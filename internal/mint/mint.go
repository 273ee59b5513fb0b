package mint

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki/sign"
)

// Authority is a certificate that signs others.
type Authority struct {
	Cert *x509.Certificate
	DER  []byte
	Key  crypto.Signer
	// Chain leads from this authority, itself included, up to the root, which it
	// leaves out: empty for a root.
	Chain [][]byte
}

// Leaf is a certificate that speaks for somebody.
type Leaf struct {
	Cert *x509.Certificate
	// Chain is the leaf, then its intermediates; the root is not in it.
	Chain [][]byte
	Key   crypto.Signer
	// pkcs8 is the key in a form that says id-RSASSA-PSS, where it is of that kind.
	pkcs8 []byte
}

// Root makes a root of the name, with a P-256 key unless told, from an hour ago
// to ten years from now.
func Root(name string, opts ...Option) *Authority {
	now := time.Now()
	t := newTemplate(name, now.Add(-time.Hour), now.AddDate(10, 0, 0), opts, authority)
	der := t.sign(nil, nil)
	return &Authority{Cert: parse(der), DER: der, Key: t.key}
}

// Intermediate makes an authority under a, for three years.
func (a *Authority) Intermediate(name string, opts ...Option) *Authority {
	now := time.Now()
	t := newTemplate(name, now.Add(-time.Hour), now.AddDate(3, 0, 0), opts, authority)
	der := t.sign(a.Cert, a.Key)
	return &Authority{Cert: parse(der), DER: der, Key: t.key, Chain: append([][]byte{der}, a.Chain...)}
}

// Leaf makes a certificate under a with the DNS name, for both purposes, from an
// hour ago to a day from now, unless told otherwise.
func (a *Authority) Leaf(name string, opts ...Option) *Leaf {
	now := time.Now()
	t := newTemplate(name, now.Add(-time.Hour), now.Add(24*time.Hour), opts, func(t *template) {
		t.DNSNames = []string{name}
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.BasicConstraintsValid = true
	})
	der := t.sign(a.Cert, a.Key)
	return &Leaf{Cert: parse(der), Chain: append([][]byte{der}, a.Chain...), Key: t.key, pkcs8: t.pkcs8}
}

// SelfSigned makes a leaf that nobody vouches for.
func SelfSigned(name string, opts ...Option) *Leaf {
	now := time.Now()
	t := newTemplate(name, now.Add(-time.Hour), now.Add(24*time.Hour), opts, func(t *template) {
		t.DNSNames = []string{name}
		t.KeyUsage = x509.KeyUsageDigitalSignature
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.BasicConstraintsValid = true
	})
	der := t.sign(nil, nil)
	return &Leaf{Cert: parse(der), Chain: [][]byte{der}, Key: t.key, pkcs8: t.pkcs8}
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.DER) }

// WriteFile writes the authority's certificate as PEM.
func (a *Authority) WriteFile(path string) error { return os.WriteFile(path, a.PEM(), 0o644) }

// CertPEM is the chain, the leaf first.
func (l *Leaf) CertPEM() []byte {
	var out []byte
	for _, der := range l.Chain {
		out = append(out, encode("CERTIFICATE", der)...)
	}
	return out
}

// KeyPEM is the key in PKCS#8.
func (l *Leaf) KeyPEM() []byte {
	der := l.pkcs8
	if der == nil {
		var err error
		if der, err = suite.MarshalPrivateKey(l.Key); err != nil {
			panic(err)
		}
	}
	return encode("PRIVATE KEY", der)
}

// WriteFiles writes base.crt (the chain) and base.key (0600) to dir, each at
// once, the key first, as a careful issuer does.
func (l *Leaf) WriteFiles(dir, base string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, base+".crt"), filepath.Join(dir, base+".key")
	if err := replace(keyFile, l.KeyPEM(), 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, replace(certFile, l.CertPEM(), 0o644)
}

func replace(path string, b []byte, mode os.FileMode) error {
	if err := os.WriteFile(path+".new", b, mode); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// template is a certificate in the making.
type template struct {
	x509.Certificate
	key   crypto.Signer
	pss   bool
	pkcs8 []byte
	// logs promise to publish what is made.
	logs     []*Log
	loggedAt time.Time
}

// Option changes what is made.
type Option func(*template)

// Key makes the key of a kind: p224, p256, p384, p521, ed25519, rsa1024, rsa2048,
// rsa3072, rsa4096, rsapss2048 (id-RSASSA-PSS), mldsa44, mldsa65 or mldsa87. RSA keys of a size are made
// once for the whole process and shared: they take long.
func Key(kind string) Option {
	return func(t *template) { t.key, t.pss = newKey(kind), strings.HasPrefix(kind, "rsapss") }
}

// WithKey uses a key that is there.
func WithKey(key crypto.Signer) Option { return func(t *template) { t.key, t.pss = key, false } }

// Valid sets both ends of the certificate's life.
func Valid(notBefore, notAfter time.Time) Option {
	return func(t *template) { t.NotBefore, t.NotAfter = notBefore, notAfter }
}

// Lifetime ends the certificate d from now; a negative d makes one that ended.
func Lifetime(d time.Duration) Option {
	return func(t *template) {
		t.NotAfter = time.Now().Add(d)
		if !t.NotBefore.Before(t.NotAfter) {
			t.NotBefore = t.NotAfter.Add(-time.Hour)
		}
	}
}

// Names sets the DNS names, instead of the name given; none removes them.
func Names(dns ...string) Option { return func(t *template) { t.DNSNames = dns } }

// IPs sets the IP addresses.
func IPs(ips ...string) Option {
	return func(t *template) {
		for _, s := range ips {
			t.IPAddresses = append(t.IPAddresses, net.ParseIP(s))
		}
	}
}

// URIs sets the URIs, SPIFFE IDs among them.
func URIs(uris ...string) Option {
	return func(t *template) {
		for _, s := range uris {
			u, err := url.Parse(s)
			if err != nil {
				panic(err)
			}
			t.URIs = append(t.URIs, u)
		}
	}
}

// CommonName sets the subject's common name.
func CommonName(name string) Option { return func(t *template) { t.Subject.CommonName = name } }

// Subject sets the subject.
func Subject(name pkix.Name) Option { return func(t *template) { t.Certificate.Subject = name } }

// Usage sets the extended key usages; none leaves the extension out.
func Usage(u ...x509.ExtKeyUsage) Option { return func(t *template) { t.ExtKeyUsage = u } }

// KeyUsage sets the key usages; 0 leaves the extension out.
func KeyUsage(u x509.KeyUsage) Option { return func(t *template) { t.Certificate.KeyUsage = u } }

// Serial sets the serial number, which else is random.
func Serial(n *big.Int) Option { return func(t *template) { t.SerialNumber = n } }

// CA says whether it is an authority by its basic constraints.
func CA(is bool) Option {
	return func(t *template) { t.IsCA, t.BasicConstraintsValid = is, true }
}

// PathLen sets the path length constraint.
func PathLen(n int) Option {
	return func(t *template) { t.MaxPathLen, t.MaxPathLenZero = n, n == 0 }
}

// NameConstraints permits only these DNS subtrees.
func NameConstraints(dns ...string) Option {
	return func(t *template) { t.PermittedDNSDomains, t.PermittedDNSDomainsCritical = dns, true }
}

// CriticalExtension adds a critical extension that nobody knows.
func CriticalExtension(oid ...int) Option {
	return func(t *template) {
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oid, Critical: true, Value: []byte{5, 0}})
	}
}

// Extension adds an extension.
func Extension(e pkix.Extension) Option {
	return func(t *template) { t.ExtraExtensions = append(t.ExtraExtensions, e) }
}

// Lists gives places of revocation lists, each a distribution point of its own.
func Lists(urls ...string) Option {
	return func(t *template) { t.CRLDistributionPoints = urls }
}

// Responders gives OCSP responders.
func Responders(urls ...string) Option {
	return func(t *template) { t.OCSPServer = urls }
}

func authority(t *template) {
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.MaxPathLen = -1
}

func newTemplate(name string, from, to time.Time, opts []Option, shape Option) *template {
	t := &template{}
	t.Certificate.Subject = pkix.Name{CommonName: name}
	t.NotBefore, t.NotAfter = from, to
	shape(t)
	for _, o := range opts {
		o(t)
	}
	if t.key == nil {
		t.key = newKey("p256")
	}
	if t.SerialNumber == nil {
		var b [16]byte
		_, _ = rand.Read(b[:])
		b[0] = b[0]&0x7f | 1 // positive, and of full length
		t.SerialNumber = new(big.Int).SetBytes(b[:])
	}
	return t
}

// sign makes the certificate; without an issuer it signs itself.
func (t *template) sign(issuer *x509.Certificate, key crypto.Signer) []byte {
	if issuer == nil {
		issuer, key = &t.Certificate, t.key
	}
	if t.logs != nil {
		t.logged(issuer, key)
	}
	der, err := sign.Certificate(nil, &t.Certificate, issuer, t.key.Public(), key)
	if err != nil {
		panic(fmt.Sprintf("mint: %v", err))
	}
	if t.pss {
		der = asPSS(der, key)
		pkcs8, err := x509.MarshalPKCS8PrivateKey(t.key)
		if err != nil {
			panic(err)
		}
		t.pkcs8 = exchange(pkcs8, rsaEncryption, idRSASSAPSS)
	}
	return der
}

func parse(der []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return c
}

func newKey(kind string) crypto.Signer {
	postQuantum := map[string]mldsa.Parameters{"mldsa44": mldsa.MLDSA44(), "mldsa65": mldsa.MLDSA65(), "mldsa87": mldsa.MLDSA87()}
	curves := map[string]elliptic.Curve{"p224": elliptic.P224(), "p256": elliptic.P256(), "p384": elliptic.P384(), "p521": elliptic.P521()}
	switch bits := map[string]int{"rsa1024": 1024, "rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096, "rsapss2048": 2048}[kind]; {
	case curves[kind] != nil:
		k, err := ecdsa.GenerateKey(curves[kind], rand.Reader)
		return must(k, err)
	case kind == "ed25519":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return must(k, err)
	case bits > 0:
		return rsaKey(bits)
	case postQuantum[kind] != mldsa.Parameters{}:
		k, err := mldsa.GenerateKey(postQuantum[kind])
		return must(k, err)
	}
	panic("mint: no key is of the kind " + kind)
}

func must[K crypto.Signer](k K, err error) crypto.Signer {
	if err != nil {
		panic(err)
	}
	return k
}

var rsaKeys struct {
	sync.Mutex
	of map[int]*rsa.PrivateKey
}

func rsaKey(bits int) *rsa.PrivateKey {
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	if k := rsaKeys.of[bits]; k != nil {
		return k
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	if rsaKeys.of == nil {
		rsaKeys.of = make(map[int]*rsa.PrivateKey)
	}
	rsaKeys.of[bits] = k
	return k
}

var (
	rsaEncryption = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	idRSASSAPSS   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
)
