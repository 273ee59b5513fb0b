package handshake

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// sentTickets are the NewSessionTickets and the answer to ticket_request that a
// client gets.
func sentTickets(t *testing.T, p *pair) (tickets []message.NewSessionTicket, expected message.TicketsExpected) {
	t.Helper()
	p.tamper = func(to *end, _ int, l letter) []letter {
		switch message.Type(l.msg[0]) {
		case message.TypeNewSessionTicket:
			var m message.NewSessionTicket
			if err := m.Parse(l.msg); err != nil {
				t.Error(err)
			}
			tickets = append(tickets, m)
		case message.TypeEncryptedExtensions:
			var m message.EncryptedExtensions
			if err := m.Parse(l.msg); err != nil {
				t.Error(err)
			}
			expected = m.Tickets
		}
		return []letter{l}
	}
	p.run(modes[1])
	return tickets, expected
}

// A client gets as many tickets as it asks for, up to what the server gives; each
// stands for a session with a secret of its own, and all can be resumed.
func TestAClientGetsTheTicketsThatItAsksFor(t *testing.T) {
	for name, want := range map[string]struct {
		ask           message.TicketRequest
		limit         int
		full, resumed int
	}{
		"unasked":          {message.TicketRequest{}, 4, 1, 1},
		"one":              {message.TicketRequest{Full: 1, Resumed: 1, Made: true}, 4, 1, 1},
		"three, then two":  {message.TicketRequest{Full: 3, Resumed: 2, Made: true}, 4, 3, 2},
		"more than we do":  {message.TicketRequest{Full: 255, Resumed: 255, Made: true}, 5, 5, 5},
		"one, then none":   {message.TicketRequest{Full: 1, Made: true}, 4, 1, 0},
		"no limit is said": {message.TicketRequest{Full: 9, Resumed: 9, Made: true}, 0, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := resuming(mutual())
			s.client.TicketRequest, s.server.Tickets = want.ask, want.limit
			p := newPair(t, s)
			p.server.vault = map[string]*Session{}
			sent, told := sentTickets(t, p)
			p.agreed(t)
			if len(sent) != want.full || told.Told != want.ask.Made || told.Told && int(told.Count) != want.full {
				t.Fatalf("%d tickets came, and the server told %+v", len(sent), told)
			}
			kept := p.client.Result().Standing.Tickets()
			if len(kept) != want.full {
				t.Fatalf("the client has %d tickets", len(kept))
			}
			for i, one := range kept {
				if one.Lifetime != 3600 || slices.ContainsFunc(kept[:i], func(o *Session) bool {
					return bytes.Equal(o.Secret, one.Secret) || bytes.Equal(o.Ticket, one.Ticket) || o.AgeAdd == one.AgeAdd
				}) {
					t.Errorf("ticket %d is like another: %+v", i, one)
				}
				one.PeerChain, one.Local = p.client.Result().PeerChain, p.client.Result().Local
				one.Age = func() uint32 { return 1 }
				next := past{one, p.server.vault}.again(t, s)
				sent, told := sentTickets(t, next)
				next.resumed(t, true)
				resumable := slices.DeleteFunc(sent, func(m message.NewSessionTicket) bool { return m.Lifetime == 0 })
				if len(resumable) != want.resumed || told.Told && int(told.Count) != want.resumed {
					t.Errorf("%d tickets came behind the resumption, and the server told %+v", len(resumable), told)
				}
				next.server.Discard()
			}
		})
	}
}

// Who wants no ticket, or gets none because none can be made, is told all the same
// that it was let in.
func TestAClientThatWantsNoTicketIsAdmitted(t *testing.T) {
	for name, wanted := range map[string]uint8{"wants none": 0, "none can be made": 2} {
		s := resuming(mutual())
		s.client.TicketRequest, s.server.Tickets = message.TicketRequest{Full: wanted, Made: true}, 4
		p := newPair(t, s) // whose server has nothing to keep sessions in
		sent, _ := sentTickets(t, p)
		p.agreed(t)
		if len(sent) != 1 || sent[0].Lifetime != 0 || !slices.Contains(p.client.standing, Ticket) || p.client.Result().Standing.Ticketed() {
			t.Errorf("%s: the client was sent %+v", name, sent)
		}
	}
}

// What is said of tickets out of turn ends the handshake.
func TestTicketRequestsOutOfTurnAreRefused(t *testing.T) {
	t.Run("an answer that nobody asked for", func(t *testing.T) {
		p := newPair(t, usual())
		p.tamper = func(to *end, _ int, l letter) []letter {
			if message.Type(l.msg[0]) == message.TypeEncryptedExtensions {
				b, err := (&message.EncryptedExtensions{Tickets: message.TicketsExpected{Count: 1, Told: true}}).Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				l.msg = b
			}
			return []letter{l}
		}
		p.run(modes[0])
		failedWith(t, p.client.err, alert.UnsupportedExtension)
	})
	t.Run("another request in the second hello", func(t *testing.T) {
		s := resuming(mutual())
		s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
		s.client.TicketRequest = message.TicketRequest{Full: 1, Resumed: 1, Made: true}
		p, hellos := newPair(t, s), 0
		p.tamper = func(to *end, _ int, l letter) []letter {
			if message.Type(l.msg[0]) != message.TypeClientHello {
				return []letter{l}
			}
			if hellos++; hellos == 2 {
				l.msg = bytes.Clone(l.msg)
				at := bytes.Index(l.msg, []byte{0, byte(message.ExtTicketRequest), 0, 2, 1, 1})
				l.msg[at+4] = 9
			}
			return []letter{l}
		}
		p.run(modes[0])
		if f := failedWith(t, p.server.err, alert.IllegalParameter); !strings.Contains(f.Reason, "changed its hello") {
			t.Error(f)
		}
	})
}
