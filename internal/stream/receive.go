package stream

import (
	"fmt"
	"io"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// Receive takes bytes from the wire. It consumes whole records, in place, until
// there is application data to give, more bytes are needed, or an operation has
// to be answered first. data lies in b.
//
// io.EOF means that the peer said close_notify. A *PeerAlert is a fatal alert of
// the peer's. Anything else is a *handshake.Failure, whose alert is to be sent.
// An error stays.
func (s *Stream) Receive(b []byte) (consumed int, data []byte, err error) {
	for s.in.err == nil {
		if s.machine != nil && s.machine.Waiting() {
			return consumed, nil, nil
		}
		need, err := s.Need(b[consumed:])
		if err != nil {
			return consumed, nil, s.stop(err)
		}
		if need > len(b)-consumed {
			return consumed, nil, nil
		}
		rec := b[consumed : consumed+need]
		consumed += need
		data, err := s.record(rec)
		if err != nil {
			return consumed, nil, s.stop(err)
		}
		if len(data) > 0 {
			return consumed, data, nil
		}
	}
	return consumed, nil, s.in.err
}

// Need is how long the record at the start of b is, header included, as far as b
// tells: at least the header's length. What can't be a record of ours is an
// error at once, before anything is waited for.
func (s *Stream) Need(b []byte) (int, error) {
	if !s.in.first && len(b) > 0 {
		if err := s.foreign(b); err != nil {
			return 0, err
		}
	}
	if len(b) < record.HeaderLen {
		return record.HeaderLen, nil
	}
	t, version, n := record.Header(b)
	switch {
	case !known(t):
		return 0, s.misbehaved(alert.UnexpectedMessage, code.BadRecord, "a record of the unknown type %d came", uint8(t))
	case version>>8 != 3:
		return 0, s.misbehaved(alert.ProtocolVersion, code.BadRecord, "a record of the unknown version %#04x came", version)
	case n > record.MaxCiphertext || n > record.MaxPlaintext && !s.protected(t):
		return 0, s.misbehaved(alert.RecordOverflow, code.RecordOverflow, "a record of %d bytes came, longer than any may be", n)
	}
	return record.HeaderLen + n, nil
}

// known says whether a record is of a type that there is.
func known(t record.ContentType) bool {
	return t == record.Handshake || t == record.Alert || t == record.ApplicationData || t == record.ChangeCipherSpec
}

// protected says whether a record of the outer type t is a ciphertext: under our
// keys, or early data that is dropped while there are none.
func (s *Stream) protected(t record.ContentType) bool {
	return s.in.opener.Encrypted() || s.in.skipping && t == record.ApplicationData
}

// foreign recognises, by its first bytes, a peer that does not speak TLS.
func (s *Stream) foreign(b []byte) error {
	switch {
	case len(b) >= 3 && b[0]&0x80 != 0 && b[2] == 1 && s.in.server:
		// RFC 6101, appendix E: a hello of SSL 2, in which version 3 may be asked for.
		return &handshake.Failure{Alert: alert.ProtocolVersion, Code: code.NoCommonVersion, Fault: handshake.PeerIncompatible,
			At: s.Expecting(), Reason: "the client speaks SSL 2, and we speak TLS 1.3"}
	case len(b) >= 4 && isText(b[:4]):
		return &handshake.Failure{Alert: alert.UnexpectedMessage, Code: code.NotTLS, Fault: handshake.PeerIncompatible,
			At: s.Expecting(), Reason: fmt.Sprintf("the peer does not speak TLS: it began with %q", b[:min(len(b), 32)])}
	case len(b) >= 4 && s.in.server && !known(record.ContentType(b[0])) && b[1] != 3:
		return &handshake.Failure{Alert: alert.UnexpectedMessage, Code: code.NotTLS, Fault: handshake.PeerIncompatible,
			At: s.Expecting(), Reason: fmt.Sprintf("the peer does not speak TLS: it began with the bytes % x", b[:min(len(b), 16)])}
	case len(b) >= 4:
		s.in.first = true
	}
	return nil
}

// isText says whether b is ASCII text, as HTTP, SMTP and SSH begin with.
func isText(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

func (s *Stream) misbehaved(a alert.Alert, k code.Code, format string, args ...any) error {
	return failure(a, k, s.Expecting(), fmt.Sprintf(format, args...))
}

// record takes one whole record.
func (s *Stream) record(rec []byte) ([]byte, error) {
	outer, _, n := record.Header(rec)
	encrypted := s.in.opener.Encrypted()
	switch {
	case outer == record.ChangeCipherSpec:
		return nil, s.changeCipherSpec(rec[record.HeaderLen:])
	case encrypted && outer == record.Alert && s.clearAlertAllowed():
		return nil, s.alert(rec[record.HeaderLen:], true)
	case !encrypted && outer == record.ApplicationData && s.in.skipping:
		return nil, s.skip(n) // after a HelloRetryRequest there are no keys to try
	}
	t, p, err := s.in.opener.Open(rec)
	if err != nil {
		e, ok := err.(*record.Error)
		if !ok {
			return nil, ours(err)
		}
		if s.in.skipping && encrypted && e.Alert == alert.BadRecordMAC {
			return nil, s.skip(n)
		}
		k := code.BadRecord
		if e.Alert == alert.RecordOverflow {
			k = code.RecordOverflow
		}
		return nil, s.misbehaved(e.Alert, k, "%s", e.Reason)
	}
	if encrypted {
		s.in.skipping = false
		s.in.opened = true
	}
	switch t {
	case record.Handshake:
		if len(p) == 0 {
			return nil, s.misbehaved(alert.UnexpectedMessage, code.BadRecord, "an empty handshake record came")
		}
		return nil, s.handshake(p)
	case record.Alert:
		return nil, s.alert(p, !encrypted)
	case record.ApplicationData:
		switch {
		case s.machine != nil && s.in.level == handshake.Early:
			return s.earlyData(p)
		case s.machine != nil:
			return nil, s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "application data came before the handshake was over")
		case len(s.in.partial) > 0:
			return nil, s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "application data came inside a handshake message")
		case s.standing.Midway():
			return nil, s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "application data came inside an answer to our request for a certificate")
		case len(p) == 0:
			return nil, s.idle(&s.in.empty, "empty records")
		}
		s.in.row, s.in.empty = 0, 0
		return p, nil
	}
	return nil, s.misbehaved(alert.UnexpectedMessage, code.BadRecord, "a record of type %d came under protection", uint8(t))
}

