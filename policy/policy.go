package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/pki"
)

// MaxRules is the most rules of one policy. A list that is longer wants an
// authority of its own instead.
const MaxRules = 10000

// Policy is a list of rules. See Parse.
type Policy struct {
	domain   string            // our trust domain, "" where there is none
	dns      map[string]string // clean name → rule as written
	suffixes map[string]string // what follows the "*" of a clean pattern → rule as written
	ids      map[string]string // SPIFFE ID → rule as written
	rules    []string
	sum      [32]byte
}

// Decision is what a policy says of a certificate.
type Decision struct {
	// Allowed is the answer.
	Allowed bool
	// Rule is the rule that allowed, as it was written; where none did, a
	// sentence that says why. It is safe to print.
	Rule string
	// Name is the certificate's name that the rule met; where none did, the name
	// that comes nearest to saying who this is. It is a peer's bytes if not
	// Allowed: quote it.
	Name string
}

// Parse reads rules:
//
//	web                          a DNS name; in trustDomain, if one is given
//	*.example.com                any one label in the place of the star
//	spiffe://prod.example/web    a whole SPIFFE ID, of any trust domain
//
// A rule may itself be a list, separated by commas. DNS names match without
// regard to case, SPIFFE IDs byte for byte. No rule at all is an error, as is one
// that could not match or would match more than it says: the error says which,
// and what mends it. trustDomain is "" where there is none (PEM files).
//
// With a trust domain, a plain name means that name in our own domain: the
// certificate has to carry a SPIFFE ID of the domain, so that another
// authority's "web" never passes for ours.
func Parse(rules []string, trustDomain string) (*Policy, error) {
	p := &Policy{dns: map[string]string{}, suffixes: map[string]string{}, ids: map[string]string{}}
	if trustDomain != "" {
		id, err := identity.ParseSPIFFE("spiffe://" + trustDomain)
		if err != nil || id.Path() != "" {
			return nil, fmt.Errorf("%s is not a trust domain: expected lower-case letters, digits, dots and hyphens, as in prod.example", identity.Quote(trustDomain))
		}
		p.domain = trustDomain
	}
	for _, list := range rules {
		for rule := range strings.SplitSeq(list, ",") {
			rule = strings.TrimSpace(rule)
			if len(p.rules) >= MaxRules {
				return nil, fmt.Errorf("more than %d rules", MaxRules)
			}
			if err := p.add(rule); err != nil {
				return nil, err
			}
		}
	}
	if len(p.rules) == 0 {
		return nil, errors.New("no rule was given, and what no rule allows is refused; name who may come in (--allow web)")
	}
	p.sum = sumOf(p.domain, p.rules)
	return p, nil
}

func (p *Policy) add(rule string) error {
	fail := func(why string) error {
		return fmt.Errorf("rule %s: %s", identity.Quote(rule), why)
	}
	switch {
	case rule == "":
		return errors.New(`an empty rule; separate rules with single commas, as in "web,*.example.com"`)
	case identity.IsSPIFFE(rule):
		id, err := identity.ParseSPIFFE(rule)
		if err != nil {
			if strings.Contains(rule, "*") {
				return fail("a SPIFFE ID has no wildcards; name each ID")
			}
			return fail(err.Error())
		}
		if id.Path() == "" {
			return fail("it is a whole trust domain, not who may come in; add the path, as in " + rule + "/web")
		}
		p.ids[rule] = rule
	case strings.Contains(rule, "://"):
		return fail("of URIs only SPIFFE IDs can be allowed; give the host's name alone")
	case rule == "*" || rule == "*.":
		return fail("it would allow everybody; name who may come in, or give --client-auth none if everybody is meant to")
	case strings.HasPrefix(rule, "*."):
		clean, err := identity.CleanPattern(rule)
		if err != nil {
			return fail(err.Error())
		}
		p.suffixes[clean[1:]] = rule
	case strings.Contains(rule, "*"):
		return fail("a star stands for the whole first label or nothing; write *.example.com")
	default:
		name, err := identity.Parse(rule)
		if err != nil {
			return fail(err.Error())
		}
		if name.Kind() == identity.IP {
			return fail("an address says where somebody is, not who; give a DNS name or a SPIFFE ID")
		}
		p.dns[name.String()] = rule
	}
	p.rules = append(p.rules, rule)
	return nil
}

