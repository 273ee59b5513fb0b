package record

import (
	"crypto/cipher"
	"encoding/binary"

	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// direction is the cipher state that a Sealer and an Opener have alike.
type direction struct {
	aead  cipher.AEAD
	suite *suite.Suite
	seq   uint64 // of the next record
	// nonce is the IV, and for the length of one call the IV xor the sequence
	// number (section 5.3). It lives here because an argument of an interface's
	// method would be allocated.
	nonce [suite.IVLen]byte
	key   [32]byte // for Offload; the AEAD does not give it back
}

func (d *direction) set(s *suite.Suite, l schedule.Labels, secret []byte) error {
	d.drop()
	schedule.PutTrafficKeys(s, l, secret, d.key[:s.KeyLen], d.nonce[:])
	aead, err := s.AEAD(d.key[:s.KeyLen])
	if err != nil {
		d.drop()
		return err
	}
	d.aead, d.suite = aead, s
	return nil
}

// drop forgets the cipher state and zeroes the key.
func (d *direction) drop() { *d = direction{} }

// mix xors the sequence number into the IV; done twice, it undoes itself.
func (d *direction) mix() {
	b := d.nonce[suite.IVLen-8:]
	binary.BigEndian.PutUint64(b, binary.BigEndian.Uint64(b)^d.seq)
}

// offload copies what the kernel needs. The copy of the key is the caller's to zero.
func (d *direction) offload() (id suite.ID, key, iv []byte, seq uint64) {
	if d.aead == nil {
		return 0, nil, nil, 0
	}
	b := make([]byte, 0, len(d.key)+len(d.nonce))
	b = append(b, d.key[:d.suite.KeyLen]...)
	b = append(b, d.nonce[:]...)
	n := d.suite.KeyLen
	return d.suite.ID, b[:n:n], b[n:], d.seq
}
