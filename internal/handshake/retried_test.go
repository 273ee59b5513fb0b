package handshake

import (
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// After a HelloRetryRequest a hello is the same but for what was asked, in every
// extension, known or not, and in their order (RFC 8446, section 4.1.2).
func TestASecondHelloIsTheSame(t *testing.T) {
	strange := []message.Extension{{Type: 0x5001, Body: []byte{1}}, {Type: 0x5002, Body: []byte{2}}}
	for name, c := range map[string]struct {
		edit func(*message.ClientHello)
		ok   bool
	}{
		"the same":                    {func(*message.ClientHello) {}, true},
		"padding gone":                {func(m *message.ClientHello) { m.Extensions = strange }, true},
		"another value":               {func(m *message.ClientHello) { m.Extensions[1].Body = []byte{3} }, false},
		"another order":               {func(m *message.ClientHello) { slices.Reverse(m.Extensions) }, false},
		"one more":                    {func(m *message.ClientHello) { m.Extensions = append(m.Extensions, message.Extension{Type: 0x5003}) }, false},
		"one fewer":                   {func(m *message.ClientHello) { m.Extensions = m.Extensions[1:] }, false},
		"another random":              {func(m *message.ClientHello) { m.Random[0] ^= 1 }, false},
		"another session identifier":  {func(m *message.ClientHello) { m.SessionID = []byte{1} }, false},
		"another server name":         {func(m *message.ClientHello) { m.ServerName = "others.example" }, false},
		"another list of suites":      {func(m *message.ClientHello) { m.CipherSuites = append(m.CipherSuites, 0x1399) }, false},
		"another list of signatures":  {func(m *message.ClientHello) { m.Schemes = m.Schemes[1:] }, false},
		"another list of groups":      {func(m *message.ClientHello) { m.Groups = append(m.Groups, suite.P384) }, false},
		"another list of compression": {func(m *message.ClientHello) { m.Compression = []byte{0, 0} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := usual()
			s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
			a := newClientActor(t, s)
			a.clientHello(func(m *message.ClientHello) {
				m.CipherSuites, m.Schemes, m.Groups = slices.Clone(m.CipherSuites), slices.Clone(m.Schemes), slices.Clone(m.Groups)
				m.Extensions = append(slices.Clone(strange), message.Extension{Type: message.ExtPadding, Body: make([]byte, 9)})
			})
			a.offer(suite.P256)
			a.clientHello(c.edit)
			if c.ok {
				if a.peer.err != nil {
					t.Fatal(a.peer.err)
				}
				return
			}
			failedWith(t, a.peer.err, alert.IllegalParameter)
		})
	}
}

// Where nothing that we sign with is verified, the client learns it before
// anything is chosen.
func TestAClientThatVerifiesNothingOfOursIsToldAtOnce(t *testing.T) {
	a := newClientActor(t, usual())
	a.clientHello(func(m *message.ClientHello) { m.Schemes = []suite.Scheme{0x0201, 0x0401} })
	failedWith(t, a.peer.err, alert.HandshakeFailure)
	if len(a.peer.sent) > 0 {
		t.Errorf("the server sent %v first", a.peer.sent[0])
	}
}
