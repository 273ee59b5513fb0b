package revoke

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki"
)

// world is an authority with a place for its lists and a responder.
type world struct {
	t       *testing.T
	root    *mint.Authority
	server  *httptest.Server
	handler atomic.Pointer[http.HandlerFunc]
	asked   atomic.Int64

	mu     sync.Mutex
	offset time.Duration
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, root: mint.Root("Root")}
	w.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		(*w.handler.Load())(rw, r)
	}))
	t.Cleanup(w.server.Close)
	w.serve(http.NotFound)
	return w
}

func (w *world) serve(h http.HandlerFunc) { w.handler.Store(&h) }
func (w *world) serveBytes(b []byte) {
	w.serve(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(b) })
}
func (w *world) now() time.Time           { w.mu.Lock(); defer w.mu.Unlock(); return time.Now().Add(w.offset) }
func (w *world) later(d time.Duration)    { w.mu.Lock(); defer w.mu.Unlock(); w.offset += d }
func (w *world) issuer() *pki.Certificate { return parsed(w.t, w.root.DER) }
func (w *world) leaf(o ...mint.Option) *pki.Certificate {
	return parsed(w.t, w.root.Leaf("orders", o...).Chain[0])
}
func (w *world) listed() *pki.Certificate   { return w.leaf(mint.Lists(w.server.URL + "/list.crl")) }
func (w *world) ocspLeaf() *pki.Certificate { return w.leaf(mint.Responders(w.server.URL + "/ocsp")) }

func parsed(t *testing.T, der []byte) *pki.Certificate {
	t.Helper()
	c, err := pki.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) list(number int64, revoked ...*pki.Certificate) []byte {
	return w.listBy(w.root, number, nil, revoked...)
}

func (w *world) listBy(by *mint.Authority, number int64, edit func(*x509.RevocationList), revoked ...*pki.Certificate) []byte {
	w.t.Helper()
	now := w.now()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(24 * time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.X509.SerialNumber, RevocationTime: now, ReasonCode: 1})
	}
	if edit != nil {
		edit(l)
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, by.Cert, by.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) answer(c *pki.Certificate, status int, edit func(*ocsp.Response)) []byte {
	w.t.Helper()
	now := w.now()
	r := ocsp.Response{Status: status, SerialNumber: c.X509.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour), RevokedAt: now.Add(-time.Minute), RevocationReason: 1}
	if edit != nil {
		edit(&r)
	}
	b, err := ocsp.CreateResponse(w.root.Cert, w.root.Cert, r, w.root.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) checker(edit func(*Config)) *Checker {
	w.t.Helper()
	cfg := Config{Fetch: true, Private: true, Clock: w.now}
	if edit != nil {
		edit(&cfg)
	}
	k, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(k.Close)
	return k
}

func (w *world) is(k *Checker, c *pki.Certificate, want pki.RevocationState, words string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	st := k.Status(ctx, c, w.issuer())
	if st.State != want || !strings.Contains(st.Found, words) {
		w.t.Errorf("%v, want %v with %q: %s", st.State, want, words, st.Found)
	}
	for _, r := range st.Found {
		if r < ' ' || r > '~' {
			w.t.Errorf("not safe to print: %q", st.Found)
		}
	}
}

func TestAListIsFetchedFromWhereTheCertificateSays(t *testing.T) {
	w := newWorld(t)
	good, bad := w.listed(), w.listed()
	w.serveBytes(w.list(1, bad))
	k := w.checker(nil)
	w.is(k, good, pki.NotRevoked, "list number 1")
	w.is(k, bad, pki.Revoked, "keyCompromise")
	if n := w.asked.Load(); n != 1 {
		t.Errorf("asked %d times for one list", n)
	}
}

func TestAResponderIsAskedByGETAndElseByPOST(t *testing.T) {
	w := newWorld(t)
	c := w.ocspLeaf()
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		text, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/ocsp/"))
		b, err2 := base64.StdEncoding.DecodeString(text)
		if q, err3 := ocsp.ParseRequest(b); r.Method != http.MethodGet || err != nil || err2 != nil || err3 != nil || q.SerialNumber.Cmp(c.X509.SerialNumber) != 0 {
			t.Errorf("%s %s: %v %v %v", r.Method, r.URL, err, err2, err3)
		}
		_, _ = rw.Write(w.answer(c, ocsp.Good, nil))
	})
	w.is(w.checker(nil), c, pki.NotRevoked, "OCSP")
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if _, err := ocsp.ParseRequest(b); r.Method != http.MethodPost || err != nil || r.Header.Get("Content-Type") != "application/ocsp-request" {
			rw.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		_, _ = rw.Write(w.answer(c, ocsp.Revoked, nil))
	})
	w.is(w.checker(nil), c, pki.Revoked, "keyCompromise")
}