// idle counts what is no progress. Messages and empty records have a counter
// each: a legal row of one must not depend on how many of the other came.
func (s *Stream) idle(count *int, what string) error {
	*count++
	most := maxRow
	if s.machine != nil {
		most = maxEmpty
	}
	if *count > most {
		return s.misbehaved(alert.UnexpectedMessage, code.Flood, "more than %d %s came in a row", most, what)
	}
	return nil
}

// changeCipherSpec drops the compatibility record (RFC 8446, section 5): one
// byte, in the clear, between the first ClientHello and the peer's Finished. It
// triggers nothing.
func (s *Stream) changeCipherSpec(p []byte) error {
	switch {
	case s.machine == nil:
		return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "change_cipher_spec came after the handshake")
	case !s.in.begun:
		return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "change_cipher_spec came before the ClientHello")
	case len(p) != 1 || p[0] != 1:
		return s.misbehaved(alert.UnexpectedMessage, code.BadRecord, "a change_cipher_spec came that is not the one byte 1")
	case len(s.in.partial) > 0:
		return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "change_cipher_spec came inside a handshake message")
	}
	return s.idle(&s.in.empty, "change_cipher_spec records")
}

// clearAlertAllowed says whether an alert without protection may still come: a
// client that can't make the keys, because it refuses our ServerHello, has no
// other way to tell. It can at most close.
func (s *Stream) clearAlertAllowed() bool {
	return s.machine != nil && s.in.server && s.in.level == handshake.Handshake && !s.in.opened
}

