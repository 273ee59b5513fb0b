package mtls

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
)

// Resumption is off unless it is given, on both sides: a session's secret is a
// second proof of identity beside the private key, and lives in memory and under
// ticket keys rather than in a keystore. Who reconnects often gains most of a
// handshake by it, and turns it on with the zero value.
//
// A session carries the authentication with it. It is bound to what the decision
// rested on: the verifier's generation, what is asked of clients, the server's
// name, the certificate that each side showed, the hash of the cipher suite.
// Where one of these is not what it was, the handshake is a full one. Each
// resumption asks the Verifier, with Occasion Resumption and the chain that was
// shown in the full handshake; unless it says OK, to the same name, the handshake
// is a full one, in which the peer shows and proves what it has now. A session ends
// with the earliest notAfter of either chain, and seven days after its full
// handshake, however often it is renewed.

// ServerResumption has a server give its clients tickets. The zero value is
// right for one server: keys of its own, drawn at start, rotating daily.
type ServerResumption struct {
	// Keys seal the tickets, which then hold the session: nothing is kept here but
	// the chains of clients, each once.
	Keys *TicketKeys
	// Chains keeps those chains; nil keeps them in memory, with the Keys. Servers
	// that share tickets and not chains make a full handshake with each client once
	// each.
	Chains ChainStore
	// Store, instead of Keys, keeps the sessions at this side; each is good for
	// one resumption.
	Store SessionStore
	// Lifetime is how long a ticket is good for, 0 is a day. At most seven days.
	Lifetime time.Duration
	// Tickets is how many tickets one connection gives to a client that asks for
	// as many (RFC 9149); 0 is 4, at most 16. Who does not ask gets one.
	Tickets int
	// EarlyData, if not nil, takes data that clients send before the handshake is
	// over: see ServerEarlyData.
	EarlyData *ServerEarlyData
}

// ClientResumption has a client keep the tickets that servers give it, in memory,
// and use each once. The zero value is right.
type ClientResumption struct {
	// Sessions is how many are kept in all, the youngest; 0 is 256.
	Sessions int
	// Tickets is how many tickets to ask a server for after a full handshake (RFC
	// 9149): as many as there are connections that will begin together. 0 is 1, at
	// most 8. After a resumption one is asked for, in place of the one used.
	Tickets int
}

// Generation is what a Verifier may be besides: one that can tell what its
// verdicts rest on. Sessions of another generation are not resumed. The
// verifiers of this package are such, as far as those that they are made of are.
// Of a Verifier that is not, sessions are resumed by the very Server or Client
// alone that made them.
type Generation interface {
	// Generation is a digest of all that the verdicts rest on and that stays the
	// same between changes of it: authorities, rules, keys that are pinned. What
	// changes all the time, as revocations do, is left to Verify. False where it
	// can't be told.
	Generation() ([sha256.Size]byte, bool)
}

const (
	// sessionLife is how long a session lives from its full handshake, and a
	// ticket at most (RFC 8446, section 4.6.1).
	sessionLife = 7 * 24 * time.Hour
	// ticketLife is how long a ticket lives where nobody says.
	ticketLife = 24 * time.Hour
	// ticketsGiven is how many tickets a connection gives where nobody says, and
	// maxTicketsGiven at most: each costs a sealing, or a place in the store.
	ticketsGiven    = 4
	maxTicketsGiven = 16
	// maxSkew is how far apart the clocks of servers that share keys may be.
	maxSkew = 2 * time.Minute
)

// resumption is what an endpoint resumes with.
type resumption struct {
	// instance stands for a verifier that does not tell its generation.
	instance [sha256.Size]byte
	mode     clientMode

	keys     *TicketKeys
	store    SessionStore
	chains   ChainStore
	lifetime time.Duration
	register EarlyRegister

	sessions *sessions
}

func newServerResumption(cfg *ServerResumption, mode clientMode) (*resumption, error) {
	r := &resumption{mode: mode, keys: cfg.Keys, store: cfg.Store, chains: cfg.Chains, lifetime: cfg.Lifetime}
	_, _ = rand.Read(r.instance[:])
	switch {
	case r.keys != nil && r.store != nil:
		return nil, errors.New("a session goes into a ticket or into a store: give Keys or a Store, not both")
	case r.chains != nil && r.store != nil:
		return nil, errors.New("a Store keeps the chain of a client with its session: give Chains with Keys, or leave them out")
	case r.lifetime < 0 || r.lifetime > sessionLife:
		return nil, fmt.Errorf("a ticket lives up to %v, not %v", sessionLife, r.lifetime)
	case cfg.Tickets < 0 || cfg.Tickets > maxTicketsGiven:
		return nil, fmt.Errorf("a connection gives up to %d tickets, not %d", maxTicketsGiven, cfg.Tickets)
	case r.keys != nil && r.keys.empty():
		return nil, errors.New("the ticket keys hold no key yet: without a key there are no tickets")
	case r.keys == nil && r.store == nil:
		r.keys = &TicketKeys{rotation: DefaultRotation, strikes: strikes{most: maxStrikes}}
	}
	if r.chains == nil && r.keys != nil {
		r.chains = &r.keys.chains
	}
	if cfg.EarlyData != nil {
		r.register = cfg.EarlyData.Register
	}
	if r.lifetime == 0 {
		r.lifetime = ticketLife
	}
	return r, nil
}

