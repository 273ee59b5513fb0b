package message

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
	"github.com/mutual-tls/mutual/internal/suite"
)

func refusal(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v of type %T, expected an *Error", err, err)
	}
	return e
}

func TestWhatIsMadeParsesToTheSame(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			made, err := s.msg.Append([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(made, []byte("before")) {
				t.Fatal("Append did not append")
			}
			made = made[len("before"):]
			got := blank(Type(made[0]))
			if err := got.Parse(made); err != nil {
				t.Fatal(err)
			}
			if bare(got); !equal(got, s.msg) {
				t.Errorf("parsed\n%+v\nexpected\n%+v", got, s.msg)
			}
			// A struct that held something else is as good as a new one.
			used := blank(Type(made[0]))
			for _, other := range samples() {
				b, err := other.msg.Append(nil)
				if err == nil && b[0] == made[0] {
					_ = used.Parse(b)
				}
			}
			if err := used.Parse(made); err != nil {
				t.Fatal(err)
			}
			if bare(used); !equal(used, s.msg) {
				t.Errorf("into a used struct it parsed\n%+v\nexpected\n%+v", used, s.msg)
			}
		})
	}
}

func TestCutMessagesAreRefused(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			b, err := s.msg.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			typ := Type(b[0])
			for n := range len(b) {
				// With the header that promised more.
				if e := refusal(t, blank(typ).Parse(b[:n:n])); e.Alert != alert.DecodeError || e.Message != typ {
					t.Fatalf("cut to %d bytes: %v of %v, expected decode_error", n, e.Alert, e.Message)
				}
				if n < HeaderLen {
					continue
				}
				// With a header that fits.
				cut := wrap(typ, b[HeaderLen:n])
				err := blank(typ).Parse(cut)
				if wholeAnyway(s.msg, n-HeaderLen) {
					if err != nil {
						t.Fatalf("cut to %d bytes, it is still whole, and was refused: %v", n, err)
					}
					continue
				}
				if e := refusal(t, err); e.Alert != alert.DecodeError {
					t.Fatalf("cut to %d bytes, its header mended: %v (%v), expected decode_error", n, e.Alert, e)
				}
			}
		})
	}
}

// wholeAnyway says where a message may end early: before its extensions, as in
// old versions, and Finished anywhere, whose length only the handshake knows.
func wholeAnyway(m handshakeMessage, n int) bool {
	switch m := m.(type) {
	case *ClientHello:
		return n == 2+32+1+len(m.SessionID)+2+2*len(m.CipherSuites)+1+len(m.Compression)
	case *ServerHello:
		return n == 2+32+1+len(m.SessionID)+2+1
	case *Finished:
		return true
	}
	return false
}

func TestTrailingBytesAreRefused(t *testing.T) {
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		typ := Type(b[0])
		if e := refusal(t, blank(typ).Parse(append(slices.Clone(b), 0))); e.Alert != alert.DecodeError {
			t.Errorf("%s with a byte behind: %v, expected decode_error", s.name, e.Alert)
		}
		if typ == TypeFinished {
			continue
		}
		if e := refusal(t, blank(typ).Parse(wrap(typ, append(slices.Clone(b[HeaderLen:]), 0)))); e.Alert != alert.DecodeError {
			t.Errorf("%s with a byte behind, and its header says so: %v, expected decode_error", s.name, e.Alert)
		}
	}
}

func TestAMessageOfAnotherTypeIsRefused(t *testing.T) {
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range parsedTypes {
			if typ == Type(b[0]) {
				continue
			}
			if e := refusal(t, blank(typ).Parse(b)); e.Alert != alert.DecodeError || e.Message != typ {
				t.Errorf("%s as %s: %v", s.name, typ, e)
			}
		}
	}
}

