package schedule

import (
	"encoding/binary"

	"github.com/mutual-tls/mutual/internal/suite"
)

// The target protocol and KDFs of RFC 9258, section 7.
const (
	importTLS13      = 0x0304
	importHKDFSHA256 = 0x0001
	importHKDFSHA384 = 0x0002
)

// ImportedIdentity is the identity on the wire of an external PSK that is imported
// for a handshake with the hash of target (RFC 9258, section 5.1).
func ImportedIdentity(identity, context []byte, target *suite.Suite) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(identity)))
	b = append(b, identity...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(context)))
	b = append(b, context...)
	b = binary.BigEndian.AppendUint16(b, importTLS13)
	if target.Hash.Size() == 48 {
		return binary.BigEndian.AppendUint16(b, importHKDFSHA384)
	}
	return binary.BigEndian.AppendUint16(b, importHKDFSHA256)
}

// ImportPSK derives the PSK that an imported identity stands for (RFC 9258, section
// 5.2). own has the hash that the external PSK goes with, which need not be that
// of target.
func ImportPSK(own, target *suite.Suite, psk, imported []byte) []byte {
	var key, sum secret
	n := own.Hash.Size()
	extract(key[:n], own.Hash, constantsOf(own.Hash).zeros, psk)
	hashSum(sum[:n], own.Hash, imported)
	out := make([]byte, target.Hash.Size())
	expandLabel(out, own.Hash, TLS, key[:n], "derived psk", sum[:n])
	clear(key[:])
	return out
}
