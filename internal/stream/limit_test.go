package stream

import (
	"errors"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/suite"
)

// wearing is a connection whose client may seal limit records under its key, and
// not millions of them.
func wearing(t *testing.T, id suite.ID, limit uint64) *link {
	s := usual()
	s.client.Suites, s.server.Suites = []suite.ID{id}, []suite.ID{id}
	l := newLink(t, s, pieces(0))
	l.settle()
	low := *l.client.Standing().Suite()
	low.Limit = limit
	check(t, l.client.worn(&low))
	return l
}

// worn puts the client's present key under another limit.
func (d *tested) worn(s *suite.Suite) error {
	return d.Stream.out.sealer.Set(s, labels, d.Standing().WriteSecret())
}

// Keys change before they wear out, and the peer follows.
func TestKeysChangeBeforeTheLimitOfTheCipher(t *testing.T) {
	for _, id := range suite.Suites() {
		for _, limit := range []uint64{rekeyMargin, rekeyMargin + 1, 30} {
			l := wearing(t, id, limit)
			was := string(l.client.Standing().WriteSecret())
			for range 40 {
				l.client.send([]byte("x"))
			}
			if string(l.client.Standing().WriteSecret()) == was {
				t.Fatalf("%v: 40 records were sealed under a key that is good for %d", id, limit)
			}
			l.settle()
			if l.server.err != nil || len(l.server.got) != 40 {
				t.Errorf("%v: %d bytes came, %v", id, len(l.server.got), l.server.err)
			}
		}
	}
}

// Where even the KeyUpdate can't be sent any more, nothing is, and nothing is
// lost in silence.
func TestAKeyThatIsWornOutIsAnError(t *testing.T) {
	l := wearing(t, suite.AES128GCMSHA256, 0)
	for _, seal := range []func() ([]byte, error){
		func() ([]byte, error) { return l.client.Seal([]byte("before"), []byte("x")) },
		func() ([]byte, error) { return l.client.Rekey([]byte("before"), true) },
	} {
		out, err := seal()
		var f *handshake.Failure
		if !errors.As(err, &f) || f.Code != code.KeyExhausted || string(out) != "before" {
			t.Errorf("%q, %v", out, err)
		}
	}
}
