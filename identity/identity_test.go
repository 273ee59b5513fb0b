package identity

import (
	"strings"
	"testing"
)

func TestMatchDNS(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"example.com", "example.com", true},
		{"Example.COM", "eXample.com", true},
		{"example.com", "example.com.", true},
		{"example.com", "www.example.com", false},
		{"orders", "orders", true},
		{"my_service.internal", "my_service.internal", true},
		{"*.example.com", "www.example.com", true},
		{"*.EXAMPLE.com", "www.example.COM", true},
		{"*.example.com", "xn--bcher-kva.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "a.b.example.com", false},
		{"*.internal", "web.internal", true},
		{"*", "web", false},
		{"*.", "web.", false},
		{"*.", "web", false},
		{"w*.example.com", "www.example.com", false},
		{"*w.example.com", "www.example.com", false},
		{"www.*.com", "www.example.com", false},
		{"*.*.com", "www.example.com", false},
		{"*.example.com", "*.example.com", false},
		{"xn--*.example.com", "xn--a.example.com", false},
		{"", "", false},
		{"example.com", "", false},
		{"example.com\x00.evil.com", "example.com", false},
		{"example.com", "example.com\x00.evil.com", false},
		{"example.com.", "example.com", false},
		{"example.com..", "example.com..", false},
		{"10.0.0.1", "10.0.0.1", false},
		{"K.example.com", "k.example.com", true},
		{"\u212a.example.com", "k.example.com", false}, // the Kelvin sign
		{"ſ.example.com", "s.example.com", false},      // the long s
	} {
		if got := MatchDNS(c.pattern, c.name); got != c.want {
			t.Errorf("MatchDNS(%q, %q) = %v", c.pattern, c.name, got)
		}
	}
}

func TestCleanDNS(t *testing.T) {
	for in, want := range map[string]string{
		"Example.COM": "example.com", "example.com.": "example.com", "a_b.c": "a_b.c", "1.2.3.com": "1.2.3.com", "x": "x",
		strings.Repeat("a", 63) + ".b": strings.Repeat("a", 63) + ".b",
	} {
		if got, err := CleanDNS(in); err != nil || got != want {
			t.Errorf("CleanDNS(%q) = %q, %v", in, got, err)
		}
	}
	for in, why := range map[string]string{
		"": "empty", ".": "empty", "a..b": "label is empty", ".a": "label is empty", "-a.b": "hyphen", "a-.b": "hyphen",
		"bücher.example": "xn--", "a b": "letters", "a/b": "letters", "a:1": "letters", "*.a": "wildcard",
		"1.2.3.4": "IPv4", "12": "IPv4", strings.Repeat("a", 64): "63", strings.Repeat("a.", 127): "253", "a\x00b": "letters",
	} {
		if why == "253" {
			in += "com"
		}
		if got, err := CleanDNS(in); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("CleanDNS(%q) = %q, %v, want an error with %q", in, got, err, why)
		}
	}
}

