package pki

import (
	"bytes"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

func accept(t *testing.T, q Question, path ...*entity) *Verdict {
	t.Helper()
	v := Verify(q)
	if !v.OK {
		t.Fatalf("refused: %s", v.Sentence())
	}
	if path != nil && !slices.EqualFunc(v.Path, chain(path...), (*Certificate).Equal) {
		t.Fatalf("path is %v", labels(v.Path))
	}
	return v
}

func refuse(t *testing.T, q Question, want code.Code) *Verdict {
	t.Helper()
	v := Verify(q)
	if v.OK || v.Code != want {
		t.Fatalf("verdict %v %s, want %s: %s", v.OK, v.Code, want, v.Sentence())
	}
	return v
}

func labels(cs []*Certificate) (out []string) {
	for _, c := range cs {
		out = append(out, c.Label())
	}
	return out
}

func TestAnOrdinaryPathStands(t *testing.T) {
	s := stand(t)
	v := accept(t, s.question(), s.leaf, s.inter, s.root)
	if !v.NotAfter.Equal(s.leaf.NotAfter()) {
		t.Errorf("ends at %v", v.NotAfter)
	}
	if len(v.Paths) != 0 {
		t.Error("a yes of Verify has built reasons")
	}
}

func TestTheVerdictEndsWithTheEarliestEndOfThePath(t *testing.T) {
	r := root(t, "R", valid(-time.Hour, 3*time.Hour))
	i := r.intermediate(t, "I", valid(-time.Hour, 90*time.Minute))
	l := i.leaf(t, "api.internal", valid(-time.Hour, 2*time.Hour))
	v := accept(t, standing{r, i, l}.question())
	if want := now.Add(90 * time.Minute); !v.NotAfter.Equal(want) {
		t.Errorf("ends at %v, want %v", v.NotAfter, want)
	}
}

func TestValidityIncludesItsFirstAndLastSecond(t *testing.T) {
	s := stand(t)
	s.leaf = s.inter.leaf(t, "api.internal", valid(-time.Hour, time.Hour))
	for _, c := range []struct {
		at   time.Time
		want code.Code
	}{
		{now.Add(-time.Hour), ""}, {now.Add(time.Hour), ""},
		{now.Add(-time.Hour - time.Nanosecond), code.CertificateNotYetValid},
		{now.Add(time.Hour + time.Nanosecond), code.CertificateExpired},
		{time.Time{}, code.CertificateNotYetValid},
	} {
		q := s.question()
		q.At = c.at
		if v := Verify(q); v.Code != c.want {
			t.Errorf("at %v: %q, want %q", c.at, v.Code, c.want)
		}
	}
}

func TestIntermediatesComeInAnyOrderWithDoublesAndStrangers(t *testing.T) {
	r := root(t, "R")
	a := r.intermediate(t, "A")
	b := a.intermediate(t, "B")
	c := b.intermediate(t, "C")
	l := c.leaf(t, "api.internal")
	other := root(t, "X")
	above := chain(a, b, c, a, b, c, other, r, other.leaf(t, "x"), l)
	for range 50 {
		rand.Shuffle(len(above), func(i, j int) { above[i], above[j] = above[j], above[i] })
		q := Question{Chain: append(chain(l), above...), Anchors: anchors(r), Purpose: ForServer, Name: "api.internal", At: now}
		accept(t, q, l, c, b, a, r)
	}
}

// Cross-signing: an authority has two certificates of one key, and only one leads
// on to what is trusted here.
func TestACrossSignedAuthorityIsFollowedToTheAnchorThatIsTrusted(t *testing.T) {
	old, young := root(t, "Old Root"), root(t, "Young Root")
	inter := old.intermediate(t, "I")
	crossed := issue(t, young, "I", authority, withKey(inter.key))
	youngByOld := issue(t, old, "Young Root", authority, withKey(young.key))
	l := inter.leaf(t, "api.internal")
	for name, c := range map[string]struct {
		shown  []*entity
		anchor *entity
		path   []*entity
	}{
		"first certificate":         {[]*entity{l, crossed, inter}, old, []*entity{l, inter, old}},
		"second certificate":        {[]*entity{l, inter, crossed}, young, []*entity{l, crossed, young}},
		"by way of the root's twin": {[]*entity{l, crossed, youngByOld}, old, []*entity{l, crossed, youngByOld, old}},
	} {
		t.Run(name, func(t *testing.T) {
			accept(t, Question{Chain: chain(c.shown...), Anchors: anchors(c.anchor), Purpose: ForServer, Name: "api.internal", At: now}, c.path...)
		})
	}
}

func TestAnExpiredTwinDoesNotHideTheOneThatStands(t *testing.T) {
	s := stand(t)
	dead := issue(t, s.root, "Example Issuing 1", authority, organization("Example"), withKey(s.inter.key), valid(-9*time.Hour, -time.Hour))
	q := s.question()
	q.Chain = chain(s.leaf, dead, s.inter)
	accept(t, q, s.leaf, s.inter, s.root)
}

func TestWhatThePeerSentNeverEndsAPath(t *testing.T) {
	evil := root(t, "Evil Root")
	l := evil.leaf(t, "api.internal")
	refuse(t, Question{Chain: chain(l, evil), Anchors: anchors(root(t, "R")), Purpose: ForServer, At: now}, code.UnknownAuthority)
}

func TestAnIntermediateCanBeTheAnchor(t *testing.T) {
	s := stand(t)
	q := s.question()
	q.Anchors, q.Chain = anchors(s.inter), chain(s.leaf)
	accept(t, q, s.leaf, s.inter)
}

func TestALeafThatIsTheAnchorIsTrustedByItselfAndCheckedAllTheSame(t *testing.T) {
	var none *entity
	self := none.leaf(t, "api.internal")
	q := Question{Chain: chain(self), Anchors: anchors(self), Purpose: ForServer, Name: "api.internal", At: now}
	accept(t, q, self)
	q.Name = "other.internal"
	refuse(t, q, code.WrongName)
	q.Name, q.At = "api.internal", now.Add(48*time.Hour)
	refuse(t, q, code.CertificateExpired)

	// As openssl req -x509 makes them: an authority by its own words.
	ca := root(t, "api.internal", dns("api.internal"), keyUsage(0))
	accept(t, Question{Chain: chain(ca), Anchors: anchors(ca), Purpose: ForServer, Name: "api.internal", At: now}, ca)

	// Not an authority: it ends no path but its own.
	under := self.leaf(t, "admin.internal")
	refuse(t, Question{Chain: chain(under), Anchors: anchors(self), Purpose: ForServer, At: now}, code.NotAnAuthority)
}

func TestEveryKindOfKeyStands(t *testing.T) {
	params := []byte(nil)
	for name, c := range map[string]struct {
		key  option
		opts []option
	}{
		"P-256":               {withKey(p256()), nil},
		"P-384":               {withKey(ec(elliptic.P384())), nil},
		"P-521":               {withKey(ec(elliptic.P521())), nil},
		"P-384 with SHA-256":  {withKey(ec(elliptic.P384())), []option{signedWith(x509.ECDSAWithSHA256)}},
		"P-256 with SHA-512":  {withKey(p256()), []option{signedWith(x509.ECDSAWithSHA512)}},
		"Ed25519":             {withKey(ed()), nil},
		"RSA 2048":            {withKey(rsaKey(2048, 0)), nil},
		"RSA 2048, PSS":       {withKey(rsaKey(2048, 0)), []option{signedWith(x509.SHA256WithRSAPSS)}},
		"RSA 2048, PSS 384":   {withKey(rsaKey(2048, 0)), []option{signedWith(x509.SHA384WithRSAPSS)}},
		"RSA 2048, SHA-512":   {withKey(rsaKey(2048, 0)), []option{signedWith(x509.SHA512WithRSA)}},
		"RSA-PSS 2048":        {pssKeyOption(rsaKey(2048, 0), params), []option{signedWith(x509.SHA256WithRSAPSS)}},
		"RSA-PSS for SHA-256": {pssKeyOption(rsaKey(2048, 0), pss256()[13:]), []option{signedWith(x509.SHA256WithRSAPSS)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := append([]option{c.key}, c.opts...)
			r := root(t, "R", all...)
			i := r.intermediate(t, "I", all...)
			l := i.leaf(t, "api.internal", all...)
			s := standing{r, i, l}
			accept(t, s.question(), l, i, r)
			if l.Key == nil {
				t.Error("no key")
			}
		})
	}
}

func TestAnRSAPSSKeyMayNotSignWithPKCS1(t *testing.T) {
	r := root(t, "R", pssKeyOption(rsaKey(2048, 0), nil), signedWith(x509.SHA256WithRSAPSS))
	l := r.leaf(t, "api.internal", signedWith(x509.SHA256WithRSA))
	refuse(t, Question{Chain: chain(l), Anchors: anchors(r), Purpose: ForServer, At: now}, code.BadSignature)
}

func TestOddPSSParametersAreRefused(t *testing.T) {
	good := pss256()
	for name, edit := range map[string]func([]byte) []byte{
		"none, which means SHA-1": func([]byte) []byte { return append([]byte{0x30, 11, 6, 9}, oidPSS...) },
		"salt of 20":              func(b []byte) []byte { b[len(b)-1] = 20; return b },
		"two hashes":              func(b []byte) []byte { b[bytes.LastIndex(b, []byte("\x04\x02\x01"))+2] = 2; return b },
		"longer salt":             func(b []byte) []byte { b[len(b)-1] = 48; return b },
		"trailer 2":               func(b []byte) []byte { return tlv(0x30, b[2:13], tlv(0x30, b[15:], []byte{0xa3, 3, 2, 1, 2})) },
		"something behind":        func(b []byte) []byte { return tlv(0x30, b[2:], []byte{5, 0}) },
	} {
		odd := edit(bytes.Clone(good))
		if c, _ := judgeAlgorithm(odd); c != code.WeakSignature {
			t.Errorf("%s: %q", name, c)
		}
	}
	for way, b := range map[string][]byte{
		"as usual":            good,
		"trailer written out": tlv(0x30, good[2:13], tlv(0x30, good[15:], []byte{0xa3, 3, 2, 1, 1})),
	} {
		if c, name := judgeAlgorithm(b); c != "" || name != "RSASSA-PSS with SHA256" {
			t.Errorf("%s: %q %q", way, c, name)
		}
	}
}

func TestPathLengthCountsAuthoritiesOtherThanSelfIssued(t *testing.T) {
	limit := func(n int) option {
		return func(r *request) { r.MaxPathLen, r.MaxPathLenZero = n, n == 0 }
	}
	build := func(n int) (Question, []*entity) {
		r := root(t, "R", limit(n))
		a := r.intermediate(t, "A")
		again := issue(t, a, "A", authority) // a new key under the same name
		b := again.intermediate(t, "B")
		l := b.leaf(t, "api.internal")
		return Question{Chain: chain(l, a, again, b), Anchors: anchors(r), Purpose: ForServer, At: now}, []*entity{l, b, again, a, r}
	}
	q, path := build(2)
	accept(t, q, path...)
	q, _ = build(1)
	refuse(t, q, code.PathTooLong)

	// The limit of an authority in the middle counts as the anchor's does, and the one
	// that issued itself is held to its own.
	for _, c := range []struct {
		first, again option
		stands       bool
	}{{limit(1), limit(1), true}, {limit(0), limit(1), false}, {limit(1), limit(0), false}} {
		r := root(t, "R")
		a := r.intermediate(t, "A", c.first)
		again := issue(t, a, "A", authority, c.again)
		b := again.intermediate(t, "B")
		q := Question{Chain: chain(b.leaf(t, "api.internal"), b, again, a), Anchors: anchors(r), Purpose: ForServer, At: now}
		if c.stands {
			accept(t, q)
		} else {
			refuse(t, q, code.PathTooLong)
		}
	}
}

func TestUsages(t *testing.T) {
	server, client, anyUse := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageAny
	r := root(t, "R")
	for _, c := range []struct {
		inter, leaf []x509.ExtKeyUsage
		purpose     Purpose
		ok          bool
	}{
		{nil, nil, ForServer, true},
		{nil, []x509.ExtKeyUsage{server}, ForServer, true},
		{nil, []x509.ExtKeyUsage{server}, ForClient, false},
		{nil, []x509.ExtKeyUsage{client}, ForClient, true},
		{nil, []x509.ExtKeyUsage{client}, ForServer, false},
		{nil, []x509.ExtKeyUsage{anyUse}, ForClient, true},
		{[]x509.ExtKeyUsage{anyUse}, []x509.ExtKeyUsage{server}, ForServer, true},
		{[]x509.ExtKeyUsage{client}, []x509.ExtKeyUsage{anyUse}, ForServer, false},
		{[]x509.ExtKeyUsage{client}, nil, ForServer, false},
		{[]x509.ExtKeyUsage{server, client}, []x509.ExtKeyUsage{server}, ForServer, true},
		{nil, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, ForServer, false},
		{nil, []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}, ForAny, true},
	} {
		i := r.intermediate(t, "I", usage(c.inter...))
		l := i.leaf(t, "api", usage(c.leaf...))
		v := Verify(Question{Chain: chain(l, i), Anchors: anchors(r), Purpose: c.purpose, At: now})
		if v.OK != c.ok || !v.OK && v.Code != code.WrongUsage {
			t.Errorf("intermediate %v, leaf %v, for %s: %v %s", c.inter, c.leaf, c.purpose, v.OK, v.Code)
		}
	}
}

