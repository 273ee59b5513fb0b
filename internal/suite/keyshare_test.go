package suite

import (
	"bytes"
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"testing"
)

func generate(t testing.TB, g GroupID) *KeyShare {
	t.Helper()
	k, err := Generate(g, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestBothSidesAgree(t *testing.T) {
	lengths := map[GroupID][3]int{ // client's share, server's share, secret
		X25519: {32, 32, 32}, P256: {65, 65, 32}, P384: {97, 97, 48},
		X25519MLKEM768: {1216, 1120, 64}, SecP256r1MLKEM768: {1249, 1153, 64}, SecP384r1MLKEM1024: {1665, 1665, 80},
		P521: {133, 133, 66}, MLKEM1024: {1568, 1568, 32},
	}
	if len(EveryGroup()) != len(lengths) || Groups()[0] != X25519MLKEM768 {
		t.Fatalf("the groups are %v", Groups())
	}
	for _, g := range EveryGroup() {
		client := generate(t, g)
		share, secret, err := Respond(g, rand.Reader, client.Public())
		if err != nil {
			t.Fatalf("%v: %v", g, err)
		}
		want := lengths[g]
		if got := [3]int{len(client.Public()), len(share), len(secret)}; got != want ||
			g.ClientShareLen() != want[0] || g.ServerShareLen() != want[1] {
			t.Errorf("%v: lengths %v, expected %v", g, got, want)
		}
		if client.Group() != g {
			t.Errorf("%v says that it is %v", g, client.Group())
		}
		got, err := client.Agree(share)
		if err != nil || !bytes.Equal(got, secret) {
			t.Errorf("%v: the sides have %x and %x, error %v", g, got, secret, err)
		}
		if bytes.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("%v: the secret is zero", g)
		}
		if cap(share) != len(share) {
			t.Errorf("%v: appending to the share would overwrite the secret", g)
		}
	}
}

func TestUnsupportedGroups(t *testing.T) {
	for _, g := range []GroupID{0, X448, FFDHE2048, MLKEM768, 0x0a0a} {
		if g.ClientShareLen() != 0 || g.ServerShareLen() != 0 {
			t.Errorf("%v is supported", g)
		}
		if _, err := Generate(g, rand.Reader); err == nil || errors.Is(err, ErrBadShare) {
			t.Errorf("Generate(%v): error %v", g, err)
		}
		if _, _, err := Respond(g, rand.Reader, nil); err == nil || errors.Is(err, ErrBadShare) {
			t.Errorf("Respond(%v): error %v", g, err)
		}
	}
}

// other is a second implementation of every group, over the standard library,
// with the order of the parts written out (draft-ietf-tls-ecdhe-mlkem, section 4).
type other struct {
	curve    ecdh.Curve
	kem      int // 0, 768, 1024
	kemFirst bool
}

var others = map[GroupID]other{
	X25519:             {curve: ecdh.X25519()},
	P256:               {curve: ecdh.P256()},
	P384:               {curve: ecdh.P384()},
	X25519MLKEM768:     {ecdh.X25519(), 768, true},
	SecP256r1MLKEM768:  {ecdh.P256(), 768, false},
	SecP384r1MLKEM1024: {ecdh.P384(), 1024, false},
	P521:               {curve: ecdh.P521()},
}

func (o other) join(curve, kem []byte) []byte {
	if o.kemFirst {
		return slices.Concat(kem, curve)
	}
	return slices.Concat(curve, kem)
}

func (o other) split(b []byte, kemLen int) (curve, kem []byte) {
	if o.kemFirst {
		return b[kemLen:], b[:kemLen]
	}
	return b[:len(b)-kemLen], b[len(b)-kemLen:]
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// ML-KEM alone is what FIPS 203 says, without anything around it.
func TestMLKEMAloneAgreesWithTheStandardLibrary(t *testing.T) {
	dk := must(mlkem.GenerateKey1024())
	ciphertext, secret, err := Respond(MLKEM1024, rand.Reader, dk.EncapsulationKey().Bytes())
	if err != nil || !bytes.Equal(must(dk.Decapsulate(ciphertext)), secret) {
		t.Errorf("the server has another secret; %v", err)
	}
	client := generate(t, MLKEM1024)
	want, ciphertext := must(mlkem.NewEncapsulationKey1024(client.Public())).Encapsulate()
	if got, err := client.Agree(ciphertext); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the client has another secret; %v", err)
	}
}

func TestServerAgreesWithStandardLibraryClient(t *testing.T) {
	for g, o := range others {
		for range 20 {
			key := must(o.curve.GenerateKey(rand.Reader))
			var ek []byte
			var decapsulate func([]byte) ([]byte, error)
			kemLen := 0
			switch o.kem {
			case 768:
				dk := must(mlkem.GenerateKey768())
				ek, decapsulate, kemLen = dk.EncapsulationKey().Bytes(), dk.Decapsulate, mlkem.CiphertextSize768
			case 1024:
				dk := must(mlkem.GenerateKey1024())
				ek, decapsulate, kemLen = dk.EncapsulationKey().Bytes(), dk.Decapsulate, mlkem.CiphertextSize1024
			}
			share, secret, err := Respond(g, rand.Reader, o.join(key.PublicKey().Bytes(), ek))
			if err != nil {
				t.Fatalf("%v: %v", g, err)
			}
			point, ciphertext := o.split(share, kemLen)
			var kemSecret []byte
			if o.kem != 0 {
				kemSecret = must(decapsulate(ciphertext))
			}
			want := o.join(must(key.ECDH(must(o.curve.NewPublicKey(point)))), kemSecret)
			if !bytes.Equal(secret, want) {
				t.Fatalf("%v: secret\n     %x\nwant %x", g, secret, want)
			}
		}
	}
}

func TestClientAgreesWithStandardLibraryServer(t *testing.T) {
	for g, o := range others {
		for range 20 {
			client := generate(t, g)
			kemLen := map[int]int{768: mlkem.EncapsulationKeySize768, 1024: mlkem.EncapsulationKeySize1024}[o.kem]
			point, ek := o.split(client.Public(), kemLen)
			var kemSecret, ciphertext []byte
			switch o.kem {
			case 768:
				kemSecret, ciphertext = must(mlkem.NewEncapsulationKey768(ek)).Encapsulate()
			case 1024:
				kemSecret, ciphertext = must(mlkem.NewEncapsulationKey1024(ek)).Encapsulate()
			}
			key := must(o.curve.GenerateKey(rand.Reader))
			want := o.join(must(key.ECDH(must(o.curve.NewPublicKey(point)))), kemSecret)
			got, err := client.Agree(o.join(key.PublicKey().Bytes(), ciphertext))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v: secret\n     %x\nwant %x, error %v", g, got, want, err)
			}
		}
	}
}

