package compress

import (
	"bytes"
	"crypto/rand"
	"runtime"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
)

func chain(t testing.TB) []byte {
	t.Helper()
	var m message.Certificate
	for _, der := range mint.Root("Root").Intermediate("Issuing").Leaf("orders").Chain {
		m.Entries = append(m.Entries, message.CertificateEntry{Data: der})
	}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b[message.HeaderLen:]
}

func TestAChainComesBackAsItWas(t *testing.T) {
	body := chain(t)
	for _, c := range Codecs() {
		small, err := c.Compress(body)
		if err != nil || small == nil || len(small) >= len(body) {
			t.Fatalf("%s: %d bytes of %d, %v", c.Algorithm(), len(small), len(body), err)
		}
		t.Logf("%s: %d bytes of %d", c.Algorithm(), len(small), len(body))
		for range 3 { // readers are used again
			got := make([]byte, len(body))
			if err := c.Decompress(got, small); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %v", c.Algorithm(), err)
			}
			for name, bad := range map[string][]byte{
				"cut": small[:len(small)-1], "nothing": {}, "noise": bytes.Repeat([]byte{0xa5}, 40), "more behind": append(bytes.Clone(small), 0),
			} {
				if c.Decompress(make([]byte, len(body)), bad) == nil {
					t.Errorf("%s: %s decompresses", c.Algorithm(), name)
				}
			}
		}
		for _, n := range []int{0, 1, len(body) - 1, len(body) + 1, 2 * len(body)} {
			if c.Decompress(make([]byte, n), small) == nil {
				t.Errorf("%s: %d bytes are taken for %d", c.Algorithm(), len(body), n)
			}
		}
		noise := make([]byte, 2000)
		_, _ = rand.Read(noise)
		if out, err := c.Compress(noise); err != nil || out != nil {
			t.Errorf("%s: noise becomes %d bytes, %v", c.Algorithm(), len(out), err)
		}
	}
}

// The first chain is compressed in a handshake, where somebody waits.
func TestTheFirstChainCostsLittleMoreThanTheNext(t *testing.T) {
	body := chain(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, err := newZstdWriter()
	if err != nil {
		t.Fatal(err)
	}
	out := w.EncodeAll(body, nil)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes for the first %d", grown, len(body))
	} else {
		t.Logf("%d bytes of memory, to make %d of %d", grown, len(out), len(body))
	}
}

// A few bytes that stand for many megabytes cost neither them nor their window.
func TestABombIsNotBlownUp(t *testing.T) {
	bomb := make([]byte, 4<<20)
	for _, c := range Codecs() {
		small, err := c.Compress(bomb)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err = c.Decompress(make([]byte, 1000), small)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: it is taken", c.Algorithm())
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 5<<19 {
			t.Errorf("%s: %d bytes of a bomb cost %d", c.Algorithm(), len(small), grown)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	body := chain(f)
	for i, c := range Codecs() {
		small, err := c.Compress(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), uint16(len(body)), small)
		f.Add(uint8(i), uint16(3), small)
	}
	f.Fuzz(func(t *testing.T, which uint8, n uint16, b []byte) {
		c := Codecs()[int(which)%len(Codecs())]
		dst := make([]byte, n)
		if c.Decompress(dst, b) != nil {
			return
		}
		small, err := c.Compress(dst)
		if err != nil {
			t.Fatal(err)
		}
		again := make([]byte, n)
		if small != nil && (c.Decompress(again, small) != nil || !bytes.Equal(again, dst)) {
			t.Fatal("what decompressed does not come back")
		}
	})
}
