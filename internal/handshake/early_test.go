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

// earlier makes both sides of s resume with early data.
func earlier(s setting) setting {
	s = resuming(s)
	s.server.MaxEarlyData = 1000
	return s
}

// early checks what became of early data, on both sides.
func (p *pair) early(t testing.TB, want EarlyData) {
	t.Helper()
	c, s := p.client.Result(), p.server.Result()
	if c == nil || s == nil || c.EarlyData != want || s.EarlyData != want {
		t.Fatalf("early data: the client has %+v, the server %+v, expected %d (%v, %v)", c, s, want, p.client.err, p.server.err)
	}
	if p.server.begun != (want == EarlyAccepted) || p.server.skips != (want == EarlyRejected) {
		t.Errorf("the server takes: %v, skips: %v", p.server.begun, p.server.skips)
	}
	one, err1 := c.EarlyExporter.Export("EXPORTER-early", []byte("context"), 32)
	two, err2 := s.EarlyExporter.Export("EXPORTER-early", []byte("context"), 32)
	if want != EarlyAccepted {
		if err1 == nil || err2 == nil {
			t.Error("something is exported of early data that nobody took")
		}
		return
	}
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Errorf("exported %x (%v) and %x (%v)", one, err1, two, err2)
	}
	late, _ := c.Standing.Export("EXPORTER-early", []byte("context"), 32)
	if bytes.Equal(one, late) {
		t.Error("the early exporter is the exporter")
	}
	if a, b := p.client.copies["early write"], p.server.copies["early read"]; len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("the early secrets are %x and %x", a, b)
	}
}

func TestEveryResumedHandshakeCanHaveEarlyData(t *testing.T) {
	for _, s := range shapes() {
		if strings.HasPrefix(s.name, "scheme") {
			continue
		}
		set := earlier(s.setting())
		was := history(t, set)
		if was.offer.MaxEarlyData != 1000 {
			t.Fatalf("%s: the ticket allows %d bytes", s.name, was.offer.MaxEarlyData)
		}
		for _, m := range modes {
			t.Run(s.name+"/"+m.name, func(t *testing.T) {
				p := was.again(t, set)
				p.run(m)
				p.resumed(t, true)
				want := EarlyAccepted
				if p.server.Result().Retried {
					want = EarlyRejected
				}
				p.early(t, want)
				for _, e := range []*end{p.client, p.server} {
					e.Result().EarlyExporter.Discard()
					e.Discard()
					if s := e.secrets["early read"]; !bytes.Equal(s, make([]byte, len(s))) {
						t.Errorf("the %s keeps its early secret", e.name)
					}
				}
				if next := p.client.Result().Standing.Tickets(); len(next) != 1 || next[0].MaxEarlyData != 1000 || next[0].ALPN != p.client.Result().ALPN {
					t.Errorf("the next ticket is %+v", next)
				}
			})
		}
	}
}

// What each side does, in order: a change here is a change on the wire.
func TestTheOrderOfAHandshakeWithEarlyData(t *testing.T) {
	s := earlier(mutual())
	was := history(t, s)
	p := was.again(t, s)
	p.run(modes[0])
	p.early(t, EarlyAccepted)
	const client = "ask FindTicket, ask VerifyPeer, send ClientHello, ccs, keys early write, keys handshake read, keys application read, " +
		"send EndOfEarlyData, keys handshake write, send Finished, keys application write, done"
	const server = "ask OpenTicket, ask VerifyPeer, ask RegisterEarlyData, send ServerHello, ccs, keys handshake write, keys early read, " +
		"send EncryptedExtensions, send Finished, keys application write, early data, keys handshake read, keys application read, " +
		"ask SealTicket, send NewSessionTicket, done"
	if got := strings.Join(p.client.story, ", "); got != client {
		t.Errorf("the client:\n%s\nexpected\n%s", got, client)
	}
	if got := strings.Join(p.server.story, ", "); got != server {
		t.Errorf("the server:\n%s\nexpected\n%s", got, server)
	}
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	p = was.again(t, s)
	p.run(modes[0])
	p.early(t, EarlyRejected)
	const retried = "ask FindTicket, ask VerifyPeer, send ClientHello, ccs, keys early write, no early data, send ClientHello, keys handshake read, " +
		"keys handshake write, ask VerifyPeer, keys application read, send Finished, keys application write, done"
	if got := strings.Join(p.client.story, ", "); got != retried {
		t.Errorf("the client:\n%s\nexpected\n%s", got, retried)
	}
}

