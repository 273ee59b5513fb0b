package handshake

import (
	"bytes"
	"errors"
	"io"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Client is the client's machine (RFC 8446, appendix A.1).
type Client struct {
	core
	state clientState

	hello      message.ClientHello
	helloBytes []byte // until the suite, and so the hash, is known
	shares     []*suite.KeyShare
	shareSpace [2]*suite.KeyShare
	sessionID  [32]byte
	ccsSent    bool

	anchors []message.TrustAnchorID // that are named; nil: those of the configuration

	ech *concealment // nil: the hello travels as it is

	base *schedule.Handshake

	request  *message.CertificateRequest
	psks     []*Session // external ones that are offered
	find     Op
	choose   Op
	sign     Op
	chosen   bool // choose is resolved
	local    *Credential
	scheme   suite.Scheme
	exporter []byte
	verified bool
	flight   bool // the server's flight is complete
}

// clientState takes one message and gives the next state. A nil state without
// an error means that the message is not expected here.
type clientState func(*Client, message.Type, []byte) (clientState, error)

// NewClient is a client that means to reach serverName, a DNS name for SNI or ""
// to send none. Start begins.
func NewClient(cfg *Config, serverName string) *Client {
	c := &Client{}
	c.init(cfg, observe.Client)
	c.hello.ServerName = serverName
	c.result.ServerName = serverName
	return c
}

// Start makes the ClientHello.
func (c *Client) Start() error { return c.fail(c.start()) }

// Waiting says whether nothing can be used that arrives now: an operation is
// pending, or our own flight is, and what the server sends behind its Finished
// belongs to the application.
func (c *Client) Waiting() bool { return c.waiting || c.flight && !c.done }

// Message takes one whole handshake message.
func (c *Client) Message(level Level, msg []byte) error {
	if c.failure != nil {
		return c.failure
	}
	if c.waiting && !c.flight { // behind the server's flight nothing may come
		return c.fail(c.enqueue(level, msg))
	}
	return c.fail(c.step(level, msg))
}

func (c *Client) step(level Level, msg []byte) error {
	t := message.Type(msg[0])
	c.at = t.String()
	if c.state == nil || level != c.level {
		return c.unexpected(t)
	}
	next, err := c.state(c, t, msg)
	if err != nil {
		return err
	}
	if next == nil && !c.done && !c.flight {
		return c.unexpected(t)
	}
	c.state = next
	return nil
}

// Resolve takes the answer to an operation.
func (c *Client) Resolve(op *Op, a Answer) error {
	if err := c.resolvable(op); err != nil {
		a.destroy()
		return err
	}
	if op.again() { // no hello is out yet
		c.waiting = false
		if a.Err != nil {
			c.drop()
		}
		return c.fail(c.sendHello())
	}
	if a.Err != nil {
		return c.fail(c.failed(op, a))
	}
	switch op.Kind {
	case FindTicket:
		c.waiting = false
		return c.fail(c.found(a.Session, a.PSKs))
	case TransportParameters:
		c.waiting = false
		c.hello.TransportParameters = parameters(a)
		return c.fail(c.look())
	case SelectCertificate:
		c.chosen = true
		c.local = a.Credential
	case VerifyPeer:
		c.waiting = false
		c.verified = true
	case Sign:
		return c.fail(c.complete(a.Signature))
	}
	for {
		q, ok := c.dequeue()
		if !ok {
			break
		}
		if err := c.step(q.level, q.msg); err != nil {
			return c.fail(err)
		}
	}
	return c.fail(c.answer())
}

// Discard zeroes what is secret and still held.
func (c *Client) Discard() {
	c.dropAll(c.session)
	c.dropShares()
	if c.base != nil {
		c.base.Destroy()
		c.base = nil
	}
	clear(c.exporter)
	c.core.Discard()
}

func (c *Client) expect(name string, s clientState) (clientState, error) {
	c.expecting = name
	return s, nil
}

func (c *Client) start() error {
	c.at, c.expecting = "ClientHello", "ServerHello"
	if _, err := io.ReadFull(c.cfg.Random, c.random[:]); err != nil {
		return c.misuse(code.Internal, errors.New("the random source failed"))
	}
	// A non-empty session identifier makes the handshake look like a resumption
	// of TLS 1.2 to boxes on the way (RFC 8446, appendix D.4).
	if _, err := io.ReadFull(c.cfg.Random, c.sessionID[:]); err != nil {
		return c.misuse(code.Internal, errors.New("the random source failed"))
	}
	h := &c.hello
	h.LegacyVersion = versionTLS12
	h.Random = c.random
	if !c.cfg.QUIC {
		h.SessionID = c.sessionID[:]
	}
	h.CipherSuites = c.cfg.Suites
	h.Compression = nullCompression
	h.Versions = onlyTLS13
	h.Groups = c.cfg.Groups
	if !c.cfg.PSKOnly {
		h.Schemes = c.cfg.Schemes
		h.CertSchemes = c.cfg.CertificateSchemes
	}
	h.ALPN = c.cfg.ALPN
	// Without it a server may hold back the ticket that tells us that we were
	// admitted (RFC 8446, section 4.2.9).
	h.PSKModes = pskDHE
	c.offerForms()
	c.offerAnchors()
	c.limitHello()
	h.TicketRequest = c.cfg.TicketRequest
	h.PostHandshakeAuth = c.cfg.PostHandshakeAuth && !c.cfg.QUIC // RFC 9001, section 4.4
	h.HasKeyShares = true
	for _, g := range c.firstShares() {
		if err := c.share(g); err != nil {
			return err
		}
	}
	c.offerTypes()
	h.Delegated, c.takesDelegated = c.cfg.Delegated, c.cfg.Delegated
	if err := errors.Join(c.grease(), c.order()); err != nil {
		return c.misuse(code.Internal, err)
	}
	if c.cfg.QUIC {
		if len(c.cfg.ALPN) == 0 {
			return c.noProtocol()
		}
		c.askParameters()
		return nil
	}
	return c.look()
}

// look looks for a session to offer, and sends the hello.
func (c *Client) look() error {
	if c.cfg.Resume || c.cfg.PSKs {
		c.find = Op{Kind: FindTicket, ServerName: c.hello.ServerName}
		c.ask(&c.find, true)
		return nil
	}
	return c.sendHello()
}

var (
	nullCompression = []byte{0}
	onlyTLS13       = []uint16{versionTLS13}
	pskDHE          = []uint8{pskDHEKE}
)

// secondShare is the group of a second key share: the first that is post-quantum
// where the first of all is not, and the other way round, so that a server finds
// one of each kind; where there is one kind, simply the second group.
func secondShare(groups []suite.GroupID) (suite.GroupID, bool) {
	for _, g := range groups[1:] {
		if g.IsPostQuantum() != groups[0].IsPostQuantum() {
			return g, true
		}
	}
	if len(groups) > 1 {
		return groups[1], true
	}
	return 0, false
}

// firstShares are the groups in which our first hello has key shares.
func (c *Client) firstShares() []suite.GroupID {
	c.shares = c.shareSpace[:0]
	switch first := c.cfg.Groups[:1:1]; {
	case c.cfg.Shares != nil:
		return c.cfg.Shares
	case c.cfg.KeyShares > 1:
		if g, ok := secondShare(c.cfg.Groups); ok {
			return append(first, g)
		}
		return first
	default:
		return first
	}
}

// dropShares forgets the private keys of our shares.
func (c *Client) dropShares() {
	for _, s := range c.shares {
		s.Destroy()
	}
	c.shares = nil
}

func (c *Client) share(g suite.GroupID) error {
	k, err := suite.Generate(g, c.cfg.Random)
	if err != nil {
		return c.misuse(code.Internal, err)
	}
	c.shares = append(c.shares, k)
	c.hello.KeyShares = append(c.hello.KeyShares, message.KeyShare{Group: g, Data: k.Public()})
	return nil
}

func (c *Client) sendHello() error {
	c.offer()
	b, err := c.makeHello()
	if err != nil {
		if c.result.Retried { // the server's cookie left no room
			return c.misuse(code.AnswerTooLarge, err)
		}
		return c.misuse(code.Misconfigured, err)
	}
	c.helloBytes = b
	c.bind(b)
	sent, err := c.enclose(b)
	if err != nil {
		return c.misuse(code.Internal, err)
	}
	c.send(Initial, sent)
	if c.ech != nil && !c.rejectedECH() {
		c.hidden(c.side, b)
	}
	if c.hello.EarlyData {
		c.beginEarly(b)
	}
	c.state, err = c.expect("ServerHello", (*Client).waitServerHello)
	return err
}

func (c *Client) waitServerHello(t message.Type, msg []byte) (clientState, error) {
	if t != message.TypeServerHello {
		return nil, nil
	}
	var m message.ServerHello
	if err := m.Parse(msg); err != nil {
		return nil, c.parsed(err)
	}
	if err := c.checkServerHello(&m); err != nil {
		return nil, err
	}
	c.received(Initial, msg)
	if err := c.learnECH(&m); err != nil {
		return nil, err
	}
	if m.IsRetry() {
		return c.retry(&m, msg)
	}
	return c.takeServerHello(&m, msg)
}

// The last eight octets of the Random of a server that speaks TLS 1.3 and was
// made to speak an older version (RFC 8446, section 4.1.3).
const (
	sentinelTLS12 = "DOWNGRD\x01"
	sentinelTLS11 = "DOWNGRD\x00"
)

func (c *Client) checkServerHello(m *message.ServerHello) error {
	if m.Version == 0 {
		tail := string(m.Random[24:])
		if tail == sentinelTLS12 || tail == sentinelTLS11 {
			return c.misbehaved(alert.IllegalParameter, code.Downgrade,
				"the server speaks TLS 1.3, and somebody on the way made it answer in an older version")
		}
		reason := "the server speaks " + versionName(m.LegacyVersion) + ", and we speak TLS 1.3"
		if m.LegacyVersion > versionTLS12 {
			reason = "the server left out supported_versions, without which there is no TLS 1.3"
		}
		return &Failure{Alert: alert.ProtocolVersion, Code: code.NoCommonVersion, Fault: PeerIncompatible, At: c.at, Reason: reason}
	}
	if m.Version != versionTLS13 {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose %s, which was not offered", versionName(m.Version))
	}
	if m.LegacyVersion <= versionSSL30 {
		return c.olderThanTLS(m.LegacyVersion)
	}
	if m.LegacyVersion != versionTLS12 {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "legacy_version is %#04x; it must be 0x0303", m.LegacyVersion)
	}
	if !bytes.Equal(m.SessionID, c.hello.SessionID) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server did not echo our session identifier")
	}
	if m.Compression != 0 {
		return c.misbehaved(alert.DecodeError, code.IllegalParameter, "the server chose a compression method: there is none in TLS 1.3")
	}
	if !has(c.cfg.Suites, m.CipherSuite) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose the cipher suite %s, which was not offered", m.CipherSuite)
	}
	retry := m.IsRetry()
	for _, x := range m.Extensions {
		switch x.Type {
		case message.ExtSupportedVersions, message.ExtKeyShare:
			continue
		case message.ExtCookie:
			if retry {
				continue // the one extension that may come unasked
			}
		case message.ExtEncryptedClientHello:
			if c.offersECH() { // only a HelloRetryRequest may have it
				continue
			}
		case message.ExtPreSharedKey:
			if c.hello.PSK != nil || c.rejectedECH() {
				continue
			}
		}
		return c.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "the server answered with the extension %s, which was not offered", x.Type)
	}
	return nil
}

