package handshake

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
)

// both are the two ends' parts in the authenticators of one connection.
func bothEnds(t testing.TB) (client, server *Authenticators, asks *end) {
	t.Helper()
	c, s := over(t, usual())
	one, err := c.Result().Standing.Authenticators()
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Result().Standing.Authenticators()
	if err != nil {
		t.Fatal(err)
	}
	return one, other, c
}

// prove finishes what was begun, with l; nil shows nothing.
func prove(t testing.TB, e *end, w *Making, err error, l *mint.Leaf) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var cred *Credential
	if l != nil {
		cred = credential(t, l)
	}
	var sig []byte
	if op := w.Show(cred); op != nil {
		sig = e.answer(op).Signature
	}
	b, err := w.Finish(sig)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func request(t testing.TB, a *Authenticators) []byte {
	t.Helper()
	b, err := a.Request()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEachEndProvesAnIdentityWhenItIsAsked(t *testing.T) {
	client, server, e := bothEnds(t)
	for _, w := range []struct {
		name       string
		asks, does *Authenticators
		typ        message.Type
	}{
		{"the client", server, client, message.TypeCertificateRequest},
		{"the server", client, server, message.TypeClientCertificateRequest},
	} {
		for _, key := range []string{"p256", "ed25519", "rsa2048"} {
			r := request(t, w.asks)
			if message.Type(r[0]) != w.typ {
				t.Errorf("%s is asked by %v", w.name, message.Type(r[0]))
			}
			m, err := w.does.Answer(r)
			if err == nil && (m.Choose().ServerName != "orders.example" || len(m.Choose().Schemes) == 0) {
				t.Errorf("%s is asked for %+v", w.name, m.Choose())
			}
			b := prove(t, e, m, err, leaf(key))
			shown, err := w.asks.Validate(r, b)
			if err != nil || !slices.EqualFunc(shown.Chain, leaf(key).Chain, bytes.Equal) || shown.Scheme == 0 {
				t.Fatalf("%s with %s: %+v, %v", w.name, key, shown, err)
			}
			// A request is answered once, and a context is used once.
			if _, err := w.asks.Validate(r, b); err != ErrNotRequested {
				t.Errorf("%s, a second time: %v", w.name, err)
			}
			if _, err := w.does.Answer(r); err != ErrContextUsed {
				t.Errorf("%s is asked twice: %v", w.name, err)
			}
		}
	}
}

func TestAnEmptyAuthenticatorIsAnAuthenticRefusal(t *testing.T) {
	client, server, e := bothEnds(t)
	r := request(t, client)
	m, err := server.Answer(r)
	b := prove(t, e, m, err, nil)
	if len(b) != message.HeaderLen+sha256.Size || message.Type(b[0]) != message.TypeFinished {
		t.Fatalf("it is %x", b)
	}
	forged := bytes.Clone(b)
	forged[10] ^= 1
	_, err = client.Validate(r, forged)
	failedWith(t, err, alert.DecryptError)
	if _, err := client.Validate(r, b); err != ErrNoIdentity {
		t.Errorf("%v", err)
	}
	if _, err := client.Validate(r, b); err != ErrNotRequested {
		t.Errorf("a second time: %v", err)
	}
}

// Only a server may prove what nobody asked for, and only once with a context.
func TestAServerProvesAnIdentityUnasked(t *testing.T) {
	client, server, e := bothEnds(t)
	if _, err := client.Spontaneous(); err == nil {
		t.Error("a client does so too")
	}
	m, err := server.Spontaneous()
	b := prove(t, e, m, err, leaf("p256"))
	if shown, err := client.Validate(nil, b); err != nil || len(shown.Chain) == 0 {
		t.Fatalf("%+v, %v", shown, err)
	}
	if _, err := client.Validate(nil, b); err != ErrContextUsed {
		t.Errorf("a second time: %v", err)
	}
	if _, err := server.Validate(nil, b); err != ErrNotRequested {
		t.Errorf("a server takes it: %v", err)
	}
	m, err = server.Spontaneous()
	if err != nil {
		t.Fatal(err)
	}
	m.Show(nil)
	if _, err := m.Finish(nil); err == nil {
		t.Error("nothing is said unasked")
	}
	r := request(t, client)
	m, err = server.Answer(r)
	if _, err := client.Validate(nil, prove(t, e, m, err, nil)); err == nil {
		t.Error("an empty one is taken unasked")
	}
}

// The construction is RFC 9261's, made here by hand.
func TestAuthenticatorsAreMadeAsTheRFCSays(t *testing.T) {
	client, server, e := bothEnds(t)
	export := func(label string) []byte {
		b, err := e.Result().Standing.Export(label, nil, sha256.Size)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := request(t, client)
	m, err := server.Answer(r)
	msgs, err := split(prove(t, e, m, err, leaf("ed25519")))
	if err != nil {
		t.Fatal(err)
	}
	sum := func(parts ...[]byte) []byte {
		h := sha256.Sum256(slices.Concat(parts...))
		return h[:]
	}
	handshake := export("EXPORTER-server authenticator handshake context")
	want := slices.Concat(bytes.Repeat([]byte{0x20}, 64), []byte("Exported Authenticator\x00"), sum(handshake, r, msgs[0]))
	if !bytes.Equal(m.sign.Input, want) {
		t.Errorf("signed\n%x\nexpected\n%x", m.sign.Input, want)
	}
	mac := hmac.New(sha256.New, export("EXPORTER-server authenticator finished key"))
	mac.Write(sum(handshake, r, msgs[0], msgs[1]))
	if want := mac.Sum(nil); !bytes.Equal(msgs[2][message.HeaderLen:], want) {
		t.Errorf("Finished is %x, expected %x", msgs[2][message.HeaderLen:], want)
	}
}

func TestAuthenticatorsThatLie(t *testing.T) {
	client, server, e := bothEnds(t)
	other, _, _ := bothEnds(t)
	good := func() (r []byte, msgs [][]byte) {
		r = request(t, client)
		m, err := server.Answer(r)
		msgs, err = split(prove(t, e, m, err, leaf("p256")))
		if err != nil {
			t.Fatal(err)
		}
		return r, msgs
	}
	const unexpected = alert.UnexpectedMessage
	for name, c := range map[string]struct {
		edit  func(m [][]byte) [][]byte
		alert alert.Alert
		code  code.Code
	}{
		"a wrong signature":     {func(m [][]byte) [][]byte { m[1][len(m[1])-1] ^= 1; return m }, alert.DecryptError, code.BadHandshakeProof},
		"a wrong Finished":      {func(m [][]byte) [][]byte { m[2][9] ^= 1; return m }, alert.DecryptError, code.BadFinished},
		"a short Finished":      {func(m [][]byte) [][]byte { m[2] = []byte{20, 0, 0, 1, 0}; return m }, alert.DecryptError, code.BadFinished},
		"another context":       {func(m [][]byte) [][]byte { m[0][8] ^= 1; return m }, alert.IllegalParameter, code.IllegalParameter},
		"messages in no order":  {func(m [][]byte) [][]byte { m[0], m[1] = m[1], m[0]; return m }, unexpected, code.UnexpectedMessage},
		"no CertificateVerify":  {func(m [][]byte) [][]byte { return [][]byte{m[0], m[2]} }, alert.DecodeError, code.BadMessage},
		"Finished for another":  {func(m [][]byte) [][]byte { return m[2:] }, alert.DecryptError, code.BadFinished},
		"a Certificate alone":   {func(m [][]byte) [][]byte { return m[:1] }, unexpected, code.UnexpectedMessage},
		"more behind it":        {func(m [][]byte) [][]byte { return append(m, []byte{24, 0, 0, 1, 0}) }, alert.DecodeError, code.BadMessage},
		"a byte behind it":      {func(m [][]byte) [][]byte { return append(m, []byte{0}) }, alert.DecodeError, code.BadMessage},
		"a message that is cut": {func(m [][]byte) [][]byte { m[2] = m[2][:9]; return m }, alert.DecodeError, code.BadMessage},
		"nothing":               {func([][]byte) [][]byte { return nil }, alert.DecodeError, code.BadMessage},
		"an empty chain":        {func(m [][]byte) [][]byte { m[0] = emptied(m[0]); return m }, alert.DecodeError, code.NoCertificateShown},
		"more than it may have": {func(m [][]byte) [][]byte { return append(m, make([]byte, maxAuthenticator)) }, alert.IllegalParameter, code.MessageTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r, msgs := good()
			honest := slices.Concat(msgs...)
			for i := range msgs {
				msgs[i] = bytes.Clone(msgs[i])
			}
			_, err := client.Validate(r, slices.Concat(c.edit(msgs)...))
			if f := failedWith(t, err, c.alert); f.Code != c.code {
				t.Errorf("%v: %v, expected %v", f, f.Code, c.code)
			}
			// What lies spoils nothing for what is honest.
			if _, err := client.Validate(r, honest); err != nil {
				t.Errorf("the honest one behind it: %v", err)
			}
		})
	}
	r, msgs := good()
	if _, err := other.Validate(r, slices.Concat(msgs...)); err != ErrNotRequested {
		t.Errorf("another connection: %v", err)
	}
	// The same request at another connection does not help.
	other.requests = map[string][]byte{}
	var m message.CertificateRequest
	if err := m.ParseByClient(r); err != nil {
		t.Fatal(err)
	}
	other.requests[string(m.Context)] = r
	_, err := other.Validate(r, slices.Concat(msgs...))
	failedWith(t, err, alert.DecryptError)
	// Nor does the direction.
	_, err = server.Answer(request(t, server))
	failedWith(t, err, alert.DecodeError)
}

// emptied is a Certificate with the same context and no entries.
func emptied(msg []byte) []byte {
	var m message.Certificate
	if m.Parse(msg) != nil {
		return nil
	}
	m.Entries = nil
	b, err := m.Append(nil)
	if err != nil {
		return nil
	}
	return b
}

func TestAuthenticatorRequestsThatLie(t *testing.T) {
	client, server, _ := bothEnds(t)
	made := func(m message.CertificateRequest) []byte {
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, c := range map[string]struct {
		to    *Authenticators
		msg   []byte
		alert alert.Alert
	}{
		"nothing":                  {server, nil, alert.DecodeError},
		"a server's to a server":   {server, made(message.CertificateRequest{Schemes: usual().client.Schemes}), alert.DecodeError},
		"a client's to a client":   {client, made(message.CertificateRequest{Schemes: usual().client.Schemes, ByClient: true}), alert.DecodeError},
		"no schemes":               {server, made(message.CertificateRequest{ByClient: true}), alert.MissingExtension},
		"a name where none may be": {client, append([]byte{13, 0, 0, 17, 0, 0, 14, 0, 0, 0, 10, 0, 8, 0, 0, 5}, "order"...), alert.IllegalParameter},
		"a byte behind it":         {server, append(made(message.CertificateRequest{Schemes: usual().client.Schemes, ByClient: true}), 0), alert.DecodeError},
	} {
		_, err := c.to.Answer(c.msg)
		t.Run(name, func(t *testing.T) { failedWith(t, err, c.alert) })
	}
}

func TestRequestsForAuthenticatorsAreBounded(t *testing.T) {
	client, server, _ := bothEnds(t)
	first := request(t, client)
	for range maxRequests - 1 {
		request(t, client)
	}
	if _, err := client.Request(); err == nil {
		t.Error("there may be any number")
	}
	client.Forget(first)
	request(t, client)
	// What the peer asks is remembered within a limit.
	for range 2 * maxContexts {
		r := request(t, server)
		server.Forget(r)
		if _, err := client.Answer(r); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(client.made.of); n != maxContexts || len(client.made.order) != n {
		t.Errorf("%d contexts are remembered", n)
	}
}

func TestNothingIsProvenOnceTheKeysAreGone(t *testing.T) {
	client, server, e := bothEnds(t)
	r := request(t, client)
	m, err := server.Answer(r)
	b := prove(t, e, m, err, leaf("p256"))
	late, err := server.Answer(request(t, client))
	if err != nil {
		t.Fatal(err)
	}
	late.Show(nil)
	keys := [][]byte{client.ours.context, client.ours.finished, client.theirs.context, client.theirs.finished}
	client.Destroy()
	server.Destroy()
	for _, k := range keys {
		if !bytes.Equal(k, make([]byte, sha256.Size)) {
			t.Errorf("still there: %x", k)
		}
	}
	_, one := client.Validate(r, b)
	_, two := client.Request()
	_, three := late.Finish(nil)
	_, four := server.Spontaneous()
	for i, err := range []error{one, two, three, four} {
		if !errors.Is(err, errGone) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Whatever comes instead of an authenticator or a request, nothing breaks, and
// nothing is taken but what the other end made.
func FuzzAuthenticator(f *testing.F) {
	client, server, e := bothEnds(f)
	r := request(f, client)
	m, err := server.Answer(r)
	whole := prove(f, e, m, err, leaf("ed25519"))
	f.Add(whole)
	f.Add(r)
	f.Add(request(f, server))
	n, err := server.Spontaneous()
	f.Add(prove(f, e, n, err, leaf("ed25519")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if shown, err := client.Validate(r, b); err == nil {
			if !bytes.Equal(b, whole) && len(shown.Chain) == 0 {
				t.Fatal("something else was taken")
			}
			client.mu.Lock()
			client.requests[string(m.context)] = r
			client.mu.Unlock()
		}
		_, _ = client.Validate(nil, b)
		_, _ = server.Validate(nil, b)
		for _, a := range []*Authenticators{client, server} {
			if w, err := a.Answer(b); err == nil {
				w.Show(nil)
				if _, err := w.Finish(nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
