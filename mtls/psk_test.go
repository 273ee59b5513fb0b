package mtls_test

import (
	"crypto"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

// key is a pre-shared key between web and orders.
func key(seed byte) mtls.PSK {
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = seed + byte(i)
	}
	return mtls.PSK{Identity: fmt.Appendf(nil, "key %d", seed), Secret: secret, Context: []byte("web to orders"), Client: "web", Server: "orders"}
}

func keyed(k ...mtls.PSK) (mtls.ServerConfig, mtls.ClientConfig) {
	return mtls.ServerConfig{PSKs: k, Resumption: &mtls.ServerResumption{}}, mtls.ClientConfig{PSKs: k, Resumption: &mtls.ClientResumption{}}
}

// A pre-shared key proves both ends by the names that it is for, without any
// certificate, with each hash and suite; and a session that begins so goes on so.
func TestAPreSharedKeyProvesBothEnds(t *testing.T) {
	for name, set := range map[string]func(k *mtls.PSK, sc *mtls.ServerConfig, cc *mtls.ClientConfig){
		"SHA-256, imported for SHA-256": func(_ *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Suites = []mtls.Suite{suite.AES128GCMSHA256}
		},
		"SHA-256, imported for SHA-384": func(_ *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Suites = []mtls.Suite{suite.AES256GCMSHA384}
		},
		"SHA-384, imported for SHA-256": func(k *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			k.Hash, sc.Suites = crypto.SHA384, []mtls.Suite{suite.ChaCha20Poly1305SHA256}
		},
		"raw, SHA-256": func(k *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			k.Raw, k.Context, sc.Suites = true, nil, []mtls.Suite{suite.AES128GCMSHA256}
		},
		"raw, SHA-384": func(k *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			k.Raw, k.Context, k.Hash, sc.Suites = true, nil, crypto.SHA384, []mtls.Suite{suite.AES256GCMSHA384}
		},
		"raw, SHA-384, and nobody chose a suite": func(k *mtls.PSK, _ *mtls.ServerConfig, _ *mtls.ClientConfig) {
			k.Raw, k.Context, k.Hash = true, nil, crypto.SHA384
		},
		"HelloRetryRequest": func(_ *mtls.PSK, sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			cc.Groups, sc.Groups = []mtls.Group{suite.X25519, suite.P256}, []mtls.Group{suite.P256}
		},
		"a store": func(_ *mtls.PSK, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
			sc.Resumption.Store = mtls.NewSessionMemory(4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := key(1)
			sc, cc := keyed()
			set(&k, &sc, &cc)
			if k.Hash == crypto.SHA384 || k.Raw { // another use has another secret
				seed := byte(100 + k.Hash)
				if k.Raw {
					seed += 40
				}
				k.Identity, k.Secret = key(seed).Identity, key(seed).Secret
			}
			sc.PSKs, cc.PSKs = []mtls.PSK{k}, []mtls.PSK{k}
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			for i := range 3 {
				server, client, resumed := p.visit(s, c, "orders")
				if resumed != (i > 0) {
					t.Errorf("connection %d resumed: %v", i+1, resumed)
				}
				for conn, want := range map[*mtls.Conn]string{server: "web", client: "orders"} {
					peer, ok := conn.Peer()
					if !ok || peer.Name() != want || !peer.PreShared || peer.Leaf != nil || conn.PeerChain() != nil {
						t.Errorf("the peer is %+v, %v; expected %s", peer, ok, want)
					}
					if v := conn.Verdict(); v == nil || !v.OK || v.Peer.Name() != want {
						t.Errorf("the verdict is %+v", v)
					}
					if n := conn.Negotiated(); n.PSK != string(k.Identity) || !n.ClientAuthenticated || n.Scheme != 0 {
						t.Errorf("agreed on %+v", n)
					}
				}
			}
			if s.Standing() == 0 {
				t.Error("connections of a pre-shared key can't be judged again")
			}
		})
	}
}

