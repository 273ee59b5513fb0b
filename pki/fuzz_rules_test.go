package pki

import (
	"testing"

	"golang.org/x/crypto/cryptobyte"
)

func FuzzConstraints(f *testing.F) {
	f.Add(tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDNS, "example.com")))), gn(nameDNS, "*.example.com"))
	f.Add(tlv(0x30, tlv(0xa1, tlv(0x30, gn(nameEmail, ".example.com")))), gn(nameEmail, `"a@b"@x.example.com`))
	f.Add(tlv(0x30, tlv(0xa1, tlv(0x30, gn(nameIP, "\x0a\x00\x00\x00\xff\x00\x00\x00")))), gn(nameIP, "\x0a\x01\x02\x03"))
	f.Add(tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameURI, "prod.example")))), gn(nameURI, "spiffe://prod.example/web"))
	f.Add(tlv(0x30, tlv(0xa0, tlv(0x30, gn(nameDirectory, dn("O=x"))))), gn(nameDirectory, dn("O=bmp:x", "CN=y")))
	f.Fuzz(func(t *testing.T, value, name []byte) {
		c, wrong, _ := readConstraints(value)
		if (c == nil) != (wrong != "") || !safe(wrong) {
			t.Fatalf("%v and %q", c, wrong)
		}
		in := cryptobyte.String(name)
		n, ok := readGeneralName(&in)
		if c == nil || !ok {
			return
		}
		if !safe(n.words()) || len(n.words()) > 2000 {
			t.Errorf("%q", n.words())
		}
		s := &search{scale: 1}
		b, _ := s.hold(c, &n)
		for i := range c.excluded {
			// What is permitted at the same time is excluded all the same.
			tree := &c.excluded[i]
			if inside, _ := tree.covers(&n, false); inside && tree.kind == n.kind && b == nil && !s.spent {
				t.Errorf("%s is inside of %s, which excludes it, and stands", n.words(), tree.words())
			}
			if !safe(tree.words()) {
				t.Errorf("%q", tree.words())
			}
		}
	})
}

func FuzzDirectoryName(f *testing.F) {
	f.Add([]byte(dn("O=Example  Inc", "CN=bmp:x")))
	f.Add([]byte(dn("CN=\u00ad\uff21 İ \u1e9e")))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := readDirectoryName(string(b))
		if !ok {
			return
		}
		if !d.within(d) || !d.within(nil) || len(d) > 0 && !d.within(d[:len(d)-1]) {
			t.Error("a name is not within itself")
		}
		if !safe(d.words()) {
			t.Errorf("%q", d.words())
		}
	})
}

// Preparing twice is preparing once, or names would be equal one way only.
func FuzzPrepared(f *testing.F) {
	for _, s := range []string{" A  b ", "\u00adx", "\uff21", "İ", "ẞ", "\u0345a", "Ǆ", "\u1fb3\u0301"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := prepared(s)
		if twice := prepared(once); twice != once {
			t.Errorf("%q is prepared as %q, and that as %q", s, once, twice)
		}
	})
}

func FuzzPolicies(f *testing.F) {
	f.Add(tlv(0x30, tlv(0x30, oidDER("1.2.3"))), tlv(0x30, tlv(0x30, oidDER("1.2.3"), oidDER("1.2.4"))), tlv(0x30, tlv(0x80, []byte{0})), []byte{2, 1, 0})
	f.Fuzz(func(t *testing.T, asserted, mapped, constrained, inhibited []byte) {
		read := func() *Certificate {
			c := &Certificate{}
			var v fields
			v.value[extPolicies], v.value[extMappings] = asserted, mapped
			v.value[extPolicyConstraints], v.value[extInhibitAny] = constrained, inhibited
			if c.readPolicies(&v) != "" {
				return nil
			}
			return c
		}
		c := read()
		if c == nil {
			return
		}
		s := &search{scale: 1, q: Question{RequirePolicy: true}}
		s.path[0], s.path[1], s.path[2], s.n = c, c, c, 3
		got := s.judgePolicies()
		if s.policyWork > maxPolicyWork+1 {
			t.Errorf("%d steps", s.policyWork)
		}
		again := &search{scale: 1, q: s.q, path: s.path, n: 3}
		if x := again.judgePolicies(); x != got && !s.spent && !again.spent {
			t.Errorf("%q and then %q", got, x)
		}
	})
}
