package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
)

// Chromium finds the key for a hidden hello as in the world: in DNS, which it asks
// over HTTPS (RFC 8484, RFC 9460), and here asks us.

const hiddenSite = "orders.example"

// names answers for the site: its address is ours, and its HTTPS record has the
// configs (RFC 9848). Its answer is the address of the DNS server.
func (w *world) names(list mtls.ECHConfigList) string {
	w.t.Helper()
	l := w.issuing.Leaf("dns", mint.IPs("127.0.0.1"))
	pair := tls.Certificate{Certificate: l.Chain, PrivateKey: l.Key}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}})
	if err != nil {
		w.t.Fatal(err)
	}
	// Chromium goes on without the record where it comes late: so the address waits.
	told := make(chan struct{})
	var once sync.Once
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		query, err := base64.RawURLEncoding.DecodeString(r.URL.Query().Get("dns"))
		if r.Method == http.MethodPost {
			query, err = io.ReadAll(io.LimitReader(r.Body, 4<<10))
		}
		var answers []dnsmessage.Resource
		if err == nil {
			query, answers, err = answer(query, list)
		}
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		if len(answers) > 0 && answers[0].Header.Type == dnsmessage.TypeA {
			select {
			case <-told:
			case <-r.Context().Done():
				return
			}
		}
		rw.Header().Set("Content-Type", "application/dns-message")
		_, _ = rw.Write(query)
		if len(answers) > 0 && answers[0].Header.Type == dnsmessage.TypeHTTPS {
			_ = http.NewResponseController(rw).Flush()
			once.Do(func() { close(told) })
		}
	})}
	go func() { _ = s.Serve(listener) }()
	w.t.Cleanup(func() { _ = s.Close() })
	return listener.Addr().String()
}

// answer answers a query of one question.
func answer(query []byte, list mtls.ECHConfigList) ([]byte, []dnsmessage.Resource, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil, nil, fmt.Errorf("%d questions: %w", len(m.Questions), err)
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	q := m.Questions[0]
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}
	switch name := strings.ToLower(q.Name.String()); {
	case q.Type == dnsmessage.TypeA && name == hiddenSite+".":
		m.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	case q.Type == dnsmessage.TypeHTTPS && strings.HasSuffix(name, "._https."+hiddenSite+"."):
		r := &dnsmessage.HTTPSResource{SVCBResource: dnsmessage.SVCBResource{Priority: 1, Target: dnsmessage.MustNewName(hiddenSite + ".")}}
		r.SetParam(dnsmessage.SVCParamECH, list)
		m.Answers = []dnsmessage.Resource{{Header: head, Body: r}}
	}
	b, err := m.Pack()
	return b, m.Answers, err
}

// visit has Chromium open the page that the address serves under the site's name.
func (w *world) visit(dns string, port int) string {
	w.t.Helper()
	chromium := peers.Need(w.t, "chromium")
	// Not the test's own folder: a child that outlives the browser for a moment may
	// still write here while it is removed.
	home, err := os.MkdirTemp("", "browser")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(home) })
	db, data := filepath.Join(home, ".pki", "nssdb"), filepath.Join(home, "data")
	for _, dir := range []string{db, data} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "root", "-i", w.ca}} {
		if out, code := peers.Run(w.t, "", peers.Need(w.t, "certutil"), append(args, "-d", "sql:"+db)...); code != 0 {
			w.t.Fatal(out)
		}
	}
	state, err := json.Marshal(map[string]any{"dns_over_https": map[string]any{"mode": "secure", "templates": "https://" + dns + "/dns-query{?dns}"}})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "Local State"), state, 0o600); err != nil {
		w.t.Fatal(err)
	}
	p := peers.Start(w.t, nil, "env", "HOME="+home, chromium, "--headless", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage",
		"--enable-features=UseDnsHttpsSvcb:UseDnsHttpsSvcbSecureExtraTimeMax/60s/UseDnsHttpsSvcbSecureExtraTimePercent/100/UseDnsHttpsSvcbSecureExtraTimeMin/60s",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+data, "--dump-dom", fmt.Sprintf("https://%s:%d/", hiddenSite, port))
	_ = p.Wait(3 * time.Minute) // how it ended is told by what it said
	if !p.Ended() {
		w.t.Fatal("the browser did not end")
	}
	return p.Output()
}

// page serves one page by HTTP/1.1, to whoever comes, and tells of each connection.
func (w *world) page(cfg mtls.ServerConfig) (port int, all <-chan outcome) {
	w.t.Helper()
	const page = "<!doctype html>" + welcome
	cfg.ALPN = []string{"http/1.1"}
	s := w.server(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	done := make(chan outcome, 16)
	go func() {
		for {
			transport, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
				defer cancel()
				c, err := s.Accept(ctx, transport)
				if err != nil {
					done <- outcome{err: err}
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(peers.Patience))
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					done <- outcome{neg: c.Negotiated(), got: r.Host}
					fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, done
}

const welcome = "<p>hello from behind the name</p>"

func TestChromiumEncryptsItsHello(t *testing.T) {
	for name, current := range map[string]bool{"with our key": true, "with a key that was": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			key := echKey(t)
			published := key
			if !current {
				published = echKey(t)
			}
			cfg := w.hidden(key)
			cfg.Identity = byName{hiddenSite: own(t, w.issuing.Leaf(hiddenSite)), publicName: own(t, w.issuing.Leaf(publicName))}
			cfg.Observer, cfg.Compression.Algorithms = h, brotli.All()
			port, all := w.page(cfg)
			tp := w.tapped(port)
			if out := w.visit(w.names(published.ConfigList()), tp.port); !strings.Contains(out, welcome) {
				t.Errorf("it says\n%s", out)
			}
			// It believes the public name, and comes again with what we gave. Connections
			// that it opened to have one at hand it may drop at any time.
			refusals := 0
			o := await(t, all)
			for ; o.err != nil; o = await(t, all) {
				if r, ok := mtls.RefusalOf(o.err); ok && r.Fault != mtls.Network {
					refusedUs(t, nil, o.err, "ech_required")
					refusals++
				}
			}
			if o.neg.ECH != mtls.ECHAccepted || o.neg.ServerName != hiddenSite || (refusals == 0) != current {
				t.Errorf("after %d refusals: %+v", refusals, o)
			}
			if by := h.packed(observe.Server); by != "brotli" {
				t.Errorf("our certificate went by %q", by)
			}
			tp.mu.Lock()
			defer tp.mu.Unlock()
			shown := false
			for _, one := range tp.all {
				one.mu.Lock()
				if bytes.Contains(one.up, []byte(hiddenSite)) {
					t.Errorf("the hidden name is on the wire: %q", one.up)
				}
				shown = shown || bytes.Contains(one.up, []byte(publicName))
				one.mu.Unlock()
			}
			if !shown {
				t.Error("the public name is not on the wire: something else was captured")
			}
		})
	}
}
