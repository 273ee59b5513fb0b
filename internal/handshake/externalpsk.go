package handshake

import (
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// External pre-shared keys (RFC 8446, section 2.2; RFC 9258), on both sides:
// always with a key exchange, and in place of certificates. To a machine each is
// a Session of another kind, which proves what its owner knows: Proven.

// Kind is what a session is.
type Kind uint8

// The kinds; each has its own label for the key of its binder, so that none can
// be taken for another.
const (
	Resumption Kind = iota
	// ExternalPSK is used as it was agreed on.
	ExternalPSK
	// ImportedPSK was derived for this protocol and hash (RFC 9258).
	ImportedPSK
)

func (s *Session) external() bool { return s.Kind != Resumption }

// binderKey is the base key of the session's binder.
func (s *Session) binderKey(early *schedule.Early) []byte {
	if s.Kind == ImportedPSK {
		return early.ImportedBinderKey()
	}
	return early.BinderKey(s.Kind == ExternalPSK)
}

// judgeKey asks for a judgement of whoever the external key proves.
func (c *core) judgeKey() {
	c.verify = Op{Kind: VerifyPeer, Proven: c.session.Proven}
	c.ask(&c.verify, true)
}

// Client.

// offered are the sessions in our hello, in their order.
func (c *Client) offered() []*Session {
	if c.session == nil {
		return c.psks
	}
	return append([]*Session{c.session}, c.psks...)
}

// keepKeys keeps the external keys that can be used with any of the suites, and
// zeroes the others.
func (c *Client) keepKeys(list []*Session, suites []suite.ID) error {
	kept := list[:0]
	for _, k := range list {
		if k.external() && k.Suite != nil && len(k.Secret) > 0 && len(k.Ticket) > 0 && k.Age != nil && takes(suites, k.Suite) {
			kept = append(kept, k)
		} else {
			k.destroy()
		}
	}
	clear(list[len(kept):])
	c.psks = kept
	if c.cfg.PSKOnly && len(kept) == 0 {
		return c.incompatible(alert.HandshakeFailure, code.NoCommonPSK, "the server could take no pre-shared key of ours: there is none for it, or none for the cipher suite")
	}
	return nil
}

// takes says whether one of the suites has the hash of s.
func takes(suites []suite.ID, s *suite.Suite) bool {
	for _, id := range suites {
		if other := suite.ByID(id); other != nil && other.Hash == s.Hash {
			return true
		}
	}
	return false
}

// dropAll gives up all that was offered but one.
func (c *Client) dropAll(but *Session) {
	for _, s := range c.offered() {
		if s != but {
			s.destroy()
		}
	}
	c.session, c.psks = but, nil
}

// Server.

// suitKey is the suite to take in the place of chosen where the client offers an
// external key of ours that goes with the other hash alone: the two have to fit (RFC
// 8446, section 4.2.11), and a key that both ends know goes before certificates. It
// is settled with the first hello: a HelloRetryRequest names the suite.
func (s *Server) suitKey(chosen *suite.Suite) *suite.Suite {
	if !s.cfg.PSKs || s.cfg.HasKey == nil || !s.offersSession() {
		return chosen
	}
	identities := make([][]byte, len(s.hello.PSK.Identities))
	for i, id := range s.hello.PSK.Identities {
		identities[i] = id.Identity
	}
	if s.cfg.HasKey(identities, chosen) {
		return chosen
	}
	for _, id := range s.cfg.Suites {
		if other := suite.ByID(id); other.Hash != chosen.Hash && has(s.hello.CipherSuites, id) && s.cfg.HasKey(identities, other) {
			return other
		}
	}
	return chosen
}

// requireKey refuses a client with which only a pre-shared key would do, and
// that has none of ours.
func (s *Server) requireKey() error {
	switch h := &s.hello; {
	case !s.cfg.PSKOnly:
		return nil
	case h.PSK == nil:
		return s.misbehaved(alert.MissingExtension, code.NoCommonPSK, "the client offers no pre-shared key, and one is required")
	case !has(h.PSKModes, pskDHEKE):
		return s.incompatible(alert.HandshakeFailure, code.NoCommonPSK, "the client uses pre-shared keys without a key exchange alone (psk_ke), which we do not")
	case s.fewer:
		return s.misbehaved(alert.IllegalParameter, code.NoCommonPSK, "the client offers none of the pre-shared keys after a HelloRetryRequest that we know")
	}
	return s.incompatible(alert.HandshakeFailure, code.NoCommonPSK, "the client offers no pre-shared key that we know for this cipher suite")
}

// isFewer notes whether a second hello offers fewer sessions than the first.
func (s *Server) isFewer(old *message.ClientHello) {
	s.fewer = s.hello.PSK != nil && old.PSK != nil && len(s.hello.PSK.Identities) < len(old.PSK.Identities)
}
