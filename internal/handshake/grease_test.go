package handshake

import (
	"bytes"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

func greasing() setting {
	s := mutual()
	s.client.Groups = []suite.GroupID{suite.X25519, suite.P256}
	s.client.ALPN = []string{"h2", "http/1.1"}
	s.client.GREASE, s.client.Permute, s.server.GREASE = true, true, true
	return s
}

// meaningless are the values of a list that nobody means.
func meaningless[T ~uint16](list []T) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return !suite.IsGREASE(uint16(v)) })
}

func greaseTypes(list []message.Extension) (types []message.ExtensionType, bodies int) {
	for _, x := range list {
		if suite.IsGREASE(uint16(x.Type)) {
			types, bodies = append(types, x.Type), bodies+len(x.Body)
		}
	}
	return types, bodies
}

func TestAClientOffersValuesThatMeanNothing(t *testing.T) {
	for range 40 { // each draw has its own pitfalls: two extensions of one type, say
		h := newServerActor(t, greasing()).hello
		if len(meaningless(h.CipherSuites)) != 1 || len(meaningless(h.Groups)) != 1 || len(meaningless(h.Schemes)) != 1 || len(meaningless(h.Versions)) != 1 {
			t.Fatalf("suites %v, groups %v, schemes %v, versions %x", h.CipherSuites, h.Groups, h.Schemes, h.Versions)
		}
		if k := h.KeyShares[0]; k.Group != h.Groups[0] || len(k.Data) != 1 || !suite.IsGREASE(uint16(k.Group)) {
			t.Fatalf("the first key share is in %v with %d bytes", k.Group, len(k.Data))
		}
		if p := h.ALPN[0]; len(h.ALPN) != 3 || len(p) != 2 || p[0] != p[1] || p[0]&0x0f != 0x0a {
			t.Fatalf("the protocols are %q", h.ALPN)
		}
		if len(h.PSKModes) != 2 || (h.PSKModes[1]-0x0b)%0x1f != 0 {
			t.Fatalf("the modes are %x", h.PSKModes)
		}
		if types, bodies := greaseTypes(h.Extensions); len(types) != 2 || types[0] == types[1] || bodies != 1 {
			t.Fatalf("the extensions are %v, with %d bytes", types, bodies)
		}
	}
}

func TestAServerMixesInValuesThatMeanNothing(t *testing.T) {
	p := newPair(t, greasing())
	request, ticket := 0, 0
	p.tamper = func(to *end, _ int, l letter) []letter {
		switch message.Type(l.msg[0]) {
		case message.TypeCertificateRequest:
			var m message.CertificateRequest
			if err := m.Parse(l.msg); err != nil {
				t.Fatal(err)
			}
			types, _ := greaseTypes(m.Extensions)
			request = len(types) + len(meaningless(m.Schemes))
		case message.TypeNewSessionTicket:
			var m message.NewSessionTicket
			if err := m.Parse(l.msg); err != nil {
				t.Fatal(err)
			}
			types, _ := greaseTypes(m.Extensions)
			ticket = len(types)
		}
		return []letter{l}
	}
	p.run(modes[0])
	p.agreed(t)
	if request != 2 || ticket != 1 {
		t.Errorf("%d in the CertificateRequest, %d in the NewSessionTicket", request, ticket)
	}
}

func TestNothingMeaninglessUnlessWanted(t *testing.T) {
	s := greasing()
	s.client.GREASE, s.client.Permute = false, false
	h := newServerActor(t, s).hello
	types, _ := greaseTypes(h.Extensions)
	if n := len(meaningless(h.CipherSuites)) + len(meaningless(h.Groups)) + len(meaningless(h.Versions)) + len(types); n != 0 {
		t.Errorf("%d values that mean nothing", n)
	}
}

