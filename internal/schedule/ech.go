package schedule

import "github.com/mutual-tls/mutual/internal/suite"

// ECHConfirmation is the 8 bytes by which a server says that it read the
// encrypted hello whose Random is given (RFC 9849, section 7.2): in its
// ServerHello, or with retry in a HelloRetryRequest. transcript is the hash up to
// that message, with zeros where the bytes go.
func ECHConfirmation(s *suite.Suite, l Labels, random, transcript []byte, retry bool) []byte {
	label := "ech accept confirmation"
	if retry {
		label = "hrr ech accept confirmation"
	}
	var key secret
	n := s.Hash.Size()
	extract(key[:n], s.Hash, constantsOf(s.Hash).zeros, random)
	out := make([]byte, 8)
	expandLabel(out, s.Hash, l, key[:n], label, transcript)
	return out
}