// retry answers a HelloRetryRequest (RFC 8446, section 4.1.4).
func (c *Client) retry(m *message.ServerHello, msg []byte) (clientState, error) {
	if c.result.Retried {
		return nil, c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "the server sent a second HelloRetryRequest")
	}
	if m.RetryGroup == 0 && m.Cookie == nil {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "a HelloRetryRequest came that would change nothing")
	}
	if m.RetryGroup != 0 {
		if !has(c.cfg.Groups, m.RetryGroup) {
			return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server asks for the group %s, which was not offered", m.RetryGroup)
		}
		for _, s := range c.shares {
			if s.Group() == m.RetryGroup {
				return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server asks for a key share in %s, which it had", m.RetryGroup)
			}
		}
		c.dropShares()
		c.hello.KeyShares = c.hello.KeyShares[:0]
		if err := c.share(m.RetryGroup); err != nil {
			return nil, err
		}
		c.agreed("retry group", m.RetryGroup.String())
	}
	c.rejectEarly()
	c.hello.Cookie = append([]byte(nil), m.Cookie...)
	c.result.Retried = true
	c.begin(suite.ByID(m.CipherSuite))
	c.add(c.helloBytes)
	first := append([]byte(nil), c.transcript()...)
	c.hash = c.suite.NewHash()
	c.add(message.MessageHash(first))
	c.add(msg)
	if !c.usable(c.suite) {
		c.drop() // it can't be resumed with that suite (RFC 8446, section 4.1.4)
	}
	if err := c.keepKeys(c.psks, []suite.ID{c.suite.ID}); err != nil {
		return nil, err
	}
	c.compatibility()
	if err := c.sendHello(); err != nil {
		return nil, err
	}
	return c.state, nil
}

