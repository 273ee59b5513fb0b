package handshake

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

// shape is a handshake and what has to come of it.
type shape struct {
	name  string
	set   func(*setting)
	check func(*testing.T, *pair)
}

func shapes() []shape {
	all := []shape{
		{name: "server only"},
		{name: "mutual", set: func(s *setting) { s.server.ClientAuth = RequireClientCertificate }},
		{name: "optional, with a certificate", set: func(s *setting) { s.server.ClientAuth = RequestClientCertificate }},
		{name: "optional, without a certificate", set: func(s *setting) {
			s.server.ClientAuth, s.clientKey = RequestClientCertificate, ""
		}},
		{name: "no server name", set: func(s *setting) { s.name = "" }},
		{name: "ALPN by the server's preference", set: func(s *setting) {
			s.client.ALPN, s.server.ALPN = []string{"http/1.1", "h2"}, []string{"h2", "http/1.1"}
		}, check: func(t *testing.T, p *pair) {
			if got := p.client.Result().ALPN; got != "h2" {
				t.Errorf("chose %q", got)
			}
		}},
		{name: "ALPN on the client's side only", set: func(s *setting) { s.client.ALPN = []string{"h2"} }},
		{name: "ALPN on the server's side only", set: func(s *setting) { s.server.ALPN = []string{"h2"} }},
		{name: "authorities", set: func(s *setting) {
			s.server.ClientAuth = RequireClientCertificate
			s.server.Authorities = func() [][]byte { return [][]byte{{0x30, 0}, {0x30, 1, 5}} }
		}},
		{name: "retry to another group", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
			s.server.ClientAuth = RequireClientCertificate
		}, check: retried(true)},
		{name: "retry to a group that both like better", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256, suite.X25519}
		}, check: retried(true)},
		{name: "two key shares", set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519MLKEM768, suite.X25519}, []suite.GroupID{suite.X25519}
			s.client.KeyShares = 2
		}, check: retried(false)},
		{name: "the client has no AES in hardware", set: func(s *setting) {
			s.client.Suites = []suite.ID{suite.ChaCha20Poly1305SHA256, suite.AES128GCMSHA256}
			s.server.Suites = []suite.ID{suite.AES128GCMSHA256, suite.ChaCha20Poly1305SHA256}
		}, check: func(t *testing.T, p *pair) {
			if got := p.client.Result().Suite.ID; got != suite.ChaCha20Poly1305SHA256 {
				t.Errorf("chose %v", got)
			}
		}},
	}
	for name, groups := range map[string][]suite.GroupID{"": {suite.X25519}, ", and a retry": {suite.P256}} {
		all = append(all, shape{name: "values that mean nothing" + name, set: func(s *setting) {
			s.server.ClientAuth = RequireClientCertificate
			s.client.ALPN, s.server.ALPN = []string{"h2"}, []string{"h2"}
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, groups
			s.client.GREASE, s.client.Permute, s.server.GREASE = true, true, true
		}})
	}
	for _, id := range suite.Suites() {
		all = append(all, shape{name: "suite " + id.String(), set: func(s *setting) {
			s.client.Suites, s.server.Suites = suite.Suites(), []suite.ID{id}
			s.server.ClientAuth = RequireClientCertificate
		}})
		all = append(all, shape{name: "retry with " + id.String(), set: func(s *setting) {
			s.client.Suites, s.server.Suites = suite.Suites(), []suite.ID{id}
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
		}, check: retried(true)})
	}
	for _, g := range suite.Groups() {
		all = append(all, shape{name: "group " + g.String(), set: func(s *setting) {
			s.client.Groups, s.server.Groups = []suite.GroupID{g}, suite.Groups()
		}, check: retried(false)})
		if g != suite.X25519 {
			all = append(all, shape{name: "retry to " + g.String(), set: func(s *setting) {
				s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, g}, []suite.GroupID{g}
			}, check: retried(true)})
		}
	}
	for _, scheme := range suite.Schemes() {
		all = append(all, shape{name: "scheme " + scheme.String(), set: func(s *setting) {
			s.server.ClientAuth = RequireClientCertificate
			s.clientKey, s.serverKey = keyFor(scheme), keyFor(scheme)
			s.client.Schemes, s.server.Schemes = []suite.Scheme{scheme}, suite.Schemes()
		}, check: func(t *testing.T, p *pair) {
			// Both sides may sign with nothing else: the client offers this one
			// alone, and signs with what it would take itself.
			if c, s := p.client.Result().Scheme, p.server.Result().Scheme; c != scheme || s != scheme {
				t.Errorf("the server signed with %v, the client with %v", c, s)
			}
		}})
	}
	return all
}

func keyFor(s suite.Scheme) string {
	switch name := s.String(); {
	case strings.Contains(name, "secp256r1"):
		return "p256"
	case strings.Contains(name, "secp384r1"):
		return "p384"
	case strings.Contains(name, "secp521r1"):
		return "p521"
	case strings.Contains(name, "rsae"):
		return "rsa2048"
	case strings.Contains(name, "pss_pss"):
		return "rsapss2048"
	case strings.HasPrefix(name, "mldsa"):
		return name
	}
	return "ed25519"
}

func retried(want bool) func(*testing.T, *pair) {
	return func(t *testing.T, p *pair) {
		if got := p.server.Result().Retried; got != want {
			t.Errorf("retried: %v, expected %v", got, want)
		}
	}
}

