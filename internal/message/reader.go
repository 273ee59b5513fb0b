package message

import "encoding/binary"

// reader takes a message apart, from its front. After a failure it is empty and
// bad; so a caller checks once, at the end of a structure.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.b, r.bad = nil, true }

// take is the next n bytes.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	v := r.take(1)
	if v == nil {
		return 0
	}
	return v[0]
}

func (r *reader) u16() uint16 {
	v := r.take(2)
	if v == nil {
		return 0
	}
	return binary.BigEndian.Uint16(v)
}

func (r *reader) u32() uint32 {
	v := r.take(4)
	if v == nil {
		return 0
	}
	return binary.BigEndian.Uint32(v)
}

func (r *reader) u24() int {
	v := r.take(3)
	if v == nil {
		return 0
	}
	return int(v[0])<<16 | int(v[1])<<8 | int(v[2])
}

// vec8, vec16 and vec24 are vectors with a length of 1, 2 or 3 bytes in front.
// A vector that is there is not nil, even if it is empty.
func (r *reader) vec8() []byte { return r.vec(int(r.u8())) }

func (r *reader) vec16() []byte { return r.vec(int(r.u16())) }

func (r *reader) vec24() []byte { return r.vec(r.u24()) }

func (r *reader) vec(n int) []byte {
	if r.bad {
		return nil
	}
	return r.take(n)
}

// ok says that all went well and nothing is left over.
func (r *reader) ok() bool { return !r.bad && len(r.b) == 0 }

func (r *reader) empty() bool { return len(r.b) == 0 }

// body checks the header of msg and gives its body.
func body(t Type, msg []byte) (reader, error) {
	if len(msg) < HeaderLen {
		return reader{}, decodeError(t, "it ends inside its header")
	}
	got, n := Header(msg)
	if got != t {
		return reader{}, decodeError(t, "it is of another type: %s", got)
	}
	if n != len(msg)-HeaderLen {
		return reader{}, decodeError(t, "its header says %d bytes, and it has %d", n, len(msg)-HeaderLen)
	}
	return reader{b: msg[HeaderLen:]}, nil
}

// u16s reads a vector of 16-bit numbers into dst, whose memory it reuses. It is
// false where the vector is empty, odd or too long.
func u16s[T ~uint16](dst []T, vector []byte, most int) ([]T, bool) {
	dst = dst[:0]
	if len(vector) == 0 || len(vector)%2 != 0 || len(vector)/2 > most {
		return dst, false
	}
	for ; len(vector) > 0; vector = vector[2:] {
		dst = append(dst, T(binary.BigEndian.Uint16(vector)))
	}
	return dst, true
}
