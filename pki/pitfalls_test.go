package pki

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// Every issuer of a path, the anchor too, has the CA bit, keyCertSign and room for
// what is below it; and whatever else is good about it, no later check takes a no back.
func TestEveryIssuerIsHeldToBeAnAuthority(t *testing.T) {
	for _, c := range []struct {
		why   string
		spoil option
		want  code.Code
	}{
		{"no CA bit", func(r *request) { r.IsCA, r.MaxPathLen = false, 0 }, code.NotAnAuthority},
		{"no basic constraints", without(extBasic), code.NotAnAuthority},
		{"no keyCertSign", keyUsage(x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign), code.NotAnAuthority},
		{"version 1", edited(func(b *tbs) { b.Version, b.Extensions = 0, nil }), code.NotAnAuthority},
		{"ended", valid(-2*time.Hour, -time.Hour), code.CertificateExpired},
		{"a weak key", withKey(rsaKey(1024, 0)), code.WeakKey},
		{"another use", usage(x509.ExtKeyUsageEmailProtection), code.WrongUsage},
		{"an unknown critical extension", extension(true, []byte{5, 0}, 1, 3, 6, 1, 4, 1, 99999, 1), code.CriticalExtension},
		{"another name", nc(true, [][]byte{gn(nameDNS, "example.com")}, nil), code.NameConstraints},
	} {
		for place := range 4 { // the anchor is the last
			path := []*entity{root(t, "Authority 3", given(place == 3, c.spoil)...)}
			for i := 2; i >= 0; i-- {
				path = append(path, path[len(path)-1].intermediate(t, fmt.Sprint("Authority ", i), given(place == i, c.spoil)...))
			}
			leaf := path[3].leaf(t, "api.internal")
			q := Question{Chain: chain(leaf, path[3], path[2], path[1]), Anchors: anchors(path[0]), Purpose: ForServer, Name: "api.internal", At: now}
			for _, q.Purpose = range []Purpose{ForServer, ForClient, ForAny} {
				if c.want == code.WrongUsage && q.Purpose == ForAny {
					continue
				}
				if v := Verify(q); v.OK || v.Code != c.want {
					t.Errorf("%s in authority %d, for %s: %v %s", c.why, place, q.Purpose, v.OK, v.Code)
				}
			}
		}
	}
	// The path length of each counts, however generous those below it are.
	for place := range 4 {
		limit := func(n int) option { return func(r *request) { r.MaxPathLen, r.MaxPathLenZero = n, n == 0 } }
		path := []*entity{root(t, "Authority 3", limit(3-oneIf(place == 3)))}
		for i := 2; i >= 0; i-- {
			path = append(path, path[len(path)-1].intermediate(t, fmt.Sprint("Authority ", i), limit(max(i-oneIf(place == i), 0))))
		}
		leaf := path[3].leaf(t, "api.internal")
		q := Question{Chain: chain(leaf, path[3], path[2], path[1]), Anchors: anchors(path[0]), Purpose: ForServer, Name: "api.internal", At: now}
		if v := Verify(q); v.OK != (place == 0) || !v.OK && v.Code != code.PathTooLong { // the lowest has none below it
			t.Errorf("one too few in authority %d: %v %s", place, v.OK, v.Code)
		}
	}
}

