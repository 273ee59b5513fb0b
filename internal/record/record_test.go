package record

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
	"github.com/mutual-tls/mutual/internal/suite"
)

func fill(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// pair returns both ends of one direction.
func pair(t testing.TB, id suite.ID) (*Sealer, *Opener) {
	t.Helper()
	cs := suite.ByID(id)
	secret := fill(cs.Hash.Size())
	s, o := new(Sealer), new(Opener)
	if err := s.Set(cs, schedule.TLS, secret); err != nil {
		t.Fatal(err)
	}
	if err := o.Set(cs, schedule.TLS, secret); err != nil {
		t.Fatal(err)
	}
	return s, o
}

func wantAlert(t *testing.T, what string, err error, want alert.Alert) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: error %v, expected the alert %v", what, err, want)
	} else if e.Alert != want {
		t.Errorf("%s: alert %v (%s), expected %v", what, e.Alert, e.Reason, want)
	}
}

// forge seals an inner plaintext that Seal would not make: type byte and
// padding are the caller's.
func forge(s *Sealer, inner []byte) []byte {
	rec := make([]byte, HeaderLen, HeaderLen+len(inner)+suite.TagLen)
	putHeader(rec, ApplicationData, legacyVersion, len(inner)+suite.TagLen)
	s.d.mix()
	rec = s.d.aead.Seal(rec, s.d.nonce[:], inner, rec)
	s.d.mix()
	s.d.seq++
	return rec
}

// Every record of RFC 8448 is sealed to the same bytes, and opened again.
func TestRecordsOfRFC8448(t *testing.T) {
	cs := suite.ByID(suite.AES128GCMSHA256)
	types := map[string]ContentType{
		"send handshake record":          Handshake,
		"send alert record":              Alert,
		"send application_data record":   ApplicationData,
		"send change_cipher_spec record": ChangeCipherSpec,
	}
	secrets := map[string]string{
		"early application data": " e traffic", "handshake data": " hs traffic", "application data": " ap traffic",
	}
	count := 0
	for _, trace := range rfc8448.Traces() {
		type side struct {
			s Sealer
			o Opener
		}
		sides := map[string]*side{"client": {s: Sealer{InitialClientHello: true}}, "server": {}}
		for _, step := range trace.Steps {
			me := sides[step.Actor]
			if data, ok := strings.CutPrefix(step.Action, "derive write traffic keys for "); ok {
				secret := trace.Value(`derive secret "tls13 `+step.Actor[:1]+secrets[data]+`"`, "expanded")
				if err := errors.Join(me.s.Set(cs, schedule.TLS, secret), me.o.Set(cs, schedule.TLS, secret)); err != nil {
					t.Fatal(err)
				}
			}
			typ, ok := types[step.Action]
			if !ok {
				continue
			}
			count++
			payload, want := step.Values["payload"], bytes.Clone(step.Values["complete record"])
			got := me.s.Seal(nil, typ, payload, 0)
			if !bytes.Equal(got, want) {
				t.Errorf("%s, %s, %s:\n got %x\nwant %x", trace.Name, step.Actor, step.Action, got, want)
			}
			gotType, opened, err := me.o.Open(want)
			if err != nil || gotType != typ || !bytes.Equal(opened, payload) {
				t.Errorf("%s, %s, %s: opened to %v %x, error %v", trace.Name, step.Actor, step.Action, gotType, opened, err)
			}
			me.s.InitialClientHello = false // the RFC's second ClientHello says 0x0303
		}
	}
	if count != 41 {
		t.Errorf("%d records were checked, expected 41", count)
	}
}

