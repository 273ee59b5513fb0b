package message

import (
	"reflect"
	"strings"
	"testing"
)

// allowed are the allocations that a message costs when its struct is used
// again: strings and what lies behind pointers have to be made.
var allowed = map[string]float64{
	"full ClientHello":         10, // server name, one uncommon protocol, ECHHello, PreSharedKeys and its two lists, which grow; the trust anchors
	"ClientHelloInner":         1,  // ECHHello
	"Certificate":              3,  // the extensions of one entry
	"full EncryptedExtensions": 9,  // its ECHConfigs are read once, to see that they can be; the two certificate types; the trust anchors
	"CertificateRequest":       2,  // the trust anchors
}

func TestParsingIntoAUsedStructAllocatesNothing(t *testing.T) {
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m := blank(Type(b[0]))
		got := testing.AllocsPerRun(50, func() {
			if err := m.Parse(b); err != nil {
				t.Fatal(err)
			}
		})
		if got > allowed[s.name] {
			t.Errorf("%s: %v allocations, expected at most %v", s.name, got, allowed[s.name])
		}
	}
}

func TestMakingIntoEnoughSpaceAllocatesNothing(t *testing.T) {
	space := make([]byte, 0, 1<<14)
	for _, s := range samples() {
		got := testing.AllocsPerRun(50, func() {
			if _, err := s.msg.Append(space); err != nil {
				t.Fatal(err)
			}
		})
		if got > 0 {
			t.Errorf("%s: %v allocations, expected none", s.name, got)
		}
	}
}

// What parsing keeps lies in the message: nothing in it grows by what a peer
// claims, only by what it sends.
func TestClaimedLengthsAllocateNothing(t *testing.T) {
	for _, typ := range parsedTypes {
		msg := []byte{byte(typ), 0xff, 0xff, 0xff, 3, 3}
		m := blank(typ)
		if got := testing.AllocsPerRun(20, func() { _ = m.Parse(msg) }); got > 8 {
			t.Errorf("%s: %v allocations for six bytes", typ, got)
		}
	}
}

func TestNamesOfTypes(t *testing.T) {
	for _, typ := range append(parsedTypes, TypeMessageHash) {
		if s := typ.String(); strings.Contains(s, "unknown") {
			t.Errorf("%d has no name", typ)
		}
		if m := blank(typ); m != nil && reflect.TypeOf(m).Elem().Name() != typ.String() {
			t.Errorf("%T is called %s", m, typ)
		}
	}
	if s := Type(99).String(); !strings.Contains(s, "99") {
		t.Errorf("type 99 is called %q", s)
	}
	for typ, want := range map[ExtensionType]string{0x0a0a: "GREASE(0x0a0a)", 0xfafa: "GREASE(0xfafa)", 999: "extension(999)", ExtCookie: "cookie"} {
		if typ.String() != want {
			t.Errorf("%d is called %s, expected %s", typ, typ, want)
		}
	}
}

// Every type that may be sent to us has a limit, and what our own limits allow
// fits in it.
func TestEveryMessageHasALongestLength(t *testing.T) {
	for _, typ := range parsedTypes {
		if MaxLen(typ) <= 0 {
			t.Errorf("%s has no longest length", typ)
		}
	}
	for _, typ := range []Type{0, 3, 6, 7, 12, 14, 16, 21, 99, TypeMessageHash, 255} {
		if MaxLen(typ) != 0 {
			t.Errorf("%s may have %d bytes", typ, MaxLen(typ))
		}
	}
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(b)-HeaderLen > MaxLen(Type(b[0])) {
			t.Errorf("%s has %d bytes, more than its type may", s.name, len(b))
		}
	}
}
