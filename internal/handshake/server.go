package handshake

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Server is the server's machine (RFC 8446, appendix A.2).
type Server struct {
	core
	state serverState

	hello     message.ClientHello
	first     []byte // the first ClientHello, where a HelloRetryRequest was sent
	retryWith suite.GroupID
	fewer     bool   // the second hello offers fewer sessions
	held      []byte // the ClientHello, where a ticket has to be opened first
	share     *message.KeyShare
	sessionID []byte
	base      *schedule.Handshake
	ech       opening

	open     Op
	choose   Op
	sign     Op
	seal     Op
	register Op
	bake     Op
	baked    bool           // a cookie was given
	schemes  []suite.Scheme // the client's
	shows    *Credential
	scheme   suite.Scheme
	exporter []byte
	// parameters are our transport parameters, for QUIC.
	parameters []byte
	available  []message.TrustAnchorID // that we have certificates under

	resumption []byte // what tickets are made from
	left       int    // tickets that are still to be given
	given      uint8
}

// serverState takes one message and gives the next state. A nil state without
// an error means that the message is not expected here.
type serverState func(*Server, message.Type, []byte) (serverState, error)

// NewServer is a server that waits for a ClientHello.
func NewServer(cfg *Config) *Server {
	s := &Server{}
	s.init(cfg, observe.Server)
	s.state, _ = s.expect("ClientHello", (*Server).waitClientHello)
	return s
}

// Message takes one whole handshake message.
func (s *Server) Message(level Level, msg []byte) error {
	if s.failure != nil {
		return s.failure
	}
	if s.waiting {
		return s.fail(s.enqueue(level, msg))
	}
	return s.fail(s.step(level, msg))
}

func (s *Server) step(level Level, msg []byte) error {
	t := message.Type(msg[0])
	s.at = t.String()
	if s.state == nil || level != s.level {
		return s.unexpected(t)
	}
	next, err := s.state(s, t, msg)
	if err != nil {
		return err
	}
	if next == nil && !s.done {
		return s.unexpected(t)
	}
	s.state = next
	return nil
}

// Resolve takes the answer to an operation.
func (s *Server) Resolve(op *Op, a Answer) error {
	if err := s.resolvable(op); err != nil {
		a.destroy()
		return err
	}
	if op.Kind == SealTicket {
		op.Session.destroy()
	}
	if a.Err != nil && !op.again() && op.Kind != RegisterEarlyData {
		return s.fail(s.failed(op, a))
	}
	s.waiting = false
	var err error
	switch op.Kind {
	case DecryptECH:
		err = s.decrypted(a)
	case OpenTicket:
		err = s.opened(a.Session)
	case SelectCertificate:
		s.available = a.TrustAnchors
		err = s.selected(a.Credential)
	case Sign:
		err = s.complete(a.Signature)
	case VerifyPeer: // admitted: its Finished follows
		switch {
		case op.again():
			if a.Err != nil {
				s.drop() // a full handshake, in which all is judged anew
			} else {
				s.resumes()
			}
			err = s.registerEarly()
		case op.Proven != nil:
			s.resumes()
			err = s.proceed()
		}
	case TransportParameters:
		s.parameters = parameters(a)
		err = s.encrypted(nil)
	case MakeCookie:
		err = s.sendCookie(a.Ticket)
	case OpenCookie:
		err = s.openedCookie(a.Ticket)
	case RegisterEarlyData:
		err = s.registered(a)
	case SealTicket:
		err = s.sealed(a.Ticket, a.Lifetime)
	}
	for err == nil {
		q, ok := s.dequeue()
		if !ok {
			break
		}
		err = s.step(q.level, q.msg)
	}
	return s.fail(err)
}

// Discard zeroes what is secret and still held.
func (s *Server) Discard() {
	if s.base != nil {
		s.base.Destroy()
		s.base = nil
	}
	clear(s.exporter)
	clear(s.resumption)
	s.seal.Session.destroy()
	s.core.Discard()
}

func (s *Server) expect(name string, st serverState) (serverState, error) {
	s.expecting = name
	return st, nil
}

func (s *Server) waitClientHello(t message.Type, msg []byte) (serverState, error) {
	if t != message.TypeClientHello {
		return nil, nil
	}
	if s.cfg.Resume || s.cfg.PSKs || s.cfg.ECH || s.cfg.QUIC || s.cfg.Cookies {
		msg = bytes.Clone(msg) // what it offers may be looked into for a while
	}
	if err := s.hello.Parse(msg); err != nil {
		return nil, s.parsed(err)
	}
	s.received(Initial, msg)
	if next, err := s.takeECH(msg); next != nil || err != nil {
		return next, err
	}
	return s.takeHello(msg)
}

