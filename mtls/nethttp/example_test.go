package nethttp_test

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/pki"
)

// A server that knows its callers by name, and a caller that knows its server.
func Example() {
	anchors, orders, web := credentials() // from files: mtls.LoadCertificate, pki.ParsePEM

	server, err := mtls.NewServer(mtls.ServerConfig{
		Identity: orders,
		Clients:  mtls.Required(mtls.Authorities(anchors)),
		ALPN:     nethttp.Protocols(),
	})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := server.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		_ = nethttp.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller, _ := nethttp.Peer(r)
			fmt.Fprintf(w, "hello %s, by %s", caller.Name(), r.Proto)
		}))
	}()
	defer listener.Close()

	client, err := mtls.NewClient(mtls.ClientConfig{
		Identity: web,
		Servers:  mtls.Authorities(anchors),
		ALPN:     nethttp.Protocols(),
	})
	if err != nil {
		log.Fatal(err)
	}
	transport := nethttp.NewTransport(client)
	defer transport.CloseIdleConnections()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	resp, err := (&http.Client{Transport: transport}).Get("https://localhost:" + port)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	fmt.Println(string(answer))
	// Output: hello web, by HTTP/2.0
}

func credentials() (anchors *pki.Anchors, orders, web *mtls.Certificate) {
	root := mint.Root("Example Root")
	anchor, err := pki.Parse(root.DER)
	if err != nil {
		log.Fatal(err)
	}
	of := func(name string) *mtls.Certificate {
		leaf := root.Leaf(name)
		c, err := mtls.NewCertificate(leaf.Chain, leaf.Key)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	return pki.NewAnchors(anchor), of("localhost"), of("web")
}
