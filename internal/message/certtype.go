package message

import "fmt"

// CertificateType is what an end proves itself with (RFC 7250, section 3).
type CertificateType uint8

// The types that are known here. Where nothing is said it is X.509.
const (
	X509         CertificateType = 0
	RawPublicKey CertificateType = 2
)

// String is the name of the IANA registry.
func (t CertificateType) String() string {
	switch t {
	case X509:
		return "X509"
	case RawPublicKey:
		return "RawPublicKey"
	}
	return fmt.Sprintf("certificate type %d", uint8(t))
}

// certificateTypes reads a client's list. A list that says nothing beyond the
// default must not be sent (RFC 7250, section 4.1).
func certificateTypes(dst []CertificateType, x *Extension, t Type) ([]CertificateType, error) {
	dst = dst[:0]
	r := reader{b: x.Body}
	list := r.vec8()
	if !r.ok() {
		return dst, decodeError(t, "%s does not parse", x.Type)
	}
	for _, b := range list {
		dst = append(dst, CertificateType(b))
	}
	if len(dst) == 0 || len(dst) == 1 && dst[0] == X509 {
		return dst, illegal(t, "%s names no type beside X509", x.Type)
	}
	return dst, nil
}

// certificateType reads a server's choice.
func certificateType(x *Extension, t Type) (CertificateType, error) {
	r := reader{b: x.Body}
	v := CertificateType(r.u8())
	if !r.ok() {
		return 0, decodeError(t, "%s does not parse", x.Type)
	}
	return v, nil
}

func (w *writer) certificateTypes(t ExtensionType, list []CertificateType) {
	if len(list) == 0 {
		return
	}
	at := w.ext(t)
	all := w.open(1)
	for _, v := range list {
		w.u8(uint8(v))
	}
	w.close(all, 1, "the list of certificate types")
	w.done(at, t)
}

func (w *writer) certificateType(t ExtensionType, v *CertificateType) {
	if v == nil {
		return
	}
	at := w.ext(t)
	w.u8(uint8(*v))
	w.done(at, t)
}
