package record

import (
	"fmt"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/suite"
)

// ContentType is what a record carries.
type ContentType uint8

// The content types of RFC 8446, section 5.1.
const (
	ChangeCipherSpec ContentType = 20
	Alert            ContentType = 21
	Handshake        ContentType = 22
	ApplicationData  ContentType = 23
)

// String is the type in snake case, as the RFC has it.
func (t ContentType) String() string {
	switch t {
	case ChangeCipherSpec:
		return "change_cipher_spec"
	case Alert:
		return "alert"
	case Handshake:
		return "handshake"
	case ApplicationData:
		return "application_data"
	}
	return fmt.Sprintf("content type %d", uint8(t))
}

// Sizes in bytes (RFC 8446, sections 5.1 and 5.2).
const (
	HeaderLen     = 5
	MaxPlaintext  = 1 << 14
	MaxCiphertext = 1<<14 + 256
	MaxRecord     = HeaderLen + MaxCiphertext

	// Overhead is the most that Seal adds to a plaintext and its padding.
	Overhead = HeaderLen + 1 + suite.TagLen

	// maxInner is a TLSInnerPlaintext: content, type byte and padding (section 5.4).
	maxInner = MaxPlaintext + 1
)

const (
	legacyVersion        = 0x0303
	legacyVersionInitial = 0x0301
)

// Header reads a record's header from the first HeaderLen bytes of b: the outer
// content type, legacy_record_version, and the length of what follows, which
// nobody has checked yet.
func Header(b []byte) (t ContentType, version uint16, n int) {
	_ = b[HeaderLen-1]
	return ContentType(b[0]), uint16(b[1])<<8 | uint16(b[2]), int(b[3])<<8 | int(b[4])
}

func putHeader(b []byte, t ContentType, version uint16, n int) {
	_ = b[HeaderLen-1]
	b[0], b[1], b[2], b[3], b[4] = byte(t), byte(version>>8), byte(version), byte(n>>8), byte(n)
}

// Error is a record that was refused, and the alert that says so.
type Error struct {
	Alert  alert.Alert
	Reason string
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

func refuse(a alert.Alert, reason string) error { return &Error{a, reason} }

// These are met on purpose by whoever wants to cost us something: made once.
var (
	errMAC       = refuse(alert.BadRecordMAC, "a record did not decrypt: it was changed on the way, or the two sides have different keys")
	errOverflow  = refuse(alert.RecordOverflow, "a record is longer than TLS 1.3 allows")
	errNoType    = refuse(alert.UnexpectedMessage, "a record is all padding, without a content type")
	errEmpty     = refuse(alert.UnexpectedMessage, "an empty record of a type that must not be empty")
	errCCS       = refuse(alert.UnexpectedMessage, "a change_cipher_spec record is not the single byte 1")
	errClearData = refuse(alert.UnexpectedMessage, "application data came before there were keys")
	errExhausted = refuse(alert.InternalError, "the record sequence number is used up; the peer should have updated its key long ago")
)
