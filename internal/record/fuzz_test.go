package record

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Whatever comes, Open answers: with a type that is allowed and a plaintext
// inside of the record, or with an *Error that has an alert.
func FuzzOpen(f *testing.F) {
	for _, trace := range rfc8448.Traces() {
		for _, s := range trace.Steps {
			if rec := s.Values["complete record"]; rec != nil {
				f.Add(rec, true)
				f.Add(rec, false)
			}
		}
	}
	f.Fuzz(func(t *testing.T, rec []byte, encrypted bool) {
		o := new(Opener)
		if encrypted {
			_, o = pair(t, suite.AES128GCMSHA256)
		}
		typ, plaintext, err := o.Open(rec)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Alert == 0 || e.Reason == "" || typ != 0 || plaintext != nil {
				t.Fatalf("refused with %v %x %#v", typ, plaintext, err)
			}
			return
		}
		if len(plaintext) > MaxPlaintext || len(plaintext) > len(rec)-HeaderLen || typ < ChangeCipherSpec || typ > ApplicationData {
			t.Fatalf("opened to %v, %d bytes", typ, len(plaintext))
		}
		if len(plaintext) == 0 {
			t.Fatalf("an empty record of type %v", typ)
		}
		if encrypted && typ != ChangeCipherSpec {
			t.Fatalf("a forged record opened to %v %x", typ, plaintext)
		}
	})
}

// What is sealed opens to the same, and with any bit changed it does not.
func FuzzSealOpen(f *testing.F) {
	f.Add([]byte("hello"), byte(22), uint16(0), uint32(0), byte(0))
	f.Add([]byte{}, byte(23), uint16(300), uint32(77), byte(1))
	f.Add(make([]byte, 500), byte(21), uint16(1), uint32(4000), byte(2))
	f.Add(make([]byte, MaxPlaintext), byte(23), uint16(1), uint32(3), byte(2))
	f.Fuzz(func(t *testing.T, plaintext []byte, typ byte, pad uint16, bit uint32, which byte) {
		suites := suite.Suites()
		s, o := pair(t, suites[int(which)%len(suites)])
		ct := Alert + ContentType(typ%3)
		rec := s.Seal(nil, ct, plaintext, int(pad))
		if rec == nil {
			if len(plaintext) <= MaxPlaintext && (len(plaintext) > 0 || ct == ApplicationData) {
				t.Fatal("refused to seal")
			}
			return
		}
		tampered := bytes.Clone(rec)
		// The header is either refused for itself, or is authenticated.
		at := bit % uint32(8*len(rec))
		tampered[at/8] ^= 1 << (at % 8)
		typ2, _, err := o.Open(tampered)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("bit %d changed, and it opened to %v", at, typ2)
		}
		if at >= 8*HeaderLen && e.Alert != alert.BadRecordMAC {
			t.Fatalf("bit %d changed: alert %v, expected bad_record_mac", at, e.Alert)
		}
		got, opened, err := o.Open(rec)
		if err != nil || got != ct || !bytes.Equal(opened, plaintext) {
			t.Fatalf("opened to %v, %d bytes, error %v", got, len(opened), err)
		}
	})
}

func TestEveryChangedBitIsRefused(t *testing.T) {
	for _, id := range suite.Suites() {
		s, o := pair(t, id)
		rec := s.Seal(nil, Handshake, []byte("a short message"), 4)
		for at := range 8 * len(rec) {
			tampered := bytes.Clone(rec)
			tampered[at/8] ^= 1 << (at % 8)
			_, _, err := o.Open(tampered)
			if at >= 8*HeaderLen || at >= 8*2 && at < 8*3 {
				wantAlert(t, "a changed bit", err, alert.BadRecordMAC)
			} else if err == nil {
				t.Errorf("%v: bit %d of the header changed, and it opened", id, at)
			}
		}
		if _, _, err := o.Open(rec); err != nil {
			t.Errorf("%v: the record itself does not open after the attempts: %v", id, err)
		}
	}
}
