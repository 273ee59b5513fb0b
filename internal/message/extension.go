package message

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/suite"
)

// ExtensionType is an ExtensionType of the IANA registry.
type ExtensionType uint16

// The extensions that are known here.
const (
	ExtServerName              ExtensionType = 0
	ExtMaxFragmentLength       ExtensionType = 1
	ExtStatusRequest           ExtensionType = 5
	ExtSupportedGroups         ExtensionType = 10
	ExtECPointFormats          ExtensionType = 11
	ExtSignatureAlgorithms     ExtensionType = 13
	ExtUseSRTP                 ExtensionType = 14
	ExtHeartbeat               ExtensionType = 15
	ExtALPN                    ExtensionType = 16
	ExtSCT                     ExtensionType = 18
	ExtClientCertificateType   ExtensionType = 19
	ExtServerCertificateType   ExtensionType = 20
	ExtPadding                 ExtensionType = 21
	ExtEncryptThenMAC          ExtensionType = 22
	ExtExtendedMainSecret      ExtensionType = 23
	ExtCompressCertificate     ExtensionType = 27
	ExtRecordSizeLimit         ExtensionType = 28
	ExtDelegatedCredential     ExtensionType = 34
	ExtSessionTicket           ExtensionType = 35
	ExtPreSharedKey            ExtensionType = 41
	ExtEarlyData               ExtensionType = 42
	ExtSupportedVersions       ExtensionType = 43
	ExtCookie                  ExtensionType = 44
	ExtPSKKeyExchangeModes     ExtensionType = 45
	ExtCertificateAuthorities  ExtensionType = 47
	ExtOIDFilters              ExtensionType = 48
	ExtPostHandshakeAuth       ExtensionType = 49
	ExtSignatureAlgorithmsCert ExtensionType = 50
	ExtKeyShare                ExtensionType = 51
	ExtQUICTransportParameters ExtensionType = 57
	ExtTicketRequest           ExtensionType = 58
	ExtTrustAnchors            ExtensionType = 0xca34 // none is assigned yet (draft 06: TBD); this is what BoringSSL has
	ExtECHOuterExtensions      ExtensionType = 0xfd00
	ExtEncryptedClientHello    ExtensionType = 0xfe0d
	ExtRenegotiationInfo       ExtensionType = 0xff01
)

// where says in which messages an extension may stand.
type where uint8

const (
	inCH where = 1 << iota
	inSH
	inEE
	inCT
	inCR
	inNST
	inHRR
	inCCR // a ClientCertificateRequest, where what may stand in a CertificateRequest may stand too
)

