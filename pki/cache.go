package pki

import "sync"

// verified keeps certificates that stood on a verified path, so that they are
// not parsed again: parsing costs about as much as a tenth of a handshake, and
// in mutual TLS the same few peers come back all day. Only what was verified is
// kept. So a stranger cannot push anything out, and who has many valid
// certificates pays a verification for each place.
//
// That a certificate is in here says nothing about whether it stands now.
var verified = newCache(16 << 20)

// cache is bounded in bytes. It has two generations: what is used moves to the
// young one, and when that holds half of the bytes the old one is dropped. Its
// parts have a lock each.
type cache struct {
	shards [16]shard
}

type shard struct {
	mu         sync.RWMutex
	young, old map[[32]byte]*Certificate
	size       int // bytes in young
	limit      int // of young
}

func newCache(bytes int) *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].limit = bytes / len(c.shards) / 2
		c.shards[i].young = map[[32]byte]*Certificate{}
	}
	return c
}

func (c *cache) get(sum *[32]byte) *Certificate {
	s := &c.shards[sum[0]%uint8(len(c.shards))]
	s.mu.RLock()
	found := s.young[*sum]
	aged := false
	if found == nil {
		found = s.old[*sum]
		aged = found != nil
	}
	s.mu.RUnlock()
	if aged {
		s.put(found)
	}
	return found
}

func (c *cache) put(cert *Certificate) {
	c.shards[cert.SHA256[0]%uint8(len(c.shards))].put(cert)
}

func (s *shard) put(cert *Certificate) {
	s.mu.RLock()
	have := s.young[cert.SHA256] != nil
	s.mu.RUnlock()
	if have {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young[cert.SHA256] != nil {
		return
	}
	cost := cert.footprint()
	if s.size+cost > s.limit {
		s.old, s.young, s.size = s.young, make(map[[32]byte]*Certificate, len(s.young)), 0
	}
	s.young[cert.SHA256] = cert
	s.size += cost
}

// footprint is about how much memory a parsed certificate holds: the bytes, the
// names and extensions made of them, and the structures themselves.
func (c *Certificate) footprint() int { return 4096 + 4*len(c.Raw) }
