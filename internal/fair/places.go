package fair

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// Host is whom an address counts for: an IPv4 address, or the 64 bits of an IPv6
// network, all addresses of which one machine can give itself (RFC 4862). The zero
// Host is for what has no such address, a Unix socket say.
type Host struct{ prefix netip.Prefix }

// networkBits are the bits of an IPv6 address that its holder can't choose.
const networkBits = 64

// HostOf is whom an address counts for.
func HostOf(a netip.Addr) Host {
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = networkBits
	}
	p, _ := a.Prefix(bits)
	return Host{p}
}

// HostAt is HostOf for a net.Addr.
func HostAt(a net.Addr) Host {
	if t, ok := a.(*net.TCPAddr); ok && t != nil {
		return HostOf(t.AddrPort().Addr())
	}
	return Host{}
}

// String is the address, or the network.
func (h Host) String() string {
	switch {
	case !h.prefix.IsValid():
		return "no address"
	case h.prefix.IsSingleIP():
		return h.prefix.Addr().String()
	}
	return h.prefix.String()
}

// Places are a bounded number of places, and a queue before them. It is safe for
// concurrent use.
type Places struct {
	most, queued int

	mu    sync.Mutex
	taken int
	hosts map[Host][]*Place // those that can be taken away, the oldest first
	queue []*Place
	wait  map[Host]int // how many of the queue are whose
}

// Place is where one newcomer is served. A Place is used once.
type Place struct {
	Host Host
	// One of Begin and Away is called: when the place is there, or when there is
	// none, not even to wait. Cut is called when the place is taken away for
	// another host: what is done in it is to end at once. None of them may wait.
	Begin, Away, Cut func()

	in  *Places
	cut bool
}

// New is so many places, and so many who may wait for one.
func New(most, queued int) *Places {
	return &Places{most: most, queued: queued, hosts: make(map[Host][]*Place), wait: make(map[Host]int)}
}

// Come has a place begin, at once or when its turn has come, or be turned away.
func (p *Places) Come(g *Place) {
	g.in = p
	p.mu.Lock()
	if p.taken >= p.most {
		victim := p.richest()
		if victim == nil || len(p.hosts[victim.Host]) < len(p.hosts[g.Host])+2 {
			// To take from one who has no more would only change who waits.
			away := p.line(g)
			p.mu.Unlock()
			if away != nil {
				away.Away()
			}
			return
		}
		p.drop(victim)
		victim.cut = true
		p.taken--
		defer victim.Cut()
	}
	p.take(g)
	p.mu.Unlock()
	g.Begin()
}

func (p *Places) take(g *Place) {
	p.taken++
	p.hosts[g.Host] = append(p.hosts[g.Host], g)
}

// richest is the oldest place of the host that has most of them, nil for none.
func (p *Places) richest() *Place {
	var most []*Place
	for _, held := range p.hosts {
		if len(held) > len(most) {
			most = held
		}
	}
	if most == nil {
		return nil
	}
	return most[0]
}

// drop takes a place off its host's. It says whether it was there.
func (p *Places) drop(g *Place) bool {
	held := p.hosts[g.Host]
	i := slices.Index(held, g)
	if i < 0 {
		return false
	}
	if len(held) == 1 {
		delete(p.hosts, g.Host)
	} else {
		p.hosts[g.Host] = slices.Delete(held, i, i+1)
	}
	return true
}

// line has g wait. It gives who can't wait any more: g, or whoever came last of a host
// that has more who wait.
func (p *Places) line(g *Place) (away *Place) {
	if len(p.queue) >= p.queued {
		most := g.Host
		for h, n := range p.wait {
			if n > p.wait[most] {
				most = h
			}
		}
		if p.wait[most] < p.wait[g.Host]+2 {
			return g
		}
		last := len(p.queue) - 1
		for p.queue[last].Host != most {
			last--
		}
		away = p.unline(last)
	}
	p.queue = append(p.queue, g)
	p.wait[g.Host]++
	return away
}

// unline takes one off the queue.
func (p *Places) unline(i int) *Place {
	g := p.queue[i]
	p.queue = slices.Delete(p.queue, i, i+1)
	if p.wait[g.Host]--; p.wait[g.Host] == 0 {
		delete(p.wait, g.Host)
	}
	return g
}

// next takes who waits longest of those whose hosts have fewest places, nil for
// nobody: whoever waits is not to stand behind all that one other has put there.
func (p *Places) next() *Place {
	first, fewest := -1, 0
	for i, g := range p.queue {
		if i > 0 && g.Host == p.queue[i-1].Host {
			continue
		}
		if n := len(p.hosts[g.Host]); first < 0 || n < fewest {
			first, fewest = i, n
		}
		if fewest == 0 {
			break
		}
	}
	if first < 0 {
		return nil
	}
	return p.unline(first)
}

// TurnAway turns away who came last of those who wait. It is false where nobody
// does.
func (p *Places) TurnAway() bool {
	p.mu.Lock()
	n := len(p.queue) - 1
	if n < 0 {
		p.mu.Unlock()
		return false
	}
	g := p.unline(n)
	p.mu.Unlock()
	g.Away()
	return true
}

// Keep says that what is done in the place is not to be cut any more, though the
// place is still taken. It is false where that comes too late.
func (g *Place) Keep() bool {
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	g.in.drop(g)
	return !g.cut
}

// WasCut says whether the place was taken away.
func (g *Place) WasCut() bool {
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	return g.cut
}

// Leave gives the place to who waits for one.
func (g *Place) Leave() {
	p := g.in
	p.mu.Lock()
	if g.cut {
		p.mu.Unlock()
		return // it was given on when it was cut
	}
	p.drop(g)
	p.taken--
	next := p.next()
	if next != nil {
		p.take(next)
	}
	p.mu.Unlock()
	if next != nil {
		next.Begin()
	}
}
