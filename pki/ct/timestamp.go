package ct

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/mutual-tls/mutual/internal/message"
)

// MaxTimestamps is how many are judged of what came in one way. Browsers ask for
// two or three. It is as many as one list can hold (message.MaxSCTs).
const MaxTimestamps = 16

// Timestamp is a SignedCertificateTimestamp (RFC 6962, section 3.2). Nothing in it
// has been verified.
type Timestamp struct {
	// Log is the ID of the log that signed it, the SHA-256 of its key.
	Log [32]byte
	// At is when the log promised, by its own clock.
	At time.Time

	millis     uint64
	extensions []byte
	algorithm  uint16 // SignatureAndHashAlgorithm
	signature  []byte
}

// ErrVersion is the error of a timestamp that is of another version than 1, and so
// may be well-formed and mean anything. It counts for nothing.
var ErrVersion = errors.New("it is of a version that is not known")

var errTimestamp = errors.New("it does not parse")

// The algorithms that logs sign with (RFC 6962, section 2.1.4), as hash and signature.
const (
	sha256WithRSA   = 0x0401
	sha256WithECDSA = 0x0403
)

// Parse reads one timestamp, as it stands in a SignedCertificateTimestampList. It
// keeps b.
func Parse(b []byte) (*Timestamp, error) {
	in := cryptobyte.String(b)
	var version uint8
	if !in.ReadUint8(&version) {
		return nil, errTimestamp
	}
	if version != 0 { // v1
		return nil, ErrVersion
	}
	t := &Timestamp{}
	var extensions, signature cryptobyte.String
	if !in.CopyBytes(t.Log[:]) || !in.ReadUint64(&t.millis) || !in.ReadUint16LengthPrefixed(&extensions) ||
		!in.ReadUint16(&t.algorithm) || !in.ReadUint16LengthPrefixed(&signature) || !in.Empty() {
		return nil, errTimestamp
	}
	const year10000 = 253402300800000
	if t.millis >= year10000 {
		return nil, errors.New("its time is beyond the year 9999")
	}
	t.At = time.UnixMilli(int64(t.millis)).UTC()
	t.extensions, t.signature = extensions, signature
	if t.algorithm != sha256WithRSA && t.algorithm != sha256WithECDSA {
		return nil, fmt.Errorf("it is signed with algorithm %#04x, expected ECDSA or RSA with SHA-256", t.algorithm)
	}
	return t, nil
}

// ParseList reads a SignedCertificateTimestampList (RFC 6962, section 3.3): each
// timestamp as it stands there, for Parse.
func ParseList(b []byte) ([][]byte, error) { return message.SCTList(b) }

// entry is what a log signs a promise about: the certificate or, where it was asked
// before there was one, what the certificate says and who was to sign it.
type entry struct {
	issuer  *[32]byte // the SHA-256 of the issuer's SubjectPublicKeyInfo; nil for a certificate
	content []byte    // the certificate, or its TBSCertificate without timestamps
}

// signed are the bytes that the log has signed.
func (t *Timestamp) signed(e *entry) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(e.content)+len(t.extensions)+64))
	b.AddUint8(0) // v1
	b.AddUint8(0) // certificate_timestamp
	b.AddUint64(t.millis)
	if e.issuer == nil {
		b.AddUint16(0) // x509_entry
	} else {
		b.AddUint16(1) // precert_entry
		b.AddBytes(e.issuer[:])
	}
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.content) })
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(t.extensions) })
	return b.Bytes()
}
