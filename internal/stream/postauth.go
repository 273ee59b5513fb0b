package stream

import (
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/record"
)

// Authentication after the handshake: requests and answers are the Standing's; here
// they become records.

// RequestCertificate appends a request for the client's certificate to dst. Its
// context is that of the answer. It belongs to the writing half.
func (s *Stream) RequestCertificate(dst []byte) (out, context []byte, err error) {
	msg, context, err := s.standing.RequestCertificate()
	if err != nil {
		return dst, nil, err
	}
	out, err = s.whole(dst, len(msg), func() ([]byte, error) { return msg, nil })
	return out, context, err
}

// Show appends our answer to a request of the server's to dst, in records with
// nothing in between. It belongs to the writing half.
func (s *Stream) Show(dst []byte, w *handshake.Showing) ([]byte, error) {
	const most = 256 << 10 // more than any answer has
	return s.whole(dst, most, func() ([]byte, error) { return s.standing.Flight(w) })
}

// whole appends the records of messages that must not be torn apart, of at most
// size bytes: where the keys would have to change inside, they change before.
func (s *Stream) whole(dst []byte, size int, make func() ([]byte, error)) ([]byte, error) {
	dst, err := s.maintain(dst)
	if err != nil {
		return dst, err
	}
	if s.out.sealer.Remaining() <= uint64(rekeyMargin+size/record.MaxPlaintext+1) {
		if dst, err = s.Rekey(dst, false); err != nil {
			return dst, err
		}
	}
	b, err := make()
	for err == nil && len(b) > 0 {
		n := min(len(b), record.MaxPlaintext)
		dst, err = s.seal(dst, record.Handshake, b[:n])
		b = b[n:]
	}
	return dst, err
}
