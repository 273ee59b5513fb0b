package fair

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

// guests keeps what became of those who came, by name.
type guests struct {
	places *Places
	begun  []string
	cut    []string
	away   []string
}

func (g *guests) come(host, name string) *Place {
	p := &Place{Host: HostOf(netip.MustParseAddr(host)),
		Begin: func() { g.begun = append(g.begun, name) },
		Cut:   func() { g.cut = append(g.cut, name) },
		Away:  func() { g.away = append(g.away, name) },
	}
	g.places.Come(p)
	return p
}

func (g *guests) check(t *testing.T, begun, cut, away []string) {
	t.Helper()
	if !slices.Equal(g.begun, begun) || !slices.Equal(g.cut, cut) || !slices.Equal(g.away, away) {
		t.Errorf("begun %v, cut %v, away %v; expected %v, %v, %v", g.begun, g.cut, g.away, begun, cut, away)
	}
}

func TestOneHostDoesNotKeepTheOthersOut(t *testing.T) {
	g := &guests{places: New(3, 1)}
	for i := range 5 {
		g.come("192.0.2.1", fmt.Sprint("s", i))
	}
	g.check(t, []string{"s0", "s1", "s2"}, nil, []string{"s4"})
	a := g.come("192.0.2.2", "a")
	if a.WasCut() {
		t.Error("the newcomer is cut")
	}
	g.check(t, []string{"s0", "s1", "s2", "a"}, []string{"s0"}, []string{"s4"})
	g.come("192.0.2.3", "b")
	g.check(t, []string{"s0", "s1", "s2", "a", "b"}, []string{"s0", "s1"}, []string{"s4"})
	// One each: to take another would only change who waits.
	g.come("192.0.2.4", "c")
	g.check(t, []string{"s0", "s1", "s2", "a", "b"}, []string{"s0", "s1"}, []string{"s4", "c"})
	a.Leave()
	g.check(t, []string{"s0", "s1", "s2", "a", "b", "s3"}, []string{"s0", "s1"}, []string{"s4", "c"})
}

// Nor is the queue one host's: whoever waits gets a place before all that another put
// there, and there is room for it to wait.
func TestOneHostDoesNotKeepTheOthersFromWaiting(t *testing.T) {
	g := &guests{places: New(2, 3)}
	first, second := g.come("192.0.2.1", "0"), g.come("192.0.2.2", "1")
	for i := range 4 {
		g.come("192.0.2.3", fmt.Sprint("s", i))
	}
	g.check(t, []string{"0", "1"}, nil, []string{"s3"})
	a := g.come("192.0.2.4", "a")
	g.check(t, []string{"0", "1"}, nil, []string{"s3", "s2"})
	first.Leave()
	g.check(t, []string{"0", "1", "s0"}, nil, []string{"s3", "s2"})
	second.Leave()
	g.check(t, []string{"0", "1", "s0", "a"}, nil, []string{"s3", "s2"})
	a.Leave()
	g.check(t, []string{"0", "1", "s0", "a", "s1"}, nil, []string{"s3", "s2"})
	if len(g.places.queue) != 0 || len(g.places.wait) != 0 {
		t.Errorf("%d of %d hosts wait", len(g.places.queue), len(g.places.wait))
	}
}

func TestAHerdOfManyHostsWaitsInOrder(t *testing.T) {
	g := &guests{places: New(2, 3)}
	var p []*Place
	for i := range 6 {
		p = append(p, g.come(fmt.Sprint("192.0.2.", i+1), fmt.Sprint(i)))
	}
	g.check(t, []string{"0", "1"}, nil, []string{"5"})
	for i := range 5 {
		p[i].Leave()
	}
	g.check(t, []string{"0", "1", "2", "3", "4"}, nil, []string{"5"})
	if g.places.taken != 0 || len(g.places.hosts) != 0 {
		t.Errorf("%d places of %d hosts are left", g.places.taken, len(g.places.hosts))
	}
}

func TestWhatIsKeptIsNotCut(t *testing.T) {
	g := &guests{places: New(2, 1)}
	first, second := g.come("192.0.2.1", "0"), g.come("192.0.2.1", "1")
	if !first.Keep() || !second.Keep() {
		t.Fatal("a place that nobody took can't be kept")
	}
	g.come("192.0.2.2", "a")
	g.check(t, []string{"0", "1"}, nil, nil)
	second.Leave()
	g.check(t, []string{"0", "1", "a"}, nil, nil)
	first.Leave()
	if g.places.taken != 1 {
		t.Errorf("%d places are taken, expected 1", g.places.taken)
	}
}

func TestAPlaceThatWasCutIsNotGivenTwice(t *testing.T) {
	g := &guests{places: New(2, 2)}
	first := g.come("192.0.2.1", "0")
	g.come("192.0.2.1", "1")
	g.come("192.0.2.2", "a") // takes 0's
	g.come("192.0.2.1", "2") // waits
	if first.Keep() || !first.WasCut() {
		t.Error("a place that was cut could be kept")
	}
	first.Leave()
	g.check(t, []string{"0", "1", "a"}, []string{"0"}, nil)
}

func TestWhoCameLastIsTurnedAwayFirst(t *testing.T) {
	g := &guests{places: New(1, 2)}
	for i := range 3 {
		g.come("192.0.2.1", fmt.Sprint(i))
	}
	n := 0
	for g.places.TurnAway() {
		n++
	}
	if n != 2 {
		t.Errorf("%d waited, expected 2", n)
	}
	g.check(t, []string{"0"}, nil, []string{"2", "1"})
}

func TestAnAddressCountsForItsHost(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
	} {
		if got := HostOf(netip.MustParseAddr(c.a)) == HostOf(netip.MustParseAddr(c.b)); got != c.same {
			t.Errorf("%s and %s are one host: %v", c.a, c.b, got)
		}
	}
	for a, want := range map[string]string{"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::7": "2001:db8::/64"} {
		if got := HostOf(netip.MustParseAddr(a)).String(); got != want {
			t.Errorf("%s is %q, expected %q", a, got, want)
		}
	}
	if h := HostAt(&net.UnixAddr{Net: "unix"}); h != (Host{}) || h.String() != "no address" {
		t.Errorf("a Unix socket is %v", h)
	}
	if h := HostAt(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}); h.String() != "192.0.2.1" {
		t.Errorf("an address of TCP is %v", h)
	}
}

func TestPlacesAreNeverMoreThanThereAre(t *testing.T) {
	const most = 4
	p := New(most, 8)
	var all sync.WaitGroup
	for i := range 400 {
		g := &Place{Host: HostOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 7)})), Cut: func() {}, Away: func() {}}
		g.Begin = func() {
			all.Go(func() {
				if i%3 == 0 {
					g.Keep()
				}
				g.Leave()
			})
		}
		all.Go(func() {
			p.Come(g)
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.taken > most || p.taken < 0 || len(p.queue) > 8 {
				t.Errorf("%d places, %d in the queue", p.taken, len(p.queue))
			}
		})
	}
	all.Wait()
	if p.taken != 0 || len(p.hosts) != 0 || len(p.queue) != 0 || len(p.wait) != 0 {
		t.Errorf("%d places of %d hosts are left, %d wait", p.taken, len(p.hosts), len(p.queue))
	}
}
