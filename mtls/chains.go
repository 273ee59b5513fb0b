package mtls

import (
	"cmp"
	"container/list"
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// ChainStore keeps what clients showed of themselves, for ServerResumption. A
// ticket holds who the client is, and a digest of its chain; the chain itself,
// which the Verifier is asked about at each resumption, lies here. A chain that is
// not here, or is another one by now, costs a full handshake and nothing else.
//
// Chains are no secrets, but say who the clients are. What a store gives is held
// to the digest in the ticket: a store that lies costs full handshakes, too. It is
// called concurrently and within a handshake.
type ChainStore interface {
	// Put keeps chain under leaf, the SHA-256 of the client's own certificate, in the
	// place of what is there, at most until the time that is given. It may forget it
	// sooner. It is called for clients that were admitted, once a connection, and so
	// whoever has one certificate has one place. A chain has at most 32 KiB.
	Put(ctx context.Context, leaf [sha256.Size]byte, chain []byte, until time.Time) error
	// Get gives what is under leaf, nil where there is nothing. Nobody changes it
	// afterwards.
	Get(ctx context.Context, leaf [sha256.Size]byte) ([]byte, error)
}

const (
	// maxChains and maxChainBytes bound the chains that are kept with ticket keys:
	// some 2 KiB each.
	maxChains     = 8 << 10
	maxChainBytes = 16 << 20
	// chainCost is what a chain costs beside its bytes.
	chainCost = 256
)

// NewChainMemory is a ChainStore in memory, of at most as many chains and bytes as
// are said, those that were used last. Ticket keys have one: it is for servers
// that share no TicketKeys and yet are in one process, and for other bounds; 0 is
// 8,192 chains, or 16 MiB.
func NewChainMemory(chains, bytes int) ChainStore {
	return &chainMemory{most: max(chains, 0), mostBytes: max(bytes, 0)}
}

// chainMemory is a ChainStore in memory. The zero value is ready.
type chainMemory struct {
	mu        sync.Mutex
	most      int // 0: maxChains
	mostBytes int // 0: maxChainBytes
	bytes     int
	of        map[[sha256.Size]byte]*list.Element
	order     list.List // of *keptChain, what was used last in front
}

type keptChain struct {
	leaf  [sha256.Size]byte
	chain []byte
}

func (m *chainMemory) Put(_ context.Context, leaf [sha256.Size]byte, chain []byte, _ time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of == nil {
		m.of = map[[sha256.Size]byte]*list.Element{}
	}
	if e := m.of[leaf]; e != nil {
		m.forget(e)
	}
	m.of[leaf] = m.order.PushFront(&keptChain{leaf, chain})
	m.bytes += chainCost + len(chain)
	for m.order.Len() > cmp.Or(m.most, maxChains) || m.bytes > cmp.Or(m.mostBytes, maxChainBytes) {
		m.forget(m.order.Back())
	}
	return nil
}

func (m *chainMemory) Get(_ context.Context, leaf [sha256.Size]byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of[leaf]
	if e == nil {
		return nil, nil
	}
	m.order.MoveToFront(e)
	return e.Value.(*keptChain).chain, nil
}

func (m *chainMemory) forget(e *list.Element) {
	k := m.order.Remove(e).(*keptChain)
	delete(m.of, k.leaf)
	m.bytes -= chainCost + len(k.chain)
}

// packChain writes a chain as it is kept; nil where it is too long for that.
func packChain(chain [][]byte) []byte {
	n := 0
	for _, der := range chain {
		n += 3 + len(der)
	}
	if n > maxKeptChain {
		return nil
	}
	out := make([]byte, 0, n)
	for _, der := range chain {
		out = append(out, byte(len(der)>>16), byte(len(der)>>8), byte(len(der)))
		out = append(out, der...)
	}
	return out
}

// unpackChain reads what packChain wrote. It keeps parts of b.
func unpackChain(b []byte) (chain [][]byte, ok bool) {
	r := cryptobyte.String(b)
	for !r.Empty() {
		var der cryptobyte.String
		if len(chain) == MaxChain || !r.ReadUint24LengthPrefixed(&der) {
			return nil, false
		}
		chain = append(chain, der)
	}
	return chain, len(b) <= maxKeptChain
}

// chainOf finds what the client of a session showed, or says why that can't be
// had.
func (c *Conn) chainOf(ctx context.Context, s *sealed) (chain [][]byte, why string) {
	if s.form != byDigest {
		return s.chain, ""
	}
	packed, err := c.resumption.chains.Get(ctx, s.leaf)
	switch {
	case err != nil:
		return nil, "the store of chains failed: " + err.Error()
	case len(packed) == 0:
		return nil, "the chain of the client is not known here, or no longer"
	case len(packed) > maxKeptChain || sha256.Sum256(packed) != s.digest:
		return nil, "the chain of the client that is known here is another one"
	}
	chain, ok := unpackChain(packed)
	if !ok {
		return nil, "the chain of the client that is known here can't be read"
	}
	c.origin.packed = packed
	return chain, ""
}

// keepChain has the chain of a session kept, once for all tickets of a connection,
// and says whether it is.
func (c *Conn) keepChain(ctx context.Context, s *sealed, chain [][]byte) bool {
	o := c.origin
	if o.packed == nil {
		if o.packed = packChain(chain); o.packed == nil {
			return false
		}
	}
	s.form, s.leaf, s.digest = byDigest, sha256.Sum256(chain[0]), sha256.Sum256(o.packed)
	if !o.kept {
		o.kept = c.resumption.chains.Put(ctx, s.leaf, o.packed, s.until) == nil
	}
	return o.kept
}
