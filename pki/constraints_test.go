package pki

import (
	"crypto/x509"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

// nc is a name constraints extension: permitted and excluded names, each the DER
// of a GeneralName.
func nc(critical bool, permitted, excluded [][]byte) option {
	list := func(tag byte, names [][]byte) []byte {
		if names == nil {
			return nil
		}
		var all []byte
		for _, n := range names {
			all = append(all, tlv(0x30, n)...)
		}
		return tlv(tag, all)
	}
	return extension(critical, tlv(0x30, list(0xa0, permitted), list(0xa1, excluded)), 2, 5, 29, extNameConstraints)
}

func gn(kind nameKind, text string) []byte {
	if kind == nameDirectory {
		return tlv(0xa4, []byte(text))
	}
	if kind == nameOther {
		return tlv(0xa0, []byte(text))
	}
	return tlv(0x80|byte(kind), []byte(text))
}

// dn is a Name of attributes 2.5.4.arc, each with a string type's tag.
func dn(parts ...string) string {
	var all []byte
	for _, p := range parts {
		attribute, value, _ := strings.Cut(p, "=")
		arc := map[string]byte{"CN": 3, "C": 6, "O": 10, "OU": 11}[attribute]
		tag := byte(12) // UTF8String
		if v, ok := strings.CutPrefix(value, "printable:"); ok {
			tag, value = 19, v
		}
		if v, ok := strings.CutPrefix(value, "bmp:"); ok {
			tag, value = 30, ""
			for i := range len(v) {
				value += "\x00" + v[i:i+1]
			}
		}
		all = append(all, tlv(0x31, tlv(0x30, []byte{6, 3, 0x55, 4, arc}, tlv(tag, []byte(value))))...)
	}
	return string(tlv(0x30, all))
}

// san is a subject alternative name of the given names instead of the leaf's.
func san(names ...[]byte) option {
	return func(r *request) {
		r.DNSNames = nil
		var all []byte
		for _, n := range names {
			all = append(all, n...)
		}
		extension(false, tlv(0x30, all), 2, 5, 29, extSAN)(r)
	}
}

func TestNamesAreHeldAgainstTheConstraintsOfTheirKind(t *testing.T) {
	type names = [][]byte
	of := func(kind nameKind, texts ...string) (out names) {
		for _, s := range texts {
			out = append(out, gn(kind, s))
		}
		return out
	}
	ten := "\x0a\x00\x00\x00\xff\x00\x00\x00"
	six := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 12) + "\xff\xff\xff\xff" + strings.Repeat("\x00", 12)
	six1 := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01"
	other := string(oidDER("1.2.3")) + string(tlv(0xa0, tlv(12, []byte("x"))))
	mailbox := string(oidDER("1.3.6.1.5.5.7.8.9")) + string(tlv(0xa0, tlv(12, []byte("x@example.com"))))
	for _, c := range []struct {
		why                 string
		permitted, excluded names
		name                []byte
		good                bool
	}{
		{"itself", of(nameDNS, "example.com"), nil, gn(nameDNS, "example.com"), true},
		{"below", of(nameDNS, "example.com"), nil, gn(nameDNS, "a.b.example.com"), true},
		{"case", of(nameDNS, "Example.COM"), nil, gn(nameDNS, "WWW.eXample.com"), true},
		{"not at a label", of(nameDNS, "example.com"), nil, gn(nameDNS, "notexample.com"), false},
		{"above", of(nameDNS, "a.example.com"), nil, gn(nameDNS, "example.com"), false},
		{"second of two", of(nameDNS, "a.test", "example.com"), nil, gn(nameDNS, "example.com"), true},
		{"every name", of(nameDNS, ""), nil, gn(nameDNS, "example.com"), true},
		{"no name at all", nil, of(nameDNS, ""), gn(nameDNS, "example.com"), false},
		{"wildcard inside", of(nameDNS, "example.com"), nil, gn(nameDNS, "*.example.com"), true},
		{"wildcard wider than what is permitted", of(nameDNS, "a.example.com"), nil, gn(nameDNS, "*.example.com"), false},
		{"wildcard that may be the excluded name", nil, of(nameDNS, "a.example.com"), gn(nameDNS, "*.example.com"), false},
		{"in another case", nil, of(nameDNS, "A.Example.com"), gn(nameDNS, "*.EXAMPLE.com"), false},
		{"wildcard below the excluded name", nil, of(nameDNS, "example.com"), gn(nameDNS, "*.a.example.com"), false},
		{"wildcard right at the excluded name", nil, of(nameDNS, "example.com"), gn(nameDNS, "*.example.com"), false},
		{"wildcard of one label, exclusion of two", nil, of(nameDNS, "a.b.example.com"), gn(nameDNS, "*.example.com"), true},
		{"beside", nil, of(nameDNS, "a.example.com"), gn(nameDNS, "b.example.com"), true},
		{"excluded and permitted", of(nameDNS, "example.com"), of(nameDNS, "a.example.com"), gn(nameDNS, "a.example.com"), false},
		{"leading dot permits what is below", of(nameDNS, ".example.com"), nil, gn(nameDNS, "a.example.com"), true},
		{"leading dot does not permit itself", of(nameDNS, ".example.com"), nil, gn(nameDNS, "example.com"), false},
		{"leading dot excludes itself, to be sure", nil, of(nameDNS, ".example.com"), gn(nameDNS, "example.com"), false},
		{"a DNS name that is none", of(nameDNS, "example.com"), nil, gn(nameDNS, "a..example.com"), false},
		{"a trailing dot", nil, of(nameDNS, "a.example.com"), gn(nameDNS, "a.example.com."), false},
		{"an address as a DNS name", nil, of(nameDNS, "example.com"), gn(nameDNS, "10.0.0.1"), false},

		{"address in the network", of(nameIP, ten), nil, gn(nameIP, "\x0a\x01\x02\x03"), true},
		{"address beside it", of(nameIP, ten), nil, gn(nameIP, "\x0b\x01\x02\x03"), false},
		{"address excluded", nil, of(nameIP, ten), gn(nameIP, "\x0a\x01\x02\x03"), false},
		{"IPv6 where IPv4 is permitted", of(nameIP, ten), nil, gn(nameIP, six1), false},
		{"IPv6 in the network", of(nameIP, six), nil, gn(nameIP, six1), true},
		{"IPv6 where IPv4 is excluded", nil, of(nameIP, ten), gn(nameIP, six1), true},
		{"address where DNS names are limited", of(nameDNS, "example.com"), nil, gn(nameIP, "\x0a\x01\x02\x03"), true},

		{"mailbox", of(nameEmail, "a@example.com"), nil, gn(nameEmail, "a@Example.com"), true},
		{"local part in another case", of(nameEmail, "a@example.com"), nil, gn(nameEmail, "A@example.com"), false},
		{"host", of(nameEmail, "example.com"), nil, gn(nameEmail, "b@EXAMPLE.com"), true},
		{"host below", of(nameEmail, "example.com"), nil, gn(nameEmail, "b@a.example.com"), false},
		{"domain", of(nameEmail, ".example.com"), nil, gn(nameEmail, "b@a.example.com"), true},
		{"domain itself", of(nameEmail, ".example.com"), nil, gn(nameEmail, "b@example.com"), false},
		{"two at signs", of(nameEmail, "example.com"), nil, gn(nameEmail, "b@evil.test@example.com"), false},
		{"an at sign in quotes", of(nameEmail, "example.com"), nil, gn(nameEmail, `"b@evil.test"@example.com`), true},
		{"no mailbox", nil, of(nameEmail, "example.com"), gn(nameEmail, "example.com"), false},
		{"an internationalised mailbox", of(nameEmail, "example.com"), nil, gn(nameOther, mailbox), false},

		{"URI's host", of(nameURI, "prod.example"), nil, gn(nameURI, "spiffe://prod.example/web"), true},
		{"URI's host in another case", of(nameURI, "prod.example"), nil, gn(nameURI, "https://PROD.example:8443/x"), true},
		{"URI's host below", of(nameURI, "prod.example"), nil, gn(nameURI, "spiffe://a.prod.example/web"), false},
		{"URI's domain", of(nameURI, ".prod.example"), nil, gn(nameURI, "spiffe://a.prod.example/web"), true},
		{"URI's user", of(nameURI, "prod.example"), nil, gn(nameURI, "https://prod.example@evil.test/"), false},
		{"URI's path", of(nameURI, "prod.example"), nil, gn(nameURI, "https://evil.test/@prod.example"), false},
		{"URI without a host", nil, of(nameURI, "prod.example"), gn(nameURI, "urn:uuid:1"), false},
		{"URI with an address", nil, of(nameURI, "prod.example"), gn(nameURI, "https://10.0.0.1/"), false},
		{"URI excluded", nil, of(nameURI, "prod.example"), gn(nameURI, "spiffe://prod.example/web"), false},

		{"directory name", of(nameDirectory, dn("O=Example"), dn("CN=api.internal")), nil, gn(nameDirectory, dn("O=Example", "CN=x")), true},
		{"another string type, case, spaces", of(nameDirectory, dn("O=printable:Example  Inc"), dn("CN=api.internal")), nil,
			gn(nameDirectory, dn("O=bmp: EXAMPLE INC ", "CN=x")), true},
		{"not at the beginning", of(nameDirectory, dn("CN=x"), dn("CN=api.internal")), nil, gn(nameDirectory, dn("O=Example", "CN=x")), false},
		{"directory name excluded", nil, of(nameDirectory, dn("O=Exämple")), gn(nameDirectory, dn("O=exÄmple", "CN=x")), false},
		{"excluded, with letters that only look different", nil, of(nameDirectory, dn("O=Example")), gn(nameDirectory, dn("O=Ex\u00ad\uff41mple", "CN=x")), false},
		{"the subject counts", of(nameDirectory, dn("O=Example")), nil, gn(nameDNS, "example.com"), false},
		{"the subject is excluded", nil, of(nameDirectory, dn("CN=API.internal")), gn(nameDNS, "example.com"), false},

		{"a kind that is not judged, permitted", of(nameOther, other), nil, gn(nameOther, other), false},
		{"a kind that is not judged, excluded", nil, of(nameOther, other), gn(nameOther, other), false},
		{"a kind that is not judged, and not used", nil, of(nameOther, other), gn(nameDNS, "example.com"), true},
		{"registered ID", of(nameRegistered, "\x2a\x03"), nil, gn(nameRegistered, "\x2a\x03"), false},
	} {
		for _, critical := range []bool{true, false} {
			r := root(t, "R")
			i := r.intermediate(t, "I", nc(critical, c.permitted, c.excluded))
			q := standing{r, i, i.leaf(t, "api.internal", san(c.name))}.question()
			q.Name = ""
			if c.good {
				if v := Verify(q); !v.OK {
					t.Errorf("%s, critical %v: %s", c.why, critical, v.Sentence())
				}
			} else if v := Verify(q); v.OK || v.Code != code.NameConstraints || v.Link != 1 {
				t.Errorf("%s, critical %v: %v %s", c.why, critical, v.OK, v.Code)
			}
		}
	}
}

