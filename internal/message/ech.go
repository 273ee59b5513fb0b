package message

import (
	"bytes"
	"slices"
)

// Encrypted Client Hello (RFC 9849): the extension, and the way between a
// ClientHelloInner and what of it is encrypted. The cryptography is internal/ech's.

// ECHHello is the encrypted_client_hello of a ClientHello (RFC 9849, section 5).
type ECHHello struct {
	// Inner marks a ClientHelloInner; all else is an outer's.
	Inner    bool
	Suite    ECHSuite
	ConfigID uint8
	// Enc is the HPKE encapsulated key, empty after a HelloRetryRequest.
	Enc     []byte
	Payload []byte
}

// ECHSuite is an HpkeSymmetricCipherSuite: code points of HPKE (RFC 9180).
type ECHSuite struct{ KDF, AEAD uint16 }

const (
	echOuter = 0
	echInner = 1

	// ECHConfirmationLen is the length of a server's sign that it accepted.
	ECHConfirmationLen = 8
	// maxEncapsulated bounds the encapsulated key: the longest of the KEMs that
	// we have takes 1,120 bytes, and one of ML-KEM-1024 with P-384 1,665.
	maxEncapsulated = 2048
)

func echHello(x *Extension) (*ECHHello, error) {
	const t = TypeClientHello
	r := reader{b: x.Body}
	h := &ECHHello{}
	switch kind := r.u8(); {
	case r.bad:
		return nil, decodeError(t, "%s is empty", x.Type)
	case kind == echInner:
		h.Inner = true
	case kind == echOuter:
		h.Suite = ECHSuite{KDF: r.u16(), AEAD: r.u16()}
		h.ConfigID = r.u8()
		h.Enc = r.vec16()
		if h.Payload = r.vec16(); len(h.Payload) == 0 {
			r.fail()
		}
	default:
		return nil, illegal(t, "%s is of the unknown type %d", x.Type, kind)
	}
	if !r.ok() {
		return nil, decodeError(t, "%s does not parse", x.Type)
	}
	if len(h.Enc) > maxEncapsulated {
		return nil, decodeError(t, "the encapsulated key in %s has %d bytes; at most %d are taken", x.Type, len(h.Enc), maxEncapsulated)
	}
	return h, nil
}

func (w *writer) echHello(h *ECHHello) {
	at := w.ext(ExtEncryptedClientHello)
	if h.Inner {
		w.u8(echInner)
	} else {
		w.u8(echOuter)
		w.u16(h.Suite.KDF)
		w.u16(h.Suite.AEAD)
		w.u8(h.ConfigID)
		w.vec16(h.Enc, "the encapsulated key")
		w.vec16(h.Payload, "the encrypted hello")
	}
	w.done(at, ExtEncryptedClientHello)
}

// bodyEnd is where in a message the body of the extension t ends, where at is
// where its first extension begins.
func bodyEnd(at int, list []Extension, t ExtensionType) int {
	for i := range list {
		at += 4 + len(list[i].Body)
		if list[i].Type == t {
			break
		}
	}
	return at
}

// OuterAAD is what the payload of the encrypted_client_hello of m, a parsed
// ClientHelloOuter, is bound to: the message without its header, and with zeros
// for the payload (RFC 9849, section 5.2).
func (m *ClientHello) OuterAAD() []byte {
	at := HeaderLen + 2 + 32 + 1 + len(m.SessionID) + 2 + 2*len(m.CipherSuites) + 1 + len(m.Compression) + 2
	end := bodyEnd(at, m.Extensions, ExtEncryptedClientHello) - HeaderLen
	aad := bytes.Clone(m.Raw[HeaderLen:])
	clear(aad[end-len(m.ECH.Payload) : end])
	return aad
}

// WithoutConfirmation is m, parsed, with zeros where a server says that it
// accepted ECH: in a ServerHello's Random, or in the extension of a
// HelloRetryRequest, which has to be there (RFC 9849, section 7.2).
func (m *ServerHello) WithoutConfirmation() []byte {
	const random = HeaderLen + 2
	end := random + 32
	if m.IsRetry() {
		end = bodyEnd(random+32+1+len(m.SessionID)+2+1+2, m.Extensions, ExtEncryptedClientHello)
	}
	b := bytes.Clone(m.Raw)
	clear(b[end-ECHConfirmationLen : end])
	return b
}