// Whatever has changed since, early data is not taken, and the session goes on
// where it can.
func TestEarlyDataIsNotTakenWhere(t *testing.T) {
	for name, c := range map[string]struct {
		set     func(*setting, *pair, past)
		resumes bool
	}{
		"the hello was there before": {func(_ *setting, p *pair, _ past) { p.server.stale = true }, true},
		"the server takes none":      {func(s *setting, p *pair, was past) { s.server.MaxEarlyData = 0; *p = *was.again(p.server.t, *s) }, true},
		"the server takes less":      {func(s *setting, p *pair, was past) { s.server.MaxEarlyData = 999; *p = *was.again(p.server.t, *s) }, true},
		"the ticket allowed none":    {func(_ *setting, p *pair, _ past) { p.kept(func(s *Session) { s.MaxEarlyData = 0 }) }, true},
		"the ticket is older": {func(_ *setting, p *pair, _ past) {
			p.kept(func(s *Session) { s.Age = func() uint32 { return 7 + earlyWindow + 1 } })
		}, true},
		"the ticket is younger":       {func(_ *setting, p *pair, _ past) { p.client.offer.Age = func() uint32 { return 7 + earlyWindow + 1 } }, true},
		"the age of nothing is known": {func(_ *setting, p *pair, _ past) { p.kept(func(s *Session) { s.Age = nil }) }, true},
		"it was another suite": {func(_ *setting, p *pair, _ past) {
			p.kept(func(s *Session) { s.Suite = suite.ByID(suite.ChaCha20Poly1305SHA256) })
		}, true},
		"it was another protocol": {func(_ *setting, p *pair, _ past) { p.kept(func(s *Session) { s.ALPN = "h2" }) }, true},
		"it is another protocol": {func(s *setting, p *pair, was past) {
			s.server.ALPN, s.client.ALPN = []string{"h2"}, []string{"h2"}
			*p = *was.again(p.server.t, *s)
		}, true},
		"the client is not admitted any more": {func(_ *setting, p *pair, _ past) { p.server.again = errAgain }, false},
		"nobody knows the session":            {func(_ *setting, p *pair, _ past) { clear(p.server.vault) }, false},
		"the register fails": {func(_ *setting, p *pair, _ past) {
			p.server.fail, p.server.failure = 3, Answer{Err: errOperation, Fresh: true}
		}, true},
	} {
		for _, m := range modes {
			t.Run(name+"/"+m.name, func(t *testing.T) {
				s := earlier(mutual())
				was := history(t, s)
				p := was.again(t, s)
				c.set(&s, p, was)
				p.run(m)
				p.resumed(t, c.resumes)
				p.early(t, EarlyRejected)
			})
		}
	}
}

// kept changes the sessions that the server has kept.
func (p *pair) kept(change func(*Session)) {
	for k, v := range p.server.vault {
		other := *v
		change(&other)
		p.server.vault[k] = &other
	}
}

// A client offers early data only where it would be taken, as far as it knows.
func TestAClientOffersEarlyDataOnlyWhereItCanBeTaken(t *testing.T) {
	for name, set := range map[string]func(*setting, *Session){
		"the ticket allows none": func(_ *setting, s *Session) { s.MaxEarlyData = 0 },
		"another suite":          func(set *setting, s *Session) { s.Suite = suite.ByID(suite.ChaCha20Poly1305SHA256) },
		"another protocol":       func(_ *setting, s *Session) { s.ALPN = "h2" },
	} {
		s := earlier(mutual())
		p := history(t, s).again(t, s)
		set(&s, p.client.offer)
		p.run(modes[0])
		if p.client.err != nil || p.client.Result().EarlyData != NoEarlyData || slices.Contains(p.client.story, "keys early write") {
			t.Errorf("%s: %v, %v", name, p.client.err, p.client.story)
		}
	}
}