// compatibility sends the one ChangeCipherSpec of a client, before its second
// flight.
func (c *Client) compatibility() {
	if !c.ccsSent && !c.cfg.QUIC {
		c.ccsSent = true
		c.emit(Event{Kind: ChangeCipherSpec})
	}
}

func (c *Client) takeServerHello(m *message.ServerHello, msg []byte) (clientState, error) {
	if c.result.Retried && m.CipherSuite != c.suite.ID {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose %s after %s in its HelloRetryRequest", m.CipherSuite, c.suite.ID)
	}
	if !m.HasKeyShare {
		return nil, c.misbehaved(alert.MissingExtension, code.MissingExtension, "the server sent no key share")
	}
	var share *suite.KeyShare
	for _, s := range c.shares {
		if s.Group() == m.KeyShare.Group {
			share = s
		}
	}
	if share == nil {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server sent a key share in %s, in which we sent none", m.KeyShare.Group)
	}
	c.result.Group = m.KeyShare.Group
	shared, err := share.Agree(m.KeyShare.Data)
	c.dropShares()
	if err != nil {
		return nil, c.agreementFailed(err)
	}
	if !c.result.Retried {
		c.begin(suite.ByID(m.CipherSuite))
	}
	c.add(c.helloBytes)
	c.helloBytes = nil
	c.add(msg)
	c.agreed("version", versionName(versionTLS13))
	c.agreed("suite", c.suite.ID.String())
	c.agreed("group", c.result.Group.String())
	if err := c.takeChoice(m); err != nil {
		return nil, err
	}
	c.base = c.handshakeKeys(shared)
	c.compatibility()
	if err := c.keys(Handshake, Read, c.serverSecret); err != nil {
		return nil, err
	}
	if !c.result.Resumed {
		c.rejectEarly()
	}
	if !c.early.offered || c.cfg.QUIC { // else it goes on until the server says what it takes
		if err := c.keys(Handshake, Write, c.clientSecret); err != nil {
			return nil, err
		}
	}
	return c.expect("EncryptedExtensions", (*Client).waitEncryptedExtensions)
}

