package schedule

import (
	"bytes"
	"crypto"
	"crypto/hkdf"
	stdhmac "crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

func fill(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestHMACAgreesWithStandardLibrary(t *testing.T) {
	for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		for _, keyLen := range []int{0, 1, 32, 48, 63, 64, 65, 127, 128, 129, 1000} {
			for _, n := range []int{0, 1, 32, 200, maxMessage, maxMessage + 1, 5000, 70000} {
				key, message := fill(keyLen), fill(n)
				out := make([]byte, h.Size())
				hmac(out, h, key, message)
				mac := stdhmac.New(h.New, key)
				mac.Write(message)
				same(t, fmt.Sprintf("%v, key of %d, message of %d", h, keyLen, n), out, mac.Sum(nil))
			}
		}
	}
}

func TestExpandLabelAgreesWithStandardLibrary(t *testing.T) {
	for _, id := range suite.Suites() {
		s := suite.ByID(id)
		size := s.Hash.Size()
		for _, n := range []int{0, 1, size - 1, size, size + 1, 3*size + 5, 255 * size} {
			for _, label := range []string{"", "key", strings.Repeat("l", maxLabel-len(TLS))} {
				for _, context := range [][]byte{nil, fill(size), fill(maxContext)} {
					secret := fill(size)
					var info []byte
					info = binary.BigEndian.AppendUint16(info, uint16(n))
					info = append(info, byte(len(TLS)+len(label)))
					info = append(info, string(TLS)+label...)
					info = append(info, byte(len(context)))
					info = append(info, context...)
					want, err := hkdf.Expand(s.Hash.New, secret, string(info), n)
					if err != nil {
						t.Fatal(err)
					}
					got := ExpandLabel(s, TLS, secret, label, context, n)
					same(t, fmt.Sprintf("%v, %d bytes, label of %d, context of %d", id, n, len(label), len(context)), got, append([]byte{}, want...))
				}
			}
		}
	}
}

func TestEverySuiteWalksAllSteps(t *testing.T) {
	for _, id := range suite.Suites() {
		s := suite.ByID(id)
		for _, psk := range [][]byte{nil, fill(s.Hash.Size()), fill(500)} {
			walk := func(l Labels) (all [][]byte) {
				hash := bytes.Repeat([]byte{7}, s.Hash.Size())
				e := NewEarly(s, l, psk)
				all = append(all, e.BinderKey(true), e.BinderKey(false), e.ImportedBinderKey(), e.ClientTraffic(hash), e.Exporter(hash))
				h := e.Handshake(bytes.Repeat([]byte{9}, 64))
				c, sv := h.Traffic(hash)
				all = append(all, c, sv)
				m := h.Main()
				c, sv = m.Traffic(hash)
				return append(all, c, sv, m.Exporter(hash), m.Resumption(hash))
			}
			// No two derivations give the same, and other labels give others.
			seen := map[string]int{}
			for i, secret := range append(walk(TLS), walk("dtls13")...) {
				if len(secret) != s.Hash.Size() {
					t.Errorf("%v: secret %d has %d bytes, expected %d", id, i, len(secret), s.Hash.Size())
				}
				if j, dup := seen[string(secret)]; dup {
					t.Errorf("%v: secrets %d and %d are the same", id, j, i)
				}
				seen[string(secret)] = i
			}
		}
	}
}

func TestConstantsAreWhatTheyStandFor(t *testing.T) {
	// An early secret without PSK goes by constants; with a PSK of zeros it is
	// computed, and must be the same (RFC 8446, section 7.1: no PSK means zeros).
	for _, id := range suite.Suites() {
		s := suite.ByID(id)
		shared, hash := fill(32), fill(s.Hash.Size())
		a, _ := NewEarly(s, TLS, nil).Handshake(shared).Traffic(hash)
		b, _ := NewEarly(s, TLS, make([]byte, s.Hash.Size())).Handshake(shared).Traffic(hash)
		same(t, id.String(), a, b)
	}
}

func TestPSKWithoutKeyExchangeUsesZeros(t *testing.T) {
	psk, hash := fill(32), fill(32)
	a, _ := NewEarly(aes128, TLS, psk).Handshake(nil).Traffic(hash)
	b, _ := NewEarly(aes128, TLS, psk).Handshake(make([]byte, 32)).Traffic(hash)
	same(t, "psk_ke", a, b)
}

func TestSecretsAreZeroedWhenTheirStepIsOver(t *testing.T) {
	e := NewEarly(aes128, TLS, fill(32))
	memory := &e.core.secret
	early := *memory
	h := e.Handshake(fill(32))
	if *memory == early {
		t.Error("the early secret is still in memory after Handshake")
	}
	handshake := *memory
	m := h.Main()
	if *memory == handshake {
		t.Error("the handshake secret is still in memory after Main")
	}
	m.Destroy()
	if *memory != (secret{}) {
		t.Error("the main secret is still in memory after Destroy")
	}
	m.Destroy()

	abandoned := NewEarly(aes128, TLS, fill(32))
	abandoned.Destroy()
	if abandoned.core.secret != (secret{}) {
		t.Error("the early secret is still in memory after Destroy")
	}
	h = NewEarly(aes128, TLS, nil).Handshake(fill(32))
	h.Destroy()
	if h.core.secret != (secret{}) {
		t.Error("the handshake secret is still in memory after Destroy")
	}
}

func TestDestroyOfAConsumedStepLeavesTheNextAlone(t *testing.T) {
	e := NewEarly(aes128, TLS, nil)
	h := e.Handshake(fill(32))
	before := h.core.secret
	e.Destroy()
	if h.core.secret != before {
		t.Error("destroying the consumed Early destroyed the Handshake")
	}
	m := h.Main()
	before = m.core.secret
	h.Destroy()
	if m.core.secret != before {
		t.Error("destroying the consumed Handshake destroyed the Main")
	}
}

func TestUseOfAConsumedStepPanics(t *testing.T) {
	hash := fill(32)
	for name, f := range map[string]func(){
		"early":     func() { e := NewEarly(aes128, TLS, nil); e.Handshake(hash); e.ClientTraffic(hash) },
		"twice":     func() { e := NewEarly(aes128, TLS, nil); e.Handshake(hash); e.Handshake(hash) },
		"handshake": func() { h := NewEarly(aes128, TLS, nil).Handshake(hash); h.Main(); h.Traffic(hash) },
		"main":      func() { m := NewEarly(aes128, TLS, nil).Handshake(hash).Main(); m.Destroy(); m.Traffic(hash) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("a consumed secret was used, and nothing happened")
				}
			}()
			f()
		})
	}
}