func (s shape) setting() setting {
	set := usual()
	if s.set != nil {
		s.set(&set)
	}
	return set
}

// Every handshake, with each operation answered at once, late and in odd order,
// and with the peer's messages arriving meanwhile, comes to the same.
func TestEveryHandshakeEndsInAgreement(t *testing.T) {
	for _, s := range shapes() {
		for _, m := range modes {
			t.Run(s.name+"/"+m.name, func(t *testing.T) {
				p := newPair(t, s.setting())
				p.run(m)
				p.agreed(t)
				if s.check != nil {
					s.check(t, p)
				}
				asked := s.setting().server.ClientAuth != NoClientCertificate
				if got := p.client.Result().Asked; got != asked {
					t.Errorf("the client was asked for a certificate: %v", got)
				}
				// The ticket that says "admitted" comes exactly where it was asked.
				if want := asked; slices.Contains(p.client.standing, Ticket) != want {
					t.Errorf("tickets: %v, expected one: %v", p.client.standing, want)
				}
			})
		}
	}
}

// What each side does, in order: a change here is a change on the wire.
func TestTheOrderOfAHandshake(t *testing.T) {
	for name, want := range map[string]struct {
		set            setting
		client, server string
	}{
		"server only": {usual(),
			"send ClientHello, ccs, keys handshake read, keys handshake write, ask VerifyPeer, keys application read, " +
				"send Finished, keys application write, done",
			"ask SelectCertificate, send ServerHello, ccs, keys handshake write, keys handshake read, send EncryptedExtensions, " +
				"send Certificate, ask Sign, send CertificateVerify, send Finished, keys application write, keys application read, done"},
		"mutual": {mutual(),
			"send ClientHello, ccs, keys handshake read, keys handshake write, ask SelectCertificate, ask VerifyPeer, keys application read, " +
				"send Certificate, ask Sign, send CertificateVerify, send Finished, keys application write, done",
			"ask SelectCertificate, send ServerHello, ccs, keys handshake write, keys handshake read, send EncryptedExtensions, send CertificateRequest, " +
				"send Certificate, ask Sign, send CertificateVerify, send Finished, keys application write, ask VerifyPeer, " +
				"keys application read, send NewSessionTicket, done"},
		"retry": {func() setting {
			s := usual()
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
			return s
		}(),
			"send ClientHello, ccs, send ClientHello, keys handshake read, keys handshake write, ask VerifyPeer, keys application read, " +
				"send Finished, keys application write, done",
			"send ServerHello, ccs, ask SelectCertificate, send ServerHello, keys handshake write, keys handshake read, send EncryptedExtensions, " +
				"send Certificate, ask Sign, send CertificateVerify, send Finished, keys application write, keys application read, done"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, want.set)
			p.run(modes[0])
			p.agreed(t)
			if got := strings.Join(p.client.story, ", "); got != want.client {
				t.Errorf("the client:\n%s\nexpected\n%s", got, want.client)
			}
			if got := strings.Join(p.server.story, ", "); got != want.server {
				t.Errorf("the server:\n%s\nexpected\n%s", got, want.server)
			}
		})
	}
}

func TestOperationsTellWhatThePeerSaid(t *testing.T) {
	s := mutual()
	s.client.ALPN, s.server.ALPN = []string{"h2"}, []string{"h2"}
	s.client.Schemes = []suite.Scheme{suite.ECDSAWithP256AndSHA256, suite.Ed25519}
	names := [][]byte{{0x30, 0}, {0x30, 1, 5}}
	s.server.Authorities = func() [][]byte { return names }
	p := newPair(t, s)
	p.run(modes[1])
	p.agreed(t)
	if op := p.server.told[SelectCertificate]; op.ServerName != "orders.example" || !slices.Equal(op.ALPN, []string{"h2"}) || !slices.Equal(op.Schemes, s.client.Schemes) {
		t.Errorf("the server was asked for %+v", op)
	}
	if op := p.client.told[SelectCertificate]; op.ServerName != "orders.example" || !slices.EqualFunc(op.Authorities, names, bytes.Equal) || !slices.Equal(op.Schemes, s.server.Schemes) {
		t.Errorf("the client was asked for %+v", op)
	}
	if !slices.EqualFunc(p.client.judged, p.server.leaf.Chain, bytes.Equal) {
		t.Error("the client judged another chain than the server's")
	}
}

// After the handshake the machine holds no secret that what stands does not hold.
func TestADoneMachineCanBeLetGo(t *testing.T) {
	p := newPair(t, mutual())
	p.run(modes[0])
	p.agreed(t)
	for _, e := range []*end{p.client, p.server} {
		result := e.Result()
		want := bytes.Clone(result.Standing.ReadSecret())
		e.Discard()
		if !bytes.Equal(result.Standing.ReadSecret(), want) || bytes.Equal(want, make([]byte, len(want))) {
			t.Errorf("Discard of the %s's machine took what stands with it", e.name)
		}
		if _, err := result.Standing.Export("EXPORTER-test", nil, 16); err != nil {
			t.Errorf("the %s can't export after its machine was let go: %v", e.name, err)
		}
		for _, level := range []string{"handshake read", "handshake write"} {
			if s := e.secrets[level]; !bytes.Equal(s, make([]byte, len(s))) {
				t.Errorf("the %s's secret of %s is still there", e.name, level)
			}
		}
	}
}
