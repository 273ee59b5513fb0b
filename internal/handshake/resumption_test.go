package handshake

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// resuming makes both sides of s resume.
func resuming(s setting) setting {
	s.client.Resume, s.server.Resume = true, true
	return s
}

// past is what is left of a full handshake: what the client was given, and what
// the server has kept.
type past struct {
	offer *Session
	vault map[string]*Session
}

// history carries out a full handshake of s.
func history(t testing.TB, s setting) past {
	t.Helper()
	p := newPair(t, s)
	p.server.vault = map[string]*Session{}
	p.run(modes[0])
	p.agreed(t)
	tickets := p.client.Result().Standing.Tickets()
	if len(tickets) != 1 || tickets[0].Lifetime != 3600 {
		t.Fatalf("the client has %d tickets", len(tickets))
	}
	offer := tickets[0]
	offer.PeerChain, offer.Local = p.client.Result().PeerChain, p.client.Result().Local
	offer.Age = func() uint32 { return 7 }
	return past{offer, p.server.vault}
}

// again is a pair that goes on from what was.
func (was past) again(t testing.TB, s setting) *pair {
	p := newPair(t, s)
	offer := *was.offer
	offer.Secret = slices.Clone(offer.Secret)
	p.client.offer, p.server.vault = &offer, map[string]*Session{}
	for k, v := range was.vault {
		p.server.vault[k] = v
	}
	return p
}

// resumed checks that both are done, and that they resumed or did not.
func (p *pair) resumed(t testing.TB, want bool) {
	t.Helper()
	for _, e := range []*end{p.client, p.server} {
		if e.err != nil || !e.done {
			t.Fatalf("the %s is done: %v, %v", e.name, e.done, e.err)
		}
		if e.Result().Resumed != want {
			t.Errorf("the %s resumed: %v, expected %v", e.name, !want, want)
		}
	}
	a, b := p.client.Result().Standing, p.server.Result().Standing
	if !bytes.Equal(a.ReadSecret(), b.WriteSecret()) || !bytes.Equal(a.WriteSecret(), b.ReadSecret()) {
		t.Error("they have different secrets")
	}
	one, err1 := a.Export("EXPORTER-test", nil, 32)
	two, err2 := b.Export("EXPORTER-test", nil, 32)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Errorf("exported %x (%v) and %x (%v)", one, err1, two, err2)
	}
}

// Every handshake can be gone on from, however late its operations are answered.
func TestEveryHandshakeIsResumed(t *testing.T) {
	for _, s := range shapes() {
		if strings.HasPrefix(s.name, "scheme") {
			continue
		}
		set := resuming(s.setting())
		was := history(t, set)
		for _, m := range modes {
			t.Run(s.name+"/"+m.name, func(t *testing.T) {
				p := was.again(t, set)
				p.run(m)
				p.resumed(t, true)
				c, srv := p.client.Result(), p.server.Result()
				if c.Suite != srv.Suite || c.Group != srv.Group || c.ALPN != srv.ALPN || c.Retried != srv.Retried || c.ServerName != srv.ServerName {
					t.Errorf("the client's result is\n%+v\nthe server's\n%+v", *c, *srv)
				}
				for _, e := range []*end{p.client, p.server} {
					if slices.Contains(e.asked, Sign) || slices.Contains(e.asked, SelectCertificate) || e.Result().Asked || e.Result().Scheme != 0 {
						t.Errorf("the %s was asked %v", e.name, e.asked)
					}
					e.Discard()
				}
				if !slices.EqualFunc(c.PeerChain, p.server.leaf.Chain, bytes.Equal) || c.Local != was.offer.Local {
					t.Error("the client does not know any more who was proven")
				}
				if (srv.PeerChain == nil) != (c.Local == nil) || srv.Local == nil {
					t.Error("the server does not know any more who was proven")
				}
				// And the next one from this.
				if next := c.Standing.Tickets(); len(next) != 1 || bytes.Equal(next[0].Ticket, was.offer.Ticket) || bytes.Equal(next[0].Secret, was.offer.Secret) {
					t.Errorf("the session was not renewed: %v", next)
				}
			})
		}
	}
}

