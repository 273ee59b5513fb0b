package mtls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
)

// Early data (0-RTT; RFC 8446, sections 2.3 and 8) is what a client that resumes
// sends behind its hello, a round trip before the handshake is over. It is less
// than all other data: whoever is on the way can send the hello and the data once
// more, to this server or to another of a fleet, and it is not forward secret. So
// it is off on both sides, and what it carries is reached by calls that say so:
// DialEarly and WriteEarly on one side, ReadEarly on the other; Read gives none.
//
// A server takes it for the session of a ticket alone, once the Verifier has
// been asked about the client again, under the same protocol (ALPN) and cipher
// suite, from a hello that is not older than it says and was not there before.
// Whatever does not fit makes it an ordinary handshake, and the early data is
// lost: nothing here sends it again.

// ServerEarlyData has a server take early data of its clients.
type ServerEarlyData struct {
	// Most is how many bytes a client may send early; 0 is 14 KiB, and more than
	// 1 MiB is not taken.
	Most uint32
	// Register is who refuses replays. A server with ticket keys of its own, or
	// with a Store, needs none. Where ticket keys are shared, the register has to be
	// shared as widely, or a replay would find a server that has not seen it:
	// NewServer refuses to start without one.
	Register EarlyRegister
}

// EarlyData is what became of a client's early data.
type EarlyData = handshake.EarlyData

// What can become of it. EarlyRejected is lost: whoever sent it knows that it was
// not read, and may send it again now.
const (
	NoEarlyData   = handshake.NoEarlyData
	EarlyRejected = handshake.EarlyRejected
	EarlyAccepted = handshake.EarlyAccepted
)

const (
	// earlyMost and maxEarlyMost bound early data. It is kept in memory where
	// nobody reads it before the handshake is over.
	earlyMost    = 14 << 10
	maxEarlyMost = 1 << 20
)

var (
	// ErrEarlyDataOver is WriteEarly's answer where nothing can be sent early any
	// more, or not as much: nothing was sent. Write sends it in order.
	ErrEarlyDataOver = errors.New("no early data can be sent, or not as much as that: write it when the handshake is over")
	// ErrEarlyDataUnread is Read's answer where early data came that nobody took
	// with ReadEarly: what follows it would be read without it.
	ErrEarlyDataUnread = errors.New("the client sent early data, which is read with ReadEarly alone, and was not")
)

// earlyData is what a Conn has of it.
type earlyData struct {
	wanted bool // by a client
	// pending says that the handshake is not over. Whoever reads drives it, and
	// while it lasts the stream is touched with both halves held.
	pending atomic.Bool
	over    chan struct{} // closed when the handshake is over, or has failed
	err     error         // why it failed
	kept    []byte        // early data that came, and that nobody took yet
	lost    bool          // a client's was offered over another transport: see beginAnew
	ctx     *handshakeContext
	timer   *time.Timer
}

// DialEarly is Dial for who wants to send data early: see ConnectEarly. Where Dial
// would connect once more (ClientECH.Retry, TrustAnchors), the connection begins anew
// by itself, over another transport; what was sent early is then EarlyRejected, and
// nothing here sends it again.
func (c *Client) DialEarly(ctx context.Context, network, address string) (*Conn, error) {
	return c.dial(ctx, network, address, true)
}

// ConnectEarly is Connect, but where there is a session with the server whose
// ticket allows early data it answers at once: EarlyRoom is then how much
// WriteEarly takes. The server is the one that was proven in the session's full
// handshake and was judged again now; whether it is there shows when the handshake
// is over. Whoever reads, or writes otherwise, waits for that, and Handshake does
// nothing else; a failure shows there. A server that resumes without the early data
// is judged once more, before anything else is said to it.
func (c *Client) ConnectEarly(ctx context.Context, transport net.Conn, serverName string) (*Conn, error) {
	return c.connect(ctx, transport, serverName, attempt{early: true})
}