func TestCleanPattern(t *testing.T) {
	for in, want := range map[string]string{"*.Example.com": "*.example.com", "a.b": "a.b", "*.internal": "*.internal"} {
		if got, err := CleanPattern(in); err != nil || got != want {
			t.Errorf("CleanPattern(%q) = %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"*", "*.", "a.*", "*.*.b", "a*.b", "", "**.b", "*.1.2.3.4"} {
		if got, err := CleanPattern(in); err == nil {
			t.Errorf("CleanPattern(%q) = %q", in, got)
		}
	}
}

func TestParseSPIFFE(t *testing.T) {
	for in, want := range map[string][2]string{
		"spiffe://prod.example/web":     {"prod.example", "/web"},
		"spiffe://prod.example/a/b-c.d": {"prod.example", "/a/b-c.d"},
		"spiffe://a_b-c.9/X":            {"a_b-c.9", "/X"},
		"spiffe://prod.example":         {"prod.example", ""},
		"spiffe://prod.example/...":     {"prod.example", "/..."},
	} {
		id, err := ParseSPIFFE(in)
		if err != nil || id.TrustDomain() != want[0] || id.Path() != want[1] || id.String() != in || id.IsZero() {
			t.Errorf("ParseSPIFFE(%q) = %+v, %v", in, id, err)
		}
	}
	for _, in := range []string{
		"", "spiffe://", "spiffe:///a", "spiffe:/a/b", "Spiffe://a/b", "https://a/b", "spiffe://A/b", "spiffe://a:1/b",
		"spiffe://u@a/b", "spiffe://a/", "spiffe://a/b/", "spiffe://a//b", "spiffe://a/./b", "spiffe://a/../b", "spiffe://a/b?c",
		"spiffe://a/b#c", "spiffe://a/%62", "spiffe://a/b c", "spiffe://a/b\x00", "spiffe://ä/b", "spiffe://a/ä",
		"spiffe://" + strings.Repeat("a", 256) + "/b", "spiffe://a/" + strings.Repeat("b", 2048),
	} {
		if id, err := ParseSPIFFE(in); err == nil || !id.IsZero() || ValidSPIFFE(in) {
			t.Errorf("ParseSPIFFE(%q) = %v", in, id)
		}
	}
}

func TestNewSPIFFE(t *testing.T) {
	id, err := NewSPIFFE("prod.example", "web")
	if err != nil || id.String() != "spiffe://prod.example/web" {
		t.Errorf("%v %v", id, err)
	}
	if _, err := NewSPIFFE("prod.example/x", "../web"); err == nil {
		t.Error("accepted")
	}
}

func TestParseName(t *testing.T) {
	for in, want := range map[string]struct {
		kind Kind
		text string
	}{
		"Web.Internal.":   {DNS, "web.internal"},
		"localhost":       {DNS, "localhost"},
		"10.0.0.1":        {IP, "10.0.0.1"},
		"::1":             {IP, "::1"},
		"[2001:DB8::1]":   {IP, "2001:db8::1"},
		"::ffff:10.0.0.1": {IP, "10.0.0.1"},
		"spiffe://a/b":    {URI, "spiffe://a/b"},
	} {
		n, err := Parse(in)
		if err != nil || n.Kind() != want.kind || n.String() != want.text || n.IsZero() {
			t.Errorf("Parse(%q) = %v %q, %v", in, n.Kind(), n, err)
		}
	}
	for in, why := range map[string]string{
		"": "empty", "https://web": "SPIFFE", "web:8443": "port", "10.0.0.1:443": "port", "fe80::1%eth0": "zone",
		"spiffe://A/b": "trust domain", "1.2.3": "IP address", "010.0.0.1": "IP address", "[::1": "IP address", "*.web": "wildcard",
	} {
		if n, err := Parse(in); err == nil || !strings.Contains(err.Error(), why) || !n.IsZero() {
			t.Errorf("Parse(%q) = %v, %v, want an error with %q", in, n, err, why)
		}
	}
}

func TestQuoteIsSafeAndShort(t *testing.T) {
	for in, want := range map[string]string{
		"web":                          `"web"`,
		"\x1b[31m\n":                   `"\x1b[31m\n"`,
		"\u202eabc":                    `"\u202eabc"`,
		strings.Repeat("a", 120):       `"` + strings.Repeat("a", 120) + `"`,
		strings.Repeat("a", 121):       `"` + strings.Repeat("a", 120) + `" and 1 more bytes`,
		strings.Repeat("a", 119) + "é": `"` + strings.Repeat("a", 119) + `" and 2 more bytes`,
		"\xff\xfe":                     `"\xff\xfe"`,
	} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %s", in, got)
		}
	}
	if got := Quote(strings.Repeat("\x80", 1000)); len(got) > 600 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestPrintableLeavesSentencesAsTheyAre(t *testing.T) {
	long := strings.Repeat("a", 2000)
	for in, want := range map[string]string{
		"":                    "",
		`it said "no" ~`:      `it said "no" ~`,
		long:                  long,
		long + "a":            `"` + strings.Repeat("a", 120) + `" and 1881 more bytes`,
		"rubbed out\x7f":      `"rubbed out\x7f"`,
		"\x1b[31mred":         `"\x1b[31mred"`,
		"two\nlines":          `"two\nlines"`,
		"turned \u202e round": `"turned \u202e round"`,
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %s", in, got)
		}
	}
}

func TestMatchingAllocatesNothing(t *testing.T) {
	name, err := Parse("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if !MatchDNS("*.Example.com", "www.example.com") || !name.MatchDNS("*.example.com") || !ValidSPIFFE("spiffe://a/b") {
			t.Error("no match")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What matches must be a name that could have been asked for, and by rules that
// do not depend on which of the ways in was taken.
func FuzzMatchDNS(f *testing.F) {
	f.Add("*.example.com", "www.example.com")
	f.Add("a..b", "a..b")
	f.Add("\u212a", "k")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		got := MatchDNS(pattern, name)
		if n, err := Parse(name); err == nil && n.Kind() == DNS && n.MatchDNS(pattern) != got {
			t.Errorf("MatchDNS(%q, %q) = %v, and otherwise for the parsed name", pattern, name, got)
		}
		if !got {
			return
		}
		clean, err := CleanDNS(name)
		if err != nil {
			t.Fatalf("%q matches and is no name: %v", name, err)
		}
		p, err := CleanPattern(pattern)
		if err != nil {
			t.Fatalf("%q matches and is no pattern: %v", pattern, err)
		}
		if strings.Count(p, ".") != strings.Count(clean, ".") {
			t.Errorf("%q matches %q", pattern, name)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"web", "10.0.0.1", "[::1]", "spiffe://a/b", "https://x", "fe80::1%eth0", "a..b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			if len(err.Error()) > 1000 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < 0x20 }) {
				t.Errorf("%q", err)
			}
			return
		}
		again, err := Parse(n.String())
		if err != nil || again != n {
			t.Errorf("%q is %q, which is %q, %v", s, n, again, err)
		}
	})
}

func FuzzParseSPIFFE(f *testing.F) {
	f.Add("spiffe://prod.example/web")
	f.Add("spiffe://a/%2e%2e/b")
	f.Add("spiffe://a//")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseSPIFFE(s)
		if (err == nil) != ValidSPIFFE(s) {
			t.Errorf("%q: two answers", s)
		}
		if err == nil && (id.String() != s || strings.ContainsAny(s, "%?#@\\ ") || strings.Contains(s, "/../")) {
			t.Errorf("%q is %q", s, id)
		}
	})
}
