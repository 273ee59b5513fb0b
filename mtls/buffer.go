package mtls

import (
	"io"
	"sync"

	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/stream"
)

// A connection that waits holds a small buffer, one with traffic a big one. A
// read that fills the small one is the sign to change.
const (
	smallBuffer = 4 << 10
	// writeChunk is how much is sealed for one system call: a few records.
	writeChunk = 4 * record.MaxPlaintext
	bigBuffer  = writeChunk + 1<<10
	// smallWrite is the most data that a small buffer holds sealed.
	smallWrite = smallBuffer - 256
)

var (
	smallPool = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	bigPool   = sync.Pool{New: func() any { b := make([]byte, bigBuffer); return &b }}
)

// The sizes fit: these do not compile otherwise.
const (
	_ = uint(bigBuffer - record.MaxRecord)
)

func init() {
	if stream.MaxSealed(writeChunk) > bigBuffer || stream.MaxSealed(smallWrite) > smallBuffer {
		panic("mtls: a buffer is too small for what is sealed into it")
	}
}

func getSmall() *[]byte  { return smallPool.Get().(*[]byte) }
func putSmall(b *[]byte) { smallPool.Put(b) }
func getBig() *[]byte    { return bigPool.Get().(*[]byte) }
func putBig(b *[]byte)   { bigPool.Put(b) }

// release gives the buffer back. Nothing may wait in it.
func (r *reading) release() {
	if r.pooled == nil {
		return
	}
	if len(r.buf) == bigBuffer {
		putBig(r.pooled)
	} else {
		putSmall(r.pooled)
	}
	r.pooled, r.buf, r.start, r.end, r.data = nil, nil, 0, 0, nil
}

// take gets a buffer of the wanted size, with what waits moved to its start.
func (r *reading) take(big bool) {
	b := getSmall
	if big {
		b = getBig
	}
	fresh := b()
	n := copy(*fresh, r.buf[r.start:r.end])
	r.release()
	r.pooled, r.buf, r.start, r.end = fresh, *fresh, 0, n
}

// fill reads more from the transport. What was opened must have been given.
func (c *Conn) fill() error {
	r := &c.in
	need, err := c.stream.Need(r.buf[r.start:r.end])
	if err != nil {
		return err
	}
	switch {
	case r.buf == nil:
		r.take(r.last >= smallBuffer || need > smallBuffer)
	case need > len(r.buf), r.last >= smallBuffer && len(r.buf) < bigBuffer:
		r.take(true)
	case r.start == r.end:
		r.start, r.end = 0, 0
	case r.start+need > len(r.buf) || r.end == len(r.buf):
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, r.end-r.start
	}
	n, err := c.transport.Read(r.buf[r.end:])
	if r.last = n; r.end+n == len(r.buf) {
		r.last = max(n, smallBuffer) // there is more, though a part of a record left little room
	}
	r.end += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}
