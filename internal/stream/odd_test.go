package stream

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// odd is what a peer with the right keys puts between, or instead of, the records
// of an honest handshake.
type odd struct {
	name string
	to   string // the side under test
	// before is the message before which it comes; 0: after the handshake.
	before message.Type
	put    func(*byHand)
	alert  alert.Alert // 0: it is taken, and what follows is understood
	code   code.Code
	says   string
}

// times puts n records of a kind.
func times(n int, t record.ContentType, content ...byte) func(*byHand) {
	return func(h *byHand) {
		for range n {
			h.put(h.sealed(t, content...))
		}
	}
}

func raw(b ...byte) func(*byHand) { return func(h *byHand) { h.put(b) } }

func clearly(n int, t record.ContentType, content ...byte) func(*byHand) {
	return func(h *byHand) {
		for range n {
			h.put(clearRecord(t, content...))
		}
	}
}

func both(first, second func(*byHand)) func(*byHand) {
	return func(h *byHand) { first(h); second(h) }
}

func rekeys(n int, ask bool) func(*byHand) {
	return func(h *byHand) {
		for range n {
			h.rekey(ask)
		}
	}
}

func oddities() []odd {
	const (
		unexpected = alert.UnexpectedMessage
		hello      = message.TypeClientHello
		cert       = message.TypeCertificate
		fin        = message.TypeFinished
		ccs        = record.ChangeCipherSpec
		data       = record.ApplicationData
		hs         = record.Handshake
		alrt       = record.Alert
	)
	ticket, err := (&message.NewSessionTicket{Ticket: []byte{1}}).Append(nil)
	if err != nil {
		panic(err)
	}
	tail := func(b ...byte) func(*byHand) {
		return func(h *byHand) { h.packed, h.waiting = true, append(h.waiting, b...) }
	}
	return []odd{
		// What is no TLS 1.3.
		{name: "a hello of SSL 2", to: "server", before: hello, put: raw(0x80, 0x2e, 1, 3, 1, 0, 0x15), alert: alert.ProtocolVersion, code: code.NoCommonVersion, says: "SSL 2"},
		{name: "HTTP", to: "server", before: hello, put: raw([]byte("GET / HTTP/1.1\r\n")...), alert: unexpected, code: code.NotTLS, says: `"GET / HTTP`},
		{name: "an answer of HTTP", to: "client", before: message.TypeServerHello, put: raw([]byte("HTTP/1.1 400 Bad Request\r\n")...), alert: unexpected, code: code.NotTLS, says: "does not speak TLS"},
		{name: "terminal escapes", to: "server", before: hello, put: raw([]byte("abcd\x1b[31mred")...), alert: unexpected, code: code.NotTLS, says: `\x1b[31mred`},
		{name: "a start packet of PostgreSQL", to: "server", before: hello, put: raw(0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f), alert: unexpected, code: code.NotTLS, says: "the bytes 00 00 00 08"},
		{name: "a record of heartbeats", to: "server", before: hello, put: raw(24, 3, 3, 0, 1), alert: unexpected, code: code.BadRecord},
		{name: "a record of version 2", to: "server", before: hello, put: raw(22, 2, 0, 0, 1), alert: alert.ProtocolVersion, code: code.BadRecord},

		// Lengths are judged by the header, before anything is waited for or kept.
		{name: "a record longer than any", to: "server", before: hello, put: raw(22, 3, 1, 0xff, 0xff), alert: alert.RecordOverflow, code: code.RecordOverflow},
		{name: "a clear record of 2^14+1", to: "server", before: hello, put: raw(22, 3, 1, 0x40, 1), alert: alert.RecordOverflow, code: code.RecordOverflow},
		{name: "a protected record of 2^14+257", to: "server", put: raw(23, 3, 3, 0x41, 1), alert: alert.RecordOverflow, code: code.RecordOverflow},
		{name: "a ClientHello of 16 MiB", to: "server", before: hello, put: clearly(1, hs, 1, 0xff, 0xff, 0xff), alert: alert.IllegalParameter, code: code.MessageTooLarge},
		{name: "a Certificate of 16 MiB", to: "server", before: cert, put: times(1, hs, 11, 0xff, 0xff, 0xff), alert: alert.IllegalParameter, code: code.MessageTooLarge},
		{name: "a Finished of 16 MiB, its header in pieces", to: "client", before: fin, put: both(times(1, hs, 20), times(1, hs, 0xff, 0xff, 0xff)), alert: alert.DecodeError, code: code.BadMessage},
		{name: "a message of an unknown type", to: "server", before: hello, put: clearly(1, hs, 99, 0, 0, 0), alert: unexpected, code: code.UnexpectedMessage},

		// What has no place in the clear.
		{name: "data before there are keys", to: "server", before: hello, put: clearly(1, data, 1), alert: unexpected, code: code.BadRecord},
		{name: "an empty clear handshake record", to: "server", before: hello, put: clearly(1, hs), alert: unexpected, code: code.BadRecord},
		{name: "an alert of one byte", to: "server", before: hello, put: clearly(1, alrt, 2), alert: alert.DecodeError, code: code.BadAlert},
		{name: "an alert of a level that does not exist", to: "server", put: times(1, alrt, 0x42, 10), alert: alert.IllegalParameter, code: code.BadAlert},
		{name: "two alerts in one record", to: "server", put: times(1, alrt, 1, 0, 1, 0), alert: alert.DecodeError, code: code.BadAlert},
		// Pitfall: no handshake message and no data in the clear once keys exist
		// (pion CVE-2019-20786).
		{name: "a clear message once there are keys", to: "server", before: cert, put: clearly(1, hs, 11, 0, 0, 4, 0, 0, 0, 0), alert: unexpected, code: code.BadRecord, says: "in the clear"},
		{name: "a clear message to a client that has keys", to: "client", before: message.TypeEncryptedExtensions, put: clearly(1, hs, 8, 0, 0, 2, 0, 0), alert: unexpected, code: code.BadRecord, says: "in the clear"},
		{name: "a clear message after the handshake", to: "client", put: clearly(1, hs, 24, 0, 0, 1, 0), alert: unexpected, code: code.BadRecord, says: "in the clear"},
		{name: "clear data once there are keys", to: "server", before: cert, put: clearly(1, data, bytes.Repeat([]byte("x"), 40)...), alert: alert.BadRecordMAC, code: code.BadRecord},
		{name: "clear data after the handshake", to: "client", put: clearly(1, data, bytes.Repeat([]byte("x"), 40)...), alert: alert.BadRecordMAC, code: code.BadRecord},
		{name: "a clear alert behind a protected record", to: "server", before: fin, put: clearly(1, alrt, 2, 40), alert: unexpected, code: code.BadRecord, says: "in the clear"},
		{name: "a clear close_notify after the handshake", to: "client", put: clearly(1, alrt, 1, 0), alert: unexpected, code: code.BadRecord, says: "in the clear"},
		{name: "a record that does not open", to: "server", before: cert, put: raw(append([]byte{23, 3, 3, 0, 32}, make([]byte, 32)...)...), alert: alert.BadRecordMAC, code: code.BadRecord},
		{name: "a record too short for its tag", to: "client", put: raw(23, 3, 3, 0, 1, 0), alert: alert.BadRecordMAC, code: code.BadRecord},
		{name: "a record twice", to: "server", put: func(h *byHand) {
			r := h.sealed(data, 'x')
			h.put(r)
			h.put(r)
		}, alert: alert.BadRecordMAC, code: code.BadRecord},

		// Pitfall: the one-byte change_cipher_spec before the peer's Finished is
		// dropped and triggers nothing (OpenSSL CVE-2014-0224).
		{name: "change_cipher_spec before the hello", to: "server", before: hello, put: clearly(1, ccs, 1), alert: unexpected, code: code.UnexpectedMessage},
		{name: "change_cipher_spec where it may be", to: "server", before: cert, put: clearly(1, ccs, 1)},
		{name: "change_cipher_spec before the server's Finished", to: "client", before: fin, put: clearly(2, ccs, 1)},
		{name: "as many as are taken", to: "client", before: cert, put: clearly(maxEmpty, ccs, 1)},
		{name: "one more than are taken", to: "client", before: cert, put: clearly(maxEmpty+1, ccs, 1), alert: unexpected, code: code.Flood},
		{name: "a flood of change_cipher_spec", to: "server", before: fin, put: clearly(100, ccs, 1), alert: unexpected, code: code.Flood},
		{name: "change_cipher_spec of another byte", to: "server", before: cert, put: clearly(1, ccs, 2), alert: unexpected, code: code.BadRecord},
		{name: "change_cipher_spec of two bytes", to: "server", before: cert, put: clearly(1, ccs, 1, 1), alert: unexpected, code: code.BadRecord},
		{name: "an empty change_cipher_spec", to: "client", before: cert, put: clearly(1, ccs), alert: unexpected, code: code.BadRecord},
		{name: "change_cipher_spec after the handshake", to: "server", put: clearly(1, ccs, 1), alert: unexpected, code: code.UnexpectedMessage},
		{name: "change_cipher_spec inside a message", to: "server", before: cert, put: both(times(1, hs, 11, 0), clearly(1, ccs, 1)), alert: unexpected, code: code.UnexpectedMessage},

		// Pitfall: no handshake byte may wait in the buffer when keys change (Go
		// CVE-2025-61730; RFC 9846, section 5.1). KeyUpdate ends its record.
		{name: "more behind the ClientHello", to: "server", before: hello, put: func(h *byHand) {
			each := h.each
			h.each = func(msg []byte) bool {
				h.each = each
				h.put(clearRecord(hs, append(bytes.Clone(msg), 11)...))
				return true
			}
		}, alert: unexpected, code: code.UnexpectedMessage, says: "the keys change"},
		{name: "more behind the client's Finished", to: "server", before: fin, put: func(h *byHand) {
			each := h.each
			h.each = func(msg []byte) bool {
				h.each = each
				h.put(h.sealed(hs, append(bytes.Clone(msg), keyUpdate(false)...)...))
				return true
			}
		}, alert: unexpected, code: code.UnexpectedMessage, says: "the keys change"},
		{name: "more behind the server's Finished", to: "client", before: fin, put: func(h *byHand) {
			each := h.each
			h.each = func(msg []byte) bool {
				h.each = each
				h.put(h.sealed(hs, append(bytes.Clone(msg), ticket...)...))
				return true
			}
		}, alert: unexpected},
		{name: "a KeyUpdate with another behind it", to: "server", put: func(h *byHand) { h.rekey(false, keyUpdate(false)...) }, alert: unexpected, code: code.UnexpectedMessage, says: "the keys change"},
		{name: "a KeyUpdate with a part of one behind it", to: "client", put: func(h *byHand) { h.rekey(true, 24) }, alert: unexpected, code: code.UnexpectedMessage, says: "the keys change"},
		{name: "a record under the former keys", to: "server", put: func(h *byHand) {
			h.put(h.sealed(hs, keyUpdate(false)...))
			h.put(h.sealed(data, 'x'))
		}, alert: alert.BadRecordMAC, code: code.BadRecord},

		// Records of other types inside a message.
		{name: "data inside a message", to: "server", put: both(times(1, hs, 24, 0), times(1, data, 'x')), alert: unexpected, code: code.UnexpectedMessage, says: "inside"},
		{name: "close_notify inside a message", to: "server", put: both(times(1, hs, 24, 0), times(1, alrt, 1, 0)), alert: unexpected, code: code.UnexpectedMessage, says: "inside"},
		{name: "data during the handshake", to: "server", before: cert, put: times(1, data, 'x'), alert: unexpected, code: code.UnexpectedMessage, says: "before the handshake was over"},
		{name: "empty data during the handshake", to: "client", before: cert, put: times(1, data), alert: unexpected, code: code.UnexpectedMessage},

		// Pitfall: handshake messages are no progress after the handshake, nor are
		// empty records: count them in a row (Go CVE-2026-56862).
		{name: "empty records, as many as are taken", to: "server", put: times(maxRow, data)},
		{name: "empty records beside KeyUpdates, as many of each as are taken", to: "server", put: both(rekeys(maxRow, true), times(maxRow, data))},
		{name: "a flood of empty records", to: "server", put: times(maxRow+1, data), alert: unexpected, code: code.Flood},
		{name: "a flood of empty records to a client", to: "client", put: times(1000, data), alert: unexpected, code: code.Flood},
		{name: "KeyUpdates, as many as are taken", to: "server", put: rekeys(maxRow, true)},
		{name: "a flood of KeyUpdates", to: "server", put: rekeys(maxRow+1, false), alert: unexpected, code: code.Flood},
		{name: "a flood of KeyUpdates that ask", to: "client", put: rekeys(maxRow+1, true), alert: unexpected, code: code.Flood},
		{name: "a flood of tickets", to: "client", put: times(maxRow+1, hs, ticket...), alert: unexpected, code: code.Flood},
		{name: "a flood of tickets in one record", to: "client", put: times(1, hs, bytes.Repeat(ticket, maxRow+1)...), alert: unexpected, code: code.Flood},
		{name: "a flood of all of them", to: "client", put: func(h *byHand) {
			for range maxRow/2 + 1 {
				h.put(h.sealed(data))
				h.rekey(true)
				h.put(h.sealed(hs, ticket...))
			}
		}, alert: unexpected, code: code.Flood},
		{name: "a little of each between data", to: "client", put: func(h *byHand) {
			for range 4 * maxRow {
				h.put(h.sealed(data))
				h.rekey(true)
				h.put(h.sealed(hs, ticket...))
				h.put(h.sealed(data, 'x'))
			}
		}},
		{name: "user_canceled, as often as it is taken", to: "server", before: hello, put: clearly(maxWarnings, alrt, 1, 90)},
		{name: "a flood of user_canceled", to: "server", before: hello, put: clearly(maxWarnings+1, alrt, 1, 90), alert: unexpected, code: code.Flood},
		{name: "a flood of user_canceled between data", to: "client", put: func(h *byHand) {
			for range maxWarnings + 1 {
				h.put(h.sealed(alrt, 1, 90))
				h.put(h.sealed(data, 'x'))
			}
		}, alert: unexpected, code: code.Flood},

		// What comes after the handshake.
		{name: "a second handshake", to: "server", put: times(1, hs, 1, 0, 0, 0), alert: unexpected, code: code.UnexpectedMessage, says: "no renegotiation"},
		{name: "a ticket to a server", to: "server", put: times(1, hs, ticket...), alert: unexpected, code: code.UnexpectedMessage},
		{name: "a request for a certificate", to: "client", put: times(1, hs, 13, 0, 0, 3, 0, 0, 0), alert: unexpected, code: code.UnexpectedMessage},
		{name: "messages in a row that share a record", to: "client", before: message.TypeEncryptedExtensions, put: tail()},
	}
}

