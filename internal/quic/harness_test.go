package quic

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/suite"
)

// setting is what a connection is made with.
type setting struct {
	client, server handshake.Config
	late           bool  // operations are answered when nothing else can go on
	refuse         error // the server's judgement of the client
	piece          int   // bytes that are delivered at once; 0: all that there are
	offer          *handshake.Session
	vault          map[string]*handshake.Session // of sessions that a server gave tickets for
}

func usual() setting {
	c := handshake.Config{
		Suites: []suite.ID{suite.AES128GCMSHA256}, Groups: []suite.GroupID{suite.X25519}, Schemes: suite.Schemes(),
		CertificateSchemes: suite.CertificateSchemes(), Random: rand.Reader, KeyShares: 1, QUIC: true, ALPN: []string{"h3"},
	}
	return setting{client: c, server: c}
}

func mutual() setting {
	s := usual()
	s.server.ClientAuth = handshake.RequireClientCertificate
	return s
}

func retrying() setting {
	s := mutual()
	s.client.Groups, s.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	return s
}

var identity = sync.OnceValue(func() *handshake.Credential {
	l := mint.Root("root", mint.Key("p256")).Leaf("orders.example", mint.Key("p256"))
	m := message.Certificate{Entries: []message.CertificateEntry{{Data: l.Chain[0]}}}
	wire, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return &handshake.Credential{Wire: wire, Schemes: []suite.Scheme{suite.ECDSAWithP256AndSHA256}, Value: l}
})

// end is one end, as a QUIC stack holds it.
type end struct {
	Crypto
	t        testing.TB
	name     string
	set      *setting
	ours     []byte // transport parameters
	theirs   []byte
	out      [4][]byte // what is to be sent, by level
	sent     [4][]byte // all that was sent
	secrets  map[string][]byte
	order    []string // of the secrets
	ops      []*handshake.Op
	done     bool
	skips    bool
	err      error
	tickets  []*handshake.Session
	judged   int
	answered []handshake.OpKind
}

func newClient(t testing.TB, s *setting) *end {
	e := &end{t: t, name: "client", set: s, ours: []byte("the client's parameters"), secrets: map[string][]byte{}}
	cfg := s.client
	m := handshake.NewClient(&cfg, "orders.example")
	e.Drive(m, false)
	e.took(e.Start(m))
	return e
}

func newServer(t testing.TB, s *setting) *end {
	e := &end{t: t, name: "server", set: s, ours: []byte("the server's parameters"), secrets: map[string][]byte{}}
	cfg := s.server
	e.Drive(handshake.NewServer(&cfg), true)
	return e
}

// took notes what came of a call.
func (e *end) took(err error) {
	if e.err == nil {
		e.err = err
	}
	var f *handshake.Failure
	if err != nil && (!errors.As(err, &f) || f.Code == "" || f.At == "" || f.Reason == "" || f.Fault == 0) {
		e.t.Errorf("the %s failed with what does not say all: %v", e.name, err)
	}
	for {
		x, ok := e.Next()
		if !ok {
			break
		}
		switch x.Kind {
		case handshake.Send:
			e.out[x.Level] = append(e.out[x.Level], x.Bytes...)
			e.sent[x.Level] = append(e.sent[x.Level], x.Bytes...)
		case handshake.Keys:
			way := "read"
			if x.Direction == handshake.Write {
				way = "write"
			}
			key := fmt.Sprintf("%s %s", x.Level, way)
			if e.secrets[key] != nil {
				e.t.Errorf("the %s was given keys for %s twice", e.name, key)
			}
			e.secrets[key] = x.Secret
			e.order = append(e.order, key)
		case handshake.PeerParameters:
			if e.theirs != nil {
				e.t.Errorf("the %s was told the parameters twice", e.name)
			}
			e.theirs = append([]byte{}, x.Bytes...)
		case handshake.SkipEarlyData:
			e.skips = true
		case handshake.Done:
			e.done = true
		default:
			e.t.Errorf("the %s has an event of the kind %d, which is none of QUIC's", e.name, x.Kind)
		}
	}
	for op := e.Op(); op != nil; op = e.Op() {
		e.ops = append(e.ops, op)
	}
	if r := e.Result(); r != nil {
		e.tickets = append(e.tickets, r.Standing.Tickets()...)
	}
	for !e.set.late && len(e.ops) > 0 {
		e.answer(0)
	}
}

func (e *end) answer(i int) {
	op := e.ops[i]
	e.ops = slices.Delete(e.ops, i, i+1)
	e.answered = append(e.answered, op.Kind)
	e.took(e.Resolve(op, e.carryOut(op)))
}

