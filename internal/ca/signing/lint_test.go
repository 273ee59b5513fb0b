package signing

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
)

func TestWhatEveryCertificateKeepsIsJudgedOnItsFinalBytes(t *testing.T) {
	w := newWorld(t)
	if _, err := w.issuer.Judge(Leaf, w.grant, w.bytes(w.leaf())); err != nil {
		t.Fatalf("the certificate that breaks nothing is refused: %v", err)
	}
	rsaKey := func(bits int) []byte {
		if bits < 2048 || bits > 4096 {
			// Nobody has to have the private half.
			n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
			b, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return w.spki(key)
	}
	covered := map[string]bool{}
	template := func(rule string, change func(*Template)) {
		t.Helper()
		x := w.leaf()
		change(x)
		w.breaks(rule, Leaf, w.grant, w.bytes(x))
		covered[rule] = true
	}
	taken := func(rule string, change func(*pieces)) {
		t.Helper()
		p := takeApart(t, w.bytes(w.leaf()))
		change(p)
		w.breaks(rule, Leaf, w.grant, p.bytes())
		covered[rule] = true
	}

	// No SAN, and what is wrong among them.
	taken("extensions", func(p *pieces) { p.drop(oidSAN) })
	taken("names", func(p *pieces) {
		p.ext(oidSAN).value = names(func(n func(int, string)) { n(6, w.grant.SPIFFE) })
	})
	taken("names", func(p *pieces) {
		p.ext(oidSAN).value = names(func(n func(int, string)) { n(2, "web") })
	})
	taken("names", func(p *pieces) {
		p.ext(oidSAN).value = names(func(n func(int, string)) { n(2, "web"); n(6, w.grant.SPIFFE); n(6, "spiffe://prod.example/orders") })
	})
	taken("names", func(p *pieces) {
		p.ext(oidSAN).value = names(func(n func(int, string)) { n(2, "web"); n(6, w.grant.SPIFFE); n(1, "web@example.com") })
	})
	template("names", func(x *Template) { x.DNS = []string{"web", "web"} })
	for _, name := range []string{"*", "w*.example", "*.*.example", "-web", "a..b", "Web", "web.", "we b", strings.Repeat("a", 64), "wäb", "10.0.0.1"} {
		template("name-forms", func(x *Template) { x.DNS = []string{"web", name} })
	}
	for _, id := range []string{"spiffe://prod.example", "spiffe://prod.example/", "spiffe://Prod.example/web", "https://prod.example/web", "spiffe://prod.example/a/../b"} {
		template("name-forms", func(x *Template) { x.SPIFFE = id })
	}
	taken("well-formed", func(p *pieces) {
		p.ext(oidSAN).value = names(func(n func(int, string)) { n(2, "web"); n(6, w.grant.SPIFFE); n(7, "abc") })
	})
	template("common-name", func(x *Template) { x.Subject = Name("orders") })
	for _, name := range []string{"authority", "console", "gateway"} {
		template("reserved-names", func(x *Template) { x.DNS = []string{"web", name} })
		template("reserved-names", func(x *Template) { x.SPIFFE = "spiffe://prod.example/" + name })
		template("reserved-names", func(x *Template) { x.SPIFFE = "spiffe://prod.example/" + name + "/x" })
	}
	template("names-granted", func(x *Template) { x.DNS = []string{"web", "orders"} })
	template("names-granted", func(x *Template) { x.SPIFFE = "spiffe://prod.example/orders" })
	template("names-granted", func(x *Template) { x.IPs = append(slices.Clone(x.IPs), x.IPs[0].Next()) })
	template("names-granted", func(x *Template) { x.DNS = []string{"web", "*.example"} })

	// Serial numbers, times.
	taken("serial", func(p *pieces) { p.serial = []byte("\x02\x09\xc0serial!!") })
	taken("serial", func(p *pieces) { p.serial = []byte("\x02\x01\x00") })
	template("serial", func(x *Template) { x.Serial = new(big.Int).SetBytes([]byte("\x40twenty-one octets...")) })
	template("serial", func(x *Template) { x.Serial = big.NewInt(7) })
	template("issuer-end", func(x *Template) { x.NotAfter = w.issuer.Certificate.NotAfter().Add(time.Second) })
	template("lifetime", func(x *Template) { x.NotAfter = w.now.Add(Leaf.Longest + time.Second) })
	template("lifetime", func(x *Template) { x.NotAfter = w.now.Add(Leaf.Shortest - time.Second) })
	template("validity", func(x *Template) { x.NotBefore = x.NotAfter })

	// Authority, usages, extensions.
	taken("basic-constraints", func(p *pieces) { p.ext(oidBasic).value = []byte("\x30\x03\x01\x01\xff") })
	for _, usage := range []string{"\x03\x02\x02\x84", "\x03\x02\x01\x82", "\x03\x02\x05\xa0", "\x03\x02\x00\x80", "\x03\x01\x00"} {
		taken("key-usage", func(p *pieces) { p.ext(oidKeyUsage).value = []byte(usage) })
	}
	const server, client, every = "\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01", "\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02", "\x06\x04\x55\x1d\x25\x00"
	for _, list := range []string{server, client, server + client + every, client + server, server + client + client, every} {
		taken("usages", func(p *pieces) { p.ext(oidUsages).value = append([]byte{0x30, byte(len(list))}, list...) })
	}
	for _, oid := range []string{oidBasic, oidKeyUsage, oidUsages, oidSubjectKeyID, oidAuthorityKeyID} {
		taken("extensions", func(p *pieces) { p.drop(oid) })
		taken("extensions", func(p *pieces) { p.extensions = append(p.extensions, *p.ext(oid)) })
	}
	for _, critical := range []bool{true, false} {
		taken("extensions", func(p *pieces) {
			p.extensions = append(p.extensions, ext{"\x2a\x03\x04", critical, []byte("\x05\x00")})
		})
	}
	taken("critical", func(p *pieces) { p.ext(oidBasic).critical = false })
	taken("critical", func(p *pieces) { p.ext(oidUsages).critical = true })
	taken("critical", func(p *pieces) { p.subject = Name("") }) // then the SANs have to be
	template("key-identifiers", func(x *Template) { x.AuthorityKeyID = []byte("someone else's key..") })
	taken("key-identifiers", func(p *pieces) { p.ext(oidSubjectKeyID).value = []byte("\x04\x03abc") })

	// Keys, algorithm, issuer, form.
	template("key", func(x *Template) { x.SPKI = rsaKey(1024) })
	template("key", func(x *Template) { x.SPKI = rsaKey(2040) })
	template("key", func(x *Template) { x.SPKI = rsaKey(8200) })
	template("key", func(x *Template) { x.SPKI = []byte(p224) })
	template("key-of-authority", func(x *Template) { x.SPKI = w.issuer.SPKI() })
	root := w.grant
	root.AuthorityKey = func(sum [32]byte) bool { return sum == sha256.Sum256(w.root.SPKI()) }
	x := w.leaf()
	x.SPKI = w.root.SPKI()
	w.breaks("key-of-authority", Leaf, root, w.bytes(x))
	template("signature-algorithm", func(x *Template) { x.Algorithm = []byte("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03") })
	template("signature-algorithm", func(x *Template) { x.Algorithm = []byte("\x30\x05\x06\x03\x2b\x65\x70") })
	template("issuer-name", func(x *Template) { x.Issuer = Name("another") })
	taken("version", func(p *pieces) { p.version = []byte("\xa0\x03\x02\x01\x01") })
	taken("subject", func(p *pieces) { // an organisation
		p.subject = []byte("\x30\x0c\x31\x0a\x30\x08\x06\x03\x55\x04\x0a\x0c\x01x")
	})
	taken("subject", func(p *pieces) {
		one := "\x31\x0c\x30\x0a\x06\x03\x55\x04\x03\x0c\x03web"
		p.subject = append([]byte{0x30, byte(2 * len(one))}, one+one...)
	})
	template("subject", func(x *Template) { x.Subject = Name(strings.Repeat("a", 65)) })
	for _, b := range [][]byte{nil, {0x30, 0}, append(w.bytes(w.leaf()), 0)} {
		w.breaks("well-formed", Leaf, w.grant, b)
	}

	// Who may sign what.
	w.breaks("profile-of-issuer", Issuer, w.grant, w.bytes(w.leaf()))
	w.breaks("profile-of-issuer", Root, w.grant, w.bytes(w.leaf()))
	covered["profile-of-issuer"] = true
	x = w.leaf()
	x.Issuer, x.AuthorityKeyID = w.root.Certificate.X509.RawSubject, w.root.Certificate.X509.SubjectKeyId
	var broken *Broken
	if _, err := w.root.Judge(Leaf, w.grant, w.bytes(x)); !errors.As(err, &broken) || broken.Rule != "profile-of-issuer" {
		t.Errorf("a root's leaf: %v", err)
	}
	for _, r := range rules {
		if !covered[r.name] {
			t.Errorf("no certificate here breaks the rule %q", r.name)
		}
	}
}

// p224 is a public key on a curve that is none of ours.
const p224 = "\x30\x4e\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x21\x03\x3a\x00\x04" +
	"\xb7\x0e\x0c\xbd\x6b\xb4\xbf\x7f\x32\x13\x90\xb9\x4a\x03\xc1\xd3\x56\xc2\x11\x22\x34\x32\x80\xd6\x11\x5c\x1d\x21" +
	"\xbd\x37\x63\x88\xb5\xf7\x23\xfb\x4c\x22\xdf\xe6\xcd\x43\x75\xa0\x5a\x07\x47\x64\x44\xd5\x81\x99\x85\x00\x7e\x34"

// breaks wants the bytes refused by one rule; where the others come after it, they
// have nothing to say.
func (w *world) breaks(rule string, p *Profile, g Grant, tbs []byte) {
	w.Helper()
	_, err := w.issuer.Judge(p, g, tbs)
	var broken *Broken
	if !errors.As(err, &broken) || broken.Rule != rule {
		w.Errorf("%v, expected the rule %q to be broken", err, rule)
	}
}

func TestTheServingProfileIsTheAuthoritysOwn(t *testing.T) {
	w := newWorld(t)
	g := Grant{SPIFFE: "spiffe://prod.example/authority", DNS: []string{"authority"}}
	x := w.leaf()
	x.Profile, x.DNS, x.IPs, x.SPIFFE, x.Subject = Serving, g.DNS, nil, g.SPIFFE, Name("authority")
	if _, err := w.issuer.Judge(Serving, g, w.bytes(x)); err != nil {
		t.Error(err)
	}
	w.breaks("usages", Leaf, g, w.bytes(x))
	x = w.leaf()
	x.Profile = Serving
	w.breaks("reserved-names", Serving, w.grant, w.bytes(x))
}

func TestLeaveIsForOneSignatureByOneKeyOverThoseBytes(t *testing.T) {
	w := newWorld(t)
	tbs := w.bytes(w.leaf())
	judge := func() *Judged {
		j, err := w.issuer.Judge(Leaf, w.grant, tbs)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	for _, l := range []*Leave{nil, {}, {by: nil, bytes: tbs}} {
		if _, err := w.issuer.Sign(l); err == nil {
			t.Error("signed without leave")
		}
	}
	// What could not be recorded is not signed.
	failed := errors.New("the disk is full")
	j := judge()
	if l, err := j.Record(func() error { return failed }); !errors.Is(err, failed) || l != nil {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := j.Record(func() error { return nil }); err == nil {
		t.Error("recorded twice")
	}

	l, err := judge().Record(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.root.Sign(l); err == nil {
		t.Error("another key signed")
	}
	if _, err := w.issuer.Sign(l); err == nil {
		t.Error("leave that was refused once was good again")
	}
	if l, err = judge().Record(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.issuer.Sign(l); err != nil {
		t.Error(err)
	}
	if _, err := w.issuer.Sign(l); err == nil {
		t.Error("signed twice by one leave")
	}

	// Whoever kept the bytes can't change what is signed.
	j = judge()
	tbs[40] ^= 1
	if l, err = j.Record(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if b, err := w.issuer.Sign(l); err != nil || strings.Contains(string(b), string(tbs)) {
		t.Errorf("changed bytes were signed: %v", err)
	}
	w.issuer.Close()
	tbs[40] ^= 1
	if l, err = judge().Record(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.issuer.Sign(l); err == nil {
		t.Error("a closed key signed")
	}
}

func TestOnlyARootSignsStatements(t *testing.T) {
	w := newWorld(t)
	if _, err := w.issuer.JudgeStatement([]byte("{}")); err == nil {
		t.Error("an issuer may")
	}
	if _, err := w.root.JudgeStatement([]byte("{}")); err != nil {
		t.Error(err)
	}
	if _, err := w.root.JudgeStatement(make([]byte, api.MaxStatement+1)); err == nil {
		t.Error("a huge one is taken")
	}
}

func TestAListIsItsIssuersOwn(t *testing.T) {
	w := newWorld(t)
	good := ListTemplate{Issuer: w.issuer.Certificate.X509.RawSubject, Algorithm: w.issuer.Algorithm(), AuthorityKeyID: w.issuer.Certificate.X509.SubjectKeyId,
		Number: 7, ThisUpdate: w.now, NextUpdate: w.now.Add(time.Hour), Revoked: []Revoked{{serial(), w.now}}}
	b, err := good.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	j, err := w.issuer.JudgeList(b)
	if err != nil {
		t.Fatal(err)
	}
	l, err := j.Record(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	signed, err := w.issuer.Sign(l)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(signed)
	if err != nil || list.CheckSignatureFrom(w.issuer.Certificate.X509) != nil || list.Number.Int64() != 7 || len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	for what, change := range map[string]func(*ListTemplate){
		"another issuer":    func(t *ListTemplate) { t.Issuer = Name("another") },
		"another algorithm": func(t *ListTemplate) { t.Algorithm = []byte("\x30\x05\x06\x03\x2b\x65\x70") },
		"no time":           func(t *ListTemplate) { t.NextUpdate = t.ThisUpdate },
		"after its issuer":  func(t *ListTemplate) { t.ThisUpdate = w.now.Add(4 * year); t.NextUpdate = w.now.Add(5 * year) },
	} {
		x := good
		change(&x)
		b, err := x.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.issuer.JudgeList(b); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if _, err := w.issuer.JudgeList(nil); err == nil {
		t.Error("nothing is taken for a list")
	}
}

func FuzzJudge(f *testing.F) {
	w := newWorld(f)
	f.Add(w.bytes(w.leaf()))
	f.Fuzz(func(t *testing.T, tbs []byte) {
		if _, err := w.issuer.Judge(Leaf, w.grant, tbs); err != nil {
			return
		}
		// What passes is a certificate by the standard library's reading, too, and
		// says nothing that was not granted.
		j, _ := w.issuer.Judge(Leaf, w.grant, tbs)
		l, err := j.Record(func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.issuer.Sign(l)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(b)
		if err != nil {
			t.Fatalf("what passed the rules does not parse: %v", err)
		}
		if c.IsCA || len(c.URIs) != 1 || c.URIs[0].String() != w.grant.SPIFFE {
			t.Errorf("%+v", c)
		}
	})
}
