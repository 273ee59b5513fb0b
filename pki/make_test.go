package pki

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
	"encoding/asn1"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/mutual-tls/mutual/pki/sign"
)

// now is the time in all tests of this package.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// entity is a certificate with its key, that may issue others.
type entity struct {
	*Certificate
	key crypto.Signer
}

type option func(*request)

// request is what is asked of issue.
type request struct {
	x509.Certificate
	key    crypto.Signer
	signer crypto.Signer // instead of the issuer's key
	edit   func(*tbs)    // changes what the template can't say
}

func p256() crypto.Signer { return ec(elliptic.P256()) }

func ec(c elliptic.Curve) crypto.Signer {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

func ed() crypto.Signer {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}

var rsaKeys sync.Map

// rsaKey is made once for each size and number: RSA keys are slow to make.
func rsaKey(bits, number int) crypto.Signer {
	if k, ok := rsaKeys.Load([2]int{bits, number}); ok {
		return k.(crypto.Signer)
	}
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	have, _ := rsaKeys.LoadOrStore([2]int{bits, number}, crypto.Signer(k))
	return have.(crypto.Signer)
}

var serials struct {
	sync.Mutex
	n int64
}

func root(t testing.TB, name string, opts ...option) *entity {
	return issue(t, nil, name, append([]option{authority}, opts...)...)
}

func (e *entity) intermediate(t testing.TB, name string, opts ...option) *entity {
	return issue(t, e, name, append([]option{authority}, opts...)...)
}

// leaf stands for the DNS name, and for both ends.
func (e *entity) leaf(t testing.TB, name string, opts ...option) *entity {
	return issue(t, e, name, append([]option{func(r *request) {
		r.DNSNames = []string{name}
		r.KeyUsage = x509.KeyUsageDigitalSignature
		r.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		r.BasicConstraintsValid = true
	}}, opts...)...)
}

func authority(r *request) {
	r.IsCA, r.BasicConstraintsValid = true, true
	r.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
}

func issue(t testing.TB, by *entity, name string, opts ...option) *entity {
	t.Helper()
	serials.Lock()
	serials.n++
	serial := serials.n
	serials.Unlock()
	r := &request{Certificate: x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
	}}
	for _, o := range opts {
		o(r)
	}
	if r.key == nil {
		r.key = p256()
	}
	parent, signer := &r.Certificate, r.key
	if by != nil {
		parent, signer = by.X509, by.key
	}
	if r.signer != nil {
		signer = r.signer
		if by != nil { // CreateCertificate wants the parent to have the signer's key
			copied := *by.X509
			copied.PublicKey, copied.RawSubjectPublicKeyInfo = nil, nil
			parent = &copied
		}
	}
	b, err := sign.Certificate(nil, &r.Certificate, parent, r.key.Public(), signer)
	if err != nil {
		t.Fatalf("make certificate %q: %v", name, err)
	}
	if r.edit != nil {
		b = remake(t, b, signer, r.edit)
	}
	c, err := Parse(b)
	if err != nil {
		t.Fatalf("parse certificate %q: %v", name, err)
	}
	return &entity{c, r.key}
}

// tbs is a TBSCertificate (RFC 5280, section 4.1) in parts.
type tbs struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Algorithm  asn1.RawValue
	Issuer     asn1.RawValue
	Validity   asn1.RawValue
	Subject    asn1.RawValue
	Key        asn1.RawValue
	Extensions []pkix.Extension `asn1:"optional,explicit,tag:3"`
}

var ecdsaWithSHA256 = []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}

// remake edits a certificate and signs it again; the algorithm follows the signer.
func remake(t testing.TB, der []byte, signer crypto.Signer, edit func(*tbs)) []byte {
	t.Helper()
	var whole struct {
		TBS       tbs
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &whole); err != nil {
		t.Fatal(err)
	}
	edit(&whole.TBS)
	body, err := asn1.Marshal(whole.TBS)
	if err != nil {
		t.Fatal(err)
	}
	var sig []byte
	switch k := signer.(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, body)
	case *mldsa.PrivateKey:
		sig, err = k.Sign(nil, body, &mldsa.Options{})
	case *rsa.PrivateKey:
		sum := sha256.Sum256(body)
		if _, pss := pssAlgorithms[string(whole.TBS.Algorithm.FullBytes)]; pss {
			sig, err = k.Sign(rand.Reader, sum[:], &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256})
		} else {
			sig, err = k.Sign(rand.Reader, sum[:], crypto.SHA256)
		}
	default:
		sum := sha256.Sum256(body)
		sig, err = signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: body}, whole.TBS.Algorithm, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pss256 is RSASSA-PSS with SHA-256 and a salt of 32 bytes, as OpenSSL writes it.
func pss256() []byte {
	for der, name := range pssAlgorithms {
		if name == "RSASSA-PSS with SHA256" && len(der) == 67 {
			return []byte(der)
		}
	}
	panic("no such algorithm")
}

