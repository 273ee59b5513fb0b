package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
)

// Deno's rustls neither takes compressed certificates nor knows ECH. That of impit,
// an HTTP client, does the one and greases the other (RFC 9849, section 6.2), as
// browsers do.
func TestRustlsTakesACompressedCertificateAndGreases(t *testing.T) {
	node, impit := peers.Need(t, "node26"), peers.Need(t, "impit.node")
	w := newWorld(t)
	h := &heard{}
	cfg := w.hidden(echKey(t))
	cfg.Identity = own(t, w.issuing.Leaf("localhost"))
	cfg.Observer, cfg.Compression.Algorithms = h, brotli.All()
	port, all := w.page(cfg)
	out, code := peers.Run(t, "", node, filepath.Join("testdata", "impit.cjs"), impit, fmt.Sprintf("https://localhost:%d/", port))
	if code != 0 || !strings.Contains(out, welcome) {
		t.Errorf("exit %d: %s", code, out)
	}
	if o := await(t, all); o.err != nil || o.neg.ServerName != "localhost" || o.neg.ECH != mtls.ECHRejected {
		t.Errorf("%+v", o)
	}
	if by := h.packed(observe.Server); by != "brotli" {
		t.Errorf("our certificate went by %q", by)
	}
}
