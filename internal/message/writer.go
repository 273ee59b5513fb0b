package message

import (
	"encoding/binary"
	"fmt"
)

// writer appends a message to a slice. What is too long for its length field is
// an error, told once at the end.
type writer struct {
	b   []byte
	err error
}

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.BigEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.BigEndian.AppendUint32(w.b, v) }
func (w *writer) raw(v []byte) { w.b = append(w.b, v...) }

// open leaves room for a length of size bytes, which close fills in with the
// length of what came since.
func (w *writer) open(size int) int {
	for range size {
		w.b = append(w.b, 0)
	}
	return len(w.b)
}

func (w *writer) close(start, size int, what string) {
	n := len(w.b) - start
	if n >= 1<<(8*size) {
		if w.err == nil {
			w.err = fmt.Errorf("%s of %d bytes is too long for its field", what, n)
		}
		return
	}
	for i := range size {
		w.b[start-1-i] = byte(n >> (8 * i))
	}
}

func (w *writer) vec8(v []byte, what string) {
	at := w.open(1)
	w.raw(v)
	w.close(at, 1, what)
}

func (w *writer) vec16(v []byte, what string) {
	at := w.open(2)
	w.raw(v)
	w.close(at, 2, what)
}

func (w *writer) vec24(v []byte, what string) {
	at := w.open(3)
	w.raw(v)
	w.close(at, 3, what)
}

// begin starts a message; the result goes to end.
func begin(b []byte, t Type) (writer, int) {
	w := writer{b: append(b, byte(t))}
	return w, w.open(3)
}

// end completes a message. On an error b is what it was.
func (w *writer) end(b []byte, start int, t Type) ([]byte, error) {
	w.close(start, 3, t.String())
	if w.err != nil {
		return b, fmt.Errorf("%s can't be made: %w", t, w.err)
	}
	return w.b, nil
}

func writeU16s[T ~uint16](w *writer, list []T, what string) {
	at := w.open(2)
	for _, v := range list {
		w.u16(uint16(v))
	}
	w.close(at, 2, what)
}

// ext opens an extension; its result goes to done.
func (w *writer) ext(t ExtensionType) int {
	w.u16(uint16(t))
	return w.open(2)
}

// done closes an extension. Its name costs a search, and is only for an error.
func (w *writer) done(at int, t ExtensionType) {
	name := ""
	if len(w.b)-at >= 1<<16 {
		name = t.String()
	}
	w.close(at, 2, name)
}