// Every extension that is read is cut and stretched, with all lengths around it
// mended.
func TestExtensionsOfAWrongLengthAreRefused(t *testing.T) {
	for _, s := range samples() {
		b, err := s.msg.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		typ := Type(b[0])
		if typ == TypeCertificate || s.name == "ServerHello of TLS 1.2" {
			continue // whose extensions nobody reads
		}
		front, list := takeApart(t, b)
		for i, x := range list {
			if !slices.Contains(written(typ), x.Type) || x.Type == ExtQUICTransportParameters || // which are QUIC's to read
				x.Type == ExtTrustAnchors && typ == TypeClientHello { // by a number that others may use
				continue
			}
			for n := range len(x.Body) + 2 {
				if n == len(x.Body) {
					continue
				}
				changed := slices.Clone(list)
				changed[i].Body = append(slices.Clone(x.Body), 0)[:n]
				if e := refusal(t, blank(typ).Parse(putTogether(typ, front, changed))); e.Alert != alert.DecodeError {
					t.Errorf("%s: %s of %d bytes instead of %d: %v, expected decode_error", s.name, x.Type, n, len(x.Body), e)
				}
			}
		}
	}
}

// takeApart is a message as what stands before its extensions block, and the
// extensions.
func takeApart(t *testing.T, msg []byte) (front []byte, list []Extension) {
	t.Helper()
	r := reader{b: msg[HeaderLen:]}
	switch Type(msg[0]) {
	case TypeClientHello:
		r.take(34)
		r.vec8()
		r.vec16()
		r.vec8()
	case TypeServerHello:
		r.take(34)
		r.vec8()
		r.take(3)
	case TypeCertificateRequest:
		r.vec8()
	case TypeNewSessionTicket:
		r.take(8)
		r.vec8()
		r.vec16()
	case TypeEncryptedExtensions:
	default:
		return nil, nil
	}
	front = msg[HeaderLen : len(msg)-len(r.b)]
	block := reader{b: r.vec16()}
	for !block.empty() {
		list = append(list, Extension{ExtensionType(block.u16()), block.vec16()})
	}
	if !r.ok() || block.bad {
		t.Fatal("the sample does not come apart")
	}
	return front, list
}

func putTogether(typ Type, front []byte, list []Extension) []byte {
	w, start := begin(nil, typ)
	w.raw(front)
	at := w.open(2)
	w.verbatim(list)
	w.close(at, 2, "the extensions block")
	b, err := w.end(nil, start, typ)
	if err != nil {
		panic(err)
	}
	return b
}

func TestMessagesOfRFC8448Parse(t *testing.T) {
	count := map[Type]int{}
	for _, trace := range rfc8448.Traces() {
		for _, step := range trace.Steps {
			payload := step.Values["payload"]
			if step.Action != "send handshake record" {
				payload = nil
			}
			for len(payload) > 0 {
				typ, n := Header(payload)
				msg := payload[:HeaderLen+n]
				payload = payload[len(msg):]
				m := blank(typ)
				if err := m.Parse(msg); err != nil {
					t.Errorf("%s, %s: %v", trace.Name, typ, err)
					continue
				}
				count[typ]++
				checkAgain(t, msg)
			}
		}
	}
	for typ, want := range map[Type]int{
		TypeClientHello: 6, TypeServerHello: 6, TypeEncryptedExtensions: 5, TypeCertificate: 5, TypeCertificateVerify: 5,
		TypeCertificateRequest: 1, TypeFinished: 10, TypeNewSessionTicket: 1, TypeEndOfEarlyData: 1,
	} {
		if count[typ] != want {
			t.Errorf("%d messages %s were parsed, expected %d", count[typ], typ, want)
		}
	}
}

