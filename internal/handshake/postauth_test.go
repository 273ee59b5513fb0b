package handshake

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
)

// later is a setting in which the client offers to authenticate later.
func later() setting {
	s := usual()
	s.client.PostHandshakeAuth = true
	return s
}

// over is what stays of a handshake with s, on both sides.
func over(t testing.TB, s setting) (client, server *end) {
	t.Helper()
	p := newPair(t, s)
	p.run(modes[0])
	p.agreed(t)
	return p.client, p.server
}

// ask has the server ask, and gives the client's answer to be made.
func ask(t testing.TB, client, server *end) (w *Showing, context []byte) {
	t.Helper()
	msg, context, err := server.Result().Standing.RequestCertificate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Result().Standing.Message(msg); err != nil {
		t.Fatal(err)
	}
	all := client.Result().Standing.Requests()
	if len(all) != 1 {
		t.Fatalf("%d requests came", len(all))
	}
	return all[0], context
}

// flight is the client's answer, message by message; a nil leaf declines.
func flight(t testing.TB, client *end, w *Showing, l *mint.Leaf) [][]byte {
	t.Helper()
	var cred *Credential
	if l != nil {
		cred = credential(t, l)
	}
	if op := w.Show(cred); op != nil {
		if err := w.Signed(client.answer(op).Signature); err != nil {
			t.Fatal(err)
		}
	}
	b, err := client.Result().Standing.Flight(w)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for len(b) > 0 {
		_, n := message.Header(b)
		all = append(all, slices.Clone(b[:message.HeaderLen+n]))
		b = b[message.HeaderLen+n:]
	}
	return all
}

func TestAClientAuthenticatesAfterTheHandshake(t *testing.T) {
	for _, key := range []string{"p256", "ed25519", "rsa2048"} {
		client, server := over(t, later())
		st := server.Result().Standing
		first, one := ask(t, client, server)
		second, two := ask(t, client, server)
		if bytes.Equal(one, two) || len(one) != contextLen {
			t.Fatalf("the contexts are %x and %x", one, two)
		}
		if op := first.Choose(); op.Kind != SelectCertificate || op.ServerName != "orders.example" || len(op.Schemes) == 0 {
			t.Errorf("asked %+v", op)
		}
		// The answers come in another order, under other keys each.
		for i, w := range []*Showing{second, first} {
			client.Result().Standing.NextWrite()
			st.NextRead()
			var shown *mint.Leaf
			if i == 0 {
				shown = leaf(key)
			}
			for j, msg := range flight(t, client, w, shown) {
				if _, err := st.Message(msg); err != nil {
					t.Fatalf("message %d: %v", j, err)
				}
				if last := message.Type(msg[0]) == message.TypeFinished; st.Midway() == last {
					t.Errorf("behind %s: midway %v", message.Type(msg[0]), st.Midway())
				}
			}
			a := st.Answers()
			if len(a) != 1 {
				t.Fatalf("%d answers", len(a))
			}
			switch {
			case i == 0 && (!bytes.Equal(a[0].Context, two) || !slices.EqualFunc(a[0].Chain, leaf(key).Chain, bytes.Equal) || a[0].Scheme == 0):
				t.Errorf("%s: the answer is %x, %d certificates", key, a[0].Context, len(a[0].Chain))
			case i == 1 && (!bytes.Equal(a[0].Context, one) || a[0].Chain != nil):
				t.Errorf("%s: the refusal is %x, %d certificates", key, a[0].Context, len(a[0].Chain))
			}
		}
	}
}

// A certificate that the server could not verify is not shown.
func TestNothingIsShownThatTheServerCannotVerify(t *testing.T) {
	s := later()
	client, server := over(t, s)
	w, _ := ask(t, client, server)
	w.request.Schemes = w.request.Schemes[:0]
	msgs := flight(t, client, w, leaf("p256"))
	for _, m := range msgs {
		if _, err := server.Result().Standing.Message(m); err != nil {
			t.Fatal(err)
		}
	}
	if a := server.Result().Standing.Answers(); len(msgs) != 2 || len(a) != 1 || a[0].Chain != nil {
		t.Errorf("%d messages, %+v", len(msgs), a)
	}
}

