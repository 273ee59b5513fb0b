package handshake

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Early data, on both sides (RFC 8446, sections 2.3, 4.2.10, 4.5 and 8): what a
// client that resumes sends behind its hello, before the server has answered.
// Anybody on the way can send it once more, so a server takes it from nobody
// whose hello is not fresh and new, and a machine never sends it again.

// EarlyData is what became of a client's early data.
type EarlyData uint8

// What can become of it. On a server's side EarlyRejected is also what was
// skipped because there was no session.
const (
	NoEarlyData EarlyData = iota
	EarlyRejected
	EarlyAccepted
)

const (
	// earlyWindow is how far the age of a ticket as the client tells it may be
	// from what the server knows, in milliseconds: one round trip, and two clocks
	// that do not run alike (RFC 8446, section 8.3).
	earlyWindow = 10_000
	// minSkip is how many bytes of records a server drops at least that are early
	// data which it does not take: its own tickets may have allowed it before a
	// change, or somebody else's, such as the 16 KiB that are usual, and more where
	// each record holds little.
	minSkip = 64 << 10
)

// EarlyWindow is the same in seconds, for who keeps a register of hellos: one is
// fresh for as long before and behind the time that it tells.
const EarlyWindow = earlyWindow / 1000

// Exporter exports what only the two ends know, before the handshake is over (RFC
// 8446, section 7.5). What one with the early secret gives is as old as the hello,
// and a replayed hello gives it once more.
type Exporter struct {
	suite  *suite.Suite
	secret []byte
}

// Export is the exporter of RFC 8446, section 7.5.
func (e *Exporter) Export(label string, context []byte, n int) ([]byte, error) {
	if e == nil || e.secret == nil {
		return nil, fmt.Errorf("there is no early data, or the connection has ended: there is nothing to export")
	}
	return schedule.Export(e.suite, labels, e.secret, label, context, n)
}

// Discard zeroes the secret.
func (e *Exporter) Discard() {
	if e != nil {
		clear(e.secret)
		e.secret = nil
	}
}

// early is what a machine knows of early data.
type early struct {
	offered bool   // by this client, in a hello that the server has yet to answer
	taken   bool   // by this server
	why     string // it does not take it
	suite   *suite.Suite
	alpn    string
	max     uint32
	secret  []byte // client_early_traffic_secret
}

func (e *early) destroy() {
	clear(e.secret)
	e.secret = nil
}

// earlyKeys derives the early secrets; hello is the hash of the ClientHello.
func (c *core) earlyKeys(hello []byte) {
	s := c.session
	e := &c.early
	e.suite, e.alpn, e.max = s.Suite, s.ALPN, s.MaxEarlyData
	secret := schedule.NewEarly(s.Suite, labels, s.Secret)
	e.secret = secret.ClientTraffic(hello)
	c.result.EarlyExporter = &Exporter{s.Suite, secret.Exporter(hello)}
	secret.Destroy()
	c.derived(Early, observe.Client, "client_early_traffic_secret", "the session's secret and the client's hello", "CLIENT_EARLY_TRAFFIC_SECRET", e.secret)
	if c.cfg.KeyLog != nil {
		c.cfg.KeyLog("EARLY_EXPORTER_SECRET", c.random[:], c.result.EarlyExporter.secret)
	}
}

// Client.

// offersEarly says whether the first hello offers early data: the session allows
// it, and the server can take it under the same suite and protocol.
func (c *Client) offersEarly() bool {
	s := c.session
	return s != nil && s.MaxEarlyData > 0 && !c.result.Retried && has(c.cfg.Suites, s.Suite.ID) &&
		(s.ALPN == "" || has(c.cfg.ALPN, s.ALPN))
}

