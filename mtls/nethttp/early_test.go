package nethttp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// earlyServer serves with early data on, at an address that stays.
type earlyServer struct {
	address string
	stop    func()
}

// address is one at which a server can take over from another: in between nobody else
// is given its port.
func address(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t))
}

func (h *earlyHouse) serveEarly(t testing.TB, at string, keys *mtls.TicketKeys, takes *mtls.ServerEarlyData, alpn string, set func(*nethttp.Server), f http.HandlerFunc) earlyServer {
	t.Helper()
	m, err := mtls.NewServer(mtls.ServerConfig{
		Identity: h.server, Clients: mtls.Required(h.verifier), ALPN: []string{alpn},
		Resumption: &mtls.ServerResumption{Keys: keys, EarlyData: takes}, Common: h.common(),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := m.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := nethttp.NewServer(&http.Server{Handler: f})
	set(s)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	var stopped atomic.Bool
	stop := func() {
		if stopped.Swap(true) {
			return
		}
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return earlyServer{l.Addr().String(), stop}
}

// ask carries out a request over a new connection.
func ask(t testing.TB, tr *nethttp.Transport, method, address string, early bool, body io.Reader) (string, mtls.EarlyData) {
	t.Helper()
	tr.CloseIdleConnections()
	ctx := t.Context()
	if early {
		ctx = nethttp.WithEarly(ctx)
	}
	_, port, _ := net.SplitHostPort(address)
	req, err := http.NewRequestWithContext(ctx, method, "https://localhost:"+port+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	got := text(t, resp, err)
	c, ok := nethttp.Conn(resp.Request)
	if !ok {
		t.Fatal("no connection")
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, got), c.Negotiated().EarlyData
}

func TestRequestsAreSentEarlyWhereBothSidesSaySo(t *testing.T) {
	for _, alpn := range []string{"http/1.1", "h2"} {
		for name, c := range map[string]struct {
			set    func(*nethttp.Server)
			method string
			early  bool
			body   string
			status string
			// asked is how often the handler is, marked whether its last request was
			// marked; data is what became of early data.
			asked  int32
			marked bool
			data   mtls.EarlyData
		}{
			"both": {set: func(s *nethttp.Server) { s.TakeEarly(nil) }, method: "GET", early: true,
				status: "200 hello web", asked: 1, marked: true, data: mtls.EarlyAccepted},
			"the server waits": {set: func(*nethttp.Server) {}, method: "GET", early: true,
				status: "200 hello web", asked: 1, data: mtls.EarlyAccepted},
			"the client does not ask": {set: func(s *nethttp.Server) { s.TakeEarly(nil) }, method: "GET",
				status: "200 hello web", asked: 1, data: mtls.NoEarlyData},
			"a method that is not safe": {set: func(s *nethttp.Server) { s.TakeEarly(nil) }, method: "DELETE", early: true,
				status: "200 hello web", asked: 1, data: mtls.NoEarlyData},
			"a body": {set: func(s *nethttp.Server) { s.TakeEarly(nil) }, method: "GET", early: true, body: "x",
				status: "200 hello web", asked: 1, data: mtls.NoEarlyData},
		} {
			t.Run(alpn+"/"+name, func(t *testing.T) {
				h := newEarlyHouse(t)
				var asked atomic.Int32
				var marked atomic.Bool
				s := h.serveEarly(t, "127.0.0.1:0", nil, &mtls.ServerEarlyData{}, alpn, c.set, func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					marked.Store(nethttp.Early(r))
					p, _ := nethttp.Peer(r)
					fmt.Fprint(w, "hello ", p.Name())
				})
				tr := h.transport(t, alpn)
				if got, _ := ask(t, tr, "GET", s.address, c.early, nil); got != "200 hello web" || asked.Swap(0) != 1 {
					t.Fatal(got)
				}
				var body io.Reader
				if c.body != "" {
					body = strings.NewReader(c.body)
				}
				got, data := ask(t, tr, c.method, s.address, c.early, body)
				if got != c.status || data != c.data || asked.Load() != c.asked || alpn == "http/1.1" && marked.Load() != c.marked {
					t.Errorf("%s; asked %d times, marked %v, early data %v", got, asked.Load(), marked.Load(), data)
				}
			})
		}
	}
}

// A request that the server does not take early is sent again by the transport,
// when the handshake is over.
func TestARequestThatIsNotTakenEarlyComesAgain(t *testing.T) {
	for _, alpn := range []string{"http/1.1", "h2"} {
		h := newEarlyHouse(t)
		keys, err := mtls.NewTicketKeys(0)
		if err != nil {
			t.Fatal(err)
		}
		var asked atomic.Int32
		hello := func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			fmt.Fprint(w, "hello")
		}
		take := func(s *nethttp.Server) { s.TakeEarly(nil) }
		s := h.serveEarly(t, address(t), keys, &mtls.ServerEarlyData{}, alpn, take, hello)
		tr := h.transport(t, alpn)
		if got, _ := ask(t, tr, "GET", s.address, true, nil); got != "200 hello" {
			t.Fatal(got)
		}
		s.stop()
		h.serveEarly(t, s.address, keys, nil, alpn, take, hello)
		asked.Store(0)
		if got, _ := ask(t, tr, "GET", s.address, true, nil); got != "200 hello" || asked.Load() != 1 {
			t.Errorf("%s: %s, asked %d times", alpn, got, asked.Load())
		}
	}
}

// 425 (Too Early) is answered by asking again, once, and not early.
func TestTooEarlyIsAskedAgain(t *testing.T) {
	h := newEarlyHouse(t)
	var asked atomic.Int32
	s := h.serveEarly(t, "127.0.0.1:0", nil, &mtls.ServerEarlyData{}, "http/1.1", func(s *nethttp.Server) { s.TakeEarly(nil) },
		func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if nethttp.Early(r) {
				w.WriteHeader(http.StatusTooEarly)
				return
			}
			fmt.Fprint(w, "hello")
		})
	tr := h.transport(t, "http/1.1")
	ask(t, tr, "GET", s.address, true, nil)
	asked.Store(0)
	if got, _ := ask(t, tr, "GET", s.address, true, nil); got != "200 hello" || asked.Load() != 2 {
		t.Errorf("%s, asked %d times", got, asked.Load())
	}
}

// A client that sends early what is not safe gets 425, and the handler is not
// asked, unless it said that it may be.
func TestAnUnsafeRequestThatComesEarlyIsTooEarly(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		h := newEarlyHouse(t)
		var asked atomic.Int32
		s := h.serveEarly(t, "127.0.0.1:0", nil, &mtls.ServerEarlyData{}, "http/1.1", func(s *nethttp.Server) {
			s.TakeEarly(func(r *http.Request) bool { return allowed && r.URL.Path == "/twice" })
		}, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); fmt.Fprint(w, "done") })
		tr := h.transport(t, "http/1.1")
		ask(t, tr, "GET", s.address, false, nil)
		asked.Store(0)
		_, port, _ := net.SplitHostPort(s.address)
		c, err := h.caller.DialEarly(t.Context(), "tcp", "localhost:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		if _, err := c.WriteEarly([]byte("POST /twice HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatal(err)
		}
		want, times := "HTTP/1.1 425", int32(0)
		if allowed {
			want, times = "HTTP/1.1 200", 1
		}
		if string(b) != want || asked.Load() != times {
			t.Errorf("allowed %v: %q, asked %d times", allowed, b, asked.Load())
		}
	}
}

// earlyHouse is a house with one server and one caller, whose clocks stand: a ticket's
// age must not differ by how long a busy machine takes.
type earlyHouse struct {
	*house
	now      time.Time
	server   *mtls.Certificate
	verifier mtls.Verifier
	caller   *mtls.Client
}

func newEarlyHouse(t testing.TB) *earlyHouse {
	h := &earlyHouse{house: newHouse(t), now: time.Now()}
	h.server, h.verifier = h.identity(t, "localhost"), mtls.Authorities(h.anchors)
	return h
}

func (h *earlyHouse) common() mtls.Common {
	c := patient()
	c.Clock = func() time.Time { return h.now }
	return c
}

func (h *earlyHouse) transport(t testing.TB, alpn string) *nethttp.Transport {
	t.Helper()
	c, err := mtls.NewClient(mtls.ClientConfig{
		Identity: h.identity(t, "web"), Servers: h.verifier, ALPN: []string{alpn}, Resumption: &mtls.ClientResumption{}, Common: h.common(),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.caller = c
	tr := nethttp.NewTransport(c)
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
