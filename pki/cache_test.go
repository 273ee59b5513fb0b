package pki

import (
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"
)

func TestWhatWasVerifiedIsNotParsedAgain(t *testing.T) {
	s := stand(t)
	first, err := Parse(s.leaf.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if first == s.leaf.Certificate {
		t.Error("kept before it was verified")
	}
	accept(t, s.question())
	again, err := Parse(s.leaf.Raw)
	if err != nil || again != s.leaf.Certificate {
		t.Errorf("parsed again: %v", err)
	}
}

// A stranger can show any number of certificates: none of them may take a place.
func TestWhatWasRefusedIsNotKept(t *testing.T) {
	s := stand(t)
	other := root(t, "Other")
	l := other.leaf(t, "api.internal")
	refuse(t, s.server(l), "M0103")
	if verified.get(&l.SHA256) != nil {
		t.Error("a refused leaf is kept")
	}
	q := s.question()
	q.Chain = append(q.Chain, l.Certificate)
	accept(t, q)
	if verified.get(&l.SHA256) != nil {
		t.Error("a stranger beside the path is kept")
	}
}

func TestAKeptCertificateIsJudgedAnew(t *testing.T) {
	s := stand(t)
	accept(t, s.question())
	c, err := Parse(s.leaf.Raw)
	if err != nil {
		t.Fatal(err)
	}
	q := s.question()
	q.Chain[0], q.At = c, now.Add(48*time.Hour)
	refuse(t, q, "M0101")
	q = s.question()
	q.Chain[0], q.Anchors = c, anchors(root(t, "Other"))
	refuse(t, q, "M0103")
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	const limit = 1 << 20
	c := newCache(limit)
	r := root(t, "R")
	key := p256()
	held := func() (n int) {
		for i := range c.shards {
			s := &c.shards[i]
			for _, m := range []map[[32]byte]*Certificate{s.young, s.old} {
				for _, cert := range m {
					n += cert.footprint()
				}
			}
		}
		return n
	}
	for i := range 600 {
		c.put(r.leaf(t, fmt.Sprint("n", i), withKey(key)).Certificate)
		if n := held(); n > limit {
			t.Fatalf("%d bytes after %d certificates, want at most %d", n, i+1, limit)
		}
	}
	if n := held(); n < limit/4 {
		t.Errorf("%d bytes held, far below %d", n, limit)
	}
}

func TestWhatIsUsedStaysInTheCache(t *testing.T) {
	c := newCache(1 << 20)
	r := root(t, "R")
	key := p256()
	used := r.leaf(t, "used", withKey(key)).Certificate
	c.put(used)
	for i := range 600 {
		c.put(r.leaf(t, fmt.Sprint("n", i), withKey(key)).Certificate)
		if c.get(&used.SHA256) == nil {
			t.Fatalf("gone after %d others", i+1)
		}
	}
}

func TestParseAndVerifyAreSafeConcurrently(t *testing.T) {
	s := stand(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := Parse(s.leaf.Raw)
				if err != nil {
					t.Error(err)
					return
				}
				q := s.question()
				q.Chain[0] = l
				if v := Verify(q); !v.OK {
					t.Error(v.Sentence())
				}
				q.Name = "other"
				if Verify(q).OK {
					t.Error("accepted")
				}
			}
		})
	}
	wg.Wait()
}

func TestParseCopiesWhatItIsGiven(t *testing.T) {
	s := stand(t)
	b := append([]byte(nil), s.leaf.Raw...)
	c, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if v := Verify(s.server(&entity{c, nil})); !v.OK {
		t.Error(v.Sentence())
	}
}

func TestVerifyAllocatesLessThanTheStandardLibrary(t *testing.T) {
	s := stand(t)
	q := s.question()
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, DNSName: "api.internal"}
	o.Roots.AddCert(s.root.X509)
	o.Intermediates.AddCert(s.inter.X509)
	accept(t, q)
	ours := testing.AllocsPerRun(20, func() { Verify(q) })
	theirs := testing.AllocsPerRun(20, func() { _, _ = s.leaf.X509.Verify(o) })
	if ours >= theirs {
		t.Errorf("%v allocations, the standard library %v", ours, theirs)
	}
}
