package message

import "github.com/mutual-tls/mutual/internal/suite"

// DelegatedCredential is what a certificate's holder signs so that another key
// may prove it for a while (RFC 9345, section 4).
type DelegatedCredential struct {
	// ValidTime is how many seconds after the certificate's notBefore it ends.
	ValidTime uint32
	// Scheme is the one that its key signs CertificateVerify with.
	Scheme suite.Scheme
	// Key is a SubjectPublicKeyInfo in DER.
	Key []byte
	// Algorithm is the scheme of Signature, which the certificate's key made.
	Algorithm suite.Scheme
	Signature []byte
}

// Parse reads the body of the extension delegated_credential in a Certificate. The
// result lies in b.
func (d *DelegatedCredential) Parse(b []byte) error {
	const t = TypeCertificate
	r := reader{b: b}
	*d = DelegatedCredential{ValidTime: r.u32(), Scheme: suite.Scheme(r.u16()), Key: r.vec24(), Algorithm: suite.Scheme(r.u16())}
	d.Signature = r.vec16()
	if !r.ok() || len(d.Key) == 0 || len(d.Signature) == 0 {
		return decodeError(t, "delegated_credential does not parse")
	}
	return nil
}

// Append appends the body to b.
func (d *DelegatedCredential) Append(b []byte) ([]byte, error) {
	w := writer{b: d.signed(b)}
	w.vec16(d.Signature, "the signature of a delegated credential")
	return w.b, w.err
}

func (d *DelegatedCredential) signed(b []byte) []byte {
	w := writer{b: b}
	w.u32(d.ValidTime)
	w.u16(uint16(d.Scheme))
	w.vec24(d.Key, "the key of a delegated credential")
	w.u16(uint16(d.Algorithm))
	return w.b
}

// Input is what the certificate's key signs (RFC 9345, section 4.1): the context
// says for which side.
func (d *DelegatedCredential) Input(server bool, certificate []byte) []byte {
	context := "TLS, client delegated credentials"
	if server {
		context = "TLS, server delegated credentials"
	}
	b := make([]byte, 64, 64+len(context)+1+len(certificate)+64+len(d.Key))
	for i := range b {
		b[i] = ' '
	}
	b = append(append(append(b, context...), 0), certificate...)
	return d.signed(b)
}
