package handshake

import (
	"bytes"
	"crypto/subtle"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Resumption, on both sides (RFC 8446, sections 2.2, 4.2.9, 4.2.11 and 4.6.1):
// always with a key exchange (psk_dhe_ke), one session at a time, and the peer
// judged again before the session counts.

// Session is what two ends keep of a handshake so that a later one can go on
// from it. Who gives it to a machine gives its Secret away: the machine zeroes
// it.
type Session struct {
	// Kind is what it is: the zero value is a session that a ticket stands for.
	Kind Kind
	// Suite is the one that the session was made with: its hash is the session's.
	Suite *suite.Suite
	// Secret is the pre-shared key.
	Secret []byte
	// PeerChain is what the peer showed in the full handshake, nil for nothing;
	// Local is what we showed. PeerType and OwnType are as in Result.
	PeerChain         [][]byte
	PeerType, OwnType CertificateType
	Local             *Credential
	// Proven is whom an external pre-shared key proves, as its owner knows it; of
	// a session that began with one, too. nil where it was a certificate.
	Proven any

	// AgeAdd, MaxEarlyData and ALPN are of the ticket and of the connection that it
	// came over. A client that wants to send nothing early sets MaxEarlyData to 0.
	AgeAdd       uint32
	MaxEarlyData uint32
	ALPN         string
	// Ticket is a client's. Lifetime is in seconds, and only told of a ticket that
	// has just come.
	Ticket   []byte
	Lifetime uint32
	// Age tells how many milliseconds ago the ticket came, or was made. A client's
	// machine asks for each hello, a server's where early data comes.
	Age func() uint32

	// Index is a server's: which of the identities in OpenTicket it is.
	Index int
}

const (
	// maxTicket is the longest ticket that is kept and offered: our hello must
	// stay one that everybody takes.
	maxTicket = 16 << 10
	// maxTickets is how many tickets of one connection are kept, or as many as were
	// asked for; servers send one to four unasked.
	maxTickets = 4
	// maxIdentities is how many of a client's identities are looked at. A client
	// offers one or two, and each may cost us a decryption.
	maxIdentities = 4

	pskDHEKE = 1 // PskKeyExchangeMode psk_dhe_ke
)

func (s *Session) destroy() {
	if s != nil {
		clear(s.Secret)
	}
}

// again says whether the peer of a session is judged again, and the session can
// still be given up.
func (o *Op) again() bool { return o.Kind == VerifyPeer && o.Resumed && !o.Bound }

// drop gives the session up.
func (c *core) drop() {
	c.session.destroy()
	c.session = nil
}

// usable says whether the session can be used with the suite s.
func (c *core) usable(s *suite.Suite) bool {
	o := c.session
	return o != nil && o.Suite != nil && o.Suite.Hash == s.Hash && (o.external() && len(o.Secret) > 0 || len(o.Secret) == s.Hash.Size())
}

// resume takes the session as what this handshake goes on from.
func (c *core) resume() {
	c.keyed = true
	c.result.Proven = c.session.Proven
	if c.session.external() {
		c.agreed("pre-shared key", "an external one")
		return
	}
	c.result.Resumed = true
	c.result.Local = c.session.Local
	c.chain, c.result.PeerType, c.result.OwnType = c.session.PeerChain, c.session.PeerType, c.session.OwnType
	c.agreed("resumed", "an earlier session")
}

// binder proves that we hold the session's secret (RFC 8446, section
// 4.2.11.2); transcript is the hash up to, and without, the binders.
func binder(s *Session, transcript []byte) []byte {
	early := schedule.NewEarly(s.Suite, labels, s.Secret)
	key := s.binderKey(early)
	early.Destroy()
	b := schedule.Finished(s.Suite, labels, key, transcript)
	clear(key)
	return b
}

// judgeAgain asks for a judgement of the peer of the session, who showed its
// chain and proved its key in the full handshake.
func (c *core) judgeAgain() {
	c.verify = Op{Kind: VerifyPeer, Chain: c.session.PeerChain, Type: c.session.PeerType, Proven: c.session.Proven, Resumed: true}
	c.ask(&c.verify, true)
}

// Client.

// found takes the session and the external keys that FindTicket gave, and has the
// session's server judged before the ticket is spent.
func (c *Client) found(s *Session, keys []*Session) error {
	c.session = s
	if err := c.keepKeys(keys, c.cfg.Suites); err != nil {
		return err
	}
	switch {
	case s == nil:
	case s.external() || s.Suite == nil || !c.usable(s.Suite) || len(s.Ticket) == 0 || len(s.Ticket) > maxTicket || s.Age == nil ||
		!takes(c.cfg.Suites, s.Suite):
		c.drop() // whatever it is, it is of no use here
	default:
		c.judgeAgain()
		return nil
	}
	return c.sendHello()
}

// offer puts the session into the hello, with a binder yet to be made.
func (c *Client) offer() {
	c.hello.PSK = nil
	c.hello.EarlyData = c.offersEarly()
	all := c.offered()
	if len(all) == 0 {
		return
	}
	c.hello.PSK = &message.PreSharedKeys{}
	for _, o := range all {
		c.hello.PSK.Identities = append(c.hello.PSK.Identities, message.PSKIdentity{Identity: o.Ticket, ObfuscatedAge: o.Age() + o.AgeAdd})
		c.hello.PSK.Binders = append(c.hello.PSK.Binders, make([]byte, o.Suite.Hash.Size()))
	}
}

// bind makes the binders at the end of hello, and adds hello to the transcript
// where that has begun.
func (c *Client) bind(hello []byte) {
	all := c.offered()
	if len(all) == 0 {
		return
	}
	n := len(hello) - 2 // the length of the list
	for _, o := range all {
		n -= 1 + o.Suite.Hash.Size()
	}
	if c.result.Retried {
		c.add(hello[:n])
	}
	at := n + 2
	for _, o := range all {
		var sum []byte
		if c.result.Retried {
			sum = c.transcript()
		} else {
			h := o.Suite.NewHash()
			h.Write(hello[:n])
			sum = h.Sum(c.sum[:0])
		}
		at += 1 + copy(hello[at+1:], binder(o, sum))
	}
	if c.result.Retried {
		c.add(hello[n:])
		c.helloBytes = nil
	}
}

// takeChoice takes what the server says to the session that we offered.
func (c *Client) takeChoice(m *message.ServerHello) error {
	all := c.offered()
	if !m.HasPSK {
		c.dropAll(nil)
		if c.cfg.PSKOnly {
			return c.misbehaved(alert.MissingExtension, code.NoCommonPSK, "the server took none of our pre-shared keys, and we take no certificate")
		}
		return nil
	}
	if int(m.PSKIndex) >= len(all) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose the pre-shared key %d of %d that were offered", int(m.PSKIndex)+1, len(all))
	}
	c.dropAll(all[m.PSKIndex])
	if !c.usable(c.suite) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose %s, whose hash is not that of the session that it resumes", c.suite.ID)
	}
	c.resume()
	if c.session.external() {
		c.judgeKey()
	} else {
		c.verified = true // judged before the ticket was offered
	}
	return nil
}

