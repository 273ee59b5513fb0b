package pki

import (
	"fmt"
	"reflect"
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
	s.find()
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
	if s := work(t, q); len(s.edges) != 1 {
		t.Errorf("%d signatures by one key", len(s.edges))
	}
	refuse(t, q, code.BadSignature)
	q.Chain = chain(leaf)
	accept(t, q)

	// A hundred shown, each of which may stand above each.
	q = Question{Chain: append(chain(leaf), many[:MaxShown-1]...), Anchors: anchors(root(t, "R")), Purpose: ForServer, At: now}
	work(t, q)
	refuse(t, q, code.UnknownAuthority)
}

// Authorities that all signed each other: the number of paths grows beyond all
// bounds. Where none leads to an anchor none is followed, and the reason is told;
// where many do and none stands, the search is given up.
func TestAHostileMeshIsGivenUpWithinTheBudget(t *testing.T) {
	r := root(t, "Root")
	first := root(t, "First")
	shown, _ := mesh(t, first, 9)
	q := Question{Chain: append(chain(first.leaf(t, "api.internal")), shown...), Anchors: anchors(r), Purpose: ForServer, At: now}
	if s := work(t, q); s.spent || len(s.edges) > 0 {
		t.Errorf("spent %v after %d signatures", s.spent, len(s.edges))
	}
	v := refuse(t, q, code.UnknownAuthority)
	if len(v.Paths) != maxPaths || !reflect.DeepEqual(v, Verify(q)) {
		t.Errorf("%d paths told, others the next time", len(v.Paths))
	}

	// The same under one name, so that names lead from each to each.
	one := root(t, "Mesh")
	shown = nil
	for range 9 {
		by := root(t, "Mesh")
		for range 10 {
			shown = append(shown, by.intermediate(t, "Mesh", withKey(one.key)).Certificate)
		}
		one = by
	}
	q.Chain = append(chain(one.leaf(t, "api.internal")), shown...)
	work(t, q)
	refuse(t, q, code.UnknownAuthority)

	// An anchor made the last of them an authority, and none of what they issued is
	// for the policy that is asked for.
	shown, members := mesh(t, first, 9)
	q.Chain = append(chain(first.leaf(t, "api.internal")), shown...)
	q.Chain = append(q.Chain, r.intermediate(t, "Member 8", withKey(members[8].key)).Certificate)
	accept(t, q)
	q.RequirePolicy = true
	if s := work(t, q); !s.spent || len(s.edges) >= maxSignatures {
		t.Errorf("spent %v after %d signatures", s.spent, len(s.edges))
	}
	v = refuse(t, q, code.Budget)
	if len(v.Paths) != maxPaths || !reflect.DeepEqual(v, Verify(q)) {
		t.Errorf("%d paths told, others the next time", len(v.Paths))
	}
	for i, p := range v.Paths {
		if n := len(p.Chain); p.OK || !q.Anchors.Contains(p.Chain[n-1]) || i > 0 && n < len(v.Paths[i-1].Chain) {
			t.Errorf("path %d, of %d certificates, is not the next longer one up to an anchor", i, n)
		}
	}
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
