package handshake

import (
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Delegated credentials (RFC 9345), of either side: the key of the leaf signed for
// another key, which proves itself in its place. That the signatures are right is
// seen here. That the leaf may delegate at all, and for how long, is the
// judgement's to say, which has a clock.

// Delegation is what a delegated credential says.
type Delegation struct {
	// ValidTime is how many seconds after the leaf's notBefore it ends.
	ValidTime uint32
	// Scheme is the one that its key signs with, Algorithm the one that the leaf's
	// key signed it with.
	Scheme, Algorithm suite.Scheme
}

// delegation takes the extension x beside the certificate number i: only beside
// the leaf it means anything, and only where we asked for it.
func (c *core) delegation(i int, x *message.Extension, into *message.DelegatedCredential) error {
	if len(c.takesDelegated) == 0 { // RFC 9345, section 4.1.1
		return c.misbehaved(alert.UnexpectedMessage, code.UnsupportedExtension, "the peer showed a delegated credential, which was not asked for")
	}
	if i != 0 {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "a delegated credential stands beside a certificate that is not the leaf")
	}
	return c.parsed(into.Parse(x.Body))
}

// delegate has the credential's key stand for the leaf's (RFC 9345, section 4.1.3).
func (c *core) delegate(d *message.DelegatedCredential) error {
	wrong := func(format string, args ...any) error {
		return c.misbehaved(alert.IllegalParameter, code.BadDelegation, format, args...)
	}
	if !has(c.takesDelegated, d.Scheme) {
		return wrong("the peer's delegated credential signs with %s, which was not offered for such", d.Scheme)
	}
	if !has(c.cfg.Schemes, d.Algorithm) || !c.leaf.Fits(d.Algorithm) {
		return wrong("the peer's delegated credential is signed with %s, which was not offered or does not fit the key of its certificate", d.Algorithm)
	}
	key, err := suite.ParsePublicKey(d.Key)
	if err != nil {
		return wrong("the key of the peer's delegated credential can't be used: %v", err)
	}
	if !key.Fits(d.Scheme) {
		return wrong("the key of the peer's delegated credential does not fit %s", d.Scheme)
	}
	if err := c.leaf.Verify(d.Algorithm, d.Input(c.peer() == observe.Server, c.chain[0]), d.Signature); err != nil {
		return wrong("the peer's delegated credential was not signed by the key of its certificate")
	}
	c.leaf = key
	c.delegated = &Delegation{ValidTime: d.ValidTime, Scheme: d.Scheme, Algorithm: d.Algorithm}
	return nil
}

// delegable says whether the peer takes the delegated credential of cred.
func (c *core) delegable(cred *Credential) bool {
	return has(c.peerTakesDelegated, cred.Delegated.Scheme)
}
