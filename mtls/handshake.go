package mtls

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/pki"
)

// past is a deadline that is over: it wakes whoever waits.
var past = time.Unix(1, 0)

// handshake drives machine over transport to its end. It always gives a Conn;
// where there is a Refusal, the alert was sent, and whoever called lingers and
// so closes the transport.
func (e *endpoint) handshake(ctx context.Context, transport net.Conn, machine handshake.Machine, client *handshake.Client, name string, early bool) (*Conn, *Refusal) {
	c := &Conn{endpoint: e, transport: transport, serverName: name}
	c.early.wanted = early
	c.stream.Drive(machine, e.role == RoleServer, e.limits.RekeyAfter)
	c.stream.Pad(e.padding, e.hs.Random)
	c.stream.Shorten(e.shorten)
	if e.resumption != nil {
		c.origin = &origin{}
		if client != nil {
			c.origin.peer = peerOfSessions(name, transport)
		}
	}
	deadline := time.Now().Add(e.limits.HandshakeTime)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = transport.SetDeadline(deadline)
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = transport.SetDeadline(past) })
	}
	hctx := &handshakeContext{Context: ctx, deadline: deadline}
	err := c.drive(hctx, client)
	hctx.release()
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return c, c.refuseHandshake(ctx, err)
	}
	_ = transport.SetDeadline(time.Time{})
	if c.stream.Early() {
		c.beginEarly(ctx, deadline)
	}
	if c.role == RoleServer || c.stream.Done() {
		c.stand()
	}
	return c, nil
}

