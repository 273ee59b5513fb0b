package schedule

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
)

// crypto/hmac and crypto/hkdf allocate several states for every derivation, and
// a handshake makes some thirty. The inputs are short, so HMAC is written out
// here over the one-shot hash functions, which work on the stack: RFC 2104 is
// two hashes of two concatenations.

// Labels is the prefix of every label of HKDF-Expand-Label.
type Labels string

// TLS is the prefix of TLS 1.3 (RFC 8446, section 7.1), and of QUIC.
const TLS Labels = "tls13 "

const (
	maxHash    = sha512.Size384
	maxBlock   = sha512.BlockSize
	maxLabel   = 255 // one length byte: prefix and label
	maxContext = 255
	// maxInfo is the HkdfLabel of section 7.1: length, label, context.
	maxInfo = 2 + 1 + maxLabel + 1 + maxContext
	// maxMessage is what HMAC gets in HKDF-Expand: the block before, HkdfLabel,
	// a counter.
	maxMessage = maxHash + maxInfo + 1
)

type secret [maxHash]byte

func blockSize(h crypto.Hash) int {
	if h == crypto.SHA384 {
		return sha512.BlockSize
	}
	return sha256.BlockSize
}

// hashSum writes the hash of b. The suites have these two hashes, and no other.
func hashSum(out []byte, h crypto.Hash, b []byte) {
	if h == crypto.SHA384 {
		d := sha512.Sum384(b)
		copy(out, d[:])
		clear(d[:])
		return
	}
	d := sha256.Sum256(b)
	copy(out, d[:])
	clear(d[:])
}

// hmac writes HMAC(key, message) (RFC 2104). A message longer than any of ours
// is taken, at the price of an allocation. out may overlap key and message.
func hmac(out []byte, h crypto.Hash, key, message []byte) {
	var short [maxBlock + maxMessage]byte
	var inner secret
	block, size := blockSize(h), h.Size()

	buf := short[:]
	if block+len(message) > len(buf) {
		buf = make([]byte, block+len(message))
	}
	if len(key) > block {
		hashSum(buf[:size], h, key)
	} else {
		copy(buf, key)
	}
	const ipad, opad = 0x36, 0x5c
	for i := range buf[:block] {
		buf[i] ^= ipad
	}
	n := block + copy(buf[block:], message)
	hashSum(inner[:size], h, buf[:n])

	for i := range buf[:block] {
		buf[i] ^= ipad ^ opad
	}
	copy(buf[block:], inner[:size])
	hashSum(out[:size], h, buf[:block+size])

	clear(buf[:max(n, block+size)])
	clear(inner[:])
}

// extract is HKDF-Extract (RFC 5869, section 2.2).
func extract(out []byte, h crypto.Hash, salt, input []byte) { hmac(out, h, salt, input) }

// expandLabel is HKDF-Expand-Label (RFC 8446, section 7.1), as long as out.
func expandLabel(out []byte, h crypto.Hash, l Labels, key []byte, label string, context []byte) {
	size := h.Size()
	if len(l)+len(label) > maxLabel || len(context) > maxContext || len(out) > 255*size {
		panic("schedule: a label, a context or a result is longer than HKDF-Expand-Label takes")
	}
	// message is T(i-1) || HkdfLabel || i, with room for the former in front.
	var message [maxMessage]byte
	info := message[maxHash:maxHash]
	info = append(info, byte(len(out)>>8), byte(len(out)), byte(len(l)+len(label)))
	info = append(info, l...)
	info = append(info, label...)
	info = append(info, byte(len(context)))
	info = append(info, context...)
	end := maxHash + len(info)

	var t secret
	start := maxHash // the first block has none before it
	for i := byte(1); len(out) > 0; i++ {
		message[end] = i
		hmac(t[:size], h, key, message[start:end+1])
		start = maxHash - size
		copy(message[start:], t[:size])
		out = out[copy(out, t[:size]):]
	}
	clear(t[:])
	clear(message[:maxHash])
}

// constants are the values that are the same in every connection.
type constants struct {
	zeros     []byte // as many as the hash is long: "0" in section 7.1
	emptyHash []byte // of the empty transcript
	early     []byte // the early secret without a PSK
	derived   []byte // Derive-Secret(early, "derived", ""), with the labels of TLS
}

var constants256, constants384 = newConstants(crypto.SHA256), newConstants(crypto.SHA384)

func newConstants(h crypto.Hash) *constants {
	n := h.Size()
	k := &constants{make([]byte, n), make([]byte, n), make([]byte, n), make([]byte, n)}
	hashSum(k.emptyHash, h, nil)
	extract(k.early, h, k.zeros, k.zeros)
	expandLabel(k.derived, h, TLS, k.early, "derived", k.emptyHash)
	return k
}

func constantsOf(h crypto.Hash) *constants {
	if h == crypto.SHA384 {
		return constants384
	}
	return constants256
}