// Server.

// offersSession says whether the client offers what we could resume. A client
// without psk_dhe_ke wants to go without a key exchange, which we do not.
func (s *Server) offersSession() bool {
	return (s.cfg.Resume || s.cfg.PSKs) && s.hello.PSK != nil && has(s.hello.PSKModes, pskDHEKE)
}

// openTicket asks for the session behind what the client offers. The hello is
// our copy.
func (s *Server) openTicket() {
	h := &s.hello
	s.open = Op{Kind: OpenTicket, Suite: s.suite, ServerName: h.ServerName, Schemes: h.Schemes, Authorities: h.Authorities, ALPN: h.ALPN, Types: s.takes(),
		CertificateSchemes: h.CertSchemes, WantsOCSP: h.OCSP, WantsSCT: h.SCT, Delegated: h.Delegated, TrustAnchors: h.TrustAnchors}
	n := len(h.PSK.Identities)
	if !s.cfg.PSKs { // which are looked up, and not decrypted
		n = min(n, maxIdentities)
	}
	for _, id := range h.PSK.Identities[:n] {
		s.open.Identities = append(s.open.Identities, id.Identity)
	}
	s.ask(&s.open, true)
}

// opened takes the session that OpenTicket gave, nil for none: it alone is
// looked at, and its binder has to be right (RFC 8446, section 4.2.11).
func (s *Server) opened(found *Session) error {
	s.at = message.TypeClientHello.String()
	s.session = found
	if !s.fits() {
		s.drop()
		s.add(s.held)
		return s.proceed()
	}
	psk := s.hello.PSK
	n := len(s.held) - psk.BindersLen
	s.add(s.held[:n])
	want := binder(s.session, s.transcript())
	s.add(s.held[n:])
	if subtle.ConstantTimeCompare(want, psk.Binders[s.session.Index]) != 1 {
		return s.misbehaved(alert.DecryptError, code.BadBinder, "the client did not prove that it holds the secret of the session that it wants to resume")
	}
	switch {
	case s.session.external():
		s.judgeKey()
	case s.session.PeerChain == nil && s.session.Proven == nil:
		s.resumes()
		return s.registerEarly()
	default:
		s.judgeAgain()
	}
	return nil
}

