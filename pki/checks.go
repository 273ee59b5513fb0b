package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
)

// check is one rule for one certificate on a path. judge answers "" or why not;
// it allocates nothing. words tells the same for people, when somebody asks. i is
// the certificate's place on the path, the leaf's is 0.
type check struct {
	name  string
	judge func(s *search, i int, c *Certificate) code.Code
	words func(s *search, i int, c *Certificate) (expected, found string)
	below bool // it looks at what is below on the path, too
}

var leafChecks = []check{
	{"validity", judgeValidity, wordsValidity, false},
	{"key", judgeKey, wordsKey, false},
	{"signature algorithm", judgeLeafAlgorithm, wordsAlgorithm, false},
	{"critical extensions", judgeCritical, wordsCritical, false},
	{"form", judgeForm, wordsForm, false},
	{"leaf", judgeLeaf, wordsLeaf, false},
	{"key usage", judgeKeyUsage, wordsKeyUsage, false},
	{"extended key usage", judgeUsages, wordsUsages, false},
	{"name", judgeName, wordsName, false},
}

var issuerChecks = []check{
	{"validity", judgeValidity, wordsValidity, false},
	{"key", judgeKey, wordsKey, false},
	{"critical extensions", judgeCritical, wordsCritical, false},
	{"form", judgeForm, wordsForm, false},
	{"issuer name", judgeIssuerName, wordsIssuerName, true},
	{"authority", judgeAuthority, wordsAuthority, false},
	{"path length", judgePathLength, wordsPathLength, true},
	{"extended key usage", judgeUsages, wordsUsages, false},
}

// constraintsCheck is for issuers, and made when the path has reached an anchor:
// names and constraints that nobody trusts cost nothing (CVE-2026-27145).
var constraintsCheck = check{"name constraints", judgeConstraints, wordsConstraints, true}

func judgeValidity(s *search, _ int, c *Certificate) code.Code {
	switch {
	case s.q.At.After(c.X509.NotAfter):
		return code.CertificateExpired
	case s.q.At.Before(c.X509.NotBefore):
		return code.CertificateNotYetValid
	}
	return ""
}

func wordsValidity(s *search, _ int, c *Certificate) (string, string) {
	expected, before, after := "valid at "+stamp(s.q.At), "%s ago", "in %s"
	if s.q.Supposed {
		before, after = "%s before that", "%s after that"
	}
	switch judgeValidity(s, 0, c) {
	case code.CertificateExpired:
		return expected, "ended at " + stamp(c.X509.NotAfter) + ", " + fmt.Sprintf(before, ago(s.q.At.Sub(c.X509.NotAfter)))
	case code.CertificateNotYetValid:
		return expected, "begins at " + stamp(c.X509.NotBefore) + ", " + fmt.Sprintf(after, ago(c.X509.NotBefore.Sub(s.q.At)))
	}
	return expected, stamp(c.X509.NotBefore) + " to " + stamp(c.X509.NotAfter)
}

func judgeKey(_ *search, _ int, c *Certificate) code.Code { return c.keyCode }

func wordsKey(_ *search, _ int, c *Certificate) (string, string) {
	return "ECDSA on P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA of 2048 to 8192 bits", c.keyName()
}

// An anchor's own signature proves nothing, so that its algorithm does not matter.
func judgeLeafAlgorithm(s *search, _ int, c *Certificate) code.Code {
	if c.algorithmCode != "" && !s.q.Anchors.Contains(c) {
		return c.algorithmCode
	}
	return ""
}

func wordsAlgorithm(_ *search, _ int, c *Certificate) (string, string) {
	return "a signature with SHA-256 or better (ECDSA, RSA, RSASSA-PSS), Ed25519 or ML-DSA", c.AlgorithmName()
}

func judgeCritical(_ *search, _ int, c *Certificate) code.Code {
	if c.critical != "" {
		return code.CriticalExtension
	}
	return ""
}

func wordsCritical(_ *search, _ int, c *Certificate) (string, string) {
	const expected = "no critical extension that is not judged here"
	if c.critical == "" {
		return expected, "none"
	}
	return expected, "critical extension " + cut(c.critical)
}

// judgeLeaf refuses an authority's certificate as a leaf, unless it is itself an
// anchor: then its key can make any leaf anyway, and somebody chose to trust it.
func judgeLeaf(s *search, _ int, c *Certificate) code.Code {
	if c.X509.BasicConstraintsValid && c.X509.IsCA && !s.q.Anchors.Contains(c) {
		return code.AuthorityAsLeaf
	}
	return ""
}