// To choose a value that means nothing is to choose what was not offered, though
// it stood in the hello.
func TestWhoChoosesAMeaninglessValueIsRefused(t *testing.T) {
	for name, do := range map[string]func(*actor){
		"suite": func(a *actor) {
			a.serverHello(func(m *message.ServerHello) { m.CipherSuite = a.hello.CipherSuites[0] })
		},
		"version":   func(a *actor) { a.serverHello(func(m *message.ServerHello) { m.Version = a.hello.Versions[0] }) },
		"key share": func(a *actor) { a.serverHello(func(m *message.ServerHello) { m.KeyShare.Group = a.hello.Groups[0] }) },
		"retry group": func(a *actor) {
			a.retry(func(m *message.ServerHello) { m.CipherSuite, m.RetryGroup = suite.AES128GCMSHA256, a.hello.Groups[0] })
		},
		"protocol": func(a *actor) {
			a.serverHello(nil)
			a.extensions(func(m *message.EncryptedExtensions) { m.ALPN = a.hello.ALPN[0] })
		},
		"scheme": func(a *actor) {
			a.serverHello(nil)
			a.extensions(nil)
			a.certificate(leaf("p256"), nil)
			a.verify(leaf("p256"), func(m *message.CertificateVerify) { m.Scheme = a.hello.Schemes[0] })
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newServerActor(t, greasing())
			if name != "suite" { // what follows is of the one suite that is meant
				a.hello.CipherSuites = a.hello.CipherSuites[1:]
			}
			if name != "key share" {
				a.hello.KeyShares = a.hello.KeyShares[1:]
			} else {
				a.hello.KeyShares = []message.KeyShare{a.hello.KeyShares[1]}
			}
			do(a)
			failedWith(t, a.peer.err, alert.IllegalParameter)
		})
	}
}

func TestAServerLooksBehindAMeaninglessFirstSuite(t *testing.T) {
	s := usual()
	s.client.GREASE = true
	s.client.Suites = []suite.ID{suite.ChaCha20Poly1305SHA256, suite.AES128GCMSHA256}
	s.server.Suites = []suite.ID{suite.AES128GCMSHA256, suite.ChaCha20Poly1305SHA256}
	p := newPair(t, s)
	p.run(modes[0])
	p.agreed(t)
	if got := p.client.Result().Suite.ID; got != suite.ChaCha20Poly1305SHA256 {
		t.Errorf("chose %v: the client has no AES in hardware", got)
	}
}

func types(list []message.Extension) (all []message.ExtensionType) {
	for _, x := range list {
		all = append(all, x.Type)
	}
	return all
}

func TestTheOrderOfExtensionsIsDrawnForEachConnection(t *testing.T) {
	s := greasing()
	s.client.GREASE = false
	seen := map[string]bool{}
	for range 20 {
		seen[string(sum(types(newServerActor(t, s).hello.Extensions)))] = true
	}
	if len(seen) < 10 {
		t.Errorf("20 connections had %d orders", len(seen))
	}
	s.client.Permute = false
	if a, b := types(newServerActor(t, s).hello.Extensions), types(newServerActor(t, s).hello.Extensions); !slices.Equal(a, b) {
		t.Errorf("the order changed unasked: %v, %v", a, b)
	}
}

func sum(list []message.ExtensionType) (b []byte) {
	for _, t := range list {
		b = append(b, byte(t>>8), byte(t))
	}
	return b
}

// A second hello has the order of the first, with a cookie somewhere in it, and
// pre_shared_key stays the last of all.
func TestASecondHelloKeepsTheOrder(t *testing.T) {
	s := resuming(greasing())
	was := history(t, s)
	for range 10 {
		a := &actor{t: t, peer: was.again(t, s).client}
		a.peer.settle(a.peer.start())
		for len(a.peer.ops) > 0 {
			a.peer.resolve(0)
		}
		a.readHello()
		first := types(a.hello.Extensions)
		a.hello.CipherSuites = a.hello.CipherSuites[1:]
		a.retry(func(m *message.ServerHello) { m.RetryGroup, m.Cookie = suite.P256, []byte("cookie") })
		if a.peer.err != nil {
			t.Fatal(a.peer.err)
		}
		second := types(a.hello.Extensions)
		if !slices.Contains(second, message.ExtCookie) || second[len(second)-1] != message.ExtPreSharedKey || first[len(first)-1] != message.ExtPreSharedKey {
			t.Fatalf("the hellos have %v and %v", first, second)
		}
		second = slices.DeleteFunc(second, func(x message.ExtensionType) bool { return x == message.ExtCookie })
		if !bytes.Equal(sum(first), sum(second)) {
			t.Fatalf("first %v, then %v", first, second)
		}
	}
}
