package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Client authentication after the handshake (RFC 8446, section 4.6.2). Where the
// client offered it, each end keeps the hash of the handshake, from which the
// transcript of every answer goes on.

const (
	// maxAsked is how many requests may be unanswered at once, on either side: a
	// client may have to ask a person, and each holds what was asked for.
	maxAsked = 4
	// contextLen is the length of the contexts that we draw: they are never
	// twice the same, and nobody can tell the next one.
	contextLen = 16
)

// Why no certificate can be asked for now.
var (
	ErrAuthNotOffered = errors.New("the client did not offer to authenticate after the handshake")
	ErrAuthForbidden  = errors.New("HTTP/2 and QUIC forbid to ask for a certificate after the handshake (RFC 9113, section 9.2.3; RFC 9001, section 4.4)")
	ErrAuthBusy       = fmt.Errorf("%d requests for a certificate are unanswered already", maxAsked)
)

// postAuth is what authentication after the handshake needs.
type postAuth struct {
	cfg        *Config
	serverName string
	// transcript is the hash up to the client's Finished. It is only copied.
	transcript hash.Cloner

	mu   sync.Mutex
	open map[string][]byte // requests without an answer, by their context

	// The reading half's: an answer of which a part came, and what is whole.
	partly  *answering
	answers []*Shown
	asked   []*Showing
}

// Shown is a client's answer to a request of ours.
type Shown struct {
	// Context is that of the request.
	Context []byte
	// Chain is what the client showed, and proved the key of; nil for none.
	Chain  [][]byte
	Scheme suite.Scheme
	// Delegation is the delegated credential whose key it proved instead, nil for none.
	Delegation *Delegation
	// OCSP and SCTs are what came beside the chain, as in an Op.
	OCSP, SCTs [][]byte
}

// shown is what c has taken and seen proven.
func (c *core) shown(context []byte) *Shown {
	return &Shown{Context: context, Chain: c.chain, Scheme: c.result.Scheme, Delegation: c.delegated, OCSP: c.ocsp, SCTs: c.scts}
}

// answering is a client's answer while it comes.
type answering struct {
	core
	context []byte
	proven  bool // nothing was shown, or its key was proven
}

// forbidsAuth says whether an application protocol forbids what is here.
func forbidsAuth(alpn string) bool { return alpn == "h2" || alpn == "h3" }

// keepTranscript keeps the hash of the handshake, which is over, where it was
// agreed that there may be more to it.
func (c *core) keepTranscript(st *Standing, offered bool) {
	if !offered {
		st.noPost = ErrAuthNotOffered
		return
	}
	if c.cfg.QUIC || forbidsAuth(c.result.ALPN) {
		st.noPost = ErrAuthForbidden
		return
	}
	if h, ok := c.hash.(hash.Cloner); ok {
		st.post = &postAuth{cfg: c.cfg, serverName: c.result.ServerName, transcript: h}
		c.hash = nil
	}
}

// begin is a core whose transcript ends with request.
func (p *postAuth) begin(s *Standing, side observe.Side, at string, request []byte) (core, error) {
	c := core{cfg: p.cfg, side: side, suite: s.suite, at: at}
	h, err := p.transcript.Clone()
	if err != nil {
		return c, c.misuse(code.Internal, err)
	}
	c.hash = h
	c.add(request)
	return c, nil
}

// certificateRequest is what we ask the peer for, after the handshake or by an
// authenticator.
func (c *Config) certificateRequest(context []byte) *message.CertificateRequest {
	own := &c.Certificates
	m := &message.CertificateRequest{
		Context: context, Schemes: c.Schemes, CertSchemes: c.CertificateSchemes, Delegated: c.Delegated,
		Filters: own.Filters, OCSP: own.OCSP, SCT: own.SCT,
	}
	if c.Authorities != nil {
		m.Authorities = c.Authorities()
	}
	return m
}

// Server.

// RequestCertificate makes a request for the client's certificate, with a context
// of its own. It may be called by whoever sends it.
func (s *Standing) RequestCertificate() (msg, context []byte, err error) {
	p := s.post
	switch {
	case s.client:
		return nil, nil, errors.New("a client can't ask for a certificate after the handshake")
	case p == nil:
		return nil, nil, s.noPost
	}
	context = make([]byte, contextLen)
	if _, err := io.ReadFull(p.cfg.Random, context); err != nil {
		return nil, nil, errors.New("the random source failed")
	}
	m := p.cfg.certificateRequest(context)
	m.CertCompression = p.cfg.Certificates.offered()
	if msg, err = m.Append(nil); err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == maxAsked {
		return nil, nil, ErrAuthBusy
	}
	if p.open == nil {
		p.open = make(map[string][]byte, 1)
	}
	p.open[string(context)] = msg
	s.sent(msg)
	return msg, context, nil
}

