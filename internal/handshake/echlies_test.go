package handshake

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
)

// forger encrypts the hellos of a client anew, in a context of its own, after
// somebody has changed them. It stands between the two ends.
type forger struct {
	t      testing.TB
	p      *pair
	sealer *ech.Sealer
	n      int // hellos so far
	// inner and encoded change what is encrypted of the hello with that number,
	// outer what is around it.
	at      int
	inner   func(*message.ClientHello)
	encoded func([]byte) []byte
	outer   func(*message.ClientHello)
}

func (f *forger) tamper(to *end, _ int, l letter) []letter {
	if to != f.p.server || message.Type(l.msg[0]) != message.TypeClientHello {
		return []letter{l}
	}
	f.n++
	var in, out message.ClientHello
	if err := in.Parse(f.p.client.hidden); err != nil {
		f.t.Fatal(err)
	}
	if err := out.Parse(l.msg); err != nil {
		f.t.Fatal(err)
	}
	if f.n == f.at && f.inner != nil {
		f.inner(&in)
	}
	encoded, err := in.EncodeInner(func(message.ExtensionType) bool { return false }, func(int) int { return 0 })
	if err != nil {
		f.t.Fatal(err)
	}
	if f.n == f.at && f.encoded != nil {
		encoded = f.encoded(encoded)
	}
	h := *out.ECH
	h.Suite, h.ConfigID, h.Enc, h.Payload = f.sealer.Suite, f.sealer.Config.ID, nil, make([]byte, len(encoded)+ech.TagLen)
	if f.n == 1 {
		h.Enc = f.sealer.Enc
	}
	around := message.ClientHello{
		LegacyVersion: out.LegacyVersion, Random: out.Random, SessionID: out.SessionID, CipherSuites: out.CipherSuites, Compression: out.Compression, ECH: &h,
		Extensions: slices.DeleteFunc(slices.Clone(out.Extensions), func(x message.Extension) bool { return x.Type == message.ExtEncryptedClientHello }),
	}
	if f.n == f.at && f.outer != nil {
		f.outer(&around)
	}
	b, err := around.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if around.ECH == nil {
		return []letter{{l.level, b}}
	}
	if err := out.Parse(b); err != nil {
		f.t.Fatal(err)
	}
	sealed, err := f.sealer.Seal(out.OuterAAD(), encoded)
	if err != nil {
		f.t.Fatal(err)
	}
	if !around.ECH.Inner {
		copy(out.ECH.Payload, sealed)
	}
	return []letter{{l.level, b}}
}

func without(m *message.ClientHello, t message.ExtensionType) {
	m.Extensions = slices.DeleteFunc(slices.Clone(m.Extensions), func(x message.Extension) bool { return x.Type == t })
}

