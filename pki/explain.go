package pki

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
)

// maxPaths is how many of the paths tried are told. Beyond a handful nobody reads.
const maxPaths = 8

// refuse searches again for the reasons: this time nothing but a wrong signature
// stops a path, and every check along it is written down. What the first search
// verified is not verified again, and what is left of the budget is all that
// there is.
func (s *search) refuse() *Verdict {
	fastSpent := s.spent
	// Every path that is told is judged twice, for the answer and for the words.
	s.spent, s.looks, s.comparisons, s.policyWork, s.scale = false, 0, 0, 0, 3*maxPaths
	s.told = &telling{}
	t := s.told
	s.steps = 0
	s.find()
	s.steps, s.n = 0, 1
	if !s.q.Anchors.Contains(s.path[0]) {
		s.deadEnds()
	}
	if len(t.paths) == 0 { // the budget was spent before the first end was reached
		t.paths = append(t.paths, s.describe())
	}
	slices.SortStableFunc(t.paths, comparePaths)
	v := &Verdict{Paths: t.paths, Link: -1}
	best := &t.paths[0]
	worst := gravest(best)
	if fastSpent || s.spent && worst == nil {
		v.Code = code.Budget
		v.Expected = fmt.Sprintf("a path within %d signatures, %d steps and %d comparisons of names", maxSignatures, maxSteps, maxComparisons)
		v.Found = "none, among " + plural(len(s.q.Chain), "certificate", "certificates") + " shown"
		v.complete("")
		return v
	}
	if worst == nil {
		// Each check of a path passed and the search did not take it: the two
		// would have to disagree. A no stays a no.
		return s.plain(code.Verifier, "one judgement", "two that differ", "report this with the chain")
	}
	c := best.Chain[worst.Certificate]
	v.Code, v.Expected, v.Found = worst.Code, worst.Expected, worst.Found
	v.Subject = c.Label()
	v.Link = slices.IndexFunc(s.q.Chain, func(d *Certificate) bool { return d.Equal(c) })
	v.complete(s.mend(worst, c))
	return v
}

// telling gathers the paths that end, in one way or another: first those that reach
// an anchor, the short ones before the long ones, and then those that don't.
type telling struct{ paths []Path }

func (t *telling) full() bool { return len(t.paths) >= maxPaths }

// deadEnds tells the paths that reach no anchor: it follows every signature that
// holds as far as it leads.
func (s *search) deadEnds() {
	t, top := s.told, s.path[s.n-1]
	if t.full() || s.spent {
		return
	}
	if s.n == maxPath {
		t.paths = append(t.paths, s.describe(Check{
			Name: "path", Certificate: s.n - 1, Code: code.PathTooLong,
			Expected: "a path of at most " + itoa(maxPath) + " certificates", Found: "a longer one"}))
		return
	}
	found := false
	var forged, other *Certificate // issuers by name whose key did not sign top
	for rank := keyMatches; rank >= keyDiffers; rank-- {
		try := func(c *Certificate) bool {
			if t.full() || !s.names(top, c, rank) || !s.forged(top, c) && !s.step() {
				return false
			}
			ok := s.signed(top, c)
			switch {
			case s.spent: // nobody knows
			case ok:
				found = true
			case rank == keyDiffers:
				other = c
			case forged == nil:
				forged = c
			}
			return ok
		}
		for _, c := range s.q.Anchors.named(top) {
			try(c)
		}
		for j, c := range s.q.Chain {
			if j > 0 && top.issuedBy(c) && !s.q.Anchors.Contains(c) && !s.seen(j) && try(c) {
				s.push(c, j)
				s.deadEnds()
				s.n--
			}
		}
	}
	if found || t.full() || s.spent && forged == nil {
		return
	}
	if forged != nil && s.circle(top) {
		forged, other = nil, nil
	}
	t.paths = append(t.paths, s.describe(s.deadEnd(top, forged, other)))
}

// circle says whether one of the path's own keys signed top: then it is not that top
// is signed wrongly, but that it leads nowhere else.
func (s *search) circle(top *Certificate) bool {
	return slices.ContainsFunc(s.path[:s.n], func(c *Certificate) bool { return top.issuedBy(c) && s.signed(top, c) })
}

