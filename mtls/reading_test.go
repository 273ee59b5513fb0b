package mtls_test

import (
	"bytes"
	"io"
	"net"
	"sync/atomic"
	"testing"
)

// hoard is a transport that can be made to write into a buffer and to read from
// one, and counts what it is asked to read.
type hoard struct {
	net.Conn
	buffer atomic.Pointer[bytes.Buffer]
	reads  int
}

func (h *hoard) Write(p []byte) (int, error) {
	if b := h.buffer.Load(); b != nil {
		return b.Write(p)
	}
	return h.Conn.Write(p)
}

func (h *hoard) Read(p []byte) (int, error) {
	if b := h.buffer.Load(); b != nil {
		h.reads++
		return b.Read(p)
	}
	return h.Conn.Read(p)
}

// Small records that have piled up end in the middle of one wherever a read stops.
// That must not keep the connection in its small buffer.
func TestSmallRecordsThatPiledUpAreReadTogether(t *testing.T) {
	h := newHouse(t)
	st, ct := loopback(t)
	from, to := &hoard{Conn: st}, &hoard{Conn: ct}
	server, client := newServer(t, h.serverConfig()), newClient(t, h.clientConfig())
	accepted := make(chan error, 1)
	var sender io.WriteCloser
	go func() {
		c, err := server.Accept(t.Context(), from)
		sender = c
		accepted <- err
	}()
	receiver, err := client.Connect(t.Context(), to, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	if err := <-accepted; err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	if err := receiver.Admitted(t.Context()); err != nil {
		t.Fatal(err)
	}

	var between bytes.Buffer
	from.buffer.Store(&between)
	to.buffer.Store(&between)
	data := noise(1 << 20)
	for p := data; len(p) > 0; p = p[1<<10:] {
		if _, err := sender.Write(p[:1<<10]); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(data))
	if _, err := io.ReadFull(receiver, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("something else came")
	}
	// A mebibyte in buffers of 65 KiB, and a few small ones at first.
	if to.reads > 24 {
		t.Errorf("it took %d reads", to.reads)
	}
}
