package interop

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/revoke"
)

// opensslCA is an authority kept by `openssl ca` in a folder.
type opensslCA struct {
	t       *testing.T
	openssl string
	dir     string
	root    *pki.Certificate
}

func newOpenSSLCA(t *testing.T, openssl, lists, responder string) *opensslCA {
	ca := &opensslCA{t: t, openssl: openssl, dir: t.TempDir()}
	config := fmt.Sprintf(`[ca]
default_ca = all
[all]
dir = %[1]s
database = %[1]s/index.txt
serial = %[1]s/serial
new_certs_dir = %[1]s
crlnumber = %[1]s/crlnumber
certificate = %[1]s/ca.crt
private_key = %[1]s/ca.key
default_md = sha256
default_days = 30
default_crl_days = 7
policy = any
unique_subject = no
crl_extensions = whole
[any]
commonName = supplied
[whole]
authorityKeyIdentifier = keyid
[delta]
authorityKeyIdentifier = keyid
2.5.29.27 = critical,DER:020101
[part]
authorityKeyIdentifier = keyid
issuingDistributionPoint = critical,@point
[point]
fullname = URI:%[2]s/part.crl
onlyuser = TRUE
[elsewhere]
authorityKeyIdentifier = keyid
issuingDistributionPoint = critical,@point2
[point2]
fullname = URI:%[2]s/other.crl
[leaf]
subjectAltName = DNS:orders
crlDistributionPoints = URI:%[2]s/ca.crl,URI:%[2]s/part.crl
authorityInfoAccess = OCSP;URI:%[3]s
keyUsage = digitalSignature
authorityKeyIdentifier = keyid
[delegate]
keyUsage = digitalSignature
extendedKeyUsage = OCSPSigning
authorityKeyIdentifier = keyid
`, ca.dir, lists, responder)
	for name, text := range map[string]string{"ca.cnf": config, "index.txt": "", "serial": "1000\n", "crlnumber": "01\n"} {
		if err := os.WriteFile(ca.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca.file("ca.key"), "-out", ca.file("ca.crt"),
		"-subj", "/CN=OpenSSL CA", "-days", "30", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
	ca.root = ca.read("ca.crt")
	return ca
}

func (ca *opensslCA) file(name string) string { return filepath.Join(ca.dir, name) }

func (ca *opensslCA) run(args ...string) {
	ca.t.Helper()
	if out, code := peers.Run(ca.t, "", ca.openssl, args...); code != 0 {
		ca.t.Fatalf("openssl %s: %s", strings.Join(args, " "), out)
	}
}

func (ca *opensslCA) read(name string) *pki.Certificate {
	ca.t.Helper()
	b, err := os.ReadFile(ca.file(name))
	if err != nil {
		ca.t.Fatal(err)
	}
	certs, err := pki.ParsePEM(b)
	if err != nil {
		ca.t.Fatal(err)
	}
	return certs[0]
}

func (ca *opensslCA) issue(name, extensions string) *pki.Certificate {
	ca.t.Helper()
	ca.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca.file(name+".key"), "-out", ca.file(name+".csr"), "-subj", "/CN="+name)
	ca.run("ca", "-batch", "-notext", "-config", ca.file("ca.cnf"), "-extensions", extensions, "-in", ca.file(name+".csr"), "-out", ca.file(name+".crt"))
	return ca.read(name + ".crt")
}

func (ca *opensslCA) revoke(name, reason string) {
	ca.run("ca", "-config", ca.file("ca.cnf"), "-revoke", ca.file(name+".crt"), "-crl_reason", reason)
}

// list makes a list with the extensions.
func (ca *opensslCA) list(name, extensions string) {
	ca.run("ca", "-config", ca.file("ca.cnf"), "-gencrl", "-crlexts", extensions, "-out", ca.file(name))
}

// OpenSSL's lists, whole, delta and in parts, are read as it means them.
func TestOpenSSLMakesRevocationLists(t *testing.T) {
	eachOpenSSL(t, func(t *testing.T, openssl string) {
		ca := newOpenSSLCA(t, openssl, "http://pki.example", "http://ocsp.example")
		good, bad := ca.issue("good", "leaf"), ca.issue("bad", "leaf")
		ca.list("before.crl", "whole")
		ca.revoke("bad", "keyCompromise")
		for _, kind := range []string{"whole", "delta", "part", "elsewhere"} {
			ca.list(kind+".crl", kind)
		}
		for files, want := range map[string][2]pki.RevocationState{ // of the good one and the bad one
			"before.crl":           {pki.NotRevoked, pki.NotRevoked},
			"whole.crl":            {pki.NotRevoked, pki.Revoked},
			"before.crl delta.crl": {pki.NotRevoked, pki.Revoked},
			"delta.crl":            {pki.RevocationUnknown, pki.Revoked},
			"part.crl":             {pki.NotRevoked, pki.Revoked},
			"elsewhere.crl":        {pki.RevocationUnknown, pki.RevocationUnknown},
		} {
			var names []string
			for _, f := range strings.Fields(files) {
				names = append(names, ca.file(f))
			}
			k, err := revoke.New(revoke.Config{Files: names})
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range []*pki.Certificate{good, bad} {
				if st := k.Status(context.Background(), c, ca.root); st.State != want[i] {
					t.Errorf("%s, certificate %d: %v: %s", files, i, st.State, st.Found)
				}
			}
			k.Close()
		}
	})
}

// OpenSSL's responder answers what we ask, itself and by a delegate.
func TestOpenSSLRespondsToOCSP(t *testing.T) {
	eachOpenSSL(t, func(t *testing.T, openssl string) {
		for _, signer := range []string{"ca", "delegate"} {
			t.Run(signer, func(t *testing.T) {
				lists := httptest.NewServer(http.NotFoundHandler())
				defer lists.Close()
				port := peers.FreePort(t)
				ca := newOpenSSLCA(t, openssl, lists.URL, fmt.Sprintf("http://127.0.0.1:%d", port))
				good, bad := ca.issue("good", "leaf"), ca.issue("bad", "leaf")
				ca.issue("delegate", "delegate")
				ca.revoke("bad", "superseded")
				p := peers.Start(t, nil, openssl, "ocsp", "-index", ca.file("index.txt"), "-port", fmt.Sprint(port), "-ndays", "1",
					"-CA", ca.file("ca.crt"), "-rsigner", ca.file(signer+".crt"), "-rkey", ca.file(signer+".key"))
				p.AwaitListening(port)
				k, err := revoke.New(revoke.Config{Fetch: true, Private: true, Timeout: peers.Patience})
				if err != nil {
					t.Fatal(err)
				}
				defer k.Close()
				ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
				defer cancel()
				if st := k.Status(ctx, good, ca.root); st.State != pki.NotRevoked {
					t.Errorf("the good one: %v: %s", st.State, st.Found)
				}
				if st := k.Status(ctx, bad, ca.root); st.State != pki.Revoked || !strings.Contains(st.Found, "superseded") {
					t.Errorf("the bad one: %v: %s", st.State, st.Found)
				}
			})
		}
	})
}
