package mtls_test

import (
	"context"
	"io"
	"net"
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
	// The first visit, by which there is a ticket; then the keys change.
	e.dial(t, "")
	if err := e.keys.Set([]*mtls.ECHKey{key}); err != nil {
		t.Fatal(err)
	}
	e.came.Store(0)
	return e
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