// A raw key goes with the suites of its hash alone. A server that has keys of both
// chooses a suite that goes with the one that the client has.
func TestASuiteIsChosenThatTheClientsKeyGoesWith(t *testing.T) {
	h := newHouse(t)
	raw := func(seed byte, hash crypto.Hash) mtls.PSK {
		k := key(seed)
		k.Raw, k.Context, k.Hash = true, nil, hash
		return k
	}
	small, large := raw(201, crypto.SHA256), raw(202, crypto.SHA384)
	for name, set := range map[string]func(*mtls.ServerConfig, *mtls.ClientConfig){
		"keys alone": func(*mtls.ServerConfig, *mtls.ClientConfig) {},
		"HelloRetryRequest": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			cc.Groups, sc.Groups = []mtls.Group{suite.X25519, suite.P256}, []mtls.Group{suite.P256}
		},
		"a cookie": func(sc *mtls.ServerConfig, _ *mtls.ClientConfig) { sc.Cookies = shared(t, 1) },
		"certificates beside": func(sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
			keys, theirs := sc.PSKs, cc.PSKs
			*sc, *cc = h.serverConfig(), h.clientConfig()
			sc.PSKs, cc.PSKs = keys, theirs
			sc.Clients = mtls.Required(mtls.AnyOf(mtls.PreShared(), h.verifier()))
			cc.Servers = mtls.AnyOf(mtls.PreShared(), h.verifier())
		},
	} {
		for _, k := range []mtls.PSK{small, large} {
			t.Run(fmt.Sprintf("%s, %v", name, k.Hash), func(t *testing.T) {
				sc, cc := keyed()
				sc.PSKs, cc.PSKs = []mtls.PSK{small, large}, []mtls.PSK{k}
				set(&sc, &cc)
				server, client, _ := newPlace(t).visit(newServer(t, sc), newClient(t, cc), "orders")
				for _, conn := range []*mtls.Conn{server, client} {
					if n := conn.Negotiated(); n.PSK != string(k.Identity) {
						t.Errorf("agreed on %+v, expected %q", n, k.Identity)
					}
				}
			})
		}
	}
	t.Run("the client takes no suite of the other hash", func(t *testing.T) {
		sc, cc := h.serverConfig(), h.clientConfig()
		sc.PSKs, cc.PSKs = []mtls.PSK{small, large}, []mtls.PSK{large}
		sc.Clients = mtls.Required(mtls.AnyOf(mtls.PreShared(), h.verifier()))
		cc.Servers = mtls.AnyOf(mtls.PreShared(), h.verifier())
		sc.Suites = []mtls.Suite{suite.AES128GCMSHA256}
		if server, _, _ := newPlace(t).visit(newServer(t, sc), newClient(t, cc), "orders"); server.Negotiated().PSK != "" {
			t.Errorf("agreed on %+v", server.Negotiated())
		}
	})
}

// Keys and certificates stand side by side: a key that both know is used, and
// where there is none, certificates are.
func TestKeysAndCertificatesStandSideBySide(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]struct {
		server, client []mtls.PSK
		psk            string
	}{
		"a common key":                 {[]mtls.PSK{key(1), key(9)}, []mtls.PSK{key(1)}, "key 1"},
		"the server's first one":       {[]mtls.PSK{key(9), key(1)}, []mtls.PSK{key(1), key(9)}, "key 9"},
		"another identity":             {[]mtls.PSK{key(9)}, []mtls.PSK{key(1)}, ""},
		"a client without":             {[]mtls.PSK{key(9)}, nil, ""},
		"a server without":             {nil, []mtls.PSK{key(9)}, ""},
		"a key for another server":     {[]mtls.PSK{key(1)}, []mtls.PSK{elsewhere(key(80))}, ""},
		"the same, in another context": {[]mtls.PSK{key(1)}, []mtls.PSK{contextual(key(1))}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.serverConfig(), h.clientConfig()
			sc.PSKs, cc.PSKs = want.server, want.client
			sc.Clients = mtls.Required(mtls.AnyOf(mtls.PreShared(), h.verifier()))
			cc.Servers = mtls.AnyOf(mtls.PreShared(), h.verifier())
			server, client, _ := newPlace(t).visit(newServer(t, sc), newClient(t, cc), "orders")
			for conn, name := range map[*mtls.Conn]string{server: "web", client: "orders"} {
				peer, ok := conn.Peer()
				if !ok || peer.Name() != name || peer.PreShared != (want.psk != "") || conn.Negotiated().PSK != want.psk {
					t.Errorf("the peer is %+v; the key %q was used, expected %q", peer, conn.Negotiated().PSK, want.psk)
				}
			}
		})
	}
}

