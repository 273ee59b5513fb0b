package schedule

import (
	"github.com/mutual-tls/mutual/internal/suite"
)

// core is what the three secrets have in common. They share one allocation: a
// step changes the secret in place and hands on the same memory as the next type.
type core struct {
	suite  *suite.Suite
	labels Labels
	stage  stage
	noPSK  bool
	secret secret
}

type stage uint8

const (
	stageEarly stage = iota + 1
	stageHandshake
	stageMain
	stageOver
)

// in stops the use of a step that is over. The memory of a consumed step holds
// the next one's secret, so going on would derive a wrong key and say nothing.
// No input leads here; only a mistake in our own code does.
func (c *core) in(want stage) {
	if c.stage != want {
		panic("schedule: a secret was used after the step that consumed it")
	}
}

func (c *core) size() int { return c.suite.Hash.Size() }

// derive is Derive-Secret of section 7.1, for a transcript that is hashed already.
func (c *core) derive(out []byte, label string, transcript []byte) {
	expandLabel(out, c.suite.Hash, c.labels, c.secret[:c.size()], label, transcript)
}

// both derives a pair of traffic secrets, in one allocation.
func (c *core) both(clientLabel, serverLabel string, transcript []byte) (client, server []byte) {
	n := c.size()
	b := make([]byte, 2*n)
	client, server = b[:n:n], b[n:]
	c.derive(client, clientLabel, transcript)
	c.derive(server, serverLabel, transcript)
	return client, server
}

func (c *core) one(label string, transcript []byte) []byte {
	out := make([]byte, c.size())
	c.derive(out, label, transcript)
	return out
}

// next replaces the secret by that of the next stage:
// HKDF-Extract(Derive-Secret(secret, "derived", ""), input).
func (c *core) next(input []byte, to stage) {
	n := c.size()
	k := constantsOf(c.suite.Hash)
	var salt secret
	if c.stage == stageEarly && c.noPSK && c.labels == TLS {
		copy(salt[:], k.derived)
	} else {
		c.derive(salt[:n], "derived", k.emptyHash)
	}
	extract(c.secret[:n], c.suite.Hash, salt[:n], input)
	clear(salt[:])
	c.stage = to
}

func (c *core) destroy() {
	clear(c.secret[:])
	c.stage = stageOver
}

// Early is the early secret.
type Early struct{ core }

// NewEarly starts the schedule of a connection. A nil psk means that there is
// none; the caller zeroes a psk. All three secrets are for one goroutine at a time.
func NewEarly(s *suite.Suite, l Labels, psk []byte) *Early {
	e := &Early{core{suite: s, labels: l, stage: stageEarly, noPSK: psk == nil}}
	k := constantsOf(s.Hash)
	n := s.Hash.Size()
	if psk == nil {
		copy(e.secret[:], k.early)
	} else {
		extract(e.secret[:n], s.Hash, k.zeros, psk)
	}
	return e
}

// BinderKey gives the key of the binder of an external PSK, or of one that a
// ticket stands for: the base of Finished.
func (e *Early) BinderKey(external bool) []byte {
	e.in(stageEarly)
	label := "res binder"
	if external {
		label = "ext binder"
	}
	return e.one(label, constantsOf(e.suite.Hash).emptyHash)
}

// ImportedBinderKey is BinderKey for an imported PSK (RFC 9258, section 4.2).
func (e *Early) ImportedBinderKey() []byte {
	e.in(stageEarly)
	return e.one("imp binder", constantsOf(e.suite.Hash).emptyHash)
}

// ClientTraffic gives client_early_traffic_secret, for the transcript hash up to
// the ClientHello.
func (e *Early) ClientTraffic(transcript []byte) []byte {
	e.in(stageEarly)
	return e.one("c e traffic", transcript)
}

// Exporter gives early_exporter_master_secret, for the same transcript hash.
func (e *Early) Exporter(transcript []byte) []byte {
	e.in(stageEarly)
	return e.one("e exp master", transcript)
}

// Handshake consumes the early secret. shared is the (EC)DHE secret, which the
// caller zeroes; nil for a PSK without key exchange.
func (e *Early) Handshake(shared []byte) *Handshake {
	e.in(stageEarly)
	if shared == nil {
		shared = constantsOf(e.suite.Hash).zeros
	}
	e.next(shared, stageHandshake)
	return (*Handshake)(e)
}

// Destroy zeroes the early secret of a handshake that goes no further. After
// Handshake it destroys nothing: the secret is another's then.
func (e *Early) Destroy() {
	if e.stage == stageEarly {
		e.destroy()
	}
}

// Handshake is the handshake secret.
type Handshake struct{ core }

// Traffic gives the two handshake traffic secrets, for the transcript hash up
// to the ServerHello.
func (h *Handshake) Traffic(transcript []byte) (client, server []byte) {
	h.in(stageHandshake)
	return h.both("c hs traffic", "s hs traffic", transcript)
}

// Main consumes the handshake secret.
func (h *Handshake) Main() *Main {
	h.in(stageHandshake)
	h.next(constantsOf(h.suite.Hash).zeros, stageMain)
	return (*Main)(h)
}

// Destroy zeroes the handshake secret of a handshake that goes no further. After
// Main it destroys nothing.
func (h *Handshake) Destroy() {
	if h.stage == stageHandshake {
		h.destroy()
	}
}

// Main is the main secret (RFC 8446 calls it master secret).
type Main struct{ core }

// Traffic gives the first two application traffic secrets, for the transcript
// hash up to the server's Finished.
func (m *Main) Traffic(transcript []byte) (client, server []byte) {
	m.in(stageMain)
	return m.both("c ap traffic", "s ap traffic", transcript)
}

// Exporter gives exporter_master_secret, for the same transcript hash.
func (m *Main) Exporter(transcript []byte) []byte {
	m.in(stageMain)
	return m.one("exp master", transcript)
}

// Resumption gives resumption_master_secret, for the transcript hash up to the
// client's Finished.
func (m *Main) Resumption(transcript []byte) []byte {
	m.in(stageMain)
	return m.one("res master", transcript)
}

// Destroy zeroes the main secret. It may be called more than once.
func (m *Main) Destroy() { m.destroy() }
