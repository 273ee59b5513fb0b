package mtls

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/live"
	"github.com/mutual-tls/mutual/internal/stream"
	"github.com/mutual-tls/mutual/pki"
)

// Conn is a connection whose handshake is over. It is a net.Conn: Read, Write,
// Close and the deadlines may be called concurrently.
type Conn struct {
	*endpoint
	transport  net.Conn
	serverName string // whom a client meant
	stream     stream.Stream

	claim   Claim
	verdict *Verdict // nil: the peer showed nothing
	peer    Peer
	proven  bool

	in  reading
	out writing

	place  live.Entry
	closed atomic.Bool
	// ended is set, once, to why the connection was ended from within: the
	// peer's admission is over.
	ended atomic.Pointer[Refusal]
	cut   atomic.Bool // the grace is over too
	// broke is set to why reading ended, before a writer is woken for it.
	broke atomic.Pointer[Refusal]

	deadlines             sync.Mutex // of what follows, and of setting the transport's
	readUntil, writeUntil time.Time

	context struct {
		sync.Mutex
		ctx    context.Context
		cancel context.CancelCauseFunc
		over   bool
		cause  error
	}
}

// reading is the reading half.
type reading struct {
	sync.Mutex
	buf        []byte // from a pool; what came and was not consumed is [start:end]
	pooled     *[]byte
	start, end int
	last       int    // bytes that the last read gave
	data       []byte // opened, not yet given; lies in buf
	err        error  // stays
	admitted   atomic.Bool
	// waiter, if not nil, is closed by whoever gives the reading half back:
	// Admitted waits for it.
	waiter atomic.Pointer[chan struct{}]
}

// writing is the writing half.
type writing struct {
	sync.Mutex
	err error // stays
}

// ErrAdmissionUnknown is Admitted's answer where the server gives no proof: it
// may have accepted our certificate, and may not have looked yet.
var ErrAdmissionUnknown = errors.New("the server has not shown whether it accepted our certificate")

var errClosed = net.ErrClosed

// stand begins the connection's life after the handshake.
func (c *Conn) stand() {
	c.stream.Finish()
	if c.in.start == c.in.end && len(c.in.data) == 0 {
		c.in.release()
	}
	if c.verdict != nil {
		c.peer, c.proven = c.verdict.Peer, true
		c.standing.Add(&c.place, c, c.verdict.Until)
	}
}

// Peer is who was proven to be at the other end; false where nobody was asked.
func (c *Conn) Peer() (Peer, bool) { return c.peer, c.proven }

// PeerChain is what the peer showed, its leaf first and the rest in its order;
// nil where nobody was proven. Only the leaf was proven by itself: what a path
// stands on is Peer's Path.
func (c *Conn) PeerChain() []*pki.Certificate {
	if !c.proven {
		return nil
	}
	return c.shownChain()
}

// Verdict is the judgement that admitted the peer, nil where there was none.
func (c *Conn) Verdict() *Verdict { return c.verdict }

// Negotiated is what the two ends agreed on.
type Negotiated struct {
	Suite Suite
	Group Group
	// Scheme is the one that the peer signed with; 0 where it showed nothing.
	Scheme     Scheme
	ALPN       string
	ServerName string
	// Retried is whether it took a HelloRetryRequest.
	Retried bool
	// ClientAuthenticated is whether the client showed a certificate.
	ClientAuthenticated bool
}

// Negotiated is what the two ends agreed on.
func (c *Conn) Negotiated() Negotiated {
	r := c.stream.Result()
	n := Negotiated{Suite: r.Suite.ID, Group: r.Group, Scheme: r.Scheme, ALPN: r.ALPN, ServerName: r.ServerName, Retried: r.Retried}
	if c.role == RoleServer {
		n.ClientAuthenticated = r.PeerChain != nil
	} else {
		n.ClientAuthenticated = r.Local != nil
	}
	return n
}

// Local is the certificate that we showed, nil for none.
func (c *Conn) Local() *Certificate {
	if l := c.stream.Result().Local; l != nil {
		return l.Value.(*Certificate)
	}
	return nil
}

