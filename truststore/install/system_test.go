//go:build linux

package install

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/pki"
)

// TestProgramsOfThisMachineTrustARootFromInstallToUninstall works on the real
// stores, and so only where that is asked for.
func TestProgramsOfThisMachineTrustARootFromInstallToUninstall(t *testing.T) {
	if os.Getenv("MUTUAL_TEST_SYSTEM") != "1" {
		if os.Getenv("CI") != "" {
			t.Fatal("MUTUAL_TEST_SYSTEM=1 is not set, and nothing is skipped in CI")
		}
		t.Skip("it changes whom this machine trusts: set MUTUAL_TEST_SYSTEM=1")
	}
	if os.Geteuid() != 0 {
		t.Fatal("MUTUAL_TEST_SYSTEM=1 needs root")
	}
	authority := mint.Root("a root that a test of mutual trusts", mint.NameConstraints("localhost"))
	c, err := pki.Parse(authority.DER)
	if err != nil {
		t.Fatal(err)
	}
	leaf := authority.Leaf("localhost", mint.Names("localhost"))
	dir := t.TempDir()
	crt, key, err := leaf.WriteFiles(dir, "leaf")
	if err != nil {
		t.Fatal(err)
	}
	port := site(t, crt, key)
	url := fmt.Sprintf("https://localhost:%d/", port)
	home := t.TempDir()
	firefox := filepath.Join(home, ".mozilla", "firefox", "test.default")
	if err := os.MkdirAll(firefox, 0o700); err != nil {
		t.Fatal(err)
	}
	certutil := peers.Need(t, "certutil")
	if out, code := peers.Run(t, "", certutil, "-d", "sql:"+firefox, "-N", "--empty-password"); code != 0 {
		t.Fatal(out)
	}
	if out, code := peers.Run(t, "", certutil, "-d", "sql:"+firefox, "-A", "-n", "leaf", "-t", ",,", "-i", crt); code != 0 {
		t.Fatal(out)
	}
	programs := map[string]func() (string, bool){
		"curl": func() (string, bool) {
			out, code := peers.Run(t, "", peers.Need(t, "curl"), "-sS", "--noproxy", "*", url)
			return out, code == 0
		},
		"openssl": func() (string, bool) {
			out, code := peers.Run(t, "", peers.Need(t, "openssl"), "s_client", "-connect", fmt.Sprintf("localhost:%d", port), "-verify_return_error", "-verify_hostname", "localhost")
			return out, code == 0
		},
		"Chromium": func() (string, bool) {
			// env gives it the home folder, and so the database, of the test.
			out, _ := peers.Run(t, "", "env", "HOME="+home, peers.Need(t, "chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
				"--no-first-run", "--no-proxy-server", "--user-data-dir="+filepath.Join(t.TempDir(), "chromium"), "--dump-dom", url)
			return out, strings.Contains(out, "the site answers")
		},
		"Firefox's NSS": func() (string, bool) {
			out, code := peers.Run(t, "", certutil, "-d", "sql:"+firefox, "-V", "-n", "leaf", "-u", "V")
			return out, code == 0
		},
		"Java": func() (string, bool) {
			// keytool takes a certificate without a question only if it builds a path
			// from it to an authority that Java trusts.
			out, _ := peers.Run(t, "", peers.Need(t, "keytool"), "-importcert", "-trustcacerts", "-alias", "leaf", "-file", crt,
				"-keystore", filepath.Join(t.TempDir(), "new.p12"), "-storepass", "changeit")
			return out, strings.Contains(out, "was added")
		},
	}
	all := func(when string, want bool) {
		t.Helper()
		for name, try := range programs {
			if out, accepts := try(); accepts != want {
				t.Errorf("%s %s the site: %s", name, map[bool]string{true: "refuses", false: "accepts"}[want]+" "+when, out)
			}
		}
	}
	m := &Machine{Home: home, Receipt: filepath.Join(t.TempDir(), "trust", "receipt.json")}
	t.Cleanup(func() { _, _ = m.Uninstall(context.Background(), c) })

	all("before it is installed,", false)
	steps, err := m.Install(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[Kind]bool)
	for _, s := range steps {
		kinds[s.Store] = true
		if s.Action != Added || !s.Ours {
			t.Errorf("%+v", s)
		}
	}
	if len(kinds) != len(Kinds) {
		t.Errorf("not every kind of store is here: %+v", steps)
	}
	all("after it is installed,", true)
	if steps, err = m.Uninstall(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if s.Action != Removed {
			t.Errorf("%+v", s)
		}
	}
	all("after it is uninstalled,", false)
}

// site is an https server with a certificate in files.
func site(t *testing.T, crt, key string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(crt, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the site answers") })}
	go func() {
		if err := s.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}})); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is TCP
}
