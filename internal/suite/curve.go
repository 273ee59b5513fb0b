package suite

import (
	"crypto/ecdh"
	"crypto/subtle"
	"fmt"
	"io"
)

// curve is the elliptic curve of a group.
type curve uint8

const (
	noCurve curve = iota
	curve25519
	curveP256
	curveP384
	curveP521
)

// pointLen is the length of a public value: RFC 7748's 32 bytes, or an
// uncompressed point (RFC 8446, section 4.2.8.2).
func (c curve) pointLen() int {
	switch c {
	case curve25519:
		return 32
	case curveP256:
		return 1 + 2*32
	case curveP384:
		return 1 + 2*48
	case curveP521:
		return 1 + 2*66
	}
	return 0
}

// secretLen is the length of the shared secret: the x coordinate.
func (c curve) secretLen() int {
	switch c {
	case curve25519, curveP256:
		return 32
	case curveP384:
		return 48
	case curveP521:
		return 66
	}
	return 0
}

func (c curve) nist() ecdh.Curve {
	switch c {
	case curveP384:
		return ecdh.P384()
	case curveP521:
		return ecdh.P521()
	}
	return ecdh.P256()
}

// curveKey is a private key on one of the curves.
type curveKey struct {
	curve  curve
	scalar [32]byte         // X25519
	nist   *ecdh.PrivateKey // P-256, P-384, P-521
}

// generate draws a private key from rand and writes its public value.
func (k *curveKey) generate(c curve, rand io.Reader, public []byte) error {
	k.curve = c
	switch c {
	case noCurve:
		return nil
	case curve25519:
		if _, err := io.ReadFull(rand, k.scalar[:]); err != nil {
			return fmt.Errorf("read randomness for an X25519 key: %w", err)
		}
		x25519Base((*[32]byte)(public), &k.scalar)
		return nil
	}
	// ecdh.Curve.GenerateKey does not read the source that it is given, so the
	// scalar is drawn here: by rejection, as FIPS 186-5, appendix A.2.2 does it.
	// A good source is rejected once in 2^32 draws; eight in a row is a bad one.
	// The order of P-521 is a little below 2^521: one draw in 2^255 is rejected
	// once the bits above are cut off.
	var scalar [66]byte
	defer clear(scalar[:])
	n := c.secretLen() // the order of each curve is as long as its field
	for range 8 {
		if _, err := io.ReadFull(rand, scalar[:n]); err != nil {
			return fmt.Errorf("read randomness for an ECDH key: %w", err)
		}
		if c == curveP521 {
			scalar[0] &= 1
		}
		key, err := c.nist().NewPrivateKey(scalar[:n])
		if err != nil {
			continue
		}
		k.nist = key
		copy(public, key.PublicKey().Bytes())
		return nil
	}
	return fmt.Errorf("the random source gave no scalar below the order of %v in eight draws; it is broken", c.nist())
}

// agree writes the secret shared with the owner of a public value of the right length.
func (k *curveKey) agree(secret, peer []byte) error {
	switch k.curve {
	case noCurve:
		return nil
	case curve25519:
		x25519((*[32]byte)(secret), &k.scalar, (*[32]byte)(peer))
		// RFC 8446, section 7.4.2, and RFC 7748, section 6.1: a point of small
		// order leaves nothing secret.
		var zero [32]byte
		if subtle.ConstantTimeCompare(secret, zero[:]) == 1 {
			return fmt.Errorf("%w: an X25519 point of small order", ErrBadShare)
		}
		return nil
	}
	// NewPublicKey takes uncompressed points on the curve only, and not infinity.
	point, err := k.curve.nist().NewPublicKey(peer)
	if err != nil {
		return fmt.Errorf("%w: not an uncompressed point on %v", ErrBadShare, k.curve.nist())
	}
	shared, err := k.nist.ECDH(point)
	if err != nil {
		return fmt.Errorf("%w: no shared point on %v", ErrBadShare, k.curve.nist())
	}
	copy(secret, shared)
	clear(shared)
	return nil
}

func (k *curveKey) destroy() {
	clear(k.scalar[:])
	k.nist = nil
}
