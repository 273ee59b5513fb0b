package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/pki"
)

// world has a root, an issuer under it, and a leaf to be.
type world struct {
	testing.TB
	root, issuer *Signer
	issuerKey    crypto.Signer
	now          time.Time
	grant        Grant
}

func newWorld(t testing.TB) *world {
	w := &world{TB: t, now: time.Now().UTC().Truncate(time.Second)}
	w.grant = Grant{SPIFFE: "spiffe://prod.example/web", DNS: []string{"web", "*.web.example"}, IPs: []netip.Addr{netip.MustParseAddr("10.0.0.7")}}
	key := w.key()
	own, err := New(key, nil, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := KeyID(own.SPKI())
	if err != nil {
		t.Fatal(err)
	}
	c := w.certify(own, &Template{Profile: Root, Issuer: Name("root"), Subject: Name("root"), SPKI: own.SPKI(), AuthorityKeyID: id,
		NotBefore: w.now.Add(-Backdate), NotAfter: w.now.Add(Root.Lifetime)})
	if w.root, err = New(key, c, rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.issuerKey = w.key()
	c = w.certify(w.root, w.issuerTemplate(w.issuerKey))
	if w.issuer, err = New(w.issuerKey, c, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) key() crypto.Signer {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	return key
}

func (w *world) spki(key crypto.Signer) []byte {
	w.Helper()
	b, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func serial() *big.Int { return new(big.Int).SetBytes([]byte("\x40 seventeen bytes")) }

func (w *world) issuerTemplate(key crypto.Signer) *Template {
	w.Helper()
	return &Template{Profile: Issuer, Issuer: w.root.Certificate.X509.RawSubject, Subject: Name("issuer"), SPKI: w.spki(key),
		AuthorityKeyID: w.root.Certificate.X509.SubjectKeyId, NotBefore: w.now.Add(-Backdate), NotAfter: w.now.Add(Issuer.Lifetime)}
}

// leaf is what the rules have nothing against.
func (w *world) leaf() *Template {
	w.Helper()
	return &Template{Profile: Leaf, Serial: serial(), Issuer: w.issuer.Certificate.X509.RawSubject, Subject: Name("web"), SPKI: w.spki(w.key()),
		DNS: w.grant.DNS, IPs: w.grant.IPs, SPIFFE: w.grant.SPIFFE, AuthorityKeyID: w.issuer.Certificate.X509.SubjectKeyId,
		Algorithm: w.issuer.Algorithm(), NotBefore: w.now.Add(-Backdate), NotAfter: w.now.Add(24 * time.Hour)}
}

func (w *world) bytes(t *Template) []byte {
	w.Helper()
	b, err := t.Bytes()
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func (w *world) certify(by *Signer, t *Template) *pki.Certificate {
	w.Helper()
	t.Serial, t.Algorithm = serial(), by.Algorithm()
	j, err := by.Judge(t.Profile, w.grant, w.bytes(t))
	if err != nil {
		w.Fatal(err)
	}
	l, err := j.Record(func() error { return nil })
	if err != nil {
		w.Fatal(err)
	}
	b, err := by.Sign(l)
	if err != nil {
		w.Fatal(err)
	}
	c, err := pki.Parse(b)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// pieces are a TBSCertificate taken apart, to be put together otherwise.
type pieces struct {
	version, serial, algorithm, issuer, validity, subject, spki []byte
	extensions                                                  []ext
}

type ext struct {
	oid      string
	critical bool
	value    []byte
}

func takeApart(t testing.TB, tbs []byte) *pieces {
	t.Helper()
	in := cryptobyte.String(tbs)
	var body, version, serial, algorithm, issuer, validity, subject, spki cryptobyte.String
	if !in.ReadASN1(&body, der.SEQUENCE) || !body.ReadAnyASN1Element(&version, nil) || !body.ReadAnyASN1Element(&serial, nil) ||
		!body.ReadAnyASN1Element(&algorithm, nil) || !body.ReadAnyASN1Element(&issuer, nil) || !body.ReadAnyASN1Element(&validity, nil) ||
		!body.ReadAnyASN1Element(&subject, nil) || !body.ReadAnyASN1Element(&spki, nil) {
		t.Fatal("the test's own certificate does not parse")
	}
	p := &pieces{version: version, serial: serial, algorithm: algorithm, issuer: issuer, validity: validity, subject: subject, spki: spki}
	c, err := read(tbs)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range c.extensions {
		p.extensions = append(p.extensions, ext{x.oid, x.critical, x.value})
	}
	return p
}

func (p *pieces) bytes() []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, piece := range [][]byte{p.version, p.serial, p.algorithm, p.issuer, p.validity, p.subject, p.spki} {
			b.AddBytes(piece)
		}
		b.AddASN1(der.Tag(3).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, x := range p.extensions {
					addExtension(b, x.oid, x.critical, func(b *cryptobyte.Builder) { b.AddBytes(x.value) })
				}
			})
		})
	})
	return b.BytesOrPanic()
}

func (p *pieces) ext(oid string) *ext {
	for i := range p.extensions {
		if p.extensions[i].oid == oid {
			return &p.extensions[i]
		}
	}
	return nil
}

func (p *pieces) drop(oid string) {
	var out []ext
	for _, x := range p.extensions {
		if x.oid != oid {
			out = append(out, x)
		}
	}
	p.extensions = out
}

// names is the value of subject alternative names, written by hand.
func names(add func(name func(tag int, value string))) []byte {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		add(func(tag int, value string) {
			b.AddASN1(der.Tag(tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(value)) })
		})
	})
	return b.BytesOrPanic()
}
