package mtls_test

import (
	"context"
	"errors"
	"io"
	"net"
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
