package zlint

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	stdx509 "crypto/x509"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zmap/zcrypto/x509"
	zl "github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
)

// clean wants zlint to have nothing to say against a certificate, by the lints
// that come from RFC 5280 and those beside it.
func clean(t *testing.T, what string, der []byte) {
	t.Helper()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{lint.RFC5280, lint.RFC5480, lint.RFC8813, lint.RFC6962}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	looked := 0
	for name, r := range zl.LintCertificateEx(c, registry).Results {
		switch r.Status {
		case lint.Pass:
			looked++
		case lint.Warn, lint.Error, lint.Fatal:
			looked++
			t.Errorf("%s: %s: %v %s", what, name, r.Status, r.Details)
		}
	}
	if looked < 30 {
		t.Errorf("%s: %d lints looked at it alone", what, looked)
	}
}

func TestZlintAgreesWithWhatIsIssued(t *testing.T) {
	for _, kind := range []string{"p256", "p384", "ed25519", "rsa"} {
		o := ca.Options{Folder: filepath.Join(t.TempDir(), "ca"), KeyType: kind}
		if err := ca.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		a, err := ca.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		clean(t, kind+" root", a.Root().Raw)
		chain, _, err := a.Serving(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		clean(t, kind+" serving leaf", chain[0])
		clean(t, kind+" issuer", chain[1])
		ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		_, ed, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for name, key := range map[string]any{"web": ec, "web.internal": rs, strings.Repeat("a", 60) + ".example.com": ed} {
			csr, err := stdx509.CreateCertificateRequest(rand.Reader, &stdx509.CertificateRequest{}, key)
			if err != nil {
				t.Fatal(err)
			}
			token, _, err := a.NewToken(t.Context(), api.TokenRequest{Name: name, Names: []string{"www.example.com", "*.example.com", "10.0.0.7", "fd00::7"}})
			if err != nil {
				t.Fatal(err)
			}
			out, err := a.Join(t.Context(), token, csr, 90*24*time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			clean(t, kind+" leaf "+name, out.Chain[0])
		}
	}
}
