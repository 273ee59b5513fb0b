package pki

import (
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// critical marks or unmarks an extension 2.5.29.arc.
func critical(arc int, yes bool) option {
	return edited(func(b *tbs) {
		for i, e := range b.Extensions {
			if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, arc}) {
				b.Extensions[i].Critical = yes
			}
		}
	})
}

// replaced puts another value into an extension 2.5.29.arc.
func replaced(arc int, value []byte) option {
	return edited(func(b *tbs) {
		for i, e := range b.Extensions {
			if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, arc}) {
				b.Extensions[i].Value = value
			}
		}
	})
}

// good is a path that stands in every profile: with a SPIFFE ID in the leaf, but for
// the Web, where no URI is.
func good(t testing.TB, rootOpt, interOpt, leafOpt option) func(Profile) Question {
	none := func(*request) {}
	if rootOpt == nil {
		rootOpt = none
	}
	if interOpt == nil {
		interOpt = none
	}
	if leafOpt == nil {
		leafOpt = none
	}
	r := root(t, "R", rootOpt)
	i := r.intermediate(t, "I", interOpt)
	l := i.leaf(t, "api.example.com", uris("spiffe://example.com/api"), leafOpt)
	web := i.leaf(t, "api.example.com", leafOpt, func(r *request) { r.URIs = nil })
	return func(p Profile) Question {
		q := Question{Chain: chain(l, i), Anchors: anchors(r), Purpose: ForServer, Name: "api.example.com", At: now, Profile: p}
		if p == WebPKI {
			q.Chain[0] = web.Certificate
		}
		return q
	}
}

func TestAPathMadeByTheBookStandsInEveryProfile(t *testing.T) {
	q := good(t, nil, nil, nil)
	for p := range profiles {
		accept(t, q(p))
	}
	refuse(t, q(profiles), code.Verifier)
}

// access is an authority information access of one method and place.
func access(method string, place []byte) option {
	return extension(false, tlv(0x30, tlv(0x30, oidDER(method), place)), oidAuthorityInfo...)
}

