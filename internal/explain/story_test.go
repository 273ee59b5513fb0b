package explain

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

func TestStoriesReadAsTheyShould(t *testing.T) {
	w := newWorld(t)
	years := mint.Valid(noon.Add(-time.Hour), noon.AddDate(10, 0, 0))
	another := mint.Root("Another Root", years)
	require := func(c *mtls.ServerConfig) { c.Clients = mtls.Required(mtls.Authorities(w.anchors)) }
	for name, c := range map[string]struct {
		server func(*mtls.ServerConfig)
		client func(*Target)
		code   string // "" where it stands
	}{
		"mutual":            {require, func(g *Target) { g.Identity = shown(t, w.web) }, ""},
		"one-sided":         {nil, nil, ""},
		"alpn":              {func(c *mtls.ServerConfig) { c.ALPN = []string{"h2"} }, func(g *Target) { g.ALPN = []string{"h2", "http/1.1"} }, ""},
		"optional":          {func(c *mtls.ServerConfig) { c.Clients = mtls.Optional(mtls.Authorities(w.anchors)) }, nil, ""},
		"retry":             {func(c *mtls.ServerConfig) { c.Groups = []mtls.Group{suite.P384} }, nil, ""},
		"no certificate":    {require, nil, "M0501"},
		"wrong certificate": {require, func(g *Target) { g.Identity = shown(t, another.Leaf("web", valid)) }, "M0502"},
		"wrong name":        {nil, func(g *Target) { g.ServerName = "billing.example.com" }, "M0105"},
		"unknown authority": {nil, func(g *Target) { g.Anchors = anchors(t, another) }, "M0103"},
		"expired":           {nil, func(g *Target) { g.Clock = func() time.Time { return noon.AddDate(0, 0, 3) } }, "M0101"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.ours(t)
			if c.server != nil {
				c.server(&cfg)
			}
			target := w.target(serveOurs(t, cfg))
			if c.client != nil {
				c.client(&target)
			}
			s := told(t, target)
			if s.Verdict.Code != c.code || s.Verdict.OK != (c.code == "") {
				t.Errorf("the outcome is %q (%v), expected %q", s.Verdict.Code, s.Verdict.OK, c.code)
			}
			got := text(t, s, Look{})
			golden(t, "story "+name, got)
			checkSafe(t, "the story", got)
		})
	}
}

// A gateway offers to take compressed certificates, and the story still shows the
// message that everybody knows.
func TestOurCertificateIsToldWhole(t *testing.T) {
	w := newWorld(t)
	cfg := w.ours(t)
	cfg.Clients, cfg.Compression.Offer = mtls.Required(mtls.Authorities(w.anchors)), true
	target := w.target(serveOurs(t, cfg))
	target.Identity = shown(t, w.web)
	s := told(t, target)
	if !s.ClientAuthenticated || !strings.Contains(string(text(t, s, Look{})), `"web" for web`) {
		t.Errorf("%+v", s.Verdict)
	}
	for _, step := range s.Steps {
		if step.Message == "CompressedCertificate" {
			t.Error("the certificate is compressed")
		}
	}
}

// TestOtherServersAreToldToo: crypto/tls in each of its ways to treat clients.
func TestOtherServersAreToldToo(t *testing.T) {
	w := newWorld(t)
	stranger := shown(t, mint.Root("Another Root", valid).Leaf("web", valid))
	own := shown(t, w.web)
	expired := shown(t, w.ca.Leaf("web", mint.Valid(noon.Add(-2*time.Hour), noon.Add(-time.Hour))))
	for name, c := range map[string]struct {
		auth     tls.ClientAuthType
		identity mtls.Identity
		admitted string
		code     string
		words    string
	}{
		"does not ask":            {tls.NoClientCert, own, "not asked", "", "did not ask"},
		"asks, shown nothing":     {tls.RequestClientCert, nil, "yes", "", "was shown nothing"},
		"asks, shown one":         {tls.VerifyClientCertIfGiven, own, "yes", "", `talks to "web", and let it in`},
		"requires, shown one":     {tls.RequireAndVerifyClientCert, own, "yes", "", `talks to "web", and let it in`},
		"requires, shown nothing": {tls.RequireAnyClientCert, nil, "no", "M0501", "certificate_required"},
		"requires, shown another": {tls.RequireAndVerifyClientCert, stranger, "no", "M0502", "unknown_ca"},
		"requires, shown an old":  {tls.RequireAndVerifyClientCert, expired, "no", "M0503", "certificate_expired"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.theirs(w.orders)
			cfg.ClientAuth = c.auth
			target := w.target(serve(t, cfg))
			target.Identity = c.identity
			s := told(t, target)
			if s.Verdict.Code != c.code || s.Verdict.Admitted != c.admitted {
				t.Errorf("the outcome is %q, admitted %q; expected %q and %q", s.Verdict.Code, s.Verdict.Admitted, c.code, c.admitted)
			}
			got := string(text(t, s, Look{Width: 200}))
			if !strings.Contains(got, c.words) {
				t.Errorf("the story lacks %q:\n%s", c.words, got)
			}
			if want := c.code == "" && c.identity != nil && c.auth != tls.NoClientCert; s.ClientAuthenticated != want {
				t.Errorf("client_authenticated is %v", s.ClientAuthenticated)
			}
		})
	}
}

