package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
)

// A browser opens a page through the gateway, as through any web server.
func TestChromiumOpensAPage(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser(w.file("ca.crt"))
			g := w.serve(w.site(), "--client-auth", "none", "--alpn", protocol)
			b.opens(g, map[string]string{"http/1.1": "HTTP/1.1", "h2": "HTTP/2.0"}[protocol])
		})
	}
}

func TestChromiumShowsItsCertificate(t *testing.T) {
	w := newWorld(t)
	b := w.browser(w.file("ca.crt"))
	b.holds("web")
	b.chooses()
	b.opens(w.mutual(w.site(), "--alpn", "http/1.1"), "HTTP/1.1")
}

// It has one error for every alert about its certificate.
func TestChromiumIsRefused(t *testing.T) {
	for _, c := range []struct {
		name        string
		leaf        func(w *world) *mint.Leaf
		code, alert string
	}{
		{"without a certificate", nil, "M0402", "certificate_required"},
		// It shows none that no authority of ours stands behind.
		{"with a certificate of another authority", func(*world) *mint.Leaf { return mint.Root("Another Root").Leaf("web") }, "M0402", "certificate_required"},
		{"by its name", func(w *world) *mint.Leaf { return w.issuing.Leaf("ops") }, "M0401", "access_denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser(w.file("ca.crt"))
			if c.leaf != nil {
				w.leaf("caller", c.leaf(w))
				b.holds("caller")
			}
			b.chooses()
			g := w.mutual(w.site(), "--alpn", "http/1.1")
			out := b.open(g)
			if strings.Contains(out, greeting) || !strings.Contains(out, "net::ERR_BAD_SSL_CLIENT_AUTH_CERT") {
				t.Errorf("it says\n%s", out)
			}
			if e := g.awaitLog(t, c.code); e.Alert != c.alert || e.Sent == nil || !*e.Sent {
				t.Errorf("our log says %+v", e)
			}
		})
	}
}

// It refuses us before we hear of it, and our log tells with which alert.
func TestChromiumRefusesUs(t *testing.T) {
	for _, c := range []struct {
		name, says string
		leaf       func(w *world) *mint.Leaf
	}{
		{"for the authority", "net::ERR_CERT_AUTHORITY_INVALID", func(*world) *mint.Leaf { return mint.Root("Another Root").Leaf("orders", mint.Names("localhost")) }},
		{"for the name", "net::ERR_CERT_COMMON_NAME_INVALID", func(w *world) *mint.Leaf { return w.issuing.Leaf("payments") }},
		{"for the date", "net::ERR_CERT_DATE_INVALID", func(w *world) *mint.Leaf {
			return w.issuing.Leaf("orders", mint.Names("localhost"), mint.Lifetime(-time.Hour))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.browser(w.file("ca.crt"))
			w.leaf("orders", c.leaf(w))
			g := w.serve(w.site(), "--client-auth", "none", "--alpn", "http/1.1")
			out := b.open(g)
			if strings.Contains(out, greeting) || !strings.Contains(out, c.says) {
				t.Errorf("it does not say %s, but\n%s", c.says, out)
			}
			// Chromium judges in a process of its own and has one alert for all.
			if e := g.awaitLog(t, "M0507"); e.Alert != "certificate_unknown" || e.Sent == nil || *e.Sent {
				t.Errorf("our log says %+v", e)
			}
		})
	}
}

const greeting = "hello from behind the gateway"

// site is a plain web server, of HTTP/1.1 and of HTTP/2 in the clear.
func (w *world) site() string {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(rw, "<!doctype html><p>%s over %s</p>", greeting, r.Proto)
	})}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
	w.t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

// browser is Chromium with a home of its own: its certificates lie in an NSS
// database there.
type browser struct {
	w        *world
	chromium string
	home, db string
	wrap     []string // what it runs inside of
}

func (w *world) browser(ca string) *browser {
	w.t.Helper()
	b := &browser{w: w, chromium: peers.Need(w.t, "chromium")}
	// Not the test's own folder: a child that outlives the browser for a moment may
	// still write here while it is removed.
	home, err := os.MkdirTemp("", "browser")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(home) })
	b.home = home
	folder := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		w.t.Fatal(err)
	}
	b.db = "sql:" + folder
	b.run("certutil", "-N", "-d", b.db, "--empty-password")
	b.run("certutil", "-A", "-d", b.db, "-t", "C,,", "-n", "root", "-i", ca)
	return b
}

func (b *browser) run(program string, args ...string) {
	b.w.t.Helper()
	if out, code := peers.Run(b.w.t, "", peers.Need(b.w.t, program), args...); code != 0 {
		b.w.t.Fatalf("%s %s: exit %d\n%s", program, strings.Join(args, " "), code, out)
	}
}

// holds gives it the certificate and key of base.
func (b *browser) holds(base string) {
	b.w.t.Helper()
	bag := filepath.Join(b.home, base+".p12")
	b.run("openssl", "pkcs12", "-export", "-in", b.w.file(base+".crt"), "-inkey", b.w.file(base+".key"), "-name", base, "-out", bag, "-passout", "pass:")
	b.run("pk12util", "-d", b.db, "-i", bag, "-W", "", "-K", "")
}

// chooses has it choose a certificate by itself, where else it would ask a person
// and wait. It takes that from a policy in a system's folder alone: so it runs in
// a mount namespace of its own, in which that folder is another.
func (b *browser) chooses() {
	b.w.t.Helper()
	const script = `mount -t tmpfs tmpfs /etc/chromium && mkdir -p /etc/chromium/policies/managed &&
cp "$1" /etc/chromium/policies/managed/ && shift && exec "$@"`
	policy := filepath.Join(b.home, "policy.json")
	const rule = `{"AutoSelectCertificateForUrls": ["{\"pattern\": \"https://localhost\", \"filter\": {}}"]}`
	if err := os.WriteFile(policy, []byte(rule), 0o600); err != nil {
		b.w.t.Fatal(err)
	}
	b.wrap = []string{peers.Need(b.w.t, "unshare"), "--mount"}
	if os.Geteuid() != 0 {
		b.wrap = append(b.wrap, "--map-root-user")
	}
	b.wrap = append(b.wrap, "sh", "-c", script, "sh", policy)
	if out, code := peers.Run(b.w.t, "", b.wrap[0], append(b.wrap[1:len(b.wrap):len(b.wrap)], "true")...); code != 0 {
		if os.Getenv("CI") != "" {
			b.w.t.Fatalf("no mount namespace can be had here: %s", out)
		}
		b.w.t.Skipf("no mount namespace can be had here: %s", out)
	}
}

// open opens the gateway's page, and answers with its DOM and what the browser
// said.
func (b *browser) open(g *gate) string {
	b.w.t.Helper()
	_, port, _ := strings.Cut(g.address, ":")
	args := append([]string{"HOME=" + b.home}, b.wrap...)
	args = append(args, b.chromium, "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+filepath.Join(b.home, "data"),
		"--dump-dom", "https://localhost:"+port+"/")
	p := peers.Start(b.w.t, nil, "env", args...)
	_ = p.Wait(3 * time.Minute) // how it ended is told by what it said
	if !p.Ended() {
		b.w.t.Fatal("the browser did not end")
	}
	return p.Output()
}

func (b *browser) opens(g *gate, protocol string) {
	b.w.t.Helper()
	if out := b.open(g); !strings.Contains(out, greeting+" over "+protocol) {
		b.w.t.Errorf("the page did not come over %s, but\n%s", protocol, out)
	}
}
