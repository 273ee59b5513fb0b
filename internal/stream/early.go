package stream

import (
	"errors"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/record"
)

// earlyState is where a stream stands with early data that a server takes, or a
// client sends.
type earlyState uint8

const (
	earlyNone earlyState = iota
	earlyOpen
	earlyOver
)

// Early says that the handshake is not over and that early data can travel: a
// client's with SealEarly; on a server's side Receive gives it, Result is there,
// and Seal sends.
func (s *Stream) Early() bool { return s.early == earlyOpen && s.machine != nil && s.in.err == nil }

// EarlyRoom is how many bytes of early data may still be sent.
func (s *Stream) EarlyRoom() int64 {
	if s.early != earlyOpen {
		return 0
	}
	return s.out.early
}

// SealEarly appends data, as early data, to dst. It belongs to the writing half;
// while the handshake lasts that is the reading half too.
func (s *Stream) SealEarly(dst, data []byte) ([]byte, error) {
	if !s.Early() || int64(len(data)) > s.EarlyRoom() {
		return dst, errors.New("there is no room for early data")
	}
	s.out.early -= int64(len(data))
	for len(data) > 0 {
		n := min(len(data), record.MaxPlaintext)
		var err error
		if dst, err = s.seal(dst, record.ApplicationData, data[:n]); err != nil {
			return dst, err
		}
		data = data[n:]
	}
	return dst, nil
}

// beginEarly opens a client's early data, right behind its hello and the
// compatibility record (RFC 8446, appendix D.4).
func (s *Stream) beginEarly(e handshake.Event) {
	s.early, s.out.early, s.exporter, s.protocol = earlyOpen, e.Limit, e.Exporter, e.Protocol
	s.disguise()
}

// endEarly ends a client's early data. Where the server did not take it, what
// comes next may be a second hello, in the clear.
func (s *Stream) endEarly(clear bool) {
	s.early, s.out.early = earlyOver, 0
	if clear {
		s.flush()
		s.out.sealer.Destroy()
	}
}

// earlyData takes a record of early data that the server takes.
func (s *Stream) earlyData(p []byte) ([]byte, error) {
	switch {
	case len(s.in.partial) > 0:
		return nil, s.misbehaved(alert.UnexpectedMessage, code.UnexpectedMessage, "early data came inside a handshake message")
	case len(p) == 0:
		return nil, s.idle(&s.in.empty, "empty records")
	case int64(len(p)) > s.in.early:
		return nil, s.misbehaved(alert.UnexpectedMessage, code.TooMuchEarlyData, "more early data came than its ticket allowed")
	}
	s.in.empty = 0
	s.in.early -= int64(len(p))
	return p, nil
}

// skip drops a record of early data that we do not take (RFC 8446, section
// 4.2.10). Its header counts too: records without content are not free.
func (s *Stream) skip(n int) error {
	s.in.skipped -= int64(record.HeaderLen + n)
	if s.in.skipped < 0 {
		return s.misbehaved(alert.UnexpectedMessage, code.TooMuchEarlyData, "more early data came than is dropped unread")
	}
	return nil
}

// EarlyExporter exports from the early secret; nil where early data does not
// travel. It belongs to the writing half.
func (s *Stream) EarlyExporter() *handshake.Exporter {
	if s.result != nil {
		return s.result.EarlyExporter
	}
	return s.exporter
}

// Export is Standing's, where that may not be there yet. It belongs to the writing
// half.
func (s *Stream) Export(label string, context []byte, n int) ([]byte, error) {
	switch {
	case s.standing != nil:
		return s.standing.Export(label, context, n)
	case s.result != nil: // a server that takes early data
		return s.exporter.Export(label, context, n)
	}
	return nil, errors.New("the handshake is not over: there is nothing to export")
}

// EarlyProtocol is the protocol that a client's early data is for.
func (s *Stream) EarlyProtocol() string { return s.protocol }
