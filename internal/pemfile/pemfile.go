// Package pemfile takes PEM apart and misses nothing. encoding/pem passes over what
// it can't decode, so that a bundle that somebody is just writing, or one with a
// damaged block, looks like a shorter bundle that is whole: a chain without its
// intermediate, authorities with one missing. Here a block that begins has to end,
// and to decode.
package pemfile

import (
	"bytes"
	"encoding/pem"
	"fmt"
)

// begin is how a block begins, at the start of a line.
var begin = []byte("-----BEGIN")

// Blocks are all PEM blocks in b, in order; what stands between them is comment.
// More than most of them are an error. With an error nothing that was decoded is
// left behind: it may have been a key.
func Blocks(b []byte, most int) (out []*pem.Block, err error) {
	defer func() {
		if err != nil {
			for _, block := range out {
				clear(block.Bytes)
			}
			out = nil
		}
	}()
	rest := bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // a byte order mark
	for {
		block, after := pem.Decode(rest)
		begun := begins(rest[:len(rest)-len(after)])
		if block == nil {
			begun = begins(rest)
		} else {
			begun--
		}
		switch {
		case begun > 0:
			return out, fmt.Errorf("PEM block %d begins and does not end, or is damaged: the file is not whole; was it cut off, or is it being written just now?", len(out)+1)
		case block == nil:
			return out, nil
		case len(out) == most:
			return out, fmt.Errorf("more than %d PEM blocks", most)
		}
		out, rest = append(out, block), after
	}
}

// begins is how many blocks begin in b.
func begins(b []byte) int {
	n := bytes.Count(b, append([]byte("\n"), begin...))
	if bytes.HasPrefix(b, begin) {
		n++
	}
	return n
}
