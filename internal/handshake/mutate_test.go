package handshake

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// long says that there is time: MUTUAL_LONG=1 asks for it.
func long() bool { return os.Getenv("MUTUAL_LONG") != "" }

// changes are what is made of one byte.
func changes(b byte) []byte {
	if long() {
		all := make([]byte, 0, 255)
		for v := range 256 {
			if byte(v) != b {
				all = append(all, byte(v))
			}
		}
		return all
	}
	out := []byte{b ^ 1, b ^ 0x80}
	for _, v := range []byte{0, 0xff} {
		if v != b && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// place is a letter of a handshake: the n-th to an end.
type place struct {
	to  string
	n   int
	msg []byte
}

// places are the letters of a handshake that its transcript covers.
func places(t *testing.T, set setting) (all []place) {
	p := newPair(t, set)
	p.tamper = func(e *end, n int, l letter) []letter {
		if !e.done {
			all = append(all, place{e.name, n, l.msg})
		}
		return []letter{l}
	}
	p.run(modes[0])
	p.agreed(t)
	return all
}

// tampered runs a handshake in which change replaces one letter, and holds it to
// what must be true then: the server is not done, and the client only where the
// message was its own, behind which it hears nothing of the handshake any more.
func tampered(t *testing.T, set setting, at place, how string, change func([]byte) []byte) {
	t.Helper()
	p := newPair(t, set)
	p.tamper = func(e *end, n int, l letter) []letter {
		if e.name != at.to || n != at.n {
			return []letter{l}
		}
		return []letter{{l.level, change(slices.Clone(l.msg))}}
	}
	p.run(modes[0])
	what := fmt.Sprintf("%v to the %s, %s", message.Type(at.msg[0]), at.to, how)
	noticed := false
	for _, e := range []*end{p.client, p.server} {
		if e.err == nil {
			continue
		}
		noticed = true
		f, ok := e.err.(*Failure)
		if !ok || f.Alert == 0 || f.Reason == "" || f.At == "" || f.Code == "" || f.Fault == 0 {
			t.Errorf("%s: the %s failed with %+v", what, e.name, e.err)
		}
		if f.Fault == Misuse {
			t.Errorf("%s: the %s takes the fault for its own: %v", what, e.name, f)
		}
	}
	if p.server.done {
		t.Errorf("%s: the server is done", what)
	}
	if p.client.done && at.to == "client" {
		t.Errorf("%s: the client is done", what)
	}
	if !noticed {
		t.Errorf("%s: nobody noticed", what)
	}
}

// Every byte of every message of a handshake changed on the way, to both sides.
func TestEveryChangedByteOfAHandshakeIsNoticed(t *testing.T) {
	retry := mutual()
	retry.client.Groups, retry.server.Groups = []suite.GroupID{suite.X25519, suite.P256}, []suite.GroupID{suite.P256}
	retry.client.ALPN, retry.server.ALPN = []string{"h2"}, []string{"h2"}
	sets := map[string]setting{"mutual": mutual(), "retry": retry}
	if long() {
		sets["server only"], sets["optional, without"] = states()["server only"], states()["optional, without"]
	}
	for name, set := range sets {
		t.Run(name, func(t *testing.T) {
			for _, at := range places(t, set) {
				for i, b := range at.msg {
					for _, v := range changes(b) {
						tampered(t, set, at, fmt.Sprintf("byte %d, %#02x made %#02x", i, b, v), func(msg []byte) []byte {
							// Each run has its own keys and signatures: what is changed is
							// changed by the same difference.
							i := min(i, len(msg)-1)
							msg[i] ^= b ^ v
							return msg
						})
					}
				}
			}
		})
	}
}

// Every message cut, and with a byte more, its header mended.
func TestEveryCutMessageOfAHandshakeIsNoticed(t *testing.T) {
	for name, set := range states() {
		t.Run(name, func(t *testing.T) {
			for _, at := range places(t, set) {
				for cut := -1; cut <= len(at.msg)-message.HeaderLen; cut++ {
					if cut == 0 {
						continue
					}
					tampered(t, set, at, fmt.Sprintf("%d bytes shorter", cut), func(msg []byte) []byte {
						n := max(len(msg)-cut, message.HeaderLen)
						msg = append(msg, 0)[:n]
						n -= message.HeaderLen
						msg[1], msg[2], msg[3] = byte(n>>16), byte(n>>8), byte(n)
						return msg
					})
				}
			}
		})
	}
}