func TestNamesOfALeaf(t *testing.T) {
	s := stand(t)
	l := s.inter.leaf(t, "API.Internal", ips("10.0.0.1", "2001:db8::1"), dns("API.Internal", "*.Example.com"), uris("spiffe://prod.example/api"))
	for name, ok := range map[string]bool{
		"api.internal": true, "API.INTERNAL": true, "api.internal.": true, "a.example.com": true, "A.EXAMPLE.COM": true,
		"10.0.0.1": true, "2001:db8::1": true, "[2001:DB8:0::1]": true, "::ffff:10.0.0.1": true,
		"spiffe://prod.example/api": true,
		"api":                       false, "a.b.example.com": false, "example.com": false, "10.0.0.2": false,
		"spiffe://prod.example/API": false, "spiffe://prod.example/api2": false, "spiffe://prod.example": false,
	} {
		q := s.server(l)
		q.Name = name
		if v := Verify(q); v.OK != ok {
			t.Errorf("%q: %v %s", name, v.OK, v.Sentence())
		}
		if l.StandsFor(name) != ok {
			t.Errorf("StandsFor(%q) = %v", name, !ok)
		}
	}
}

// Names outside ASCII are compared as A-labels (RFC 9525, section 6.3), and asked for
// as such: a U-label is answered with what mends it, and never compared.
func TestInternationalNamesAreALabels(t *testing.T) {
	s := stand(t)
	for _, c := range []struct {
		shown, asked string
		want         code.Code
	}{
		{"xn--bcher-kva.example", "xn--bcher-kva.example", ""},
		{"xn--bcher-kva.example", "XN--BCHER-KVA.example", ""},
		{"*.example", "xn--bcher-kva.example", ""},
		{"www.xn--bcher-kva.example", "xn--bcher-kva.example", code.WrongName},
		{"xn--*.example", "xn--bcher-kva.example", code.WrongName},
		{"bcher.example", "xn--bcher-kva.example", code.WrongName},
	} {
		q := s.server(s.inter.leaf(t, c.shown))
		q.Name = c.asked
		if v := Verify(q); v.OK != (c.want == "") || v.Code != c.want {
			t.Errorf("%s for %s: %v %s", c.shown, c.asked, v.OK, v.Code)
		}
	}
	q := s.server(s.inter.leaf(t, "xn--bcher-kva.example"))
	q.Name = "b\u00fccher.example"
	if v := Verify(q); v.OK || !strings.Contains(v.Sentence()+v.Mend, "xn--") || !safe(v.Sentence()) {
		t.Errorf("%v %s; %s", v.OK, v.Sentence(), v.Mend)
	}
}

