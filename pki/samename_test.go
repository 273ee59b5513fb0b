package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// What RFC 5280, section 7.1, calls the same name, and what it does not.
func TestNamesAreComparedByWhatTheySay(t *testing.T) {
	base := []byte(dn("O=printable:Example Inc", "CN=printable:Issuing 1"))
	for _, c := range []struct {
		why  string
		name []byte
		same bool
	}{
		{"the same bytes", base, true},
		{"another kind of string", []byte(dn("O=Example Inc", "CN=Issuing 1")), true},
		{"a kind with two bytes for a letter", []byte(dn("O=bmp:Example Inc", "CN=bmp:Issuing 1")), true},
		{"another case", []byte(dn("O=printable:EXAMPLE inc", "CN=printable:issuing 1")), true},
		{"spaces that say nothing", []byte(dn("O=printable: Example  Inc", "CN=printable:Issuing 1 ")), true},
		{"letters of another width", []byte(dn("O=Ｅxample Inc", "CN=Issuing １")), true},
		{"a soft hyphen", []byte(dn("O=Exam\u00adple Inc", "CN=Issuing 1")), true},
		{"no space where there is one", []byte(dn("O=printable:ExampleInc", "CN=printable:Issuing 1")), false},
		{"another letter", []byte(dn("O=printable:Example Inc", "CN=printable:Issuing 2")), false},
		{"a letter that looks alike", []byte(dn("O=Exаmple Inc", "CN=Issuing 1")), false}, // Cyrillic
		{"fewer attributes", []byte(dn("O=printable:Example Inc")), false},
		{"more attributes", append(tlv(0x30, base[2:], tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, 11}, tlv(19, []byte("x"))))), nil...), false},
		{"another order", tlv(0x30, []byte(dn("O=printable:Example Inc", "CN=printable:Issuing 1"))[2+24:], base[2:2+24]), false},
		{"two attributes in one relative name", tlv(0x30, tlv(0x31,
			tlv(0x30, []byte{6, 3, 0x55, 4, 3}, tlv(19, []byte("Issuing 1"))),
			tlv(0x30, []byte{6, 3, 0x55, 4, 10}, tlv(19, []byte("Example Inc"))))), false},
		{"the same bytes that are no text", bytes.ReplaceAll(base, []byte{19}, []byte{4}), false},
		{"no name at all", []byte{4, 0}, false},
		{"nothing", []byte{0x30, 0}, false},
	} {
		if got := sameName(base, c.name); got != c.same || sameName(c.name, base) != c.same {
			t.Errorf("%s: %v", c.why, got)
		}
	}
	two := func(a, b byte) []byte {
		return tlv(0x30, tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, a}, tlv(12, []byte("x"))), tlv(0x30, []byte{6, 3, 0x55, 4, b}, tlv(12, []byte("x")))))
	}
	if !sameName(two(3, 10), two(10, 3)) {
		t.Error("the order of attributes within one relative name counts")
	}
	long := []byte(dn("CN=" + strings.Repeat("x", maxCompared)))
	if sameName(long, bytes.ReplaceAll(long, []byte("x"), []byte("X"))) || !sameName(long, bytes.Clone(long)) {
		t.Error("a long name is compared by more than its bytes")
	}
}

