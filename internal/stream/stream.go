package stream

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/schedule"
)

const (
	// maxRow is how many messages that are no progress may come in a row once
	// the handshake is over (KeyUpdate, NewSessionTicket, empty records): each
	// costs us work and the peer next to nothing. RFC 9846 advises a limit;
	// BoringSSL and rustls stop at 32.
	maxRow = 32
	// maxEmpty is how many records without any content are taken in a row
	// during the handshake, the compatibility record included.
	maxEmpty = 16
	// maxWarnings is how many user_canceled alerts are taken; one makes sense.
	maxWarnings = 4
	// rekeyMargin is how many records before the AEAD's limit the keys are
	// changed, so that alerts and the KeyUpdate itself still fit.
	rekeyMargin = 8
	// maxEpoch is how often the keys that we send with may be changed (RFC 9846,
	// section 4.7.3). The peer's are its own to count.
	maxEpoch = 1<<48 - 1
)

const labels = schedule.TLS

// Stream is one end of one connection.
type Stream struct {
	machine  handshake.Machine // nil after the handshake
	standing *handshake.Standing
	result   *handshake.Result
	ops      []*handshake.Op
	early    earlyState
	exporter *handshake.Exporter // a client's early one; a server's for the time of early data
	protocol string              // the same

	in  in
	out out

	// owed is set by the reading half when the peer asked for a KeyUpdate, and
	// taken by the writing half before its next application data. However often
	// the peer asks, one answer is pending at most.
	owed atomic.Bool
	// asked is set by the writing half when it asks the peer for a KeyUpdate, and
	// taken by the reading half when one comes: until then there is no second
	// update_requested (RFC 9846, section 4.7.3).
	asked atomic.Bool
}

// in is the reading half.
type in struct {
	opener   record.Opener
	level    handshake.Level
	partial  []byte // an unfinished handshake message
	changed  bool   // the keys changed while a message was worked on
	opened   bool   // a record was opened under keys
	first    bool   // a first record came
	skipping bool
	skipped  int64 // bytes that may still be dropped unread
	early    int64 // bytes of early data that may still come
	row      int   // messages after the handshake that were no progress
	empty    int   // records that were none
	warnings int
	admitted bool
	err      error
	server   bool
	begun    bool // a ClientHello was sent, or came
	limit    int  // our record_size_limit, once it was agreed
}

// out is the writing half.
type out struct {
	sealer     record.Sealer
	plain      []byte // handshake bytes that wait for a record
	level      handshake.Level
	wire       []byte
	rekeyAfter uint64
	epoch      uint64 // how often the keys were changed
	early      int64  // bytes of early data that may still be sent
	limit      int    // the peer's record_size_limit, 0: that of TLS
	most       int    // content of a record as we want it, 0: as much as there may be
	padding    Padding
	random     io.Reader // of padding
	// disguise is a client's ChangeCipherSpec that waits for the flight that it
	// stands before: sent alone, while the server may still be sending its own
	// flight, it would stop both on a transport without buffers.
	disguise bool
}

// PeerAlert is a fatal alert that the peer sent.
type PeerAlert struct {
	Alert alert.Alert
	// At says where we stood when it came.
	At string
	// Clear is true where it came without protection, so that anybody on the
	// way may have sent it.
	Clear bool
}

// Error names the alert.
func (a *PeerAlert) Error() string { return "the peer sent the alert " + a.Alert.String() }

// Drive makes a zero Stream drive m. rekeyAfter, if not 0, lowers the number of
// records that are sent under one key.
func (s *Stream) Drive(m handshake.Machine, server bool, rekeyAfter uint64) {
	s.machine = m
	s.in.server = server
	s.out.sealer.InitialClientHello = !server
	s.out.rekeyAfter = rekeyAfter
}

// Adopt makes s, which drove nothing but watched a machine that something else
// drives, the place of what came of it. It seals and receives nothing.
func (s *Stream) Adopt(r *handshake.Result) {
	s.machine, s.result, s.standing = nil, r, r.Standing
}

