package pki

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

var update = flag.Bool("update", false, "write the golden files anew")

// mistakes are what goes wrong in real life. What is said about each stands in
// testdata/mistakes.txt, to be read as a text.
var mistakes = []struct {
	name string
	want code.Code
	link int
	make func(t *testing.T, s standing) Question
}{
	{"leaf expired three hours ago", code.CertificateExpired, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", valid(-27*time.Hour, -3*time.Hour)))
	}},
	{"intermediate expired", code.CertificateExpired, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", valid(-90*24*time.Hour, -5*24*time.Hour))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"root expired", code.CertificateExpired, -1, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", valid(-1000*24*time.Hour, -10*time.Minute))
		s.inter = s.root.intermediate(t, "Example Issuing 1")
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"leaf issued by a machine whose clock runs ahead", code.CertificateNotYetValid, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", valid(40*time.Second, time.Hour)))
	}},
	{"expired, and for another name too", code.CertificateExpired, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "old.internal", valid(-48*time.Hour, -time.Hour)))
	}},
	{"expired at a time that was asked about", code.CertificateExpired, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.At, q.Supposed = now.Add(30*24*time.Hour), true
		return q
	}},
	{"not yet valid at a time that was asked about", code.CertificateNotYetValid, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.At, q.Supposed = now.Add(-30*24*time.Hour), true
		return q
	}},
	{"leaf of another authority", code.UnknownAuthority, 0, func(t *testing.T, s standing) Question {
		q := s.server(root(t, "Evil Root").leaf(t, "api.internal"))
		q.Chain = q.Chain[:1]
		return q
	}},
	{"chain of another authority", code.UnknownAuthority, 1, func(t *testing.T, s standing) Question {
		s.inter = root(t, "Staging Root").intermediate(t, "Staging Issuing")
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"chain of another authority, its root sent along", code.UnknownAuthority, 2, func(t *testing.T, s standing) Question {
		r := root(t, "Staging Root")
		s.inter = r.intermediate(t, "Staging Issuing")
		q := s.server(s.inter.leaf(t, "api.internal"))
		q.Chain = append(q.Chain, r.Certificate)
		return q
	}},
	{"authority made anew under the same name", code.UnknownAuthority, 1, func(t *testing.T, s standing) Question {
		s.inter = root(t, "Example Root", organization("Example")).intermediate(t, "Example Issuing 1")
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"same again, without key identifiers", code.BadSignature, 1, func(t *testing.T, s standing) Question {
		s.inter = root(t, "Example Root", organization("Example")).intermediate(t, "Example Issuing 1", without(extAuthorityKeyID))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"intermediate not sent", code.MissingIntermediate, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Chain = q.Chain[:1]
		return q
	}},
	{"another intermediate sent", code.UnknownAuthority, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Chain[1] = s.root.intermediate(t, "Example Issuing 2").Certificate
		return q
	}},
	{"self-signed", code.UnknownAuthority, 0, func(t *testing.T, s standing) Question {
		q := s.server((*entity)(nil).leaf(t, "api.internal"))
		q.Chain = q.Chain[:1]
		return q
	}},
	{"self-signed as openssl req -x509 makes it", code.UnknownAuthority, 0, func(t *testing.T, s standing) Question {
		q := s.server(root(t, "api.internal", dns("api.internal"), keyUsage(0)))
		q.Chain = q.Chain[:1]
		return q
	}},
	{"an authority's certificate as a leaf", code.AuthorityAsLeaf, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.intermediate(t, "api.internal", dns("api.internal"), keyUsage(x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign)))
	}},
	{"leaf and intermediate in the wrong order", code.AuthorityAsLeaf, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Chain[0], q.Chain[1] = q.Chain[1], q.Chain[0]
		return q
	}},
	{"root first, as the anchor that it is", code.WrongKeyUsage, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Chain = chain(s.root, s.inter, s.leaf)
		return q
	}},
	{"short name asked, long name issued", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Name = "api"
		return q
	}},
	{"wildcard asked to cover two labels", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "*.example.com"))
		q.Name = "a.b.example.com"
		return q
	}},
	{"wildcard asked to cover its own domain", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "*.example.com"))
		q.Name = "example.com"
		return q
	}},
	{"wildcard for part of a label", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api*.example.com"))
		q.Name = "api1.example.com"
		return q
	}},
	{"common name only", code.NoNames, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", dns()))
	}},
	{"address asked, DNS name issued", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Name = "10.0.0.1"
		return q
	}},
	{"address written as a DNS name", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "10.0.0.1"))
		q.Name = "10.0.0.1"
		return q
	}},
	{"SPIFFE ID of another workload", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api", uris("spiffe://prod.example/api")))
		q.Name = "spiffe://prod.example/web"
		return q
	}},
	{"two SPIFFE IDs at once", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api", uris("spiffe://prod.example/web", "spiffe://prod.example/api")))
		q.Name = "spiffe://prod.example/web"
		return q
	}},
	{"server's certificate shown by a client", code.WrongUsage, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api.internal", usage(x509.ExtKeyUsageServerAuth)))
		q.Purpose = ForClient
		return q
	}},
	{"client's certificate shown by a server", code.WrongUsage, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", usage(x509.ExtKeyUsageClientAuth)))
	}},
	{"certificate for signing code", code.WrongUsage, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", usage(x509.ExtKeyUsageCodeSigning)))
	}},
	{"an empty list of usages", code.WrongUsage, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", usage(), extension(false, []byte{0x30, 0x00}, 2, 5, 29, 37)))
	}},
	{"intermediate for clients only", code.WrongUsage, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Clients", usage(x509.ExtKeyUsageClientAuth))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"key for key transport only", code.WrongKeyUsage, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", keyUsage(x509.KeyUsageKeyEncipherment)))
	}},
	{"leaf that issued another leaf", code.NotAnAuthority, 1, func(t *testing.T, s standing) Question {
		q := s.server(s.leaf.leaf(t, "admin.internal"))
		q.Name = "admin.internal"
		q.Chain = append(q.Chain[:1], s.leaf.Certificate, s.inter.Certificate)
		return q
	}},
	{"intermediate without keyCertSign", code.NotAnAuthority, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", keyUsage(x509.KeyUsageDigitalSignature))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"intermediate without basic constraints", code.NotAnAuthority, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", without(extBasic))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"root of version 1", code.NotAnAuthority, -1, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", edited(func(b *tbs) { b.Version, b.Extensions = 0, nil }))
		s.inter = s.root.intermediate(t, "Example Issuing 1")
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"one authority too many", code.PathTooLong, 1, func(t *testing.T, s standing) Question {
		first := s.root.intermediate(t, "Example Issuing 1", func(r *request) { r.MaxPathLenZero = true })
		second := first.intermediate(t, "Team Authority")
		q := s.server(second.leaf(t, "api.internal"))
		q.Chain = append(q.Chain[:1], first.Certificate, second.Certificate)
		return q
	}},
	{"RSA key of 1024 bits", code.WeakKey, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", withKey(rsaKey(1024, 0))))
	}},
	{"intermediate with an RSA key of 1024 bits", code.WeakKey, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", withKey(rsaKey(1024, 0)))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"key on P-224", code.UnsupportedKey, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", withKey(ec(elliptic.P224()))))
	}},
	{"leaf signed with SHA-1", code.WeakSignature, 0, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", withKey(rsaKey(2048, 0)))
		s.inter = s.root.intermediate(t, "Example Issuing 1", withKey(rsaKey(2048, 1)))
		return s.server(s.inter.leaf(t, "api.internal", signedWith(x509.SHA1WithRSA)))
	}},
	{"intermediate signed with SHA-1", code.WeakSignature, 1, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", withKey(rsaKey(2048, 0)))
		s.inter = s.root.intermediate(t, "Example Issuing 1", signedWith(x509.SHA1WithRSA))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"leaf said to be signed with MD5", code.WeakSignature, 0, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", withKey(rsaKey(2048, 0)))
		s.inter = s.root.intermediate(t, "Example Issuing 1", withKey(rsaKey(2048, 1)))
		return s.server(s.inter.leaf(t, "api.internal", edited(func(b *tbs) {
			b.Algorithm = asn1.RawValue{FullBytes: []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00")}
		})))
	}},
	{"critical extension that nobody knows", code.CriticalExtension, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", extension(true, []byte{5, 0}, 1, 3, 6, 1, 4, 1, 99999, 1)))
	}},
	{"critical certificate policies with an unknown qualifier", code.CertificateForm, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", extension(true,
			tlv(0x30, tlv(0x30, oidDER("1.2.3"), tlv(0x30, tlv(0x30, oidDER("1.2.4"), tlv(0x05))))), 2, 5, 29, 32))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"name outside of what the intermediate may issue", code.NameConstraints, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", func(r *request) { r.PermittedDNSDomains = []string{"example.com", "example.net"} })
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"anchor said to be signed with MD5", code.AlteredAnchor, -1, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", withKey(rsaKey(2048, 0)), edited(func(b *tbs) {
			b.Algorithm = asn1.RawValue{FullBytes: []byte("\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00")}
		}))
		s.inter = s.root.intermediate(t, "Example Issuing 1")
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"one of two names outside", code.NameConstraints, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", func(r *request) { r.PermittedDNSDomains = []string{"internal"} })
		return s.server(s.inter.leaf(t, "api.internal", dns("api.internal", "api.example.com")))
	}},
	{"name that the root excludes", code.NameConstraints, -1, func(t *testing.T, s standing) Question {
		s.root = root(t, "Example Root", func(r *request) { r.ExcludedDNSDomains = []string{"secret.internal"} })
		s.inter = s.root.intermediate(t, "Example Issuing 1")
		return s.server(s.inter.leaf(t, "api.internal", dns("api.internal", "*.internal")))
	}},
	{"address outside of the intermediate's network", code.NameConstraints, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", func(r *request) { r.PermittedIPRanges = []*net.IPNet{network("10.0.0.0/8")} })
		q := s.server(s.inter.leaf(t, "api.internal", ips("192.0.2.1")))
		q.Name = "192.0.2.1"
		return q
	}},
	{"SPIFFE ID of another trust domain than the intermediate's", code.NameConstraints, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", func(r *request) { r.PermittedURIDomains = []string{"prod.example"} })
		return s.server(s.inter.leaf(t, "api.internal", uris("spiffe://staging.example/api")))
	}},
	{"constraint that is written as a wildcard", code.CertificateForm, 1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", extension(true, tlv(0x30, tlv(0xa0, tlv(0x30, tlv(0x82, []byte("*.internal"))))), 2, 5, 29, 30))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"policy asked for that nobody asserts", code.NoPolicy, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Policies = []string{"1.3.6.1.4.1.99999.1"}
		return q
	}},
	{"intermediate that wants a policy which the leaf lacks", code.NoPolicy, 0, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", asserts("1.2.3"), policyConstraints(0, -1))
		return s.server(s.inter.leaf(t, "api.internal"))
	}},
	{"leaf without an authority key identifier, by the letter of RFC 5280", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api.internal", without(extAuthorityKeyID)))
		q.Profile = Private
		return q
	}},
	{"serial number zero, by the letter of RFC 5280", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api.internal", edited(func(b *tbs) { b.Serial = big.NewInt(0) })))
		q.Profile = Private
		return q
	}},
	{"container's name with an underscore, by the letter of RFC 5280", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api_1.internal"))
		q.Name, q.Profile = "api_1.internal", Private
		return q
	}},
	{"valid for too long, as browsers see it", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api.internal", valid(-time.Hour, 825*24*time.Hour)))
		q.Profile = Browser
		return q
	}},
	{"no extended key usage, as browsers see it", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "api.internal", usage()))
		q.Profile = Browser
		return q
	}},
	{"wildcard for all of a registry", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "*.com"))
		q.Name, q.Profile = "example.com", Browser
		return q
	}},
	{"common name beside the names, by the letter of the Baseline Requirements", code.CertificateForm, 0, func(t *testing.T, s standing) Question {
		q := s.server(s.inter.leaf(t, "API server", dns("api.internal")))
		q.Profile = WebPKI
		return q
	}},
	{"no SPIFFE ID where one is needed", code.WrongName, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Profile = SVID
		return q
	}},
	{"revoked", code.CertificateRevoked, 0, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1")
		q := s.server(s.inter.leaf(t, "api.internal", func(r *request) { r.SerialNumber = big.NewInt(0x4711) }))
		q.RevocationLists = []*RevocationList{s.inter.list(t, nil, q.Chain[0])}
		return q
	}},
	{"revocation list out of date", code.BadRevocationList, 0, func(t *testing.T, s standing) Question {
		q := s.question()
		q.RevocationLists = []*RevocationList{s.inter.list(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Hour) })}
		return q
	}},
	{"signature damaged", code.BadSignature, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "api.internal", func(r *request) { r.signer = p256(); r.edit = func(*tbs) {} }))
	}},
	{"anchor altered after it was signed", code.AlteredAnchor, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		raw := append([]byte(nil), s.root.Raw...)
		raw[len(raw)-1] ^= 1
		c, err := Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		q.Anchors = NewAnchors(c)
		return q
	}},
	{"intermediate without key identifiers as the anchor", code.AlteredAnchor, -1, func(t *testing.T, s standing) Question {
		s.inter = s.root.intermediate(t, "Example Issuing 1", without(extAuthorityKeyID))
		q := s.server(s.inter.leaf(t, "api.internal"))
		q.Anchors = anchors(s.inter)
		q.Chain = q.Chain[:1]
		return q
	}},
	{"no anchors configured", code.NoAnchors, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Anchors = nil
		return q
	}},
	{"nothing shown", code.CertificateRequired, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Chain = nil
		return q
	}},
	{"a URL asked for", code.BadAskedName, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Name = "https://api.internal"
		return q
	}},
	{"a host with its port asked for", code.BadAskedName, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Name = "api.internal:8443"
		return q
	}},
	{"a whole bundle sent", code.ChainTooLong, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		for range MaxShown {
			q.Chain = append(q.Chain, s.inter.Certificate)
		}
		return q
	}},
	{"names that paint the terminal", code.WrongName, 0, func(t *testing.T, s standing) Question {
		return s.server(s.inter.leaf(t, "\x1b[31mroot\x1b[0m\n", dns(strings.Repeat("a", 3000), "\x1b]0;x\a")))
	}},
	{"no purpose given", code.Verifier, -1, func(t *testing.T, s standing) Question {
		q := s.question()
		q.Purpose = 0
		return q
	}},
}

