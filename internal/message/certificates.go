package message

import (
	"bytes"
	"fmt"
)

// What stands around certificates beside RFC 8446: their compression (RFC 8879),
// OCSP responses (RFC 6066, section 8), timestamps (RFC 6962, section 3.3) and
// filters by their extensions (RFC 8446, section 4.2.5).

// Compression is a CertificateCompressionAlgorithm (RFC 8879, section 7.3).
type Compression uint16

// The algorithms of the registry.
const (
	Zlib   Compression = 1
	Brotli Compression = 2
	Zstd   Compression = 3
)

// String is the algorithm's name in the registry, or its number.
func (c Compression) String() string {
	switch c {
	case Zlib:
		return "zlib"
	case Brotli:
		return "brotli"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("%#04x", uint16(c))
}

// CompressedCertificate is a Certificate whose body is compressed (RFC 8879,
// section 4).
type CompressedCertificate struct {
	Raw       []byte
	Algorithm Compression
	// Length is what its sender says of the body's length, and nobody checked.
	Length     int
	Compressed []byte
}

// Parse reads msg, a whole message.
func (m *CompressedCertificate) Parse(msg []byte) error {
	const t = TypeCompressedCertificate
	r, err := body(t, msg)
	if err != nil {
		return err
	}
	*m = CompressedCertificate{Raw: msg, Algorithm: Compression(r.u16()), Length: r.u24(), Compressed: r.vec24()}
	if !r.ok() || len(m.Compressed) == 0 {
		return decodeError(t, "it does not parse")
	}
	return nil
}

// Append appends the whole message to b.
func (m *CompressedCertificate) Append(b []byte) ([]byte, error) {
	w, start := begin(b, TypeCompressedCertificate)
	w.u16(uint16(m.Algorithm))
	w.b = append(w.b, byte(m.Length>>16), byte(m.Length>>8), byte(m.Length))
	if m.Length < 0 || m.Length >= 1<<24 {
		w.err = fmt.Errorf("a body of %d bytes is too long for its field", m.Length)
	}
	w.vec24(m.Compressed, "the compressed certificate")
	return w.end(b, start, TypeCompressedCertificate)
}

// compressions reads compress_certificate (RFC 8879, section 3). An algorithm that
// stands there twice is no list of preferences.
func compressions(dst []Compression, x *Extension, t Type) ([]Compression, error) {
	r := reader{b: x.Body}
	list, ok := u16s(dst, r.vec8(), 127)
	if !ok || !r.ok() {
		return dst, decodeError(t, "%s does not parse", x.Type)
	}
	for i, c := range list {
		for _, d := range list[:i] {
			if c == d {
				return dst, decodeError(t, "%s names %s twice", x.Type, c)
			}
		}
	}
	return list, nil
}

func (w *writer) compressions(list []Compression) {
	at := w.ext(ExtCompressCertificate)
	v := w.open(1)
	for _, c := range list {
		w.u16(uint16(c))
	}
	w.close(v, 1, "the list of compression algorithms")
	w.done(at, ExtCompressCertificate)
}

const statusOCSP = 1 // CertificateStatusType ocsp

// wantsOCSP reads a client's status_request. One of another type than OCSP asks
// for nothing that there is.
func wantsOCSP(x *Extension) (bool, error) {
	const t = TypeClientHello
	r := reader{b: x.Body}
	kind := r.u8()
	if kind != statusOCSP && !r.bad {
		return false, nil
	}
	responders := reader{b: r.vec16()}
	r.vec16() // extensions of an OCSP request: nothing that a stapled answer can heed
	for !responders.empty() {
		if len(responders.vec16()) == 0 {
			responders.fail()
			break
		}
	}
	if !r.ok() || responders.bad {
		return false, decodeError(t, "%s does not parse", x.Type)
	}
	return true, nil
}

func (w *writer) wantOCSP() {
	at := w.ext(ExtStatusRequest)
	w.u8(statusOCSP)
	w.u16(0)
	w.u16(0)
	w.done(at, ExtStatusRequest)
}

// OCSPResponse reads the status_request beside a certificate: a response in DER.
func (x *Extension) OCSPResponse() ([]byte, error) {
	r := reader{b: x.Body}
	kind, response := r.u8(), r.vec24()
	if !r.ok() || kind != statusOCSP || len(response) == 0 {
		return nil, decodeError(TypeCertificate, "%s does not parse", x.Type)
	}
	return response, nil
}

// OCSPExtension puts a response beside a certificate.
func OCSPExtension(response []byte) Extension {
	n := len(response)
	return Extension{ExtStatusRequest, append([]byte{statusOCSP, byte(n >> 16), byte(n >> 8), byte(n)}, response...)}
}

// MaxSCTs bounds the timestamps in one list. Browsers ask for two or three.
const MaxSCTs = 16

// SCTList reads the signed_certificate_timestamp beside a certificate: each
// timestamp as it stands there.
func (x *Extension) SCTList() ([][]byte, error) { return SCTList(x.Body) }

// SCTList reads a SignedCertificateTimestampList (RFC 6962, section 3.3).
func SCTList(b []byte) ([][]byte, error) {
	r := reader{b: b}
	list := reader{b: r.vec16()}
	if !r.ok() || list.empty() {
		return nil, decodeError(TypeCertificate, "%s does not parse", ExtSCT)
	}
	var out [][]byte
	for !list.empty() {
		one := list.vec16()
		if len(one) == 0 {
			return nil, decodeError(TypeCertificate, "a timestamp in %s is empty or cut off", ExtSCT)
		}
		if len(out) == MaxSCTs {
			return nil, decodeError(TypeCertificate, "%s has more than %d timestamps", ExtSCT, MaxSCTs)
		}
		out = append(out, one)
	}
	return out, nil
}

// AppendSCTList makes a SignedCertificateTimestampList of timestamps.
func AppendSCTList(b []byte, timestamps [][]byte) ([]byte, error) {
	w := writer{b: b}
	list := w.open(2)
	for _, one := range timestamps {
		w.vec16(one, "a timestamp")
	}
	w.close(list, 2, "the list of timestamps")
	return w.b, w.err
}

// OIDFilter is an OIDFilter: the certificate has to have the extension, with these
// values, both in DER.
type OIDFilter struct{ OID, Values []byte }

const maxFilters = 32 // a server that filters names one or two extensions

func oidFilters(out []OIDFilter, x *Extension) ([]OIDFilter, error) {
	const t = TypeCertificateRequest
	r := reader{b: x.Body}
	list := reader{b: r.vec16()}
	for !list.empty() {
		f := OIDFilter{list.vec8(), list.vec16()}
		if list.bad || len(f.OID) == 0 || len(out) == maxFilters {
			return out, decodeError(t, "%s does not parse, or has more than %d filters", x.Type, maxFilters)
		}
		for i := range out {
			if bytes.Equal(out[i].OID, f.OID) {
				return out, illegal(t, "%s names an extension twice", x.Type)
			}
		}
		out = append(out, f)
	}
	if !r.ok() {
		return out, decodeError(t, "%s does not parse", x.Type)
	}
	return out, nil
}

func (w *writer) oidFilters(filters []OIDFilter) {
	at := w.ext(ExtOIDFilters)
	list := w.open(2)
	for i := range filters {
		w.vec8(filters[i].OID, "an extension's OID")
		w.vec16(filters[i].Values, "an extension's values")
	}
	w.close(list, 2, "the filters")
	w.done(at, ExtOIDFilters)
}
