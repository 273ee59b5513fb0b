package pki

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

// policyPath is a root and authorities with the given options below it, then a
// leaf with the last.
func policyPath(t testing.TB, each ...[]option) Question {
	t.Helper()
	r := root(t, "R")
	above, shown := r, []*entity(nil)
	for i, o := range each[:len(each)-1] {
		above = above.intermediate(t, fmt.Sprint("I", i), o...)
		shown = append(shown, above)
	}
	leaf := above.leaf(t, "api.internal", each[len(each)-1]...)
	return Question{Chain: append(chain(leaf), chain(shown...)...), Anchors: anchors(r), Purpose: ForServer, At: now}
}

func TestPolicies(t *testing.T) {
	type certs = [][]option
	of := func(o ...option) []option { return o }
	for _, c := range []struct {
		why   string
		path  certs
		asked string // "", "some" or an OID
		edit  func(*Question)
		good  bool
	}{
		{"nobody asks", certs{nil, nil}, "", nil, true},
		{"nobody asks, and they disagree", certs{of(asserts("1.2.3")), of(asserts("1.2.4"))}, "", nil, true},
		{"asked, and there", certs{of(asserts("1.2.3")), of(asserts("1.2.3"))}, "1.2.3", nil, true},
		{"asked, and another there", certs{of(asserts("1.2.4")), of(asserts("1.2.4"))}, "1.2.3", nil, false},
		{"some asked, and another there", certs{of(asserts("1.2.4")), of(asserts("1.2.4"))}, "some", nil, true},
		{"asked, and the authority does not assert it", certs{nil, of(asserts("1.2.3"))}, "1.2.3", nil, false},
		{"asked, and the leaf does not assert it", certs{of(asserts("1.2.3")), nil}, "1.2.3", nil, false},
		{"any in the authority", certs{of(asserts("any")), of(asserts("1.2.3"))}, "1.2.3", nil, true},
		{"any in the leaf", certs{of(asserts("1.2.3")), of(asserts("any"))}, "1.2.3", nil, true},
		{"any in both", certs{of(asserts("any")), of(asserts("any"))}, "1.2.3", nil, true},
		{"any forbidden by the question", certs{of(asserts("any")), of(asserts("1.2.3"))}, "1.2.3", func(q *Question) { q.NoAnyPolicy = true }, false},
		{"any forbidden by the authority", certs{of(asserts("1.2.3"), inhibitAny(0)), of(asserts("any"))}, "1.2.3", nil, false},
		{"any forbidden one further down", certs{of(asserts("1.2.3"), inhibitAny(1)), of(asserts("any"))}, "1.2.3", nil, true},
		{"mapped", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.9")), of(asserts("1.2.9"))}, "1.2.3", nil, true},
		{"mapped away", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.9")), of(asserts("1.2.3"))}, "1.2.3", nil, false},
		{"asked by the name below", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.9")), of(asserts("1.2.9"))}, "1.2.9", nil, false},
		{"mapping forbidden", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.9")), of(asserts("1.2.9"))}, "1.2.3", func(q *Question) { q.NoPolicyMapping = true }, false},
		{"mapping forbidden above", certs{of(asserts("any"), policyConstraints(-1, 0)), of(asserts("1.2.3"), maps("1.2.3", "1.2.9")), of(asserts("1.2.9"))}, "1.2.3", nil, false},
		{"mapped out of any", certs{of(asserts("any"), maps("1.2.3", "1.2.9")), of(asserts("1.2.9"))}, "1.2.3", nil, true},
		{"mapped twice", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.4")), of(asserts("1.2.4"), maps("1.2.4", "1.2.5")), of(asserts("1.2.5"))}, "1.2.3", nil, true},
		{"mapped to two", certs{of(asserts("1.2.3"), maps("1.2.3", "1.2.4", "1.2.3", "1.2.5")), of(asserts("1.2.5"))}, "1.2.3", nil, true},
		{"two mapped to one", certs{of(asserts("1.2.3", "1.2.4"), maps("1.2.3", "1.2.9", "1.2.4", "1.2.9")), of(asserts("1.2.9"))}, "1.2.4", nil, true},
		{"an authority asks", certs{of(asserts("1.2.3"), policyConstraints(0, -1)), of(asserts("1.2.4"))}, "", nil, false},
		{"an authority asks, and has it", certs{of(asserts("1.2.3"), policyConstraints(0, -1)), of(asserts("1.2.3"))}, "", nil, true},
		{"an authority asks for what is three below it", certs{of(policyConstraints(3, -1)), nil, nil}, "", nil, true},
		{"an authority asks for what is two below it", certs{of(policyConstraints(2, -1)), nil, nil}, "", nil, false},
		{"the leaf asks", certs{nil, of(asserts("1.2.3"), policyConstraints(0, -1))}, "", nil, false},
		{"the leaf asks for nothing below it", certs{nil, of(asserts("1.2.3"), policyConstraints(1, -1))}, "", nil, true},
	} {
		q := policyPath(t, c.path...)
		switch c.asked {
		case "some":
			q.RequirePolicy = true
		case "":
		default:
			q.Policies = []string{c.asked}
		}
		if c.edit != nil {
			c.edit(&q)
		}
		v := Verify(q)
		if v.OK != c.good || !c.good && v.Code != code.NoPolicy {
			t.Errorf("%s: %v %s", c.why, v.OK, v.Code)
		}
	}
}

func TestPoliciesThatCannotBeReadRefuse(t *testing.T) {
	for why, o := range map[string]option{
		"mapped from any":      extension(true, tlv(0x30, tlv(0x30, oidDER("2.5.29.32.0"), oidDER("1.2.3"))), 2, 5, 29, extMappings),
		"mapped to any":        extension(true, tlv(0x30, tlv(0x30, oidDER("1.2.3"), oidDER("2.5.29.32.0"))), 2, 5, 29, extMappings),
		"no mapping":           extension(true, tlv(0x30), 2, 5, 29, extMappings),
		"half a mapping":       extension(true, tlv(0x30, tlv(0x30, oidDER("1.2.3"))), 2, 5, 29, extMappings),
		"no constraint":        extension(true, tlv(0x30), 2, 5, 29, extPolicyConstraints),
		"negative":             extension(true, tlv(0x30, tlv(0x80, []byte{0xff})), 2, 5, 29, extPolicyConstraints),
		"long form of zero":    extension(true, []byte{2, 2, 0, 0}, 2, 5, 29, extInhibitAny),
		"no number":            extension(true, []byte{2, 0}, 2, 5, 29, extInhibitAny),
		"something behind":     extension(true, []byte{2, 1, 0, 5, 0}, 2, 5, 29, extInhibitAny),
		"asserted twice":       extension(false, tlv(0x30, tlv(0x30, oidDER("1.2.3")), tlv(0x30, oidDER("1.2.3"))), 2, 5, 29, extPolicies),
		"no policy":            extension(false, tlv(0x30), 2, 5, 29, extPolicies),
		"qualifier that's odd": extension(false, tlv(0x30, tlv(0x30, oidDER("1.2.3"), tlv(0x30, tlv(0x05)))), 2, 5, 29, extPolicies),
	} {
		c, err := parseWith(t, o)
		if err != nil {
			continue
		}
		s := &search{q: Question{Anchors: NewAnchors(c)}}
		if judgeForm(s, 0, c) != code.CertificateForm {
			t.Errorf("%s: taken", why)
		}
	}
}

// Policies that map to each other in all ways double in a tree at every
// certificate; in the graph they do not, and beyond a number of steps the answer
// is no (CVE-2023-0464).
func TestPolicyMappingsDoNotMultiply(t *testing.T) {
	tangle := func(n int) []option {
		var names, pairs []string
		for i := range n {
			names = append(names, fmt.Sprintf("1.2.3.%d", i))
			for j := range n {
				pairs = append(pairs, fmt.Sprintf("1.2.3.%d", i), fmt.Sprintf("1.2.3.%d", j))
			}
		}
		return []option{asserts(names...), maps(pairs...), policyConstraints(0, -1)}
	}
	small := policyPath(t, tangle(6), tangle(6), tangle(6), tangle(6), tangle(6), []option{asserts("1.2.3.1")})
	accept(t, small)
	s := &search{q: small}
	if s.prepare() != nil || !s.find() || s.policyWork > 2000 {
		t.Errorf("%d steps", s.policyWork)
	}
	large := policyPath(t, tangle(40), tangle(40), tangle(40), []option{asserts("1.2.3.1")})
	s = &search{q: large}
	if s.prepare() != nil || s.find() || !s.spent || s.policyWork > maxPolicyWork+1 {
		t.Errorf("spent %v after %d steps", s.spent, s.policyWork)
	}
	refuse(t, large, code.Budget)
}

// Random policies on random paths, judged by the standard library too.
func TestPoliciesAgreeWithTheStandardLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 9618))
	names := []string{"1.2.3", "1.2.4", "1.2.5", "any"}
	pick := func() string { return names[r.IntN(3)] }
	random := func(leaf bool) []option {
		var asserted []string
		for _, n := range names {
			if r.IntN(3) > 0 {
				asserted = append(asserted, n)
			}
		}
		var out []option
		if len(asserted) > 0 && r.IntN(8) > 0 {
			out = append(out, asserts(asserted...))
			if !leaf && r.IntN(2) == 0 {
				out = append(out, maps(pick(), pick(), pick(), pick()))
			}
		}
		if r.IntN(3) == 0 {
			out = append(out, policyConstraints(r.IntN(3), r.IntN(4)-1))
		}
		if !leaf && r.IntN(3) == 0 {
			out = append(out, inhibitAny(byte(r.IntN(3))))
		}
		return out
	}
	yes := 0
	for range 400 {
		// The first authority asks for a policy, since only then does the other
		// side hold the path to those that are acceptable.
		path := [][]option{{asserts("1.2.3", "1.2.4", "any"), policyConstraints(0, -1)}}
		for range r.IntN(4) {
			path = append(path, random(false))
		}
		q := policyPath(t, append(path, random(true))...)
		o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
		o.Roots.AddCert(q.Anchors.Certificates()[0].X509)
		for _, c := range q.Chain[1:] {
			o.Intermediates.AddCert(c.X509)
		}
		if r.IntN(2) == 0 {
			q.Policies = []string{pick()}
			oid, err := x509.ParseOID(q.Policies[0])
			if err != nil {
				t.Fatal(err)
			}
			o.CertificatePolicies = []x509.OID{oid}
		}
		_, err := q.Chain[0].X509.Verify(o)
		v := Verify(q)
		if v.OK != (err == nil) {
			t.Fatalf("we say %v %s, crypto/x509 says %v", v.OK, v.Sentence(), err)
		}
		if v.OK {
			yes++
		}
	}
	if yes < 50 || yes > 350 {
		t.Errorf("%d of 400 stand: the test tests little", yes)
	}
}
