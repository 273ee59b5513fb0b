package pki

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A tangle is authorities that signed each other in all directions, some of the
// certificates good and some not.
type tangle struct {
	n     int
	links [][]tangled // [issuer][subject], zero where there is none
	trust []bool
	leaf  int // who issued the leaf
}

type tangled struct {
	there, expired, excludes, noAuthority bool
	length                                int // path length; -1 for none
}

func (l tangled) options() (out []option) {
	if l.expired {
		out = append(out, valid(-2*time.Hour, -time.Hour))
	}
	if l.excludes {
		out = append(out, func(r *request) { r.ExcludedDNSDomains = []string{"internal"} })
	}
	if l.noAuthority {
		out = append(out, func(r *request) { r.IsCA, r.KeyUsage = false, 0 })
	}
	if l.length >= 0 && !l.noAuthority {
		out = append(out, func(r *request) { r.MaxPathLen, r.MaxPathLenZero = l.length, l.length == 0 })
	}
	return out
}

// stands says by trying every way whether one leads from authority at, with below
// others under it, to one that is trusted.
func (g *tangle) stands(at, below int, used []bool) bool {
	if g.trust[at] {
		return true
	}
	used[at] = true
	defer func() { used[at] = false }()
	for issuer := range g.n {
		l := g.links[issuer][at]
		if !l.there || used[issuer] || l.expired || l.excludes || l.noAuthority || l.length >= 0 && below > l.length {
			continue
		}
		if g.stands(issuer, below+1, used) {
			return true
		}
	}
	return false
}

func (g *tangle) question(t *testing.T) Question {
	authorities := make([]*entity, g.n)
	var trusted []*entity
	for i := range authorities {
		authorities[i] = root(t, fmt.Sprint("Authority ", i))
		if g.trust[i] {
			trusted = append(trusted, authorities[i])
		}
	}
	var shown []*Certificate
	for i, row := range g.links {
		for j, l := range row {
			if l.there {
				shown = append(shown, authorities[i].intermediate(t, fmt.Sprint("Authority ", j), append(l.options(), withKey(authorities[j].key))...).Certificate)
			}
		}
	}
	leaf := authorities[g.leaf].leaf(t, "api.internal")
	return Question{Chain: append(chain(leaf), shown...), Anchors: anchors(trusted...), Purpose: ForServer, Name: "api.internal", At: now}
}

// Where there is one path among all that there are, it is found within the budget,
// and where there is none, none is.
func TestAPathIsFoundInATangleWhereThereIsOne(t *testing.T) {
	rounds, found := 300, 0
	if testing.Short() {
		rounds = 40
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(20261126, uint64(round)))
		one := func(n int) bool { return r.IntN(n) == 0 }
		g := &tangle{n: 3 + r.IntN(6), leaf: 0}
		g.trust = make([]bool, g.n)
		g.trust[g.n-1] = true
		faulty := 1 + r.IntN(3)
		for i := range g.n {
			g.links = append(g.links, make([]tangled, g.n))
			for j := range g.n {
				if i == j || g.trust[j] || one(3) {
					continue
				}
				l := tangled{there: true, length: -1}
				switch {
				case one(faulty + 1):
					l.expired = true
				case one(6):
					l.excludes = true
				case one(8):
					l.noAuthority = true
				case one(4):
					l.length = r.IntN(4)
				}
				g.links[i][j] = l
			}
		}
		want := g.stands(g.leaf, 0, make([]bool, g.n))
		q := g.question(t)
		r.Shuffle(len(q.Chain)-1, func(i, j int) { q.Chain[1+i], q.Chain[1+j] = q.Chain[1+j], q.Chain[1+i] })
		if v := Verify(q); v.OK != want {
			t.Errorf("round %d, %d authorities, %d shown: %v, want %v: %s", round, g.n, len(q.Chain), v.OK, want, v.Sentence())
		}
		if want {
			found++
		}
	}
	if found < rounds/4 || found > rounds*9/10 {
		t.Errorf("%d of %d have a path: the faults are badly mixed", found, rounds)
	}
}
