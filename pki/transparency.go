package pki

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki/ct"
)

// logged is what the policy made of the leaf's timestamps, with who issued it: what
// stands in a certificate is a promise about what that key was to sign.
type logged struct {
	issuer *Certificate // nil for a leaf that is itself an anchor
	result *ct.Result
}

// maxLogged is for how many issuers of the leaf its timestamps are judged. There is
// one: two keys that both signed it would have to be made for that. Each may cost
// three times ct.MaxTimestamps signatures.
const maxLogged = 2

// timestamps judges those of the path's leaf; nil where nobody asks, or the budget is
// spent.
func (s *search) timestamps() *ct.Result {
	if s.q.Transparency == nil {
		return nil
	}
	var issuer *Certificate
	var key []byte
	if s.n > 1 {
		issuer = s.path[1]
		key = issuer.X509.RawSubjectPublicKeyInfo
	}
	for _, l := range s.transparency {
		if l.issuer == issuer || l.issuer != nil && issuer != nil && bytes.Equal(l.issuer.X509.RawSubjectPublicKeyInfo, key) {
			return l.result
		}
	}
	if len(s.transparency) == maxLogged {
		s.spent = true
		return nil
	}
	leaf := s.path[0]
	e := ct.Evidence{Certificate: leaf.Raw, Issuer: key, NotBefore: leaf.X509.NotBefore, NotAfter: leaf.X509.NotAfter, Handshake: s.q.Timestamps}
	if s.staple != nil {
		e.OCSP = s.staple.Timestamps
	}
	l := logged{issuer, s.q.Transparency.Judge(e, s.q.At)}
	s.transparency = append(s.transparency, l)
	return l.result
}

// judgeTransparency comes last: what the OCSP response says has been verified by then.
func (s *search) judgeTransparency() code.Code {
	switch r := s.timestamps(); {
	case s.q.Transparency == nil || r != nil && r.OK:
		return ""
	case r == nil:
		return code.Budget
	}
	return code.NoTimestamps
}

// maxStamps is how many timestamps are listed in words.
const maxStamps = 8

func (s *search) wordsTransparency() (string, string) {
	leaf := s.path[0].X509
	expected := s.q.Transparency.Asks(leaf.NotAfter.Sub(leaf.NotBefore))
	if made := s.q.Transparency.Logs().Made(); !made.IsZero() {
		expected += ", by the list of " + made.UTC().Format("2006-01-02")
	}
	r := s.timestamps()
	if r == nil {
		return expected, "more issuers than are asked about"
	}
	if len(r.Timestamps) == 0 {
		return expected, "none, in the certificate or beside it"
	}
	var words []string
	for i := range r.Timestamps[:min(len(r.Timestamps), maxStamps)] {
		words = append(words, stampWords(&r.Timestamps[i]))
	}
	if more := len(r.Timestamps) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	return expected, strings.Join(words, "; ")
}

// stampWords tells of one: whose it is, from when, where it stood, and whether it
// counts.
func stampWords(j *ct.Judged) string {
	words := j.Name()
	if !j.At.IsZero() {
		words += " at " + stamp(j.At)
	}
	words += " " + j.Source.String()
	if j.Wrong != "" {
		return words + ", which does not count: " + cut(j.Wrong)
	}
	return words
}
