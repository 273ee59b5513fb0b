package handshake

import (
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
)

type ids = []message.TrustAnchorID

// mark is the extension beside a chain that was chosen for what the peer named.
var mark = message.Extension{Type: message.ExtTrustAnchors}

// marked is the credential of a leaf with the mark beside it.
func marked(t testing.TB, kind string) *Credential {
	t.Helper()
	c := credential(t, leaf(kind))
	var m message.Certificate
	if err := m.Parse(c.Wire); err != nil {
		t.Fatal(err)
	}
	m.Entries[0].Extensions = []message.Extension{mark}
	wire, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Credential{Wire: wire, Schemes: c.Schemes, Value: c.Value, Named: true}
}

// Each end names what it trusts, is shown a chain for it, and is told so; the
// client also learns what the server has. A second hello names the same.
func TestTrustAnchorsAreNamedBothWays(t *testing.T) {
	for _, again := range []bool{false, true} {
		for _, m := range modes {
			s := mutual()
			if again {
				s = askingAgain(s)
				s.server.ClientAuth = RequireClientCertificate
			}
			s.client.TrustAnchors, s.server.TrustAnchors = ids{"\x01", "\x02"}, ids{"\x03"}
			p := newPair(t, s)
			seen := hellos(p)
			p.server.selects = func(*Op) *Credential { return marked(t, "p256") }
			p.client.selects = func(*Op) *Credential { return marked(t, "p256") }
			p.server.anchors = ids{"\x02", "\x09"}
			p.run(m)
			p.agreed(t)
			c, r := p.client.Result(), p.server.Result()
			if !c.PeerNamed || !r.PeerNamed || !slices.Equal(c.TrustAnchors, p.server.anchors) || r.TrustAnchors != nil {
				t.Errorf("%s: client %v %v, server %v %v", m.name, c.PeerNamed, c.TrustAnchors, r.PeerNamed, r.TrustAnchors)
			}
			if got, back := p.server.told[SelectCertificate].TrustAnchors, p.client.told[SelectCertificate].TrustAnchors; !slices.Equal(got, s.client.TrustAnchors) || !slices.Equal(back, s.server.TrustAnchors) {
				t.Errorf("%s: the server was told %v, the client %v", m.name, got, back)
			}
			for _, h := range *seen {
				if !slices.Equal(h.TrustAnchors, s.client.TrustAnchors) {
					t.Errorf("%s: a hello names %v", m.name, h.TrustAnchors)
				}
			}
			if len(*seen) != 1 && !again {
				t.Errorf("%d hellos", len(*seen))
			}
		}
	}
}

// A list without anything asks for the server's, and no list asks for nothing.
func TestAServerTellsItsTrustAnchorsToWhoAsks(t *testing.T) {
	for name, c := range map[string]struct{ names, has, told ids }{
		"asked":                  {ids{}, ids{"\x07"}, ids{"\x07"}},
		"not asked":              {nil, ids{"\x07"}, nil},
		"asked, and it has none": {ids{"\x01"}, nil, nil},
	} {
		s := usual()
		s.client.TrustAnchors = c.names
		p := newPair(t, s)
		p.server.anchors = c.has
		p.run(modes[0])
		p.agreed(t)
		if got := p.client.Result(); !slices.Equal(got.TrustAnchors, c.told) || got.PeerNamed {
			t.Errorf("%s: %v, %v", name, got.TrustAnchors, got.PeerNamed)
		}
		if got := p.server.told[SelectCertificate].TrustAnchors; (got == nil) != (c.names == nil) {
			t.Errorf("%s: the server was told %v", name, got)
		}
	}
}

// What a client names for one handshake goes before what it is set to.
func TestOneHandshakeCanNameOthers(t *testing.T) {
	s := usual()
	s.client.TrustAnchors = ids{"\x01"}
	p := newPair(t, s)
	p.client.Machine.(*Client).NameTrustAnchors(ids{"\x05"})
	p.run(modes[0])
	p.agreed(t)
	if got := p.server.told[SelectCertificate].TrustAnchors; !slices.Equal(got, ids{"\x05"}) {
		t.Errorf("the server was told %v", got)
	}
}

