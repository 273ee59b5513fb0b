package stream

import (
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/record"
)

// A script is what a peer does to a stream, a byte for each step, with bytes of
// its own behind it. The peer has the keys of an honest one.
const (
	relay    = iota // what the honest peer has ready
	spoil           // the same, with a byte changed: place (2), difference
	sealing         // a record under keys: type, length, so many bytes
	clearing        // a record in the clear: type, length, so many bytes
	garbage         // bytes: length, so many
	updating        // a KeyUpdate, with more behind it in its record: length, so many bytes
	talking         // we send data, early where that goes
	losing          // what the honest peer has ready is lost
	moves
)

// constant gives the same bytes to whoever asks for as many, so that a script
// means the same whenever it is played: hellos are shuffled.
type constant struct{}

func (constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i*7 + len(b) + 3)
	}
	return len(b), nil
}

// acquainted is a setting with early data whose ends have met once for all scripts.
var acquainted = sync.OnceValue(func() setting { return metBefore(silent{}, mutual(), 1000) })

// silent is a test that must not fail.
type silent struct{ testing.TB }

func (silent) Helper() {}

// remembering is that setting with a memory of its own; forgetful, the server knows
// nothing of the session.
func remembering(forgetful bool) setting {
	s := acquainted()
	kept := map[string]*handshake.Session{}
	if !forgetful {
		maps.Copy(kept, s.memory.kept)
	}
	s.memory = &memory{offer: s.memory.offer, kept: kept, seen: map[[32]byte]bool{}}
	return s
}

// playScript plays a script to the stream of one side; however cut gives the bytes
// to it, what must be true is, and what comes of it is the same.
func playScript(t *testing.T, side string, script []byte, c cut) string {
	s := []func() setting{
		usual, mutual, retrying, func() setting { return remembering(false) }, func() setting { return remembering(true) },
	}
	next := func() byte {
		if len(script) == 0 {
			return 0
		}
		b := script[0]
		script = script[1:]
		return b
	}
	bytesOf := func() []byte {
		n := min(int(next()), len(script))
		b := script[:n]
		script = script[n:]
		return b
	}
	set := s[int(next())%len(s)]()
	set.client.Random, set.server.Random = constant{}, constant{}
	mild := func(h *byHand) {
		h.mild, h.memory = true, set.memory
		h.keyed = func(l handshake.Level) {
			if l != handshake.Early {
				return
			}
			for n := next() % 4; n > 0; n-- { // its early data goes out behind its hello
				if typ := record.ContentType(20 + next()%5); typ != record.ChangeCipherSpec {
					h.put(h.sealed(typ, bytesOf()...))
				}
			}
		}
	}
	var d *tested
	var h *byHand
	if side == "server" {
		d, h = newServer(t, set), newHandClient(t, set, mild)
	} else {
		d, h = newClient(t, set), newHandServer(t, set, mild)
	}
	h.hear(d.take())
	for rounds := 0; len(script) > 0 && rounds < 200; rounds++ {
		var b []byte
		switch next() % moves {
		case relay:
			b, h.out = h.out, nil
		case spoil:
			b, h.out = slices.Clone(h.out), nil
			at, by := int(next())<<8|int(next()), next()
			if len(b) > 0 {
				b[at%len(b)] ^= by
			}
		case sealing:
			typ := record.ContentType(20 + next()%5)
			content := bytesOf()
			if typ != record.ChangeCipherSpec && h.sealer.Encrypted() {
				b = h.sealed(typ, content...)
			}
		case clearing:
			b = clearRecord(record.ContentType(19+next()%6), bytesOf()...)
		case garbage:
			b = bytesOf()
		case updating:
			behind := bytesOf()
			if h.standing != nil {
				b = h.sealed(record.Handshake, append(keyUpdate(len(behind)%2 == 0), behind...)...)
				check(t, h.sealer.Set(h.standing.Suite(), labels, h.standing.NextWrite()))
			}
		case talking:
			switch data := []byte("data"); {
			case d.err != nil:
			case d.Done():
				d.send(data)
			case side == "client" && d.EarlyRoom() >= int64(len(data)):
				d.sendEarly(data)
			}
		case losing:
			h.out = nil
		}
		c.deliver(d, b)
		h.hear(d.take())
	}
	if n := cap(d.in.partial); n > 2*(128<<10+message.HeaderLen) {
		t.Fatalf("%d bytes are held for an unfinished message", n)
	}
	var f *handshake.Failure
	var p *PeerAlert
	switch {
	case d.err == nil || d.err == io.EOF || errors.As(d.err, &p):
	case !errors.As(d.err, &f):
		t.Fatalf("an end that says nothing: %v", d.err)
	case f.Fault == handshake.Misuse:
		t.Fatalf("the stream takes the peer's fault for its own: %v", f)
	}
	return d.outcome()
}

func fuzzStream(f *testing.F, side string) {
	through := slices.Repeat([]byte{relay}, 6)
	for set := range byte(5) {
		early := []byte(nil)
		if set >= 3 && side == "server" { // two records, the second one empty
			early = []byte{2, 3, 5, 'e', 'a', 'r', 'l', 'y', 3, 0}
		}
		for i := range 6 {
			for _, step := range [][]byte{
				{spoil, 0, 9, 1}, {spoil, 0, 0, 3}, {sealing, 2, 5, 24, 0, 0, 1, 1}, {sealing, 3, 0}, {sealing, 3, 1, 'x'}, {sealing, 1, 2, 1, 0},
				{clearing, 1, 1, 1}, {clearing, 2, 2, 2, 40}, {clearing, 3, 4, 1, 0, 0, 0}, {clearing, 4, 1, 0}, {garbage, 5, 22, 3, 3, 255, 255},
				{garbage, 4, 'G', 'E', 'T', ' '}, {updating, 0, talking}, {updating, 1, 24}, {talking}, {losing},
			} {
				f.Add(slices.Concat([]byte{set}, early, through[:i], step, through[i:]), uint64(i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, script []byte, seed uint64) {
		whole := playScript(t, side, script, pieces(0))
		if cut := playScript(t, side, script, atRandom(seed, 1+int(seed%40))); cut != whole {
			t.Fatalf("in pieces:\n%s\nin one piece:\n%s", cut, whole)
		}
	})
}

func FuzzClientStream(f *testing.F) { fuzzStream(f, "client") }
func FuzzServerStream(f *testing.F) { fuzzStream(f, "server") }
