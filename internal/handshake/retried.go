package handshake

import (
	"bytes"
	"slices"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
)

// checkRetried holds a second ClientHello against the first (RFC 8446, section
// 4.1.2): nothing may have changed but what was asked for.
func (s *Server) checkRetried() error {
	if s.first == nil {
		return nil
	}
	var old message.ClientHello
	if err := old.Parse(s.first); err != nil {
		return s.misuse(code.Internal, err)
	}
	h := &s.hello
	s.isFewer(&old)
	switch {
	case !unchanged(&old, h):
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client changed its hello after a HelloRetryRequest in more than what was asked")
	case h.EarlyData:
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client offers early data after a HelloRetryRequest")
	case !s.checkOffers(&old):
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "the client offers a session after a HelloRetryRequest that it did not offer before")
	case h.Cookie != nil:
		return s.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "the client sent a cookie, and we gave it none")
	case len(h.KeyShares) != 1 || h.KeyShares[0].Group != s.retryWith:
		return s.misbehaved(alert.IllegalParameter, code.IllegalParameter, "after a HelloRetryRequest exactly one key share in %s was expected", s.retryWith)
	}
	return nil
}

// mayChange says which extensions may differ in a second hello, come or go. Modes
// go with the sessions that they are for; what is inside encrypted_client_hello is
// sealed anew.
func mayChange(t message.ExtensionType) bool {
	switch t {
	case message.ExtKeyShare, message.ExtEarlyData, message.ExtCookie, message.ExtPreSharedKey, message.ExtPSKKeyExchangeModes,
		message.ExtPadding, message.ExtEncryptedClientHello:
		return true
	}
	return false
}

// unchanged says whether all the rest of two hellos is the same, and in the same
// order, whether we know it or not.
func unchanged(old, h *message.ClientHello) bool {
	if old.LegacyVersion != h.LegacyVersion || old.Random != h.Random || !bytes.Equal(old.SessionID, h.SessionID) ||
		!bytes.Equal(old.Compression, h.Compression) || !slices.Equal(old.CipherSuites, h.CipherSuites) {
		return false
	}
	one, two := old.Extensions, h.Extensions
	for {
		for len(one) > 0 && mayChange(one[0].Type) {
			one = one[1:]
		}
		for len(two) > 0 && mayChange(two[0].Type) {
			two = two[1:]
		}
		if len(one) == 0 || len(two) == 0 {
			return len(one) == len(two)
		}
		if one[0].Type != two[0].Type || !bytes.Equal(one[0].Body, two[0].Body) {
			return false
		}
		one, two = one[1:], two[1:]
	}
}
