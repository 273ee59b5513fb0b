package handshake

import (
	"crypto/subtle"
	"errors"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// What both ends do in the same way to prove who they are (RFC 8446, section
// 4.4): Certificate, CertificateVerify, Finished.

const (
	serverContext = "TLS 1.3, server CertificateVerify"
	clientContext = "TLS 1.3, client CertificateVerify"
	signedPrefix  = 64 // octets of 0x20 before the context
)

// signedContent is what a CertificateVerify of side signs (RFC 8446, section
// 4.4.3).
func signedContent(side observe.Side, transcript []byte) []byte {
	context := clientContext
	if side == observe.Server {
		context = serverContext
	}
	return signedUnder(context, transcript)
}

func signedUnder(context string, transcript []byte) []byte {
	b := make([]byte, signedPrefix, signedPrefix+len(context)+1+len(transcript))
	for i := range b {
		b[i] = ' '
	}
	b = append(b, context...)
	b = append(b, 0)
	return append(b, transcript...)
}

// takeCertificate takes the peer's chain, which must not be empty, and the key
// of its leaf.
func (c *core) takeCertificate(m *message.Certificate) error {
	if c.result.PeerType == RawPublicKey {
		return c.takeRawKey(m)
	}
	total := 0
	var delegated message.DelegatedCredential
	for _, e := range m.Entries {
		total += len(e.Data)
	}
	c.ocsp, c.scts = nil, nil
	for i := range m.Entries {
		for j := range m.Entries[i].Extensions {
			x := &m.Entries[i].Extensions[j]
			if x.Type == message.ExtDelegatedCredential {
				if err := c.delegation(i, x, &delegated); err != nil {
					return err
				}
				continue
			}
			if err := c.takeBeside(i, len(m.Entries), x); err != nil {
				return err
			}
		}
	}
	copied := make([]byte, 0, total)
	c.chain = make([][]byte, len(m.Entries))
	for i, e := range m.Entries {
		start := len(copied)
		copied = append(copied, e.Data...)
		c.chain[i] = copied[start:len(copied):len(copied)]
	}
	leaf, err := suite.CertificateKey(c.chain[0])
	if err != nil {
		return c.badLeaf(err)
	}
	if len(leaf.Schemes()) == 0 {
		return &Failure{Alert: alert.UnsupportedCertificate, Code: code.UnsupportedKey, Fault: PeerIncompatible, At: c.at,
			Reason: "the peer's certificate has a key of a kind that can't sign in TLS 1.3"}
	}
	c.leaf = leaf
	if delegated.Key != nil {
		return c.delegate(&delegated)
	}
	return nil
}

// badLeaf tells a certificate that nobody can read from one whose key others may
// use, and TLS 1.3 or we do not.
func (c *core) badLeaf(err error) error {
	var unsupported *suite.UnsupportedKey
	if errors.As(err, &unsupported) {
		return &Failure{Alert: alert.UnsupportedCertificate, Code: code.UnsupportedKey, Fault: PeerIncompatible, At: c.at,
			Reason: "the peer's certificate has a key that can't be used: " + err.Error(), Err: err}
	}
	return &Failure{Alert: alert.DecodeError, Code: code.Malformed, Fault: PeerMisbehaved, At: c.at,
		Reason: "the peer's certificate does not parse: " + err.Error(), Err: err}
}

// takeCertificateVerify checks that the peer holds the key of its leaf. The
// transcript must end with the peer's Certificate.
func (c *core) takeCertificateVerify(msg []byte) error {
	return c.takeProof(msg, signedContent(c.peer(), c.transcript()))
}

// takeProof checks that the peer signed content with the key of its leaf.
func (c *core) takeProof(msg, content []byte) error {
	var m message.CertificateVerify
	if err := m.Parse(msg); err != nil {
		return c.parsed(err)
	}
	if d := c.delegated; d != nil {
		if m.Scheme != d.Scheme {
			return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the peer signed with %s, and its delegated credential says %s", m.Scheme, d.Scheme)
		}
	} else if !has(c.cfg.Schemes, m.Scheme) && !(c.takesLegacy && m.Scheme.IsLegacy()) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the peer signed with %s, which was not offered", m.Scheme)
	}
	if !c.leaf.Fits(m.Scheme) {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the peer signed with %s, which does not fit the key of its certificate", m.Scheme)
	}
	if err := c.leaf.Verify(m.Scheme, content, m.Signature); err != nil {
		return &Failure{Alert: alert.DecryptError, Code: code.BadHandshakeProof, Fault: PeerMisbehaved, At: c.at,
			Reason: "the peer did not prove that it holds the key of its certificate: the signature is wrong", Err: err}
	}
	c.result.Scheme = m.Scheme
	c.agreed("scheme", m.Scheme.String())
	return nil
}

