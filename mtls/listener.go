package mtls

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/fair"
)

// Listener accepts connections and carries out their handshakes beside each
// other: a client that stalls holds up nobody. Those that are refused go to
// ServerConfig.Refused.
//
// Limits.Handshakes are under way at once, and four times as many wait. When there
// are as many, whose address (or network of 64 bits, in IPv6) has few of them takes
// the place of the oldest of the address that has most; whose address has fewest of
// them waits shortest; and who can't even wait is turned away (M0804). So no single
// address keeps the others out.
type Listener struct {
	server *Server
	inner  net.Listener
	places *fair.Places

	ready  chan *Conn
	failed chan struct{} // closed when inner can accept no more; err tells why
	err    error

	ctx  context.Context
	stop context.CancelFunc
	once sync.Once
	wait sync.WaitGroup
}

// Listen listens on address, as net.Listen does.
func (s *Server) Listen(network, address string) (*Listener, error) {
	inner, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return s.Wrap(inner), nil
}

// Wrap makes a Listener of inner, which it takes over.
func (s *Server) Wrap(inner net.Listener) *Listener {
	l := &Listener{server: s, inner: inner, ready: make(chan *Conn), failed: make(chan struct{})}
	l.places = fair.New(s.limits.Handshakes, queuedHandshakes*s.limits.Handshakes)
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wait.Go(l.run)
	return l
}

// Accept is the next connection whose handshake is done. It is a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptConn is Accept with the type.
func (l *Listener) AcceptConn() (*Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.failed:
		// What is under way may still come to an end; nothing new begins.
		select {
		case c := <-l.ready:
			return c, nil
		default:
			return nil, l.err
		}
	}
}

// Addr is the inner listener's.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close stops listening, gives up the handshakes that are under way, and waits
// for them. Connections that were accepted stay.
func (l *Listener) Close() error {
	var err error
	l.once.Do(func() {
		l.stop()
		err = l.inner.Close()
	})
	l.wait.Wait()
	return err
}

// queuedHandshakes is how many may wait for each handshake that is under way, so
// that a burst is served as it was while the kernel kept it waiting: by default,
// Linux keeps four thousand.
const queuedHandshakes = 4

func (l *Listener) run() {
	for {
		transport, err := l.inner.Accept()
		if err == nil {
			l.come(transport)
			continue
		}
		if retry, pause := temporary(err); retry && l.ctx.Err() == nil {
			// Descriptors ran out: those who only wait have some.
			if l.places.TurnAway() || sleep(l.ctx, pause) {
				continue
			}
		}
		for l.places.TurnAway() {
		}
		l.err = err
		close(l.failed)
		return
	}
}

// newcomer is a connection that was accepted and nothing more.
type newcomer struct {
	fair.Place
	transport net.Conn
}

func (l *Listener) come(transport net.Conn) {
	n := &newcomer{transport: transport}
	n.Host = fair.HostAt(transport.RemoteAddr())
	ctx, cancel := context.WithCancel(l.ctx)
	n.Begin = func() {
		l.wait.Go(func() {
			defer cancel()
			l.serve(ctx, n)
		})
	}
	n.Cut = func() {
		_ = transport.Close()
		cancel() // a Verifier that waits for others is not to hold what is somebody else's place
	}
	n.Away = func() {
		cancel()
		_ = transport.Close()
		if l.ctx.Err() == nil {
			l.crowded(n)
		}
	}
	l.places.Come(&n.Place)
}

// crowded tells of a connection that was given up for want of a place.
func (l *Listener) crowded(n *newcomer) {
	if l.server.refused != nil {
		remote := n.transport.RemoteAddr()
		l.server.refused(remote, newRefusal(code.TooManyHandshakes, PeerMisbehaved, "waiting for ClientHello",
			fmt.Sprintf("the client at %s was turned away: %d handshakes are under way, as many as may be, and addresses share them",
				remote, l.server.limits.Handshakes), nil))
	}
}

func (l *Listener) serve(ctx context.Context, n *newcomer) {
	defer n.Leave()
	c, refusal := l.server.accept(ctx, n.transport)
	if refusal != nil {
		switch {
		case n.WasCut():
			l.crowded(n)
		case l.server.refused != nil:
			l.server.refused(n.transport.RemoteAddr(), refusal)
		}
		c.linger()
		return
	}
	if c.sideways() {
		l.server.serveSide(ctx, c)
		return
	}
	if !n.Keep() {
		l.crowded(n)
		_ = c.Abort()
		return
	}
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		// Nobody ever served it: an orderly end would look like an empty answer.
		_ = c.Abort()
	}
}
