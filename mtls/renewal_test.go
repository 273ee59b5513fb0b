package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// renewing is a service "orders" and its callers, who exchange their certificates
// and renew their connections.
type renewing struct {
	*house
	web, orders *mtls.Swap
	server      *mtls.Server
	client      *mtls.Client
	listener    *mtls.Listener
	conns       chan *mtls.Conn // what the server accepted
	ahead       atomic.Int64    // of the clock
}

const (
	firstLife  = time.Hour
	secondLife = 3 * time.Hour
)

func newRenewing(t *testing.T, set func(*mtls.ServerConfig, *mtls.ClientConfig)) *renewing {
	t.Helper()
	r := &renewing{house: newHouse(t), conns: make(chan *mtls.Conn, 100)}
	r.web, r.orders = mtls.NewSwap(r.leaf("web", mint.Lifetime(firstLife))), mtls.NewSwap(r.leaf("orders", mint.Lifetime(firstLife)))
	sc, cc := r.serverConfig(), r.clientConfig()
	sc.Identity, cc.Identity = r.orders, r.web
	sc.Renewal, cc.Renewal = &mtls.Renewal{}, &mtls.Renewal{}
	clock := func() time.Time { return time.Now().Add(time.Duration(r.ahead.Load())) }
	sc.Clock, cc.Clock = clock, clock
	if set != nil {
		set(&sc, &cc)
	}
	r.server, r.client = newServer(t, sc), newClient(t, cc)
	var err error
	if r.listener, err = r.server.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := r.listener.AcceptConn()
			if err != nil {
				close(r.conns)
				return
			}
			r.conns <- c
		}
	}()
	t.Cleanup(func() { _ = r.listener.Close(); r.server.Abort(); r.client.Abort() })
	return r
}

// connect is a connection, at both ends.
func (r *renewing) connect() (server, client *mtls.Conn) {
	r.t.Helper()
	plain, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	if client, err = r.client.Connect(within(r.t), plain, "orders"); err != nil {
		r.t.Fatal(err)
	}
	if err := client.Admitted(within(r.t)); err != nil {
		r.t.Fatal(err)
	}
	server = <-r.conns
	end := time.Now().Add(5 * time.Minute) // of tests that wait for more than one thing
	_ = server.SetDeadline(end)
	_ = client.SetDeadline(end)
	return server, client
}

// exchange gives both ends their next certificates.
func (r *renewing) exchange() {
	r.web.Set(r.leaf("web", mint.Lifetime(secondLife)))
	r.orders.Set(r.leaf("orders", mint.Lifetime(secondLife)))
}

// awaits waits until something is so.
func awaits(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// by says with which certificate a connection's peer is proven.
func by(c *mtls.Conn) string {
	p, _ := c.Peer()
	return p.Serial
}

func TestAConnectionIsRenewedInPlace(t *testing.T) {
	for name, set := range map[string]func(*mtls.ServerConfig, *mtls.ClientConfig){
		"plain": nil,
		"h2":    func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) { sc.ALPN, cc.ALPN = []string{"h2"}, []string{"h2"} },
		"resumption": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Resumption, cc.Resumption = &mtls.ServerResumption{}, &mtls.ClientResumption{}
		},
		"anonymous clients": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Clients, cc.Identity = mtls.Anonymous(), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRenewing(t, set)
			server, client := r.connect()
			was, other := by(client), by(server)
			end := client.Verdict().Until
			r.exchange()
			if err := r.client.Renew(within(t), client); err != nil {
				t.Fatal(err)
			}
			if by(client) == was || !client.Verdict().Until.After(end) || client.Local() != r.web.Current() && name != "anonymous clients" {
				t.Error("at the client all is as it was")
			}
			if _, proven := server.Peer(); proven {
				if by(server) == other || !server.Verdict().Until.After(end) {
					t.Error("at the server all is as it was")
				}
			} else if name != "anonymous clients" {
				t.Error("the client is not proven")
			}
			if server.Local() != r.orders.Current() {
				t.Error("the server does not know what it showed")
			}
			if err := passes(server, client); err != nil {
				t.Error(err)
			}
			select {
			case c := <-r.conns:
				t.Errorf("the application was given the side connection: %v", c.Negotiated())
			default:
			}
		})
	}
}

