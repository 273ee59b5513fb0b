package handshake

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
)

var (
	rawFirst  = []CertificateType{RawPublicKey, X509}
	x509First = []CertificateType{X509, RawPublicKey}
	rawOnly   = []CertificateType{RawPublicKey}
)

func kinds(list []CertificateType) func() []CertificateType {
	return func() []CertificateType { return list }
}

func spki(kind string) []byte {
	b, err := x509.MarshalPKIXPublicKey(leaf(kind).Key.Public())
	if err != nil {
		panic(err)
	}
	return b
}

// rawCredential is the bare key of kind.
func rawCredential(t testing.TB, kind string) *Credential {
	c := credential(t, leaf(kind))
	wire, err := (&message.Certificate{Entries: []message.CertificateEntry{{Data: spki(kind)}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Credential{Type: RawPublicKey, Wire: wire, Schemes: c.Schemes, Value: c.Value}
}

// bare are ends that show a raw key where the peer takes one.
func bare(t testing.TB, s setting) *pair {
	p := newPair(t, s)
	for _, e := range []*end{p.client, p.server} {
		e.selects = func(op *Op) *Credential {
			if has(op.Types, RawPublicKey) {
				return rawCredential(t, "p256")
			}
			return credential(t, e.leaf)
		}
	}
	return p
}

func TestEachDirectionHasItsKindOfProof(t *testing.T) {
	for name, c := range map[string]struct {
		clientOwn, clientTakes, serverTakes []CertificateType
		client, server                      CertificateType // what each shows
	}{
		"raw both ways":               {rawOnly, rawOnly, rawOnly, RawPublicKey, RawPublicKey},
		"a raw server":                {nil, rawFirst, nil, X509, RawPublicKey},
		"a raw client":                {rawFirst, nil, rawFirst, RawPublicKey, X509},
		"the server prefers chains":   {rawFirst, nil, x509First, X509, X509},
		"the client would, we do not": {rawFirst, nil, nil, X509, X509},
		"the server would, we do not": {nil, nil, rawFirst, X509, X509},
	} {
		for _, m := range modes {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				s := resuming(mutual())
				s.client.OwnTypes, s.client.PeerTypes, s.server.PeerTypes = kinds(c.clientOwn), kinds(c.clientTakes), kinds(c.serverTakes)
				p := bare(t, s)
				p.server.vault = map[string]*Session{}
				p.run(m)
				for _, e := range []struct {
					seer  *end
					shown CertificateType
				}{{p.server, c.client}, {p.client, c.server}} {
					r := e.seer.Result()
					if e.seer.err != nil || r == nil {
						t.Fatalf("the %s: %v", e.seer.name, e.seer.err)
					}
					want := leaf("p256").Chain[0]
					if e.shown == RawPublicKey {
						want = spki("p256")
					}
					if r.PeerType != e.shown || e.seer.told[VerifyPeer].Type != e.shown || !bytes.Equal(e.seer.judged[0], want) {
						t.Errorf("the %s saw %v, and judged %v", e.seer.name, r.PeerType, e.seer.told[VerifyPeer].Type)
					}
				}
				// What is resumed is what it was.
				for _, kept := range p.server.vault {
					if kept.PeerType != c.client || kept.OwnType != c.server {
						t.Errorf("the ticket holds %v and %v", kept.PeerType, kept.OwnType)
					}
				}
			})
		}
	}
}

func TestNoCommonKindOfProof(t *testing.T) {
	s := mutual()
	s.server.PeerTypes = kinds(rawOnly)
	p := newPair(t, s)
	p.run(modes[0])
	failedWith(t, p.server.err, alert.UnsupportedCertificate)
}

// What a server can do wrong with raw public keys, and a client with it.
func TestLiesAboutKindsOfProof(t *testing.T) {
	raw, plain := RawPublicKey, X509
	entries := func(data ...[]byte) func(*message.Certificate) {
		return func(m *message.Certificate) {
			m.Entries = nil
			for _, d := range data {
				m.Entries = append(m.Entries, message.CertificateEntry{Data: d})
			}
		}
	}
	for name, c := range map[string]struct {
		own, takes []CertificateType
		answer     func(*message.EncryptedExtensions)
		show       func(*message.Certificate) // nil where it ends before
		alert      alert.Alert
	}{
		"a raw key that was not asked for": {nil, nil, func(m *message.EncryptedExtensions) { m.ServerType = &raw }, nil, alert.UnsupportedExtension},
		"a raw key asked of us unoffered":  {nil, nil, func(m *message.EncryptedExtensions) { m.ClientType = &raw }, nil, alert.UnsupportedExtension},
		"a chain where we take keys":       {nil, rawOnly, func(m *message.EncryptedExtensions) { m.ServerType = &plain }, nil, alert.UnsupportedCertificate},
		"nothing said where we take keys":  {nil, rawOnly, nil, nil, alert.UnsupportedCertificate},
		"a chain asked where we have keys": {rawOnly, nil, func(m *message.EncryptedExtensions) { m.ClientType = &plain }, nil, alert.UnsupportedCertificate},
		"a chain shown as a key":           {nil, rawFirst, func(m *message.EncryptedExtensions) { m.ServerType = &raw }, entries(leaf("p256").Chain[0]), alert.DecodeError},
		"two keys":                         {nil, rawFirst, func(m *message.EncryptedExtensions) { m.ServerType = &raw }, entries(spki("p256"), spki("p256")), alert.IllegalParameter},
		"a key shown as a chain":           {nil, rawFirst, nil, entries(spki("p256")), 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.client.OwnTypes, s.client.PeerTypes = kinds(c.own), kinds(c.takes)
			a := newServerActor(t, s)
			a.serverHello(nil)
			a.extensions(c.answer)
			if c.show != nil {
				a.certificate(leaf("p256"), c.show)
			}
			if c.alert == 0 {
				if a.peer.err == nil {
					t.Fatal("it was taken")
				}
				return
			}
			failedWith(t, a.peer.err, c.alert)
		})
	}
}