func TestServersThatLieAboutTrustAnchors(t *testing.T) {
	certificate := func(at int, x message.Extension) func(*actor) {
		return func(a *actor) {
			a.certificate(leaf("p256"), func(m *message.Certificate) {
				m.Entries = append(m.Entries, message.CertificateEntry{Data: m.Entries[0].Data})
				m.Entries[at].Extensions = []message.Extension{x}
			})
		}
	}
	has := func(list ids) func(*actor) {
		return func(a *actor) {
			a.extensions(func(m *message.EncryptedExtensions) { m.TrustAnchors = list })
		}
	}
	const unsupported = alert.UnsupportedExtension
	for name, c := range map[string]struct {
		names ids
		at    string
		do    func(*actor)
		alert alert.Alert
		code  code.Code
		says  string
	}{
		"a list that nobody asked for":   {nil, "EncryptedExtensions", has(ids{"\x01"}), unsupported, code.UnsupportedExtension, "which was not offered"},
		"a mark that nobody asked for":   {nil, "Certificate", certificate(0, mark), unsupported, code.UnsupportedExtension, "which was not asked for"},
		"a mark, and nothing was named":  {ids{}, "Certificate", certificate(0, mark), alert.IllegalParameter, code.IllegalParameter, "we named none"},
		"a mark beside the second":       {ids{"\x01"}, "Certificate", certificate(1, mark), unsupported, code.UnsupportedExtension, "not the first"},
		"a mark that says more":          {ids{"\x01"}, "Certificate", certificate(0, message.Extension{Type: message.ExtTrustAnchors, Body: []byte{0}}), alert.DecodeError, code.BadMessage, "has a body"},
		"an empty list":                  {ids{"\x01"}, "EncryptedExtensions", has(ids{}), alert.DecodeError, code.BadMessage, "trust_anchors"},
		"an empty identifier":            {ids{"\x01"}, "EncryptedExtensions", has(ids{"\x01", ""}), alert.DecodeError, code.BadMessage, "empty or cut off"},
		"trust anchors in a ServerHello": {ids{"\x01"}, "ServerHello", hello(func(_ *actor, m *message.ServerHello) { m.Extensions = []message.Extension{mark} }), alert.IllegalParameter, code.IllegalParameter, "must not stand there"},
		"trust anchors in a HelloRetryRequest": {ids{"\x01"}, "ServerHello", retry(func(m *message.ServerHello) {
			m.Extensions = []message.Extension{mark}
		}), alert.IllegalParameter, code.IllegalParameter, "must not stand there"},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.client.TrustAnchors = c.names
			a := newServerActor(t, s)
			a.honest(false, c.at, func() { c.do(a) })
			f := failedWith(t, a.peer.err, c.alert)
			if f.Code != c.code || !strings.Contains(f.Reason, c.says) {
				t.Errorf("%v: %v", f.Code, f)
			}
			finished(t, a.peer)
		})
	}
}

// Who does not speak of trust anchors lets a server name its own.
func TestARequestWithTrustAnchorsIsNoRiddle(t *testing.T) {
	a := newServerActor(t, usual())
	a.honest(true, "CertificateRequest", func() {
		a.request(func(m *message.CertificateRequest) { m.TrustAnchors = ids{"\x01", "\x80"} })
	})
	if a.peer.err != nil || !a.peer.done || len(a.peer.told[SelectCertificate].TrustAnchors) != 2 {
		t.Errorf("done: %v, %v", a.peer.done, a.peer.err)
	}
}