// A connection outlives the certificates that it began with, of both ends, and
// nobody has to do anything for it.
func TestAConnectionOutlivesItsFirstCertificates(t *testing.T) {
	t.Parallel()
	for name, later := range map[string]bool{"over a side connection": false, "by authentication after the handshake": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRenewing(t, func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
				sc.Limits, cc.Limits = &mtls.Limits{Grace: -1}, &mtls.Limits{Grace: -1}
				cc.PostHandshakeAuth = later
			})
			type pair struct{ server, client *mtls.Conn }
			var all []pair
			for range 5 {
				s, c := r.connect()
				all = append(all, pair{s, c})
				reads(t, s) // a reader at the server, as in any application
				reads(t, c)
			}
			first := all[0].client.Verdict().Until
			r.exchange()
			// A clock that is nearly there: both ends find that it is time.
			r.ahead.Store(int64(firstLife - firstLife/8))
			for _, p := range all {
				awaits(t, "both ends are proven anew", func() bool {
					return p.client.Verdict().Until.After(first) && p.server.Verdict().Until.After(first)
				})
			}
			r.ahead.Store(int64(firstLife + time.Minute))
			r.server.Recheck(t.Context())
			r.client.Recheck(t.Context())
			s, c := r.connect() // who comes now shows that the clocks are past the first end
			if by(s) != by(all[0].server) || by(c) != by(all[0].client) {
				t.Error("new and old connections stand by different certificates")
			}
			for i, p := range all {
				if _, err := p.client.Write([]byte("x")); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
				if p.client.Context().Err() != nil || p.server.Context().Err() != nil {
					t.Errorf("connection %d has ended: %v, %v", i, context.Cause(p.client.Context()), context.Cause(p.server.Context()))
				}
			}
		})
	}
}

// Where a renewal fails, the connection stands by what it stood by before.
func TestAFailedRenewalLeavesTheOldEnd(t *testing.T) {
	stranger := mint.Root("Another Root")
	for name, c := range map[string]func(*testing.T, *renewing){
		"the server shows another name":      func(t *testing.T, r *renewing) { r.orders.Set(r.leaf("payments")) },
		"the server shows one name more":     func(t *testing.T, r *renewing) { r.orders.Set(r.leaf("orders", mint.Names("orders", "more"))) },
		"the server is of another authority": func(t *testing.T, r *renewing) { r.orders.Set(certificate(t, stranger.Leaf("orders"))) },
		"the client shows another name":      func(t *testing.T, r *renewing) { r.web.Set(r.leaf("admin")) },
		"the client is of another authority": func(t *testing.T, r *renewing) { r.web.Set(certificate(t, stranger.Leaf("web"))) },
		"nobody listens any more":            func(_ *testing.T, r *renewing) { _ = r.listener.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRenewing(t, nil)
			server, client := r.connect()
			one, other, end := by(server), by(client), client.Verdict().Until
			c(t, r)
			if err := r.client.Renew(within(t), client); err == nil {
				t.Fatal("it is renewed")
			}
			if by(server) != one || by(client) != other || !client.Verdict().Until.Equal(end) {
				t.Error("something has changed")
			}
			if err := passes(server, client); err != nil {
				t.Error(err)
			}
		})
	}
}

// turncoat is one who is somebody else from the third time on: behind the
// handshakes of a connection and of its side connection.
type turncoat struct {
	asked       atomic.Int32
	first, then *mtls.Certificate
}

func (c *turncoat) Certificate(context.Context, *mtls.Ask) (*mtls.Certificate, error) {
	if c.asked.Add(1) > 2 {
		return c.then, nil
	}
	return c.first, nil
}

