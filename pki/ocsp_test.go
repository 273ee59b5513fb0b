package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// responder makes OCSP responses, right unless told otherwise.
type responder struct {
	about, issuer, signer *entity
	status                []byte // CertStatus in DER
	produced, this, next  time.Time
	serial                *big.Int
	sha256, byName        bool
	certs                 [][]byte
	extensions            []byte
	single                []byte // singleExtensions in DER, with their tag
}

func respond(leaf, issuer *entity) *responder {
	return &responder{
		about: leaf, issuer: issuer, signer: issuer, status: []byte{0x80, 0}, serial: leaf.X509.SerialNumber,
		produced: now, this: now.Add(-time.Hour), next: now.Add(time.Hour),
	}
}

func generalized(t time.Time) []byte { return tlv(0x18, []byte(t.UTC().Format("20060102150405Z"))) }

var revokedStatus = tlv(0xa1, generalized(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)), tlv(0xa0, []byte{10, 1, 1}))

func (r *responder) make(t testing.TB) []byte {
	t.Helper()
	hash, oid := crypto.SHA1, asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	if r.sha256 {
		hash, oid = crypto.SHA256, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	}
	sum := func(b []byte) []byte {
		h := hash.New()
		h.Write(b)
		return h.Sum(nil)
	}
	m := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	id := tlv(0x30, tlv(0x30, m(oid), []byte{5, 0}), tlv(4, sum(r.issuer.X509.RawSubject)), tlv(4, sum(keyBits(r.issuer.Certificate))), m(r.serial))
	single := [][]byte{id, r.status, generalized(r.this)}
	if !r.next.IsZero() {
		single = append(single, tlv(0xa0, generalized(r.next)))
	}
	single = append(single, r.single)
	key := sha1.Sum(keyBits(r.signer.Certificate))
	who := tlv(0xa2, tlv(4, key[:]))
	if r.byName {
		who = tlv(0xa1, r.signer.X509.RawSubject)
	}
	data := [][]byte{who, generalized(r.produced), tlv(0x30, tlv(0x30, single...))}
	if r.extensions != nil {
		data = append(data, tlv(0xa1, r.extensions))
	}
	tbs := tlv(0x30, data...)
	d := sha256.Sum256(tbs)
	sig, err := r.signer.key.Sign(rand.Reader, d[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	basic := [][]byte{tbs, ecdsaWithSHA256, tlv(3, []byte{0}, sig)}
	if r.certs != nil {
		basic = append(basic, tlv(0xa0, tlv(0x30, r.certs...)))
	}
	return tlv(0x30, []byte{10, 1, 0}, tlv(0xa0, tlv(0x30, m(oidOCSPBasic), tlv(4, tlv(0x30, basic...)))))
}

func mustOCSP(t testing.TB, b []byte) *OCSPResponse {
	t.Helper()
	r, err := ParseOCSPResponse(b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnOCSPResponseAnswersAboutTheCertificateThatItNamesWhole(t *testing.T) {
	r := root(t, "R")
	l := r.leaf(t, "api.internal")
	other := root(t, "Other")
	delegate := r.leaf(t, "ocsp", usage(x509.ExtKeyUsageOCSPSigning))
	good := func(f func(*responder)) *responder {
		x := respond(l, r)
		if f != nil {
			f(x)
		}
		return x
	}
	by := func(d *entity) func(*responder) {
		return func(x *responder) { x.signer, x.certs = d, [][]byte{d.Raw} }
	}
	for name, c := range map[string]struct {
		r    *responder
		says string // a part of why not, "" for an answer
	}{
		"good":                  {good(nil), ""},
		"SHA-256 and by name":   {good(func(x *responder) { x.sha256, x.byName = true, true }), ""},
		"a delegate":            {good(by(delegate)), ""},
		"a delegate, by name":   {good(func(x *responder) { by(delegate)(x); x.byName = true }), ""},
		"revoked":               {good(func(x *responder) { x.status = revokedStatus }), ""},
		"unknown":               {good(func(x *responder) { x.status = []byte{0x82, 0} }), ""},
		"another serial number": {good(func(x *responder) { x.serial = new(big.Int).Add(x.serial, big.NewInt(256)) }), "another certificate"},
		"a longer serial":       {good(func(x *responder) { x.serial = new(big.Int).Lsh(x.serial, 8) }), "another certificate"},
		"another issuer":        {good(func(x *responder) { x.issuer = other }), "another certificate"},
		"signed by the leaf":    {good(by(l)), "OCSPSigning"},
		"another's delegate":    {good(by(other.leaf(t, "ocsp", usage(x509.ExtKeyUsageOCSPSigning)))), "another issuer"},
		"any usage":             {good(by(r.leaf(t, "ocsp", usage(x509.ExtKeyUsageAny)))), "OCSPSigning"},
		"a delegate of before":  {good(by(r.leaf(t, "ocsp", usage(x509.ExtKeyUsageOCSPSigning), valid(-3*time.Hour, -time.Hour)))), "not valid"},
		"a delegate not shown":  {good(func(x *responder) { x.signer = delegate }), "somebody else"},
		"forged":                {good(func(x *responder) { x.signer = &entity{r.Certificate, p256()} }), "did not sign"},
		"over":                  {good(func(x *responder) { x.next = now.Add(-revocationSkew - time.Second) }), "ended at"},
		"in the skew":           {good(func(x *responder) { x.next = now.Add(-revocationSkew) }), ""},
		"to come":               {good(func(x *responder) { x.this = now.Add(revocationSkew + time.Second); x.next = now.Add(time.Hour) }), "begins at"},
		"without an end":        {good(func(x *responder) { x.next = time.Time{} }), "no end"},
		"of the future":         {good(func(x *responder) { x.produced = now.Add(time.Hour) }), "future"},
		"upside down":           {good(func(x *responder) { x.this, x.next = now, now.Add(-time.Minute) }), "before it begins"},
		"a critical extension":  {good(func(x *responder) { x.extensions = tlv(0x30, tlv(0x30, []byte{6, 1, 42, 1, 1, 255}, tlv(4, nil))) }), "critical"},
	} {
		a, err := mustOCSP(t, c.r.make(t)).About(l.Certificate, r.Certificate, now)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && strings.Contains(name, "delegate") != (a.Delegate != nil) {
			t.Errorf("%s: signed by %v", name, a.Delegate)
		}
	}
	a, err := mustOCSP(t, good(func(x *responder) { x.status = revokedStatus }).make(t)).About(l.Certificate, r.Certificate, now)
	if err != nil || a.Status != OCSPRevoked || a.Reason != 1 || a.RevokedAt.Year() != 2026 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestWhatIsNoOCSPResponseIsRefused(t *testing.T) {
	r := root(t, "R")
	whole := respond(r.leaf(t, "a"), r).make(t)
	for i := range whole { // cut anywhere
		if _, err := ParseOCSPResponse(whole[:i]); err == nil {
			t.Fatalf("%d bytes of %d are taken", i, len(whole))
		}
	}
	for why, b := range map[string][]byte{
		"try later": {0x30, 3, 10, 1, 3}, "more behind": append(bytes.Clone(whole), 0), "too long": make([]byte, MaxOCSPResponse+1),
	} {
		if _, err := ParseOCSPResponse(b); err == nil {
			t.Errorf("%s: taken", why)
		}
	}
}

var mustStaple = extension(false, []byte{0x30, 3, 2, 1, 5}, 1, 3, 6, 1, 5, 5, 7, 1, 24)

func TestARevokedOrUnstapledLeafIsRefused(t *testing.T) {
	r := root(t, "R")
	i := r.intermediate(t, "I")
	plain, must := i.leaf(t, "api.internal"), i.leaf(t, "api.internal", mustStaple)
	if plain.MustStaple() || !must.MustStaple() {
		t.Fatal("who must staple is read wrong")
	}
	ask := func(l *entity, stapled bool, responses ...*responder) Question {
		q := standing{r, i, l}.question()
		q.Stapled, q.Known = stapled, &Known{}
		for _, x := range responses {
			q.OCSP = append(q.OCSP, mustOCSP(t, x.make(t)))
		}
		return q
	}
	with := func(l, by *entity, f func(*responder)) *responder {
		x := respond(l, by)
		f(x)
		return x
	}
	revoked := func(x *responder) { x.status = revokedStatus }
	over := func(x *responder) { x.next = now.Add(-time.Hour); x.this = now.Add(-2 * time.Hour) }
	accept(t, ask(plain, true), plain, i, r)
	accept(t, ask(must, false), must, i, r)
	accept(t, ask(plain, true, with(plain, i, over)), plain, i, r)
	accept(t, ask(must, true, respond(plain, i), respond(must, i)), must, i, r)
	refuse(t, ask(must, true), code.NoStaple)
	refuse(t, ask(must, true, with(must, i, over)), code.NoStaple)
	refuse(t, ask(must, true, respond(plain, i)), code.NoStaple)
	refuse(t, ask(plain, false, with(plain, i, revoked)), code.CertificateRevoked)
	refuse(t, ask(plain, false, with(i, r, revoked)), code.CertificateRevoked)
	refuse(t, ask(plain, true, with(plain, i, func(x *responder) { x.status = []byte{0x82, 0} })), code.CertificateRevoked)
	// What was remembered of before the answer came is not the answer.
	q := ask(plain, false)
	accept(t, q, plain, i, r)
	q.OCSP = []*OCSPResponse{mustOCSP(t, with(plain, i, revoked).make(t))}
	refuse(t, q, code.CertificateRevoked)
	q.OCSP = nil
	if v := Verify(ask(must, true, respond(must, i))); v.Staple == nil || v.Staple.Status != OCSPGood {
		t.Errorf("the verdict tells %+v", v.Staple)
	}
}

// Who was admitted by the answer beside a certificate that must come with one stands as
// long as that, in every mode and whatever a list says for longer; and to its last
// moment, as a connection's end is judged.
func TestWhoMustStapleStandsByItsStaple(t *testing.T) {
	s := stand(t)
	must := s.inter.leaf(t, "api.internal", mustStaple)
	x := respond(must, s.inter)
	x.next = now.Add(time.Hour)
	end := x.next.Add(revocationSkew)
	for _, mode := range []RevocationMode{RevocationGiven, RevocationSoft, RevocationHard} {
		q := standing{s.root, s.inter, must}.question()
		q.Stapled, q.OCSP, q.Revocation, q.RevocationLeafOnly = true, []*OCSPResponse{mustOCSP(t, x.make(t))}, mode, true
		q.RevocationLists = []*RevocationList{s.inter.list(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(100 * time.Hour) })}
		v := accept(t, q)
		if !v.NotAfter.Equal(end) {
			t.Errorf("%v: until %v, and the answer is over at %v", mode, v.NotAfter, end)
		}
		q.At = end
		accept(t, q)
		q.At = end.Add(time.Second)
		refuse(t, q, code.NoStaple)
		q.Stapled, q.At = false, now
		if v := Verify(q); !v.OK || v.NotAfter.Equal(end) {
			t.Errorf("%v: nobody asked, and it is %v until %v", mode, v.OK, v.NotAfter)
		}
	}
}

// Why an answer that was shown does not count is told, also where nobody needs it.
func TestAnAnswerThatDoesNotCountIsTold(t *testing.T) {
	s := stand(t)
	x := respond(s.leaf, s.inter)
	x.this, x.next = now.Add(-2*time.Hour), now.Add(-time.Hour)
	for mode, words := range map[RevocationMode]string{RevocationGiven: "does not count: it ended", RevocationSoft: "let pass: a response that does not count"} {
		q := s.question()
		q.OCSP, q.Stapled, q.Revocation = []*OCSPResponse{mustOCSP(t, x.make(t))}, true, mode
		v := Explain(q)
		told := false
		for _, c := range v.Paths[0].Checks {
			told = told || c.Name == "revocation" && strings.Contains(c.Found, words)
		}
		if !v.OK || !told {
			t.Errorf("%v: %v, and told %+v", mode, v.OK, v.Paths[0].Checks)
		}
	}
}

// Where a response speaks of a certificate twice, what revokes it counts.
func TestOfTwoAnswersTheOneThatRevokesCounts(t *testing.T) {
	r := root(t, "R")
	l := r.leaf(t, "api.internal")
	good, bad := respond(l, r), respond(l, r)
	bad.status = revokedStatus
	both := mustOCSP(t, good.make(t))
	both.answers = append(both.answers, mustOCSP(t, bad.make(t)).answers...)
	if a, err := both.About(l.Certificate, r.Certificate, now); err != nil || a.Status != OCSPRevoked {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAnOCSPRequestNamesTheWholeCertificate(t *testing.T) {
	r := root(t, "R")
	l := r.leaf(t, "a")
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		b, err := OCSPRequest(l.Certificate, r.Certificate, h)
		if err != nil {
			t.Fatal(err)
		}
		x := respond(l, r)
		x.sha256 = h == crypto.SHA256
		// The CertID of the request is the one that a response has.
		id := mustOCSP(t, x.make(t)).answers[0]
		if !bytes.Contains(b, id.name) || !bytes.Contains(b, id.key) || !bytes.HasSuffix(b, id.serial) {
			t.Errorf("%x", b)
		}
	}
	if _, err := OCSPRequest(l.Certificate, r.Certificate, crypto.MD5); err == nil {
		t.Error("MD5 is taken")
	}
}

func FuzzOCSPResponse(f *testing.F) {
	r := root(f, "R")
	l := r.leaf(f, "a")
	f.Add(respond(l, r).make(f))
	x := respond(l, r)
	x.status, x.byName = revokedStatus, true
	x.certs = [][]byte{l.Raw}
	f.Add(x.make(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParseOCSPResponse(b); err == nil {
			_, _ = p.About(l.Certificate, r.Certificate, now)
		}
	})
}