// EarlyRoom is how many bytes WriteEarly takes now, and 0 where nothing can be
// sent early.
func (c *Conn) EarlyRoom() int {
	if c.role != RoleClient || !c.early.pending.Load() {
		return 0
	}
	c.out.Lock()
	defer c.leaveWriting()
	if c.out.err != nil {
		return 0
	}
	return int(c.stream.EarlyRoom())
}

// EarlyProtocol is the protocol (ALPN) that early data is for: what the session's
// connection agreed on. A server that would choose another one now does not take
// the data.
func (c *Conn) EarlyProtocol() string {
	c.out.Lock()
	defer c.leaveWriting()
	return c.stream.EarlyProtocol()
}

// WriteEarly sends p early, whole or not at all, before the server has answered.
// Who is on the way can make a server read it more than once: it is for what may
// safely come twice. Negotiated tells, after Handshake, what became of it; where
// that is EarlyRejected, the server has read nothing of it.
func (c *Conn) WriteEarly(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.role != RoleClient || !c.early.pending.Load() {
		return 0, ErrEarlyDataOver
	}
	c.out.Lock()
	defer c.leaveWriting()
	switch {
	case c.out.err != nil:
		return 0, c.out.err
	case !c.early.pending.Load() || int64(len(p)) > c.stream.EarlyRoom():
		return 0, ErrEarlyDataOver
	}
	sealed, err := c.stream.SealEarly(nil, p)
	if err != nil {
		return 0, ErrEarlyDataOver
	}
	if _, err := c.transport.Write(sealed); err != nil {
		c.out.err = err
		return 0, err
	}
	return len(p), nil
}

// ReadEarly reads what the client sent early, and io.EOF behind its end, or where
// nothing was. It gives bytes before the handshake is over, when they may be a
// replay: whoever acts on them must be one whom a second time does no harm. Who
// calls Handshake first reads what the client of this very connection has sent;
// that the same was not sent to another server too, nobody knows. What is written
// meanwhile goes to the client at once.
func (c *Conn) ReadEarly(p []byte) (int, error) {
	c.in.Lock()
	n, err := c.readEarly(p)
	c.leaveReading()
	return n, err
}

