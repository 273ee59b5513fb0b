package handshake

import (
	"fmt"
	"hash"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

const (
	versionTLS13 = 0x0304
	versionTLS12 = 0x0303
	versionSSL30 = 0x0300

	// maxQueue bounds what may arrive while an operation is pending. The longest
	// legal wait is the client's for its judgement of the server: one Finished.
	maxQueue      = 4
	maxQueueBytes = 8 << 10
)

// labels is the label prefix of the key schedule; DTLS will have its own.
const labels = schedule.TLS

// core is what both machines are made of: the events that wait, the messages
// that wait, the transcript, and how to fail.
type core struct {
	cfg  *Config
	side observe.Side

	events     []Event
	eventSpace [12]Event
	taken      int // events already given

	waiting bool // for a blocking operation
	queue   []queued
	queued  int // bytes

	failure   *Failure
	expecting string
	at        string // the message that is being worked on

	level  Level // of what we read
	suite  *suite.Suite
	hash   hash.Hash
	sum    [64]byte
	random [32]byte // the client's, for the key log

	clientSecret, serverSecret []byte // handshake traffic secrets
	main                       *schedule.Main
	clientApp, serverApp       []byte

	chain [][]byte // the peer's, our copy
	leaf  *suite.PublicKey
	// What came beside the chain.
	ocsp, scts [][]byte
	// delegated is the peer's delegated credential, whose key is then in leaf; the
	// lists are the schemes that we, and the peer, take of such.
	delegated                          *Delegation
	takesDelegated, peerTakesDelegated []suite.Scheme
	takesLegacy                        bool                    // of a client, PKCS #1 v1.5 (RFC 9963)
	named                              []message.TrustAnchorID // that we trust; nil: we do not speak of any
	verify                             Op
	// session is what a client offers to resume, or a server found; nil for none.
	session *Session
	// keyed is whether the handshake goes on from it: there are no certificates.
	keyed   bool
	quic    Op
	early   early
	result  Result
	settled bool // all of the result but what stands after the handshake
	done    bool
}

type queued struct {
	level Level
	msg   []byte
}

func (c *core) init(cfg *Config, side observe.Side) {
	c.cfg, c.side = cfg, side
	c.events = c.eventSpace[:0]
}

// Next is the next event.
func (c *core) Next() (Event, bool) {
	if c.taken == len(c.events) {
		c.events, c.taken = c.events[:0], 0
		return Event{}, false
	}
	e := c.events[c.taken]
	c.events[c.taken] = Event{}
	c.taken++
	return e, true
}

// Waiting says whether a blocking operation is pending.
func (c *core) Waiting() bool { return c.waiting }

// Expecting names the message that is waited for.
func (c *core) Expecting() string { return c.expecting }

// Result is what came of it, nil before the end, or before the early data.
func (c *core) Result() *Result {
	if !c.done && (!c.settled || c.failure != nil) {
		return nil
	}
	return &c.result
}

// Shown is the credential that we have shown so far, or nil.
func (c *core) Shown() *Credential { return c.result.Local }

// Discard zeroes what is secret and still held, and refuses whatever comes.
func (c *core) Discard() {
	clear(c.clientSecret)
	clear(c.serverSecret)
	clear(c.clientApp)
	clear(c.serverApp)
	c.early.destroy()
	if !c.done {
		c.result.EarlyExporter.Discard()
	}
	if c.main != nil {
		c.main.Destroy()
		c.main = nil
	}
	c.queue = nil
	c.drop()
	if c.failure == nil {
		c.failure = &Failure{Alert: alert.InternalError, Code: code.Internal, Fault: Misuse, At: c.expecting, Reason: "the handshake was given up"}
	}
}

func (c *core) emit(e Event) { c.events = append(c.events, e) }

func (c *core) send(level Level, msg []byte) {
	c.emit(Event{Kind: Send, Level: level, Bytes: msg})
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Message, From: c.side, Level: level, Type: message.Type(msg[0]), Bytes: msg, Suite: c.suiteID()})
	}
}

