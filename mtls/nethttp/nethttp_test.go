package nethttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/pki"
)

// house is an authority and what stands under it.
type house struct {
	root    *mint.Authority
	anchors *pki.Anchors
}

func newHouse(t testing.TB) *house {
	t.Helper()
	root := mint.Root("Example Root")
	c, err := pki.Parse(root.DER)
	if err != nil {
		t.Fatal(err)
	}
	return &house{root, pki.NewAnchors(c)}
}

func (h *house) identity(t testing.TB, name string) *mtls.Certificate {
	t.Helper()
	leaf := h.root.Leaf(name)
	c, err := mtls.NewCertificate(leaf.Chain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// patient gives handshakes the time that they take on a busy machine.
func patient() mtls.Common { return mtls.Common{Limits: &mtls.Limits{HandshakeTime: time.Minute}} }

// serve starts a server for the test's time; its address has the host localhost.
func (h *house) serve(t testing.TB, alpn []string, like *http.Server) (address string, s *nethttp.Server) {
	t.Helper()
	m, err := mtls.NewServer(mtls.ServerConfig{
		Identity: h.identity(t, "localhost"), Clients: mtls.Optional(mtls.Authorities(h.anchors)), ALPN: alpn, Common: patient(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = nethttp.NewServer(like)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port), s
}

func (h *house) mtlsClient(t testing.TB, identity mtls.Identity, alpn ...string) *mtls.Client {
	t.Helper()
	c, err := mtls.NewClient(mtls.ClientConfig{Identity: identity, Servers: mtls.Authorities(h.anchors), ALPN: alpn, Common: patient()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *house) client(t testing.TB, identity mtls.Identity, alpn ...string) *http.Client {
	t.Helper()
	tr := nethttp.NewTransport(h.mtlsClient(t, identity, alpn...))
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

// who answers with whom it sees, and by which protocol.
func who(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	name := "nobody"
	if p, ok := nethttp.Peer(r); ok {
		name = p.Name()
	}
	fmt.Fprintf(w, "%s over %s, alpn %q, %d certificates, body %q", name, r.Proto, r.TLS.NegotiatedProtocol, len(r.TLS.PeerCertificates), body)
}

func text(t testing.TB, resp *http.Response, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheProtocolIsWhatBothSidesAgreedOn(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		name           string
		server, client []string
		proto, alpn    string
	}{
		{"both speak both", nethttp.Protocols(), nethttp.Protocols(), "HTTP/2.0", "h2"},
		{"the server speaks HTTP/1.1", []string{"http/1.1"}, nethttp.Protocols(), "HTTP/1.1", "http/1.1"},
		{"the client speaks HTTP/1.1", nethttp.Protocols(), []string{"http/1.1"}, "HTTP/1.1", "http/1.1"},
		{"the server knows no ALPN", nil, nethttp.Protocols(), "HTTP/1.1", ""},
		{"the client knows no ALPN", nethttp.Protocols(), nil, "HTTP/1.1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, _ := h.serve(t, c.server, &http.Server{Handler: http.HandlerFunc(who)})
			client := h.client(t, h.identity(t, "web"), c.client...)
			for range 3 { // the first dials, the others find the connection
				resp, err := client.Post("https://"+address+"/", "text/plain", strings.NewReader("hello"))
				want := fmt.Sprintf(`web over %s, alpn %q, 1 certificates, body "hello"`, c.proto, c.alpn)
				if got := text(t, resp, err); got != want {
					t.Errorf("%s\nwant %s", got, want)
				}
				if resp.Proto != c.proto || resp.TLS == nil || resp.TLS.NegotiatedProtocol != c.alpn {
					t.Errorf("the client sees %s and %+v", resp.Proto, resp.TLS)
				}
				if p, ok := nethttp.Peer(resp.Request); !ok || p.Name() != "localhost" {
					t.Errorf("the client's peer is %v, %v", p.Name(), ok)
				}
			}
		})
	}
}

func TestACallerWithoutACertificateHasNoPeer(t *testing.T) {
	h := newHouse(t)
	address, _ := h.serve(t, nethttp.Protocols(), &http.Server{Handler: http.HandlerFunc(who)})
	resp, err := h.client(t, nil, nethttp.Protocols()...).Get("https://" + address)
	if got, want := text(t, resp, err), `nobody over HTTP/2.0, alpn "h2", 0 certificates, body ""`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// A refusal must not look like an empty answer: TLS 1.3's client is done before
// the server has judged it.
func TestARefusedCallerLearnsWhy(t *testing.T) {
	h, stranger := newHouse(t), newHouse(t)
	for _, alpn := range []string{"h2", "http/1.1"} {
		t.Run(alpn, func(t *testing.T) {
			address, _ := h.serve(t, nethttp.Protocols(), &http.Server{Handler: http.HandlerFunc(who)})
			_, err := h.client(t, stranger.identity(t, "web"), alpn).Get("https://" + address)
			r, ok := mtls.RefusalOf(err)
			if !ok || r.Fault != mtls.PeerRefusedUs || r.Alert.String() != "unknown_ca" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHTTP2IsSpokenOnlyWhereItWasAgreedOn(t *testing.T) {
	h := newHouse(t)
	address, _ := h.serve(t, nethttp.Protocols(), &http.Server{Handler: http.HandlerFunc(who)})
	for _, c := range []struct{ alpn, begin string }{
		{"http/1.1", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"h2", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	} {
		t.Run(c.alpn+" with "+c.begin[:3], func(t *testing.T) {
			var alpn []string
			if c.alpn != "" {
				alpn = []string{c.alpn}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, err := h.mtlsClient(t, nil, alpn...).Dial(ctx, "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// A byte at a time: what is looked for may come in pieces.
			for i := range len(c.begin) {
				if _, err := conn.Write([]byte(c.begin[i : i+1])); err != nil {
					break
				}
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			got, _ := io.ReadAll(conn)
			if bytes.Contains(got, []byte("200")) || bytes.Contains(got, []byte("nobody")) {
				t.Errorf("it was answered: %q", got)
			}
		})
	}
}

func TestShutdownWaitsForWhatIsInFlight(t *testing.T) {
	h := newHouse(t)
	for _, alpn := range []string{"h2", "http/1.1"} {
		t.Run(alpn, func(t *testing.T) {
			started, finish := make(chan struct{}), make(chan struct{})
			address, s := h.serve(t, nethttp.Protocols(), &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(started)
				<-finish
				fmt.Fprint(w, "whole")
			})})
			client := h.client(t, nil, alpn)
			got := make(chan string, 1)
			go func() {
				resp, err := client.Get("https://" + address)
				if err != nil {
					got <- err.Error()
					return
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				got <- string(b)
			}()
			<-started
			down := make(chan error, 1)
			go func() { down <- s.Shutdown(context.Background()) }()
			select {
			case err := <-down:
				t.Fatalf("Shutdown did not wait: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(finish)
			if g := <-got; g != "whole" {
				t.Errorf("the request in flight got %q", g)
			}
			if err := <-down; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestManyCallersShareConnections(t *testing.T) {
	h := newHouse(t)
	for _, alpn := range []string{"h2", "http/1.1"} {
		t.Run(alpn, func(t *testing.T) {
			var conns atomic.Int64
			address, _ := h.serve(t, nethttp.Protocols(), &http.Server{Handler: http.HandlerFunc(who), ConnState: func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					conns.Add(1)
				}
			}})
			client := h.client(t, h.identity(t, "web"), alpn)
			body := strings.Repeat("x", 40000)
			var wait sync.WaitGroup
			for range 20 {
				wait.Go(func() {
					for range 5 {
						resp, err := client.Post("https://"+address, "text/plain", strings.NewReader(body))
						if err != nil {
							t.Error(err)
							return
						}
						b, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || !strings.Contains(string(b), body) {
							t.Errorf("%d bytes, %v", len(b), err)
						}
					}
				})
			}
			wait.Wait()
			if n := conns.Load(); alpn == "h2" && n != 1 {
				t.Errorf("%d connections for 20 callers that can share one", n)
			}
		})
	}
}

// A server that comes back with another protocol is followed, and the request's
// body is not lost on the way.
func TestAServerThatChangesItsProtocolIsFollowed(t *testing.T) {
	h := newHouse(t)
	var now atomic.Value
	one, _ := h.serve(t, []string{"http/1.1"}, &http.Server{Handler: http.HandlerFunc(who)})
	two, _ := h.serve(t, []string{"h2"}, &http.Server{Handler: http.HandlerFunc(who)})
	client := h.mtlsClient(t, h.identity(t, "web"), nethttp.Protocols()...)
	tr := nethttp.NewTransportDial(func(ctx context.Context, _ string) (*mtls.Conn, error) {
		return client.Dial(ctx, "tcp", now.Load().(string))
	}, nil)
	for i, at := range []string{one, two, one} {
		now.Store(at)
		tr.CloseIdleConnections()
		req, _ := http.NewRequest(http.MethodPost, "https://orders/", io.NopCloser(strings.NewReader("kept")))
		resp, err := tr.RoundTrip(req)
		if got := text(t, resp, err); !strings.HasSuffix(got, `body "kept"`) || !strings.Contains(got, "web over HTTP/"+[]string{"1.1", "2.0", "1.1"}[i]) {
			t.Errorf("%d: %s", i, got)
		}
	}
	tr.CloseIdleConnections()
}

type closeCounter struct {
	io.Reader
	closed atomic.Int64
}

func (c *closeCounter) Close() error { c.closed.Add(1); return nil }

func TestThePlainWebIsNotReached(t *testing.T) {
	h := newHouse(t)
	body := &closeCounter{Reader: strings.NewReader("secret")}
	req, _ := http.NewRequest(http.MethodPost, "http://localhost:1/", body)
	_, err := nethttp.NewTransport(h.mtlsClient(t, nil)).RoundTrip(req)
	if err == nil || !strings.Contains(err.Error(), "only https") {
		t.Errorf("got %v", err)
	}
	if body.closed.Load() == 0 {
		t.Error("the body was left open")
	}
}

func TestABodyIsClosedWhereTheServerCannotBeReached(t *testing.T) {
	h := newHouse(t)
	body := &closeCounter{Reader: strings.NewReader("x")}
	// No system gives that port out by itself.
	req, _ := http.NewRequest(http.MethodPost, "https://127.0.0.1:1", body)
	_, err := nethttp.NewTransport(h.mtlsClient(t, nil)).RoundTrip(req)
	if r, ok := mtls.RefusalOf(err); !ok || r.Fault != mtls.Network {
		t.Errorf("got %v", err)
	}
	if body.closed.Load() == 0 {
		t.Error("the body was left open")
	}
}

// When the client's certificate has ended, what stands is drained.
func TestAPeerWhoseAdmissionEndedIsDrained(t *testing.T) {
	h := newHouse(t)
	for _, alpn := range []string{"h2", "http/1.1"} {
		t.Run(alpn, func(t *testing.T) {
			var verdictOK atomic.Bool
			verdictOK.Store(true)
			under := mtls.Authorities(h.anchors)
			m, err := mtls.NewServer(mtls.ServerConfig{
				Identity: h.identity(t, "localhost"), ALPN: nethttp.Protocols(), Common: patient(),
				Clients: mtls.Required(mtls.VerifierFunc(func(ctx context.Context, c *mtls.Claim) (*mtls.Verdict, error) {
					v, err := under.Verify(ctx, c)
					if err != nil || !v.OK {
						return v, err
					}
					ends := *v
					ends.Until = time.Now().Add(300 * time.Millisecond)
					return &ends, nil
				})),
			})
			if err != nil {
				t.Fatal(err)
			}
			l, err := m.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var conns atomic.Int64
			s := nethttp.NewServer(&http.Server{
				ConnState: func(_ net.Conn, s http.ConnState) {
					if s == http.StateNew {
						conns.Add(1)
					}
				},
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/wait" {
						c, _ := nethttp.Conn(r)
						<-c.Context().Done()
					}
					who(w, r)
				})})
			go func() { _ = s.Serve(l) }()
			defer s.Close()
			client := h.client(t, h.identity(t, "web"), alpn)
			base := fmt.Sprintf("https://localhost:%d", l.Addr().(*net.TCPAddr).Port)
			resp, err := client.Get(base + "/wait")
			if got := text(t, resp, err); !strings.HasPrefix(got, "web over") {
				t.Errorf("the request in flight got %q", got)
			}
			resp, err = client.Get(base + "/") // still in grace: answered, and the last one
			text(t, resp, err)
			// HTTP/2's word that it is the last may meet the next request on its way.
			for tries := 0; conns.Load() < 2 && tries < 20; tries++ {
				resp, err = client.Get(base + "/")
				text(t, resp, err)
			}
			if n := conns.Load(); n < 2 {
				t.Errorf("the connection of an ended admission was kept: %d in all", n)
			}
		})
	}
}
