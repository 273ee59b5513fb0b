package handshake

import (
	"crypto/rand"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// delegation is a credential that the key of kind by made for the key of kind to.
func delegation(t testing.TB, by, to string, scheme, algorithm suite.Scheme, server bool) []byte {
	t.Helper()
	d := message.DelegatedCredential{ValidTime: 3600, Scheme: scheme, Key: spki(to), Algorithm: algorithm}
	var err error
	if d.Signature, err = suite.Sign(rand.Reader, leaf(by).Key, algorithm, d.Input(server, leaf(by).Chain[0])); err != nil {
		t.Fatal(err)
	}
	b, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLiesWithDelegatedCredentials(t *testing.T) {
	const p256, ed = suite.ECDSAWithP256AndSHA256, suite.Ed25519
	good := delegation(t, "p256", "ed25519", ed, p256, true)
	broken := append([]byte(nil), good...)
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		takes []suite.Scheme
		at    int // beside which certificate
		body  []byte
		sign  suite.Scheme // 0: it ends before
		alert alert.Alert  // 0: it is taken
	}{
		"none":                         {[]suite.Scheme{ed}, 0, good, ed, 0},
		"not asked for":                {nil, 0, good, 0, alert.UnexpectedMessage},
		"beside the issuer":            {[]suite.Scheme{ed}, 1, good, 0, alert.IllegalParameter},
		"with another scheme":          {[]suite.Scheme{p256}, 0, good, 0, alert.IllegalParameter},
		"with a broken signature":      {[]suite.Scheme{ed}, 0, broken, 0, alert.IllegalParameter},
		"cut off":                      {[]suite.Scheme{ed}, 0, good[:len(good)-1], 0, alert.DecodeError},
		"made for a client":            {[]suite.Scheme{ed}, 0, delegation(t, "p256", "ed25519", ed, p256, false), 0, alert.IllegalParameter},
		"for a key of another kind":    {[]suite.Scheme{ed}, 0, delegation(t, "p256", "p384", ed, p256, true), 0, alert.IllegalParameter},
		"and the certificate's key":    {[]suite.Scheme{ed}, 0, good, p256, alert.IllegalParameter},
		"made by a scheme not offered": {[]suite.Scheme{ed}, 0, delegation(t, "rsa2048", "ed25519", ed, suite.PKCS1WithSHA256, true), 0, alert.IllegalParameter},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.client.Delegated = c.takes
			a := newServerActor(t, s)
			a.serverHello(nil)
			a.extensions(nil)
			key := leaf("p256")
			if c.body != nil && name == "made by a scheme not offered" {
				key = leaf("rsa2048")
			}
			a.certificate(key, func(m *message.Certificate) {
				m.Entries = append(m.Entries, message.CertificateEntry{Data: m.Entries[0].Data})
				m.Entries[c.at].Extensions = []message.Extension{{Type: message.ExtDelegatedCredential, Body: c.body}}
			})
			switch c.sign {
			case ed:
				a.verify(leaf("ed25519"), nil)
				a.finished(nil)
			case p256:
				a.verify(leaf("p256"), nil)
			}
			if c.alert == 0 {
				if a.peer.err != nil || !a.peer.done || a.peer.told[VerifyPeer].Delegation == nil {
					t.Fatalf("done: %v, %v", a.peer.done, a.peer.err)
				}
				return
			}
			failedWith(t, a.peer.err, c.alert)
		})
	}
}

// A credential that the peer did not ask for is not shown.
func TestADelegatedCredentialIsNotShownUnasked(t *testing.T) {
	p := newPair(t, mutual())
	p.server.selects = func(*Op) *Credential {
		c := *credential(t, leaf("p256"))
		c.Delegated = &Delegation{Scheme: suite.ECDSAWithP256AndSHA256, Algorithm: suite.ECDSAWithP256AndSHA256}
		return &c
	}
	p.run(modes[0])
	failedWith(t, p.server.err, alert.HandshakeFailure)
}