// A server that lies about early data is refused.
func TestAServerThatLiesAboutEarlyDataIsRefused(t *testing.T) {
	for name, want := range map[string]struct {
		edit    func(*message.EncryptedExtensions)
		prepare func(*setting, *pair)
		alert   alert.Alert
	}{
		"it was not offered": {func(m *message.EncryptedExtensions) { m.EarlyData = true },
			func(_ *setting, p *pair) { p.client.offer.MaxEarlyData = 0 }, alert.UnsupportedExtension},
		"it does not resume": {func(m *message.EncryptedExtensions) { m.EarlyData = true },
			func(_ *setting, p *pair) { clear(p.server.vault) }, alert.UnsupportedExtension},
		"another protocol": {func(m *message.EncryptedExtensions) { m.ALPN = "h2" },
			func(*setting, *pair) {}, alert.IllegalParameter},
	} {
		s := earlier(mutual())
		s.client.ALPN = []string{"h2"}
		p := history(t, s).again(t, s)
		want.prepare(&s, p)
		p.tamper = func(to *end, _ int, l letter) []letter {
			if message.Type(l.msg[0]) != message.TypeEncryptedExtensions {
				return []letter{l}
			}
			var m message.EncryptedExtensions
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

// A server that takes early data under another suite than the session's is
// refused, though the hash fits.
func TestEarlyDataUnderAnotherSuiteIsRefused(t *testing.T) {
	s := earlier(mutual())
	s.client.Suites = []suite.ID{suite.AES128GCMSHA256, suite.ChaCha20Poly1305SHA256}
	s.server.Suites = s.client.Suites[:1]
	p := history(t, s).again(t, s)
	p.client.offer.Suite = suite.ByID(suite.ChaCha20Poly1305SHA256)
	p.run(modes[0])
	failedWith(t, p.client.err, alert.IllegalParameter)
	finished(t, p.client)
}

// The end of early data comes once, where it is due, and empty.
func TestAWrongEndOfEarlyData(t *testing.T) {
	eoed := []byte{byte(message.TypeEndOfEarlyData), 0, 0, 0}
	for name, c := range map[string]struct {
		give  func(l letter) []letter
		alert alert.Alert
		at    Level
	}{
		"it has a body":              {func(l letter) []letter { return []letter{{Early, append(eoed[:3:3], 1, 0)}} }, alert.DecodeError, Early},
		"it is missing":              {func(l letter) []letter { return nil }, alert.UnexpectedMessage, Handshake},
		"it comes twice":             {func(l letter) []letter { return []letter{l, l} }, alert.UnexpectedMessage, Handshake},
		"under the handshake's keys": {func(l letter) []letter { return []letter{{Handshake, l.msg}} }, alert.UnexpectedMessage, Early},
		"another message": {func(l letter) []letter {
			return []letter{{Early, []byte{byte(message.TypeCertificate), 0, 0, 0}}}
		}, alert.UnexpectedMessage, Early},
	} {
		t.Run(name, func(t *testing.T) {
			s := earlier(mutual())
			p := history(t, s).again(t, s)
			p.tamper = func(to *end, _ int, l letter) []letter {
				if message.Type(l.msg[0]) != message.TypeEndOfEarlyData {
					return []letter{l}
				}
				return c.give(l)
			}
			p.run(modes[0])
			failedWith(t, p.server.err, c.alert)
			finished(t, p.server)
		})
	}
	t.Run("where none is due", func(t *testing.T) {
		s := resuming(mutual())
		p := history(t, s).again(t, s)
		p.tamper = func(to *end, _ int, l letter) []letter {
			if to.name == "server" && message.Type(l.msg[0]) == message.TypeFinished {
				return []letter{{Handshake, eoed}}
			}
			return []letter{l}
		}
		p.run(modes[0])
		failedWith(t, p.server.err, alert.UnexpectedMessage)
	})
}

// A client may offer early data without a session that we know, or any at all:
// it is skipped. It may not offer it after a HelloRetryRequest.
func TestEarlyDataWithoutASession(t *testing.T) {
	for name, edit := range map[string]func(*message.ClientHello){
		"no session": func(m *message.ClientHello) { m.EarlyData = true },
		"a session of somebody else's": func(m *message.ClientHello) {
			m.EarlyData = true
			m.PSK = &message.PreSharedKeys{Identities: []message.PSKIdentity{{Identity: []byte("unknown")}}, Binders: [][]byte{make([]byte, 32)}}
		},
	} {
		for _, s := range []setting{usual(), earlier(usual())} {
			p := newPair(t, s)
			edited(t, p, past{}, false, edit)
			p.run(modes[0])
			if p.server.err != nil || !p.server.skips || p.server.begun {
				t.Errorf("%s: skips %v, takes %v: %v", name, p.server.skips, p.server.begun, p.server.err)
			}
		}
	}
	s := earlier(usual())
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	p := newPair(t, s)
	hellos := 0
	edited(t, p, past{}, false, func(m *message.ClientHello) {
		if hellos++; hellos == 2 {
			m.EarlyData = true
		}
	})
	p.run(modes[0])
	failedWith(t, p.server.err, alert.IllegalParameter)
}

// Of two same hellos the second gives no early data; the register is asked about
// what makes them the same, and about nothing that is not proven.
func TestAReplayedHelloGivesNoEarlyData(t *testing.T) {
	s := earlier(mutual())
	was := history(t, s)
	p := was.again(t, s)
	p.run(modes[0])
	p.early(t, EarlyAccepted)
	q := was.again(t, s)
	q.server.seen = p.server.seen
	q.run(modes[0])
	q.early(t, EarlyAccepted) // a new hello with the same ticket is another one
	if len(q.server.seen) != 2 {
		t.Fatalf("the register saw %d", len(q.server.seen))
	}

	var hello []byte
	r := was.again(t, s)
	r.tamper = func(_ *end, _ int, l letter) []letter {
		if message.Type(l.msg[0]) == message.TypeClientHello {
			hello = slices.Clone(l.msg)
		}
		return []letter{l}
	}
	r.run(modes[0])
	again := was.again(t, s).server
	again.seen = r.server.seen
	again.hand(letter{Initial, hello})
	for len(again.ops) > 0 {
		again.resolve(0)
	}
	if again.err != nil || again.begun || !again.skips || !slices.Contains(again.asked, RegisterEarlyData) {
		t.Errorf("the replay: takes %v, skips %v, %v", again.begun, again.skips, again.err)
	}

	forged := was.again(t, s)
	edited(t, forged, was, false, func(m *message.ClientHello) { m.PSK.Binders[0] = make([]byte, 32) })
	forged.run(modes[0])
	if f := failedWith(t, forged.server.err, alert.DecryptError); f.Code != code.BadBinder || slices.Contains(forged.server.asked, RegisterEarlyData) {
		t.Errorf("%v; asked %v", f, forged.server.asked)
	}
}

// Every byte of every message of a handshake with early data changed on the way.
func TestEveryChangedByteOfAHandshakeWithEarlyDataIsNoticed(t *testing.T) {
	s := earlier(mutual())
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
	p.early(t, EarlyAccepted)
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
				t.Errorf("byte %d of %v to the %s changed, and nobody noticed", i, message.Type(at.msg[0]), at.to)
			}
			for _, e := range []*end{p.client, p.server} {
				var f *Failure
				if e.err != nil && (!errors.As(e.err, &f) || f.Fault == Misuse) {
					t.Errorf("byte %d of %v to the %s: the %s failed with %v", i, message.Type(at.msg[0]), at.to, e.name, e.err)
				}
			}
		}
	}
}
