package mtls

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/suite"
)

// sealed is a session as a ticket or a store holds it.
//
// A ticket holds who the client is, as it was verified, and digests of what it
// showed; the chain lies in a ChainStore, since the verifier is asked about it at
// each resumption, on any server of a fleet, and judges every link. A session in a
// store has its chain with it. All else that the session rests on is in one digest.
type sealed struct {
	suite             suite.ID
	secret            []byte
	first, end, until time.Time
	rests             [sha256.Size]byte
	// name is whom the verifier saw, form how the session knows what was shown, and
	// kind what that was; leaf and digest or chain tell it.
	name         string
	form         shownForm
	kind         Kind
	leaf, digest [sha256.Size]byte
	chain        [][]byte
	// For early data: when the ticket was made, in milliseconds, what hides its
	// age, how much it allows, and for which protocol.
	made     uint64
	ageAdd   uint32
	maxEarly uint32
	alpn     string
	context  []byte // over QUIC: what else
}

// sealedVersion is that of the form. What has another one is no session: it costs
// a full handshake.
const sealedVersion = 4

// shownForm is how a session knows what the client showed.
type shownForm uint8

const (
	nothing  shownForm = iota // it showed nothing
	byDigest                  // by leaf and digest, for a ChainStore
	inFull                    // by the chain itself
	byKey                     // by leaf, which is the digest of a pre-shared key
)

func (s *sealed) marshal() ([]byte, error) {
	size := 240 + len(s.secret) + len(s.name) + len(s.alpn) + len(s.context)
	for _, der := range s.chain {
		size += 3 + len(der)
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, size)) // it does not grow: no copy of the secret stays
	b.AddUint8(sealedVersion)
	b.AddUint16(uint16(s.suite))
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.secret) })
	for _, t := range []time.Time{s.first, s.end, s.until} {
		b.AddUint64(uint64(t.Unix()))
	}
	b.AddBytes(s.rests[:])
	b.AddUint64(s.made)
	b.AddUint32(s.ageAdd)
	b.AddUint32(s.maxEarly)
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.alpn)) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(s.context) })
	b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(s.name)) })
	b.AddUint8(uint8(s.form))
	switch s.form {
	case byDigest:
		b.AddUint8(uint8(s.kind))
		b.AddBytes(s.leaf[:])
		b.AddBytes(s.digest[:])
	case inFull:
		b.AddUint8(uint8(s.kind))
		b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(packChain(s.chain)) })
	case byKey:
		b.AddBytes(s.leaf[:])
	}
	return b.Bytes()
}

// unmarshal reads what marshal made. It keeps parts of b.
func (s *sealed) unmarshal(b []byte) bool {
	r := cryptobyte.String(b)
	var version, form, kind uint8
	var id uint16
	var secret, alpn, context, name cryptobyte.String
	var times [3]uint64
	if !r.ReadUint8(&version) || version != sealedVersion || !r.ReadUint16(&id) || !r.ReadUint8LengthPrefixed(&secret) {
		return false
	}
	for i := range times {
		if !r.ReadUint64(&times[i]) {
			return false
		}
	}
	if !r.CopyBytes(s.rests[:]) || !r.ReadUint64(&s.made) || !r.ReadUint32(&s.ageAdd) || !r.ReadUint32(&s.maxEarly) ||
		!r.ReadUint8LengthPrefixed(&alpn) || !r.ReadUint8LengthPrefixed(&context) || !r.ReadUint8LengthPrefixed(&name) || !r.ReadUint8(&form) {
		return false
	}
	ok := true
	switch s.form = shownForm(form); s.form {
	case nothing:
	case byDigest:
		ok = r.ReadUint8(&kind) && r.CopyBytes(s.leaf[:]) && r.CopyBytes(s.digest[:])
	case inFull:
		var packed cryptobyte.String
		if ok = r.ReadUint8(&kind) && r.ReadUint24LengthPrefixed(&packed); ok {
			s.chain, ok = unpackChain(packed)
			ok = ok && len(s.chain) > 0 && (Kind(kind) != RawPublicKey || len(s.chain) == 1)
		}
	case byKey:
		kind, ok = uint8(PreSharedKey), r.CopyBytes(s.leaf[:])
	default:
		return false
	}
	if !ok || !r.Empty() {
		return false
	}
	s.suite, s.secret, s.kind, s.alpn, s.context, s.name = suite.ID(id), secret, Kind(kind), string(alpn), context, string(name)
	s.first, s.end, s.until = time.Unix(int64(times[0]), 0), time.Unix(int64(times[1]), 0), time.Unix(int64(times[2]), 0)
	return true
}

