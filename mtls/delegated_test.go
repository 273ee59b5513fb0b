package mtls_test

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// delegating is a leaf that may delegate.
func (h *house) delegating(name string, opts ...mint.Option) *mint.Leaf {
	return h.issuing.Leaf(name, append(opts, mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 44363, 44}, Value: []byte{5, 0}}))...)
}

// delegated is a key that stands for the leaf at one end.
func delegated(t testing.TB, l *mint.Leaf, role mtls.Role, kind string) *mtls.Certificate {
	t.Helper()
	key := mint.Root("a key", mint.Key(kind)).Key
	now := time.Now()
	dc, err := certificate(t, l).Delegate(nil, key.Public(), role, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	c, err := mtls.NewDelegated(l.Chain, dc, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestADelegatedKeyProvesEitherEnd(t *testing.T) {
	h := newHouse(t)
	for _, kind := range []string{"p256", "p384", "ed25519"} {
		for _, leafKind := range []string{"p256", "rsa2048", "mldsa44"} {
			orders, web := h.delegating("orders", mint.Key(leafKind)), h.delegating("web", mint.Key(leafKind))
			sc := mtls.ServerConfig{
				Identity: mtls.Choose(delegated(t, orders, mtls.RoleServer, kind), certificate(t, orders)), Clients: mtls.Required(h.verifier()),
				Common: mtls.Common{DelegatedCredentials: true},
			}
			cc := mtls.ClientConfig{
				Identity: mtls.Choose(delegated(t, web, mtls.RoleClient, kind), certificate(t, web)), Servers: h.verifier(),
				Common: mtls.Common{DelegatedCredentials: true},
			}
			server, client := met(t, sc, cc)
			for conn, want := range map[*mtls.Conn]string{server: "web", client: "orders"} {
				peer, _ := conn.Peer()
				left := time.Until(conn.Verdict().Until)
				if peer.Name() != want || left > time.Hour+time.Second || left < 50*time.Minute {
					t.Errorf("%s: %s is proven for %v", kind, peer.Name(), left)
				}
			}
			// Who does not take such sees the certificate's own key.
			sc.DelegatedCredentials, cc.DelegatedCredentials = false, false
			server, client = met(t, sc, cc)
			if time.Until(server.Verdict().Until) < 2*time.Hour || time.Until(client.Verdict().Until) < 2*time.Hour {
				t.Error("a delegated credential was shown to somebody who takes none")
			}
		}
	}
}

// A credential of days is not stretched by sessions.
func TestADelegatedKeyIsNotResumed(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.resuming()
	sc.Identity, cc.DelegatedCredentials = delegated(t, h.delegating("orders"), mtls.RoleServer, "p256"), true
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	for range 2 {
		if _, _, resumed := p.visit(s, c, "orders"); resumed {
			t.Error("it was resumed")
		}
	}
}

func TestDelegatedKeysThatDoNotStand(t *testing.T) {
	h := newHouse(t)
	orders := h.delegating("orders", mint.Valid(time.Now().Add(-30*24*time.Hour), time.Now().Add(30*24*time.Hour)))
	good := delegated(t, orders, mtls.RoleServer, "p256")
	at := func(d time.Duration) func() time.Time { return func() time.Time { return time.Now().Add(d) } }
	for name, c := range map[string]struct {
		identity *mtls.Certificate
		clock    func() time.Time
		says     string
	}{
		"over":                {good, at(2 * time.Hour), "ended at"},
		"seen too early":      {good, at(-7 * 24 * time.Hour), "longer than"},
		"made for a client":   {delegated(t, orders, mtls.RoleClient, "p256"), nil, "not signed by the key"},
		"still good, as ever": {good, at(30 * time.Minute), ""},
	} {
		t.Run(name, func(t *testing.T) {
			sc := mtls.ServerConfig{Identity: mtls.NewSwap(c.identity), Clients: mtls.Anonymous()} // which is not looked at before
			cc := mtls.ClientConfig{Servers: h.verifier(), Common: mtls.Common{DelegatedCredentials: true, Clock: c.clock}}
			_, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders")
			if c.says == "" {
				if serr != nil || cerr != nil {
					t.Fatalf("server: %v; client: %v", serr, cerr)
				}
				return
			}
			r := refusal(t, cerr)
			if r.Code != "M0139" || r.Alert.String() != "illegal_parameter" || !strings.Contains(r.Reason, c.says) {
				t.Errorf("%s, %v: %s", r.Code, r.Alert, r.Reason)
			}
		})
	}
	// Nobody but whom the authority lets delegate.
	t.Run("without the extension", func(t *testing.T) {
		plain := h.issuing.Leaf("orders")
		if _, err := certificate(t, plain).Delegate(nil, orders.Key.Public(), mtls.RoleServer, time.Now(), time.Now().Add(time.Hour)); err == nil {
			t.Error("it was made")
		}
	})
}

// What peers would refuse does not start.
func TestADelegatedKeyThatNobodyWouldTakeDoesNotStart(t *testing.T) {
	h := newHouse(t)
	orders := h.delegating("orders")
	good := delegated(t, orders, mtls.RoleServer, "p256")
	if err := good.CheckDelegated(mtls.RoleServer, time.Now()); err != nil {
		t.Error(err)
	}
	key := mint.Root("a key", mint.Key("p256")).Key
	dc, err := certificate(t, orders).Delegate(nil, key.Public(), mtls.RoleServer, time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	stolen, err := mtls.NewDelegated(h.delegating("orders").Chain, dc, key)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := mtls.NewDelegated(h.issuing.Leaf("orders").Chain, dc, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]mtls.ServerConfig{
		"of a client":            {Identity: mtls.Choose(delegated(t, orders, mtls.RoleClient, "p256"))},
		"of another certificate": {Identity: stolen},
		"of one that may not":    {Identity: plain},
		"when its time is over":  {Identity: good, Common: mtls.Common{Clock: func() time.Time { return time.Now().Add(2 * time.Hour) }}},
	} {
		c.Clients = mtls.Anonymous()
		if _, err := mtls.NewServer(c); err == nil {
			t.Errorf("%s: it starts", name)
		}
	}
}

func TestWhatCanNotBeDelegated(t *testing.T) {
	h := newHouse(t)
	orders := h.delegating("orders", mint.Valid(time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)))
	own, now := certificate(t, orders), time.Now()
	key := mint.Root("a key", mint.Key("p256")).Key
	rsa := mint.Root("a key", mint.Key("rsa2048")).Key
	short := certificate(t, h.delegating("orders"))
	for name, c := range map[string]struct {
		of  *mtls.Certificate
		key crypto.PublicKey
		end time.Time
	}{
		"for eight days":           {own, key.Public(), now.Add(8 * 24 * time.Hour)},
		"for no time":              {own, key.Public(), now},
		"beyond the certificate":   {short, key.Public(), now.Add(6 * 24 * time.Hour)},
		"to an RSA key":            {own, rsa.Public(), now.Add(time.Hour)},
		"without the key usage":    {certificate(t, h.delegating("orders", mint.KeyUsage(x509.KeyUsageKeyAgreement))), key.Public(), now.Add(time.Hour)},
		"by a delegated key":       {delegated(t, orders, mtls.RoleServer, "p256"), key.Public(), now.Add(time.Hour)},
		"by a raw public key":      {rawKey(t, orders), key.Public(), now.Add(time.Hour)},
		"to what is no key at all": {own, "key", now.Add(time.Hour)},
	} {
		if _, err := c.of.Delegate(nil, c.key, mtls.RoleServer, now, c.end); err == nil {
			t.Errorf("%s: it was made", name)
		}
	}
	other := mint.Root("a key", mint.Key("mldsa44")).Key
	if _, err := own.Delegate(nil, other.Public(), mtls.RoleServer, now, now.Add(time.Hour)); err == nil || !strings.Contains(err.Error(), "give an ECDSA or Ed25519 key") {
		t.Errorf("to an ML-DSA key: %v", err)
	}
	dc, err := own.Delegate(nil, key.Public(), mtls.RoleServer, now, now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"another key": func() error {
			_, err := mtls.NewDelegated(orders.Chain, dc, mint.Root("a", mint.Key("p256")).Key)
			return err
		},
		"cut off":  func() error { _, err := mtls.NewDelegated(orders.Chain, dc[:len(dc)-1], key); return err },
		"no chain": func() error { _, err := mtls.NewDelegated(nil, dc, key); return err },
	} {
		if f() == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
