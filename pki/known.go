package pki

import "sync"

// Known remembers signatures between certificates that were verified, so that
// they are not verified again: which key signed which bytes never changes. All
// else (times, names, constraints, revocation, anchors) is judged each time. In
// mutual TLS the same few peers come back all day.
//
// Only the signatures of paths that stood are kept, the latest few thousand, so
// a stranger can push nothing out. The zero value knows none; it is safe for
// concurrent use.
type Known struct {
	mu         sync.RWMutex
	young, old map[link]struct{}
}

// link is the bytes that were signed and the certificate of the key that signed
// them, as their SHA-256.
type link [2][32]byte

// maxKnown is how many signatures a generation of Known holds; there are two.
const maxKnown = 2048

func (k *Known) has(child, issuer *Certificate) bool {
	if k == nil {
		return false
	}
	l := link{child.SHA256, issuer.SHA256}
	k.mu.RLock()
	_, young := k.young[l]
	_, old := k.old[l]
	k.mu.RUnlock()
	if old && !young {
		k.put(l)
	}
	return young || old
}

// learn remembers the signatures of a path that stood.
func (k *Known) learn(path []*Certificate) {
	if k == nil {
		return
	}
	for i := range len(path) - 1 {
		if !k.has(path[i], path[i+1]) {
			k.put(link{path[i].SHA256, path[i+1].SHA256})
		}
	}
}

func (k *Known) put(l link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || len(k.young) >= maxKnown {
		k.old, k.young = k.young, map[link]struct{}{}
	}
	k.young[l] = struct{}{}
}
