package handshake

import (
	"bytes"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Pitfall: key shares are fresh for each connection, on both sides; a peer's reuse
// is allowed (RFC 9846, section 4.3.8).
func TestKeySharesAreFreshAndAPeersReuseIsAllowed(t *testing.T) {
	for _, g := range suite.Groups() {
		s := usual()
		s.client.Groups, s.server.Groups = []suite.GroupID{g}, []suite.GroupID{g}
		var hellos [2]message.ClientHello
		var replies [2]message.ServerHello
		first := newClientEnd(t, s)
		first.settle(first.start())
		for i := range hellos {
			c := newClientEnd(t, s)
			c.settle(c.start())
			if err := hellos[i].Parse(c.sent[0].msg); err != nil {
				t.Fatal(err)
			}
			// The same hello, and so the same share, to a new server each time.
			server := newServerEnd(t, s)
			server.hand(first.sent[0])
			for len(server.ops) > 0 && len(server.sent) == 0 {
				server.resolve(0)
			}
			if server.err != nil || len(server.sent) == 0 {
				t.Fatalf("%v: %v", g, server.err)
			}
			if err := replies[i].Parse(server.sent[0].msg); err != nil {
				t.Fatal(err)
			}
		}
		if bytes.Equal(hellos[0].KeyShares[0].Data, hellos[1].KeyShares[0].Data) || hellos[0].Random == hellos[1].Random {
			t.Errorf("%v: two clients sent the same", g)
		}
		if bytes.Equal(replies[0].KeyShare.Data, replies[1].KeyShare.Data) || replies[0].Random == replies[1].Random {
			t.Errorf("%v: two servers answered with the same", g)
		}
	}
}