func TestOddRecords(t *testing.T) {
	for _, o := range oddities() {
		t.Run(o.name, o.try)
	}
}

// try has a peer of ours do it.
func (o odd) try(t *testing.T) {
	put := func(h *byHand) {
		h.mild = true
		if o.before == 0 {
			return
		}
		done := false
		h.each = func(msg []byte) bool {
			if done || message.Type(msg[0]) != o.before {
				return false
			}
			done = true
			h.flush()
			o.put(h)
			return h.each != nil && h.each(msg)
		}
	}
	var d *tested
	var h *byHand
	if o.to == "server" {
		d = newServer(t, mutual())
		h = newHandClient(t, mutual(), put)
	} else {
		d = newClient(t, mutual())
		h = newHandServer(t, mutual(), put)
	}
	meet(d, h)
	if o.before == 0 {
		if !d.Done() || d.err != nil || h.standing == nil {
			t.Fatalf("the handshake did not end: %v", d.err)
		}
		h.data = nil
		o.put(h)
		meet(d, h)
	}
	if o.alert == 0 {
		understood(t, d, h)
		return
	}
	f := failedWith(t, d, o.alert)
	if o.code != "" && f.Code != o.code || !strings.Contains(f.Reason, o.says) {
		t.Errorf("%v: %v, expected %v and %q", f.Code, f, o.code, o.says)
	}
	if strings.ContainsRune(f.Reason, '\x1b') {
		t.Errorf("the reason carries the peer's bytes as they are: %q", f.Reason)
	}
	// And it is heard, under keys that the peer has.
	if h.broken == nil && (len(h.alerts) != 1 || h.alerts[0] != o.alert) {
		t.Errorf("the peer heard %v", h.alerts)
	}
}