func wordsLeaf(_ *search, _ int, c *Certificate) (string, string) {
	const expected = "a certificate that is no authority's (CA:FALSE), or is itself an anchor"
	if c.X509.BasicConstraintsValid && c.X509.IsCA {
		return expected, "an authority's certificate (CA:TRUE)"
	}
	return expected, "CA:FALSE"
}

// judgeKeyUsage wants digitalSignature, since TLS 1.3 proves keys by signing
// (RFC 8446, section 4.4.2.2), if the certificate limits its key at all.
func judgeKeyUsage(_ *search, _ int, c *Certificate) code.Code {
	if c.hasKeyUsage && c.X509.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return code.WrongKeyUsage
	}
	return ""
}

func wordsKeyUsage(_ *search, _ int, c *Certificate) (string, string) {
	return "key usage digitalSignature, or no key usage", c.keyUsageWords()
}

// judgeUsages holds a certificate to its extended key usages. An authority's
// limit what it may issue for, as everybody reads them, though RFC 5280 does not
// say so.
func judgeUsages(s *search, _ int, c *Certificate) code.Code {
	if c.hasUsages && !c.usages.allow(s.q.Purpose) {
		return code.WrongUsage
	}
	return ""
}

func wordsUsages(s *search, i int, c *Certificate) (string, string) {
	expected := map[Purpose]string{
		ForServer: "extended key usage serverAuth, or none",
		ForClient: "extended key usage clientAuth, or none",
		ForAny:    "any extended key usage",
	}[s.q.Purpose]
	found := c.usagesWords()
	if judgeUsages(s, i, c) == "" {
		return expected, found
	}
	switch {
	case s.q.Purpose == ForClient && c.usages == usageServer:
		found += ": for servers only, shown by a client"
	case s.q.Purpose == ForServer && c.usages == usageClient:
		found += ": for clients only, shown by a server"
	}
	return expected, found
}

// judgeIssuerName: names that RFC 5280 calls the same (section 7.1) have to be the
// same bytes by the letter of the Baseline Requirements (section 7.1.4.1).
func judgeIssuerName(s *search, i int, c *Certificate) code.Code {
	if s.q.Profile == WebPKI && !bytes.Equal(s.path[i-1].X509.RawIssuer, c.X509.RawSubject) {
		return code.CertificateForm
	}
	return ""
}

func wordsIssuerName(s *search, i int, c *Certificate) (string, string) {
	expected := "the subject that " + s.path[i-1].Label() + " names as its issuer"
	switch {
	case judgeIssuerName(s, i, c) != "":
		return expected + ", byte for byte (profile webpki)", "the same name, written in another way"
	case !bytes.Equal(s.path[i-1].X509.RawIssuer, c.X509.RawSubject):
		return expected, "the same name, written in another way"
	}
	return expected, "the same name"
}

// judgeAuthority: RFC 5280, section 6.1.4, (k), (l) and (n).
func judgeAuthority(_ *search, _ int, c *Certificate) code.Code {
	x := c.X509
	if x.Version != 3 || !x.BasicConstraintsValid || !x.IsCA ||
		c.hasKeyUsage && x.KeyUsage&x509.KeyUsageCertSign == 0 {
		return code.NotAnAuthority
	}
	return ""
}

func wordsAuthority(_ *search, _ int, c *Certificate) (string, string) {
	const expected = "an authority: version 3, CA:TRUE, key usage keyCertSign"
	x := c.X509
	switch {
	case x.Version != 3:
		return expected, fmt.Sprintf("a certificate of version %d", x.Version)
	case !x.BasicConstraintsValid:
		return expected, "no basic constraints"
	case !x.IsCA:
		return expected, "CA:FALSE"
	}
	return expected, "CA:TRUE, " + c.keyUsageWords()
}

// judgePathLength counts the authorities between c and the leaf; those that are
// issued under their own name do not count (RFC 5280, section 4.2.1.9).
func judgePathLength(s *search, i int, c *Certificate) code.Code {
	limit := s.pathLimit(c)
	if limit >= 0 && s.below(i) > limit {
		return code.PathTooLong
	}
	return ""
}

func wordsPathLength(s *search, i int, c *Certificate) (string, string) {
	found := plural(s.below(i), "authority", "authorities") + " below it"
	if limit := s.pathLimit(c); limit >= 0 {
		return "at most " + plural(limit, "authority", "authorities") + " below it (path length " + itoa(limit) + ")", found
	}
	return "any number of authorities below it (no path length)", found
}