// Start sends a client's first flight: c is the machine that Drive was given.
func (s *Stream) Start(c *handshake.Client) error {
	s.in.begun = true
	if err := c.Start(); err != nil {
		return s.stop(err)
	}
	return s.stop(s.pump())
}

// Done says whether the handshake is over.
func (s *Stream) Done() bool { return s.machine == nil }

// Result is what the handshake came to, nil before Done.
func (s *Stream) Result() *handshake.Result { return s.result }

// Standing is what goes on after the handshake, nil before Done.
func (s *Stream) Standing() *handshake.Standing { return s.standing }

// Admitted says, on a client's side, whether the server has sent what it can
// only send after it judged our certificate. It belongs to the reading half.
func (s *Stream) Admitted() bool { return s.in.admitted }

// Ticketed says, on a client's side, whether Standing has tickets that nobody took.
// It belongs to the reading half.
func (s *Stream) Ticketed() bool { return s.standing != nil && s.standing.Ticketed() }

// Expecting names what is waited for.
func (s *Stream) Expecting() string {
	if s.machine == nil {
		return "application data"
	}
	return s.machine.Expecting()
}

// Op is the next operation to be answered, nil if there is none.
func (s *Stream) Op() *handshake.Op {
	if len(s.ops) == 0 {
		return nil
	}
	op := s.ops[0]
	s.ops = s.ops[1:]
	return op
}

// Pending says whether Op has one to give.
func (s *Stream) Pending() bool { return len(s.ops) > 0 }

// Resolve answers an operation that Op gave.
func (s *Stream) Resolve(op *handshake.Op, a handshake.Answer) error {
	if s.machine == nil {
		return io.ErrClosedPipe
	}
	if err := s.machine.Resolve(op, a); err != nil {
		return s.stop(err)
	}
	return s.stop(s.pump())
}

// stop makes an error of the reading half stay.
func (s *Stream) stop(err error) error {
	if err != nil && s.in.err == nil {
		s.in.err = err
		if s.machine != nil {
			_ = s.pumpOutput() // what was made before it failed still goes out
			s.machine.Discard()
		}
	}
	return s.in.err
}

// pump carries out what the machine wants.
func (s *Stream) pump() error {
	for s.machine != nil {
		e, ok := s.machine.Next()
		if !ok {
			return nil
		}
		switch e.Kind {
		case handshake.Ask:
			s.ops = append(s.ops, e.Op)
		case handshake.SkipEarlyData:
			s.in.skipping, s.in.skipped = true, e.Limit
		case handshake.EarlyBegun:
			s.early, s.result, s.exporter = earlyOpen, s.machine.Result(), e.Exporter
		case handshake.EarlyEnded:
			s.endEarly(true)
		case handshake.Keys:
			if e.Direction == handshake.Write {
				if err := s.writeKeys(e); err != nil {
					return err
				}
				continue
			}
			if len(s.in.partial) > 0 {
				return failure(alert.UnexpectedMessage, code.UnexpectedMessage, s.machine.Expecting(),
					"a part of a handshake message came before the keys that it belongs to changed")
			}
			if err := s.in.opener.Set(e.Suite, labels, e.Secret); err != nil {
				return ours(err)
			}
			if e.Level != handshake.Early && s.in.limit != 0 {
				s.in.opener.Limit(s.in.limit)
			}
			s.in.level, s.in.changed, s.in.opened, s.in.skipping, s.in.early = e.Level, true, false, false, e.Limit
		case handshake.RecordLimits:
			s.limit(e)
		case handshake.Done:
			if s.result == nil {
				s.result = s.machine.Result()
			}
			s.standing = s.result.Standing
			s.machine.Discard()
			s.machine = nil
			s.in.row, s.in.empty, s.in.skipping = 0, 0, false
			s.early = earlyOver
		default:
			s.output(e)
		}
	}
	return nil
}

