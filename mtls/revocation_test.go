package mtls_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/revoke"
)

// crl is a revocation list of the issuing authority's.
func (h *house) crl(number int64, revoked ...*mint.Leaf) []byte {
	h.t.Helper()
	now := time.Now()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Cert.SerialNumber, RevocationTime: now})
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, h.issuing.Cert, h.issuing.Key)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// news is a source whose lists change.
type news struct {
	now atomic.Pointer[pki.RevocationSource]
}

func (n *news) set(t testing.TB, lists ...[]byte) {
	t.Helper()
	var all []*pki.RevocationList
	for _, b := range lists {
		r, err := pki.ParseRevocationList(b)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	s := pki.Lists(all...)
	n.now.Store(&s)
}

func (n *news) Evidence(c, issuer *pki.Certificate) pki.Evidence {
	return (*n.now.Load()).Evidence(c, issuer)
}
func (n *news) Generation() [sha256.Size]byte { return (*n.now.Load()).Generation() }

// Who is revoked is let in no more, by a full handshake or a ticket, and what stands is
// cut: all by the one verifier, on both sides.
func TestWhoIsRevokedIsRefusedInEveryWay(t *testing.T) {
	for _, side := range []string{"server", "client"} {
		t.Run("by a "+side, func(t *testing.T) {
			h := newHouse(t)
			sc, cc := h.resuming()
			peer := h.issuing.Leaf("web")
			if side == "client" {
				peer = h.issuing.Leaf("orders")
			}
			own := certificate(t, peer)
			n := &news{}
			n.set(t, h.crl(1))
			v := mtls.WithRevocation(h.verifier(), mtls.Revocation{Source: n, LeafOnly: true, Mode: pki.RevocationHard})
			if side == "server" {
				sc.Clients, cc.Identity = mtls.Required(v), own
			} else {
				cc.Servers, sc.Identity = v, own
			}
			s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
			sconn, cconn, _ := p.visit(s, c, "orders")
			if _, _, resumed := p.visit(s, c, "orders"); !resumed {
				t.Fatal("not resumed")
			}
			n.set(t, h.crl(2, peer))
			standing := sconn
			if side == "server" {
				s.Recheck(context.Background())
			} else {
				standing = cconn
				c.Recheck(context.Background())
			}
			select {
			case <-standing.Context().Done():
			case <-time.After(30 * time.Second):
				t.Fatal("what stands was not judged again")
			}
			if r := refusal(t, context.Cause(standing.Context())); r.Code != "M0121" {
				t.Errorf("cut with %v", r)
			}
			_, _, serr, cerr := p.try(s, c, "orders")
			ours, theirs := serr, cerr
			if side == "client" {
				ours, theirs = cerr, serr
			}
			if r := refusal(t, ours); r.Code != "M0121" || !r.Sent || r.Alert.String() != "certificate_revoked" {
				t.Errorf("refused with %+v", r)
			}
			if r := refusal(t, theirs); r.Alert.String() != "certificate_revoked" {
				t.Errorf("the peer was told %+v", r)
			}
			n.set(t, h.crl(3))
			p.visit(s, c, "orders")
		})
	}
}

func TestWhoNobodyKnowsAboutIsRefusedUnderHardFailAlone(t *testing.T) {
	h := newHouse(t)
	none := &news{}
	none.set(t)
	for mode, code := range map[pki.RevocationMode]string{pki.RevocationGiven: "", pki.RevocationSoft: "", pki.RevocationHard: "M0135"} {
		sc := h.serverConfig()
		sc.Clients = mtls.Required(mtls.WithRevocation(h.verifier(), mtls.Revocation{Source: none, Mode: mode}))
		_, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, h.clientConfig()), "orders")
		switch {
		case code == "" && (serr != nil || cerr != nil):
			t.Errorf("%v: %v, %v", mode, serr, cerr)
		case code != "" && serr == nil:
			t.Errorf("%v: let in", mode)
		case code != "":
			if r := refusal(t, serr); r.Code != code || r.Alert.String() != "certificate_unknown" || r.Mend == "" {
				t.Errorf("%v: %+v", mode, r)
			}
		}
	}
	// What comes beside the certificate is an answer, too.
	l := h.issuing.Leaf("web")
	own := certificate(t, l)
	soon := time.Now().Add(time.Hour)
	if err := own.Staple(mtls.Staple{Response: h.answerOf(l, ocsp.Good, soon), From: time.Now().Add(-time.Hour), Until: soon}); err != nil {
		t.Fatal(err)
	}
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(mtls.WithRevocation(h.verifier(), mtls.Revocation{Mode: pki.RevocationHard, LeafOnly: true}))
	sc.Beside.OCSP, cc.Identity = true, own
	met(t, sc, cc)
}

