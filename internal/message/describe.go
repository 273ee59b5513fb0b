package message

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/mutual-tls/mutual/internal/suite"
)

// Field is one part of a message as it stands on the wire.
type Field struct {
	// Name is the field's name in the RFC. Extensions have their own names;
	// certificates and what belongs to them are numbered from 1.
	Name string
	// Value tells the content in printable ASCII: what a peer wrote is quoted.
	Value string
	// Bytes are the field with its length and type in front, where it has them.
	Bytes []byte
}

// Describe takes any message apart, in the order of the wire. It does not judge:
// what does not parse is told to be so, and what is not known is told by its
// length. The fields' bytes, one after the other, are msg; they alias it.
func Describe(msg []byte) []Field {
	d := describer{b: msg}
	if len(msg) < HeaderLen {
		return d.rest("unfinished header")
	}
	t, n := Header(msg)
	d.add("msg_type", 1, fmt.Sprintf("%s (%d)", t, uint8(t)))
	d.add("length", 3, counted(n, "byte"))
	var trailing []byte
	if n < len(d.b) {
		trailing, d.b = d.b[n:], d.b[:n:n]
	}
	d.message(t)
	d.rest("does not parse")
	d.b = trailing
	return d.rest("behind the message")
}

// describer takes fields off the front of b. After bad nothing more is taken.
type describer struct {
	b   []byte
	bad bool
	out []Field
}

// add takes n bytes that mean value.
func (d *describer) add(name string, n int, value string) {
	if d.bad || n > len(d.b) {
		d.bad = true
		return
	}
	d.out = append(d.out, Field{name, value, d.b[:n:n]})
	d.b = d.b[n:]
}

// rest ends the description with what was not taken, if anything was not.
func (d *describer) rest(why string) []Field {
	d.bad = false
	if len(d.b) > 0 {
		d.add("("+why+")", len(d.b), counted(len(d.b), "byte"))
	}
	return d.out
}

// number takes a number of n bytes.
func (d *describer) number(name string, n int, tell func(v uint64) string) {
	if n > len(d.b) {
		d.bad = true
	}
	if d.bad {
		return
	}
	var v uint64
	for _, c := range d.b[:n] {
		v = v<<8 | uint64(c)
	}
	d.add(name, n, tell(v))
}

// vec takes a vector with a length of n bytes in front.
func (d *describer) vec(name string, n int, tell func(content []byte) string) {
	content, ok := d.peek(n)
	if !ok {
		d.bad = true
		return
	}
	d.add(name, n+len(content), tell(content))
}

// peek is the content of the vector in front, which stays there.
func (d *describer) peek(n int) ([]byte, bool) {
	if d.bad || n > len(d.b) {
		return nil, false
	}
	size := 0
	for _, c := range d.b[:n] {
		size = size<<8 | int(c)
	}
	if size > len(d.b)-n {
		return nil, false
	}
	return d.b[n : n+size : n+size], true
}

func (d *describer) message(t Type) {
	switch t {
	case TypeClientHello:
		d.number("legacy_version", 2, version)
		d.add("random", 32, hexOf(d.b, 32))
		d.vec("legacy_session_id", 1, inHex)
		d.vec("cipher_suites", 2, list16[suite.ID])
		d.vec("legacy_compression_methods", 1, list8("null"))
		if len(d.b) > 0 || d.bad {
			d.extensions(t, "", false)
		}
	case TypeServerHello:
		d.number("legacy_version", 2, version)
		retry := len(d.b) >= 32 && string(d.b[:32]) == string(RetryRandom[:])
		random := hexOf(d.b, 32)
		if retry {
			random += " (this makes it a HelloRetryRequest)"
		}
		d.add("random", 32, random)
		d.vec("legacy_session_id_echo", 1, inHex)
		d.number("cipher_suite", 2, func(v uint64) string { return suite.ID(v).String() })
		d.number("legacy_compression_method", 1, decimal)
		if len(d.b) > 0 || d.bad {
			d.extensions(t, "", retry)
		}
	case TypeEncryptedExtensions:
		d.extensions(t, "", false)
	case TypeCertificateRequest, TypeClientCertificateRequest:
		d.vec("certificate_request_context", 1, inHex)
		d.extensions(t, "", false)
	case TypeCertificate:
		d.certificate()
	case TypeCompressedCertificate:
		d.number("algorithm", 2, func(v uint64) string { return Compression(v).String() })
		d.number("uncompressed_length", 3, decimal)
		d.vec("compressed_certificate_message", 3, sized)
	case TypeCertificateVerify:
		d.number("algorithm", 2, func(v uint64) string { return suite.Scheme(v).String() })
		d.vec("signature", 2, sized)
	case TypeFinished:
		d.add("verify_data", len(d.b), inHex(d.b))
	case TypeNewSessionTicket:
		d.number("ticket_lifetime", 4, func(v uint64) string { return counted(int(v), "second") })
		d.number("ticket_age_add", 4, func(v uint64) string { return fmt.Sprintf("%#08x", v) })
		d.vec("ticket_nonce", 1, inHex)
		d.vec("ticket", 2, sized)
		d.extensions(t, "", false)
	case TypeKeyUpdate:
		d.number("request_update", 1, func(v uint64) string {
			switch v {
			case 0:
				return "update_not_requested (0)"
			case 1:
				return "update_requested (1)"
			}
			return decimal(v)
		})
	case TypeMessageHash:
		d.add("hash", len(d.b), inHex(d.b))
	case TypeEndOfEarlyData:
	default:
		if len(d.b) > 0 {
			d.add("body", len(d.b), counted(len(d.b), "byte"))
		}
	}
}

