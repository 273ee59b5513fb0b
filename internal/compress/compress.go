// Package compress makes certificates smaller on the wire (RFC 8879): zlib
// and zstd. It decides nothing; who may compress and by what, the handshake says.
//
// What is decompressed was sent by somebody who has proven nothing yet. So the
// length is known, and bounded, before anything is allocated, output ends at that
// length, and the windows that a stream may ask for have a limit too.
package compress

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/mutual-tls/mutual/internal/message"
)

// Codec is one algorithm. It is safe for concurrent use.
type Codec interface {
	Algorithm() message.Compression
	// Compress gives b compressed, nil where that is of no use.
	Compress(b []byte) ([]byte, error)
	// Decompress fills dst from b, which has to hold exactly as much.
	Decompress(dst, b []byte) error
}

// Codecs are those that are here, the preferred first. Brotli is in a room of its
// own, mtls/brotli: the one implementation in Go brings net/http along.
func Codecs() []Codec { return []Codec{zstdCodec{}, zlibCodec{}} }

// MaxLength is the longest body that is decompressed: as long as a Certificate may
// be that comes as it is.
var MaxLength = message.MaxLen(message.TypeCertificate)

// Why something does not decompress; codecs of elsewhere use them too.
var (
	ErrLength = errors.New("it does not decompress to the length that was announced")
	ErrStream = errors.New("it does not decompress")
	ErrWindow = errors.New("it asks for a larger window than any certificate needs")
)

// Shorter is out where it is shorter than b.
func Shorter(out, b []byte) []byte {
	if len(out) >= len(b) {
		return nil
	}
	return out
}

// ReadExactly fills dst from r, which has to end there.
func ReadExactly(dst []byte, r io.Reader) error {
	switch _, err := io.ReadFull(r, dst); {
	case err == io.EOF && len(dst) == 0:
		return nil
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return ErrLength
	case err != nil:
		return ErrStream
	}
	var one [1]byte
	switch n, err := io.ReadFull(r, one[:]); {
	case n > 0:
		return ErrLength
	case err != io.EOF: // a checksum, or a stream that does not end
		return ErrStream
	}
	return nil
}

type zlibCodec struct{}

func (zlibCodec) Algorithm() message.Compression { return message.Zlib }

func (zlibCodec) Compress(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return Shorter(out.Bytes(), b), nil
}

var zlibReaders sync.Pool

func (zlibCodec) Decompress(dst, b []byte) error {
	src := bytes.NewReader(b)
	var r io.ReadCloser
	var err error
	if pooled, ok := zlibReaders.Get().(io.ReadCloser); ok {
		r, err = pooled, pooled.(zlib.Resetter).Reset(src, nil)
	} else {
		r, err = zlib.NewReader(src)
	}
	if err != nil {
		return ErrStream
	}
	defer zlibReaders.Put(r)
	if err := ReadExactly(dst, r); err != nil {
		return err
	}
	if src.Len() > 0 {
		return ErrLength
	}
	return nil
}

type zstdCodec struct{}

func (zstdCodec) Algorithm() message.Compression { return message.Zstd }

// One writer and one reader serve all: they are safe for it, and keep as many
// states as there are processors.
var (
	zstdWriter = sync.OnceValues(newZstdWriter)
	zstdReader = sync.OnceValues(func() (*zstd.Decoder, error) {
		// Windows of 8 MiB are what everybody has to take (RFC 8878, section
		// 3.1.1.1.2); what is allocated is the output alone.
		return zstd.NewReader(nil, zstd.WithDecoderMaxMemory(uint64(MaxLength)), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true))
	})
)

// newZstdWriter is of the usual level: what the best one wins of a chain is a fiftieth,
// and its tables of 34 MiB would be made in the first handshake that needs them.
func newZstdWriter() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
}

func (zstdCodec) Compress(b []byte) ([]byte, error) {
	w, err := zstdWriter()
	if err != nil {
		return nil, err
	}
	return Shorter(w.EncodeAll(b, nil), b), nil
}

func (zstdCodec) Decompress(dst, b []byte) error {
	r, err := zstdReader()
	if err != nil {
		return err
	}
	out, err := r.DecodeAll(b, dst[:0:len(dst)])
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return ErrWindow
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), err == nil && len(out) != len(dst):
		return ErrLength
	case err != nil:
		return ErrStream
	}
	if len(out) > 0 && &out[0] != &dst[0] {
		copy(dst, out)
	}
	return nil
}