// pumpOutput takes only what is to be sent from a machine that has failed.
func (s *Stream) pumpOutput() error {
	for {
		e, ok := s.machine.Next()
		if !ok {
			return nil
		}
		switch {
		case e.Kind == handshake.Keys && e.Direction == handshake.Write:
			if err := s.writeKeys(e); err != nil {
				return err
			}
		case e.Kind == handshake.Send || e.Kind == handshake.ChangeCipherSpec:
			s.output(e)
		}
	}
}

func (s *Stream) writeKeys(e handshake.Event) error {
	s.flush()
	if err := s.out.sealer.Set(e.Suite, labels, e.Secret); err != nil {
		return ours(err)
	}
	s.out.level = e.Level
	if e.Level == handshake.Early {
		s.beginEarly(e)
	} else if s.early == earlyOpen && !s.in.server {
		s.endEarly(false)
	}
	return nil
}

func (s *Stream) output(e handshake.Event) {
	switch e.Kind {
	case handshake.Send:
		if s.out.plain == nil {
			s.out.plain = e.Bytes[:len(e.Bytes):len(e.Bytes)]
			return
		}
		s.out.plain = append(s.out.plain, e.Bytes...)
	case handshake.ChangeCipherSpec:
		s.flush()
		s.out.disguise = true
		if s.in.server {
			s.disguise()
		}
	}
}

// disguise is the compatibility record (RFC 8446, appendix D.4).
func (s *Stream) disguise() {
	if s.out.disguise {
		s.out.disguise = false
		s.out.wire = append(s.out.wire, compatibility...)
	}
}

// compatibility is the record that a disguise consists of.
var compatibility = []byte{byte(record.ChangeCipherSpec), 3, 3, 0, 1, 1}

// flush seals the handshake bytes that wait: messages in a row share records.
func (s *Stream) flush() {
	if len(s.out.plain) > 0 {
		s.disguise()
	}
	for b := s.out.plain; len(b) > 0; {
		n := min(len(b), s.fragment())
		s.out.wire = s.out.sealer.Seal(s.out.wire, record.Handshake, b[:n], s.pad(n))
		s.out.sealer.InitialClientHello = false
		b = b[n:]
	}
	s.out.plain = nil
}

// Output is what is ready for the wire; it is valid until the next call of
// anything but Sent, which says that it was written.
func (s *Stream) Output() []byte {
	s.flush()
	return s.out.wire
}

// Sent says that Output was written.
func (s *Stream) Sent() { s.out.wire = s.out.wire[:0] }

// DiscardRead and DiscardWrite forget the keys of a half, which is not to be used
// any more; DiscardWrite forgets the exporter secret too. Discard forgets all,
// before Done or after.
func (s *Stream) DiscardRead() {
	if s.in.err == nil {
		s.in.err = io.ErrClosedPipe
	}
	s.in.opener.Destroy()
	if s.standing != nil {
		s.standing.DiscardRead()
	}
}

// DiscardWrite forgets the keys of the writing half.
func (s *Stream) DiscardWrite() {
	s.out.sealer.Destroy()
	if s.standing != nil {
		s.standing.DiscardWrite()
		s.standing.DiscardExporter()
	}
	s.EarlyExporter().Discard()
}

// Discard forgets all keys.
func (s *Stream) Discard() {
	if s.machine != nil {
		s.machine.Discard()
	}
	s.DiscardRead()
	s.DiscardWrite()
}

// ShownCertificate is the credential that we showed, or nil.
func (s *Stream) ShownCertificate() *handshake.Credential {
	if s.result != nil {
		return s.result.Local
	}
	return s.machine.Shown()
}

// Finish gives up what only the handshake needs.
func (s *Stream) Finish() { s.out.wire, s.out.plain, s.ops = nil, nil, nil }

func failure(a alert.Alert, k code.Code, at, reason string) *handshake.Failure {
	return &handshake.Failure{Alert: a, Code: k, Fault: handshake.PeerMisbehaved, At: at, Reason: reason}
}