// AppendBare appends a ClientHello that has the fields of m outside of its
// extensions, and list.
func (m *ClientHello) AppendBare(b []byte, list []Extension) ([]byte, error) {
	bare := ClientHello{
		LegacyVersion: m.LegacyVersion, Random: m.Random, SessionID: m.SessionID, CipherSuites: m.CipherSuites, Compression: m.Compression,
		Extensions: list,
	}
	return bare.Append(b)
}

// EncodeInner is m, a parsed ClientHelloInner, as it is encrypted: without its
// session identifier, with names alone for the extensions that the outer hello
// repeats, which must stand in a row, and with padding behind (RFC 9849,
// section 5.1).
func (m *ClientHello) EncodeInner(repeated func(ExtensionType) bool, pad func(length int) int) ([]byte, error) {
	var list []Extension
	var names writer
	at := -1
	for _, x := range m.Extensions {
		if !repeated(x.Type) {
			list = append(list, x)
			continue
		}
		if at < 0 {
			at = len(list)
			list = append(list, Extension{Type: ExtECHOuterExtensions})
		}
		names.u16(uint16(x.Type))
	}
	if at >= 0 {
		var body writer
		body.vec8(names.b, "the list of outer extensions")
		list[at].Body = body.b
	}
	short := *m
	short.SessionID = nil
	b, err := short.AppendBare(nil, list)
	if err != nil {
		return nil, err
	}
	b = b[HeaderLen:]
	return append(b, make([]byte, pad(len(b)))...), nil
}

// DecodeInner makes the ClientHelloInner, a whole message, of what an outer
// hello had in it encrypted; m is that outer hello, parsed. Each extension of m
// is used once at most, and in order, so it takes linear time and what comes out
// is no longer than what went in.
func (m *ClientHello) DecodeInner(encoded []byte) ([]byte, error) {
	const t = TypeClientHello
	r := reader{b: encoded}
	w, start := begin(make([]byte, 0, len(encoded)+len(m.Raw)), t)
	w.raw(r.take(2 + 32))
	if id := r.vec8(); len(id) != 0 {
		return nil, illegal(t, "the encrypted hello has a session identifier of its own")
	}
	w.vec8(m.SessionID, "the session identifier")
	w.vec16(r.vec16(), "the list of cipher suites")
	w.vec8(r.vec8(), "the list of compression methods")
	block := reader{b: r.vec16()}
	if r.bad {
		return nil, decodeError(t, "the encrypted hello is cut off")
	}
	if slices.ContainsFunc(r.b, func(c byte) bool { return c != 0 }) {
		return nil, illegal(t, "the padding of the encrypted hello is not all zeros")
	}
	all := w.open(2)
	outer, expanded := m.Extensions, false
	for !block.empty() {
		x := Extension{Type: ExtensionType(block.u16()), Body: block.vec16()}
		if block.bad {
			return nil, decodeError(t, "the extensions of the encrypted hello do not add up")
		}
		if x.Type != ExtECHOuterExtensions {
			w.verbatim([]Extension{x})
			continue
		}
		if expanded {
			return nil, illegal(t, "the extension %s is there twice", x.Type)
		}
		expanded = true
		names := reader{b: x.Body}
		list := reader{b: names.vec8()}
		if !names.ok() || list.empty() || len(list.b)%2 != 0 {
			return nil, decodeError(t, "%s does not parse", x.Type)
		}
		for !list.empty() {
			name := ExtensionType(list.u16())
			if name == ExtEncryptedClientHello {
				return nil, illegalOuter(name, "which is never repeated")
			}
			i := slices.IndexFunc(outer, func(x Extension) bool { return x.Type == name })
			if i < 0 {
				return nil, illegalOuter(name, "which the outer hello does not have, or not in that order, or not as often")
			}
			w.verbatim(outer[i : i+1])
			outer = outer[i+1:]
		}
	}
	w.close(all, 2, "the extensions block")
	b, err := w.end(nil, start, t)
	if err != nil {
		return nil, decodeError(t, "the encrypted hello is too long: %v", err)
	}
	return b, nil
}

func illegalOuter(name ExtensionType, why string) error {
	return illegal(TypeClientHello, "%s names %s, %s", ExtECHOuterExtensions, name, why)
}
