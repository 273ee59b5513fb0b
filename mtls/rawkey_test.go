package mtls_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

func rawKey(t testing.TB, l *mint.Leaf) *mtls.Certificate {
	t.Helper()
	c, err := mtls.NewRawKey(l.Key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// knowing is a verifier that knows the keys by these names.
func knowing(names map[string]*mtls.Certificate) mtls.Verifier {
	sums := map[[sha256.Size]byte]string{}
	for name, c := range names {
		sums[sha256.Sum256(c.RawKey())] = name
	}
	return mtls.RawKeys(sums)
}

func TestBareKeysProveBothEnds(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []string{"p256", "ed25519", "rsa2048", "mldsa44", "mldsa65", "mldsa87"} {
		orders, web := rawKey(t, h.issuing.Leaf("orders", mint.Key(kind))), rawKey(t, h.issuing.Leaf("web", mint.Key(kind)))
		server, client := met(t,
			mtls.ServerConfig{Identity: orders, Clients: mtls.Required(knowing(map[string]*mtls.Certificate{"web": web}))},
			mtls.ClientConfig{Identity: web, Servers: knowing(map[string]*mtls.Certificate{"orders": orders})})
		for conn, want := range map[*mtls.Conn]string{server: "web", client: "orders"} {
			peer, ok := conn.Peer()
			if !ok || peer.Name() != want || peer.RawKey == nil || peer.Leaf != nil || conn.PeerChain() != nil {
				t.Errorf("%s: the peer is %+v, proven %v", kind, peer, ok)
			}
		}
	}
}

// One way a bare key, the other way a chain.
func TestABareKeyMeetsAChain(t *testing.T) {
	h := newHouse(t)
	web := rawKey(t, h.issuing.Leaf("web"))
	server, _ := met(t,
		mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(mtls.AnyOf(h.verifier(), knowing(map[string]*mtls.Certificate{"web": web})))},
		mtls.ClientConfig{Identity: web, Servers: h.verifier()})
	if peer, _ := server.Peer(); peer.Name() != "web" || peer.RawKey == nil {
		t.Errorf("the client is %+v", peer)
	}
	// And who has a chain still comes in by it.
	server, _ = met(t,
		mtls.ServerConfig{Identity: mtls.Choose(web, h.leaf("orders")), Clients: mtls.Required(mtls.AnyOf(h.verifier(), knowing(map[string]*mtls.Certificate{"web": web})))},
		h.clientConfig())
	if peer, _ := server.Peer(); peer.Leaf == nil || peer.RawKey != nil {
		t.Errorf("the client is %+v", peer)
	}
}

func TestBareKeysThatAreNotTaken(t *testing.T) {
	h := newHouse(t)
	web, other, orders := rawKey(t, h.issuing.Leaf("web")), rawKey(t, h.issuing.Leaf("web")), rawKey(t, h.issuing.Leaf("orders"))
	known := map[string]*mtls.Certificate{"web": web}
	for name, c := range map[string]struct {
		sc   mtls.ServerConfig
		cc   mtls.ClientConfig
		code string
		says string
	}{
		"a key that nobody knows": {
			mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(knowing(known))},
			mtls.ClientConfig{Identity: other, Servers: h.verifier()}, "M0122", "",
		},
		"where a chain is wanted": {
			mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(h.verifier())},
			mtls.ClientConfig{Identity: web, Servers: h.verifier()}, "M0308", "RawPublicKey",
		},
		"a chain where a key is wanted": {
			mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(knowing(known))},
			h.clientConfig(), "M0308", "X509",
		},
		"another server's key": {
			mtls.ServerConfig{Identity: orders, Clients: mtls.Anonymous()},
			mtls.ClientConfig{Servers: knowing(map[string]*mtls.Certificate{"billing": orders})}, "", "billing",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, serr, cerr := meet(t, newServer(t, c.sc), newClient(t, c.cc), "orders")
			if serr == nil || cerr == nil {
				t.Fatalf("server: %v; client: %v", serr, cerr)
			}
			r := refusal(t, serr)
			if c.code == "" {
				r = refusal(t, cerr)
			} else if r.Code != c.code {
				t.Errorf("%s: %v", r.Code, r)
			}
			if !strings.Contains(r.Error(), c.says) {
				t.Errorf("%q does not say %q", r.Error(), c.says)
			}
		})
	}
}

