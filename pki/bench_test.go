package pki

import (
	"crypto/x509"
	"testing"
)

// Leaf, intermediate and root, parsed, each signature verified each time: ours
// and the standard library's in one run, to be compared.
func BenchmarkVerify(b *testing.B) {
	s := stand(b)
	b.Run("ours", func(b *testing.B) {
		q := s.question()
		b.ReportAllocs()
		for b.Loop() {
			if v := Verify(q); !v.OK {
				b.Fatal(v.Sentence())
			}
		}
	})
	b.Run("ours, met before", func(b *testing.B) {
		q := s.question()
		q.Known = &Known{}
		b.ReportAllocs()
		for b.Loop() {
			if v := Verify(q); !v.OK {
				b.Fatal(v.Sentence())
			}
		}
	})
	b.Run("crypto-x509", func(b *testing.B) {
		o := x509.VerifyOptions{
			Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, DNSName: "api.internal",
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		o.Roots.AddCert(s.root.X509)
		o.Intermediates.AddCert(s.inter.X509)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.leaf.X509.Verify(o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	s := stand(b)
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parse(s.leaf.Raw, s.leaf.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verified", func(b *testing.B) {
		Verify(s.question())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(s.leaf.Raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("crypto-x509", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x509.ParseCertificate(s.leaf.Raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}