func TestWhoLiesIsNotBelieved(t *testing.T) {
	w := newWorld(t)
	other := mint.Root("Other")
	forger := &mint.Authority{Cert: w.root.Cert, Key: other.Key}
	forged := func() []byte {
		l := *w.root.Cert
		l.PublicKey = other.Cert.PublicKey
		return w.listBy(&mint.Authority{Cert: &l, Key: forger.Key}, 9, nil)
	}
	c, o := w.listed(), w.ocspLeaf()
	for why, x := range map[string]struct {
		c     *pki.Certificate
		b     []byte
		words string
	}{
		"no list":          {c, []byte("<html>"), "not a revocation list"},
		"another issuer's": {c, w.listBy(other, 1, nil), "another issuer"},
		"forged":           {c, forged(), "did not sign"},
		"over": {c, w.listBy(w.root, 1, func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = l.ThisUpdate.Add(-48*time.Hour), w.now().Add(-time.Hour)
		}), "ended at"},
		"to come":             {c, w.listBy(w.root, 1, func(l *x509.RevocationList) { l.ThisUpdate = w.now().Add(time.Hour) }), "begins at"},
		"an indirect one":     {c, w.listBy(w.root, 1, func(l *x509.RevocationList) { l.ExtraExtensions = idp([]byte{0x84, 1, 0xff}) }), "indirect"},
		"an answer to others": {o, w.answer(c, ocsp.Good, nil), "another certificate"},
		"an answer of before": {o, w.answer(o, ocsp.Good, func(r *ocsp.Response) {
			r.ThisUpdate, r.NextUpdate = w.now().Add(-48*time.Hour), w.now().Add(-24*time.Hour)
		}), "ended at"},
		"an answer that is none": {o, []byte{0x30, 3, 10, 1, 3}, "no answer"},
	} {
		t.Run(why, func(t *testing.T) {
			w.serveBytes(x.b)
			w.is(w.checker(nil), x.c, pki.RevocationUnknown, x.words)
		})
	}
}

func idp(parts ...[]byte) []pkix.Extension {
	body := bytes.Join(parts, nil)
	return []pkix.Extension{{Id: []int{2, 5, 29, 28}, Critical: true, Value: append([]byte{0x30, byte(len(body))}, body...)}}
}

func TestWhatAPlaceMayCostIsBounded(t *testing.T) {
	w := newWorld(t)
	c, o := w.listed(), w.ocspLeaf()
	stall := make(chan struct{})
	t.Cleanup(func() { close(stall) })
	for why, x := range map[string]struct {
		c     *pki.Certificate
		h     http.HandlerFunc
		words string
	}{
		"it stalls before": {c, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}, "in time"},
		"it stalls within": {c, func(rw http.ResponseWriter, r *http.Request) {
			_, _ = rw.Write([]byte{0x30})
			rw.(http.Flusher).Flush()
			select {
			case <-stall:
			case <-r.Context().Done():
			}
		}, "in time"},
		"it redirects for ever": {c, func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/again", http.StatusFound) }, "redirects"},
		"it redirects to a file": {c, func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "ftp://127.0.0.1/x", http.StatusFound)
		}, "only http"},
		"it says a GiB": {c, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1073741824")
			rw.WriteHeader(http.StatusOK)
		}, "at most"},
		"it sends a GiB": {o, func(rw http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 1<<16)
			for range 1 << 14 {
				if _, err := rw.Write(chunk); err != nil {
					return
				}
			}
		}, "more than"},
		"it compresses": {c, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(rw)
			_, _ = z.Write(w.list(1))
			_ = z.Close()
		}, "not a revocation list"},
		"it fails": {c, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) }, "status 500"},
		"it gives another status": {c, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusAccepted)
			_, _ = rw.Write(w.list(1))
		}, "status 202"},
		"it sends control characters": {c, func(rw http.ResponseWriter, r *http.Request) {
			conn, _, err := rw.(http.Hijacker).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte("HTTP/1.1 \x1b[31m\xe2\x80\xae\r\n\r\n"))
				_ = conn.Close()
			}
		}, ""},
	} {
		t.Run(why, func(t *testing.T) {
			w.serve(x.h)
			w.is(w.checker(func(c *Config) {
				if strings.Contains(why, "stalls") {
					c.Timeout = 300 * time.Millisecond
				}
			}), x.c, pki.RevocationUnknown, x.words)
		})
	}
}

