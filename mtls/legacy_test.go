package mtls_test

import (
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// A client's key that can't do RSASSA-PSS proves itself where the server takes
// that, and nowhere else; a server's never does.
func TestClientsMaySignByPKCS1WhereBothSidesWantIt(t *testing.T) {
	h := newHouse(t)
	for _, scheme := range suite.LegacySchemes() {
		web, err := certificate(t, h.issuing.Leaf("web", mint.Key("rsa2048"))).Signing(scheme)
		if err != nil {
			t.Fatal(err)
		}
		sc, cc := h.serverConfig(), h.clientConfig()
		cc.Identity, sc.LegacyPKCS1 = web, true
		server, _ := met(t, sc, cc)
		if got := server.Negotiated().Scheme; got != scheme {
			t.Errorf("signed with %v", got)
		}
		// A client that did not choose it does not use it.
		cc.Identity = h.leaf("web", mint.Key("rsa2048"))
		if server, _ = met(t, sc, cc); server.Negotiated().Scheme.IsLegacy() {
			t.Error("PKCS #1 was used unasked")
		}
		cc.Identity, sc.LegacyPKCS1 = web, false
		if _, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders"); serr == nil || cerr == nil {
			t.Error("a server that does not want it took it")
		}
		sc = mtls.ServerConfig{Identity: web, Clients: mtls.Anonymous()}
		if _, _, serr, _ := meet(t, newServer(t, sc), newClient(t, h.clientConfig()), "orders"); serr == nil {
			t.Error("a server signed with it")
		}
	}
	if _, err := certificate(t, h.issuing.Leaf("web")).Signing(suite.PKCS1WithSHA256Legacy); err == nil {
		t.Error("an ECDSA key signs with it")
	}
}
