package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"os"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

var one = big.NewInt(1)

// long says that there is time: MUTUAL_LONG=1 asks for it.
func long() bool { return os.Getenv("MUTUAL_LONG") != "" }

// cut gives the sizes of the pieces in which bytes arrive; 0 is all that there
// is.
type cut func() int

func pieces(n int) cut { return func() int { return n } }

func atRandom(seed uint64, most int) cut {
	r := mrand.New(mrand.NewPCG(seed, uint64(most)))
	return func() int { return 1 + r.IntN(most) }
}

func (c cut) deliver(to *tested, b []byte) {
	for len(b) > 0 {
		n := c()
		if n <= 0 || n > len(b) {
			n = len(b)
		}
		to.feed(b[:n])
		b = b[n:]
	}
}

// link is two streams, and what happens to the bytes between them.
type link struct {
	client, server *tested
	cut            cut
	// change, if not nil, sees all that one end has sent since the last time.
	change func(from *tested, b []byte) []byte
}

func newLink(t testing.TB, s setting, c cut) *link {
	return &link{client: newClient(t, s), server: newServer(t, s), cut: c}
}

// settle moves bytes until nothing moves.
func (l *link) settle() {
	for moved := true; moved; {
		moved = false
		for _, way := range [][2]*tested{{l.client, l.server}, {l.server, l.client}} {
			b := way[0].take()
			if l.change != nil {
				b = l.change(way[0], b)
			}
			if len(b) > 0 {
				moved = true
				l.cut.deliver(way[1], b)
			}
		}
	}
}

// story is what happens on a connection after its handshake.
type story struct {
	name string
	set  func() setting
	tell func(*link)
}

func stories() []story {
	text := bytes.Repeat([]byte("0123456789abcdef"), 3000)
	talk := func(l *link) {
		l.client.send([]byte("question"))
		l.settle()
		l.server.send([]byte("answer"))
		l.server.send(text)
		l.settle()
	}
	return []story{
		{"server only", usual, talk},
		{"mutual", mutual, talk},
		{"retry", retrying, talk},
		{"operations answered late", func() setting { s := mutual(); s.late = true; return s }, talk},
		{"keys changed by a low limit", func() setting { s := mutual(); s.clientRekey, s.serverRekey = 1, 2; return s }, talk},
		{"keys changed on request", mutual, func(l *link) {
			for i := range 4 {
				out, err := l.client.Rekey(l.client.out, i%2 == 0)
				check(l.client.t, err)
				l.client.out = out
				talk(l)
			}
		}},
		{"closed", mutual, func(l *link) {
			talk(l)
			l.client.out = l.client.Alert(l.client.out, alert.CloseNotify)
			l.settle()
			l.server.send([]byte("the last word"))
			l.server.out = l.server.Alert(l.server.out, alert.CloseNotify)
			l.settle()
		}},
		// Everything that one side has to say lies behind its Finished, in one piece.
		{"the client says all at once", func() setting { s := mutual(); s.atOnce = text; return s }, func(l *link) {
			l.server.send([]byte("answer"))
			l.server.out = l.server.Alert(l.server.out, alert.CloseNotify)
			l.settle()
		}},
		{"the client says all at once, behind a retry", func() setting { s := retrying(); s.atOnce = text; return s }, func(l *link) {
			l.server.send([]byte("answer"))
			l.settle()
		}},
		{"the client closes at once", func() setting { s := mutual(); s.atOnce = []byte{}; return s }, func(*link) {}},
		{"what is no progress", mutual, func(l *link) {
			for i := range maxRow + 1 {
				l.client.out = l.client.out[:len(l.client.out):len(l.client.out)]
				if i%2 == 0 {
					l.client.send(nil)
					continue
				}
				out, err := l.client.Rekey(l.client.out, true)
				check(l.client.t, err)
				l.client.out = out
			}
			l.settle()
		}},
		{"the client is refused", func() setting { s := mutual(); s.refuse = errors.New("not allowed"); return s }, talk},
		{"nothing in common", func() setting { s := usual(); s.server.Suites = nil; return s }, func(*link) {}},
	}
}

func (s story) run(t testing.TB, c cut, change func(*link) func(*tested, []byte) []byte) string {
	l := newLink(t, s.set(), c)
	if change != nil {
		l.change = change(l)
	}
	l.settle()
	if l.client.err == nil && l.server.err == nil && l.client.Done() && l.server.Done() {
		s.tell(l)
	}
	return l.client.outcome() + "; " + l.server.outcome()
}

