package truststore

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func authority(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, x, x, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// place is a folder of files for one test.
type place struct {
	t   *testing.T
	dir string
}

func (p place) put(name string, parts ...[]byte) string {
	p.t.Helper()
	f := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(f, slices.Concat(parts...), 0o644); err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

func env(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

func names(s *Store) string {
	var out []string
	for _, c := range s.Anchors.Certificates() {
		out = append(out, c.X509.Subject.CommonName)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestWhereAnchorsComeFrom(t *testing.T) {
	p := place{t, t.TempDir()}
	a, b, c := authority(t, "A"), authority(t, "B"), authority(t, "C")
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("\x30\x03abc")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	first := p.put("first.crt", []byte("# authorities\n"), a, damaged, b, key)
	second := p.put("second.crt", c)
	p.put("folder/a.pem", a)
	p.put("folder/c.pem", c)
	p.put("folder/README", []byte("none here"))
	p.put("folder/sub/b.pem", b)
	if err := os.Symlink(p.path("folder/a.pem"), p.path("folder/0a1b2c3d.0")); err != nil {
		t.Fatal(err)
	}
	p.put("empty.crt", []byte("# none\n"))
	none := p.path("none")

	for name, c := range map[string]struct {
		goos             string
		env              func(string) string
		bundles, folders []string
		want             string
		skipped          int
		fail             string
	}{
		"first bundle that exists":  {"linux", env(), []string{none, first, second}, []string{p.path("folder")}, "A B", 2, ""},
		"folders where no bundle":   {"linux", env(), []string{none}, []string{none, p.path("folder")}, "A C", 0, ""},
		"nothing anywhere":          {"linux", env(), []string{none}, []string{none}, "", 0, "ca-certificates"},
		"an empty bundle":           {"linux", env(), []string{p.path("empty.crt")}, nil, "", 0, "empty.crt"},
		"a bundle that is a folder": {"linux", env(), []string{p.path("folder")}, nil, "", 0, "can't be read"},
		"SSL_CERT_FILE alone":       {"linux", env("SSL_CERT_FILE", second), []string{first}, []string{p.path("folder")}, "C", 0, ""},
		"SSL_CERT_DIR alone":        {"linux", env("SSL_CERT_DIR", p.path("folder")), []string{first}, nil, "A C", 0, ""},
		"SSL_CERT_DIR with two":     {"linux", env("SSL_CERT_DIR", p.path("folder/sub")+string(filepath.ListSeparator)+p.path("folder")), nil, nil, "A B C", 0, ""},
		"both":                      {"linux", env("SSL_CERT_FILE", first, "SSL_CERT_DIR", p.path("folder")), nil, nil, "A B C", 2, ""},
		"SSL_CERT_FILE missing":     {"linux", env("SSL_CERT_FILE", none), []string{first}, nil, "", 0, "SSL_CERT_FILE"},
		"SSL_CERT_FILE empty":       {"linux", env("SSL_CERT_FILE", p.path("empty.crt")), []string{first}, nil, "", 0, "no trusted authority"},
		"SSL_CERT_DIR missing":      {"linux", env("SSL_CERT_DIR", none), []string{first}, nil, "", 0, "SSL_CERT_DIR"},
		"darwin":                    {"darwin", env(), []string{first}, nil, "", 0, "--server-ca"},
		"windows with a bundle":     {"windows", env("SSL_CERT_FILE", second), nil, nil, "C", 0, ""},
	} {
		s, err := load(c.goos, c.env, c.bundles, c.folders)
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) || s != nil {
				t.Errorf("%s: %v, want an error with %q", name, err, c.fail)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := names(s); got != c.want || s.Skipped != c.skipped || len(s.Sources) == 0 {
			t.Errorf("%s: %q with %d skipped from %q, want %q with %d", name, got, s.Skipped, s.Sources, c.want, c.skipped)
		}
	}
}

// The anchors are read once: a change of the environment does not reach a process
// that has begun to trust.
func TestSystemIsReadOnce(t *testing.T) {
	p := place{t, t.TempDir()}
	system.store = nil
	t.Cleanup(func() { system.store = nil })

	t.Setenv("SSL_CERT_DIR", "")
	t.Setenv("SSL_CERT_FILE", p.path("none"))
	if _, err := System(); err == nil {
		t.Fatal("trusted what is not there")
	}
	t.Setenv("SSL_CERT_FILE", p.put("a.crt", authority(t, "A")))
	first, err := System()
	if err != nil || first.Len() != 1 {
		t.Fatalf("%v", err)
	}
	t.Setenv("SSL_CERT_FILE", p.put("b.crt", authority(t, "B")))
	if again, err := System(); err != nil || again != first {
		t.Errorf("read again: %v", err)
	}
}

// Where this machine has anchors, all of them parse, and none is altered.
func TestTheAnchorsOfThisMachine(t *testing.T) {
	s, err := load("linux", env(), bundles, folders)
	if err != nil {
		t.Logf("this machine has none: %v", err)
		return
	}
	t.Logf("%s from %q, %d skipped", s.Anchors, s.Sources, s.Skipped)
	if s.Skipped > s.Anchors.Len()/10 {
		t.Errorf("%d of %d skipped", s.Skipped, s.Skipped+s.Anchors.Len())
	}
	for _, c := range s.Anchors.Certificates() {
		if !c.Intact() {
			t.Errorf("%s is altered", c.Label())
		}
	}
}