// known tells the name of an extension and where it may stand (RFC 8446, section
// 4.2, and the RFC of each).
var known = map[ExtensionType]struct {
	name string
	in   where
}{
	ExtServerName:              {"server_name", inCH | inEE | inCCR},
	ExtMaxFragmentLength:       {"max_fragment_length", inCH | inEE},
	ExtStatusRequest:           {"status_request", inCH | inCR | inCT},
	ExtSupportedGroups:         {"supported_groups", inCH | inEE},
	ExtECPointFormats:          {"ec_point_formats", inCH},
	ExtSignatureAlgorithms:     {"signature_algorithms", inCH | inCR},
	ExtUseSRTP:                 {"use_srtp", inCH | inEE},
	ExtHeartbeat:               {"heartbeat", inCH | inEE},
	ExtALPN:                    {"application_layer_protocol_negotiation", inCH | inEE},
	ExtSCT:                     {"signed_certificate_timestamp", inCH | inCR | inCT},
	ExtClientCertificateType:   {"client_certificate_type", inCH | inEE},
	ExtServerCertificateType:   {"server_certificate_type", inCH | inEE},
	ExtPadding:                 {"padding", inCH},
	ExtEncryptThenMAC:          {"encrypt_then_mac", inCH},
	ExtExtendedMainSecret:      {"extended_main_secret", inCH},
	ExtCompressCertificate:     {"compress_certificate", inCH | inCR},
	ExtRecordSizeLimit:         {"record_size_limit", inCH | inEE},
	ExtDelegatedCredential:     {"delegated_credential", inCH | inCR | inCT},
	ExtSessionTicket:           {"session_ticket", inCH},
	ExtPreSharedKey:            {"pre_shared_key", inCH | inSH},
	ExtEarlyData:               {"early_data", inCH | inEE | inNST},
	ExtSupportedVersions:       {"supported_versions", inCH | inSH | inHRR},
	ExtCookie:                  {"cookie", inCH | inHRR},
	ExtPSKKeyExchangeModes:     {"psk_key_exchange_modes", inCH},
	ExtCertificateAuthorities:  {"certificate_authorities", inCH | inCR},
	ExtOIDFilters:              {"oid_filters", inCR},
	ExtPostHandshakeAuth:       {"post_handshake_auth", inCH},
	ExtSignatureAlgorithmsCert: {"signature_algorithms_cert", inCH | inCR},
	ExtKeyShare:                {"key_share", inCH | inSH | inHRR},
	ExtQUICTransportParameters: {"quic_transport_parameters", inCH | inEE},
	ExtTicketRequest:           {"ticket_request", inCH | inEE},
	ExtTrustAnchors:            {"trust_anchors", inCH | inEE | inCR | inCT},
	ExtECHOuterExtensions:      {"ech_outer_extensions", 0}, // only in what is encrypted (RFC 9849, section 5.1)
	ExtEncryptedClientHello:    {"encrypted_client_hello", inCH | inHRR | inEE},
	ExtRenegotiationInfo:       {"renegotiation_info", inCH},
}

// String is the extension's IANA name, or its number.
func (t ExtensionType) String() string {
	if k, ok := known[t]; ok {
		return k.name
	}
	if suite.IsGREASE(uint16(t)) {
		return fmt.Sprintf("GREASE(%#04x)", uint16(t))
	}
	return fmt.Sprintf("extension(%d)", uint16(t))
}

// Extension is an extension as it stands on the wire.
type Extension struct {
	Type ExtensionType
	Body []byte
}

// KeyShare is a KeyShareEntry (RFC 8446, section 4.2.8).
type KeyShare struct {
	Group suite.GroupID
	Data  []byte
}

// extensions reads an extensions block into dst, whose memory it reuses, and
// holds it against the table. Extensions that are not known may stand anywhere:
// whether they were offered is the handshake's to say.
func extensions(dst []Extension, block []byte, t Type, in where) ([]Extension, error) {
	dst = dst[:0]
	r := reader{b: block}
	var seen seen
	for !r.empty() {
		x := Extension{Type: ExtensionType(r.u16()), Body: r.vec16()}
		if r.bad {
			return dst, decodeError(t, "its extensions do not add up")
		}
		if seen.again(dst, x.Type) {
			// No RFC names the alert. In what others take apart whole before they look at
			// any extension they say decode_error, elsewhere illegal_parameter, and so do we.
			if t == TypeClientHello || t == TypeEncryptedExtensions {
				return dst, decodeError(t, "the extension %s is there twice", x.Type)
			}
			return dst, illegal(t, "the extension %s is there twice", x.Type)
		}
		if len(dst) == maxExtensions {
			return dst, decodeError(t, "it has more than %d extensions", maxExtensions)
		}
		if k, ok := known[x.Type]; ok && k.in&in == 0 {
			return dst, illegal(t, "the extension %s must not stand there", x.Type)
		}
		dst = append(dst, x)
	}
	return dst, nil
}

// seen finds what is there twice, in time that does not grow with the square of
// what a peer sends: a few are compared with each other, many are marked.
type seen struct{ marks *[1 << 16 / 64]uint64 }

// again says whether t is among those before it.
func (s *seen) again(before []Extension, t ExtensionType) bool {
	const few = 48
	if len(before) < few {
		for i := range before {
			if before[i].Type == t {
				return true
			}
		}
		return false
	}
	if s.marks == nil {
		s.marks = new([1 << 16 / 64]uint64)
		for i := range before {
			s.mark(before[i].Type)
		}
	}
	return s.mark(t)
}

