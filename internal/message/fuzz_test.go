package message

import (
	"reflect"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
)

// checkAgain holds a message that may parse to what is true of each: it is
// refused by an *Error of its type, or what it says, made anew, parses to the
// same.
func checkAgain(t *testing.T, msg []byte) {
	t.Helper()
	if len(msg) == 0 {
		return
	}
	typ := Type(msg[0])
	m := blank(typ)
	if m == nil {
		return
	}
	if err := m.Parse(msg); err != nil {
		if e := refusal(t, err); e.Alert == 0 || e.Message != typ || e.Reason == "" {
			t.Fatalf("refused by %+v", e)
		}
		return
	}
	if raw := reflect.ValueOf(m).Elem().FieldByName("Raw").Bytes(); &raw[0] != &msg[0] || len(raw) != len(msg) {
		t.Fatal("Raw is not the message")
	}
	bare(m)
	made, err := m.Append(nil)
	if err != nil {
		t.Fatalf("what parsed can't be made: %v", err)
	}
	again := blank(typ)
	if err := again.Parse(made); err != nil {
		t.Fatalf("what was made of a message that parsed does not: %v\n%x\n%x", err, msg, made)
	}
	if bare(again); !equal(m, again) {
		t.Fatalf("parsed first\n%+v\nand then\n%+v", m, again)
	}
}

// fuzz runs the check on whatever is given the type t.
func fuzz(f *testing.F, typ Type) {
	for _, s := range samples() {
		if b, err := s.msg.Append(nil); err == nil && Type(b[0]) == typ {
			f.Add(b[HeaderLen:])
		}
	}
	for _, trace := range rfc8448.Traces() {
		for _, msg := range trace.Messages() {
			if Type(msg[0]) == typ {
				f.Add(msg[HeaderLen:])
			}
		}
	}
	for _, r := range refused() {
		if Type(r.msg[0]) == typ {
			f.Add(r.msg[HeaderLen:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) >= 1<<24 {
			return
		}
		checkAgain(t, wrap(typ, body))
	})
}

func FuzzClientHello(f *testing.F)         { fuzz(f, TypeClientHello) }
func FuzzServerHello(f *testing.F)         { fuzz(f, TypeServerHello) }
func FuzzEncryptedExtensions(f *testing.F) { fuzz(f, TypeEncryptedExtensions) }
func FuzzCertificateRequest(f *testing.F)  { fuzz(f, TypeCertificateRequest) }
func FuzzCertificate(f *testing.F)         { fuzz(f, TypeCertificate) }
func FuzzCompressedCertificate(f *testing.F) {
	fuzz(f, TypeCompressedCertificate)
}
func FuzzCertificateVerify(f *testing.F) { fuzz(f, TypeCertificateVerify) }
func FuzzFinished(f *testing.F)          { fuzz(f, TypeFinished) }
func FuzzNewSessionTicket(f *testing.F)  { fuzz(f, TypeNewSessionTicket) }
func FuzzKeyUpdate(f *testing.F)         { fuzz(f, TypeKeyUpdate) }
func FuzzEndOfEarlyData(f *testing.F)    { fuzz(f, TypeEndOfEarlyData) }

// FuzzAnyMessage leaves the header to the fuzzer too.
func FuzzAnyMessage(f *testing.F) {
	for _, s := range samples() {
		if b, err := s.msg.Append(nil); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		for _, typ := range parsedTypes {
			err := blank(typ).Parse(msg)
			if len(msg) < HeaderLen || Type(msg[0]) != typ {
				if err == nil {
					t.Fatalf("%x parsed as %s", msg, typ)
				}
			}
		}
		checkAgain(t, msg)
	})
}

// TestEveryChangedByteParsesOrIsRefused is the fuzz targets' little brother,
// which runs always.
func TestEveryChangedByteParsesOrIsRefused(t *testing.T) {
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			for _, v := range []byte{b[i] ^ 1, b[i] ^ 0x80, 0, 0xff, b[i] + 1, b[i] - 1} {
				changed := slices.Clone(b)
				changed[i] = v
				checkAgain(t, changed)
			}
		}
	}
}