// Export derives n bytes that only the two ends know, for a label and a context
// of the application's (RFC 8446, section 7.5; RFC 5705). After Close there is
// nothing to export.
func (c *Conn) Export(label string, exportContext []byte, n int) ([]byte, error) {
	c.out.Lock()
	defer c.out.Unlock()
	return c.stream.Standing().Export(label, exportContext, n)
}

// NetConn is the connection underneath. Reading from it or writing to it breaks
// this one.
func (c *Conn) NetConn() net.Conn { return c.transport }

// LocalAddr is the transport's.
func (c *Conn) LocalAddr() net.Addr { return c.transport.LocalAddr() }

// RemoteAddr is the transport's.
func (c *Conn) RemoteAddr() net.Addr { return c.transport.RemoteAddr() }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	err := c.SetReadDeadline(t)
	if werr := c.SetWriteDeadline(t); err == nil {
		err = werr
	}
	return err
}

// SetReadDeadline bounds Read. A Read that ran out of time can be tried again.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.cut.Load() {
		return errClosed
	}
	c.readUntil = t
	return c.transport.SetReadDeadline(t)
}

// SetWriteDeadline bounds Write. After a Write that ran out of time every Write
// fails: a record may have been sent in part.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.cut.Load() {
		return errClosed
	}
	c.writeUntil = t
	return c.transport.SetWriteDeadline(t)
}

// boundWrites lets no write last longer than d, or than the caller allowed.
func (c *Conn) boundWrites(d time.Duration) {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	end := time.Now().Add(d)
	if !c.writeUntil.IsZero() && c.writeUntil.Before(end) {
		end = c.writeUntil
	}
	_ = c.transport.SetWriteDeadline(end)
}

// Read reads application data. io.EOF means that the peer closed its side in
// order; an end without that is an error that wraps io.ErrUnexpectedEOF. Errors
// other than io.EOF, time-outs and net.ErrClosed are a *Refusal.
func (c *Conn) Read(p []byte) (int, error) {
	c.in.Lock()
	n, err := c.read(p)
	c.in.Unlock()
	if c.in.waiter.Load() != nil {
		c.in.wake()
	}
	return n, err
}

func (r *reading) wake() {
	if w := r.waiter.Swap(nil); w != nil {
		close(*w)
	}
}

// awaited is closed when whoever reads gives the reading half back.
func (r *reading) awaited() <-chan struct{} {
	for {
		if w := r.waiter.Load(); w != nil {
			return *w
		}
		w := make(chan struct{})
		if r.waiter.CompareAndSwap(nil, &w) {
			return w
		}
	}
}

func (c *Conn) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.in.data) == 0 {
		if err := c.advance(); err != nil {
			return 0, err
		}
	}
	n := 0
	for {
		k := copy(p[n:], c.in.data)
		n += k
		c.in.data = c.in.data[k:]
		if len(c.in.data) > 0 || n == len(p) {
			break
		}
		// What already came is opened without another system call.
		if c.in.err != nil || c.in.start == c.in.end {
			break
		}
		if err := c.open(); err != nil || len(c.in.data) == 0 {
			break // it stays for the next Read
		}
	}
	if len(c.in.data) == 0 && c.in.start == c.in.end {
		c.in.release()
	}
	return n, nil
}

// advance gets on by one step: it opens what is there, or reads more.
func (c *Conn) advance() error {
	if c.in.err != nil {
		return c.in.err
	}
	if c.in.end > c.in.start {
		before := c.in.start
		if err := c.open(); err != nil || c.in.start > before {
			return err
		}
	}
	if err := c.fill(); err != nil {
		return c.broken(err)
	}
	return nil
}

