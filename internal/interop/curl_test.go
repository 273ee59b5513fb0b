package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/policy"
)

// site is an HTTPS server called "orders" that curl is sent to.
type site struct {
	address string
	// refused awaits that a caller was refused with the code on its alert.
	refused func(t *testing.T, alert string)
}

// who answers with what came: by which protocol, from whom, and how much.
func who(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	name := "somebody"
	if r.TLS != nil {
		name = "nobody"
		if p, ok := nethttp.Peer(r); ok {
			name = p.Name()
		}
	}
	fmt.Fprintf(w, "%s %s over %s sent %d bytes\n", name, r.Method, r.Proto, n)
}

// byLibrary is a site of net/http over mtls.
func (w *world) byLibrary(mutual bool) *site {
	w.t.Helper()
	clients := mtls.Anonymous()
	if mutual {
		rules, err := policy.Parse([]string{"web"}, "")
		if err != nil {
			w.t.Fatal(err)
		}
		clients = mtls.Required(mtls.Allow(w.verifier(), rules))
	}
	refusals := make(chan *mtls.Refusal, 16)
	s := w.server(mtls.ServerConfig{Identity: own(w.t, w.issuing.Leaf("orders")), Clients: clients, ALPN: nethttp.Protocols(),
		Refused: func(_ net.Addr, r *mtls.Refusal) { refusals <- r }})
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	server := nethttp.NewServer(&http.Server{Handler: http.HandlerFunc(who)})
	go func() { _ = server.Serve(l) }()
	w.t.Cleanup(func() { _ = server.Close() })
	return &site{l.Addr().String(), func(t *testing.T, alert string) {
		t.Helper()
		weRefused(t, <-refusals, alert)
	}}
}

// byGateway is a plain site behind the real program.
func (w *world) byGateway(mutual bool) *site {
	w.t.Helper()
	plain := httptest.NewUnstartedServer(http.HandlerFunc(who))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	w.t.Cleanup(plain.Close)
	args := []string{"--alpn", "h2,http/1.1"}
	if !mutual {
		args = append([]string{"--client-auth", "none"}, args...)
	}
	p, address := w.gateway(plain.Listener.Addr().String(), args...)
	return &site{address, func(t *testing.T, alert string) {
		t.Helper()
		p.Await(fmt.Sprintf(`"alert":%q`, alert))
	}}
}

var sites = map[string]func(w *world, mutual bool) *site{"library": (*world).byLibrary, "gateway": (*world).byGateway}

// curl asks for https://orders/ at the site.
func (w *world) curl(program string, s *site, args ...string) (string, int) {
	w.t.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		w.t.Fatal(err)
	}
	return peers.Run(w.t, "", program, append([]string{"-sS", "--cacert", w.ca, "--noproxy", "*", "--resolve", "orders:" + port + ":127.0.0.1", "https://orders:" + port + "/"}, args...)...)
}

var httpVersions = map[string]string{"--http1.1": "HTTP/1.1", "--http2": "HTTP/2.0"}

func TestCurlIsServed(t *testing.T) {
	curl := peers.Need(t, "curl")
	for by, start := range sites {
		for _, mutual := range []bool{false, true} {
			for flag, proto := range httpVersions {
				t.Run(fmt.Sprintf("%s/mutual %v/%s", by, mutual, proto), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					s := start(w, mutual)
					args, name := []string{flag}, "nobody"
					if mutual {
						cert, key := w.files(w.issuing.Leaf("web", mint.Key("p384")), "web")
						args, name = append(args, "--cert", cert, "--key", key), "web"
					}
					if by == "gateway" {
						name = "somebody" // it tells its service nothing, yet
					}
					// Two requests over one connection, and much at once.
					out, code := w.curl(curl, s, append(args, "https://orders:"+s.address[strings.LastIndex(s.address, ":")+1:]+"/again")...)
					if want := strings.Repeat(fmt.Sprintf("%s GET over %s sent 0 bytes\n", name, proto), 2); code != 0 || out != want {
						t.Errorf("exit %d, %q, expected %q", code, out, want)
					}
					out, code = w.curl(curl, s, append(args, "--data-binary", "@"+w.blob(3<<20))...)
					if want := fmt.Sprintf("%s POST over %s sent %d bytes\n", name, proto, 3<<20); code != 0 || out != want {
						t.Errorf("exit %d, %q, expected %q", code, out, want)
					}
				})
			}
		}
	}
}

// curl says the alert, and not that the connection was reset or that the reply
// was empty, whether it had little to send or much.
func TestCurlIsRefused(t *testing.T) {
	curl := peers.Need(t, "curl")
	for by, start := range sites {
		for _, c := range troubles {
			if c.byServer == "" {
				continue
			}
			t.Run(by+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				s := start(w, true)
				var own []string
				if l := c.leaf(w, "web"); l != nil {
					cert, key := w.files(l, "caller")
					own = []string{"--cert", cert, "--key", key}
				}
				for flag, proto := range httpVersions {
					for what, send := range map[string][]string{"a question": nil, "much": {"--data-binary", "@" + w.blob(3<<20)}} {
						out, code := w.curl(curl, s, append(append([]string{flag}, own...), send...)...)
						s.refused(t, c.byServer)
						if code != 55 && code != 56 || !strings.Contains(out, curlAlert[c.byServer]) {
							t.Errorf("with %s over %s: exit %d, %q", what, proto, code, out)
						}
					}
				}
			})
		}
	}
}

// curlAlert is how OpenSSL puts an alert in words.
var curlAlert = map[string]string{
	"certificate_required": "alert certificate required", "unknown_ca": "alert unknown ca", "certificate_expired": "alert certificate expired",
	"unsupported_certificate": "alert unsupported certificate", "access_denied": "alert access denied",
}

func TestCurlRefusesAServerUnderAnotherName(t *testing.T) {
	curl := peers.Need(t, "curl")
	w := newWorld(t)
	s := w.byLibrary(false)
	_, port, _ := net.SplitHostPort(s.address)
	out, code := peers.Run(t, "", curl, "-sS", "--cacert", w.ca, "--noproxy", "*", "--resolve", "payments:"+port+":127.0.0.1", "https://payments:"+port+"/")
	if code != 60 || !strings.Contains(out, "payments") {
		t.Errorf("exit %d, %q", code, out)
	}
}
