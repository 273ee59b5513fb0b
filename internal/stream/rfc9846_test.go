package stream

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// What RFC 9846 changed of RFC 8446.

// updates are the KeyUpdates that h has heard, by what they ask for.
func updates(h *byHand) *[]bool {
	var heard []bool
	h.heard = func(msg []byte) {
		if message.Type(msg[0]) == message.TypeKeyUpdate {
			heard = append(heard, msg[message.HeaderLen] == 1)
		}
	}
	return &heard
}

// Until the peer has changed its keys it is not asked to a second time (section
// 4.7.3).
func TestThePeerIsNotAskedTwiceForItsKeys(t *testing.T) {
	d := newServer(t, usual())
	h := newHandClient(t, usual(), nil)
	meet(d, h)
	heard := updates(h)
	ask := func(times int) {
		t.Helper()
		for range times {
			out, err := d.Rekey(d.out, true)
			check(t, err)
			d.out = out
		}
		meet(d, h)
	}
	ask(3)
	h.rekey(false)
	meet(d, h)
	ask(2)
	if want := []bool{true, false, false, true, false}; len(*heard) != len(want) || !equal(*heard, want) {
		t.Errorf("of five KeyUpdates these ask for one: %v, expected %v", *heard, want)
	}
}

func equal(a, b []bool) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// The number of times that keys change is bounded for the sender alone; a wish
// that would go beyond is ignored (section 4.7.3).
func TestKeysChangeOnlySoManyTimes(t *testing.T) {
	d := newServer(t, usual())
	h := newHandClient(t, usual(), nil)
	meet(d, h)
	heard := updates(h)
	d.Stream.out.epoch = maxEpoch - 1
	for range 2 {
		h.rekey(true)
		meet(d, h)
		d.send([]byte("data"))
		meet(d, h)
	}
	if len(*heard) != 1 || string(h.data) != "datadata" {
		t.Errorf("%d KeyUpdates and %q came, expected 1 and all data", len(*heard), h.data)
	}
	_, err := d.Rekey(nil, false)
	var f *handshake.Failure
	if !errors.As(err, &f) || f.Code != code.KeyExhausted {
		t.Errorf("beyond the last epoch: %v", err)
	}
}

// user_canceled means nothing by itself; a close_notify has to follow, and then
// the end of a handshake has a reason (section 6.1).
func TestUserCanceledIsToldByTheCloseNotifyBehindIt(t *testing.T) {
	for name, m := range map[string]struct {
		alerts []byte
		want   alert.Alert
	}{
		"both":              {[]byte{90, 0}, alert.UserCanceled},
		"close_notify only": {[]byte{0}, alert.CloseNotify},
	} {
		d := newServer(t, usual())
		for _, a := range m.alerts {
			d.feed(clearRecord(record.Alert, 1, a))
		}
		var p *PeerAlert
		if !errors.As(d.err, &p) || p.Alert != m.want {
			t.Errorf("%s: %v, expected %v", name, d.err, m.want)
		}
	}
	// Both of ours go out as warnings.
	d := newServer(t, usual())
	if b := d.Alert(d.Alert(nil, alert.UserCanceled), alert.CloseNotify); !bytes.Equal(b, []byte{21, 3, 3, 0, 2, 1, 90, 21, 3, 3, 0, 2, 1, 0}) {
		t.Errorf("sent %x", b)
	}
}

func TestGeneralErrorEndsTheConnectionLikeAnyAlert(t *testing.T) {
	d := newServer(t, usual())
	h := newHandClient(t, usual(), nil)
	meet(d, h)
	h.put(h.sealed(record.Alert, 2, byte(alert.GeneralError)))
	meet(d, h)
	var p *PeerAlert
	if !errors.As(d.err, &p) || p.Alert != alert.GeneralError || p.Alert.String() != "general_error" {
		t.Errorf("%v", d.err)
	}
}