func TestAServerRefusesEncryptedHellosThatLie(t *testing.T) {
	const illegal = alert.IllegalParameter
	older := func(m *message.ClientHello) {
		without(m, message.ExtSupportedVersions)
		m.Extensions = append(m.Extensions, message.Extension{Type: message.ExtSupportedVersions, Body: []byte{4, 3, 4, 3, 3}})
	}
	noMark := func(m *message.ClientHello) { without(m, message.ExtEncryptedClientHello) }
	named := func(name ...byte) func(m *message.ClientHello) {
		return func(m *message.ClientHello) {
			m.Extensions = append(slices.Clone(m.Extensions), message.Extension{Type: message.ExtECHOuterExtensions, Body: append([]byte{byte(len(name))}, name...)})
		}
	}
	for _, l := range []struct {
		name string
		// second is whether it is the second hello alone that can lie so.
		second  bool
		inner   func(*message.ClientHello)
		encoded func([]byte) []byte
		outer   func(*message.ClientHello)
		alert   alert.Alert
		code    code.Code
		says    string
	}{
		{name: "no mark inside", inner: noMark, alert: illegal, code: code.ECHInner, says: "does not say that it was encrypted"},
		{name: "a mark of the wrong kind", inner: func(m *message.ClientHello) {
			noMark(m)
			m.Extensions = append(m.Extensions, message.Extension{Type: message.ExtEncryptedClientHello, Body: []byte{0, 0, 1, 0, 1, 9, 0, 0, 0, 1, 7}})
		}, alert: illegal, code: code.ECHInner, says: "does not say that it was encrypted"},
		{name: "TLS 1.2 inside", inner: older, alert: illegal, code: code.ECHInner, says: "before TLS 1.3"},
		{name: "no versions inside", inner: func(m *message.ClientHello) { without(m, message.ExtSupportedVersions) }, alert: illegal, code: code.ECHInner, says: "before TLS 1.3"},
		{name: "padding", encoded: func(b []byte) []byte { return append(b, 0, 7) }, alert: illegal, code: code.IllegalParameter, says: "padding"},
		{name: "cut off", encoded: func(b []byte) []byte { return b[:len(b)-1] }, alert: alert.DecodeError, code: code.BadMessage, says: "cut off"},
		{name: "a missing outer extension", inner: named(0x7a, 0x7b), alert: illegal, code: code.IllegalParameter, says: "names"},
		{name: "itself as an outer extension", inner: named(0xfe, 0x0d), alert: illegal, code: code.IllegalParameter, says: "names"},
		{name: "an extension twice", inner: named(0, 43), alert: alert.DecodeError, code: code.BadMessage, says: "twice"},
		{name: "a hello in the clear that says that it was encrypted", outer: func(m *message.ClientHello) { m.ECH = &message.ECHHello{Inner: true} }, alert: illegal, says: "in the clear"},

		{name: "the second not encrypted", second: true, outer: func(m *message.ClientHello) { m.ECH = nil }, alert: alert.MissingExtension, code: code.MissingExtension, says: "is not encrypted"},
		{name: "another config in the second", second: true, outer: func(m *message.ClientHello) { m.ECH.ConfigID++ }, alert: illegal, code: code.ECHContradicted, says: "in another way"},
		{name: "another suite in the second", second: true, outer: func(m *message.ClientHello) { m.ECH.Suite.AEAD ^= 3 }, alert: illegal, code: code.ECHContradicted, says: "in another way"},
		{name: "a key in the second", second: true, outer: func(m *message.ClientHello) { m.ECH.Enc = make([]byte, 32) }, alert: illegal, code: code.ECHContradicted, says: "in another way"},
		{name: "another name in the second", second: true, inner: func(m *message.ClientHello) {
			for i, x := range m.Extensions {
				if x.Type == message.ExtServerName {
					m.Extensions[i].Body = bytes.Replace(x.Body, []byte("orders"), []byte("others"), 1)
				}
			}
		}, alert: illegal, code: code.IllegalParameter, says: "changed its hello"},
	} {
		for at := 1; at <= 2; at++ {
			if l.second && at == 1 {
				continue
			}
			key := echKey(t)
			p := concealed(t, askingAgain(usual()), key, key)
			f := &forger{t: t, p: p, sealer: sealerTo(t, key), at: at, inner: l.inner, encoded: l.encoded, outer: l.outer}
			p.tamper = f.tamper
			p.run(modes[0])
			got := failedWith(t, p.server.err, l.alert)
			if l.code != "" && got.Code != l.code || !strings.Contains(got.Reason, l.says) {
				t.Errorf("%s, in hello %d: %v: %v, expected %v and %q", l.name, at, got.Code, got, l.code, l.says)
			}
			finished(t, p.server)
		}
	}
	// The forger alone changes nothing.
	key := echKey(t)
	p := concealed(t, askingAgain(usual()), key, key)
	p.tamper = (&forger{t: t, p: p, sealer: sealerTo(t, key)}).tamper
	p.run(modes[0])
	if p.server.err != nil || p.server.Machine.(*Server).ech.status != ECHAccepted {
		t.Error(p.server.err)
	}
}

// changed delivers the hello with that number with a byte of its payload turned.
func changed(p *pair, at int) {
	n := 0
	p.tamper = func(to *end, _ int, l letter) []letter {
		if to == p.server && message.Type(l.msg[0]) == message.TypeClientHello {
			if n++; n == at {
				var m message.ClientHello
				if err := m.Parse(l.msg); err != nil {
					to.t.Fatal(err)
				}
				m.ECH.Payload[3] ^= 1 // which lies in l.msg
			}
		}
		return []letter{l}
	}
}

func TestAnEncryptedHelloThatWasChangedOnTheWay(t *testing.T) {
	key := echKey(t)
	p := concealed(t, askingAgain(usual()), key, key)
	changed(p, 2)
	p.run(modes[0])
	if f := failedWith(t, p.server.err, alert.DecryptError); f.Code != code.ECHUnreadable {
		t.Error(f.Code)
	}
	// The first one is rejected like one of another key; the two ends then saw
	// different hellos, and nothing comes of it.
	p = concealed(t, usual(), key, key)
	changed(p, 1)
	p.run(modes[0])
	if p.client.err == nil || p.server.err == nil && p.server.done {
		t.Errorf("the client: %v, the server: %v", p.client.err, p.server.err)
	}
	if p.client.Result() != nil {
		t.Error("the client is content")
	}
}

