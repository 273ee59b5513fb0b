package mtls

import (
	"bytes"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
)

// FuzzSideFrame: a frame of two parts is those two parts, and no other bytes.
func FuzzSideFrame(f *testing.F) {
	f.Add([]byte{0, 0, 1, 7, 0, 0, 2, 8, 9})
	f.Add([]byte{0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 9, 0})
	f.Add([]byte{0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		one, other, err := two(b)
		if err != nil {
			if one != nil && other != nil {
				t.Errorf("%x has two parts, and %v", b, err)
			}
			return
		}
		var again []byte
		for _, p := range [][]byte{one, other} {
			again = append(again, byte(len(p)>>16), byte(len(p)>>8), byte(len(p)))
			again = append(again, p...)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x came of %x", again, b)
		}
	})
}

// FuzzFilters: what a server asks of an extension decides by itself, and a leaf has
// no usage that it was not given.
func FuzzFilters(f *testing.F) {
	l := mint.Root("Root").Leaf("web")
	c, err := NewCertificate(l.Chain, l.Key)
	if err != nil {
		f.Fatal(err)
	}
	for _, x := range c.leaf.Extensions {
		f.Add(true, x.Value)
		f.Add(false, x.Value)
	}
	f.Add(true, []byte{3, 2, 7, 0x80})
	f.Add(true, []byte{3, 2, 3, 8})
	f.Add(false, []byte("\x30\x06\x06\x04\x55\x1d\x25\x00"))
	f.Fuzz(func(t *testing.T, usage bool, values []byte) {
		one, other := ExtensionFilter{OID: []byte(oidExtendedKeyUsage), Values: values}, ExtensionFilter{OID: []byte{6, 1, 42}, Values: values}
		if usage {
			one.OID = []byte(oidKeyUsage)
		}
		got := c.matches([]ExtensionFilter{one})
		if c.matches([]ExtensionFilter{other, one}) != got || c.matches([]ExtensionFilter{one, one}) != got {
			t.Errorf("%x counts otherwise beside others", values)
		}
		if got && c.matches([]ExtensionFilter{{OID: one.OID, Values: append(bytes.Clone(values), 0)}}) {
			t.Errorf("%x is taken with a byte more", values)
		}
	})
}
