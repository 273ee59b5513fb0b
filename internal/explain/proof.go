package explain

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/pki"
)

// Who is who: certificates, the signatures that prove them, and Finished.

func (r *Recorder) certificateRequest(s *Step) {
	r.asked = true
	var m message.CertificateRequest
	if m.Parse(s.Bytes) != nil {
		s.Words = "A CertificateRequest that does not parse."
		return
	}
	s.Words = "And who are you? Show me a certificate too: this question makes TLS mutual."
	var authorities []string
	for _, a := range m.Authorities {
		authorities = append(authorities, message.AuthorityName(a))
	}
	if len(authorities) > 0 {
		s.fact("authorities", "I trust %s", listed(authorities, 6))
	} else {
		s.fact("authorities", "whom I trust I don't say")
	}
	s.fact("signatures", "%s", listed(each(m.Schemes), 2))
}

func (r *Recorder) certificate(s *Step) {
	if r.shown == nil {
		r.shown, r.silent = map[string]*pki.Certificate{}, map[string]bool{}
	}
	var m message.Certificate
	if m.Parse(s.Bytes) != nil {
		s.Words = "A Certificate that does not parse."
		return
	}
	if len(m.Entries) == 0 {
		r.silent[s.From] = true
		s.Words = "I have no certificate to show."
		return
	}
	s.Words = "This is who I am, and who vouches for it."
	if s.From == "client" {
		s.Words = "And this is who I am: the other half of mutual TLS."
	}
	for i, e := range m.Entries {
		label := fmt.Sprintf("certificate %d", i+1)
		c, err := pki.Parse(e.Data)
		if err != nil {
			s.fact(label, "%s that do not parse", plural(len(e.Data), "byte", "bytes"))
			continue
		}
		if i == 0 {
			r.shown[s.From] = c
		}
		s.fact(label, "%s", r.certificateWords(c))
	}
}

// certificateWords tells a shown certificate: whose it is, what it holds, who
// signed it.
func (r *Recorder) certificateWords(c *pki.Certificate) string {
	words := c.Label()
	if c.X509.BasicConstraintsValid && c.X509.IsCA {
		words += ", an authority"
	} else if n := names(c, 5); n != "" {
		words += " for " + n
	} else {
		words += " without any name that counts"
	}
	if r.seen[c.SHA256] {
		return words + ", as above"
	}
	if r.seen == nil {
		r.seen = map[[32]byte]bool{}
	}
	r.seen[c.SHA256] = true
	words += fmt.Sprintf("\npublic key %s; %s", certificateKey(c), ends(c.NotBefore(), c.NotAfter(), r.now()))
	switch {
	case c.SelfIssued():
		words += "\nsigned by itself"
	default:
		words += "\nsigned by " + c.IssuerLabel()
	}
	return words
}

func (r *Recorder) certificateVerify(s *Step) {
	var m message.CertificateVerify
	if m.Parse(s.Bytes) != nil {
		s.Words = "A CertificateVerify that does not parse."
		return
	}
	s.Words = "And the proof: my signature over all that was said so far."
	if r.once("proof") {
		s.Words = "A certificate is public, anybody could have shown that one. So here is the proof that I hold its private key: " +
			"my signature over all that was said so far, which fits this connection and no other."
		s.Unlike = "a certificate's key encrypts nothing and decrypts nothing. It signs."
	}
	s.fact("signature", "%s, over the messages 1 to %d", m.Scheme, s.N-1)
}

func (r *Recorder) finished(s *Step) {
	_, hash := cipherWords(r.suite)
	s.Words = "The same from me: we saw the same conversation."
	if r.once("finished") {
		s.Words = "A checksum over all messages so far. Had anybody on the way changed a byte of them, it would not fit."
		s.fact("checksum", "HMAC with %s, its key from the %s's traffic secret", hash, s.From)
		if r.resumed {
			s.Words += " It also proves that I have the key of the earlier connection: no certificate is shown again."
		}
	}
}
