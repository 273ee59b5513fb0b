package stream

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/suite"
)

// setting is what a connection is made with.
type setting struct {
	client, server           handshake.Config
	clientRekey, serverRekey uint64
	name                     string
	refuse                   error // the server's judgement of the client
	late                     bool  // operations are answered when nothing else can go on
	// atOnce, if not nil, is what the client says, and closes, as soon as it can.
	atOnce []byte
	// memory, if not nil, is what both ends have of earlier connections.
	memory *memory
}

func usual() setting {
	c := handshake.Config{
		Suites: []suite.ID{suite.AES128GCMSHA256}, Groups: []suite.GroupID{suite.X25519}, Schemes: suite.Schemes(),
		CertificateSchemes: suite.CertificateSchemes(), Random: rand.Reader, KeyShares: 1,
	}
	return setting{client: c, server: c, name: "orders.example"}
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

// identity has an Ed25519 key, whose signatures all have one length: so every
// handshake of a setting has the same bytes in the same places.
var identity = sync.OnceValue(func() *handshake.Credential {
	l := mint.Root("root", mint.Key("ed25519"), mint.Serial(one)).Leaf("orders.example", mint.Key("ed25519"), mint.Serial(one))
	m := message.Certificate{Entries: []message.CertificateEntry{{Data: l.Chain[0]}}}
	wire, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return &handshake.Credential{Wire: wire, Schemes: []suite.Scheme{suite.Ed25519}, Value: l}
})

// carryOut answers an operation.
func carryOut(op *handshake.Op, refuse error) handshake.Answer {
	switch op.Kind {
	case handshake.SelectCertificate:
		return handshake.Answer{Credential: identity()}
	case handshake.Sign:
		sig, err := suite.Sign(rand.Reader, op.Credential.Value.(*mint.Leaf).Key, op.Scheme, op.Input)
		return handshake.Answer{Signature: sig, Err: err}
	default:
		return handshake.Answer{Err: refuse, Alert: alert.AccessDenied, Fault: handshake.OurPolicy, Code: code.CertificateExpired}
	}
}

// tested is a Stream under test, and what a driver keeps beside it.
type tested struct {
	Stream
	t      testing.TB
	client *handshake.Client // nil for a server
	buf    []byte
	got    []byte // application data
	err    error
	told   bool // our alert is in out
	out    []byte
	refuse error
	late   bool
	atOnce []byte
	memory *memory
	ops    []*handshake.Op
}

func newClient(t testing.TB, s setting) *tested {
	cfg := s.client
	d := &tested{t: t, client: handshake.NewClient(&cfg, s.name), late: s.late, atOnce: s.atOnce, memory: s.memory}
	d.Drive(d.client, false, s.clientRekey)
	if err := d.Start(d.client); err != nil {
		t.Fatal(err)
	}
	d.collect()
	if d.memory != nil { // it is asked for a session first
		d.feed(nil)
	}
	return d
}

func newServer(t testing.TB, s setting) *tested {
	cfg := s.server
	d := &tested{t: t, refuse: s.refuse, late: s.late, memory: s.memory}
	d.Drive(handshake.NewServer(&cfg), true, s.serverRekey)
	return d
}

// feed gives the stream bytes from the wire, and takes what comes of them.
func (d *tested) feed(b []byte) {
	d.buf = append(d.buf, b...)
	d.advance()
	for d.late && d.err == nil && len(d.ops) > 0 {
		d.answer(len(d.ops) - 1)
		d.advance()
	}
}

func (d *tested) advance() {
	for d.err == nil {
		for op := d.Op(); op != nil; op = d.Op() {
			d.ops = append(d.ops, op)
		}
		for !d.late && len(d.ops) > 0 && d.err == nil {
			d.answer(0)
			for op := d.Op(); op != nil; op = d.Op() {
				d.ops = append(d.ops, op)
			}
		}
		if d.err != nil {
			break
		}
		n, data, err := d.Receive(d.buf)
		if n < 0 || n > len(d.buf) {
			d.t.Fatalf("%d bytes of %d were consumed", n, len(d.buf))
		}
		d.got = append(d.got, data...)
		d.buf = d.buf[n:]
		d.settle(err)
		d.collect()
		if n == 0 && len(data) == 0 && !d.Pending() {
			break
		}
	}
}

func (d *tested) answer(i int) {
	op := d.ops[i]
	d.ops = slices.Delete(d.ops, i, i+1)
	d.settle(d.Resolve(op, d.memory.carryOut(op, d.refuse)))
	d.collect()
}

// settle notes the end, and where it is ours to tell, tells it.
func (d *tested) settle(err error) {
	if err == nil || d.err != nil {
		return
	}
	d.err = err
	var f *handshake.Failure
	if errors.As(err, &f) {
		if f.Alert == 0 || f.Code == "" || f.At == "" || f.Reason == "" || f.Fault == 0 {
			d.t.Errorf("a failure that does not say all: %+v", f)
		}
		d.collect()
		d.out = d.Alert(d.out, f.Alert)
		d.told = true
	}
	// An error stays.
	if n, data, again := d.Receive([]byte("anything")); n != 0 || len(data) != 0 || again != err {
		d.t.Errorf("after the end Receive gave %d, %q, %v; the end was %v", n, data, again, err)
	}
}

func (d *tested) collect() {
	d.out = append(d.out, d.Output()...)
	d.Sent()
	if d.atOnce != nil && d.Done() && d.err == nil {
		d.send(d.atOnce)
		d.out = d.Alert(d.out, alert.CloseNotify)
		d.atOnce = nil
	}
}

// send is application data, ready for the wire.
func (d *tested) send(b []byte) {
	d.t.Helper()
	out, err := d.Seal(d.out, b)
	if err != nil {
		d.t.Fatal(err)
	}
	d.out = out
}

// take is what waits for the wire.
func (d *tested) take() []byte {
	b := d.out
	d.out = nil
	return b
}

// outcome is what came of it, in a form that can be compared.
func (d *tested) outcome() string {
	s := fmt.Sprintf("done %v, data %q, admitted %v", d.Done(), short(d.got), d.Admitted())
	var f *handshake.Failure
	var p *PeerAlert
	switch {
	case errors.As(d.err, &f):
		s += fmt.Sprintf(", failed at %s: %v %v %v", f.At, f.Alert, f.Code, f.Fault)
	case errors.As(d.err, &p):
		s += fmt.Sprintf(", told %v at %s (clear: %v)", p.Alert, p.At, p.Clear)
	case d.err == io.EOF:
		s += ", closed"
	case d.err != nil:
		s += ", " + d.err.Error()
	}
	return s
}

func short(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%s...%d bytes, %x", b[:20], len(b), sum(b))
	}
	return string(b)
}