// Pitfall: a non-empty Certificate is followed by a CertificateVerify, in every
// state (wolfSSL CVE-2022-25640, CVE-2026-55962).
func TestAnswersThatLie(t *testing.T) {
	swap := func(i int, msg []byte) func([][]byte) [][]byte {
		return func(m [][]byte) [][]byte { m[i] = msg; return m }
	}
	flip := func(i int) func([][]byte) [][]byte {
		return func(m [][]byte) [][]byte { m[i][len(m[i])-1] ^= 1; return m }
	}
	drop := func(i int) func([][]byte) [][]byte {
		return func(m [][]byte) [][]byte { return slices.Delete(m, i, i+1) }
	}
	for name, c := range map[string]struct {
		edit  func([][]byte) [][]byte
		alert alert.Alert
		code  code.Code
	}{
		"no CertificateVerify":          {drop(1), alert.UnexpectedMessage, code.UnexpectedMessage},
		"no Certificate":                {drop(0), alert.UnexpectedMessage, code.UnexpectedMessage},
		"a wrong signature":             {flip(1), alert.DecryptError, code.BadHandshakeProof},
		"a wrong Finished":              {flip(2), alert.DecryptError, code.BadFinished},
		"a short Finished":              {swap(2, []byte{20, 0, 0, 1, 0}), alert.DecodeError, code.BadMessage},
		"a KeyUpdate inside":            {swap(1, []byte{24, 0, 0, 1, 0}), alert.UnexpectedMessage, code.UnexpectedMessage},
		"a KeyUpdate before Finished":   {swap(2, []byte{24, 0, 0, 1, 0}), alert.UnexpectedMessage, code.UnexpectedMessage},
		"Certificate twice":             {func(m [][]byte) [][]byte { return [][]byte{m[0], m[0]} }, alert.UnexpectedMessage, code.UnexpectedMessage},
		"CertificateVerify twice":       {func(m [][]byte) [][]byte { return [][]byte{m[0], m[1], m[1]} }, alert.UnexpectedMessage, code.UnexpectedMessage},
		"the whole answer twice":        {func(m [][]byte) [][]byte { return append(m, m...) }, alert.UnexpectedMessage, code.UnexpectedMessage},
		"another context":               {func(m [][]byte) [][]byte { m[0][message.HeaderLen+1] ^= 1; return m }, alert.IllegalParameter, code.IllegalParameter},
		"no context":                    {swap(0, []byte{11, 0, 0, 4, 0, 0, 0, 0}), alert.IllegalParameter, code.IllegalParameter},
		"a Certificate that is cut off": {swap(0, []byte{11, 0, 0, 1, 9}), alert.DecodeError, code.BadMessage},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := over(t, later())
			w, _ := ask(t, client, server)
			var err error
			for _, m := range c.edit(flight(t, client, w, leaf("p256"))) {
				if _, err = server.Result().Standing.Message(m); err != nil {
					break
				}
			}
			if f := failedWith(t, err, c.alert); f.Code != c.code {
				t.Errorf("%v: %v, expected %v", f, f.Code, c.code)
			}
			if a := server.Result().Standing.Answers(); len(a) > 0 && name != "the whole answer twice" {
				t.Error("it is taken for an answer")
			}
		})
	}
}

