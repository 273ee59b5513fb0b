package mtls_test

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// earlyECH is a server with early data and ECH, and a client that was there before
// and whose config the server has given up since.
type earlyECH struct {
	address string
	client  *mtls.Client
	keys    *mtls.ECHKeys
	came    atomic.Int32
	read    chan string // what was read of each connection, early and after that
}

func newEarlyECH(t *testing.T, retry bool) *earlyECH {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	e := &earlyECH{keys: echKeys(t, old), read: make(chan string, 10)}
	sc, cc := h.earlier()
	sc.Identity = byName{"": h.leaf("orders", mint.IPs("127.0.0.1")), "public.example": h.leaf("public.example")}
	sc.ECH = e.keys
	cc.ECH = &mtls.ClientECH{Source: old.ConfigList(), Retry: retry}
	s := newServer(t, sc)
	e.client = newClient(t, cc)
	e.serve(t, s)
	// The first visit, by which there is a ticket; then the keys change.
	e.dial(t, "")
	if err := e.keys.Set([]*mtls.ECHKey{key}); err != nil {
		t.Fatal(err)
	}
	e.came.Store(0)
	return e
}

// serve answers connections with s: what they send early is read, and then the rest.
func (e *earlyECH) serve(t *testing.T, s *mtls.Server) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); wait.Wait() })
	e.address = l.Addr().String()
	wait.Go(func() {
		for {
			transport, err := l.Accept()
			if err != nil {
				return
			}
			e.came.Add(1)
			wait.Go(func() {
				conn, err := s.Accept(context.Background(), transport)
				if err != nil {
					return
				}
				defer conn.Close()
				_ = conn.SetDeadline(soon())
				early, _ := io.ReadAll(readerFunc(conn.ReadEarly))
				b := make([]byte, 100)
				n, _ := conn.Read(b)
				e.read <- string(early) + "|" + string(b[:n])
				_, _ = conn.Write([]byte("x"))
			})
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// dial dials early, sends data early where that goes, and an ordinary byte behind it.
func (e *earlyECH) dial(t *testing.T, data string) *mtls.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := e.client.DialEarly(ctx, "tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(soon())
	if data != "" {
		if _, err := c.WriteEarly([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if got := <-e.read; got != "|late" {
		t.Errorf("the server read %q", got)
	}
	return c
}

// A connection that was dialled early begins anew where the server can't read its
// hello: by itself, once, encrypted, and without what was sent early.
func TestDialEarlyBeginsAnewWhereTheHelloIsRejected(t *testing.T) {
	e := newEarlyECH(t, true)
	c := e.dial(t, "early")
	n := c.Negotiated()
	if n.EarlyData != mtls.EarlyRejected || n.ECH != mtls.ECHAccepted || c.EarlyRoom() != 0 || !c.HandshakeOver() {
		t.Errorf("agreed on %+v", n)
	}
	if p, ok := c.Peer(); !ok || p.Name() != "orders" {
		t.Errorf("the server is %q, %v", p.Name(), ok)
	}
	if got := e.came.Load(); got != 2 {
		t.Errorf("%d connections", got)
	}
	if _, err := c.WriteEarly([]byte("more")); err != mtls.ErrEarlyDataOver {
		t.Errorf("early data was taken when the handshake was over: %v", err)
	}
	if tcp, ok := c.NetConn().(*net.TCPConn); !ok || tcp.RemoteAddr().String() != e.address {
		t.Errorf("the transport is %T", c.NetConn())
	}
	// Whoever reads and writes meanwhile notices nothing of it.
	if err := c.Admitted(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestWithoutRetryDialEarlyTellsOfTheRejection(t *testing.T) {
	e := newEarlyECH(t, false)
	c, err := e.client.DialEarly(context.Background(), "tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.WriteEarly([]byte("early")); err != nil {
		t.Fatal(err)
	}
	if r := refusal(t, c.Handshake(context.Background())); r.Code != string(code.ECHRejected) {
		t.Errorf("%+v", r)
	}
	if got := e.came.Load(); got != 1 {
		t.Errorf("%d connections", got)
	}
}

// Deadlines that were set before hold over the other transport, and Close closes it,
// whenever it is called.
func TestAConnectionThatBeginsAnewIsClosedAndBounded(t *testing.T) {
	for range 20 {
		e := newEarlyECH(t, true)
		c, err := e.client.DialEarly(context.Background(), "tcp", e.address)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 2)
		go func() { done <- c.Handshake(context.Background()) }()
		go func() { _ = c.SetDeadline(soon()); done <- c.Close() }()
		for range 2 {
			<-done
		}
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("it writes when it is closed")
		}
	}
}

// turning is an Identity that becomes another one.
type turning struct{ now atomic.Pointer[mtls.Anchored] }

func (c *turning) turn(to mtls.Anchored) { c.now.Store(&to) }

func (c *turning) TrustAnchors(ask *mtls.Ask) []mtls.TrustAnchorID {
	return (*c.now.Load()).TrustAnchors(ask)
}

func (c *turning) Certificate(ctx context.Context, ask *mtls.Ask) (*mtls.Certificate, error) {
	return (*c.now.Load()).(mtls.Identity).Certificate(ctx, ask)
}

// A server that takes the session no more, and shows what the client does not trust,
// is asked anew for what it has under an anchor that the client does: as by Dial.
func TestDialEarlyNamesATrustAnchorThatTheServerHas(t *testing.T) {
	for name, knows := range map[string]bool{"it has one": true, "it has none": false} {
		t.Run(name, func(t *testing.T) {
			a := newAnchored(t)
			own := &turning{}
			own.turn(a.second)
			sc := a.server(own)
			sc.Resumption = &mtls.ServerResumption{EarlyData: &mtls.ServerEarlyData{}}
			cc := a.client(mtls.Authorities(anchorsOf(t, a.other)))
			cc.TrustAnchors.IfOffered = anchors(t, "32473.2")
			cc.Resumption = &mtls.ClientResumption{}
			e := &earlyECH{client: newClient(t, cc), read: make(chan string, 10)}
			e.serve(t, newServer(t, sc))
			e.dial(t, "") // by which there is a ticket
			e.came.Store(0)
			if knows {
				own.turn(mtls.Choose(a.first, a.second).(mtls.Anchored))
				c := e.dial(t, "early")
				if n := c.Negotiated(); n.EarlyData != mtls.EarlyRejected || !n.TrustAnchor || e.came.Load() != 2 {
					t.Errorf("agreed on %+v in %d connections", n, e.came.Load())
				}
				return
			}
			own.turn(a.first)
			c, err := e.client.DialEarly(context.Background(), "tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := refusal(t, c.Handshake(context.Background()))
			if r.Code != string(code.UnknownAuthority) || !slices.Equal(r.TrustAnchors, anchors(t, "32473.1")) || e.came.Load() != 1 {
				t.Errorf("%v, with %v, in %d connections", r, r.TrustAnchors, e.came.Load())
			}
		})
	}
}
