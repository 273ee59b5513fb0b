package mtls_test

import (
	"errors"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

func TestEitherEndProvesAFurtherIdentity(t *testing.T) {
	h := newHouse(t)
	web, orders := mtls.NewSwap(h.leaf("web")), mtls.NewSwap(h.leaf("orders"))
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Identity, cc.Identity = orders, web
	server, client := met(t, sc, cc)
	web.Set(h.leaf("web.new"))
	orders.Set(certificate(t, h.issuing.Leaf("orders", mint.Key("ed25519"))))
	for name, w := range map[string]struct {
		asks, does *mtls.Conn
		peer       string
	}{
		"the client": {server, client, "web.new"},
		"the server": {client, server, "orders"},
	} {
		request, err := w.asks.AuthenticatorRequest()
		if err != nil {
			t.Fatal(err)
		}
		proof, err := w.does.Authenticate(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.asks.Validate(t.Context(), request, proof)
		if err != nil || p.Peer.Name() != w.peer || !p.Verdict.OK || len(p.Chain) == 0 || p.Scheme == 0 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if _, err := w.asks.Validate(t.Context(), request, proof); !errors.Is(err, mtls.ErrNotRequested) {
			t.Errorf("%s, a second time: %v", name, err)
		}
		if _, err := w.does.Authenticate(t.Context(), request); !errors.Is(err, mtls.ErrContextUsed) {
			t.Errorf("%s is asked twice: %v", name, err)
		}
	}
	// Nothing of the connection has changed.
	if p, _ := server.Peer(); p.Name() != "web" {
		t.Errorf("the peer is %q", p.Name())
	}
	// A server says it unasked, too.
	proof, err := server.Authenticate(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := client.Validate(t.Context(), nil, proof); err != nil || p.Scheme.String() != "ed25519" {
		t.Errorf("unasked: %+v, %v", p, err)
	}
	if _, err := client.Authenticate(t.Context(), nil); err == nil {
		t.Error("a client says it unasked")
	}
}

func TestAuthenticatorsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	stranger := certificate(t, mint.Root("Another Root").Leaf("web"))
	web := mtls.NewSwap(h.leaf("web"))
	sc, cc := h.serverConfig(), h.clientConfig()
	cc.Identity = web
	server, client := met(t, sc, cc)
	other, _ := met(t, sc, cc)
	ask := func() []byte {
		request, err := server.AuthenticatorRequest()
		if err != nil {
			t.Fatal(err)
		}
		return request
	}
	web.Set(stranger)
	request := ask()
	proof, err := client.Authenticate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Validate(t.Context(), request, proof)
	if r := refusal(t, err); r.Verdict == nil || r.HasAlert || r.Fault != mtls.OurPolicy {
		t.Errorf("another authority: %+v", r)
	}
	web.Set(h.leaf("web"))
	request = ask()
	if proof, err = client.Authenticate(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Validate(t.Context(), request, proof); !errors.Is(err, mtls.ErrNotRequested) {
		t.Errorf("another connection: %v", err)
	}
	proof[len(proof)-1] ^= 1
	_, err = server.Validate(t.Context(), request, proof)
	if r := refusal(t, err); r.Fault != mtls.PeerMisbehaved || r.HasAlert || r.Code != "M0209" {
		t.Errorf("a forged one: %+v", r)
	}
	_, err = client.Authenticate(t.Context(), []byte{1, 2, 3})
	if r := refusal(t, err); r.Fault != mtls.PeerMisbehaved {
		t.Errorf("a request of three bytes: %+v", r)
	}
	// None is an answer, too.
	sc, cc = h.serverConfig(), h.clientConfig()
	sc.Clients, cc.Identity = mtls.OnRequest(h.verifier()), nil
	server, client = met(t, sc, cc)
	request = ask()
	if proof, err = client.Authenticate(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Validate(t.Context(), request, proof); !errors.Is(err, mtls.ErrNoIdentity) {
		t.Errorf("none: %v", err)
	}
	_ = client.Close()
	if _, err := client.Authenticate(t.Context(), ask()); err == nil {
		t.Error("a closed connection proves something")
	}
	if _, err := client.AuthenticatorRequest(); err == nil {
		t.Error("a closed connection asks")
	}
}
