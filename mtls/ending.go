package mtls

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
)

// How a connection ends: because the user closes it, because the peer breaks the
// protocol, or because the peer is no longer allowed.

// CloseWrite says close_notify: nothing more comes from us. Reading goes on. A
// second CloseWrite does nothing.
func (c *Conn) CloseWrite() error {
	if c.unproven() {
		if err := c.Handshake(context.Background()); err != nil {
			return err
		}
	}
	c.out.Lock()
	defer c.leaveWriting()
	switch c.out.err {
	case nil:
		if e := c.cutAs(); e != nil {
			return e
		}
		return c.closeNotify()
	case errClosedWrite:
		return nil
	}
	return c.out.err
}

func (c *Conn) closeNotify() error {
	var space [64]byte
	c.out.err = errClosedWrite
	_, err := c.transport.Write(c.stream.Alert(space[:0], alert.CloseNotify))
	return err
}

// errClosedWrite is Write's answer after CloseWrite.
var errClosedWrite = errors.New("the connection was closed for writing")

// closeTime is how long Close waits to say close_notify to a peer that does not
// read.
const closeTime = 5 * time.Second

// Close says close_notify, as far as that can be done at once, and closes. It
// wakes Read and Write, which answer net.ErrClosed. A second Close does nothing.
func (c *Conn) Close() error { return c.close(true) }

// Abort closes at once and says no close_notify: the peer learns that what it got
// may not be all. It is for whoever can't go on, as when what lies behind a
// gateway broke off; an orderly Close would pass for an orderly end.
func (c *Conn) Abort() error {
	breakOff(c.transport)
	return c.close(false)
}

// Refuse ends the connection at once because of what the application has come to
// know of its peer, which is told so by the fatal alert: AccessDenied, if nothing
// says it better. Reads, writes and the Context answer a Refusal for that reason
// from then on. It takes up to a second, so that the alert arrives. A Verifier's
// word is Recheck's to bring in; this is for all else that an application can know.
func (c *Conn) Refuse(a Alert, reason string) error {
	switch {
	case a == alert.CloseNotify || a == alert.UserCanceled:
		return refuseMisuse("a peer is not refused by %s, which is no error", a)
	case c.early.pending.Load():
		return refuseMisuse("the handshake is not over, and nobody is refused yet: Abort ends it")
	case c.closed.Load():
		return errClosed
	}
	r := newRefusal(code.NoLongerAllowed, OurPolicy, "application data", reason, nil)
	r.Alert, r.HasAlert, r.Sent = a, true, true
	c.ended.CompareAndSwap(nil, r)
	c.endContext(r)
	c.cutOff(c.ended.Load())
	return nil
}

// breakOff has the transport's Close reset the connection, where it can.
func breakOff(transport net.Conn) {
	if t, ok := transport.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
}

func (c *Conn) close(orderly bool) error {
	if c.closed.Swap(true) {
		return nil
	}
	c.leave()
	// Where a writer is blocked there is no place for a close_notify: the
	// stream ends in the middle, and that is what the peer is to see.
	if c.out.TryLock() {
		if c.out.err == nil && orderly {
			c.boundWrites(closeTime)
			if e := c.cutAs(); e != nil {
				c.sayRefused(e) // before cutOff does
			} else {
				_ = c.closeNotify()
			}
		}
		c.endWriting()
		c.out.Unlock()
	}
	// Where a reader is blocked, it ends its half when the transport wakes it.
	idle := c.in.TryLock()
	if idle && orderly {
		dropReceived(c.transport)
	}
	err := c.transport.Close()
	if idle {
		c.endReading()
		c.leaveReading()
	}
	c.endContext(errClosed)
	return err
}

// endWriting forgets the keys of the writing half, which the caller holds.
func (c *Conn) endWriting() {
	c.out.err = errClosed
	c.forgetProofs()
	c.stream.DiscardWrite()
}

// endReading forgets the keys of the reading half, which the caller holds.
func (c *Conn) endReading() {
	if c.in.err == nil || c.in.err == io.EOF {
		c.in.err = errClosed
	}
	c.in.release()
	c.stream.DiscardRead()
}

// stop ends the reading half for good, and where we refuse the peer says so.
func (c *Conn) stop(err error) error {
	if err == io.EOF {
		c.in.err = io.EOF
		return io.EOF
	}
	r := c.refusalOf(err)
	c.in.err = r
	c.in.release()
	c.broke.Store(r)
	defer c.endContext(r)
	if r.HasAlert && r.Sent {
		c.abort(r)
	} else {
		c.breakWriting(r)
		_ = c.transport.Close()
	}
	return r
}

// broken is what to answer when the transport's Read failed.
func (c *Conn) broken(err error) error {
	if e := c.cutAs(); e != nil {
		c.in.err = e
		return e
	}
	if c.closed.Load() {
		c.endReading()
		return errClosed
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err // it can be tried again
	}
	c.in.err = c.refuseNetwork(err, "reading application data")
	return c.in.err
}

// abort sends the fatal alert of r, gives the peer a moment to read it, and
// closes. A writer that is blocked is given a second.
func (c *Conn) abort(r *Refusal) {
	c.takeDeadlines()
	_ = c.transport.SetWriteDeadline(time.Now().Add(lingerTime))
	c.out.Lock()
	if c.out.err == nil {
		c.sayRefused(r)
	}
	c.leaveWriting()
	c.linger()
}

// sayRefused ends the writing half with the alert of r. The caller holds it.
func (c *Conn) sayRefused(r *Refusal) {
	c.out.err = r
	var space [64]byte
	_, _ = c.transport.Write(c.stream.Alert(space[:0], r.Alert))
}