func (c *core) keys(level Level, d Direction, secret []byte) error {
	if d == Read {
		if len(c.queue) > 0 {
			return c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage,
				"%s arrived before the keys that it belongs to changed", message.Type(c.queue[0].msg[0]))
		}
		c.level = level
	}
	c.emit(Event{Kind: Keys, Level: level, Direction: d, Suite: c.suite, Secret: secret})
	return nil
}

func (c *core) sees(e observe.Event) {
	if c.cfg.Observer != nil {
		c.cfg.Observer.Observe(e)
	}
}

func (c *core) agreed(label, value string) {
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Agreed, Label: label, Value: value, Suite: c.suiteID()})
	}
}

// derived tells the observer, and the key log, of a new secret.
func (c *core) derived(level Level, from observe.Side, label, source, logLabel string, secret []byte) {
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Key, From: from, Level: level, Label: label, Value: source, Suite: c.suiteID()})
	}
	if c.cfg.KeyLog != nil && logLabel != "" {
		c.cfg.KeyLog(logLabel, c.random[:], secret)
	}
}

func (c *core) suiteID() suite.ID {
	if c.suite == nil {
		return 0
	}
	return c.suite.ID
}

func (c *core) peer() observe.Side {
	if c.side == observe.Client {
		return observe.Server
	}
	return observe.Client
}

// ask emits an operation; a blocking one stops the machine until it is resolved.
func (c *core) ask(op *Op, blocking bool) {
	op.pending = true
	c.waiting = c.waiting || blocking
	c.emit(Event{Kind: Ask, Op: op})
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Operation, From: c.side, Label: op.Kind.String()})
	}
}

// enqueue keeps a message that came while an operation is pending.
func (c *core) enqueue(level Level, msg []byte) error {
	if len(c.queue) == maxQueue || c.queued+len(msg) > maxQueueBytes {
		return c.misbehaved(alert.UnexpectedMessage, code.Flood,
			"the peer goes on sending while an operation of ours is pending; at most %d messages are kept", maxQueue)
	}
	c.queue = append(c.queue, queued{level, append([]byte(nil), msg...)})
	c.queued += len(msg)
	return nil
}

func (c *core) dequeue() (queued, bool) {
	if len(c.queue) == 0 || c.waiting || c.failure != nil {
		return queued{}, false
	}
	q := c.queue[0]
	c.queue = c.queue[1:]
	c.queued -= len(q.msg)
	return q, true
}

// begin starts the transcript once the suite, and so the hash, is known.
func (c *core) begin(s *suite.Suite) {
	c.suite = s
	c.hash = s.NewHash()
	c.result.Suite = s
}

// transcript is the hash of the messages so far (RFC 8446, section 4.4.1). It
// is valid until the next call.
func (c *core) transcript() []byte { return c.hash.Sum(c.sum[:0]) }

func (c *core) add(msg []byte) { c.hash.Write(msg) }

// received notes a message that a state has accepted.
func (c *core) received(level Level, msg []byte) {
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Message, From: c.peer(), Level: level, Type: message.Type(msg[0]), Bytes: msg, Suite: c.suiteID()})
	}
}

// fail settles an error: the first one stays.
func (c *core) fail(err error) error {
	if err == nil {
		return nil
	}
	f, ok := err.(*Failure)
	if !ok {
		f = &Failure{Alert: alert.InternalError, Code: code.Internal, Fault: Misuse, At: c.at, Reason: err.Error(), Err: err}
	}
	if c.failure == nil {
		c.failure = f
	}
	return c.failure
}

func (c *core) misbehaved(a alert.Alert, k code.Code, format string, args ...any) error {
	return &Failure{Alert: a, Code: k, Fault: PeerMisbehaved, At: c.at, Reason: fmt.Sprintf(format, args...)}
}

