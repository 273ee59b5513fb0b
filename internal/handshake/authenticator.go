package handshake

import (
	"bytes"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Exported authenticators (RFC 9261): proofs of a further identity that belong to
// a connection, and are carried by whatever the application likes.

const (
	authenticatorContext = "Exported Authenticator"

	// requestContextLen is the length of the contexts of our requests.
	requestContextLen = 32
	// maxRequests is how many requests of ours may be unanswered; each is kept.
	maxRequests = 8
	// maxContexts is how many contexts of a connection are remembered, so that
	// none is used twice. Requests of the peer's beyond that push the oldest out,
	// and what a server says unasked is taken no more.
	maxContexts = 1024
	// maxAuthenticator is the longest authenticator that is taken.
	maxAuthenticator = 144 << 10
)

// Why there is no authenticator.
var (
	// ErrNoIdentity: the peer has no identity that fits, or does not want to show
	// it. It said so itself: the refusal is authentic.
	ErrNoIdentity = errors.New("the peer answered that it shows no identity")
	// ErrContextUsed: an authenticator with that context was made or taken before.
	ErrContextUsed = errors.New("an authenticator with the same context was made or taken before on this connection")
	// ErrNotRequested: the authenticator answers no request of ours that waits.
	ErrNotRequested = errors.New("no such request of ours waits for an authenticator")
)

// Authenticators makes and checks the authenticators of one connection. It is
// safe for concurrent use.
type Authenticators struct {
	cfg     *Config
	suite   *suite.Suite
	client  bool
	offered []suite.Scheme // on a server: the client's, by its hello
	server  string         // the name that a client meant

	mu        sync.Mutex
	ours      authenticatorKeys // of what we send
	theirs    authenticatorKeys
	destroyed bool
	requests  map[string][]byte   // ours without an answer, by context
	made      contexts            // of what we answered
	taken     map[string]struct{} // of what came unasked
}

// authenticatorKeys are what is exported for the authenticators of one side (RFC
// 9261, section 5.1).
type authenticatorKeys struct{ context, finished []byte }

// contexts remembers the last of them.
type contexts struct {
	of    map[string]struct{}
	order []string
}

func (c *contexts) has(context []byte) bool {
	_, ok := c.of[string(context)]
	return ok
}

func (c *contexts) add(context []byte) {
	if c.of == nil {
		c.of = make(map[string]struct{})
	}
	if len(c.order) == maxContexts {
		delete(c.of, c.order[0])
		c.order = c.order[1:]
	}
	c.of[string(context)] = struct{}{}
	c.order = append(c.order, string(context))
}

// Authenticators derives what authenticators are made with. It uses the exporter
// secret, like Export.
func (s *Standing) Authenticators() (*Authenticators, error) {
	a := &Authenticators{cfg: s.cfg, suite: s.suite, client: s.client, offered: s.offered, server: s.serverName}
	client, server := &a.ours, &a.theirs
	if !s.client {
		client, server = server, client
	}
	for _, e := range []struct {
		to    *[]byte
		label string
	}{
		{&client.context, "EXPORTER-client authenticator handshake context"},
		{&server.context, "EXPORTER-server authenticator handshake context"},
		{&client.finished, "EXPORTER-client authenticator finished key"},
		{&server.finished, "EXPORTER-server authenticator finished key"},
	} {
		var err error
		if *e.to, err = s.Export(e.label, nil, s.suite.Hash.Size()); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Destroy zeroes the keys.
func (a *Authenticators) Destroy() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range []*authenticatorKeys{&a.ours, &a.theirs} {
		clear(k.context)
		clear(k.finished)
	}
	a.destroyed = true
}

var errGone = errors.New("the connection has ended: its keys are gone")

// Request makes a request for an authenticator of the peer's (RFC 9261, section
// 4), with a context that nobody can tell before.
func (a *Authenticators) Request() ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.destroyed {
		return nil, errGone
	}
	if len(a.requests) == maxRequests {
		return nil, fmt.Errorf("%d requests are unanswered already", maxRequests)
	}
	context := make([]byte, requestContextLen)
	if _, err := io.ReadFull(a.cfg.Random, context); err != nil {
		return nil, errors.New("the random source failed")
	}
	m := a.cfg.certificateRequest(context)
	if m.ByClient = a.client; a.client {
		m.ServerName = a.server
	}
	b, err := m.Append(nil)
	if err != nil {
		return nil, err
	}
	if a.requests == nil {
		a.requests = make(map[string][]byte)
	}
	a.requests[string(context)] = b
	return b, nil
}

// Forget gives up a request that will get no answer.
func (a *Authenticators) Forget(request []byte) {
	var m message.CertificateRequest
	if a.parse(&m, request, a.client) == nil {
		a.mu.Lock()
		delete(a.requests, string(m.Context))
		a.mu.Unlock()
	}
}

// parse reads a request that a client, or a server, made.
func (a *Authenticators) parse(m *message.CertificateRequest, request []byte, byClient bool) error {
	if byClient {
		return m.ParseByClient(request)
	}
	return m.Parse(request)
}

// transcript is a core whose transcript begins with what belongs to the side that
// authenticates, and the request.
func (a *Authenticators) transcript(k *authenticatorKeys, side observe.Side, request []byte) core {
	c := core{cfg: a.cfg, side: side, suite: a.suite, at: "authenticator", expecting: message.TypeCertificate.String()}
	if request != nil { // what nobody asked for proves itself by the leaf's own key
		c.takesDelegated = a.cfg.Delegated
	}
	c.hash = a.suite.NewHash()
	c.add(k.context)
	c.add(request)
	return c
}

func (a *Authenticators) side() observe.Side {
	if a.client {
		return observe.Client
	}
	return observe.Server
}

// mac is the Finished of an authenticator: its key is exported, not derived.
func (k *authenticatorKeys) mac(c *core) []byte {
	h := hmac.New(c.suite.NewHash, k.finished)
	h.Write(c.transcript())
	return h.Sum(nil)
}

// Making is an authenticator that is being made. It is for one goroutine.
type Making struct {
	core
	a         *Authenticators
	context   []byte
	schemes   []suite.Scheme
	requested []byte
	choose    Op
	sign      Op
	scheme    suite.Scheme
	out       []byte
}

// Answer begins the answer to a request of the peer's.
func (a *Authenticators) Answer(request []byte) (*Making, error) {
	w := &Making{a: a, requested: bytes.Clone(request)}
	c := core{at: "authenticator request"}
	if len(request) == 0 {
		return nil, c.misbehaved(alert.DecodeError, code.BadMessage, "an authenticator request is empty")
	}
	var m message.CertificateRequest
	if err := a.parse(&m, w.requested, !a.client); err != nil {
		return nil, c.parsed(err)
	}
	if len(m.Schemes) == 0 {
		return nil, c.misbehaved(alert.MissingExtension, code.MissingExtension, "an authenticator request came without signature_algorithms")
	}
	w.context, w.schemes = m.Context, m.Schemes
	if err := a.begin(w); err != nil {
		return nil, err
	}
	w.choose = w.asksFor(&m)
	if w.choose.ServerName = m.ServerName; a.client {
		w.choose.ServerName = a.server
	}
	return w, nil
}

// Spontaneous begins an authenticator that nobody asked for, which only a server
// may make.
func (a *Authenticators) Spontaneous() (*Making, error) {
	if a.client {
		return nil, errors.New("a client makes no authenticator without a request (RFC 9261, section 5)")
	}
	w := &Making{a: a, schemes: a.offered, context: make([]byte, requestContextLen)}
	if _, err := io.ReadFull(a.cfg.Random, w.context); err != nil {
		return nil, errors.New("the random source failed")
	}
	w.choose = Op{Kind: SelectCertificate, ServerName: a.server, Schemes: a.offered}
	return w, a.begin(w)
}

func (a *Authenticators) begin(w *Making) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.destroyed {
		return errGone
	}
	if a.made.has(w.context) {
		return ErrContextUsed
	}
	a.made.add(w.context)
	w.core = a.transcript(&a.ours, a.side(), w.requested)
	return nil
}

