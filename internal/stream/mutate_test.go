package stream

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// answers are the alerts that a changed message may be answered with.
var answers = map[message.Type][]alert.Alert{
	message.TypeClientHello: {alert.ProtocolVersion, alert.HandshakeFailure, alert.MissingExtension,
		alert.UnsupportedExtension, alert.NoApplicationProtocol, alert.UnrecognizedName},
	message.TypeServerHello:         {alert.ProtocolVersion, alert.MissingExtension, alert.UnsupportedExtension},
	message.TypeEncryptedExtensions: {alert.UnsupportedExtension},
	message.TypeCertificateRequest:  {alert.MissingExtension, alert.HandshakeFailure},
	message.TypeCertificate: {alert.BadCertificate, alert.UnsupportedCertificate, alert.UnsupportedExtension,
		alert.CertificateRequired},
	message.TypeCertificateVerify: {},
	message.TypeFinished:          {},
}

// always are those that any changed byte may lead to: it is not the message that
// was expected, not well formed, not legal, or not what the Finished proves.
var always = []alert.Alert{alert.UnexpectedMessage, alert.DecodeError, alert.IllegalParameter, alert.DecryptError, alert.BadRecordMAC}

// spot is a byte of a message of an honest handshake.
type spot struct {
	nth, at int
	typ     message.Type
}

func (s spot) String() string { return fmt.Sprintf("%v (message %d), byte %d", s.typ, s.nth, s.at) }

// changed is a handshake of the side under test with an honest peer one of whose
// bytes is changed before it is sealed. Without a change it gives the peer's
// messages.
func changed(t *testing.T, s setting, side string, where *spot, by byte) (d *tested, h *byHand, sent [][]byte) {
	n := 0
	set := func(h *byHand) {
		h.mild = true
		h.each = func(msg []byte) bool {
			msg = slices.Clone(msg)
			sent = append(sent, msg)
			if where != nil && n == where.nth {
				msg = slices.Clone(msg)
				msg[min(where.at, len(msg)-1)] ^= by
			}
			n++
			h.put(h.sealed(record.Handshake, msg...))
			return true
		}
	}
	if side == "server" {
		d = newServer(t, s)
		h = newHandClient(t, s, set)
	} else {
		d = newClient(t, s)
		h = newHandServer(t, s, set)
	}
	meet(d, h)
	return d, h, sent
}

// Each byte of each message changed, to both sides, on its way through records
// and under keys: the side is not done, and either says so with an alert that
// fits, or waits for what a longer length announces.
func TestEveryChangedByteIsAnsweredWithAnAlertThatFits(t *testing.T) {
	retry := retrying()
	retry.client.ALPN, retry.server.ALPN = []string{"h2"}, []string{"h2"}
	for name, s := range map[string]setting{"mutual": mutual(), "retry": retry} {
		for _, side := range []string{"client", "server"} {
			t.Run(name+"/to the "+side, func(t *testing.T) {
				d, _, sent := changed(t, s, side, nil, 0)
				if d.err != nil || !d.Done() {
					t.Fatalf("unchanged: %v", d.err)
				}
				step := 1
				if raced && !long() {
					step = 3
				}
				for nth, msg := range sent {
					if message.Type(msg[0]) == message.TypeNewSessionTicket {
						continue // it is behind the handshake: see below
					}
					for at := 0; at < len(msg); at += step {
						by := []byte{1 << (at % 8)}
						if long() {
							by = []byte{1, 2, 4, 8, 16, 32, 64, 128, 255}
						}
						for _, b := range by {
							w := spot{nth, at, message.Type(msg[0])}
							d, h, _ := changed(t, s, side, &w, b)
							fits(t, d, h, w)
						}
					}
				}
			})
		}
	}
}

func fits(t *testing.T, d *tested, h *byHand, w spot) {
	t.Helper()
	if d.Done() {
		t.Errorf("%v: the handshake is done", w)
	}
	var f *handshake.Failure
	switch {
	case d.err == nil:
		// It says nothing where it waits for more, or where the peer is the one
		// that finds out.
		if h.broken == nil && h.machine == nil && w.at >= message.HeaderLen {
			t.Errorf("%v: nobody noticed", w)
		}
	case errors.As(d.err, &f):
		if !slices.Contains(always, f.Alert) && !slices.Contains(answers[w.typ], f.Alert) {
			t.Errorf("%v: %v", w, f)
		}
		if f.Fault == handshake.Misuse {
			t.Errorf("%v: it takes the fault for its own: %v", w, f)
		}
		if h.broken == nil && (len(h.alerts) != 1 || h.alerts[0] != f.Alert) {
			t.Errorf("%v: %v is the end, and the peer heard %v", w, f, h.alerts)
		}
	default:
		t.Errorf("%v: %v", w, d.err)
	}
}

// Messages after the handshake: what is harmless is taken, and the rest refused.
func TestEveryChangedByteAfterTheHandshakeIsTakenOrAnswered(t *testing.T) {
	ticket, err := (&message.NewSessionTicket{Lifetime: 7200, AgeAdd: 9, Nonce: []byte{1, 2}, Ticket: []byte("ticket")}).Append(nil)
	check(t, err)
	taken := 0
	for name, msg := range map[string][]byte{"ticket": ticket, "KeyUpdate": keyUpdate(false)} {
		for at := range msg {
			step := 51
			if long() {
				step = 1
			}
			for v := 0; v < 256; v += step {
				if byte(v) == msg[at] {
					continue
				}
				d := newClient(t, usual())
				h := newHandServer(t, usual(), nil)
				meet(d, h)
				m := slices.Clone(msg)
				m[at] = byte(v)
				h.put(h.sealed(record.Handshake, m...))
				d.feed(h.out)
				var f *handshake.Failure
				switch {
				case d.err == nil:
					taken++
				case !errors.As(d.err, &f) || !slices.Contains(always, f.Alert):
					t.Errorf("%s, byte %d made %#02x: %v", name, at, v, d.err)
				}
			}
		}
	}
	if taken == 0 {
		t.Error("nothing is harmless")
	}
}

// Every record cut short by the end of the connection leaves the stream waiting,
// undone and without an error of its own: the end is the driver's to tell.
func TestARecordThatIsCutIsWaitedFor(t *testing.T) {
	d := newServer(t, mutual())
	h := newHandClient(t, mutual(), nil)
	hello := h.out
	for n := range len(hello) {
		d := newServer(t, mutual())
		d.feed(hello[:n])
		if d.err != nil || d.Done() || len(d.take()) > 0 {
			t.Fatalf("after %d bytes: %v", n, d.err)
		}
	}
	meet(d, h)
	if d.err != nil && d.err != io.EOF || !d.Done() {
		t.Error(d.err)
	}
}
