package interop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// Raw public keys (RFC 7250), each end known by its key.

// bare is an end without a certificate: ours, and its files for the other program.
type bare struct {
	own            *mtls.Certificate
	key, pub, sum  string // files; the SHA-256 of the key, hexadecimal
	public         []byte
	cert           string // a certificate of the key that nobody gets to see
	fingerprint256 [sha256.Size]byte
}

func (w *world) bare(name string) *bare {
	w.t.Helper()
	l := mint.SelfSigned(name)
	c, err := mtls.NewRawKey(l.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	b := &bare{own: c, pub: filepath.Join(w.dir, name+".pub"), public: c.RawKey(), fingerprint256: sha256.Sum256(c.RawKey())}
	b.cert, b.key = w.files(l, name+"-raw")
	b.sum = hex.EncodeToString(b.fingerprint256[:])
	if err := os.WriteFile(b.pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b.public}), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// knows is a verifier that knows the one key.
func (b *bare) knows(name string) mtls.Verifier {
	return mtls.RawKeys(map[[sha256.Size]byte]string{b.fingerprint256: name})
}

// shows checks that the program printed the key.
func (b *bare) shown(t *testing.T, output string) {
	t.Helper()
	k, err := x509.ParsePKIXPublicKey(b.public)
	if err != nil {
		t.Fatal(err)
	}
	point, err := k.(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	digits := strings.NewReplacer(":", "", " ", "", "\n", "", "\t", "").Replace(strings.ToLower(output))
	if !strings.Contains(digits, hex.EncodeToString(point)) {
		t.Errorf("it does not show our key:\n%s", output)
	}
}

func TestOpenSSLKnowsRawKeys(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	t.Run("it calls", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		web, orders := w.bare("web"), w.bare("orders")
		port, result := w.serveOnce(mtls.ServerConfig{Identity: orders.own, Clients: mtls.Required(web.knows("web"))}, 5)
		p := w.typed([]string{openssl, "s_client", "-connect", "127.0.0.1:" + strconv.Itoa(port), "-servername", "orders", "-enable_server_rpk", "-enable_client_rpk",
			"-cert", web.cert, "-key", web.key, "-dane_tlsa_domain", "orders", "-dane_tlsa_rrdata", "3 1 1 " + orders.sum, "-verify_return_error"}, "bare\n")
		p.Await("\nbare\n")
		p.Stop()
		if o := await(t, result); o.err != nil || o.peer != "web" || !o.neg.ClientAuthenticated {
			t.Errorf("%+v", o)
		}
		says(t, p.Output(), "Server-to-client raw public key negotiated")
		says(t, p.Output(), "Client-to-server raw public key negotiated")
		says(t, p.Output(), "Verify return code: 0 (ok)")
		orders.shown(t, p.Output())
	})
	t.Run("it calls, and knows another", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		orders := w.bare("orders")
		port, result := w.serveOnce(mtls.ServerConfig{Identity: orders.own, Clients: mtls.Anonymous()}, 5)
		out, code := peers.Run(t, "", openssl, "s_client", "-connect", "127.0.0.1:"+strconv.Itoa(port), "-servername", "orders", "-enable_server_rpk",
			"-dane_tlsa_domain", "orders", "-dane_tlsa_rrdata", "3 1 1 "+w.bare("another").sum, "-verify_return_error")
		if code == 0 {
			t.Errorf("it took us:\n%s", out)
		}
		refusedUs(t, nil, await(t, result).err, "bad_certificate")
	})
	t.Run("it serves", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		web, orders := w.bare("web"), w.bare("orders")
		p, port := w.sServer(openssl, orders.cert, orders.key, "-enable_server_rpk", "-enable_client_rpk", "-Verify", "1")
		conn, err := w.call(mtls.ClientConfig{Servers: orders.knows("orders"), Identity: web.own}, port)
		if err != nil {
			t.Fatal(err)
		}
		if err := exchange(conn, []byte("stressed\n"), []byte("desserts\n")); err != nil {
			t.Fatal(err)
		}
		if peer, _ := conn.Peer(); peer.Name() != "orders" || peer.RawKey == nil || !conn.Negotiated().ClientAuthenticated {
			t.Errorf("%+v, %+v", peer, conn.Negotiated())
		}
		p.Await("Peer used raw public key")
	})
}

func TestGnuTLSKnowsRawKeys(t *testing.T) {
	priority := []string{"--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CTYPE-ALL:+CTYPE-SRV-RAWPK:+CTYPE-CLI-RAWPK"}
	for _, version := range []string{"gnutls", "gnutls38"} {
		t.Run(version+" calls", func(t *testing.T) {
			cli := peers.Need(t, version+"-cli")
			t.Parallel()
			w := newWorld(t)
			web, orders := w.bare("web"), w.bare("orders")
			port, result := w.serveOnce(mtls.ServerConfig{Identity: orders.own, Clients: mtls.Required(web.knows("web"))}, 5)
			// It has no way to be told which key to expect.
			p := w.typed(append([]string{cli, "--port", strconv.Itoa(port), "--sni-hostname", "orders", "--insecure", "127.0.0.1",
				"--rawpkkeyfile", web.key, "--rawpkfile", web.pub}, priority...), "bare\n")
			p.Await("\nbare\n")
			p.Stop()
			if o := await(t, result); o.err != nil || o.peer != "web" || !o.neg.ClientAuthenticated {
				t.Errorf("%+v", o)
			}
			says(t, p.Output(), "(TLS1.3-Raw Public Key)", "Certificate type: Raw Public Key")
		})
		t.Run(version+" serves", func(t *testing.T) {
			serv := peers.Need(t, version+"-serv")
			t.Parallel()
			w := newWorld(t)
			web, orders := w.bare("web"), w.bare("orders")
			port := peers.FreePort(t)
			p := peers.Start(t, nil, serv, append([]string{"--echo", "--port", strconv.Itoa(port), "--require-client-cert",
				"--rawpkkeyfile", orders.key, "--rawpkfile", orders.pub}, priority...)...)
			p.AwaitListening(port)
			conn, err := w.call(mtls.ClientConfig{Servers: orders.knows("orders"), Identity: web.own}, port)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("bare\n"), []byte("bare\n")); err != nil {
				t.Fatal(err)
			}
			if peer, _ := conn.Peer(); peer.Name() != "orders" || peer.RawKey == nil || !conn.Negotiated().ClientAuthenticated {
				t.Errorf("%+v, %+v", peer, conn.Negotiated())
			}
			p.Await("Raw Public Key")
		})
	}
}