// names says whether top names c as its issuer, with a key identifier that fits as
// well as rank, and c is not on the path already.
func (s *search) names(top, c *Certificate, rank int) bool {
	if s.looks++; s.looks > maxLooks*s.scale {
		s.spent = true
	}
	return !s.spent && top.issuedBy(c) && keyRank(top, c) == rank && !s.stands(c)
}

// deadEnd says why no issuer was found for top.
func (s *search) deadEnd(top, forged, other *Certificate) Check {
	k := Check{Name: "issuer", Certificate: s.n - 1, Code: code.UnknownAuthority,
		Expected: "an issuer among " + s.anchorsWords()}
	switch {
	case forged != nil && forged.keyCode == code.UnsupportedKey:
		k.Name, k.Code = "signature", code.UnsupportedKey
		k.Expected = "a signature by an issuer whose key is supported"
		k.Found = forged.Label() + " with " + forged.keyName()
	case forged != nil && top.algorithmCode != "":
		k.Name, k.Code = "signature", top.algorithmCode
		k.Expected, k.Found = wordsAlgorithm(s, 0, top)
	case forged != nil:
		k.Name, k.Code = "signature", code.BadSignature
		k.Expected = "a signature by its issuer " + forged.Label()
		k.Found = "one that does not verify with that key"
	case other != nil:
		k.Found = "issuer " + top.IssuerLabel() + " with another key than the authority of that name here"
	case top.selfIssued:
		k.Found = "a self-signed certificate that is no anchor"
		k.Expected = "an issuer, or itself, among " + s.anchorsWords()
	default:
		k.Found = "issuer " + top.IssuerLabel()
		if s.n == 1 && len(s.q.Chain) == 1 && s.kin(top) {
			k.Code = code.MissingIntermediate
			k.Found += ", and no intermediate was shown"
		}
	}
	return k
}

// kin says whether an anchor bears the organisation of c's issuer, which is a
// good sign that only the intermediate between them is missing.
func (s *search) kin(c *Certificate) bool {
	organizations := c.X509.Issuer.Organization
	for _, o := range organizations[:min(len(organizations), 2)] {
		for i, a := range s.q.Anchors.Certificates() {
			if i < 1000 && len(a.X509.Subject.Organization) > 0 && a.X509.Subject.Organization[0] == o {
				return true
			}
		}
	}
	return false
}

func (s *search) anchorsWords() string {
	a := s.q.Anchors.Certificates()
	if len(a) > 3 {
		return fmt.Sprintf("the %d anchors", len(a))
	}
	labels := make([]string, len(a))
	for i, c := range a {
		labels[i] = c.Label()
	}
	return "the anchors (" + strings.Join(labels, ", ") + ")"
}

// describe writes down every check of the path as it stands, and what else was
// found about its end. With nothing else, its end is an anchor, or the search
// gave up.
func (s *search) describe(end ...Check) Path {
	p := Path{Chain: slices.Clone(s.path[:s.n]), OK: true}
	add := func(k Check) {
		k.OK = k.Code == ""
		p.OK = p.OK && k.OK
		p.Checks = append(p.Checks, k)
	}
	reached := s.q.Anchors.Contains(p.Chain[s.n-1])
	for i, c := range p.Chain {
		anchor := i == s.n-1 && s.q.Anchors.Contains(c)
		checks := issuerChecks
		if i == 0 {
			checks = leafChecks
		} else if reached {
			checks = append(slices.Clone(checks), constraintsCheck)
		}
		for _, k := range checks {
			expected, found := k.words(s, i, c)
			add(Check{Name: k.name, Certificate: i, Code: k.judge(s, i, c), Expected: expected, Found: found})
		}
		if i > 0 && !anchor {
			expected, found := wordsAlgorithm(s, i, c)
			add(Check{Name: "signature algorithm", Certificate: i, Code: c.algorithmCode, Expected: expected, Found: found})
		}
		if i+1 < s.n {
			add(Check{Name: "signature", Certificate: i,
				Expected: "a signature by " + p.Chain[i+1].Label(), Found: "one that verifies"})
		}
		if anchor {
			add(s.anchorCheck(i, c))
			expected, found := s.wordsPolicies()
			add(Check{Name: "policies", Certificate: 0, Code: s.judgePolicies(), Expected: expected, Found: found})
			s.describeRevocation(p.standsAbove(), add)
		}
	}
	if reached && s.q.Transparency != nil {
		expected, found := s.wordsTransparency()
		add(Check{Name: "timestamps", Certificate: 0, Code: s.judgeTransparency(), Expected: expected, Found: found})
	}
	for _, k := range end {
		add(k)
	}
	if len(end) == 0 && !s.q.Anchors.Contains(p.Chain[s.n-1]) {
		p.OK = false
	}
	return p
}