func (e *end) carryOut(op *handshake.Op) handshake.Answer {
	switch op.Kind {
	case handshake.TransportParameters:
		return handshake.Answer{Parameters: e.ours}
	case handshake.SelectCertificate:
		return handshake.Answer{Credential: identity()}
	case handshake.Sign:
		sig, err := suite.Sign(rand.Reader, op.Credential.Value.(*mint.Leaf).Key, op.Scheme, op.Input)
		return handshake.Answer{Signature: sig, Err: err}
	case handshake.FindTicket:
		return handshake.Answer{Session: e.set.offer}
	case handshake.OpenTicket:
		for i, id := range op.Identities {
			if kept := e.set.vault[string(id)]; kept != nil {
				s := *kept
				s.Secret, s.Index = bytes.Clone(kept.Secret), i
				return handshake.Answer{Session: &s}
			}
		}
		return handshake.Answer{}
	case handshake.SealTicket:
		s := *op.Session
		s.Secret = bytes.Clone(s.Secret)
		e.set.vault["a ticket"] = &s
		return handshake.Answer{Ticket: []byte("a ticket"), Lifetime: 3600}
	case handshake.VerifyPeer:
		e.judged++
		if e.name == "server" {
			return handshake.Answer{Err: e.set.refuse, Alert: alert.AccessDenied, Fault: handshake.OurPolicy, Code: code.NameNotAllowed}
		}
	}
	return handshake.Answer{}
}

// pair is a connection.
type pair struct {
	client, server *end
	// tamper, if not nil, is given what is sent to an end at a level, and gives
	// what is delivered.
	tamper func(to *end, level handshake.Level, b []byte) []byte
	// later has the highest level tried first: packets overtake each other, and
	// whoever has no keys for one keeps it.
	later bool
}

func newPair(t testing.TB, s setting) *pair {
	if s.vault == nil {
		s.vault = map[string]*handshake.Session{}
	}
	return &pair{client: newClient(t, &s), server: newServer(t, &s)}
}

// run moves bytes until nothing moves any more.
func (p *pair) run() *pair {
	for p.step() {
	}
	return p
}

func (p *pair) step() bool {
	moved := false
	for _, way := range [][2]*end{{p.client, p.server}, {p.server, p.client}} {
		moved = p.carry(way[0], way[1]) || moved
	}
	if moved {
		return true
	}
	for _, e := range []*end{p.client, p.server} {
		if len(e.ops) > 0 && e.err == nil {
			e.answer(len(e.ops) - 1)
			return true
		}
	}
	return false
}

// carry delivers a piece at a level for which the receiver has keys.
func (p *pair) carry(from, to *end) bool {
	levels := []handshake.Level{handshake.Initial, handshake.Handshake, handshake.Application}
	if p.later {
		slices.Reverse(levels)
	}
	for _, l := range levels {
		keys := l == handshake.Initial || to.secrets[l.String()+" read"] != nil
		if len(from.out[l]) == 0 || !keys || to.err != nil || l > to.level {
			continue
		}
		b := from.out[l]
		if p.tamper != nil {
			b = p.tamper(to, l, b)
			from.out[l] = nil
			to.took(to.Receive(l, b))
			return true
		}
		n := len(b)
		if to.set.piece > 0 {
			n = min(n, to.set.piece)
		}
		from.out[l] = b[n:]
		to.took(to.Receive(l, b[:n]))
		return true
	}
	return false
}

// agreed checks that both ends are done and hold the same.
func (p *pair) agreed(t testing.TB) {
	t.Helper()
	for _, e := range []*end{p.client, p.server} {
		if e.err != nil || !e.done || !e.Done() || e.Result() == nil {
			t.Fatalf("the %s is not done: %v", e.name, e.err)
		}
		if len(e.ops) > 0 {
			t.Fatalf("operations wait at the %s", e.name)
		}
	}
	for _, l := range []string{"handshake", "application"} {
		for _, d := range [][2]string{{" read", " write"}, {" write", " read"}} {
			if one, two := p.client.secrets[l+d[0]], p.server.secrets[l+d[1]]; len(one) != 32 || !bytes.Equal(one, two) {
				t.Fatalf("the client's %s is %x, the server's%s is %x", l+d[0], one, d[1], two)
			}
		}
	}
	if !bytes.Equal(p.client.theirs, p.server.ours) || !bytes.Equal(p.server.theirs, p.client.ours) {
		t.Fatalf("the transport parameters that arrived are %q and %q", p.client.theirs, p.server.theirs)
	}
	c, s := p.client.Result(), p.server.Result()
	if c.ALPN != "h3" || s.ALPN != "h3" || c.Retried != s.Retried || c.Resumed != s.Resumed {
		t.Fatalf("the ends agreed on %+v and %+v", c, s)
	}
}

// failed checks that e failed with this code in CONNECTION_CLOSE.
func (e *end) failed(t testing.TB, want uint64) *handshake.Failure {
	t.Helper()
	var f *handshake.Failure
	if !errors.As(e.err, &f) {
		t.Fatalf("the %s's error is %v, expected a *Failure", e.name, e.err)
	}
	if got := Code(f); got != want {
		t.Fatalf("%v: the code is %#x, expected %#x", f, got, want)
	}
	return f
}

func crypto(a alert.Alert) uint64 { return CryptoError + uint64(a) }
