package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// Whatever is wrong with a request has a code, an id that finds it in the log, and
// changes nothing.
func TestAWrongRequestChangesNothingAndIsLogged(t *testing.T) {
	w := newWorld(t)
	web := w.joined("web")
	joining, agent, nobody := w.web(nil, api.ALPNJoin), w.web(web, api.ALPN), w.web(nil, api.ALPN)
	csr, _ := request(t)
	foreign, _ := request(t, "orders")
	weakKey, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weakKey)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := bytes.Clone(csr)
	unsigned[len(unsigned)-1] ^= 1
	k := w.token("web")
	tokenText, _ := k.MarshalText()
	was := w.record()
	for _, c := range []struct {
		name, method, path string
		who                *http.Client
		body               io.Reader
		status             int
		code               code.Code
	}{
		{"no JSON", "POST", api.PathJoin, joining, strings.NewReader("{token"), 400, code.RequestMalformed},
		{"nothing", "POST", api.PathJoin, joining, nil, 400, code.RequestMalformed},
		{"two of them", "POST", api.PathJoin, joining, strings.NewReader("{}{}"), 400, code.RequestMalformed},
		{"a bracket behind", "POST", api.PathJoin, joining, strings.NewReader("{}]"), 400, code.RequestMalformed},
		{"deep JSON", "POST", api.PathJoin, joining, strings.NewReader(strings.Repeat("[", 60000)), 400, code.RequestMalformed},
		{"a token that is none", "POST", api.PathJoin, joining, strings.NewReader(`{"token":"x"}`), 400, code.RequestMalformed},
		{"too much", "POST", api.PathJoin, joining, strings.NewReader(`{"csr":"` + strings.Repeat("A", api.MaxBody) + `"}`), 413, code.RequestTooLarge},
		{"too much of unknown length", "POST", api.PathJoin, joining, io.MultiReader(strings.NewReader(strings.Repeat(" ", api.MaxBody)), strings.NewReader("{}")), 413, code.RequestTooLarge},
		{"no request", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: []byte("no request")}), 400, code.RequestMalformed},
		{"no proof of the key", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: unsigned}), 400, code.RequestMalformed},
		{"a weak key", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: weak}), 422, code.KeyNotAccepted},
		{"another's name", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: foreign}), 403, code.NameNotGranted},
		{"a token of nobody's", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{CSR: csr}), 403, code.TokenUnknown},
		{"a second of life", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: csr, Lifetime: 1}), 422, code.OutsideProfile},
		{"a life that overflows", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: csr, Lifetime: 1 << 62}), 400, code.OutsideProfile},
		{"a life below nothing", "POST", api.PathJoin, joining, asJSON(t, api.JoinRequest{Token: k, CSR: csr, Lifetime: -1}), 400, code.OutsideProfile},
		{"joining by the other protocol", "POST", api.PathJoin, agent, asJSON(t, api.JoinRequest{Token: k, CSR: csr}), 403, code.NotAllowedToEnrol},
		{"renewing by the protocol of joining", "POST", api.PathRenew, joining, asJSON(t, api.RenewRequest{CSR: csr}), 403, code.NotAllowedToEnrol},
		{"renewing as nobody", "POST", api.PathRenew, nobody, asJSON(t, api.RenewRequest{CSR: csr}), 403, code.NotAllowedToEnrol},
		{"renewing to another's name", "POST", api.PathRenew, agent, asJSON(t, api.RenewRequest{CSR: foreign}), 403, code.NameNotGranted},
		{"following as nobody", "GET", api.PathUpdates, nobody, nil, 403, code.NotAllowedToEnrol},
		{"following by the protocol of joining", "GET", api.PathUpdates, joining, nil, 403, code.NotAllowedToEnrol},
		{"following too much", "GET", api.PathUpdates + "?service=a" + strings.Repeat("&service=a", maxServices), agent, nil, 400, code.RequestMalformed},
		{"asking as nobody", "GET", api.PathService + "web", nobody, nil, 403, code.NotAllowedToEnrol},
		{"a service that is none", "GET", api.PathService + "nothing", agent, nil, 404, code.ServiceUnknown},
		{"another's addresses", "PUT", api.PathService + "orders", agent, asJSON(t, api.Registration{Addresses: []string{"127.0.0.1:1"}}), 403, code.NotTheHolder},
		{"the authority's addresses", "PUT", api.PathService + "authority", agent, asJSON(t, api.Registration{Addresses: []string{"127.0.0.1:1"}}), 403, code.NotTheHolder},
		{"no addresses", "PUT", api.PathService + "web", agent, asJSON(t, api.Registration{}), 422, code.RequestMalformed},
		{"no port", "PUT", api.PathService + "web", agent, asJSON(t, api.Registration{Addresses: []string{"127.0.0.1"}}), 400, code.RequestMalformed},
		{"a name for an address", "PUT", api.PathService + "web", agent, asJSON(t, api.Registration{Addresses: []string{"a b:1"}}), 400, code.RequestMalformed},
		{"addresses without end", "PUT", api.PathService + "web", agent, asJSON(t, api.Registration{Addresses: make([]string, 1000)}), 400, code.RequestMalformed},
		{"an unknown path", "GET", "/v1/keys", agent, nil, 404, code.UnknownPath},
		{"the administrator's path", "POST", api.PathAdminTokens, agent, asJSON(t, api.TokenRequest{Name: "x"}), 404, code.UnknownPath},
		{"another method", "DELETE", api.PathService + "web", agent, nil, 404, code.UnknownPath},
		{"a method of nobody's", "BREW", api.PathJoin, joining, nil, 404, code.UnknownPath},
		{"a way round", "GET", "/v1/../admin/status", agent, nil, 404, code.UnknownPath},
		{"two slashes", "POST", "//v1/join", joining, nil, 404, code.UnknownPath},
		{"the root", "GET", "/", nobody, nil, 404, code.UnknownPath},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, p, _ := w.ask(c.who, c.method, c.path, c.body)
			w.refused(status, p, c.status, c.code)
			if now := w.record(); now != was {
				t.Errorf("on record is %s, and was %s", now, was)
			}
		})
	}
	if w.book.line(string(tokenText)) != "" {
		t.Error("the log has a token")
	}
	// The token is unspent after all of it, and an answer that is played again is
	// the same answer.
	body, err := io.ReadAll(asJSON(t, api.JoinRequest{Token: k, CSR: csr}))
	if err != nil {
		t.Fatal(err)
	}
	status, _, first := w.ask(joining, "POST", api.PathJoin, bytes.NewReader(body))
	again, _, second := w.ask(joining, "POST", api.PathJoin, bytes.NewReader(body))
	if status != 200 || again != 200 || !bytes.Equal(first, second) {
		t.Errorf("%d, %d: %s\n%s", status, again, first, second)
	}
	if status, _, _ := w.ask(nobody, "GET", api.PathCRL, nil); status != 200 {
		t.Errorf("the lists are not for everybody: %d", status)
	}
}

