package record

import (
	"fmt"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

var sizes = []int{64, 1400, MaxPlaintext}

// "raw" is the AEAD without records around it: what there is to lose.
func BenchmarkSeal(b *testing.B) {
	for _, id := range suite.Suites() {
		for _, n := range sizes {
			plaintext, buf := make([]byte, n), make([]byte, 0, MaxRecord)
			s, _ := pair(b, id)
			b.Run(fmt.Sprintf("%v/%d/record", id, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					s.d.seq = 0 // a benchmark may outrun the limit
					s.Seal(buf, ApplicationData, plaintext, 0)
				}
			})
			b.Run(fmt.Sprintf("%v/%d/raw", id, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				nonce, header := make([]byte, suite.IVLen), make([]byte, HeaderLen)
				for b.Loop() {
					s.d.aead.Seal(buf, nonce, plaintext, header)
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, id := range suite.Suites() {
		for _, n := range sizes {
			s, o := pair(b, id)
			rec := s.Seal(nil, ApplicationData, make([]byte, n), 0)
			work := make([]byte, len(rec))
			b.Run(fmt.Sprintf("%v/%d/record", id, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					o.d.seq = 0
					copy(work, rec)
					if _, _, err := o.Open(work); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%v/%d/raw", id, n), func(b *testing.B) {
				b.SetBytes(int64(n))
				for b.Loop() {
					copy(work, rec)
					body := work[HeaderLen:]
					if _, err := o.d.aead.Open(body[:0], o.d.nonce[:], body, work[:HeaderLen]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
