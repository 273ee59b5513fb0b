package record

import (
	"fmt"
	"math"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Opener opens the records of one direction. The zero value takes records in
// the clear. It is for one goroutine at a time.
type Opener struct {
	d     direction
	limit int // of the inner plaintext; 0: maxInner
}

// Set derives new keys from a traffic secret; the sequence number starts at 0,
// and the former keys are dropped. The secret stays the caller's.
func (o *Opener) Set(s *suite.Suite, l schedule.Labels, secret []byte) error {
	return o.d.set(s, l, secret)
}

// Destroy drops and zeroes the keys. What comes next would be taken in the
// clear, so nothing should.
func (o *Opener) Destroy() { o.d.drop() }

// Encrypted reports whether keys are set.
func (o *Opener) Encrypted() bool { return o.d.aead != nil }

// Sequence returns the number of the next record, which is how many were opened
// under these keys.
func (o *Opener) Sequence() uint64 { return o.d.seq }

// Limit sets our record_size_limit (RFC 8449): the most bytes of content, type
// and padding that a protected record of the peer may have, from 64 to 2^14+1.
// Keys that are set later keep it.
func (o *Opener) Limit(n int) { o.limit = min(max(n, 64), maxInner) }

// Offload returns a copy of what opens the next record, for the kernel; nothing
// without keys. From then on the Opener must not be used until the next Set.
func (o *Opener) Offload() (id suite.ID, key, iv []byte, seq uint64) { return o.d.offload() }

// Open opens one whole record, header included, in place: the plaintext is a
// part of rec. It returns the inner type of a protected record.
//
// With keys set, only application_data is opened; a change_cipher_spec of the
// one byte 1 is passed through, without a sequence number, and any other outer
// type is refused. Without keys, application_data is refused. Types in the clear
// are otherwise known ones, and not empty. Whoever wants to be milder, with a
// clear alert or with early data that is to be skipped, looks at Header first.
//
// An error is an *Error, the connection is over, and rec is left in no
// particular state.
func (o *Opener) Open(rec []byte) (t ContentType, plaintext []byte, err error) {
	if len(rec) < HeaderLen {
		return 0, nil, refuse(alert.DecodeError, fmt.Sprintf("a record has %d bytes, less than its header", len(rec)))
	}
	t, version, n := Header(rec)
	body := rec[HeaderLen:]
	if n != len(body) {
		return 0, nil, refuse(alert.DecodeError, fmt.Sprintf("a record says that it has %d bytes, and has %d", n, len(body)))
	}
	switch {
	case t < ChangeCipherSpec || t > ApplicationData:
		return 0, nil, refuse(alert.UnexpectedMessage, fmt.Sprintf("a record of unknown type %d; the peer may not be speaking TLS", uint8(t)))
	case version>>8 != 3:
		// The rest of legacy_record_version is ignored (section 5.1).
		return 0, nil, refuse(alert.ProtocolVersion, fmt.Sprintf("a record of version 0x%04x, expected 0x03..; the peer may not be speaking TLS", version))
	case t == ChangeCipherSpec:
		if n != 1 || body[0] != 1 {
			return 0, nil, errCCS
		}
		return t, body, nil
	case o.d.aead == nil:
		return o.openClear(t, body)
	case t != ApplicationData:
		return 0, nil, refuse(alert.UnexpectedMessage, fmt.Sprintf("a record of type %v came in the clear after keys were set", t))
	}
	return o.openProtected(rec[:HeaderLen], body)
}

func (o *Opener) openClear(t ContentType, body []byte) (ContentType, []byte, error) {
	switch {
	case len(body) > MaxPlaintext:
		return 0, nil, errOverflow
	case t == ApplicationData:
		return 0, nil, errClearData
	case len(body) == 0:
		return 0, nil, errEmpty
	}
	return t, body, nil
}

func (o *Opener) openProtected(header, body []byte) (ContentType, []byte, error) {
	if len(body) > MaxCiphertext {
		return 0, nil, errOverflow
	}
	if len(body) < suite.TagLen {
		return 0, nil, errMAC
	}
	if o.d.seq == math.MaxUint64 { // section 5.3: it must not wrap
		return 0, nil, errExhausted
	}
	o.d.mix()
	inner, err := o.d.aead.Open(body[:0], o.d.nonce[:], body, header)
	o.d.mix()
	if err != nil {
		return 0, nil, errMAC
	}
	o.d.seq++

	limit := o.limit
	if limit == 0 {
		limit = maxInner
	}
	if len(inner) > limit {
		return 0, nil, errOverflow
	}
	// Section 5.4: the type is the last byte that is not zero.
	i := len(inner) - 1
	for i >= 0 && inner[i] == 0 {
		i--
	}
	if i < 0 {
		return 0, nil, errNoType
	}
	t, content := ContentType(inner[i]), inner[:i]
	switch t {
	case ApplicationData:
	case Handshake, Alert:
		if len(content) == 0 {
			return 0, nil, errEmpty
		}
	default:
		return 0, nil, refuse(alert.UnexpectedMessage, fmt.Sprintf("a protected record of type %v", t))
	}
	return t, content, nil
}