func newClientResumption(cfg *ClientResumption) (*resumption, error) {
	if cfg.Sessions < 0 {
		return nil, fmt.Errorf("%d sessions can't be kept", cfg.Sessions)
	}
	if cfg.Tickets < 0 || cfg.Tickets > maxPerPeer {
		return nil, fmt.Errorf("a server can be asked for 1 to %d tickets, not %d", maxPerPeer, cfg.Tickets)
	}
	r := &resumption{sessions: newSessions(cfg.Sessions)}
	_, _ = rand.Read(r.instance[:])
	return r, nil
}

// origin is what a connection knows of the session that it goes on from, and of
// those that come of it.
type origin struct {
	// first is when the full handshake was, and end when what came of it ends.
	first, end time.Time
	// rests is what the judgement rested on; fresh is whether a server has put
	// the rest to it, for the tickets of a full handshake.
	rests [sha256.Size]byte
	fresh bool
	// claim and verdict are the judgement of a session's peer, until it is clear
	// whether the session is resumed.
	claim   Claim
	verdict *Verdict
	// name, packed and kept are a server's: whom the session is of, what it showed as
	// it is kept, and whether it is.
	name   string
	packed []byte
	kept   bool
	// peer and request are a client's: by whom its sessions are filed, and for
	// what certificate the server asked in the full handshake.
	peer    string
	request *message.CertificateRequest
	// Over QUIC: what a server binds early data to; the peer's transport parameters,
	// and those of the session.
	context                []byte
	parameters, remembered []byte
}

// generation is that of v, or the endpoint's own where v does not tell.
func (r *resumption) generation(v Verifier) [sha256.Size]byte {
	if v == nil {
		return [sha256.Size]byte{}
	}
	if sum, ok := generationOf(v); ok {
		return sum
	}
	return r.instance
}

func generationOf(v Verifier) ([sha256.Size]byte, bool) {
	if g, ok := v.(Generation); ok {
		return g.Generation()
	}
	return [sha256.Size]byte{}, false
}

// digest is a digest of parts that can't run into each other.
func digest(label string, parts ...[]byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(label))
	for _, p := range parts {
		n := len(p)
		h.Write([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// generationOfAll is that of several verifiers, which must all tell.
func generationOfAll(label string, list []Verifier) (sum [sha256.Size]byte, ok bool) {
	parts := make([][]byte, len(list))
	for i, v := range list {
		one, ok := generationOf(v)
		if !ok {
			return sum, false
		}
		parts[i] = one[:]
	}
	return digest(label, parts...), true
}

// earliest is the earlier of the two; a zero time is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sessionEnd is when what is made of this connection ends.
func (c *Conn) sessionEnd(first time.Time, own *Certificate, claim *Claim, v *Verdict) time.Time {
	end := earliest(c.origin.end, first.Add(sessionLife))
	if own != nil {
		end = earliest(end, own.ends)
	}
	if v != nil {
		end = earliest(end, v.Until)
		for _, cert := range claim.parsed { // parsed when it was judged
			end = earliest(end, cert.X509.NotAfter)
		}
	}
	return end
}

// begin settles, at the end of the handshake, what this connection goes on from.
func (c *Conn) begin() {
	o, r := c.origin, c.stream.Result()
	if r.Resumed {
		c.claim, c.verdict = o.claim, o.verdict
	} else if c.role == RoleClient {
		o.first, o.end, o.request = c.clock(), time.Time{}, r.CertificateRequest
	}
	o.claim, o.verdict, r.CertificateRequest = Claim{}, nil, nil
	if c.role == RoleClient {
		o.end = c.sessionEnd(o.first, c.Local(), &c.claim, c.verdict)
	}
}

// declined notes why a session is not resumed.
func (c *Conn) declined(why string) { c.note("full handshake", why) }

// note tells the observer what was done, or not, and why.
func (c *Conn) note(what, why string) {
	if c.hs.Observer != nil {
		c.hs.Observer.Observe(observe.Event{Kind: observe.Agreed, Label: what, Value: why})
	}
}

var errRenamed = errors.New("the session is of somebody else")

// judgeSession asks the verifier about the peer of a session. Whatever it does
// not admit has to show itself anew, or where it is too late for that is refused.
func (c *Conn) judgeSession(ctx context.Context, op *handshake.Op) handshake.Answer {
	o := c.origin
	o.claim = Claim{
		Occasion: Resumption, AskedOCSP: c.hs.Certificates.OCSP, Role: c.peerRole(), ServerName: c.serverName,
		Now: c.clock(), Remote: c.transport.RemoteAddr(), parsed: o.claim.parsed,
	}
	o.claim.show(op.Chain, op.Type)
	o.claim.prove(op.Proven)
	verdict, err := c.judge(ctx, &o.claim)
	if op.Bound && !verdict.OK {
		return c.refuseClaim(verdict, faultOf(err))
	}
	if err != nil || !verdict.OK {
		c.declined(verdict.Reason)
		return handshake.Answer{Err: refusedByVerdict{verdict}}
	}
	if c.role == RoleServer && identityIn(verdict) != o.name {
		c.declined("the client of the session has another name now")
		return handshake.Answer{Err: errRenamed}
	}
	o.verdict = verdict
	c.judged(verdict)
	return handshake.Answer{}
}
