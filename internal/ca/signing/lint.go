package signing

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Grant is what a certificate may say of its holder.
type Grant struct {
	// SPIFFE, DNS and IPs are the only names that may stand in it.
	SPIFFE string
	DNS    []string
	IPs    []netip.Addr
	// AuthorityKey says whether the key with this hash of its SubjectPublicKeyInfo
	// is one of an authority's.
	AuthorityKey func(spki [sha256.Size]byte) bool
}

// Broken is a rule that the bytes to be signed break.
type Broken struct {
	// Rule is the rule's name: "serial", "names-granted".
	Rule string
	// Words are what was found, and what was expected.
	Words string
}

// Error is the rule and what breaks it.
func (b *Broken) Error() string { return b.Words + " (rule " + b.Rule + ")" }

// Judge judges the bytes of a certificate to be signed, every one of them, by its
// profile, by what was granted and by the rules below. The error is a *Broken.
//
// A root judges its own certificate, before it has one.
func (s *Signer) Judge(p *Profile, g Grant, tbs []byte) (*Judged, error) {
	c, err := read(tbs)
	if err != nil {
		return nil, &Broken{"well-formed", err.Error()}
	}
	j := &judgement{paper: c, by: s, profile: p, grant: g}
	for _, r := range rules {
		if words := r.check(j); words != "" {
			return nil, &Broken{r.name, words}
		}
	}
	return s.judged(certificate, tbs), nil
}

// JudgeList judges the bytes of a list of revocations to be signed.
func (s *Signer) JudgeList(tbs []byte) (*Judged, error) {
	broken := func(format string, args ...any) (*Judged, error) {
		return nil, &Broken{"list", fmt.Sprintf(format, args...)}
	}
	if s.Certificate == nil || s.Certificate.X509.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return broken("the certificate of the key does not let it sign lists")
	}
	in := cryptobyte.String(tbs)
	var body, algorithm, issuer cryptobyte.String
	var version int64
	var from, to time.Time
	ok := in.ReadASN1(&body, der.SEQUENCE) && in.Empty() &&
		body.ReadASN1Integer(&version) && version == 1 &&
		body.ReadASN1Element(&algorithm, der.SEQUENCE) &&
		body.ReadASN1Element(&issuer, der.SEQUENCE) &&
		readTime(&body, &from) && readTime(&body, &to)
	switch {
	case !ok:
		return broken("the bytes to be signed are not a well-formed TBSCertList in DER")
	case !bytes.Equal(algorithm, s.algorithm):
		return broken("the signature algorithm does not fit the issuer's key")
	case !bytes.Equal(issuer, s.Certificate.X509.RawSubject):
		return broken("the issuer's name is not the one of %s", s.Certificate.Label())
	case !from.Before(to) || from.After(s.Certificate.NotAfter()):
		return broken("the list's times are out of order, or after its issuer's end")
	}
	return s.judged(list, tbs), nil
}

// judgement is what a rule looks at.
type judgement struct {
	*paper
	by      *Signer
	profile *Profile
	grant   Grant
}

// self says that this is a root's own certificate.
func (j *judgement) self() bool { return j.by.Certificate == nil }

// rules are what every certificate has to keep. A check answers "" or with the
// words of what breaks it.
var rules = []struct {
	name  string
	check func(*judgement) string
}{
	{"profile-of-issuer", ruleRole},
	{"version", func(j *judgement) string {
		return unless(j.version == 2, "the version is %d, expected 3", j.version+1)
	}},
	{"serial", ruleSerial},
	{"signature-algorithm", func(j *judgement) string {
		return unless(bytes.Equal(j.algorithm, j.by.algorithm), "the signature algorithm does not fit the issuer's key")
	}},
	{"issuer-name", ruleIssuer},
	{"validity", ruleValidity},
	{"issuer-end", func(j *judgement) string {
		if j.self() {
			return ""
		}
		end := j.by.Certificate.NotAfter()
		return unless(!j.notAfter.After(end), "it would end at %s, after its issuer, which ends at %s", stamp(j.notAfter), stamp(end))
	}},
	{"lifetime", ruleLifetime},
	{"subject", ruleSubject},
	{"key", ruleKey},
	{"key-of-authority", ruleKeyOfAuthority},
	{"extensions", ruleExtensions},
	{"critical", ruleCritical},
	{"basic-constraints", ruleBasic},
	{"key-usage", ruleKeyUsage},
	{"usages", ruleUsages},
	{"names", ruleNames},
	{"name-forms", ruleNameForms},
	{"common-name", ruleCommonName},
	{"reserved-names", ruleReserved},
	{"names-granted", ruleGranted},
	{"key-identifiers", ruleKeyIDs},
}

