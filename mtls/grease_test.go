package mtls_test

import (
	"crypto/tls"
	"testing"

	"github.com/mutual-tls/mutual/mtls"
)

// A stack that keeps to the rules does not mind what it does not know, in whatever
// order it comes.
func TestOthersStandValuesThatMeanNothing(t *testing.T) {
	h := newHouse(t)
	orders, web := h.issuing.Leaf("orders"), h.issuing.Leaf("web")
	data := noise(1 << 10)
	t.Run("they serve", func(t *testing.T) {
		for range 8 {
			st, ct := loopback(t)
			served := make(chan error, 1)
			go func() {
				served <- echo(tls.Server(st, &tls.Config{
					Certificates: []tls.Certificate{foreign(orders)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool(h.root),
					NextProtos: []string{"h2"},
				}))
			}()
			c := newClient(t, mtls.ClientConfig{
				Servers: h.verifier(), Identity: certificate(t, web), ALPN: []string{"h2"},
				PermuteExtensions: true, Common: mtls.Common{GREASE: true},
			})
			conn, err := c.Connect(t.Context(), ct, "orders")
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, data); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("they call", func(t *testing.T) {
		sc := mtls.ServerConfig{Identity: certificate(t, orders), Clients: mtls.Required(h.verifier()), Common: mtls.Common{GREASE: true}}
		st, ct := loopback(t)
		served := make(chan error, 1)
		go func() {
			conn, err := newServer(t, sc).Accept(t.Context(), st)
			if err == nil {
				err = echo(conn)
			}
			served <- err
		}()
		std := tls.Client(ct, &tls.Config{RootCAs: pool(h.root), ServerName: "orders", Certificates: []tls.Certificate{foreign(web)}})
		if err := exchange(std, data); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

func TestOurTwoEndsAgreeOverValuesThatMeanNothing(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.GREASE, cc.GREASE, cc.PermuteExtensions = true, true, true
	met(t, sc, cc)
}
