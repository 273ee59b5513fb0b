package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
)

// Client authentication after the handshake (RFC 8446, section 4.6.2).

// Why RequestCertificate asks for nothing.
var (
	// ErrAuthNotOffered: the client did not offer it. Browsers and most libraries
	// never do.
	ErrAuthNotOffered = handshake.ErrAuthNotOffered
	// ErrAuthForbidden: HTTP/2 and HTTP/3 forbid it.
	ErrAuthForbidden = handshake.ErrAuthForbidden
	// ErrAuthBusy: too many requests are unanswered.
	ErrAuthBusy = handshake.ErrAuthBusy
	// ErrDeclined: the client answered that it shows no certificate.
	ErrDeclined = errors.New("the peer declined to show a certificate")
)

// OnRequest asks clients for nothing in the handshake, and judges by v whoever
// Conn.RequestCertificate asks later.
func OnRequest(v Verifier) ClientPolicy { return ClientPolicy{mode: clientsOnRequest, verifier: v} }

// asked is what became of a request for a certificate.
type asked struct {
	over context.Context // ends, with a cause, when it is known
	know context.CancelCauseFunc
	keep bool // a certificate that is refused leaves what stands as it is
}

// RequestCertificate asks the client for its certificate, now that the handshake
// is over, and waits until it is proven and judged: then Peer is the client, and
// what it was before is forgotten. Data goes on flowing in both directions.
//
// The client has to have offered it, which few do (ErrAuthNotOffered), and the
// application protocol must not be HTTP/2 or HTTP/3 (ErrAuthForbidden). A client
// may decline (ErrDeclined), and takes the time that it takes; that of ctx ends
// the waiting alone. A certificate that the Verifier refuses ends the connection,
// as in the handshake, and the error is the *Refusal.
//
// The answer is read by whoever reads: where nobody does, RequestCertificate reads
// itself, as far as the next application data, which is kept for Read.
func (c *Conn) RequestCertificate(ctx context.Context) error {
	a, err := c.ask(false)
	if err != nil {
		return err
	}
	return c.await(ctx, a)
}

// ask sends a request. keep says whether a certificate that is refused leaves what
// stands as it is.
func (c *Conn) ask(keep bool) (*asked, error) {
	switch {
	case c.role != RoleServer:
		return nil, refuseMisuse("a client can't ask for a certificate after the handshake; what a server proves anew it proves by an exported authenticator")
	case c.verifier == nil:
		return nil, refuseMisuse("this server has no Verifier to judge clients by: say OnRequest, Optional or Required")
	}
	c.out.Lock()
	defer c.leaveWriting()
	if c.out.err != nil {
		return nil, c.out.err
	}
	if c.early.pending.Load() {
		return nil, refuseMisuse("the handshake is not over: a certificate can be asked for behind it")
	}
	b, id, err := c.stream.RequestCertificate(nil)
	if err != nil {
		var f *handshake.Failure
		if errors.As(err, &f) {
			c.out.err = c.refusalOf(err)
			return nil, c.out.err
		}
		return nil, err
	}
	a := &asked{keep: keep}
	a.over, a.know = context.WithCancelCause(context.Background())
	c.asked.Lock()
	if c.asked.of == nil {
		c.asked.of = make(map[string]*asked, 1)
	}
	c.asked.of[string(id)] = a
	c.asked.Unlock()
	if _, err := c.transport.Write(b); err != nil {
		c.out.err = err
		return nil, err
	}
	return a, nil
}

// outcome is what became of it, once it is known.
func (a *asked) outcome() error {
	if err := context.Cause(a.over); err != errProven {
		return err
	}
	return nil
}

// errProven is the cause of a good end.
var errProven = errors.New("proven")

