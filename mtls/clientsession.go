package mtls

import (
	"container/list"
	"context"
	"net"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/pki"
)

const (
	// maxSessions is how many sessions a client keeps where nobody says.
	maxSessions = 256
	// maxPerPeer is how many of them are with one server: as many connections
	// as one opens to it at once.
	maxPerPeer = 8
	// maxRequest and maxKeptChain are how long a server's CertificateRequest and a
	// peer's chain may be where a session with it is kept.
	maxRequest   = 8 << 10
	maxKeptChain = 32 << 10
)

// session is a session that a client may offer, once.
type session struct {
	handshake.Session
	came, first, end time.Time
	until            time.Time
	rests            [32]byte // the generation of what judged the server
	parsed           []*pki.Certificate
	request          *message.CertificateRequest
	peer             string
	parameters       []byte // the server's transport parameters, over QUIC
}

// sessions are a client's: of one Client, so that its settings and its verifier
// are theirs, filed by peer. Each is taken out when it is used.
type sessions struct {
	mu    sync.Mutex
	most  int
	of    map[string][]*list.Element // the oldest first
	order list.List                  // of *session, the oldest first
}

func newSessions(most int) *sessions {
	if most == 0 {
		most = maxSessions
	}
	return &sessions{most: most, of: map[string][]*list.Element{}}
}

func (s *sessions) put(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own := s.of[one.peer]; len(own) == maxPerPeer {
		s.forget(own[0])
	} else if s.order.Len() == s.most {
		s.forget(s.order.Front())
	}
	s.of[one.peer] = append(s.of[one.peer], s.order.PushBack(one))
}

// forget zeroes a session that nobody used.
func (s *sessions) forget(e *list.Element) {
	clear(s.remove(e).Secret)
}

func (s *sessions) remove(e *list.Element) *session {
	one := s.order.Remove(e).(*session)
	own := s.of[one.peer]
	for i := range own {
		if own[i] == e {
			own = append(own[:i], own[i+1:]...)
			break
		}
	}
	if s.of[one.peer] = own; len(own) == 0 {
		delete(s.of, one.peer)
	}
	return one
}

// take is the youngest session with peer, nil for none.
func (s *sessions) take(peer string) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.of[peer]
	if len(own) == 0 {
		return nil
	}
	return s.remove(own[len(own)-1])
}

// peerOfSessions is by whom a client's sessions are filed: the name that was
// meant, and the port; where no name was meant, the address. Empty where the
// transport does not tell.
func peerOfSessions(name string, transport net.Conn) string {
	a := transport.RemoteAddr()
	if a == nil {
		return name
	}
	if name == "" {
		return a.Network() + " " + a.String()
	}
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return name
	}
	return name + " " + port
}

// findTicket looks for a session with the server that we mean.
func (c *Conn) findTicket(ctx context.Context, op *handshake.Op) handshake.Answer {
	o := c.origin
	keys := c.psks.offer(c.serverName)
	for o != nil && o.peer != "" {
		s := c.resumption.sessions.take(o.peer)
		if s == nil {
			break
		}
		if why := c.mayOffer(ctx, op.ServerName, s); why != "" {
			c.declined(why)
			clear(s.Secret)
			continue
		}
		o.first, o.end, o.rests, o.request = s.first, s.end, s.rests, s.request
		o.claim.parsed, o.remembered = s.parsed, s.parameters
		s.Age = func() uint32 { return uint32(c.clock().Sub(s.came).Milliseconds()) }
		if !c.early.wanted {
			s.MaxEarlyData = 0
		}
		return handshake.Answer{Session: &s.Session, PSKs: keys}
	}
	return handshake.Answer{PSKs: keys}
}

// mayOffer says why a session may not be offered.
func (c *Conn) mayOffer(ctx context.Context, serverName string, s *session) string {
	now := c.clock()
	if !now.Before(s.until) || now.Before(s.came.Add(-maxSkew)) {
		return "the session is over"
	}
	if c.resumption.generation(c.verifier) != s.rests {
		return "what the session rests on has changed"
	}
	if s.request == nil {
		return "" // the server wanted no certificate of us
	}
	// Would we show it the same certificate again?
	answer := c.selectCertificate(ctx, &handshake.Op{
		ServerName: serverName, Schemes: s.request.Schemes, Authorities: s.request.Authorities, Types: []Kind{s.OwnType},
		CertificateSchemes: s.request.CertSchemes, Filters: s.request.Filters,
		Delegated: s.request.Delegated, TrustAnchors: s.request.TrustAnchors,
	})
	if answer.Err != nil || !sameCertificate(answer.Credential, s.Local) {
		return "we would show another certificate now"
	}
	return ""
}

func sameCertificate(a, b *handshake.Credential) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Value.(*Certificate).sum == b.Value.(*Certificate).sum
}

// keepTickets files the sessions that the server gave. It belongs to the reading
// half, after the handshake.
func (c *Conn) keepTickets() {
	for _, t := range c.stream.Standing().Tickets() {
		if !c.keepTicket(t) {
			clear(t.Secret)
		}
	}
}

func (c *Conn) keepTicket(t *handshake.Session) bool {
	o, r, now := c.origin, c.stream.Result(), c.clock()
	total := 0
	for _, der := range r.PeerChain {
		total += len(der)
	}
	if o.peer == "" || c.verdict == nil || !c.claim.Delegated.IsZero() || total > maxKeptChain || len(o.parameters) > maxRequest ||
		o.request != nil && len(o.request.Raw) > maxRequest {
		return false
	}
	s := &session{
		Session: *t, came: now, first: o.first, end: o.end, rests: o.rests, parsed: c.claim.parsed, request: o.request, peer: o.peer,
		parameters: o.parameters,
	}
	s.PeerChain, s.Local, s.PeerType, s.OwnType, s.Proven = r.PeerChain, r.Local, r.PeerType, r.OwnType, r.Proven
	s.until = earliest(now.Add(min(time.Duration(t.Lifetime)*time.Second, sessionLife)), s.end)
	if !now.Before(s.until) {
		return false
	}
	c.resumption.sessions.put(s)
	return true
}