func TestConstraintsThatCannotBeReadRefuseAllBelow(t *testing.T) {
	for why, value := range map[string][]byte{
		"wildcard":          tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDNS, "*.example.com")))),
		"trailing dot":      tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDNS, "example.com.")))),
		"two at signs":      tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameEmail, "a@b@example.com")))),
		"URI and not host":  tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameURI, "https://example.com")))),
		"minimum":           tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDNS, "example.com"), tlv(0x80, []byte{1})))),
		"maximum":           tlv(0x30, tlv(0xa1, tlv(0x30, gn(nameDNS, "example.com"), tlv(0x81, []byte{1})))),
		"broken Name":       tlv(0x30, tlv(0xa1, tlv(0x30, tlv(0xa4, tlv(0x30, tlv(0x31)))))),
		"unknown kind":      tlv(0x30, tlv(0xa1, tlv(0x30, tlv(0x89, []byte("x"))))),
		"tag of two bytes":  tlv(0x30, tlv(0xa1, tlv(0x30, []byte{0x9f, 0x21, 0x01, 'x'}))),
		"constructed DNS":   tlv(0x30, tlv(0xa1, tlv(0x30, tlv(0xa2, []byte("x"))))),
		"something behind":  tlv(0x30, tlv(0xa1, tlv(0x30, gn(nameDNS, "x"))), tlv(0x05)),
		"mask with a hole":  tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameIP, "\x0a\x00\x00\x00\xff\x00\xff\x00")))),
		"address, no mask":  tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameIP, "\x0a\x00\x00\x00")))),
		"empty lists":       tlv(0x30, tlv(0xa0), tlv(0xa1)),
		"one list is empty": tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDNS, "internal"))), tlv(0xa1)),
		"nothing":           tlv(0x30),
		"NULL":              {5, 0},
	} {
		if _, wrong, _ := readConstraints(value); wrong == "" {
			t.Errorf("%s: read", why)
		}
		if _, err := parseWith(t, extension(true, value, 2, 5, 29, extNameConstraints)); err != nil {
			continue // does not even parse, which refuses too
		}
		r := root(t, "R")
		i := r.intermediate(t, "I", extension(true, value, 2, 5, 29, extNameConstraints))
		refuse(t, standing{r, i, i.leaf(t, "api.internal")}.question(), code.CertificateForm)
	}
}

