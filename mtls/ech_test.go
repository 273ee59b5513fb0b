package mtls_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

func echKey(t testing.TB, besides ...*mtls.ECHKey) *mtls.ECHKey {
	t.Helper()
	k, err := mtls.NewECHKey(mtls.ECHShape{PublicName: "public.example", MaxNameLength: 30}, besides...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func echKeys(t testing.TB, current *mtls.ECHKey, former ...*mtls.ECHKey) *mtls.ECHKeys {
	t.Helper()
	k, err := mtls.NewECHKeys([]*mtls.ECHKey{current}, former...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// standardKey is k as the standard library's servers take it.
func standardKey(t testing.TB, k *mtls.ECHKey) tls.EncryptedClientHelloKey {
	t.Helper()
	file, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(file)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return tls.EncryptedClientHelloKey{Config: k.ConfigList()[2:], PrivateKey: key.(*ecdh.PrivateKey).Bytes(), SendAsRetry: true}
}

// byName is an Identity with a certificate for each name.
type byName map[string]*mtls.Certificate

func (b byName) Certificate(_ context.Context, a *mtls.Ask) (*mtls.Certificate, error) {
	return b[a.ServerName], nil
}

// echServer is a server "orders" behind public.example.
func (h *house) echServer(keys *mtls.ECHKeys) mtls.ServerConfig {
	cfg := h.serverConfig()
	cfg.Identity = byName{"orders": h.leaf("orders"), "public.example": h.leaf("public.example")}
	cfg.ECH = keys
	return cfg
}

func (h *house) echClient(list mtls.ECHConfigList) mtls.ClientConfig {
	cfg := h.clientConfig()
	cfg.ECH = &mtls.ClientECH{Source: list}
	return cfg
}

func TestANameIsHiddenFromWhoLooksOn(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	for _, list := range []mtls.ECHConfigList{key.ConfigList(), old.ConfigList()} {
		server, client := met(t, h.echServer(echKeys(t, key, old)), h.echClient(list))
		for _, c := range []*mtls.Conn{server, client} {
			if n := c.Negotiated(); n.ECH != mtls.ECHAccepted || n.ServerName != "orders" {
				t.Errorf("agreed on %+v", n)
			}
		}
		if p, ok := server.Peer(); !ok || p.Name() != "web" {
			t.Errorf("the client is %v", p.Name())
		}
	}
}

func TestRefusedEncryptedHellosCarryProvenConfigs(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	_, _, serr, cerr := meet(t, newServer(t, h.echServer(echKeys(t, key))), newClient(t, h.echClient(old.ConfigList())), "orders")
	r := refusal(t, cerr)
	var rejection *mtls.ECHRejection
	if r.Code != string(code.ECHRejected) || r.Fault != mtls.PeerIncompatible || !r.Sent || r.Alert != alert.ECHRequired || !errors.As(cerr, &rejection) {
		t.Fatalf("%+v", r)
	}
	if rejection.PublicName != "public.example" || !bytes.Equal(rejection.RetryConfigs, key.ConfigList()) {
		t.Errorf("%+v", rejection)
	}
	if serr == nil {
		t.Error("the server admitted a client that showed nothing")
	}
	// The same from a server that the client does not trust is worth nothing.
	stranger := newHouse(t)
	_, _, _, cerr = meet(t, newServer(t, stranger.echServer(echKeys(t, key))), newClient(t, h.echClient(old.ConfigList())), "orders")
	if r := refusal(t, cerr); r.Code != string(code.UnknownAuthority) || errors.As(cerr, &rejection) {
		t.Errorf("%+v", r)
	}
	// And from one that is the server that was meant, but not the public name.
	cfg := h.echServer(echKeys(t, key))
	cfg.Identity = h.leaf("orders")
	_, _, _, cerr = meet(t, newServer(t, cfg), newClient(t, h.echClient(old.ConfigList())), "orders")
	if r := refusal(t, cerr); r.Code != string(code.WrongName) || errors.As(cerr, &rejection) {
		t.Errorf("%+v", r)
	}
}

func TestAServerWithoutAnonymousClientsLearnsThatItsConfigsAreOld(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	cfg := h.echServer(echKeys(t, echKey(t, old)))
	cfg.Clients = mtls.Anonymous()
	s := newServer(t, cfg)
	st, ct := loopback(t)
	told := make(chan error, 1)
	go func() {
		c, err := s.Accept(context.Background(), st)
		if err == nil { // the client was done, as far as the server knows
			_, err = c.Read(make([]byte, 1))
		}
		told <- err
	}()
	if _, err := newClient(t, h.echClient(old.ConfigList())).Connect(context.Background(), ct, "orders"); err == nil {
		t.Fatal("the client went on")
	}
	if r := refusal(t, <-told); r.Code != string(code.RefusedECH) || r.Fault != mtls.PeerRefusedUs {
		t.Errorf("%+v", r)
	}
}

// listening is an address at which cfg answers, and how often somebody came.
func listening(t *testing.T, s *mtls.Server) (address string, came *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	came = new(atomic.Int32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			came.Add(1)
			go func() {
				if conn, err := s.Accept(context.Background(), c); err == nil {
					_ = echo(conn)
					_ = conn.Close()
				}
			}()
		}
	}()
	return l.Addr().String(), came
}

func TestDialTriesOnceMoreWhereItMay(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	cfg := h.echServer(echKeys(t, key))
	cfg.Identity = byName{"": h.leaf("orders", mint.IPs("127.0.0.1")), "public.example": h.leaf("public.example")}
	address, came := listening(t, newServer(t, cfg))
	cc := h.echClient(old.ConfigList())
	if _, err := newClient(t, cc).Dial(context.Background(), "tcp", address); refusal(t, err).Code != string(code.ECHRejected) {
		t.Error(err)
	}
	if n := came.Swap(0); n != 1 {
		t.Errorf("%d connections", n)
	}
	cc.ECH = &mtls.ClientECH{Source: old.ConfigList(), Retry: true}
	conn, err := newClient(t, cc).Dial(context.Background(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(conn, noise(1000)); err != nil || conn.Negotiated().ECH != mtls.ECHAccepted {
		t.Error(err, conn.Negotiated().ECH)
	}
	_ = conn.Close()
	if n := came.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// A server that rejects what it gave itself is not asked for a third time.
func TestDialTriesNoThirdTime(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	keys := echKeys(t, key)
	cfg := h.echServer(keys)
	cfg.Identity = byName{"public.example": h.leaf("public.example")}
	cfg.Observer = observerFunc(func(e mtls.Event) { // once a client is told of key, there is another
		if e.Label == "encrypted client hello" && e.Value == "rejected" {
			_ = keys.Set([]*mtls.ECHKey{echKey(t, key, old)})
		}
	})
	address, came := listening(t, newServer(t, cfg))
	cc := h.echClient(old.ConfigList())
	cc.ECH.Retry = true
	if _, err := newClient(t, cc).Dial(context.Background(), "tcp", address); refusal(t, err).Code != string(code.ECHRejected) {
		t.Error(err)
	}
	if n := came.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

type observerFunc func(mtls.Event)

func (f observerFunc) Observe(e mtls.Event) { f(e) }

func TestWithoutAUsableConfigNoNameIsShown(t *testing.T) {
	h := newHouse(t)
	failed := errors.New("no DNS today")
	none := mtls.ECHSourceFunc(func(context.Context, string) ([]byte, error) { return nil, nil })
	broken := mtls.ECHSourceFunc(func(_ context.Context, name string) ([]byte, error) {
		if name != "orders" {
			t.Errorf("asked for %q", name)
		}
		return nil, failed
	})
	unusable := mtls.ECHConfigList{0, 5, 0xba, 0xdd, 0, 1, 9}
	for name, c := range map[string]struct {
		ech   mtls.ClientECH
		works bool
	}{
		"none":                       {mtls.ClientECH{Source: none}, false},
		"none, and grease":           {mtls.ClientECH{Source: none, Grease: true}, true},
		"unusable":                   {mtls.ClientECH{Source: unusable}, false},
		"unusable, and grease":       {mtls.ClientECH{Source: unusable, Grease: true}, true},
		"grease alone":               {mtls.ClientECH{Grease: true}, true},
		"malformed":                  {mtls.ClientECH{Source: mtls.ECHConfigList{1, 2, 3}, Grease: true}, false},
		"a source that fails":        {mtls.ClientECH{Source: broken, Grease: true}, false},
		"a list without its lengths": {mtls.ClientECH{Source: echKey(t).ConfigList()[2:]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			cc := h.clientConfig()
			cc.ECH = &c.ech
			if c.works {
				_, client := met(t, h.serverConfig(), cc)
				if client.Negotiated().ECH != mtls.ECHGreased {
					t.Error(client.Negotiated().ECH)
				}
				return
			}
			a, b := net.Pipe()
			read := make(chan int, 1)
			go func() {
				n, _ := b.Read(make([]byte, 1))
				read <- n
			}()
			_, err := newClient(t, cc).Connect(context.Background(), a, "orders")
			if r := refusal(t, err); r.Code != string(code.ECHConfigs) || r.Fault != mtls.Misuse {
				t.Errorf("%+v", r)
			}
			if n := <-read; n != 0 {
				t.Error("something was sent")
			}
			if c.ech.Source != nil && name == "a source that fails" && !errors.Is(err, failed) {
				t.Error(err)
			}
		})
	}
}

func TestWrongECHSettingsAreRefused(t *testing.T) {
	h := newHouse(t)
	for _, e := range []*mtls.ClientECH{{}, {Retry: true}, {Grease: true, Retry: true}} {
		cc := h.clientConfig()
		cc.ECH = e
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("%+v was taken", e)
		}
	}
	sc := h.serverConfig()
	sc.ECH = &mtls.ECHKeys{}
	if _, err := mtls.NewServer(sc); err == nil {
		t.Error("a server with ECH and no keys was taken")
	}
	key := echKey(t)
	keys := echKeys(t, key)
	for _, set := range [][]*mtls.ECHKey{nil, {nil}, {key, key, key, key, key}} {
		if keys.Set(set) == nil {
			t.Errorf("%d keys were taken", len(set))
		}
	}
	if !bytes.Equal(keys.ConfigList(), key.ConfigList()) {
		t.Error("what was refused changed something")
	}
	for _, shape := range []mtls.ECHShape{{}, {PublicName: "10.0.0.1"}, {PublicName: strings.Repeat("a", 64)}} {
		if _, err := mtls.NewECHKey(shape); err == nil {
			t.Errorf("%+v was taken", shape)
		}
	}
	if _, err := mtls.NewECHKey(mtls.ECHShape{PublicName: "a.example"}, nil); err == nil {
		t.Error("no key was taken for one")
	}
}

func TestAKeyForAllTimes(t *testing.T) {
	h := newHouse(t)
	key, err := mtls.NewECHKey(mtls.ECHShape{PublicName: "public.example", PostQuantum: true})
	if err != nil {
		t.Fatal(err)
	}
	_, client := met(t, h.echServer(echKeys(t, key)), h.echClient(key.ConfigList()))
	if client.Negotiated().ECH != mtls.ECHAccepted {
		t.Error(client.Negotiated().ECH)
	}
}

// The standard library as the other end: a second opinion on all of it.
func TestEncryptedHellosWithTheStandardLibrary(t *testing.T) {
	h := newHouse(t)
	old := echKey(t)
	key := echKey(t, old)
	orders, public := h.issuing.Leaf("orders", mint.Key("p256")), h.issuing.Leaf("public.example", mint.Key("p256"))
	choose := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c := foreign(orders)
		if hello.ServerName == "public.example" {
			c = foreign(public)
		}
		return &c, nil
	}
	for _, retry := range []bool{false, true} {
		name, ours, theirs := "", []mtls.Group{suite.X25519}, []tls.CurveID{tls.X25519, tls.CurveP256}
		if retry {
			name, ours, theirs = "/retry", []mtls.Group{suite.X25519, suite.P256}, []tls.CurveID{tls.CurveP256}
		}
		t.Run("they serve"+name, func(t *testing.T) {
			for _, known := range []bool{true, false} {
				st, ct := loopback(t)
				served := make(chan error, 1)
				go func() {
					s := tls.Server(st, &tls.Config{
						GetCertificate: choose, CurvePreferences: theirs, ClientAuth: tls.RequestClientCert,
						EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{standardKey(t, key)},
					})
					err := echo(s)
					if err == nil && !s.ConnectionState().ECHAccepted {
						err = errors.New("they did not accept it")
					}
					_ = s.Close()
					served <- err
				}()
				list := key.ConfigList()
				if !known {
					list = old.ConfigList()
				}
				cc := h.echClient(list)
				cc.Groups, cc.KeyShares, cc.GREASE, cc.PermuteExtensions = ours, 1, true, true
				conn, err := newClient(t, cc).Connect(context.Background(), ct, "orders")
				if !known {
					var rejection *mtls.ECHRejection
					if !errors.As(err, &rejection) || !bytes.Equal(rejection.RetryConfigs, key.ConfigList()) {
						t.Errorf("%v: %+v", err, rejection)
					}
					if err := <-served; err == nil || !strings.Contains(err.Error(), "encrypted client hello required") {
						t.Errorf("they say %v", err)
					}
					continue
				}
				if err != nil {
					t.Fatal(err, <-served)
				}
				if err := exchange(conn, noise(5000)); err != nil {
					t.Error(err)
				}
				_ = conn.Close()
				if err := <-served; err != nil {
					t.Error(err)
				}
				if n := conn.Negotiated(); n.ECH != mtls.ECHAccepted || n.Retried != retry {
					t.Errorf("agreed on %+v", n)
				}
			}
		})
		t.Run("they connect"+name, func(t *testing.T) {
			for _, known := range []bool{true, false} {
				sc := h.echServer(echKeys(t, key))
				sc.Clients = mtls.Anonymous()
				groups := []tls.CurveID{tls.X25519}
				if retry {
					sc.Groups, groups = []mtls.Group{suite.P256}, []tls.CurveID{tls.X25519, tls.CurveP256}
				}
				s := newServer(t, sc)
				st, ct := loopback(t)
				type outcome struct {
					n   mtls.Negotiated
					err error
				}
				served := make(chan outcome, 1)
				go func() {
					c, err := s.Accept(context.Background(), st)
					if err != nil {
						served <- outcome{err: err}
						return
					}
					err = echo(c)
					served <- outcome{c.Negotiated(), err}
					_ = c.Close()
				}()
				list := key.ConfigList()
				if !known {
					list = old.ConfigList()
				}
				c := tls.Client(ct, &tls.Config{ServerName: "orders", RootCAs: pool(h.root), CurvePreferences: groups, EncryptedClientHelloConfigList: list})
				err := c.Handshake()
				if !known {
					var rejection *tls.ECHRejectionError
					if !errors.As(err, &rejection) || !bytes.Equal(rejection.RetryConfigList, key.ConfigList()) {
						t.Errorf("they say %v", err)
					}
					if r := refusal(t, (<-served).err); r.Code != string(code.RefusedECH) {
						t.Errorf("%+v", r)
					}
					continue
				}
				if err != nil {
					t.Fatal(err, (<-served).err)
				}
				if !c.ConnectionState().ECHAccepted {
					t.Error("they were not accepted")
				}
				if err := exchange(c, noise(5000)); err != nil {
					t.Error(err)
				}
				_ = c.Close()
				if o := <-served; o.err != nil || o.n.ECH != mtls.ECHAccepted || o.n.ServerName != "orders" || o.n.Retried != retry {
					t.Errorf("%+v, %v", o.n, o.err)
				}
			}
		})
	}
}
