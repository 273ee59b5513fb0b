package stream

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// piece is how long the records of such early data are.
const piece = 1000

// offering makes the client of h offer early data with a ticket of somebody
// else's, and send records of it behind its hello.
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
			h.put(h.clear(record.ApplicationData, make([]byte, piece)...))
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
			const most = 64 << 10 // a client that may send 16 KiB, in records that hold little
			records := most / (record.HeaderLen + piece)
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

// memory is what both ends keep of their connections: the last ticket's session,
// as each has it.
type memory struct {
	offer *handshake.Session
	kept  map[string]*handshake.Session
	seen  map[[32]byte]bool
}

func (m *memory) carryOut(op *handshake.Op, refuse error) handshake.Answer {
	if m == nil {
		return carryOut(op, refuse)
	}
	own := func(s *handshake.Session) *handshake.Session {
		if s == nil {
			return nil
		}
		c := *s
		c.Secret, c.Age = slices.Clone(s.Secret), func() uint32 { return 0 }
		return &c
	}
	switch op.Kind {
	case handshake.FindTicket:
		return handshake.Answer{Session: own(m.offer)}
	case handshake.OpenTicket:
		return handshake.Answer{Session: own(m.kept[string(op.Identities[0])])}
	case handshake.SealTicket:
		ticket := fmt.Sprint("ticket ", len(m.kept))
		m.kept[ticket] = own(op.Session)
		return handshake.Answer{Ticket: []byte(ticket), Lifetime: 3600}
	case handshake.RegisterEarlyData:
		fresh := !m.seen[op.EarlyID]
		m.seen[op.EarlyID] = true
		return handshake.Answer{Fresh: fresh}
	}
	return carryOut(op, refuse)
}

// metBefore is s with early data of up to most bytes, whose ends have met.
func metBefore(t testing.TB, s setting, most uint32) setting {
	t.Helper()
	s.memory = &memory{kept: map[string]*handshake.Session{}, seen: map[[32]byte]bool{}}
	s.client.Resume, s.server.Resume, s.server.MaxEarlyData = true, true, most
	l := newLink(t, s, pieces(0))
	l.settle()
	if l.client.err != nil || l.server.err != nil || !l.client.Ticketed() {
		t.Fatalf("they did not meet: %v, %v", l.client.err, l.server.err)
	}
	s.memory.offer = l.client.Standing().Tickets()[0]
	s.memory.offer.PeerChain, s.memory.offer.Local = l.client.Result().PeerChain, l.client.Result().Local
	return s
}

// sendEarly is early data of the client's, ready for the wire.
func (d *tested) sendEarly(b []byte) {
	d.t.Helper()
	out, err := d.SealEarly(d.out, b)
	check(d.t, err)
	d.out = out
}

// Early data arrives before the handshake is over, is answered before it is over,
// and what follows it follows it; however the bytes are cut.
func TestEarlyDataTravelsBothWays(t *testing.T) {
	for _, n := range []int{0, 1, 7, 1000} {
		s := metBefore(t, mutual(), 40_000)
		l := newLink(t, s, pieces(n))
		if !l.client.Early() || l.client.EarlyRoom() != 40_000 {
			t.Fatalf("the client may send %d bytes", l.client.EarlyRoom())
		}
		data := bytes.Repeat([]byte("early"), 8000)
		l.client.sendEarly(data[:5])
		l.client.sendEarly(data[5:])
		if _, err := l.client.SealEarly(nil, []byte("x")); err == nil {
			t.Error("more than is allowed was sent")
		}
		l.cut.deliver(l.server, l.client.take())
		if !l.server.Early() || l.server.Done() || !bytes.Equal(l.server.got, data) {
			t.Fatalf("the server has %d bytes; done %v, %v", len(l.server.got), l.server.Done(), l.server.err)
		}
		if r := l.server.Result(); r == nil || r.PeerChain == nil || r.EarlyData != handshake.EarlyAccepted {
			t.Fatalf("the server's result is %+v", r)
		}
		l.server.send([]byte("answer"))
		l.settle()
		l.client.send([]byte("late"))
		l.settle()
		if string(l.client.got) != "answer" || !bytes.Equal(l.server.got, append(data, "late"...)) || l.client.Early() || l.server.Early() {
			t.Errorf("the client has %q, the server %d bytes; %v, %v", l.client.got, len(l.server.got), l.client.err, l.server.err)
		}
		if r := l.client.Result(); r.EarlyData != handshake.EarlyAccepted {
			t.Error("the client was not told")
		}
	}
}

