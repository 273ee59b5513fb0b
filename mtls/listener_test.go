package mtls_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
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
