package interop

import (
	"slices"
	"sync"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
)

// heard observes a connection of ours: what the peer really sent and took.
type heard struct {
	mu       sync.Mutex
	messages []mtls.Event
}

func (h *heard) Observe(e mtls.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Kind == observe.Message {
		e.Bytes = slices.Clone(e.Bytes)
		h.messages = append(h.messages, e)
	}
}

// from are the messages of a type that the side sent.
func (h *heard) from(side observe.Side, t message.Type) (all [][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.messages {
		if e.From == side && e.Type == t {
			all = append(all, e.Bytes)
		}
	}
	return all
}

// hello is the client's last hello.
func (h *heard) hello() (m message.ClientHello) {
	if all := h.from(observe.Client, message.TypeClientHello); len(all) > 0 {
		_ = m.Parse(all[len(all)-1])
	}
	return m
}

// extensions are what the server encrypted of them.
func (h *heard) extensions() (m message.EncryptedExtensions) {
	if all := h.from(observe.Server, message.TypeEncryptedExtensions); len(all) > 0 {
		_ = m.Parse(all[0])
	}
	return m
}
