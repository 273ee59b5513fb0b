package stage

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
)

// Wire is a wire between two gateways. It carries what goes over it as it is, and
// sees what anybody on the way sees: whether the handshakes that servers answer are
// resumptions.
type Wire struct {
	Address string
	to      atomic.Pointer[string]
	mu      sync.Mutex
	resumed []bool
}

// NewWire is a wire whose far end is not fixed yet: see To.
func NewWire(t testing.TB) *Wire {
	t.Helper()
	w := &Wire{}
	w.Address = Service(t, w.carry)
	return w
}

// To has the connections from now on lead to address.
func (w *Wire) To(address string) { w.to.Store(&address) }

// Resumed takes, for each handshake that was answered since it was last asked,
// whether it went on from a session.
func (w *Wire) Resumed() []bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.resumed
	w.resumed = nil
	return r
}

func (w *Wire) carry(client net.Conn) {
	to := w.to.Load()
	if to == nil {
		return
	}
	server, err := net.Dial("tcp", *to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	// The ServerHello comes first, in a record or in several that begin with it;
	// between it and a HelloRetryRequest there may be a change_cipher_spec.
	for head := make([]byte, 5); ; {
		if _, err := io.ReadFull(server, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(server, body); err != nil {
			return
		}
		answered := head[0] == 22 && w.see(body)
		if _, err := client.Write(append(head, body...)); err != nil {
			return
		}
		if answered {
			break
		}
	}
	_, _ = io.Copy(client, server)
	_ = client.(*net.TCPConn).CloseWrite()
}

// see looks for a ServerHello, and notes what it says.
func (w *Wire) see(body []byte) bool {
	if len(body) < 4 || body[0] != byte(message.TypeServerHello) {
		return false
	}
	n := 4 + int(body[1])<<16 + int(body[2])<<8 + int(body[3])
	var m message.ServerHello
	if n > len(body) || m.Parse(body[:n]) != nil || m.IsRetry() {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resumed = append(w.resumed, m.HasPSK)
	return true
}
