package handshake

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
)

// letter is a whole message on its way.
type letter struct {
	level Level
	msg   []byte
}

func (l letter) String() string { return fmt.Sprintf("%v at %v", message.Type(l.msg[0]), l.level) }

// end is one end of a handshake under test: a machine, what it said and what it
// was told.
type end struct {
	t    testing.TB
	name string
	Machine
	start func() error

	sent  []letter // all of it, message by message
	inbox []letter
	took  int // letters taken off the inbox
	ops   []*Op
	asked []OpKind
	told  map[OpKind]Op
	story []string // events, in order
	// secrets are those of its events, as the machine holds them; copies are what
	// they were.
	secrets, copies map[string][]byte
	readAt, writeAt Level
	done, skips     bool
	begun           bool // early data is taken
	err             error
	leaf            *mint.Leaf              // nil shows nothing
	anchors         []message.TrustAnchorID // that a server has
	selects         func(*Op) *Credential   // SelectCertificate's answer, if not nil
	refuse          error                   // VerifyPeer's answer
	fail            int                     // the operation that fails, counted from 1; 0: none
	failure         Answer
	logged          [][]byte // what the key log was given
	standing        []Effect
	judged          [][]byte
	// offer is what FindTicket is answered with; vault is what a server has given
	// tickets for, and again is VerifyPeer's answer for a session.
	offer *Session
	vault map[string]*Session
	again error
	// stale is whether RegisterEarlyData is answered with no; seen are the hellos
	// that it was asked about.
	stale bool
	seen  [][32]byte
	// keys are what a server decrypts with; they are told to who is rejected.
	keys   []*ech.Key
	hidden []byte // the last inner hello that the observer saw
}

func (e *end) pump() {
	for {
		event, ok := e.Next()
		if !ok {
			return
		}
		switch event.Kind {
		case Send:
			if event.Level != e.writeAt {
				e.t.Errorf("the %s sends at level %v, and its keys are those of %v", e.name, event.Level, e.writeAt)
			}
			for b := event.Bytes; len(b) > 0; {
				_, n := message.Header(b)
				msg := slices.Clone(b[:message.HeaderLen+n])
				b = b[len(msg):]
				e.sent = append(e.sent, letter{event.Level, msg})
				e.story = append(e.story, "send "+message.Type(msg[0]).String())
			}
		case Keys:
			what := fmt.Sprintf("%v write", event.Level)
			if event.Direction == Read {
				what = fmt.Sprintf("%v read", event.Level)
				e.readAt = event.Level
			} else {
				e.writeAt = event.Level
			}
			if len(event.Secret) != event.Suite.Hash.Size() || bytes.Equal(event.Secret, make([]byte, len(event.Secret))) {
				e.t.Errorf("the %s's secret for %s is %x", e.name, what, event.Secret)
			}
			e.secrets[what], e.copies[what] = event.Secret, slices.Clone(event.Secret)
			e.story = append(e.story, "keys "+what)
		case Ask:
			e.ops = append(e.ops, event.Op)
			e.asked = append(e.asked, event.Op.Kind)
			e.told[event.Op.Kind] = *event.Op
			e.story = append(e.story, "ask "+event.Op.Kind.String())
		case ChangeCipherSpec:
			e.story = append(e.story, "ccs")
		case SkipEarlyData:
			e.skips = true
		case EarlyBegun:
			e.begun = true
			e.story = append(e.story, "early data")
		case EarlyEnded:
			e.writeAt = Initial
			e.story = append(e.story, "no early data")
		case Done:
			e.done = true
			e.story = append(e.story, "done")
		default:
			e.t.Errorf("the %s has an event of the kind %d", e.name, event.Kind)
		}
	}
}

// hand gives the machine one letter; what belongs to the time after the
// handshake goes where that goes.
func (e *end) hand(l letter) {
	if e.err != nil {
		return
	}
	if e.done {
		effect, err := e.Result().Standing.Message(l.msg)
		e.standing = append(e.standing, effect)
		e.settle(err)
		return
	}
	e.settle(e.Message(l.level, l.msg))
}

