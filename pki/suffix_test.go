package pki

import (
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

func TestPublicSuffixes(t *testing.T) {
	for name, want := range map[string][2]bool{
		"com": {true, false}, "co.uk": {true, false}, "example.com": {}, "example.co.uk": {},
		"s3.amazonaws.com": {false, true}, "github.io": {false, true}, "internal": {false, true}, "a.internal": {},
		"anything.ck": {true, false}, "www.ck": {}, "a.anything.ck": {}, "xn--p1ai": {true, false}, "": {false, true},
	} {
		if r, c := publicSuffix(name); [2]bool{r, c} != want {
			t.Errorf("%q: registry %v, company %v", name, r, c)
		}
	}
}

func TestEverySuffixIsFound(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(suffixList, "\n"), "\n")
	for len(lines) > 0 && lines[0][0] == '#' {
		lines = lines[1:]
	}
	if len(lines) < 9000 || !slices.IsSorted(lines) {
		t.Fatalf("%d lines, sorted %v", len(lines), slices.IsSorted(lines))
	}
	for _, l := range lines {
		if name, kind, _ := strings.Cut(l, " "); suffixKind(name) != kind {
			t.Errorf("%q is %q, want %q", name, suffixKind(name), kind)
		}
	}
}

func TestAWildcardForARegistryStandsForNothingOnTheWeb(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		good          []Profile
	}{
		{"*.com", "example.com", []Profile{Basic, Private}},
		{"*.s3.amazonaws.com", "bucket.s3.amazonaws.com", []Profile{Basic, Private, Browser}},
		{"*.example.com", "www.example.com", []Profile{Basic, Private, Browser, WebPKI}},
	} {
		s := stand(t)
		q := s.server(s.inter.leaf(t, c.pattern))
		q.Name = c.name
		for _, q.Profile = range []Profile{Basic, Private, Browser, WebPKI} {
			if slices.Contains(c.good, q.Profile) {
				accept(t, q)
			} else {
				refuse(t, q, code.WrongName)
			}
		}
	}
}