// identityIn is whom a verdict names, as a session keeps it; "" for nobody.
func identityIn(v *Verdict) string {
	if v == nil {
		return ""
	}
	name := cmp.Or(v.Peer.SPIFFE, v.Peer.Name())
	return name[:min(len(name), 255)]
}

// serverRests is what a server's session rests on.
func (c *Conn) serverRests(generation [sha256.Size]byte, own *Certificate, serverName string) [sha256.Size]byte {
	var shown [sha256.Size]byte // nothing, where a pre-shared key proved us
	if own != nil {
		shown = own.sum
	}
	return digest("mutual session"+overQUIC(c.transport), []byte{byte(c.resumption.mode)}, generation[:], shown[:], []byte(serverName))
}

// openTicket finds the session behind the first identity that we know. Where it
// may not be resumed, the handshake is a full one.
func (c *Conn) openTicket(ctx context.Context, op *handshake.Op) handshake.Answer {
	known := false
	for i, identity := range op.Identities {
		if c.resumption == nil || i == maxTried {
			break
		}
		plain := c.lookUp(ctx, identity)
		if plain == nil {
			continue
		}
		s := &sealed{}
		if !s.unmarshal(plain) {
			clear(plain)
			continue
		}
		known = true
		own, why := c.mayResume(ctx, op, s)
		if why != "" {
			c.declined(why)
			clear(s.secret)
			break
		}
		chain, why := c.chainOf(ctx, s)
		if why != "" {
			c.declined(why)
			clear(s.secret)
			break
		}
		c.origin.first, c.origin.end, c.origin.rests, c.origin.name = s.first, s.end, s.rests, s.name
		session := &handshake.Session{
			Suite: suite.ByID(s.suite), Secret: append([]byte(nil), s.secret...), Index: i,
			AgeAdd: s.ageAdd, MaxEarlyData: s.maxEarly, ALPN: s.alpn,
			Age: func() uint32 { return uint32(c.clock().UnixMilli() - int64(s.made)) },
		}
		if !bytes.Equal(s.context, c.origin.context) {
			session.MaxEarlyData = 0 // it was for other settings
		}
		if s.form == byKey {
			session.Proven = c.psks.of(s.leaf[:])
		} else {
			session.PeerChain, session.PeerType, session.Local, session.OwnType = chain, s.kind, own.shown, own.kind
		}
		clear(s.secret)
		return handshake.Answer{Session: session}
	}
	key := c.psks.open(op.Identities, op.Suite)
	if !known && key == nil {
		c.declined("nothing that the client offers is known here: it was cut or changed, its key is gone, or the session was used")
	}
	return handshake.Answer{Session: key}
}

// lookUp is the session that a client's identity stands for, nil for none.
func (c *Conn) lookUp(ctx context.Context, identity []byte) []byte {
	r := c.resumption
	if r.store == nil {
		plain, _ := r.keys.open(c.clock(), identity)
		return plain
	}
	if len(identity) != 32 {
		return nil
	}
	plain, err := r.store.Take(ctx, [32]byte(identity))
	if err != nil {
		c.declined("the session store failed: " + err.Error())
		return nil
	}
	return plain
}