func TestFieldsOfRFC8448(t *testing.T) {
	traces := map[string]rfc8448.Trace{}
	for _, trace := range rfc8448.Traces() {
		traces[trace.Name] = trace
	}
	var ch ClientHello
	if err := ch.Parse(traces["Resumed 0-RTT Handshake"].Messages()[0]); err != nil {
		t.Fatal(err)
	}
	if ch.ServerName != "server" || !ch.EarlyData || ch.PSK == nil || len(ch.PSK.Identities) != 1 || ch.PSK.BindersLen != 2+33 ||
		!slices.Equal(ch.KeyShares[0].Data[:4], []byte{0xe4, 0xff, 0xb6, 0x8a}) || ch.KeyShares[0].Group != suite.X25519 || !slices.Equal(ch.PSKModes, []uint8{1}) {
		t.Errorf("the resuming ClientHello parsed to %+v", ch)
	}
	// What the binders sign ends where they begin.
	prefix := traces["Resumed 0-RTT Handshake"].Value("calculate PSK binder", "ClientHello prefix")
	if want := ch.Raw[:len(ch.Raw)-ch.PSK.BindersLen]; !bytes.Equal(prefix, want) {
		t.Errorf("the binders sign\n%x\nexpected\n%x", want, prefix)
	}
	var retry ServerHello
	if err := retry.Parse(traces["HelloRetryRequest"].Messages()[1]); err != nil {
		t.Fatal(err)
	}
	if !retry.IsRetry() || retry.RetryGroup != suite.P256 || len(retry.Cookie) == 0 || retry.Version != 0x0304 || retry.HasKeyShare {
		t.Errorf("the HelloRetryRequest parsed to %+v", retry)
	}
}

func TestAServerNameIsLowered(t *testing.T) {
	b, err := (&ClientHello{CipherSuites: suite.Suites(), Compression: []byte{0}, ServerName: "Orders.EXAMPLE"}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var m ClientHello
	if err := m.Parse(b); err != nil || m.ServerName != "orders.example" {
		t.Errorf("the name is %q, %v", m.ServerName, err)
	}
}

func TestWhatIsTooLongIsNotMade(t *testing.T) {
	big, huge := fill(1<<16, 'a'), fill(1<<24, 'a')
	for name, m := range map[string]handshakeMessage{
		"session identifier": &ClientHello{SessionID: fill(256, 1)},
		"cipher suites":      &ClientHello{CipherSuites: make([]suite.ID, 1<<15)},
		"compression":        &ClientHello{Compression: fill(256, 0)},
		"server name":        &ClientHello{ServerName: string(big)},
		"versions":           &ClientHello{Versions: make([]uint16, 128)},
		"groups":             &ClientHello{Groups: make([]suite.GroupID, 1<<15)},
		"schemes":            &ClientHello{Schemes: make([]suite.Scheme, 1<<15)},
		"share":              &ClientHello{HasKeyShares: true, KeyShares: []KeyShare{{1, big}}},
		"protocol":           &ClientHello{ALPN: []string{strings.Repeat("p", 256)}},
		"cookie":             &ClientHello{Cookie: big},
		"authority":          &ClientHello{Authorities: [][]byte{big}},
		"authorities":        &ClientHello{Authorities: [][]byte{big[:40000], big[:40000]}},
		"PSK modes":          &ClientHello{PSKModes: fill(256, 1)},
		"PSK identity":       &ClientHello{PSK: &PreSharedKeys{Identities: []PSKIdentity{{Identity: big}}}},
		"binder":             &ClientHello{PSK: &PreSharedKeys{Binders: [][]byte{fill(256, 1)}}},
		"extension":          &ClientHello{Extensions: []Extension{{1, big}}},
		"extensions":         &ClientHello{Extensions: []Extension{{1, big[:40000]}, {2, big[:40000]}}},
		"server's share":     &ServerHello{HasKeyShare: true, KeyShare: KeyShare{1, big}},
		"server's cookie":    &ServerHello{Cookie: big},
		"server's session":   &ServerHello{SessionID: fill(256, 1)},
		"chosen protocol":    &EncryptedExtensions{ALPN: strings.Repeat("p", 256)},
		"context":            &CertificateRequest{Context: fill(256, 1)},
		"certificate":        &Certificate{Entries: []CertificateEntry{{Data: huge}}},
		"chain":              &Certificate{Entries: []CertificateEntry{{Data: huge[:9<<20]}, {Data: huge[:9<<20]}}},
		"signature":          &CertificateVerify{Signature: big},
		"finished":           &Finished{VerifyData: huge},
		"nonce":              &NewSessionTicket{Nonce: fill(256, 1)},
		"ticket":             &NewSessionTicket{Ticket: big},
	} {
		before := []byte("before")
		b, err := m.Append(before)
		if err == nil || !bytes.Equal(b, before) {
			t.Errorf("a %s that is too long gave %d bytes and %v, expected an error and what was there before", name, len(b), err)
		}
	}
}