func TestAPlaceMaySendUsOnThreeTimes(t *testing.T) {
	for redirects, want := range map[int64]pki.RevocationState{maxRedirects: pki.NotRevoked, maxRedirects + 1: pki.RevocationUnknown} {
		w := newWorld(t)
		var asked atomic.Int64
		w.serve(func(rw http.ResponseWriter, r *http.Request) {
			if asked.Add(1) <= redirects {
				http.Redirect(rw, r, "/on", http.StatusFound)
				return
			}
			_, _ = rw.Write(w.list(1))
		})
		w.is(w.checker(nil), w.listed(), want, "")
	}
}

func TestAddressesInsideAreNotAskedUnlessAllowed(t *testing.T) {
	w := newWorld(t)
	w.serveBytes(w.list(1))
	w.is(w.checker(func(c *Config) { c.Private = false }), w.listed(), pki.RevocationUnknown, "unless that is allowed")
	if w.asked.Load() != 0 {
		t.Error("it was asked all the same")
	}
	for place, words := range map[string]string{
		"http://169.254.169.254/latest":   "is never asked",
		"http://[fe80::1]/":               "is never asked",
		"http://0.0.0.0/":                 "is never asked",
		"http://[::ffff:169.254.169.254]": "is never asked",
		"http://[64:ff9b::a9fe:a9fe]/":    "169.254.169.254 is never asked",
		"http://[2002:a9fe:a9fe::1]/":     "169.254.169.254 is never asked",
		"ldap://127.0.0.1/cn=x":           "only http",
		"http://user:word@127.0.0.1/":     "name in it",
		"/etc/passwd":                     "no URL",
	} {
		w.is(w.checker(nil), w.leaf(mint.Lists(place)), pki.RevocationUnknown, words)
	}
	// From outside nobody is sent inside.
	from := &origin{}
	ctx := context.WithValue(context.Background(), originKey{}, from)
	in := newWeb(true, time.Second)
	if err := in.control(ctx, "tcp", "192.0.2.1:80", nil); err != nil {
		t.Error(err)
	}
	if err := in.control(ctx, "tcp", "10.0.0.1:80", nil); err == nil {
		t.Error("a redirect from outside leads inside")
	}
}

// What gives a machine in a cloud its keys is no place of a list, in whatever form its
// address comes, from a URL, a redirect or a name server that changes its mind.
func TestWhereCloudsTellSecretsIsNeverAsked(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		w := newWeb(allowed, time.Second)
		for _, at := range []string{
			"169.254.169.254:80", "169.254.170.2:80", "[::ffff:169.254.169.254]:80", "[::a9fe:a9fe]:80", "[64:ff9b::a9fe:a9fe]:80", "[64:ff9b:1::a9fe:a9fe]:80",
			"[2002:a9fe:a9fe::]:80", "[fe80::a9fe:a9fe%eth0]:80", "[fd00:ec2::254]:80", "[fd00:ec2::23]:80", "[fd20:ce::254]:80", "[fd00:a9fe:a9fe::1]:80", "[fd00:42::42]:80", "100.100.100.200:80",
			"[::ffff:100.100.100.200]:80", "[64:ff9b::6464:64c8]:80", "168.63.129.16:80", "192.0.0.192:80", "0.0.0.0:80", "0.1.2.3:80", "[::]:80",
			"[::ffff:0.0.0.0]:80", "255.255.255.255:80", "240.0.0.1:80", "224.0.0.1:80", "[ff02::1]:80",
		} {
			if err := w.control(context.Background(), "tcp", at, nil); err == nil || !strings.Contains(err.Error(), "never") {
				t.Errorf("%s, with private addresses %v: %v", at, allowed, err)
			}
		}
		for _, at := range []string{"127.0.0.1:80", "[::1]:80", "[::ffff:10.0.0.1]:80", "10.0.0.1:80", "172.16.0.1:80", "192.168.0.1:80", "100.64.0.1:80", "[fd00::1]:80", "[fec0::1]:80", "[2002:7f00:1::]:80", "[64:ff9b::a00:1]:80"} {
			if err := w.control(context.Background(), "tcp", at, nil); (err == nil) != allowed {
				t.Errorf("%s, with private addresses %v: %v", at, allowed, err)
			}
		}
		for _, at := range []string{"192.0.2.1:80", "[2001:db8::1]:80", "100.128.0.1:80", "[64:ff9b::c000:201]:80"} {
			if err := w.control(context.Background(), "tcp", at, nil); err != nil {
				t.Errorf("%s, with private addresses %v: %v", at, allowed, err)
			}
		}
	}
}