// pathLimit is the path length of an authority, -1 where it has none; for an
// anchor the question's own limit counts too (section 6.1.2, (k)).
func (s *search) pathLimit(c *Certificate) int {
	limit := -1
	if x := c.X509; x.BasicConstraintsValid && x.MaxPathLen >= 0 && (x.MaxPathLen > 0 || x.MaxPathLenZero) {
		limit = x.MaxPathLen
	}
	if own := max(s.q.MaxIntermediates, 0); s.q.MaxIntermediates != 0 && (limit < 0 || own < limit) && s.q.Anchors.Contains(c) {
		limit = own
	}
	return limit
}

// below is how many authorities count between place i of the path and the leaf.
func (s *search) below(i int) int {
	n := 0
	for _, c := range s.path[1:max(i, 1)] {
		if !c.selfIssued {
			n++
		}
	}
	return n
}

func judgeName(s *search, _ int, c *Certificate) code.Code {
	if s.name.IsZero() {
		return ""
	}
	if c.standsFor(s.name, s.q.Profile) {
		return ""
	}
	if len(c.DNS) == 0 && len(c.IPs) == 0 && len(c.URIs) == 0 {
		return code.NoNames
	}
	return code.WrongName
}

// StandsFor says whether one of the certificate's names stands for name: a DNS
// name by RFC 9525's rules, an IP address exactly, a SPIFFE ID exactly and as the
// certificate's only URI.
func (c *Certificate) StandsFor(name string) bool {
	n, err := identity.Parse(name)
	return err == nil && c.standsFor(n, Basic)
}

func (c *Certificate) standsFor(name identity.Name, p Profile) bool {
	switch name.Kind() {
	case identity.DNS:
		for _, d := range c.DNS {
			if name.MatchDNS(d) && !ofRegistry(d, p) {
				return true
			}
		}
	case identity.IP:
		for _, ip := range c.IPs {
			if ip == name.Addr() {
				return true
			}
		}
	case identity.URI:
		return c.SPIFFE != "" && c.SPIFFE == name.String()
	}
	return false
}

func wordsName(s *search, _ int, c *Certificate) (string, string) {
	if s.name.IsZero() {
		return "no name was asked for", c.namesWords()
	}
	found := c.namesWords()
	if !c.standsFor(s.name, s.q.Profile) && c.standsFor(s.name, Basic) {
		found += ", a wildcard for a whole registry, which does not count (profile " + s.q.Profile.String() + ")"
	}
	return s.name.Kind().String() + " " + identity.Quote(s.name.String()), found
}

// maxNames is how many of a certificate's names are listed in words.
const maxNames = 5

func (c *Certificate) namesWords() string {
	n := len(c.DNS) + len(c.IPs) + len(c.URIs)
	if n == 0 {
		if cn := c.X509.Subject.CommonName; cn != "" {
			return "no subject alternative name (the common name " + identity.Quote(cn) + " does not count)"
		}
		return "no subject alternative name"
	}
	first := c.firstNames(maxNames)
	for i, name := range first {
		first[i] = identity.Quote(name)
	}
	words := "issued for " + strings.Join(first, ", ")
	if n > len(first) {
		words += fmt.Sprintf(" and %d more", n-len(first))
	}
	return words
}

// firstNames are at most n of the certificate's names: a peer may list thousands.
func (c *Certificate) firstNames(n int) []string {
	out := append([]string(nil), c.DNS[:min(n, len(c.DNS))]...)
	for _, ip := range c.IPs[:min(n-len(out), len(c.IPs))] {
		out = append(out, ip.String())
	}
	return append(out, c.URIs[:min(n-len(out), len(c.URIs))]...)
}

func (c *Certificate) keyUsageWords() string {
	if !c.hasKeyUsage {
		return "no key usage"
	}
	var out []string
	for i, name := range [...]string{"digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment",
		"keyAgreement", "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly"} {
		if c.X509.KeyUsage&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if out == nil {
		return "an empty key usage"
	}
	return "key usage " + strings.Join(out, ", ")
}

func (c *Certificate) usagesWords() string {
	if !c.hasUsages {
		return "no extended key usage"
	}
	var out []string
	for _, u := range []struct {
		bit  usages
		name string
	}{{usageServer, "serverAuth"}, {usageClient, "clientAuth"}, {usageAny, "anyExtendedKeyUsage"}} {
		if c.usages&u.bit != 0 {
			out = append(out, u.name)
		}
	}
	if out == nil {
		if len(c.X509.ExtKeyUsage)+len(c.X509.UnknownExtKeyUsage) == 0 {
			return "an extended key usage that lists none"
		}
		return "extended key usages of other kinds"
	}
	return "extended key usage " + strings.Join(out, ", ")
}
