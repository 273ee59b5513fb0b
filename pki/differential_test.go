package pki

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Small authorities with random faults, judged by us and by the standard library.
// What the two judge differently on purpose (key sizes, a leaf's key usage, an
// authority's certificate as a leaf, name constraints, self-issued certificates
// in path lengths) is not among the faults.
func TestVerifyAgreesWithTheStandardLibrary(t *testing.T) {
	const seed = 20260601
	rounds, stands := 1500, 0
	if testing.Short() {
		rounds = 200
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		p := randomPKI(t, r)
		for _, name := range []string{"", "api.internal", "a.example.com", "a.b.example.com"} {
			for _, purpose := range []Purpose{ForServer, ForClient} {
				ours := Verify(Question{Chain: p.shown, Anchors: p.anchors, Purpose: purpose, Name: name, At: now})
				options := x509.VerifyOptions{
					Roots: p.roots, Intermediates: p.intermediates, CurrentTime: now, DNSName: name,
					KeyUsages: []x509.ExtKeyUsage{map[Purpose]x509.ExtKeyUsage{ForServer: x509.ExtKeyUsageServerAuth, ForClient: x509.ExtKeyUsageClientAuth}[purpose]},
				}
				_, err := p.shown[0].X509.Verify(options)
				if ours.OK != (err == nil) {
					t.Fatalf("round %d, %s %q: we say %v (%s), the standard library %v\n%s", round, purpose, name, ours.OK, ours.Sentence(), err, p.story)
				}
				if ours.OK {
					stands++
				}
			}
		}
	}
	if stands < rounds/2 || stands > rounds*7 {
		t.Errorf("%d of %d questions stand: the faults are badly mixed", stands, rounds*8)
	}
}

type smallPKI struct {
	shown                []*Certificate
	anchors              *Anchors
	roots, intermediates *x509.CertPool
	story                string
}

func randomPKI(t *testing.T, r *rand.Rand) smallPKI {
	p := smallPKI{roots: x509.NewCertPool(), intermediates: x509.NewCertPool()}
	one := func(n int) bool { return r.IntN(n) == 0 }
	tell := func(format string, a ...any) { p.story += fmt.Sprintf(format+"\n", a...) }

	faults := func(isCA bool) (string, []option) {
		var said string
		var opts []option
		add := func(what string, o option) { said += " " + what; opts = append(opts, o) }
		if one(12) {
			add("expired", valid(-2*time.Hour, -time.Hour))
		}
		if one(12) {
			add("future", valid(time.Hour, 2*time.Hour))
		}
		switch r.IntN(10) {
		case 0:
			add("server", usage(x509.ExtKeyUsageServerAuth))
		case 1:
			add("client", usage(x509.ExtKeyUsageClientAuth))
		case 2:
			add("any", usage(x509.ExtKeyUsageAny))
		case 3:
			add("code", usage(x509.ExtKeyUsageCodeSigning))
		}
		if one(15) {
			add("critical", extension(true, []byte{5, 0}, 1, 3, 6, 1, 4, 1, 99999, 1))
		}
		if one(10) {
			add("no ids", without(extSubjectKeyID, extAuthorityKeyID))
		}
		if !isCA {
			return said, opts
		}
		if one(8) {
			n := r.IntN(3)
			add(fmt.Sprint("length ", n), func(q *request) { q.MaxPathLen, q.MaxPathLenZero = n, n == 0 })
		}
		if one(15) {
			add("no CA", func(q *request) { q.IsCA, q.MaxPathLen, q.MaxPathLenZero = false, 0, false })
		}
		if one(15) {
			add("no keyCertSign", keyUsage(x509.KeyUsageDigitalSignature))
		}
		return said, opts
	}

	var all []*entity
	nRoots := 1 + r.IntN(3)
	for i := range nRoots {
		said, opts := faults(true)
		e := root(t, fmt.Sprint("R", i), opts...)
		all = append(all, e)
		if i > 0 && one(2) {
			tell("R%d is known to nobody:%s", i, said)
			p.shown = append(p.shown, e.Certificate)
			continue
		}
		tell("R%d is an anchor:%s", i, said)
		p.anchors = NewAnchors(append(p.anchors.Certificates(), e.Certificate)...)
		p.roots.AddCert(e.X509)
	}
	for i := range 1 + r.IntN(5) {
		by := all[r.IntN(len(all))]
		said, opts := faults(true)
		e := by.intermediate(t, fmt.Sprint("I", i), opts...)
		tell("I%d by %s:%s", i, by.Label(), said)
		all = append(all, e)
		if !one(10) {
			p.shown = append(p.shown, e.Certificate)
		}
		if one(3) { // signed by another as well
			by := all[r.IntN(len(all)-1)]
			said, opts := faults(true)
			twin := by.intermediate(t, fmt.Sprint("I", i), append(opts, withKey(e.key))...)
			tell("I%d again, by %s:%s", i, by.Label(), said)
			p.shown = append(p.shown, twin.Certificate)
		}
	}
	by := all[len(all)-1-r.IntN(min(3, len(all)))]
	said, opts := faults(false)
	if one(10) {
		said += " forged"
		opts = append(opts, func(q *request) { q.signer = p256(); q.edit = func(*tbs) {} })
	}
	l := by.leaf(t, "api.internal", append([]option{dns("api.internal", "*.Example.com")}, opts...)...)
	tell("leaf by %s:%s", by.Label(), said)
	r.Shuffle(len(p.shown), func(i, j int) { p.shown[i], p.shown[j] = p.shown[j], p.shown[i] })
	for _, c := range p.shown {
		p.intermediates.AddCert(c.X509)
	}
	p.shown = append(chain(l), p.shown...)
	return p
}
