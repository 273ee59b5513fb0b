package nethttp

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/mutual-tls/mutual/mtls"
)

// HTTP in early data (RFC 8470). A request that comes early may be a replay, so it
// is sent and answered early only where both sides say so, and only where its
// method is safe: a server says TakeEarly, a client WithEarly.
//
// A Server that does not say so waits for the end of the handshake before it reads
// what came early, and loses a round trip by it and nothing else.

// earlyHeader is the header with which whoever passes a request on says that it
// came early (RFC 8470, section 5.1).
const earlyHeader = "Early-Data"

// TakeEarly has requests answered before the handshake is over, where the
// mtls.Server takes early data. They carry the header Early-Data: 1, with which a
// proxy passes them on. One whose method is not safe gets the answer 425 (Too
// Early), and so comes again when the handshake is over, unless allow says that it
// may be answered twice; nil says it of none. It is called before Serve.
func (s *Server) TakeEarly(allow func(*http.Request) bool) {
	if allow == nil {
		allow = func(*http.Request) bool { return false }
	}
	s.early = allow
}

// Early says whether r came early, here or at whoever passed it on: it may be a
// replay. A handler that can't stand that answers 425 (http.StatusTooEarly).
func Early(r *http.Request) bool { return r.Header.Get(earlyHeader) == "1" }

// tooEarly answers a request that must not be answered now. One that may be is
// marked.
func (s *Server) tooEarly(w http.ResponseWriter, r *http.Request) bool {
	if h, _ := r.Context().Value(connKey{}).(*holder); h == nil || !h.over.cameEarly.Load() {
		return false
	}
	if !safe(r.Method) && !s.early(r) {
		http.Error(w, "this may be a replay: send it again when the handshake is over", http.StatusTooEarly)
		return true
	}
	r.Header.Set(earlyHeader, "1")
	return false
}

// safe says whether a method changes nothing (RFC 9110, section 9.2.1).
func safe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// readEarly reads what the client of a server's connection sent early, and then
// what followed.
func (c *conn) readEarly(p []byte) (int, error) {
	if !c.takesEarly {
		if err := c.mutual.Handshake(context.Background()); err != nil {
			return 0, err
		}
	}
	n, err := c.mutual.ReadEarly(p)
	if err != io.EOF {
		c.cameEarly.Store(c.takesEarly && n > 0)
		return n, err
	}
	if n, err = c.Conn.Read(p); n > 0 {
		c.behindEarly = true
		c.cameEarly.Store(false)
	}
	return n, err
}

type earlyKey struct{}

// WithEarly has a Transport made by NewTransport send a request early, where it
// makes a new connection for it, the server was met before and its ticket allows
// it. It is done for safe methods without a body, and for no others: whoever is on
// the way can send them once more, with the caller's identity. Where the server
// does not take it, or answers 425 (Too Early), it is sent again when the handshake
// is over.
func WithEarly(ctx context.Context) context.Context { return context.WithValue(ctx, earlyKey{}, true) }

// asksEarly says whether a request may be sent early, and is meant to be.
func asksEarly(req *http.Request) bool {
	early, _ := req.Context().Value(earlyKey{}).(bool)
	return early && safe(req.Method) && (req.Body == nil || req.Body == http.NoBody)
}

// errEarlyLost ends a connection whose early data the server did not take: a part
// of what net/http wrote is gone.
var errEarlyLost = errors.New("the server did not take what was sent early")

// Write sends early what may be. What may not be waits for the end of the
// handshake.
func (c *conn) Write(p []byte) (int, error) {
	if c.server {
		return c.Conn.Write(p)
	}
	defer c.begins()
	if !c.late.Load() {
		n, err := c.mutual.WriteEarly(p)
		if !errors.Is(err, mtls.ErrEarlyDataOver) {
			c.sentEarly.Store(c.sentEarly.Load() || n > 0)
			return n, err
		}
		c.late.Store(true)
	}
	if err := c.settle(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// Close wakes who reads before anything was written, too.
func (c *conn) Close() error {
	c.begins()
	return c.Conn.Close()
}

func (c *conn) begins() { c.begin.Do(func() { close(c.began) }) }

// settle waits for the end of a client's handshake, and finds out whether what
// was sent early has arrived.
func (c *conn) settle() error {
	if c.settled.Load() {
		return nil
	}
	if err := c.mutual.Handshake(context.Background()); err != nil {
		return err
	}
	if c.sentEarly.Load() && c.mutual.Negotiated().EarlyData != mtls.EarlyAccepted || spokenOver(c.mutual) != c.speaks {
		c.lost.Store(true)
		_ = c.Close()
		return errEarlyLost
	}
	c.settled.Store(true)
	return nil
}