// A ciphertext that was changed gives another secret, the same in both
// implementations (FIPS 203, algorithm 18: implicit rejection).
func TestImplicitRejectionAgreesWithStandardLibrary(t *testing.T) {
	seed := make([]byte, 64)
	for range 50 {
		rand.Read(seed)
		var k kemKey
		public := make([]byte, mlkem.EncapsulationKeySize768)
		if err := k.generate(kem768, bytes.NewReader(seed), public); err != nil {
			t.Fatal(err)
		}
		std := must(mlkem.NewDecapsulationKey768(seed))
		if !bytes.Equal(public, std.EncapsulationKey().Bytes()) {
			t.Fatalf("seed %x: another encapsulation key", seed)
		}
		good, ciphertext := std.EncapsulationKey().Encapsulate()
		at := int(seed[0]) | int(seed[1])<<8
		ciphertext[at%len(ciphertext)] ^= 1 << (seed[2] % 8)
		got := make([]byte, 32)
		k.decapsulate(got, ciphertext)
		if want := must(std.Decapsulate(ciphertext)); !bytes.Equal(got, want) || bytes.Equal(got, good) {
			t.Fatalf("seed %x, byte %d: secret %x, expected %x", seed, at%len(ciphertext), got, want)
		}
	}
}

// Scalars and points of all shapes, points on the twist and above the prime included.
func TestX25519AgreesWithStandardLibrary(t *testing.T) {
	var scalar, point, got [32]byte
	for i := range 500 {
		rand.Read(scalar[:])
		rand.Read(point[:])
		if i%5 == 0 { // 2^255 - 1 down to 2^255 - 200: the prime and around it
			for j := range point {
				point[j] = 0xff
			}
			point[0], point[31] = byte(0xff-i/5*2), byte(0x7f|i<<7)
		}
		x25519(&got, &scalar, &point)
		want, err := must(ecdh.X25519().NewPrivateKey(scalar[:])).ECDH(must(ecdh.X25519().NewPublicKey(point[:])))
		if err != nil {
			want = make([]byte, 32)
		}
		if !bytes.Equal(got[:], want) {
			t.Fatalf("scalar %x, point %x: %x, expected %x", scalar, point, got, want)
		}
		x25519Base(&got, &scalar)
		if want := must(ecdh.X25519().NewPrivateKey(scalar[:])).PublicKey().Bytes(); !bytes.Equal(got[:], want) {
			t.Fatalf("scalar %x: public %x, expected %x", scalar, got, want)
		}
	}
}

