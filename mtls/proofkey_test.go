package mtls_test

import (
	"crypto/x509"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// A verifier that does not look at the key usage admits nobody whose key may not
// sign (RFC 8446, section 4.4.2.2).
func TestAKeyThatMayNotSignProvesNothingWhateverTheVerifierSays(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(admitAll())
	cc.Identity = h.leaf("web", mint.KeyUsage(x509.KeyUsageKeyAgreement))
	_, _, err, _ := meet(t, newServer(t, sc), newClient(t, cc), "orders")
	if r := refusal(t, err); r.Code != string(code.WrongKeyUsage) || r.Alert != alert.UnsupportedCertificate {
		t.Errorf("%v", r)
	}
}

func TestACertificateSignsWithTheSchemesThatItIsLimitedTo(t *testing.T) {
	h := newHouse(t)
	own := h.leaf("web", mint.Key("rsa2048"))
	last := own.Schemes()[len(own.Schemes())-1]
	for _, wrong := range [][]mtls.Scheme{nil, {suite.Ed25519}, {last, last}} {
		if _, err := own.Signing(wrong...); err == nil {
			t.Errorf("%v were taken", wrong)
		}
	}
	limited, err := own.Signing(last)
	if err != nil || !slices.Equal(limited.Schemes(), []mtls.Scheme{last}) {
		t.Fatalf("%v, %v", limited, err)
	}
	sc, cc := h.serverConfig(), h.clientConfig()
	cc.Identity = limited
	server, client := met(t, sc, cc)
	if got := server.Negotiated().Scheme; got != last || client.Local() != limited {
		t.Errorf("the client signed with %v, and shows %p; expected %v and %p", got, client.Local(), last, limited)
	}

	raw, err := mtls.NewRawKey(h.issuing.Leaf("web").Key)
	if err != nil {
		t.Fatal(err)
	}
	if limited, err = raw.Signing(raw.Schemes()[0]); err != nil || limited.Kind() != mtls.RawPublicKey || limited.RawKey() == nil {
		t.Errorf("a raw public key that is limited is %v, %v", limited.Kind(), err)
	}

	// What we take of the peer is another matter.
	sc, cc = h.serverConfig(), h.clientConfig()
	sc.Schemes = []mtls.Scheme{suite.Ed25519}
	cc.Identity = h.leaf("web", mint.Key("ed25519"))
	server, client = met(t, sc, cc)
	if s, c := server.Negotiated().Scheme, client.Negotiated().Scheme; s != suite.Ed25519 || c == suite.Ed25519 {
		t.Errorf("the client signed with %v, the server with %v", s, c)
	}
}