// sent tells the observer of a message of ours.
func (s *Standing) sent(msg []byte) {
	if s.observer != nil {
		from := observe.Server
		if s.client {
			from = observe.Client
		}
		s.observer.Observe(observe.Event{Kind: observe.Message, From: from, Level: Application, Type: message.Type(msg[0]), Bytes: msg, Suite: s.suite.ID})
	}
}

// Midway says whether an answer has begun and is not whole: nothing else may come
// inside it. It belongs to the reading half.
func (s *Standing) Midway() bool { return s.post != nil && s.post.partly != nil }

// Answers are the answers that came since it was last asked. It belongs to the
// reading half.
func (s *Standing) Answers() []*Shown {
	if s.post == nil {
		return nil
	}
	a := s.post.answers
	s.post.answers = nil
	return a
}

// take takes the request with a context off those that are open.
func (p *postAuth) take(context []byte) (request []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	request = p.open[string(context)]
	delete(p.open, string(context))
	return request
}

// waits says whether any request of ours waits for an answer.
func (p *postAuth) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open) > 0
}

// waitCertificate takes the Certificate that begins an answer. What a client
// says unasked is unexpected, and not even decompressed.
func (s *Standing) waitCertificate(t message.Type, msg []byte) error {
	p := s.post
	c := core{at: t.String(), expecting: "application data", side: observe.Server, suite: s.suite}
	if p == nil {
		return c.unexpected(t)
	}
	if c.cfg = p.cfg; !c.isCertificate(t) || !p.waits() {
		return c.unexpected(t)
	}
	var m message.Certificate
	if err := c.readCertificate(t, msg, &m); err != nil {
		return err
	}
	request := p.take(m.Context)
	if request == nil {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the context of the client's Certificate is not that of a request that waits for one")
	}
	a := &answering{context: bytes.Clone(m.Context), proven: len(m.Entries) == 0}
	var err error
	if a.core, err = p.begin(s, observe.Server, c.at, request); err != nil {
		return err
	}
	a.expecting, a.takesDelegated = message.TypeFinished.String(), p.cfg.Delegated
	if !a.proven {
		if err := a.takeCertificate(&m); err != nil {
			return err
		}
		a.expecting = message.TypeCertificateVerify.String()
	}
	a.add(msg)
	p.partly = a
	return nil
}

// waitRest takes what follows the Certificate: CertificateVerify where one was
// shown, in every state, and Finished under the client's present keys.
func (s *Standing) waitRest(t message.Type, msg []byte) (Effect, error) {
	a := s.post.partly
	a.at = t.String()
	switch {
	case t == message.TypeCertificateVerify && !a.proven:
		if err := a.takeCertificateVerify(msg); err != nil {
			return 0, err
		}
		a.add(msg)
		a.proven, a.expecting = true, message.TypeFinished.String()
		return 0, nil
	case t == message.TypeFinished && a.proven:
		if err := a.takeFinished(s.read, msg); err != nil {
			return 0, err
		}
		s.post.partly = nil
		s.post.answers = append(s.post.answers, a.shown(a.context))
		return 0, nil
	}
	return 0, a.unexpected(t)
}

// Client.

// Showing is our answer to a request that came after the handshake. It is for one
// goroutine at a time, and none of Standing's: signing may take long, and nothing
// waits for it.
type Showing struct {
	core
	post    *postAuth
	request message.CertificateRequest
	choose  Op
	sign    Op
	scheme  suite.Scheme
	flight  []byte
}

// waitRequest takes a CertificateRequest.
func (s *Standing) waitRequest(msg []byte) error {
	p := s.post
	c := core{at: message.TypeCertificateRequest.String(), expecting: "application data"}
	switch {
	case p == nil && s.noPost == ErrAuthForbidden:
		return c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "the server asks for a certificate after the handshake, which the application protocol forbids")
	case p == nil:
		return c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "the server asks for a certificate after the handshake, which was not offered")
	}
	w := &Showing{post: p}
	own := bytes.Clone(msg) // the answer comes late
	if err := w.request.Parse(own); err != nil {
		return c.parsed(err)
	}
	if len(w.request.Schemes) == 0 {
		return c.misbehaved(alert.MissingExtension, code.MissingExtension, "a CertificateRequest came without signature_algorithms")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, twice := p.open[string(w.request.Context)]; twice {
		return c.misbehaved(alert.IllegalParameter, code.IllegalParameter, "two requests for a certificate came with one context")
	}
	if len(p.open) == maxAsked {
		return c.misbehaved(alert.UnexpectedMessage, code.Flood, "the server asks for one certificate more, and %d requests are unanswered", maxAsked)
	}
	var err error
	if w.core, err = p.begin(s, observe.Client, message.TypeCertificate.String(), own); err != nil {
		return err
	}
	if p.open == nil {
		p.open = make(map[string][]byte, 1)
	}
	p.open[string(w.request.Context)] = own
	w.choose = w.asksFor(&w.request)
	w.choose.ServerName = p.serverName
	p.asked = append(p.asked, w)
	return nil
}

