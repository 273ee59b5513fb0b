package pki

import (
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

// safe says whether words can go to a terminal.
func safe(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
}

func FuzzParse(f *testing.F) {
	s := stand(f)
	f.Add(s.leaf.Raw)
	f.Add(s.inter.Raw)
	f.Add(root(f, "R", withKey(rsaKey(2048, 0)), uris("spiffe://a/b")).Raw)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			if !safe(err.Error()) || len(err.Error()) > 1000 {
				t.Errorf("%q", err.Error())
			}
			return
		}
		if string(c.Raw) != string(b) {
			t.Error("another certificate came back")
		}
		for _, w := range []string{c.Label(), c.IssuerLabel(), c.Serial(), c.AlgorithmName(), c.keyName(), c.namesWords(), c.usagesWords(), c.keyUsageWords()} {
			if !safe(w) || len(w) > 2000 {
				t.Errorf("%q", w)
			}
		}
		c.Names()
		c.StandsFor("api.internal")
		c.Intact()
	})
}

func FuzzParsePEM(f *testing.F) {
	s := stand(f)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.leaf.Raw})
	f.Add(cert)
	f.Add([]byte("\xef\xbb\xbf" + strings.ReplaceAll(string(cert), "\n", "\r\n")))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		cs, err := ParsePEM(b)
		if (err == nil) != (len(cs) > 0) {
			t.Errorf("%d certificates, %v", len(cs), err)
		}
		if err != nil && !safe(err.Error()) {
			t.Errorf("%q", err.Error())
		}
	})
}

// One byte of one certificate of a good chain becomes another: it must not stand,
// and the refusal has to be fit to print.
func FuzzVerifyMutated(f *testing.F) {
	s := stand(f)
	f.Add(uint8(0), uint16(100), byte(1), uint16(0), byte(0))
	f.Add(uint8(1), uint16(30), byte(0xff), uint16(200), byte(7))
	f.Add(uint8(2), uint16(7), byte(0x80), uint16(7), byte(0x81))
	f.Fuzz(func(t *testing.T, which uint8, at uint16, x byte, at2 uint16, x2 byte) {
		es := []*entity{s.leaf, s.inter, s.root}
		i := int(which) % 3
		raw := append([]byte(nil), es[i].Raw...)
		raw[int(at)%len(raw)] ^= x
		raw[int(at2)%len(raw)] ^= x2
		same := string(raw) == string(es[i].Raw)
		c, err := Parse(raw)
		if err != nil {
			if same {
				t.Fatal(err)
			}
			return
		}
		q := s.question()
		switch i {
		case 0, 1:
			q.Chain[i] = c
		default:
			q.Anchors = NewAnchors(c)
		}
		v := Verify(q)
		if v.OK != same {
			t.Errorf("verdict %v", v.OK)
		}
		if !safe(v.Sentence()) || !safe(v.Mend) {
			t.Errorf("%q %q", v.Sentence(), v.Mend)
		}
		if _, err := json.Marshal(v); err != nil {
			t.Error(err)
		}
	})
}

// Any certificates in any order, with any name, purpose and time: a verdict, and
// a yes only with a path that begins at the leaf and ends at an anchor.
func FuzzVerify(f *testing.F) {
	s := stand(f)
	a := root(f, "Other")
	pool := []*entity{s.leaf, s.inter, s.root, a, a.intermediate(f, "Example Issuing 1"), a.leaf(f, "x"), s.leaf.leaf(f, "api.internal")}
	limited := s.root.intermediate(f, "Example Issuing 1", func(r *request) { r.PermittedDNSDomains = []string{"internal"} }, asserts("1.2.3"), policyConstraints(0, -1))
	twin := issue(f, a, "Example Issuing 1", authority, withKey(s.inter.key), func(r *request) { r.ExcludedDNSDomains = []string{"api.internal"} })
	pool = append(pool, limited, limited.leaf(f, "api.internal", asserts("any")), limited.leaf(f, "api.example.com"), twin)
	f.Add([]byte{8, 7, 10}, []byte{2, 3}, uint8(1), "api.internal", int64(7))
	f.Add([]byte{0, 10, 1}, []byte{3}, uint8(1), "", int64(3))
	f.Add([]byte{0, 1}, []byte{2}, uint8(1), "api.internal", int64(0))
	f.Add([]byte{6, 0, 1}, []byte{2, 3}, uint8(2), "", int64(1000000))
	f.Add([]byte{5}, []byte{}, uint8(9), "spiffe://x/y", int64(-5))
	f.Fuzz(func(t *testing.T, shown, trusted []byte, purpose uint8, name string, offset int64) {
		q := Question{Purpose: Purpose(purpose), Name: name, At: now.Add(time.Duration(offset)), Profile: Profile(uint64(offset) % uint64(profiles))}
		for _, i := range shown {
			q.Chain = append(q.Chain, pool[int(i)%len(pool)].Certificate)
		}
		var as []*Certificate
		for _, i := range trusted {
			as = append(as, pool[int(i)%len(pool)].Certificate)
		}
		q.Anchors = NewAnchors(as...)
		v := Verify(q)
		if v.OK {
			if v.Path[0] != q.Chain[0] || !q.Anchors.Contains(v.Path[len(v.Path)-1]) || q.At.After(v.NotAfter) {
				t.Errorf("a yes without reason: %+v", v)
			}
			return
		}
		if v.Code == "" || v.Mend == "" || !safe(v.Sentence()) || !safe(v.Mend) || v.Link >= len(q.Chain) {
			t.Errorf("%+v", v)
		}
		if w := Explain(q); w.OK || w.Code != v.Code {
			t.Errorf("Explain says %s, Verify %s", w.Code, v.Code)
		}
	})
}
