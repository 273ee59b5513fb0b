package mtls

import (
	"encoding/binary"
	"errors"
	"net"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
)

// cookieLife is how long a client may take from its first hello to its second.
const cookieLife = time.Minute

// bake sets a server up to give cookies.
func (e *endpoint) bake(cfg *ServerConfig) error {
	switch {
	case cfg.Cookies == nil:
		return nil
	case cfg.ECH != nil:
		return errors.New("cookies and encrypted hellos can't be had together: what was decrypted would have to be kept")
	case cfg.Cookies.empty():
		return errors.New("the keys for cookies hold no key yet")
	}
	e.cookies, e.hs.Cookies = cfg.Cookies, true
	return nil
}

// cookieUse binds a cookie to its use and to the client's host.
func (c *Conn) cookieUse() string {
	a := c.transport.RemoteAddr()
	if a == nil {
		return "cookie"
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		host = a.String()
	}
	return "cookie " + host
}

func (c *Conn) makeCookie(op *handshake.Op) handshake.Answer {
	now := c.clock()
	plain := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()))
	b, _ := c.cookies.sealFor(now, append(plain, op.Input...), c.cookieUse())
	return handshake.Answer{Ticket: b}
}

func (c *Conn) openCookie(op *handshake.Op) handshake.Answer {
	now := c.clock()
	plain, ok := c.cookies.openFor(now, op.Input, c.cookieUse())
	if !ok || len(plain) < 8 {
		return handshake.Answer{}
	}
	age := now.Sub(time.Unix(int64(binary.BigEndian.Uint64(plain)), 0))
	if age < -maxSkew || age > cookieLife {
		return handshake.Answer{}
	}
	return handshake.Answer{Ticket: plain[8:]}
}