// standsAbove is the place on the path above which every check was passed.
func (p *Path) standsAbove() int {
	at := 0
	for i := range p.Checks {
		if k := &p.Checks[i]; !k.OK {
			at = max(at, k.Certificate)
		}
	}
	return at
}

// anchorCheck tells of the anchor at the end of a path. One that is the leaf as
// well was compared byte for byte, so that nothing is left to ask.
func (s *search) anchorCheck(i int, c *Certificate) Check {
	k := Check{Name: "anchor", Certificate: i, Expected: "an anchor, unaltered", Found: "one of " + s.q.Anchors.String()}
	if i > 0 && !c.Intact() {
		k.Code = code.AlteredAnchor
		k.Found = "one that its own key did not sign as it stands"
		switch {
		case c.selfIssued && c.algorithmCode != "":
			k.Found += ", as far as " + c.AlgorithmName() + " is checked here"
		case !c.selfIssued:
			k.Found = "one issued by " + c.IssuerLabel() + " that does not name its issuer's key"
		}
	}
	return k
}

// comparePaths puts first what came nearest: an anchor reached, few checks failed.
func comparePaths(a, b Path) int {
	score := func(p *Path) int {
		n := 0
		for i := range p.Checks {
			switch k := &p.Checks[i]; {
			case k.OK:
			case k.Name == "issuer" || k.Name == "path":
				n += 10000
			case k.Name == "signature":
				n += 1000
			default:
				n++
			}
		}
		return n
	}
	return score(&a) - score(&b)
}

// gravity orders what may be wrong at once with one path: first that it is no
// path, then that somebody overstepped a limit, then time, then fitness.
var gravity = []code.Code{
	code.BadSignature, code.AlteredAnchor, code.UnknownAuthority, code.MissingIntermediate,
	code.CertificateRevoked, code.WeakSignature, code.UnsupportedKey, code.WeakKey,
	code.NotAnAuthority, code.AuthorityAsLeaf, code.PathTooLong, code.CriticalExtension, code.NameConstraints,
	code.CertificateExpired, code.CertificateNotYetValid, code.CertificateForm,
	code.WrongUsage, code.WrongKeyUsage, code.NoNames, code.WrongName, code.NoPolicy, code.NoStaple, code.BadRevocationList, code.RevocationUnknown, code.NoTimestamps, code.Budget,
}

// gravest is the failed check that the verdict tells of; nil where none failed.
func gravest(p *Path) *Check {
	var worst *Check
	at := 0
	for i := range p.Checks {
		k := &p.Checks[i]
		if k.OK {
			continue
		}
		if g := slices.Index(gravity, k.Code); worst == nil || g < at {
			worst, at = k, g
		}
	}
	return worst
}