// beginEarly goes over to the early keys behind hello, the whole first one.
func (c *Client) beginEarly(hello []byte) {
	h := c.session.Suite.NewHash()
	h.Write(hello)
	c.earlyKeys(h.Sum(c.sum[:0]))
	c.early.offered = true
	c.compatibility() // here, where early data follows (RFC 8446, appendix D.4)
	c.emit(Event{Kind: Keys, Level: Early, Direction: Write, Suite: c.early.suite, Secret: c.early.secret, Limit: int64(c.early.max),
		Exporter: c.result.EarlyExporter, Protocol: c.early.alpn})
}

// rejectEarly notes that the server does not take what was sent early.
func (c *Client) rejectEarly() {
	if !c.early.offered {
		return
	}
	c.early.offered = false
	c.early.destroy()
	c.result.EarlyData = EarlyRejected
	c.result.EarlyExporter.Discard()
	c.result.EarlyExporter = nil
	c.hello.EarlyData = false
	c.agreed("early data", "rejected")
	c.emit(Event{Kind: EarlyEnded})
}

// judgeAnew has the server judged once more where it resumed our session without
// the early data. What was judged before the hello was whether that may be sent;
// now it is whether all that follows may, and it is later.
func (c *Client) judgeAnew() {
	if !c.result.Resumed || c.result.EarlyData != EarlyRejected {
		return
	}
	c.verify = Op{Kind: VerifyPeer, Chain: c.chain, Type: c.result.PeerType, Proven: c.result.Proven, Resumed: true, Bound: true}
	c.verified = false
	c.ask(&c.verify, true)
}

// takeEarly takes what EncryptedExtensions says of our early data.
func (c *Client) takeEarly(m *message.EncryptedExtensions) error {
	if !c.early.offered {
		return nil
	}
	if !m.EarlyData {
		c.rejectEarly()
		if c.cfg.QUIC {
			return nil
		}
		return c.keys(Handshake, Write, c.clientSecret)
	}
	if c.suite.ID != c.early.suite.ID {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter,
			"the server took early data of a session with %s, and chose %s", c.early.suite.ID, c.suite.ID)
	}
	if m.ALPN != c.early.alpn {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter,
			"the server took early data of a session for the protocol %q, and chose %q", c.early.alpn, m.ALPN)
	}
	c.result.EarlyData = EarlyAccepted
	c.agreed("early data", "accepted")
	return nil
}

// endEarly ends our early data, and goes over to the handshake keys. In QUIC the
// two levels stand side by side (RFC 9001, section 8.3).
func (c *Client) endEarly() error {
	if !c.early.offered {
		return nil
	}
	if c.cfg.QUIC {
		c.early.offered = false
		return nil
	}
	b, err := (&message.EndOfEarlyData{}).Append(nil)
	if err != nil {
		return c.misuse(code.Internal, err)
	}
	c.add(b)
	c.send(Early, b)
	c.early.offered = false
	c.early.destroy()
	c.early.secret = bytes.Clone(c.clientSecret) // which is over before the event is seen
	return c.keys(Handshake, Write, c.early.secret)
}

// Server.

// mayNotTakeEarly says why the client's early data can't be taken, as far as the
// hello and the session tell (RFC 8446, section 4.2.10); "" where it can. What
// does not fit is skipped, and the session is resumed all the same.
func (s *Server) mayNotTakeEarly() string {
	h, o := &s.hello, s.session
	switch {
	case s.cfg.MaxEarlyData == 0:
		return "none is taken here"
	case s.result.Retried:
		return "it took a HelloRetryRequest"
	case !s.result.Resumed:
		return "no session is resumed"
	case o.Index != 0:
		return "the session is not the first one that is offered"
	case o.MaxEarlyData == 0 || o.MaxEarlyData > s.cfg.MaxEarlyData:
		return "the ticket allows none, or more than is taken now"
	case o.Suite.ID != s.suite.ID:
		return "the cipher suite is another"
	}
	var alpn string
	if len(s.cfg.ALPN) > 0 && len(h.ALPN) > 0 {
		alpn, _ = pick(s.cfg.ALPN, h.ALPN)
	}
	switch {
	case alpn != o.ALPN:
		return "the protocol is another"
	case !s.isFresh():
		return "the hello is not as old as it says"
	}
	return ""
}

