package pki

import (
	"crypto/sha256"
	"strings"
	"sync"
	"time"
)

// Known remembers what was verified, so that it is not verified again. In mutual
// TLS the same few peers come back all day.
//
// It keeps signatures between certificates, since which key signed which bytes
// never changes, and answers: the path of a leaf, under everything that was asked.
// An answer is given again only to the same question (anchors, purpose, name,
// profile, policies, revocation lists, logs), between the times at which all that it
// rests on begins and ends, and to a chain that shows that very path.
//
// Only what stood is kept, by leaf and the latest few thousand: a refusal never is,
// a stranger can push nothing out, and whoever has one certificate has one place,
// whatever is shown beside it. The zero value knows nothing; it is safe for
// concurrent use. Each verifier has its own.
type Known struct {
	signatures recent[link, struct{}]
	answers    recent[asked, answer]
}

const (
	// maxKnown is how many signatures a generation of Known holds; there are two.
	maxKnown = 2048
	// maxAnswers is how many answers it holds. Each keeps a parsed leaf, some 8 KiB.
	maxAnswers = 1024
)

// link is the bytes that were signed and the certificate of the key that signed
// them, as their SHA-256.
type link [2][32]byte

// asked is a Question but for its time and what is shown beside the leaf.
type asked struct {
	leaf, anchors, lists, logs [32]byte
	name, policies             string
	limit                      int
	purpose                    Purpose
	profile                    Profile
	revocation                 RevocationMode
	flags                      uint8
}

// answer is a yes and when it holds.
type answer struct {
	verdict     *Verdict
	from, until time.Time
}

// generation is that of the source of revocations. It is asked before the source is
// asked for anything else, so that what was judged by old news is not remembered as
// judged by newer.
func (q *Question) generation() (sum [sha256.Size]byte) {
	if q.RevocationSource != nil {
		sum = q.RevocationSource.Generation()
	}
	return sum
}

func keyOf(q *Question, generation [sha256.Size]byte) asked {
	a := asked{
		leaf: q.Chain[0].SHA256, anchors: q.Anchors.Sum(), name: q.Name,
		limit: q.MaxIntermediates, purpose: q.Purpose, profile: q.Profile, revocation: q.Revocation,
	}
	if len(q.Policies) > 0 {
		a.policies = strings.Join(q.Policies, " ")
	}
	for i, set := range []bool{q.RequirePolicy, q.NoPolicyMapping, q.NoAnyPolicy, q.RevocationLeafOnly, q.RevocationSource != nil, q.Supposed} {
		if set {
			a.flags |= 1 << i
		}
	}
	if q.Transparency != nil {
		a.logs = q.Transparency.Sum()
	}
	if len(q.RevocationLists) > 0 || q.RevocationSource != nil {
		h := sha256.New()
		if q.RevocationSource != nil {
			h.Write(generation[:])
		}
		for _, r := range q.RevocationLists {
			if r != nil {
				h.Write(r.sum[:])
			}
		}
		h.Sum(a.lists[:0])
	}
	return a
}

// recall is an earlier yes to the same question; nil where there is none that
// holds now for what is shown now.
func (k *Known) recall(q *Question, generation [sha256.Size]byte) *Verdict {
	if k == nil || q.answered() || len(q.Chain) == 0 || q.Chain[0] == nil || len(q.Chain) > MaxShown {
		return nil
	}
	a, ok := k.answers.get(keyOf(q, generation))
	if !ok || q.At.Before(a.from) || q.At.After(a.until) {
		return nil
	}
	path := a.verdict.Path
	for i := 1; i < len(path)-1; i++ { // the anchor need not be shown
		if !shows(q.Chain[1:], path[i]) {
			return nil
		}
	}
	return a.verdict
}

func shows(chain []*Certificate, c *Certificate) bool {
	for _, s := range chain {
		if s == c || s != nil && s.SHA256 == c.SHA256 {
			return true
		}
	}
	return false
}

// remember keeps a yes with what it rests on. Between from and until the same is
// known of revocations; zero is no limit.
func (k *Known) remember(q *Question, generation [sha256.Size]byte, v *Verdict, from, until time.Time) {
	if k == nil {
		return
	}
	k.learn(v.Path)
	if q.answered() {
		return
	}
	a := answer{verdict: v, from: from, until: v.NotAfter}
	if !until.IsZero() && until.Before(a.until) {
		a.until = until
	}
	for _, c := range v.Path {
		if c.X509.NotBefore.After(a.from) {
			a.from = c.X509.NotBefore
		}
	}
	if v.Timestamps != nil && v.Timestamps.From.After(a.from) {
		a.from = v.Timestamps.From
	}
	k.answers.put(keyOf(q, generation), a, maxAnswers)
}

func (k *Known) has(child, issuer *Certificate) bool {
	if k == nil {
		return false
	}
	_, ok := k.signatures.get(link{child.SHA256, issuer.SHA256})
	return ok
}

// answered says whether a verdict rests on OCSP responses or timestamps beside the
// chain, which come anew each time: it is not remembered.
func (q *Question) answered() bool {
	return len(q.OCSP) > 0 || q.Stapled || len(q.Timestamps) > 0
}

// learn remembers the signatures of a path that stood.
func (k *Known) learn(path []*Certificate) {
	for i := range len(path) - 1 {
		k.signatures.put(link{path[i].SHA256, path[i+1].SHA256}, struct{}{}, maxKnown)
	}
}

// recent is a map of two generations: what is used moves to the young one, and
// when that is full the old one is dropped.
type recent[K comparable, V any] struct {
	mu         sync.RWMutex
	young, old map[K]V
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.RLock()
	v, ok := r.young[k]
	if ok {
		r.mu.RUnlock()
		return v, true
	}
	v, ok = r.old[k]
	full := len(r.old) // as many as the young ones may become
	r.mu.RUnlock()
	if ok {
		r.put(k, v, full)
	}
	return v, ok
}

// put keeps v, at most limit in a generation.
func (r *recent[K, V]) put(k K, v V, limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, have := r.young[k]; !have && (r.young == nil || len(r.young) >= limit) {
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[k] = v
}