func TestRequestsForOnePlaceAreJoined(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	began, going := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.serve(func(rw http.ResponseWriter, _ *http.Request) {
		once.Do(func() { close(began) })
		<-going
		_, _ = rw.Write(w.list(1))
	})
	k := w.checker(nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { w.is(k, c, pki.NotRevoked, "") })
	}
	<-began
	close(going)
	all.Wait()
	if n := w.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestAnOlderAnswerNeverTakesThePlaceOfANewerOne(t *testing.T) {
	w := newWorld(t)
	c, o := w.listed(), w.ocspLeaf()
	k := w.checker(nil)
	old, oldAnswer := w.list(1), w.answer(o, ocsp.Good, nil)
	w.later(time.Minute)
	again := func(b []byte, c *pki.Certificate, want pki.RevocationState) {
		t.Helper()
		w.serveBytes(b)
		k.mu.Lock()
		for _, it := range k.items {
			it.due = time.Time{}
		}
		k.mu.Unlock()
		w.is(k, c, want, "")
	}
	again(w.list(2, c), c, pki.Revoked)
	again(old, c, pki.Revoked)
	again([]byte("nothing"), c, pki.Revoked)
	again(w.list(3), c, pki.NotRevoked)
	again(w.answer(o, ocsp.Revoked, nil), o, pki.Revoked)
	again(oldAnswer, o, pki.Revoked)
}

func TestNoAnswerOfBeforeCountsOnceThereAreNews(t *testing.T) {
	w := newWorld(t)
	c, o := w.listed(), w.ocspLeaf()
	k := w.checker(nil)
	for _, x := range []struct {
		it *item
		b  []byte
	}{
		{&item{key: key{kind: aList}, issuer: w.issuer(), about: c}, w.list(1, c)},
		{&item{key: key{kind: aResponse}, issuer: w.issuer(), about: o}, w.answer(o, ocsp.Revoked, nil)},
	} {
		before := k.Generation()
		if err := k.take(x.it, x.b, false); err != nil || k.Generation() == before {
			t.Errorf("%v; an answer of before still counts while the news are written to disk", err)
		}
	}
}

func TestAListThatAnybodyMadeStandsInTheWayOfNothing(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	k := w.checker(nil)
	again := func(b []byte, want pki.RevocationState) {
		t.Helper()
		w.serveBytes(b)
		k.mu.Lock()
		for _, it := range k.items {
			it.due = time.Time{}
		}
		k.mu.Unlock()
		w.is(k, c, want, "")
	}
	// It looks as if the issuer had a new key, and its number is higher than any.
	other := mint.Root("Root")
	forged := w.listBy(other, 1<<62, nil)
	again(forged, pki.RevocationUnknown)
	again(w.list(2, c), pki.Revoked)
	again(forged, pki.Revoked)
	// When what the issuer signed has ended, the list of its new key has its turn.
	w.later(25 * time.Hour)
	late := w.listBy(other, 3, nil)
	again(late, pki.RevocationUnknown)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		if it.list == nil || !bytes.Equal(it.list.Raw, late) {
			t.Error("an authority with a new key is not heard any more")
		}
	}
}

func TestWhatIsNeededStillIsAskedForBeforeItIsForgotten(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	w.serveBytes(w.listBy(w.root, 1, func(l *x509.RevocationList) { l.NextUpdate = w.now().Add(30 * 24 * time.Hour) }))
	k := w.checker(nil)
	w.is(k, c, pki.NotRevoked, "")
	// A connection that stands asks when it is told to, and else never.
	defer k.OnChange(func() { k.Evidence(c, w.issuer()) })()
	for range 3 {
		w.later(askAfter + time.Hour)
		if k.due() {
			k.changed()
		}
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			k.mu.Lock()
			followed, fresh := len(k.items) == 1, false
			for _, it := range k.items {
				fresh = it.list != nil && w.now().Sub(it.used) < askAfter
			}
			k.mu.Unlock()
			if fresh {
				break
			}
			if !followed || time.Now().After(end) {
				t.Fatal("nobody was told to ask, and the list is forgotten")
			}
		}
	}
}