// asksFor is the operation of choosing what a request of the peer's asks for.
func (c *core) asksFor(m *message.CertificateRequest) Op {
	c.peerTakesDelegated = m.Delegated
	return Op{
		Kind: SelectCertificate, Schemes: m.Schemes, CertificateSchemes: m.CertSchemes, Authorities: m.Authorities, Filters: m.Filters,
		WantsOCSP: m.OCSP, WantsSCT: m.SCT, Delegated: m.Delegated,
	}
}

// Requests are the requests that came since it was last asked. It belongs to the
// reading half.
func (s *Standing) Requests() []*Showing {
	if s.post == nil {
		return nil
	}
	a := s.post.asked
	s.post.asked = nil
	return a
}

// Choose is the operation to begin with: SelectCertificate.
func (w *Showing) Choose() *Op { return &w.choose }

// Show takes the answer to Choose: it gives what is to be signed, or nil where
// nothing is shown, because there is nothing or nothing that the server verifies.
func (w *Showing) Show(cred *Credential) *Op {
	scheme, ok := suite.Scheme(0), false
	if cred != nil && cred.Type == X509 {
		scheme, ok = w.chooseScheme(cred, w.request.Schemes)
	}
	if !ok {
		w.flight, _ = (&message.Certificate{Context: w.request.Context}).Append(nil)
		return nil
	}
	w.scheme = scheme
	w.flight = w.compress(withContext(cred.Wire, w.request.Context))
	w.add(w.flight)
	w.sign = Op{Kind: Sign, Credential: cred, Scheme: scheme, Input: signedContent(observe.Client, w.transcript())}
	return &w.sign
}

// Local is the credential that is shown, nil for none.
func (w *Showing) Local() *Credential { return w.sign.Credential }

// Signed takes the signature.
func (w *Showing) Signed(signature []byte) error {
	start := len(w.flight)
	b, err := (&message.CertificateVerify{Scheme: w.scheme, Signature: signature}).Append(w.flight)
	if err != nil {
		return w.misuse(code.Internal, err)
	}
	w.flight = b
	w.add(b[start:])
	return nil
}

// Decline takes back what was to be shown: signing failed.
func (w *Showing) Decline() error {
	h, err := w.post.transcript.Clone()
	if err != nil {
		return w.misuse(code.Internal, err)
	}
	w.hash = h
	w.add(w.request.Raw)
	w.sign.Credential = nil
	w.Show(nil)
	return nil
}

// compress is our Certificate in a form that the server takes (RFC 8879, section 4).
// It holds the request's context, so that it is made for each anew; where that can't
// be done it goes as it is.
func (w *Showing) compress(msg []byte) []byte {
	for _, codec := range w.cfg.Certificates.Codecs {
		if !has(w.request.CertCompression, codec.Algorithm()) {
			continue
		}
		body := msg[message.HeaderLen:]
		small, err := codec.Compress(body)
		if err != nil || small == nil {
			return msg
		}
		m := message.CompressedCertificate{Algorithm: codec.Algorithm(), Length: len(body), Compressed: small}
		if b, err := m.Append(nil); err == nil && len(b) < len(msg) {
			w.agreed("our certificate compressed", codec.Algorithm().String())
			return b
		}
		return msg
	}
	return msg
}

// withContext is a Certificate message with a context instead of none.
func withContext(wire, context []byte) []byte {
	b := make([]byte, 0, len(wire)+len(context)+256)
	n := len(wire) - message.HeaderLen + len(context)
	b = append(b, wire[0], byte(n>>16), byte(n>>8), byte(n), byte(len(context)))
	b = append(b, context...)
	return append(b, wire[message.HeaderLen+1:]...)
}

// Flight is the whole answer, to be sent without anything in between, under the
// keys in force now. It belongs to the writing half.
func (s *Standing) Flight(w *Showing) ([]byte, error) {
	if w.sign.Credential == nil {
		w.add(w.flight)
	}
	b, err := w.makeFinished(w.flight, s.write)
	if err != nil {
		return nil, w.misuse(code.Internal, err)
	}
	w.post.take(w.request.Context)
	for rest := b; len(rest) > 0; {
		_, n := message.Header(rest)
		s.sent(rest[:message.HeaderLen+n])
		rest = rest[message.HeaderLen+n:]
	}
	return b, nil
}