// takeDeadlines takes the deadlines out of the user's hands: the connection is
// ending, and how long that lasts is ours to say.
func (c *Conn) takeDeadlines() {
	c.deadlines.Lock()
	c.cut.Store(true)
	c.deadlines.Unlock()
}

// breakWriting makes every later Write fail with r.
func (c *Conn) breakWriting(r *Refusal) {
	_ = c.transport.SetWriteDeadline(past)
	c.out.Lock()
	if c.out.err == nil {
		c.out.err = r
	}
	c.leaveWriting()
}

// How long and how much we read after a fatal alert before we close: a close
// with bytes unread makes the kernel send a reset, which overtakes the alert.
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// linger reads and drops what the peer still sends, and closes. It must not
// half-close first: that hides the alert from some clients.
func (c *Conn) linger() {
	c.leave()
	c.takeDeadlines()
	_ = c.transport.SetReadDeadline(time.Now().Add(lingerTime))
	b := getBig()
	for left := lingerBytes; left > 0; {
		n, err := c.transport.Read((*b)[:min(left, len(*b))])
		left -= n
		if err != nil {
			break
		}
	}
	putBig(b)
	_ = c.transport.Close()
	c.in.release()
}

// Context ends when the connection is closed, and when its peer stops being
// allowed: its certificate ended, or a Recheck refused it. Its cause is then the
// *Refusal.
func (c *Conn) Context() context.Context {
	c.context.Lock()
	defer c.context.Unlock()
	if c.context.ctx == nil {
		c.context.ctx, c.context.cancel = context.WithCancelCause(context.Background())
		if c.context.over {
			c.context.cancel(c.context.cause)
		}
	}
	return c.context.ctx
}

func (c *Conn) endContext(cause error) {
	c.context.Lock()
	defer c.context.Unlock()
	if c.context.over {
		return
	}
	c.context.over, c.context.cause = true, cause
	if c.context.cancel != nil {
		c.context.cancel(cause)
	}
}

// Due is called when what admitted the peer has ended, and again when the grace
// is over too. It is not for users.
func (c *Conn) Due() {
	if c.closed.Load() {
		return
	}
	c.admitting.Lock()
	defer c.admitting.Unlock()
	if c.ended.Load() == nil {
		until := *c.until.Load()
		if until.IsZero() || c.clock().Before(until) {
			c.standing.Move(&c.place, until) // it was proven anew meanwhile
			return
		}
		c.ended.CompareAndSwap(nil, c.refuseEnded())
		c.endContext(c.ended.Load())
		if c.limits.Grace > 0 {
			c.standing.Move(&c.place, until.Add(c.limits.Grace))
			return
		}
	}
	go c.cutOff(c.ended.Load())
}

// cutOff ends the connection because its peer is no longer allowed.
func (c *Conn) cutOff(r *Refusal) {
	c.deadlines.Lock()
	if c.cut.Swap(true) || c.closed.Load() {
		c.deadlines.Unlock()
		return
	}
	_ = c.transport.SetReadDeadline(past) // wakes a reader, who answers r
	c.deadlines.Unlock()
	c.leave()
	_ = c.transport.SetWriteDeadline(time.Now().Add(lingerTime))
	c.out.Lock()
	if c.out.err == nil {
		c.sayRefused(r)
	}
	c.leaveWriting()
	c.in.Lock()
	if c.in.err == nil {
		c.in.err = r
	}
	c.in.data = nil
	c.linger()
	c.leaveReading()
}

// cutAs is why the peer is cut off, from the moment on that it is; else nil.
func (c *Conn) cutAs() *Refusal {
	if c.cut.Load() {
		return c.ended.Load()
	}
	return nil
}

// recheck judges the peer again.
func (c *Conn) recheck(ctx context.Context) {
	for {
		a := c.admission.Load()
		if a == nil || c.recheckAs(ctx, a) {
			return
		}
	}
}

// recheckAs judges a again, and says whether it is still what the connection
// stands by.
func (c *Conn) recheckAs(ctx context.Context, a *admission) bool {
	now := c.clock()
	if end := c.until.Load(); end != nil && !end.IsZero() && now.After(*end) {
		// Its time is over, and it has its grace: that is no news, and whatever else
		// has changed is.
		now = *end
	}
	claim := Claim{
		Occasion: Recheck, Role: c.peerRole(), Chain: a.claim.Chain, RawKey: a.claim.RawKey, PreShared: a.claim.PreShared,
		OCSP: a.claim.OCSP, AskedOCSP: a.claim.AskedOCSP, Timestamps: a.claim.Timestamps, Delegated: a.claim.Delegated, ServerName: c.serverName,
		Now: now, Remote: c.transport.RemoteAddr(), parsed: a.claim.parsed,
	}
	v, err := ask(ctx, c.verifier, &claim)
	v = settle(v, err)
	c.admitting.Lock()
	if c.admission.Load() != a {
		c.admitting.Unlock()
		return false
	}
	if v.OK {
		// The same peer, perhaps by another path, which ends at another time.
		if !c.until.Swap(&v.Until).Equal(v.Until) && c.ended.Load() == nil {
			c.standing.Move(&c.place, v.Until)
		}
		c.admitting.Unlock()
		return true
	}
	r := c.refuseRecheck(v, err)
	c.ended.CompareAndSwap(nil, r)
	c.admitting.Unlock()
	c.endContext(r)
	c.cutOff(c.ended.Load())
	return true
}