// Choose is the operation to begin with: SelectCertificate.
func (w *Making) Choose() *Op { return &w.choose }

// Show takes the answer to Choose: it gives what is to be signed, or nil where
// nothing fits, and then the authenticator is an empty one.
func (w *Making) Show(cred *Credential) *Op {
	if cred == nil || cred.Type != X509 { // raw keys are not for here (RFC 9261, section 5.2.1)
		return nil
	}
	scheme, ok := w.chooseScheme(cred, w.schemes)
	if !ok {
		return nil
	}
	w.scheme = scheme
	w.out = withContext(cred.Wire, w.context)
	w.add(w.out)
	w.sign = Op{Kind: Sign, Credential: cred, Scheme: scheme, Input: signedUnder(authenticatorContext, w.core.transcript())}
	return &w.sign
}

// Finish is the whole authenticator, with the signature where there is one.
// Nothing fits where a server would say something unasked: then there is none.
func (w *Making) Finish(signature []byte) ([]byte, error) {
	a := w.a
	if w.sign.Credential == nil {
		if w.requested == nil {
			return nil, errors.New("we have no certificate that the client verifies")
		}
		none, err := (&message.Certificate{Context: w.context}).Append(nil)
		if err != nil {
			return nil, err
		}
		w.add(none) // it is not sent (RFC 9261, section 6)
	} else {
		start := len(w.out)
		b, err := (&message.CertificateVerify{Scheme: w.scheme, Signature: signature}).Append(w.out)
		if err != nil {
			return nil, err
		}
		w.out = b
		w.add(b[start:])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.destroyed {
		return nil, errGone
	}
	return (&message.Finished{VerifyData: a.ours.mac(&w.core)}).Append(w.out)
}

// Validate checks an authenticator of the peer's: the answer to a request of ours,
// or, of a server, one that nobody asked for (nil). Whether the chain is of
// anybody who is wanted, it does not say. A request is answered once, rightly or
// refused; what does not check leaves it open.
func (a *Authenticators) Validate(request, authenticator []byte) (*Shown, error) {
	c := core{at: "authenticator"}
	if len(authenticator) > maxAuthenticator {
		return nil, c.misbehaved(alert.IllegalParameter, code.MessageTooLarge, "an authenticator of %d bytes came; at most %d are taken", len(authenticator), maxAuthenticator)
	}
	msgs, err := split(authenticator)
	if err != nil {
		return nil, c.misbehaved(alert.DecodeError, code.BadMessage, "an authenticator does not parse: %v", err)
	}
	if request == nil && a.client {
		return a.validateUnasked(msgs)
	}
	var m message.CertificateRequest
	if request == nil || a.parse(&m, request, a.client) != nil {
		return nil, ErrNotRequested
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if open := a.requests[string(m.Context)]; !bytes.Equal(open, request) {
		return nil, ErrNotRequested
	}
	shown, err := a.check(request, m.Context, msgs)
	if err == nil || err == ErrNoIdentity {
		delete(a.requests, string(m.Context))
	}
	return shown, err
}

func (a *Authenticators) validateUnasked(msgs [][]byte) (*Shown, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := core{at: "authenticator", expecting: message.TypeCertificate.String()}
	var m message.Certificate
	if message.Type(msgs[0][0]) != message.TypeCertificate {
		return nil, c.unexpected(message.Type(msgs[0][0]))
	}
	if err := m.Parse(msgs[0]); err != nil {
		return nil, c.parsed(err)
	}
	context := bytes.Clone(m.Context)
	if _, ok := a.taken[string(context)]; ok {
		return nil, ErrContextUsed
	}
	if len(a.taken) == maxContexts {
		return nil, c.misbehaved(alert.UnexpectedMessage, code.Flood, "more than %d authenticators came that nobody asked for", maxContexts)
	}
	shown, err := a.check(nil, context, msgs)
	if err != nil {
		return nil, err
	}
	if a.taken == nil {
		a.taken = make(map[string]struct{})
	}
	a.taken[string(context)] = struct{}{}
	return shown, nil
}

// split takes an authenticator apart: Certificate, CertificateVerify and Finished,
// or Finished alone.
func split(b []byte) ([][]byte, error) {
	var msgs [][]byte
	for len(b) > 0 {
		if len(b) < message.HeaderLen {
			return nil, errors.New("it ends inside a header")
		}
		_, n := message.Header(b)
		if n > len(b)-message.HeaderLen {
			return nil, errors.New("it ends inside a message")
		}
		if len(msgs) == 3 {
			return nil, errors.New("it has more than three messages")
		}
		msgs = append(msgs, b[:message.HeaderLen+n])
		b = b[message.HeaderLen+n:]
	}
	if len(msgs) != 1 && len(msgs) != 3 {
		return nil, fmt.Errorf("it has %d messages, and not three, or one", len(msgs))
	}
	return msgs, nil
}

// check holds the messages of an authenticator to what it has to be. The caller
// holds mu.
func (a *Authenticators) check(request, context []byte, msgs [][]byte) (*Shown, error) {
	if a.destroyed {
		return nil, errGone
	}
	c := a.transcript(&a.theirs, a.side(), request)
	if len(msgs) == 1 {
		if request == nil {
			return nil, c.unexpected(message.Type(msgs[0][0]))
		}
		none, err := (&message.Certificate{Context: context}).Append(nil)
		if err != nil {
			return nil, err
		}
		c.add(none)
		if err := a.checkFinished(&c, msgs[0]); err != nil {
			return nil, err
		}
		return nil, ErrNoIdentity
	}
	for i, want := range []message.Type{message.TypeCertificate, message.TypeCertificateVerify, message.TypeFinished} {
		if c.expecting = want.String(); message.Type(msgs[i][0]) != want {
			return nil, c.unexpected(message.Type(msgs[i][0]))
		}
	}
	var m message.Certificate
	if err := m.Parse(msgs[0]); err != nil {
		return nil, c.parsed(err)
	}
	if !bytes.Equal(m.Context, context) {
		return nil, c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the context of an authenticator is not that of its request")
	}
	if len(m.Entries) == 0 {
		return nil, c.misbehaved(alert.DecodeError, code.NoCertificateShown, "an authenticator shows an empty chain")
	}
	if err := c.takeCertificate(&m); err != nil {
		return nil, err
	}
	c.add(msgs[0])
	if err := c.takeProof(msgs[1], signedUnder(authenticatorContext, c.transcript())); err != nil {
		return nil, err
	}
	c.add(msgs[1])
	if err := a.checkFinished(&c, msgs[2]); err != nil {
		return nil, err
	}
	return c.shown(context), nil
}

func (a *Authenticators) checkFinished(c *core, msg []byte) error {
	c.expecting = message.TypeFinished.String()
	if t := message.Type(msg[0]); t != message.TypeFinished {
		return c.unexpected(t)
	}
	var m message.Finished
	if err := m.Parse(msg); err != nil {
		return c.parsed(err)
	}
	if !hmac.Equal(m.VerifyData, a.theirs.mac(c)) {
		return c.misbehaved(alert.DecryptError, code.BadFinished, "an authenticator's Finished is wrong: it is of another connection, or for another request")
	}
	return nil
}