// understood checks that both ends still understand each other.
func understood(t *testing.T, d *tested, h *byHand) {
	t.Helper()
	if d.err != nil || !d.Done() || h.standing == nil {
		t.Fatalf("%v, done: %v", d.err, d.Done())
	}
	d.got, h.data = nil, nil
	h.put(h.sealed(record.ApplicationData, []byte("hello")...))
	meet(d, h)
	d.send([]byte("and back"))
	meet(d, h)
	if string(d.got) != "hello" || string(h.data) != "and back" || d.err != nil || h.broken != nil {
		t.Errorf("%q and %q; %v, %v", d.got, h.data, d.err, h.broken)
	}
}

// Pitfall: the reader never waits for the writer: several KeyUpdates in one flight
// deadlocked Go (CVE-2026-32283). At most one answer is pending.
func TestOneAnswerIsOwedHoweverOftenThePeerAsks(t *testing.T) {
	d := newServer(t, mutual())
	h := newHandClient(t, mutual(), nil)
	meet(d, h)
	h.out = nil
	rekeys(maxRow, true)(h)
	d.feed(h.out)
	h.out = nil
	if b := d.take(); d.err != nil || len(b) != 0 {
		t.Fatalf("reading alone wrote %d bytes, %v", len(b), d.err)
	}
	d.send([]byte("one"))
	d.send([]byte("two"))
	out := d.take()
	if want := 2*(3+record.Overhead) + keyUpdateLen + record.Overhead; len(out) != want {
		t.Errorf("%d bytes were written, not two records of data and one KeyUpdate (%d)", len(out), want)
	}
	h.hear(out)
	if string(h.data) != "onetwo" {
		t.Errorf("the peer heard %q", h.data)
	}
}