func (c *Conn) readEarly(p []byte) (int, error) {
	if c.role != RoleServer || c.early.over == nil {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	for len(c.early.kept) == 0 {
		if !c.early.pending.Load() {
			return 0, io.EOF
		}
		if err := c.proceed(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.early.kept)
	if c.early.kept = c.early.kept[n:]; len(c.early.kept) == 0 {
		c.early.kept = nil
	}
	return n, nil
}

// HandshakeOver says whether the handshake is over. It is not for a while where
// early data travels: on a client's side after DialEarly, on a server's where it
// took early data.
func (c *Conn) HandshakeOver() bool { return !c.early.pending.Load() }

// Handshake waits for the end of the handshake, where that has not come: see
// HandshakeOver. Data that comes meanwhile is kept.
func (c *Conn) Handshake(ctx context.Context) error {
	for c.early.pending.Load() {
		// First the bell, then the door: whoever holds the half now rings it.
		bell := c.in.awaited()
		if c.in.TryLock() {
			err := c.finishHandshake(ctx)
			c.leaveReading()
			return err
		}
		select {
		case <-bell:
		case <-c.early.over:
			return c.early.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// finishHandshake drives the handshake to its end. It holds the reading half.
func (c *Conn) finishHandshake(ctx context.Context) error {
	if ctx.Done() != nil {
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
	}
	for c.early.pending.Load() {
		if err := c.proceed(); err != nil {
			if c.in.err == nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

// ExportEarly is Export with the early secret, where early data travels: on a
// client's side from DialEarly on, on a server's where it took the data. A replay
// has the same.
func (c *Conn) ExportEarly(label string, exportContext []byte, n int) ([]byte, error) {
	c.out.Lock()
	defer c.leaveWriting()
	return c.stream.EarlyExporter().Export(label, exportContext, n)
}

// unread says whether early data came that nobody read, and can be read no more
// before what follows it.
func (c *Conn) unread() bool { return len(c.early.kept) > 0 && !c.early.pending.Load() }

// beginEarly leaves a handshake that goes on to whoever reads.
func (c *Conn) beginEarly(ctx context.Context, deadline time.Time) {
	e := &c.early
	e.over = make(chan struct{})
	e.ctx = &handshakeContext{Context: context.WithoutCancel(ctx), deadline: deadline}
	e.pending.Store(true)
	e.timer = time.AfterFunc(time.Until(deadline), c.earlyTimeout)
}

// proceed takes a handshake that is not over one step on. It holds the reading
// half.
func (c *Conn) proceed() error {
	if c.in.err != nil {
		return c.in.err
	}
	c.out.Lock()
	moved, err := c.step()
	c.leaveWriting()
	if err != nil {
		begun, why := c.beginAnew(err)
		if begun && why == nil {
			return nil
		}
		if why != nil {
			err = why
		}
		err = c.stop(err)
		c.endEarly(err)
		return err
	}
	if moved {
		return nil
	}
	if err := c.fill(); err != nil {
		err = c.broken(err)
		if c.in.err != nil {
			c.endEarly(c.in.err)
		}
		return err
	}
	return nil
}

// step does what can be done with what came. It holds both halves.
func (c *Conn) step() (moved bool, err error) {
	for {
		for op := c.stream.Op(); op != nil; op = c.stream.Op() {
			if err := c.stream.Resolve(op, c.carryOut(c.early.ctx, op)); err != nil {
				_ = c.flush()
				return false, err
			}
		}
		n, data, err := c.stream.Receive(c.in.buf[c.in.start:c.in.end])
		c.in.start += n
		moved = moved || n > 0
		done := c.stream.Done()
		if done {
			c.in.data = data
		} else {
			c.early.kept = append(c.early.kept, data...)
		}
		if err == io.EOF && done {
			c.in.err = err
		} else if err != nil {
			_ = c.flush()
			return false, err
		}
		if c.stream.Pending() {
			continue
		}
		if err := c.flush(); err != nil {
			return false, err
		}
		if done {
			c.overEarly()
			return true, nil
		}
		return moved, nil
	}
}

// overEarly begins the connection's ordinary life.
func (c *Conn) overEarly() {
	if c.role == RoleClient {
		c.stand()
	} else {
		c.stream.Finish()
		c.postHandshake()
		go c.keepRenewed() // it exports, and the reader waits for no writer
	}
	c.early.pending.Store(false)
	c.endEarly(nil)
}

func (c *Conn) endEarly(err error) {
	e := &c.early
	select {
	case <-e.over:
		return
	default:
	}
	e.err = err
	e.timer.Stop()
	e.ctx.release()
	close(e.over)
}

// earlyTimeout ends a connection whose peer does not finish the handshake.
func (c *Conn) earlyTimeout() {
	if !c.early.pending.Load() {
		return
	}
	r := newRefusal(code.HandshakeTimeout, Network, "waiting for the end of the handshake", c.peerName()+" did not finish the handshake in time", nil)
	if !c.ended.CompareAndSwap(nil, r) {
		return
	}
	c.takeDeadlines()
	c.broke.Store(r)
	c.standing.Remove(&c.place)
	_ = c.transport.Close()
	c.endContext(r)
}

// earlyOf is how many bytes of early data a server takes.
func earlyOf(cfg *ServerResumption) (uint32, error) {
	e := cfg.EarlyData
	switch {
	case e == nil:
		return 0, nil
	case e.Most > maxEarlyMost:
		return 0, fmt.Errorf("early data is kept in memory, and %d bytes of it are more than %d", e.Most, maxEarlyMost)
	case e.Register == nil && cfg.Keys != nil && cfg.Keys.rotation == 0:
		return 0, errors.New("the ticket keys are shared and the register of early data is not: a replay would find a server that has not seen it. " +
			"Give ServerEarlyData a Register that all have in common, or leave EarlyData out")
	case e.Most == 0:
		return earlyMost, nil
	}
	return e.Most, nil
}