func TestNoNameAskedTakesAnyLeaf(t *testing.T) {
	s := stand(t)
	q := s.server(s.inter.leaf(t, "nobody", dns()))
	q.Name = ""
	accept(t, q)
}

func TestAnchorsByTheHundredWithOneNameStayWithinTheBudget(t *testing.T) {
	var trusted []*entity
	for range 150 {
		trusted = append(trusted, root(t, "Same Root", without(extSubjectKeyID)))
	}
	l := root(t, "Same Root").leaf(t, "api.internal", without(extAuthorityKeyID))
	s := &search{q: Question{Chain: chain(l), Anchors: anchors(trusted...), Purpose: ForServer, At: now}}
	s.prepare()
	if s.find() {
		t.Fatal("accepted")
	}
	if v := s.refuse(); v.Code != code.Budget || len(s.edges) > maxSignatures {
		t.Errorf("%s after %d signatures", v.Code, len(s.edges))
	}
}

// Key identifiers are hints: an authority's certificate that was made anew with
// another identifier, and the same key, carries what was issued before.
func TestADifferentKeyIdentifierDoesNotHideAKeyThatFits(t *testing.T) {
	s := stand(t)
	again := root(t, "Example Root", organization("Example"), withKey(s.root.key), func(r *request) { r.SubjectKeyId = []byte("another") })
	inter := s.root.intermediate(t, "Example Issuing 1", organization("Example"), withKey(s.inter.key), func(r *request) { r.SubjectKeyId = []byte("another, too") })
	accept(t, Question{Chain: chain(s.leaf, inter), Anchors: anchors(again), Purpose: ForServer, At: now}, s.leaf, inter, again)
}