// A clear alert can at most close: it comes where a client has no keys yet, and it
// is told as what anybody on the way may have said.
func TestAClearAlertCanAtMostClose(t *testing.T) {
	d := newServer(t, mutual())
	h := newHandClient(t, mutual(), nil)
	d.feed(h.out)
	d.take()
	d.feed(clearRecord(record.Alert, 2, byte(alert.BadCertificate)))
	var p *PeerAlert
	if !errors.As(d.err, &p) || !p.Clear || p.Alert != alert.BadCertificate || d.Done() {
		t.Fatalf("%v", d.err)
	}
}

// Pitfall: each loop ends on close_notify and EOF, in every state (rustls
// CVE-2024-32650). EOF is the driver's; the rest is here.
func TestCloseNotifyEndsEveryState(t *testing.T) {
	for _, to := range []string{"client", "server"} {
		for _, before := range []message.Type{message.TypeClientHello, message.TypeServerHello, message.TypeEncryptedExtensions,
			message.TypeCertificateRequest, message.TypeCertificate, message.TypeCertificateVerify, message.TypeFinished, 0} {
			set := func(h *byHand) {
				h.mild = true
				h.each = func(msg []byte) bool {
					if message.Type(msg[0]) == before {
						h.put(h.sealed(record.Alert, 1, 0))
					}
					return false
				}
			}
			var d *tested
			var h *byHand
			if to == "server" {
				d = newServer(t, mutual())
				h = newHandClient(t, mutual(), set)
			} else {
				d = newClient(t, mutual())
				h = newHandServer(t, mutual(), set)
			}
			meet(d, h)
			if before == 0 {
				h.put(h.sealed(record.Alert, 1, 0))
				meet(d, h)
				if d.err != io.EOF {
					t.Errorf("to the %s, after the handshake: %v", to, d.err)
				}
				continue
			}
			if d.err == nil {
				if !d.Done() {
					t.Errorf("to the %s, before %v: it goes on", to, before)
				}
				continue // that message does not come from there
			}
			var p *PeerAlert
			if !errors.As(d.err, &p) || p.Alert != alert.CloseNotify || d.Done() {
				t.Errorf("to the %s, before %v: %v", to, before, d.err)
			}
		}
	}
}

