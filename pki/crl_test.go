package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

func TestARevocationListIsHeldAgainstWhatItsIssuerIssued(t *testing.T) {
	s := stand(t)
	other := root(t, "Another Authority")
	twin := s.root.intermediate(t, "Example Issuing 1", organization("Example")) // the same name, another key
	lists := func(l ...*RevocationList) []*RevocationList { return l }
	for _, c := range []struct {
		why   string
		lists []*RevocationList
		want  code.Code
	}{
		{"not on it", lists(s.inter.list(t, nil, s.root.Certificate)), ""},
		{"on it", lists(s.inter.list(t, nil, s.leaf.Certificate)), code.CertificateRevoked},
		{"on the second", lists(s.inter.list(t, nil), s.inter.list(t, nil, s.leaf.Certificate)), code.CertificateRevoked},
		{"the intermediate on the root's", lists(s.root.list(t, nil, s.inter.Certificate)), code.CertificateRevoked},
		{"on the list of another authority", lists(other.list(t, nil, s.leaf.Certificate)), ""},
		{"on the list of one of the same name", lists(twin.list(t, nil, s.leaf.Certificate)), ""},
		{"from tomorrow", lists(s.inter.list(t, func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = now.Add(time.Hour), now.Add(2*time.Hour) })), code.BadRevocationList},
		{"of yesterday", lists(s.inter.list(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-revocationSkew - time.Second) })), code.BadRevocationList},
		{"a delta", lists(s.inter.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = ext(true, []byte{2, 1, 3}, 27) })), code.BadRevocationList},
		{"of yesterday by a clock that differs", lists(s.inter.list(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-revocationSkew + time.Second) })), ""},
		{"a part, not critical", lists(s.inter.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = ext(false, tlv(0x30, tlv(0x81, []byte{0xff})), 28) })), code.BadRevocationList},
		{"unknown and critical", lists(s.inter.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = ext(true, []byte{5, 0}, 99) })), code.BadRevocationList},
		{"unknown and not critical", lists(s.inter.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = ext(false, []byte{5, 0}, 99) })), ""},
		{"an entry of somebody else's", lists(s.inter.list(t, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(99999), RevocationTime: now,
				ExtraExtensions: ext(true, tlv(0x30, gn(nameDirectory, dn("CN=x"))), 29)}}
		})), code.BadRevocationList},
	} {
		q := s.question()
		q.RevocationLists = c.lists
		if v := Verify(q); v.Code != c.want {
			t.Errorf("%s: %q, want %q: %s", c.why, v.Code, c.want, v.Sentence())
		}
	}
}

func ext(critical bool, value []byte, arc int) []pkix.Extension {
	return []pkix.Extension{{Id: []int{2, 5, 29, arc}, Critical: critical, Value: value}}
}

func TestARevocationListHasToBeSignedByTheIssuer(t *testing.T) {
	s := stand(t)
	forger := &entity{s.inter.Certificate, p256()}
	b, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)},
		&x509.Certificate{RawSubject: s.inter.X509.RawSubject, SubjectKeyId: s.inter.X509.SubjectKeyId, KeyUsage: x509.KeyUsageCRLSign}, forger.key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRevocationList(b)
	if err != nil {
		t.Fatal(err)
	}
	q := s.question()
	q.RevocationLists = []*RevocationList{r}
	refuse(t, q, code.BadRevocationList)

	mute := s.root.intermediate(t, "Example Issuing 2")
	q = standing{s.root, mute, mute.leaf(t, "api.internal")}.question()
	q.RevocationLists = []*RevocationList{mute.list(t, nil)}
	accept(t, q)
	silent := s.root.intermediate(t, "Example Issuing 2", withKey(mute.key), keyUsage(x509.KeyUsageCertSign))
	q.Chain[1] = silent.Certificate
	refuse(t, q, code.BadRevocationList)
}

func TestAVerdictDoesNotOutliveTheListItRestsOn(t *testing.T) {
	s := stand(t)
	q := s.question()
	q.RevocationLists = []*RevocationList{s.inter.list(t, func(l *x509.RevocationList) { l.NextUpdate = now.Add(time.Minute) })}
	if v := accept(t, q); !v.NotAfter.Equal(now.Add(time.Minute + revocationSkew)) {
		t.Errorf("ends at %v", v.NotAfter)
	}
}

func TestRevocationListsShareTheBudgetOfSignatures(t *testing.T) {
	s := stand(t)
	q := s.question()
	for range maxSignatures {
		q.RevocationLists = append(q.RevocationLists, s.inter.list(t, nil))
	}
	refuse(t, q, code.Budget)
}

func FuzzParseRevocationList(f *testing.F) {
	s := stand(f)
	b, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, s.inter.X509, s.inter.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRevocationList(b)
		if err != nil {
			if !safe(err.Error()) {
				t.Errorf("%q", err)
			}
			return
		}
		q := s.question()
		q.RevocationLists = []*RevocationList{r}
		if v := Verify(q); !safe(v.Sentence()) {
			t.Errorf("%q", v.Sentence())
		}
	})
}
