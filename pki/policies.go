package pki

import (
	"crypto/x509"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/code"
)

// anyPolicy is the OID 2.5.29.32.0, as the bytes of its DER contents.
const anyPolicy = "\x55\x1d\x20\x00"

// policies is what a certificate says of policies (RFC 5280, sections 4.2.1.4,
// 4.2.1.5, 4.2.1.11 and 4.2.1.14). OIDs are the bytes of their DER contents.
type policies struct {
	asserted []string
	any      bool // anyPolicy is asserted
	mappings []mapping
	// How many certificates may follow before the limit bites; -1: no limit.
	requireExplicit, inhibitMapping, inhibitAny int
}

type mapping struct{ issuer, subject string }

// readPolicies reads all of it, and says what is wrong, "" for nothing.
func (c *Certificate) readPolicies(f *fields) string {
	if f.value[extPolicies] == nil && f.value[extMappings] == nil && f.value[extPolicyConstraints] == nil && f.value[extInhibitAny] == nil {
		return ""
	}
	p := &policies{requireExplicit: -1, inhibitMapping: -1, inhibitAny: -1}
	c.policies = p
	if v := f.value[extPolicies]; v != nil {
		if wrong := p.readAsserted(v, f.critical[extPolicies]); wrong != "" {
			return wrong
		}
	}
	if v := f.value[extMappings]; v != nil {
		in := cryptobyte.String(v)
		var seq cryptobyte.String
		if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || seq.Empty() {
			return "policy mappings that are not well-formed DER"
		}
		for !seq.Empty() {
			var pair, issuer, subject cryptobyte.String
			if !seq.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1(&issuer, der.OBJECT_IDENTIFIER) ||
				!pair.ReadASN1(&subject, der.OBJECT_IDENTIFIER) || !pair.Empty() {
				return "policy mappings that are not well-formed DER"
			}
			if string(issuer) == anyPolicy || string(subject) == anyPolicy { // section 6.1.4, (a)
				return "a policy mapped to or from anyPolicy"
			}
			p.mappings = append(p.mappings, mapping{string(issuer), string(subject)})
		}
	}
	if v := f.value[extPolicyConstraints]; v != nil {
		in := cryptobyte.String(v)
		var seq cryptobyte.String
		if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || seq.Empty() ||
			!readSkip(&seq, 0, &p.requireExplicit) || !readSkip(&seq, 1, &p.inhibitMapping) || !seq.Empty() {
			return "policy constraints that are not well-formed DER"
		}
	}
	if v := f.value[extInhibitAny]; v != nil {
		in := cryptobyte.String(v)
		if !readCount(&in, der.INTEGER, &p.inhibitAny) || !in.Empty() {
			return "an inhibit anyPolicy that is not well-formed DER"
		}
	}
	return ""
}

func (p *policies) readAsserted(value []byte, critical bool) string {
	const shape = "certificate policies that are not well-formed DER"
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() || seq.Empty() {
		return shape
	}
	seen := map[string]bool{}
	for !seq.Empty() {
		var one, oid, qualifiers cryptobyte.String
		if !seq.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
			return shape
		}
		if !one.Empty() && (!one.ReadASN1(&qualifiers, der.SEQUENCE) || !one.Empty() || qualifiers.Empty()) {
			return shape
		}
		for !qualifiers.Empty() {
			var q, id cryptobyte.String
			if !qualifiers.ReadASN1(&q, der.SEQUENCE) || !q.ReadASN1(&id, der.OBJECT_IDENTIFIER) {
				return shape
			}
			// Section 4.2.1.4: the two that are known, a statement's place and a notice.
			if critical && string(id) != "\x2b\x06\x01\x05\x05\x07\x02\x01" && string(id) != "\x2b\x06\x01\x05\x05\x07\x02\x02" {
				return "critical certificate policies with a qualifier that is not known"
			}
		}
		if seen[string(oid)] {
			return "a policy that is asserted twice"
		}
		seen[string(oid)] = true
		if string(oid) == anyPolicy {
			p.any = true
		} else {
			p.asserted = append(p.asserted, string(oid))
		}
	}
	return ""
}

func readSkip(seq *cryptobyte.String, n uint8, out *int) bool {
	tag := der.Tag(n).ContextSpecific()
	return !seq.PeekASN1Tag(tag) || readCount(seq, tag, out)
}

// readCount reads INTEGER (0..MAX); more certificates than any path has are as
// good as any other such number.
func readCount(in *cryptobyte.String, tag der.Tag, out *int) bool {
	var v cryptobyte.String
	if !in.ReadASN1(&v, tag) || len(v) == 0 || v[0]&0x80 != 0 || len(v) > 1 && v[0] == 0 && v[1]&0x80 == 0 {
		return false
	}
	*out = 0
	for _, b := range v {
		*out = min(*out<<8|int(b), 1<<20)
	}
	return true
}

// policyGraph is one row of the graph of RFC 9618, section 5: the policies that
// are valid at one certificate, each with the policies that it may go by in the
// next, and with those of the anchor's domain that it came from. A policy stands
// once in a row however many ways lead to it, so that nothing multiplies.
type policyGraph map[string]*policyNode

type policyNode struct {
	expected []string        // nil: its own name alone
	origins  map[string]bool // of anyPolicy: itself
}

