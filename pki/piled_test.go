package pki

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

// made is a certificate that nobody signed who could: it says that it is by's, and
// is another key's work.
func (e *entity) made(t *testing.T, name string, opts ...option) *Certificate {
	return e.intermediate(t, name, append([]option{func(r *request) { r.signer = stranger }}, opts...)...).Certificate
}

var stranger = p256()

// like is a key of one's own under the key identifier of e.
func like(e *entity) option {
	return func(r *request) { r.SubjectKeyId = e.X509.SubjectKeyId }
}

// Whatever a peer piles up beside a short path, and in whatever order, the path is
// found, and is the shortest that there is.
func TestAShortPathIsFoundBesideWhateverIsPiledUp(t *testing.T) {
	r := root(t, "Root")
	one := r.intermediate(t, "One")
	two := one.intermediate(t, "Two")
	three := two.intermediate(t, "Three")
	pile := func(n int, make func(i int) *Certificate) (all []*Certificate) {
		for i := range n {
			all = append(all, make(i))
		}
		return all
	}
	inside, members := mesh(t, one, 9)
	last := members[8]
	door := &entity{r.intermediate(t, "Member 8", withKey(last.key)).Certificate, last.key}
	through := &entity{last.intermediate(t, "One", withKey(one.key)).Certificate, one.key}
	excludes := func(r *request) { r.ExcludedDNSDomains = []string{"internal"} }
	for _, c := range []struct {
		shape   string
		honest  []*entity // from the leaf's issuer upwards
		beside  []*Certificate
		anchors []*entity
	}{
		{"keys of nobody under the issuer's name", []*entity{one},
			pile(98, func(int) *Certificate { return r.made(t, "One", like(one)) }), nil},
		{"the issuer's key, as if the root had signed for it", []*entity{one},
			pile(98, func(int) *Certificate { return r.made(t, "One", withKey(one.key)) }), nil},
		{"both", []*entity{one}, slices.Concat(
			pile(49, func(int) *Certificate { return r.made(t, "One", withKey(one.key)) }),
			pile(49, func(int) *Certificate { return r.made(t, "One", like(one)) })), nil},
		{"and a root that was made anew", []*entity{one},
			pile(98, func(int) *Certificate { return r.made(t, "One", withKey(one.key)) }), []*entity{root(t, "Root")}},
		{"two floors of them", []*entity{two, one}, slices.Concat(
			pile(48, func(int) *Certificate { return one.made(t, "Two", withKey(two.key)) }),
			pile(48, func(int) *Certificate { return r.made(t, "One", like(one)) })), nil},
		{"three floors of them", []*entity{three, two, one}, slices.Concat(
			pile(32, func(int) *Certificate { return two.made(t, "Three", withKey(three.key)) }),
			pile(32, func(int) *Certificate { return one.made(t, "Two", like(two)) }),
			pile(31, func(int) *Certificate { return r.made(t, "One", like(one)) })), nil},
		{"a mesh of names", []*entity{two, one},
			pile(96, func(i int) *Certificate {
				by := []*entity{one, two, three, r}[i/2%4]
				return by.made(t, []string{"One", "Two", "Three"}[i%3], like([]*entity{one, two, three}[i%3]))
			}), nil},
		{"authorities that all signed each other", []*entity{one}, inside, nil},
		{"the same, with a door", []*entity{through, door}, inside, nil},
		{"true ways up that limit the names", []*entity{two, one}, slices.Concat(
			pile(48, func(int) *Certificate { return one.intermediate(t, "Two", withKey(two.key), excludes).Certificate }),
			pile(48, func(int) *Certificate { return r.intermediate(t, "One", withKey(one.key)).Certificate })), nil},
		{"long true ways that end nowhere", []*entity{one},
			line(t, one, 10, 9), nil},
	} {
		leaf := c.honest[0].leaf(t, "api.internal")
		want := append([]*entity{leaf}, c.honest...)
		anchors := anchors(append([]*entity{r}, c.anchors...)...)
		forwards := slices.Concat(chain(leaf), c.beside, chain(c.honest...))
		backwards := slices.Clone(forwards)
		slices.Reverse(backwards[1:])
		for _, order := range [][]*Certificate{forwards, backwards, slices.Concat(chain(want...), c.beside)} {
			q := Question{Chain: order, Anchors: anchors, Purpose: ForServer, Name: "api.internal", At: now}
			v := Verify(q)
			if !v.OK || len(v.Path) != len(want)+1 {
				t.Errorf("%s, %d shown: %v on a path of %d, want %d: %s", c.shape, len(order), v.OK, len(v.Path), len(want)+1, v.Sentence())
				continue
			}
			if s := work(t, q); s.spent {
				t.Errorf("%s: spent", c.shape)
			}
			// One as short is told first when none stands.
			q.Name = "other.internal"
			v = Verify(q)
			if v.OK || v.Code != code.WrongName && v.Code != code.NameConstraints {
				t.Errorf("%s: %s", c.shape, v.Sentence())
			}
			if len(v.Paths) > maxPaths || len(v.Paths[0].Chain) != len(want)+1 || !reflect.DeepEqual(v, Verify(q)) {
				t.Errorf("%s: %d paths are told, the first of %d", c.shape, len(v.Paths), len(v.Paths[0].Chain))
			}
		}
	}
}