func TestExportBounds(t *testing.T) {
	secret := fill(32)
	for _, c := range []struct {
		name  string
		label string
		n     int
		ok    bool
	}{
		{"usual", "EXPORTER-Channel-Binding", 32, true},
		{"nothing", "EXPORTER", 0, true},
		{"longest", "EXPORTER", 255 * 32, true},
		{"too long", "EXPORTER", 255*32 + 1, false},
		{"negative", "EXPORTER", -1, false},
		{"empty label", "", 32, false},
		{"longest label", strings.Repeat("l", 249), 32, true},
		{"label too long", strings.Repeat("l", 250), 32, false},
	} {
		b, err := Export(aes128, TLS, secret, c.label, nil, c.n)
		if (err == nil) != c.ok || c.ok && len(b) != c.n {
			t.Errorf("%s: %d bytes, error %v", c.name, len(b), err)
		}
	}
}

func TestExportDependsOnEverythingGiven(t *testing.T) {
	secret, other := fill(32), fill(32)
	base, _ := Export(aes128, TLS, secret, "label", []byte("context"), 32)
	empty, _ := Export(aes128, TLS, secret, "label", nil, 32)
	alsoEmpty, _ := Export(aes128, TLS, secret, "label", []byte{}, 32)
	same(t, "nil and empty context", empty, alsoEmpty)
	for name, f := range map[string]func() ([]byte, error){
		"secret":  func() ([]byte, error) { return Export(aes128, TLS, other, "label", []byte("context"), 32) },
		"label":   func() ([]byte, error) { return Export(aes128, TLS, secret, "Label", []byte("context"), 32) },
		"context": func() ([]byte, error) { return Export(aes128, TLS, secret, "label", []byte("Context"), 32) },
		"length":  func() ([]byte, error) { return Export(aes128, TLS, secret, "label", []byte("context"), 33) },
	} {
		b, err := f()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b[:32], base) {
			t.Errorf("another %s exports the same", name)
		}
	}
}

// The state, two pairs of traffic secrets, two Finished, exporter, resumption.
const resultsOfARun = 7.0

// The whole schedule of a handshake allocates its state and its results, and
// nothing else.
func TestScheduleAllocatesItsResultsOnly(t *testing.T) {
	for _, id := range suite.Suites() {
		s := suite.ByID(id)
		shared, hash := fill(64), fill(s.Hash.Size())
		got := testing.AllocsPerRun(100, func() { fullRun(s, shared, hash) })
		if got > resultsOfARun {
			t.Errorf("%v: %v allocations, expected %v", id, got, resultsOfARun)
		}
		key, iv := make([]byte, s.KeyLen), make([]byte, suite.IVLen)
		if got := testing.AllocsPerRun(100, func() { PutTrafficKeys(s, TLS, hash, key, iv) }); got != 0 {
			t.Errorf("%v: PutTrafficKeys makes %v allocations", id, got)
		}
	}
}

func fullRun(s *suite.Suite, shared, hash []byte) {
	h := NewEarly(s, TLS, nil).Handshake(shared)
	client, server := h.Traffic(hash)
	Finished(s, TLS, server, hash)
	Finished(s, TLS, client, hash)
	m := h.Main()
	m.Traffic(hash)
	m.Exporter(hash)
	m.Resumption(hash)
	m.Destroy()
}

func BenchmarkSchedule(b *testing.B) {
	for _, id := range suite.Suites() {
		s := suite.ByID(id)
		shared, hash := fill(64), fill(s.Hash.Size())
		b.Run("full/"+id.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				fullRun(s, shared, hash)
			}
		})
	}
	secret := fill(32)
	b.Run("expand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ExpandLabel(aes128, TLS, secret, "key", nil, 16)
		}
	})
	b.Run("expand/crypto-hkdf", func(b *testing.B) {
		b.ReportAllocs()
		info := string([]byte{0, 16, 9}) + "tls13 key\x00"
		for b.Loop() {
			if _, err := hkdf.Expand(crypto.SHA256.New, secret, info, 16); err != nil {
				b.Fatal(err)
			}
		}
	})
}
