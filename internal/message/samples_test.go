package message

import (
	"bytes"
	"reflect"
	"slices"

	"github.com/mutual-tls/mutual/internal/suite"
)

// handshakeMessage is what all messages can.
type handshakeMessage interface {
	Parse([]byte) error
	Append([]byte) ([]byte, error)
}

// blank makes an empty struct for a message of type t, nil for a type that has
// no struct here.
func blank(t Type) handshakeMessage {
	switch t {
	case TypeClientHello:
		return &ClientHello{}
	case TypeServerHello:
		return &ServerHello{}
	case TypeNewSessionTicket:
		return &NewSessionTicket{}
	case TypeEndOfEarlyData:
		return &EndOfEarlyData{}
	case TypeEncryptedExtensions:
		return &EncryptedExtensions{}
	case TypeCertificate:
		return &Certificate{}
	case TypeCompressedCertificate:
		return &CompressedCertificate{}
	case TypeCertificateRequest:
		return &CertificateRequest{}
	case TypeCertificateVerify:
		return &CertificateVerify{}
	case TypeFinished:
		return &Finished{}
	case TypeKeyUpdate:
		return &KeyUpdate{}
	}
	return nil
}

var parsedTypes = []Type{
	TypeClientHello, TypeServerHello, TypeNewSessionTicket, TypeEndOfEarlyData, TypeEncryptedExtensions, TypeCertificate,
	TypeCertificateRequest, TypeCertificateVerify, TypeFinished, TypeKeyUpdate, TypeCompressedCertificate,
}

// sample is a message that is as full as its type allows.
type sample struct {
	name string
	msg  handshakeMessage
}

