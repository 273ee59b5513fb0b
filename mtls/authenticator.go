package mtls

import (
	"context"
	"errors"
	"sync"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/pki"
)

// Exported authenticators (RFC 9261): either end proves, of a connection that
// stands, that it holds a further identity. The bytes go over whatever the
// application chooses; they are of use for that one connection alone. They change
// nothing of it: see Renewal for what does.

// Why there is no authenticator to be had.
var (
	// ErrNoIdentity: the peer answered, authentically, that it shows no identity.
	ErrNoIdentity = handshake.ErrNoIdentity
	// ErrContextUsed: an authenticator with the same context was made or taken
	// before: a replay.
	ErrContextUsed = handshake.ErrContextUsed
	// ErrNotRequested: no such request of ours waits for an answer.
	ErrNotRequested = handshake.ErrNotRequested
)

// Authenticated is an identity that the peer proved beside that of the
// connection.
type Authenticated struct {
	// Verdict is our Verifier's judgement, and Peer whom it admitted.
	Verdict *Verdict
	Peer    Peer
	// Chain is what was shown; Scheme is what the key was proven with.
	Chain  []*pki.Certificate
	Scheme Scheme

	claim    Claim
	judgedAt uint64
}

// authenticators are a connection's, made when they are first wanted.
type authenticators struct {
	sync.Mutex
	of *handshake.Authenticators
}

func (c *Conn) authenticators() (*handshake.Authenticators, error) {
	c.out.Lock()
	defer c.leaveWriting()
	c.proofs.Lock()
	defer c.proofs.Unlock()
	if c.proofs.of != nil {
		return c.proofs.of, nil
	}
	if c.closed.Load() {
		return nil, errClosed
	}
	a, err := c.stream.Standing().Authenticators()
	if err != nil {
		return nil, err
	}
	c.proofs.of = a
	return a, nil
}

// forgetProofs zeroes the keys of authenticators. The connection is closed.
func (c *Conn) forgetProofs() {
	c.proofs.Lock()
	defer c.proofs.Unlock()
	if c.proofs.of != nil {
		c.proofs.of.Destroy()
	}
}

// AuthenticatorRequest makes a request for an authenticator of the peer's. It can
// be answered once; eight may be unanswered at a time.
func (c *Conn) AuthenticatorRequest() ([]byte, error) {
	a, err := c.authenticators()
	if err != nil {
		return nil, err
	}
	return a.Request()
}

// Authenticate answers a request of the peer's with what our Identity chooses for
// it; where it chooses nothing, the answer says so. A server may prove an identity
// without a request, too: nil. It then shows its chain alone: OCSP responses and
// timestamps come to who asks for them in a request.
func (c *Conn) Authenticate(ctx context.Context, request []byte) ([]byte, error) {
	b, _, err := c.authenticate(ctx, request)
	return b, err
}

func (c *Conn) authenticate(ctx context.Context, request []byte) ([]byte, *Certificate, error) {
	a, err := c.authenticators()
	if err != nil {
		return nil, nil, err
	}
	var w *handshake.Making
	if request == nil && c.role == RoleServer {
		w, err = a.Spontaneous()
	} else {
		w, err = a.Answer(request)
	}
	if err != nil {
		return nil, nil, c.authenticatorFailed(err)
	}
	choice := c.selectCertificate(ctx, w.Choose())
	if choice.Err != nil {
		return nil, nil, choice.Err
	}
	var own *Certificate
	var signature []byte
	if op := w.Show(choice.Credential); op != nil {
		signed := c.carryOut(ctx, op)
		if signed.Err != nil {
			return nil, nil, signed.Err
		}
		signature, own = signed.Signature, op.Credential.Value.(*Certificate)
	}
	b, err := w.Finish(signature)
	return b, own, err
}

// Validate checks an authenticator of the peer's against the request that it
// answers (nil: a server's without one), and has the Verifier judge it, with
// Occasion FullHandshake. The error of what is forged or refused is a *Refusal,
// which nobody was sent an alert for.
func (c *Conn) Validate(ctx context.Context, request, authenticator []byte) (*Authenticated, error) {
	if c.verifier == nil {
		return nil, refuseMisuse("there is no Verifier to judge an authenticator by")
	}
	a, err := c.authenticators()
	if err != nil {
		return nil, err
	}
	shown, err := a.Validate(request, authenticator)
	if err != nil {
		return nil, c.authenticatorFailed(err)
	}
	p := &Authenticated{Scheme: shown.Scheme, judgedAt: c.rechecks.Load()}
	claim, v := c.judgeShown(ctx, shown, request != nil)
	if p.claim = claim; !v.OK {
		r := newRefusal(code.Code(v.Code), OurPolicy, "authenticator", "", nil)
		r.judgedBy(v, c.peerName())
		r.Alert = 0
		return nil, r
	}
	p.Verdict, p.Peer, p.Chain = v, v.Peer, parsedChain(&p.claim)
	return p, nil
}

// authenticatorFailed puts a failure into words. No alert goes with it.
func (c *Conn) authenticatorFailed(err error) error {
	var f *handshake.Failure
	if !errors.As(err, &f) {
		return err
	}
	r := c.refuseFailure(f)
	r.Alert, r.HasAlert, r.Sent = 0, false, false
	return r
}