func TestRevocationThatCanNotBeAskedDoesNotStart(t *testing.T) {
	h := newHouse(t)
	lists := pki.Lists()
	for why, v := range map[string]mtls.Verifier{
		"no source":        mtls.WithRevocation(h.verifier(), mtls.Revocation{}),
		"no such mode":     mtls.WithRevocation(h.verifier(), mtls.Revocation{Source: lists, Mode: 9}),
		"a pin":            mtls.WithRevocation(mtls.Pin([32]byte{}), mtls.Revocation{Source: lists}),
		"around AllOf":     mtls.WithRevocation(mtls.AllOf(h.verifier()), mtls.Revocation{Source: lists}),
		"nobody, in AllOf": mtls.AllOf(mtls.WithRevocation(nil, mtls.Revocation{Source: lists})),
	} {
		cfg := h.serverConfig()
		cfg.Clients = mtls.Required(v)
		if _, err := mtls.NewServer(cfg); err == nil {
			t.Errorf("%s: a server starts", why)
		}
	}
}

// The whole of it: a server whose Checker fetches by the side lets a client in, hears
// of its revocation, and cuts it.
func TestNewsThatWereFetchedReachWhatStands(t *testing.T) {
	h := newHouse(t)
	var list atomic.Pointer[[]byte]
	place := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*list.Load()) }))
	defer place.Close()
	l := h.issuing.Leaf("web", mint.Lists(place.URL))
	revoked := h.crl(1, l)
	list.Store(&revoked)
	checker, err := revoke.New(revoke.Config{Fetch: true, Private: true})
	if err != nil {
		t.Fatal(err)
	}
	defer checker.Close()
	sc, cc := h.serverConfig(), h.clientConfig()
	cc.Identity = certificate(t, l)
	sc.Clients = mtls.Required(mtls.WithRevocation(h.verifier(), mtls.Revocation{Source: checker, Mode: pki.RevocationSoft}))
	s := newServer(t, sc)
	// The server comes to have a listener before any news, so that none is missed.
	checker.OnChange(func() { s.Recheck(context.Background()) })
	sconn, _, serr, _ := meet(t, s, newClient(t, cc), "orders")
	if serr != nil { // the news were faster
		if r := refusal(t, serr); r.Code != "M0121" {
			t.Fatal(r)
		}
		return
	}
	select {
	case <-sconn.Context().Done():
	case <-time.After(time.Minute):
		t.Fatal("the connection stands")
	}
	if r := refusal(t, context.Cause(sconn.Context())); r.Code != "M0121" {
		t.Error(r)
	}
	// Who may wait in a handshake knows at once.
	waiting, err := revoke.New(revoke.Config{Fetch: true, Private: true, InHandshake: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	sc.Clients = mtls.Required(mtls.WithRevocation(h.verifier(), mtls.Revocation{Source: waiting, Mode: pki.RevocationSoft, LeafOnly: true}))
	_, _, serr, _ = meet(t, newServer(t, sc), newClient(t, cc), "orders")
	if serr == nil || refusal(t, serr).Code != "M0121" {
		t.Errorf("%v", serr)
	}
}