func TestSealedRecordsOpen(t *testing.T) {
	for _, id := range suite.Suites() {
		s, o := pair(t, id)
		for _, n := range []int{0, 1, 15, 16, 17, 1000, MaxPlaintext - 1, MaxPlaintext} {
			for _, pad := range []int{-1, 0, 1, 255, MaxPlaintext, math.MaxInt} {
				plaintext := fill(n)
				rec := s.Seal([]byte("before"), ApplicationData, plaintext, pad)[len("before"):]
				if len(rec) > MaxRecord {
					t.Fatalf("%v: a record of %d bytes", id, len(rec))
				}
				if want := n + Overhead + min(max(pad, 0), MaxPlaintext-n); len(rec) != want {
					t.Fatalf("%v: plaintext of %d, pad %d: a record of %d bytes, expected %d", id, n, pad, len(rec), want)
				}
				typ, got, err := o.Open(rec)
				if err != nil || typ != ApplicationData || !bytes.Equal(got, plaintext) {
					t.Fatalf("%v: plaintext of %d, pad %d: opened to %v, %d bytes, error %v", id, n, pad, typ, len(got), err)
				}
			}
		}
	}
}

func TestOpenWorksInPlace(t *testing.T) {
	s, o := pair(t, suite.AES128GCMSHA256)
	rec := s.Seal(nil, Handshake, []byte("in place"), 3)
	_, plaintext, err := o.Open(rec)
	if err != nil || &plaintext[0] != &rec[HeaderLen] {
		t.Errorf("the plaintext is not where the ciphertext was (error %v)", err)
	}
}

