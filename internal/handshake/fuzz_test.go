package handshake

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/ech"
	"github.com/mutual-tls/mutual/internal/message"
)

// A script drives one machine against an honest one. Each step is a byte, with
// bytes of its own behind it.
const (
	deliver    = iota // the next letter
	change            // the next letter, with a byte changed: place (2), difference
	resize            // the next letter, cut or filled to a length: length (2)
	invent            // a message: type, level, length, so many bytes
	again             // the last letter once more
	drop              // the next letter is lost
	misplace          // the next letter at another level: level
	answer            // the oldest operation
	answerLast        // the youngest
	refuse            // the oldest fails
	crowd             // the next letter and the one behind it, without a look at the machine
	steps
)

// fuzzPast is what the fuzz targets resume.
var fuzzPast = sync.OnceValue(func() past { return history(silent{}, resuming(mutual())) })

var fuzzEarlyPast = sync.OnceValue(func() past { return history(silent{}, earlier(mutual())) })

// fuzzKeys are what the fuzz targets encrypt hellos to, and a key that opens none.
var fuzzKeys = sync.OnceValue(func() [2]*ech.Key {
	key := echKey(silent{})
	return [2]*ech.Key{key, echKey(silent{}, key)}
})

// fuzzShapes are the handshakes that scripts are played in; one that is rejected
// ends with what the client learns of the server's keys.
var fuzzShapes = []string{
	"mutual", "retry", "server only", "optional, without", "resumed", "early data",
	"encrypted hello", "encrypted hello, retry", "encrypted hello, rejected",
	"raw keys", "cookie",
}

// encrypted is a pair whose client encrypts its hello.
func encrypted(t testing.TB, name string) *pair {
	s, keys := mutual(), fuzzKeys()
	if name == "encrypted hello, retry" {
		s = askingAgain(s)
	}
	s.server.ECH = true
	p := newPair(t, s)
	p.server.keys = keys[:1]
	if name == "encrypted hello, rejected" {
		p.server.keys = keys[1:]
	}
	p.client.Machine.(*Client).Conceal(sealerTo(t, keys[0]))
	return p
}

// silent is a test that must not fail.
type silent struct{ testing.TB }

func (silent) Helper() {}

// script reads steps; at its end it gives zeros.
type script struct{ b []byte }

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	v := s.b[0]
	s.b = s.b[1:]
	return v
}

func (s *script) word() int { return int(s.byte())<<8 | int(s.byte()) }

// play runs a script against the machine of one side, and checks what must be
// true whatever it is told.
func play(t *testing.T, side string, b []byte) *end {
	s := &script{b}
	name := fuzzShapes[int(s.byte())%len(fuzzShapes)]
	var p *pair
	switch name {
	case "resumed":
		p = fuzzPast().again(t, resuming(mutual()))
	case "early data":
		p = fuzzEarlyPast().again(t, earlier(mutual()))
	case "encrypted hello", "encrypted hello, retry", "encrypted hello, rejected":
		p = encrypted(t, name)
	case "raw keys":
		raw := mutual()
		raw.client.OwnTypes, raw.client.PeerTypes, raw.server.PeerTypes = kinds(rawOnly), kinds(rawFirst), kinds(rawOnly)
		p = bare(t, raw)
	case "cookie":
		baked := mutual()
		baked.server.Cookies = true
		p = newPair(t, baked)
	default:
		p = newPair(t, states()[name])
	}
	e, honest := p.client, p.server
	if side == "server" {
		e, honest = honest, e
	}
	e.settle(e.start())
	honest.settle(honest.start())

	var told, genuine, waiting []letter // what the machine was told, what it should have been, what is on its way
	move := func() {
		for len(honest.ops) > 0 && honest.err == nil {
			honest.resolve(0)
		}
		for _, l := range e.sent {
			if honest.err == nil && (l.level != Application || honest.done) {
				honest.hand(l)
			}
		}
		e.sent = nil
		for len(honest.ops) > 0 && honest.err == nil {
			honest.resolve(0)
		}
		for _, l := range honest.sent {
			if l.level != Application {
				genuine, waiting = append(genuine, l), append(waiting, l)
			}
		}
		honest.sent = nil
	}
	tell := func(l letter) {
		if e.done {
			return
		}
		before := e.err
		e.hand(l)
		if before == nil {
			told = append(told, letter{l.level, slices.Clone(l.msg)})
		}
		clear(l.msg) // the machine must not have kept it
	}
	next := func() (letter, bool) {
		if len(waiting) == 0 {
			return letter{}, false
		}
		l := waiting[0]
		waiting = waiting[1:]
		return letter{l.level, slices.Clone(l.msg)}, true
	}

	for rounds := 0; len(s.b) > 0 && rounds < 200; rounds++ {
		move()
		switch op := s.byte() % steps; op {
		case deliver, crowd:
			if l, ok := next(); ok {
				tell(l)
			}
			if op == deliver {
				break
			}
			if l, ok := next(); ok {
				tell(l)
			}
		case change:
			if l, ok := next(); ok {
				l.msg[s.word()%len(l.msg)] ^= s.byte()
				tell(l)
			}
		case resize:
			if l, ok := next(); ok {
				n := s.word() % (2 * len(l.msg))
				l.msg = append(l.msg, make([]byte, n)...)[:message.HeaderLen+n]
				l.msg[1], l.msg[2], l.msg[3] = 0, byte(n>>8), byte(n)
				tell(l)
			}
		case invent:
			typ, level, n := s.byte(), Level(s.byte()%4), int(s.byte())
			n = min(n, len(s.b))
			msg := append([]byte{typ, 0, 0, byte(n)}, s.b[:n]...)
			s.b = s.b[n:]
			tell(letter{level, msg})
		case again:
			if len(told) > 0 {
				l := told[len(told)-1]
				tell(letter{l.level, slices.Clone(l.msg)})
			}
		case drop:
			next()
		case misplace:
			if l, ok := next(); ok {
				l.level = Level(s.byte() % 4)
				tell(l)
			}
		case answer, answerLast, refuse:
			if len(e.ops) == 0 || e.err != nil {
				continue
			}
			i := 0
			if op == answerLast {
				i = len(e.ops) - 1
			}
			if op == refuse {
				failing := e.ops[i]
				e.ops = slices.Delete(e.ops, i, i+1)
				e.settle(e.Resolve(failing, Answer{Err: errOperation}))
				if e.err == nil && !failing.again() && failing.Kind != RegisterEarlyData {
					t.Fatal("an operation failed, and the handshake goes on")
				}
				continue
			}
			e.resolve(i)
		}
	}
	move()
	checkPlayed(t, e, honest, told, genuine)
	return e
}

