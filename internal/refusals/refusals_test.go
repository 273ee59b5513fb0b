package refusals

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// refused is how a server refuses a client.
func refused(t *testing.T, client *mint.Leaf, trusted *mint.Authority) *mtls.Refusal {
	t.Helper()
	root := mint.Root("Example Root")
	leaf := root.Leaf("orders")
	own, err := mtls.NewCertificate(leaf.Chain, leaf.Key)
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := pki.Parse(trusted.DER)
	if err != nil {
		t.Fatal(err)
	}
	server, err := mtls.NewServer(mtls.ServerConfig{Identity: own, Clients: mtls.Required(mtls.Authorities(pki.NewAnchors(anchor)))})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		c := tls.Client(theirs, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: client.Chain, PrivateKey: client.Key}}})
		_ = c.Handshake()
		_, _ = c.Read(make([]byte, 1))
		_ = c.Close()
	}()
	_, err = server.Accept(t.Context(), ours)
	r, ok := mtls.RefusalOf(err)
	if !ok {
		t.Fatalf("admitted, or failed in another way: %v", err)
	}
	return r
}

// A log line holds nothing of a certificate that could speak to a terminal, or pass
// for another line.
func TestAPeersStringsAreEscapedInTheLog(t *testing.T) {
	const hostile = "\x1b[2Jevil\u202egnp.\u2066\r\nlevel=INFO msg=\"all is well\"\u009b31m\x7f\u2028"
	ascii := strings.Map(func(r rune) rune {
		if r > 0x7f {
			return -1
		}
		return r
	}, hostile)
	evil := mint.Root(hostile)
	for what, r := range map[string]*mtls.Refusal{
		"a stranger":             refused(t, evil.Leaf(ascii, mint.CommonName(hostile)), mint.Root("Another Root")),
		"an ended certificate":   refused(t, evil.Leaf(ascii, mint.CommonName(hostile), mint.Lifetime(-1)), evil),
		"outside of constraints": refused(t, evil.Intermediate(hostile, mint.NameConstraints("example.com")).Leaf(ascii), evil),
		"without names":          refused(t, evil.Leaf(ascii, mint.Names(), mint.CommonName(hostile), mint.KeyUsage(1<<5)), evil),
	} {
		for _, kind := range []string{"text", "json"} {
			var b bytes.Buffer
			handler := slog.Handler(slog.NewTextHandler(&b, nil))
			if kind == "json" {
				handler = slog.NewJSONHandler(&b, nil)
			}
			New(slog.New(handler), slog.LevelInfo).Tell("192.0.2.1:1", r)
			line := b.String()
			if !strings.HasSuffix(line, "\n") || strings.Count(line, "\n") != 1 {
				t.Errorf("%s, %s: not one line: %q", what, kind, line)
			}
			for _, c := range strings.TrimSuffix(line, "\n") {
				if c < ' ' || c > '~' {
					t.Errorf("%s, %s lets %U through: %q", what, kind, c, line)
					break
				}
			}
			if kind == "json" && !json.Valid(b.Bytes()) {
				t.Errorf("%s: no JSON: %s", what, line)
			}
		}
	}
}