func (e *end) settle(err error) {
	if e.err == nil {
		e.err = err
	}
	e.pump()
}

// resolve answers the operation at index i of those that wait.
func (e *end) resolve(i int) {
	op := e.ops[i]
	e.ops = slices.Delete(e.ops, i, i+1)
	e.settle(e.Resolve(op, e.answer(op)))
}

func (e *end) answer(op *Op) Answer {
	if e.fail > 0 && e.fail <= len(e.asked) && e.asked[e.fail-1] == op.Kind {
		return e.failure
	}
	switch op.Kind {
	case SelectCertificate:
		if e.selects != nil {
			return Answer{Credential: e.selects(op), TrustAnchors: e.anchors}
		}
		if e.leaf == nil {
			return Answer{}
		}
		return Answer{Credential: credential(e.t, e.leaf), TrustAnchors: e.anchors}
	case Sign:
		sig, err := suite.Sign(rand.Reader, signer(op.Credential.Value.(*mint.Leaf)), op.Scheme, op.Input)
		return Answer{Signature: sig, Err: err}
	case DecryptECH:
		var raw [][]byte
		for _, k := range e.keys {
			if inner, opener, ok := k.Open(op.ECH, op.AAD); ok {
				return Answer{Opened: &ECHOpened{Inner: inner, Opener: opener}}
			}
			raw = append(raw, k.Config.Raw)
		}
		if raw == nil {
			return Answer{}
		}
		list, err := message.AppendECHConfigList(nil, raw...)
		return Answer{RetryConfigs: list, Err: err}
	case FindTicket:
		return Answer{Session: e.offer}
	case OpenTicket:
		for i, id := range op.Identities {
			if kept := e.vault[string(id)]; kept != nil {
				s := *kept
				s.Secret, s.Index = slices.Clone(kept.Secret), i
				return Answer{Session: &s}
			}
		}
		return Answer{}
	case MakeCookie:
		return Answer{Ticket: append([]byte("cookie "), op.Input...)}
	case OpenCookie:
		plain, _ := bytes.CutPrefix(op.Input, []byte("cookie "))
		if len(plain) == len(op.Input) {
			return Answer{}
		}
		return Answer{Ticket: plain}
	case SealTicket:
		if e.vault == nil {
			return Answer{}
		}
		s := *op.Session
		s.Secret, s.Age = slices.Clone(s.Secret), func() uint32 { return 7 }
		ticket := fmt.Appendf(nil, "ticket %d", len(e.vault))
		e.vault[string(ticket)] = &s
		return Answer{Ticket: ticket, Lifetime: 3600}
	case RegisterEarlyData:
		fresh := !e.stale && !slices.Contains(e.seen, op.EarlyID)
		e.seen = append(e.seen, op.EarlyID)
		return Answer{Fresh: fresh}
	default:
		if op.Resumed {
			return Answer{Err: e.again}
		}
		e.judged = op.Chain
		return Answer{Err: e.refuse, Alert: alert.UnknownCA, Fault: OurPolicy}
	}
}

// pssKey is an RSA key that says that it is an id-RSASSA-PSS one.
type pssKey struct{ crypto.Signer }

func (pssKey) RSAPSS() bool { return true }

func signer(l *mint.Leaf) crypto.Signer {
	k, err := suite.CertificateKey(l.Chain[0])
	if err == nil && k.PSS {
		return pssKey{l.Key}
	}
	return l.Key
}

func credential(t testing.TB, l *mint.Leaf) *Credential {
	k, err := suite.PublicOf(signer(l))
	if err != nil {
		t.Fatal(err)
	}
	m := message.Certificate{}
	for _, der := range l.Chain {
		m.Entries = append(m.Entries, message.CertificateEntry{Data: der})
	}
	wire, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &Credential{Wire: wire, Schemes: k.Schemes(), Value: l}
}

var leaves struct {
	sync.Mutex
	root *mint.Authority
	of   map[string]*mint.Leaf
}

