package mtls_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509/pkix"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

// answerOf is an OCSP response of the issuing authority, by another library.
func (h *house) answerOf(l *mint.Leaf, status int, until time.Time) []byte {
	h.t.Helper()
	b, err := ocsp.CreateResponse(h.issuing.Cert, h.issuing.Cert, ocsp.Response{
		Status: status, SerialNumber: l.Cert.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until,
		RevokedAt: time.Now().Add(-time.Minute), IssuerHash: crypto.SHA1,
	}, h.issuing.Key)
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// A certificate that says that it comes with an answer is refused without a good
// one by whoever asked, and one that was revoked in any case: both ways.
func TestAStapleDecidesWhereItMust(t *testing.T) {
	h := newHouse(t)
	must := mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}})
	soon := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		must, asked bool
		status      int // -1 for no staple
		code        string
	}{
		"good":                      {true, true, ocsp.Good, ""},
		"none where one must be":    {true, true, -1, "M0140"},
		"none, and nobody asked":    {true, false, -1, ""},
		"none where none need be":   {false, true, -1, ""},
		"revoked":                   {false, true, ocsp.Revoked, "M0121"},
		"revoked, and nobody asked": {false, false, ocsp.Revoked, ""},
	} {
		for _, role := range []mtls.Role{mtls.RoleServer, mtls.RoleClient} {
			t.Run(name+" of a "+role.String(), func(t *testing.T) {
				opts := []mint.Option{}
				if c.must {
					opts = append(opts, must)
				}
				sc, cc := h.serverConfig(), h.clientConfig()
				l := h.issuing.Leaf(map[mtls.Role]string{mtls.RoleServer: "orders", mtls.RoleClient: "web"}[role], opts...)
				own := certificate(t, l)
				if c.status >= 0 {
					if err := own.Staple(mtls.Staple{Response: h.answerOf(l, c.status, soon), From: time.Now().Add(-time.Hour), Until: soon}); err != nil {
						t.Fatal(err)
					}
				}
				if role == mtls.RoleServer {
					sc.Identity, cc.Beside.OCSP = own, c.asked
				} else {
					cc.Identity, sc.Beside.OCSP = own, c.asked
				}
				_, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders")
				err := cerr
				if role == mtls.RoleClient {
					err = serr
				}
				if c.code == "" {
					if serr != nil || cerr != nil {
						t.Fatalf("%v; %v", serr, cerr)
					}
					return
				}
				if err == nil || refusal(t, err).Code != c.code {
					t.Errorf("%v", err)
				}
			})
		}
	}
	l := h.issuing.Leaf("orders")
	own := certificate(t, l)
	if s, err := mtls.NewStaple(own, h.answerOf(l, ocsp.Good, soon), nil, time.Now()); err != nil || s.Until.Sub(soon).Abs() > time.Second {
		t.Errorf("%v, %v", s.Until, err)
	}
	for why, b := range map[string][]byte{
		"of another": h.answerOf(h.issuing.Leaf("orders"), ocsp.Good, soon), "revoked": h.answerOf(l, ocsp.Revoked, soon), "no response": {1, 2},
	} {
		if _, err := mtls.NewStaple(own, b, nil, time.Now()); err == nil {
			t.Errorf("%s: made a staple", why)
		}
	}
}

// What a full handshake would refuse, judging again refuses, too: who was asked for an
// answer and showed none is not let in by a verifier that wants one, for having come
// before it.
func TestARecheckKnowsWhetherAnAnswerWasAskedFor(t *testing.T) {
	h := newHouse(t)
	l := h.issuing.Leaf("web", mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}))
	for _, asked := range []bool{false, true} {
		swap := mtls.NewSwapVerifier(mtls.Pin(sha256.Sum256(l.Cert.RawSubjectPublicKeyInfo)))
		sc, cc := h.serverConfig(), h.clientConfig()
		sc.Clients, sc.Beside.OCSP, cc.Identity = mtls.Required(swap), asked, certificate(t, l)
		s := newServer(t, sc)
		sconn, _, serr, cerr := meet(t, s, newClient(t, cc), "orders")
		if serr != nil || cerr != nil {
			t.Fatal(serr, cerr)
		}
		swap.Set(h.verifier())
		s.Recheck(context.Background())
		cause := context.Cause(sconn.Context())
		if (cause != nil) != asked {
			t.Fatalf("asked %v, and it ended with %v", asked, cause)
		}
		if asked && refusal(t, cause).Code != "M0140" {
			t.Error(cause)
		}
	}
}
