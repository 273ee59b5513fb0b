package quic

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

var settings = map[string]func() setting{"one side": usual, "mutual": mutual, "behind a HelloRetryRequest": retrying}

// However bytes are cut, whatever overtakes what, and whenever operations are
// answered, both ends come to the same.
func TestTheTwoEndsAgree(t *testing.T) {
	for name, set := range settings {
		for _, piece := range []int{0, 1, 3, 1200} {
			for _, late := range []bool{false, true} {
				for _, later := range []bool{false, true} {
					s := set()
					s.piece, s.late = piece, late
					p := newPair(t, s)
					p.later = later
					p.run().agreed(t)
					if (p.server.Result().PeerChain != nil) != (s.server.ClientAuth != 0) || p.client.Result().PeerChain == nil {
						t.Errorf("%s: who was proven is not who should be", name)
					}
				}
			}
		}
	}
}

// The order in which secrets are given out is the one that QUIC relies on: none
// for reading before the peer can have proven what it takes, the server's 1-RTT
// for writing behind its Finished, for reading behind the client's.
func TestSecretsComeInOrder(t *testing.T) {
	p := newPair(t, mutual()).run()
	p.agreed(t)
	if want := []string{"handshake write", "handshake read", "application write", "application read"}; !slices.Equal(p.server.order, want) {
		t.Errorf("the server's secrets came as %q", p.server.order)
	}
	if want := []string{"handshake read", "handshake write", "application read", "application write"}; !slices.Equal(p.client.order, want) {
		t.Errorf("the client's secrets came as %q", p.client.order)
	}
}

// A server that has not judged the client yet has not got the keys of what it says.
func TestAServerReadsNothingBeforeTheClientIsJudged(t *testing.T) {
	s := mutual()
	s.refuse = errors.New("not that one")
	p := newPair(t, s).run()
	p.server.failed(t, crypto(alert.AccessDenied))
	if p.server.secrets["application read"] != nil {
		t.Error("the server was given keys to read what a refused client says")
	}
	if !p.client.done {
		t.Error("the client does not know yet, and should have gone on")
	}
}

// There is nothing of middlebox compatibility, and no ticket that means nothing:
// QUIC has HANDSHAKE_DONE for it.
func TestNothingIsDisguised(t *testing.T) {
	p := newPair(t, mutual()).run()
	p.agreed(t)
	var ch message.ClientHello
	if err := ch.Parse(p.client.sent[handshake.Initial]); err != nil || len(ch.SessionID) > 0 {
		t.Errorf("the client's session identifier is %x (%v)", ch.SessionID, err)
	}
	var sh message.ServerHello
	if err := sh.Parse(p.server.sent[handshake.Initial]); err != nil || len(sh.SessionID) > 0 {
		t.Errorf("the server's session identifier is %x (%v)", sh.SessionID, err)
	}
	if b := p.server.sent[handshake.Application]; len(b) > 0 {
		t.Errorf("the server sent %v after the handshake", message.Type(b[0]))
	}
}

func TestResumption(t *testing.T) {
	for _, late := range []bool{false, true} {
		s := mutual()
		s.client.Resume, s.server.Resume, s.late = true, true, late
		p := newPair(t, s).run()
		p.agreed(t)
		if len(p.client.tickets) != 1 {
			t.Fatalf("the client has %d tickets, expected one", len(p.client.tickets))
		}
		s.vault = p.server.set.vault
		s.offer = p.client.tickets[0]
		s.offer.PeerChain, s.offer.Local, s.offer.Age = p.client.Result().PeerChain, p.client.Result().Local, func() uint32 { return 7 }
		p = newPair(t, s).run()
		p.agreed(t)
		if !p.client.Result().Resumed || slices.Contains(p.server.answered, handshake.Sign) {
			t.Error("it was a full handshake")
		}
		if p.client.judged != 1 || p.server.judged != 1 {
			t.Error("the verifiers were not asked about the session")
		}
	}
}