// What each side does, in order: a change here is a change on the wire.
func TestTheOrderOfAResumedHandshake(t *testing.T) {
	s := resuming(mutual())
	p := history(t, s).again(t, s)
	p.run(modes[0])
	p.resumed(t, true)
	const client = "ask FindTicket, ask VerifyPeer, send ClientHello, ccs, keys handshake read, keys handshake write, keys application read, " +
		"send Finished, keys application write, done"
	const server = "ask OpenTicket, ask VerifyPeer, send ServerHello, ccs, keys handshake write, keys handshake read, send EncryptedExtensions, " +
		"send Finished, keys application write, keys application read, ask SealTicket, send NewSessionTicket, done"
	if got := strings.Join(p.client.story, ", "); got != client {
		t.Errorf("the client:\n%s\nexpected\n%s", got, client)
	}
	if got := strings.Join(p.server.story, ", "); got != server {
		t.Errorf("the server:\n%s\nexpected\n%s", got, server)
	}
	if op := p.server.told[OpenTicket]; op.ServerName != "orders.example" || len(op.Identities) != 1 || op.Suite == nil || len(op.Schemes) == 0 {
		t.Errorf("the server was asked for %+v", op)
	}
}

var errAgain = errors.New("not again")

// Whatever speaks against a session makes the handshake a full one.
func TestASessionThatIsNotTakenCostsAFullHandshake(t *testing.T) {
	for name, set := range map[string]func(*setting, *pair, past){
		"the client's verifier wants it": func(_ *setting, p *pair, _ past) { p.client.again = errAgain },
		"the server's verifier wants it": func(_ *setting, p *pair, _ past) { p.server.again = errAgain },
		"both verifiers want it":         func(_ *setting, p *pair, _ past) { p.client.again, p.server.again = errAgain, errAgain },
		"the server does not know it":    func(_ *setting, p *pair, _ past) { clear(p.server.vault) },
		"the client has none":            func(_ *setting, p *pair, _ past) { p.client.offer = nil },
		"another hash": func(_ *setting, p *pair, was past) {
			for k, v := range p.server.vault {
				other := *v
				other.Suite = suite.ByID(suite.AES256GCMSHA384)
				p.server.vault[k] = &other
			}
		},
		"a secret of another length": func(_ *setting, p *pair, _ past) { p.client.offer.Secret = make([]byte, 16) },
		"a ticket that is too long":  func(_ *setting, p *pair, _ past) { p.client.offer.Ticket = make([]byte, maxTicket+1) },
		"no certificate of ours": func(_ *setting, p *pair, _ past) {
			for k, v := range p.server.vault {
				other := *v
				other.Local = nil
				p.server.vault[k] = &other
			}
		},
		"nobody was proven, and somebody has to be": func(_ *setting, p *pair, _ past) {
			for k, v := range p.server.vault {
				other := *v
				other.PeerChain = nil
				p.server.vault[k] = &other
			}
		},
	} {
		for _, m := range modes {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				s := resuming(mutual())
				was := history(t, s)
				p := was.again(t, s)
				set(&s, p, was)
				p.run(m)
				p.resumed(t, false)
				p.agreed(t)
				if len(p.client.Result().Standing.Tickets()) != 1 {
					t.Error("the full handshake gave no ticket")
				}
			})
		}
	}
}

// The hash of the suite in a HelloRetryRequest decides whether the session stays
// in the second hello.
func TestASessionOfAnotherHashIsLeftOutOfTheSecondHello(t *testing.T) {
	s := resuming(mutual())
	s.client.Suites = suite.Suites()
	was := history(t, s)
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	s.server.Suites = []suite.ID{suite.AES256GCMSHA384}
	p := was.again(t, s)
	var offered []bool
	p.tamper = func(to *end, _ int, l letter) []letter {
		if message.Type(l.msg[0]) == message.TypeClientHello {
			var m message.ClientHello
			if err := m.Parse(l.msg); err != nil {
				t.Error(err)
			}
			offered = append(offered, m.PSK != nil)
			if m.PSK != nil && m.PSK.Identities[0].ObfuscatedAge != was.offer.AgeAdd+7 {
				t.Errorf("the age is %d", m.PSK.Identities[0].ObfuscatedAge)
			}
		}
		return []letter{l}
	}
	p.run(modes[0])
	p.resumed(t, false)
	if !slices.Equal(offered, []bool{true, false}) {
		t.Errorf("offered: %v", offered)
	}
}