// takeHello answers msg, which is parsed: the hello that the client means.
func (s *Server) takeHello(msg []byte) (serverState, error) {
	if err := s.checkClientHello(); err != nil {
		return nil, err
	}
	h := &s.hello
	s.random = h.Random
	if len(h.SessionID) > 0 {
		s.sessionID = append([]byte(nil), h.SessionID...)
	}
	switch {
	case !s.cfg.Cookies:
	case h.Cookie != nil:
		return s.openCookie(msg)
	case s.baked:
		return nil, s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client left out the cookie that it was given")
	}
	return s.negotiate(msg)
}

// negotiate chooses what the hello offers, and asks for what is missing.
func (s *Server) negotiate(msg []byte) (serverState, error) {
	h := &s.hello
	if s.suite == nil {
		chosen, ok := s.chooseSuite(h.CipherSuites)
		if !ok {
			return nil, s.incompatible(alert.HandshakeFailure, code.NoCommonSuite, "the client and we have no cipher suite in common")
		}
		s.begin(s.suitKey(chosen))
	}
	group, ok := pick(s.cfg.Groups, h.Groups)
	if !ok && !slices.ContainsFunc(h.Groups, func(g suite.GroupID) bool { return !g.IsObsolete() }) {
		return nil, s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client offers no group but such as TLS 1.3 did away with")
	}
	if !ok {
		return nil, s.incompatible(alert.HandshakeFailure, code.NoCommonGroup, "the client and we have no key exchange group in common")
	}
	i := slices.IndexFunc(h.KeyShares, func(k message.KeyShare) bool { return k.Group == group })
	switch {
	case s.cfg.Cookies && !s.result.Retried && i < 0:
		return s.makeCookie(group, msg)
	case s.cfg.Cookies && !s.result.Retried:
		return s.makeCookie(0, msg)
	case i < 0:
		return s.askAgain(group, msg)
	}
	s.share = &h.KeyShares[i]
	if s.offersSession() {
		s.held = msg
		s.openTicket()
		return s.expect("ClientHello", (*Server).waitNothing)
	}
	s.add(msg)
	return s.takeClientHello()
}

// waitNothing is the state in which an operation of ours has to be answered
// before anything may come.
func (s *Server) waitNothing(message.Type, []byte) (serverState, error) { return nil, nil }

// checkClientHello checks what does not depend on what we would choose.
func (s *Server) checkClientHello() error {
	h := &s.hello
	if !has(h.Versions, versionTLS13) {
		// Without supported_versions it is TLS 1.2 at most, whatever it says (RFC
		// 8446, section 4.2.1).
		best := min(h.LegacyVersion, versionTLS12)
		if len(h.Versions) > 0 {
			best = 0
		}
		for _, v := range h.Versions {
			if v <= versionTLS12 {
				best = max(best, v)
			}
		}
		return &Failure{Alert: alert.ProtocolVersion, Code: code.NoCommonVersion, Fault: PeerIncompatible, At: s.at,
			Reason: "the client speaks " + versionName(best) + " at most, and we speak TLS 1.3"}
	}
	if h.LegacyVersion <= versionSSL30 {
		return s.olderThanTLS(h.LegacyVersion)
	}
	if !bytes.Equal(h.Compression, nullCompression) {
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client offers compression: there is none in TLS 1.3")
	}
	if h.PSK != nil && len(h.PSKModes) == 0 {
		return s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client offers a pre-shared key without psk_key_exchange_modes")
	}
	// RFC 8446, section 9.2. A client that resumes may leave them out.
	if len(h.Schemes) == 0 && !s.offersSession() {
		return s.noSchemes()
	}
	if len(h.Groups) == 0 {
		return s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client sent no supported_groups")
	}
	if !h.HasKeyShares {
		return s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client sent no key_share")
	}
	// RFC 8446, section 4.2.8: key shares come from supported_groups, in their
	// order, each group once.
	from := 0
	for _, k := range h.KeyShares {
		i := slices.Index(h.Groups[from:], k.Group)
		if i < 0 {
			return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client's key share in %s is not among its supported_groups, or not in their order", k.Group)
		}
		from += i + 1
		if k.Group.IsObsolete() { // a list may name it for older servers; a share is for TLS 1.3 alone
			return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client's key share is in the group %s, which TLS 1.3 did away with", k.Group)
		}
	}
	if err := s.checkQUIC(); err != nil {
		return err
	}
	return s.checkRetried()
}

