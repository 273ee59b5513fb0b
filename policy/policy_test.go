package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// shown is a certificate with names: what begins with spiffe:// is a URI.
func shown(t testing.TB, names ...string) *pki.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "admin"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "spiffe://") {
			x.DNSNames = append(x.DNSNames, n)
			continue
		}
		u, err := url.Parse(n)
		if err != nil {
			t.Fatal(err)
		}
		x.URIs = append(x.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pki.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecisionsNameTheirRule(t *testing.T) {
	ours, theirs := "spiffe://prod.example/web", "spiffe://staging.example/web"
	for _, c := range []struct {
		rules  string
		domain string
		names  []string
		rule   string // "" where refused
		name   string
	}{
		{"web", "", []string{"web"}, "web", "web"},
		{"Web", "", []string{"wEB"}, "Web", "wEB"},
		{"web.", "", []string{"web"}, "web.", "web"},
		{"web,api", "", []string{"api"}, "api", "api"},
		{" web , api ", "", []string{"api"}, "api", "api"},
		{"web", "", []string{"api", "web"}, "web", "web"},
		{"web", "", []string{"webb"}, "", ""},
		{"web", "", []string{"web.example.com"}, "", ""},
		{"admin", "", []string{"web"}, "", ""}, // it is the common name of all
		{"admin", "", nil, "", ""},
		{"*.example.com", "", []string{"a.EXAMPLE.com"}, "*.example.com", "a.EXAMPLE.com"},
		{"*.example.com", "", []string{"example.com"}, "", ""},
		{"*.example.com", "", []string{"a.b.example.com"}, "", ""},
		{"*.example.com", "", []string{"*.example.com"}, "*.example.com", "*.example.com"},
		{"a.example.com", "", []string{"*.example.com"}, "", ""},
		{ours, "", []string{"x", ours}, ours, ours},
		{ours, "", []string{"web", theirs}, "", ""},
		{ours, "", []string{ours, theirs}, "", ""}, // two URIs: no SPIFFE ID
		{"web", "", []string{"web", theirs}, "web", "web"},
		{"web", "prod.example", []string{"web", ours}, "web", "web"},
		{"web", "prod.example", []string{"web", theirs}, "", ""},
		{"web", "prod.example", []string{"web"}, "", ""},
		{"web", "prod.example", []string{"web", ours, theirs}, "", ""},
		{theirs, "prod.example", []string{"web", theirs}, theirs, theirs},
		{"*.example.com", "prod.example", []string{"a.example.com", theirs}, "", ""},
	} {
		p, err := Parse([]string{c.rules}, c.domain)
		if err != nil {
			t.Fatalf("%q: %v", c.rules, err)
		}
		d := p.Decide(shown(t, c.names...))
		if d.Allowed != (c.rule != "") {
			t.Errorf("rules %q in %q, names %q: %+v", c.rules, c.domain, c.names, d)
			continue
		}
		if d.Allowed && (d.Rule != c.rule || d.Name != c.name) {
			t.Errorf("rules %q, names %q: rule %q for %q, want %q for %q", c.rules, c.names, d.Rule, d.Name, c.rule, c.name)
		}
		if !d.Allowed && d.Rule == "" {
			t.Errorf("rules %q, names %q: refused without a reason", c.rules, c.names)
		}
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	many, err := Parse([]string{"a,b,c,d,e,f,g"}, "")
	if err != nil {
		t.Fatal(err)
	}
	ours, err := Parse([]string{"web"}, "prod.example")
	if err != nil {
		t.Fatal(err)
	}
	var none *Policy
	for name, c := range map[string]struct {
		p    *Policy
		c    *pki.Certificate
		want string
	}{
		"another name":    {many, shown(t, "web"), `no rule allows "web" (rules: "a", "b", "c", "d", "e" and 2 more)`},
		"no name":         {many, shown(t), "neither a DNS name nor a SPIFFE ID"},
		"another domain":  {ours, shown(t, "web", "spiffe://x/web"), "not of the trust domain prod.example"},
		"hostile name":    {many, shown(t, "\x1b[31m"), `no rule allows "\x1b[31m"`},
		"no certificate":  {many, nil, "no certificate"},
		"no policy":       {none, shown(t, "web"), "no rules"},
		"thousands named": {many, shown(t, strings.Split(strings.Repeat("x.example ", 2000), " ")[:2000]...), "and 1995 more"},
	} {
		d := c.p.Decide(c.c)
		if d.Allowed || !strings.Contains(d.Rule, c.want) || len(d.Rule) > 1000 {
			t.Errorf("%s: %+v", name, d)
		}
	}
}

// What a resumption rests on: a session of one policy must not count under another.
func TestTheSumIsOfAllThatDecides(t *testing.T) {
	seen := map[[32]byte]string{}
	for _, c := range []struct {
		domain string
		rules  []string
	}{
		{"", []string{"web"}},
		{"prod.example", []string{"web"}},
		{"test.example", []string{"web"}},
		{"", []string{"web", "ops"}},
		{"", []string{"*.example.com"}},
		{"", []string{"a.bc"}},
		{"", []string{"a", "bc"}},
		{"", []string{"ab", "c"}},
	} {
		p, err := Parse(c.rules, c.domain)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse([]string{strings.Join(c.rules, " , ")}, c.domain)
		if err != nil || again.Sum() != p.Sum() {
			t.Errorf("%v: the same rules in one list have another sum (%v)", c, err)
		}
		if other := seen[p.Sum()]; other != "" {
			t.Errorf("%v has the sum of %s", c, other)
		}
		seen[p.Sum()] = strings.Join(c.rules, ",") + " in " + c.domain
	}
	var none *Policy
	if seen[none.Sum()] != "" {
		t.Error("no policy has the sum of one")
	}
}

func TestRulesAreBounded(t *testing.T) {
	list := strings.Repeat("web,", MaxRules-1) + "web"
	if p, err := Parse([]string{list}, ""); err != nil || len(p.Rules()) != MaxRules {
		t.Errorf("%d rules: %v", MaxRules, err)
	}
	if _, err := Parse([]string{list, "ops"}, ""); err == nil || !strings.Contains(err.Error(), "more than 10000 rules") {
		t.Errorf("a rule more: %v", err)
	}
}

func TestOddRulesAreErrorsWithTheirMend(t *testing.T) {
	for rule, why := range map[string]string{
		"":                            "empty rule",
		"web,,api":                    "empty rule",
		"web,":                        "empty rule",
		"*":                           "--client-auth none",
		"*.":                          "everybody",
		"a.*.b":                       "*.example.com",
		"web*":                        "*.example.com",
		"**.example.com":              "*.example.com",
		"*.*.com":                     "wildcard",
		"10.0.0.1":                    "not who",
		"::1":                         "not who",
		"web:8443":                    "port",
		"https://web":                 "name alone",
		"spiffe://prod.example":       "spiffe://prod.example/web",
		"spiffe://prod.example/*":     "no wildcards",
		"SPIFFE://prod.example/web":   "lower case",
		"spiffe://prod.example/web/":  "slash",
		"we b":                        "letters",
		"bücher":                      "xn--",
		strings.Repeat("a", 300):      "253",
		strings.Repeat("w,", 1<<14):   "rules",
		"web\x1b[31m":                 `\x1b`,
		"CN=web":                      "letters",
		"spiffe://prod.example/a?b=c": "query",
	} {
		p, err := Parse([]string{rule}, "")
		if err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.40q: %v, want an error with %q", rule, err, why)
		}
		if p != nil {
			t.Errorf("%.40q: a policy beside the error", rule)
		}
	}
}

func TestNoRulesAndOddTrustDomainsAreErrors(t *testing.T) {
	if _, err := Parse(nil, ""); err == nil || !strings.Contains(err.Error(), "--allow") {
		t.Errorf("%v", err)
	}
	for _, domain := range []string{"Prod", "a/b", "spiffe://a", "a b"} {
		if _, err := Parse([]string{"web"}, domain); err == nil {
			t.Errorf("%q: taken", domain)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []string{"web", "*.example.com", "spiffe://a/b", "*", "a.*.b", "web,api", ",", "10.0.0.1"} {
		f.Add(r, "")
	}
	f.Add("web", "prod.example")
	c := shown(f, "web", "a.example.com", "spiffe://prod.example/web")
	f.Fuzz(func(t *testing.T, rules, domain string) {
		p, err := Parse([]string{rules}, domain)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < 0x20 }) {
				t.Errorf("%q", err)
			}
			return
		}
		if len(p.Rules()) == 0 {
			t.Error("a policy without rules")
		}
		d := p.Decide(c)
		if d.Rule == "" {
			t.Error("a decision without a reason")
		}
		if d.Allowed && !strings.Contains(rules, d.Rule) {
			t.Errorf("rule %q was never given", d.Rule)
		}
		if p.Decide(shown(t)).Allowed {
			t.Error("nobody is allowed")
		}
	})
}
