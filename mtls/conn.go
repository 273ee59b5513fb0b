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

	"github.com/mutual-tls/mutual/internal/live"
	"github.com/mutual-tls/mutual/internal/stream"
)

// Conn is a connection whose handshake is over. It is a net.Conn: Read, Write,
// Close and the deadlines may be called concurrently.
type Conn struct {
	*endpoint
	transport  net.Conn
	serverName string // whom a client meant
	stream     stream.Stream

	// claim and verdict are the handshake's; nil: the peer showed nothing.
	claim   Claim
	verdict *Verdict
	origin  *origin // nil where nothing is resumed

	early earlyData

	// admission is what the connection stands by now, nil where nobody was proven;
	// local is what we showed after the handshake, nil for nothing.
	admission atomic.Pointer[admission]
	local     atomic.Pointer[Certificate]
	admitting sync.Mutex // of changing them, and when they end
	asked     struct {
		sync.Mutex
		of map[string]*asked // by context
	}
	proofs  authenticators
	renewal atomic.Pointer[renewable] // nil where nothing is renewed

	in  reading
	out writing

	place live.Entry
	// judgedAt is how many rechecks had begun when the peer was judged.
	judgedAt uint64
	// until is when the peer's admission ends, as the last judgement has it.
	until  atomic.Pointer[time.Time]
	closed atomic.Bool
	// ended is set, once, to why the connection was ended from within: the
	// peer's admission is over.
	ended atomic.Pointer[Refusal]
	cut   atomic.Bool // it is being ended now, and the deadlines are no longer the user's
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
	last       int    // bytes that the last read gave; as many as fill a small buffer, where it had no more room
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
	c.in.admitted.Store(c.stream.Admitted())
	if c.origin != nil {
		c.begin()
	}
	if c.verdict != nil {
		_ = c.admit(c.claim, c.verdict, 0, c.judgedAt) // nobody can have closed it yet
	}
	if c.stream.Ticketed() { // it came right behind the handshake
		c.keepTickets()
	}
	if c.stream.Done() {
		c.postHandshake()
		c.keepRenewed()
	}
}

// unproven says that the handshake is not over and the server not proven yet, as
// only after DialEarly.
func (c *Conn) unproven() bool { return c.role == RoleClient && c.early.pending.Load() }

// Negotiated is what the two ends agreed on.
type Negotiated struct {
	Suite Suite
	Group Group
	// Scheme is the one that the peer signed with; 0 where it showed nothing, and
	// where the session was resumed.
	Scheme     Scheme
	ALPN       string
	ServerName string
	// Retried is whether it took a HelloRetryRequest.
	Retried bool
	// ECH is what became of Encrypted Client Hello.
	ECH ECHStatus
	// Resumed is whether the two went on from an earlier session: the peer is who
	// was proven then, and was judged again now.
	Resumed bool
	// PSK is the Identity of the external pre-shared key that was used, now or in
	// the session's full handshake; "" where none was.
	PSK string
	// ClientAuthenticated is whether the client showed a certificate, now, in the
	// session's full handshake or after it, or proved a PSK.
	ClientAuthenticated bool
	// TrustAnchor is whether the peer says that its certificate stands under a trust
	// anchor that we named (TrustAnchors).
	TrustAnchor bool
	// EarlyData is what became of what the client sent early.
	EarlyData EarlyData
	// TicketAgeSkew is, on a server's side and of a session that was resumed, by how
	// much its ticket is older as the client tells it than as we know: how long the
	// hello was on its way, and how two clocks differ. Beyond ten seconds either way no
	// early data is taken.
	TicketAgeSkew time.Duration
}

// Negotiated is what the two ends agreed on: nothing yet, on a client's side,
// before the handshake is over.
func (c *Conn) Negotiated() Negotiated {
	if c.unproven() {
		return Negotiated{}
	}
	r := c.stream.Result()
	n := Negotiated{
		Suite: r.Suite.ID, Group: r.Group, Scheme: r.Scheme, ALPN: r.ALPN, ServerName: r.ServerName, Retried: r.Retried, ECH: r.ECH,
		Resumed: r.Resumed, TrustAnchor: r.PeerNamed, EarlyData: r.EarlyData, TicketAgeSkew: time.Duration(r.AgeSkew) * time.Millisecond,
	}
	if c.early.lost {
		n.EarlyData = EarlyRejected
	}
	if a := c.admission.Load(); a != nil && a.scheme != 0 {
		n.Scheme = a.scheme
	}
	if k := proven(r.Proven); k != nil {
		n.PSK = string(k.Identity)
	}
	if c.role == RoleServer {
		n.ClientAuthenticated = c.admission.Load() != nil
	} else {
		n.ClientAuthenticated = c.Local() != nil || n.PSK != ""
	}
	return n
}

