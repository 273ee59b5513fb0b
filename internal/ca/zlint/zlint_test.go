package zlint

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	stdx509 "crypto/x509"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zmap/zcrypto/x509"
	zl "github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

// byTheRFCs are zlint's lints that come from RFC 5280 and those beside it.
func byTheRFCs(t *testing.T) lint.Registry {
	t.Helper()
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{lint.RFC5280, lint.RFC5480, lint.RFC8813, lint.RFC6962}})
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

// silent wants zlint to have nothing to say, but by some lints, and at least so many
// of them to have looked.
func silent(t *testing.T, what string, results map[string]*lint.LintResult, least int, but ...string) {
	t.Helper()
	looked := 0
	for name, r := range results {
		switch r.Status {
		case lint.Pass:
			looked++
		case lint.Warn, lint.Error, lint.Fatal:
			looked++
			if !slices.Contains(but, name) {
				t.Errorf("%s: %s: %v %s", what, name, r.Status, r.Details)
			}
		}
	}
	if looked < least {
		t.Errorf("%s: %d lints looked at it alone", what, looked)
	}
}

// clean wants zlint to have nothing to say against a certificate.
func clean(t *testing.T, what string, der []byte, but ...string) {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	silent(t, what, zl.LintCertificateEx(c, byTheRFCs(t)).Results, 30, but...)
}

// cleanList is clean for a revocation list.
func cleanList(t *testing.T, what string, der []byte) {
	t.Helper()
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	silent(t, what, zl.LintRevocationListEx(l, byTheRFCs(t)).Results, 5)
}

// request is a certificate request with a new key of a type: a key is certified once.
func request(t *testing.T, keyType string) []byte {
	t.Helper()
	var key crypto.Signer
	var err error
	if keyType == "rsa" { // the shortest that may be certified, and made sooner
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = keystore.NewKey(keyType)
	}
	if err != nil {
		t.Fatal(err)
	}
	csr, err := sign.Request(nil, &stdx509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// Everything that an authority signs: itself, its issuers, its own leaf, and what
// is asked for at each of its doors.
func TestZlintAgreesWithWhatIsIssued(t *testing.T) {
	// Under two kinds of issuers keys of every kind: of them the lints see the one or the
	// other.
	some := []string{"p256", "mldsa44"}
	for kind, keys := range map[string][]string{"p256": keystore.KeyTypes(), "mldsa65": keystore.KeyTypes(),
		"p384": some, "ed25519": some, "rsa": some, "mldsa44": some, "mldsa87": some, "mldsa87/p256": some} {
		t.Run(strings.ReplaceAll(kind, "/", " over "), func(t *testing.T) {
			o := ca.Options{Folder: filepath.Join(t.TempDir(), "ca"), KeyType: kind}
			if err := ca.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			for role, der := range ownCertificates(t, o.Folder) {
				clean(t, role, der)
			}
			a, err := ca.Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			chain, _, err := a.Serving(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			clean(t, "its own leaf", chain[0])
			lists(t, a, "an empty list")

			for _, key := range keys {
				for _, name := range []string{"web-" + key, "web." + key + ".internal", strings.Repeat("a", 60) + "." + key + ".example.com"} {
					token, _, err := a.NewToken(t.Context(), api.TokenRequest{Name: name, Names: []string{"www.example.com", "*.example.com", "10.0.0.7", "fd00::7"}})
					if err != nil {
						t.Fatal(err)
					}
					out, err := a.Join(t.Context(), token, request(t, key), 90*24*time.Hour)
					if err != nil {
						t.Fatal(err)
					}
					clean(t, "joined as "+name, out.Chain[0])
					if name != "web-"+key {
						continue
					}
					shown, err := pki.Parse(out.Chain[0])
					if err != nil {
						t.Fatal(err)
					}
					if out, err = a.Renew(t.Context(), shown, request(t, key), 0); err != nil {
						t.Fatal(err)
					}
					clean(t, "renewed as "+name, out.Chain[0])
				}
				out, err := a.Issue(t.Context(), api.IssueRequest{Name: "files-" + key, Names: []string{"files.example.com"}, CSR: request(t, key), Lifetime: 30})
				if err != nil {
					t.Fatal(err)
				}
				clean(t, "issued for files, "+key, out.Chain[0])
			}
			if _, err := a.Revoke(t.Context(), api.RevokeRequest{Target: "web-p256"}); err != nil {
				t.Fatal(err)
			}
			lists(t, a, "a list with entries")
		})
	}
}

// ownCertificates are root, issuer and standby issuer, as the ceremony recorded them.
func ownCertificates(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(folder, "ca.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := map[string][]byte{}
	if err := s.View(t.Context(), func(tx *store.Tx) error {
		all, err := tx.Authorities()
		for _, c := range all {
			out[c.Role] = c.DER
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(out) != 3 {
		t.Fatalf("%d certificates of the authority's own", len(out))
	}
	return out
}

func lists(t *testing.T, a *ca.Authority, what string) {
	t.Helper()
	all, err := a.Lists(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %d lists, %v", what, len(all), err)
	}
	for _, l := range all {
		cleanList(t, what, l)
	}
}

// What the tests and the benchmarks show each other is by the book as well, unless
// it is bad on purpose.
func TestZlintAgreesWithWhatIsMinted(t *testing.T) {
	for _, kind := range []string{"p256", "p384", "p521", "rsa2048", "ed25519", "mldsa44", "mldsa65", "mldsa87"} {
		key := mint.Key(kind)
		root := mint.Root("Example Root", key)
		issuer := root.Intermediate("Example Issuing", key)
		leaf := issuer.Leaf("api.internal", key, mint.URIs("spiffe://example.com/api"))
		var but []string
		if strings.HasPrefix(kind, "mldsa") { // zlint can't verify it, and so takes it for one that another signed
			but = []string{"e_ext_authority_key_identifier_no_key_identifier"}
		}
		clean(t, kind+" root", root.DER, but...)
		clean(t, kind+" intermediate", issuer.DER)
		// SHOULD, for a leaf; much of what is out there has none.
		clean(t, kind+" leaf", leaf.Chain[0], "w_ext_subject_key_identifier_missing_sub_cert")
	}
}
