package pki

import (
	"fmt"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

// work runs the search and says what it took.
func work(t *testing.T, q Question) *search {
	t.Helper()
	s := &search{q: q}
	if v := s.prepare(); v != nil {
		t.Fatal(v.Sentence())
	}
	s.extend()
	if s.steps > maxSteps || len(s.edges) > maxSignatures || s.looks > maxLooks+1 {
		t.Errorf("%d steps, %d signatures, %d looks", s.steps, len(s.edges), s.looks)
	}
	return s
}

// Ten thousand certificates, shown or trusted, of one name and with keys that
// signed none of each other, or one key that signed them all.
func TestTenThousandCertificatesTakeABoundedSearch(t *testing.T) {
	one := p256()
	template := root(t, "A", withKey(one))
	many := make([]*Certificate, 10000)
	for i := range many {
		c, err := parse(template.Raw, [32]byte{byte(i), byte(i >> 8), 1}) // told apart by a hash that is not its own
		if err != nil {
			t.Fatal(err)
		}
		many[i] = c
	}
	leaf := template.leaf(t, "api.internal")
	q := Question{Chain: append(chain(leaf), many...), Anchors: anchors(root(t, "R")), Purpose: ForServer, At: now}
	refuse(t, q, code.ChainTooLong)

	stranger := root(t, "A").leaf(t, "api.internal", without(extAuthorityKeyID))
	q = Question{Chain: chain(stranger), Anchors: NewAnchors(many...), Purpose: ForServer, At: now}
	s := work(t, q)
	if !s.spent {
		t.Error("not spent")
	}
	refuse(t, q, code.Budget)
	q.Chain = chain(leaf)
	accept(t, q)

	// A hundred shown, each of which may stand above each.
	q = Question{Chain: append(chain(leaf), many[:MaxShown-1]...), Anchors: anchors(root(t, "R")), Purpose: ForServer, At: now}
	work(t, q)
	refuse(t, q, code.UnknownAuthority)
}

// A chain of re-issued authorities, three certificates each: many paths, and the
// one that leads to the anchor is found.
func TestReissuedAuthoritiesDoNotHideThePath(t *testing.T) {
	r := root(t, "R")
	above := r
	var shown []*entity
	for i := range 9 {
		key := p256()
		var next *entity
		for range 3 {
			next = above.intermediate(t, fmt.Sprint("A", i), withKey(key))
			shown = append(shown, next)
		}
		above = next
	}
	leaf := above.leaf(t, "api.internal")
	q := Question{Chain: append(chain(leaf), chain(shown...)...), Anchors: anchors(r), Purpose: ForServer, At: now}
	accept(t, q)
	work(t, q)
}