// Each rule refuses in its profiles, and in no other.
func TestProfilesRefuseWhatBreaksTheirForm(t *testing.T) {
	all := []Profile{Basic, Private, SVID, Browser, WebPKI}
	rfc := []Profile{Private, SVID, WebPKI}
	rfcAlone := []Profile{Private, SVID}
	web := []Profile{Browser, WebPKI}
	webpki := []Profile{WebPKI}
	svid := []Profile{SVID}
	serial := func(n *big.Int) option { return edited(func(b *tbs) { b.Serial = n }) }
	subject := func(name string) option { return edited(func(b *tbs) { b.Subject.FullBytes = []byte(name) }) }
	validity := func(from, to []byte) option {
		return edited(func(b *tbs) { b.Validity.FullBytes = tlv(0x30, from, to) })
	}
	for _, c := range []struct {
		why               string
		root, inter, leaf option
		in                []Profile
		want              code.Code // CertificateForm if ""
	}{
		{"serial zero", nil, nil, serial(big.NewInt(0)), rfc, ""},
		{"serial of 20 bytes", nil, nil, serial(new(big.Int).Lsh(big.NewInt(1), 158)), nil, ""},
		{"serial of 21 bytes", nil, nil, serial(new(big.Int).Lsh(big.NewInt(1), 159)), rfc, ""},
		{"serial zero in the root", serial(big.NewInt(0)), nil, nil, rfc, ""},
		{"no authority key identifier in the leaf", nil, nil, without(extAuthorityKeyID), rfc, ""},
		{"no authority key identifier in the intermediate", nil, without(extAuthorityKeyID), nil, rfc, ""},
		{"no authority key identifier in the root", without(extAuthorityKeyID), nil, nil, nil, ""},
		{"key identifier that names no key", nil, nil, replaced(extAuthorityKeyID, tlv(0x30)), rfc, ""},
		{"key identifier with issuer and serial", nil, nil, replaced(extAuthorityKeyID, tlv(0x30, tlv(0x80, []byte("x")), tlv(0xa1, gn(nameDNS, "x")), tlv(0x82, []byte{1}))), webpki, ""},
		{"no subject key identifier in the intermediate", nil, without(extSubjectKeyID), nil, rfc, ""},
		{"basic constraints of the intermediate not critical", nil, critical(extBasic, false), nil, rfc, ""},
		{"basic constraints of the root not critical", critical(extBasic, false), nil, nil, rfc, ""},
		{"keyCertSign in the leaf", nil, nil, keyUsage(x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign), rfc, ""},
		{"path length in the leaf", nil, nil, replaced(extBasic, tlv(0x30, []byte{2, 1, 0})), rfc, ""},
		{"empty subject of the leaf", nil, nil, subject("\x30\x00"), rfc, ""},
		{"empty subject of the leaf, critical names", nil, nil, edited(func(b *tbs) {
			b.Subject.FullBytes = []byte("\x30\x00")
			for i, e := range b.Extensions {
				b.Extensions[i].Critical = e.Critical || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, extSAN})
			}
		}), nil, ""},
		{"critical names beside a subject", nil, nil, critical(extSAN, true), webpki, ""},
		{"GeneralizedTime for this year", nil, nil, validity(tlv(0x18, []byte("20260531000000Z")), tlv(0x17, []byte("260602000000Z"))), rfc, ""},
		{"a time without seconds", nil, nil, validity(tlv(0x17, []byte("2605310000Z")), tlv(0x17, []byte("260602000000Z"))), rfc, ""},
		{"underscore", nil, nil, dns("api.example.com", "a_b.example.com"), rfc, ""},
		{"part of a label as a wildcard", nil, nil, dns("api.example.com", "a*.example.com"), rfc, ""},
		{"an address as a DNS name", nil, nil, dns("api.example.com", "10.0.0.1"), rfc, ""},
		{"an email address that is none", nil, nil, func(r *request) { r.EmailAddresses = []string{"a@b@c"} }, rfc, ""},
		{"constraints that are not critical", nil, nc(false, [][]byte{gn(nameDNS, "example.com")}, nil), nil, rfcAlone, ""},
		{"constraints with a leading dot", nil, nc(true, [][]byte{gn(nameDNS, ".example.com")}, nil), nil, rfc, ""},
		{"policy constraints that are not critical", nil, extension(false, tlv(0x30, tlv(0x80, []byte{9})), 2, 5, 29, extPolicyConstraints), nil, rfc, ""},
		{"inhibit anyPolicy that is not critical", nil, extension(false, []byte{2, 1, 9}, 2, 5, 29, extInhibitAny), nil, rfc, ""},

		{"no extended key usage", nil, nil, usage(), web, ""},
		{"any extended key usage", nil, nil, usage(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny), webpki, ""},
		{"critical extended key usage", nil, nil, critical(extUsages, true), webpki, ""},
		{"root with extended key usages", usage(x509.ExtKeyUsageServerAuth), nil, nil, webpki, ""},
		{"authority without a key usage", nil, keyUsage(0), nil, []Profile{SVID, WebPKI}, ""},
		{"Ed25519", nil, nil, withKey(ed()), webpki, code.UnsupportedKey},
		{"199 days", nil, nil, valid(-time.Hour, 199*24*time.Hour), nil, ""},
		{"201 days", nil, nil, valid(-time.Hour, 201*24*time.Hour), web, ""},
		{"398 days, from before March 2026", nil, nil, valid(-200*24*time.Hour, 197*24*time.Hour), nil, ""},
		{"399 days, from before March 2026", nil, nil, valid(-200*24*time.Hour, 200*24*time.Hour), web, ""},
		{"common name that is no name", nil, nil, func(r *request) { r.Subject.CommonName = "API" }, webpki, ""},
		{"no common name", nil, nil, func(r *request) { r.Subject.CommonName, r.Subject.Organization = "", []string{"Example"} }, nil, ""},

		{"an email address among the names", nil, nil, func(r *request) { r.EmailAddresses = []string{"who@example.com"} }, webpki, ""},
		{"where its issuer's certificate lies", nil, nil, access("1.3.6.1.5.5.7.48.2", gn(nameURI, "http://example.com/i.crt")), nil, ""},
		{"the same under another method", nil, nil, access("1.3.6.1.5.5.7.48.5", gn(nameURI, "http://example.com/i.crt")), webpki, ""},
		{"the same as a DNS name", nil, nil, access("1.3.6.1.5.5.7.48.2", gn(nameDNS, "example.com")), webpki, ""},
		{"the same by another protocol", nil, nil, access("1.3.6.1.5.5.7.48.2", gn(nameURI, "ldap://example.com/")), webpki, ""},
		{"information about nothing", nil, nil, extension(false, tlv(0x30), oidAuthorityInfo...), rfc, ""},

		{"no SPIFFE ID", nil, nil, func(r *request) { r.URIs = nil }, svid, code.WrongName},
		{"SPIFFE ID without a path", nil, nil, func(r *request) { r.URIs = nil; uris("spiffe://example.com")(r) }, svid, code.WrongName},
		{"two URIs", nil, nil, uris("https://example.com/"), svid, code.WrongName},
		{"no key usage in the leaf", nil, nil, keyUsage(0), svid, ""},
		{"cRLSign in the leaf", nil, nil, keyUsage(x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign), svid, ""},
		{"authority with an ID that has a path", nil, uris("spiffe://example.com/authority"), nil, svid, ""},
		{"authority with its trust domain", nil, uris("spiffe://example.com"), nil, nil, ""},
	} {
		of := good(t, c.root, c.inter, c.leaf)
		want := c.want
		if want == "" {
			want = code.CertificateForm
		}
		for _, p := range all {
			q := of(p)
			v := Verify(q)
			switch {
			case !slices.Contains(c.in, q.Profile):
				if !v.OK {
					t.Errorf("%s, %s: %s", c.why, q.Profile, v.Sentence())
				}
			case v.OK || v.Code != want:
				t.Errorf("%s, %s: %v %s, want %s", c.why, q.Profile, v.OK, v.Code, want)
			case !strings.Contains(v.Expected, "(profile "+q.Profile.String()+")"):
				t.Errorf("%s, %s: %s", c.why, q.Profile, v.Expected)
			}
		}
	}
}