func TestOnlyTheTwoProtocolsAreSpoken(t *testing.T) {
	w := newWorld(t)
	for _, alpn := range []string{"h2", "http/1.1", "mutual/2"} {
		if c, err := w.connect(nil, alpn); err == nil {
			c.Close()
			t.Errorf("%s was agreed on", alpn)
		} else if r, ok := mtls.RefusalOf(err); !ok || r.Code != string(code.RefusedALPN) {
			t.Errorf("%s: %v", alpn, err)
		}
	}
	w.await("the log says so", func() bool { return w.book.line(string(code.NoCommonALPN), "mutual/2", `"id"`) != "" })
}

// say writes to a connection, and reads one answer.
func say(t testing.TB, c *mtls.Conn, text string) *http.Response {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsNoHTTPIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"huge headers":      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"many headers":      {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X-Header: a value of some length\r\n", 1500) + "\r\n", 431},
		"words":             {"hello there\r\n\r\n", 400},
		"two lengths":       {"POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400},
		"any option":        {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 404},
		"a way to anywhere": {"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n", 404},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := w.connect(nil, api.ALPNJoin)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if r := say(t, conn, c.text); r.StatusCode != c.status {
				t.Errorf("%s", r.Status)
			}
		})
	}
}

// A certificate that has ended may renew for 30 days and do nothing else; a day
// later it is not let in.
func TestAnEndedCertificateMayOnlyRenew(t *testing.T) {
	w := newWorld(t)
	web, orders := w.joined("web"), w.joined("orders")
	shift := func(d time.Duration) {
		w.clock.move(d)
		w.await("the authority has a new certificate", func() bool {
			c, err := w.connect(nil, api.ALPNJoin)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
	}
	shift(30 * 24 * time.Hour)
	agent := w.web(web, api.ALPN)
	for _, c := range []struct {
		method, path string
		body         io.Reader
	}{
		{"GET", api.PathUpdates, nil},
		{"GET", api.PathService + "web", nil},
		{"PUT", api.PathService + "web", asJSON(t, api.Registration{Addresses: []string{"127.0.0.1:1"}})},
	} {
		status, p, _ := w.ask(agent, c.method, c.path, c.body)
		w.refused(status, p, 403, code.NotAllowedToEnrol)
	}
	csr, _ := request(t)
	if status, _, b := w.ask(agent, "POST", api.PathRenew, asJSON(t, api.RenewRequest{CSR: csr})); status != 200 {
		t.Errorf("%d %s", status, b)
	}
	shift(25 * time.Hour)
	conn, err := w.connect(orders, api.ALPN)
	if err == nil {
		err = conn.Admitted(w.ctx)
		conn.Close()
	}
	if r, ok := mtls.RefusalOf(err); !ok || r.Code != string(code.RefusedCertificateExpired) {
		t.Errorf("%v", err)
	}
}

func TestARevokedCertificateIsShownTheDoor(t *testing.T) {
	w := newWorld(t)
	web := w.joined("web")
	standing, err := w.connect(web, api.ALPN)
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	if err := standing.Admitted(w.ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ca.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
		t.Fatal(err)
	}
	_ = standing.SetReadDeadline(time.Now().Add(peers.Patience))
	_, err = standing.Read(make([]byte, 1))
	if r, ok := mtls.RefusalOf(err); !ok || r.Code != string(code.RefusedCertificateRevoked) {
		t.Errorf("what stood: %v", err)
	}
	conn, err := w.connect(web, api.ALPN)
	if err == nil {
		err = conn.Admitted(w.ctx)
		conn.Close()
	}
	if r, ok := mtls.RefusalOf(err); !ok || r.Code != string(code.RefusedCertificateRevoked) {
		t.Errorf("what is new: %v", err)
	}
}

// Whoever sends slowly takes no place from those who work.
func TestSlowSendersKeepNobodyOut(t *testing.T) {
	w := newWorld(t)
	for range maxBusy + 1 {
		conn, err := w.connect(nil, api.ALPNJoin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
	}
	w.joined("web")
	if n := len(w.server.busy); n != 0 {
		t.Errorf("%d places are taken", n)
	}
}

func TestASlowSenderIsCut(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 15 seconds")
	}
	t.Parallel()
	w := newWorld(t)
	conn, err := w.connect(nil, api.ALPNJoin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := say(t, conn, "POST /v1/join HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{")
	if r.StatusCode != http.StatusBadRequest || !r.Close {
		t.Errorf("%s, to be closed: %v", r.Status, r.Close)
	}
	if w.book.line("not in time", string(code.RequestMalformed)) == "" {
		t.Error("the log does not say so")
	}
}

// narrow is a listener whose connections hold little that nobody reads: else the
// system would take in thousands of answers first, and the authority work for all
// of them.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	c, err := n.Listener.Accept()
	if err == nil {
		narrowed(c)
	}
	return c, err
}

func narrowed(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
		_ = tcp.SetWriteBuffer(4 << 10)
	}
}

// Whoever asks and asks, and never reads an answer, is waited for by its own
// connection alone: it takes no place from those who work, and changes nothing.
func TestSlowReadersKeepNobodyOut(t *testing.T) {
	w := newWorldAt(t, func(l net.Listener) net.Listener { return narrow{l} })
	before := w.record()
	many := strings.Repeat("GET "+api.PathCRL+" HTTP/1.1\r\nHost: a\r\n\r\n", 500)
	for range 3 {
		conn, err := w.connect(nil, api.ALPNJoin)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Abort() // it is stuck, and meant to be
		narrowed(conn.NetConn())
		for stuck := false; !stuck; { // until the authority can't answer, and so reads no more
			_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
			_, err := io.WriteString(conn, many)
			stuck = err != nil
		}
	}
	w.await("no place is taken", func() bool { return len(w.server.busy) == 0 })
	if after := w.record(); after != before {
		t.Errorf("on record is\n%s\nand was\n%s", after, before)
	}
	w.joined("web")
}

func TestTooManyRequestsAreToldSo(t *testing.T) {
	w := newWorld(t)
	joining := w.web(nil, api.ALPNJoin)
	for range maxBusy {
		w.server.busy <- struct{}{}
	}
	status, p, _ := w.ask(joining, "GET", api.PathCRL, nil)
	w.refused(status, p, 503, code.AuthorityBusy)
	if _, err := w.admin().Status(w.ctx); err != nil {
		t.Errorf("a port that is flooded can't be administered: %v", err)
	}
	<-w.server.busy
	if status, _, _ := w.ask(joining, "GET", api.PathCRL, nil); status != 200 {
		t.Errorf("%d with a place free", status)
	}
	for range maxWaiting {
		w.server.waiting <- struct{}{}
	}
	status, p, _ = w.ask(w.web(w.joined("web"), api.ALPN), "GET", api.PathUpdates, nil)
	w.refused(status, p, 503, code.AuthorityBusy)
}

// A wait for updates is longer than any time that a request may take to come.
func TestAWaitForUpdatesLastsItsTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 25 seconds")
	}
	t.Parallel()
	w := newWorld(t)
	agent := w.web(w.joined("web"), api.ALPN)
	if status, _, b := w.ask(agent, "GET", api.PathUpdates, nil); status != 200 { // the first list is made
		t.Fatalf("%d %s", status, b)
	}
	begun, since := time.Now(), w.ca.Revision()
	status, _, b := w.ask(agent, "GET", api.PathUpdates+"?since="+since, nil)
	if status != 200 || !bytes.Contains(b, []byte(`"revision":"`+since+`"`)) || time.Since(begun) < api.Wait-time.Second {
		t.Errorf("%d after %v: %q", status, time.Since(begun), b)
	}
}