// A path whose issuers are written in another way than their authorities write
// themselves: people build such ones by making an authority anew with another tool.
func TestAPathIsFoundByNamesThatAreWrittenDifferently(t *testing.T) {
	issuedUnder := func(n []byte) option { return edited(func(b *tbs) { b.Issuer = asn1.RawValue{FullBytes: n} }) }
	called := func(n []byte) option { return func(r *request) { r.RawSubject = n } }
	r := root(t, "", called([]byte(dn("O=printable:Example Inc", "CN=printable:Root"))))
	i := r.intermediate(t, "", called([]byte(dn("O=printable:Example Inc", "CN=printable:Issuing 1"))), issuedUnder([]byte(dn("O=example inc", "CN=ROOT"))))
	l := i.leaf(t, "api.internal", issuedUnder([]byte(dn("O=EXAMPLE INC", "CN=Issuing  1"))))
	q := standing{r, i, l}.question()
	for q.Profile = range profiles {
		if q.Profile == WebPKI { // the Baseline Requirements, section 7.1.4.1
			v := refuse(t, q, code.CertificateForm)
			if !strings.Contains(v.Sentence(), "byte for byte") {
				t.Error(v.Sentence())
			}
			continue
		}
		if q.Profile != SVID {
			accept(t, q, l, i, r)
		}
	}
	q.Profile = Basic

	// The anchor is not the end of a path for any name that is like its own.
	stranger := root(t, "", called([]byte(dn("O=printable:Example Inc", "CN=printable:Issuing 1")))).leaf(t, "api.internal")
	q.Chain[0] = stranger.Certificate
	if v := Verify(q); v.OK {
		t.Error("a name alone makes a path")
	}
	q.Chain[0] = l.Certificate

	// A revocation list under another spelling of its issuer's name covers what it issued.
	b, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: l.X509.SerialNumber, RevocationTime: now}}},
		&x509.Certificate{RawSubject: []byte(dn("O=EXAMPLE INC", "CN=issuing 1")), SubjectKeyId: i.X509.SubjectKeyId, KeyUsage: x509.KeyUsageCRLSign}, i.key)
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseRevocationList(b)
	if err != nil {
		t.Fatal(err)
	}
	q.RevocationLists = []*RevocationList{list}
	refuse(t, q, code.CertificateRevoked)
}

// Self-issued is by the same rule: then path lengths do not count it (section
// 4.2.1.9), and it is not held against constraints (section 4.2.1.10).
func TestAnAuthorityThatIssuedItselfUnderAnotherSpellingIsSelfIssued(t *testing.T) {
	called := func(n []byte) option { return func(r *request) { r.RawSubject = n } }
	r := root(t, "", called([]byte(dn("O=printable:Example Inc", "CN=printable:Root"))), func(r *request) { r.MaxPathLenZero = true })
	again := r.intermediate(t, "", called([]byte(dn("O=example inc", "CN=root"))))
	if !again.SelfIssued() {
		t.Fatal("not self-issued")
	}
	q := standing{r, again, again.leaf(t, "api.internal")}.question()
	accept(t, q)
	other := r.intermediate(t, "", called([]byte(dn("O=example inc", "CN=root 2"))))
	refuse(t, standing{r, other, other.leaf(t, "api.internal")}.question(), code.PathTooLong)
}

// A directory name's constraint goes by the same rule, and so does an exclusion.
func TestDirectoryConstraintsGoByWhatNamesSay(t *testing.T) {
	within := func(permit bool) *entity {
		tree := tlv(0x30, tlv(0xa4, []byte(dn("O=printable:Example Inc"))))
		list := tlv(0xa0, tree)
		if !permit {
			list = tlv(0xa1, tree)
		}
		return root(t, "R", extension(true, tlv(0x30, list), 2, 5, 29, 30))
	}
	subject := func(r *request) { r.RawSubject = []byte(dn("O=EXAMPLE  inc", "CN=x")) }
	for _, permit := range []bool{true, false} {
		r := within(permit)
		q := Question{Chain: chain(r.leaf(t, "api.internal", subject)), Anchors: anchors(r), Purpose: ForServer, Name: "api.internal", At: now}
		if v := Verify(q); v.OK != permit {
			t.Errorf("permitted %v: %s", permit, v.Sentence())
		}
	}
}

func FuzzSameName(f *testing.F) {
	f.Add([]byte(dn("O=Example Inc", "CN=Issuing 1")), []byte(dn("O=printable:EXAMPLE inc ", "CN=printable:Issuing 1")))
	f.Add([]byte(dn("O=Example  Inc", "CN=bmp:x")), []byte{0x30, 0})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		same := sameName(a, b)
		if same != sameName(b, a) || !sameName(a, bytes.Clone(a)) {
			t.Error("names are the same in one direction only")
		}
		// Nothing but names in the same form is the same.
		x, ok := readDirectoryName(string(a))
		y, also := readDirectoryName(string(b))
		if same && ok && also && (!x.within(y) || !y.within(x)) {
			t.Error("the same name is not within itself")
		}
		if ok != also && same {
			t.Error("a name is the same as what is none")
		}
	})
}
