package mtls

import (
	"context"
	"net"
	"sync"
)

// Listener accepts connections and carries out their handshakes beside each
// other: a client that stalls holds up nobody. Those that are refused go to
// ServerConfig.Refused.
type Listener struct {
	server *Server
	inner  net.Listener

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

func (l *Listener) run() {
	gate := make(chan struct{}, l.server.limits.Handshakes)
	for {
		// The gate comes first: above the limit the rest waits in the kernel.
		select {
		case gate <- struct{}{}:
		case <-l.ctx.Done():
		}
		transport, err := l.inner.Accept()
		if err != nil {
			if retry, pause := temporary(err); retry && l.ctx.Err() == nil {
				<-gate
				if sleep(l.ctx, pause) {
					continue
				}
			}
			l.err = err
			close(l.failed)
			return
		}
		l.wait.Go(func() {
			defer func() { <-gate }()
			l.serve(transport)
		})
	}
}

func (l *Listener) serve(transport net.Conn) {
	remote := transport.RemoteAddr()
	c, refusal := l.server.accept(l.ctx, transport)
	if refusal != nil {
		if l.server.refused != nil {
			l.server.refused(remote, refusal)
		}
		c.linger()
		return
	}
	if c.sideways() {
		l.server.serveSide(l.ctx, c)
		return
	}
	select {
	case l.ready <- c:
	case <-l.ctx.Done():
		// Nobody ever served it: an orderly end would look like an empty answer.
		_ = c.Abort()
	}
}