func (c *core) agreementFailed(err error) error {
	if errors.Is(err, suite.ErrBadShare) {
		return &Failure{Alert: alert.IllegalParameter, Code: code.BadKeyShare, Fault: PeerMisbehaved, At: c.at,
			Reason: "the peer's key share is wrong: " + err.Error(), Err: err}
	}
	return c.misuse(code.Internal, err)
}

func (c *Client) waitEncryptedExtensions(t message.Type, msg []byte) (clientState, error) {
	if t != message.TypeEncryptedExtensions {
		return nil, nil
	}
	var m message.EncryptedExtensions
	if err := m.Parse(msg); err != nil {
		return nil, c.parsed(err)
	}
	for _, x := range m.Extensions {
		switch {
		case x.Type == message.ExtSupportedGroups: // what the server would have liked: told, not agreed
		case x.Type == message.ExtServerName && c.hello.ServerName != "":
		case x.Type == message.ExtALPN && len(c.cfg.ALPN) > 0:
		case c.answersTypes(x.Type):
		case x.Type == message.ExtRecordSizeLimit && c.cfg.RecordSizeLimit != 0:
		case x.Type == message.ExtTrustAnchors && c.named != nil:
		case x.Type == message.ExtQUICTransportParameters && c.cfg.QUIC:
		case x.Type == message.ExtRecordSizeLimit && c.hello.RecordSizeLimit != 0:
		case x.Type == message.ExtTicketRequest && c.hello.TicketRequest.Made: // what follows is counted anyway
		case x.Type == message.ExtEarlyData && c.early.offered && !c.rejectedECH():
		case x.Type == message.ExtEncryptedClientHello && c.awaitsConfigs():
		default:
			return nil, c.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "the server answered with the extension %s, which was not offered", x.Type)
		}
	}
	c.received(Handshake, msg)
	c.takeRecordLimit(&m)
	c.result.TrustAnchors = m.TrustAnchors
	if err := c.checkQUIC(&m); err != nil {
		return nil, err
	}
	c.takeRetryConfigs(&m)
	if err := c.takeTypes(&m); err != nil {
		return nil, err
	}
	if m.ALPN != "" {
		if !has(c.cfg.ALPN, m.ALPN) {
			return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the server chose the protocol %q, which was not offered", m.ALPN)
		}
		c.result.ALPN = m.ALPN
		c.agreed("alpn", m.ALPN)
	}
	c.add(msg)
	if err := c.takeEarly(&m); err != nil {
		return nil, err
	}
	c.judgeAnew()
	if c.keyed {
		return c.expect("Finished", (*Client).waitFinished)
	}
	return c.expect("Certificate", (*Client).waitCertCR)
}

