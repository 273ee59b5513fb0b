package interop

import (
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// Deno carries rustls, which has no id-RSASSA-PSS keys and takes no choice of
// suites. So the choice is made on our side.
func deno(t *testing.T, driver string) *script {
	t.Helper()
	s := newScript(t, "deno", driver, "run", "--quiet", "--no-config", "--no-lock", "--allow-net", "--allow-read")
	s.groups = []mtls.Group{suite.X25519MLKEM768, suite.X25519, suite.P256, suite.P384}
	s.keys = []string{"p384", "p521", "ed25519", "rsa2048"}
	s.alert = func(name string) string {
		var words strings.Builder
		for w := range strings.SplitSeq(name, "_") {
			if w == "ca" {
				w = "CA"
			}
			words.WriteString(strings.ToUpper(w[:1]) + w[1:])
		}
		return "received fatal alert: " + words.String()
	}
	s.mayForget = true
	return s
}

// By its node:tls, which asks callers for certificates.

func TestDenoCalls(t *testing.T)              { deno(t, "tls.mjs").callsEveryWay(t) }
func TestDenoServes(t *testing.T)             { deno(t, "tls.mjs").servesEveryWay(t) }
func TestDenoIsRefusedAsAClient(t *testing.T) { deno(t, "tls.mjs").isRefusedAsAClient(t) }
func TestDenoIsRefusedAsAServer(t *testing.T) { deno(t, "tls.mjs").isRefusedAsAServer(t) }
func TestDenoRefusesOurClient(t *testing.T)   { deno(t, "tls.mjs").refusesUsAsAClient(t) }
func TestDenoAgreesOnAProtocol(t *testing.T)  { deno(t, "tls.mjs").agreesOnAProtocol(t) }
func TestDenoOfTLS12IsRefused(t *testing.T)   { deno(t, "tls.mjs").ofOldVersionsIsRefused(t) }

// It offers X25519MLKEM768 without a share.
func TestDenoIsAskedAgainForAHybrid(t *testing.T) {
	deno(t, "tls.mjs").isAskedAgain(t, "", suite.X25519MLKEM768)
}

func TestDenoAsksAgainForAHybrid(t *testing.T) {
	deno(t, "tls.mjs").asksAgain(t, suite.SecP384r1MLKEM1024, suite.X25519MLKEM768)
}

// By its own interface: its client shows a certificate and calls whom it connects
// to; its server asks for none.
func native(t *testing.T) *script {
	t.Helper()
	s := deno(t, "deno.mjs")
	s.server, s.tellsWhy = "localhost", true
	return s
}

func TestDenoConnects(t *testing.T) {
	s := native(t)
	for _, mutual := range []bool{false, true} {
		t.Run(kind(mutual), func(t *testing.T) {
			w := newWorld(t)
			cfg := mtls.ServerConfig{Identity: own(t, w.issuing.Leaf(s.server)), Clients: mtls.Anonymous(), ALPN: []string{"echo"}}
			o := order{ALPN: []string{"other", "echo"}, Send: text}
			peer := ""
			if mutual {
				cfg.Clients, peer = mtls.Required(w.verifier()), "web"
				o.Cert, o.Key = w.files(w.issuing.Leaf("web"), "web")
			}
			port, result := w.serveOnce(cfg, len(text))
			it, out := s.connect(t, w, port, o)
			us := await(t, result)
			if us.err != nil || us.got != text || us.peer != peer || us.neg.Group != suite.X25519MLKEM768 || us.neg.ALPN != "echo" {
				t.Errorf("we saw %d bytes of %q, %+v: %v", len(us.got), us.peer, us.neg, us.err)
			}
			if it.Got != text || it.Error != "" || it.Agreed == nil || it.Agreed.ALPN != "echo" {
				t.Errorf("it says\n%s", out)
			}
		})
	}
}

func kind(mutual bool) string {
	if mutual {
		return "mutual"
	}
	return "server-only"
}

func TestDenoListens(t *testing.T) {
	w := newWorld(t)
	o := order{ALPN: []string{"echo"}}
	o.Cert, o.Key = w.files(w.issuing.Leaf("orders"), "orders")
	p, port := native(t).listen(t, o)
	conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web")), ALPN: []string{"other", "echo"}}, port)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, []byte(text), []byte(text)); err != nil {
		t.Fatal(err)
	}
	if n := conn.Negotiated(); n.Group != suite.X25519MLKEM768 || n.ALPN != "echo" || n.ClientAuthenticated {
		t.Errorf("agreed on %+v", n)
	}
	p.Await(`"alpn":"echo"`)
}

func TestDenoConnectsAndIsRefused(t *testing.T) { native(t).isRefusedAsAClient(t) }
func TestDenoListensAndIsRefused(t *testing.T)  { native(t).isRefusedAsAServer(t) }
func TestDenoRefusesOurServer(t *testing.T)     { native(t).refusesUsAsAServer(t) }
