package stream

import (
	"io"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/record"
)

// How long records are: the peer's limit (RFC 8449), and padding that hides how
// much is in them (RFC 8446, section 5.4).

// Padding says how protected records are padded. The zero value does not.
type Padding struct {
	// Block pads each record up to a multiple of so many bytes, its type counted.
	Block int
	// Random pads each record by up to so many bytes, 65,535 at most.
	Random int
}

// Pad sets how what is sent from now on is padded. It belongs to the writing half,
// or to whoever has not begun yet.
func (s *Stream) Pad(p Padding, random io.Reader) { s.out.padding, s.out.random = p, random }

// limit takes the record_size_limits of both sides. Ours is in force under keys,
// and not for early data, which was sent before we said it.
func (s *Stream) limit(e handshake.Event) {
	s.flush()
	s.in.limit, s.out.limit = e.ReadLimit, e.WriteLimit
	if s.in.level == handshake.Handshake || s.in.level == handshake.Application {
		s.in.opener.Limit(s.in.limit)
	}
}

// Shorten has records that are sent from now on hold most bytes at most. Like Pad
// it belongs to the writing half.
func (s *Stream) Shorten(most int) { s.out.most = most }

// fragment is the most content of one record.
func (s *Stream) fragment() int {
	n := record.MaxPlaintext
	if s.out.most != 0 {
		n = min(n, s.out.most)
	}
	if s.out.limit != 0 && s.out.sealer.Encrypted() {
		n = min(n, s.out.limit-1) // the type takes one byte
	}
	return n
}

// pad is by how much a record with n bytes of content is padded: not beyond what
// the peer takes.
func (s *Stream) pad(n int) int {
	p := &s.out.padding
	more := 0
	switch {
	case p.Block > 0:
		more = (p.Block - (n+1)%p.Block) % p.Block
	case p.Random > 0:
		var b [2]byte
		if _, err := io.ReadFull(s.out.random, b[:]); err != nil {
			b = [2]byte{0xff, 0xff} // a length that says nothing is better than none
		}
		more = (int(b[0])<<8 | int(b[1])) * (p.Random + 1) >> 16
	default:
		return 0
	}
	return min(more, s.fragment()-n)
}