func (c *Client) waitCertCR(t message.Type, msg []byte) (clientState, error) {
	switch t {
	case message.TypeCertificateRequest:
		return c.takeCertificateRequest(msg)
	case message.TypeCertificate, message.TypeCompressedCertificate:
		return c.waitCert(t, msg)
	}
	return nil, nil
}

func (c *Client) takeCertificateRequest(msg []byte) (clientState, error) {
	// A copy, because the answer may come late.
	own := append([]byte(nil), msg...)
	m := &message.CertificateRequest{}
	if err := m.Parse(own); err != nil {
		return nil, c.parsed(err)
	}
	if len(m.Context) != 0 {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the context of a CertificateRequest in the handshake must be empty")
	}
	if len(m.Schemes) == 0 {
		return nil, c.misbehaved(alert.MissingExtension, code.MissingExtension, "a CertificateRequest came without signature_algorithms")
	}
	c.received(Handshake, msg)
	c.add(msg)
	c.request = m
	if c.cfg.Resume {
		c.result.CertificateRequest = m
	}
	c.result.Asked = true
	c.peerTakesDelegated = m.Delegated
	if c.rejectedECH() { // who reads the hello in the clear learns nothing of us (RFC 9849, section 6.1.7)
		c.chosen = true
		return c.expect("Certificate", (*Client).waitCert)
	}
	c.choose = Op{
		Kind: SelectCertificate, ServerName: c.hello.ServerName, Schemes: m.Schemes, Authorities: m.Authorities, Types: []CertificateType{c.result.OwnType},
		CertificateSchemes: m.CertSchemes, Filters: m.Filters, WantsOCSP: m.OCSP, WantsSCT: m.SCT, Delegated: m.Delegated,
		TrustAnchors: m.TrustAnchors,
	}
	c.ask(&c.choose, false)
	return c.expect("Certificate", (*Client).waitCert)
}

