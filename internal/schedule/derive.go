package schedule

import (
	"errors"
	"fmt"

	"github.com/mutual-tls/mutual/internal/suite"
)

// Finished gives the verify_data of a Finished, or the value of a PSK binder
// (RFC 8446, sections 4.4.4 and 4.2.11.2): base is the traffic secret of the
// side that sends, or the binder key; transcript is a hash.
func Finished(s *suite.Suite, l Labels, base, transcript []byte) []byte {
	return AppendFinished(make([]byte, 0, s.Hash.Size()), s, l, base, transcript)
}

// AppendFinished appends Finished's result to b. It allocates nothing where b
// has room.
func AppendFinished(b []byte, s *suite.Suite, l Labels, base, transcript []byte) []byte {
	n := s.Hash.Size()
	var key, mac secret
	expandLabel(key[:n], s.Hash, l, base, "finished", nil)
	hmac(mac[:n], s.Hash, key[:n], transcript)
	clear(key[:])
	return append(b, mac[:n]...)
}

// PutTrafficKeys puts the key and the IV of a traffic secret (section 7.3) into
// the caller's memory: KeyLen bytes of key, and suite.IVLen of iv.
func PutTrafficKeys(s *suite.Suite, l Labels, secret, key, iv []byte) {
	expandLabel(key, s.Hash, l, secret, "key", nil)
	expandLabel(iv, s.Hash, l, secret, "iv", nil)
}

// NextTraffic gives the traffic secret after a KeyUpdate (section 7.2). The
// caller zeroes the former one.
func NextTraffic(s *suite.Suite, l Labels, secret []byte) []byte {
	return ExpandLabel(s, l, secret, "traffic upd", nil, s.Hash.Size())
}

// ResumptionPSK gives the PSK of a ticket (section 4.6.1). A nonce has at most
// 255 bytes.
func ResumptionPSK(s *suite.Suite, l Labels, resumption, nonce []byte) []byte {
	return ExpandLabel(s, l, resumption, "resumption", nonce, s.Hash.Size())
}

var errExportLabel = errors.New("an exporter label has 1 to 249 bytes")

// Export gives n bytes of exported keying material (section 7.5), from an
// exporter secret or an early exporter secret. Nil and empty context are the
// same. n goes up to 255 times the length of the suite's hash.
func Export(s *suite.Suite, l Labels, exporter []byte, label string, context []byte, n int) ([]byte, error) {
	if len(label) == 0 || len(label) > maxLabel-len(l) {
		return nil, fmt.Errorf("%w, this one has %d", errExportLabel, len(label))
	}
	size := s.Hash.Size()
	if n < 0 || n > 255*size {
		return nil, fmt.Errorf("exported keying material has 0 to %d bytes with %v, not %d", 255*size, s.ID, n)
	}
	var derived, sum secret
	expandLabel(derived[:size], s.Hash, l, exporter, label, constantsOf(s.Hash).emptyHash)
	hashSum(sum[:size], s.Hash, context)
	out := make([]byte, n)
	expandLabel(out, s.Hash, l, derived[:size], "exporter", sum[:size])
	clear(derived[:])
	return out, nil
}

// ExpandLabel is HKDF-Expand-Label (section 7.1). The label with its prefix and
// the context have at most 255 bytes each, and n is at most 255 times the
// length of the suite's hash: anything else is a mistake in our code, and panics.
func ExpandLabel(s *suite.Suite, l Labels, secret []byte, label string, context []byte, n int) []byte {
	out := make([]byte, n)
	expandLabel(out, s.Hash, l, secret, label, context)
	return out
}