// server asks whether leaf, with the intermediate, is a server "api.internal".
func (s standing) server(leaf *entity) Question {
	s.leaf = leaf
	return s.question()
}

func TestRealLifeMistakesAreRefusedInWords(t *testing.T) {
	var b strings.Builder
	b.WriteString("What is said about each mistake of mistakes_test.go. Written by: go test ./pki -run Mistakes -update\n")
	for _, m := range mistakes {
		q := m.make(t, stand(t))
		v := Verify(q)
		if v.OK {
			t.Errorf("%s: accepted", m.name)
			continue
		}
		e, _ := code.Lookup(v.Code)
		if v.Code != m.want || v.Link != m.link || v.Alert != e.Alert {
			t.Errorf("%s: %s at link %d with alert %s, want %s at %d\n%s", m.name, v.Code, v.Link, v.Alert, m.want, m.link, v.Sentence())
		}
		fmt.Fprintf(&b, "\n%s\n  %s, %s\n  %s\n  %s\n", m.name, v.Code, v.Alert, v.Sentence(), v.Mend)
		if w := Explain(q); w.OK || w.Code != v.Code || w.Sentence() != v.Sentence() {
			t.Errorf("%s: Explain says otherwise: %s", m.name, w.Sentence())
		}
		for _, s := range []string{v.Sentence(), v.Mend} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) || len(s) > 1500 {
				t.Errorf("%s: not safe to print: %q", m.name, s)
			}
		}
	}
	golden(t, "mistakes.txt", b.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Errorf("%s differs at line %d (write it anew with -update):\n got %s\nwant %s", file, i+1,
				strings.Join(g[min(i, len(g)):min(i+1, len(g))], ""), strings.Join(w[min(i, len(w)):min(i+1, len(w))], ""))
			return
		}
	}
}
