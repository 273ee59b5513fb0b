package ct

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
)

// A list that was read is what was written.
func FuzzTimestampList(f *testing.F) {
	one, _ := hex.DecodeString(plainTimestamp)
	f.Add(mint.Timestamps(one, one))
	f.Add([]byte{0, 3, 0, 1, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseList(b)
		if err != nil {
			return
		}
		if len(list) > MaxTimestamps || !bytes.Equal(mint.Timestamps(list...), b) {
			t.Fatalf("%x was read as %x", b, list)
		}
		for _, raw := range list {
			s, err := Parse(raw)
			if err != nil {
				continue
			}
			if _, err := s.signed(&entry{content: raw}); err != nil || s.At.Year() > 9999 {
				t.Fatalf("%v, %v", s.At, err)
			}
		}
	})
}

func FuzzLogList(f *testing.F) {
	f.Add(mint.LogList(mint.NewLog("a", "One", "")))
	f.Add([]byte(`{"operators":[{"name":"a","logs":[{"key":"AA==","state":{"usable":{}}}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		logs, err := ParseLogs(b)
		if err != nil {
			return
		}
		for id, l := range logs.byID {
			if l.ID() != id || l.Operator == "" || l.key == nil {
				t.Fatalf("%+v", l)
			}
		}
		if _, err := NewPolicy(logs, Chrome); err != nil {
			t.Fatal(err)
		}
	})
}

// What is left of a certificate is the certificate without the one extension, as
// another reader has it.
func FuzzCertificateWithoutItsTimestamps(f *testing.F) {
	root := mint.Root("Root")
	f.Add(root.Leaf("web.example", mint.Logged(time.Now(), mint.NewLog("a", "One", ""))).Cert.Raw)
	f.Add(root.DER)
	for _, name := range []string{"embedded.pem", "comodo.pem"} {
		f.Add(read(f, name)[0].Raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rest, list, err := split(b)
		if err != nil || list == nil {
			if rest != nil {
				t.Fatal("something is left of nothing")
			}
			return
		}
		if len(rest) >= len(b) {
			t.Fatal("what is left is longer than the whole")
		}
		whole, err := x509.ParseCertificate(b)
		if err != nil {
			return
		}
		// A certificate of what is left, with the algorithm and the signature of before.
		outer, err := asn1.Marshal(struct{ TBS, Algorithm, Signature asn1.RawValue }{
			asn1.RawValue{FullBytes: rest}, asn1.RawValue{FullBytes: []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}},
			asn1.RawValue{FullBytes: []byte{3, 1, 0}}})
		if err != nil {
			t.Fatal(err)
		}
		less, err := x509.ParseCertificate(outer)
		if err != nil {
			return // of the two copies of the algorithm one may differ
		}
		if len(less.Extensions) != len(whole.Extensions)-1 || less.SerialNumber.Cmp(whole.SerialNumber) != 0 {
			t.Fatalf("%d extensions are left of %d", len(less.Extensions), len(whole.Extensions))
		}
		at := 0
		for _, e := range whole.Extensions {
			if e.Id.String() == "1.3.6.1.4.1.11129.2.4.2" {
				continue
			}
			if got := less.Extensions[at]; !got.Id.Equal(e.Id) || got.Critical != e.Critical || !bytes.Equal(got.Value, e.Value) {
				t.Fatalf("extension %v was changed", e.Id)
			}
			at++
		}
	})
}