// Early data that a ticket of another server's allowed is dropped unread, records of
// nothing within the same limit, and the handshake goes on (RFC 8446, section 4.2.10); behind a
// HelloRetryRequest, where there are no keys to try, too.
func TestTheHandshakeGoesOnBehindEarlyData(t *testing.T) {
	full := clearRecord(record.ApplicationData, make([]byte, 5000)...)
	for name, set := range map[string]setting{"with keys": mutual(), "after a retry": retrying()} {
		begun := func(t *testing.T) (*tested, *byHand) {
			d := newServer(t, set)
			h := newHandClient(t, set, func(h *byHand) { offering(h, 0) })
			d.feed(h.out)
			h.out = nil
			return d, h
		}
		t.Run(name+", a little", func(t *testing.T) {
			d, h := begun(t)
			d.feed(bytes.Repeat(full, 3))
			if d.err != nil {
				t.Fatal(d.err)
			}
			if name == "with keys" {
				return // the two transcripts differ by now
			}
			h.mild = true
			h.hear(d.take())
			d.feed(h.out)
			if at := d.Expecting(); d.err != nil || at != "Certificate" {
				t.Errorf("waits for %s, %v", at, d.err)
			}
			if d.feed(full); d.err != nil { // what was on its way may follow the second hello no more
				failedWith(t, d, alert.BadRecordMAC)
			}
		})
		t.Run(name+", a lot of nothing", func(t *testing.T) {
			d, _ := begun(t)
			d.feed(bytes.Repeat(clearRecord(record.ApplicationData), 64<<10))
			if f := failedWith(t, d, alert.UnexpectedMessage); f.Code != code.TooMuchEarlyData {
				t.Error(f)
			}
		})
	}
}

