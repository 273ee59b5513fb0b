package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// chainStore is a ChainStore that can be made to fail, and to lie.
type chainStore struct {
	inner mtls.ChainStore
	put   error
	get   func(chain []byte) ([]byte, error) // nil: as it is
	puts  atomic.Int32
}

func newChainStore() *chainStore { return &chainStore{inner: mtls.NewChainMemory(0, 0)} }

func (s *chainStore) Put(ctx context.Context, leaf [32]byte, chain []byte, until time.Time) error {
	s.puts.Add(1)
	if s.put != nil {
		return s.put
	}
	return s.inner.Put(ctx, leaf, chain, until)
}

func (s *chainStore) Get(ctx context.Context, leaf [32]byte) ([]byte, error) {
	chain, err := s.inner.Get(ctx, leaf)
	if s.get != nil && err == nil {
		return s.get(bytes.Clone(chain))
	}
	return chain, err
}

// packed is a chain as a store has it.
func packed(chain [][]byte) (b []byte) {
	for _, der := range chain {
		b = append(append(b, byte(len(der)>>16), byte(len(der)>>8), byte(len(der))), der...)
	}
	return b
}

// What a store of chains does not give, or gives otherwise, costs a full handshake
// and refuses nobody.
func TestAChainThatIsNotKnownCostsAFullHandshake(t *testing.T) {
	h := newHouse(t)
	twin := h.leaf("web") // would be admitted, by the same name
	for name, c := range map[string]struct {
		resumes bool
		put     error
		get     func([]byte) ([]byte, error)
	}{
		"as it is":    {resumes: true},
		"forgotten":   {get: func([]byte) ([]byte, error) { return nil, nil }},
		"can't keep":  {put: errors.New("full")},
		"can't give":  {get: func([]byte) ([]byte, error) { return nil, errors.New("gone") }},
		"a bit":       {get: func(b []byte) ([]byte, error) { b[len(b)-1] ^= 1; return b, nil }},
		"cut":         {get: func(b []byte) ([]byte, error) { return b[:len(b)-1], nil }},
		"more":        {get: func(b []byte) ([]byte, error) { return append(b, 0, 0, 0), nil }},
		"another":     {get: func([]byte) ([]byte, error) { return packed(twin.Chain()), nil }},
		"far too big": {get: func([]byte) ([]byte, error) { return make([]byte, 1<<20), nil }},
	} {
		for _, alsoEarly := range []bool{false, true} {
			sc, cc := h.resuming()
			store := newChainStore()
			store.put, store.get = c.put, c.get
			sc.Resumption.Chains = store
			if alsoEarly {
				sc.Resumption.EarlyData = &mtls.ServerEarlyData{}
			}
			s, cl, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(s, cl, "orders")
			for range 2 {
				server, _, resumed := p.visit(s, cl, "orders")
				if peer, ok := server.Peer(); resumed != c.resumes || !ok || peer.Name() != "web" {
					t.Errorf("%s: resumed %v, the peer is %q %v", name, resumed, peer.Name(), ok)
				}
			}
		}
	}
}

// A fleet shares the keys of tickets. Where it shares the chains too, each server
// resumes what another began; where not, each makes one full handshake first.
func TestAFleetResumesWhereItSharesChains(t *testing.T) {
	for _, shares := range []bool{true, false} {
		h := newHouse(t)
		sc, cc := h.resuming()
		store := mtls.NewChainMemory(0, 0)
		var fleet [2]*mtls.Server
		for i := range fleet {
			sc.Resumption = &mtls.ServerResumption{Keys: shared(t, 1)}
			if shares {
				sc.Resumption.Chains = store
			}
			fleet[i] = newServer(t, sc)
		}
		c, p := newClient(t, cc), newPlace(t)
		p.visit(fleet[0], c, "orders")
		if _, _, resumed := p.visit(fleet[1], c, "orders"); resumed != shares {
			t.Errorf("chains shared %v: the second server resumed: %v", shares, resumed)
		}
		for i := range fleet {
			if _, _, resumed := p.visit(fleet[i], c, "orders"); !resumed {
				t.Errorf("chains shared %v: server %d knows the chain, and did not resume", shares, i)
			}
		}
	}
	// Servers that have their TicketKeys in common have the chains, too.
	h := newHouse(t)
	sc, cc := h.resuming()
	sc.Resumption.Keys = shared(t, 1)
	one, two, c, p := newServer(t, sc), newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(one, c, "orders")
	if _, _, resumed := p.visit(two, c, "orders"); !resumed {
		t.Error("two servers with the same keys did not share the chain")
	}
}