func cuts() map[string]cut {
	all := map[string]cut{"one byte": pieces(1), "two bytes": pieces(2), "five bytes": pieces(5), "six bytes": pieces(6), "a record's size": pieces(record.MaxRecord)}
	seeds := 20
	if long() {
		seeds = 500
	}
	for i := range seeds {
		all[fmt.Sprintf("seed %d", i)] = atRandom(uint64(i), []int{3, 20, 400, 5000}[i%4])
	}
	return all
}

// Any cut of the bytes, and any joining of them, comes to the same.
func TestAnyCutOfTheBytesComesToTheSame(t *testing.T) {
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			want := s.run(t, pieces(0), nil)
			t.Log(want)
			for name, c := range cuts() {
				if got := s.run(t, c, nil); got != want {
					t.Errorf("in pieces of %s:\n%s\nin one piece:\n%s", name, got, want)
				}
			}
		})
	}
}

// The same of connections that break: each byte of what one side sends is changed
// in turn, and however it is cut, both sides come to the same end.
func TestAnyCutOfBrokenBytesComesToTheSame(t *testing.T) {
	s := stories()[1]
	for _, side := range []string{"client", "server"} {
		step := 7
		if long() {
			step = 1
		}
		for at := 0; ; at += step {
			reached := false
			broken := func(l *link) func(*tested, []byte) []byte {
				seen := 0
				return func(from *tested, b []byte) []byte {
					if (from == l.client) != (side == "client") {
						return b
					}
					if i := at - seen; i >= 0 && i < len(b) {
						reached = true
						b[i] ^= 0x55
					}
					seen += len(b)
					return b
				}
			}
			want := s.run(t, pieces(0), broken)
			if !reached || at > 3000 {
				break
			}
			for _, c := range []cut{pieces(1), atRandom(uint64(at), 9), atRandom(uint64(at), 300)} {
				if got := s.run(t, c, broken); got != want {
					t.Errorf("byte %d of the %s's, in pieces:\n%s\nin one piece:\n%s", at, side, got, want)
				}
			}
		}
	}
}

// Messages may be cut into records, and records may hold several, wherever the
// keys do not change between them (RFC 8446, section 5.1).
func TestAnyCutOfMessagesIntoRecordsComesToTheSame(t *testing.T) {
	for _, size := range []int{1, 2, 3, 4, 5, 16, 100, 1000, 0} {
		for _, side := range []string{"client", "server"} {
			t.Run(fmt.Sprintf("records of %d to the %s", size, side), func(t *testing.T) {
				into := func(h *byHand) {
					h.packed = size == 0
					h.each = func(msg []byte) bool {
						if size == 0 {
							return false
						}
						for len(msg) > 0 {
							n := min(size, len(msg))
							h.put(h.sealed(record.Handshake, msg[:n]...))
							msg = msg[n:]
						}
						return true
					}
				}
				var d *tested
				var h *byHand
				if side == "server" {
					h = newHandClient(t, mutual(), into)
					d = newServer(t, mutual())
				} else {
					d = newClient(t, mutual())
					h = newHandServer(t, mutual(), into)
				}
				meet(d, h)
				if d.err != nil || !d.Done() || h.machine != nil {
					t.Fatalf("%v; done: %v", d.err, d.Done())
				}
				h.put(h.sealed(record.ApplicationData, []byte("hello")...))
				meet(d, h)
				if string(d.got) != "hello" || d.err != nil {
					t.Errorf("got %q, %v", d.got, d.err)
				}
			})
		}
	}
}

// A KeyUpdate and a ticket come in pieces as well.
func TestMessagesAfterTheHandshakeMayBeCut(t *testing.T) {
	d := newClient(t, mutual())
	h := newHandServer(t, mutual(), nil)
	meet(d, h)
	ticket, err := (&message.NewSessionTicket{Ticket: make([]byte, 60000)}).Append(nil)
	check(t, err)
	for len(ticket) > 0 {
		n := min(7001, len(ticket))
		h.put(h.sealed(record.Handshake, ticket[:n]...))
		ticket = ticket[n:]
	}
	update := keyUpdate(true)
	h.put(h.sealed(record.Handshake, update[:2]...))
	h.put(h.sealed(record.Handshake, update[2:]...))
	check(t, h.sealer.Set(h.standing.Suite(), labels, h.standing.NextWrite()))
	h.put(h.sealed(record.ApplicationData, []byte("under new keys")...))
	meet(d, h)
	if d.err != nil || string(d.got) != "under new keys" {
		t.Fatalf("%q, %v", d.got, d.err)
	}
	d.send([]byte("and back"))
	meet(d, h)
	if string(h.data) != "and back" {
		t.Errorf("%q came back", h.data)
	}
}