// parseWith says whether an authority's certificate with an extension parses.
func parseWith(t *testing.T, o option) (*Certificate, error) {
	t.Helper()
	r := root(t, "R", func(r *request) {}, withKey(p256()))
	b := remake(t, r.Raw, r.key, func(b *tbs) {
		q := &request{}
		o(q)
		b.Extensions = append(b.Extensions, q.ExtraExtensions...)
	})
	return Parse(b)
}

// What one authority permits is not widened by the next, and what one excludes
// stays excluded below it, also when the other only excludes (CVE-2026-42011).
func TestConstraintsAddUpOverAllAuthorities(t *testing.T) {
	permit := func(names ...string) option { return func(r *request) { r.PermittedDNSDomains = names } }
	exclude := func(names ...string) option { return func(r *request) { r.ExcludedDNSDomains = names } }
	none := func(*request) {}
	for _, c := range []struct {
		why           string
		root, inter   option
		name          string
		good          bool
		refusedByRoot bool
	}{
		{"both permit", permit("internal"), permit("api.internal"), "api.internal", true, false},
		{"narrowed", permit("internal"), permit("web.internal"), "api.internal", false, false},
		{"widened", permit("web.internal"), permit("internal"), "api.internal", false, true},
		{"disjoint", permit("web.internal"), permit("api.internal"), "api.internal", false, true},
		{"permitted above, excluded below", permit("internal"), exclude("api.internal"), "api.internal", false, false},
		{"excluded above, permitted below", exclude("api.internal"), permit("internal"), "api.internal", false, true},
		{"excluded above, something else excluded below", exclude("api.internal"), exclude("web.internal"), "api.internal", false, true},
		{"excluded above, nothing below", exclude("api.internal"), none, "api.internal", false, true},
		{"neither excludes", exclude("db.internal"), exclude("web.internal"), "api.internal", true, false},
	} {
		r := root(t, "R", c.root)
		i := r.intermediate(t, "I", c.inter)
		q := standing{r, i, i.leaf(t, c.name)}.question()
		if c.good {
			accept(t, q)
			continue
		}
		v := Verify(q)
		if v.OK || v.Code != code.NameConstraints || (v.Link < 0) != c.refusedByRoot {
			t.Errorf("%s: %v %s at %d", c.why, v.OK, v.Code, v.Link)
		}
	}
}