// Only who was admitted gets a place among the chains, and one for each connection.
func TestOnlyTheChainsOfAdmittedClientsAreKept(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		kept int32
		set  func(*mtls.ServerConfig, *mtls.ClientConfig)
	}{
		"admitted": {1, func(*mtls.ServerConfig, *mtls.ClientConfig) {}},
		"a stranger": {0, func(_ *mtls.ServerConfig, cc *mtls.ClientConfig) {
			cc.Identity = certificate(t, mint.Root("Else").Leaf("web"))
		}},
		"refused": {0, func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Clients = mtls.Required(mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) {
				return &mtls.Verdict{Code: "M0401"}, nil
			}))
		}},
		"nobody": {0, func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Clients, cc.Identity = mtls.Optional(h.verifier()), nil
		}},
		"four tickets": {1, func(_ *mtls.ServerConfig, cc *mtls.ClientConfig) { cc.Resumption.Tickets = 4 }},
	} {
		sc, cc := h.resuming()
		store := newChainStore()
		sc.Resumption.Chains = store
		c.set(&sc, &cc)
		_, _, _, _ = newPlace(t).try(newServer(t, sc), newClient(t, cc), "orders")
		if n := store.puts.Load(); n != c.kept {
			t.Errorf("%s: %d chains were put, expected %d", name, n, c.kept)
		}
	}
}

// firstWrite notes how long the first write is: a client's hello.
type firstWrite struct {
	net.Conn
	once sync.Once
	n    int
}

func (f *firstWrite) Write(p []byte) (int, error) {
	f.once.Do(func() { f.n = len(p) })
	return f.Conn.Write(p)
}

// A ticket is small, however long the client's chain is.
func TestATicketDoesNotGrowWithTheChain(t *testing.T) {
	h := newHouse(t)
	at := h.issuing
	for i := range 4 {
		at = at.Intermediate(fmt.Sprint("Example Issuing ", i))
	}
	sc, cc := h.resuming()
	cc.Identity = certificate(t, at.Leaf("web"))
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	var hello [2]int
	for i := range hello {
		st, ct := p.transports()
		noted := &firstWrite{Conn: ct}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		served := make(chan error, 1)
		go func() {
			conn, err := s.Accept(ctx, st)
			if err == nil {
				_, err = conn.Write([]byte{1})
			}
			served <- err
		}()
		conn, err := c.Connect(ctx, noted, "orders")
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(soon())
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if err := <-served; err != nil {
			t.Fatal(err)
		}
		if conn.Negotiated().Resumed != (i == 1) {
			t.Fatalf("connection %d resumed: %v", i+1, !(i == 1))
		}
		hello[i] = noted.n
	}
	if more := hello[1] - hello[0]; more > 512 {
		t.Errorf("a hello with a ticket is %d bytes longer than one without", more)
	}
}

// A client whom the verifier calls by another name now is not let in as whom it
// was.
func TestASessionIsOfOneName(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.resuming()
	j := &judged{inner: h.verifier()}
	sc.Clients = mtls.Required(j)
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	j.set(func(_ *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) {
		other := *v
		other.Peer.Names = []string{"payments"}
		return &other, nil
	})
	if _, _, resumed := p.visit(s, c, "orders"); resumed {
		t.Error("the session of web was resumed as payments")
	}
	if server, _, resumed := p.visit(s, c, "orders"); !resumed {
		t.Error("the session of payments was not resumed")
	} else if peer, _ := server.Peer(); peer.Name() != "payments" {
		t.Errorf("the peer is %q", peer.Name())
	}
}