// drive is the loop of a blocking driver: write what is ready, answer what is
// asked, read what is missing.
func (c *Conn) drive(ctx context.Context, client *handshake.Client) error {
	if client != nil {
		if err := c.stream.Start(client); err != nil {
			return err
		}
	}
	for {
		for op := c.stream.Op(); op != nil; op = c.stream.Op() {
			if err := c.stream.Resolve(op, c.carryOut(ctx, op)); err != nil {
				return err
			}
		}
		n, data, err := c.stream.Receive(c.in.buf[c.in.start:c.in.end])
		c.in.start += n
		// Behind the end of the handshake the application began at once, or the
		// peer said that nothing comes from it: that is for Read to tell.
		if c.stream.Done() {
			c.in.data = data
		} else {
			c.early.kept = append(c.early.kept, data...)
		}
		if err == io.EOF && c.stream.Done() {
			c.in.err = err
		} else if err != nil {
			return err
		}
		if c.stream.Pending() {
			continue
		}
		if err := c.flush(); err != nil {
			return err
		}
		if c.stream.Done() || c.stream.Early() {
			return nil
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// flush writes what the handshake has ready.
func (c *Conn) flush() error {
	b := c.stream.Output()
	if len(b) == 0 {
		return nil
	}
	_, err := c.transport.Write(b)
	c.stream.Sent()
	return err
}

// carryOut does what the machine asks for.
func (c *Conn) carryOut(ctx context.Context, op *handshake.Op) handshake.Answer {
	switch op.Kind {
	case handshake.SelectCertificate:
		return c.selectCertificate(ctx, op)
	case handshake.Sign:
		cert := op.Credential.Value.(*Certificate)
		sig, err := suite.Sign(c.hs.Random, cert.key, op.Scheme, op.Input)
		return handshake.Answer{Signature: sig, Err: err, Code: code.SigningFailed}
	case handshake.DecryptECH:
		return c.ech.decryptECH(op)
	case handshake.FindTicket:
		return c.findTicket(ctx, op)
	case handshake.OpenTicket:
		return c.openTicket(ctx, op)
	case handshake.SealTicket:
		return c.sealTicket(ctx, op)
	case handshake.MakeCookie:
		return c.makeCookie(op)
	case handshake.OpenCookie:
		return c.openCookie(op)
	case handshake.RegisterEarlyData:
		return c.registerEarly(ctx, op)
	}
	if op.Resumed {
		return c.judgeSession(ctx, op)
	}
	return c.verifyPeer(ctx, op)
}

func (c *Conn) selectCertificate(ctx context.Context, op *handshake.Op) handshake.Answer {
	if c.identity == nil {
		return handshake.Answer{}
	}
	if own, ok := c.identity.(*Certificate); ok {
		if own.properties.TrustAnchor == "" && !own.properties.Negotiated { // it does not need to be asked
			if !own.kindIn(op.Types) || !own.takenBy(op.Delegated) {
				return handshake.Answer{}
			}
			return handshake.Answer{Credential: own.credential(op, c.clock)}
		}
	}
	ask := &Ask{
		Role: c.role, ServerName: op.ServerName, Schemes: op.Schemes,
		CertificateSchemes: op.CertificateSchemes, Filters: op.Filters, Delegated: op.Delegated, TrustAnchors: op.TrustAnchors,
		Authorities: op.Authorities, ALPN: op.ALPN, Kinds: op.Types, Remote: c.transport.RemoteAddr(),
	}
	cert, err := c.identity.Certificate(ctx, ask)
	if err != nil {
		if errors.Is(err, ErrNoneFits) {
			return handshake.Answer{Err: err, Alert: alert.HandshakeFailure, Fault: handshake.PeerIncompatible, Code: code.NoFittingCertificate}
		}
		return handshake.Answer{Err: err, Code: code.NoIdentity}
	}
	if cert == nil {
		return handshake.Answer{}
	}
	return handshake.Answer{Credential: cert.credential(op, c.clock), TrustAnchors: available(c.identity, ask)}
}

func (c *Conn) verifyPeer(ctx context.Context, op *handshake.Op) handshake.Answer {
	c.claim = Claim{
		Occasion: FullHandshake, Role: c.peerRole(), OCSP: op.OCSP, Timestamps: op.SCTs, AskedOCSP: c.hs.Certificates.OCSP, ServerName: c.serverName,
		Now: c.clock(), Remote: c.transport.RemoteAddr(),
	}
	c.claim.show(op.Chain, op.Type)
	if op.PublicName != "" {
		c.claim.ServerName = op.PublicName
	}
	c.claim.prove(op.Proven)
	if c.origin != nil { // before it is asked: what changes meanwhile makes another session
		c.origin.rests = c.resumption.generation(c.verifier)
	}
	if op.Delegation != nil {
		if v := judgeDelegation(&c.claim, op.Delegation); v != nil {
			return c.refuseClaim(v, handshake.PeerMisbehaved)
		}
	}
	verdict, err := c.judge(ctx, &c.claim)
	if !verdict.OK {
		return c.refuseClaim(verdict, faultOf(err))
	}
	c.verdict = verdict
	c.judged(verdict)
	return handshake.Answer{}
}

// judge asks the verifier, and gives a whole verdict.
func (c *Conn) judge(ctx context.Context, claim *Claim) (*Verdict, error) {
	c.judgedAt = c.rechecks.Load()
	return c.verdictOf(ctx, claim)
}

func (c *Conn) verdictOf(ctx context.Context, claim *Claim) (*Verdict, error) {
	verdict, err := ask(ctx, c.verifier, claim)
	if verdict = settle(verdict, err); !verdict.OK {
		return verdict, err
	}
	if claim.RawKey != nil {
		named := *verdict
		named.Peer.RawKey = claim.RawKey
		return &named, nil
	}
	if claim.PreShared != "" {
		named := *verdict
		named.Peer = peerOfPSK(claim.PreShared)
		return &named, nil
	}
	// The key was proven, so the leaf's names are whose key it is; a verifier of
	// the caller's need not say them again. Parsed here, the chain is only read
	// from now on, by whoever asks for it.
	chain, err := claim.Certificates()
	if err != nil {
		// A verifier that does not look may admit what says nothing clear.
		return refusedPath(pki.Refused(err), nil), nil
	}
	if usage := chain[0].X509.KeyUsage; usage != 0 && usage&x509.KeyUsageDigitalSignature == 0 {
		// Nor may one that does not look let such a key sign (RFC 8446, section 4.4.2.2).
		return verdictOf(code.WrongKeyUsage, chain), nil
	}
	if verdict.Peer.Leaf == nil {
		named := *verdict
		named.Peer = peerOf(chain[0], nil)
		verdict = &named
	}
	return verdict, nil
}

// faultOf is whose fault a refusal is: of a verifier that failed it is ours.
func faultOf(err error) handshake.Fault {
	if err != nil {
		return handshake.Misuse
	}
	return handshake.OurPolicy
}

func (c *Conn) refuseClaim(v *Verdict, fault handshake.Fault) handshake.Answer {
	c.verdict = v
	c.judged(v)
	return handshake.Answer{Err: refusedByVerdict{v}, Alert: v.Alert, Fault: fault, Code: code.Code(v.Code)}
}

func (c *Conn) judged(v *Verdict) {
	if c.hs.Observer != nil {
		from := observe.Server
		if c.role == RoleServer {
			from = observe.Client
		}
		c.hs.Observer.Observe(observe.Event{Kind: observe.Judged, From: from, Verdict: v})
	}
}

func (c *Conn) peerRole() Role {
	if c.role == RoleServer {
		return RoleClient
	}
	return RoleServer
}

// refusedByVerdict is the error of a VerifyPeer that was refused.
type refusedByVerdict struct{ verdict *Verdict }

func (r refusedByVerdict) Error() string { return r.verdict.Reason }

// handshakeContext is the caller's context with the handshake's deadline. Few
// identities and verifiers wait for anything, so the timer is made when somebody
// asks for Done.
type handshakeContext struct {
	context.Context
	deadline time.Time
	once     sync.Once
	timed    atomic.Pointer[timedContext]
}

type timedContext struct {
	context.Context
	cancel context.CancelFunc
}

func (h *handshakeContext) Deadline() (time.Time, bool) { return h.deadline, true }

func (h *handshakeContext) Done() <-chan struct{} {
	h.once.Do(func() {
		ctx, cancel := context.WithDeadline(h.Context, h.deadline)
		h.timed.Store(&timedContext{ctx, cancel})
	})
	return h.timed.Load().Done()
}

// Err is not nil once Done is closed: contexts that were made of this one, and
// live longer, ask.
func (h *handshakeContext) Err() error {
	if t := h.timed.Load(); t != nil {
		return t.Err()
	}
	if err := h.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(h.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// release stops the timer, if there is one. Whoever still holds the context sees
// it end, as after any cancellation.
func (h *handshakeContext) release() {
	h.once.Do(func() { h.timed.Store(&timedContext{ended, func() {}}) })
	h.timed.Load().cancel()
}

// ended is a context that is over.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()
