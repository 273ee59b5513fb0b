package interop

import (
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
)

// Compressed certificates (RFC 8879).

// packed is the algorithm in which the side sent its certificate; "" for none.
func (h *heard) packed(side observe.Side) string {
	for _, b := range h.from(side, message.TypeCompressedCertificate) {
		var m message.CompressedCertificate
		if m.Parse(b) == nil {
			return m.Algorithm.String()
		}
	}
	return ""
}

// by has us offer and use one algorithm.
func by(a mtls.CompressionAlgorithm, h *heard) mtls.Common {
	return mtls.Common{Observer: h, Compression: mtls.Compression{Offer: true, Algorithms: []mtls.CompressionAlgorithm{a}}}
}

func TestOpenSSLCompressesCertificates(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	// Debian builds it without brotli.
	for _, a := range []mtls.CompressionAlgorithm{mtls.Zlib(), mtls.Zstd()} {
		name := a.Algorithm().String()
		t.Run("it calls, "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			cert, key := w.files(w.issuing.Leaf("web"), "web")
			port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Required(w.verifier()), Common: by(a, h)}, 6)
			out, code := w.sClient(openssl, port, "small\n", "-cert", cert, "-key", key, "-cert_chain", cert)
			if o := await(t, result); o.err != nil || o.peer != "web" || code != 0 {
				t.Errorf("%+v; exit %d:\n%s", o, code, out)
			}
			if ours, theirs := h.packed(observe.Server), h.packed(observe.Client); ours != name || theirs != name {
				t.Errorf("we sent ours by %q, it its by %q", ours, theirs)
			}
		})
		t.Run("it serves, "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			_, port := w.sServer(openssl, cert, key, "-cert_comp", "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
			conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web")), Common: by(a, h)}, port)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("stressed\n"), []byte("desserts\n")); err != nil {
				t.Fatal(err)
			}
			if ours, theirs := h.packed(observe.Client), h.packed(observe.Server); ours != name || theirs != name {
				t.Errorf("we sent ours by %q, it its by %q", ours, theirs)
			}
		})
	}
}

// NSS takes compressed certificates of servers, by zlib.
func TestNSSTakesACompressedCertificate(t *testing.T) {
	w := newWorld(t)
	h := &heard{}
	port, result := w.serveOnce(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{
		Observer: h, Compression: mtls.Compression{Algorithms: brotli.All()},
	}}, 6)
	p := w.typed(w.tstclnt(port, w.database(nil, ""), "--zlib-certificate-compression"), "small\n")
	p.Await("small\n")
	p.Stop()
	if o := await(t, result); o.err != nil || h.packed(observe.Server) != "zlib" {
		t.Errorf("%v; we sent ours by %q", o.err, h.packed(observe.Server))
	}
}