// flipping is a client that shows its second certificate as soon as it is told to.
type flipping struct {
	certs  [2]*mtls.Certificate
	second atomic.Bool
}

func (f *flipping) Certificate(context.Context, *mtls.Ask) (*mtls.Certificate, error) {
	if f.second.Load() {
		return f.certs[1], nil
	}
	return f.certs[0], nil
}

// A session that is not resumed leaves nothing in the one that follows: who showed
// himself anew is known by what he showed then, also where the name is the same.
func TestASessionIsOfWhatWasShownInItsFullHandshake(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.resuming()
	own := &flipping{certs: [2]*mtls.Certificate{h.leaf("web"), h.leaf("web")}}
	cc.Identity = own
	j := &judged{inner: h.verifier()}
	sc.Clients = mtls.Required(j)
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	p.visit(s, c, "orders")
	j.set(func(claim *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) {
		if claim.Occasion == mtls.Resumption && bytes.Equal(claim.Chain[0], own.certs[0].Chain()[0]) {
			own.second.Store(true) // before the client is asked what it shows
			return nil, errors.New("not this one")
		}
		return v, nil
	})
	if _, _, resumed := p.visit(s, c, "orders"); resumed || !own.second.Load() {
		t.Fatal("the client did not have to show itself anew")
	}
	j.set(func(_ *mtls.Claim, v *mtls.Verdict) (*mtls.Verdict, error) { return v, nil })
	server, _, resumed := p.visit(s, c, "orders")
	peer, ok := server.Peer()
	if !resumed || !ok || !bytes.Equal(peer.Leaf.Raw, own.certs[1].Chain()[0]) {
		t.Errorf("resumed %v, as the one whose session was not resumed", resumed)
	}
}

// However often it is renewed, and wherever its chain lies, a session ends with
// the certificate that ends first on either side: an intermediate's end counts, and
// that of the chain at the full handshake, not of a ticket.
func TestARenewedSessionEndsWithTheCertificateThatEndsFirst(t *testing.T) {
	for where, keep := range map[string]func(*mtls.ServerResumption){
		"tickets":         func(*mtls.ServerResumption) {},
		"shared tickets":  func(r *mtls.ServerResumption) { r.Keys = shared(t, 1) },
		"shared chains":   func(r *mtls.ServerResumption) { r.Keys, r.Chains = shared(t, 1), mtls.NewChainMemory(0, 0) },
		"a session store": func(r *mtls.ServerResumption) { r.Store = mtls.NewSessionMemory(100) },
	} {
		for _, whose := range []string{"server", "client"} {
			for _, clocked := range []string{"server", "client"} {
				h := newHouse(t)
				long := valid(80 * 24 * time.Hour)
				brief := h.root.Intermediate("Example Brief", valid(time.Hour))
				sc, cc := h.resuming()
				keep(sc.Resumption)
				sc.Identity, cc.Identity = h.leaf("orders", long), h.leaf("web", long)
				if whose == "server" {
					sc.Identity = certificate(t, brief.Leaf("orders", long))
				} else {
					cc.Identity = certificate(t, brief.Leaf("web", long))
				}
				// Neither verifier looks at the time, and one side's clock stands.
				sc.Clients, cc.Servers = mtls.Required(blind{h.verifier()}), blind{h.verifier()}
				hour, still := newClock(), newClock()
				sc.Common, cc.Common = hour.common(), still.common()
				if clocked == "client" {
					sc.Common, cc.Common = cc.Common, sc.Common
				}
				s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
				p.visit(s, c, "orders")
				for passed := 10; passed <= 60; passed += 10 {
					hour.pass(10 * time.Minute)
					if passed == 60 {
						hour.pass(2 * time.Second) // the authority was made after the clock was
					}
					if _, _, resumed := p.visit(s, c, "orders"); resumed != (passed < 60) {
						t.Fatalf("%s, the %s's chain, by the %s's clock, after %d minutes: resumed %v", where, whose, clocked, passed, resumed)
					}
				}
			}
		}
	}
}
