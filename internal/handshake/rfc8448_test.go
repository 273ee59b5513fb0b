package handshake

import (
	"bytes"
	"hash"
	"io"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/schedule/rfc8448"
	"github.com/mutual-tls/mutual/internal/suite"
)

// The connections of RFC 8448, replayed by our machines: given the keys and the
// randoms of the RFC, what they say and derive is the RFC's, byte for byte. Two
// things are put in by hand, because they are each side's own to choose and ours
// chooses otherwise: the ClientHello, and EncryptedExtensions. The signatures are the
// answers to operations. (Records are replayed in internal/record, each step of the
// key schedule in internal/schedule, each message in internal/message.)

// played is a trace with what is asked of it.
type played struct {
	rfc8448.Trace
	t        *testing.T
	messages [][]byte // of the handshake, in order
}

func eachTrace(t *testing.T, f func(*testing.T, *played)) {
	for _, trace := range rfc8448.Traces() {
		t.Run(trace.Name, func(t *testing.T) {
			f(t, &played{Trace: trace, t: t, messages: trace.Messages()})
		})
	}
}

// all are the messages of a type, in order.
func (p *played) all(typ message.Type) (list [][]byte) {
	for _, m := range p.messages {
		if message.Type(m[0]) == typ {
			list = append(list, m)
		}
	}
	return list
}

// keys are the private keys that a side made, in order.
func (p *played) keys(actor string) (list [][]byte) {
	for _, s := range p.Steps {
		if k := s.Values["private key"]; k != nil && s.Actor == actor {
			list = append(list, k)
		}
	}
	return list
}

// secret is a traffic secret of the trace's.
func (p *played) secret(label string) []byte {
	return p.Value(`derive secret "tls13 `+label+`"`, "expanded")
}

// psk is the secret of the session that is resumed, nil for none.
func (p *played) psk() []byte {
	if ikm := p.Value(`extract secret "early"`, "IKM"); !bytes.Equal(ikm, make([]byte, len(ikm))) {
		return ikm
	}
	return nil
}

func (p *played) same(what string, got, want []byte) {
	p.t.Helper()
	if want == nil {
		p.t.Fatalf("%s: the trace has no such value", what)
	}
	if !bytes.Equal(got, want) {
		p.t.Errorf("%s:\n got %x\nwant %x", what, got, want)
	}
}

// config is set as the ends of the RFC are.
func (p *played) config() *Config {
	return &Config{
		Suites:  []suite.ID{suite.AES128GCMSHA256, suite.ChaCha20Poly1305SHA256, suite.AES256GCMSHA384},
		Groups:  []suite.GroupID{suite.X25519, suite.P256, suite.P384},
		Schemes: suite.Schemes(), CertificateSchemes: suite.CertificateSchemes(), KeyShares: 1, Resume: true,
		MaxEarlyData: 1 << 10,
	}
}

// told is what a machine says.
type told struct {
	*played
	m       Machine
	sent    []byte
	secrets map[string][]byte
	ops     []*Op
	done    bool
}

func (d *told) pump() {
	for {
		e, ok := d.m.Next()
		if !ok {
			return
		}
		switch e.Kind {
		case Send:
			d.sent = append(d.sent, e.Bytes...)
		case Keys:
			way := " read"
			if e.Direction == Write {
				way = " write"
			}
			d.secrets[e.Level.String()+way] = bytes.Clone(e.Secret)
		case Ask:
			d.ops = append(d.ops, e.Op)
		case Done:
			d.done = true
		}
	}
}

func (d *told) hear(level Level, msg []byte) {
	d.t.Helper()
	if err := d.m.Message(level, msg); err != nil {
		d.t.Fatalf("%s: %v", message.Type(msg[0]), err)
	}
	d.pump()
}