func checkPlayed(t *testing.T, e, honest *end, told, genuine []letter) {
	switch {
	case e.done:
		// Whatever else happened, what it was told is what was meant for it.
		if !slices.EqualFunc(told, genuine[:min(len(told), len(genuine))], func(a, b letter) bool { return a.level == b.level && bytes.Equal(a.msg, b.msg) }) {
			t.Fatalf("the %s is done, and was told %v instead of %v", e.name, told, genuine)
		}
		if honest.done && !bytes.Equal(e.Result().Standing.ReadSecret(), honest.Result().Standing.WriteSecret()) {
			t.Fatal("both are done and have different secrets")
		}
	case e.err != nil:
		var f *Failure
		if !errors.As(e.err, &f) || f.Alert == 0 || f.Code == "" || f.Reason == "" || f.At == "" || f.Fault == 0 {
			t.Fatalf("failed with %+v", e.err)
		}
		if f.Fault == Misuse && !errors.Is(f, errOperation) {
			t.Fatalf("the machine takes the peer's fault for its own: %v", f)
		}
		if f.Alert == alert.InternalError && f.Fault != Misuse {
			t.Fatalf("internal_error for %v", f)
		}
		finished(t, e)
	default:
		if e.Result() != nil && !e.begun {
			t.Fatal("there is a result before the end")
		}
	}
}

// scripts lead to the end of a handshake, by two ways.
func scripts(shape byte) (through, late []byte) {
	return append([]byte{shape}, bytes.Repeat([]byte{deliver, answer, answer}, 12)...),
		append([]byte{shape}, bytes.Repeat([]byte{crowd, answerLast}, 12)...)
}

func TestTheScriptsOfTheFuzzTargetsLeadToTheEnd(t *testing.T) {
	for shape := range byte(len(fuzzShapes)) {
		through, late := scripts(shape)
		for _, side := range []string{"client", "server"} {
			for _, b := range [][]byte{through, late} {
				e, wanted := play(t, side, b), true
				if fuzzShapes[shape] == "encrypted hello, rejected" {
					wanted = false
					var f *Failure
					if side == "client" && (!errors.As(e.err, &f) || f.Code != code.ECHRejected) {
						t.Errorf("the client was rejected, and ended with %v", e.err)
					}
				}
				if e.done != wanted {
					t.Errorf("shape %d, %s: done: %v, %v", shape, side, e.done, e.err)
				}
			}
		}
	}
}

func fuzzMachine(f *testing.F, side string) {
	f.Add([]byte{4, deliver, answer, answer, deliver, again, answer}) // a second Finished while a ticket is made
	for shape := range byte(len(fuzzShapes)) {
		through, late := scripts(shape)
		f.Add(through)
		f.Add(late)
		for i := range 10 {
			for _, lie := range [][]byte{{change, 0, 5, 1}, {resize, 0, 9}, {again}, {drop}, {misplace, 2}, {refuse}, {invent, 20, 2, 1, 0}, {invent, 24, 3, 1, 1}} {
				f.Add(slices.Concat(through[:1+3*i], lie, through[1+3*i:]))
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) { play(t, side, b) })
}

func FuzzClientMachine(f *testing.F) { fuzzMachine(f, "client") }
func FuzzServerMachine(f *testing.F) { fuzzMachine(f, "server") }