func (c *core) incompatible(a alert.Alert, k code.Code, format string, args ...any) error {
	return &Failure{Alert: a, Code: k, Fault: PeerIncompatible, At: c.at, Reason: fmt.Sprintf(format, args...)}
}

func (c *core) misuse(k code.Code, err error) error {
	return &Failure{Alert: alert.InternalError, Code: k, Fault: Misuse, At: c.at, Reason: err.Error(), Err: err}
}

// olderThanTLS refuses a hello whose legacy_version no TLS ever had, whatever
// else it says (RFC 8446, appendix D.5).
func (c *core) olderThanTLS(version uint16) error {
	return c.misbehaved(alert.ProtocolVersion, code.IllegalParameter, "legacy_version is %#04x, which is older than TLS; it must be 0x0303", version)
}

// parsed turns an error of the parser into a Failure.
func (c *core) parsed(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*message.Error); ok {
		k := code.BadMessage
		if e.Alert == alert.IllegalParameter {
			k = code.IllegalParameter
		}
		return &Failure{Alert: e.Alert, Code: k, Fault: PeerMisbehaved, At: c.at, Reason: e.Reason, Err: err}
	}
	return c.misbehaved(alert.DecodeError, code.BadMessage, "%v", err)
}

func (c *core) unexpected(t message.Type) error {
	return c.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "%s was expected, %s came", c.expecting, t)
}

// failed turns a failed operation into a Failure.
func (c *core) failed(op *Op, a Answer) error {
	f := &Failure{Alert: a.Alert, Code: a.Code, Fault: a.Fault, At: c.at, Reason: a.Err.Error(), Err: a.Err}
	if f.Alert == 0 {
		f.Alert = alert.InternalError
	}
	if f.Code == "" {
		f.Code = code.Internal
	}
	if f.Fault == 0 {
		f.Fault = Misuse
	}
	if op.Kind == Sign {
		f.Reason = "signing with our key failed: " + f.Reason
	}
	return f
}

// resolvable checks that op is pending, and takes it off.
func (c *core) resolvable(op *Op) error {
	if c.failure != nil {
		return c.failure
	}
	if op == nil || !op.pending {
		return c.fail(&Failure{Alert: alert.InternalError, Code: code.Internal, Fault: Misuse, At: c.at, Reason: "an operation was answered that is not pending"})
	}
	op.pending = false
	return nil
}

// pick is the first of ours that is in theirs.
func pick[T comparable](ours, theirs []T) (T, bool) {
	for _, o := range ours {
		for _, t := range theirs {
			if o == t {
				return o, true
			}
		}
	}
	var none T
	return none, false
}

func has[T comparable](list []T, v T) bool {
	for _, e := range list {
		if e == v {
			return true
		}
	}
	return false
}

// chooseScheme is the first scheme of the credential that the peer takes in a
// CertificateVerify; one that we take ourselves goes before others.
func (c *core) chooseScheme(cred *Credential, theirs []suite.Scheme) (suite.Scheme, bool) {
	if d := cred.Delegated; d != nil {
		return d.Scheme, c.delegable(cred) && has(theirs, d.Algorithm)
	}
	ours := cred.Schemes
	if c.side == observe.Server { // a server must not (RFC 9963, section 2)
		ours = slices.DeleteFunc(slices.Clone(ours), suite.Scheme.IsLegacy)
	}
	for _, s := range ours {
		if has(theirs, s) && has(c.cfg.Schemes, s) {
			return s, true
		}
	}
	return pick(ours, theirs)
}

func versionName(v uint16) string {
	switch v {
	case 0x0300:
		return "SSL 3.0"
	case 0x0301:
		return "TLS 1.0"
	case 0x0302:
		return "TLS 1.1"
	case 0x0303:
		return "TLS 1.2"
	case 0x0304:
		return "TLS 1.3"
	}
	return "an unknown version"
}