// A key without the proof that its holder has it is nothing (wolfSSL's
// CVE-2026-55960 and OpenSSL's CVE-2024-12797 in one).
func TestARawKeyHasToBeProven(t *testing.T) {
	s := usual()
	s.client.PeerTypes = kinds(rawOnly)
	raw := RawPublicKey
	show := func(t *testing.T) *actor {
		a := newServerActor(t, s)
		a.serverHello(nil)
		a.extensions(func(m *message.EncryptedExtensions) { m.ServerType = &raw })
		a.certificate(leaf("p256"), func(m *message.Certificate) {
			m.Entries = []message.CertificateEntry{{Data: spki("p256")}}
		})
		return a
	}
	a := show(t)
	a.finished(nil)
	failedWith(t, a.peer.err, alert.UnexpectedMessage)
	a = show(t)
	a.verify(leaf("p256"), func(m *message.CertificateVerify) { m.Signature[len(m.Signature)-1] ^= 1 })
	failedWith(t, a.peer.err, alert.DecryptError)
	a = show(t)
	a.verify(leaf("p256"), nil)
	a.finished(nil)
	if a.peer.err != nil || !a.peer.done {
		t.Fatalf("an honest one: %v", a.peer.err)
	}
}

// An identity that gives what the peer does not take breaks nothing but its own
// handshake.
func TestAnIdentityOfAnotherKindIsNotShown(t *testing.T) {
	p := newPair(t, mutual())
	p.server.selects = func(*Op) *Credential { return rawCredential(t, "p256") }
	p.run(modes[0])
	if f := failedWith(t, p.server.err, alert.HandshakeFailure); !strings.Contains(f.Reason, "RawPublicKey") {
		t.Error(f)
	}
}

func TestAnUnsupportedRawKeyIsCalledThat(t *testing.T) {
	s := usual()
	s.client.PeerTypes = kinds(rawOnly)
	raw := RawPublicKey
	a := newServerActor(t, s)
	a.serverHello(nil)
	a.extensions(func(m *message.EncryptedExtensions) { m.ServerType = &raw })
	other := bytes.Replace(spki("p256"), []byte("\x2a\x86\x48\xce\x3d\x03\x01\x07"), []byte("\x2a\x86\x48\xce\x3d\x03\x01\x06"), 1)
	a.certificate(leaf("p256"), func(m *message.Certificate) { m.Entries = []message.CertificateEntry{{Data: other}} })
	failedWith(t, a.peer.err, alert.UnsupportedCertificate)
}
