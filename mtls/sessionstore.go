package mtls

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// SessionStore keeps a server's sessions, for ServerResumption. What it is given
// is as secret as a private key. It is called concurrently and within a
// handshake; where it fails, the handshake is a full one.
type SessionStore interface {
	// Put keeps session under id, at most until the time that is given. It may
	// forget it sooner.
	Put(ctx context.Context, id [32]byte, session []byte, until time.Time) error
	// Take gives the session under id, once: of two who ask at once one gets it.
	// nil where there is none.
	Take(ctx context.Context, id [32]byte) ([]byte, error)
}

// NewSessionMemory is a SessionStore in memory, of the youngest most sessions.
func NewSessionMemory(most int) SessionStore {
	return &memory{most: max(most, 1), of: map[[32]byte]*list.Element{}}
}

type memory struct {
	mu    sync.Mutex
	most  int
	of    map[[32]byte]*list.Element
	order list.List // of *remembered, the oldest first
}

type remembered struct {
	id      [32]byte
	session []byte
}

func (m *memory) Put(_ context.Context, id [32]byte, session []byte, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(m.of[id])
	for len(m.of) >= m.most {
		clear(m.forget(m.order.Front()))
	}
	m.of[id] = m.order.PushBack(&remembered{id, session})
	return nil
}

func (m *memory) Take(_ context.Context, id [32]byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.forget(m.of[id]), nil
}

func (m *memory) forget(e *list.Element) []byte {
	if e == nil {
		return nil
	}
	r := m.order.Remove(e).(*remembered)
	delete(m.of, r.id)
	return r.session
}
