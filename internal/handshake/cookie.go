package handshake

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// A server that keeps nothing between a client's two hellos (RFC 8446, section
// 4.2.2): what it needs of the first goes out in the cookie of a
// HelloRetryRequest, and comes back in the second. The machine that gets that
// need not be the one that got the first.

// cookie is what a cookie holds.
type cookie struct {
	suite *suite.Suite
	group suite.GroupID     // that was asked for; 0: none was
	first []byte            // the hash of the first hello
	same  [sha256.Size]byte // a digest of what the second must have unchanged
}

func (c *cookie) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(c.suite.ID))
	b = binary.BigEndian.AppendUint16(b, uint16(c.group))
	return append(append(b, c.same[:]...), c.first...)
}

func (c *cookie) parse(b []byte) bool {
	if len(b) < 4+sha256.Size {
		return false
	}
	c.suite, c.group = suite.ByID(suite.ID(binary.BigEndian.Uint16(b))), suite.GroupID(binary.BigEndian.Uint16(b[2:]))
	copy(c.same[:], b[4:])
	c.first = b[4+sha256.Size:]
	return c.suite != nil && len(c.first) == c.suite.Hash.Size()
}

// unchangedSum is a digest of all that two hellos have to have in common: see
// unchanged.
func unchangedSum(h *message.ClientHello) (sum [sha256.Size]byte) {
	d := sha256.New()
	part := func(b []byte) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(b)))
		d.Write(n[:])
		d.Write(b)
	}
	part(binary.BigEndian.AppendUint16(nil, h.LegacyVersion))
	part(h.Random[:])
	part(h.SessionID)
	part(h.Compression)
	var suites []byte
	for _, id := range h.CipherSuites {
		suites = binary.BigEndian.AppendUint16(suites, uint16(id))
	}
	part(suites)
	for _, x := range h.Extensions {
		if !mayChange(x.Type) {
			part(binary.BigEndian.AppendUint16(nil, uint16(x.Type)))
			part(x.Body)
		}
	}
	d.Sum(sum[:0])
	return sum
}

// makeCookie asks for a cookie for the hello msg; group is 0 where its key share
// is right.
func (s *Server) makeCookie(group suite.GroupID, msg []byte) (serverState, error) {
	s.add(msg)
	c := cookie{suite: s.suite, group: group, first: s.transcript(), same: unchangedSum(&s.hello)}
	s.retryWith = group
	s.bake = Op{Kind: MakeCookie, Input: c.append(nil)}
	s.ask(&s.bake, true)
	return s.expect("ClientHello", (*Server).waitNothing)
}

// sendCookie sends the HelloRetryRequest, and forgets the first hello.
func (s *Server) sendCookie(value []byte) error {
	if len(value) == 0 {
		return s.misuse(code.Internal, errors.New("no cookie could be made"))
	}
	b, err := s.retryMessage(s.suite, s.retryWith, value)
	if err != nil {
		return s.misuse(code.AnswerTooLarge, err)
	}
	s.send(Initial, b)
	s.compatibility()
	if s.hello.EarlyData {
		s.skipEarly()
	}
	s.hello, s.share, s.sessionID = message.ClientHello{}, nil, nil
	s.suite, s.hash, s.result.Suite, s.retryWith = nil, nil, nil, 0
	s.baked = true
	s.state, err = s.expect("ClientHello", (*Server).waitClientHello)
	return err
}

// retryMessage is the HelloRetryRequest of a server that uses cookies. It follows
// from the cookie and the client's hello, so that it need not be kept.
func (s *Server) retryMessage(chosen *suite.Suite, group suite.GroupID, value []byte) ([]byte, error) {
	m := message.ServerHello{
		LegacyVersion: versionTLS12, Random: message.RetryRandom, SessionID: s.sessionID,
		CipherSuite: chosen.ID, Version: versionTLS13, RetryGroup: group, Cookie: value,
	}
	return m.Append(make([]byte, 0, 128+len(value)))
}

// openCookie asks for what is in the cookie of msg.
func (s *Server) openCookie(msg []byte) (serverState, error) {
	s.held = msg
	s.bake = Op{Kind: OpenCookie, Input: s.hello.Cookie}
	s.ask(&s.bake, true)
	return s.expect("ClientHello", (*Server).waitNothing)
}

// openedCookie goes on from the first hello, as the cookie tells of it.
func (s *Server) openedCookie(plain []byte) error {
	s.at = message.TypeClientHello.String()
	var c cookie
	h := &s.hello
	if !c.parse(plain) {
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client's cookie is not one of ours, or is too old")
	}
	same := unchangedSum(h)
	switch {
	case subtle.ConstantTimeCompare(same[:], c.same[:]) != 1 || !has(h.CipherSuites, c.suite.ID) || !has(s.cfg.Suites, c.suite.ID):
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client's cookie was given for another hello")
	case h.EarlyData:
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client offers early data after a HelloRetryRequest")
	case c.group != 0 && (len(h.KeyShares) != 1 || h.KeyShares[0].Group != c.group):
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "after a HelloRetryRequest exactly one key share in %s was expected", c.group)
	}
	retry, err := s.retryMessage(c.suite, c.group, h.Cookie)
	if err != nil {
		return s.misuse(code.Internal, err)
	}
	s.result.Retried = true
	s.begin(c.suite)
	s.add(message.MessageHash(c.first))
	s.add(retry)
	s.state, err = s.negotiate(s.held)
	return err
}
