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

// NewSessionMemory is a SessionStore in memory, of the youngest most sessions. What
// is over is forgotten when it is asked for, or when another one comes.
func NewSessionMemory(most int) SessionStore {
	return &memory{most: max(most, 1), now: time.Now, of: map[[32]byte]*list.Element{}}
}

type memory struct {
	mu    sync.Mutex
	most  int
	now   func() time.Time
	of    map[[32]byte]*list.Element
	order list.List // of *remembered, the oldest first
}

type remembered struct {
	id      [32]byte
	session []byte
	until   time.Time
}

func (m *memory) Put(_ context.Context, id [32]byte, session []byte, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.forget(m.of[id]))
	now := m.now()
	for e := m.order.Front(); e != nil && (len(m.of) >= m.most || !now.Before(e.Value.(*remembered).until)); e = m.order.Front() {
		clear(m.forget(e))
	}
	m.of[id] = m.order.PushBack(&remembered{id, session, until})
	return nil
}

func (m *memory) Take(_ context.Context, id [32]byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of[id]
	over := e != nil && !m.now().Before(e.Value.(*remembered).until)
	session := m.forget(e)
	if over {
		clear(session)
		return nil, nil
	}
	return session, nil
}

func (m *memory) forget(e *list.Element) []byte {
	if e == nil {
		return nil
	}
	r := m.order.Remove(e).(*remembered)
	delete(m.of, r.id)
	return r.session
}
