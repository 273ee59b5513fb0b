package stream

import (
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/suite"
)

// offering makes the client of h offer early data with a ticket of somebody
// else's, and send records of it, as long as records can be, behind its hello.
func offering(h *byHand, records int) {
	h.each = func(msg []byte) bool {
		if message.Type(msg[0]) != message.TypeClientHello {
			return false
		}
		h.each = nil
		var m message.ClientHello
		check(h.t, m.Parse(msg))
		m.Extensions = nil // they are made anew from the fields
		m.EarlyData = true
		m.PSK = &message.PreSharedKeys{
			Identities: []message.PSKIdentity{{Identity: []byte("a ticket of somebody else's")}},
			Binders:    [][]byte{make([]byte, 32)},
		}
		b, err := m.Append(nil)
		check(h.t, err)
		h.put(h.clear(record.Handshake, b...))
		for range records {
			h.put(h.clear(record.ApplicationData, make([]byte, record.MaxPlaintext+1+suite.TagLen)...))
		}
		return true
	}
}

// Early data that nobody takes is dropped, however long its records are: when
// the server goes on, and when it asks the client again and has no keys to try.
func TestEarlyDataIsDroppedUpToALimit(t *testing.T) {
	for name, set := range map[string]func() setting{"at once": usual, "behind a HelloRetryRequest": retrying} {
		for _, few := range []bool{true, false} {
			s := set()
			records := maxSkipped / (record.MaxPlaintext + 1 + suite.TagLen)
			if !few {
				records++
			}
			h := newHandClient(t, s, func(h *byHand) { offering(h, records) })
			d := newServer(t, s)
			d.feed(h.out)
			var f *handshake.Failure
			if d.err != nil {
				f = failedWith(t, d, alert.UnexpectedMessage)
			}
			if few != (f == nil) {
				t.Errorf("%s: %d records of early data: %v", name, records, f)
			}
		}
	}
}

// A message whose length can only be one is refused by its length.
func TestAKeyUpdateOfAWrongLengthDoesNotDecode(t *testing.T) {
	for _, n := range []byte{0, 2, 3, 16} {
		d := newServer(t, usual())
		h := newHandClient(t, usual(), nil)
		meet(d, h)
		h.put(h.sealed(record.Handshake, append([]byte{byte(message.TypeKeyUpdate), 0, 0, n}, make([]byte, n)...)...))
		d.feed(h.out)
		failedWith(t, d, alert.DecodeError)
	}
}

// What Seal makes fits in what MaxSealed says, under the lowest limit too.
func TestSealedDataFitsInWhatIsSaid(t *testing.T) {
	s := usual()
	s.clientRekey = 1
	c := newLink(t, s, pieces(0))
	c.settle()
	for _, n := range []int{1, 100, record.MaxPlaintext, record.MaxPlaintext + 1, 4 * record.MaxPlaintext, 5*record.MaxPlaintext - 1} {
		c.client.send([]byte("x")) // the next record begins with a KeyUpdate
		c.client.take()
		out, err := c.client.Seal(nil, make([]byte, n))
		check(t, err)
		if len(out) > MaxSealed(n) {
			t.Errorf("%d bytes became %d, more than %d", n, len(out), MaxSealed(n))
		}
	}
}