// Rules are the rules as they were written. The slice must not be changed.
func (p *Policy) Rules() []string { return p.rules }

// Sum is a digest of the trust domain and the rules: two policies with the same
// Sum decide alike.
func (p *Policy) Sum() [32]byte {
	if p == nil {
		return [32]byte{}
	}
	return p.sum
}

func sumOf(domain string, rules []string) (sum [32]byte) {
	h := sha256.New()
	for _, s := range append([]string{domain}, rules...) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	h.Sum(sum[:0])
	return sum
}

// Decide says whether the one whom c names may come in. c's path has to have been
// verified. A nil policy allows nobody.
func (p *Policy) Decide(c *pki.Certificate) Decision {
	if p == nil {
		return Decision{Rule: "there are no rules, and what no rule allows is refused"}
	}
	if c == nil {
		return Decision{Rule: "no certificate was shown, so that no rule can be met"}
	}
	if c.SPIFFE != "" {
		if rule, ok := p.ids[c.SPIFFE]; ok {
			return Decision{Allowed: true, Rule: rule, Name: c.SPIFFE}
		}
	}
	foreign := false
	if p.domain != "" {
		id, err := identity.ParseSPIFFE(c.SPIFFE)
		foreign = err != nil || id.TrustDomain() != p.domain
	}
	if !foreign {
		for _, name := range c.DNS {
			if rule, ok := p.match(name); ok {
				return Decision{Allowed: true, Rule: rule, Name: name}
			}
		}
	}
	d := Decision{Name: nearest(c)}
	switch {
	case len(c.DNS) == 0 && c.SPIFFE == "":
		d.Rule = "the certificate has neither a DNS name nor a SPIFFE ID, so that no rule can be met"
	case foreign && len(p.dns)+len(p.suffixes) > 0:
		d.Rule = fmt.Sprintf("no rule allows %s: it is not of the trust domain %s, in which plain names are meant (rules: %s)", named(c), p.domain, p.words())
	default:
		d.Rule = fmt.Sprintf("no rule allows %s (rules: %s)", named(c), p.words())
	}
	return d
}

// match finds the rule for a DNS name of a certificate. A wildcard in a
// certificate is a claim to many names and meets no rule but the same pattern: a
// rule for "a.example.com" must not admit whoever holds "*.example.com".
func (p *Policy) match(name string) (string, bool) {
	clean, err := identity.CleanPattern(name)
	if err != nil {
		return "", false
	}
	if rule, ok := p.dns[clean]; ok {
		return rule, true
	}
	if i := strings.IndexByte(clean, '.'); i > 0 {
		if rule, ok := p.suffixes[clean[i:]]; ok {
			return rule, true
		}
	}
	return "", false
}

func nearest(c *pki.Certificate) string {
	switch {
	case c.SPIFFE != "" && len(c.DNS) == 0:
		return c.SPIFFE
	case len(c.DNS) > 0:
		return c.DNS[0]
	}
	if names := c.Names(); len(names) > 0 {
		return names[0]
	}
	return ""
}

// most is how many names or rules a sentence lists.
const most = 5

func named(c *pki.Certificate) string {
	names := append([]string(nil), c.DNS[:min(len(c.DNS), most)]...)
	if c.SPIFFE != "" {
		names = append(names, c.SPIFFE)
	}
	return list(names, len(c.DNS)-min(len(c.DNS), most))
}

func (p *Policy) words() string {
	n := min(len(p.rules), most)
	return list(p.rules[:n], len(p.rules)-n)
}

func list(names []string, more int) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = identity.Quote(n)
	}
	s := strings.Join(quoted, ", ")
	if more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