func TestALongPathEnds(t *testing.T) {
	r := root(t, "R")
	top, shown := r, []*entity{}
	for i := range 20 {
		top = top.intermediate(t, fmt.Sprint("I", i))
		shown = append(shown, top)
	}
	l := top.leaf(t, "api.internal")
	q := Question{Chain: append(chain(l), chain(shown...)...), Anchors: anchors(r), Purpose: ForServer, At: now}
	if v := Verify(q); v.OK || v.Code != code.PathTooLong {
		t.Errorf("%v %s", v.OK, v.Sentence())
	}
}

func TestExplainTellsEveryCheckOfAYes(t *testing.T) {
	s := stand(t)
	v := Explain(s.question())
	if !v.OK || len(v.Paths) != 1 || !v.Paths[0].OK {
		t.Fatalf("%+v", v)
	}
	var names []string
	for _, k := range v.Paths[0].Checks {
		if !k.OK || k.Expected == "" || k.Found == "" || k.Code != "" {
			t.Errorf("%+v", k)
		}
		names = append(names, fmt.Sprint(k.Certificate, " ", k.Name))
	}
	for _, want := range []string{"0 validity", "0 name", "0 signature", "0 extended key usage", "1 authority", "1 path length", "1 signature", "2 anchor"} {
		if !slices.Contains(names, want) {
			t.Errorf("no check %q in %q", want, names)
		}
	}
}

