package record

import (
	"math"
	"slices"

	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Sealer seals the records of one direction. The zero value writes them in the
// clear. It is for one goroutine at a time.
type Sealer struct {
	// InitialClientHello makes records in the clear say 0x0301, which old
	// servers want of the first ClientHello (section 5.1). Otherwise 0x0303.
	InitialClientHello bool

	d direction
}

// Set derives new keys from a traffic secret; the sequence number starts at 0,
// and the former keys are dropped. The secret stays the caller's.
func (s *Sealer) Set(cs *suite.Suite, l schedule.Labels, secret []byte) error {
	return s.d.set(cs, l, secret)
}

// Destroy drops and zeroes the keys. From then on Seal writes in the clear, so
// it must not be called.
func (s *Sealer) Destroy() { s.d.drop() }

// Encrypted reports whether keys are set.
func (s *Sealer) Encrypted() bool { return s.d.aead != nil }

// Sequence returns the number of the next record, which is how many were sealed
// under these keys.
func (s *Sealer) Sequence() uint64 { return s.d.seq }

// Remaining returns how many more records these keys may seal (section 5.5). A
// KeyUpdate and an alert need a few: update well before it reaches 0.
func (s *Sealer) Remaining() uint64 {
	if s.d.aead == nil {
		return math.MaxUint64
	}
	return s.d.suite.Limit - min(s.d.seq, s.d.suite.Limit)
}

// Offload returns a copy of what seals the next record, for the kernel; nothing
// without keys. From then on the Sealer must not be used until the next Set: two
// users of one sequence number would repeat a nonce.
func (s *Sealer) Offload() (id suite.ID, key, iv []byte, seq uint64) { return s.d.offload() }

// Seal appends one record to dst and returns the result. With pad, a protected
// record is longer by that many zeros, as far as it has room for them.
//
// It allocates nothing where dst has room for the plaintext, pad and Overhead.
// The plaintext may lie anywhere in dst's spare capacity; at HeaderLen bytes
// after dst's end, it is sealed where it lies, without being moved.
//
// A change_cipher_spec goes out in the clear, keys or not. Seal returns nil, and
// nothing must be sent, for what it will not seal: more than MaxPlaintext bytes,
// an empty record of a type other than application_data, application_data
// without keys, or any record when none remains.
func (s *Sealer) Seal(dst []byte, t ContentType, plaintext []byte, pad int) []byte {
	n := len(plaintext)
	if n > MaxPlaintext || n == 0 && t != ApplicationData {
		return nil
	}
	if s.d.aead == nil || t == ChangeCipherSpec {
		return s.sealClear(dst, t, plaintext)
	}
	if s.d.seq >= s.d.suite.Limit {
		return nil
	}
	inner := n + 1 + min(max(pad, 0), MaxPlaintext-n)
	start := len(dst)
	dst = slices.Grow(dst, HeaderLen+inner+suite.TagLen)[:start+HeaderLen+inner]
	header, body := dst[start:start+HeaderLen], dst[start+HeaderLen:]
	copy(body, plaintext) // first: everything below may overwrite its source
	body[n] = byte(t)
	clear(body[n+1:])
	putHeader(header, ApplicationData, legacyVersion, inner+suite.TagLen)

	s.d.mix()
	s.d.aead.Seal(body[:0], s.d.nonce[:], body, header)
	s.d.mix()
	s.d.seq++
	return dst[:start+HeaderLen+inner+suite.TagLen]
}

func (s *Sealer) sealClear(dst []byte, t ContentType, plaintext []byte) []byte {
	if t == ApplicationData {
		return nil
	}
	version := uint16(legacyVersion)
	if s.InitialClientHello {
		version = legacyVersionInitial
	}
	n, start := len(plaintext), len(dst)
	dst = slices.Grow(dst, HeaderLen+n)[:start+HeaderLen+n]
	copy(dst[start+HeaderLen:], plaintext)
	putHeader(dst[start:], t, version, n)
	return dst
}