func (c *Client) waitCert(t message.Type, msg []byte) (clientState, error) {
	if !c.isCertificate(t) {
		return nil, nil
	}
	var m message.Certificate
	if err := c.readCertificate(t, msg, &m); err != nil {
		return nil, err
	}
	if len(m.Context) != 0 {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the context of a server's Certificate must be empty")
	}
	if len(m.Entries) == 0 {
		return nil, c.misbehaved(alert.DecodeError, code.NoCertificateShown, "the server showed no certificate")
	}
	if err := c.takeCertificate(&m); err != nil {
		return nil, err
	}
	c.received(Handshake, msg)
	c.add(msg)
	return c.expect("CertificateVerify", (*Client).waitCV)
}

func (c *Client) waitCV(t message.Type, msg []byte) (clientState, error) {
	if t != message.TypeCertificateVerify {
		return nil, nil
	}
	if err := c.takeCertificateVerify(msg); err != nil {
		return nil, err
	}
	c.received(Handshake, msg)
	c.add(msg)
	c.judge()
	if c.rejectedECH() {
		c.verify.PublicName = c.hello.ServerName
	}
	return c.expect("Finished", (*Client).waitFinished)
}

func (c *Client) waitFinished(t message.Type, msg []byte) (clientState, error) {
	if t != message.TypeFinished || !c.verified {
		return nil, nil
	}
	if err := c.takeFinished(c.serverSecret, msg); err != nil {
		return nil, err
	}
	c.received(Handshake, msg)
	c.add(msg)
	c.exporter = c.applicationKeys(c.base)
	c.base = nil
	if err := c.keys(Application, Read, c.serverApp); err != nil {
		return nil, err
	}
	c.flight = true
	c.expecting = "our own certificate"
	return nil, c.answer()
}

// answer sends our flight, as soon as the server's is complete and the
// certificate to show, if one is asked for, is known.
func (c *Client) answer() error {
	if !c.flight || c.done || c.sign.pending || (c.request != nil && !c.chosen) {
		return nil
	}
	c.at = "Certificate"
	if c.request == nil {
		return c.end(nil)
	}
	if c.local == nil {
		b, err := (&message.Certificate{}).Append(nil)
		if err != nil {
			return err
		}
		c.add(b)
		c.send(Handshake, b)
		return c.end(nil)
	}
	scheme, ok := c.chooseScheme(c.local, c.request.Schemes)
	if !ok {
		return c.incompatible(alert.HandshakeFailure, code.NoCommonScheme, "the server verifies no signature that our certificate's key can make")
	}
	if err := c.fitsType(c.local, c.choose.Types); err != nil {
		return err
	}
	if err := c.mayMark(c.local, c.choose.TrustAnchors); err != nil {
		return err
	}
	c.scheme = scheme
	if err := c.show(c.local, c.request.CertCompression); err != nil {
		return err
	}
	c.at = "CertificateVerify"
	c.sign = Op{Kind: Sign, Credential: c.local, Scheme: scheme, Input: signedContent(c.side, c.transcript())}
	c.ask(&c.sign, true)
	return nil
}

// complete sends our CertificateVerify.
func (c *Client) complete(signature []byte) error {
	c.waiting = false
	m := message.CertificateVerify{Scheme: c.scheme, Signature: signature}
	b, err := m.Append(make([]byte, 0, 256))
	if err != nil {
		return c.misuse(code.Internal, err)
	}
	c.add(b)
	c.send(Handshake, b)
	return c.end(b[len(b):])
}

// end sends our Finished and goes over to the application.
func (c *Client) end(space []byte) error {
	if err := c.endEarly(); err != nil {
		return err
	}
	b, err := c.makeFinished(space, c.clientSecret)
	if err != nil {
		return c.misuse(code.Internal, err)
	}
	c.send(Handshake, b)
	if err := c.keys(Application, Write, c.clientApp); err != nil {
		return err
	}
	if c.rejectedECH() {
		return c.refuseECH()
	}
	exporter := c.exporter
	c.exporter = nil
	c.finish(exporter, c.hello.PostHandshakeAuth)
	return nil
}