// open opens records that are there, up to the first application data.
func (c *Conn) open() error {
	n, data, err := c.stream.Receive(c.in.buf[c.in.start:c.in.end])
	c.in.start += n
	c.in.data = data
	if c.stream.Admitted() && !c.in.admitted.Load() {
		c.in.admitted.Store(true)
	}
	if err != nil {
		return c.stop(err)
	}
	return nil
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
	if e := c.ended.Load(); e != nil && c.cut.Load() {
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
	_ = c.transport.SetWriteDeadline(time.Now().Add(lingerTime))
	c.out.Lock()
	if c.out.err == nil {
		c.out.err = r
		var space [64]byte
		_, _ = c.transport.Write(c.stream.Alert(space[:0], r.Alert))
	}
	c.out.Unlock()
	c.linger()
}

// breakWriting makes every later Write fail with r.
func (c *Conn) breakWriting(r *Refusal) {
	_ = c.transport.SetWriteDeadline(past)
	c.out.Lock()
	if c.out.err == nil {
		c.out.err = r
	}
	c.out.Unlock()
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
	c.standing.Remove(&c.place)
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

// Write writes application data, in as few records as hold it.
func (c *Conn) Write(p []byte) (int, error) {
	c.out.Lock()
	n, err := c.write(p)
	c.out.Unlock()
	if err != nil {
		err = c.writeFailed(err)
	}
	return n, err
}

func (c *Conn) write(p []byte) (int, error) {
	if c.out.err != nil {
		return 0, c.out.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	var b *[]byte
	if len(p) <= smallWrite {
		b = getSmall()
		defer putSmall(b)
	} else {
		b = getBig()
		defer putBig(b)
	}
	done := 0
	for done < len(p) {
		chunk := p[done:min(done+writeChunk, len(p))]
		sealed, err := c.stream.Seal((*b)[:0], chunk)
		if err != nil {
			c.out.err = c.refusalOf(err)
			return done, c.out.err
		}
		if _, err := c.transport.Write(sealed); err != nil {
			c.out.err = err
			return done, err
		}
		done += len(chunk)
	}
	return done, nil
}

// writeFailed tells why. Where the peer went away, it may have said why before,
// and that waits to be read.
func (c *Conn) writeFailed(err error) error {
	var r *Refusal
	switch {
	case errors.As(err, &r):
		return err
	case c.closed.Load():
		c.out.Lock()
		c.endWriting()
		c.out.Unlock()
		return errClosed
	case c.broke.Load() != nil: // whoever read has broken us off
		r = c.broke.Load()
		c.out.Lock()
		c.out.err = r
		c.out.Unlock()
		return r
	case errors.Is(err, os.ErrDeadlineExceeded):
		if e := c.ended.Load(); e != nil && c.cut.Load() {
			return e
		}
		return err
	case errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return err
	}
	why := c.lastWords()
	if why == nil {
		why = c.refuseNetwork(err, "writing application data")
	}
	c.out.Lock()
	c.out.err = why
	c.out.Unlock()
	return why
}

// lastWords is the refusal that the peer sent before it went away. Whoever reads
// meanwhile is about to hear it, since the connection is broken for both halves.
func (c *Conn) lastWords() *Refusal {
	patience := time.NewTimer(lingerTime / 4)
	defer patience.Stop()
	for {
		// First the bell, then the door: whoever holds the half now rings it.
		bell := c.in.awaited()
		if c.in.TryLock() {
			break
		}
		select {
		case <-bell:
		case <-patience.C:
			return nil
		}
	}
	defer c.in.wake()
	defer c.in.Unlock()
	_ = c.transport.SetReadDeadline(time.Now().Add(lingerTime / 4))
	for c.in.err == nil && len(c.in.data) == 0 {
		if err := c.advance(); err != nil {
			break
		}
	}
	c.deadlines.Lock()
	_ = c.transport.SetReadDeadline(c.readUntil)
	c.deadlines.Unlock()
	if r, ok := c.in.err.(*Refusal); ok && r.Fault == PeerRefusedUs {
		return r
	}
	return nil
}

// CloseWrite says close_notify: nothing more comes from us. Reading goes on.
func (c *Conn) CloseWrite() error {
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.err != nil {
		return c.out.err
	}
	return c.closeNotify()
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
	if t, ok := c.transport.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	return c.close(false)
}

func (c *Conn) close(orderly bool) error {
	if c.closed.Swap(true) {
		return nil
	}
	c.standing.Remove(&c.place)
	// Where a writer is blocked there is no place for a close_notify: the
	// stream ends in the middle, and that is what the peer is to see.
	if c.out.TryLock() {
		if c.out.err == nil && orderly {
			c.boundWrites(closeTime)
			_ = c.closeNotify()
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
		c.in.Unlock()
	}
	c.endContext(errClosed)
	return err
}

// endWriting forgets the keys of the writing half, which the caller holds.
func (c *Conn) endWriting() {
	c.out.err = errClosed
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

// Rekey changes our traffic keys now (RFC 8446, section 4.6.3). The keys are
// changed by themselves long before they wear out; this is for those who want it
// more often. With both, the peer is asked to change its keys too.
func (c *Conn) Rekey(both bool) error {
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.err != nil {
		return c.out.err
	}
	var space [128]byte
	b, err := c.stream.Rekey(space[:0], both)
	if err != nil {
		c.out.err = c.refusalOf(err)
		return c.out.err
	}
	if _, err = c.transport.Write(b); err != nil {
		c.out.err = err
	}
	return err
}

// Admitted waits for proof that the server accepted our certificate, or for its
// refusal: in TLS 1.3 a client's handshake is over before the server has judged
// it. The answer is nil, a *Refusal, or ErrAdmissionUnknown where the server
// gives no proof: ctx ended, or it spoke first in a way that proves nothing. Data
// that comes meanwhile is kept for Read. A server answers nil at once, and so
// does a client that was not asked for a certificate.
func (c *Conn) Admitted(ctx context.Context) error {
	if c.role == RoleServer || !c.stream.Result().Asked {
		return nil
	}
	for {
		// First the bell, then the door: whoever holds the half now rings it.
		bell := c.in.awaited()
		if c.in.admitted.Load() {
			return nil
		}
		if c.in.TryLock() {
			err := c.awaitAdmission(ctx)
			c.in.Unlock()
			c.in.wake()
			return err
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return ErrAdmissionUnknown
		}
	}
}

// awaitAdmission reads until it is known. It holds the reading half.
func (c *Conn) awaitAdmission(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.deadlines.Lock()
		_ = c.transport.SetReadDeadline(past)
		c.deadlines.Unlock()
	})
	defer func() {
		if !stop() {
			c.deadlines.Lock()
			_ = c.transport.SetReadDeadline(c.readUntil)
			c.deadlines.Unlock()
		}
	}()
	for {
		switch {
		case c.in.admitted.Load():
			return nil
		case c.in.err == io.EOF || len(c.in.data) > 0:
			return ErrAdmissionUnknown
		case c.in.err != nil:
			return c.in.err
		}
		if err := c.advance(); err != nil && c.in.err == nil {
			if ctx.Err() != nil {
				return ErrAdmissionUnknown
			}
			return err
		}
	}
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
	if c.ended.CompareAndSwap(nil, c.refuseEnded()) {
		c.endContext(c.ended.Load())
		if c.limits.Grace > 0 {
			c.standing.Move(&c.place, c.verdict.Until.Add(c.limits.Grace))
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
	c.standing.Remove(&c.place)
	_ = c.transport.SetWriteDeadline(time.Now().Add(lingerTime))
	c.out.Lock()
	if c.out.err == nil {
		c.out.err = r
		var space [64]byte
		_, _ = c.transport.Write(c.stream.Alert(space[:0], r.Alert))
	}
	c.out.Unlock()
	c.in.Lock()
	if c.in.err == nil {
		c.in.err = r
	}
	c.in.data = nil
	c.linger()
	c.in.Unlock()
}

// recheck judges the peer again.
func (c *Conn) recheck(ctx context.Context) {
	claim := Claim{
		Occasion: Recheck, Role: c.peerRole(), Chain: c.claim.Chain, ServerName: c.serverName,
		Now: c.clock(), Remote: c.transport.RemoteAddr(), parsed: c.claim.parsed,
	}
	v, err := c.verifier.Verify(ctx, &claim)
	if v = settle(v, err); v.OK {
		return
	}
	r := c.refuseRecheck(v, err)
	c.ended.CompareAndSwap(nil, r)
	c.endContext(r)
	c.cutOff(c.ended.Load())
}
