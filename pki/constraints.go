package pki

import (
	"math/bits"
	"net/netip"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
)

// constraints are an authority's name constraints (RFC 5280, section 4.2.1.10).
// They limit every name in every certificate below it, whatever its own limits
// are: the constraints of a path add up.
type constraints struct {
	permitted, excluded []subtree
	limits              [9]bool // the kinds of which some names only are permitted
}

// subtree is one constraint, read. unjudged is a kind of name that has no rule
// here: the constraint refuses every name of its kind.
type subtree struct {
	kind     nameKind
	unjudged bool
	text     string // DNS and URI: the host, email: mailbox or host; lower case but for a mailbox's local part
	below    bool   // text began with a dot: what lies below it, not itself
	base     netip.Addr
	mask     []byte
	name     directoryName
	written  generalName
}

// readConstraints reads name constraints. fault says what cannot be judged in
// them, and then nothing below the authority stands; dotted says that a DNS name
// begins with a dot, which RFC 5280 does not have, though many write it.
func readConstraints(value []byte) (c *constraints, fault string, dotted bool) {
	const shape = "name constraints that are not well-formed DER"
	in := cryptobyte.String(value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !in.Empty() {
		return nil, shape, false
	}
	c = &constraints{}
	for n, list := range []*[]subtree{&c.permitted, &c.excluded} {
		var trees cryptobyte.String
		var present bool
		if !seq.ReadOptionalASN1(&trees, &present, der.Tag(n).ContextSpecific().Constructed()) {
			return nil, shape, false
		}
		if present && trees.Empty() {
			return nil, "name constraints with an empty list", false
		}
		for !trees.Empty() {
			var tree cryptobyte.String
			if !trees.ReadASN1(&tree, der.SEQUENCE) {
				return nil, shape, false
			}
			name, ok := readGeneralName(&tree)
			if !ok {
				return nil, shape, false
			}
			if !tree.Empty() { // section 4.2.1.10: minimum is 0, not written, and maximum is absent
				return nil, "name constraints with a minimum or a maximum", false
			}
			t, ok := readSubtree(name)
			if !ok {
				return nil, "a name constraint that is none: " + name.words(), false
			}
			dotted = dotted || t.kind == nameDNS && t.below
			*list = append(*list, t)
			if n == 0 {
				c.limits[t.kind] = true
			}
		}
	}
	if !seq.Empty() {
		return nil, shape, false
	}
	if c.permitted == nil && c.excluded == nil {
		return nil, "name constraints that hold none", false
	}
	return c, "", dotted
}

// readSubtree reads one constraint, by the rules of its kind.
func readSubtree(n generalName) (subtree, bool) {
	t := subtree{kind: n.kind, written: n}
	host := func(s string) bool {
		s, t.below = strings.CutPrefix(s, ".")
		t.text = identity.Lower(s)
		return plainDNS(s)
	}
	switch n.kind {
	case nameDNS:
		// Nothing at all is every name: what forbids a kind is written so.
		return t, n.bytes == "" || host(n.bytes)
	case nameURI:
		return t, host(n.bytes)
	case nameEmail:
		local, domain, mailbox := splitEmail(n.bytes)
		if mailbox {
			t.text = local + "@" + identity.Lower(domain)
			return t, true
		}
		return t, host(n.bytes)
	case nameIP:
		size := len(n.bytes) / 2
		if len(n.bytes) != 8 && len(n.bytes) != 32 {
			return t, false
		}
		t.base, _ = netip.AddrFromSlice([]byte(n.bytes[:size]))
		t.mask = []byte(n.bytes[size:])
		return t, contiguous(t.mask)
	case nameDirectory:
		var ok bool
		t.name, ok = readDirectoryName(n.bytes)
		return t, ok
	}
	t.unjudged = true
	return t, true
}

// contiguous says whether a mask is ones and then zeros (RFC 4632).
func contiguous(mask []byte) bool {
	ended := false
	for _, b := range mask {
		ones := bits.LeadingZeros8(^b)
		if b<<ones != 0 || ended && b != 0 {
			return false
		}
		ended = ended || ones < 8
	}
	return true
}

// covers says whether a name lies in the subtree. For a wildcard, wide asks
// whether any of its names does, else whether all do: the first excludes, the
// second permits. ok is false where the name can't be held against a subtree of
// its kind.
func (t *subtree) covers(n *generalName, wide bool) (inside, ok bool) {
	switch t.kind {
	case nameDNS:
		name, star := strings.CutPrefix(n.bytes, "*.")
		if !plainDNS(name) {
			return false, false
		}
		if star && wide && !t.below && parentIs(t.text, name) {
			return true, true // the wildcard may be that very name
		}
		return hostWithin(name, star, t, wide), true
	case nameURI:
		host, ok := uriHost(n.bytes)
		if !ok {
			return false, false
		}
		if t.below {
			return isBelow(host, t.text), true
		}
		return host == t.text, true
	case nameEmail:
		local, host, ok := splitEmail(n.bytes)
		if !ok {
			return false, false
		}
		if i := strings.LastIndexByte(t.text, '@'); i >= 0 {
			return local == t.text[:i] && identity.EqualFold(host, t.text[i+1:]), true
		}
		if t.below {
			return isBelow(host, t.text), true
		}
		return identity.EqualFold(host, t.text), true
	case nameIP:
		a, ok := netip.AddrFromSlice([]byte(n.bytes))
		if !ok {
			return false, false
		}
		if a.BitLen() != t.base.BitLen() {
			return false, true
		}
		have, want := a.AsSlice(), t.base.AsSlice()
		for i, m := range t.mask {
			if have[i]&m != want[i]&m {
				return false, true
			}
		}
		return true, true
	case nameDirectory:
		d, ok := readDirectoryName(n.bytes)
		return ok && d.within(t.name), ok
	}
	return false, false
}

// hostWithin holds a DNS name, or what is behind a wildcard, against a subtree:
// itself and what is below. With a leading dot, which has no agreed meaning, the
// narrower reading permits and the wider one excludes.
func hostWithin(name string, star bool, t *subtree, wide bool) bool {
	if t.text == "" || isBelow(name, t.text) {
		return true
	}
	return identity.EqualFold(name, t.text) && (star || wide || !t.below)
}

// isBelow says whether name has a label or more before base; base is lower case.
func isBelow(name, base string) bool {
	n := len(name) - len(base)
	return n > 1 && name[n-1] == '.' && identity.EqualFold(name[n:], base)
}

// parentIs says whether name is one label before parent.
func parentIs(name, parent string) bool {
	i := strings.IndexByte(name, '.')
	return i > 0 && identity.EqualFold(name[i+1:], parent)
}

// breach is a name that its authority's constraints do not let stand.
type breach struct {
	name generalName
	tree *subtree // what excludes it; nil: no permitted subtree holds it
	bare bool     // it is no name that could be held against them
}

// breachOf is the first name of d that c refuses, nil where none is. Every name
// held against a subtree is counted, and spent is true when the budget is.
func (s *search) breachOf(c *constraints, d *Certificate) (found *breach, spent bool) {
	for i := range d.alt {
		if found, spent = s.hold(c, &d.alt[i]); found != nil || spent {
			return found, spent
		}
	}
	if c.mentions(nameDirectory) && !d.emptySubject() {
		subject := generalName{nameDirectory, string(d.X509.RawSubject)}
		if found, spent = s.hold(c, &subject); found != nil || spent {
			return found, spent
		}
	}
	if !d.hasAlt && c.mentions(nameEmail) { // section 4.2.1.10: then, and only then, the subject's count
		for _, a := range subjectEmails(d) {
			name := generalName{nameEmail, a}
			if found, spent = s.hold(c, &name); found != nil || spent {
				return found, spent
			}
		}
	}
	return nil, false
}

func (c *constraints) mentions(k nameKind) bool {
	if c.limits[k] {
		return true
	}
	for i := range c.excluded {
		if c.excluded[i].kind == k {
			return true
		}
	}
	return false
}

// hold holds one name against all subtrees of its kind.
func (s *search) hold(c *constraints, n *generalName) (*breach, bool) {
	kind := n.kind
	if kind == nameOther && strings.HasPrefix(n.bytes, smtpUTF8Mailbox) && c.mentions(nameEmail) {
		return &breach{name: *n, bare: true}, false
	}
	for i := range c.excluded {
		t := &c.excluded[i]
		if t.kind != kind {
			continue
		}
		if !s.compare(n) {
			return nil, true
		}
		if t.unjudged {
			return &breach{name: *n, tree: t}, false
		}
		inside, ok := t.covers(n, true)
		if inside || !ok {
			return &breach{name: *n, tree: t, bare: !ok}, false
		}
	}
	if !c.limits[kind] {
		return nil, false
	}
	for i := range c.permitted {
		t := &c.permitted[i]
		if t.kind != kind {
			continue
		}
		if !s.compare(n) {
			return nil, true
		}
		if t.unjudged {
			return &breach{name: *n, tree: t}, false
		}
		inside, ok := t.covers(n, false)
		if !ok {
			return &breach{name: *n, tree: t, bare: true}, false
		}
		if inside {
			return nil, false
		}
	}
	return &breach{name: *n}, false
}

// compare takes one comparison off the budget, more of them for a long name.
func (s *search) compare(n *generalName) bool {
	cost := 1 + len(n.bytes)/256
	if n.kind == nameDirectory {
		cost += len(n.bytes) / 16 // it is read anew
	}
	if s.comparisons += cost; s.comparisons > maxComparisons*s.scale {
		s.spent = true
	}
	return !s.spent
}

// judgeConstraints holds the names of every certificate below place i against
// c's constraints; those of self-issued authorities are free (section 6.1.3, (b)).
func judgeConstraints(s *search, i int, c *Certificate) code.Code {
	if c.constraints == nil {
		return ""
	}
	switch _, b, spent := s.breachBelow(i, c); {
	case spent:
		return code.Budget
	case b != nil:
		return code.NameConstraints
	}
	return ""
}

func (s *search) breachBelow(i int, c *Certificate) (*Certificate, *breach, bool) {
	for j, d := range s.path[:i] {
		if j > 0 && d.selfIssued {
			continue
		}
		if b, spent := s.breachOf(c.constraints, d); b != nil || spent {
			return d, b, spent
		}
	}
	return nil, nil, false
}

func wordsConstraints(s *search, i int, c *Certificate) (string, string) {
	const expected = "names that the authority's name constraints let stand"
	if c.constraints == nil {
		return expected, "no name constraints"
	}
	d, b, spent := s.breachBelow(i, c)
	switch {
	case spent:
		return "at most " + itoa(maxComparisons) + " comparisons of names with constraints", "more"
	case b == nil:
		return expected, "such names only"
	case b.bare:
		return expected, d.Label() + " with " + b.name.words() + ", which can't be held against them"
	case b.tree != nil && b.tree.unjudged:
		return expected, d.Label() + " with a name of the kind " + b.name.kind.String() + ", which they limit in a way that is not judged"
	case b.tree != nil:
		return expected, d.Label() + " with " + b.name.words() + ", excluded by " + b.tree.words()
	}
	return expected, d.Label() + " with " + b.name.words() + "; permitted is " + c.constraints.permittedWords(b.name.kind)
}

func (t *subtree) words() string {
	if t.kind == nameIP {
		ones := 0
		for _, b := range t.mask {
			ones += bits.OnesCount8(b)
		}
		return t.base.String() + "/" + itoa(ones)
	}
	return t.written.words()
}

// permittedWords lists what of a kind is permitted, the first few.
func (c *constraints) permittedWords(k nameKind) string {
	var out []string
	n := 0
	for i := range c.permitted {
		if c.permitted[i].kind == k {
			if n++; n <= maxNames {
				out = append(out, c.permitted[i].words())
			}
		}
	}
	words := strings.Join(out, ", ")
	if n > maxNames {
		words += " and " + itoa(n-maxNames) + " more"
	}
	return words
}

// subjectEmails are the email addresses in a subject (1.2.840.113549.1.9.1).
func subjectEmails(c *Certificate) []string {
	const email = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01"
	d, ok := readDirectoryName(string(c.X509.RawSubject))
	if !ok {
		return nil
	}
	var out []string
	for _, rdn := range d {
		for _, a := range rdn {
			if a.oid == email {
				out = append(out, a.value)
			}
		}
	}
	return out
}