// await waits for what becomes of a request.
func (c *Conn) await(ctx context.Context, a *asked) error {
	for a.over.Err() == nil {
		bell := c.in.awaited()
		if c.in.TryLock() {
			err := c.readFor(ctx, a)
			bell = c.leaveReadingAndAwait()
			if err != nil {
				return err
			}
		}
		select {
		case <-a.over.Done():
		case <-bell:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return a.outcome()
}

// readFor reads until the answer is judged, or application data stands before it.
// It holds the reading half.
func (c *Conn) readFor(ctx context.Context, a *asked) error {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.over, cancel)()
	woken := make(chan struct{})
	stop := context.AfterFunc(both, func() {
		defer close(woken)
		c.wakeReader()
	})
	defer func() {
		if !stop() {
			<-woken // or it would undo what follows
			c.restoreReading()
		}
	}()
	for len(c.in.data) == 0 && a.over.Err() == nil {
		switch err := c.advance(); {
		case err == nil || a.over.Err() != nil:
		case c.in.err == io.EOF:
			return fmt.Errorf("the client will answer no more: %w", io.ErrUnexpectedEOF)
		case c.in.err == nil && ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return err
		}
	}
	return nil
}

// leaveReadingAndAwait gives the reading half back, and answers with what the next
// one who does so will close.
func (c *Conn) leaveReadingAndAwait() <-chan struct{} {
	bell := make(chan struct{})
	former := c.in.waiter.Swap(&bell)
	c.in.Unlock()
	if former != nil {
		close(*former)
	}
	if c.closed.Load() && c.in.TryLock() {
		c.endReading()
		c.in.Unlock()
		c.in.wake()
	}
	return bell
}

// postHandshake takes what came after the handshake, off the reader's way: neither
// signing nor judging holds it up. It belongs to the reading half.
func (c *Conn) postHandshake() {
	st := c.stream.Standing()
	for _, w := range st.Requests() {
		go c.show(w)
	}
	for _, s := range st.Answers() {
		c.asked.Lock()
		a := c.asked.of[string(s.Context)]
		delete(c.asked.of, string(s.Context))
		c.asked.Unlock()
		if a != nil {
			go c.shown(a, s)
		}
	}
}

// show answers a request of the server's. What can't be shown is declined.
func (c *Conn) show(w *handshake.Showing) {
	ctx, cancel := context.WithTimeout(c.Context(), c.limits.HandshakeTime)
	defer cancel()
	choice := c.selectCertificate(ctx, w.Choose())
	if choice.Err != nil {
		c.note("no certificate", choice.Err.Error())
		choice.Credential = nil
	}
	op := w.Show(choice.Credential)
	if op != nil {
		signed := c.carryOut(ctx, op)
		if signed.Err == nil {
			signed.Err = w.Signed(signed.Signature)
		}
		if signed.Err != nil {
			c.note("no certificate", signed.Err.Error())
			if w.Decline() != nil {
				return
			}
		}
	}
	c.out.Lock()
	defer c.leaveWriting()
	if c.out.err != nil {
		return
	}
	b, err := c.stream.Show(nil, w)
	if err != nil {
		c.out.err = c.refusalOf(err)
		return
	}
	if l := w.Local(); l != nil {
		c.local.Store(l.Value.(*Certificate))
	}
	if _, err := c.transport.Write(b); err != nil {
		c.out.err = err
	}
}

// shown judges what the client answered to a request.
func (c *Conn) shown(a *asked, s *handshake.Shown) {
	if s.Chain == nil {
		a.know(ErrDeclined)
		return
	}
	ctx, cancel := context.WithTimeout(c.Context(), c.limits.HandshakeTime)
	defer cancel()
	verdict, err := c.prove(ctx, s, a.keep)
	switch {
	case err != nil:
		a.know(err)
	case verdict.OK:
		a.know(errProven)
	default:
		r := c.refuseShown(verdict)
		if a.keep {
			a.know(r)
			return
		}
		c.ended.CompareAndSwap(nil, r)
		a.know(r)
		c.endContext(r)
		c.cutOff(c.ended.Load())
	}
}

// prove judges a chain whose key was proven on this connection after the
// handshake. Where it is admitted the connection stands by it from then on. With
// same it has to be of whom the connection stands by already.
func (c *Conn) prove(ctx context.Context, s *handshake.Shown, same bool) (*Verdict, error) {
	judgedAt := c.rechecks.Load()
	claim, verdict := c.judgeShown(ctx, s, true)
	if !verdict.OK {
		return verdict, nil
	}
	if same && !c.samePeer(&claim) {
		return nil, errOtherPeer
	}
	return verdict, c.admit(claim, verdict, s.Scheme, judgedAt)
}

// judgeShown judges what was shown and proven after the handshake; asked is whether
// we asked for it, and for what stands beside it.
func (c *Conn) judgeShown(ctx context.Context, s *handshake.Shown, asked bool) (Claim, *Verdict) {
	claim := Claim{
		Occasion: FullHandshake, Role: c.peerRole(), Chain: s.Chain, ServerName: c.serverName, Now: c.clock(), Remote: c.transport.RemoteAddr(),
		OCSP: s.OCSP, Timestamps: s.SCTs, AskedOCSP: asked && c.hs.Certificates.OCSP,
	}
	var v *Verdict
	if s.Delegation != nil {
		v = judgeDelegation(&claim, s.Delegation)
	}
	if v == nil {
		v, _ = c.verdictOf(ctx, &claim)
	}
	c.judged(v)
	return claim, v
}

// refuseShown is the refusal of what was shown after the handshake.
func (c *Conn) refuseShown(v *Verdict) *Refusal {
	r := newRefusal(code.Code(v.Code), OurPolicy, "Certificate", "", nil)
	r.HasAlert, r.Sent = true, true
	r.judgedBy(v, c.peerName())
	return r
}

// samePeer says whether a claim is of whom the connection stands by: every name is
// the same.
func (c *Conn) samePeer(claim *Claim) bool {
	a := c.admission.Load()
	if a == nil {
		return false
	}
	was, is := parsedChain(&a.claim), parsedChain(claim)
	return len(was) > 0 && len(is) > 0 && sameNames(peerOf(was[0], nil), peerOf(is[0], nil))
}

// sameNames says whether two certificates name the same peer.
func sameNames(a, b Peer) bool {
	one, other := slices.Clone(a.Names), slices.Clone(b.Names)
	slices.Sort(one)
	slices.Sort(other)
	return a.SPIFFE == b.SPIFFE && slices.Equal(one, other) && (len(one) > 0 || a.SPIFFE != "")
}
