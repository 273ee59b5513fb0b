package quic

import (
	"bytes"
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
)

// maxHeld is how many bytes are kept while an operation is pending. The longest
// legal flight that can come then is a server's, chain and all; QUIC wants at
// least 4 KiB of everybody (RFC 9000, section 7.5).
const maxHeld = 64 << 10

// maxRow is how many messages may come in a row once the handshake is over: what
// comes between them only QUIC sees, which tells by Progress. RFC 9846 advises a
// limit; over TCP there is the same one.
const maxRow = 32

// Crypto is one end of the handshake of one connection, and of what TLS has to
// say after it. It is for one goroutine at a time.
type Crypto struct {
	machine  handshake.Machine // nil after the handshake
	standing *handshake.Standing
	result   *handshake.Result
	ops      []*handshake.Op
	events   []handshake.Event
	taken    int
	server   bool

	peer  []byte          // the peer's transport parameters
	level handshake.Level // of what is read now
	held  []byte          // bytes of that level that nobody took yet
	row   int             // messages after the handshake that were no progress
	err   error
}

// Drive makes a zero Crypto drive m.
func (c *Crypto) Drive(m handshake.Machine, server bool) { c.machine, c.server = m, server }

// Start begins a client's handshake: m is the machine that Drive was given.
func (c *Crypto) Start(m *handshake.Client) error {
	if err := m.Start(); err != nil {
		return c.stop(err)
	}
	return c.settle()
}

// Done says whether the handshake is over.
func (c *Crypto) Done() bool { return c.machine == nil }

// Result is what the handshake came to, nil before Done.
func (c *Crypto) Result() *handshake.Result { return c.result }

// PeerParameters are the peer's transport parameters, nil before they came.
func (c *Crypto) PeerParameters() []byte { return c.peer }

// Next is the next thing that QUIC has to know: Send, Keys, PeerParameters,
// SkipEarlyData or Done. The bytes and the secret of it are the caller's, who
// zeroes a secret that it is done with.
func (c *Crypto) Next() (handshake.Event, bool) {
	if c.taken == len(c.events) {
		c.events, c.taken = c.events[:0], 0
		return handshake.Event{}, false
	}
	e := c.events[c.taken]
	c.events[c.taken] = handshake.Event{}
	c.taken++
	return e, true
}

// Op is the next operation to be answered, nil if there is none.
func (c *Crypto) Op() *handshake.Op {
	if len(c.ops) == 0 {
		return nil
	}
	op := c.ops[0]
	c.ops = c.ops[1:]
	return op
}

// Pending says whether Op has one to give.
func (c *Crypto) Pending() bool { return len(c.ops) > 0 }

// Resolve answers an operation that Op gave.
func (c *Crypto) Resolve(op *handshake.Op, a handshake.Answer) error {
	if c.err != nil {
		return c.err
	}
	if c.machine == nil {
		return ours("an operation was answered after the handshake")
	}
	if err := c.machine.Resolve(op, a); err != nil {
		return c.stop(err)
	}
	return c.settle()
}

// Receive takes the next bytes that came at level. They are copied where they
// have to wait. An error is a *handshake.Failure, and stays; Code is its code in
// CONNECTION_CLOSE.
func (c *Crypto) Receive(level handshake.Level, data []byte) error {
	switch {
	case c.err != nil:
		return c.err
	case len(data) == 0:
		return nil
	case level < c.level:
		return c.stop(c.violation("%d bytes of the handshake came at the level %s, which is over", len(data), level))
	case level > c.level:
		return c.stop(ours(fmt.Sprintf("bytes of the level %s were given to TLS, which has given no keys for it yet", level)))
	}
	c.held = append(c.held, data...)
	return c.settle()
}

// Progress says that data of the application came.
func (c *Crypto) Progress() { c.row = 0 }

// settle takes what is there, as far as that can be done now.
func (c *Crypto) settle() error {
	if err := c.pump(); err != nil {
		return c.stop(err)
	}
	for {
		if c.machine != nil && c.machine.Waiting() {
			if len(c.held) > maxHeld {
				return c.stop(failure(alert.UnexpectedMessage, code.Flood, c.expecting(),
					fmt.Sprintf("the peer goes on sending while an operation of ours is pending; at most %d bytes are kept", maxHeld)))
			}
			return nil
		}
		msg, err := c.next()
		if err != nil {
			return c.stop(err)
		}
		if msg == nil {
			return nil
		}
		if err := c.message(msg); err != nil {
			return c.stop(err)
		}
	}
}