// edited hands the server a hello of the client's that was changed, and has its
// binder made anew where rebind says so.
func edited(t *testing.T, p *pair, was past, rebind bool, edit func(*message.ClientHello)) {
	p.tamper = func(to *end, _ int, l letter) []letter {
		if message.Type(l.msg[0]) != message.TypeClientHello {
			return []letter{l}
		}
		var m message.ClientHello
		if err := m.Parse(slices.Clone(l.msg)); err != nil {
			t.Fatal(err)
		}
		m.Extensions = nil
		edit(&m)
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if m.PSK != nil && rebind {
			if err := m.Parse(b); err != nil {
				return []letter{{l.level, b}}
			}
			h := was.offer.Suite.NewHash()
			h.Write(b[:len(b)-m.PSK.BindersLen])
			copy(m.PSK.Binders[len(m.PSK.Binders)-1], binder(was.offer, h.Sum(nil)))
		}
		return []letter{{l.level, b}}
	}
}

// What a client may do to its offer, and what comes of it.
func TestWhatAServerSaysToOffers(t *testing.T) {
	unknown := message.PSKIdentity{Identity: []byte("unknown"), ObfuscatedAge: 1}
	none := make([]byte, 32)
	for name, want := range map[string]struct {
		edit    func(*message.ClientHello)
		rebind  bool
		resumes bool
		alert   alert.Alert
		code    code.Code
	}{
		"a wrong binder": {edit: func(m *message.ClientHello) { m.PSK.Binders[0] = none }, alert: alert.DecryptError, code: code.BadBinder},
		"a binder that is too long": {edit: func(m *message.ClientHello) { m.PSK.Binders[0] = make([]byte, 48) },
			alert: alert.DecryptError, code: code.BadBinder},
		"a changed hello under the old binder": {edit: func(m *message.ClientHello) { m.ServerName = "payments.example" },
			alert: alert.DecryptError, code: code.BadBinder},
		"the age is of no interest": {edit: func(m *message.ClientHello) { m.PSK.Identities[0].ObfuscatedAge += 1 << 30 }, rebind: true, resumes: true},
		"behind an unknown one, whose binder is nobody's business": {edit: func(m *message.ClientHello) {
			m.PSK.Identities = slices.Insert(m.PSK.Identities, 0, unknown)
			m.PSK.Binders = slices.Insert(m.PSK.Binders, 0, none)
		}, rebind: true, resumes: true},
		"behind more unknown ones than are looked at": {edit: func(m *message.ClientHello) {
			for range maxIdentities {
				m.PSK.Identities = slices.Insert(m.PSK.Identities, 0, unknown)
				m.PSK.Binders = slices.Insert(m.PSK.Binders, 0, none)
			}
		}, rebind: true},
		"without a key exchange alone": {edit: func(m *message.ClientHello) { m.PSKModes = []byte{0} }, rebind: true},
		"modes that nobody knows":      {edit: func(m *message.ClientHello) { m.PSKModes = []byte{9, 0, 1} }, rebind: true, resumes: true},
		"early data":                   {edit: func(m *message.ClientHello) { m.EarlyData = true }, rebind: true, resumes: true},
		"no modes": {edit: func(m *message.ClientHello) { m.PSKModes = nil }, rebind: true,
			alert: alert.MissingExtension, code: code.MissingExtension},
		"no schemes, and a session": {edit: func(m *message.ClientHello) { m.Schemes = nil }, rebind: true, resumes: true},
		"no schemes, and no session that we know": {edit: func(m *message.ClientHello) {
			m.Schemes, m.PSK.Identities[0] = nil, unknown
		}, rebind: true, alert: alert.MissingExtension, code: code.MissingExtension},
		"fewer binders than identities": {edit: func(m *message.ClientHello) { m.PSK.Identities = append(m.PSK.Identities, unknown) },
			alert: alert.IllegalParameter, code: code.IllegalParameter},
		"something behind it": {edit: func(m *message.ClientHello) {
			psk := message.ClientHello{Versions: m.Versions, PSK: m.PSK}
			b, _ := psk.Append(nil)
			at := bytes.LastIndex(b, []byte{0, byte(message.ExtPreSharedKey)})
			m.PSK = nil
			m.Extensions = []message.Extension{{Type: message.ExtPreSharedKey, Body: b[at+4:]}, {Type: 0x5a5a}}
		}, alert: alert.IllegalParameter, code: code.IllegalParameter},
	} {
		t.Run(name, func(t *testing.T) {
			s := resuming(mutual())
			was := history(t, s)
			p := was.again(t, s)
			edited(t, p, was, want.rebind, want.edit)
			p.run(modes[0])
			if want.alert != 0 {
				if f := failedWith(t, p.server.err, want.alert); f.Code != want.code {
					t.Errorf("%v: %v", f.Code, f)
				}
				finished(t, p.server)
				return
			}
			// The two saw different hellos, so it goes no further than the answer.
			resumed := slices.Contains(p.server.asked, VerifyPeer) && !slices.Contains(p.server.asked, SelectCertificate)
			if resumed != want.resumes {
				t.Errorf("resumed: %v; asked %v, %v", resumed, p.server.asked, p.server.err)
			}
		})
	}
}