func TestAWaitForUpdatesEndsWithAChangeAndWithAStop(t *testing.T) {
	w := newWorld(t)
	agent := w.web(w.joined("web"), api.ALPN)
	if status, _, b := w.ask(agent, "GET", api.PathUpdates, nil); status != 200 {
		t.Fatalf("%d %s", status, b)
	}
	wait := func() <-chan string {
		since, got := w.ca.Revision(), make(chan string, 1)
		go func() {
			resp, err := agent.Get("https://authority" + api.PathUpdates + "?since=" + since)
			if err != nil {
				got <- err.Error()
				return
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			got <- fmt.Sprint(resp.StatusCode, " ", !strings.Contains(string(b), `"revision":"`+since+`"`))
		}()
		w.await("it waits", func() bool { return len(w.server.waiting) == 1 })
		return got
	}
	changed := wait()
	w.joined("orders")
	if _, err := w.ca.Revoke(w.ctx, api.RevokeRequest{Target: "orders"}); err != nil {
		t.Fatal(err)
	}
	if got := <-changed; got != "200 true" {
		t.Errorf("after a change: %s", got)
	}
	w.await("nobody waits", func() bool { return len(w.server.waiting) == 0 })
	stopped := wait()
	w.halt()
	if got := <-stopped; got != "200 false" {
		t.Errorf("after a stop: %s", got)
	}
}

// A stop that comes while callers are judged again cuts nobody.
func TestAStopDuringASecondLookCutsNobody(t *testing.T) {
	w := newWorld(t)
	conn, err := w.connect(w.joined("web"), api.ALPN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w.await("it stands", func() bool { return w.server.port.Standing() == 1 })
	stopped, stop := context.WithCancel(w.ctx)
	stop()
	w.server.lookAgain(stopped)
	if n := w.server.port.Standing(); n != 1 {
		t.Errorf("%d stand, and 1 before", n)
	}
}

func TestAPanicStaysWithItsRequest(t *testing.T) {
	w := newWorld(t)
	w.server.config.Advertise = nil
	broken := w.server.guarded
	out, err := broken(func(r *http.Request) (any, error) { panic("a bug") }, nil)
	if out != nil || err == nil {
		t.Errorf("%v, %v", out, err)
	}
	if w.book.line("a bug", string(code.Internal), "stack") == "" {
		t.Error("the log does not say so")
	}
}

func TestWhoAsksAndGoesFreesTheWait(t *testing.T) {
	w := newWorld(t)
	agent := w.web(w.joined("web"), api.ALPN)
	w.ask(agent, "GET", api.PathUpdates, nil)
	for try := 1; ; try++ {
		ctx, cancel := context.WithCancel(w.ctx)
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://authority"+api.PathUpdates+"?since="+w.ca.Revision(), nil)
		done := make(chan error, 1)
		go func() {
			resp, err := agent.Do(req)
			if err == nil {
				b, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				err = fmt.Errorf("it was answered: %s %s", resp.Status, b)
			}
			done <- err
		}()
		w.await("it waits, or was answered", func() bool { return len(w.server.waiting) == 1 || len(done) == 1 })
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			break
		}
		if try == 5 { // there was news, each time
			t.Fatal(err)
		}
	}
	w.await("its place is free", func() bool { return len(w.server.waiting) == 0 })
}
