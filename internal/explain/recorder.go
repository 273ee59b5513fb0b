package explain

import (
	"bytes"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// Recorder makes a Story of one handshake's events, on either side of it. Its
// zero value is ready. It is safe for concurrent use; a handshake each.
type Recorder struct {
	// Trusted says where the anchors are from ("authorities that this system
	// trusts"); Now is the time to tell validities by. Both are optional.
	Trusted string
	Now     time.Time

	mu    sync.Mutex
	story Story
	teller
}

// teller is what has to be remembered between events.
type teller struct {
	asked     bool                        // the server asked for a certificate
	shown     map[string]*pki.Certificate // each side's leaf, as far as it parses
	silent    map[string]bool             // who showed an empty certificate
	resumed   bool
	seen      map[[32]byte]bool // certificates that were told of
	told      map[string]bool   // what is said once
	suite     suite.ID
	group     suite.GroupID
	retried   bool
	judged    *mtls.Verdict
	judge     string // who judged
	done      bool
	hello     message.ClientHello
	alertFrom string
}

// Observe takes an event.
func (r *Recorder) Observe(e observe.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.Kind {
	case observe.Message:
		r.message(e)
	case observe.Agreed:
		r.agreed(e)
	case observe.Key:
		r.key(e)
	case observe.Judged:
		if v, ok := e.Verdict.(*mtls.Verdict); ok {
			r.judgement(e.From.String(), v)
		}
	case observe.Alert:
		r.alert(e)
	case observe.Hidden:
		r.hiddenHello(e.Bytes)
	case observe.Done:
		r.done = true
	}
}

// Story is the story so far. The recorder must not be used after it.
func (r *Recorder) Story() *Story {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &r.story
}

func (r *Recorder) now() time.Time {
	if r.Now.IsZero() {
		return time.Now()
	}
	return r.Now
}

// once is true the first time that it is asked for what.
func (r *Recorder) once(what string) bool {
	if r.told == nil {
		r.told = map[string]bool{}
	}
	first := !r.told[what]
	r.told[what] = true
	return first
}

// last is the step that what comes now belongs to.
func (r *Recorder) last() *Step {
	if len(r.story.Steps) == 0 {
		return &Step{}
	}
	return &r.story.Steps[len(r.story.Steps)-1]
}

// passage is the last passage of the last step if it has that title, or a new one.
func (r *Recorder) passage(title string) *Passage {
	s := r.last()
	if n := len(s.Then); n > 0 && s.Then[n-1].Title == title {
		return &s.Then[n-1]
	}
	s.Then = append(s.Then, Passage{Title: title})
	return &s.Then[len(s.Then)-1]
}

func (r *Recorder) message(e observe.Event) {
	raw := bytes.Clone(e.Bytes)
	s := Step{
		N: len(r.story.Steps) + 1, From: e.From.String(), Message: e.Type.String(),
		Encrypted: e.Level >= observe.Handshake, Fields: message.Describe(raw), Bytes: raw,
	}
	switch e.Type {
	case message.TypeClientHello:
		r.clientHello(&s)
	case message.TypeServerHello:
		r.serverHello(&s)
	case message.TypeEncryptedExtensions:
		r.encryptedExtensions(&s)
	case message.TypeCertificateRequest:
		r.certificateRequest(&s)
	case message.TypeCertificate:
		r.certificate(&s)
	case message.TypeCertificateVerify:
		r.certificateVerify(&s)
	case message.TypeFinished:
		r.finished(&s)
	case message.TypeNewSessionTicket:
		s.Words = ticketWords(raw)
	case message.TypeKeyUpdate:
		s.Words = "From here on I use the next keys."
	default:
		s.Words = "A message that this story has no words for."
	}
	r.story.Steps = append(r.story.Steps, s)
}

// ticketWords tells a ticket. One that lives for no time at all has another use.
func ticketWords(raw []byte) string {
	var m message.NewSessionTicket
	if m.Parse(raw) == nil && m.Lifetime == 0 {
		return "You are in. This ticket is good for nothing else: I could not have sent it before I judged you."
	}
	return "Here is a ticket. With it you may come back later and be known without all this."
}

func (r *Recorder) agreed(e observe.Event) {
	switch e.Label {
	case "version":
		r.story.Version = e.Value
	case "suite":
		r.story.Suite, r.suite = e.Value, e.Suite
	case "group":
		r.story.Group = e.Value
	case "scheme":
		// Both ends sign where both are proven; the server is first.
		if r.story.Signature == "" {
			r.story.Signature = e.Value
		}
	case "alpn":
		r.story.ALPN = e.Value
	case "encrypted client hello":
		r.last().fact("encrypted hello", "%s", e.Value)
	}
}