func TestSealTakesPlaintextFromItsOwnSpareCapacity(t *testing.T) {
	for _, at := range []int{0, 1, HeaderLen - 1, HeaderLen, HeaderLen + 1, 200} {
		s, o := pair(t, suite.ChaCha20Poly1305SHA256)
		want := fill(100)
		buf := make([]byte, 3, 1000)
		plaintext := buf[3+at : 3+at+len(want)]
		copy(plaintext, want)
		rec := s.Seal(buf, ApplicationData, plaintext, 10)
		if _, got, err := o.Open(rec[3:]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("plaintext %d bytes after dst: opened to %x, error %v", at, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	long := func(n int, last byte) []byte {
		b := bytes.Repeat([]byte{1}, n)
		b[n-1] = last
		return b
	}
	for _, c := range []struct {
		name  string
		inner []byte
		want  alert.Alert
	}{
		{"only padding", make([]byte, 10), alert.UnexpectedMessage},
		{"nothing at all", nil, alert.UnexpectedMessage},
		{"change_cipher_spec inside", []byte{1, 20}, alert.UnexpectedMessage},
		{"heartbeat inside", []byte{1, 24}, alert.UnexpectedMessage},
		{"invalid type", []byte{1, 255, 0}, alert.UnexpectedMessage},
		{"empty handshake", []byte{22, 0, 0}, alert.UnexpectedMessage},
		{"empty alert", []byte{21}, alert.UnexpectedMessage},
		{"one byte too long", long(MaxPlaintext+2, 23), alert.RecordOverflow},
		{"too long by padding", append(append(make([]byte, MaxPlaintext), 23), 0), alert.RecordOverflow},
		{"longest ciphertext", long(MaxCiphertext-suite.TagLen, 23), alert.RecordOverflow},
		{"ciphertext too long", long(MaxCiphertext-suite.TagLen+1, 23), alert.RecordOverflow},
	} {
		for _, id := range suite.Suites() {
			s, o := pair(t, id)
			_, _, err := o.Open(forge(s, c.inner))
			wantAlert(t, c.name, err, c.want)
		}
	}
}

func TestOpenTakesAnEdge(t *testing.T) {
	for _, c := range []struct {
		name  string
		inner []byte
		typ   ContentType
		n     int
	}{
		{"empty application data", []byte{23}, ApplicationData, 0},
		{"empty application data, padded", []byte{23, 0, 0}, ApplicationData, 0},
		{"longest", append(bytes.Repeat([]byte{0}, MaxPlaintext), 23), ApplicationData, MaxPlaintext},
		{"content ends in zeros", []byte{5, 0, 0, 22, 0}, Handshake, 3},
	} {
		s, o := pair(t, suite.AES256GCMSHA384)
		typ, plaintext, err := o.Open(forge(s, c.inner))
		if err != nil || typ != c.typ || len(plaintext) != c.n {
			t.Errorf("%s: %v, %d bytes, error %v", c.name, typ, len(plaintext), err)
		}
	}
}

func TestOpenRefusesByHeader(t *testing.T) {
	record := func(t ContentType, version uint16, n int) []byte {
		b := bytes.Repeat([]byte{1}, HeaderLen+n)
		putHeader(b, t, version, n)
		return b
	}
	for _, c := range []struct {
		name      string
		rec       []byte
		encrypted bool
		want      alert.Alert
	}{
		{"no header", []byte{22, 3, 3, 0}, false, alert.DecodeError},
		{"nothing", nil, true, alert.DecodeError},
		{"shorter than it says", record(Handshake, 0x0303, 9)[:12], false, alert.DecodeError},
		{"longer than it says", append(record(Handshake, 0x0303, 9), 0), false, alert.DecodeError},
		{"type below", record(19, 0x0303, 9), false, alert.UnexpectedMessage},
		{"heartbeat", record(24, 0x0303, 9), false, alert.UnexpectedMessage},
		{"HTTP", []byte("GET /" + strings.Repeat("x", ' '<<8|'/')), false, alert.UnexpectedMessage},
		{"SSL 2", record(Handshake, 0x0002, 9), false, alert.ProtocolVersion},
		{"major 4", record(Handshake, 0x0403, 9), true, alert.ProtocolVersion},
		{"clear handshake too long", record(Handshake, 0x0303, MaxPlaintext+1), false, alert.RecordOverflow},
		{"clear handshake, empty", record(Handshake, 0x0303, 0), false, alert.UnexpectedMessage},
		{"clear alert, empty", record(Alert, 0x0303, 0), false, alert.UnexpectedMessage},
		{"clear data", record(ApplicationData, 0x0303, 20), false, alert.UnexpectedMessage},
		{"clear handshake after keys", record(Handshake, 0x0303, 20), true, alert.UnexpectedMessage},
		{"clear alert after keys", record(Alert, 0x0303, 2), true, alert.UnexpectedMessage},
		{"shorter than a tag", record(ApplicationData, 0x0303, suite.TagLen-1), true, alert.BadRecordMAC},
		{"empty data", record(ApplicationData, 0x0303, 0), true, alert.BadRecordMAC},
		{"protected, too long", record(ApplicationData, 0x0303, MaxCiphertext+1), true, alert.RecordOverflow},
		{"longest, garbage", record(ApplicationData, 0x0303, MaxCiphertext), true, alert.BadRecordMAC},
		{"two change_cipher_spec", record(ChangeCipherSpec, 0x0303, 2), true, alert.UnexpectedMessage},
		{"empty change_cipher_spec", record(ChangeCipherSpec, 0x0303, 0), false, alert.UnexpectedMessage},
		{"change_cipher_spec of 2", []byte{20, 3, 3, 0, 1, 2}, false, alert.UnexpectedMessage},
	} {
		o := new(Opener)
		if c.encrypted {
			_, o = pair(t, suite.AES128GCMSHA256)
		}
		_, _, err := o.Open(c.rec)
		wantAlert(t, c.name, err, c.want)
	}
}

func TestClearRecords(t *testing.T) {
	var s Sealer
	var o Opener
	for _, initial := range []bool{true, false} {
		s.InitialClientHello = initial
		rec := s.Seal(nil, Handshake, []byte("hello"), 100)
		want := "\x16\x03\x03\x00\x05hello"
		if initial {
			want = "\x16\x03\x01\x00\x05hello"
		}
		if string(rec) != want {
			t.Errorf("initial %v: sealed to %q, expected %q", initial, rec, want)
		}
		if typ, p, err := o.Open(rec); typ != Handshake || string(p) != "hello" || err != nil {
			t.Errorf("opened to %v %q, error %v", typ, p, err)
		}
	}
	if s.Encrypted() || o.Encrypted() || s.Remaining() != math.MaxUint64 {
		t.Error("the zero values are not in the clear")
	}
	if _, key, iv, _ := s.Offload(); key != nil || iv != nil {
		t.Error("there is something to offload without keys")
	}
}

func TestChangeCipherSpecTakesNoSequenceNumber(t *testing.T) {
	s, o := pair(t, suite.AES128GCMSHA256)
	ccs := s.Seal(nil, ChangeCipherSpec, []byte{1}, 7)
	if string(ccs) != "\x14\x03\x03\x00\x01\x01" {
		t.Fatalf("change_cipher_spec is %x", ccs)
	}
	if typ, p, err := o.Open(ccs); typ != ChangeCipherSpec || string(p) != "\x01" || err != nil {
		t.Errorf("opened to %v %x, error %v", typ, p, err)
	}
	if s.Sequence() != 0 || o.Sequence() != 0 {
		t.Error("it moved a sequence number")
	}
	if _, _, err := o.Open(s.Seal(nil, Handshake, []byte("next"), 0)); err != nil {
		t.Error(err)
	}
}

func TestSealRefuses(t *testing.T) {
	encrypted, _ := pair(t, suite.AES128GCMSHA256)
	for _, c := range []struct {
		name string
		s    *Sealer
		t    ContentType
		n    int
	}{
		{"too long", encrypted, ApplicationData, MaxPlaintext + 1},
		{"empty handshake", encrypted, Handshake, 0},
		{"empty alert", encrypted, Alert, 0},
		{"clear data", new(Sealer), ApplicationData, 5},
		{"clear and too long", new(Sealer), Handshake, MaxPlaintext + 1},
		{"clear and empty", new(Sealer), Alert, 0},
	} {
		if rec := c.s.Seal([]byte("before"), c.t, make([]byte, c.n), 0); rec != nil {
			t.Errorf("%s: sealed to %d bytes", c.name, len(rec))
		}
	}
	if encrypted.Sequence() != 0 {
		t.Error("a refusal took a sequence number")
	}
}

func TestSequenceNumbersDoNotWrap(t *testing.T) {
	for _, id := range suite.Suites() {
		s, o := pair(t, id)
		limit := suite.ByID(id).Limit
		s.d.seq = limit - 1
		o.d.seq = limit - 1
		if s.Remaining() != 1 {
			t.Errorf("%v: %d remain, expected 1", id, s.Remaining())
		}
		rec := s.Seal(nil, ApplicationData, []byte("last"), 0)
		if _, _, err := o.Open(rec); err != nil {
			t.Errorf("%v: the last record does not open: %v", id, err)
		}
		if s.Remaining() != 0 || s.Seal(nil, ApplicationData, []byte("one more"), 0) != nil {
			t.Errorf("%v: a record was sealed after the limit", id)
		}
		// The limits of key use bind the sender alone (RFC 9846, section 5.5).
		s, o = pair(t, id)
		if s.d.seq, o.d.seq = limit+5, limit+5; s.d.seq > limit { // ChaCha20's is where the numbers end
			if _, _, err := o.Open(forge(s, []byte{1, 23})); err != nil {
				t.Errorf("%v: a record beyond the sender's limit does not open: %v", id, err)
			}
		}
		s, o = pair(t, id)
		s.d.seq, o.d.seq = math.MaxUint64, math.MaxUint64
		rec = forge(s, []byte{1, 23})
		_, _, err := o.Open(rec)
		wantAlert(t, id.String(), err, alert.InternalError)
	}
}

func TestRecordsOpenInOrderAndOnceOnly(t *testing.T) {
	s, o := pair(t, suite.ChaCha20Poly1305SHA256)
	first, second := s.Seal(nil, Handshake, []byte("1"), 0), s.Seal(nil, Handshake, []byte("2"), 0)
	_, _, err := o.Open(bytes.Clone(second))
	wantAlert(t, "second before first", err, alert.BadRecordMAC)
	if _, _, err := o.Open(bytes.Clone(first)); err != nil {
		t.Error(err)
	}
	_, _, err = o.Open(bytes.Clone(first))
	wantAlert(t, "first again", err, alert.BadRecordMAC)
	if _, _, err := o.Open(second); err != nil {
		t.Error(err)
	}
}

func TestNewKeysStartAnewAndDropTheOld(t *testing.T) {
	s, o := pair(t, suite.AES256GCMSHA384)
	old := s.Seal(nil, Handshake, []byte("old"), 0)
	cs, secret := suite.ByID(suite.AES128GCMSHA256), fill(32)
	if err := errors.Join(s.Set(cs, schedule.TLS, secret), o.Set(cs, schedule.TLS, secret)); err != nil {
		t.Fatal(err)
	}
	if s.Sequence() != 0 {
		t.Error("the sequence number goes on under new keys")
	}
	_, _, err := o.Open(old)
	wantAlert(t, "a record under old keys", err, alert.BadRecordMAC)
	if _, _, err := o.Open(s.Seal(nil, Handshake, []byte("new"), 0)); err != nil {
		t.Error(err)
	}
	s.Destroy()
	o.Destroy()
	if s.d != (direction{}) || o.d != (direction{}) {
		t.Error("Destroy leaves keys behind")
	}
}

func TestRecordSizeLimit(t *testing.T) {
	s, o := pair(t, suite.AES128GCMSHA256)
	o.Limit(64)
	if _, _, err := o.Open(s.Seal(nil, ApplicationData, make([]byte, 63), 0)); err != nil {
		t.Error(err)
	}
	_, _, err := o.Open(s.Seal(nil, ApplicationData, make([]byte, 50), 14))
	wantAlert(t, "65 bytes", err, alert.RecordOverflow)

	s, o = pair(t, suite.AES128GCMSHA256)
	o.Limit(1) // RFC 8449, section 4: less than 64 can't be asked for
	if _, _, err := o.Open(s.Seal(nil, ApplicationData, make([]byte, 63), 0)); err != nil {
		t.Error(err)
	}
}

func TestOffloadGivesWhatOpensTheNextRecord(t *testing.T) {
	for _, id := range suite.Suites() {
		s, o := pair(t, id)
		if _, _, err := o.Open(s.Seal(nil, Handshake, []byte("0"), 0)); err != nil {
			t.Fatal(err)
		}
		gotID, key, iv, seq := s.Offload()
		if otherID, otherKey, otherIV, otherSeq := o.Offload(); otherID != gotID || otherSeq != seq ||
			!bytes.Equal(otherKey, key) || !bytes.Equal(otherIV, iv) {
			t.Errorf("%v: the two ends give other things away", id)
		}
		if gotID != id || seq != 1 || len(iv) != suite.IVLen {
			t.Fatalf("%v: suite %v, sequence %d, iv of %d bytes", id, gotID, seq, len(iv))
		}
		rec := s.Seal(nil, Handshake, []byte("1"), 0)
		aead, err := suite.ByID(id).AEAD(key)
		if err != nil {
			t.Fatal(err)
		}
		iv[suite.IVLen-1] ^= byte(seq)
		inner, err := aead.Open(nil, iv, rec[HeaderLen:], rec[:HeaderLen])
		if err != nil || string(inner) != "1\x16" {
			t.Errorf("%v: %q, error %v", id, inner, err)
		}
	}
}

func TestRecordsAllocateNothing(t *testing.T) {
	for _, id := range suite.Suites() {
		s, o := pair(t, id)
		plaintext := make([]byte, 1000)
		buf := make([]byte, 0, MaxRecord)
		got := testing.AllocsPerRun(100, func() {
			rec := s.Seal(buf, ApplicationData, plaintext, 20)
			if _, _, err := o.Open(rec); err != nil {
				t.Fatal(err)
			}
		})
		if got != 0 {
			t.Errorf("%v: %v allocations for a record sealed and opened", id, got)
		}
		if got := testing.AllocsPerRun(100, func() {
			rec := s.Seal(buf, ApplicationData, plaintext, 0)
			rec[HeaderLen]++
			if _, _, err := o.Open(rec); err == nil {
				t.Fatal("opened")
			}
		}); got != 0 {
			t.Errorf("%v: %v allocations for a record refused", id, got)
		}
	}
}
