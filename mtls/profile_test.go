package mtls_test

import (
	"context"
	"crypto/x509"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// saysOfServer is what a verifier says of a server that shows the leaf.
func saysOfServer(t *testing.T, v mtls.Verifier, l *mint.Leaf, name string) *mtls.Verdict {
	t.Helper()
	out, err := v.Verify(context.Background(), &mtls.Claim{Role: mtls.RoleServer, Chain: l.Chain, ServerName: name, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAuthoritiesHoldPeersToTheProfileThatIsAskedFor(t *testing.T) {
	root := mint.Root("R")
	plain := root.Leaf("orders")
	svid := root.Leaf("orders", mint.URIs("spiffe://prod.example/orders"))
	for _, c := range []struct {
		profile pki.Profile
		leaf    *mint.Leaf
		code    string
	}{
		{pki.Basic, plain, ""}, {pki.Private, plain, ""}, {pki.SVID, plain, "M0105"}, {pki.SVID, svid, ""},
	} {
		if v := saysOfServer(t, mtls.AuthoritiesWith(anchorsOf(t, root), c.profile), c.leaf, "orders"); v.Code != c.code {
			t.Errorf("%s: %q, want %q: %s", c.profile, v.Code, c.code, v.Reason)
		}
	}
}

// systemRoot is what this process takes for the system's: it looks once, however
// often the tests are run.
var systemRoot = sync.OnceValue(func() *mint.Authority { return mint.Root("R") })

func TestSystemTrustHoldsServersToWhatBrowsersAskFor(t *testing.T) {
	root := systemRoot()
	file := filepath.Join(t.TempDir(), "system.crt")
	if err := root.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	t.Setenv("SSL_CERT_DIR", "")
	server := mint.Usage(x509.ExtKeyUsageServerAuth)
	for why, c := range map[string]struct {
		leaf *mint.Leaf
		name string
		code string
	}{
		"good":                   {root.Leaf("www.example.com", server), "www.example.com", ""},
		"no extended key usage":  {root.Leaf("www.example.com", mint.Usage()), "www.example.com", "M0128"},
		"valid for two years":    {root.Leaf("www.example.com", server, mint.Lifetime(730*24*time.Hour)), "www.example.com", "M0128"},
		"wildcard of a registry": {root.Leaf("*.com", server), "example.com", "M0105"},
		"a company's wildcard":   {root.Leaf("*.s3.amazonaws.com", server), "bucket.s3.amazonaws.com", ""},
	} {
		if v := saysOfServer(t, mtls.SystemTrust(), c.leaf, c.name); v.Code != c.code {
			t.Errorf("%s: %q, want %q: %s", why, v.Code, c.code, v.Reason)
		}
	}
}