func (s *Server) noSchemes() error {
	return s.misbehaved(alert.MissingExtension, code.MissingExtension, "the client sent no signature_algorithms")
}

// chooseSuite takes our first suite that the client has too; but where its first
// is ChaCha20-Poly1305, it says that its processor has no AES, and we have both.
func (s *Server) chooseSuite(theirs []suite.ID) (*suite.Suite, bool) {
	for _, first := range theirs {
		if suite.IsGREASE(uint16(first)) {
			continue
		}
		if first == suite.ChaCha20Poly1305SHA256 && has(s.cfg.Suites, first) {
			return suite.ByID(first), true
		}
		break
	}
	id, ok := pick(s.cfg.Suites, theirs)
	if !ok {
		return nil, false
	}
	return suite.ByID(id), true
}

// askAgain sends a HelloRetryRequest.
func (s *Server) askAgain(group suite.GroupID, msg []byte) (serverState, error) {
	if s.result.Retried {
		return nil, s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client's second hello has no key share in %s", group)
	}
	s.first = append([]byte(nil), msg...)
	s.retryWith = group
	s.result.Retried = true
	s.add(msg)
	first := append([]byte(nil), s.transcript()...)
	s.hash = s.suite.NewHash()
	s.add(message.MessageHash(first))
	m := message.ServerHello{
		LegacyVersion: versionTLS12, Random: message.RetryRandom, SessionID: s.sessionID,
		CipherSuite: s.suite.ID, Version: versionTLS13, RetryGroup: group,
	}
	if s.ech.confirms {
		m.ECHConfirmation = make([]byte, message.ECHConfirmationLen)
	}
	b, err := m.Append(make([]byte, 0, 128))
	if err != nil {
		return nil, s.misuse(code.Internal, err)
	}
	s.confirmRetry(b)
	s.add(b)
	s.send(Initial, b)
	s.compatibility()
	if s.hello.EarlyData {
		s.skipEarly()
	}
	s.agreed("retry group", group.String())
	return s.expect("ClientHello", (*Server).waitClientHello)
}

// compatibility sends the ChangeCipherSpec of a server, after its first message,
// to a client that asked for the disguise (RFC 8446, appendix D.4).
func (s *Server) compatibility() {
	if len(s.sessionID) > 0 {
		s.emit(Event{Kind: ChangeCipherSpec})
	}
}

// takeClientHello answers the ClientHello, which is in the transcript.
func (s *Server) takeClientHello() (serverState, error) {
	h, share := &s.hello, s.share
	if !s.keyed {
		if err := s.requireKey(); err != nil {
			return nil, err
		}
		if len(h.Schemes) == 0 {
			return nil, s.noSchemes()
		}
		if _, ok := pick(suite.Schemes(), h.Schemes); !ok {
			return nil, s.incompatible(alert.HandshakeFailure, code.NoCommonScheme, "the client verifies no signature that we can make")
		}
	}
	if s.cfg.SideALPN != "" && len(h.ALPN) == 1 && h.ALPN[0] == s.cfg.SideALPN {
		s.result.ALPN = s.cfg.SideALPN
	} else if s.cfg.QUIC || len(s.cfg.ALPN) > 0 && len(h.ALPN) > 0 {
		p, ok := pick(s.cfg.ALPN, h.ALPN)
		if !ok {
			return nil, s.incompatible(alert.NoApplicationProtocol, code.NoCommonALPN, "the client offers %q, and we speak %q", cut(h.ALPN), s.cfg.ALPN)
		}
		s.result.ALPN = p
	}
	if !s.keyed {
		if err := s.chooseClientType(); err != nil {
			return nil, err
		}
	}
	s.result.ServerName = h.ServerName
	s.result.Group = share.Group
	s.schemes = h.Schemes
	if s.keyed {
		return s.sendServerHello()
	}
	share.Data = bytes.Clone(share.Data) // it lies in the message
	s.selectCertificate()
	return s.expect("ClientHello", (*Server).waitNothing)
}