// saying changes what the server says in the message of the type.
func saying(p *pair, typ message.Type, change func(*pair, []byte) []byte) {
	p.tamper = func(to *end, _ int, l letter) []letter {
		if to == p.client && message.Type(l.msg[0]) == typ {
			l.msg = change(p, bytes.Clone(l.msg))
		}
		return []letter{l}
	}
}

func TestAClientRefusesServersThatLieAboutItsEncryptedHello(t *testing.T) {
	configs := echKey(t).List()
	retry := func(edit func(*message.ServerHello)) func(*pair, []byte) []byte {
		return func(p *pair, b []byte) []byte {
			var m message.ServerHello
			if err := m.Parse(b); err != nil {
				p.client.t.Fatal(err)
			}
			if !m.IsRetry() {
				return b
			}
			m.Extensions = nil
			edit(&m)
			out, err := m.Append(nil)
			if err != nil {
				p.client.t.Fatal(err)
			}
			return out
		}
	}
	serverHello := func(change func(b []byte)) func(*pair, []byte) []byte {
		return func(_ *pair, b []byte) []byte {
			if !bytes.Contains(b, message.RetryRandom[:]) {
				change(b)
			}
			return b
		}
	}
	extensions := func(p *pair, _ []byte) []byte {
		b, err := (&message.EncryptedExtensions{ECHRetryConfigs: configs}).Append(nil)
		if err != nil {
			p.client.t.Fatal(err)
		}
		return b
	}
	for _, l := range []struct {
		name   string
		set    func(*setting)
		typ    message.Type
		change func(*pair, []byte) []byte
		plain  bool // the client encrypts nothing
		alert  alert.Alert
		code   code.Code
		says   string
	}{
		{name: "yes in the retry and no in the ServerHello", set: func(s *setting) { *s = askingAgain(*s) }, typ: message.TypeServerHello,
			change: serverHello(func(b []byte) { b[message.HeaderLen+2+31] ^= 1 }), alert: alert.IllegalParameter, code: code.ECHContradicted, says: "and not in its ServerHello"},
		{name: "retry configs from who read the hello", typ: message.TypeEncryptedExtensions, change: extensions,
			alert: alert.UnsupportedExtension, code: code.UnsupportedExtension, says: "encrypted_client_hello"},
		{name: "retry configs that nobody asked for", plain: true, typ: message.TypeEncryptedExtensions, change: extensions,
			alert: alert.UnsupportedExtension, code: code.UnsupportedExtension, says: "encrypted_client_hello"},
		{name: "a confirmation that nobody asked for", plain: true, set: func(s *setting) { *s = askingAgain(*s) }, typ: message.TypeServerHello,
			change: retry(func(m *message.ServerHello) { m.ECHConfirmation = make([]byte, 8) }), alert: alert.UnsupportedExtension, code: code.UnsupportedExtension, says: "encrypted_client_hello"},
	} {
		s := usual()
		if l.set != nil {
			l.set(&s)
		}
		key := echKey(t)
		p := concealed(t, s, key, key)
		if l.plain {
			p = newPair(t, s)
		}
		saying(p, l.typ, l.change)
		p.run(modes[0])
		f := failedWith(t, p.client.err, l.alert)
		if f.Code != l.code || !strings.Contains(f.Reason, l.says) {
			t.Errorf("%s: %v: %v, expected %v and %q", l.name, f.Code, f, l.code, l.says)
		}
		finished(t, p.client)
	}
}

// A HelloRetryRequest with anything but the right eight bytes rejects.
func TestARandomConfirmationRejects(t *testing.T) {
	old := echKey(t)
	key := echKey(t, old)
	for _, made := range [][]byte{nil, []byte("confirms")} {
		s := askingAgain(usual())
		p := concealed(t, s, old, key)
		p.tamper = func(to *end, _ int, l letter) []letter {
			if to == p.client && message.Type(l.msg[0]) == message.TypeServerHello && bytes.Contains(l.msg, message.RetryRandom[:]) && made != nil {
				var m message.ServerHello
				if err := m.Parse(l.msg); err != nil {
					t.Fatal(err)
				}
				m.Extensions, m.ECHConfirmation = nil, made
				b, err := m.Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				l.msg = b
			}
			return []letter{l}
		}
		p.run(modes[0])
		if p.client.Machine.(*Client).ech.status != ECHRejected {
			t.Error("it passes for a confirmation")
		}
		if made == nil {
			rejected(t, p)
		}
	}
}

