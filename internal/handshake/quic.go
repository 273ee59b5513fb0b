package handshake

import (
	"bytes"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
)

// What QUIC has otherwise (RFC 9001). There are no records, so nothing is
// disguised: no session identifier and no ChangeCipherSpec (section 8.4). Each
// side tells its transport parameters (section 8.2), and a protocol for the
// application is agreed on or there is no connection (section 8.1). QUIC changes
// its keys by itself, without KeyUpdate (section 6), and ends early data by
// itself, without EndOfEarlyData (section 8.3). The server says that it has
// judged the client by HANDSHAKE_DONE (section 4.1.2).

// askParameters asks for our transport parameters.
func (c *core) askParameters() {
	c.quic = Op{Kind: TransportParameters}
	c.ask(&c.quic, true)
}

// parameters are those of the answer: none are as good as empty ones, and the
// extension must be there.
func parameters(a Answer) []byte { return append([]byte{}, a.Parameters...) }

// violation is a breach of RFC 9001's own rules, which QUIC answers with
// PROTOCOL_VIOLATION and not with an alert.
func (c *core) violation(format string, args ...any) error {
	return c.misbehaved(alert.IllegalParameter, code.QUICViolation, format, args...)
}

// checkQUIC checks what a ClientHello says to QUIC.
func (s *Server) checkQUIC() error {
	h := &s.hello
	switch {
	case !s.cfg.QUIC && h.TransportParameters != nil:
		return s.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "the client sent QUIC's transport parameters, and this is not QUIC")
	case !s.cfg.QUIC:
		return nil
	case len(h.SessionID) > 0:
		return s.violation("the client sent a session identifier, and over QUIC it has to be empty")
	case h.TransportParameters == nil:
		return s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client sent no quic_transport_parameters")
	}
	return nil
}

// tellParameters tells the client's transport parameters, once its hello is the
// one that we go on with, and asks for ours.
func (s *Server) tellParameters() {
	s.emit(Event{Kind: PeerParameters, Bytes: s.hello.TransportParameters})
	s.askParameters()
}

// noProtocol: without ALPN a connection over QUIC can't come to be.
func (c *Client) noProtocol() error {
	return &Failure{Alert: alert.InternalError, Code: code.NoCommonALPN, Fault: Misuse, At: c.at,
		Reason: "no application protocol is set to be offered, and over QUIC one has to be"}
}

// checkQUIC checks what EncryptedExtensions say to QUIC.
func (c *Client) checkQUIC(m *message.EncryptedExtensions) error {
	switch {
	case !c.cfg.QUIC:
		return nil
	case m.TransportParameters == nil:
		return c.misbehaved(alert.MissingExtension, code.MissingExtension, "the server sent no quic_transport_parameters")
	case m.ALPN == "":
		return c.incompatible(alert.NoApplicationProtocol, code.NoCommonALPN, "the server chose no application protocol, and over QUIC it has to")
	}
	c.emit(Event{Kind: PeerParameters, Bytes: bytes.Clone(m.TransportParameters)})
	return nil
}

// UnlimitedEarlyData is the one max_early_data_size of a ticket over QUIC, whose flow
// control limits early data (RFC 9001, section 4.6.1).
const UnlimitedEarlyData = 0xffffffff

func (s *Standing) checkTicket(c *core, m *message.NewSessionTicket) error {
	for _, x := range m.Extensions {
		if s.quic && x.Type == message.ExtEarlyData && m.MaxEarlyData != UnlimitedEarlyData {
			return c.violation("a ticket limits early data to %d bytes, and over QUIC it must not limit it", m.MaxEarlyData)
		}
	}
	return nil
}
