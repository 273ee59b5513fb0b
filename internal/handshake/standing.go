package handshake

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Standing is what stays of a handshake: the traffic secrets in force and the
// exporter secret. Its reading half (Message, NextRead) and its writing half
// (NextWrite) may be used by two goroutines at once.
type Standing struct {
	suite    *suite.Suite
	client   bool
	read     []byte
	write    []byte
	exporter []byte
	observer observe.Observer // nil: nobody watches
	quic     bool

	// What exported authenticators are made with: our settings, the name that the
	// client meant and, on a server, what the client verifies.
	cfg        *Config
	serverName string
	offered    []suite.Scheme

	// post is what authentication after the handshake needs; nil where there is
	// none, and noPost says why.
	post   *postAuth
	noPost error

	// resumption is what tickets are made from, nil where none are kept; kept
	// counts them, up to most, and tickets are those that nobody took yet.
	resumption []byte
	kept, most int
	tickets    []*Session
	alpn       string
}

// Effect is what a message after the handshake asks for.
type Effect uint8

// The effects; they are bits.
const (
	// RekeyRead: the peer's next byte comes under new keys: call NextRead.
	RekeyRead Effect = 1 << iota
	// UpdateRequested: we are to update our keys too, before our next
	// application data.
	UpdateRequested
	// Ticket: the server sent a NewSessionTicket. After a CertificateRequest it
	// can only be sent by who has our Finished (RFC 8446, section 4.6.1), so it
	// proves that our certificate was judged.
	Ticket
)

// Message takes one whole handshake message that came after the handshake.
func (s *Standing) Message(msg []byte) (Effect, error) {
	effect, err := s.message(msg)
	if err == nil && s.observer != nil {
		from := observe.Client
		if s.client {
			from = observe.Server
		}
		s.observer.Observe(observe.Event{Kind: observe.Message, From: from, Level: Application, Type: message.Type(msg[0]), Bytes: msg, Suite: s.suite.ID})
	}
	return effect, err
}

func (s *Standing) message(msg []byte) (Effect, error) {
	t := message.Type(msg[0])
	c := core{at: t.String(), expecting: "application data"}
	switch {
	case t == message.TypeKeyUpdate && s.quic:
		return 0, c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage,
			"a KeyUpdate came over QUIC, which changes its keys without TLS")
	case s.Midway():
		return s.waitRest(t, msg)
	case t == message.TypeKeyUpdate:
		var m message.KeyUpdate
		if err := m.Parse(msg); err != nil {
			return 0, c.parsed(err)
		}
		if m.RequestUpdate {
			return RekeyRead | UpdateRequested, nil
		}
		return RekeyRead, nil
	case t == message.TypeNewSessionTicket && s.client:
		var m message.NewSessionTicket
		if err := m.Parse(msg); err != nil {
			return 0, c.parsed(err)
		}
		if err := s.checkTicket(&c, &m); err != nil {
			return 0, err
		}
		s.keep(&m)
		return Ticket, nil
	case t == message.TypeCertificateRequest && s.client:
		return 0, s.waitRequest(msg)
	case (t == message.TypeCertificate || t == message.TypeCompressedCertificate) && !s.client:
		return 0, s.waitCertificate(t, msg)
	case t == message.TypeClientHello && !s.client:
		return 0, c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage,
			"the client begins a second handshake: there is no renegotiation in TLS 1.3")
	}
	return 0, c.unexpected(t)
}

// Suite is the cipher suite.
func (s *Standing) Suite() *suite.Suite { return s.suite }

// ReadSecret and WriteSecret are the traffic secrets in force. They must not be
// kept.
func (s *Standing) ReadSecret() []byte { return s.read }

// WriteSecret is the secret of what we send.
func (s *Standing) WriteSecret() []byte { return s.write }

// NextRead steps the reading secret (RFC 8446, section 7.2), zeroes the one
// before, and returns the new one.
func (s *Standing) NextRead() []byte { return s.next(&s.read) }

// NextWrite steps the writing secret.
func (s *Standing) NextWrite() []byte { return s.next(&s.write) }

func (s *Standing) next(secret *[]byte) []byte {
	n := schedule.NextTraffic(s.suite, labels, *secret)
	clear(*secret)
	*secret = n
	return n
}

// Export is the exporter of RFC 8446, section 7.5.
func (s *Standing) Export(label string, context []byte, n int) ([]byte, error) {
	if s.exporter == nil {
		return nil, fmt.Errorf("the connection has ended: its exporter secret is gone")
	}
	return schedule.Export(s.suite, labels, s.exporter, label, context, n)
}

// DiscardRead zeroes the reading secret. It and the two below are each called by
// whoever owns that half.
func (s *Standing) DiscardRead() {
	clear(s.read)
	s.discardTickets()
}

// DiscardWrite zeroes the writing secret.
func (s *Standing) DiscardWrite() { clear(s.write) }

// DiscardExporter zeroes the exporter secret.
func (s *Standing) DiscardExporter() {
	clear(s.exporter)
	s.exporter = nil
}
