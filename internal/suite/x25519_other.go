//go:build !amd64 || purego

package suite

import "crypto/ecdh"

// Where circl has no assembly, the standard library has the faster X25519.

func x25519Base(public, scalar *[32]byte) {
	key, err := ecdh.X25519().NewPrivateKey(scalar[:])
	if err != nil {
		panic(err) // any 32 bytes are an X25519 scalar
	}
	copy(public[:], key.PublicKey().Bytes())
}

// x25519 gives all zeros for a point of small order, as RFC 7748 has it.
func x25519(shared, scalar, point *[32]byte) {
	clear(shared[:])
	key, err := ecdh.X25519().NewPrivateKey(scalar[:])
	if err != nil {
		return
	}
	peer, err := ecdh.X25519().NewPublicKey(point[:])
	if err != nil {
		return
	}
	secret, err := key.ECDH(peer)
	if err != nil {
		return
	}
	copy(shared[:], secret)
	clear(secret)
}