// A pre-shared key that only the inner hello offers is not for who reads the
// outer one.
func TestARejectedClientResumesNothing(t *testing.T) {
	old := echKey(t)
	s := resuming(usual())
	was := history(t, s)
	p := concealed(t, s, old, echKey(t, old))
	p.client.offer = was.again(t, s).client.offer
	saying(p, message.TypeServerHello, func(p *pair, b []byte) []byte {
		var m message.ServerHello
		if err := m.Parse(b); err != nil {
			t.Fatal(err)
		}
		m.Extensions, m.HasPSK = nil, true
		out, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return out
	})
	p.run(modes[0])
	if f := failedWith(t, p.client.err, alert.IllegalParameter); !strings.Contains(f.Reason, "pre-shared key") {
		t.Error(f)
	}
}

// Early data goes with the inner hello, and the outer one says that some comes.
func TestEarlyDataWithAnEncryptedHello(t *testing.T) {
	for _, known := range []bool{true, false} {
		s := resuming(usual())
		s.server.MaxEarlyData = 1000
		was := history(t, s)
		if was.offer.MaxEarlyData == 0 {
			t.Fatal("the ticket allows no early data")
		}
		key := echKey(t)
		held := key
		if !known {
			held = echKey(t, key)
		}
		p := concealed(t, s, key, held)
		q := was.again(t, s)
		p.client.offer, p.server.vault = q.client.offer, q.server.vault
		seen := hellos(p)
		p.run(modes[0])
		if !(*seen)[0].EarlyData {
			t.Error("the outer hello says nothing of early data")
		}
		if !known {
			rejected(t, p)
			if p.server.Result().EarlyData == EarlyAccepted {
				t.Error("the server read it")
			}
			continue
		}
		p.resumed(t, true)
		p.ech(t, ECHAccepted)
		if c, s := p.client.Result().EarlyData, p.server.Result().EarlyData; c != EarlyAccepted || s != EarlyAccepted {
			t.Errorf("early data: the client says %v, the server %v", c, s)
		}
	}
}

// FuzzInnerHello hands a server whatever can be in an encrypted hello, sealed as
// it should be.
func FuzzInnerHello(f *testing.F) {
	key := echKey(f)
	p := concealed(f, usual(), key, key)
	seen := hellos(p)
	p.run(modes[0])
	outer := (*seen)[0]
	var inner message.ClientHello
	if err := inner.Parse(p.client.hidden); err != nil {
		f.Fatal(err)
	}
	for _, names := range []func(message.ExtensionType) bool{repeated, func(message.ExtensionType) bool { return false }} {
		b, err := inner.EncodeInner(names, func(int) int { return 3 })
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		if len(encoded) > 1<<15 {
			return
		}
		sealer := sealerTo(t, key)
		m := message.ClientHello{
			LegacyVersion: outer.LegacyVersion, Random: outer.Random, SessionID: outer.SessionID, CipherSuites: outer.CipherSuites, Compression: outer.Compression,
			ECH: &message.ECHHello{Suite: sealer.Suite, ConfigID: key.Config.ID, Enc: sealer.Enc, Payload: make([]byte, len(encoded)+ech.TagLen)},
		}
		m.Extensions = slices.DeleteFunc(slices.Clone(outer.Extensions), func(x message.Extension) bool { return x.Type == message.ExtEncryptedClientHello })
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Parse(b); err != nil {
			t.Fatal(err)
		}
		sealed, err := sealer.Seal(m.OuterAAD(), encoded)
		if err != nil {
			t.Fatal(err)
		}
		copy(m.ECH.Payload, sealed)
		s := usual()
		s.server.ECH = true
		e := newServerEnd(t, s)
		e.keys = []*ech.Key{key}
		e.hand(letter{Initial, b})
		for len(e.ops) > 0 && e.err == nil {
			e.resolve(0)
		}
		if e.err != nil {
			if f, ok := e.err.(*Failure); !ok || f.Reason == "" || f.Fault == Misuse {
				t.Fatalf("%+v", e.err)
			}
		}
		e.Discard()
	})
}