// Early data that the server does not take is QUIC's to drop.
func TestEarlyDataThatIsNotTakenIsTold(t *testing.T) {
	p := newPair(t, usual())
	p.tamper = func(to *end, level handshake.Level, b []byte) []byte {
		if level != handshake.Initial || to != p.server {
			return b
		}
		return edited(t, b, func(m *message.ClientHello) {
			m.EarlyData = true
			m.PSK = &message.PreSharedKeys{Identities: []message.PSKIdentity{{Identity: []byte("unknown")}}, Binders: [][]byte{make([]byte, 32)}}
		})
	}
	p.run()
	if p.server.err != nil || !p.server.skips {
		t.Errorf("early data is told to be skipped: %v; %v", p.server.skips, p.server.err)
	}
}

// edited is a ClientHello that was made anew.
func edited(t testing.TB, b []byte, edit func(*message.ClientHello)) []byte {
	t.Helper()
	var m message.ClientHello
	if err := m.Parse(b); err != nil {
		t.Fatal(err)
	}
	m.Extensions = nil // they are made anew from the fields
	edit(&m)
	out, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestWhatAServerRefuses(t *testing.T) {
	other := []message.Extension{{Type: 0x1a1a}}
	for name, c := range map[string]struct {
		edit func(*message.ClientHello)
		want uint64
	}{
		"a session identifier":    {func(m *message.ClientHello) { m.SessionID = make([]byte, 32) }, ProtocolViolation},
		"no transport parameters": {func(m *message.ClientHello) { m.TransportParameters = nil }, crypto(alert.MissingExtension)},
		"no ALPN":                 {func(m *message.ClientHello) { m.ALPN = nil }, crypto(alert.NoApplicationProtocol)},
		"another ALPN":            {func(m *message.ClientHello) { m.ALPN = []string{"hq"} }, crypto(alert.NoApplicationProtocol)},
		"only TLS 1.2":            {func(m *message.ClientHello) { m.Versions = []uint16{0x0303} }, crypto(alert.ProtocolVersion)},
		"nothing wrong":           {func(m *message.ClientHello) { m.Extensions = other }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, usual())
			p.tamper = func(to *end, level handshake.Level, b []byte) []byte {
				if to == p.server && level == handshake.Initial {
					return edited(t, b, c.edit)
				}
				return b
			}
			p.run()
			if c.want == 0 {
				if p.server.err != nil {
					t.Error(p.server.err)
				}
				return
			}
			p.server.failed(t, c.want)
		})
	}
}

// A second hello that says other parameters than the first is refused.
func TestParametersStayAfterARetry(t *testing.T) {
	p := newPair(t, retrying())
	hellos := 0
	p.tamper = func(to *end, level handshake.Level, b []byte) []byte {
		if to == p.server && level == handshake.Initial {
			if hellos++; hellos == 2 {
				return edited(t, b, func(m *message.ClientHello) { m.TransportParameters = []byte("others") })
			}
		}
		return b
	}
	p.run()
	p.server.failed(t, crypto(alert.IllegalParameter))
}

