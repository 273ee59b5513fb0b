// Package brotli compresses certificates with brotli (RFC 8879), which is what
// browsers offer and what makes the least of a chain. It is a room of its own
// because the implementation brings net/http along, which mtls does without.
//
//	cfg.Compression.Algorithms = []mtls.CompressionAlgorithm{brotli.Algorithm(), mtls.Zstd(), mtls.Zlib()}
package brotli

import (
	"bytes"
	"sync"

	"github.com/andybalholm/brotli"

	"github.com/mutual-tls/mutual/internal/compress"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/mtls"
)

// Algorithm is brotli.
func Algorithm() mtls.CompressionAlgorithm { return codec{} }

// All are all algorithms that there are, the preferred first.
func All() []mtls.CompressionAlgorithm {
	return []mtls.CompressionAlgorithm{codec{}, mtls.Zstd(), mtls.Zlib()}
}

type codec struct{}

func (codec) Algorithm() message.Compression { return message.Brotli }

// At this quality a chain costs a tenth of what it does at the best, and comes out
// one part in a hundred longer. The window is as long as chains are.
const quality, windowBitsOfOurs = 9, 16

func (codec) Compress(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w := brotli.NewWriterOptions(&out, brotli.WriterOptions{Quality: quality, LGWin: windowBitsOfOurs})
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return compress.Shorter(out.Bytes(), b), nil
}

const (
	// maxWindowBits is the largest window of brotli that is taken, 4 MiB, which is
	// what encoders use where nobody says: a stream makes its reader allocate as
	// much by a few bytes.
	maxWindowBits = 22
	// maxAtOnce is how many streams of brotli are read at once, the windows being
	// what they are. Each takes some ten microseconds.
	maxAtOnce = 8
)

var (
	readers sync.Pool
	gate    = make(chan struct{}, maxAtOnce)
)

func (codec) Decompress(dst, b []byte) error {
	bits := windowBits(b)
	if bits == 0 || bits > maxWindowBits {
		return compress.ErrWindow
	}
	gate <- struct{}{}
	defer func() { <-gate }()
	src := bytes.NewReader(b)
	r, ok := readers.Get().(*brotli.Reader)
	if ok {
		if err := r.Reset(src); err != nil {
			return compress.ErrStream
		}
	} else {
		r = brotli.NewReader(src)
	}
	defer readers.Put(r)
	if err := compress.ReadExactly(dst, r); err != nil {
		return err
	}
	if src.Len() > 0 {
		return compress.ErrLength
	}
	return nil
}

// windowBits is WBITS at the head of a stream (RFC 7932, section 9.1), 0 for none.
func windowBits(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	v := int(b[0])
	switch {
	case v&1 == 0:
		return 16
	case v>>1&7 != 0:
		return 17 + v>>1&7
	case v>>4&7 == 0:
		return 17
	case v>>4&7 == 1: // the mark of larger windows (RFC 9841)
		return 0
	}
	return 8 + v>>4&7
}