// certificate takes the body of a Certificate.
func (d *describer) certificate() {
	d.vec("certificate_request_context", 1, inHex)
	list, ok := d.peek(3)
	if !ok {
		d.bad = true
		return
	}
	d.add("certificate_list", 3, counted(len(list), "byte"))
	for i := 1; len(d.b) > 0 && !d.bad; i++ {
		d.vec(fmt.Sprintf("certificate %d", i), 3, func(der []byte) string { return counted(len(der), "byte") + " of DER" })
		d.extensions(TypeCertificate, fmt.Sprintf("certificate %d: ", i), false)
	}
}

// extensions takes an extensions block: its length, and each extension.
func (d *describer) extensions(t Type, prefix string, retry bool) {
	block, ok := d.peek(2)
	if !ok {
		d.bad = true
		return
	}
	d.add(prefix+"extensions", 2, counted(len(block), "byte"))
	whole := d.b
	for d.b = block; len(d.b) > 0 && !d.bad; {
		r := reader{b: d.b}
		x := ExtensionType(r.u16())
		body := r.vec16()
		if r.bad {
			d.bad = true
			break
		}
		value, ok := tellExtension(x, t, retry, body)
		if !ok {
			value = "does not parse (" + counted(len(body), "byte") + ")"
		}
		d.add(prefix+x.String(), 4+len(body), value)
	}
	// Where the block does not add up, its end and what follows are one remainder.
	d.b = whole[len(block)-len(d.b):]
}

