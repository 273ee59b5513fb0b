package suite

import (
	"fmt"
	"io"

	"github.com/cloudflare/circl/kem/mlkem/mlkem1024"
	"github.com/cloudflare/circl/kem/mlkem/mlkem768"
)

// kem is the ML-KEM (FIPS 203) of a hybrid group.
type kem uint8

const (
	noKEM kem = iota
	kem768
	kem1024
)

func (k kem) keyLen() int {
	switch k {
	case kem768:
		return mlkem768.PublicKeySize
	case kem1024:
		return mlkem1024.PublicKeySize
	}
	return 0
}

func (k kem) ciphertextLen() int {
	switch k {
	case kem768:
		return mlkem768.CiphertextSize
	case kem1024:
		return mlkem1024.CiphertextSize
	}
	return 0
}

func (k kem) secretLen() int {
	switch k {
	case kem768:
		return mlkem768.SharedKeySize
	case kem1024:
		return mlkem1024.SharedKeySize
	}
	return 0
}

// encapsulate writes a ciphertext and its secret for a key of the right length.
// seed is scratch space, on the heap already (see kemKey). Unpack makes the modulus check of FIPS 203, section 7.2: an encoded
// coefficient of q or more is refused.
func (k kem) encapsulate(rand io.Reader, seed *[32]byte, ciphertext, secret, key []byte) error {
	if k == noKEM {
		return nil
	}
	defer clear(seed[:])
	// The m of FIPS 203, algorithm 20.
	if _, err := io.ReadFull(rand, seed[:]); err != nil {
		return fmt.Errorf("read randomness for an ML-KEM encapsulation: %w", err)
	}
	switch k {
	case kem768:
		var pk mlkem768.PublicKey
		if err := pk.Unpack(key); err != nil {
			return fmt.Errorf("%w: an ML-KEM-768 key with a coefficient out of range", ErrBadShare)
		}
		pk.EncapsulateTo(ciphertext, secret, seed[:])
	case kem1024:
		var pk mlkem1024.PublicKey
		if err := pk.Unpack(key); err != nil {
			return fmt.Errorf("%w: an ML-KEM-1024 key with a coefficient out of range", ErrBadShare)
		}
		pk.EncapsulateTo(ciphertext, secret, seed[:])
	}
	return nil
}

// kemKey is a decapsulation key.
type kemKey struct {
	k768  *mlkem768.PrivateKey
	k1024 *mlkem1024.PrivateKey

	// The seed is used within generate only. It is here because what is read
	// through an io.Reader is allocated, and this is allocated anyway.
	seed [64]byte // d and z of FIPS 203, algorithm 19
}

// generate draws a key from rand and writes its encapsulation key.
func (k *kemKey) generate(kind kem, rand io.Reader, public []byte) error {
	if kind == noKEM {
		return nil
	}
	defer clear(k.seed[:])
	if _, err := io.ReadFull(rand, k.seed[:]); err != nil {
		return fmt.Errorf("read randomness for an ML-KEM key: %w", err)
	}
	switch kind {
	case kem768:
		pk, sk := mlkem768.NewKeyFromSeed(k.seed[:])
		pk.Pack(public)
		k.k768 = sk
	case kem1024:
		pk, sk := mlkem1024.NewKeyFromSeed(k.seed[:])
		pk.Pack(public)
		k.k1024 = sk
	}
	return nil
}

// decapsulate writes the secret of a ciphertext of the right length. It has no
// error: for a bad ciphertext the secret is random (FIPS 203, section 6.3), and
// the handshake fails at its first record.
func (k *kemKey) decapsulate(secret, ciphertext []byte) {
	switch {
	case k.k768 != nil:
		k.k768.DecapsulateTo(secret, ciphertext)
	case k.k1024 != nil:
		k.k1024.DecapsulateTo(secret, ciphertext)
	}
}

func (k *kemKey) destroy() {
	if k.k768 != nil {
		*k.k768 = mlkem768.PrivateKey{}
	}
	if k.k1024 != nil {
		*k.k1024 = mlkem1024.PrivateKey{}
	}
	*k = kemKey{}
}
