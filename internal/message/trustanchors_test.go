package message

import (
	"bytes"
	"encoding/base64"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

func anchor(t testing.TB, s string) TrustAnchorID {
	t.Helper()
	id, err := ParseTrustAnchorID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// The first is the draft's own (section 3).
func TestTrustAnchorIDsAreWrittenWithDots(t *testing.T) {
	for s, wire := range map[string]string{
		"32473.1": "\x81\xfd\x59\x01", "0": "\x00", "127.128": "\x7f\x81\x00", "1.0.2": "\x01\x00\x02",
		"18446744073709551615": "\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	} {
		id := anchor(t, s)
		if string(id) != wire || id.String() != s || !id.Valid() {
			t.Errorf("%s is %x, told as %s", s, string(id), id)
		}
	}
	for _, s := range []string{"", ".", "1.", ".1", "1..2", "-1", "+1", "01", "1.a", " 1", "18446744073709551616", strings.Repeat("1.", 255) + "1"} {
		if id, err := ParseTrustAnchorID(s); err == nil {
			t.Errorf("%q was taken, as %x", s, string(id))
		}
	}
	for _, wire := range []string{"", "\x81", "\x01\x80\x01", "\x80", "\x83" + strings.Repeat("\xff", 8) + "\x7f", strings.Repeat("\x01", 256)} {
		if id := TrustAnchorID(wire); id.Valid() || !strings.HasPrefix(id.String(), "0x") && wire != "" {
			t.Errorf("%x is taken for an identifier, %s", wire, id)
		}
	}
}

// The procedure of section 3.1 of the draft, step by step.
func TestARangeContainsItsBaseAndOneNumberMore(t *testing.T) {
	in := func(base string, low, high uint64) TrustAnchorRange {
		return TrustAnchorRange{Base: anchor(t, base), Min: low, Max: high}
	}
	for name, c := range map[string]struct {
		r    TrustAnchorRange
		id   TrustAnchorID
		want bool
	}{
		"inside":                   {in("32473.2", 3, 9), anchor(t, "32473.2.5"), true},
		"the lowest":               {in("32473.2", 3, 9), anchor(t, "32473.2.3"), true},
		"the highest":              {in("32473.2", 3, 9), anchor(t, "32473.2.9"), true},
		"without an end":           {in("32473.2", 300, math.MaxUint64), anchor(t, "32473.2.18446744073709551615"), true},
		"below":                    {in("32473.2", 3, 9), anchor(t, "32473.2.2"), false},
		"above":                    {in("32473.2", 3, 9), anchor(t, "32473.2.10"), false},
		"another base":             {in("32473.2", 3, 9), anchor(t, "32473.3.5"), false},
		"the base itself":          {in("32473.2", 0, 9), anchor(t, "32473.2"), false},
		"one number too many":      {in("32473.2", 0, 9), anchor(t, "32473.2.5.5"), false},
		"a base inside a number":   {TrustAnchorRange{Base: "\x81", Max: math.MaxUint64}, "\x81\x01", false},
		"no base":                  {TrustAnchorRange{Max: 9}, "\x05", false},
		"a number that is cut off": {in("7", 0, math.MaxUint64), "\x07\x81", false},
		"a zero in front":          {in("7", 0, math.MaxUint64), "\x07\x80\x05", false},
		"more than 64 bits":        {in("7", 0, math.MaxUint64), TrustAnchorID("\x07\x82" + strings.Repeat("\x80", 8) + "\x00"), false},
	} {
		if got := c.r.Contains(c.id); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The draft's own example (section 6.4).
const drafted = "ADsAAAAEgf1ZAQABACsAKQORCwIAAAAAAAAAZAAAAAAAAADIBIH9WQMAAAAAAAAAKv//////////AAIAAA=="

func TestThePropertiesOfTheDraftAreRead(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(drafted)
	if err != nil {
		t.Fatal(err)
	}
	var p CertificateProperties
	if err := p.Parse(b); err != nil {
		t.Fatal(err)
	}
	want := CertificateProperties{TrustAnchor: anchor(t, "32473.1"), Negotiated: true, Groups: []TrustAnchorRange{
		{anchor(t, "2187.2"), 100, 200}, {anchor(t, "32473.3"), 42, math.MaxUint64},
	}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("%+v", p)
	}
	if again, err := p.Append(nil); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%x, %v", again, err)
	}
}

func TestBadPropertiesAreRefused(t *testing.T) {
	group := func(list ...byte) []byte { return v16(list...) }
	property := func(kind byte, data ...byte) []byte { return join([]byte{0, kind}, v16(data...)) }
	limits := fill(16, 0)
	for name, b := range map[string][]byte{
		"nothing":                  nil,
		"more":                     append(v16(), 0),
		"a cut property":           v16(0, 0, 0, 2, 7),
		"not in order":             v16(join(property(2), property(0, 7))...),
		"twice":                    v16(join(property(2), property(2))...),
		"an empty anchor":          v16(property(0)...),
		"no anchor":                v16(property(0, 0x81)...),
		"a flag with a body":       v16(property(2, 1)...),
		"no groups":                v16(property(1, group()...)...),
		"groups and more":          v16(property(1, append(group(join(v8(7), limits)...), 0)...)...),
		"a group without a base":   v16(property(1, group(join(v8(), limits)...)...)...),
		"a group with half a span": v16(property(1, group(join(v8(7), limits[:8])...)...)...),
	} {
		var p CertificateProperties
		if err := p.Parse(b); err == nil {
			t.Errorf("%s: %+v", name, p)
		}
	}
	var p CertificateProperties
	if err := p.Parse(v16(join(property(0, 7), property(9, 1, 2, 3))...)); err != nil || p.TrustAnchor != "\x07" {
		t.Errorf("a property that nobody knows: %+v, %v", p, err)
	}
	if err := p.Parse(v16()); err != nil || p.TrustAnchor != "" {
		t.Errorf("no property: %+v, %v", p, err)
	}
}

func FuzzCertificateProperties(f *testing.F) {
	b, _ := base64.StdEncoding.DecodeString(drafted)
	f.Add(b)
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again CertificateProperties
		if p.Parse(b) != nil {
			return
		}
		made, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Parse(made); err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%+v, %+v, %v", p, again, err)
		}
	})
}

// The number of a draft is nobody's: in a hello of somebody who means something else
// by it, it is one that nobody knows.
func TestWhatHoldsNoListOfTrustAnchorsIsSomebodyElses(t *testing.T) {
	for _, body := range [][]byte{{}, {0}, {0, 9, 1}, bytes.Repeat([]byte{0xb5}, 64)} {
		b, err := (&ClientHello{Compression: []byte{0}, CipherSuites: []suite.ID{1}, Extensions: []Extension{{ExtTrustAnchors, body}}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var m ClientHello
		if err := m.Parse(b); err != nil || m.TrustAnchors != nil {
			t.Errorf("%x: %v, %v", body, m.TrustAnchors, err)
		}
	}
}
