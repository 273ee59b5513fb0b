package suite

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	_ "crypto/sha256" // the hash of two suites
	_ "crypto/sha512" // the hash of the third
	"fmt"
	"hash"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

// ID is a cipher suite's code point.
type ID uint16

// The cipher suites of RFC 8446, appendix B.4, that are made here. The CCM
// suites are left out: nothing that speaks TLS 1.3 over TCP needs them.
const (
	AES128GCMSHA256        ID = 0x1301
	AES256GCMSHA384        ID = 0x1302
	ChaCha20Poly1305SHA256 ID = 0x1303
)

const (
	// IVLen is the length of the write IV and so of the nonce of every suite
	// (RFC 8446, section 5.3: N_MAX, at least 8; 12 for all of these).
	IVLen = 12
	// TagLen is how much longer a ciphertext is than its plaintext.
	TagLen = 16
)

// Suite is what a cipher suite stands for. The values are shared and must not
// be changed.
type Suite struct {
	ID     ID
	Hash   crypto.Hash // of the transcript and of HKDF
	KeyLen int         // bytes

	// Limit is how many records one key may seal (RFC 8446, section 5.5). It
	// binds the sender; a receiver takes what opens.
	Limit uint64

	aead func(key []byte) (cipher.AEAD, error)
}

// gcmLimit is 2^24.5 records of full size, with which an attacker's advantage
// stays below 2^-57 (RFC 8446, section 5.5). Shorter records would allow more
// of them; counting them all as full costs a key update every 388 GB.
const gcmLimit = 23_726_566

// chachaLimit leaves out the last sequence number: ChaCha20-Poly1305 has no
// limit below that of the sequence number itself (RFC 8446, section 5.5).
const chachaLimit = math.MaxUint64

var (
	aes128   = Suite{ID: AES128GCMSHA256, Hash: crypto.SHA256, KeyLen: 16, Limit: gcmLimit, aead: gcm}
	aes256   = Suite{ID: AES256GCMSHA384, Hash: crypto.SHA384, KeyLen: 32, Limit: gcmLimit, aead: gcm}
	chacha20 = Suite{ID: ChaCha20Poly1305SHA256, Hash: crypto.SHA256, KeyLen: 32, Limit: chachaLimit, aead: chacha20poly1305.New}
)

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

var (
	acceleratedOrder = []ID{AES128GCMSHA256, AES256GCMSHA384, ChaCha20Poly1305SHA256}
	plainOrder       = []ID{ChaCha20Poly1305SHA256, AES128GCMSHA256, AES256GCMSHA384}
)

// Suites returns the supported suites, the preferred first: AES-GCM where the
// processor computes it, ChaCha20 where software would have to (and would be
// slower and harder to make constant in time). Not to be changed by the caller.
func Suites() []ID {
	if AcceleratedAES() {
		return acceleratedOrder
	}
	return plainOrder
}

// ByID returns the suite of a code point, nil if it is not supported.
func ByID(id ID) *Suite {
	switch id {
	case AES128GCMSHA256:
		return &aes128
	case AES256GCMSHA384:
		return &aes256
	case ChaCha20Poly1305SHA256:
		return &chacha20
	}
	return nil
}

// AEAD returns the suite's cipher under a key of KeyLen bytes. It keeps what it
// needs of the key, which the caller may zero.
func (s *Suite) AEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != s.KeyLen {
		return nil, fmt.Errorf("a key for %v has %d bytes, expected %d", s.ID, len(key), s.KeyLen)
	}
	return s.aead(key)
}

// NewHash returns a new state of the suite's hash.
func (s *Suite) NewHash() hash.Hash { return s.Hash.New() }

// String gives the name of the IANA registry.
func (id ID) String() string {
	switch id {
	case AES128GCMSHA256:
		return "TLS_AES_128_GCM_SHA256"
	case AES256GCMSHA384:
		return "TLS_AES_256_GCM_SHA384"
	case ChaCha20Poly1305SHA256:
		return "TLS_CHACHA20_POLY1305_SHA256"
	case 0x1304:
		return "TLS_AES_128_CCM_SHA256"
	case 0x1305:
		return "TLS_AES_128_CCM_8_SHA256"
	case 0x00ff:
		return "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"
	case 0x5600:
		return "TLS_FALLBACK_SCSV"
	}
	return unnamed(uint16(id))
}

// unnamed prints a code point without a name of ours; those of RFC 8701 mean
// nothing by design, which a reader should not have to know by heart.
func unnamed(v uint16) string {
	if IsGREASE(v) {
		return fmt.Sprintf("GREASE(0x%04x)", v)
	}
	return fmt.Sprintf("0x%04x", v)
}