func (d *told) answer(kind OpKind, a Answer) *Op {
	d.t.Helper()
	if len(d.ops) == 0 || d.ops[0].Kind != kind {
		d.t.Fatalf("%v was to be asked for; what was is %v", kind, d.ops)
	}
	op := d.ops[0]
	d.ops = d.ops[1:]
	if err := d.m.Resolve(op, a); err != nil {
		d.t.Fatalf("%v: %v", kind, err)
	}
	d.pump()
	return op
}

// says takes what was said since, and holds it against messages of the trace.
func (d *told) says(want ...[]byte) {
	d.t.Helper()
	d.same("what is said", d.sent, bytes.Join(want, nil))
	d.sent = nil
}

// session is the one that the trace resumes.
func (p *played) session() *Session {
	return &Session{
		Suite: suite.ByID(suite.AES128GCMSHA256), Secret: bytes.Clone(p.psk()), Ticket: []byte("in the trace"), MaxEarlyData: 1 << 10,
		Age: func() uint32 { return 0 }, Local: &Credential{},
	}
}

func TestRFC8448OurClient(t *testing.T) {
	eachTrace(t, func(t *testing.T, p *played) {
		cfg := p.config()
		keys := p.keys("client")
		cfg.Random = io.MultiReader(readers(keys)...)
		c := NewClient(cfg, "server")
		d := &told{played: p, m: c, secrets: map[string][]byte{}}
		hellos := p.all(message.TypeClientHello)
		put := func(hello []byte) {
			if err := c.hello.Parse(bytes.Clone(hello)); err != nil {
				t.Fatal(err)
			}
			c.helloBytes, c.random = bytes.Clone(hello), c.hello.Random
		}
		put(hellos[0])
		if err := c.share(c.hello.KeyShares[0].Group); err != nil {
			t.Fatal(err)
		}
		p.same("our key share", c.shares[0].Public(), c.hello.KeyShares[0].Data)
		c.hello.KeyShares = c.hello.KeyShares[:1]
		c.state, _ = c.expect("ServerHello", (*Client).waitServerHello)
		if p.psk() != nil {
			c.session = p.session()
			// The binder is ours to make.
			blank := bytes.Clone(hellos[0])
			clear(blank[len(blank)-32:])
			c.bind(blank)
			p.same("the hello with our binder", blank, hellos[0])
			c.beginEarly(hellos[0])
			d.pump()
			p.same("early traffic secret", d.secrets["early write"], p.secret("c e traffic"))
			p.same("early exporter", c.result.EarlyExporter.secret, p.secret("e exp master"))
		}

		servers := p.all(message.TypeServerHello)
		d.hear(Initial, servers[0])
		if len(servers) == 2 {
			if c.hello.KeyShares[0].Group != suite.P256 || !c.result.Retried {
				t.Fatal("the client did not do what it was asked to")
			}
			var theirs message.ClientHello
			if err := theirs.Parse(hellos[1]); err != nil {
				t.Fatal(err)
			}
			p.same("our second key share", c.hello.KeyShares[0].Data, theirs.KeyShares[0].Data)
			p.same("our cookie", c.hello.Cookie, theirs.Cookie)
			put(hellos[1])
			d.sent = nil
			d.hear(Initial, servers[1])
		}
		p.same("server's handshake secret", d.secrets["handshake read"], p.secret("s hs traffic"))
		d.hear(Handshake, p.all(message.TypeEncryptedExtensions)[0])
		certificates, proofs := p.all(message.TypeCertificate), p.all(message.TypeCertificateVerify)
		asked := p.all(message.TypeCertificateRequest)
		for _, m := range asked {
			d.hear(Handshake, m)
			d.answer(SelectCertificate, Answer{Credential: shown(t, certificates[1], proofs[1])})
		}
		if p.psk() == nil {
			d.hear(Handshake, certificates[0])
			d.hear(Handshake, proofs[0])
			d.answer(VerifyPeer, Answer{})
		}
		finished := p.all(message.TypeFinished)
		d.hear(Handshake, finished[0])
		switch {
		case len(asked) > 0:
			op := d.answer(Sign, Answer{Signature: signature(t, proofs[1])})
			proven(t, certificates[1], proofs[1], op.Input)
			d.says(certificates[1], proofs[1], finished[1])
		case p.psk() != nil:
			d.says(p.all(message.TypeEndOfEarlyData)[0], finished[1])
		default:
			d.says(finished[1])
		}
		p.same("client's handshake secret", d.secrets["handshake write"], p.secret("c hs traffic"))
		p.same("server's application secret", d.secrets["application read"], p.secret("s ap traffic"))
		p.same("client's application secret", d.secrets["application write"], p.secret("c ap traffic"))
		if !d.done {
			t.Fatal("the client is not done")
		}
		s := c.Result().Standing
		p.same("exporter secret", s.exporter, p.secret("exp master"))
		p.same("resumption secret", s.resumption, p.secret("res master"))
		if ticket := p.Value("construct a NewSessionTicket handshake message", "NewSessionTicket"); ticket != nil {
			if _, err := s.Message(ticket); err != nil {
				t.Fatal(err)
			}
			p.same("the secret of the session", s.Tickets()[0].Secret, p.Value(`generate resumption secret "tls13 resumption"`, "expanded"))
		}
	})
}

