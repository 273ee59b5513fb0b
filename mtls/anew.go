package mtls

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/stream"
)

// DialEarly answers before it is known whether the server can read an encrypted
// hello, and what it shows where it takes no session. Where it gives configs to retry
// with, or has certificates under other trust anchors that we named, a connection that
// its user has already begins anew, over another transport, as Dial would: without
// early data. What was sent early is not sent again; Negotiated says that it was not
// taken.

// changing is a transport in whose place another one may come. Deadlines and Close
// hold for all.
type changing struct {
	now atomic.Pointer[net.Conn]
	// dial makes the other one; it gives none where there is nothing more to try. It
	// and the machine that drives the handshake belong to the reading half of the
	// connection.
	dial    func(ctx context.Context, failed error) (net.Conn, *handshake.Client, error)
	machine *handshake.Client
	// open ends with Close.
	open  context.Context
	close context.CancelFunc

	mu          sync.Mutex
	closed      bool
	read, write time.Time
}

// changeable makes transport one that may change, for a connection of c's to address
// whose host was given, and which begins as how says.
func (c *Client) changeable(transport net.Conn, network, address, host string, how attempt) *changing {
	t := &changing{}
	t.now.Store(&transport)
	t.open, t.close = context.WithCancel(context.Background())
	t.dial = func(ctx context.Context, failed error) (net.Conn, *handshake.Client, error) {
		if !c.again(&how, failed) {
			return nil, nil, nil
		}
		name, sni, err := cleanServerName(host)
		if err != nil {
			return nil, nil, err
		}
		m := handshake.NewClient(&c.hs, sni)
		if err := c.conceal(ctx, m, name, how.configs); err != nil {
			return nil, nil, err
		}
		m.NameTrustAnchors(how.anchors)
		var d net.Dialer
		other, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, nil, refuseDial(address, err)
		}
		return other, m, nil
	}
	return t
}

func (t *changing) current() net.Conn { return *t.now.Load() }

func (t *changing) Read(p []byte) (int, error)  { return t.current().Read(p) }
func (t *changing) Write(p []byte) (int, error) { return t.current().Write(p) }
func (t *changing) LocalAddr() net.Addr         { return t.current().LocalAddr() }
func (t *changing) RemoteAddr() net.Addr        { return t.current().RemoteAddr() }

func (t *changing) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.close()
	return t.current().Close()
}

func (t *changing) SetDeadline(end time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read, t.write = end, end
	return t.current().SetDeadline(end)
}

func (t *changing) SetReadDeadline(end time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read = end
	return t.current().SetReadDeadline(end)
}

func (t *changing) SetWriteDeadline(end time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.write = end
	return t.current().SetWriteDeadline(end)
}

// SetLinger and SyscallConn are for how a connection ends: see breakOff and
// dropReceived.
func (t *changing) SetLinger(seconds int) error {
	breakOff(t.current())
	return nil
}

func (t *changing) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := t.current().(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, syscall.ENOTSUP
}

// change puts other in the place of what there is, which is closed.
func (t *changing) change(other net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = other.Close()
		return errClosed
	}
	_ = other.SetReadDeadline(t.read)
	_ = other.SetWriteDeadline(t.write)
	_ = t.current().Close()
	t.now.Store(&other)
	return nil
}

// beginAnew has a connection whose handshake failed so begin anew, where it may,
// and says whether it did; the error is why it could not. It holds the reading half.
func (c *Conn) beginAnew(failed error) (begun bool, err error) {
	t, ok := c.transport.(*changing)
	if !ok || c.closed.Load() {
		return false, nil
	}
	r := c.refusalOf(failed)
	r.learned(t.machine)
	ctx, cancel := context.WithCancel(c.early.ctx)
	defer cancel()
	defer context.AfterFunc(t.open, cancel)()
	other, m, err := t.dial(ctx, r)
	if other == nil {
		if err == nil {
			err = r // which knows what the server has
		}
		return false, err
	}

	c.out.Lock()
	defer c.leaveWriting()
	old := t.current()
	_ = old.SetWriteDeadline(time.Now().Add(lingerTime / 4))
	if r.Sent {
		_, _ = old.Write(c.stream.Alert(c.stream.Output(), r.Alert))
	}
	dropReceived(old)
	c.observeAlert(r)
	if err := t.change(other); err != nil {
		return false, err
	}
	t.machine = m
	c.stream.Discard()
	c.stream = stream.Stream{}
	c.stream.Drive(m, false, c.limits.RekeyAfter)
	c.stream.Pad(c.padding, c.hs.Random)
	c.claim, c.verdict = Claim{}, nil
	if c.origin != nil {
		c.origin = &origin{peer: c.origin.peer}
	}
	c.in.release()
	c.out.err = nil
	c.early.wanted, c.early.lost = false, true
	return true, c.stream.Start(m)
}
