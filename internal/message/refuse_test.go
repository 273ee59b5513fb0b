package message

import (
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/suite"
)

// bad is a message that is to be refused.
type bad struct {
	name  string
	msg   []byte
	alert alert.Alert
	// says is a part of the reason.
	says string
}

// hello is a ClientHello with these extensions and nothing else.
// maxInExtension is how many numbers fit in a list in the only extension of a hello.
const maxInExtension = (1<<16 - 1 - 4 - 2) / 2

func hello(list ...Extension) []byte {
	b, err := (&ClientHello{LegacyVersion: 0x0303, CipherSuites: suite.Suites(), Compression: []byte{0}, Extensions: list}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// answer is a ServerHello of TLS 1.3 with these extensions.
func answer(list ...Extension) []byte {
	b, err := (&ServerHello{LegacyVersion: 0x0303, CipherSuite: suite.AES128GCMSHA256, Version: 0x0304, Extensions: list}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

func retry(list ...Extension) []byte {
	b, err := (&ServerHello{LegacyVersion: 0x0303, Random: RetryRandom, CipherSuite: suite.AES128GCMSHA256, Version: 0x0304, Extensions: list}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

func withExtensions(t Type, list ...Extension) []byte {
	var m handshakeMessage
	switch t {
	case TypeEncryptedExtensions:
		m = &EncryptedExtensions{Extensions: list}
	case TypeCertificateRequest:
		m = &CertificateRequest{Extensions: list}
	case TypeNewSessionTicket:
		m = &NewSessionTicket{Ticket: []byte{1}, Extensions: list}
	case TypeCertificate:
		m = &Certificate{Entries: []CertificateEntry{{Data: []byte{1}, Extensions: list}}}
	}
	b, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// body makes the body of an extension: numbers are bytes, slices are vectors
// with the length that the name says.
func v8(b ...byte) []byte  { return append([]byte{byte(len(b))}, b...) }
func v16(b ...byte) []byte { return append([]byte{byte(len(b) >> 8), byte(len(b))}, b...) }
func v24(b ...byte) []byte {
	return append([]byte{byte(len(b) >> 16), byte(len(b) >> 8), byte(len(b))}, b...)
}
func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

func times(n int, b []byte) (all []byte) {
	for range n {
		all = append(all, b...)
	}
	return all
}

// numbered are n distinct extensions that nobody knows.
func numbered(n int) (list []Extension) {
	for i := range n {
		list = append(list, Extension{Type: ExtensionType(0x4000 + i)})
	}
	return list
}

func shares(n int) []byte {
	var all []byte
	for i := range n {
		all = append(all, 0x40+byte(i>>8), byte(i), 0, 1, 9)
	}
	return v16(all...)
}

func psk(identities, binders []byte) Extension {
	return Extension{ExtPreSharedKey, join(v16(identities...), v16(binders...))}
}

func refused() []bad {
	const decode, illegal = alert.DecodeError, alert.IllegalParameter
	identity, binder := join(v16(1, 2, 3), []byte{0, 0, 0, 1}), v8(fill(32, 1)...)
	name := func(kind byte, name string) []byte { return v16(join([]byte{kind}, v16([]byte(name)...))...) }
	start := func(session, suites, compression []byte) []byte {
		return wrap(TypeClientHello, join([]byte{3, 3}, fill(32, 0), session, suites, compression))
	}
	return []bad{
		{"session identifier of 33 bytes", start(v8(fill(33, 1)...), v16(0x13, 1), v8(0)), decode, "33 bytes"},
		{"no cipher suite", start(v8(), v16(), v8(0)), decode, "cipher suites"},
		{"odd cipher suites", start(v8(), v16(0x13, 1, 0x13), v8(0)), decode, "cipher suites"},
		{"no compression method", start(v8(), v16(0x13, 1), v8()), decode, "compression"},
		{"extension twice", hello(Extension{ExtCookie, v16(1)}, Extension{ExtCookie, v16(1)}), decode, "cookie is there twice"},
		{"unknown extension twice", hello(Extension{0x1234, nil}, Extension{0x1234, nil}), decode, "twice"},
		{"too many extensions", hello(numbered(maxExtensions + 1)...), decode, "more than 8192 extensions"},
		{"two key shares in a group", hello(Extension{ExtKeyShare, v16(0, 0x1d, 0, 1, 7, 0, 0x1d, 0, 1, 8)}), illegal, "two key shares in x25519"},
		{"too many key shares", hello(Extension{ExtKeyShare, shares(maxKeyShares + 1)}), decode, "more than 512 key shares"},
		{"empty key share", hello(Extension{ExtKeyShare, v16(0, 0x1d, 0, 0)}), illegal, "key share in x25519 is empty"},
		{"cut key share", hello(Extension{ExtKeyShare, v16(0, 0x1d, 0, 2, 1)}), decode, "key_share"},
		{"pre_shared_key not last", hello(psk(identity, binder), Extension{ExtPadding, nil}), illegal, "not the last"},
		{"PSK without identities", hello(psk(nil, nil)), decode, "pre_shared_key"},
		{"empty PSK identity", hello(psk(join(v16(), fill(4, 0)), binder)), decode, "identities"},
		{"PSK identity without age", hello(psk(v16(1), binder)), decode, "identities"},
		{"too many PSK identities", hello(psk(times(65, identity), times(65, binder))), decode, "identities"},
		{"short binder", hello(psk(identity, v8(fill(31, 1)...))), decode, "binders"},
		{"no binder", hello(psk(identity, nil)), decode, "no binder"},
		{"more binders than identities", hello(psk(identity, times(2, binder))), illegal, "1 identities and 2 binders"},
		{"fewer binders than identities", hello(psk(times(2, identity), binder)), illegal, "2 identities and 1 binders"},
		{"no versions", hello(Extension{ExtSupportedVersions, v8()}), decode, "supported_versions"},
		{"odd versions", hello(Extension{ExtSupportedVersions, v8(3, 4, 3)}), decode, "supported_versions"},
		{"no groups", hello(Extension{ExtSupportedGroups, v16()}), decode, "supported_groups"},
		{"odd groups", hello(Extension{ExtSupportedGroups, v16(0, 0x1d, 0)}), decode, "supported_groups"},
		{"no schemes", hello(Extension{ExtSignatureAlgorithms, v16()}), decode, "signature_algorithms"},
		{"odd schemes", hello(Extension{ExtSignatureAlgorithms, v16(4, 3, 8)}), decode, "signature_algorithms"},
		{"no certificate schemes", hello(Extension{ExtSignatureAlgorithmsCert, v16()}), decode, "signature_algorithms_cert"},
		{"empty server name list", hello(Extension{ExtServerName, v16()}), decode, "server_name"},
		{"empty server name", hello(Extension{ExtServerName, name(0, "")}), decode, "server_name"},
		{"server name of another kind", hello(Extension{ExtServerName, name(1, "a")}), decode, "something else"},
		{"two server names", hello(Extension{ExtServerName, v16(join([]byte{0}, v16('a'), []byte{0}, v16('b'))...)}), decode, "something else"},
		{"server name with a dot behind", hello(Extension{ExtServerName, name(0, "a.")}), illegal, "dot"},
		{"server name with a NUL", hello(Extension{ExtServerName, name(0, "a\x00b")}), illegal, "no name has"},
		{"server name with a space", hello(Extension{ExtServerName, name(0, "a b")}), illegal, "no name has"},
		{"server name beyond ASCII", hello(Extension{ExtServerName, name(0, "ä")}), illegal, "no name has"},
		{"server name of 256 bytes", hello(Extension{ExtServerName, name(0, strings.Repeat("a", 256))}), illegal, "too long"},
		{"no protocol", hello(Extension{ExtALPN, v16()}), decode, "negotiation"},
		{"no certificate type", hello(Extension{ExtClientCertificateType, v8()}), illegal, "no type beside X509"},
		{"the default certificate type", hello(Extension{ExtServerCertificateType, v8(0)}), illegal, "no type beside X509"},
		{"cut certificate types", hello(Extension{ExtServerCertificateType, []byte{3, 0, 2}}), decode, "does not parse"},
		{"two certificate types chosen", withExtensions(TypeEncryptedExtensions, Extension{ExtServerCertificateType, []byte{2, 0}}), decode, "does not parse"},
		{"empty protocol", hello(Extension{ExtALPN, v16(0)}), decode, "empty or cut"},
		{"cut protocol", hello(Extension{ExtALPN, v16(2, 'h')}), decode, "empty or cut"},
		{"too many protocols", hello(Extension{ExtALPN, v16(times(maxProtocols+1, v8('p'))...)}), decode, "more than 64"},
		{"empty cookie", hello(Extension{ExtCookie, v16()}), decode, "cookie"},
		{"no authorities", hello(Extension{ExtCertificateAuthorities, v16()}), decode, "certificate_authorities"},
		{"empty authority", hello(Extension{ExtCertificateAuthorities, v16(0, 0)}), decode, "empty or cut"},
		{"too many authorities", hello(Extension{ExtCertificateAuthorities, v16(times(MaxAuthorities+1, v16(1))...)}), decode, "more than 1024"},
		{"no PSK modes", hello(Extension{ExtPSKKeyExchangeModes, v8()}), decode, "psk_key_exchange_modes"},
		{"early data with a body", hello(Extension{ExtEarlyData, []byte{0}}), decode, "early_data has a body"},
		{"post-handshake authentication with a body", hello(Extension{ExtPostHandshakeAuth, []byte{0}}), decode, "has a body"},
		{"an empty trust anchor", hello(Extension{ExtTrustAnchors, v16(1, 7, 0)}), decode, "empty or cut off"},
		{"a cut trust anchor", hello(Extension{ExtTrustAnchors, v16(2, 7)}), decode, "empty or cut off"},
		{"trust anchors and more", hello(Extension{ExtTrustAnchors, append(v16(1, 7), 0)}), decode, "trust_anchors"},
		{"too many trust anchors", hello(Extension{ExtTrustAnchors, v16(times(MaxTrustAnchors+1, v8(1))...)}), decode, "more than 1024"},
		{"a server without the trust anchors that it tells", withExtensions(TypeEncryptedExtensions, Extension{ExtTrustAnchors, v16()}), decode, "trust_anchors"},
		{"a server's empty trust anchor", withExtensions(TypeEncryptedExtensions, Extension{ExtTrustAnchors, v16(0)}), decode, "empty or cut off"},
		{"a request with an empty trust anchor", withExtensions(TypeCertificateRequest, Extension{ExtTrustAnchors, v16(0)}), decode, "empty or cut off"},
		{"no compression algorithm", hello(Extension{ExtCompressCertificate, v8()}), decode, "compress_certificate"},
		{"odd compression algorithms", hello(Extension{ExtCompressCertificate, v8(0, 1, 0)}), decode, "compress_certificate"},
		{"a compression algorithm twice", hello(Extension{ExtCompressCertificate, v8(0, 1, 0, 2, 0, 1)}), decode, "zlib twice"},
		{"status_request cut off", hello(Extension{ExtStatusRequest, []byte{1, 0, 0}}), decode, "status_request"},
		{"status_request with an empty responder", hello(Extension{ExtStatusRequest, []byte{1, 0, 2, 0, 0, 0, 0}}), decode, "status_request"},
		{"wish for timestamps with a body", hello(Extension{ExtSCT, []byte{0}}), decode, "has a body"},
		{"empty encrypted_client_hello", hello(Extension{ExtEncryptedClientHello, nil}), decode, "is empty"},
		{"encrypted_client_hello of type 2", hello(Extension{ExtEncryptedClientHello, []byte{2}}), illegal, "unknown type 2"},
		{"inner encrypted_client_hello with a body", hello(Extension{ExtEncryptedClientHello, []byte{1, 0}}), decode, "does not parse"},
		{"encrypted_client_hello without a payload", hello(Extension{ExtEncryptedClientHello, join([]byte{0, 0, 1, 0, 1, 9}, v16(1), v16())}), decode, "does not parse"},
		{"encrypted_client_hello that is cut", hello(Extension{ExtEncryptedClientHello, join([]byte{0, 0, 1, 0, 1, 9}, v16(1))}), decode, "does not parse"},
		{"encapsulated key of 2049 bytes", hello(Extension{ExtEncryptedClientHello, join([]byte{0, 0, 1, 0, 1, 9}, v16(fill(2049, 1)...), v16(1))}), decode, "2049 bytes"},
		{"retry with an ECH confirmation of 7 bytes", retry(Extension{ExtEncryptedClientHello, fill(7, 1)}), decode, "does not parse"},
		{"retry with an ECH confirmation of 9 bytes", retry(Extension{ExtEncryptedClientHello, fill(9, 1)}), decode, "does not parse"},
		{"ServerHello with an ECH confirmation", answer(Extension{ExtEncryptedClientHello, fill(8, 1)}), illegal, "must not stand there"},
		{"retry configs that do not parse", withExtensions(TypeEncryptedExtensions, Extension{ExtEncryptedClientHello, []byte{0xba, 0xdd, 0xec, 0xcc}}), decode, "does not parse"},
		{"record size limit of 63", hello(Extension{ExtRecordSizeLimit, []byte{0, 63}}), illegal, "less than 64"},

		{"server's session identifier of 33 bytes", wrap(TypeServerHello, join([]byte{3, 3}, fill(32, 0), v8(fill(33, 1)...), []byte{0x13, 1, 0})), decode, "session identifier"},
		{"server's extension twice", answer(Extension{0x1234, nil}, Extension{0x1234, nil}), illegal, "twice"},
		{"server's empty share", answer(Extension{ExtKeyShare, []byte{0, 0x1d, 0, 0}}), decode, "key_share"},
		{"version 0", wrap(TypeServerHello, join([]byte{3, 3}, fill(32, 0), v8(), []byte{0x13, 1, 0}, v16(0, 43, 0, 2, 0, 0))), illegal, "version 0"},
		{"version and more", wrap(TypeServerHello, join([]byte{3, 3}, fill(32, 0), v8(), []byte{0x13, 1, 0}, v16(0, 43, 0, 4, 3, 4, 3, 3))), decode, "supported_versions"},
		{"TLS 1.2 ServerHello with an extension twice", wrap(TypeServerHello, join([]byte{3, 3}, fill(32, 0), v8(), []byte{0x13, 1, 0}, v16(0x12, 0x34, 0, 0, 0x12, 0x34, 0, 0))), illegal, "twice"},
		{"retry with a whole share", retry(Extension{ExtKeyShare, join([]byte{0, 0x1d}, v16(1))}), decode, "key_share"},
		{"retry with group 0", retry(Extension{ExtKeyShare, []byte{0, 0}}), decode, "key_share"},
		{"retry with an empty cookie", retry(Extension{ExtCookie, v16()}), decode, "cookie"},
		{"retry with a PSK", retry(Extension{ExtPreSharedKey, []byte{0, 0}}), illegal, "must not stand there"},
		{"ServerHello with a cookie", answer(Extension{ExtCookie, v16(1)}), illegal, "must not stand there"},

		{"two protocols chosen", withExtensions(TypeEncryptedExtensions, Extension{ExtALPN, v16(join(v8('a'), v8('b'))...)}), decode, "chooses 2"},
		{"no protocol chosen", withExtensions(TypeEncryptedExtensions, Extension{ExtALPN, v16()}), decode, "negotiation"},
		{"server name echoed", withExtensions(TypeEncryptedExtensions, Extension{ExtServerName, name(0, "a")}), decode, "has a body"},
		{"early data accepted with a body", withExtensions(TypeEncryptedExtensions, Extension{ExtEarlyData, []byte{1}}), decode, "has a body"},
		{"server's odd groups", withExtensions(TypeEncryptedExtensions, Extension{ExtSupportedGroups, v16(0)}), decode, "supported_groups"},
		{"ticket request of one byte", hello(Extension{ExtTicketRequest, []byte{1}}), decode, "ticket_request does not parse"},
		{"ticket request of three bytes", hello(Extension{ExtTicketRequest, []byte{1, 1, 1}}), decode, "ticket_request does not parse"},
		{"server's answer to a ticket request of two bytes", withExtensions(TypeEncryptedExtensions, Extension{ExtTicketRequest, []byte{1, 1}}), decode, "ticket_request does not parse"},
		{"server's record size limit of 0", withExtensions(TypeEncryptedExtensions, Extension{ExtRecordSizeLimit, []byte{0, 0}}), illegal, "less than 64"},
		{"too many encrypted extensions", withExtensions(TypeEncryptedExtensions, numbered(maxExtensions+1)...), decode, "more than 8192"},

		{"request with odd schemes", withExtensions(TypeCertificateRequest, Extension{ExtSignatureAlgorithms, v16(4)}), decode, "signature_algorithms"},
		{"request with odd certificate schemes", withExtensions(TypeCertificateRequest, Extension{ExtSignatureAlgorithmsCert, v16(4)}), decode, "signature_algorithms_cert"},
		{"request with a status_request that says more", withExtensions(TypeCertificateRequest, Extension{ExtStatusRequest, []byte{1, 0, 0, 0, 0}}), decode, "has a body"},
		{"request with a filter twice", withExtensions(TypeCertificateRequest, Extension{ExtOIDFilters, v16(join(v8(6, 1, 1), v16(), v8(6, 1, 1), v16(5))...)}), illegal, "twice"},
		{"request with a filter for nothing", withExtensions(TypeCertificateRequest, Extension{ExtOIDFilters, v16(0, 0, 0)}), decode, "oid_filters"},
		{"request with a cut filter", withExtensions(TypeCertificateRequest, Extension{ExtOIDFilters, v16(1, 6, 0, 9)}), decode, "oid_filters"},
		{"compressed certificate of nothing", wrap(TypeCompressedCertificate, join([]byte{0, 1, 0, 0, 9}, v24())), decode, "does not parse"},
		{"compressed certificate and more", wrap(TypeCompressedCertificate, join([]byte{0, 1, 0, 0, 9}, v24(1), []byte{0})), decode, "does not parse"},
		{"request with no authority", withExtensions(TypeCertificateRequest, Extension{ExtCertificateAuthorities, v16()}), decode, "certificate_authorities"},
		{"request with an extension twice", withExtensions(TypeCertificateRequest, Extension{0x1234, nil}, Extension{0x1234, nil}), illegal, "twice"},

		{"empty certificate", wrap(TypeCertificate, join(v8(), v24(join(v24(), v16())...))), decode, "empty or cut"},
		{"certificate without extensions", wrap(TypeCertificate, join(v8(), v24(v24(1)...))), decode, "empty or cut"},
		{"certificate with an extension twice", withExtensions(TypeCertificate, Extension{0x1234, nil}, Extension{0x1234, nil}), illegal, "twice"},
		{"certificate with a broken extension", wrap(TypeCertificate, join(v8(), v24(join(v24(1), v16(0, 5, 0, 9))...))), decode, "do not add up"},
		{"chain of 17", wrap(TypeCertificate, join(v8(), v24(times(17, join(v24(1), v16()))...))), decode, "more than 16"},

		{"ticket of no bytes", wrap(TypeNewSessionTicket, join(fill(8, 0), v8(), v16(), v16())), decode, "does not parse"},
		{"ticket with an extension twice", withExtensions(TypeNewSessionTicket, Extension{0x1234, nil}, Extension{0x1234, nil}), illegal, "twice"},
		{"ticket with an early_data of 3 bytes", withExtensions(TypeNewSessionTicket, Extension{ExtEarlyData, []byte{0, 0, 0}}), decode, "early_data"},
		{"KeyUpdate 2", wrap(TypeKeyUpdate, []byte{2}), illegal, "0 or 1"},
		{"KeyUpdate without a body", wrap(TypeKeyUpdate, nil), decode, "does not parse"},
		{"EndOfEarlyData with a body", wrap(TypeEndOfEarlyData, []byte{0}), decode, "has a body"},
	}
}

func TestBadMessagesAreRefusedWithTheirAlert(t *testing.T) {
	for _, b := range refused() {
		t.Run(b.name, func(t *testing.T) {
			typ := Type(b.msg[0])
			e := refusal(t, blank(typ).Parse(b.msg))
			if e.Alert != b.alert || e.Message != typ || !strings.Contains(e.Reason, b.says) {
				t.Errorf("%v: %v, expected %v and %q", e.Alert, e, b.alert, b.says)
			}
		})
	}
}

// What is at its limit is taken, so the tests of what is beyond test the limit.
func TestWhatIsAtItsLimitIsTaken(t *testing.T) {
	for name, msg := range map[string][]byte{
		"extensions":            hello(numbered(maxExtensions)...),
		"shares":                hello(Extension{ExtKeyShare, shares(maxKeyShares)}),
		"suites":                wrap(TypeClientHello, join([]byte{3, 3}, fill(32, 0), v8(fill(32, 1)...), v16(fill(2*maxList, 1)...), v8(0))),
		"versions":              hello(Extension{ExtSupportedVersions, v8(fill(254, 3)...)}),
		"groups":                hello(Extension{ExtSupportedGroups, v16(fill(2*maxInExtension, 1)...)}),
		"schemes":               hello(Extension{ExtSignatureAlgorithms, v16(fill(2*maxInExtension, 1)...)}),
		"protocols":             hello(Extension{ExtALPN, v16(times(maxProtocols, v8('p'))...)}),
		"authorities":           hello(Extension{ExtCertificateAuthorities, v16(times(MaxAuthorities, v16(1))...)}),
		"PSKs":                  hello(psk(times(64, join(v16(1), fill(4, 0))), times(64, v8(fill(32, 1)...)))),
		"server name":           hello(Extension{ExtServerName, v16(join([]byte{0}, v16(fill(255, 'a')...))...)}),
		"trust anchors":         hello(Extension{ExtTrustAnchors, v16(times(MaxTrustAnchors, v8(fill(50, 1)...))...)}),
		"no trust anchors":      hello(Extension{ExtTrustAnchors, v16()}),
		"longest anchor":        withExtensions(TypeEncryptedExtensions, Extension{ExtTrustAnchors, v16(v8(fill(255, 1)...)...)}),
		"the same anchor twice": hello(Extension{ExtTrustAnchors, v16(1, 7, 1, 7)}),
		"size limit":            hello(Extension{ExtRecordSizeLimit, []byte{0, 64}}),
		"chain":                 wrap(TypeCertificate, join(v8(), v24(times(MaxChain, join(v24(1), v16()))...))),
		"unread CH extensions with any body": hello(Extension{ExtStatusRequest, []byte{2}}, Extension{ExtUseSRTP, nil},
			Extension{ExtRenegotiationInfo, []byte{7, 7}}),
	} {
		if err := blank(Type(msg[0])).Parse(msg); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The table of RFC 8446, section 4.2, and those of the RFCs that came after.
var standsIn = map[string]string{
	"server_name": "CH EE", "max_fragment_length": "CH EE", "status_request": "CH CR CT", "supported_groups": "CH EE",
	"signature_algorithms": "CH CR", "use_srtp": "CH EE", "heartbeat": "CH EE", "application_layer_protocol_negotiation": "CH EE",
	"signed_certificate_timestamp": "CH CR CT", "client_certificate_type": "CH EE", "server_certificate_type": "CH EE", "padding": "CH",
	"key_share": "CH SH HRR", "pre_shared_key": "CH SH", "psk_key_exchange_modes": "CH", "early_data": "CH EE NST", "cookie": "CH HRR",
	"supported_versions": "CH SH HRR", "certificate_authorities": "CH CR", "oid_filters": "CR", "post_handshake_auth": "CH",
	"signature_algorithms_cert": "CH CR",
	// Of TLS 1.2 alone: a client that speaks both offers them.
	"ec_point_formats": "CH", "encrypt_then_mac": "CH", "extended_main_secret": "CH", "session_ticket": "CH", "renegotiation_info": "CH",
	"compress_certificate":      "CH CR",       // RFC 8879
	"record_size_limit":         "CH EE",       // RFC 8449
	"delegated_credential":      "CH CR CT",    // RFC 9345
	"quic_transport_parameters": "CH EE",       // RFC 9001
	"ticket_request":            "CH EE",       // RFC 9149
	"encrypted_client_hello":    "CH HRR EE",   // RFC 9849
	"trust_anchors":             "CH EE CR CT", // draft-ietf-tls-trust-anchor-ids-06, section 9.1
	"ech_outer_extensions":      "",            // only in what is encrypted
}

func TestKnownExtensionsStandOnlyWhereTheTableAllowsThem(t *testing.T) {
	messages := map[string]func(Extension) []byte{
		"CH": func(x Extension) []byte { return hello(x) },
		"SH": func(x Extension) []byte {
			if x.Type == ExtSupportedVersions {
				return answer()
			}
			return answer(x)
		},
		"HRR": func(x Extension) []byte {
			if x.Type == ExtSupportedVersions {
				return retry()
			}
			return retry(x)
		},
		"EE":  func(x Extension) []byte { return withExtensions(TypeEncryptedExtensions, x) },
		"CR":  func(x Extension) []byte { return withExtensions(TypeCertificateRequest, x) },
		"CT":  func(x Extension) []byte { return withExtensions(TypeCertificate, x) },
		"NST": func(x Extension) []byte { return withExtensions(TypeNewSessionTicket, x) },
	}
	if len(known) != len(standsIn) {
		t.Errorf("%d extensions are known, and the table here has %d", len(known), len(standsIn))
	}
	for typ := range known {
		allowed, ok := standsIn[typ.String()]
		if !ok {
			t.Errorf("%s is not in the table here", typ)
		}
		for name, make := range messages {
			msg := make(Extension{Type: typ})
			err := blank(Type(msg[0])).Parse(msg)
			e, _ := err.(*Error)
			misplaced := e != nil && e.Alert == alert.IllegalParameter && strings.Contains(e.Reason, "must not stand there")
			if want := !strings.Contains(" "+allowed+" ", " "+name+" "); misplaced != want {
				t.Errorf("%s in %s: %v; the table says that it may stand in %s", typ, name, err, allowed)
			}
		}
	}
}

func TestUnknownExtensionsMayStandAnywhere(t *testing.T) {
	x := Extension{0x5a5a, []byte{1, 2, 3}}
	for _, msg := range [][]byte{
		hello(x), answer(x), retry(x), withExtensions(TypeEncryptedExtensions, x), withExtensions(TypeCertificateRequest, x),
		withExtensions(TypeCertificate, x), withExtensions(TypeNewSessionTicket, x),
	} {
		if err := blank(Type(msg[0])).Parse(msg); err != nil {
			t.Error(err)
		}
	}
}
