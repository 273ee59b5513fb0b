package mtls_test

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// one is a cache of one session, whatever it is filed by.
type one struct {
	mu sync.Mutex
	s  *tls.ClientSessionState
}

func (o *one) Get(string) (*tls.ClientSessionState, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.s, o.s != nil
}

func (o *one) Put(_ string, s *tls.ClientSessionState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s != nil {
		o.s = s
	}
}

var groupsToRetry = struct{ client, server []mtls.Group }{[]mtls.Group{suite.X25519, suite.P256}, []mtls.Group{suite.P256}}

func curves(groups []mtls.Group) []tls.CurveID {
	out := make([]tls.CurveID, len(groups))
	for i, g := range groups {
		out[i] = tls.CurveID(g)
	}
	return out
}

// The standard library resumes with us, both ways, at once and after a
// HelloRetryRequest, whose second hello has a binder of its own.
func TestTheStandardLibraryResumesWithUs(t *testing.T) {
	for _, retry := range []bool{false, true} {
		for _, mutual := range []bool{false, true} {
			for _, id := range []mtls.Suite{suite.AES128GCMSHA256, suite.AES256GCMSHA384} {
				h := newHouse(t)
				orders, web := h.issuing.Leaf("orders"), h.issuing.Leaf("web")
				client, server := []mtls.Group{suite.X25519}, []mtls.Group{suite.X25519}
				if retry {
					client, server = groupsToRetry.client, groupsToRetry.server
				}
				name := id.String()
				if mutual {
					name += ", mutual"
				}
				if retry {
					name += ", retry"
				}
				t.Run("they call/"+name, func(t *testing.T) {
					sc, _ := h.resuming()
					sc.Groups, sc.Suites = server, []mtls.Suite{id}
					cfg := &tls.Config{RootCAs: pool(h.root), ServerName: "orders", MinVersion: tls.VersionTLS13, CurvePreferences: curves(client), ClientSessionCache: &one{}}
					if mutual {
						cfg.Certificates = []tls.Certificate{foreign(web)}
					} else {
						sc.Clients = mtls.Anonymous()
					}
					s, p := newServer(t, sc), newPlace(t)
					for i := range 3 {
						state, conn := call(t, p, s, cfg)
						if n := conn.Negotiated(); n.Resumed != (i > 0) || state.DidResume != (i > 0) || n.Retried != retry || n.Suite != id || n.ClientAuthenticated != mutual {
							t.Errorf("connection %d: they resumed: %v; we agreed on %+v", i+1, state.DidResume, n)
						}
						if peer, ok := conn.Peer(); ok != mutual || mutual && peer.Name() != "web" {
							t.Errorf("connection %d: the peer is %q %v", i+1, peer.Name(), ok)
						}
					}
				})
				t.Run("they serve/"+name, func(t *testing.T) {
					_, cc := h.resuming()
					cc.Groups, cc.Suites = client, []mtls.Suite{id}
					cfg := &tls.Config{Certificates: []tls.Certificate{foreign(orders)}, MinVersion: tls.VersionTLS13, CurvePreferences: curves(server)}
					if mutual {
						cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, pool(h.root)
					} else {
						cc.Identity = nil
					}
					c, p := newClient(t, cc), newPlace(t)
					for i := range 3 {
						st, ct := p.transports()
						served := make(chan tls.ConnectionState, 1)
						go func() {
							s := tls.Server(st, cfg)
							_ = s.SetDeadline(soon())
							_, err := s.Write([]byte{1})
							if err != nil {
								t.Error(err)
							}
							served <- s.ConnectionState()
						}()
						ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
						conn, err := c.Connect(ctx, ct, "orders")
						cancel()
						if err != nil {
							t.Fatal(err)
						}
						_ = conn.SetReadDeadline(soon())
						if _, err := conn.Read(make([]byte, 1)); err != nil {
							t.Fatal(err)
						}
						state := <-served
						if n := conn.Negotiated(); n.Resumed != (i > 0) || state.DidResume != (i > 0) || n.Retried != retry || n.Suite != id || n.ClientAuthenticated != mutual {
							t.Errorf("connection %d: they resumed: %v; we agreed on %+v", i+1, state.DidResume, n)
						}
						if peer, ok := conn.Peer(); !ok || peer.Name() != "orders" {
							t.Errorf("connection %d: the peer is %q %v", i+1, peer.Name(), ok)
						}
						if mutual && (len(state.PeerCertificates) == 0 || conn.Local() == nil) {
							t.Errorf("connection %d: who we are was lost", i+1)
						}
					}
				})
			}
		}
	}
}

// call has the standard library's client reach s.
func call(t *testing.T, p *place, s *mtls.Server, cfg *tls.Config) (tls.ConnectionState, *mtls.Conn) {
	t.Helper()
	st, ct := p.transports()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var conn *mtls.Conn
	served := make(chan error, 1)
	go func() {
		c, err := s.Accept(ctx, st)
		if err == nil {
			_, err = c.Write([]byte{1})
		}
		conn = c
		served <- err
	}()
	client := tls.Client(ct, cfg)
	_ = client.SetDeadline(soon())
	_, err := client.Read(make([]byte, 1))
	if err = errors.Join(err, <-served); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState(), conn
}

// A client that files its sessions badly is not resumed under another name, nor
// after it has gone over to another certificate.
func TestASessionIsOfOneServerName(t *testing.T) {
	h := newHouse(t)
	sc, _ := h.resuming()
	sc.Identity = h.leaf("orders", mint.Names("orders", "payments"))
	s, p := newServer(t, sc), newPlace(t)
	cfg := &tls.Config{
		RootCAs: pool(h.root), ServerName: "orders", MinVersion: tls.VersionTLS13, ClientSessionCache: &one{},
		Certificates: []tls.Certificate{foreign(h.issuing.Leaf("web"))},
	}
	for _, want := range []struct {
		name    string
		resumed bool
	}{{"orders", false}, {"orders", true}, {"payments", false}, {"payments", true}, {"orders", false}} {
		cfg.ServerName = want.name
		if _, conn := call(t, p, s, cfg); conn.Negotiated().Resumed != want.resumed {
			t.Errorf("%s resumed: %v", want.name, !want.resumed)
		}
	}
}