// fits says whether the session is one that this server could have made in this
// handshake. What gave it has looked at more.
func (s *Server) fits() bool {
	if !s.usable(s.suite) || s.session.Index < 0 || s.session.Index >= len(s.open.Identities) {
		return false
	}
	if s.session.Proven != nil { // it proves both ends
		return s.cfg.PSKs && s.session.PeerChain == nil
	}
	if s.session.external() || s.session.Local == nil {
		return false
	}
	switch s.cfg.ClientAuth {
	case NoClientCertificate:
		return s.session.PeerChain == nil
	case RequireClientCertificate:
		return s.session.PeerChain != nil
	}
	return true
}

// proceed goes on behind the ClientHello.
func (s *Server) proceed() error {
	st, err := s.takeClientHello()
	if err != nil {
		return err
	}
	s.state = st
	return nil
}

// checkOffers holds the sessions that a second ClientHello offers against those
// of the first: they may become fewer, and no more than that (RFC 8446, section
// 4.1.2).
func (s *Server) checkOffers(old *message.ClientHello) bool {
	h := &s.hello
	if h.PSK == nil {
		return true
	}
	if old.PSK == nil || !slices.Equal(old.PSKModes, h.PSKModes) {
		return false
	}
	from := old.PSK.Identities
	for _, id := range h.PSK.Identities {
		i := slices.IndexFunc(from, func(o message.PSKIdentity) bool { return bytes.Equal(o.Identity, id.Identity) })
		if i < 0 {
			return false
		}
		from = from[i+1:]
	}
	return true
}

// What comes after the handshake.

// keep makes a session of a ticket, where that is of any use.
func (s *Standing) keep(m *message.NewSessionTicket) {
	if s.resumption == nil || m.Lifetime == 0 || len(m.Ticket) > maxTicket || s.kept == s.most {
		return
	}
	s.kept++
	s.tickets = append(s.tickets, &Session{
		Suite: s.suite, Secret: schedule.ResumptionPSK(s.suite, labels, s.resumption, m.Nonce),
		Ticket: bytes.Clone(m.Ticket), AgeAdd: m.AgeAdd, Lifetime: m.Lifetime, MaxEarlyData: m.MaxEarlyData, ALPN: s.alpn,
	})
}

// Ticketed says whether Tickets has any to give.
func (s *Standing) Ticketed() bool { return len(s.tickets) > 0 }

// Tickets takes the sessions that the server gave since it was last asked. It
// belongs to the reading half.
func (s *Standing) Tickets() []*Session {
	t := s.tickets
	s.tickets = nil
	return t
}

// discardTickets forgets what nobody took.
func (s *Standing) discardTickets() {
	clear(s.resumption)
	s.resumption = nil
	for _, t := range s.Tickets() {
		t.destroy()
	}
}
