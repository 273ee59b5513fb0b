package message

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
)

// Type is a HandshakeType (RFC 8446, section 4).
type Type uint8

// The types of messages.
const (
	TypeClientHello              Type = 1
	TypeServerHello              Type = 2
	TypeNewSessionTicket         Type = 4
	TypeEndOfEarlyData           Type = 5
	TypeEncryptedExtensions      Type = 8
	TypeCertificate              Type = 11
	TypeCertificateRequest       Type = 13
	TypeCertificateVerify        Type = 15
	TypeClientCertificateRequest Type = 17 // outside of any handshake (RFC 9261)
	TypeFinished                 Type = 20
	TypeKeyUpdate                Type = 24
	TypeCompressedCertificate    Type = 25
	TypeMessageHash              Type = 254
)

// String is the type's name as the RFC's prose writes it.
func (t Type) String() string {
	switch t {
	case TypeClientHello:
		return "ClientHello"
	case TypeServerHello:
		return "ServerHello"
	case TypeNewSessionTicket:
		return "NewSessionTicket"
	case TypeEndOfEarlyData:
		return "EndOfEarlyData"
	case TypeEncryptedExtensions:
		return "EncryptedExtensions"
	case TypeCertificate:
		return "Certificate"
	case TypeCertificateRequest:
		return "CertificateRequest"
	case TypeCertificateVerify:
		return "CertificateVerify"
	case TypeClientCertificateRequest:
		return "ClientCertificateRequest"
	case TypeFinished:
		return "Finished"
	case TypeKeyUpdate:
		return "KeyUpdate"
	case TypeCompressedCertificate:
		return "CompressedCertificate"
	case TypeMessageHash:
		return "message_hash"
	}
	return fmt.Sprintf("a message of the unknown type %d", uint8(t))
}

// HeaderLen is the length of a message's header: its type and three bytes of
// length.
const HeaderLen = 4

// Header reads a message's header, and needs HeaderLen bytes. n is the length of
// the body.
func Header(b []byte) (t Type, n int) {
	return Type(b[0]), int(b[1])<<16 | int(b[2])<<8 | int(b[3])
}

// Limits on what a peer sends.
const (
	// MaxChain is the most certificates in one Certificate. Real chains have two
	// to four; each costs us a parse and a place in the search for a path.
	MaxChain = 16
	// maxExtensions is the most extensions in one message. Browsers send about
	// twenty, GREASE included; tlsfuzzer sends 4,096 and wants an answer. Each
	// that is kept costs us eight times what it costs its sender.
	maxExtensions = 8192
	// maxKeyShares is the most key shares in one ClientHello. Real ones hold one
	// to four; each is compared with those before it.
	maxKeyShares = 512
	// maxList is the most numbers in a list of suites, groups or schemes: as many
	// as fit. They are searched from front to back for the few that we have.
	maxList = 1<<15 - 1
	// maxProtocols bounds the names in ALPN.
	maxProtocols = 64
	// MaxAuthorities bounds certificate_authorities. Servers that trust the Web's
	// roots list some 150.
	MaxAuthorities = 1024
)

// MaxLen is the longest body of a message of type t that is taken, 0 for a type
// that nobody may send us. It is to be held against the header before anything
// is kept.
func MaxLen(t Type) int {
	switch t {
	case TypeClientHello:
		return 128 << 10 // two post-quantum shares, a few tickets, a cookie of 64 KiB
	case TypeServerHello:
		return 70 << 10 // a HelloRetryRequest may carry a cookie of 64 KiB
	case TypeNewSessionTicket:
		return 70 << 10 // a ticket of 64 KiB
	case TypeEncryptedExtensions:
		return 64 << 10
	case TypeCertificate, TypeCompressedCertificate:
		return 128 << 10 // post-quantum chains are about 20 KiB
	case TypeCertificateRequest:
		return 80 << 10 // the names of some 800 authorities
	case TypeCertificateVerify:
		return 8 << 10 // an ML-DSA-87 signature has 4,627 bytes
	case TypeFinished:
		return 64
	case TypeKeyUpdate, TypeEndOfEarlyData:
		return 16 // they have one and none; what is longer is refused as what it is
	}
	return 0
}

// Error is why a message can't be taken.
type Error struct {
	Alert   alert.Alert
	Message Type
	Reason  string
}

// Error is the message and the reason.
func (e *Error) Error() string { return e.Message.String() + ": " + e.Reason }

func decodeError(t Type, format string, args ...any) error {
	return &Error{alert.DecodeError, t, fmt.Sprintf(format, args...)}
}

func illegal(t Type, format string, args ...any) error {
	return &Error{alert.IllegalParameter, t, fmt.Sprintf(format, args...)}
}
