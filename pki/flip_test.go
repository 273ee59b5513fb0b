package pki

import (
	"bytes"
	"crypto/x509"
	"testing"
)

// Whatever bit of a path changes, the path no longer stands: in the leaf and the
// intermediate because their issuers' signatures no longer fit, in the anchor
// because it is another anchor then, and not one that its key signed.
func TestEveryFlippedBitIsRefused(t *testing.T) {
	both := func(o ...option) []option { return o }
	for name, opts := range map[string][]option{
		"ECDSA":      nil,
		"Ed25519":    both(withKey(ed())),
		"RSA":        both(withKey(rsaKey(2048, 0))),
		"RSA, PSS":   both(withKey(rsaKey(2048, 0)), signedWith(x509.SHA256WithRSAPSS)),
		"id-RSA-PSS": both(pssKeyOption(rsaKey(2048, 0), nil), signedWith(x509.SHA256WithRSAPSS)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := root(t, "R", opts...)
			i := r.intermediate(t, "I", opts...)
			s := standing{r, i, i.leaf(t, "api.internal", opts...)}
			accept(t, s.question())

			flips(s.leaf.Raw, func(bit int, c *Certificate) {
				q := s.question()
				q.Chain = []*Certificate{c, s.inter.Certificate}
				if v := Verify(q); v.OK {
					t.Errorf("leaf with bit %d flipped stands", bit)
				}
			})
			flips(s.inter.Raw, func(bit int, c *Certificate) {
				q := s.question()
				q.Chain = []*Certificate{s.leaf.Certificate, c}
				if v := Verify(q); v.OK {
					t.Errorf("intermediate with bit %d flipped stands", bit)
				}
			})
			flips(s.root.Raw, func(bit int, c *Certificate) {
				q := s.question()
				q.Anchors = NewAnchors(c)
				if v := Verify(q); v.OK {
					t.Errorf("anchor with bit %d flipped carries the path", bit)
				}
				if bit%97 != 0 { // the same answer each time
					return
				}
				q = s.question()
				q.Chain = append(q.Chain, c)
				accept(t, q, s.leaf, s.inter, s.root)
			})
		})
	}
}

// flips calls f with each form of der that differs in one bit and still parses.
func flips(der []byte, f func(bit int, c *Certificate)) {
	for bit := range 8 * len(der) {
		b := bytes.Clone(der)
		b[bit/8] ^= 1 << (bit % 8)
		if c, err := Parse(b); err == nil {
			f(bit, c)
		}
	}
}

// An anchor as authorities in the field make it, with a key identifier of its own
// issuer, which is itself; and one signed with SHA-1, as old ones are.
func TestFlippedBitsOfOtherAnchorsAreRefused(t *testing.T) {
	own := func(r *request) { r.SubjectKeyId = []byte("0123456789abcdefghij"); r.AuthorityKeyId = r.SubjectKeyId }
	for name, opts := range map[string][]option{
		"names its own key": {own},
		"SHA-1":             {withKey(rsaKey(2048, 0)), signedWith(x509.SHA1WithRSA), own},
		"SHA-1, no key ids": {withKey(rsaKey(2048, 0)), signedWith(x509.SHA1WithRSA)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := root(t, "R", opts...)
			s := standing{root: r}
			s.inter = r.intermediate(t, "I")
			s.leaf = s.inter.leaf(t, "api.internal")
			accept(t, s.question())
			flips(r.Raw, func(bit int, c *Certificate) {
				q := s.question()
				q.Anchors = NewAnchors(c)
				if v := Verify(q); v.OK {
					t.Errorf("anchor with bit %d flipped carries the path", bit)
				}
			})
		})
	}
}

// A leaf that is trusted by itself is known by its bytes.
func TestEveryFlippedBitOfAPinnedLeafIsRefused(t *testing.T) {
	var none *entity
	for name, self := range map[string]*entity{
		"leaf": none.leaf(t, "api.internal"), "authority": root(t, "api.internal", dns("api.internal"), keyUsage(0)),
	} {
		q := Question{Chain: chain(self), Anchors: anchors(self), Purpose: ForServer, Name: "api.internal", At: now}
		accept(t, q, self)
		flips(self.Raw, func(bit int, c *Certificate) {
			q := q
			q.Chain = []*Certificate{c}
			if Verify(q).OK {
				t.Errorf("%s with bit %d flipped stands", name, bit)
			}
		})
	}
}