func TestClientsThatLieAboutTrustAnchors(t *testing.T) {
	show := func(edit func(*message.Certificate)) func(*actor) {
		return func(a *actor) { a.certificate(leaf("p256"), edit) }
	}
	put := func(x message.Extension) func(*actor) {
		return show(func(m *message.Certificate) { m.Entries[0].Extensions = []message.Extension{x} })
	}
	for name, c := range map[string]struct {
		names ids
		at    string
		do    func(*actor)
		alert alert.Alert
	}{
		"an empty identifier":          {nil, "ClientHello", func(a *actor) { a.clientHello(func(m *message.ClientHello) { m.TrustAnchors = ids{""} }) }, alert.DecodeError},
		"a mark that nobody asked for": {nil, "Certificate", put(mark), alert.UnsupportedExtension},
		"a mark that says more":        {ids{"\x01"}, "Certificate", put(message.Extension{Type: message.ExtTrustAnchors, Body: []byte{0, 0}}), alert.DecodeError},
		"a mark beside the second": {ids{"\x01"}, "Certificate", show(func(m *message.Certificate) {
			m.Entries = append(m.Entries, message.CertificateEntry{Data: m.Entries[0].Data, Extensions: []message.Extension{mark}})
		}), alert.UnsupportedExtension},
	} {
		t.Run(name, func(t *testing.T) {
			s := mutual()
			s.server.TrustAnchors = c.names
			a := newClientActor(t, s)
			a.honestClient(true, c.at, func() { c.do(a) })
			failedWith(t, a.peer.err, c.alert)
			finished(t, a.peer)
		})
	}
	t.Run("others in the second hello", func(t *testing.T) {
		s := usual()
		toRetry(&s)
		s.client.TrustAnchors = ids{"\x01"}
		a := newClientActor(t, s)
		retrying(func(_ *actor, m *message.ClientHello) { m.TrustAnchors = ids{"\x02"} })(a)
		failedWith(t, a.peer.err, alert.IllegalParameter)
	})
}

// A mark of ours for who named nothing would be a lie of ours.
func TestAMarkIsNotShownUnasked(t *testing.T) {
	for _, names := range []ids{nil, {}} {
		s := mutual()
		s.client.TrustAnchors = names
		p := newPair(t, s)
		p.server.selects = func(*Op) *Credential { return marked(t, "p256") }
		p.run(modes[0])
		if f := failedWith(t, p.server.err, alert.InternalError); f.Fault != Misuse {
			t.Errorf("%+v", f)
		}
	}
	p := newPair(t, mutual())
	p.client.selects = func(*Op) *Credential { return marked(t, "p256") }
	p.run(modes[0])
	failedWith(t, p.client.err, alert.InternalError)
}

// What a client trusts is for the server that it means, and for nobody who looks
// on; a server that could not read it has nothing to answer.
func TestAnEncryptedHelloNamesTrustAnchorsInsideAlone(t *testing.T) {
	s := usual()
	s.client.TrustAnchors = ids{"\x01"}
	key := echKey(t)
	p := concealed(t, s, key, key)
	seen := hellos(p)
	p.server.anchors = ids{"\x08"}
	p.run(modes[0])
	p.agreed(t)
	if got := (*seen)[0].TrustAnchors; got != nil {
		t.Errorf("who looks on sees %v", got)
	}
	if got := p.server.told[SelectCertificate].TrustAnchors; !slices.Equal(got, s.client.TrustAnchors) || !slices.Equal(p.client.Result().TrustAnchors, ids{"\x08"}) {
		t.Errorf("the server was told %v", got)
	}

	p = concealed(t, s, echKey(t), key)
	p.tamper = func(to *end, _ int, l letter) []letter {
		if to == p.client && message.Type(l.msg[0]) == message.TypeEncryptedExtensions {
			b, err := (&message.EncryptedExtensions{TrustAnchors: ids{"\x08"}}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			l.msg = b
		}
		return []letter{l}
	}
	p.run(modes[0])
	failedWith(t, p.client.err, alert.UnsupportedExtension)
}
