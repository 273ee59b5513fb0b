package nethttp

import (
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/mutual-tls/mutual/mtls"
)

// Protocols is what to give mtls.ServerConfig.ALPN and mtls.ClientConfig.ALPN
// for both HTTP/2 and HTTP/1.1, the first preferred.
func Protocols() []string { return []string{http2, http1} }

// Serve answers the connections of l with h until l is closed. Whoever needs
// time limits, or an end in order, makes a Server.
func Serve(l *mtls.Listener, h http.Handler) error {
	return NewServer(&http.Server{Handler: h}).Serve(l)
}

// Server is an http.Server over mtls.
type Server struct {
	inner http.Server
	early func(*http.Request) bool // nil: nothing is answered early
}

// NewServer makes a Server of what like says: its handler, limits, hooks and
// log. The copy is taken now, and like is not used afterwards: it could still be
// told to listen in plain, with HTTP/2 in the clear.
//
// Its TLSConfig and Protocols are not looked at: what is spoken is what the
// mtls.Server offers by ALPN.
func NewServer(like *http.Server) *Server {
	s := &Server{}
	s.inner = http.Server{
		Addr:                         like.Addr,
		Handler:                      s.handler(like.Handler),
		DisableGeneralOptionsHandler: like.DisableGeneralOptionsHandler,
		ReadTimeout:                  like.ReadTimeout,
		ReadHeaderTimeout:            like.ReadHeaderTimeout,
		WriteTimeout:                 like.WriteTimeout,
		IdleTimeout:                  like.IdleTimeout,
		MaxHeaderBytes:               like.MaxHeaderBytes,
		ConnState:                    like.ConnState,
		ErrorLog:                     like.ErrorLog,
		BaseContext:                  like.BaseContext,
		HTTP2:                        like.HTTP2,
	}
	s.inner.Protocols = new(http.Protocols)
	s.inner.Protocols.SetHTTP1(true)
	s.inner.Protocols.SetUnencryptedHTTP2(true)
	then := like.ConnContext
	s.inner.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		c, ok := nc.(*conn)
		if !ok {
			return ctx
		}
		ctx = context.WithValue(ctx, connKey{}, &holder{c.mutual, c})
		if then != nil {
			ctx = then(ctx, c.mutual)
		}
		return ctx
	}
	return s
}

// Serve answers the connections of l until Shutdown or Close, and then returns
// http.ErrServerClosed. It may be called for several listeners.
func (s *Server) Serve(l *mtls.Listener) error { return s.inner.Serve(listener{l, s}) }

// Shutdown ends in order: nothing new is accepted, and what is in flight is
// waited for, until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error { return s.inner.Shutdown(ctx) }

// Close ends at once, connections included.
func (s *Server) Close() error { return s.inner.Close() }

// RegisterOnShutdown has f called when Shutdown begins.
func (s *Server) RegisterOnShutdown(f func()) { s.inner.RegisterOnShutdown(f) }

// listener hands net/http our wrapper.
type listener struct {
	*mtls.Listener
	server *Server
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	w := wrap(c, true)
	w.takesEarly = l.server.early != nil
	return w, nil
}

// handler fills r.TLS, and has a connection whose peer's admission has ended
// drained: HTTP/2 says GOAWAY, HTTP/1.1 "Connection: close".
func (s *Server) handler(next http.Handler) http.Handler {
	if next == nil {
		next = http.DefaultServeMux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := Conn(r)
		if !ok {
			panic(errors.New("nethttp: a request came over a connection that is not ours"))
		}
		r.TLS = State(c)
		if c.Context().Err() != nil {
			w.Header().Set("Connection", "close")
		}
		if s.early != nil && s.tooEarly(w, r) {
			return
		}
		next.ServeHTTP(w, r)
	})
}
