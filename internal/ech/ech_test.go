package ech

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
)

func key(t *testing.T, shape Shape, besides ...*Key) *Key {
	t.Helper()
	if shape.PublicName == "" {
		shape.PublicName = "public.example"
	}
	k, err := Generate(shape, besides...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// changed is k's config with something else in it.
func changed(t *testing.T, k *Key, change func(*message.ECHConfig)) []byte {
	t.Helper()
	c := *k.Config
	c.Suites = slices.Clone(c.Suites)
	change(&c)
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func listed(t *testing.T, configs ...[]byte) []byte {
	t.Helper()
	b, err := message.AppendECHConfigList(nil, configs...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAClientTakesTheFirstConfigThatItCanUse(t *testing.T) {
	good, second := key(t, Shape{}), key(t, Shape{})
	unusable := [][]byte{
		{0xba, 0xdd, 0, 1, 9}, // another version
		changed(t, good, func(c *message.ECHConfig) { c.KEM = 0x6666 }),
		changed(t, good, func(c *message.ECHConfig) { c.PublicKey = c.PublicKey[1:] }),
		changed(t, good, func(c *message.ECHConfig) {
			c.Suites = []message.ECHSuite{{KDF: 0x1111, AEAD: 1}, {KDF: 1, AEAD: 0x2222}, {KDF: 1, AEAD: 0xffff}, {}}
		}),
		changed(t, good, func(c *message.ECHConfig) { c.Extensions = []message.ECHConfigExtension{{Type: 0x8001}} }),
		changed(t, good, func(c *message.ECHConfig) { c.PublicName = "no_name.example" }),
		changed(t, good, func(c *message.ECHConfig) { c.PublicName = "192.0.2.1" }),
	}
	for i, u := range unusable {
		if c, _, err := Choose(listed(t, u)); !errors.Is(err, ErrUnusable) {
			t.Errorf("config %d was chosen: %+v, %v", i, c, err)
		}
	}
	c, s, err := Choose(listed(t, append(unusable, good.Config.Raw, second.Config.Raw)...))
	if err != nil || !bytes.Equal(c.Raw, good.Config.Raw) || s != good.Config.Suites[0] {
		t.Errorf("%+v, %v, %v", c, s, err)
	}
	skippable := changed(t, good, func(c *message.ECHConfig) {
		c.Extensions = []message.ECHConfigExtension{{Type: 1, Body: []byte{1}}}
		c.Suites = []message.ECHSuite{{KDF: 9, AEAD: 9}, {KDF: KDFSHA256, AEAD: AEADChaCha20}}
	})
	if _, s, err := Choose(listed(t, skippable)); err != nil || s.AEAD != AEADChaCha20 {
		t.Error(s, err)
	}
	if _, _, err := Choose([]byte{0, 1, 2}); err == nil || errors.Is(err, ErrUnusable) {
		t.Error("a list that does not parse passes for one that has nothing", err)
	}
}

func TestPublicNames(t *testing.T) {
	for _, name := range []string{"public.example", "a", "A-1.b2", "0x1.example", "1.2.3.4a", strings.Repeat("a", 63) + ".example"} {
		if !IsPublicName(name) {
			t.Errorf("%q is one", name)
		}
	}
	for _, name := range []string{
		"", ".", "a.", ".a", "a..b", "a_b.example", "a b", "ä.example", "-a.example", "a-.example", strings.Repeat("a", 64) + ".example",
		"127.0.0.1", "1", "a.0x", "a.0X1f", "a.0xDEADBEEF", "a.007", strings.Repeat("a.", 127) + "a",
	} {
		if IsPublicName(name) {
			t.Errorf("%q is none", name)
		}
	}
}

func TestWhatIsSealedToAKeyIsOpenedByItAlone(t *testing.T) {
	for _, kem := range []uint16{0, KEMX25519, KEMP256, KEMP384, KEMP521, KEMXWing} {
		k := key(t, Shape{KEM: kem})
		for _, s := range k.Config.Suites {
			sealer, err := NewSealer(k.Config, s)
			if err != nil {
				t.Fatal(err)
			}
			aad, aad2, text := []byte("outer"), []byte("second outer"), []byte("inner")
			sealed, err := sealer.Seal(aad, text)
			if err != nil || len(sealed) != len(text)+TagLen {
				t.Fatal(err, len(sealed))
			}
			h := message.ECHHello{Suite: s, ConfigID: k.Config.ID, Enc: sealer.Enc, Payload: sealed}
			got, opener, ok := k.Open(&h, aad)
			if !ok || !bytes.Equal(got, text) {
				t.Fatalf("KEM %#x: %q, %v", kem, got, ok)
			}
			again, _ := sealer.Seal(aad2, text)
			if got, err := opener.Open(aad2, again); err != nil || !bytes.Equal(got, text) {
				t.Fatalf("the second: %q, %v", got, err)
			}
			for what, lie := range map[string]func(h *message.ECHHello){
				"another identifier": func(h *message.ECHHello) { h.ConfigID++ },
				"another suite":      func(h *message.ECHHello) { h.Suite.AEAD ^= 1 },
				"a suite of nobody":  func(h *message.ECHHello) { h.Suite.KDF = 0x1111 },
				"a short enc":        func(h *message.ECHHello) { h.Enc = h.Enc[1:] },
				"no enc":             func(h *message.ECHHello) { h.Enc = nil },
				"a changed payload":  func(h *message.ECHHello) { h.Payload = append([]byte{^h.Payload[0]}, h.Payload[1:]...) },
				"a short payload":    func(h *message.ECHHello) { h.Payload = h.Payload[:3] },
			} {
				other := h
				lie(&other)
				if _, _, ok := k.Open(&other, aad); ok {
					t.Errorf("%s was opened", what)
				}
			}
			if _, _, ok := k.Open(&h, aad2); ok {
				t.Error("it was opened for another outer hello")
			}
		}
		if kem == KEMXWing {
			if _, err := k.PEM(); err == nil {
				t.Error("PKCS #8 has no form for X-Wing")
			}
			continue
		}
		file, err := k.PEM()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePEM(file)
		if err != nil || !bytes.Equal(back.List(), k.List()) {
			t.Fatal(err)
		}
	}
}

func TestAConfigOnlyOpensWhatWasSealedToAllOfIt(t *testing.T) {
	k := key(t, Shape{})
	private, err := k.private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	twin, err := NewKey(changed(t, k, func(c *message.ECHConfig) { c.PublicName = "other.example" }), private)
	if err != nil {
		t.Fatal(err)
	}
	sealer, _ := NewSealer(k.Config, k.Config.Suites[0])
	sealed, _ := sealer.Seal(nil, []byte("inner"))
	h := &message.ECHHello{Suite: sealer.Suite, ConfigID: k.Config.ID, Enc: sealer.Enc, Payload: sealed}
	if _, _, ok := twin.Open(h, nil); ok {
		t.Error("the same key under another public name opened it")
	}
}

func TestKeysThatDoNotFitAreRefused(t *testing.T) {
	k, other := key(t, Shape{}), key(t, Shape{})
	private, _ := k.private.Bytes()
	foreign, _ := other.private.Bytes()
	for what, c := range map[string]struct{ config, private []byte }{
		"another's key":         {k.Config.Raw, foreign},
		"a short key":           {k.Config.Raw, private[1:]},
		"a list":                {k.List(), private},
		"another version":       {[]byte{0xba, 0xdd, 0, 0}, private},
		"an unknown KEM":        {changed(t, k, func(c *message.ECHConfig) { c.KEM = 1 }), private},
		"a bad public name":     {changed(t, k, func(c *message.ECHConfig) { c.PublicName = "a_b" }), private},
		"a mandatory extension": {changed(t, k, func(c *message.ECHConfig) { c.Extensions = []message.ECHConfigExtension{{Type: 0x8000}} }), private},
	} {
		if _, err := NewKey(c.config, c.private); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := NewKey(k.Config.Raw, private); err != nil {
		t.Error(err)
	}
	for _, shape := range []Shape{{PublicName: "a_b"}, {PublicName: "a.example", KEM: 7}} {
		if _, err := Generate(shape); err == nil {
			t.Errorf("%+v was made", shape)
		}
	}
}

func TestFilesThatAreNoKeyAreRefused(t *testing.T) {
	k := key(t, Shape{})
	file, err := k.PEM()
	if err != nil {
		t.Fatal(err)
	}
	cut := bytes.Index(file, []byte("-----BEGIN ECHCONFIG"))
	otherFile, _ := key(t, Shape{}).PEM()
	otherCut := bytes.Index(otherFile, []byte("-----BEGIN ECHCONFIG"))
	for what, b := range map[string][]byte{
		"nothing":        nil,
		"a key alone":    file[:cut],
		"a config alone": file[cut:],
		"two keys":       append(bytes.Clone(file[:cut]), file...),
		"two configs":    append(bytes.Clone(file), file[cut:]...),
		"a mixture":      append(bytes.Clone(file[:cut]), otherFile[otherCut:]...),
		"something else": append(bytes.Clone(file), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"...),
	} {
		if _, err := ParsePEM(b); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

func TestIdentifiersDoNotCollideWhereThatCanBeHelped(t *testing.T) {
	var keys []*Key
	for range maxKeys {
		k := key(t, Shape{}, keys...)
		for _, o := range keys {
			if o.Config.ID == k.Config.ID {
				t.Fatal("two keys have one identifier")
			}
		}
		keys = append(keys, k)
	}
	if err := CheckSet(keys); err != nil {
		t.Error(err)
	}
	if err := CheckSet(append(keys, keys[0])); err == nil {
		t.Error("33 keys were taken")
	}
	same := slices.Repeat(keys[:1], maxSameID)
	if err := CheckSet(same); err != nil {
		t.Error(err)
	}
	if err := CheckSet(append(same, keys[0])); err == nil {
		t.Error("five keys with one identifier were taken")
	}
	if err := CheckSet([]*Key{nil}); err == nil {
		t.Error("no key was taken for one")
	}
}

func TestPaddingRoundsUp(t *testing.T) {
	for _, c := range []struct {
		n    int
		name string
		max  uint8
		want int
	}{
		{32, "a", 1, 32}, {33, "a", 1, 64}, {31, "a", 1, 32}, {1, "a", 40, 64}, {40, strings.Repeat("a", 40), 40, 64}, {100, "", 20, 160}, {100, "abcdef", 0, 128},
	} {
		if got := c.n + Padding(c.n, c.name, c.max); got != c.want {
			t.Errorf("%d bytes with %q and %d become %d, expected %d", c.n, c.name, c.max, got, c.want)
		}
	}
}

func FuzzParsePEM(f *testing.F) {
	k, err := Generate(Shape{PublicName: "public.example"})
	if err != nil {
		f.Fatal(err)
	}
	file, err := k.PEM()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParsePEM(b); err == nil {
			if _, _, err := Choose(k.List()); err != nil && !errors.Is(err, ErrUnusable) {
				t.Fatal(err)
			}
		}
	})
}
