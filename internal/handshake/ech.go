package handshake

import (
	"hash"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Encrypted Client Hello (RFC 9849), what both sides have in common.

// ECHStatus is what became of Encrypted Client Hello.
type ECHStatus uint8

// What can become of it.
const (
	// ECHNone: the client did not offer it.
	ECHNone ECHStatus = iota
	// ECHGreased: the client sent a made-up one, to whatever end.
	ECHGreased
	// ECHAccepted: the handshake is that of the encrypted hello.
	ECHAccepted
	// ECHRejected: a server could not read the encrypted hello, and went on with
	// the outer one. A client's handshake fails then.
	ECHRejected
)

// String is the status in a word.
func (s ECHStatus) String() string {
	return [...]string{"none", "greased", "accepted", "rejected"}[s&3]
}

// ECHRejection is the error underneath the Failure of a client whose encrypted
// hello the server could not read. The server proved that it is PublicName.
type ECHRejection struct {
	PublicName string
	// RetryConfigs is the ECHConfigList to try once more with, over a new
	// connection; nil says that the server has done away with ECH.
	RetryConfigs []byte
}

// Error tells it in a few words.
func (r *ECHRejection) Error() string {
	if r.RetryConfigs == nil {
		return "ECH was rejected by " + r.PublicName + ", which gave no configs to retry with"
	}
	return "ECH was rejected by " + r.PublicName + ", which gave configs to retry with"
}

// confirmation is what a server says to the inner hello with this Random in m, a
// whole message with zeros in its place; before is the transcript up to m, and
// stays what it is.
func confirmation(s *suite.Suite, before hash.Hash, random [32]byte, m []byte, retry bool) []byte {
	h, err := before.(hash.Cloner).Clone()
	if err != nil {
		panic("handshake: the state of a hash can't be copied: " + err.Error()) // those of the standard library can
	}
	h.Write(m)
	return schedule.ECHConfirmation(s, labels, random[:], h.Sum(nil), retry)
}

// hidden tells the observer of a hello that travels encrypted in the one before.
func (c *core) hidden(from observe.Side, msg []byte) {
	if c.cfg.Observer != nil {
		c.sees(observe.Event{Kind: observe.Hidden, From: from, Level: Initial, Type: message.TypeClientHello, Bytes: msg})
	}
}

// became notes what became of Encrypted Client Hello.
func (c *core) became(s ECHStatus) {
	c.result.ECH = s
	c.agreed("encrypted client hello", s.String())
}