// An answer of one connection is none of another's, and none to another request.
func TestAnAnswerIsForOneRequestOfOneConnection(t *testing.T) {
	client, server := over(t, later())
	first, _ := ask(t, client, server)
	second, _ := ask(t, client, server)
	msgs := flight(t, client, first, leaf("p256"))
	copy(msgs[0][message.HeaderLen+1:], second.request.Context)
	_, err := server.Result().Standing.Message(msgs[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = server.Result().Standing.Message(msgs[1])
	failedWith(t, err, alert.DecryptError)
}

func TestWhenACertificateCannotBeAskedFor(t *testing.T) {
	with := func(alpn string) setting {
		s := later()
		s.client.ALPN, s.server.ALPN = []string{alpn}, []string{alpn}
		return s
	}
	request := func() []byte {
		m := message.CertificateRequest{Context: []byte{1}, Schemes: usual().client.Schemes}
		b, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	for name, c := range map[string]struct {
		s    setting
		want error
	}{
		"not offered": {usual(), ErrAuthNotOffered},
		"h2":          {with("h2"), ErrAuthForbidden},
		"h3":          {with("h3"), ErrAuthForbidden},
	} {
		client, server := over(t, c.s)
		if _, _, err := server.Result().Standing.RequestCertificate(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		_, err := client.Result().Standing.Message(request)
		failedWith(t, err, alert.UnexpectedMessage)
		if server.Result().Standing.post != nil || client.Result().Standing.post != nil {
			t.Errorf("%s: the transcript is kept", name)
		}
	}
	if client, server := over(t, with("http/1.1")); client.Result().Standing.post == nil || server.Result().Standing.post == nil {
		t.Error("under http/1.1 it is of no use")
	}
	client, _ := over(t, later())
	if _, _, err := client.Result().Standing.RequestCertificate(); err == nil {
		t.Error("a client asks")
	}
}

// Requests without an answer are bounded on both sides; an answer makes room.
func TestRequestsWithoutAnAnswerAreBounded(t *testing.T) {
	client, server := over(t, later())
	st := client.Result().Standing
	var asked []*Showing
	for range maxAsked {
		w, _ := ask(t, client, server)
		asked = append(asked, w)
	}
	if _, _, err := server.Result().Standing.RequestCertificate(); !errors.Is(err, ErrAuthBusy) {
		t.Errorf("one more: %v", err)
	}
	for _, m := range flight(t, client, asked[2], nil) {
		if _, err := server.Result().Standing.Message(m); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, client, server)
	m := message.CertificateRequest{Context: []byte{1}, Schemes: usual().client.Schemes}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Message(b)
	if f := failedWith(t, err, alert.UnexpectedMessage); f.Code != code.Flood {
		t.Errorf("%v", f.Code)
	}
}

func TestRequestsThatLie(t *testing.T) {
	schemes := usual().client.Schemes
	for name, c := range map[string]struct {
		requests []message.CertificateRequest
		alert    alert.Alert
	}{
		"no schemes":        {[]message.CertificateRequest{{Context: []byte{1}}}, alert.MissingExtension},
		"one context twice": {[]message.CertificateRequest{{Context: []byte{1}, Schemes: schemes}, {Context: []byte{1}, Schemes: schemes}}, alert.IllegalParameter},
	} {
		client, _ := over(t, later())
		var err error
		for _, m := range c.requests {
			b, aerr := m.Append(nil)
			if aerr != nil {
				t.Fatal(aerr)
			}
			_, err = client.Result().Standing.Message(b)
		}
		t.Run(name, func(t *testing.T) { failedWith(t, err, c.alert) })
	}
}

// Over QUIC nobody may ask, whatever the client offers (RFC 9001, section 4.4).
func TestOverQUICNobodyIsAskedLater(t *testing.T) {
	client, server := over(t, later())
	for _, e := range []*end{client, server} {
		cfg := *e.Result().Standing.cfg
		cfg.QUIC = true
		c := core{cfg: &cfg, hash: e.Result().Standing.suite.NewHash()}
		st := &Standing{client: e == client}
		c.keepTranscript(st, true)
		if st.post != nil || st.noPost != ErrAuthForbidden {
			t.Errorf("%v, %v", st.post, st.noPost)
		}
	}
}

// Whatever a client says after the handshake, nothing breaks, and nobody is proven
// but by what it really made.
func FuzzAnswerAfterTheHandshake(f *testing.F) {
	client, server := over(f, later())
	w, _ := ask(f, client, server)
	honest := flight(f, client, w, leaf("ed25519"))
	whole := slices.Concat(honest...)
	f.Add(whole, false)
	f.Add(slices.Concat(honest[0], honest[2]), false)
	f.Add([]byte{24, 0, 0, 1, 0}, true)
	m := message.CertificateRequest{Context: []byte{1}, Schemes: usual().client.Schemes}
	request, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request, true)
	st := server.Result().Standing
	open := map[string][]byte{}
	for context, r := range st.post.open {
		open[context] = r
	}
	f.Fuzz(func(t *testing.T, b []byte, toClient bool) {
		s := &Standing{suite: st.suite, client: toClient, read: st.read, write: st.write, cfg: st.cfg}
		s.post = &postAuth{cfg: st.post.cfg, transcript: st.post.transcript, open: map[string][]byte{}}
		if !toClient {
			for context, r := range open {
				s.post.open[context] = r
			}
		}
		all := b
		for len(b) >= message.HeaderLen {
			_, n := message.Header(b)
			if n > len(b)-message.HeaderLen {
				break
			}
			if effect, err := s.Message(b[:message.HeaderLen+n]); err != nil {
				break
			} else if effect&RekeyRead != 0 && s.Midway() {
				t.Fatal("keys change inside an answer")
			}
			b = b[message.HeaderLen+n:]
		}
		for _, a := range s.Answers() {
			if len(a.Chain) > 0 && !bytes.Contains(all, whole) {
				t.Fatal("something else was taken")
			}
		}
		if len(s.post.open) > maxAsked {
			t.Fatalf("%d requests are open", len(s.post.open))
		}
	})
}
