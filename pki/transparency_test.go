package pki

import (
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki/ct"
)

// transparent is a policy over a list of these logs, as a file has it.
func transparent(t testing.TB, rule ct.Rule, logs ...*mint.Log) *ct.Policy {
	t.Helper()
	list, err := ct.ParseLogs(mint.LogList(logs...))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ct.NewPolicy(list, rule)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func askMinted(t *testing.T, root *mint.Authority, leaf *mint.Leaf, p *ct.Policy) Question {
	t.Helper()
	return Question{
		Chain: parsedChain(t, leaf.Chain...), Anchors: NewAnchors(parsedChain(t, root.DER)...), Purpose: ForServer,
		Name: "web.example", At: time.Now(), Transparency: p,
	}
}

func TestTimestampsAreAskedForWhereThePolicySaysSo(t *testing.T) {
	root := mint.Root("Root")
	inter := root.Intermediate("Issuing")
	a, b, stranger := mint.NewLog("a's log", "One", ""), mint.NewLog("b's log", "Two", "rsa2048"), mint.NewLog("c's log", "Three", "")
	policy := transparent(t, ct.Chrome, a, b)
	then := time.Now().Add(-30 * time.Minute)
	bare := inter.Leaf("web.example")
	for name, c := range map[string]struct {
		leaf   *mint.Leaf
		beside [][]byte
		ok     bool
		says   string
	}{
		"in it":               {inter.Leaf("web.example", mint.Logged(then, a, b)), nil, true, `"a's log" at `},
		"too few in it":       {inter.Leaf("web.example", mint.Logged(then, a)), nil, false, `"a's log" at `},
		"of a strange log":    {inter.Leaf("web.example", mint.Logged(then, a, stranger)), nil, false, "its log is not on the list"},
		"of the future":       {inter.Leaf("web.example", mint.Logged(then.Add(time.Hour), a, b)), nil, false, "from the future"},
		"none":                {bare, nil, false, "none, in the certificate or beside it"},
		"beside it":           {bare, [][]byte{a.Promise(bare.Cert.Raw, then), b.Promise(bare.Cert.Raw, then)}, true, "in the handshake"},
		"of another's leaf":   {bare, [][]byte{a.Promise(bare.Cert.Raw, then), b.Promise(inter.DER, then)}, false, "did not sign it"},
		"beside it, no sense": {bare, [][]byte{{1, 2, 3}, {0}}, false, "does not parse"},
	} {
		q := askMinted(t, root, c.leaf, policy)
		q.Timestamps = c.beside
		v := Explain(q)
		if v.OK != c.ok || v.Timestamps != nil != c.ok || !c.ok && (v.Code != code.NoTimestamps || v.Link != 0) {
			t.Errorf("%s: %s (%s)", name, v.Sentence(), v.Code)
		}
		last := v.Paths[0].Checks[len(v.Paths[0].Checks)-1]
		if last.Name != "timestamps" || last.OK != c.ok || !strings.Contains(last.Found, c.says) || !strings.Contains(last.Expected, "2 logs of 2 operators (Chrome's rule)") {
			t.Errorf("%s: %+v", name, last)
		}
		if Verify(q).OK != c.ok {
			t.Errorf("%s: Verify says otherwise", name)
		}
		q.Transparency = nil
		if v := Explain(q); !v.OK || v.Timestamps != nil {
			t.Errorf("%s, where nobody asks: %s", name, v.Sentence())
		}
	}
}

// Those in an OCSP response count once the response does.
func TestTimestampsInAnOCSPResponse(t *testing.T) {
	r := root(t, "R")
	l := r.leaf(t, "api.internal")
	log := mint.NewLog("a's log", "One", "")
	list := mint.Timestamps(log.Promise(l.Raw, now.Add(-time.Hour)))
	q := Question{Chain: []*Certificate{l.Certificate}, Anchors: NewAnchors(r.Certificate), Purpose: ForServer, Name: "api.internal", At: now,
		Transparency: transparent(t, ct.Rule{Timestamps: 1}, log)}
	with := func(change func(*responder)) Question {
		x := respond(l, r)
		x.single = tlv(0xa1, tlv(0x30, tlv(0x30, []byte{6, 10, 0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 5}, tlv(4, tlv(4, list)))))
		if change != nil {
			change(x)
		}
		asked := q
		asked.OCSP = []*OCSPResponse{mustOCSP(t, x.make(t))}
		return asked
	}
	if v := Verify(with(nil)); !v.OK || v.Timestamps.Beside.Logs != 1 || v.Timestamps.Timestamps[0].Source != ct.InOCSP {
		t.Errorf("%s", v.Sentence())
	}
	if v := Verify(with(func(x *responder) { x.signer = l })); v.Code != code.NoTimestamps {
		t.Errorf("in a response of somebody else's: %s", v.Sentence())
	}
	if v := Verify(with(func(x *responder) { x.next = now.Add(-time.Hour); x.this = now.Add(-2 * time.Hour) })); v.Code != code.NoTimestamps {
		t.Errorf("in a response that is over: %s", v.Sentence())
	}
}

// What was asked about timestamps belongs to what is remembered, both ways, and an
// answer holds from the latest of them.
func TestAnAnswerAboutTimestampsIsNoAnswerWithout(t *testing.T) {
	root := mint.Root("Root")
	a, b := mint.NewLog("a", "One", ""), mint.NewLog("b", "Two", "")
	then := time.Now().Add(-30 * time.Minute).Truncate(time.Second)
	policy := transparent(t, ct.Chrome, a, b)
	q := askMinted(t, root, root.Leaf("web.example", mint.Logged(then, a)), nil)
	q.Known = &Known{}
	if v := Verify(q); !v.OK {
		t.Fatal(v.Sentence())
	}
	q.Transparency = policy
	if v := Verify(q); v.Code != code.NoTimestamps {
		t.Errorf("too few timestamps, answered from memory: %s", v.Sentence())
	}
	q = askMinted(t, root, root.Leaf("web.example", mint.Logged(then, a, b)), policy)
	met(t, &q)
	if q.At = then.Add(-time.Second); answered(q) || Verify(q).Code != code.NoTimestamps {
		t.Error("before they were made they count")
	}
	if q.At = then; !answered(q) {
		t.Error("at their time they don't count")
	}
	b.State = "rejected"
	if q.Transparency = transparent(t, ct.Chrome, a, b); answered(q) || Verify(q).OK {
		t.Error("what one list said was answered by another")
	}
	again := transparent(t, ct.Chrome, a, b)
	if again.Sum() != q.Transparency.Sum() {
		t.Error("the same list, read again, asks for everything anew")
	}
}

// A precertificate (RFC 6962, section 3.1) is a promise of an authority's to a log,
// and no certificate: its poison is a critical extension that nobody knows.
func TestAPrecertificateIsNoCertificate(t *testing.T) {
	r := root(t, "R")
	inter := r.intermediate(t, "I")
	poisoned := inter.leaf(t, "api.internal", extension(true, []byte{5, 0}, 1, 3, 6, 1, 4, 1, 11129, 2, 4, 3))
	q := Question{Chain: []*Certificate{poisoned.Certificate, inter.Certificate}, Anchors: NewAnchors(r.Certificate), Purpose: ForServer, Name: "api.internal", At: now}
	if v := Verify(q); v.Code != code.CriticalExtension {
		t.Error(v.Sentence())
	}
}

// However many authorities of the leaf's issuer's name are shown, its timestamps are
// judged for one.
func TestTimestampsCostNoMoreInATangle(t *testing.T) {
	root := mint.Root("Root")
	key := root.Intermediate("Issuing")
	stranger := mint.NewLog("c", "Three", "")
	leaf := key.Leaf("web.example", mint.Logged(time.Now().Add(-time.Minute), stranger))
	chain := [][]byte{leaf.Cert.Raw}
	for range 20 {
		chain = append(chain, root.Intermediate("Issuing", mint.WithKey(key.Key)).DER)
	}
	leaf.Chain = chain
	q := askMinted(t, root, leaf, transparent(t, ct.Rule{Timestamps: 1}, mint.NewLog("a", "One", "")))
	s := &search{q: q}
	if v := s.prepare(); v != nil {
		t.Fatal(v.Sentence())
	}
	if s.find() || len(s.transparency) != 1 {
		t.Errorf("its timestamps were judged %d times", len(s.transparency))
	}
	if v := Verify(q); v.Code != code.NoTimestamps {
		t.Errorf("%s (%s)", v.Sentence(), v.Code)
	}
}
