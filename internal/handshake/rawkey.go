package handshake

import (
	"errors"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Raw public keys (RFC 7250; RFC 8446, sections 4.4.2 and 4.4.3): in place of a
// chain, a key and nothing else. Each direction has its own type; nothing but
// X.509 counts unless it was agreed.

// CertificateType is what an end proves itself with.
type CertificateType = message.CertificateType

// The types.
const (
	X509         = message.X509
	RawPublicKey = message.RawPublicKey
)

var onlyX509 = []CertificateType{X509}

// typesOf is what a function of Config gives; nothing, and no function, mean the
// default.
func typesOf(f func() []CertificateType) []CertificateType {
	if f != nil {
		if list := f(); len(list) > 0 {
			return list
		}
	}
	return onlyX509
}

// orDefault is what the list in a hello means.
func orDefault(list []CertificateType) []CertificateType {
	if len(list) == 0 {
		return onlyX509
	}
	return list
}

// spoken is list as it is told in a hello: the default is not (RFC 7250, section
// 4.1).
func spoken(list []CertificateType) []CertificateType {
	if len(list) == 1 && list[0] == X509 {
		return nil
	}
	return list
}

// Client.

// offerTypes puts into the hello what we can show and what we take.
func (c *Client) offerTypes() {
	c.hello.ClientTypes = spoken(typesOf(c.cfg.OwnTypes))
	c.hello.ServerTypes = spoken(typesOf(c.cfg.PeerTypes))
}

// answersTypes says whether the server may answer with the extension t.
func (c *Client) answersTypes(t message.ExtensionType) bool {
	return t == message.ExtClientCertificateType && c.hello.ClientTypes != nil || t == message.ExtServerCertificateType && c.hello.ServerTypes != nil
}

// takeTypes takes what the server chose for each direction, which is X.509 where
// it says nothing. What is resumed is what it was.
func (c *Client) takeTypes(m *message.EncryptedExtensions) error {
	if c.keyed {
		return nil
	}
	if m.ClientType != nil {
		c.result.OwnType = *m.ClientType
		if !has(c.hello.ClientTypes, *m.ClientType) {
			return c.wrongType("the server wants %s of us, which was not offered", *m.ClientType)
		}
	}
	if m.ServerType != nil {
		c.result.PeerType = *m.ServerType
	}
	if c.rejectedECH() && c.result.PeerType == RawPublicKey {
		// What vouches for its configs is a certificate for the public name (RFC 9849,
		// section 6.1.7).
		return c.wrongType("the server could not read our encrypted hello and shows %s, which can't prove its public name", c.result.PeerType)
	}
	if !has(orDefault(c.hello.ServerTypes), c.result.PeerType) {
		return c.wrongType("the server shows %s, which we do not take", c.result.PeerType)
	}
	return nil
}

func (c *core) wrongType(format string, t CertificateType) error {
	return c.incompatible(alert.UnsupportedCertificate, code.NoCommonCertificateType, format, t)
}

// Server.

// chooseClientType settles what the client is to show, where it is asked for
// anything: the first that we take of what it has.
func (s *Server) chooseClientType() error {
	if s.cfg.ClientAuth == NoClientCertificate {
		return nil
	}
	t, ok := pick(typesOf(s.cfg.PeerTypes), orDefault(s.hello.ClientTypes))
	if !ok {
		return s.incompatible(alert.UnsupportedCertificate, code.NoCommonCertificateType,
			"the client can show %v, and we take %v", orDefault(s.hello.ClientTypes)[:min(len(orDefault(s.hello.ClientTypes)), 8)], typesOf(s.cfg.PeerTypes))
	}
	s.result.PeerType = t
	return nil
}

// answerTypes says in EncryptedExtensions what was chosen, to a client that
// asked.
func (s *Server) answerTypes(m *message.EncryptedExtensions) {
	if len(s.hello.ServerTypes) > 0 {
		own := s.result.OwnType
		m.ServerType = &own
	}
	if len(s.hello.ClientTypes) > 0 && s.cfg.ClientAuth != NoClientCertificate && !s.keyed {
		peer := s.result.PeerType
		m.ClientType = &peer
	}
}

// takes is what the client takes of us; it is ours to keep.
func (s *Server) takes() []CertificateType { return slices.Clone(orDefault(s.hello.ServerTypes)) }

// Both.

// takeRawKey takes the peer's Certificate where a raw public key was agreed on: one
// SubjectPublicKeyInfo (RFC 8446, section 4.4.2).
func (c *core) takeRawKey(m *message.Certificate) error {
	if len(m.Entries) != 1 {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the peer shows %d raw public keys; there can be one", len(m.Entries))
	}
	for _, x := range m.Entries[0].Extensions { // all that there are speak of certificates
		return c.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "a raw public key came with the extension %s", x.Type)
	}
	spki := slices.Clone(m.Entries[0].Data)
	key, err := suite.ParsePublicKey(spki)
	if err != nil {
		var unsupported *suite.UnsupportedKey
		if errors.As(err, &unsupported) {
			return &Failure{Alert: alert.UnsupportedCertificate, Code: code.UnsupportedKey, Fault: PeerIncompatible, At: c.at,
				Reason: "the peer's raw public key can't be used: " + err.Error(), Err: err}
		}
		return c.misbehaved(alert.DecodeError, code.BadMessage, "the peer's raw public key does not parse: %v", err)
	}
	if len(key.Schemes()) == 0 {
		return &Failure{Alert: alert.UnsupportedCertificate, Code: code.UnsupportedKey, Fault: PeerIncompatible, At: c.at,
			Reason: "the peer's raw public key is of a kind that can't sign in TLS 1.3"}
	}
	c.chain, c.leaf = [][]byte{spki}, key
	return nil
}

// fitsType holds the credential that was selected against the types that the peer
// takes.
func (c *core) fitsType(cred *Credential, types []CertificateType) error {
	if has(orDefault(types), cred.Type) {
		return nil
	}
	return c.incompatible(alert.HandshakeFailure, code.NoFittingCertificate, "what we were to show is %s, and the peer takes %v", cred.Type, types)
}