// tellExtension tells an extension's body. It is false where the body is not of
// the form that its RFC gives it.
func tellExtension(x ExtensionType, t Type, retry bool, body []byte) (string, bool) {
	r := reader{b: body}
	hello := t == TypeClientHello
	switch x {
	case ExtServerName:
		if !hello {
			return flag(body, "accepted")
		}
		names := reader{b: r.vec16()}
		var out []string
		for !names.empty() {
			kind := names.u8()
			name := strconv.QuoteToASCII(string(names.vec16()))
			if kind != 0 {
				name = fmt.Sprintf("type %d: %s", kind, name)
			}
			out = append(out, name)
		}
		return joined(out), r.ok() && !names.bad && len(out) > 0
	case ExtMaxFragmentLength:
		n := r.u8()
		return counted(1<<(8+n&7), "byte"), r.ok() && n >= 1 && n <= 4
	case ExtStatusRequest:
		if t == TypeCertificate {
			kind, response := r.u8(), r.vec24()
			return "an OCSP response of " + counted(len(response), "byte"), r.ok() && kind == 1
		}
		return "OCSP", t == TypeCertificateRequest || len(body) >= 5 && body[0] == 1
	case ExtSupportedGroups:
		v := r.vec16()
		return list16[suite.GroupID](v), r.ok() && even(v)
	case ExtECPointFormats:
		v := r.vec8()
		return list8("uncompressed")(v), r.ok()
	case ExtSignatureAlgorithms, ExtSignatureAlgorithmsCert, ExtDelegatedCredential:
		if t == TypeCertificate {
			return "a credential of " + counted(len(body), "byte"), true
		}
		v := r.vec16()
		return list16[suite.Scheme](v), r.ok() && even(v)
	case ExtHeartbeat:
		return list8("", "peer_allowed_to_send", "peer_not_allowed_to_send")(r.take(1)), r.ok()
	case ExtALPN:
		return tellNames(r)
	case ExtSCT:
		if hello || t == TypeCertificateRequest {
			return flag(body, "wanted")
		}
		list := reader{b: r.vec16()}
		n := 0
		for ; !list.empty(); n++ {
			list.vec16()
		}
		return counted(n, "timestamp"), r.ok() && !list.bad
	case ExtClientCertificateType, ExtServerCertificateType:
		v := body
		if hello {
			v = r.vec8()
		} else {
			r.take(1)
		}
		return list8("X509", "OpenPGP", "RawPublicKey")(v), r.ok()
	case ExtPadding:
		return counted(len(body), "byte"), true
	case ExtEncryptThenMAC, ExtExtendedMainSecret, ExtPostHandshakeAuth:
		return flag(body, "supported")
	case ExtCompressCertificate:
		v := r.vec8()
		return list16[Compression](v), r.ok() && even(v)
	case ExtRecordSizeLimit:
		return counted(int(r.u16()), "byte"), r.ok()
	case ExtSessionTicket:
		if len(body) == 0 {
			return "supported", true
		}
		return "a ticket of " + counted(len(body), "byte"), true
	case ExtPreSharedKey:
		return tellPSK(r, hello)
	case ExtEarlyData:
		if t == TypeNewSessionTicket {
			return "at most " + counted(int(r.u32()), "byte"), r.ok()
		}
		return flag(body, "used")
	case ExtSupportedVersions:
		if !hello {
			return version(uint64(r.u16())), r.ok()
		}
		v := r.vec8()
		return list16[wireVersion](v), r.ok() && even(v)
	case ExtCookie:
		return counted(len(r.vec16()), "byte"), r.ok()
	case ExtPSKKeyExchangeModes:
		v := r.vec8()
		return list8("psk_ke", "psk_dhe_ke")(v), r.ok()
	case ExtCertificateAuthorities:
		list := reader{b: r.vec16()}
		var out []string
		for !list.empty() {
			out = append(out, AuthorityName(list.vec16()))
		}
		return joined(out), r.ok() && !list.bad && len(out) > 0
	case ExtOIDFilters:
		list := reader{b: r.vec16()}
		var out []string
		for !list.empty() {
			out = append(out, tellFilter(list.vec8(), list.vec16()))
		}
		return joined(out), r.ok() && !list.bad
	case ExtTrustAnchors:
		if t == TypeCertificate {
			return flag(body, "chosen for a trust anchor that was named")
		}
		list := reader{b: r.vec16()}
		var out []string
		for !list.empty() {
			out = append(out, TrustAnchorID(list.vec8()).String())
		}
		return joined(out), r.ok() && !list.bad && (len(out) > 0 || t != TypeEncryptedExtensions)
	case ExtKeyShare:
		return tellShares(r, hello, retry)
	case ExtTicketRequest:
		if !hello {
			return counted(int(r.u8()), "ticket") + " expected", r.ok()
		}
		fresh, resumed := r.u8(), r.u8()
		return fmt.Sprintf("%d after a full handshake, %d after a resumption", fresh, resumed), r.ok()
	case ExtEncryptedClientHello:
		switch {
		case hello && len(body) > 0 && body[0] == 0:
			return "outer: the real hello is in it, encrypted (" + counted(len(body), "byte") + ")", true
		case hello && len(body) == 1 && body[0] == 1:
			return "inner", true
		case t == TypeEncryptedExtensions:
			list, err := ParseECHConfigList(body)
			return "retry with " + counted(len(list), "config"), err == nil
		}
		return counted(len(body), "byte"), !hello && len(body) == ECHConfirmationLen
	case ExtRenegotiationInfo:
		v := r.vec8()
		return inHex(v), r.ok()
	}
	return counted(len(body), "byte"), true
}

func tellNames(r reader) (string, bool) {
	list := reader{b: r.vec16()}
	var out []string
	for !list.empty() {
		out = append(out, strconv.QuoteToASCII(string(list.vec8())))
	}
	return joined(out), r.ok() && !list.bad && len(out) > 0
}