func TestSilentServerLeavesTheAdmissionUnknown(t *testing.T) {
	w := newWorld(t)
	cfg := w.theirs(w.orders)
	cfg.ClientAuth = tls.RequestClientCert
	cfg.SessionTicketsDisabled = true
	target := w.target(serve(t, cfg))
	target.Identity, target.Wait = shown(t, w.web), time.Millisecond
	s := told(t, target)
	if !s.Verdict.OK || s.Verdict.Admitted != "unknown" {
		t.Errorf("the outcome is %+v", s.Verdict)
	}
	if got := string(text(t, s, Look{})); !strings.Contains(got, "? admitted  not known") {
		t.Errorf("the story does not say that nobody knows:\n%s", got)
	}
}

func TestFieldsAndBytesAreToldOnDemand(t *testing.T) {
	w := newWorld(t)
	s := told(t, w.target(serveOurs(t, w.ours(t))))
	for _, step := range s.Steps {
		for i, f := range step.Fields {
			switch {
			case steady[0].pattern.MatchString(f.Value), f.Name == "certificate_list", f.Name == "signature", f.Name == "length",
				strings.HasSuffix(f.Value, "of DER"):
				step.Fields[i].Value = "(another each time)"
			}
		}
	}
	golden(t, "fields", text(t, s, Look{Fields: true}))
	var dump int
	for _, step := range s.Steps {
		dump += (len(step.Bytes)+15)/16 + 1
	}
	plain, bytes := text(t, s, Look{}), text(t, s, Look{Bytes: true})
	if got := strings.Count(string(bytes), "\n") - strings.Count(string(plain), "\n"); got != dump {
		t.Errorf("the bytes add %d lines, expected %d", got, dump)
	}
	checkSafe(t, "the dump", bytes)
}

func TestColourIsOnlyWhereItIsAskedFor(t *testing.T) {
	w := newWorld(t)
	s := told(t, w.target(serve(t, w.theirs(w.orders))))
	plain := text(t, s, Look{})
	coloured := text(t, s, Look{Colour: true})
	if bytes.Contains(plain, []byte{0x1b}) {
		t.Error("there is colour where none was asked for")
	}
	for _, i := range []ink{bold, faint, red, green, yellow, cyan, noInk} {
		coloured = bytes.ReplaceAll(coloured, []byte(i), nil)
	}
	if !bytes.Equal(plain, coloured) {
		t.Error("colour changes more than the colour")
	}
}

func TestLinesStayWithinTheWidth(t *testing.T) {
	w := newWorld(t)
	s := told(t, w.target(serve(t, w.theirs(w.orders))))
	for _, width := range []int{60, 80, 100} {
		for line := range strings.Lines(string(text(t, s, Look{Width: width, Fields: true}))) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
				t.Errorf("a line of %d in a width of %d: %q", n, width, line)
			}
		}
	}
}