// A renewal is of the same names: it makes nobody somebody else.
func TestARenewalChangesNoNames(t *testing.T) {
	for _, name := range []string{"another", "web", "orders"} {
		for _, side := range []string{"server", "client"} {
			r := newRenewing(t, func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
				h := newHouse(t)
				anybody := mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) { return &mtls.Verdict{OK: true}, nil })
				sc.Clients, cc.Servers = mtls.Required(anybody), anybody
				sc.Identity, cc.Identity = h.leaf("orders"), h.leaf("web")
				if side == "server" {
					sc.Identity = &turncoat{first: h.leaf("orders"), then: h.leaf(name)}
				} else {
					cc.Identity = &turncoat{first: h.leaf("web"), then: h.leaf(name)}
				}
			})
			server, client := r.connect()
			err := r.client.Renew(within(t), client)
			if same := side == "server" && name == "orders" || side == "client" && name == "web"; (err == nil) != same {
				t.Errorf("the %s becomes %s: %v", side, name, err)
			}
			one, _ := server.Peer()
			other, _ := client.Peer()
			if one.Name() != "web" || other.Name() != "orders" {
				t.Errorf("the %s becomes %s: %s speaks with %s", side, name, one.Name(), other.Name())
			}
		}
	}
}

// What is not ours is left alone, and not asked again.
func TestAForeignServerRenewsNothing(t *testing.T) {
	for name, set := range map[string]func(*mtls.ServerConfig, *mtls.ClientConfig){
		"without protocols": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Renewal = nil },
		"with protocols": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Renewal = nil
			sc.ALPN, cc.ALPN = []string{"a"}, []string{"a"}
		},
	} {
		r := newRenewing(t, set)
		server, client := r.connect()
		r.exchange()
		if err := r.client.Renew(within(t), client); !errors.Is(err, mtls.ErrNotRenewed) {
			t.Errorf("%s: %v", name, err)
		}
		if err := passes(server, client); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A connection is renewed by its own two ends, and by nobody else: not by another
// client, not at another server of the same name, not by who is in between.
func TestNobodyRenewsTheConnectionOfAnother(t *testing.T) {
	r := newRenewing(t, nil)
	server, client := r.connect()
	victim := by(server)
	r.exchange()

	t.Run("another server of the same name", func(t *testing.T) {
		other := newRenewing(t, func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			sc.Identity, sc.Clients = r.orders, mtls.Required(r.verifier())
		})
		cc := r.clientConfig()
		cc.Identity = r.web
		cc.Renewal = &mtls.Renewal{Dial: func(ctx context.Context, _ *mtls.Conn) (net.Conn, error) {
			return net.Dial("tcp", other.listener.Addr().String())
		}}
		c := newClient(t, cc)
		plain, err := net.Dial("tcp", r.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := c.Connect(within(t), plain, "orders")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		theirs := <-r.conns
		was, end := by(conn), by(theirs)
		if err := c.Renew(within(t), conn); err == nil {
			t.Error("it is renewed")
		}
		if by(conn) != was || by(theirs) != end {
			t.Error("something has changed")
		}
	})
	t.Run("a connection of another client", func(t *testing.T) {
		if err := r.client.Renew(within(t), nilConn(t, r)); mustRefuse(err) != mtls.Misuse {
			t.Errorf("%v", err)
		}
	})
	for name, attack := range map[string]struct {
		identity *mtls.Certificate
		id       func(t *testing.T) []byte
	}{
		// It knows the connection's name, which only its two ends can know.
		"another client, with the name of the connection": {r.leaf("mallory"), func(t *testing.T) []byte {
			id, err := client.Export("EXPORTER-mutual-renewal", nil, 32)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}},
		"the same client, with a name that is guessed": {r.web.Current(), func(*testing.T) []byte { return make([]byte, 32) }},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sideways(t, r, attack.identity, attack.id(t)); !bytes.Equal(got, []byte{5}) {
				t.Errorf("the server answers with frames of the types %d", got)
			}
		})
	}
	// The same client, with the name of the connection and an authenticator of
	// another connection of its own.
	t.Run("an authenticator of another connection", func(t *testing.T) {
		id, err := client.Export("EXPORTER-mutual-renewal", nil, 32)
		if err != nil {
			t.Fatal(err)
		}
		if got := sideways(t, r, r.web.Current(), id); !bytes.Equal(got, []byte{2, 5}) {
			t.Errorf("the server answers with frames of the types %d", got)
		}
	})
	if by(server) != victim {
		t.Error("the connection was renewed")
	}
	if err := r.client.Renew(within(t), client); err != nil || by(server) == victim {
		t.Errorf("its own end can't renew it: %v", err)
	}
}