func (s *Stream) alert(p []byte, clear bool) error {
	if len(p) != 2 {
		return s.misbehaved(alert.DecodeError, code.BadAlert, "an alert of %d bytes came; it has two", len(p))
	}
	a := alert.Alert(p[1])
	switch {
	case p[0] != 1 && p[0] != 2: // any other level does not exist; which of the two it is does not matter
		return s.misbehaved(alert.IllegalParameter, code.BadAlert, "an alert of the unknown level %d came", p[0])
	case a == alert.UserCanceled:
		// It announces a close_notify, and means nothing by itself (RFC 9846,
		// section 6.1).
		s.in.warnings++
		if s.in.warnings > maxWarnings {
			return s.misbehaved(alert.UnexpectedMessage, code.Flood, "more than %d user_canceled alerts came", maxWarnings)
		}
		return nil
	case a == alert.CloseNotify && s.machine == nil:
		if len(s.in.partial) > 0 {
			return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "the peer closed inside a handshake message")
		}
		return io.EOF
	case a == alert.CloseNotify && s.in.warnings > 0:
		a = alert.UserCanceled // the peer gave the handshake up, and said so
	}
	return &PeerAlert{Alert: a, At: s.Expecting(), Clear: clear}
}

// handshake takes the content of a handshake record: messages, and parts of
// messages, in any cut.
func (s *Stream) handshake(p []byte) error {
	for len(p) > 0 {
		msg, rest, err := s.next(p)
		if err != nil || msg == nil {
			return err
		}
		p = rest
		if s.machine != nil && s.in.level == handshake.Initial && len(p) > 0 {
			// A hello is answered by other keys, or by a HelloRetryRequest and its
			// answer: what lies behind it was sent without waiting for either.
			return s.more(msg)
		}
		s.in.changed = false
		if err := s.message(msg); err != nil {
			return err
		}
		if s.in.changed && len(p) > 0 {
			return s.more(msg)
		}
	}
	return nil
}

func (s *Stream) more(behind []byte) error {
	return s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage,
		"after %s the keys change or the flight ends, and more followed", message.Type(behind[0]))
}

// next takes the next whole message off p; where there is only a part of it, the
// part is kept and msg is nil. The length is judged before anything is kept.
func (s *Stream) next(p []byte) (msg, rest []byte, err error) {
	if len(s.in.partial) == 0 && len(p) >= message.HeaderLen {
		n, err := s.length(p)
		if err != nil {
			return nil, nil, err
		}
		if n <= len(p) {
			return p[:n:n], p[n:], nil
		}
	}
	for {
		want := message.HeaderLen
		if have := len(s.in.partial); have >= message.HeaderLen {
			if want, err = s.length(s.in.partial); err != nil {
				return nil, nil, err
			}
			if have == want {
				msg, s.in.partial = s.in.partial, nil
				return msg, p, nil
			}
		}
		if len(p) == 0 {
			return nil, nil, nil
		}
		n := min(want-len(s.in.partial), len(p))
		s.in.partial = append(s.in.partial, p[:n]...)
		p = p[n:]
	}
}

// length is the whole length of the message that begins with b's header.
func (s *Stream) length(b []byte) (int, error) {
	t, n := message.Header(b)
	most := message.MaxLen(t)
	if most == 0 {
		return 0, s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "%s was expected, a message of the unknown type %d came", s.Expecting(), uint8(t))
	}
	if n > most && t == message.TypeFinished { // whose length can only be one
		return 0, s.misbehaved(alert.DecodeError, code.BadMessage, "%s of %d bytes is announced; it is as long as the hash", t, n)
	}
	if n > most {
		return 0, s.misbehaved(alert.IllegalParameter, code.MessageTooLarge, "%s of %d bytes is announced; at most %d are taken", t, n, most)
	}
	return message.HeaderLen + n, nil
}

// message takes one whole message.
func (s *Stream) message(msg []byte) error {
	if s.machine != nil {
		s.in.begun = true
		s.in.empty = 0
		if err := s.machine.Message(s.in.level, msg); err != nil {
			return err
		}
		return s.pump()
	}
	if err := s.idle(&s.in.row, "handshake messages"); err != nil {
		return err
	}
	effect, err := s.standing.Message(msg)
	if err != nil {
		return err
	}
	if effect&handshake.Ticket != 0 {
		s.in.admitted = true
	}
	if effect&handshake.UpdateRequested != 0 {
		s.owed.Store(true)
	}
	if effect&handshake.RekeyRead != 0 {
		s.in.changed = true
		s.asked.Store(false)
		if err := s.in.opener.Set(s.standing.Suite(), labels, s.standing.NextRead()); err != nil {
			return ours(err)
		}
	}
	return nil
}