func given(yes bool, o option) []option {
	if yes {
		return []option{o}
	}
	return nil
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// The common name is no host name, whatever else the certificate has for names.
func TestTheCommonNameIsNeverAName(t *testing.T) {
	s := stand(t)
	many := make([]string, 3000)
	for i := range many {
		many[i] = fmt.Sprint("n", i, ".test")
	}
	for why, o := range map[string]option{
		"none":           dns(),
		"an address":     ips("10.0.0.1"),
		"an email":       san(gn(nameEmail, "a@api.internal")),
		"a URI":          san(gn(nameURI, "https://api.internal/")),
		"another kind":   san(gn(nameRegistered, "\x2a\x03")),
		"an empty list":  san(),
		"an empty name":  san(gn(nameDNS, "")),
		"a name of dots": san(gn(nameDNS, "...")),
		"with a zero":    san(gn(nameDNS, "api.internal\x00.example.com")),
		"very many":      dns(many...),
		"a directory":    san(gn(nameDirectory, dn("CN=api.internal"))),
	} {
		for p := range profiles {
			q := s.server(s.inter.leaf(t, "api.internal", o))
			q.Profile = p
			if v := Verify(q); v.OK {
				t.Errorf("%s, profile %s: the common name stands for a host", why, p)
			}
			if !strings.Contains(q.Chain[0].X509.Subject.CommonName, "api.internal") {
				t.Fatal("there is no common name")
			}
		}
	}
}

// Keys and names of every odd kind are refused, and nothing panics.
func TestOddKeysAndEmptyNamesAreRefused(t *testing.T) {
	algorithm := func(oid string, parameters []byte) []byte { return tlv(0x30, oidDER(oid), parameters) }
	spki := func(algorithm []byte, key []byte) option {
		return edited(func(b *tbs) {
			b.Key = asn1.RawValue{FullBytes: tlv(0x30, algorithm, tlv(3, append([]byte{0}, key...)))}
		})
	}
	rsaPublic := func(n *big.Int, e int64) []byte {
		b, err := asn1.Marshal(struct{ N, E *big.Int }{n, big.NewInt(e)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	null, rsa, ecKey := []byte{5, 0}, "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
	p256, p521 := oidDER("1.2.840.10045.3.1.7"), oidDER("1.3.132.0.35")
	big1 := func(bits uint) *big.Int { n := new(big.Int).Lsh(big.NewInt(1), bits); return n.Sub(n, big.NewInt(1)) }
	point := bytes.Repeat([]byte{4}, 65)
	odd := map[string]option{
		"DSA":                     spki(algorithm("1.2.840.10040.4.1", tlv(0x30, []byte{2, 1, 7}, []byte{2, 1, 3}, []byte{2, 1, 2})), []byte{2, 1, 4}),
		"RSA too large":           spki(algorithm(rsa, null), rsaPublic(big1(16384), 65537)),
		"RSA one bit too large":   spki(algorithm(rsa, null), rsaPublic(big1(8193), 65537)),
		"RSA too small":           spki(algorithm(rsa, null), rsaPublic(big1(512), 65537)),
		"RSA modulus even":        spki(algorithm(rsa, null), rsaPublic(new(big.Int).Lsh(big.NewInt(1), 2047), 65537)),
		"RSA modulus zero":        spki(algorithm(rsa, null), rsaPublic(new(big.Int), 65537)),
		"RSA modulus negative":    spki(algorithm(rsa, null), rsaPublic(big.NewInt(-5), 65537)),
		"RSA exponent zero":       spki(algorithm(rsa, null), rsaPublic(big1(2048), 0)),
		"RSA exponent one":        spki(algorithm(rsa, null), rsaPublic(big1(2048), 1)),
		"RSA exponent even":       spki(algorithm(rsa, null), rsaPublic(big1(2048), 4)),
		"RSA exponent negative":   spki(algorithm(rsa, null), rsaPublic(big1(2048), -3)),
		"RSA without parameters":  spki(algorithm(rsa, nil), rsaPublic(big1(2048), 65537)),
		"RSA empty":               spki(algorithm(rsa, null), nil),
		"EC point not on curve":   spki(algorithm(ecKey, p256), point),
		"EC point at infinity":    spki(algorithm(ecKey, p256), []byte{0}),
		"EC point of no length":   spki(algorithm(ecKey, p256), nil),
		"EC point of other curve": spki(algorithm(ecKey, p521), point),
		"EC explicit curve":       spki(algorithm(ecKey, tlv(0x30, []byte{2, 1, 1})), point),
		"EC implicit curve":       spki(algorithm(ecKey, null), point),
		"EC no curve":             spki(algorithm(ecKey, nil), point),
		"Ed25519 short":           spki(algorithm("1.3.101.112", nil), make([]byte, 31)),
		"Ed25519 empty":           spki(algorithm("1.3.101.112", nil), nil),
		"Ed25519 with parameters": spki(algorithm("1.3.101.112", null), make([]byte, 32)),
		"X25519":                  spki(algorithm("1.3.101.110", nil), make([]byte, 32)),
		"ML-DSA short":            spki(algorithm("2.16.840.1.101.3.4.3.17", nil), make([]byte, 100)),
		"unknown":                 spki(algorithm("1.2.3.4", nil), []byte{1}),
		"no bits":                 edited(func(b *tbs) { b.Key = asn1.RawValue{FullBytes: tlv(0x30, algorithm(rsa, null), []byte{3, 0})} }),
		"empty DNS name":          san(gn(nameDNS, "")),
		"empty URI":               san(gn(nameURI, "")),
		"empty email":             san(gn(nameEmail, "")),
		"empty address":           san(gn(nameIP, "")),
		"empty registered ID":     san(gn(nameRegistered, "")),
		"empty other name":        san(tlv(0xa0)),
		"empty directory":         san(tlv(0xa4)),
		"a dot":                   san(gn(nameDNS, ".")),
		"a star":                  san(gn(nameDNS, "*")),
		"a star and a dot":        san(gn(nameDNS, "*.")),
	}
	limits := nc(false, [][]byte{gn(nameDNS, "internal"), gn(nameEmail, "internal"), gn(nameURI, "internal"), gn(nameIP, "\x0a\x00\x00\x00\xff\x00\x00\x00"), gn(nameDirectory, dn("CN=x"))},
		[][]byte{gn(nameDNS, "secret.internal")})
	for why, o := range odd {
		for _, as := range []string{"leaf", "intermediate", "anchor"} {
			// Made by hand: one that does not parse is refused as well.
			r := root(t, "Example Root", limits)
			i := r.intermediate(t, "Example Issuing 1")
			by := map[string]*entity{"leaf": i, "intermediate": r, "anchor": nil}[as]
			shape := []option{authority}
			if as == "leaf" {
				shape = []option{dns("api.internal"), keyUsage(x509.KeyUsageDigitalSignature)}
			}
			der := rawIssue(t, by, "Example Issuing 1", append(shape, o)...)
			c, err := Parse(der)
			if err != nil {
				if len(err.Error()) > 600 {
					t.Errorf("%s as %s: the error has %d bytes", why, as, len(err.Error()))
				}
				continue
			}
			q := Question{Anchors: anchors(r), Purpose: ForServer, Name: "api.internal", At: now}
			switch as {
			case "leaf":
				q.Chain = []*Certificate{c, i.Certificate}
			case "intermediate":
				q.Chain = []*Certificate{i.leaf(t, "api.internal").Certificate, c}
				q.Chain[0] = (&entity{c, i.key}).leafUnder(t)
			case "anchor":
				q.Chain = []*Certificate{(&entity{c, i.key}).leafUnder(t)}
				q.Anchors = NewAnchors(c)
			}
			for q.Profile = range profiles {
				v := Verify(q)
				if v.OK {
					t.Errorf("%s as %s stands in profile %s", why, as, q.Profile)
				}
				_ = v.Sentence()
			}
		}
	}
}

// leafUnder is a leaf in e's name, signed with e.key, which need not be e's.
func (e *entity) leafUnder(t *testing.T) *Certificate {
	return issue(t, &entity{e.Certificate, e.key}, "api.internal", dns("api.internal"), keyUsage(x509.KeyUsageDigitalSignature),
		func(r *request) { r.signer = e.key }).Certificate
}

// rawIssue is issue for what need not parse.
func rawIssue(t *testing.T, by *entity, name string, opts ...option) []byte {
	t.Helper()
	r := &request{Certificate: x509.Certificate{SerialNumber: big.NewInt(99), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour)}, key: p256()}
	for _, o := range opts {
		o(r)
	}
	parent, signer := &r.Certificate, r.key
	if by != nil {
		parent, signer = by.X509, by.key
	}
	der, err := x509.CreateCertificate(bytes.NewReader(bytes.Repeat([]byte{7}, 1<<12)), &r.Certificate, parent, r.key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if r.edit != nil {
		der = remake(t, der, signer, r.edit)
	}
	return der
}

// Every option and every loose purpose leaves all other checks in force.
func TestNoOptionSwitchesOffAnotherCheck(t *testing.T) {
	loose := []func(*Question){
		func(*Question) {},
		func(q *Question) { q.Purpose = ForAny },
		func(q *Question) { q.Name = "" },
		func(q *Question) { q.Known = &Known{} },
		func(q *Question) { q.NoAnyPolicy, q.NoPolicyMapping = true, true },
		func(q *Question) { q.MaxIntermediates = 5 },
		func(q *Question) { q.Supposed = true },
		func(q *Question) { q.Profile = Private },
	}
	anyUse := usage(x509.ExtKeyUsageAny)
	for _, c := range []struct {
		why   string
		root  option
		inter []option
		leaf  []option
		edit  func(*Question)
		want  code.Code
	}{
		{"policy", nil, []option{anyUse, asserts("1.2.3")}, []option{anyUse}, func(q *Question) { q.RequirePolicy = true }, code.NoPolicy},
		{"an authority's policy", nil, []option{anyUse, asserts("1.2.3"), policyConstraints(0, -1)}, []option{anyUse}, nil, code.NoPolicy},
		{"constraints", nil, []option{anyUse, nc(true, [][]byte{gn(nameDNS, "example.com")}, nil)}, []option{anyUse}, nil, code.NameConstraints},
		{"time", nil, []option{anyUse}, []option{anyUse, valid(-2*time.Hour, -time.Hour)}, nil, code.CertificateExpired},
		{"path length", func(r *request) { r.MaxPathLenZero = true }, []option{anyUse}, []option{anyUse}, nil, code.PathTooLong},
		{"critical extension", nil, []option{anyUse}, []option{anyUse, extension(true, []byte{5, 0}, 1, 3, 6, 1, 4, 1, 99999, 1)}, nil, code.CriticalExtension},
		{"key usage", nil, []option{anyUse}, []option{anyUse, keyUsage(x509.KeyUsageKeyEncipherment)}, nil, code.WrongKeyUsage},
	} {
		none := func(*request) {}
		if c.root == nil {
			c.root = none
		}
		r := root(t, "R", c.root)
		i := r.intermediate(t, "I", c.inter...)
		for n, edit := range loose {
			q := standing{r, i, i.leaf(t, "api.internal", c.leaf...)}.question()
			if c.edit != nil {
				c.edit(&q)
			}
			edit(&q)
			if v := Verify(q); v.OK || v.Code != c.want {
				t.Errorf("%s, option %d: %v %s", c.why, n, v.OK, v.Code)
			}
		}
	}
}

// What is nested deeply in DER takes no stack, and is read or refused like other bytes.
func TestDeeplyNestedDERIsRead(t *testing.T) {
	deep := func(tag byte) []byte {
		b := []byte{}
		for len(b) < 40000 {
			b = tlv(tag, b)
		}
		return b
	}
	seq, set := deep(0x30), deep(0x31)
	for why, o := range map[string]option{
		"extension":          extension(false, seq, 1, 2, 3, 4),
		"critical extension": extension(true, seq, 1, 2, 3, 4),
		"name":               san(tlv(0xa0, oidDER("1.2.3"), tlv(0xa0, seq))),
		"directory":          san(tlv(0xa4, tlv(0x30, set))),
		"constraints":        extension(true, seq, 2, 5, 29, extNameConstraints),
		"policies":           extension(true, tlv(0x30, tlv(0x30, oidDER("1.2.3"), seq)), 2, 5, 29, extPolicies),
		"mappings":           extension(true, seq, 2, 5, 29, extMappings),
		"issuer":             edited(func(b *tbs) { b.Issuer = asn1.RawValue{FullBytes: tlv(0x30, set)} }),
		"subject": edited(func(b *tbs) {
			b.Subject = asn1.RawValue{FullBytes: tlv(0x30, tlv(0x31, tlv(0x30, oidDER("2.5.4.3"), seq)))}
		}),
		"key":       edited(func(b *tbs) { b.Key = asn1.RawValue{FullBytes: tlv(0x30, seq, []byte{3, 1, 0})} }),
		"algorithm": edited(func(b *tbs) { b.Algorithm = asn1.RawValue{FullBytes: tlv(0x30, oidDER("1.2.3"), seq)} }),
	} {
		r := root(t, "R")
		c, err := Parse(rawIssue(t, r, "x", o))
		if err != nil {
			continue
		}
		q := Question{Chain: []*Certificate{c}, Anchors: anchors(r), Purpose: ForServer, At: now}
		for q.Profile = range profiles {
			if v := Verify(q); v.Sentence() == "" {
				t.Errorf("%s: no sentence", why)
			}
		}
	}
	for name, whole := range map[string][]byte{"sequences": seq, "sets": set, "at the top": tlv(0x30, seq, seq)} {
		if _, err := Parse(whole); err == nil {
			t.Errorf("%s are a certificate", name)
		}
		if _, err := ParseRevocationList(whole); err == nil {
			t.Errorf("%s are a revocation list", name)
		}
		if _, err := ParseOCSPResponse(whole); err == nil {
			t.Errorf("%s are an OCSP response", name)
		}
	}
}

// Files that only look like PEM are read once from front to back: where that took the
// square of their length, this test would not end.
func TestHostilePEMIsReadInOneGo(t *testing.T) {
	const size = 4 << 20
	repeat := func(s string) []byte { return []byte(strings.Repeat(s, size/len(s))) }
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root(t, "R").Raw})
	for why, b := range map[string][]byte{
		"beginnings":             repeat("-----BEGIN CERTIFICATE-----\n"),
		"beginnings of nothing":  repeat("-----BEGIN -----\n"),
		"half beginnings":        repeat("-----BEGIN CERTIFICATE\n"),
		"ends":                   repeat("-----END CERTIFICATE-----\n"),
		"headers":                append([]byte("-----BEGIN CERTIFICATE-----\n"), repeat("A: b\n")...),
		"other ends":             repeat("-----BEGIN A-----\n-----END B-----\n"),
		"empty blocks":           repeat("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
		"dashes":                 repeat("-----"),
		"beginnings, then one":   append(repeat("-----BEGIN CERTIFICATE-----\n"), good...),
		"beginnings on one line": repeat("-----BEGIN CERTIFICATE-----"),
		"colons":                 append([]byte("-----BEGIN CERTIFICATE-----\n"), repeat(":\n")...),
	} {
		if _, err := ParsePEM(b); err == nil {
			t.Errorf("%s: a file of certificates", why)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", why, len(err.Error()))
		}
	}
	if _, err := ParsePEM(append(append(repeat("comment -----BEGIN\n"), good...), repeat("a comment: -----END CERTIFICATE-----\n")...)); err != nil {
		t.Errorf("one certificate between comments: %v", err)
	}
}