func elsewhere(k mtls.PSK) mtls.PSK {
	k.Server = "payments"
	return k
}

func contextual(k mtls.PSK) mtls.PSK {
	k.Context = []byte("another context")
	return k
}

// A secret has one use in a process, whoever uses it: RFC 9257, section 4.
func TestASecretHasOneUse(t *testing.T) {
	seed := byte(150)
	for name, c := range map[string]struct {
		taken  bool
		change func(*mtls.PSK)
	}{
		"the same":            {true, func(*mtls.PSK) {}},
		"the same, in words":  {true, func(k *mtls.PSK) { k.Client, k.Hash = "WEB", crypto.SHA256 }},
		"another context":     {true, func(k *mtls.PSK) { k.Context = []byte("another") }},
		"the other way round": {false, func(k *mtls.PSK) { k.Client, k.Server = k.Server, k.Client }},
		"another hash":        {false, func(k *mtls.PSK) { k.Hash = crypto.SHA384 }},
		"raw":                 {false, func(k *mtls.PSK) { k.Raw, k.Context = true, nil }},
		"a third holder":      {false, func(k *mtls.PSK) { k.Client = "payments" }},
		"a third server":      {false, func(k *mtls.PSK) { k.Server = "payments" }},
	} {
		for _, role := range []mtls.Role{mtls.RoleServer, mtls.RoleClient} {
			seed++
			sc, _ := keyed(key(seed))
			first := newServer(t, sc)
			k := key(seed)
			c.change(&k)
			sc, cc := keyed(key(90), k)
			var err error
			if role == mtls.RoleServer {
				_, err = mtls.NewServer(sc)
			} else {
				_, err = mtls.NewClient(cc)
			}
			if (err == nil) != c.taken || err != nil && !strings.Contains(err.Error(), "in use in this process") {
				t.Errorf("%s, as %v: %v", name, role, err)
			}
			if err != nil && strings.Contains(err.Error(), string(k.Secret)) {
				t.Errorf("%s: the error tells the secret", name)
			}
			runtime.KeepAlive(first)
		}
	}
}