// isFresh holds the age of the ticket as the client tells it against what we
// know (RFC 8446, section 8.3): a hello that was recorded is older than it says.
func (s *Server) isFresh() bool {
	return s.session.Age != nil && s.result.AgeSkew >= -earlyWindow && s.result.AgeSkew <= earlyWindow
}

// resumes goes on from the session, whose ticket is as old as we know, and as the
// client says.
func (s *Server) resumes() {
	s.resume()
	if s.result.Resumed && s.session.Age != nil {
		told := s.hello.PSK.Identities[s.session.Index].ObfuscatedAge - s.session.AgeAdd
		s.result.AgeSkew = int32(told - s.session.Age())
	}
}

// registerEarly asks whether this hello was there before, where its early data
// could be taken, and goes on at once where it could not.
func (s *Server) registerEarly() error {
	if !s.hello.EarlyData {
		return s.proceed()
	}
	if s.early.why = s.mayNotTakeEarly(); s.early.why != "" {
		return s.proceed()
	}
	// The binder is over the whole hello, the client's Random included, and was
	// found right: nobody makes two that are the same.
	s.register = Op{Kind: RegisterEarlyData, EarlyID: sha256.Sum256(s.hello.PSK.Binders[0])}
	s.ask(&s.register, true)
	return nil
}

// registered takes the answer. Whatever is not a yes makes it a handshake without
// early data.
func (s *Server) registered(a Answer) error {
	s.early.why = "the hello was there before, or nobody can tell"
	if a.Err == nil && a.Fresh {
		s.early.taken = true
		s.result.EarlyData = EarlyAccepted
		s.earlyKeys(s.transcript())
		s.agreed("early data", "accepted")
	}
	return s.proceed()
}

// readFlight gives the keys for what the client sends next.
func (s *Server) readFlight() error {
	if s.early.taken {
		s.emit(Event{Kind: Keys, Level: Early, Direction: Read, Suite: s.suite, Secret: s.early.secret, Limit: int64(s.early.max)})
		s.level = Early
		if !s.cfg.QUIC {
			return nil
		}
	}
	if err := s.keys(Handshake, Read, s.clientSecret); err != nil {
		return err
	}
	if s.hello.EarlyData && !s.early.taken {
		s.skipEarly()
	}
	return nil
}

// skipEarly has early data dropped that is not taken.
func (s *Server) skipEarly() {
	s.result.EarlyData = EarlyRejected
	if s.early.why == "" { // nobody looked at it, since nothing is resumed
		s.early.why = s.mayNotTakeEarly()
	}
	s.agreed("early data", "rejected: "+s.early.why)
	s.emit(Event{Kind: SkipEarlyData, Limit: max(minSkip, 2*int64(s.cfg.MaxEarlyData))})
}

// waitEarly is the state behind our flight where early data is taken: all that
// Result tells is settled but for Standing.
func (s *Server) waitEarly() (serverState, error) {
	s.result.PeerChain = s.chain
	s.settled = true
	s.emit(Event{Kind: EarlyBegun, Exporter: &Exporter{s.suite, s.exporter}})
	return s.expect("EndOfEarlyData", (*Server).waitEndOfEarlyData)
}

func (s *Server) waitEndOfEarlyData(t message.Type, msg []byte) (serverState, error) {
	if t != message.TypeEndOfEarlyData {
		return nil, nil
	}
	var m message.EndOfEarlyData
	if err := m.Parse(msg); err != nil {
		return nil, s.parsed(err)
	}
	s.received(Early, msg)
	s.add(msg)
	if err := s.keys(Handshake, Read, s.clientSecret); err != nil {
		return nil, err
	}
	s.early.destroy()
	return s.expect("Finished", (*Server).waitFinished)
}
