package handshake

import (
	"testing"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/compress"
	"github.com/mutual-tls/mutual/internal/message"
)

// called is a codec that notes what it was asked to make.
type called struct {
	compress.Codec
	lengths *[]int
}

func (c called) Decompress(dst, b []byte) error {
	*c.lengths = append(*c.lengths, len(dst))
	return c.Codec.Decompress(dst, b)
}

// What a certificate is announced to decompress to is held against the bound before
// there is any room made for it.
func TestAnAnnouncedLengthIsBoundedBeforeAnythingIsMade(t *testing.T) {
	for length, want := range map[int]struct {
		alert alert.Alert
		calls int
	}{
		compress.MaxLength:     {alert.BadCertificate, 1}, // it does not come to that
		compress.MaxLength + 1: {alert.BadCertificate, 0},
		1<<24 - 1:              {alert.BadCertificate, 0},
	} {
		var lengths []int
		s := usual()
		codec := compress.Codecs()[0]
		s.client.Certificates = Certificates{Codecs: []compress.Codec{called{codec, &lengths}}, OfferCompression: true}
		a := newServerActor(t, s)
		a.serverHello(nil)
		a.extensions(nil)
		msg, err := (&message.CompressedCertificate{Algorithm: codec.Algorithm(), Length: length, Compressed: []byte{1, 2, 3}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		a.say(Handshake, msg)
		if f := failedWith(t, a.peer.err, want.alert); f.Code != code.BadCompression || len(lengths) != want.calls {
			t.Errorf("%d bytes: %v; decompressed to %v", length, f, lengths)
		}
	}
}
