package observe

import (
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Side is an end of the connection.
type Side uint8

// The two ends. The zero value is neither.
const (
	Client Side = 1
	Server Side = 2
)

// String is "client" or "server".
func (s Side) String() string {
	switch s {
	case Client:
		return "client"
	case Server:
		return "server"
	}
	return "nobody"
}

// Kind says what happened.
type Kind uint8

// What can happen.
const (
	// Message: From sent a handshake message; Level, Type and Bytes tell it.
	Message Kind = iota + 1
	// Agreed: Label names what was agreed ("version", "suite", "group",
	// "scheme", "alpn", "server name", "resumed"), Value tells it. "full handshake"
	// tells why a session was not resumed.
	Agreed
	// Key: a secret of the key schedule was derived; Label is its RFC name and
	// Value says from what. From is the side whose writing it protects, or
	// neither.
	Key
	// Operation: the machine asks for something outside it; Label names it.
	Operation
	// Judged: From's certificate was judged; Verdict holds the verdict.
	Judged
	// Alert: From sent Alert.
	Alert
	// Done: the handshake is over for this side.
	Done
	// Hidden: the ClientHello in Bytes, which From means, travels encrypted in the
	// one that was told before.
	Hidden
)

// Event is one thing that happened. Bytes are valid only during the call.
type Event struct {
	Kind    Kind
	From    Side
	Level   Level
	Type    message.Type
	Bytes   []byte
	Label   string
	Value   string
	Alert   alert.Alert
	Suite   suite.ID
	Verdict any
}

// Level is the protection under which handshake bytes travel; it is the
// "epoch" of RFC 9147 and the encryption level of RFC 9001, section 4.
type Level uint8

// The levels in the order in which a handshake reaches them.
const (
	Initial Level = iota
	Early
	Handshake
	Application
)

// String is the level's name.
func (l Level) String() string {
	switch l {
	case Initial:
		return "initial"
	case Early:
		return "early"
	case Handshake:
		return "handshake"
	case Application:
		return "application"
	}
	return "unknown"
}

// Observer is told what happens. It is called from the goroutine that drives
// the handshake, in order, and must not block: the handshake waits for it. What
// comes after Done (tickets, key updates) is told by the goroutine that reads.
type Observer interface {
	Observe(Event)
}

// Func is an Observer that is a function.
type Func func(Event)

// Observe calls f.
func (f Func) Observe(e Event) { f(e) }