func TestConstraintsHoldForIntermediatesAndNotForSelfIssuedOnes(t *testing.T) {
	r := root(t, "R", func(r *request) { r.ExcludedDNSDomains = []string{"forbidden.internal"} })
	named := r.intermediate(t, "I", dns("forbidden.internal"))
	refuse(t, standing{r, named, named.leaf(t, "api.internal")}.question(), code.NameConstraints)

	again := issue(t, r, "R", authority, dns("forbidden.internal")) // the same name, another key
	accept(t, standing{r, again, again.leaf(t, "api.internal")}.question())

	// The leaf counts, self-issued or not.
	same := r.leaf(t, "forbidden.internal", func(q *request) { q.Subject.CommonName = "R" })
	q := Question{Chain: chain(same), Anchors: anchors(r), Purpose: ForServer, At: now}
	refuse(t, q, code.NameConstraints)
}

func TestOnlyTheNamesOfTheSubjectCountAsEmailAddressesWhereThereAreNoOthers(t *testing.T) {
	email := func(r *request) {
		r.edit = func(b *tbs) {
			b.Subject.FullBytes = tlv(0x30, tlv(0x31, tlv(0x30, oidDER("1.2.840.113549.1.9.1"), tlv(0x16, []byte("a@evil.test")))))
		}
	}
	r := root(t, "R", nc(true, [][]byte{gn(nameEmail, "example.com")}, nil))
	q := Question{Chain: chain(r.leaf(t, "api.internal", email, dns())), Anchors: anchors(r), Purpose: ForClient, At: now}
	refuse(t, q, code.NameConstraints)
	q.Chain = chain(r.leaf(t, "api.internal", email))
	accept(t, q)
}