// leaf is a certificate with a key of the kind, made once.
func leaf(kind string) *mint.Leaf {
	leaves.Lock()
	defer leaves.Unlock()
	if leaves.root == nil {
		leaves.root, leaves.of = mint.Root("root"), map[string]*mint.Leaf{}
	}
	if leaves.of[kind] == nil {
		leaves.of[kind] = leaves.root.Leaf("orders.example", mint.Key(kind))
	}
	return leaves.of[kind]
}

// setting is what a handshake is run with.
type setting struct {
	client, server Config
	name           string
	// the kinds of the keys; "" shows no certificate
	clientKey, serverKey string
}

// usual is a setting in which everything is small and quick.
func usual() setting {
	c := Config{
		Suites: []suite.ID{suite.AES128GCMSHA256}, Groups: []suite.GroupID{suite.X25519}, Schemes: suite.Schemes(),
		CertificateSchemes: suite.CertificateSchemes(), Random: rand.Reader, KeyShares: 1,
	}
	return setting{client: c, server: c, name: "orders.example", clientKey: "p256", serverKey: "p256"}
}

func mutual() setting {
	s := usual()
	s.server.ClientAuth = RequireClientCertificate
	return s
}

// pair is a handshake.
type pair struct {
	client, server *end
	// tamper, if not nil, sees the n-th letter to an end before it is delivered,
	// and gives what is delivered instead.
	tamper func(to *end, n int, l letter) []letter
	// patient drivers deliver nothing to a machine that says that it waits.
	patient bool
}

func newEnd(t testing.TB, name, key string, cfg *Config) *end {
	e := &end{t: t, name: name, told: map[OpKind]Op{}, secrets: map[string][]byte{}, copies: map[string][]byte{}}
	if key != "" {
		e.leaf = leaf(key)
	}
	cfg.KeyLog = func(_ string, _, secret []byte) { e.logged = append(e.logged, slices.Clone(secret)) }
	return e
}

func newClientEnd(t testing.TB, s setting) *end {
	cfg := s.client
	e := newEnd(t, "client", s.clientKey, &cfg)
	c := NewClient(&cfg, s.name)
	e.Machine, e.start = c, c.Start
	return e
}

func newServerEnd(t testing.TB, s setting) *end {
	cfg := s.server
	e := newEnd(t, "server", s.serverKey, &cfg)
	e.Machine, e.start = NewServer(&cfg), func() error { return nil }
	return e
}

func newPair(t testing.TB, s setting) *pair {
	return &pair{client: newClientEnd(t, s), server: newServerEnd(t, s), patient: true}
}

// mode says when operations are answered.
type mode struct {
	name string
	// late answers only when nothing else can move; last answers the youngest
	// first.
	late, last, patient bool
}

var modes = []mode{
	{name: "at once", patient: true},
	{name: "late", late: true, patient: true},
	{name: "late, and the driver does not wait", late: true},
	{name: "late, the youngest first", late: true, last: true},
}

// run runs the handshake until nothing moves any more.
func (p *pair) run(m mode) {
	p.patient = m.patient
	for _, e := range []*end{p.client, p.server} {
		e.settle(e.start())
	}
	for p.step(m) {
	}
}

func (p *pair) step(m mode) bool {
	moved := false
	for _, e := range []*end{p.client, p.server} {
		if !m.late {
			moved = p.answer(e, m) || moved
		}
		moved = p.post(e) || moved
	}
	if moved {
		return true
	}
	for _, e := range []*end{p.client, p.server} {
		if p.answer(e, m) {
			return true
		}
	}
	return false
}

func (p *pair) answer(e *end, m mode) bool {
	if len(e.ops) == 0 || e.err != nil {
		return false
	}
	i := 0
	if m.last {
		i = len(e.ops) - 1
	}
	e.resolve(i)
	return true
}