// next takes a whole message off what is held, nil where there is none. Its
// length is judged as soon as it is known.
func (c *Crypto) next() ([]byte, error) {
	if len(c.held) < message.HeaderLen {
		return nil, nil
	}
	t, n := message.Header(c.held)
	most := message.MaxLen(t)
	switch {
	case most == 0:
		return nil, failure(alert.UnexpectedMessage, code.UnexpectedMessage, c.expecting(),
			fmt.Sprintf("%s was expected, a message of the unknown type %d came", c.expecting(), uint8(t)))
	case n > most && t == message.TypeFinished: // whose length can only be one
		return nil, failure(alert.DecodeError, code.BadMessage, c.expecting(), fmt.Sprintf("%s of %d bytes is announced; it is as long as the hash", t, n))
	case n > most:
		return nil, failure(alert.IllegalParameter, code.MessageTooLarge, c.expecting(),
			fmt.Sprintf("%s of %d bytes is announced; at most %d are taken", t, n, most))
	}
	n += message.HeaderLen
	if n > len(c.held) {
		return nil, nil
	}
	msg := c.held[:n:n]
	if c.held = c.held[n:]; len(c.held) == 0 {
		c.held = nil
	}
	return msg, nil
}

func (c *Crypto) message(msg []byte) error {
	if c.machine == nil {
		if c.row++; c.row > maxRow {
			return failure(alert.UnexpectedMessage, code.Flood, c.expecting(), fmt.Sprintf("more than %d handshake messages came in a row", maxRow))
		}
		_, err := c.standing.Message(msg)
		return err
	}
	if err := c.machine.Message(c.level, msg); err != nil {
		return err
	}
	return c.pump()
}

// pump takes what the machine wants.
func (c *Crypto) pump() error {
	for c.machine != nil {
		e, ok := c.machine.Next()
		if !ok {
			return nil
		}
		switch e.Kind {
		case handshake.Ask:
			c.ops = append(c.ops, e.Op)
			continue
		case handshake.PeerParameters:
			c.peer = e.Bytes
		case handshake.Keys:
			e.Secret = bytes.Clone(e.Secret)
			if e.Direction == handshake.Read && e.Level != handshake.Early {
				// RFC 9001, section 4.1.3.
				if len(c.held) > 0 {
					clear(e.Secret)
					return c.violation("%d bytes came behind the message with which the level %s ended", len(c.held), c.level)
				}
				c.level = e.Level
			}
		case handshake.Done:
			c.result = c.machine.Result()
			c.standing = c.result.Standing
			c.machine.Discard()
			c.machine = nil
		}
		c.events = append(c.events, e)
	}
	return nil
}

// stop makes an error stay. What was made to be sent before it still is, with the
// keys that the end of the connection is told under; no more keys to read with are
// given out.
func (c *Crypto) stop(err error) error {
	if c.err != nil {
		return c.err
	}
	c.err = err
	c.held = nil
	for c.machine != nil {
		e, ok := c.machine.Next()
		if !ok {
			break
		}
		switch {
		case e.Kind == handshake.Keys && e.Direction == handshake.Write:
			e.Secret = bytes.Clone(e.Secret)
			c.events = append(c.events, e)
		case e.Kind == handshake.Send:
			c.events = append(c.events, e)
		}
	}
	c.Discard()
	return err
}

// Discard zeroes what is secret and still held.
func (c *Crypto) Discard() {
	if c.err == nil {
		c.err = ours("the connection is over")
	}
	if c.machine != nil {
		c.machine.Discard()
	}
	c.ops = nil
}

// expecting names what is waited for.
func (c *Crypto) expecting() string {
	if c.machine == nil {
		return "a ticket"
	}
	return c.machine.Expecting()
}

func (c *Crypto) violation(format string, args ...any) error {
	return failure(alert.UnexpectedMessage, code.QUICViolation, c.expecting(), fmt.Sprintf(format, args...))
}

func failure(a alert.Alert, k code.Code, at, reason string) error {
	return &handshake.Failure{Alert: a, Code: k, Fault: handshake.PeerMisbehaved, At: at, Reason: reason}
}

func ours(reason string) error {
	return &handshake.Failure{Alert: alert.InternalError, Code: code.Misuse, Fault: handshake.Misuse, At: "QUIC", Reason: reason}
}

// The error codes of CONNECTION_CLOSE (RFC 9000, section 20.1).
const (
	ProtocolViolation    = 0x0a
	CryptoBufferExceeded = 0x0d
	CryptoError          = 0x0100 // and the alert
)

// Code is what f is in CONNECTION_CLOSE: an alert, but for what QUIC has codes
// of its own (RFC 9001, section 4.8).
func Code(f *handshake.Failure) uint64 {
	switch f.Code {
	case code.QUICViolation:
		return ProtocolViolation
	case code.Flood: // more of the handshake than we take
		return CryptoBufferExceeded
	}
	return CryptoError + uint64(f.Alert)
}
