package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// A server that keeps its judgement to itself costs its first caller some time, and
// the next ones little; one of ours is waited for all the while that it needs.
func TestASilentServerIsWaitedForLongOnce(t *testing.T) {
	t.Parallel()
	root := mint.Root("Example Root")
	authorities := trusting(t, root)
	client, err := mtls.NewClient(mtls.ClientConfig{Identity: own(t, root.Leaf("web")), Servers: authorities})
	if err != nil {
		t.Fatal(err)
	}
	connect := func(serve func(net.Conn)) *mtls.Conn {
		t.Helper()
		here, there := net.Pipe()
		go serve(there)
		conn, err := client.Connect(t.Context(), here, "orders")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Abort() })
		return conn
	}
	pool := x509.NewCertPool()
	pool.AddCert(root.Cert)
	leaf := root.Leaf("orders")
	silent := func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: leaf.Chain, PrivateKey: leaf.Key}},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, SessionTicketsDisabled: true})
		_, _ = io.Copy(io.Discard, s)
		_ = s.Close()
	}
	ours, err := mtls.NewServer(mtls.ServerConfig{Identity: own(t, root.Leaf("orders")), Clients: mtls.Required(authorities)})
	if err != nil {
		t.Fatal(err)
	}
	telling := func(c net.Conn) {
		if s, err := ours.Accept(t.Context(), c); err == nil {
			_, _ = io.Copy(io.Discard, s)
			_ = s.Close()
		}
	}
	var a admission
	for range 2 {
		if err := a.of(t.Context(), connect(silent)); err != nil || !a.silent.Load() {
			t.Fatalf("%v; the server is taken for a silent one: %v", err, a.silent.Load())
		}
	}
	for a.silent.Load() { // it has little time now, and may need more
		if err := a.of(t.Context(), connect(telling)); err != nil {
			t.Fatal(err)
		}
	}
}
