package pki

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
)

func parsedChain(t *testing.T, ders ...[]byte) []*Certificate {
	t.Helper()
	chain, err := ParseChain(ders)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

// A signature that is known is not verified again, and everything else is.
func TestAKnownSignatureSaysNothingElse(t *testing.T) {
	root := mint.Root("Root")
	inter := root.Intermediate("Issuing")
	leaf := inter.Leaf("web.example")
	chain := parsedChain(t, leaf.Chain...)
	anchors := NewAnchors(parsedChain(t, root.DER)...)
	known := &Known{}
	q := Question{Chain: chain, Anchors: anchors, Purpose: ForServer, Name: "web.example", At: time.Now(), Known: known}
	if v := Verify(q); !v.OK || len(known.signatures.young) != 2 {
		t.Fatalf("%v; %d signatures are known", v.Sentence(), len(known.signatures.young))
	}
	if v := Verify(q); !v.OK {
		t.Fatal(v.Sentence())
	}
	for name, change := range map[string]func(*Question){
		"another name":  func(q *Question) { q.Name = "orders.example" },
		"later":         func(q *Question) { q.At = q.At.AddDate(50, 0, 0) },
		"other anchors": func(q *Question) { q.Anchors = NewAnchors(parsedChain(t, mint.Root("Root").DER)...) },
		"a forged leaf": func(q *Question) {
			forged := bytes.Clone(leaf.Chain[0])
			forged[len(forged)-1] ^= 1
			q.Chain = append(parsedChain(t, forged), q.Chain[1:]...)
		},
		"a twin of the issuer": func(q *Question) {
			twin := root.Intermediate("Issuing")
			q.Chain = []*Certificate{q.Chain[0], parsedChain(t, twin.DER)[0]}
		},
	} {
		other := q
		change(&other)
		if v := Verify(other); v.OK {
			t.Errorf("%s: accepted", name)
		}
	}
	if len(known.signatures.young) != 2 {
		t.Errorf("%d signatures are known: what was refused was learnt", len(known.signatures.young))
	}
}

// Without a Known, and with an empty one, a wrong signature is a wrong signature.
func TestAWrongSignatureIsNotLearnt(t *testing.T) {
	root := mint.Root("Root")
	forged := bytes.Clone(root.Leaf("web.example").Chain[0])
	forged[len(forged)-1] ^= 1
	known := &Known{}
	q := Question{Chain: parsedChain(t, forged), Anchors: NewAnchors(parsedChain(t, root.DER)...), Purpose: ForServer, Name: "web.example", At: time.Now(), Known: known}
	for range 3 {
		if v := Verify(q); v.OK || len(known.signatures.young) != 0 {
			t.Fatal("a wrong signature was taken, or learnt")
		}
	}
}

func TestKnownIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	known := &Known{}
	used := &Certificate{SHA256: [32]byte{1}}
	issuer := &Certificate{SHA256: [32]byte{2}}
	known.learn([]*Certificate{used, issuer})
	var wait sync.WaitGroup
	for g := range byte(4) {
		wait.Go(func() {
			for i := range 3 * maxKnown {
				known.learn([]*Certificate{{SHA256: [32]byte{3, g, byte(i), byte(i >> 8)}}, issuer})
				if i%100 == 0 && !known.has(used, issuer) {
					t.Error("what is used was forgotten")
				}
			}
		})
	}
	wait.Wait()
	if n := len(known.signatures.young) + len(known.signatures.old); n > 2*maxKnown {
		t.Errorf("%d are kept", n)
	}
	if known.has(issuer, used) {
		t.Error("the other way round is known too")
	}
}