func TestRFC8448OurServer(t *testing.T) {
	eachTrace(t, func(t *testing.T, p *played) {
		cfg := p.config()
		servers, hellos := p.all(message.TypeServerHello), p.all(message.TypeClientHello)
		last := servers[len(servers)-1]
		cfg.Random = io.MultiReader(readers(append(p.keys("server"), last[6:38], make([]byte, 256)))...)
		asked := p.all(message.TypeCertificateRequest)
		if len(asked) > 0 {
			cfg.ClientAuth = RequireClientCertificate
		}
		s := NewServer(cfg)
		d := &told{played: p, m: s, secrets: map[string][]byte{}}
		if len(servers) == 2 {
			// The RFC's server speaks P-256 alone, and had a cookie to give, which ours
			// is taken to have given.
			cfg.Groups = []suite.GroupID{suite.P256}
			s.suite = suite.ByID(suite.AES128GCMSHA256)
			s.begin(s.suite)
			s.add(hellos[0])
			s.hash = restarted(s.suite, hellos[0], servers[0])
			s.result.Retried = true
		}
		d.hear(Initial, hellos[len(hellos)-1])
		if p.psk() != nil {
			d.answer(OpenTicket, Answer{Session: p.aged(hellos[0])}) // the binder is found right, or it fails
			d.answer(RegisterEarlyData, Answer{Fresh: true})
			p.same("early traffic secret", d.secrets["early read"], p.secret("c e traffic"))
			p.same("early exporter", s.result.EarlyExporter.secret, p.secret("e exp master"))
		}
		certificates, proofs, finished := p.all(message.TypeCertificate), p.all(message.TypeCertificateVerify), p.all(message.TypeFinished)
		if p.psk() == nil {
			d.answer(SelectCertificate, Answer{Credential: shown(t, certificates[0], proofs[0])})
		}
		p.same("the ServerHello", d.sent[:len(last)], last)
		p.same("server's handshake secret", d.secrets["handshake write"], p.secret("s hs traffic"))

		// The RFC's EncryptedExtensions, and CertificateRequest, instead of ours.
		theirs := func() hash.Hash {
			return transcriptOf(s.suite, p.messages[:slices.IndexFunc(p.messages, func(m []byte) bool {
				return bytes.Equal(m, p.all(message.TypeEncryptedExtensions)[0])
			})+1+len(asked)])
		}
		s.hash = theirs()
		if p.psk() == nil {
			s.add(certificates[0])
			s.sign.Input = signedContent(s.side, s.transcript())
			d.sent = d.sent[max(bytes.Index(d.sent, certificates[0]), 0):]
			op := d.answer(Sign, Answer{Signature: signature(t, proofs[0])})
			proven(t, certificates[0], proofs[0], op.Input)
			d.says(certificates[0], proofs[0], finished[0])
		} else {
			d.sent = nil
			// A session's Finished follows EncryptedExtensions at once: it is made anew.
			b, err := s.makeFinished(nil, s.serverSecret)
			if err != nil {
				t.Fatal(err)
			}
			p.same("server's Finished", b, finished[0])
			th := s.transcript()
			s.clientApp, s.serverApp = s.main.Traffic(th)
			s.exporter = s.main.Exporter(th)
			d.secrets["application write"] = s.serverApp
		}
		p.same("server's application secret", d.secrets["application write"], p.secret("s ap traffic"))
		p.same("exporter secret", s.exporter, p.secret("exp master"))
		for _, m := range p.all(message.TypeEndOfEarlyData) {
			d.hear(Early, m)
		}
		p.same("client's handshake secret", d.secrets["handshake read"], p.secret("c hs traffic"))
		if len(asked) > 0 {
			d.hear(Handshake, certificates[1])
			d.hear(Handshake, proofs[1])
			d.answer(VerifyPeer, Answer{})
		}
		d.hear(Handshake, finished[1])
		p.same("client's application secret", d.secrets["application read"], p.secret("c ap traffic"))
		p.same("resumption secret", s.main.Resumption(s.transcript()), p.secret("res master"))
	})
}