// post delivers one letter to e, if there is one that it can take.
func (p *pair) post(e *end) bool {
	from := p.client
	if e == from {
		from = p.server
	}
	e.inbox = append(e.inbox, from.sent...)
	from.sent = from.sent[:0]
	if len(e.inbox) == 0 || e.err != nil {
		return false
	}
	l := e.inbox[0]
	if !e.done && (l.level == Application || p.patient && e.Waiting()) {
		return false
	}
	e.inbox = e.inbox[1:]
	letters := []letter{l}
	if p.tamper != nil {
		letters = p.tamper(e, e.took, l)
	}
	e.took++
	for _, l := range letters {
		e.hand(l)
	}
	return true
}

// agreed checks that both ends are done and have the same in hand.
func (p *pair) agreed(t testing.TB) {
	t.Helper()
	for _, e := range []*end{p.client, p.server} {
		if e.err != nil {
			t.Fatalf("the %s failed: %v", e.name, e.err)
		}
		if !e.done || e.Result() == nil {
			t.Fatalf("the %s is not done: it waits for %s, %d operations", e.name, e.Expecting(), len(e.ops))
		}
		if len(e.inbox) > 0 {
			t.Fatalf("%d letters wait at the %s", len(e.inbox), e.name)
		}
	}
	for _, level := range []Level{Handshake, Application} {
		for _, d := range [][2]string{{"read", "write"}, {"write", "read"}} {
			mine, theirs := p.client.copies[fmt.Sprintf("%v %s", level, d[0])], p.server.copies[fmt.Sprintf("%v %s", level, d[1])]
			if len(mine) == 0 || !bytes.Equal(mine, theirs) {
				t.Fatalf("at level %v the client %ss with %x, the server %ss with %x", level, d[0], mine, d[1], theirs)
			}
		}
	}
	c, s := p.client.Result(), p.server.Result()
	for _, d := range [][3][]byte{
		{c.Standing.ReadSecret(), s.Standing.WriteSecret(), p.client.copies["application read"]},
		{c.Standing.WriteSecret(), s.Standing.ReadSecret(), p.client.copies["application write"]},
	} {
		if !bytes.Equal(d[0], d[1]) || !bytes.Equal(d[0], d[2]) {
			t.Fatalf("what stands has the secrets %x, %x; the event told %x", d[0], d[1], d[2])
		}
	}
	one, err1 := c.Standing.Export("EXPORTER-test", []byte("context"), 32)
	two, err2 := s.Standing.Export("EXPORTER-test", []byte("context"), 32)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Fatalf("exported %x (%v) and %x (%v)", one, err1, two, err2)
	}
	if c.Suite != s.Suite || c.Group != s.Group || c.ALPN != s.ALPN || c.ServerName != s.ServerName || c.Retried != s.Retried || c.Asked != s.Asked {
		t.Fatalf("the client's result is\n%+v\nthe server's\n%+v", *c, *s)
	}
	checkShown(t, p.client, c, s)
	checkShown(t, p.server, s, c)
}

// checkShown checks that what e showed is what the other end saw, proven.
func checkShown(t testing.TB, e *end, mine, theirs *Result) {
	t.Helper()
	shown := e.leaf != nil && (e.name == "server" || mine.Asked)
	if (mine.Local != nil) != shown || (theirs.PeerChain != nil) != shown || (theirs.Scheme != 0) != shown || e.Shown() != mine.Local {
		t.Fatalf("the %s showed %v; its peer has %d certificates and the scheme %v", e.name, mine.Local != nil, len(theirs.PeerChain), theirs.Scheme)
	}
	if shown && !slices.EqualFunc(theirs.PeerChain, e.leaf.Chain, bytes.Equal) {
		t.Fatalf("the chain of the %s did not arrive", e.name)
	}
}

// failedWith checks that err is a Failure with this alert.
func failedWith(t testing.TB, err error, want alert.Alert) *Failure {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("the error is %v, expected a *Failure with %v", err, want)
	}
	if f.Alert != want {
		t.Fatalf("%v (%v), expected the alert %v", f, f.Code, want)
	}
	if f.At == "" || f.Reason == "" || f.Code == "" || f.Fault == 0 {
		t.Fatalf("a failure that does not say all: %+v", f)
	}
	return f
}