// pssKeyOption gives the certificate an id-RSASSA-PSS key; parameters may be nil.
func pssKeyOption(key crypto.Signer, parameters []byte) option {
	return func(r *request) {
		r.key = key
		r.edit = func(b *tbs) {
			algorithm := append([]byte{0x06, 9}, oidPSS...)
			algorithm = append(algorithm, parameters...)
			der, err := asn1.Marshal(struct {
				Algorithm asn1.RawValue
				Key       asn1.BitString
			}{
				asn1.RawValue{Class: 0, Tag: 16, IsCompound: true, Bytes: algorithm},
				asn1.BitString{Bytes: x509.MarshalPKCS1PublicKey(key.Public().(*rsa.PublicKey)), BitLength: 8 * len(x509.MarshalPKCS1PublicKey(key.Public().(*rsa.PublicKey)))},
			})
			if err != nil {
				panic(err)
			}
			b.Key = asn1.RawValue{FullBytes: der}
		}
	}
}

func withKey(k crypto.Signer) option { return func(r *request) { r.key = k } }
func valid(from, to time.Duration) option {
	return func(r *request) { r.NotBefore, r.NotAfter = now.Add(from), now.Add(to) }
}
func dns(names ...string) option { return func(r *request) { r.DNSNames = names } }
func ips(a ...string) option {
	return func(r *request) {
		r.DNSNames = nil
		for _, s := range a {
			r.IPAddresses = append(r.IPAddresses, net.ParseIP(s))
		}
	}
}
func uris(a ...string) option {
	return func(r *request) {
		for _, s := range a {
			u, err := url.Parse(s)
			if err != nil {
				panic(err)
			}
			r.URIs = append(r.URIs, u)
		}
	}
}
func usage(u ...x509.ExtKeyUsage) option { return func(r *request) { r.ExtKeyUsage = u } }
func keyUsage(u x509.KeyUsage) option    { return func(r *request) { r.KeyUsage = u } }
func signedWith(a x509.SignatureAlgorithm) option {
	return func(r *request) { r.SignatureAlgorithm = a }
}
func organization(o string) option {
	return func(r *request) { r.Subject.Organization = []string{o} }
}
func extension(critical bool, value []byte, oid ...int) option {
	return func(r *request) {
		r.ExtraExtensions = append(r.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
}

// tlv is one element of DER.
func tlv(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	case n < 0x10000:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	default:
		return append([]byte{tag, 0x83, byte(n >> 16), byte(n >> 8), byte(n)}, body...)
	}
}

// oidDER is an OID with dots in DER.
func oidDER(dotted string) []byte {
	b, ok := policyOID(dotted)
	if !ok {
		panic("no OID: " + dotted)
	}
	return tlv(6, []byte(b))
}

// asserts gives the certificate policies; "any" is anyPolicy.
func asserts(oids ...string) option {
	var all []byte
	for _, o := range oids {
		if o == "any" {
			o = "2.5.29.32.0"
		}
		all = append(all, tlv(0x30, oidDER(o))...)
	}
	return extension(false, tlv(0x30, all), 2, 5, 29, extPolicies)
}

// maps gives policy mappings, issuer and subject in turn.
func maps(oids ...string) option {
	var all []byte
	for i := 0; i < len(oids); i += 2 {
		all = append(all, tlv(0x30, oidDER(oids[i]), oidDER(oids[i+1]))...)
	}
	return extension(true, tlv(0x30, all), 2, 5, 29, extMappings)
}

// policyConstraints with -1 for absent.
func policyConstraints(explicit, mapping int) option {
	var all []byte
	if explicit >= 0 {
		all = append(all, tlv(0x80, []byte{byte(explicit)})...)
	}
	if mapping >= 0 {
		all = append(all, tlv(0x81, []byte{byte(mapping)})...)
	}
	return extension(true, tlv(0x30, all), 2, 5, 29, extPolicyConstraints)
}

func inhibitAny(n byte) option { return extension(true, []byte{2, 1, n}, 2, 5, 29, extInhibitAny) }

func network(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

// list is a revocation list of the entity's that holds the certificates.
func (e *entity) list(t testing.TB, edit func(*x509.RevocationList), revoked ...*Certificate) *RevocationList {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.X509.SerialNumber, RevocationTime: now.Add(-2 * time.Hour)})
	}
	if edit != nil {
		edit(l)
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, e.X509, e.key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRevocationList(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func edited(f func(*tbs)) option { return func(r *request) { r.edit = f } }

// without leaves out an extension 2.5.29.arc.
func without(arcs ...int) option {
	return edited(func(b *tbs) {
		var kept []pkix.Extension
		for _, e := range b.Extensions {
			drop := false
			for _, a := range arcs {
				drop = drop || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, a})
			}
			if !drop {
				kept = append(kept, e)
			}
		}
		b.Extensions = kept
	})
}

func chain(es ...*entity) []*Certificate {
	out := make([]*Certificate, len(es))
	for i, e := range es {
		out[i] = e.Certificate
	}
	return out
}

func anchors(es ...*entity) *Anchors { return NewAnchors(chain(es...)...) }

// standing is a path as most are: leaf "api.internal", an intermediate, a root.
type standing struct{ root, inter, leaf *entity }

func stand(t testing.TB) standing {
	r := root(t, "Example Root", organization("Example"))
	i := r.intermediate(t, "Example Issuing 1", organization("Example"))
	return standing{r, i, i.leaf(t, "api.internal")}
}

func (s standing) question() Question {
	return Question{Chain: chain(s.leaf, s.inter), Anchors: anchors(s.root), Purpose: ForServer, Name: "api.internal", At: now}
}