func ours(err error) *handshake.Failure {
	return &handshake.Failure{Alert: alert.InternalError, Code: code.Internal, Fault: handshake.Misuse, At: "keys", Reason: err.Error(), Err: err}
}

// Seal appends data to dst in as few records as hold it, under new keys where
// they are due. It belongs to the writing half.
func (s *Stream) Seal(dst, data []byte) ([]byte, error) {
	var err error
	for {
		if dst, err = s.maintain(dst); err != nil {
			return dst, err
		}
		n := min(len(data), s.fragment())
		if dst, err = s.seal(dst, record.ApplicationData, data[:n]); err != nil {
			return dst, err
		}
		data = data[n:]
		if len(data) == 0 {
			return dst, nil
		}
	}
}

// seal appends one record to dst. What the sealer will not seal must not pass
// for sent.
func (s *Stream) seal(dst []byte, t record.ContentType, p []byte) ([]byte, error) {
	out := s.out.sealer.Seal(dst, t, p, s.pad(len(p)))
	if out == nil {
		return dst, wornOut()
	}
	return out, nil
}

func wornOut() *handshake.Failure {
	f := ours(errors.New("the key that we send with is worn out, and could not be changed"))
	f.Code = code.KeyExhausted
	return f
}

// MaxSealed is the most bytes that Seal appends for n bytes of data where neither
// padding nor a limit of the peer's makes it more.
func MaxSealed(n int) int {
	records := (n + record.MaxPlaintext - 1) / record.MaxPlaintext
	return n + max(records, 1)*(record.Overhead+record.Overhead+keyUpdateLen) // each may follow a KeyUpdate
}

const keyUpdateLen = message.HeaderLen + 1

// maintain changes the keys where the peer asked for it, and before the AEAD's
// limit (RFC 8446, sections 4.6.3 and 5.5).
func (s *Stream) maintain(dst []byte) ([]byte, error) {
	if s.out.epoch >= maxEpoch {
		return dst, nil // what the peer asked for can't be given, and the last key lasts as long as it does
	}
	if s.standing == nil {
		return dst, nil // a server that answers early data; at the AEAD's limit it stops
	}
	if s.owed.Load() {
		s.owed.Store(false)
		return s.Rekey(dst, false)
	}
	if s.out.sealer.Remaining() <= rekeyMargin || s.out.rekeyAfter != 0 && s.out.sealer.Sequence() >= s.out.rekeyAfter {
		return s.Rekey(dst, false)
	}
	return dst, nil
}

// Rekey appends a KeyUpdate to dst and goes over to new keys. With ask the peer
// is to change its keys too; where it was asked already and has not yet, it is not
// asked again. It belongs to the writing half.
func (s *Stream) Rekey(dst []byte, ask bool) ([]byte, error) {
	if s.out.epoch >= maxEpoch {
		return dst, wornOut()
	}
	ask = ask && s.asked.CompareAndSwap(false, true)
	var space [keyUpdateLen]byte
	b, err := (&message.KeyUpdate{RequestUpdate: ask}).Append(space[:0])
	if err != nil {
		return dst, ours(err)
	}
	if dst, err = s.seal(dst, record.Handshake, b); err != nil {
		return dst, err
	}
	if err := s.out.sealer.Set(s.standing.Suite(), labels, s.standing.NextWrite()); err != nil {
		return dst, ours(err)
	}
	s.out.epoch++
	return dst, nil
}

// Alert appends an alert to dst, under the keys in force. It belongs to the
// writing half.
func (s *Stream) Alert(dst []byte, a alert.Alert) []byte {
	const warning, fatal = 1, 2
	level := byte(fatal)
	if a == alert.CloseNotify || a == alert.UserCanceled {
		level = warning
	}
	if s.out.disguise { // a client that refuses the server's flight has sent none of its own
		s.out.disguise = false
		dst = append(dst, compatibility...)
	}
	return s.out.sealer.Seal(dst, record.Alert, []byte{level, byte(a)}, s.pad(2))
}