// mayResume says why a session may not be resumed, or with which certificate of
// ours it goes on.
func (c *Conn) mayResume(ctx context.Context, op *handshake.Op, s *sealed) (own *Certificate, why string) {
	now := c.clock()
	switch {
	case s.first.After(now.Add(maxSkew)):
		return nil, "the session is not old enough: it begins in the future"
	case !now.Before(s.until) || !now.Before(s.end) || !now.Before(s.first.Add(sessionLife)):
		return nil, "the session is over"
	}
	if s.form == byKey {
		if c.psks.of(s.leaf[:]) == nil {
			return nil, "the pre-shared key that the session began with was taken out"
		}
		return nil, c.sameRests(s, nil, op.ServerName)
	}
	answer := c.selectCertificate(ctx, op)
	if answer.Err != nil || answer.Credential == nil {
		return nil, "we have no certificate now" // the full handshake tells more
	}
	own = answer.Credential.Value.(*Certificate)
	return own, c.sameRests(s, own, op.ServerName)
}

// sameRests says why a session does not rest on what holds now.
func (c *Conn) sameRests(s *sealed, own *Certificate, serverName string) string {
	rests := c.serverRests(c.resumption.generation(c.verifier), own, serverName)
	if subtle.ConstantTimeCompare(rests[:], s.rests[:]) != 1 {
		return "what the session rests on has changed"
	}
	return ""
}

// sealTicket makes a ticket for what this connection has proven. Where none can
// be made there is none.
func (c *Conn) sealTicket(ctx context.Context, op *handshake.Op) handshake.Answer {
	o, r, now := c.origin, c.resumption, c.clock()
	var own *Certificate
	if proven(op.Session.Proven) == nil {
		own = op.Session.Local.Value.(*Certificate)
	}
	claim, verdict := &c.claim, c.verdict
	if !claim.Delegated.IsZero() {
		return handshake.Answer{} // a credential of days is not to be stretched by sessions
	}
	switch {
	case op.Resumed:
		if !c.early.pending.Load() { // else it was settled when the early data came
			claim, verdict = &o.claim, o.verdict
		}
	case !o.fresh: // the first of this connection's tickets
		o.fresh, o.first, o.end = true, now, time.Time{}
		o.packed, o.kept = nil, false // what a session showed that was not resumed
		if verdict == nil {           // else it was noted when the client was judged
			o.rests = r.generation(c.verifier)
		}
		o.rests = c.serverRests(o.rests, own, op.ServerName)
	}
	o.end = c.sessionEnd(o.first, own, claim, verdict)
	s := sealed{
		suite: op.Session.Suite.ID, secret: op.Session.Secret, first: o.first, end: o.end, rests: o.rests,
		until: earliest(now.Add(r.lifetime), o.end), name: identityIn(verdict),
		made: uint64(now.UnixMilli()), ageAdd: op.Session.AgeAdd, maxEarly: op.Session.MaxEarlyData, alpn: op.Session.ALPN,
		context: o.context,
	}
	lifetime := s.until.Sub(now) / time.Second
	if lifetime <= 0 || !c.fileShown(ctx, &s, op.Session) {
		return handshake.Answer{}
	}
	plain, err := s.marshal()
	if err != nil {
		return handshake.Answer{}
	}
	ticket := c.ticketOf(ctx, plain, s.until)
	if ticket == nil {
		return handshake.Answer{}
	}
	return handshake.Answer{Ticket: ticket, Lifetime: uint32(lifetime)}
}

// fileShown notes in s what the client showed, and says whether that can be had
// again when the session is resumed.
func (c *Conn) fileShown(ctx context.Context, s *sealed, session *handshake.Session) bool {
	s.kind = session.PeerType
	if k := proven(session.Proven); k != nil {
		s.form, s.kind, s.leaf = byKey, PreSharedKey, k.sum
		return true
	}
	if session.PeerChain == nil {
		return true
	}
	if c.resumption.store != nil {
		s.form, s.chain = inFull, session.PeerChain
		return packChain(s.chain) != nil
	}
	return c.keepChain(ctx, s, session.PeerChain)
}

// ticketOf seals a session, or puts it into the store.
func (c *Conn) ticketOf(ctx context.Context, plain []byte, until time.Time) []byte {
	r := c.resumption
	if r.store == nil {
		defer clear(plain)
		ticket, _ := r.keys.seal(c.clock(), plain)
		return ticket
	}
	var id [32]byte
	_, _ = rand.Read(id[:])
	if r.store.Put(ctx, id, plain, until) != nil {
		return nil
	}
	return id[:]
}
