package mtls_test

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki/ct"
	"github.com/mutual-tls/mutual/policy"
)

func policyOf(t testing.TB, rule ct.Rule, logs ...*mint.Log) *ct.Policy {
	t.Helper()
	list, err := ct.ParseLogs(mint.LogList(logs...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ct.NewPolicy(list, rule)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Timestamps are asked of servers and of clients alike, in the certificate or beside
// it, and their lack is a refusal that says what there was.
func TestTimestampsDecideWhereTheyAreRequired(t *testing.T) {
	h := newHouse(t)
	a, b, stranger := mint.NewLog("a's log", "One", ""), mint.NewLog("b's log", "Two", ""), mint.NewLog("c's log", "Three", "")
	logs := policyOf(t, ct.Chrome, a, b)
	then := time.Now().Add(-time.Minute)
	for name, c := range map[string]struct {
		inside, beside []*mint.Log
		asks           bool
		says           string // in the reason; "" for none
	}{
		"in the certificate":         {[]*mint.Log{a, b}, nil, false, ""},
		"beside it":                  {nil, []*mint.Log{a, b}, true, ""},
		"beside it, and nobody asks": {nil, []*mint.Log{a, b}, false, "found none"},
		"too few":                    {[]*mint.Log{a}, nil, true, `found "a's log"`},
		"of a strange log":           {[]*mint.Log{a, stranger}, nil, true, "its log is not on the list"},
		"none":                       {nil, nil, true, "expected timestamps of 2 logs of 2 operators (Chrome's rule)"},
	} {
		for _, role := range []mtls.Role{mtls.RoleServer, mtls.RoleClient} {
			t.Run(name+" of a "+role.String(), func(t *testing.T) {
				var opts []mint.Option
				if c.inside != nil {
					opts = append(opts, mint.Logged(then, c.inside...))
				}
				l := h.issuing.Leaf(map[mtls.Role]string{mtls.RoleServer: "orders", mtls.RoleClient: "web"}[role], opts...)
				own := certificate(t, l)
				var list [][]byte
				for _, log := range c.beside {
					list = append(list, log.Promise(l.Cert.Raw, then))
				}
				if err := own.Timestamps(list...); err != nil {
					t.Fatal(err)
				}
				sc, cc := h.serverConfig(), h.clientConfig()
				if role == mtls.RoleServer {
					sc.Identity, cc.Servers, cc.Beside.Timestamps = own, mtls.RequireTimestamps(h.verifier(), logs), c.asks
				} else {
					cc.Identity, sc.Clients, sc.Beside.Timestamps = own, mtls.Required(mtls.RequireTimestamps(h.verifier(), logs)), c.asks
				}
				_, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders")
				err := cerr
				if role == mtls.RoleClient {
					err = serr
				}
				if c.says == "" {
					if serr != nil || cerr != nil {
						t.Fatalf("%v; %v", serr, cerr)
					}
					return
				}
				if r := refusal(t, err); r.Code != "M0141" || r.Alert.String() != "bad_certificate" || !strings.Contains(r.Reason, c.says) {
					t.Errorf("%v", r)
				}
			})
		}
	}
}

// Whoever admits by other means than a path, or by another policy, has judged no
// timestamp, and the yes is none.
func TestAYesWithoutTimestampsIsNone(t *testing.T) {
	h := newHouse(t)
	a, b := mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "")
	logs, less := policyOf(t, ct.Chrome, a, b), policyOf(t, ct.Rule{Timestamps: 1}, a)
	l := h.issuing.Leaf("web", mint.Logged(time.Now().Add(-time.Minute), a, b))
	pin := mtls.Pin(sha256.Sum256(l.Cert.RawSubjectPublicKeyInfo))
	rules, err := policy.Parse([]string{"web"}, "")
	if err != nil {
		t.Fatal(err)
	}
	no := mtls.VerifierFunc(func(context.Context, *mtls.Claim) (*mtls.Verdict, error) { return &mtls.Verdict{OK: true}, nil })
	for name, c := range map[string]struct {
		verifier mtls.Verifier
		ok       bool
	}{
		"authorities":          {h.verifier(), true},
		"rules":                {mtls.Allow(h.verifier(), rules), true},
		"swapped":              {mtls.NewSwapVerifier(h.verifier()), true},
		"all of":               {mtls.AllOf(h.verifier(), pin), true},
		"any of, by a path":    {mtls.AnyOf(h.verifier(), pin), true},
		"the same twice":       {mtls.RequireTimestamps(h.verifier(), policyOf(t, ct.Chrome, a, b)), true},
		"a pin":                {pin, false},
		"any of, by a pin":     {mtls.AnyOf(pin, h.verifier()), false},
		"a function":           {no, false},
		"another policy below": {mtls.RequireTimestamps(h.verifier(), less), false},
	} {
		v := mtls.RequireTimestamps(c.verifier, logs)
		claim := &mtls.Claim{Occasion: mtls.FullHandshake, Role: mtls.RoleClient, Chain: l.Chain, Now: time.Now()}
		verdict, err := v.Verify(t.Context(), claim)
		if ok := err == nil && verdict.OK; ok != c.ok {
			t.Errorf("%s: %v, %v", name, verdict, err)
		}
	}
	for name, v := range map[string]mtls.Verifier{"no policy": mtls.RequireTimestamps(h.verifier(), nil), "no verifier": mtls.RequireTimestamps(nil, logs)} {
		sc := h.serverConfig()
		sc.Clients = mtls.Required(v)
		if _, err := mtls.NewServer(sc); err == nil {
			t.Errorf("%s: a server began", name)
		}
	}
}

// A session is resumed where the certificate bears what counts, and else there is a
// full handshake, in which it can be shown anew. Another list ends every session.
func TestASessionAndItsTimestamps(t *testing.T) {
	h := newHouse(t)
	a := mint.NewLog("a", "One", "")
	rule := ct.Rule{Timestamps: 1}
	then := time.Now().Add(-time.Minute)
	for name, inside := range map[string]bool{"in the certificate": true, "beside it": false} {
		l := h.issuing.Leaf("web", mint.Logged(then, a))
		if !inside {
			l = h.issuing.Leaf("web")
		}
		own := certificate(t, l)
		if err := own.Timestamps(a.Promise(l.Cert.Raw, then)); err != nil {
			t.Fatal(err)
		}
		sc, cc := h.resuming()
		cc.Identity = own
		swap := mtls.NewSwapVerifier(mtls.RequireTimestamps(h.verifier(), policyOf(t, rule, a)))
		sc.Clients, sc.Beside.Timestamps = mtls.Required(swap), true
		p, server, client := newPlace(t), newServer(t, sc), newClient(t, cc)
		p.visit(server, client, "orders")
		if _, _, resumed := p.visit(server, client, "orders"); resumed != inside {
			t.Errorf("%s: resumed %v", name, resumed)
		}
		a.State = "rejected"
		swap.Set(mtls.RequireTimestamps(h.verifier(), policyOf(t, rule, a)))
		a.State = "usable"
		if _, _, serr, _ := p.try(server, client, "orders"); serr == nil || refusal(t, serr).Code != "M0141" {
			t.Errorf("%s: a list without the log: %v", name, serr)
		}
	}
}

// What stands is judged again by a newer list.
func TestANewListCutsWhatStandsByALogThatIsNoMore(t *testing.T) {
	h := newHouse(t)
	a := mint.NewLog("a", "One", "")
	then := time.Now().Add(-time.Minute)
	l := h.issuing.Leaf("web")
	own := certificate(t, l)
	if err := own.Timestamps(a.Promise(l.Cert.Raw, then)); err != nil {
		t.Fatal(err)
	}
	sc, cc := h.serverConfig(), h.clientConfig()
	cc.Identity = own
	swap := mtls.NewSwapVerifier(mtls.RequireTimestamps(h.verifier(), policyOf(t, ct.Rule{Timestamps: 1}, a)))
	sc.Clients, sc.Beside.Timestamps = mtls.Required(swap), true
	s := newServer(t, sc)
	server, client, serr, cerr := meet(t, s, newClient(t, cc), "orders")
	if serr != nil || cerr != nil {
		t.Fatalf("%v; %v", serr, cerr)
	}
	_ = client.SetDeadline(soon())
	s.Recheck(t.Context())
	if err := passes(server, client); err != nil {
		t.Fatalf("what it showed beside its certificate was forgotten: %v", err)
	}
	a.State = "retired"
	swap.Set(mtls.RequireTimestamps(h.verifier(), policyOf(t, ct.Rule{Timestamps: 1}, a)))
	s.Recheck(t.Context())
	if r, ok := mtls.RefusalOf(passes(server, client)); !ok || r.Code != "M0141" {
		t.Errorf("by a log that was retired it stands: %v", r)
	}
}