// What nobody holds any more is free again.
func TestASecretIsFreeWhenNobodyHoldsIt(t *testing.T) {
	k := key(200)
	sc, _ := keyed(k)
	newServer(t, sc)
	k.Client, k.Server = k.Server, k.Client
	sc, _ = keyed(k)
	for end := soon(); ; runtime.GC() {
		if _, err := mtls.NewServer(sc); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// What can't be agreed on, or proven, ends in the right alert, and says why.
func TestAKeyThatIsNotSharedIsRefused(t *testing.T) {
	wrong := key(1)
	wrong.Secret = key(2).Secret
	only, err := policy.Parse([]string{"payments"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		server, client mtls.PSK
		policy         *policy.Policy
		alert, code    string
		says           string
	}{
		"a wrong secret":             {key(1), wrong, nil, "decrypt_error", "M0214", "did not prove"},
		"an unknown identity":        {key(1), key(3), nil, "handshake_failure", "M0320", "no pre-shared key that we know"},
		"a name that no rule allows": {key(1), key(1), only, "access_denied", "M0401", "pre-shared key is good"},
	} {
		t.Run(name, func(t *testing.T) {
			sc, _ := keyed(want.server)
			_, cc := keyed(want.client)
			if want.policy != nil {
				sc.Clients = mtls.Required(mtls.Allow(mtls.PreShared(), want.policy))
			}
			_, _, serr, cerr := newPlace(t).try(newServer(t, sc), newClient(t, cc), "orders")
			if r := refusal(t, serr); r.Alert.String() != want.alert || r.Code != want.code || !strings.Contains(r.Reason, want.says) || !r.Sent {
				t.Errorf("the server refused with %v %s: %s", r.Alert, r.Code, r.Reason)
			}
			if r := refusal(t, cerr); r.Alert.String() != want.alert || r.Sent {
				t.Errorf("the client was told %v: %s", r.Alert, r.Reason)
			}
		})
	}
	t.Run("a server without keys", func(t *testing.T) {
		h := newHouse(t)
		_, cc := keyed(key(1))
		_, _, serr, cerr := newPlace(t).try(newServer(t, h.serverConfig()), newClient(t, cc), "orders")
		if refusal(t, serr).Alert.String() != "missing_extension" || refusal(t, cerr).Sent {
			t.Errorf("%v; %v", serr, cerr)
		}
	})
	t.Run("no key for the server that is meant", func(t *testing.T) {
		sc, cc := keyed(key(1))
		_, _, _, cerr := newPlace(t).try(newServer(t, sc), newClient(t, cc), "payments")
		if r := refusal(t, cerr); r.Code != "M0320" {
			t.Errorf("%+v", r)
		}
	})
}

// A session that began with a key ends with the key, as with a changed policy.
func TestASessionEndsWithItsKey(t *testing.T) {
	rules, err := policy.Parse([]string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	for name, want := range map[string]struct {
		resumes bool
		change  func(*mtls.ServerConfig)
	}{
		"nothing":        {true, func(*mtls.ServerConfig) {}},
		"one key more":   {true, func(sc *mtls.ServerConfig) { sc.PSKs = append(sc.PSKs, key(5)) }},
		"another secret": {false, func(sc *mtls.ServerConfig) { sc.PSKs[0].Secret = key(7).Secret }},
		"another key":    {false, func(sc *mtls.ServerConfig) { sc.PSKs[0] = key(7) }},
		"another policy": {false, func(sc *mtls.ServerConfig) {
			sc.Clients = mtls.Required(mtls.AnyOf(mtls.Allow(mtls.PreShared(), rules), h.verifier()))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.resuming()
			sc.PSKs, cc.PSKs = []mtls.PSK{key(1)}, []mtls.PSK{key(1)}
			sc.Resumption.Keys = shared(t, 1)
			sc.Clients = mtls.Required(mtls.AnyOf(mtls.PreShared(), h.verifier()))
			cc.Servers = mtls.AnyOf(mtls.PreShared(), h.verifier())
			before := newServer(t, sc)
			sc.PSKs = []mtls.PSK{key(1)}
			want.change(&sc)
			after, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			p.visit(before, c, "orders")
			if name == "another secret" { // what can't be resumed is tried with the key
				if _, _, serr, _ := p.try(after, c, "orders"); refusal(t, serr).Alert.String() != "decrypt_error" {
					t.Error(serr)
				}
				return
			}
			if _, _, resumed := p.visit(after, c, "orders"); resumed != want.resumes {
				t.Errorf("resumed: %v", resumed)
			}
		})
	}
}

func TestKeysThatCanNotBeUsedAreErrors(t *testing.T) {
	h := newHouse(t)
	for name, change := range map[string]func(*mtls.PSK){
		"no identity":     func(k *mtls.PSK) { k.Identity = nil },
		"a long identity": func(k *mtls.PSK) { k.Identity = make([]byte, 1025) },
		"a short secret":  func(k *mtls.PSK) { k.Secret = k.Secret[:15] },
		"one byte":        func(k *mtls.PSK) { k.Secret = make([]byte, 32) },
		"another hash":    func(k *mtls.PSK) { k.Hash = crypto.SHA1 },
		"raw, in context": func(k *mtls.PSK) { k.Raw = true },
		"no client":       func(k *mtls.PSK) { k.Client = "" },
		"no server":       func(k *mtls.PSK) { k.Server = "" },
		"one end":         func(k *mtls.PSK) { k.Client = "Orders" },
		"the same secret": func(k *mtls.PSK) { k.Secret = key(1).Secret },
		"the same key":    func(k *mtls.PSK) { *k = key(1) },
		"the same name":   func(k *mtls.PSK) { k.Identity = key(1).Identity },
	} {
		k := key(2)
		change(&k)
		sc, cc := keyed(key(1), k)
		if _, err := mtls.NewServer(sc); err == nil {
			t.Errorf("%s: a server takes it", name)
		}
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("%s: a client takes it", name)
		}
	}
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.PSKs, cc.PSKs = []mtls.PSK{key(1)}, []mtls.PSK{key(1)}
	if _, err := mtls.NewServer(sc); err == nil {
		t.Error("keys of clients whom the verifier does not take are accepted")
	}
	if _, err := mtls.NewClient(cc); err == nil {
		t.Error("keys of servers whom the verifier does not take are accepted")
	}
}
