package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strconv"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/mtls"
)

// The runner's compression algorithms: one takes the two zeros off that a
// certificate's body begins with, one puts four bytes before it, one puts one that
// is random.
type runnersCodec struct{ id message.Compression }

const (
	shrinking message.Compression = 0xff01
	expanding message.Compression = 0xff02
	randomly  message.Compression = 0xff03
)

func (c runnersCodec) Algorithm() message.Compression { return c.id }

func (c runnersCodec) Compress(b []byte) ([]byte, error) {
	switch c.id {
	case shrinking:
		if len(b) < 2 || b[0] != 0 || b[1] != 0 {
			return nil, errors.New("the body does not begin with two zeros")
		}
		return b[2:], nil
	case expanding:
		return append([]byte{1, 2, 3, 4}, b...), nil
	}
	out := make([]byte, 1, 1+len(b))
	_, _ = rand.Read(out)
	return append(out, b...), nil
}

func (c runnersCodec) Decompress(dst, b []byte) error {
	var whole []byte
	switch c.id {
	case shrinking:
		whole = append([]byte{0, 0}, b...)
	case expanding:
		var ok bool
		if whole, ok = bytes.CutPrefix(b, []byte{1, 2, 3, 4}); !ok {
			return errors.New("it does not decompress")
		}
	default:
		whole = b[min(1, len(b)):]
	}
	if len(whole) != len(dst) {
		return errors.New("it does not decompress to the length that was announced")
	}
	copy(dst, whole)
	return nil
}

func compress(s *settings, ids ...message.Compression) {
	s.change(func(c *config) {
		c.Compression = mtls.Compression{Offer: true}
		for _, id := range ids {
			c.Compression.Algorithms = append(c.Compression.Algorithms, runnersCodec{id})
		}
	})
}

func init() {
	register(
		does("install-cert-compression-algs", func(s *settings) { compress(s, expanding, shrinking, randomly) }),
		doesWith("install-one-cert-compression-alg", func(s *settings, v string) error {
			n, err := strconv.ParseUint(v, 10, 16)
			compress(s, message.Compression(n))
			return err
		}),
	)
}
