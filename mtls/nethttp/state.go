package nethttp

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"

	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// connKey is where a request's context holds its connection: a *holder.
type connKey struct{}

// holder is filled when it is known which connection a request goes over.
type holder struct {
	conn *mtls.Conn
	over *conn // a server's
}

// Conn is the connection that r came over, or, for resp.Request of a Transport's
// response, the one it went over. It is for what a handler asks of it (its peer,
// its exporters, its Context); reading and writing stay with net/http.
func Conn(r *http.Request) (*mtls.Conn, bool) {
	h, _ := r.Context().Value(connKey{}).(*holder)
	if h == nil || h.conn == nil {
		return nil, false
	}
	return h.conn, true
}

// Peer is who was proven to be at the other end of r's connection: the client in
// a handler, the server for resp.Request. It is false where nobody was proven.
func Peer(r *http.Request) (mtls.Peer, bool) {
	c, ok := Conn(r)
	if !ok {
		return mtls.Peer{}, false
	}
	return c.Peer()
}

// State is what c agreed on, in the terms of crypto/tls, for code that was
// written for those. PeerCertificates is set only for a proven peer.
//
// Its ExportKeyingMaterial panics, since what it works on is unexported there:
// use Conn(r) and its Export.
func State(c *mtls.Conn) *tls.ConnectionState {
	n := c.Negotiated()
	s := &tls.ConnectionState{
		Version:            tls.VersionTLS13,
		HandshakeComplete:  true,
		CipherSuite:        uint16(n.Suite),
		CurveID:            tls.CurveID(n.Group),
		NegotiatedProtocol: n.ALPN,
		ServerName:         n.ServerName,
		HelloRetryRequest:  n.Retried,
		DidResume:          n.Resumed,
	}
	if peer, ok := c.Peer(); ok {
		s.PeerCertificates = parsed(c.PeerChain())
		if len(peer.Path) > 0 {
			s.VerifiedChains = [][]*x509.Certificate{parsed(peer.Path)}
		}
	}
	return s
}

func parsed(chain []*pki.Certificate) []*x509.Certificate {
	out := make([]*x509.Certificate, len(chain))
	for i, c := range chain {
		out[i] = c.X509
	}
	return out
}