// keysOf is what an object of JSON has.
func keysOf(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func asJSON(t *testing.T, v any) map[string]any {
	t.Helper()
	var b bytes.Buffer
	if err := WriteJSON(&b, v); err != nil {
		t.Fatal(err)
	}
	checkSafe(t, "the JSON", b.Bytes())
	var out map[string]any
	if err := json.Unmarshal(b.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStoryAsJSONHasWhatScriptsRelyOn(t *testing.T) {
	w := newWorld(t)
	cfg := w.theirs(w.orders)
	cfg.ClientAuth = tls.RequireAndVerifyClientCert
	cfg.NextProtos = []string{"h2"}
	target := w.target(serve(t, cfg))
	target.Identity, target.ALPN = shown(t, w.web), []string{"h2"}
	address := target.Address
	s := asJSON(t, Live(context.Background(), target))
	for key, want := range map[string]any{
		"target": address, "version": "TLS 1.3", "suite": "TLS_AES_128_GCM_SHA256", "group": "X25519MLKEM768",
		"signature": "ecdsa_secp256r1_sha256", "alpn": "h2", "client_authenticated": true,
	} {
		if s[key] != want {
			t.Errorf("%s is %v, expected %v", key, s[key], want)
		}
	}
	if peer := s["peer"].(map[string]any); peer["name"] != "orders.example.com" || peer["proven"] != true {
		t.Errorf("the peer is %v", peer)
	}
	var order []string
	for i, step := range s["steps"].([]any) {
		m := step.(map[string]any)
		order = append(order, m["from"].(string)+" "+m["message"].(string))
		if m["n"] != float64(i+1) || m["words"] == "" {
			t.Errorf("step %d is %v, with the words %q", i+1, m["n"], m["words"])
		}
		for _, f := range m["fields"].([]any) {
			if got := keysOf(f.(map[string]any)); !slices.Equal(got, []string{"bytes", "name", "value"}) {
				t.Errorf("a field has %v", got)
			}
		}
	}
	if want := []string{
		"client ClientHello", "server ServerHello", "server EncryptedExtensions", "server CertificateRequest", "server Certificate",
		"server CertificateVerify", "server Finished", "client Certificate", "client CertificateVerify", "client Finished", "server NewSessionTicket",
	}; !slices.Equal(order, want) {
		t.Errorf("the steps are %q, expected %q", order, want)
	}
	verdict := s["verdict"].(map[string]any)
	if verdict["ok"] != true || verdict["admitted"] != "yes" || len(verdict["paths"].([]any)) != 1 {
		t.Errorf("the verdict is %v", verdict)
	}
}

func TestRefusedStoryAsJSONStillHasItsCertificatesAndChecks(t *testing.T) {
	w := newWorld(t)
	target := w.target(serve(t, w.theirs(w.orders)))
	target.ServerName = "billing.example.com"
	s := asJSON(t, Live(context.Background(), target))
	verdict := s["verdict"].(map[string]any)
	if verdict["ok"] != false || verdict["code"] != "M0105" || verdict["mend"] == "" || verdict["alert"] != "bad_certificate" {
		t.Errorf("the verdict is %v", verdict)
	}
	failed := 0
	for _, p := range verdict["paths"].([]any) {
		for _, k := range p.(map[string]any)["checks"].([]any) {
			if k.(map[string]any)["ok"] == false {
				failed++
			}
		}
	}
	if failed != 1 {
		t.Errorf("%d checks failed, expected the name alone", failed)
	}
	steps := s["steps"].([]any)
	if last := steps[len(steps)-1].(map[string]any); last["message"] != "alert" || last["from"] != "client" {
		t.Errorf("the last step is %v", last)
	}
	if s["client_authenticated"] != false || s["peer"].(map[string]any)["proven"] != false {
		t.Error("a refused peer counts as proven")
	}
}

func TestServersSideTellsTheSameStory(t *testing.T) {
	w := newWorld(t)
	var r Recorder
	server, err := mtls.NewServer(mtls.ServerConfig{
		Identity: shown(t, w.orders), Clients: mtls.Required(mtls.Authorities(w.anchors)),
		Common: mtls.Common{Observer: &r, Clock: func() time.Time { return noon }},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	address := listenWith(t, func(c net.Conn) {
		defer close(done)
		if conn, err := server.Accept(context.Background(), c); err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	})
	target := w.target(address)
	target.Identity = shown(t, w.web)
	theirs := Live(context.Background(), target)
	<-done
	ours := r.Story()
	if !theirs.Verdict.OK {
		t.Fatal(theirs.Verdict.Reason)
	}
	if ours.Peer == nil || ours.Peer.Name != "web" || theirs.Peer.Name != "orders.example.com" {
		t.Errorf("the server met %+v, the client %+v", ours.Peer, theirs.Peer)
	}
	got := string(text(t, ours, Look{}))
	if !strings.Contains(got, "the server judges") || strings.Contains(got, "the client judges") {
		t.Errorf("the server's story does not tell its own judgement:\n%s", got)
	}
	for i := range min(len(ours.Steps), len(theirs.Steps)) {
		if a, b := ours.Steps[i], theirs.Steps[i]; a.Message != b.Message || a.From != b.From || a.Words != b.Words {
			t.Errorf("step %d is %s on one side and %s on the other", i+1, a.Message, b.Message)
		}
	}
}

func TestPeersStringsCantReachTheTerminal(t *testing.T) {
	const evil = "\x1b[2Jevil\u202egnp.\r\n\u009b31m"
	years := mint.Valid(noon.Add(-time.Hour), noon.AddDate(1, 0, 0))
	w := newWorld(t)
	w.root = mint.Root(evil, years)
	leaf := w.root.Leaf("orders.example.com", mint.CommonName(evil), valid)
	cfg := w.theirs(leaf)
	cfg.ClientAuth = tls.RequestClientCert // names its authorities
	cfg.NextProtos = []string{"h2"}
	for name, a := range map[string]*mint.Authority{"trusted": w.root, "unknown": mint.Root("Another", years)} {
		t.Run(name, func(t *testing.T) {
			target := w.target(serve(t, cfg))
			target.Anchors, target.ALPN = anchors(t, a), []string{"h2"}
			s := told(t, target)
			checkSafe(t, "the story", text(t, s, Look{Fields: true, Bytes: true}))
			asJSON(t, s)
			var b bytes.Buffer
			if err := WriteVerdict(&b, evil, s.Verdict.Judgement, Look{}); err != nil {
				t.Fatal(err)
			}
			checkSafe(t, "the verdict", b.Bytes())
		})
	}
}