func unhex(s string) []byte { return must(hex.DecodeString(s)) }

// badPoints are public values that no honest peer sends.
var badPoints = map[curve]map[string][]byte{
	curve25519: {
		"zero":             make([]byte, 32),
		"one":              append([]byte{1}, make([]byte, 31)...),
		"order 8":          unhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
		"order 8, other":   unhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
		"p-1":              unhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"p":                unhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"p+1":              unhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
		"zero, high bit":   append(make([]byte, 31), 0x80),
		"p, with high bit": unhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"),
	},
	curveP256: {
		"zeros":     make([]byte, 65),
		"origin":    append([]byte{4}, make([]byte, 64)...),
		"off curve": append([]byte{4}, bytes.Repeat([]byte{1}, 64)...),
		"above p":   append([]byte{4}, bytes.Repeat([]byte{0xff}, 64)...),
	},
	curveP521: {
		"zeros":     make([]byte, 133),
		"origin":    append([]byte{4}, make([]byte, 132)...),
		"off curve": append([]byte{4}, bytes.Repeat([]byte{1}, 132)...),
		"above p":   append([]byte{4}, bytes.Repeat([]byte{0xff}, 132)...),
	},
	curveP384: {
		"zeros":     make([]byte, 97),
		"origin":    append([]byte{4}, make([]byte, 96)...),
		"off curve": append([]byte{4}, bytes.Repeat([]byte{1}, 96)...),
		"above p":   append([]byte{4}, bytes.Repeat([]byte{0xff}, 96)...),
	},
}

func TestBadPointsAreRefused(t *testing.T) {
	for _, g := range EveryGroup() {
		p := g.parts()
		bad := badPoints[p.curve]
		if p.curve == noCurve {
			continue
		}
		if p.curve != curve25519 {
			point, _ := p.split(generate(t, g).Public(), p.kem.keyLen())
			hybrid := bytes.Clone(point)
			hybrid[0] = 6 | point[len(point)-1]&1
			bad["hybrid form"] = hybrid
			flipped := bytes.Clone(point)
			flipped[len(point)-1] ^= 1
			bad["one bit off"] = flipped
			bad["compressed, padded"] = append(append([]byte{2 | point[len(point)-1]&1}, point[1:1+len(point)/2]...), make([]byte, len(point)/2)...)
		}
		for name, point := range bad {
			client := generate(t, g)
			share := bytes.Clone(client.Public())
			own, _ := p.split(share, p.kem.keyLen())
			copy(own, point)
			if share, secret, err := Respond(g, rand.Reader, share); !errors.Is(err, ErrBadShare) || share != nil || secret != nil {
				t.Errorf("%v: the server takes %s: error %v", g, name, err)
			}
			answer, _, err := Respond(g, rand.Reader, client.Public())
			if err != nil {
				t.Fatal(err)
			}
			own, _ = p.split(answer, p.kem.ciphertextLen())
			copy(own, point)
			if secret, err := client.Agree(answer); !errors.Is(err, ErrBadShare) || secret != nil {
				t.Errorf("%v: the client takes %s: error %v", g, name, err)
			}
		}
	}
}

func TestSharesOfWrongLengthAreRefused(t *testing.T) {
	for _, g := range EveryGroup() {
		for _, d := range []int{-1, 1} {
			if _, _, err := Respond(g, rand.Reader, make([]byte, g.ClientShareLen()+d)); !errors.Is(err, ErrBadShare) {
				t.Errorf("%v: the server takes %+d bytes: error %v", g, d, err)
			}
			if _, err := generate(t, g).Agree(make([]byte, g.ServerShareLen()+d)); !errors.Is(err, ErrBadShare) {
				t.Errorf("%v: the client takes %+d bytes: error %v", g, d, err)
			}
		}
		if _, _, err := Respond(g, rand.Reader, nil); !errors.Is(err, ErrBadShare) {
			t.Errorf("%v: the server takes nothing: error %v", g, err)
		}
		if _, err := generate(t, g).Agree(nil); !errors.Is(err, ErrBadShare) {
			t.Errorf("%v: the client takes nothing: error %v", g, err)
		}
	}
}