func random(seed byte) (r [32]byte) {
	for i := range r {
		r[i] = seed + byte(i)
	}
	return r
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func samples() []sample {
	grease := Extension{0x0a0a, []byte{1}}
	return []sample{
		{"smallest ClientHello", &ClientHello{LegacyVersion: 0x0303, Random: random(1), CipherSuites: []suite.ID{suite.AES128GCMSHA256}, Compression: []byte{0}}},
		{"full ClientHello", fullClientHello()},
		{"ClientHelloInner", &ClientHello{
			LegacyVersion: 0x0303, Random: random(5), CipherSuites: []suite.ID{suite.AES128GCMSHA256}, Compression: []byte{0},
			Versions: []uint16{0x0304}, ECH: &ECHHello{Inner: true},
		}},
		{"ClientHello without a key share", &ClientHello{
			LegacyVersion: 0x0303, Random: random(2), CipherSuites: []suite.ID{suite.AES128GCMSHA256}, Compression: []byte{0},
			Versions: []uint16{0x0304}, HasKeyShares: true, TrustAnchors: []TrustAnchorID{},
		}},
		{"ServerHello", &ServerHello{
			LegacyVersion: 0x0303, Random: random(3), SessionID: fill(32, 7), CipherSuite: suite.AES256GCMSHA384, Version: 0x0304,
			KeyShare: KeyShare{suite.X25519, fill(32, 8)}, HasKeyShare: true, PSKIndex: 3, HasPSK: true, Extensions: []Extension{grease},
		}},
		{"HelloRetryRequest", &ServerHello{
			LegacyVersion: 0x0303, Random: RetryRandom, CipherSuite: suite.AES128GCMSHA256, Version: 0x0304,
			RetryGroup: suite.P256, Cookie: fill(40, 9), ECHConfirmation: fill(8, 1),
		}},
		{"ServerHello of TLS 1.2", &ServerHello{
			LegacyVersion: 0x0303, Random: random(4), SessionID: fill(8, 7), CipherSuite: 0xc02f,
			Extensions: []Extension{{ExtRenegotiationInfo, []byte{0}}, {ExtECPointFormats, []byte{1, 0}}, {ExtExtendedMainSecret, nil}},
		}},
		{"empty EncryptedExtensions", &EncryptedExtensions{}},
		{"full EncryptedExtensions", &EncryptedExtensions{
			ALPN: "h2", ServerName: true, Groups: []suite.GroupID{suite.X25519, suite.P256}, EarlyData: true, RecordSizeLimit: 1000,
			TransportParameters: fill(5, 1), Tickets: TicketsExpected{4, true}, ECHRetryConfigs: sampleConfigList(), Extensions: []Extension{grease},
			ClientType: new(RawPublicKey), ServerType: new(X509), TrustAnchors: []TrustAnchorID{"\x81\xfd\x59\x01", "\x07"},
		}},
		{"CertificateRequest", &CertificateRequest{
			Context: []byte{1, 2, 3}, Schemes: []suite.Scheme{suite.Ed25519, suite.ECDSAWithP256AndSHA256}, CertSchemes: []suite.Scheme{suite.PKCS1WithSHA256},
			Delegated:   []suite.Scheme{suite.Ed25519},
			Authorities: [][]byte{{0x30, 0}, {0x30, 1, 0}}, Extensions: []Extension{grease},
			Filters: []OIDFilter{{[]byte{6, 3, 85, 29, 15}, []byte{3, 2, 7, 128}}, {[]byte{6, 1, 1}, nil}}, CertCompression: []Compression{Zstd}, OCSP: true, SCT: true,
			TrustAnchors: []TrustAnchorID{"\x01"},
		}},
		{"empty Certificate", &Certificate{Context: []byte{9}}},
		{"Certificate", &Certificate{Entries: []CertificateEntry{
			{Data: fill(300, 1), Extensions: []Extension{{ExtStatusRequest, []byte{1, 0, 0, 1, 9}}, {ExtSCT, []byte{0, 0}}, {ExtTrustAnchors, nil}}}, {Data: fill(1, 2)},
		}}},
		{"CompressedCertificate", &CompressedCertificate{Algorithm: Zlib, Length: 70000, Compressed: fill(50, 4)}},
		{"CertificateVerify", &CertificateVerify{Scheme: suite.RSAPSSWithSHA512, Signature: fill(256, 5)}},
		{"Finished", &Finished{VerifyData: fill(32, 6)}},
		{"NewSessionTicket", &NewSessionTicket{Lifetime: 7200, AgeAdd: 0xdeadbeef, Nonce: []byte{0}, Ticket: fill(200, 3), MaxEarlyData: 1 << 14, Extensions: []Extension{grease}}},
		{"smallest NewSessionTicket", &NewSessionTicket{Ticket: []byte{1}}},
		{"KeyUpdate that asks", &KeyUpdate{RequestUpdate: true}},
		{"KeyUpdate", &KeyUpdate{}},
		{"EndOfEarlyData", &EndOfEarlyData{}},
	}
}

func fullClientHello() *ClientHello {
	return &ClientHello{
		LegacyVersion: 0x0303, Random: random(0), SessionID: fill(32, 1), CipherSuites: suite.Suites(), Compression: []byte{0},
		ServerName: "orders.example", Versions: []uint16{0x0304, 0x0303}, Groups: suite.Groups(),
		KeyShares:    []KeyShare{{suite.X25519MLKEM768, fill(1216, 2)}, {suite.X25519, fill(32, 3)}},
		HasKeyShares: true, Schemes: suite.Schemes(), CertSchemes: suite.CertificateSchemes(), ALPN: []string{"h2", "http/1.1", "mutual-join/1"},
		Cookie: fill(70, 4), Authorities: [][]byte{{0x30, 0}, {0x30, 2, 5, 0}}, PSKModes: []uint8{1, 0},
		PSK: &PreSharedKeys{
			Identities: []PSKIdentity{{fill(100, 5), 7}, {fill(1, 6), 0}}, Binders: [][]byte{fill(32, 7), fill(48, 8)}, BindersLen: 2 + 33 + 49,
		},
		EarlyData: true, PostHandshakeAuth: true, RecordSizeLimit: 16385, TransportParameters: []byte{}, TicketRequest: TicketRequest{3, 1, true},
		Extensions:      []Extension{{0x1a1a, nil}, {ExtPadding, fill(20, 0)}},
		CertCompression: []Compression{Brotli, Zlib, 0xff01}, OCSP: true, SCT: true,
		ECH:         &ECHHello{Suite: ECHSuite{1, 3}, ConfigID: 42, Enc: fill(32, 9), Payload: fill(200, 10)},
		ClientTypes: []CertificateType{RawPublicKey, X509}, ServerTypes: []CertificateType{RawPublicKey}, Delegated: []suite.Scheme{suite.Ed25519},
		TrustAnchors: []TrustAnchorID{"\x81\xfd\x59\x01", "\x01", "\x80"},
	}
}

// written are the extensions that Append makes from the fields of a message of
// type t.
func written(t Type) []ExtensionType {
	switch t {
	case TypeClientHello:
		return []ExtensionType{
			ExtServerName, ExtSupportedVersions, ExtSupportedGroups, ExtSignatureAlgorithms, ExtSignatureAlgorithmsCert, ExtKeyShare, ExtALPN,
			ExtCompressCertificate, ExtStatusRequest, ExtSCT,
			ExtCookie, ExtCertificateAuthorities, ExtPSKKeyExchangeModes, ExtTicketRequest, ExtPostHandshakeAuth, ExtEarlyData, ExtRecordSizeLimit,
			ExtQUICTransportParameters, ExtEncryptedClientHello, ExtPreSharedKey,
			ExtClientCertificateType, ExtServerCertificateType, ExtDelegatedCredential, ExtTrustAnchors,
		}
	case TypeServerHello:
		return []ExtensionType{ExtSupportedVersions, ExtKeyShare, ExtCookie, ExtPreSharedKey, ExtEncryptedClientHello}
	case TypeEncryptedExtensions:
		return []ExtensionType{
			ExtServerName, ExtSupportedGroups, ExtALPN, ExtEarlyData, ExtRecordSizeLimit, ExtQUICTransportParameters, ExtTicketRequest,
			ExtEncryptedClientHello, ExtClientCertificateType, ExtServerCertificateType, ExtTrustAnchors,
		}
	case TypeCertificateRequest:
		return []ExtensionType{
			ExtSignatureAlgorithms, ExtSignatureAlgorithmsCert, ExtDelegatedCredential, ExtCertificateAuthorities, ExtOIDFilters, ExtCompressCertificate, ExtStatusRequest, ExtSCT, ExtTrustAnchors,
		}
	case TypeNewSessionTicket:
		return []ExtensionType{ExtEarlyData}
	}
	return nil
}

// bare takes from a parsed message what Append would make anew: the bytes that it
// came from, and the extensions that its fields hold.
func bare(m handshakeMessage) handshakeMessage {
	v := reflect.ValueOf(m).Elem()
	t := Type(v.FieldByName("Raw").Bytes()[0])
	v.FieldByName("Raw").SetZero()
	older := false
	if sh, ok := m.(*ServerHello); ok {
		older = sh.Version == 0 // its extensions are kept as they are
	}
	if f := v.FieldByName("Extensions"); f.IsValid() && !older {
		all := f.Interface().([]Extension)
		f.Set(reflect.ValueOf(slices.DeleteFunc(slices.Clone(all), func(x Extension) bool { return slices.Contains(written(t), x.Type) })))
	}
	return m
}

// equal compares two messages as somebody does who takes an empty list and none
// for the same.
func equal(a, b any) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

func same(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice, reflect.Array:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

// wrap gives a body the header of type t.
func wrap(t Type, body []byte) []byte {
	return append([]byte{byte(t), byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}
