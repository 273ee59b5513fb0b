package pki

import (
	"bytes"
	"crypto/x509"
	"reflect"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki/ct"
)

// answered is whether the question has been answered before.
func answered(q Question) bool { return q.Known.recall(&q, q.generation()) != nil }

func met(t *testing.T, q *Question) {
	t.Helper()
	q.Known = &Known{}
	if v := Verify(*q); !v.OK {
		t.Fatal(v.Sentence())
	}
	if !answered(*q) {
		t.Fatal("what stood is not remembered")
	}
}

// Whoever adds to Question says here how a change of it shows.
func TestAnAnswerIsGivenOnlyToTheSameQuestion(t *testing.T) {
	s := stand(t)
	q := s.question()
	met(t, &q)
	other := root(t, "Another Authority")
	logs := transparent(t, ct.Chrome, mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", ""))
	changes := map[string]func(*Question){
		"Chain":              func(q *Question) { q.Chain = []*Certificate{s.inter.leaf(t, "api.internal").Certificate, q.Chain[1]} },
		"Anchors":            func(q *Question) { q.Anchors = NewAnchors(s.root.Certificate, other.Certificate) },
		"Purpose":            func(q *Question) { q.Purpose = ForAny },
		"Name":               func(q *Question) { q.Name = "" },
		"At":                 func(q *Question) { q.At = s.leaf.X509.NotAfter.Add(time.Second) },
		"Supposed":           func(q *Question) { q.Supposed = true },
		"Profile":            func(q *Question) { q.Profile = SVID },
		"MaxIntermediates":   func(q *Question) { q.MaxIntermediates = 3 },
		"Policies":           func(q *Question) { q.Policies = []string{"1.2.3"} },
		"RequirePolicy":      func(q *Question) { q.RequirePolicy = true },
		"NoPolicyMapping":    func(q *Question) { q.NoPolicyMapping = true },
		"NoAnyPolicy":        func(q *Question) { q.NoAnyPolicy = true },
		"RevocationLists":    func(q *Question) { q.RevocationLists = []*RevocationList{s.inter.list(t, nil)} },
		"Revocation":         func(q *Question) { q.Revocation = RevocationSoft },
		"RevocationLeafOnly": func(q *Question) { q.RevocationLeafOnly = true },
		"RevocationSource":   func(q *Question) { q.RevocationSource = Lists(s.inter.list(t, nil)) },
		"OCSP":               func(q *Question) { q.OCSP = []*OCSPResponse{mustOCSP(t, respond(s.leaf, s.inter).make(t))} },
		"Stapled":            func(q *Question) { q.Stapled = true },
		"Timestamps":         func(q *Question) { q.Timestamps = [][]byte{{0}} },
		"Transparency":       func(q *Question) { q.Transparency = logs },
		"Known":              func(q *Question) { q.Known = &Known{} }, // another verifier's
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Question]()) {
		change := changes[f.Name]
		if change == nil {
			t.Errorf("%s is part of a question, and not of what is remembered", f.Name)
			continue
		}
		changed := q
		if change(&changed); answered(changed) {
			t.Errorf("another %s was answered from memory", f.Name)
		}
	}
	if !answered(q) {
		t.Error("the same question was forgotten")
	}
}

func TestAnAnswerHoldsNoLongerThanWhatItRestsOn(t *testing.T) {
	s := stand(t)
	l := s.inter.list(t, func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(-time.Minute), now.Add(time.Minute) })
	for name, c := range map[string]struct {
		lists       []*RevocationList
		from, until time.Time
	}{
		"certificates": {nil, latest(s.leaf, s.inter, s.root), earliest(s.leaf, s.inter, s.root)},
		"a list":       {[]*RevocationList{l}, now.Add(-time.Minute - revocationSkew), now.Add(time.Minute + revocationSkew)},
	} {
		q := s.question()
		q.RevocationLists = c.lists
		met(t, &q)
		for at, want := range map[time.Time]bool{
			c.from.Add(-time.Second): false, c.from: true, c.until: true, c.until.Add(time.Second): false,
		} {
			q.At = at
			if answered(q) != want {
				t.Errorf("%s: at %v it is answered: %v", name, at, !want)
			}
			fresh := q
			fresh.Known = nil
			if v := Verify(fresh); v.OK != want {
				t.Errorf("%s: at %v: %s", name, at, v.Sentence())
			}
		}
	}
}

func latest(all ...*entity) (t time.Time) {
	for _, e := range all {
		if e.X509.NotBefore.After(t) {
			t = e.X509.NotBefore
		}
	}
	return t
}

func earliest(all ...*entity) time.Time {
	t := all[0].X509.NotAfter
	for _, e := range all {
		if e.X509.NotAfter.Before(t) {
			t = e.X509.NotAfter
		}
	}
	return t
}

func TestARevocationIsNotAnsweredFromMemory(t *testing.T) {
	s := stand(t)
	q := s.question()
	q.RevocationLists = []*RevocationList{s.inter.list(t, nil)}
	met(t, &q)
	q.RevocationLists = []*RevocationList{s.inter.list(t, nil, s.leaf.Certificate)}
	if v := Verify(q); v.Code != code.CertificateRevoked {
		t.Error(v.Sentence())
	}
}

// An answer tells of a path, and that path has to be shown.
func TestAnAnswerIsOnlyForWhoShowsThePath(t *testing.T) {
	s := stand(t)
	q := s.question()
	met(t, &q)
	q.Chain = q.Chain[:1]
	if v := Verify(q); v.OK {
		t.Error("a leaf without its intermediate was let in, since the intermediate had been seen before")
	}
}

func TestARefusalIsNeverRemembered(t *testing.T) {
	s := stand(t)
	q := s.question()
	q.Known = &Known{}
	q.Name = "another.internal"
	for range 2 {
		if v := Verify(q); v.OK || len(q.Known.answers.young) != 0 {
			t.Fatalf("%v; %d answers", v.OK, len(q.Known.answers.young))
		}
	}
}

// Whoever has one certificate has one place, whatever else is shown.
func TestAPeerCannotFillTheMemory(t *testing.T) {
	s := stand(t)
	q := s.question()
	met(t, &q)
	chain := q.Chain
	for i := range 3 * MaxShown {
		q.Chain = append(append([]*Certificate{}, chain...), root(t, string(rune('a'+i%26))).Certificate)
		if v := Verify(q); !v.OK {
			t.Fatal(v.Sentence())
		}
		if i > 20 {
			break
		}
	}
	if n := len(q.Known.answers.young) + len(q.Known.answers.old); n != 1 {
		t.Errorf("one certificate takes %d places", n)
	}
	forged := bytes.Clone(chain[0].Raw)
	forged[len(forged)-1] ^= 1
	c, err := Parse(forged)
	if err != nil {
		t.Fatal(err)
	}
	q.Chain = []*Certificate{c, chain[1]}
	if v := Verify(q); v.OK || len(q.Known.answers.young) != 1 {
		t.Errorf("a forged leaf: %v, %d places", v.OK, len(q.Known.answers.young))
	}
}