// judgePolicies is RFC 5280, sections 6.1.2 to 6.1.5, with RFC 9618's graph, on
// the whole of s.path. The anchor is not a part of it, as everywhere in section 6.
func (s *search) judgePolicies() code.Code {
	n := max(s.n-1, 1) // without the anchor, but where the leaf is one
	required := s.q.RequirePolicy || len(s.policies) > 0
	asked := required
	for _, c := range s.path[:n] {
		asked = asked || c.policies != nil && c.policies.requireExplicit >= 0
	}
	if !asked { // nothing asks for a policy, and mappings alone refuse nothing
		return ""
	}
	explicit, mapping, any := n+1, n+1, n+1
	if required {
		explicit = 0
	}
	if s.q.NoPolicyMapping {
		mapping = 0
	}
	if s.q.NoAnyPolicy {
		any = 0
	}
	row := policyGraph{anyPolicy: {origins: map[string]bool{anyPolicy: true}}}
	for i := n - 1; i >= 0; i-- {
		c := s.path[i]
		free := c.selfIssued && i > 0
		row = s.nextRow(row, c, any > 0 || free)
		if s.spent {
			return code.Budget
		}
		if row == nil && explicit == 0 {
			return code.NoPolicy
		}
		if i == 0 {
			if explicit > 0 {
				explicit--
			}
			if p := c.policies; p != nil && p.requireExplicit == 0 {
				explicit = 0
			}
			break
		}
		row = s.mapRow(row, c, mapping > 0)
		if s.spent {
			return code.Budget
		}
		if !free {
			explicit, mapping, any = max(explicit-1, 0), max(mapping-1, 0), max(any-1, 0)
		}
		if p := c.policies; p != nil {
			for _, limit := range []struct {
				by int
				of *int
			}{{p.requireExplicit, &explicit}, {p.inhibitMapping, &mapping}, {p.inhibitAny, &any}} {
				if limit.by >= 0 {
					*limit.of = min(*limit.of, limit.by)
				}
			}
		}
	}
	if explicit > 0 || s.acceptable(row) {
		return ""
	}
	return code.NoPolicy
}

// acceptable says whether one of the policies that are valid for the leaf came
// from one that the question asks for (section 6.1.5, (g)).
func (s *search) acceptable(row policyGraph) bool {
	if len(s.policies) == 0 || row[anyPolicy] != nil {
		return len(row) > 0
	}
	for _, want := range s.policies {
		for _, node := range row {
			if node.origins[want] {
				return true
			}
		}
	}
	return false
}

// nextRow is section 6.1.3, (d) and (e), for one certificate; nil is the empty row.
func (s *search) nextRow(row policyGraph, c *Certificate, any bool) policyGraph {
	if c.policies == nil || row == nil {
		return nil
	}
	p := c.policies
	next := policyGraph{}
	byExpected := map[string][]*policyNode{}
	for policy, node := range row {
		if node.expected == nil {
			byExpected[policy] = append(byExpected[policy], node)
			if !s.spend(1) {
				return nil
			}
		}
		for _, e := range node.expected {
			byExpected[e] = append(byExpected[e], node)
			if !s.spend(1) {
				return nil
			}
		}
	}
	wild := row[anyPolicy]
	for _, policy := range p.asserted {
		if parents := byExpected[policy]; parents != nil {
			for _, parent := range parents {
				s.join(next, policy, parent.origins)
			}
		} else if wild != nil {
			s.join(next, policy, map[string]bool{policy: true})
		}
	}
	if p.any && any {
		for policy, parents := range byExpected {
			if next[policy] != nil && policy != anyPolicy {
				continue
			}
			for _, parent := range parents {
				s.join(next, policy, parent.origins)
			}
		}
	}
	if len(next) == 0 {
		return nil
	}
	return next
}

func (s *search) join(row policyGraph, policy string, origins map[string]bool) {
	if row[policy] == nil {
		row[policy] = &policyNode{origins: map[string]bool{}}
	}
	for o := range origins {
		if s.spent || !s.spend(1) {
			return
		}
		row[policy].origins[o] = true
	}
}

// mapRow is section 6.1.4, (b), for one authority.
func (s *search) mapRow(row policyGraph, c *Certificate, allowed bool) policyGraph {
	if row == nil || c.policies == nil || len(c.policies.mappings) == 0 {
		return row
	}
	to := map[string][]string{}
	for _, m := range c.policies.mappings {
		if !s.spend(1) {
			return nil
		}
		to[m.issuer] = append(to[m.issuer], m.subject)
	}
	wild := row[anyPolicy]
	for issuer, subjects := range to {
		node := row[issuer]
		switch {
		case !allowed:
			delete(row, issuer)
		case node != nil:
			node.expected = subjects
		case wild != nil:
			row[issuer] = &policyNode{expected: subjects, origins: map[string]bool{issuer: true}}
		}
	}
	if len(row) == 0 {
		return nil
	}
	return row
}

// spend takes n policies off the budget.
func (s *search) spend(n int) bool {
	if s.policyWork += n; s.policyWork > maxPolicyWork*s.scale {
		s.spent = true
	}
	return !s.spent
}

// policyOID is an OID with dots as the bytes of its DER contents.
func policyOID(dotted string) (string, bool) {
	oid, err := x509.ParseOID(dotted)
	if err != nil {
		return "", false
	}
	b, err := oid.MarshalBinary()
	return string(b), err == nil
}

// wordsPolicies tells what the path was to be valid for, and what it is.
func (s *search) wordsPolicies() (expected, found string) {
	expected = "a certificate policy that is valid for the whole path"
	if len(s.q.Policies) > 0 {
		first := s.q.Policies[:min(len(s.q.Policies), maxNames)]
		expected = "one of the certificate policies " + strings.Join(first, ", ") + ", valid for the whole path"
	}
	switch s.judgePolicies() {
	case "":
		return expected, "none is asked for, or one is valid"
	case code.Budget:
		return "at most " + itoa(maxPolicyWork) + " steps among policies", "more"
	}
	return expected, "none"
}
