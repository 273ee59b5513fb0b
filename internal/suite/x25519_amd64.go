//go:build !purego

package suite

import circl "github.com/cloudflare/circl/dh/x25519"

// circl's X25519 is in assembly on amd64.

func x25519Base(public, scalar *[32]byte) {
	circl.KeyGen((*circl.Key)(public), (*circl.Key)(scalar))
}

// x25519 gives all zeros for a point of small order, as RFC 7748 has it; the
// caller looks for that, so circl's own verdict is not needed.
func x25519(shared, scalar, point *[32]byte) {
	circl.Shared((*circl.Key)(shared), (*circl.Key)(scalar), (*circl.Key)(point))
}