// sendServerHello sends ServerHello, and goes over to our handshake keys. Whom we
// have nothing to show is told before, in the clear and without a key exchange.
func (s *Server) sendServerHello() (serverState, error) {
	s.at = message.TypeClientHello.String()
	share := s.share
	public, shared, err := suite.Respond(share.Group, s.cfg.Random, share.Data)
	if err != nil {
		return nil, s.agreementFailed(err)
	}
	defer clear(shared) // where what follows fails, too
	m := message.ServerHello{
		LegacyVersion: versionTLS12, SessionID: s.sessionID, CipherSuite: s.suite.ID, Version: versionTLS13,
		KeyShare: message.KeyShare{Group: share.Group, Data: public}, HasKeyShare: true, HasPSK: s.keyed,
	}
	if m.HasPSK {
		m.PSKIndex = uint16(s.session.Index)
	}
	if _, err := io.ReadFull(s.cfg.Random, m.Random[:]); err != nil {
		return nil, s.misuse(code.Internal, errors.New("the random source failed"))
	}
	b, err := m.Append(make([]byte, 0, 512+len(public)))
	if err != nil {
		return nil, s.misuse(code.Internal, err)
	}
	s.agreed("version", versionName(versionTLS13))
	s.agreed("suite", s.suite.ID.String())
	s.agreed("group", s.result.Group.String())
	if s.result.ServerName != "" {
		s.agreed("server name", s.result.ServerName)
	}
	s.confirm(b)
	s.add(b)
	s.send(Initial, b)
	if !s.result.Retried {
		s.compatibility()
	}
	s.base = s.handshakeKeys(shared)
	if err := s.keys(Handshake, Write, s.serverSecret); err != nil {
		return nil, err
	}
	if err := s.readFlight(); err != nil {
		return nil, err
	}
	if s.cfg.QUIC {
		s.tellParameters()
		return s.afterFlight()
	}
	if err := s.encrypted(b[len(b):]); err != nil {
		return nil, err
	}
	return s.afterFlight()
}

// selectCertificate asks for what we show to this client.
func (s *Server) selectCertificate() {
	h := &s.hello
	s.peerTakesDelegated = h.Delegated
	s.choose = Op{
		Kind: SelectCertificate, ServerName: h.ServerName, Schemes: h.Schemes, ALPN: h.ALPN, Types: s.takes(),
		CertificateSchemes: h.CertSchemes, WantsOCSP: h.OCSP, WantsSCT: h.SCT, Delegated: h.Delegated,
		TrustAnchors: h.TrustAnchors,
	}
	for _, a := range h.Authorities { // they lie in the message
		s.choose.Authorities = append(s.choose.Authorities, bytes.Clone(a))
	}
	s.ask(&s.choose, true)
}

// selected takes the certificate that was selected, and goes on.
func (s *Server) selected(cred *Credential) error {
	s.at = "Certificate"
	if cred == nil {
		return s.incompatible(alert.HandshakeFailure, code.NoFittingCertificate, "none of our certificates fits what the client verifies")
	}
	scheme, ok := s.chooseScheme(cred, s.schemes)
	if !ok {
		return s.incompatible(alert.HandshakeFailure, code.NoCommonScheme, "the client verifies no signature that our certificate's key can make")
	}
	if err := s.fitsType(cred, s.choose.Types); err != nil {
		return err
	}
	if err := s.mayMark(cred, s.choose.TrustAnchors); err != nil {
		return err
	}
	s.shows, s.scheme = cred, scheme
	s.result.OwnType = cred.Type
	var err error
	s.state, err = s.sendServerHello()
	return err
}

// encrypted sends the rest of our flight, up to what has to be signed.
func (s *Server) encrypted(space []byte) error {
	s.at = "EncryptedExtensions"
	if err := s.sendEncryptedExtensions(space); err != nil {
		return err
	}
	if s.keyed {
		return s.finishFlight(nil)
	}
	s.at = "Certificate"
	if err := s.show(s.shows, s.hello.CertCompression); err != nil {
		return err
	}
	s.at = "CertificateVerify"
	s.sign = Op{Kind: Sign, Credential: s.shows, Scheme: s.scheme, Input: signedContent(s.side, s.transcript())}
	s.ask(&s.sign, true)
	return nil
}

// cut keeps a list of the peer's short enough for a sentence.
func cut(list []string) []string {
	const most = 8
	if len(list) > most {
		return list[:most]
	}
	return list
}

