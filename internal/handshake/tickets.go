package handshake

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/schedule"
)

// The tickets that a server gives behind its client's Finished (RFC 8446,
// section 4.6.1): one, or as many as the client asks for, within our limit (RFC
// 9149).

// tickets is how many tickets this handshake ends with.
func (s *Server) tickets() int {
	if !s.cfg.Resume || !has(s.hello.PSKModes, pskDHEKE) {
		return 0
	}
	q := s.hello.TicketRequest
	switch {
	case !q.Made:
		return 1
	case s.result.Resumed:
		return min(int(q.Resumed), max(s.cfg.Tickets, 1))
	}
	return min(int(q.Full), max(s.cfg.Tickets, 1))
}

// answerTicketRequest says how many tickets follow, to a client that asked.
func (s *Server) answerTicketRequest(ee *message.EncryptedExtensions) {
	if s.cfg.Resume && s.hello.TicketRequest.Made {
		ee.Tickets = message.TicketsExpected{Count: uint8(s.tickets()), Told: true}
	}
}

// giveTickets ends the handshake with its tickets.
func (s *Server) giveTickets() (serverState, error) {
	if s.left = s.tickets(); s.left == 0 {
		return nil, s.lastTicket()
	}
	s.resumption = s.main.Resumption(s.transcript())
	if err := s.sealTicket(); err != nil {
		return nil, err
	}
	return s.expect("our own ticket", (*Server).waitNothing)
}

// sealTicket asks for a ticket that stands for this handshake. The secret of
// each is its own: its nonce is its number. ticket_age_add is drawn for each, or
// ages would link connections.
func (s *Server) sealTicket() error {
	var add [4]byte
	if _, err := io.ReadFull(s.cfg.Random, add[:]); err != nil {
		return s.misuse(code.Internal, errors.New("the random source failed"))
	}
	s.seal = Op{Kind: SealTicket, Resumed: s.result.Resumed, ServerName: s.result.ServerName, Session: &Session{
		Suite: s.suite, Secret: schedule.ResumptionPSK(s.suite, labels, s.resumption, []byte{s.given}), PeerChain: s.chain, Local: s.result.Local,
		PeerType: s.result.PeerType, OwnType: s.result.OwnType, Proven: s.result.Proven,
		AgeAdd: binary.BigEndian.Uint32(add[:]), MaxEarlyData: s.cfg.MaxEarlyData, ALPN: s.result.ALPN,
	}}
	s.ask(&s.seal, true)
	return nil
}

// sealed sends the ticket that SealTicket gave, and asks for the next one. Where
// none could be made, none follows.
func (s *Server) sealed(ticket []byte, lifetime uint32) error {
	if len(ticket) > 0 && lifetime > 0 {
		made := s.seal.Session
		if err := s.sendTicket(&message.NewSessionTicket{Ticket: ticket, Lifetime: lifetime, AgeAdd: made.AgeAdd, MaxEarlyData: made.MaxEarlyData}); err != nil {
			return err
		}
		if s.left--; s.left > 0 {
			return s.sealTicket()
		}
	}
	return s.lastTicket()
}

// lastTicket ends the handshake. A client that was asked for a certificate gets a
// ticket in any case: it is how a client of TLS 1.3 learns that it was let in. A
// lifetime of 0 says that there is nothing to resume (RFC 8446, section 4.6.1).
func (s *Server) lastTicket() error {
	if len(s.queue) > 0 { // nobody would take it any more
		return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "%s came before the handshake was over", message.Type(s.queue[0].msg[0]))
	}
	clear(s.resumption)
	if s.given == 0 && s.cfg.ClientAuth != NoClientCertificate && !s.cfg.QUIC { // QUIC has HANDSHAKE_DONE for it
		var r [4 + 16]byte
		if _, err := io.ReadFull(s.cfg.Random, r[:]); err != nil {
			return s.misuse(code.Internal, errors.New("the random source failed"))
		}
		if err := s.sendTicket(&message.NewSessionTicket{AgeAdd: binary.BigEndian.Uint32(r[:]), Ticket: r[4:]}); err != nil {
			return err
		}
	}
	exporter := s.exporter
	s.exporter = nil
	s.finish(exporter, s.hello.PostHandshakeAuth)
	s.result.Standing.offered = s.schemes
	return nil
}

func (s *Server) sendTicket(m *message.NewSessionTicket) error {
	m.Nonce = []byte{s.given}
	if err := s.greaseTicket(m); err != nil {
		return s.misuse(code.Internal, err)
	}
	b, err := m.Append(make([]byte, 0, 64+len(m.Ticket)))
	if err != nil {
		return s.misuse(code.Internal, err)
	}
	s.given++
	s.send(Application, b)
	return nil
}