// The Baseline Requirements, section 6.3.2, shorten what is issued from each of these
// days on; what was issued the second before keeps the longer time. Its last second
// counts, too: a certificate of whole days ends a second before its day does.
func TestTheLongestValidityGoesByTheDayOfIssue(t *testing.T) {
	day := func(year int, month time.Month) time.Time { return time.Date(year, month, 15, 0, 0, 0, 0, time.UTC) }
	for _, c := range []struct {
		from time.Time // the day of issue
		days int
	}{
		{time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC).Add(-time.Second), 825},
		{time.Date(2020, 9, 1, 0, 0, 0, 0, time.UTC), 398},
		{day(2026, 3).Add(-time.Second), 398},
		{day(2026, 3), 200},
		{day(2027, 3).Add(-time.Second), 200},
		{day(2027, 3), 100},
		{day(2029, 3).Add(-time.Second), 100},
		{day(2029, 3), 47},
		{day(2035, 3), 47},
	} {
		end := c.from.AddDate(0, 0, c.days).Add(-time.Second)
		for _, last := range []time.Time{end, end.Add(time.Second)} {
			always := func(r *request) { r.NotBefore, r.NotAfter = c.from.AddDate(-1, 0, 0), last.AddDate(1, 0, 0) }
			of := good(t, always, always, func(r *request) { r.NotBefore, r.NotAfter = c.from, last })
			for p := range profiles {
				q := of(p)
				if q.At = c.from; onWeb.has(q.Profile) && last.After(end) {
					refuse(t, q, code.CertificateForm)
				} else if v := Verify(q); !v.OK {
					t.Errorf("%d days from %s, %s: %s", c.days, c.from, q.Profile, v.Sentence())
				}
			}
		}
	}
}

// On the Web a common name never stands in for the names, not even where nobody asks
// for one.
func TestTheWebWantsNamesThoughNoneIsAskedFor(t *testing.T) {
	of := good(t, nil, nil, func(r *request) { r.DNSNames, r.URIs = nil, nil })
	for p := range profiles {
		q := of(p)
		q.Name = ""
		switch {
		case onWeb.has(q.Profile):
			refuse(t, q, code.NoNames)
		case q.Profile == SVID:
			refuse(t, q, code.WrongName)
		default:
			accept(t, q)
		}
	}
}

func TestAnEmptyIssuerIsNoIssuer(t *testing.T) {
	s := stand(t)
	raw := remake(t, s.leaf.Raw, s.inter.key, func(b *tbs) { b.Issuer.FullBytes = []byte("\x30\x00") })
	c, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	q := s.question()
	q.Chain[0] = c
	if v := Verify(q); v.OK {
		t.Error("accepted")
	}
	s2 := &search{q: q}
	if judgeForm(s2, 0, c) != code.CertificateForm {
		t.Error("no fault")
	}
}

func TestThePathsOwnLimitOfIntermediates(t *testing.T) {
	r := root(t, "R")
	a := r.intermediate(t, "A")
	again := issue(t, a, "A", authority) // self-issued: it does not count
	l := again.leaf(t, "api.internal")
	q := Question{Chain: chain(l, again, a), Anchors: anchors(r), Purpose: ForServer, At: now}
	for most, good := range map[int]bool{0: true, 1: true, 2: true, -1: false} {
		if q.MaxIntermediates = most; Verify(q).OK != good {
			t.Errorf("at most %d: %v", most, !good)
		}
	}
	b := a.intermediate(t, "B")
	q.Chain = chain(b.leaf(t, "api.internal"), b, a)
	q.MaxIntermediates = 1
	refuse(t, q, code.PathTooLong)
	q.MaxIntermediates = 2
	accept(t, q)
}
