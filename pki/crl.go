package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/internal/code"
)

// MaxRevocationList is the longest revocation list that is parsed, in bytes: a
// million revoked certificates.
const MaxRevocationList = 48 << 20

// RevocationList is a certificate revocation list, parsed and not verified
// (RFC 5280, section 5). It is immutable and may be shared.
type RevocationList struct {
	x         *x509.RevocationList
	algorithm []byte
	fault     string              // why it can't be judged; "" where it can
	serials   map[string]struct{} // the revoked ones, as big-endian bytes
	sum       [sha256.Size]byte   // of its DER
}

// ParseRevocationList reads one list in DER. It keeps der.
func ParseRevocationList(list []byte) (*RevocationList, error) {
	if len(list) > MaxRevocationList {
		return nil, fmt.Errorf("the revocation list has %d bytes; at most %d are taken", len(list), MaxRevocationList)
	}
	x, err := x509.ParseRevocationList(list)
	if err != nil {
		return nil, fmt.Errorf("not a revocation list: %s", cut(err.Error()))
	}
	r := &RevocationList{x: x, serials: make(map[string]struct{}, len(x.RevokedCertificateEntries)), sum: sha256.Sum256(list)}
	in := cryptobyte.String(list)
	var whole, tbs, algorithm cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !whole.ReadASN1(&tbs, der.SEQUENCE) || !whole.ReadASN1Element(&algorithm, der.SEQUENCE) {
		return nil, errors.New("not a revocation list: its outer structure is not well-formed DER")
	}
	r.algorithm = algorithm
	if x.Number == nil { // section 5.2.3
		r.fault = "a list without a number"
	}
	for _, e := range x.Extensions {
		if len(e.Id) == 4 && e.Id[0] == 2 && e.Id[1] == 5 && e.Id[2] == 29 {
			switch e.Id[3] {
			case 20, 35: // number, authority key identifier
				if e.Critical {
					r.fault = "a list whose number or key identifier is critical"
				}
				continue
			case 27:
				r.fault = "a delta list, which says only what has changed"
				continue
			case 28:
				r.fault = "a list that covers a part of what its issuer issued"
				continue
			}
		}
		if e.Critical {
			r.fault = "a list with the unknown critical extension " + cut(e.Id.String())
		}
	}
	for _, e := range x.RevokedCertificateEntries {
		r.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		for _, ext := range e.Extensions {
			if ext.Critical { // certificateIssuer, of indirect lists, and what is not known
				r.fault = "a list with the critical entry extension " + cut(ext.Id.String())
			}
		}
	}
	return r, nil
}

// NextUpdate is when the list ends to be the newest; zero where it does not say.
func (r *RevocationList) NextUpdate() time.Time { return r.x.NextUpdate }

// covers says whether the list speaks of certificates that issuer's key signed.
func (r *RevocationList) covers(issuer *Certificate) bool {
	a, b := r.x.AuthorityKeyId, issuer.X509.SubjectKeyId
	return sameName(r.x.RawIssuer, issuer.X509.RawSubject) && (len(a) == 0 || len(b) == 0 || bytes.Equal(a, b))
}

// wrong says why the list can't be relied on under issuer at a time; "" where it can.
func (s *search) wrong(r *RevocationList, issuer *Certificate) string {
	x := r.x
	switch {
	case r.fault != "":
		return r.fault
	case s.q.At.Before(x.ThisUpdate):
		return "a list that begins at " + stamp(x.ThisUpdate)
	case x.NextUpdate.IsZero():
		return "a list without an end"
	case s.q.At.After(x.NextUpdate):
		return "a list that ended at " + stamp(x.NextUpdate)
	case issuer.hasKeyUsage && issuer.X509.KeyUsage&x509.KeyUsageCRLSign == 0: // section 4.2.1.3
		return "a list by an issuer whose key usage lacks cRLSign"
	}
	for _, e := range s.lists {
		if e.list == r && e.issuer == issuer {
			return e.wrong
		}
	}
	if len(s.edges)+len(s.lists) >= maxSignatures {
		s.spent = true
		return "a list too many"
	}
	e := listEdge{list: r, issuer: issuer}
	if c, _ := judgeAlgorithm(r.algorithm); c != "" || issuer.Key == nil ||
		issuer.Key.VerifyCertificate(r.algorithm, x.RawTBSRevocationList, x.Signature) != nil {
		e.wrong = "a list that its issuer's key did not sign"
	}
	s.lists = append(s.lists, e)
	return e.wrong
}

// listEdge is a signature on a list that was checked.
type listEdge struct {
	list   *RevocationList
	issuer *Certificate
	wrong  string
}

// judgeRevocation holds every certificate of s.path but the anchor against the
// lists of its issuer, if any were given.
func (s *search) judgeRevocation() code.Code {
	c, _, _ := s.revocation()
	return c
}

// wordsRevocation says what was expected where k is what was found.
func (s *search) wordsRevocation(k code.Code) string {
	switch {
	case k == code.NoStaple:
		return "a good OCSP response of its issuer, as the certificate says that it comes with one"
	case len(s.q.RevocationLists) > 0:
		return "a good revocation list of its issuer, without it"
	}
	return "no word of its issuer that it is revoked"
}

// revocation also says at which place of the path, and what was found.
func (s *search) revocation() (code.Code, int, string) {
	for i := 0; i+1 < s.n; i++ {
		c, issuer := s.path[i], s.path[i+1]
		for _, r := range s.q.RevocationLists {
			if r == nil || !r.covers(issuer) {
				continue
			}
			wrong := s.wrong(r, issuer)
			if s.spent {
				return code.Budget, i, wrong
			}
			if wrong != "" {
				return code.BadRevocationList, i, wrong
			}
			if _, revoked := r.serials[string(c.X509.SerialNumber.Bytes())]; revoked {
				return code.CertificateRevoked, i, "serial " + cut(c.Serial()) + " on it"
			}
		}
	}
	return s.judgeStaples()
}