// What the server does not take is lost, and the handshake goes on: without a
// session, with one, and when it starts again.
func TestEarlyDataThatIsNotTakenIsLost(t *testing.T) {
	for name, set := range map[string]func(*setting){
		"a replay":   func(s *setting) { s.memory.seen = nil },
		"no session": func(s *setting) { clear(s.memory.kept) },
		"a HelloRetryRequest": func(s *setting) {
			s.client.Groups, s.server.Groups = retrying().client.Groups, retrying().server.Groups
		},
		"no early data at all": func(s *setting) { s.server.MaxEarlyData = 0 },
	} {
		for _, n := range []int{0, 1} {
			s := metBefore(t, mutual(), 40_000)
			set(&s)
			l := newLink(t, s, pieces(n))
			if s.memory.seen == nil {
				s.memory.seen = map[[32]byte]bool{}
				first := newServer(t, s)
				first.feed(bytes.Clone(l.client.out))
				if !first.Early() {
					t.Fatalf("%s: the first is not taken: %v", name, first.err)
				}
			}
			l.client.sendEarly([]byte("lost"))
			l.client.sendEarly(make([]byte, 15_000))
			l.settle()
			l.client.send([]byte("found"))
			l.settle()
			if string(l.server.got) != "found" || l.client.err != nil || l.client.Result().EarlyData != handshake.EarlyRejected ||
				l.server.Result().EarlyData != handshake.EarlyRejected || l.client.EarlyRoom() != 0 {
				t.Errorf("%s: the server has %q: %v, %v", name, short(l.server.got), l.client.err, l.server.err)
			}
		}
	}
}

// A client by hand, with the early keys of an honest one, that sends what it
// should not.
func TestWrongEarlyDataIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		put   func(h *byHand)
		alert alert.Alert
		code  code.Code
	}{
		"one byte more than the ticket allows": {func(h *byHand) {
			h.put(h.sealed(record.ApplicationData, make([]byte, 1000)...))
			h.put(h.sealed(record.ApplicationData, 1))
		}, alert.UnexpectedMessage, code.TooMuchEarlyData},
		"a flood of empty records": {func(h *byHand) {
			for range maxEmpty + 1 {
				h.put(h.sealed(record.ApplicationData))
			}
		}, alert.UnexpectedMessage, code.Flood},
		"under the wrong keys": {func(h *byHand) {
			h.put(h.clear(record.ApplicationData, make([]byte, 100)...))
		}, alert.BadRecordMAC, code.BadRecord},
		"in the clear": {func(h *byHand) { h.put(h.clear(record.Handshake, 5, 0, 0, 0)) }, alert.UnexpectedMessage, code.BadRecord},
		"a piece of a message before it": {func(h *byHand) {
			h.put(h.sealed(record.Handshake, 5, 0))
			h.put(h.sealed(record.ApplicationData, 1))
		}, alert.UnexpectedMessage, code.UnexpectedMessage},
		"a KeyUpdate": {func(h *byHand) { h.put(h.sealed(record.Handshake, keyUpdate(false)...)) }, alert.UnexpectedMessage, code.UnexpectedMessage},
		"more behind its end": {func(h *byHand) {
			h.put(h.sealed(record.Handshake, 5, 0, 0, 0, 20, 0, 0, 0))
		}, alert.UnexpectedMessage, code.UnexpectedMessage},
	} {
		t.Run(name, func(t *testing.T) {
			s := metBefore(t, mutual(), 1000)
			d := newServer(t, s)
			h := newHandClient(t, s, func(h *byHand) {
				h.memory = s.memory
				h.keyed = func(l handshake.Level) {
					if l == handshake.Early {
						c.put(h)
					}
				}
			})
			d.feed(h.out)
			if f := failedWith(t, d, c.alert); f.Code != c.code {
				t.Errorf("%v: %v", f.Code, f)
			}
			if d.Early() {
				t.Error("it goes on")
			}
		})
	}
}

// As much as the ticket allows, to the byte, is taken.
func TestAsMuchEarlyDataAsIsAllowedIsTaken(t *testing.T) {
	s := metBefore(t, mutual(), 1000)
	l := newLink(t, s, pieces(0))
	l.client.sendEarly(make([]byte, 1000))
	l.settle()
	if len(l.server.got) != 1000 || !l.server.Done() {
		t.Errorf("%d bytes: %v", len(l.server.got), l.server.err)
	}
}
