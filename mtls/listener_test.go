package mtls_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// A connection whose handshake is done and that nobody accepted before the listener
// closed was never served: its client must not take that for an empty answer.
func TestClosingAListenerBreaksWhatNobodyAccepted(t *testing.T) {
	h := newHouse(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newServer(t, h.serverConfig()).Wrap(inner)
	transport, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(t, h.clientConfig()).Connect(context.Background(), transport, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(soon())
	if err := c.Admitted(context.Background()); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client read %d bytes and %v, expected a connection that broke", n, err)
	}
}

// A server that gives up just when its tickets have left has let the client in: an
// orderly end would tell the client that the answer is empty.
func TestGivingUpBehindTheTicketsBreaksTheConnection(t *testing.T) {
	h := newHouse(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	server := newServer(t, h.serverConfig())
	gone := make(chan error, 1)
	go func() {
		transport, err := inner.Accept()
		if err == nil {
			_, err = server.Accept(ctx, &lastWrite{TCPConn: transport.(*net.TCPConn), done: cancel})
		}
		gone <- err
	}()
	transport, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(t, h.clientConfig()).Connect(context.Background(), transport, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("the server ended with %v, expected %v", err, context.Canceled)
	}
	_ = c.SetDeadline(soon())
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the client read %d bytes and %v, expected a connection that broke", n, err)
	}
}

// lastWrite calls done when the second flight, that with the tickets, has left.
type lastWrite struct {
	*net.TCPConn
	done   func()
	writes atomic.Int32
}

func (l *lastWrite) Write(b []byte) (int, error) {
	n, err := l.TCPConn.Write(b)
	if l.writes.Add(1) == 2 {
		l.done()
	}
	return n, err
}

// A stranger who opens connections and says nothing has as many as there are, and as
// many as may wait: whoever comes from another address gets in all the same.
func TestAStrangerKeepsNobodyOut(t *testing.T) {
	h := newHouse(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const places = 2
	const silent = places + 4*places
	refused := make(chan string, 2*silent)
	cfg := h.serverConfig()
	cfg.Limits = &mtls.Limits{Handshakes: places, HandshakeTime: time.Hour}
	cfg.Refused = func(_ net.Addr, r *mtls.Refusal) { refused <- r.Code }
	l := newServer(t, cfg).Wrap(&fromElsewhere{Listener: inner, strangers: silent + 1})
	defer l.Close()
	for range silent + 1 { // of whom the last can't even wait
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if k := <-refused; k != "M0804" {
		t.Errorf("who could not wait was refused with %s", k)
	}
	transport, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := newClient(t, h.clientConfig()).Connect(context.Background(), transport, "orders")
	if err != nil {
		t.Fatalf("the known caller was kept out: %v", err)
	}
	defer c.Close()
	if k := <-refused; k != "M0804" {
		t.Errorf("who lost the place was refused with %s", k)
	}
	_ = c.SetDeadline(soon())
	if err := c.Admitted(context.Background()); err != nil {
		t.Error(err)
	}
}

// Who loses the place to another is judged no longer: else there would be as many
// judgements under way as a stranger has connections cut.
func TestWhoLosesThePlaceIsJudgedNoLonger(t *testing.T) {
	h := newHouse(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const places = 2
	begun, over := make(chan struct{}, places), make(chan struct{}, places)
	judge := h.verifier()
	cfg := h.serverConfig()
	cfg.Limits = &mtls.Limits{Handshakes: places, HandshakeTime: time.Hour}
	cfg.Clients = mtls.Required(mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		if strange, ok := claim.Remote.(*net.TCPAddr); ok && strange.IP.Equal(net.IPv4(192, 0, 2, 1)) {
			begun <- struct{}{}
			<-ctx.Done()
			over <- struct{}{}
			return nil, ctx.Err()
		}
		return judge.Verify(ctx, claim)
	}))
	l := newServer(t, cfg).Wrap(&fromElsewhere{Listener: inner, strangers: places})
	defer l.Close()
	client := newClient(t, h.clientConfig())
	connect := func() *mtls.Conn {
		transport, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Connect(context.Background(), transport, "orders")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for range places {
		defer connect().Close()
		<-begun
	}
	c := connect()
	defer c.Close()
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Error("the judgement goes on in a place that is another's")
	}
	if err := c.Admitted(context.Background()); err != nil {
		t.Error(err)
	}
}

// fromElsewhere has the first connections come from a stranger's address.
type fromElsewhere struct {
	net.Listener
	strangers int
}

func (f *fromElsewhere) Accept() (net.Conn, error) {
	c, err := f.Listener.Accept()
	if f.strangers--; err != nil || f.strangers < 0 {
		return c, err
	}
	return &ofStranger{c}, nil
}

type ofStranger struct{ net.Conn }

func (*ofStranger) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
