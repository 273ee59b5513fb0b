package handshake

import (
	"crypto/rand"
	"hash"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// actor plays one end by hand against a machine. It keeps the transcript and the
// key schedule right whatever it says, so that nothing but its lie is wrong: a
// Finished of its own fits what it sent.
type actor struct {
	t    testing.TB
	side observe.Side
	peer *end // the machine under test
	read int  // letters of the peer's that were read

	suite          *suite.Suite
	hash           hash.Hash
	first          []byte // messages before the hash is known
	stage          *schedule.Handshake
	client, server []byte // handshake traffic secrets

	hello message.ClientHello // the last that was sent, by whoever sends it
	share *suite.KeyShare     // a client's
	reply message.ServerHello
}

// machine is something that is made into bytes.
type machine interface {
	Append([]byte) ([]byte, error)
}

// put makes m, and adds it to the transcript.
func (a *actor) put(m machine) []byte {
	a.t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.note(b)
	return b
}

func (a *actor) note(msg []byte) {
	if a.hash == nil {
		a.first = append(a.first, msg...)
		return
	}
	a.hash.Write(msg)
}

// say delivers msg to the machine, whose operations are answered at once.
func (a *actor) say(level Level, msg []byte) {
	a.peer.hand(letter{level, msg})
	for len(a.peer.ops) > 0 && a.peer.err == nil {
		a.peer.resolve(0)
	}
}

// next is the next message that the machine sent; it joins the transcript.
func (a *actor) next(want message.Type) []byte {
	a.t.Helper()
	if a.read >= len(a.peer.sent) {
		a.t.Fatalf("the %s sent no %v: %v", a.peer.name, want, a.peer.err)
	}
	msg := a.peer.sent[a.read].msg
	a.read++
	if got := message.Type(msg[0]); got != want {
		a.t.Fatalf("the %s sent %v, expected %v", a.peer.name, got, want)
	}
	a.note(msg)
	return msg
}

func (a *actor) choose(s *suite.Suite) {
	if a.hash == nil {
		a.suite, a.hash = s, s.NewHash()
		a.hash.Write(a.first)
	}
}

// restart makes the transcript that of a handshake with a HelloRetryRequest.
func (a *actor) restart(s *suite.Suite) {
	h := s.NewHash()
	h.Write(a.first)
	a.suite, a.hash = s, s.NewHash()
	a.hash.Write(message.MessageHash(h.Sum(nil)))
}

func (a *actor) agree(secret []byte) {
	a.stage = schedule.NewEarly(a.suite, labels, nil).Handshake(secret)
	a.client, a.server = a.stage.Traffic(a.hash.Sum(nil))
}

// certificate shows the chain of l.
func (a *actor) certificate(l *mint.Leaf, edit func(*message.Certificate)) {
	m := message.Certificate{}
	for _, der := range l.Chain {
		m.Entries = append(m.Entries, message.CertificateEntry{Data: der})
	}
	if edit != nil {
		edit(&m)
	}
	a.say(Handshake, a.put(&m))
}

// verify signs with the key of l.
func (a *actor) verify(l *mint.Leaf, edit func(*message.CertificateVerify)) {
	a.t.Helper()
	k, err := suite.CertificateKey(l.Chain[0])
	if err != nil {
		a.t.Fatal(err)
	}
	a.verifyBy(l, k.Schemes()[0], a.side, edit)
}

// verifyBy signs by a scheme, as a side.
func (a *actor) verifyBy(l *mint.Leaf, s suite.Scheme, as observe.Side, edit func(*message.CertificateVerify)) {
	a.t.Helper()
	a.say(Handshake, a.signed(l, s, as, edit))
}

func (a *actor) signed(l *mint.Leaf, s suite.Scheme, as observe.Side, edit func(*message.CertificateVerify)) []byte {
	a.t.Helper()
	sig, err := suite.Sign(rand.Reader, signer(l), s, signedContent(as, a.hash.Sum(nil)))
	if err != nil {
		a.t.Fatal(err)
	}
	m := message.CertificateVerify{Scheme: s, Signature: sig}
	if edit != nil {
		edit(&m)
	}
	return a.put(&m)
}

// finished is a Finished that fits all that was said.
func (a *actor) finished(edit func(*message.Finished)) { a.say(Handshake, a.proof(edit)) }

func (a *actor) proof(edit func(*message.Finished)) []byte {
	base := a.client
	if a.side == observe.Server {
		base = a.server
	}
	m := message.Finished{VerifyData: schedule.Finished(a.suite, labels, base, a.hash.Sum(nil))}
	if edit != nil {
		edit(&m)
	}
	return a.put(&m)
}

// newServerActor is a server by hand, before a client that has sent its hello.
func newServerActor(t testing.TB, s setting) *actor {
	a := &actor{t: t, side: observe.Server, peer: newClientEnd(t, s)}
	a.peer.settle(a.peer.start())
	a.readHello()
	return a
}

func (a *actor) readHello() {
	a.t.Helper()
	if err := a.hello.Parse(a.next(message.TypeClientHello)); err != nil {
		a.t.Fatal(err)
	}
}

// serverHello answers the hello in the group of its first share; a second one
// answers in the same way.
func (a *actor) serverHello(edit func(*message.ServerHello)) {
	a.t.Helper()
	k := a.hello.KeyShares[0]
	public, secret, err := suite.Respond(k.Group, rand.Reader, k.Data)
	if err != nil {
		a.t.Fatal(err)
	}
	m := message.ServerHello{
		LegacyVersion: versionTLS12, SessionID: a.hello.SessionID, CipherSuite: a.hello.CipherSuites[0], Version: versionTLS13,
		KeyShare: message.KeyShare{Group: k.Group, Data: public}, HasKeyShare: true,
	}
	_, _ = rand.Read(m.Random[:])
	if edit != nil {
		edit(&m)
	}
	if s := suite.ByID(m.CipherSuite); s != nil {
		a.choose(s)
	}
	msg := a.put(&m)
	if a.hash != nil {
		a.agree(secret)
	}
	a.say(Initial, msg)
}

// retry sends a HelloRetryRequest, and reads the second hello if one comes.
func (a *actor) retry(edit func(*message.ServerHello)) {
	a.t.Helper()
	m := message.ServerHello{
		LegacyVersion: versionTLS12, Random: message.RetryRandom, SessionID: a.hello.SessionID,
		CipherSuite: a.hello.CipherSuites[0], Version: versionTLS13,
	}
	edit(&m)
	if s := suite.ByID(m.CipherSuite); s != nil && a.hash == nil {
		a.restart(s)
	}
	a.say(Initial, a.put(&m))
	if a.peer.err == nil {
		a.readHello()
	}
}

func (a *actor) extensions(edit func(*message.EncryptedExtensions)) {
	m := message.EncryptedExtensions{}
	if edit != nil {
		edit(&m)
	}
	a.say(Handshake, a.put(&m))
}

func (a *actor) request(edit func(*message.CertificateRequest)) {
	m := message.CertificateRequest{Schemes: suite.Schemes()}
	if edit != nil {
		edit(&m)
	}
	a.say(Handshake, a.put(&m))
}

// newClientActor is a client by hand, before a server.
func newClientActor(t testing.TB, s setting) *actor {
	a := &actor{t: t, side: observe.Client, peer: newServerEnd(t, s)}
	a.hello = message.ClientHello{
		LegacyVersion: versionTLS12, SessionID: make([]byte, 32), CipherSuites: s.client.Suites, Compression: nullCompression,
		ServerName: s.name, Versions: onlyTLS13, Groups: s.client.Groups, Schemes: s.client.Schemes, HasKeyShares: true,
		PSKModes: pskDHE, ALPN: s.client.ALPN,
	}
	_, _ = rand.Read(a.hello.Random[:])
	a.offer(s.client.Groups[0])
	return a
}

// offer makes the hello's one key share.
func (a *actor) offer(g suite.GroupID) {
	var err error
	if a.share, err = suite.Generate(g, rand.Reader); err != nil {
		a.t.Fatal(err)
	}
	a.hello.KeyShares = []message.KeyShare{{Group: g, Data: a.share.Public()}}
}

// clientHello sends the hello, edited, and reads what comes up to the server's
// ServerHello or HelloRetryRequest.
func (a *actor) clientHello(edit func(*message.ClientHello)) {
	a.t.Helper()
	if edit != nil {
		edit(&a.hello)
	}
	a.say(Initial, a.put(&a.hello))
	if a.peer.err != nil {
		return
	}
	peek := a.peer.sent[a.read].msg
	if err := a.reply.Parse(peek); err != nil {
		a.t.Fatal(err)
	}
	if a.reply.IsRetry() && a.hash == nil {
		a.restart(suite.ByID(a.reply.CipherSuite))
	}
	a.choose(suite.ByID(a.reply.CipherSuite))
	a.next(message.TypeServerHello)
	if a.reply.IsRetry() {
		return
	}
	secret, err := a.share.Agree(a.reply.KeyShare.Data)
	if err != nil {
		a.t.Fatal(err)
	}
	a.agree(secret)
}

// flight reads the rest of the server's flight into the transcript.
func (a *actor) flight() {
	for ; a.read < len(a.peer.sent) && a.peer.sent[a.read].level == Handshake; a.read++ {
		a.note(a.peer.sent[a.read].msg)
	}
}