func TestFilesAreReadAndReadAgain(t *testing.T) {
	w := newWorld(t)
	a, b := w.leaf(), w.leaf()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one.pem", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: w.list(1, a)}))
	k := w.checker(func(c *Config) { c.Files, c.Fetch = []string{dir}, false })
	var told atomic.Int64
	stop := k.OnChange(func() { told.Add(1) })
	w.is(k, a, pki.Revoked, "")
	w.is(k, b, pki.NotRevoked, "")
	before := k.Generation()
	write("two.crl", w.list(2, a, b))
	k.reread()
	w.is(k, b, pki.Revoked, "")
	if k.Generation() == before || told.Load() != 1 {
		t.Error("nobody was told")
	}
	write("two.crl", []byte("broken"))
	k.reread()
	w.is(k, b, pki.Revoked, "")
	stop()
	write("two.crl", w.list(3))
	k.reread()
	w.is(k, b, pki.NotRevoked, "number 3")
	if told.Load() != 1 {
		t.Error("who stopped to listen is told")
	}
	if _, err := New(Config{Files: []string{filepath.Join(dir, "none")}}); err == nil {
		t.Error("a missing file is taken")
	}
}

// A handshake does not wait unless that is asked for; what it missed is there for the
// next, and nothing that was judged before is remembered over it.
func TestWhatIsMissingIsFetchedByTheSide(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	going := make(chan struct{})
	w.serve(func(rw http.ResponseWriter, _ *http.Request) {
		<-going
		_, _ = rw.Write(w.list(1, c))
	})
	k := w.checker(nil)
	news := make(chan struct{}, 8)
	k.OnChange(func() { news <- struct{}{} })
	q := pki.Question{Chain: []*pki.Certificate{c}, Anchors: pki.NewAnchors(w.issuer()), Purpose: pki.ForServer, At: w.now(),
		Revocation: pki.RevocationSoft, RevocationSource: k, Known: &pki.Known{}}
	k.Await(context.Background(), []*pki.Certificate{c, w.issuer()}) // returns at once
	if v := pki.Verify(q); !v.OK {
		t.Fatal(v.Sentence())
	}
	hard := q
	hard.Revocation = pki.RevocationHard
	if v := pki.Verify(hard); v.Code != code.RevocationUnknown || !strings.Contains(v.Sentence(), "not fetched yet") {
		t.Fatal(v.Sentence())
	}
	close(going)
	select {
	case <-news:
	case <-time.After(time.Minute):
		t.Fatal("no news came")
	}
	if v := pki.Verify(q); v.Code != code.CertificateRevoked {
		t.Error(v.Sentence())
	}
}

func TestAHandshakeThatMayWaitDoesSoForATime(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	w.serveBytes(w.list(1, c))
	k := w.checker(func(c *Config) { c.InHandshake = time.Minute })
	path := []*pki.Certificate{c, w.issuer()}
	k.Await(context.Background(), path)
	if st := pki.RevocationOf(c, w.issuer(), k.Evidence(c, w.issuer()), w.now()); st.State != pki.Revoked {
		t.Error(st.Found)
	}
	stall := make(chan struct{})
	defer close(stall)
	w.serve(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-stall:
		case <-r.Context().Done():
		}
	})
	k = w.checker(func(c *Config) { c.InHandshake = time.Millisecond })
	k.Await(context.Background(), path) // comes back
}

func TestNothingIsAskedAboutAPathThatDoesNotStand(t *testing.T) {
	w := newWorld(t)
	stranger := mint.Root("Stranger")
	c := parsed(t, stranger.Leaf("orders", mint.Lists(w.server.URL)).Chain[0])
	k := w.checker(nil)
	q := pki.Question{Chain: []*pki.Certificate{c, parsed(t, stranger.DER)}, Anchors: pki.NewAnchors(w.issuer()), Purpose: pki.ForServer,
		At: w.now(), Revocation: pki.RevocationHard, RevocationSource: k}
	if v := pki.Verify(q); v.OK || len(k.items) != 0 {
		t.Errorf("%s, and %d places are followed", v.Sentence(), len(k.items))
	}
}