// A heap of keys that signed nothing is told for what it is, though telling it all
// would take more signatures than there are.
func TestAHeapOfForgeriesIsToldAsForged(t *testing.T) {
	r := root(t, "Root")
	one := r.intermediate(t, "One")
	q := Question{Chain: chain(one.leaf(t, "api.internal")), Anchors: anchors(r), Purpose: ForServer, At: now}
	for range 99 {
		q.Chain = append(q.Chain, r.made(t, "One", like(one)))
	}
	if s := work(t, q); s.spent {
		t.Error("spent")
	}
	refuse(t, q, code.BadSignature)
}

// A key identifier that differs is a hint and no more: what has one is tried after
// all that has none, and stands all the same.
func TestKeyIdentifiersThatDifferComeLast(t *testing.T) {
	other := func(r *request) { r.SubjectKeyId = []byte("other") }
	r := root(t, "Root")
	again := root(t, "Root", withKey(r.key), other)
	one := r.intermediate(t, "One")
	twin := again.intermediate(t, "One", withKey(one.key), other)
	leaf := one.leaf(t, "api.internal")
	q := Question{Chain: chain(leaf, twin), Anchors: anchors(r), Purpose: ForServer, At: now}
	accept(t, q, leaf, twin, r)
	q.Chain = chain(leaf, twin, one)
	accept(t, q, leaf, one, r)

	// The short way up differs, the long one does not.
	long := root(t, "Other").intermediate(t, "One", withKey(one.key))
	q.Chain = chain(leaf, twin, long)
	accept(t, q, leaf, twin, r)
	door := r.intermediate(t, "Other")
	long = door.intermediate(t, "One", withKey(one.key))
	q.Chain = chain(leaf, twin, long, door)
	accept(t, q, leaf, long, door, r)
	if s := work(t, q); len(s.edges) != 3 {
		t.Errorf("%d signatures", len(s.edges))
	}
}

// mesh is n authorities that all signed each other, and all signed for e.
func mesh(t *testing.T, e *entity, n int) (all []*Certificate, members []*entity) {
	for i := range n {
		members = append(members, root(t, fmt.Sprint("Member ", i)))
	}
	for _, by := range members {
		all = append(all, by.intermediate(t, e.X509.Subject.CommonName, withKey(e.key)).Certificate)
		for _, of := range members {
			if of != by {
				all = append(all, by.intermediate(t, of.X509.Subject.CommonName, withKey(of.key)).Certificate)
			}
		}
	}
	return all, members
}

// line is a line of authorities above e, each certified several times over.
func line(t *testing.T, e *entity, floors, times int) (all []*Certificate) {
	for i := range floors {
		above := root(t, fmt.Sprint("Floor ", i))
		for range times {
			all = append(all, above.intermediate(t, e.X509.Subject.CommonName, withKey(e.key)).Certificate)
		}
		e = above
	}
	return all
}