// FIPS 203, section 7.2: every coefficient is below q = 3329.
func TestEncapsulationKeysOutOfRangeAreRefused(t *testing.T) {
	for _, g := range []GroupID{X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024} {
		p := g.parts()
		polynomials := p.kem.keyLen() - 32
		for _, c := range []struct {
			name  string
			at    int
			value [3]byte // two coefficients of 12 bits
			good  bool
		}{
			{"q-1", 0, [3]byte{0x00, 0x0d, 0xd0}, true}, // 3328, 3328
			{"q first", 0, [3]byte{0x01, 0x0d, 0x00}, false},
			{"q second", 0, [3]byte{0x00, 0x10, 0xd0}, false},
			{"4095 in the middle", polynomials / 2 / 3 * 3, [3]byte{0xff, 0x0f, 0x00}, false},
			{"q last", polynomials - 3, [3]byte{0x00, 0x10, 0xd0}, false},
		} {
			share := bytes.Clone(generate(t, g).Public())
			_, key := p.split(share, p.kem.keyLen())
			copy(key[c.at:], c.value[:])
			_, _, err := Respond(g, rand.Reader, share)
			if c.good && err != nil || !c.good && !errors.Is(err, ErrBadShare) {
				t.Errorf("%v, %s: error %v", g, c.name, err)
			}
		}
	}
}

func TestKeyShareIsUsedOnce(t *testing.T) {
	for _, g := range EveryGroup() {
		client := generate(t, g)
		share, _, err := Respond(g, rand.Reader, client.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Agree(share); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Agree(share); err == nil || errors.Is(err, ErrBadShare) {
			t.Errorf("%v: a second use: error %v", g, err)
		}
		// A refusal uses it up as well.
		client = generate(t, g)
		if _, err := client.Agree(nil); err == nil {
			t.Error("nothing was taken for a share")
		}
		if client.live || client.curve.scalar != [32]byte{} || client.curve.nist != nil || client.kem != (kemKey{}) {
			t.Errorf("%v: a used key is still there", g)
		}
		client.Destroy()
	}
}

func TestErrorsOfTheRandomSourceStopEverything(t *testing.T) {
	broken := errors.New("broken")
	for _, g := range EveryGroup() {
		p := g.parts()
		needs := p.curve.secretLen()
		if p.kem != noKEM {
			needs += 64
		}
		for n := range needs {
			source := io.MultiReader(io.LimitReader(rand.Reader, int64(n)), errReader{broken})
			if k, err := Generate(g, source); !errors.Is(err, broken) || k != nil {
				t.Fatalf("Generate(%v) after %d random bytes: error %v", g, n, err)
			}
		}
		share := generate(t, g).Public()
		needs = p.curve.secretLen() + p.kem.secretLen()
		for n := range needs {
			source := io.MultiReader(io.LimitReader(rand.Reader, int64(n)), errReader{broken})
			if share, secret, err := Respond(g, source, share); !errors.Is(err, broken) || share != nil || secret != nil {
				t.Fatalf("Respond(%v) after %d random bytes: error %v", g, n, err)
			}
		}
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type constant byte

func (c constant) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(c)
	}
	return len(b), nil
}

func TestConstantRandomSource(t *testing.T) {
	// All ones are above the order of the NIST curves, forever: an end, no loop.
	for _, g := range []GroupID{P256, P384, SecP256r1MLKEM768} {
		if _, err := Generate(g, constant(0xff)); err == nil {
			t.Errorf("%v: a source of ones gives a key", g)
		}
	}
	// The source decides, so a test can repeat a handshake.
	for _, g := range EveryGroup() {
		a, err := Generate(g, constant(7))
		if err != nil {
			t.Fatal(err)
		}
		b, err := Generate(g, constant(7))
		if err != nil || !bytes.Equal(a.Public(), b.Public()) {
			t.Errorf("%v: the same random bytes give different keys (error %v)", g, err)
		}
	}
}

func FuzzRespond(f *testing.F) {
	for i, g := range EveryGroup() {
		f.Add(i, generate(f, g).Public())
		f.Add(i, make([]byte, g.ClientShareLen()))
	}
	f.Fuzz(func(t *testing.T, i int, share []byte) {
		g := EveryGroup()[uint(i)%uint(len(EveryGroup()))]
		answer, secret, err := Respond(g, rand.Reader, share)
		if err != nil {
			if !errors.Is(err, ErrBadShare) {
				t.Fatalf("%v: %v", g, err)
			}
			return
		}
		if len(answer) != g.ServerShareLen() || len(secret) != g.secretLen() {
			t.Fatalf("%v: %d and %d bytes", g, len(answer), len(secret))
		}
	})
}