// Export derives n bytes that only the two ends know, for a label and a context
// of the application's (RFC 8446, section 7.5; RFC 5705). After Close there is
// nothing to export.
func (c *Conn) Export(label string, exportContext []byte, n int) ([]byte, error) {
	c.out.Lock()
	defer c.leaveWriting()
	return c.stream.Export(label, exportContext, n)
}

// ChannelBinding is the connection's tls-exporter (RFC 9266): 32 bytes that only
// the two ends know, and that no other connection has. An authentication inside
// the connection, as SCRAM, binds itself to it.
func (c *Conn) ChannelBinding() ([]byte, error) {
	return c.Export("EXPORTER-Channel-Binding", nil, 32)
}

// NetConn is the connection underneath. Reading from it or writing to it breaks
// this one.
func (c *Conn) NetConn() net.Conn {
	if t, ok := c.transport.(*changing); ok {
		return t.current()
	}
	return c.transport
}

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

// wakeReader makes a reader run out of time; restoreReading gives the next one
// what the user allowed.
func (c *Conn) wakeReader() { c.boundReading(func() time.Time { return past }) }

func (c *Conn) restoreReading() { c.boundReading(func() time.Time { return c.readUntil }) }

func (c *Conn) boundReading(until func() time.Time) {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if !c.cut.Load() {
		_ = c.transport.SetReadDeadline(until())
	}
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
	c.leaveReading()
	return n, err
}

// leaveReading gives the reading half back. Close may have found it taken: then
// it is ended here.
func (c *Conn) leaveReading() {
	c.in.Unlock()
	c.in.wake()
	if c.closed.Load() && c.in.TryLock() {
		c.endReading()
		c.in.Unlock()
		c.in.wake()
	}
}

// leaveWriting is the same for the writing half.
func (c *Conn) leaveWriting() {
	c.out.Unlock()
	if c.closed.Load() && c.out.TryLock() {
		c.endWriting()
		c.out.Unlock()
	}
}

func (r *reading) wake() {
	if r.waiter.Load() == nil {
		return
	}
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
	for len(c.in.data) == 0 && !c.unread() {
		if err := c.advance(); err != nil && !c.unread() {
			return 0, err
		}
	}
	if c.unread() {
		return 0, ErrEarlyDataUnread
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
	if c.early.pending.Load() {
		return c.proceed()
	}
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
	if c.stream.Ticketed() {
		c.keepTickets()
	}
	c.postHandshake()
	if err != nil {
		return c.stop(err)
	}
	return nil
}

// Write writes application data, in as few records as hold it.
func (c *Conn) Write(p []byte) (int, error) {
	if c.unproven() {
		if err := c.Handshake(context.Background()); err != nil {
			return 0, err
		}
	}
	c.out.Lock()
	n, err := c.write(p)
	c.leaveWriting()
	if err != nil {
		err = c.writeFailed(err)
	}
	return n, err
}

func (c *Conn) write(p []byte) (int, error) {
	if c.out.err != nil {
		return 0, c.out.err
	}
	if e := c.cutAs(); e != nil { // whoever Read has told that it is over writes nothing more
		return 0, e
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
		c.leaveWriting()
		return r
	case errors.Is(err, os.ErrDeadlineExceeded):
		if e := c.cutAs(); e != nil {
			return e
		}
		return err
	case err == errClosedWrite, errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed):
		return err
	}
	why := c.lastWords()
	if why == nil {
		why = c.refuseNetwork(err, "writing application data")
	}
	c.out.Lock()
	c.out.err = why
	c.leaveWriting()
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
	defer c.leaveReading()
	c.boundReading(func() time.Time { return time.Now().Add(lingerTime / 4) })
	for c.in.err == nil && len(c.in.data) == 0 {
		if err := c.advance(); err != nil {
			break
		}
	}
	c.restoreReading()
	if r, ok := c.in.err.(*Refusal); ok && r.Fault == PeerRefusedUs {
		return r
	}
	return nil
}

// Rekey changes our traffic keys now (RFC 8446, section 4.6.3). The keys are
// changed by themselves long before they wear out; this is for those who want it
// more often. With both, the peer is asked to change its keys too.
func (c *Conn) Rekey(both bool) error {
	c.out.Lock()
	defer c.leaveWriting()
	if c.out.err != nil {
		return c.out.err
	}
	if c.early.pending.Load() {
		return errors.New("the handshake is not over: there are no keys to change yet")
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
// does a client that was not asked for a certificate, or whose session the
// server took.
func (c *Conn) Admitted(ctx context.Context) error {
	if c.role == RoleServer {
		return nil
	}
	if err := c.Handshake(ctx); err != nil {
		return err
	}
	if !c.stream.Result().Asked {
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
			c.leaveReading()
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
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		c.wakeReader()
	})
	defer func() {
		if !stop() {
			<-woken // or it would undo what follows
			c.restoreReading()
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