func sum(b []byte) (n uint32) {
	for _, c := range b {
		n = n*31 + uint32(c)
	}
	return n
}

// byHand is one end of a connection whose handshake is honest, and whose records
// are made here, so that a test can put between them what it likes.
type byHand struct {
	t        testing.TB
	machine  handshake.Machine
	standing *handshake.Standing
	sealer   record.Sealer
	opener   record.Opener
	level    handshake.Level // of what we send
	waiting  []byte          // handshake messages that share a record
	out      []byte

	// each, if not nil, is shown every message before it is sent; true means that
	// it was dealt with.
	each func(msg []byte) bool
	// keyed, if not nil, is called when new keys to send with are in force.
	keyed func(handshake.Level)
	// packed puts messages in a row into one record.
	packed bool
	memory *memory

	// mild ends do not fail the test when the stream says what they do not take:
	// broken says so, and they hear nothing more.
	mild   bool
	broken error

	// heard, if not nil, is shown every message that came after the handshake.
	heard func(msg []byte)

	data   []byte
	alerts []alert.Alert
	closed bool
}

func newHandClient(t testing.TB, s setting, set func(*byHand)) *byHand {
	cfg := s.client
	c := handshake.NewClient(&cfg, s.name)
	h := &byHand{t: t, machine: c}
	if set != nil {
		set(h)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h.pump()
	return h
}

func newHandServer(t testing.TB, s setting, set func(*byHand)) *byHand {
	cfg := s.server
	h := &byHand{t: t, machine: handshake.NewServer(&cfg)}
	if set != nil {
		set(h)
	}
	return h
}

// pump carries out what the machine wants.
func (h *byHand) pump() {
	for h.machine != nil {
		e, ok := h.machine.Next()
		if !ok {
			break
		}
		switch e.Kind {
		case handshake.Send:
			for b := e.Bytes; len(b) > 0; {
				_, n := message.Header(b)
				h.message(b[:message.HeaderLen+n])
				b = b[message.HeaderLen+n:]
			}
		case handshake.ChangeCipherSpec:
			h.flush()
			h.put(h.clear(record.ChangeCipherSpec, 1))
		case handshake.Keys:
			if e.Direction == handshake.Read {
				check(h.t, h.opener.Set(e.Suite, labels, e.Secret))
				continue
			}
			h.flush()
			check(h.t, h.sealer.Set(e.Suite, labels, e.Secret))
			h.level = e.Level
			if h.keyed != nil {
				h.keyed(e.Level)
			}
		case handshake.Ask:
			if h.fails(h.machine.Resolve(e.Op, h.memory.carryOut(e.Op, nil))) {
				return
			}
		case handshake.Done:
			h.standing = h.machine.Result().Standing
			h.machine = nil
		}
	}
	h.flush()
}

func (h *byHand) message(msg []byte) {
	if h.each != nil && h.each(msg) {
		return
	}
	h.waiting = append(h.waiting, msg...)
	if !h.packed {
		h.flush()
	}
}

func (h *byHand) flush() {
	if len(h.waiting) > 0 {
		h.put(h.sealed(record.Handshake, h.waiting...))
		h.waiting = nil
	}
}

func (h *byHand) put(b []byte) { h.out = append(h.out, b...) }

// sealed is a record under the keys in force.
func (h *byHand) sealed(t record.ContentType, content ...byte) []byte {
	return h.sealer.Seal(nil, t, content, 0)
}

// clear is a record without protection.
func (h *byHand) clear(t record.ContentType, content ...byte) []byte {
	return clearRecord(t, content...)
}

func clearRecord(t record.ContentType, content ...byte) []byte {
	return append([]byte{byte(t), 3, 3, byte(len(content) >> 8), byte(len(content))}, content...)
}

// hear takes whole records from the wire.
func (h *byHand) hear(b []byte) {
	h.t.Helper()
	for len(b) > 0 && h.broken == nil {
		if len(b) < record.HeaderLen {
			h.t.Fatalf("the stream sent a part of a record: %x", b)
		}
		outer, _, n := record.Header(b)
		rec := bytes.Clone(b[:record.HeaderLen+n])
		b = b[len(rec):]
		if outer == record.Alert && h.opener.Encrypted() {
			// A client that refuses our ServerHello has no keys to say so under.
			h.alerts = append(h.alerts, alert.Alert(rec[record.HeaderLen+1]))
			continue
		}
		typ, p, err := h.opener.Open(rec)
		if h.fails(err) {
			return
		}
		switch typ {
		case record.Alert:
			h.alerts = append(h.alerts, alert.Alert(p[1]))
			h.closed = h.closed || p[1] == 0
		case record.ApplicationData:
			h.data = append(h.data, p...)
		case record.Handshake:
			for len(p) > 0 && h.broken == nil {
				_, n := message.Header(p)
				h.took(p[:message.HeaderLen+n])
				p = p[message.HeaderLen+n:]
			}
		}
	}
}

func (h *byHand) fails(err error) bool {
	h.t.Helper()
	if err == nil {
		return false
	}
	if !h.mild {
		h.t.Fatal(err)
	}
	h.broken = err
	return true
}

func (h *byHand) took(msg []byte) {
	h.t.Helper()
	if h.machine != nil {
		if !h.fails(h.machine.Message(h.readLevel(), msg)) {
			h.pump()
		}
		return
	}
	effect, err := h.standing.Message(msg)
	if h.fails(err) {
		return
	}
	if h.heard != nil {
		h.heard(msg)
	}
	if effect&handshake.RekeyRead != 0 {
		check(h.t, h.opener.Set(h.standing.Suite(), labels, h.standing.NextRead()))
	}
}

func (h *byHand) readLevel() handshake.Level {
	if !h.opener.Encrypted() {
		return handshake.Initial
	}
	return handshake.Handshake
}

// rekey sends a KeyUpdate, with more behind it in its record.
func (h *byHand) rekey(ask bool, behind ...byte) {
	h.put(h.sealed(record.Handshake, append(keyUpdate(ask), behind...)...))
	check(h.t, h.sealer.Set(h.standing.Suite(), labels, h.standing.NextWrite()))
}

func keyUpdate(ask bool) []byte {
	b := []byte{byte(message.TypeKeyUpdate), 0, 0, 1, 0}
	if ask {
		b[4] = 1
	}
	return b
}

// meet runs the handshake of d with h, as far as it goes.
func meet(d *tested, h *byHand) {
	for range 20 {
		if b := d.take(); len(b) > 0 {
			h.hear(b)
		}
		if len(h.out) == 0 {
			return
		}
		b := h.out
		h.out = nil
		d.feed(b)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// failedWith checks that the stream refused, and said so on the wire.
func failedWith(t testing.TB, d *tested, want alert.Alert) *handshake.Failure {
	t.Helper()
	var f *handshake.Failure
	if !errors.As(d.err, &f) {
		t.Fatalf("the end is %v, expected a *Failure with %v", d.err, want)
	}
	if f.Alert != want {
		t.Fatalf("%v (%v), expected %v", f, f.Code, want)
	}
	if !d.told {
		t.Fatal("no alert was sent")
	}
	return f
}
