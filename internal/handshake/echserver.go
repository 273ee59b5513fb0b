package handshake

import (
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
)

// A server's Encrypted Client Hello (RFC 9849, section 7): one that has keys
// reads the encrypted hello and answers it (shared mode). One that has none may
// stand behind another that does (split mode), and answers a hello that says so.

// opening is what a server keeps of it during the handshake.
type opening struct {
	opener *ech.Opener // of the first hello
	asked  Op
	// suite and id are those of the first hello.
	suite    message.ECHSuite
	id       uint8
	status   ECHStatus
	retry    []byte // what a client that was rejected is told
	confirms bool   // our hellos say that we read the inner one
}

// ECHOpened answers DecryptECH for a hello that could be read: what was in it, and
// what reads the next one.
type ECHOpened struct {
	Inner  []byte
	Opener *ech.Opener
}

// takeECH looks at the encrypted_client_hello of msg, which is parsed, before all
// else. Without a state and an error the hello is to be answered as it stands.
func (s *Server) takeECH(msg []byte) (serverState, error) {
	h, e := s.hello.ECH, &s.ech
	if h != nil && h.Inner && s.cfg.ECH {
		return nil, s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client sent a hello in the clear that says that it was encrypted")
	}
	switch {
	case s.first != nil && e.opener != nil:
		return s.openSecond()
	case s.first != nil && e.confirms && (h == nil || !h.Inner):
		return nil, s.misbehaved(alert.IllegalParameter, code.ECHInner, "the client's second hello does not say any more that it was encrypted")
	case s.first != nil || h == nil: // a first hello that was rejected is not tried again
	case h.Inner:
		e.confirms = true
		s.became(ECHAccepted)
	case s.cfg.ECH:
		e.suite, e.id = h.Suite, h.ConfigID
		s.held = msg
		e.asked = Op{Kind: DecryptECH, ECH: h, AAD: s.hello.OuterAAD()}
		s.ask(&e.asked, true)
		return s.expect("ClientHello", (*Server).waitNothing)
	}
	return nil, nil
}

// decrypted takes the answer to DecryptECH.
func (s *Server) decrypted(a Answer) error {
	s.at = message.TypeClientHello.String()
	var st serverState
	var err error
	if a.Opened == nil {
		s.became(ECHRejected)
		s.ech.status, s.ech.retry = ECHRejected, a.RetryConfigs
		st, err = s.takeHello(s.held)
	} else {
		s.ech.opener = a.Opened.Opener
		s.ech.status, s.ech.confirms = ECHAccepted, true
		s.became(ECHAccepted)
		st, err = s.goInner(a.Opened.Inner)
	}
	if err != nil {
		return err
	}
	s.state = st
	return nil
}

// openSecond reads the second hello of a client whose first could be read (RFC
// 9849, section 7.1.1).
func (s *Server) openSecond() (serverState, error) {
	h, e := s.hello.ECH, &s.ech
	switch {
	case h == nil:
		return nil, s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client's second hello is not encrypted, and the first was")
	case h.Suite != e.suite || h.ConfigID != e.id || len(h.Enc) != 0:
		return nil, s.misbehaved(alert.IllegalParameter, code.ECHContradicted, "the client's second hello is encrypted in another way than the first")
	}
	inner, err := e.opener.Open(s.hello.OuterAAD(), h.Payload)
	if err != nil {
		return nil, s.misbehaved(alert.DecryptError, code.ECHUnreadable, "the client's second encrypted hello can't be read, and the first could")
	}
	return s.goInner(inner)
}

// goInner goes on with the encrypted hello (RFC 9849, sections 5.1 and 7.1).
func (s *Server) goInner(encoded []byte) (serverState, error) {
	msg, err := s.hello.DecodeInner(encoded)
	if err != nil {
		return nil, s.parsed(err)
	}
	if err := s.hello.Parse(msg); err != nil {
		return nil, s.parsed(err)
	}
	s.hidden(observe.Client, msg)
	if s.hello.ECH == nil || !s.hello.ECH.Inner {
		return nil, s.misbehaved(alert.IllegalParameter, code.ECHInner, "the client's encrypted hello does not say that it was encrypted")
	}
	old := func(v uint16) bool { return v <= versionTLS12 }
	if len(s.hello.Versions) == 0 || slices.ContainsFunc(s.hello.Versions, old) {
		return nil, s.misbehaved(alert.IllegalParameter, code.ECHInner, "the client's encrypted hello offers a version before TLS 1.3")
	}
	return s.takeHello(msg)
}

// confirmRetry writes into b, a HelloRetryRequest whose last bytes wait for it,
// that we read the inner hello.
func (s *Server) confirmRetry(b []byte) {
	if s.ech.confirms {
		copy(b[len(b)-message.ECHConfirmationLen:], confirmation(s.suite, s.hash, s.hello.Random, b, true))
	}
}

// confirm writes into b, a ServerHello, that we read the inner hello.
func (s *Server) confirm(b []byte) {
	if s.ech.confirms {
		place := b[message.HeaderLen+2+32-message.ECHConfirmationLen : message.HeaderLen+2+32]
		clear(place)
		copy(place, confirmation(s.suite, s.hash, s.hello.Random, b, false))
	}
}