// judge asks for the judgement of the peer, whose key has been proven.
func (c *core) judge() {
	c.verify = Op{Kind: VerifyPeer, Chain: c.chain, Type: c.result.PeerType, Delegation: c.delegated, OCSP: c.ocsp, SCTs: c.scts}
	c.ask(&c.verify, true)
}

// takeFinished checks the peer's Finished against its base key. The transcript
// must end just before it.
func (c *core) takeFinished(base, msg []byte) error {
	var m message.Finished
	if err := m.Parse(msg); err != nil {
		return c.parsed(err)
	}
	if n := c.suite.Hash.Size(); len(m.VerifyData) != n {
		return c.misbehaved(alert.DecodeError, code.BadMessage, "the peer's Finished has %d bytes; with %s it has %d", len(m.VerifyData), c.suite.ID, n)
	}
	want := schedule.Finished(c.suite, labels, base, c.transcript())
	if subtle.ConstantTimeCompare(want, m.VerifyData) != 1 {
		return c.misbehaved(alert.DecryptError, code.BadFinished, "the peer's Finished is wrong: the two sides did not see the same handshake")
	}
	return nil
}

// makeFinished appends our Finished to b and adds it to the transcript.
func (c *core) makeFinished(b, base []byte) ([]byte, error) {
	start := len(b)
	m := message.Finished{VerifyData: schedule.Finished(c.suite, labels, base, c.transcript())}
	b, err := m.Append(b)
	if err != nil {
		return nil, err
	}
	c.add(b[start:])
	return b, nil
}

// handshakeKeys derives the handshake traffic secrets from the shared secret,
// which is zeroed. The transcript must end with ServerHello.
func (c *core) handshakeKeys(shared []byte) *schedule.Handshake {
	var psk []byte
	source := "the shared secret and the hellos"
	if c.keyed {
		psk, source = c.session.Secret, "the session's secret, the shared secret and the hellos"
	}
	early := schedule.NewEarly(c.suite, labels, psk)
	hs := early.Handshake(shared)
	clear(shared)
	c.drop()
	c.clientSecret, c.serverSecret = hs.Traffic(c.transcript())
	c.derived(Handshake, observe.Client, "client_handshake_traffic_secret", source, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", c.clientSecret)
	c.derived(Handshake, observe.Server, "server_handshake_traffic_secret", source, "SERVER_HANDSHAKE_TRAFFIC_SECRET", c.serverSecret)
	return hs
}

// applicationKeys derives what protects the application. The transcript must
// end with the server's Finished.
func (c *core) applicationKeys(hs *schedule.Handshake) (exporter []byte) {
	c.main = hs.Main()
	th := c.transcript()
	c.clientApp, c.serverApp = c.main.Traffic(th)
	exporter = c.main.Exporter(th)
	c.derived(Application, observe.Client, "client_application_traffic_secret_0", "the handshake up to the server's Finished", "CLIENT_TRAFFIC_SECRET_0", c.clientApp)
	c.derived(Application, observe.Server, "server_application_traffic_secret_0", "the handshake up to the server's Finished", "SERVER_TRAFFIC_SECRET_0", c.serverApp)
	if c.cfg.KeyLog != nil {
		c.cfg.KeyLog("EXPORTER_SECRET", c.random[:], exporter)
	}
	return exporter
}

// finish ends the handshake. What it no longer needs is zeroed.
func (c *core) finish(exporter []byte, postAuth bool) {
	clear(c.clientSecret)
	clear(c.serverSecret)
	if !c.settled { // else others read it by now
		c.result.PeerChain = c.chain
	}
	st := &Standing{suite: c.suite, exporter: exporter, client: c.side == observe.Client, observer: c.cfg.Observer, quic: c.cfg.QUIC, cfg: c.cfg, serverName: c.result.ServerName, alpn: c.result.ALPN}
	if st.client && c.cfg.Resume {
		st.resumption = c.main.Resumption(c.transcript())
		q := c.cfg.TicketRequest
		if st.most = max(maxTickets, int(q.Full)); c.result.Resumed {
			st.most = max(maxTickets, int(q.Resumed))
		}
	}
	c.main.Destroy()
	c.main = nil
	c.keepTranscript(st, postAuth)
	if st.client {
		st.read, st.write = c.serverApp, c.clientApp
	} else {
		st.read, st.write = c.clientApp, c.serverApp
	}
	c.result.Standing = st
	c.clientApp, c.serverApp = nil, nil
	c.done = true
	c.expecting = "application data"
	c.emit(Event{Kind: Done})
	c.sees(observe.Event{Kind: observe.Done, From: c.side})
}