// Pitfall: buffers for unfinished messages have a limit (Go CVE-2023-39322), and an
// unfinished message is never parsed (CVE-2023-39321).
func TestAnUnfinishedMessageIsNeitherParsedNorKeptBeyondItsLimit(t *testing.T) {
	d := newServer(t, usual())
	n := message.MaxLen(message.TypeClientHello)
	b := append([]byte{byte(message.TypeClientHello), byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, n)...)
	for len(b) > 1 { // all but the last byte, in tiny records
		k := min(7, len(b)-1)
		d.feed(clearRecord(record.Handshake, b[:k]...))
		b = b[k:]
		if d.err != nil {
			t.Fatalf("with %d bytes to come: %v", len(b), d.err)
		}
	}
	if c := cap(d.Stream.in.partial); c > 2*n {
		t.Errorf("%d bytes are held for a message of %d", c, n)
	}
	d.feed(clearRecord(record.Handshake, b...))
	var f *handshake.Failure
	if !errors.As(d.err, &f) || f.Code != code.BadMessage && f.Code != code.NoCommonVersion {
		t.Errorf("%v", d.err)
	}
}

// A client writes nothing while the server's flight is still coming: on a transport
// without buffers each would wait for the other to read.
func TestAClientIsSilentWhileTheServersFlightComes(t *testing.T) {
	d := newClient(t, mutual())
	h := newHandServer(t, mutual(), nil)
	h.hear(d.take())
	flight := h.out
	d.feed(flight[:len(flight)-1])
	if b := d.take(); len(b) > 0 || d.err != nil {
		t.Errorf("wrote %x, %v", b, d.err)
	}
	d.feed(flight[len(flight)-1:])
	b := d.take()
	if !bytes.HasPrefix(b, clearRecord(record.ChangeCipherSpec, 1)) {
		t.Errorf("the flight does not begin with the compatibility record: %x", b[:min(6, len(b))])
	}
}

// A client that refuses the server's flight has not sent its compatibility record
// yet: whoever waits for one (RFC 8446, appendix D.4) gets it before the alert.
func TestAClientsAlertComesInDisguise(t *testing.T) {
	d := newClient(t, mutual())
	h := newHandServer(t, mutual(), nil)
	h.hear(d.take())
	flight := h.out
	flight[len(flight)-1] ^= 1
	d.feed(flight)
	failedWith(t, d, alert.BadRecordMAC)
	b := d.take()
	if rest, ok := bytes.CutPrefix(b, clearRecord(record.ChangeCipherSpec, 1)); !ok || len(rest) != record.Overhead+2 {
		t.Errorf("not the compatibility record and an alert: %x", b)
	}
}

// A hello that is answered with a HelloRetryRequest changes no keys; all the same
// its flight is over, and what comes behind it can be no answer.
func TestNothingComesBehindAHelloThatIsAskedForAnew(t *testing.T) {
	for _, more := range [][]byte{{1}, {1, 0, 0, 0}} {
		d := newServer(t, retrying())
		hello := newClient(t, retrying()).take()[record.HeaderLen:]
		d.feed(clearRecord(record.Handshake, append(bytes.Clone(hello), more...)...))
		failedWith(t, d, alert.UnexpectedMessage)
		if b := d.take(); len(b) != record.HeaderLen+2 {
			t.Errorf("it was answered all the same: %x", b)
		}
	}
}