// A verifier of the caller's that never heard of bare keys sees none, and so can't
// fall over one.
func TestAVerifierThatDoesNotAskSeesNoBareKey(t *testing.T) {
	h := newHouse(t)
	web := rawKey(t, h.issuing.Leaf("web"))
	asked := false
	custom := mtls.VerifierFunc(func(_ context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		asked = true
		return &mtls.Verdict{OK: true}, nil
	})
	swap := mtls.NewSwapVerifier(knowing(map[string]*mtls.Certificate{"web": web}))
	s := newServer(t, mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(mtls.AnyOf(custom, swap))})
	server, _, serr, cerr := meet(t, s, newClient(t, mtls.ClientConfig{Identity: web, Servers: h.verifier()}), "orders")
	if serr != nil || cerr != nil {
		t.Fatalf("server: %v; client: %v", serr, cerr)
	}
	// And when it is the only one left, the standing peer has to go.
	swap.Set(custom)
	s.Recheck(t.Context())
	if <-server.Context().Done(); asked {
		t.Error("it was asked")
	}
}

func TestASessionWithABareKeyIsResumed(t *testing.T) {
	h := newHouse(t)
	orders, web := rawKey(t, h.issuing.Leaf("orders")), rawKey(t, h.issuing.Leaf("web"))
	swap := mtls.NewSwapVerifier(knowing(map[string]*mtls.Certificate{"web": web}))
	s := newServer(t, mtls.ServerConfig{Identity: orders, Clients: mtls.Required(swap), Resumption: &mtls.ServerResumption{}})
	c := newClient(t, mtls.ClientConfig{Identity: web, Servers: knowing(map[string]*mtls.Certificate{"orders": orders}), Resumption: &mtls.ClientResumption{}})
	p := newPlace(t)
	at := func(resumed bool) {
		t.Helper()
		server, client, serr, cerr := p.try(s, c, "orders")
		if serr != nil || cerr != nil {
			t.Fatalf("server: %v; client: %v", serr, cerr)
		}
		if server.Negotiated().Resumed != resumed || client.Negotiated().Resumed != resumed {
			t.Fatalf("resumed: %v, %v", server.Negotiated().Resumed, client.Negotiated().Resumed)
		}
		if peer, _ := server.Peer(); peer.Name() != "web" || peer.RawKey == nil {
			t.Errorf("the client is %+v", peer)
		}
		if peer, _ := client.Peer(); peer.Name() != "orders" || peer.RawKey == nil {
			t.Errorf("the server is %+v", peer)
		}
	}
	at(false)
	at(true)
	// Other keys are known now: the session rests on what is no more.
	swap.Set(knowing(map[string]*mtls.Certificate{"web": web, "billing": orders}))
	at(false)
	swap.Set(knowing(map[string]*mtls.Certificate{"billing": orders}))
	if _, _, serr, _ := p.try(s, c, "orders"); serr == nil {
		t.Error("a key that was taken back came in by its session")
	}
}

func TestWhatCanAdmitNobodyDoesNotStart(t *testing.T) {
	h := newHouse(t)
	p, err := policy.Parse([]string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	known := knowing(map[string]*mtls.Certificate{"web": rawKey(t, h.issuing.Leaf("web"))})
	for name, v := range map[string]mtls.Verifier{
		"no keys":               mtls.RawKeys(nil),
		"a key without a name":  mtls.RawKeys(map[[sha256.Size]byte]string{{}: ""}),
		"nothing in common":     mtls.AllOf(known, h.verifier()),
		"rules over a bare key": mtls.Allow(known, p),
	} {
		if _, err := mtls.NewServer(mtls.ServerConfig{Identity: h.leaf("orders"), Clients: mtls.Required(v)}); err == nil {
			t.Errorf("%s: it starts", name)
		}
	}
}