// A second hello may offer fewer sessions than the first, and no others.
func TestASecondHelloOffersNoOtherSession(t *testing.T) {
	for name, edit := range map[string]func(*message.ClientHello){
		"another one": func(m *message.ClientHello) { m.PSK.Identities[0].Identity = []byte("another") },
		"other modes": func(m *message.ClientHello) { m.PSKModes = []byte{1, 0} },
		"the same once more": func(m *message.ClientHello) {
			m.PSK.Identities = append(m.PSK.Identities, m.PSK.Identities[0])
			m.PSK.Binders = append(m.PSK.Binders, m.PSK.Binders[0])
		},
	} {
		s := resuming(mutual())
		s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
		was := history(t, s)
		p := was.again(t, s)
		hellos := 0
		edited(t, p, was, false, func(m *message.ClientHello) {
			if hellos++; hellos == 2 {
				edit(m)
			}
		})
		p.run(modes[0])
		if f := failedWith(t, p.server.err, alert.IllegalParameter); !strings.Contains(f.Reason, "did not offer before") {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// A server that lies about the session is refused.
func TestAServerThatLiesAboutASessionIsRefused(t *testing.T) {
	for name, want := range map[string]struct {
		edit  func(*message.ServerHello)
		offer bool
		alert alert.Alert
	}{
		"another than the one":     {func(m *message.ServerHello) { m.PSKIndex = 1 }, true, alert.IllegalParameter},
		"one that was not offered": {func(m *message.ServerHello) { m.HasPSK = true }, false, alert.UnsupportedExtension},
		"another hash":             {func(m *message.ServerHello) { m.CipherSuite = suite.AES256GCMSHA384 }, true, alert.IllegalParameter},
		"no key exchange":          {func(m *message.ServerHello) { m.HasKeyShare = false }, true, alert.MissingExtension},
	} {
		s := resuming(mutual())
		s.client.Suites = suite.Suites()
		was := history(t, s)
		p := was.again(t, s)
		if !want.offer {
			p.client.offer = nil
		}
		p.tamper = func(to *end, _ int, l letter) []letter {
			if message.Type(l.msg[0]) != message.TypeServerHello {
				return []letter{l}
			}
			var m message.ServerHello
			if err := m.Parse(slices.Clone(l.msg)); err != nil {
				t.Fatal(err)
			}
			m.Extensions = nil
			want.edit(&m)
			b, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			return []letter{{l.level, b}}
		}
		p.run(modes[0])
		t.Run(name, func(t *testing.T) {
			failedWith(t, p.client.err, want.alert)
			finished(t, p.client)
		})
	}
}

// In a resumed handshake nobody is asked for a certificate, and none is shown.
func TestAResumedHandshakeHasNoCertificates(t *testing.T) {
	for _, typ := range []message.Type{message.TypeCertificateRequest, message.TypeCertificate, message.TypeCertificateVerify} {
		for _, side := range []string{"client", "server"} {
			s := resuming(mutual())
			p := history(t, s).again(t, s)
			p.tamper = func(to *end, _ int, l letter) []letter {
				if to.name == side && message.Type(l.msg[0]) == message.TypeFinished {
					return []letter{{l.level, []byte{byte(typ), 0, 0, 0}}}
				}
				return []letter{l}
			}
			p.run(modes[0])
			e := p.client
			if side == "server" {
				e = p.server
			}
			failedWith(t, e.err, alert.UnexpectedMessage)
			finished(t, e)
		}
	}
}

// Every byte of every message of a resumed handshake changed on the way.
func TestEveryChangedByteOfAResumedHandshakeIsNoticed(t *testing.T) {
	retry := resuming(mutual())
	retry.client.Groups, retry.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	for name, s := range map[string]setting{"at once": resuming(mutual()), "retry": retry} {
		was := history(t, s)
		var all []place
		p := was.again(t, s)
		p.tamper = func(e *end, n int, l letter) []letter {
			if !e.done {
				all = append(all, place{e.name, n, slices.Clone(l.msg)})
			}
			return []letter{l}
		}
		p.run(modes[0])
		p.resumed(t, true)
		for _, at := range all {
			step := 1
			if len(at.msg) > 150 && !long() {
				step = 3
			}
			for i := 0; i < len(at.msg); i += step {
				p := was.again(t, s)
				p.tamper = func(e *end, n int, l letter) []letter {
					if e.name == at.to && n == at.n {
						l.msg = slices.Clone(l.msg)
						l.msg[i] ^= 1
					}
					return []letter{l}
				}
				p.run(modes[0])
				if p.server.done || p.client.done && at.to == "client" || p.client.err == nil && p.server.err == nil {
					t.Errorf("%s: byte %d of %v to the %s changed, and nobody noticed", name, i, message.Type(at.msg[0]), at.to)
				}
				for _, e := range []*end{p.client, p.server} {
					var f *Failure
					if e.err != nil && (!errors.As(e.err, &f) || f.Fault == Misuse) {
						t.Errorf("%s: byte %d of %v to the %s: the %s failed with %v", name, i, message.Type(at.msg[0]), at.to, e.name, e.err)
					}
				}
			}
		}
	}
}

// A ticket operation that fails ends the handshake, and leaves no secret.
func TestAFailedTicketOperationEndsTheHandshake(t *testing.T) {
	for kind, n := range map[OpKind]int{FindTicket: 1, OpenTicket: 1, SealTicket: 3} { // the n-th that its side asks
		s := resuming(mutual())
		p := history(t, s).again(t, s)
		e := p.server
		if kind == FindTicket {
			e = p.client
		}
		e.fail, e.failure = n, Answer{Err: errOperation}
		p.run(modes[0])
		if f := failedWith(t, e.err, alert.InternalError); !errors.Is(f, errOperation) {
			t.Errorf("%v: %v", kind, f)
		}
		if last := e.asked[len(e.asked)-1]; last != kind {
			t.Errorf("it was %v that failed, not %v", last, kind)
		}
		finished(t, e)
	}
}

// Tickets without end, without use or too long cost a client nothing.
func TestAClientKeepsFewTickets(t *testing.T) {
	s := resuming(usual())
	p := newPair(t, s)
	p.server.vault = map[string]*Session{}
	p.run(modes[0])
	p.agreed(t)
	st := p.client.Result().Standing
	st.Tickets()
	give := func(m message.NewSessionTicket) {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if effect, err := st.Message(b); err != nil || effect != Ticket {
			t.Fatalf("%v, %v", effect, err)
		}
	}
	give(message.NewSessionTicket{Lifetime: 0, Ticket: []byte{1}})
	give(message.NewSessionTicket{Lifetime: 9, Ticket: make([]byte, maxTicket+1)})
	if st.Ticketed() {
		t.Error("a ticket was kept that is of no use")
	}
	for i := range 10 {
		give(message.NewSessionTicket{Lifetime: 9, Ticket: []byte{1}, Nonce: []byte{byte(i)}, MaxEarlyData: 1 << 20})
	}
	tickets := st.Tickets()
	if len(tickets) != maxTickets-1 {
		t.Errorf("%d tickets were kept", len(tickets))
	}
	for i, a := range tickets {
		for _, b := range tickets[:i] {
			if bytes.Equal(a.Secret, b.Secret) {
				t.Error("two nonces give one secret")
			}
		}
	}
	give(message.NewSessionTicket{Lifetime: 9, Ticket: []byte{1}})
	st.DiscardRead()
	if st.Ticketed() || st.resumption != nil {
		t.Error("a discarded half keeps what tickets are made of")
	}
}

// ticket_age_add is drawn for each ticket.
func TestTheAgeOfEachTicketIsHiddenByItself(t *testing.T) {
	seen := map[uint32]bool{}
	for range 8 {
		seen[history(t, resuming(usual())).offer.AgeAdd] = true
	}
	if len(seen) < 8 {
		t.Errorf("%d of 8 values", len(seen))
	}
}