// Whoever holds a certificate can sign others below it, and name places in them: why
// those are refused is found without asking there.
func TestNothingIsAskedAboutWhatWhoMayNotIssueHasIssued(t *testing.T) {
	w := newWorld(t)
	place := mint.Lists(w.server.URL)
	constrained := w.root.Intermediate("Constrained", mint.NameConstraints("example"))
	ended := w.root.Intermediate("Ended", mint.Lifetime(-time.Minute))
	revoked := w.root.Intermediate("Revoked")
	list := filepath.Join(t.TempDir(), "root.crl")
	if err := os.WriteFile(list, w.list(1, parsed(t, revoked.DER)), 0o600); err != nil {
		t.Fatal(err)
	}
	below := func(l *mint.Leaf) *mint.Authority { return &mint.Authority{Cert: l.Cert, Key: l.Key, Chain: l.Chain} }
	for why, chain := range map[string][][]byte{
		"by a leaf":              below(w.root.Leaf("caller")).Leaf("orders", place).Chain,
		"outside of constraints": constrained.Leaf("orders", place).Chain,
		"by one who has ended":   ended.Leaf("orders", place).Chain,
		"by one who is revoked":  revoked.Leaf("orders", place).Chain,
	} {
		k := w.checker(func(c *Config) { c.Files = []string{list} })
		shown, err := pki.ParseChain(chain)
		if err != nil {
			t.Fatal(err)
		}
		q := pki.Question{Chain: shown, Anchors: pki.NewAnchors(w.issuer()), Purpose: pki.ForServer,
			At: w.now(), Revocation: pki.RevocationHard, RevocationSource: k}
		v := pki.Verify(q)
		for _, h := range k.Held() {
			if h.From == w.server.URL {
				t.Errorf("%s: a place is followed", why)
			}
		}
		if v.OK || len(v.Paths) == 0 || len(v.Paths[0].Chain) != 3 {
			t.Errorf("%s: %s", why, v.Sentence())
		}
	}
}

func TestWhatEndsIsFetchedBeforeAndFailuresArePaused(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	w.serveBytes(w.list(1))
	k := w.checker(nil)
	w.is(k, c, pki.NotRevoked, "")
	var it *item
	for _, it = range k.items {
	}
	if left := it.to.Sub(it.due); left <= 0 || left > 7*time.Hour {
		t.Errorf("fetched again %v before its end", left)
	}
	w.serve(http.NotFound)
	var last time.Duration
	for range 12 {
		k.mu.Lock()
		it.due = time.Time{}
		k.mu.Unlock()
		w.is(k, c, pki.NotRevoked, "")
		pause := it.due.Sub(w.now())
		if pause < last/2 || pause > 3*maxPause/2 {
			t.Errorf("a pause of %v after one of %v", pause, last)
		}
		last = pause
	}
	if last < maxPause-time.Minute { // time goes on between the two looks
		t.Errorf("the pause is %v in the end", last)
	}
	k.mu.Lock()
	it.used = w.now().Add(-2 * forgetAfter)
	k.mu.Unlock()
	before := k.Generation()
	k.wake <- struct{}{}
	for end := time.Now().Add(time.Minute); k.Generation() == before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what nobody asks for is followed for ever")
		}
	}
}

// An authority that makes a list a year makes one at once when it has to.
func TestAListOfAYearIsLookedForDaily(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	w.serveBytes(w.listBy(w.root, 1, func(l *x509.RevocationList) { l.NextUpdate = l.NextUpdate.AddDate(1, 0, 0) }))
	k := w.checker(nil)
	w.is(k, c, pki.NotRevoked, "")
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, it := range k.items {
		if wait := it.due.Sub(w.now()); wait > maxRefresh || wait < maxRefresh/2 {
			t.Errorf("fetched again after %v", wait)
		}
	}
}

// Lists with what finds their entries, and responses, count as what they take.
func TestWhatIsKeptIsCounted(t *testing.T) {
	w := newWorld(t)
	k := w.checker(nil)
	held := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		sum := 0
		for _, it := range k.items {
			sum += it.size()
		}
		if sum != k.memory {
			t.Errorf("%d bytes are counted of %d", k.memory, sum)
		}
		return sum
	}
	listed := w.listed()
	list := w.list(1, listed)
	w.serveBytes(list)
	w.is(k, listed, pki.Revoked, "")
	lists := held()
	if lists <= len(list) {
		t.Errorf("a list of %d bytes counts as %d", len(list), lists)
	}
	asked := w.ocspLeaf()
	response := w.answer(asked, ocsp.Good, nil)
	w.serveBytes(response)
	w.is(k, asked, pki.NotRevoked, "")
	if got := held() - lists; got != len(response) {
		t.Errorf("a response of %d bytes counts as %d", len(response), got)
	}
	k.mu.Lock()
	for _, it := range k.items {
		k.forget(it)
	}
	k.mu.Unlock()
	if n := held(); n != 0 {
		t.Errorf("%d bytes of nothing", n)
	}
}