func TestTheJSONOfAVerdict(t *testing.T) {
	s := stand(t)
	for _, q := range []Question{s.question(), s.server(s.inter.leaf(t, "other"))} {
		b, err := json.Marshal(Explain(q))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			OK    *bool
			Code  *string
			Mend  *string
			Paths []struct {
				Chain  []map[string]any
				OK     *bool
				Checks []struct {
					Check       *string
					Certificate *int
					OK          *bool
					Expected    *string
					Found       *string
				}
			}
		}
		d := json.NewDecoder(bytes.NewReader(b))
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.OK == nil || got.Code == nil || got.Mend == nil || len(got.Paths) != 1 || got.Paths[0].OK == nil || len(got.Paths[0].Chain) != 3 {
			t.Fatalf("%s", b)
		}
		for _, k := range got.Paths[0].Checks {
			if k.Check == nil || k.Certificate == nil || k.OK == nil || k.Expected == nil || k.Found == nil {
				t.Fatalf("%s", b)
			}
		}
	}
	if b, err := json.Marshal(Verify(s.question())); err != nil || !strings.Contains(string(b), `"paths":[{"chain":[{`) {
		t.Errorf("%s %v", b, err)
	}
}

func TestWhatDoesNotParseIsAVerdictToo(t *testing.T) {
	s := stand(t)
	_, err := ParseChain([][]byte{s.leaf.Raw, []byte("\x30\x03abc\x1b[31m")})
	if err == nil {
		t.Fatal("parsed")
	}
	v := Refused(err)
	if v.OK || v.Code != code.Malformed || v.Link != 1 || v.Alert.String() != "bad_certificate" {
		t.Errorf("%+v", v)
	}
}

