package nethttp

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/mutual-tls/mutual/mtls"
)

// The protocols, as ALPN names them.
const (
	http1 = "http/1.1"
	http2 = "h2"
)

// preface begins every HTTP/2 connection (RFC 9113, section 3.4); no HTTP/1.1
// request begins so.
const preface = "PRI * HTTP/2.0\r\n"

var errPreface = errors.New("the peer began with HTTP/2 on a connection that did not agree on it, or the other way round")

// conn is what net/http sees of an mtls.Conn. It must not have a method
// ConnectionState: with one, net/http would no longer look for HTTP/2 in it.
type conn struct {
	net.Conn // the *mtls.Conn
	mutual   *mtls.Conn
	server   bool
	matched  int  // bytes of preface that came so far
	decided  bool // the first bytes fit what was agreed
	// refusal is why reading ended, where that was a refusal: net/http has
	// words of its own for a connection that ends before its first answer.
	refusal atomic.Pointer[mtls.Refusal]

	// Of a server: whether early data is read early, whether all of it was read, and
	// whether what was read last came early.
	takesEarly, behindEarly bool
	cameEarly               atomic.Bool
	// Of a client: speaks is the protocol that it was made for, late says that
	// nothing is to be sent early any more, sentEarly that something was, settled
	// that it arrived, lost that it did not.
	speaks                         string
	late, sentEarly, settled, lost atomic.Bool
	began                          chan struct{} // closed at the first Write, or at Close
	begin                          sync.Once
}

func wrap(c *mtls.Conn, server bool) *conn {
	return &conn{Conn: c, mutual: c, server: server, decided: !server, speaks: spokenOver(c), began: make(chan struct{})}
}

// spokenOver is what the connection speaks: without ALPN it is HTTP/1.1.
func spokenOver(c *mtls.Conn) string {
	alpn := c.Negotiated().ALPN
	if !c.HandshakeOver() && alpn == "" {
		alpn = c.EarlyProtocol() // what a client's early data is for
	}
	if alpn == http2 {
		return http2
	}
	return http1
}

func (c *conn) read(p []byte) (int, error) {
	switch {
	case c.server && !c.behindEarly:
		return c.readEarly(p)
	case !c.server:
		if !c.mutual.HandshakeOver() {
			<-c.began // net/http reads before it writes, and reading ends the time for early data
		}
		if err := c.settle(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(p)
}

// Read holds the client to the protocol that was agreed on. net/http reads from
// one goroutine at a time.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if r, ok := mtls.RefusalOf(err); ok {
		c.refusal.Store(r)
	}
	if c.decided || n == 0 {
		return n, err
	}
	agreed := spokenOver(c.mutual) == http2
	for _, b := range p[:n] {
		if b != preface[c.matched] {
			c.decided = true
			if agreed {
				break
			}
			return n, err
		}
		if c.matched++; c.matched == len(preface) {
			c.decided = true
			if agreed {
				return n, err
			}
			break
		}
	}
	if !c.decided {
		return n, err
	}
	_ = c.Close()
	return 0, errPreface
}

// CloseWrite lets net/http end its half and read on.
func (c *conn) CloseWrite() error { return c.mutual.CloseWrite() }
