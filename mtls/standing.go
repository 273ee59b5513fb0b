package mtls

import (
	"context"
	"errors"

	"github.com/mutual-tls/mutual/pki"
)

// What a connection stands by: who was proven to be at the other end, and until
// when. It is replaced whole, so that nobody sees a half of the old and a half of
// the new.

// admission is a peer that was proven and judged. It never changes.
type admission struct {
	claim   Claim
	verdict *Verdict
	// scheme is the one that the key was proven with after the handshake; 0 where
	// the handshake itself tells.
	scheme Scheme
}

// ErrEnded is the answer where something is to be proven of a connection that is
// ending.
var ErrEnded = errors.New("the connection is ending: its peer's admission is over, or it was closed")

// admit makes claim what the connection stands by from now on. What was proven
// before is forgotten. It fails where the connection is ending.
func (c *Conn) admit(claim Claim, v *Verdict, scheme Scheme, judgedAt uint64) error {
	c.admitting.Lock()
	defer c.admitting.Unlock()
	if c.closed.Load() || c.ended.Load() != nil || c.cut.Load() {
		return ErrEnded
	}
	before := c.admission.Swap(&admission{claim, v, scheme})
	c.until.Store(&v.Until)
	if before == nil {
		c.standing.Add(&c.place, c, v.Until)
		if c.closed.Load() { // Close did not find it in the set
			c.standing.Remove(&c.place)
		}
	} else {
		c.standing.Move(&c.place, v.Until)
	}
	if c.rechecks.Load() != judgedAt {
		// The peer was judged before a change that it is to be judged by, and did
		// not stand so yet when the others were judged again.
		go c.recheck(context.Background())
	}
	return nil
}

// Peer is who was proven to be at the other end; false where nobody was asked. It
// changes where the peer proves itself anew: see RequestCertificate and Renewal.
func (c *Conn) Peer() (Peer, bool) {
	if a := c.admission.Load(); a != nil {
		return a.verdict.Peer, true
	}
	return Peer{}, false
}

// PeerChain is what the peer showed, now or in the session's full handshake, its leaf first and the rest in its order;
// nil where nobody was proven. Only the leaf was proven by itself: what a path
// stands on is Peer's Path.
func (c *Conn) PeerChain() []*pki.Certificate {
	if a := c.admission.Load(); a != nil {
		return parsedChain(&a.claim)
	}
	return nil
}

// Verdict is the judgement that admitted the peer, nil where there was none.
func (c *Conn) Verdict() *Verdict {
	if a := c.admission.Load(); a != nil {
		return a.verdict
	}
	return nil
}

// parsedChain is the chain of a claim that was judged.
func parsedChain(claim *Claim) []*pki.Certificate {
	if len(claim.Chain) == 0 {
		return nil
	}
	chain, err := claim.Certificates()
	if err != nil {
		return nil
	}
	return chain
}

// Local is the certificate that we showed last, in the handshake, in the
// session's full handshake or after it; nil for none.
func (c *Conn) Local() *Certificate {
	if l := c.local.Load(); l != nil {
		return l
	}
	if c.unproven() {
		return nil
	}
	if l := c.stream.Result().Local; l != nil {
		return l.Value.(*Certificate)
	}
	return nil
}