func TestParseRefusesTwoDifferentAlgorithmsInOneCertificate(t *testing.T) {
	s := stand(t)
	raw := bytes.Clone(s.leaf.Raw)
	at := bytes.LastIndex(raw, ecdsaWithSHA256)
	raw[at+len(ecdsaWithSHA256)-1] = 3 // SHA-384, outside the signed part
	if _, err := Parse(raw); err == nil {
		t.Error("parsed")
	}
}

func TestParsePEM(t *testing.T) {
	s := stand(t)
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	cert := block("CERTIFICATE", s.leaf.Raw)
	for name, c := range map[string]struct {
		in   string
		n    int
		fail string
	}{
		"two with words between": {"leaf:\n" + cert + "issuer:\n" + cert, 2, ""},
		"windows line ends":      {strings.ReplaceAll(cert, "\n", "\r\n"), 1, ""},
		"byte order mark":        {"\xef\xbb\xbf" + cert, 1, ""},
		"none":                   {"hello", 0, "found none"},
		"empty":                  {"", 0, "found none"},
		"a key among them":       {cert + block("PRIVATE KEY", []byte("x")), 0, "PRIVATE KEY"},
		"DER":                    {string(s.leaf.Raw), 0, "openssl x509"},
		"damaged":                {block("CERTIFICATE", s.leaf.Raw[:100]), 0, "PEM block 1"},
		"cut off":                {cert + cert[:len(cert)-50], 0, "PEM block 2"},
	} {
		got, err := ParsePEM([]byte(c.in))
		if c.fail == "" && (err != nil || len(got) != c.n) {
			t.Errorf("%s: %d, %v", name, len(got), err)
		}
		if c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Whoever asks for a certificate may write another's name into the common name: in
// words, too, it is not what a leaf is called.
func TestALeafIsNotCalledByItsCommonName(t *testing.T) {
	s := stand(t)
	s.leaf = s.inter.leaf(t, "mallory.internal", func(r *request) { r.Subject.CommonName = "\x1b[31mapi.internal" })
	if got := s.leaf.Label(); got != `"mallory.internal"` {
		t.Errorf("it is called %s", got)
	}
	nameless := s.inter.leaf(t, "x", func(r *request) { r.Subject.CommonName = "\x1b[31mapi" }, without(extSAN))
	if got := nameless.Label(); got != `"\x1b[31mapi"` {
		t.Errorf("for lack of a name it is called %s", got)
	}
}

func TestAnchorsAreASet(t *testing.T) {
	a, b := root(t, "R"), root(t, "R")
	set := NewAnchors(a.Certificate, b.Certificate, a.Certificate, nil)
	if set.Len() != 2 || len(set.Subjects()) != 1 || !set.Contains(b.Certificate) || set.Contains(root(t, "R").Certificate) {
		t.Errorf("%d anchors, %d subjects", set.Len(), len(set.Subjects()))
	}
	var none *Anchors
	if none.Len() != 0 || none.Contains(a.Certificate) || none.Subjects() != nil || none.Certificates() != nil {
		t.Error("nil is not empty")
	}
}