func TestWhatAClientRefuses(t *testing.T) {
	ee := func(edit func(*message.EncryptedExtensions)) func(*testing.T, []byte) []byte {
		return func(t *testing.T, b []byte) []byte {
			_, n := message.Header(b)
			n += message.HeaderLen
			var m message.EncryptedExtensions
			if err := m.Parse(b[:n]); err != nil {
				t.Fatal(err)
			}
			m.Extensions = nil
			edit(&m)
			out, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			return append(out, b[n:]...)
		}
	}
	for name, c := range map[string]struct {
		level handshake.Level
		edit  func(*testing.T, []byte) []byte
		want  uint64
	}{
		"no transport parameters": {handshake.Handshake, ee(func(m *message.EncryptedExtensions) { m.TransportParameters = nil }), crypto(alert.MissingExtension)},
		"no ALPN":                 {handshake.Handshake, ee(func(m *message.EncryptedExtensions) { m.ALPN = "" }), crypto(alert.NoApplicationProtocol)},
		"another ALPN":            {handshake.Handshake, ee(func(m *message.EncryptedExtensions) { m.ALPN = "hq" }), crypto(alert.IllegalParameter)},
		"a session identifier that was not sent": {handshake.Initial, func(t *testing.T, b []byte) []byte {
			var m message.ServerHello
			if err := m.Parse(b); err != nil {
				t.Fatal(err)
			}
			m.Extensions, m.SessionID = nil, make([]byte, 32)
			out, err := m.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}, crypto(alert.IllegalParameter)},
		"more behind ServerHello": {handshake.Initial, func(_ *testing.T, b []byte) []byte { return append(bytes.Clone(b), 8, 0, 0) }, ProtocolViolation},
		"a KeyUpdate":             {handshake.Application, func(*testing.T, []byte) []byte { return []byte{24, 0, 0, 1, 0} }, crypto(alert.UnexpectedMessage)},
		"an EndOfEarlyData":       {handshake.Handshake, func(*testing.T, []byte) []byte { return []byte{5, 0, 0, 0} }, crypto(alert.UnexpectedMessage)},
		"a request for a certificate after the handshake": {handshake.Application, func(t *testing.T, _ []byte) []byte {
			b, err := (&message.CertificateRequest{Context: []byte{1}, Schemes: suite.Schemes()}).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}, crypto(alert.UnexpectedMessage)},
		"a ticket that limits early data": {handshake.Application, func(t *testing.T, _ []byte) []byte { return ticket(t, 1<<14) }, ProtocolViolation},
		"a ticket with early data":        {handshake.Application, func(t *testing.T, _ []byte) []byte { return ticket(t, 0xffffffff) }, 0},
		"a message that is too long": {handshake.Handshake, func(*testing.T, []byte) []byte { return []byte{8, 0xff, 0xff, 0xff} },
			crypto(alert.IllegalParameter)},
		"a message of an unknown type": {handshake.Handshake, func(*testing.T, []byte) []byte { return []byte{99, 0, 0, 0} }, crypto(alert.UnexpectedMessage)},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, usual())
			p.tamper = func(to *end, level handshake.Level, b []byte) []byte {
				if to == p.client && level == c.level {
					return c.edit(t, b)
				}
				return b
			}
			p.run()
			if c.level == handshake.Application { // our server says nothing there
				p.agreed(t)
				p.client.took(p.client.Receive(c.level, c.edit(t, nil)))
			}
			if c.want == 0 {
				if p.client.err != nil {
					t.Error(p.client.err)
				}
				return
			}
			p.client.failed(t, c.want)
			if again := p.client.Receive(p.client.level, []byte{1}); again != p.client.err {
				t.Errorf("the error does not stay: %v", again)
			}
		})
	}
}

