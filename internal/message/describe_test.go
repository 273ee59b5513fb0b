package message

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
)

func must(t testing.TB, b []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func distinguished(t testing.TB, n pkix.Name) []byte {
	b, err := asn1.Marshal(n.ToRDNSequence())
	return must(t, b, err)
}

// told are whole messages with what Describe has to say of them.
func told(t testing.TB) map[string]struct {
	msg    []byte
	fields map[string]string
} {
	hello := ClientHello{
		LegacyVersion: 0x0303, SessionID: []byte{1, 2}, CipherSuites: []suite.ID{suite.AES128GCMSHA256, 0x0a0a}, Compression: []byte{0},
		ServerName: "orders", Versions: []uint16{0x0304}, Groups: []suite.GroupID{suite.X25519}, Schemes: []suite.Scheme{suite.Ed25519},
		KeyShares: []KeyShare{{suite.X25519, make([]byte, 32)}}, HasKeyShares: true, ALPN: []string{"h2", "\x1b[31m"},
		Cookie: []byte{1}, PSKModes: []uint8{1}, RecordSizeLimit: 100, PostHandshakeAuth: true, EarlyData: true,
		Extensions: []Extension{{ExtPadding, make([]byte, 3)}, {0x1234, []byte{1}}, {ExtCompressCertificate, []byte{2, 0, 2}}, {ExtTrustAnchors, []byte{0, 8, 4, 0x81, 0xfd, 0x59, 1, 2, 0x80, 1}}, {ExtHeartbeat, []byte{1, 1}}},
		PSK:        &PreSharedKeys{Identities: []PSKIdentity{{Identity: []byte{1}}}, Binders: [][]byte{make([]byte, 32)}},
	}
	chain := Certificate{Entries: []CertificateEntry{{Data: []byte{0x30, 0}}, {Data: []byte{0x30, 0}, Extensions: []Extension{{ExtStatusRequest, []byte{1, 0, 0, 1, 9}}}}}}
	request := CertificateRequest{Schemes: []suite.Scheme{suite.Ed25519}, Authorities: [][]byte{
		distinguished(t, pkix.Name{CommonName: "root \u202e"}), distinguished(t, pkix.Name{Organization: []string{"Org"}}), {0x30, 1},
	}}
	retry := ServerHello{LegacyVersion: 0x0303, Random: RetryRandom, Version: 0x0304, CipherSuite: suite.AES128GCMSHA256, RetryGroup: suite.P256}
	server := ServerHello{LegacyVersion: 0x0303, Version: 0x0304, CipherSuite: suite.AES128GCMSHA256, HasKeyShare: true, KeyShare: KeyShare{suite.X25519, make([]byte, 32)}, HasPSK: true}
	ee := EncryptedExtensions{ALPN: "h2", ServerName: true, TrustAnchors: []TrustAnchorID{"\x05"}}
	verify := CertificateVerify{Scheme: suite.Ed25519, Signature: make([]byte, 64)}
	ticket := NewSessionTicket{Lifetime: 7200, AgeAdd: 1, Nonce: []byte{0}, Ticket: []byte{1, 2}, MaxEarlyData: 5}
	finished := Finished{VerifyData: []byte{0xab, 0xcd}}
	update := KeyUpdate{RequestUpdate: true}

	type story = struct {
		msg    []byte
		fields map[string]string
	}
	made := func(b []byte, err error) []byte { return must(t, b, err) }
	return map[string]story{
		"ClientHello": {made(hello.Append(nil)), map[string]string{
			"msg_type": "ClientHello (1)", "legacy_version": "TLS 1.2 (0x0303)", "legacy_session_id": "0102",
			"cipher_suites": "TLS_AES_128_GCM_SHA256, GREASE(0x0a0a)", "legacy_compression_methods": "null",
			"server_name": `"orders"`, "supported_versions": "TLS 1.3 (0x0304)", "supported_groups": "x25519",
			"signature_algorithms": "ed25519", "key_share": "x25519 (32 bytes)",
			"application_layer_protocol_negotiation": `"h2", "\x1b[31m"`, "cookie": "1 byte", "psk_key_exchange_modes": "psk_dhe_ke",
			"record_size_limit": "100 bytes", "post_handshake_auth": "supported", "early_data": "used", "padding": "3 bytes",
			"extension(4660)": "1 byte", "compress_certificate": "brotli", "trust_anchors": "32473.1, 0x8001", "heartbeat": "does not parse (2 bytes)",
			"pre_shared_key": "1 key offered, 1 binder",
		}},
		"ServerHello": {made(server.Append(nil)), map[string]string{
			"msg_type": "ServerHello (2)", "cipher_suite": "TLS_AES_128_GCM_SHA256", "supported_versions": "TLS 1.3 (0x0304)",
			"key_share": "x25519 (32 bytes)", "pre_shared_key": "number 1 of those offered", "legacy_session_id_echo": "empty",
		}},
		"HelloRetryRequest": {made(retry.Append(nil)), map[string]string{"key_share": "secp256r1 is wanted"}},
		"EncryptedExtensions": {made(ee.Append(nil)), map[string]string{
			"server_name": "accepted", "trust_anchors": "5", "application_layer_protocol_negotiation": `"h2"`,
		}},
		"CertificateRequest": {made(request.Append(nil)), map[string]string{
			"certificate_request_context": "empty", "signature_algorithms": "ed25519",
			"certificate_authorities": `"root \u202e", "Org", an unreadable name (2 bytes)`,
		}},
		"Certificate": {made(chain.Append(nil)), map[string]string{
			"certificate_list": "23 bytes", "certificate 1": "2 bytes of DER", "certificate 1: extensions": "0 bytes",
			"certificate 2: status_request": "an OCSP response of 1 byte",
		}},
		"CertificateVerify": {made(verify.Append(nil)), map[string]string{"algorithm": "ed25519", "signature": "64 bytes"}},
		"Finished":          {made(finished.Append(nil)), map[string]string{"verify_data": "abcd", "length": "2 bytes"}},
		"NewSessionTicket": {made(ticket.Append(nil)), map[string]string{
			"ticket_lifetime": "7200 seconds", "ticket_age_add": "0x00000001", "ticket_nonce": "00", "ticket": "2 bytes", "early_data": "at most 5 bytes",
		}},
		"KeyUpdate":    {made(update.Append(nil)), map[string]string{"request_update": "update_requested (1)"}},
		"message hash": {MessageHash([]byte{1}), map[string]string{"hash": "01"}},
		"compressed": {[]byte{25, 0, 0, 9, 0, 1, 0, 1, 0, 0, 0, 1, 7}, map[string]string{
			"algorithm": "zlib", "uncompressed_length": "256", "compressed_certificate_message": "1 byte",
		}},
		"unknown": {[]byte{99, 0, 0, 1, 7}, map[string]string{"msg_type": "a message of the unknown type 99 (99)", "body": "1 byte"}},
		"cut off": {[]byte{2, 0, 0, 2, 3, 3}, map[string]string{"legacy_version": "TLS 1.2 (0x0303)"}},
		"broken extension": {[]byte{8, 0, 0, 7, 0, 5, 0, 16, 0, 9, 1}, map[string]string{
			"extensions": "5 bytes", "(does not parse)": "5 bytes",
		}},
		"too long":         {[]byte{24, 0, 0, 1, 0, 0xff}, map[string]string{"(behind the message)": "1 byte"}},
		"nothing finished": {[]byte{20, 0, 0, 0}, map[string]string{"verify_data": "empty"}},
		"half header":      {[]byte{1, 0}, map[string]string{"(unfinished header)": "2 bytes"}},
	}
}

func TestDescribeTellsEveryMessageInFields(t *testing.T) {
	for name, want := range told(t) {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, f := range Describe(want.msg) {
				got[f.Name] = f.Value
			}
			for field, value := range want.fields {
				if got[field] != value {
					t.Errorf("%s is told as %q, expected %q", field, got[field], value)
				}
			}
			checkDescription(t, want.msg)
		})
	}
}

// checkDescription holds what is true of any bytes: nothing is left out, nothing
// is told twice, and nothing can reach a terminal but printable ASCII.
func checkDescription(t *testing.T, msg []byte) {
	var all []byte
	for _, f := range Describe(msg) {
		all = append(all, f.Bytes...)
		if f.Name == "" || f.Value == "" {
			t.Errorf("a field without name or value: %+v", f)
		}
		if i := strings.IndexFunc(f.Name+f.Value, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("a field that is not printable: %q %q", f.Name, f.Value)
		}
	}
	if !bytes.Equal(all, msg) {
		t.Errorf("the fields hold %x, expected the message %x", all, msg)
	}
}

func FuzzDescribe(f *testing.F) {
	for _, s := range told(f) {
		f.Add(s.msg)
	}
	for x := range known {
		for _, t := range []Type{TypeClientHello, TypeServerHello, TypeEncryptedExtensions, TypeCertificate, TypeCertificateRequest, TypeNewSessionTicket} {
			value, ok := tellExtension(x, t, false, nil)
			if ok && value == "" {
				f.Errorf("an empty %s in %s is told as nothing", x, t)
			}
		}
	}
	f.Fuzz(func(t *testing.T, msg []byte) { checkDescription(t, msg) })
}
