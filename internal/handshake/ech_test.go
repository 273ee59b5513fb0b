package handshake

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
)

func echKey(t testing.TB, besides ...*ech.Key) *ech.Key {
	t.Helper()
	k, err := ech.Generate(ech.Shape{PublicName: "public.example", MaxNameLen: 40}, besides...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealerTo(t testing.TB, k *ech.Key) *ech.Sealer {
	t.Helper()
	c, s, err := ech.Choose(k.List())
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := ech.NewSealer(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

// concealed is a pair whose client encrypts to one key, and whose server has keys.
// The observer of both ends keeps the inner hellos.
func concealed(t testing.TB, s setting, to *ech.Key, keys ...*ech.Key) *pair {
	t.Helper()
	s.server.ECH = true
	var p *pair
	s.client.Observer = observe.Func(func(e observe.Event) {
		if e.Kind == observe.Hidden {
			p.client.hidden = bytes.Clone(e.Bytes)
		}
	})
	s.server.Observer = observe.Func(func(e observe.Event) {
		if e.Kind == observe.Hidden {
			p.server.hidden = bytes.Clone(e.Bytes)
		}
	})
	p = newPair(t, s)
	p.server.keys = keys
	p.client.Machine.(*Client).Conceal(sealerTo(t, to))
	return p
}

// askingAgain has the server ask for another key share.
func askingAgain(s setting) setting {
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	return s
}

// hellos are the ClientHellos that went to the server.
func hellos(p *pair) *[]*message.ClientHello {
	var seen []*message.ClientHello
	p.tamper = func(to *end, _ int, l letter) []letter {
		if to == p.server && message.Type(l.msg[0]) == message.TypeClientHello {
			m := &message.ClientHello{}
			if err := m.Parse(l.msg); err != nil {
				to.t.Fatal(err)
			}
			seen = append(seen, m)
		}
		return []letter{l}
	}
	return &seen
}

func (p *pair) ech(t testing.TB, want ECHStatus) {
	t.Helper()
	if c, s := p.client.Result().ECH, p.server.Result().ECH; c != want || s != want {
		t.Errorf("the client says %v, the server %v, expected %v", c, s, want)
	}
}

func TestAnEncryptedHelloIsTheOneThatCounts(t *testing.T) {
	for _, shape := range shapes() {
		for _, m := range modes {
			t.Run(shape.name+"/"+m.name, func(t *testing.T) {
				key := echKey(t)
				s := shape.setting()
				p := concealed(t, s, key, echKey(t, key), key)
				seen := hellos(p)
				p.run(m)
				p.agreed(t)
				p.ech(t, ECHAccepted)
				if p.client.Result().ServerName != s.name {
					t.Errorf("the name is %q", p.client.Result().ServerName)
				}
				for i, h := range *seen {
					if h.ServerName != "public.example" || h.ECH == nil || h.ECH.Inner || (len(h.ECH.Enc) > 0) != (i == 0) {
						t.Errorf("hello %d is for %q with %+v", i+1, h.ServerName, h.ECH)
					}
					if s.name != "" && bytes.Contains(h.Raw, []byte(s.name)) {
						t.Errorf("hello %d shows whom it is for", i+1)
					}
					if h.Random != (*seen)[0].Random || bytes.Contains(p.client.hidden, h.Random[:]) {
						t.Error("the outer Random is the inner one, or changes")
					}
				}
				if !bytes.Equal(p.client.hidden, p.server.hidden) || len(p.client.hidden) == 0 {
					t.Errorf("the client meant\n%x\nand the server read\n%x", p.client.hidden, p.server.hidden)
				}
			})
		}
	}
}

// A second hello is bound to the first: the context of HPKE goes on.
func TestAnEncryptedHelloIsAskedAgain(t *testing.T) {
	for _, resume := range []bool{false, true} {
		key := echKey(t)
		s := askingAgain(mutual())
		p := concealed(t, s, key, key)
		if resume {
			s = resuming(s)
			was := history(t, s)
			p = concealed(t, s, key, key)
			q := was.again(t, s)
			p.client.offer, p.server.vault = q.client.offer, q.server.vault
		}
		seen := hellos(p)
		p.run(modes[0])
		p.ech(t, ECHAccepted)
		p.resumed(t, resume)
		if !p.client.Result().Retried || len(*seen) != 2 {
			t.Fatalf("%d hellos", len(*seen))
		}
		first, second := (*seen)[0], (*seen)[1]
		if first.ECH.ConfigID != second.ECH.ConfigID || bytes.Equal(first.ECH.Payload, second.ECH.Payload) {
			t.Error("the second hello is encrypted like the first")
		}
		if resume && !bytes.Equal(first.PSK.Identities[0].Identity, second.PSK.Identities[0].Identity) {
			t.Error("whoever looks on sees that the two resume different sessions")
		}
	}
}

func TestAnEncryptedHelloResumesAndShowsNoSession(t *testing.T) {
	s := resuming(mutual())
	was := history(t, s)
	key := echKey(t)
	p := concealed(t, s, key, key)
	q := was.again(t, s)
	p.client.offer, p.server.vault = q.client.offer, q.server.vault
	ticket := bytes.Clone(p.client.offer.Ticket)
	seen := hellos(p)
	p.run(modes[0])
	p.resumed(t, true)
	p.ech(t, ECHAccepted)
	outer := (*seen)[0]
	if outer.PSK == nil || len(outer.PSK.Identities) != 1 || len(outer.PSK.Identities[0].Identity) != len(ticket) || len(outer.PSK.Binders[0]) != 32 {
		t.Fatalf("the outer hello pretends to resume by %+v", outer.PSK)
	}
	if bytes.Contains(outer.Raw, ticket) {
		t.Error("the ticket travels in the clear")
	}
	if !slices.Equal(outer.PSKModes, []uint8{pskDHEKE}) {
		t.Error("the outer hello has a PSK and no modes")
	}
}

// rejected checks that the client ended with ech_required, and gives its error.
func rejected(t *testing.T, p *pair) *ECHRejection {
	t.Helper()
	f := failedWith(t, p.client.err, alert.ECHRequired)
	var r *ECHRejection
	if f.Code != code.ECHRejected || f.Fault != PeerIncompatible || !errors.As(f, &r) {
		t.Fatalf("%v: %+v", f, f)
	}
	if p.client.Result() != nil {
		t.Error("there is a result for the application")
	}
	finished(t, p.client)
	return r
}

func TestAClientThatWasRejectedHasProofOfTheKeysToTryNext(t *testing.T) {
	for name, s := range map[string]setting{"plain": usual(), "mutual": mutual(), "retry": askingAgain(mutual()), "resuming": resuming(mutual())} {
		t.Run(name, func(t *testing.T) {
			old := echKey(t)
			key := echKey(t, old)
			p := concealed(t, s, old, key)
			if s.client.Resume {
				was := history(t, s)
				q := was.again(t, s)
				p = concealed(t, s, old, key)
				p.client.offer, p.server.vault = q.client.offer, q.server.vault
			}
			if s.server.ClientAuth == RequireClientCertificate {
				// It shows none, so a server that insists refuses on its part.
				p.server.Machine.(*Server).cfg.ClientAuth = RequestClientCertificate
			}
			seen := hellos(p)
			p.run(modes[0])
			r := rejected(t, p)
			if r.PublicName != "public.example" || !bytes.Equal(r.RetryConfigs, key.List()) {
				t.Errorf("%+v", r)
			}
			if p.client.told[VerifyPeer].PublicName != "public.example" {
				t.Error("the public name was not asked for")
			}
			if slices.Contains(p.client.asked, SelectCertificate) || p.client.Shown() != nil {
				t.Error("a certificate was shown, or nearly")
			}
			if p.server.Result() == nil || p.server.Result().ECH != ECHRejected || p.server.Result().ServerName != "public.example" || p.server.Result().PeerChain != nil {
				t.Errorf("the server's result: %+v, %v", p.server.Result(), p.server.err)
			}
			if n := len(*seen); n == 2 {
				first, second := (*seen)[0], (*seen)[1]
				if first.Random != second.Random || !bytes.Equal(first.ECH.Payload, second.ECH.Payload) || second.PSK != nil {
					t.Error("the second outer hello is another than the first")
				}
			}
			if len(p.client.Machine.(*Client).events) > 0 && p.client.story[len(p.client.story)-1] == "done" {
				t.Error("the client was done")
			}
		})
	}
}

func TestAServerWithoutKeysRejectsAndSaysNothing(t *testing.T) {
	key := echKey(t)
	p := concealed(t, usual(), key)
	p.server.Machine.(*Server).cfg.ECH = false
	p.run(modes[0])
	if r := rejected(t, p); r.RetryConfigs != nil {
		t.Errorf("%+v", r)
	}
	if p.server.Result().ECH != ECHNone {
		t.Error("a server without keys says that it rejected")
	}
}

// Without proof of the public name what the server says of its keys counts for
// nothing.
func TestAnUnprovenServerGivesNoKeys(t *testing.T) {
	old := echKey(t)
	p := concealed(t, usual(), old, echKey(t, old))
	p.client.refuse = errors.New("who is that?")
	p.run(modes[0])
	f := failedWith(t, p.client.err, alert.UnknownCA)
	var r *ECHRejection
	if errors.As(f, &r) {
		t.Errorf("%+v", r)
	}
}

func TestThePaddingHidesHowLongANameIs(t *testing.T) {
	size := func(name string) int {
		s := usual()
		s.name = name
		key := echKey(t)
		p := concealed(t, s, key, key)
		seen := hellos(p)
		p.run(modes[0])
		p.agreed(t)
		return len((*seen)[0].ECH.Payload)
	}
	want := size("a.example")
	for _, name := range []string{"", "b", "a-rather-long-name-of-40-bytes.a.example"} {
		if got := size(name); got != want || (got-ech.TagLen)%32 != 0 {
			t.Errorf("%q: %d bytes, and %d for another", name, got, want)
		}
	}
	if got := size(strings.Repeat("a.", 60) + "example"); got <= want {
		t.Error("a name beyond the length that the config tells does not fit, and was not sent whole")
	}
}

// Many extensions, in any order, with values that mean nothing among them.
func TestAnEncryptedHelloInAnyOrderIsRead(t *testing.T) {
	key := echKey(t)
	for range 20 {
		s := askingAgain(mutual())
		s.client.GREASE, s.client.Permute, s.client.ALPN, s.server.ALPN = true, true, []string{"h2"}, []string{"h2"}
		p := concealed(t, s, key, key)
		seen := hellos(p)
		p.run(modes[0])
		p.agreed(t)
		p.ech(t, ECHAccepted)
		grease := func(x message.Extension) bool { return suite.IsGREASE(uint16(x.Type)) }
		if !slices.ContainsFunc((*seen)[0].Extensions, grease) {
			t.Error("the outer hello has no GREASE")
		}
	}
}

func TestAMadeUpEncryptedHelloIsIgnored(t *testing.T) {
	for _, known := range []bool{false, true} {
		for _, s := range []setting{mutual(), askingAgain(mutual()), resuming(usual())} {
			s.client.GreaseECH, s.server.ECH = true, known
			p := newPair(t, s)
			if known {
				p.server.keys = []*ech.Key{echKey(t)}
			}
			seen := hellos(p)
			p.run(modes[0])
			p.agreed(t)
			if p.client.Result().ECH != ECHGreased {
				t.Error(p.client.Result().ECH)
			}
			if want := map[bool]ECHStatus{false: ECHNone, true: ECHRejected}[known]; p.server.Result().ECH != want {
				t.Error(p.server.Result().ECH)
			}
			for _, h := range *seen {
				if h.ECH == nil || len(h.ECH.Enc) != 32 || (len(h.ECH.Payload)-ech.TagLen)%32 != 0 || h.ServerName != s.name {
					t.Errorf("%q %+v", h.ServerName, h.ECH)
				}
				if !bytes.Equal(h.ECH.Payload, (*seen)[0].ECH.Payload) {
					t.Error("the second hello has another one")
				}
			}
		}
	}
}

// A server without keys may stand behind one that has opened the hello.
func TestAServerBehindAnotherConfirms(t *testing.T) {
	key := echKey(t)
	for _, s := range []setting{mutual(), askingAgain(mutual())} {
		p := concealed(t, s, key)
		p.server.Machine.(*Server).cfg.ECH = false
		p.tamper = func(to *end, _ int, l letter) []letter {
			if to == p.server && message.Type(l.msg[0]) == message.TypeClientHello {
				l.msg = p.client.hidden
			}
			return []letter{l}
		}
		p.run(modes[0])
		p.agreed(t)
		p.ech(t, ECHAccepted)
	}
}