// mark marks t, and says whether it was.
func (s *seen) mark(t ExtensionType) bool {
	word, bit := &s.marks[t/64], uint64(1)<<(t%64)
	was := *word&bit != 0
	*word |= bit
	return was
}

// schemes reads signature_algorithms and signature_algorithms_cert.
func schemes(dst []suite.Scheme, x *Extension, t Type) ([]suite.Scheme, error) {
	r := reader{b: x.Body}
	list, ok := u16s(dst, r.vec16(), maxList)
	if !ok || !r.ok() {
		return dst, decodeError(t, "%s does not parse", x.Type)
	}
	return list, nil
}

// protocols reads ALPN's list (RFC 7301, section 3.1).
func protocols(dst []string, x *Extension, t Type) ([]string, error) {
	dst = dst[:0]
	r := reader{b: x.Body}
	list := reader{b: r.vec16()}
	if !r.ok() || list.empty() {
		return dst, decodeError(t, "%s does not parse", x.Type)
	}
	for !list.empty() {
		name := list.vec8()
		if list.bad || len(name) == 0 {
			return dst, decodeError(t, "a name in %s is empty or cut off", x.Type)
		}
		if len(dst) == maxProtocols {
			return dst, decodeError(t, "%s has more than %d names", x.Type, maxProtocols)
		}
		dst = append(dst, protocolName(name))
	}
	return dst, nil
}

// protocolName is string(b), without an allocation for the names that everybody
// uses.
func protocolName(b []byte) string {
	switch string(b) {
	case "h2":
		return "h2"
	case "http/1.1":
		return "http/1.1"
	}
	return string(b)
}

// authorities reads certificate_authorities (RFC 8446, section 4.2.4).
func authorities(dst [][]byte, x *Extension, t Type) ([][]byte, error) {
	dst = dst[:0]
	r := reader{b: x.Body}
	list := reader{b: r.vec16()}
	if !r.ok() || list.empty() {
		return dst, decodeError(t, "%s does not parse", x.Type)
	}
	for !list.empty() {
		name := list.vec16()
		if list.bad || len(name) == 0 {
			return dst, decodeError(t, "a name in %s is empty or cut off", x.Type)
		}
		if len(dst) == MaxAuthorities {
			return dst, decodeError(t, "%s has more than %d names", x.Type, MaxAuthorities)
		}
		dst = append(dst, name)
	}
	return dst, nil
}

func (w *writer) alpn(names []string) {
	at := w.ext(ExtALPN)
	list := w.open(2)
	for _, n := range names {
		one := w.open(1)
		w.b = append(w.b, n...)
		w.close(one, 1, "an ALPN name")
	}
	w.close(list, 2, "the ALPN list")
	w.done(at, ExtALPN)
}

func (w *writer) schemes(t ExtensionType, list []suite.Scheme) {
	at := w.ext(t)
	writeU16s(w, list, "the list of signature schemes")
	w.done(at, t)
}

func (w *writer) authorities(names [][]byte) {
	at := w.ext(ExtCertificateAuthorities)
	list := w.open(2)
	for _, n := range names {
		w.vec16(n, "the name of an authority")
	}
	w.close(list, 2, "the list of authorities")
	w.done(at, ExtCertificateAuthorities)
}

func (w *writer) verbatim(list []Extension) {
	for i := range list {
		at := w.ext(list[i].Type)
		w.raw(list[i].Body)
		w.done(at, list[i].Type)
	}
}

// empty reports an extension whose body has to be empty and is not.
func empty(x *Extension, t Type) error {
	if len(x.Body) != 0 {
		return decodeError(t, "%s has a body", x.Type)
	}
	return nil
}

// recordSizeLimit reads record_size_limit (RFC 8449, section 4).
func recordSizeLimit(x *Extension, t Type) (uint16, error) {
	r := reader{b: x.Body}
	v := r.u16()
	if !r.ok() {
		return 0, decodeError(t, "%s does not parse", x.Type)
	}
	if v < 64 {
		return 0, illegal(t, "%s is %d, less than 64", x.Type, v)
	}
	return v, nil
}