func ticket(t testing.TB, early uint32) []byte {
	b, err := (&message.NewSessionTicket{Lifetime: 60, Nonce: []byte{0}, Ticket: []byte("ticket"), MaxEarlyData: early}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Pitfall: messages after the handshake are no progress, and are counted; what is
// progress only QUIC knows.
func TestTicketsInARowAreCounted(t *testing.T) {
	p := newPair(t, usual()).run()
	p.agreed(t)
	for range 3 {
		for range maxRow {
			p.client.took(p.client.Receive(handshake.Application, ticket(t, 0)))
		}
		if p.client.err != nil {
			t.Fatal(p.client.err)
		}
		p.client.Progress()
	}
	for range maxRow + 1 {
		p.client.took(p.client.Receive(handshake.Application, ticket(t, 0)))
	}
	if f := p.client.failed(t, CryptoBufferExceeded); f.Code != code.Flood {
		t.Error(f)
	}
}

// A server takes no message of TLS's once the handshake is over.
func TestAServerTakesNothingAfterTheHandshake(t *testing.T) {
	for _, msg := range [][]byte{{24, 0, 0, 1, 0}, ticket(t, 0)} {
		p := newPair(t, usual()).run()
		p.agreed(t)
		p.server.took(p.server.Receive(handshake.Application, msg))
		p.server.failed(t, crypto(alert.UnexpectedMessage))
	}
}

// Bytes at a level that is over are refused; no bytes at all are none.
func TestALevelThatIsOver(t *testing.T) {
	for _, level := range []handshake.Level{handshake.Initial, handshake.Handshake} {
		p := newPair(t, usual()).run()
		p.agreed(t)
		p.client.took(p.client.Receive(level, nil))
		if p.client.err != nil {
			t.Fatal(p.client.err)
		}
		p.client.took(p.client.Receive(level, []byte{0}))
		p.client.failed(t, ProtocolViolation)
	}
}

// Bytes at a level for which no keys are out can't have come from anybody.
func TestALevelThatIsNotThereYetIsTheStacksMistake(t *testing.T) {
	s := usual()
	s.vault = map[string]*handshake.Session{}
	e := newServer(t, &s)
	e.took(e.Receive(handshake.Handshake, []byte{20}))
	if f := e.failed(t, crypto(alert.InternalError)); f.Fault != handshake.Misuse {
		t.Errorf("the fault is %v", f.Fault)
	}
}

// What comes while an operation waits is kept within a limit, and an unfinished
// message within that of its kind.
func TestWhatIsKeptIsBounded(t *testing.T) {
	s := mutual()
	s.late = true
	p := newPair(t, s)
	for p.client.ops[0].Kind != handshake.TransportParameters {
		t.Fatal("the client was not asked for its parameters first")
	}
	p.client.answer(0)
	for len(p.server.ops) == 0 {
		if !p.carry(p.client, p.server) {
			t.Fatal("nothing moves")
		}
	}
	p.server.answer(0) // which certificate to show
	// The server's parameters are awaited; the client goes on all the same.
	for range maxHeld/1000 + 1 {
		if p.server.err != nil {
			t.Fatalf("it was refused too early: %v", p.server.err)
		}
		p.server.took(p.server.Receive(handshake.Handshake, make([]byte, 1000)))
	}
	p.server.failed(t, CryptoBufferExceeded)
	if p.server.held != nil {
		t.Error("what was kept still is")
	}
}

// A client without a protocol to offer does not begin.
func TestAClientOffersAProtocol(t *testing.T) {
	s := usual()
	s.client.ALPN = nil
	e := newClient(t, &s)
	if e.err == nil || len(e.sent[handshake.Initial]) > 0 {
		t.Errorf("it began: %v", e.err)
	}
}

// Outside of QUIC the extension is refused.
func TestParametersOutsideOfQUICAreRefused(t *testing.T) {
	s := usual()
	s.server.QUIC = false
	p := newPair(t, s).run()
	p.server.failed(t, crypto(alert.UnsupportedExtension))
}

func FuzzReceive(f *testing.F) {
	p := newPair(f, mutual()).run()
	f.Add(p.client.sent[handshake.Initial], true, uint8(3))
	f.Add(slices.Concat(p.server.sent[handshake.Initial], p.server.sent[handshake.Handshake]), false, uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, server bool, piece uint8) {
		s := mutual()
		s.vault = map[string]*handshake.Session{}
		e := newClient(t, &s)
		if server {
			e = newServer(t, &s)
		}
		for n := 1 + int(piece); len(b) > 0 && e.err == nil; b = b[min(n, len(b)):] {
			e.took(e.Receive(e.level, b[:min(n, len(b))]))
			if len(e.held) > maxHeld+300<<10 {
				t.Fatalf("%d bytes are kept", len(e.held))
			}
		}
		var f *handshake.Failure
		if errors.As(e.err, &f) && f.Fault == handshake.Misuse {
			t.Fatalf("the peer's fault is taken for ours: %v", f)
		}
	})
}