func mustRefuse(err error) mtls.Fault {
	if r, ok := mtls.RefusalOf(err); ok {
		return r.Fault
	}
	return 0
}

// nilConn is a connection of another client of the same house.
func nilConn(t *testing.T, r *renewing) *mtls.Conn {
	cc := r.clientConfig()
	cc.Identity = r.web
	plain, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(t, cc).Connect(within(t), plain, "orders")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// sideways speaks the side protocol by hand: it begins the renewal of a connection
// with a request of another one, and where it gets that far proves another one's
// authenticator. It answers with the types of the frames that came.
func sideways(t *testing.T, r *renewing, own *mtls.Certificate, id []byte) []byte {
	t.Helper()
	cc := r.clientConfig()
	cc.Identity, cc.ALPN = own, []string{mtls.RenewalProtocol}
	plain, err := net.Dial("tcp", r.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(t, cc).Connect(within(t), plain, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(soon())
	if p := c.Negotiated().ALPN; p != mtls.RenewalProtocol {
		t.Fatalf("it speaks %q", p)
	}
	request, err := c.AuthenticatorRequest() // of the side connection itself
	if err != nil {
		t.Fatal(err)
	}
	frame := func(typ byte, parts ...[]byte) {
		b := []byte{typ, 0, 0, 0}
		for _, p := range parts {
			b = append(append(b, byte(len(p)>>16), byte(len(p)>>8), byte(len(p))), p...)
		}
		n := len(b) - 4
		b[1], b[2], b[3] = byte(n>>16), byte(n>>8), byte(n)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	read := func() (byte, []byte) {
		head := make([]byte, 4)
		if err := readFull(c, head); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, int(head[1])<<16|int(head[2])<<8|int(head[3]))
		if err := readFull(c, b); err != nil {
			t.Fatal(err)
		}
		return head[0], b
	}
	frame(1, id, request)
	typ, b := read()
	if typ != 2 {
		return []byte{typ}
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	asked := b[3+n+3:]
	proof, err := c.Authenticate(t.Context(), asked) // for the side connection, not for the victim's
	if err != nil {
		t.Fatal(err)
	}
	out := append([]byte{3, byte(len(proof) >> 16), byte(len(proof) >> 8), byte(len(proof))}, proof...)
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	last, _ := read()
	return []byte{typ, last}
}

func readFull(c net.Conn, b []byte) error {
	for n := 0; n < len(b); {
		k, err := c.Read(b[n:])
		n += k
		if err != nil && n < len(b) {
			return err
		}
	}
	return nil
}

// A side connection that sends nonsense ends, and harms nobody.
func TestASideConnectionOfNonsenseEnds(t *testing.T) {
	r := newRenewing(t, nil)
	server, client := r.connect()
	for name, b := range map[string][]byte{
		"an unknown frame":     {9, 0, 0, 0},
		"a frame out of order": {3, 0, 0, 0},
		"too long a frame":     {1, 0xff, 0xff, 0xff},
		"a frame that is cut":  {1, 0, 0, 1, 0},
		"one that adds up not": {1, 0, 0, 6, 0, 0, 9, 0, 0, 0},
		"no name":              {1, 0, 0, 6, 0, 0, 0, 0, 0, 0},
	} {
		cc := r.clientConfig()
		cc.Identity, cc.ALPN = r.web, []string{mtls.RenewalProtocol}
		plain, err := net.Dial("tcp", r.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := newClient(t, cc).Connect(within(t), plain, "orders")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(soon())
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: an answer came", name)
		} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("%s: it does not end", name)
		}
		_ = c.Close()
	}
	if err := passes(server, client); err != nil {
		t.Error(err)
	}
}

// Whoever accepts by hand is told that it was a side connection.
func TestAcceptTellsASideConnection(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Renewal = &mtls.Renewal{}
	cc.ALPN = []string{mtls.RenewalProtocol}
	s := newServer(t, sc)
	st, ct := loopback(t)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Accept(within(t), st); !errors.Is(err, mtls.ErrSideConnection) {
			t.Errorf("%v", err)
		}
	})
	c, err := newClient(t, cc).Connect(within(t), ct, "orders")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	wg.Wait()
}