// aged is the session as a server finds it that thinks the hello fresh.
func (p *played) aged(hello []byte) *Session {
	s := p.session()
	var m message.ClientHello
	if err := m.Parse(hello); err != nil {
		p.t.Fatal(err)
	}
	age := m.PSK.Identities[0].ObfuscatedAge
	s.Age = func() uint32 { return age }
	return s
}

func readers(parts [][]byte) (list []io.Reader) {
	for _, p := range parts {
		list = append(list, bytes.NewReader(p))
	}
	return list
}

// shown is a chain that was shown in a Certificate of the trace's.
func shown(t *testing.T, certificate, proof []byte) *Credential {
	t.Helper()
	var m message.CertificateVerify
	if err := m.Parse(proof); err != nil {
		t.Fatal(err)
	}
	return &Credential{Wire: certificate, Schemes: []suite.Scheme{m.Scheme}}
}

func signature(t *testing.T, proof []byte) []byte {
	t.Helper()
	var m message.CertificateVerify
	if err := m.Parse(proof); err != nil {
		t.Fatal(err)
	}
	return m.Signature
}

// proven checks that the trace's signature is one over what we were asked to sign.
func proven(t *testing.T, certificate, proof, input []byte) {
	t.Helper()
	var c message.Certificate
	var v message.CertificateVerify
	if err := c.Parse(certificate); err != nil {
		t.Fatal(err)
	}
	if err := v.Parse(proof); err != nil {
		t.Fatal(err)
	}
	key, err := suite.CertificateKey(c.Entries[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(v.Scheme, input, v.Signature); err != nil {
		t.Errorf("the RFC's signature is not over what we would sign: %v", err)
	}
}

// transcriptOf is the transcript of messages, the first hello of a handshake with a
// HelloRetryRequest replaced by its hash.
func transcriptOf(s *suite.Suite, messages [][]byte) hash.Hash {
	h := s.NewHash()
	for i, m := range messages {
		var sh message.ServerHello
		if i == 1 && sh.Parse(m) == nil && sh.IsRetry() {
			h = restarted(s, messages[0], m)
			continue
		}
		h.Write(m)
	}
	return h
}

// restarted is the transcript after a HelloRetryRequest.
func restarted(s *suite.Suite, hello, retry []byte) hash.Hash {
	first, h := s.NewHash(), s.NewHash()
	first.Write(hello)
	h.Write(message.MessageHash(first.Sum(nil)))
	h.Write(retry)
	return h
}
