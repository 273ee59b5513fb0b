package handshake

import (
	"errors"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
)

// Trust anchor identifiers (draft-ietf-tls-trust-anchor-ids-06), both directions. A
// client names what it trusts in its hello, a server in its CertificateRequest; the
// other end shows a chain that stands under one of them, if it has one, and marks
// it. A server that was asked also says what it has.

// Client.

// NameTrustAnchors has the client name these instead of those of its configuration.
// It comes before Start.
func (c *Client) NameTrustAnchors(ids []message.TrustAnchorID) { c.anchors = ids }

// TrustAnchors are those that the server said it has certificates under, whether or
// not the handshake came to an end.
func (c *Client) TrustAnchors() []message.TrustAnchorID { return c.result.TrustAnchors }

// PeerNamed is whether the server said so far that its chain stands under one that
// we named.
func (c *Client) PeerNamed() bool { return c.result.PeerNamed }

// offerAnchors puts into the hello what we trust. An encrypted hello holds it
// alone: what is named after a server told what it has says which server that is.
func (c *Client) offerAnchors() {
	if c.anchors == nil {
		c.anchors = c.cfg.TrustAnchors
	}
	if !c.cfg.PSKOnly {
		c.hello.TrustAnchors = c.anchors
	}
	c.named = c.hello.TrustAnchors
}

// Server.

// answerAnchors says in EncryptedExtensions what we have, to a client that asked.
func (s *Server) answerAnchors(m *message.EncryptedExtensions) {
	if s.hello.TrustAnchors != nil && len(s.available) > 0 {
		m.TrustAnchors = s.available
	}
}

// requestAnchors puts into a CertificateRequest what we trust.
func (s *Server) requestAnchors(cr *message.CertificateRequest) {
	cr.TrustAnchors = s.cfg.TrustAnchors
	s.named = cr.TrustAnchors
}

// Both.

// takeMark takes the mark beside certificate i of the peer's: it stands beside the
// first, and says nothing but that it is there (section 4.1 of the draft).
func (c *core) takeMark(i int, x *message.Extension) error {
	if i != 0 {
		return c.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "the extension %s stands beside a certificate that is not the first", x.Type)
	}
	if err := x.TrustAnchorMark(); err != nil {
		return c.parsed(err)
	}
	if len(c.named) == 0 {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the peer's certificate is said to stand under a trust anchor that we named, and we named none")
	}
	c.result.PeerNamed = true
	c.agreed("trust anchor", "the peer's certificate stands under one that we named")
	return nil
}

// mayMark holds the credential that was selected against what the peer named: who
// named nothing is shown no mark.
func (c *core) mayMark(cred *Credential, named []message.TrustAnchorID) error {
	if !cred.Named {
		return nil
	}
	if len(named) == 0 {
		return c.misuse(code.Internal, errors.New("our certificate is marked as one that the peer's trust anchors chose, and it named none"))
	}
	c.agreed("trust anchor", "our certificate stands under one that the peer named")
	return nil
}
