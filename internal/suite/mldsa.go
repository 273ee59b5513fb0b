package suite

import (
	"fmt"

	"filippo.io/mldsa"
	"golang.org/x/crypto/cryptobyte"
)

// ML-DSA in certificates (RFC 9881): the key's OID is the signature's as well,
// parameters are absent, and the context is empty. It signs certificates here and
// no handshake: no scheme fits such a key.
var mldsaParameters = map[string]mldsa.Parameters{
	"\x60\x86\x48\x01\x65\x03\x04\x03\x11": mldsa.MLDSA44(),
	"\x60\x86\x48\x01\x65\x03\x04\x03\x12": mldsa.MLDSA65(),
	"\x60\x86\x48\x01\x65\x03\x04\x03\x13": mldsa.MLDSA87(),
}

func parseMLDSA(of mldsa.Parameters, parameters cryptobyte.String, key []byte) (*PublicKey, error) {
	if !parameters.Empty() { // RFC 9881, section 2
		return nil, fmt.Errorf("%w: an ML-DSA key has no parameters", errSPKI)
	}
	pub, err := mldsa.NewPublicKey(of, key)
	if err != nil {
		return nil, fmt.Errorf("%w: not an %s key of %d bytes", errSPKI, of, of.PublicKeySize())
	}
	return &PublicKey{Key: pub}, nil
}

// mldsaFits says whether a signature's algorithm is that of the key.
func mldsaFits(pub *mldsa.PublicKey, algorithm string) bool {
	of, ok := mldsaParameters[algorithm]
	return ok && of == pub.Parameters()
}

func verifyMLDSA(pub *mldsa.PublicKey, message, signature []byte) error {
	if mldsa.Verify(pub, message, signature, nil) != nil {
		return errSignature
	}
	return nil
}
