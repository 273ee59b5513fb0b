package handshake

import (
	"bytes"
	"crypto/rand"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/compress"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

var oneStamp = []byte{0, 3, 0, 1, 7}

// besides is a credential of the leaf of a kind, with an OCSP response, a list of
// timestamps, or a delegated credential beside it.
func besides(t testing.TB, kind string, extensions ...message.Extension) *Credential {
	t.Helper()
	cred := credential(t, leaf(kind))
	m := message.Certificate{}
	for i, der := range leaf(kind).Chain {
		e := message.CertificateEntry{Data: der}
		if i == 0 {
			e.Extensions = extensions
		}
		m.Entries = append(m.Entries, e)
	}
	var err error
	if cred.Wire, err = m.Append(nil); err != nil {
		t.Fatal(err)
	}
	return cred
}

func stapled() []message.Extension {
	return []message.Extension{message.OCSPExtension(bytes.Repeat([]byte("good"), 300)), {Type: message.ExtSCT, Body: oneStamp}}
}

// asksAll is a setting in which the server asks later for all that there is.
func asksAll() setting {
	s := later()
	s.server.Certificates = Certificates{Codecs: compress.Codecs(), OfferCompression: true, OCSP: true, SCT: true, Filters: []message.OIDFilter{{OID: []byte{6, 1, 42}}}}
	s.server.Delegated = []suite.Scheme{suite.Ed25519}
	s.client.Certificates.Codecs = compress.Codecs()
	return s
}

// said is the client's answer with what is shown.
func said(t testing.TB, client *end, w *Showing, cred *Credential, sign func(*Op) []byte) [][]byte {
	t.Helper()
	op := w.Show(cred)
	if op == nil {
		t.Fatal("nothing is shown")
	}
	if err := w.Signed(sign(op)); err != nil {
		t.Fatal(err)
	}
	b, err := client.Result().Standing.Flight(w)
	if err != nil {
		t.Fatal(err)
	}
	msgs, err := split(b)
	if err != nil {
		t.Fatal(err)
	}
	return msgs
}

func (e *end) signs(op *Op) []byte { return e.answer(op).Signature }

// What a request after the handshake asks for is what comes: the chain compressed,
// with what was to stand beside it.
func TestALateAnswerHasTheFormThatIsAskedFor(t *testing.T) {
	for name, offers := range map[string]bool{"compressed": true, "as it is": false} {
		s := asksAll()
		s.server.Certificates.OfferCompression = offers
		client, server := over(t, s)
		for range 2 { // each has a context of its own, and so a form
			w, _ := ask(t, client, server)
			if op := w.Choose(); !op.WantsOCSP || !op.WantsSCT || len(op.Delegated) != 1 || len(op.Filters) != 1 || op.ServerName != "orders.example" {
				t.Errorf("%s: asked for %+v", name, op)
			}
			msgs := said(t, client, w, besides(t, "p256", stapled()...), client.signs)
			if compressed := message.Type(msgs[0][0]) == message.TypeCompressedCertificate; compressed != offers {
				t.Errorf("%s: it is a %s", name, message.Type(msgs[0][0]))
			}
			for _, m := range msgs {
				if _, err := server.Result().Standing.Message(m); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			a := server.Result().Standing.Answers()
			if len(a) != 1 || !slices.EqualFunc(a[0].Chain, leaf("p256").Chain, bytes.Equal) || len(a[0].OCSP) == 0 || len(a[0].OCSP[0]) != 1200 ||
				len(a[0].SCTs) != 1 || !bytes.Equal(a[0].SCTs[0], []byte{7}) || a[0].Delegation != nil {
				t.Errorf("%s: %+v", name, a)
			}
		}
	}
}

// A delegated credential is shown later where the request says that such is taken.
func TestADelegatedKeyProvesLater(t *testing.T) {
	const p256, ed = suite.ECDSAWithP256AndSHA256, suite.Ed25519
	client, server := over(t, asksAll())
	w, _ := ask(t, client, server)
	cred := besides(t, "p256", message.Extension{Type: message.ExtDelegatedCredential, Body: delegation(t, "p256", "ed25519", ed, p256, false)})
	cred.Delegated = &Delegation{ValidTime: 3600, Scheme: ed, Algorithm: p256}
	signs := func(op *Op) []byte {
		if op.Scheme != ed {
			t.Errorf("it signs with %s", op.Scheme)
		}
		sig, err := suite.Sign(rand.Reader, leaf("ed25519").Key, op.Scheme, op.Input)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	for _, m := range said(t, client, w, cred, signs) {
		if _, err := server.Result().Standing.Message(m); err != nil {
			t.Fatal(err)
		}
	}
	if a := server.Result().Standing.Answers(); len(a) != 1 || a[0].Delegation == nil || a[0].Delegation.ValidTime != 3600 || a[0].Scheme != ed {
		t.Errorf("%+v", a)
	}
	// Where it is not, nothing is shown rather than that.
	client, server = over(t, later())
	w, _ = ask(t, client, server)
	if w.Show(cred) != nil {
		t.Error("it is shown to who takes none")
	}
}

func TestLateAnswersInFormsThatWereNotAskedFor(t *testing.T) {
	squeezed := func(t *testing.T, context []byte, length int) []byte {
		m := withContext(credential(t, leaf("p256")).Wire, context)
		small, err := compress.Codecs()[0].Compress(m[message.HeaderLen:])
		if err != nil {
			t.Fatal(err)
		}
		if length == 0 {
			length = len(m) - message.HeaderLen
		}
		b, err := (&message.CompressedCertificate{Algorithm: compress.Codecs()[0].Algorithm(), Length: length, Compressed: small}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const p256, ed = suite.ECDSAWithP256AndSHA256, suite.Ed25519
	beside := func(x message.Extension) func(t *testing.T, context []byte) []byte {
		return func(t *testing.T, context []byte) []byte { return withContext(besides(t, "p256", x).Wire, context) }
	}
	for name, c := range map[string]struct {
		all   bool // the server asks for all
		first func(t *testing.T, context []byte) []byte
		alert alert.Alert
		code  code.Code
	}{
		"compressed":            {false, func(t *testing.T, b []byte) []byte { return squeezed(t, b, 0) }, alert.UnexpectedMessage, code.UnexpectedMessage},
		"compressed for longer": {true, func(t *testing.T, b []byte) []byte { return squeezed(t, b, 1<<12) }, alert.BadCertificate, code.BadCompression},
		"a bomb":                {true, func(t *testing.T, b []byte) []byte { return squeezed(t, b, compress.MaxLength+1) }, alert.BadCertificate, code.BadCompression},
		"another context":       {true, func(t *testing.T, _ []byte) []byte { return squeezed(t, []byte("another"), 0) }, alert.IllegalParameter, code.IllegalParameter},
		"OCSP":                  {false, beside(stapled()[0]), alert.UnsupportedExtension, code.UnsupportedExtension},
		"timestamps":            {false, beside(stapled()[1]), alert.UnsupportedExtension, code.UnsupportedExtension},
		"a delegated credential": {false, beside(message.Extension{Type: message.ExtDelegatedCredential, Body: delegation(t, "p256", "ed25519", ed, p256, false)}),
			alert.UnexpectedMessage, code.UnsupportedExtension},
		"a delegated credential of a server": {true, beside(message.Extension{Type: message.ExtDelegatedCredential, Body: delegation(t, "p256", "ed25519", ed, p256, true)}),
			alert.IllegalParameter, code.BadDelegation},
	} {
		t.Run(name, func(t *testing.T) {
			s := later()
			if c.all {
				s = asksAll()
			}
			client, server := over(t, s)
			_, context := ask(t, client, server)
			_, err := server.Result().Standing.Message(c.first(t, context))
			if f := failedWith(t, err, c.alert); f.Code != c.code {
				t.Errorf("%v: %v, expected %v", f, f.Code, c.code)
			}
		})
	}
	// Where nobody asked, it is not even decompressed.
	_, server := over(t, asksAll())
	_, err := server.Result().Standing.Message(squeezed(t, nil, compress.MaxLength+1))
	failedWith(t, err, alert.UnexpectedMessage)
}

// An authenticator has beside its chain what its request asks for, and is never
// compressed: RFC 9261 knows no such message.
func TestAnAuthenticatorHasBesideItWhatIsAskedFor(t *testing.T) {
	const p256, ed = suite.ECDSAWithP256AndSHA256, suite.Ed25519
	s := asksAll()
	s.client.Certificates, s.client.Delegated = s.server.Certificates, s.server.Delegated
	s.client.Certificates.Filters = nil
	c, sv := over(t, s)
	client, err := c.Result().Standing.Authenticators()
	if err != nil {
		t.Fatal(err)
	}
	server, err := sv.Result().Standing.Authenticators()
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]struct {
		asks, does *Authenticators
		ofServer   bool
	}{"the client": {server, client, false}, "the server": {client, server, true}} {
		r := request(t, w.asks)
		var m message.CertificateRequest
		if err := w.does.parse(&m, r, w.ofServer); err != nil || !m.OCSP || !m.SCT || len(m.Delegated) != 1 || m.CertCompression != nil {
			t.Fatalf("%s is asked %+v, %v", name, m, err)
		}
		making, err := w.does.Answer(r)
		if err != nil {
			t.Fatal(err)
		}
		if op := making.Choose(); !op.WantsOCSP || !op.WantsSCT || len(op.Delegated) != 1 || op.ServerName != "orders.example" {
			t.Errorf("%s is asked for %+v", name, op)
		}
		cred := besides(t, "p256", append(stapled(), message.Extension{Type: message.ExtDelegatedCredential, Body: delegation(t, "p256", "ed25519", ed, p256, w.ofServer)})...)
		cred.Delegated = &Delegation{ValidTime: 3600, Scheme: ed, Algorithm: p256}
		op := making.Show(cred)
		if op == nil {
			t.Fatalf("%s shows nothing", name)
		}
		sig, err := suite.Sign(rand.Reader, leaf("ed25519").Key, op.Scheme, op.Input)
		if err != nil {
			t.Fatal(err)
		}
		b, err := making.Finish(sig)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := w.asks.Validate(r, b)
		if err != nil || len(shown.OCSP) == 0 || len(shown.SCTs) != 1 || shown.Delegation == nil {
			t.Errorf("%s: %+v, %v", name, shown, err)
		}
	}
	// Unasked nothing was asked for, and nothing of the kind is taken.
	making, err := server.Spontaneous()
	if err != nil {
		t.Fatal(err)
	}
	if op := making.Choose(); op.WantsOCSP || op.WantsSCT || op.Delegated != nil {
		t.Errorf("unasked it is asked for %+v", op)
	}
	cred := besides(t, "p256", message.Extension{Type: message.ExtDelegatedCredential, Body: delegation(t, "p256", "ed25519", ed, p256, true)})
	op := making.Show(cred)
	b, err := making.Finish(c.signs(op))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Validate(nil, b); err == nil {
		t.Error("a delegated credential is taken that nobody asked for")
	}
}