func unless(ok bool, format string, args ...any) string {
	if ok {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// ruleRole keeps roots from signing leaves and issuers from signing issuers.
func ruleRole(j *judgement) string {
	if j.self() {
		return unless(j.profile == Root, "a key without a certificate signs its own root alone")
	}
	root := j.by.Certificate.SelfIssued()
	return unless(root == (j.profile == Issuer) && j.profile != Root, "%s does not sign certificates of the profile %q", j.by.Certificate.Label(), j.profile.Name)
}

// ruleSerial: positive, at most 20 octets (RFC 5280, section 4.1.2.2), minimal as
// DER wants it, and long enough to hold 64 random bits at the least.
func ruleSerial(j *judgement) string {
	s := j.serial
	switch {
	case len(s) == 0 || s[0]&0x80 != 0 || bytes.Count(s, []byte{0}) == len(s):
		return "the serial number is not positive"
	case len(s) > 20:
		return fmt.Sprintf("the serial number has %d octets, expected at most 20", len(s))
	case len(s) < 9:
		return fmt.Sprintf("the serial number has %d octets, too few to be random", len(s))
	}
	return ""
}

func ruleIssuer(j *judgement) string {
	if j.self() {
		return unless(bytes.Equal(j.issuer, j.subject), "the root's issuer is not itself")
	}
	return unless(bytes.Equal(j.issuer, j.by.Certificate.X509.RawSubject), "the issuer's name is not the one of %s", j.by.Certificate.Label())
}

func ruleValidity(j *judgement) string {
	return unless(j.notBefore.Before(j.notAfter), "it would end at %s, before its beginning at %s", stamp(j.notAfter), stamp(j.notBefore))
}

func ruleLifetime(j *judgement) string {
	life := j.notAfter.Sub(j.notBefore) - Backdate
	return unless(life >= j.profile.Shortest && life <= j.profile.Longest, "its lifetime is %s, and the profile %q allows %s to %s",
		clock.Words(life), j.profile.Name, clock.Words(j.profile.Shortest), clock.Words(j.profile.Longest))
}

func ruleSubject(j *judgement) string {
	switch {
	case j.otherAttributes > 0:
		return "the subject has other attributes than a common name"
	case len(j.commonNames) > 1:
		return "the subject has several common names"
	case j.profile.CA && len(j.commonNames) != 1:
		return "the subject of an authority is empty"
	case len(j.commonNames) == 1 && (len(j.commonNames[0]) == 0 || len(j.commonNames[0]) > 64):
		return fmt.Sprintf("the common name has %d bytes, expected 1 to 64", len(j.commonNames[0])) // RFC 5280, appendix A, ub-common-name
	}
	return ""
}

func ruleKey(j *judgement) string {
	if j.keyError != nil {
		return j.keyError.Error()
	}
	if err := CheckKey(j.key); err != nil {
		return err.Error()
	}
	return ""
}

// CheckKey says why a key is not certified, beyond what suite refuses to parse:
// other curves than P-256, P-384 and P-521, and RSA over 8192 bits.
func CheckKey(k *suite.PublicKey) error {
	if k, ok := k.Key.(*rsa.PublicKey); ok && (k.N.BitLen() < minRSA || k.N.BitLen() > maxRSA) {
		return fmt.Errorf("the RSA key has %d bits, expected %d to %d", k.N.BitLen(), minRSA, maxRSA)
	}
	return nil
}

// The bounds of RSA keys: pki takes none that is shorter, and suite none that is
// longer.
const (
	minRSA = 2048
	maxRSA = 8192
)

func ruleKeyOfAuthority(j *judgement) string {
	if j.profile.CA {
		return unless(j.self() == bytes.Equal(j.spki, j.by.spki), "the key belongs to another authority")
	}
	own := bytes.Equal(j.spki, j.by.spki) || j.grant.AuthorityKey != nil && j.grant.AuthorityKey(sha256.Sum256(j.spki))
	return unless(!own, "the key belongs to an authority")
}

// expected are the extensions of a profile: all of them, once, and no others.
func (j *judgement) expected() []string {
	e := []string{oidSubjectKeyID, oidAuthorityKeyID, oidBasic, oidKeyUsage}
	if j.profile.CA {
		return e
	}
	return append(e, oidUsages, oidSAN)
}

func ruleExtensions(j *judgement) string {
	expected := j.expected()
	for _, x := range j.extensions {
		switch n, critical := j.has(x.oid); {
		case n > 1:
			return "an extension stands there twice"
		case !slices.Contains(expected, x.oid) && critical:
			return "there is a critical extension that is not known"
		case !slices.Contains(expected, x.oid):
			return fmt.Sprintf("there is an extension that the profile %q does not have", j.profile.Name)
		}
	}
	for _, oid := range expected {
		if n, _ := j.has(oid); n == 0 {
			if oid == oidSAN {
				return "there are no subject alternative names"
			}
			return fmt.Sprintf("an extension of the profile %q is missing", j.profile.Name)
		}
	}
	return ""
}

func ruleCritical(j *judgement) string {
	for _, x := range j.extensions {
		want := x.oid == oidBasic || x.oid == oidKeyUsage || x.oid == oidSAN && len(j.commonNames) == 0
		if x.critical != want {
			return "an extension is critical that should not be, or is not where it should"
		}
	}
	return ""
}

func ruleBasic(j *judgement) string {
	if !j.profile.CA {
		return unless(!j.ca && j.pathLen < 0, "it would be a certificate authority, and the profile %q makes none", j.profile.Name)
	}
	return unless(j.ca && j.pathLen == int64(j.profile.PathLen), "an authority of the profile %q has the CA bit and the path length %d", j.profile.Name, j.profile.PathLen)
}

func ruleKeyUsage(j *judgement) string {
	var b cryptobyte.Builder
	addBits(&b, j.profile.KeyUsage)
	want := b.BytesOrPanic()[2:]
	return unless(bytes.Equal(j.keyUsage, want), "the key usage is %x, and the profile %q has %x", j.keyUsage, j.profile.Name, want)
}

func ruleUsages(j *judgement) string {
	return unless(slices.Equal(j.usages, j.profile.Usages), "the extended key usages are not those of the profile %q: one is missing, or there are more", j.profile.Name)
}

func ruleNames(j *judgement) string {
	if j.profile.CA {
		return ""
	}
	all := append(slices.Clone(j.dns), j.uris...)
	for _, ip := range j.ips {
		all = append(all, ip.String())
	}
	slices.Sort(all)
	switch {
	case len(j.dns) == 0:
		return "there is no DNS name among the subject alternative names"
	case len(j.uris) != 1:
		return fmt.Sprintf("there are %d URIs among the subject alternative names, expected one SPIFFE ID", len(j.uris))
	case j.otherNames > 0:
		return "there are names other than DNS names, IP addresses and a SPIFFE ID"
	case len(slices.Compact(slices.Clone(all))) != len(all):
		return "a name stands there twice"
	}
	return ""
}

func ruleNameForms(j *judgement) string {
	for _, n := range j.dns {
		if clean, err := identity.CleanPattern(n); err != nil {
			return err.Error()
		} else if clean != n {
			return fmt.Sprintf("the DNS name %s is not in lower case, or ends with a dot", identity.Quote(n))
		}
	}
	for _, u := range j.uris {
		if id, err := identity.ParseSPIFFE(u); err != nil {
			return err.Error()
		} else if id.Path() == "" {
			return fmt.Sprintf("the SPIFFE ID %s names a trust domain and nobody in it", identity.Quote(u))
		}
	}
	for _, ip := range j.ips {
		if ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Sprintf("%s is not an address of one host", ip)
		}
	}
	return ""
}

func ruleCommonName(j *judgement) string {
	if j.profile.CA {
		return ""
	}
	for _, cn := range j.commonNames {
		if !slices.Contains(j.dns, cn) {
			return fmt.Sprintf("the common name %s is not among the subject alternative names", identity.Quote(cn))
		}
	}
	return ""
}

func ruleReserved(j *judgement) string {
	for _, n := range j.dns {
		if j.profile == Serving && n != api.NameAuthority || j.profile != Serving && api.Reserved(n) {
			return fmt.Sprintf("the name %s is not one that the profile %q issues", identity.Quote(n), j.profile.Name)
		}
	}
	for _, u := range j.uris {
		id, _ := identity.ParseSPIFFE(u)
		name, _, _ := strings.Cut(strings.TrimPrefix(id.Path(), "/"), "/")
		if j.profile == Serving && name != api.NameAuthority || j.profile != Serving && api.Reserved(name) {
			return fmt.Sprintf("the name %s is not one that the profile %q issues", identity.Quote(u), j.profile.Name)
		}
	}
	return ""
}

func ruleGranted(j *judgement) string {
	for _, n := range j.dns {
		if !slices.Contains(j.grant.DNS, n) {
			return fmt.Sprintf("the name %s was not granted", identity.Quote(n))
		}
	}
	for _, ip := range j.ips {
		if !slices.Contains(j.grant.IPs, ip) {
			return fmt.Sprintf("the address %s was not granted", ip)
		}
	}
	for _, u := range j.uris {
		if u != j.grant.SPIFFE {
			return fmt.Sprintf("the SPIFFE ID %s was not granted", identity.Quote(u))
		}
	}
	return ""
}

func ruleKeyIDs(j *judgement) string {
	own, err := KeyID(j.spki)
	if err != nil {
		return err.Error()
	}
	issuer := own
	if !j.self() {
		issuer = j.by.Certificate.X509.SubjectKeyId
	}
	return unless(bytes.Equal(j.subjectKeyID, own) && bytes.Equal(j.authorityKeyID, issuer), "the key identifiers are not those of the key and of its issuer's")
}