// tellFilter tells a filter by the extension's OID with dots.
func tellFilter(oid, values []byte) string {
	var id asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(oid, &id); err != nil || len(rest) > 0 {
		return "an unreadable OID"
	}
	return id.String() + " (" + counted(len(values), "byte") + ")"
}

func tellShares(r reader, hello, retry bool) (string, bool) {
	share := func(r *reader) string {
		group := suite.GroupID(r.u16())
		return fmt.Sprintf("%s (%s)", group, counted(len(r.vec16()), "byte"))
	}
	switch {
	case retry:
		return suite.GroupID(r.u16()).String() + " is wanted", r.ok()
	case !hello:
		return share(&r), r.ok()
	}
	list := reader{b: r.vec16()}
	var out []string
	for !list.empty() {
		out = append(out, share(&list))
	}
	return joined(out), r.ok() && !list.bad
}

func tellPSK(r reader, hello bool) (string, bool) {
	if !hello {
		return fmt.Sprintf("number %d of those offered", int(r.u16())+1), r.ok()
	}
	ids := reader{b: r.vec16()}
	binders := reader{b: r.vec16()}
	n, m := 0, 0
	for ; !ids.empty(); n++ {
		ids.vec16()
		ids.u32()
	}
	for ; !binders.empty(); m++ {
		binders.vec8()
	}
	return counted(n, "key") + " offered, " + counted(m, "binder"), r.ok() && !ids.bad && !binders.bad
}

// AuthorityName tells a distinguished name in DER as certificate_authorities
// holds them, quoted: its common name, else its organisation, else all of it.
func AuthorityName(der []byte) string {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 {
		return "an unreadable name (" + counted(len(der), "byte") + ")"
	}
	var name pkix.Name
	name.FillFromRDNSequence(&seq)
	switch {
	case name.CommonName != "":
		return quoted(name.CommonName)
	case len(name.Organization) > 0:
		return quoted(name.Organization[0])
	}
	return quoted(seq.String())
}

// maxQuoted is how much of one peer's string is told. A certificate's longest
// names have 64 characters (RFC 5280, appendix A.1).
const maxQuoted = 128

func quoted(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// wireVersion is a version's code point.
type wireVersion uint16

func (v wireVersion) String() string { return version(uint64(v)) }

func version(v uint64) string {
	switch v {
	case 0x0300:
		return "SSL 3.0 (0x0300)"
	case 0x0301:
		return "TLS 1.0 (0x0301)"
	case 0x0302:
		return "TLS 1.1 (0x0302)"
	case 0x0303:
		return "TLS 1.2 (0x0303)"
	case 0x0304:
		return "TLS 1.3 (0x0304)"
	}
	if suite.IsGREASE(uint16(v)) {
		return fmt.Sprintf("GREASE(%#04x)", v)
	}
	return fmt.Sprintf("%#04x", v)
}

// maxListed bounds how many entries of a list are told.
const maxListed = 200

func joined(items []string) string {
	if len(items) > maxListed {
		return strings.Join(items[:maxListed], ", ") + fmt.Sprintf(" and %d more", len(items)-maxListed)
	}
	if len(items) == 0 {
		return "none"
	}
	return strings.Join(items, ", ")
}

func list16[T interface {
	~uint16
	fmt.Stringer
}](v []byte) string {
	var out []string
	for ; len(v) >= 2; v = v[2:] {
		out = append(out, T(uint16(v[0])<<8|uint16(v[1])).String())
	}
	return joined(out)
}

// list8 tells numbers of one byte by their names, as far as they have one.
func list8(names ...string) func([]byte) string {
	return func(v []byte) string {
		var out []string
		for _, c := range v {
			if int(c) < len(names) && names[c] != "" {
				out = append(out, names[c])
			} else {
				out = append(out, strconv.Itoa(int(c)))
			}
		}
		return joined(out)
	}
}

func even(v []byte) bool { return len(v) > 0 && len(v)%2 == 0 }

// flag tells an extension that says something by being there.
func flag(body []byte, value string) (string, bool) { return value, len(body) == 0 }

func sized(content []byte) string { return counted(len(content), "byte") }

func inHex(content []byte) string {
	if len(content) == 0 {
		return "empty"
	}
	return hexOf(content, 64)
}

// hexOf is at most n bytes of b in hex.
func hexOf(b []byte, n int) string { return hex.EncodeToString(b[:min(n, len(b))]) }

func decimal(v uint64) string { return strconv.FormatUint(v, 10) }

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
