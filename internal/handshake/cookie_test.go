package handshake

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

func cooking(s setting) setting {
	s.server.Cookies = true
	return s
}

// A server that gives cookies needs nothing of the first hello but what comes
// back: another machine takes the second one, whatever is resumed or asked for.
func TestAnotherMachineTakesTheHelloWithTheCookie(t *testing.T) {
	retry := func(s setting) setting {
		s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
		return s
	}
	for name, s := range map[string]setting{
		"the right share": cooking(mutual()), "another share": cooking(retry(mutual())), "resumed": cooking(resuming(mutual())),
		"resumed, another share": cooking(resuming(retry(mutual()))),
	} {
		for _, apart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p := newPair(t, s)
				if strings.HasPrefix(name, "resumed") {
					p = history(t, s).again(t, s)
				}
				hellos := 0
				p.tamper = func(to *end, _ int, l letter) []letter {
					if message.Type(l.msg[0]) == message.TypeClientHello {
						if hellos++; hellos == 2 && apart {
							to.Discard()
							cfg := s.server
							to.Machine, to.story = NewServer(&cfg), nil
						}
					}
					return []letter{l}
				}
				p.run(modes[0])
				p.resumed(t, strings.HasPrefix(name, "resumed"))
				if hellos != 2 || !p.server.Result().Retried || !p.client.Result().Retried {
					t.Errorf("%d hellos", hellos)
				}
				if n := strings.Count(strings.Join(p.server.story, " "), "ccs"); apart == (n == 1) {
					t.Errorf("%d compatibility records", n)
				}
			})
		}
	}
}

// Between the hellos the machine holds nothing of the first.
func TestAServerForgetsTheFirstHello(t *testing.T) {
	p := newPair(t, cooking(mutual()))
	p.client.settle(p.client.start())
	p.post(p.server)
	p.answer(p.server, modes[0])
	s := p.server.Machine.(*Server)
	if s.hello.Raw != nil || s.first != nil || s.hash != nil || s.sessionID != nil || s.share != nil || len(p.server.sent) == 0 {
		t.Errorf("it holds %d bytes of the first hello", len(s.hello.Raw))
	}
}

// A cookie is for one hello, and each second hello needs one.
func TestCookiesThatAreNotOursAreRefused(t *testing.T) {
	other := message.KeyShare{Group: suite.P256, Data: []byte{4}}
	for name, want := range map[string]struct {
		edit  func(*message.ClientHello)
		alert alert.Alert
		says  string
	}{
		"changed":            {func(m *message.ClientHello) { m.Cookie = []byte("x" + string(m.Cookie)) }, alert.IllegalParameter, "not one of ours"},
		"cut":                {func(m *message.ClientHello) { m.Cookie = m.Cookie[:len(m.Cookie)-1] }, alert.IllegalParameter, "not one of ours"},
		"left out":           {func(m *message.ClientHello) { m.Cookie = nil }, alert.MissingExtension, "left out the cookie"},
		"another hello":      {func(m *message.ClientHello) { m.Random[0]++ }, alert.IllegalParameter, "another hello"},
		"another name":       {func(m *message.ClientHello) { m.ServerName = "payments.example" }, alert.IllegalParameter, "another hello"},
		"one more extension": {func(m *message.ClientHello) { m.Extensions = append(m.Extensions, message.Extension{Type: 0x5a5a}) }, alert.IllegalParameter, "another hello"},
		"another suite":      {func(m *message.ClientHello) { m.CipherSuites = append(slices.Clone(m.CipherSuites), 0x1302) }, alert.IllegalParameter, "another hello"},
		"early data":         {func(m *message.ClientHello) { m.EarlyData = true }, alert.IllegalParameter, "early data"},
		"two shares":         {func(m *message.ClientHello) { m.KeyShares = append(m.KeyShares, other) }, alert.IllegalParameter, "exactly one key share"},
	} {
		t.Run(name, func(t *testing.T) {
			s := cooking(mutual())
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256, suite.P384}, []suite.GroupID{suite.P384}
			p, hellos := newPair(t, s), 0
			p.tamper = func(_ *end, _ int, l letter) []letter {
				if message.Type(l.msg[0]) != message.TypeClientHello {
					return []letter{l}
				}
				if hellos++; hellos < 2 {
					return []letter{l}
				}
				var m message.ClientHello
				if err := m.Parse(bytes.Clone(l.msg)); err != nil {
					t.Fatal(err)
				}
				m.Extensions = nil
				if name == "two shares" {
					m.KeyShares = slices.Clone(m.KeyShares)
					slices.Reverse(m.KeyShares)
				}
				want.edit(&m)
				if name == "two shares" {
					slices.Reverse(m.KeyShares)
				}
				b, err := m.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				return []letter{{l.level, b}}
			}
			p.run(modes[0])
			if f := failedWith(t, p.server.err, want.alert); !strings.Contains(f.Reason, want.says) {
				t.Error(f)
			}
			finished(t, p.server)
		})
	}
}

// FuzzCookie has a server's machine get back whatever a cookie may hold, as from a
// server of another version that shares the keys: it goes on, or refuses.
func FuzzCookie(f *testing.F) {
	s := cooking(mutual())
	p := newPair(f, s)
	p.tamper = func(_ *end, _ int, l letter) []letter {
		var m message.ClientHello
		if message.Type(l.msg[0]) == message.TypeClientHello && m.Parse(bytes.Clone(l.msg)) == nil && m.Cookie != nil {
			plain := bytes.TrimPrefix(m.Cookie, []byte("cookie "))
			f.Add(plain)
			f.Add(plain[:len(plain)-1])
			f.Add(append([]byte{0x13, 0x02}, plain[2:]...)) // another hash
			f.Add(append([]byte{0x13, 0x01, 0, 29}, plain[4:]...))
		}
		return []letter{l}
	}
	p.run(modes[0])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, plain []byte) {
		var c cookie
		if c.parse(plain) && !bytes.Equal(c.append(nil), plain) {
			t.Errorf("%x was read, and written as %x", plain, c.append(nil))
		}
		p := newPair(t, s)
		p.tamper = func(_ *end, _ int, l letter) []letter {
			var m message.ClientHello
			if message.Type(l.msg[0]) != message.TypeClientHello || m.Parse(bytes.Clone(l.msg)) != nil || m.Cookie == nil {
				return []letter{l}
			}
			m.Extensions, m.Cookie = nil, append([]byte("cookie "), plain...)
			b, err := m.Append(nil)
			if err != nil {
				return nil // too long for a hello
			}
			return []letter{{l.level, b}}
		}
		p.run(modes[0])
		var failure *Failure
		if errors.As(p.server.err, &failure) && failure.Fault == Misuse {
			t.Errorf("the machine takes a cookie for its own fault: %v", failure)
		}
	})
}
