package mtls_test

import (
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki/ct"
)

// What decides in the handshake decides later too: the OCSP response and the
// timestamps that a request asks for, and the time of a delegated credential.
func TestALateProofIsJudgedWithAllThatComesBesideIt(t *testing.T) {
	h := newHouse(t)
	log := mint.NewLog("a", "One", "")
	logs := policyOf(t, ct.Rule{Timestamps: 1}, log)
	until := time.Now().Add(time.Hour)
	proves := map[string]func(*testing.T, *mtls.Conn, *mtls.Conn) (*mtls.Verdict, error){
		"after the handshake": func(t *testing.T, server, _ *mtls.Conn) (*mtls.Verdict, error) {
			err := server.RequestCertificate(within(t))
			return server.Verdict(), err
		},
		"an authenticator": func(t *testing.T, server, client *mtls.Conn) (*mtls.Verdict, error) {
			request, err := server.AuthenticatorRequest()
			if err != nil {
				t.Fatal(err)
			}
			proof, err := client.Authenticate(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			p, err := server.Validate(t.Context(), request, proof)
			if err != nil {
				return nil, err
			}
			return p.Verdict, nil
		},
	}
	for name, prove := range proves {
		for what, c := range map[string]struct {
			set  func(*testing.T, *mtls.ServerConfig, *mtls.ClientConfig)
			code string
			ends bool // with the delegated credential
		}{
			"good": {func(t *testing.T, sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
				l := h.issuing.Leaf("web")
				own := certificate(t, l)
				if err := own.Staple(mtls.Staple{Response: h.answerOf(l, ocsp.Good, until), From: time.Now().Add(-time.Hour), Until: until}); err != nil {
					t.Fatal(err)
				}
				if err := own.Timestamps(log.Promise(l.Cert.Raw, time.Now().Add(-time.Minute))); err != nil {
					t.Fatal(err)
				}
				cc.Identity, sc.Clients = own, mtls.OnRequest(mtls.RequireTimestamps(h.verifier(), logs))
			}, "", false},
			"without timestamps": {func(_ *testing.T, sc *mtls.ServerConfig, _ *mtls.ClientConfig) {
				sc.Clients = mtls.OnRequest(mtls.RequireTimestamps(h.verifier(), logs))
			}, "M0141", false},
			"revoked": {func(t *testing.T, _ *mtls.ServerConfig, cc *mtls.ClientConfig) {
				l := h.issuing.Leaf("web")
				own := certificate(t, l)
				if err := own.Staple(mtls.Staple{Response: h.answerOf(l, ocsp.Revoked, until), From: time.Now().Add(-time.Hour), Until: until}); err != nil {
					t.Fatal(err)
				}
				cc.Identity = own
			}, "M0121", false},
			"delegated": {func(t *testing.T, _ *mtls.ServerConfig, cc *mtls.ClientConfig) {
				web := h.delegating("web", mint.Lifetime(48*time.Hour))
				cc.Identity = mtls.Choose(delegated(t, web, mtls.RoleClient, "p256"), certificate(t, web))
			}, "", true},
			"delegated, and over": {func(t *testing.T, sc *mtls.ServerConfig, cc *mtls.ClientConfig) {
				cc.Identity = mtls.NewSwap(delegated(t, h.delegating("web"), mtls.RoleClient, "p256")) // which is not looked at before
				sc.Clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
			}, "M0139", false},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				sc, cc := asking(h)
				sc.Beside, sc.DelegatedCredentials = mtls.Beside{OCSP: true, Timestamps: true}, true
				sc.Compression = mtls.Compression{Offer: true}
				c.set(t, &sc, &cc)
				server, client := met(t, sc, cc)
				reads(t, client)
				v, err := prove(t, server, client)
				if c.code != "" {
					if r := refusal(t, err); r.Code != c.code {
						t.Errorf("%v", r)
					}
					return
				}
				if err != nil || !v.OK {
					t.Fatalf("%+v, %v", v, err)
				}
				if left := time.Until(v.Until); c.ends != (left < time.Hour+time.Second) {
					t.Errorf("it stands for %v", left)
				}
			})
		}
	}
}
