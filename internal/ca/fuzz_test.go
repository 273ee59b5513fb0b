package ca_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/pki"
)

// target is an authority that a fuzzer talks to.
func target(f *testing.F) (*ca.Authority, func() join.Token) {
	o := ca.Options{Folder: filepath.Join(f.TempDir(), "ca"), Log: slog.New(slog.DiscardHandler)}
	if err := ca.Create(f.Context(), o); err != nil {
		f.Fatal(err)
	}
	a, err := ca.Open(f.Context(), o)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = a.Close() })
	return a, func() join.Token {
		k, _, err := a.NewToken(context.Background(), api.TokenRequest{Name: "web", Names: []string{"www.example.com"}})
		if err != nil {
			f.Fatal(err)
		}
		return k
	}
}

func seeds(f *testing.F) {
	f.Add(apply(f).csr)
	f.Add(apply(f, func(r *x509.CertificateRequest) { r.DNSNames, r.Subject.CommonName = []string{"web"}, "web" }).csr)
	f.Add(apply(f, func(r *x509.CertificateRequest) { r.DNSNames = []string{"orders"} }).csr)
	f.Add([]byte{0x30, 0x00})
}

// judge holds an answer against the record: what was refused left nothing.
func judge(t *testing.T, a *ca.Authority, before int, out *api.Issued, err error) {
	t.Helper()
	all, lerr := a.Certificates(t.Context(), true)
	if lerr != nil {
		t.Fatal(lerr)
	}
	if err != nil {
		var p *api.Problem
		if !errors.As(err, &p) {
			t.Errorf("a request made the authority fail: %v", err)
		}
		if p.Code == string(code.LintRefused) {
			t.Errorf("a request came as far as the rules: %v", err)
		}
		if len(all) != before {
			t.Errorf("%d certificates, and %d before a request that was refused", len(all), before)
		}
		return
	}
	c, err := pki.Parse(out.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if names := c.Names(); len(names) != 3 || names[0] != "web" || names[1] != "www.example.com" {
		t.Errorf("%v", names)
	}
}

func count(t *testing.T, a *ca.Authority) int {
	all, err := a.Certificates(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func FuzzJoin(f *testing.F) {
	seeds(f)
	a, token := target(f)
	k := token()
	f.Fuzz(func(t *testing.T, csr []byte) {
		before := count(t, a)
		out, err := a.Join(t.Context(), k, csr, 0)
		judge(t, a, before, out, err)
		if err == nil {
			k = token()
		}
	})
}

func FuzzRenew(f *testing.F) {
	seeds(f)
	a, token := target(f)
	out, err := a.Join(f.Context(), token(), apply(f).csr, 0)
	if err != nil {
		f.Fatal(err)
	}
	head, err := pki.Parse(out.Chain[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, csr []byte) {
		before := count(t, a)
		out, err := a.Renew(t.Context(), head, csr, 0)
		judge(t, a, before, out, err)
		if err == nil {
			if head, err = pki.Parse(out.Chain[0]); err != nil {
				t.Fatal(err)
			}
		}
	})
}