func TestALeafMayNotBearConstraints(t *testing.T) {
	s := stand(t)
	refuse(t, s.server(s.inter.leaf(t, "api.internal", nc(false, [][]byte{gn(nameDNS, "internal")}, nil))), code.CertificateForm)
}

// Many names against many constraints cost a fixed number of comparisons, and
// then the answer is no; a smaller number of them is judged.
func TestNamesAndConstraintsHaveABudget(t *testing.T) {
	many := func(n int, prefix string) (out []string) {
		for i := range n {
			out = append(out, prefix+itoa(i)+".test")
		}
		return out
	}
	r := root(t, "R")
	wide := r.intermediate(t, "I", func(r *request) { r.ExcludedDNSDomains = many(1500, "n") })
	q := standing{r, wide, wide.leaf(t, "api.internal", dns(many(1500, "a")...))}.question()
	q.Name = "a0.test"
	refuse(t, q, code.Budget)
	s := &search{q: q}
	if s.prepare() != nil || s.find() || s.comparisons > maxComparisons+2 {
		t.Errorf("%d comparisons", s.comparisons)
	}
	few := r.intermediate(t, "I", func(r *request) { r.ExcludedDNSDomains = many(1500, "n") })
	q = standing{r, few, few.leaf(t, "api.internal", dns(many(100, "a")...))}.question()
	q.Name = "a0.test"
	accept(t, q)
}

func TestNamesAndConstraintsThatNobodyTrustsAreNotCompared(t *testing.T) {
	r := root(t, "Evil", func(r *request) { r.ExcludedDNSDomains = []string{"x.test"} })
	q := standing{root(t, "R"), r, r.leaf(t, "api.internal")}.question()
	s := &search{q: q}
	if s.prepare() != nil || s.find() || s.comparisons != 0 {
		t.Errorf("%d comparisons", s.comparisons)
	}
	if v := s.refuse(); v.Code != code.UnknownAuthority || s.comparisons != 0 {
		t.Errorf("%s after %d comparisons", v.Code, s.comparisons)
	}
}

func TestTheEmptyUsageAndTheAnyUsageSwitchOffNothingElse(t *testing.T) {
	s := stand(t)
	s.inter = s.root.intermediate(t, "I", usage(x509.ExtKeyUsageAny), func(r *request) { r.PermittedDNSDomains = []string{"example.com"} })
	q := s.server(s.inter.leaf(t, "api.internal", usage(x509.ExtKeyUsageAny)))
	refuse(t, q, code.NameConstraints)
	q.Purpose = ForAny
	refuse(t, q, code.NameConstraints)
}