// sendEncryptedExtensions sends EncryptedExtensions and, where we ask for a
// certificate, the CertificateRequest.
func (s *Server) sendEncryptedExtensions(space []byte) error {
	ee := message.EncryptedExtensions{ALPN: s.result.ALPN, ServerName: s.result.ServerName != "" && !s.keyed, TransportParameters: s.parameters, EarlyData: s.early.taken, ECHRetryConfigs: s.ech.retry}
	s.answerTicketRequest(&ee)
	s.answerTypes(&ee)
	s.answerAnchors(&ee)
	s.limitRecords(&ee)
	b, err := ee.Append(space)
	if err != nil {
		return s.misuse(code.Internal, err)
	}
	s.add(b)
	s.send(Handshake, b)
	if s.result.ALPN != "" {
		s.agreed("alpn", s.result.ALPN)
	}
	if s.cfg.ClientAuth == NoClientCertificate || s.keyed {
		return nil
	}
	s.result.Asked = true
	cr := s.cfg.certificateRequest(nil)
	s.requestForms(cr)
	s.requestAnchors(cr)
	cr.Delegated, s.takesDelegated = s.cfg.Delegated, s.cfg.Delegated
	if s.takesLegacy = s.cfg.LegacyPKCS1; s.takesLegacy {
		cr.Schemes = slices.Concat(cr.Schemes, suite.LegacySchemes())
	}
	if err := s.greaseRequest(cr); err != nil {
		return s.misuse(code.Internal, err)
	}
	b, err = cr.Append(b[len(b):])
	if err != nil {
		return s.misuse(code.Misconfigured, err)
	}
	s.add(b)
	s.send(Handshake, b)
	return nil
}

// afterFlight is the state that follows our flight. Messages that come before
// the flight is out are queued: an operation is pending until then.
func (s *Server) afterFlight() (serverState, error) {
	if s.early.taken && !s.cfg.QUIC {
		return s.waitEarly()
	}
	if s.cfg.ClientAuth == NoClientCertificate || s.keyed {
		return s.expect("Finished", (*Server).waitFinished)
	}
	return s.expect("Certificate", (*Server).waitCert)
}

// complete sends CertificateVerify and what follows it.
func (s *Server) complete(signature []byte) error {
	m := message.CertificateVerify{Scheme: s.scheme, Signature: signature}
	b, err := m.Append(make([]byte, 0, 512))
	if err != nil {
		return s.misuse(code.Internal, err)
	}
	s.add(b)
	s.send(Handshake, b)
	return s.finishFlight(b[len(b):])
}

// finishFlight sends Finished, and goes over to our application keys.
func (s *Server) finishFlight(space []byte) error {
	b, err := s.makeFinished(space, s.serverSecret)
	if err != nil {
		return s.misuse(code.Internal, err)
	}
	s.send(Handshake, b)
	s.exporter = s.applicationKeys(s.base)
	s.base = nil
	return s.keys(Application, Write, s.serverApp)
}

func (s *Server) waitCert(t message.Type, msg []byte) (serverState, error) {
	if !s.isCertificate(t) {
		return nil, nil
	}
	var m message.Certificate
	if err := s.readCertificate(t, msg, &m); err != nil {
		return nil, err
	}
	if len(m.Context) != 0 {
		return nil, s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the context of the client's Certificate is not that of our request")
	}
	s.received(Handshake, msg)
	if len(m.Entries) == 0 {
		if s.cfg.ClientAuth == RequireClientCertificate {
			return nil, &Failure{Alert: alert.CertificateRequired, Code: code.CertificateRequired, Fault: OurPolicy, At: s.at,
				Reason: "the client showed no certificate, and one is required"}
		}
		s.add(msg)
		return s.expect("Finished", (*Server).waitFinished)
	}
	if err := s.takeCertificate(&m); err != nil {
		return nil, err
	}
	s.add(msg)
	return s.expect("CertificateVerify", (*Server).waitCV)
}

func (s *Server) waitCV(t message.Type, msg []byte) (serverState, error) {
	if t != message.TypeCertificateVerify {
		return nil, nil
	}
	if err := s.takeCertificateVerify(msg); err != nil {
		return nil, err
	}
	s.received(Handshake, msg)
	s.add(msg)
	s.judge()
	return s.expect("Finished", (*Server).waitFinished)
}

func (s *Server) waitFinished(t message.Type, msg []byte) (serverState, error) {
	if t != message.TypeFinished {
		return nil, nil
	}
	if err := s.takeFinished(s.clientSecret, msg); err != nil {
		return nil, err
	}
	s.received(Handshake, msg)
	s.add(msg)
	if err := s.keys(Application, Read, s.clientApp); err != nil {
		return nil, err
	}
	return s.giveTickets()
}
