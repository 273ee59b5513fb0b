package message

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Order is an order of extensions, drawn at random for each connection. Nobody
// on the way can then come to rely on one. An extension has its place by its type
// alone, so that a second ClientHello with one more or one fewer keeps the order
// of the first (RFC 8446, section 4.1.2); pre_shared_key stays the last.
type Order [16]byte

// put sorts block, extensions one after the other.
func (o *Order) put(block []byte) {
	type placed struct {
		place uint64
		whole []byte
	}
	var list []placed
	for r := (reader{b: bytes.Clone(block)}); !r.empty(); {
		whole := r.b
		t := r.u16()
		r.vec16()
		if r.bad { // one of them was too long to be written, which is told at the end
			return
		}
		list = append(list, placed{o.place(t), whole[:len(whole)-len(r.b)]})
	}
	slices.SortFunc(list, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	for _, p := range list {
		block = block[copy(block, p.whole):]
	}
}

func (o *Order) place(t uint16) uint64 {
	sum := sha256.Sum256(binary.BigEndian.AppendUint16(o[:len(o):len(o)], t))
	return binary.BigEndian.Uint64(sum[:])
}