// mend says what to do about k, which c failed, where more is known than what the
// code's page says; else "".
func (s *search) mend(k *Check, c *Certificate) string {
	role := map[Purpose]string{ForServer: "server", ForClient: "client", ForAny: "peer"}[s.q.Purpose]
	switch k.Code {
	case code.CertificateExpired:
		if s.q.Supposed {
			return fmt.Sprintf("renew it before it ends; judged at the time that was given, %s, and not by the clock", stamp(s.q.At))
		}
		return fmt.Sprintf("renew it; this machine's clock says %s", stamp(s.q.At))
	case code.CertificateNotYetValid:
		if s.q.Supposed {
			return fmt.Sprintf("it stands from its beginning on; judged at the time that was given, %s, and not by the clock", stamp(s.q.At))
		}
		return fmt.Sprintf("compare the clocks: this machine's says %s", stamp(s.q.At))
	case code.UnknownAuthority, code.MissingIntermediate:
		return s.mendIssuer(role, k, c)
	case code.AuthorityAsLeaf, code.WrongKeyUsage:
		for i, d := range s.q.Chain[1:] {
			if c.authority() && !d.authority() {
				return fmt.Sprintf("put the leaf first in the %s's certificate file: certificate %d seems to be it", role, i+2)
			}
		}
	case code.CertificateForm:
		return s.mendForm(k, c)
	case code.WrongName:
		if s.faultOf(c) != nil {
			return "issue it with one URI as a subject alternative name, its SPIFFE ID"
		}
		switch names := c.firstNames(1); {
		case s.name.Kind() == identity.URI && len(c.URIs) > 1:
			return "issue it with one URI alone: a certificate with several has no SPIFFE ID"
		case s.name.Kind() == identity.IP && slices.Contains(c.DNS, s.name.String()):
			return fmt.Sprintf("the address is written as a DNS name: issue it as an address (openssl: -addext subjectAltName=IP:%s)", s.name)
		case len(names) > 0:
			return fmt.Sprintf("issued for %s, asked for %s: ask for a name that it has, or issue it with the name that is asked for",
				identity.Quote(names[0]), identity.Quote(s.name.String()))
		}
	case code.WrongUsage:
		if k.Certificate > 0 {
			return fmt.Sprintf("authority %s may not issue for this use; issue the %s's certificate from another", c.Label(), role)
		}
		want := map[Purpose]string{ForServer: "serverAuth", ForClient: "clientAuth"}[s.q.Purpose]
		return fmt.Sprintf("issue the %s's certificate with the extended key usage %s", role, want)
	case code.AlteredAnchor:
		if !c.selfIssued {
			return fmt.Sprintf("make the root %s the anchor, or issue this one with an authority key identifier: without, it can't be told from an altered root", c.IssuerLabel())
		}
		return "install the authority's certificate anew from a source that you trust"
	}
	return ""
}

func (s *search) mendForm(k *Check, c *Certificate) string {
	f := s.faultOf(c)
	switch {
	case f == nil: // its name, as what is below it writes it
		return fmt.Sprintf("issue what %s issued anew, with the authority's subject copied into the issuer, byte for byte", c.Label())
	case strings.HasPrefix(f.found, `a name constraint that is none: DNS name "*.`):
		return fmt.Sprintf("make %s anew with the constraint written without the star: a domain stands for itself and all names below it", c.Label())
	case strings.HasSuffix(f.expected, "that can be judged"):
		return fmt.Sprintf("make %s anew without what was found: %s", c.Label(), f.found)
	case s.q.Profile == Private && !f.in.has(Basic):
		return fmt.Sprintf("make %s anew with %s; if its software can't, and its authority is one of your own, judge it by the profile basic", c.Label(), f.expected)
	}
	return fmt.Sprintf("make %s anew with %s", c.Label(), k.Expected)
}

func (s *search) mendIssuer(role string, k *Check, c *Certificate) string {
	switch {
	case strings.HasPrefix(k.Found, "a self-signed"):
		return fmt.Sprintf("if the %s is right, add %s to the anchors", role, c.Label())
	case strings.Contains(k.Found, "another key"):
		return fmt.Sprintf("authority %s seems to have been made anew: add its new certificate to the anchors, or have the %s show a certificate of the one that is trusted", c.IssuerLabel(), role)
	case len(s.q.Chain) == 1:
		return fmt.Sprintf("the %s sent no intermediate; its issuer is %s: have the %s send the intermediate after its leaf, or add that authority's root to the anchors", role, c.IssuerLabel(), role)
	}
	return fmt.Sprintf("if the %s is right, add the authority %s to the anchors, or have the %s send the intermediates up to one that is there", role, c.IssuerLabel(), role)
}
