package mtls

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mutual-tls/mutual/internal/compress"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/stream"
)

// In which form certificates and records travel, and what a peer is asked to show
// beside its certificate.

// Compression says how certificates are compressed (RFC 8879). The zero value
// compresses our own chain for a peer that offers it (each form is made once), and
// offers nothing: decompressing is work for strangers, if little of it, since what comes
// of it has a bound. The gateway of mutual serve offers it.
type Compression struct {
	// Offer lets the peer compress its certificate.
	Offer bool
	// Off does not compress ours, whatever the peer offers.
	Off bool
	// Algorithms, the preferred first; nil is zstd and zlib. Brotli, which is what
	// browsers offer, is in mtls/brotli.
	Algorithms []CompressionAlgorithm
}

// CompressionAlgorithm is an algorithm for certificates.
type CompressionAlgorithm = compress.Codec

// Zstd is Zstandard (RFC 8878).
func Zstd() CompressionAlgorithm { return compress.Codecs()[0] }

// Zlib is zlib (RFC 1950).
func Zlib() CompressionAlgorithm { return compress.Codecs()[1] }

// Padding says how protected records are padded, so that their lengths tell less
// of what is in them (RFC 8446, section 5.4). The zero value does not pad. It
// costs bytes on the wire and time to encrypt them, and hides no timing.
type Padding = stream.Padding

// Beside is what the peer is asked to show beside its certificate. Whether it must
// is the Verifier's to say; what came is in the Claim.
type Beside struct {
	// OCSP asks for an answer of its authority's about its revocation.
	OCSP bool
	// Timestamps asks for those of Certificate Transparency's logs (RFC 6962).
	Timestamps bool
}

// ExtensionFilter asks clients for a certificate with an extension (RFC 8446,
// section 4.2.5): its OID and the values that it must hold, both in DER. Key usage
// (2.5.29.15) and extended key usage (2.5.29.37) are what clients know to match.
type ExtensionFilter = message.OIDFilter

// forms makes the settings of the engine.
func (c *Common) forms(e *handshake.Config) error {
	algorithms := c.Compression.Algorithms
	if algorithms == nil {
		algorithms = compress.Codecs()
	}
	for i, a := range algorithms {
		switch {
		case a == nil:
			return errors.New("a compression algorithm in the list is nil")
		case slices.ContainsFunc(algorithms[:i], func(b CompressionAlgorithm) bool { return b.Algorithm() == a.Algorithm() }):
			return fmt.Errorf("the compression algorithm %s is given twice", a.Algorithm())
		}
	}
	switch cc := c.Compression; {
	case cc.Off && cc.Offer:
		return errors.New("certificate compression is off and offered at once")
	case !cc.Off:
		e.Certificates.Codecs, e.Certificates.OfferCompression = algorithms, cc.Offer
	}
	e.Certificates.OCSP, e.Certificates.SCT = c.Beside.OCSP, c.Beside.Timestamps
	switch n := c.RecordSizeLimit; {
	case n != 0 && (n < 64 || n > 1<<14+1):
		return fmt.Errorf("a record size limit of %d; it is 64 to 16385 (RFC 8449, section 4)", n)
	default:
		e.RecordSizeLimit = uint16(n)
	}
	if p := c.Padding; p.Block < 0 || p.Block > 1<<14 || p.Random < 0 || p.Random > 1<<14 || p.Block > 0 && p.Random > 0 {
		return fmt.Errorf("records can be padded to blocks or at random, by 16384 bytes at most; found %d and %d", p.Block, p.Random)
	}
	if n := c.MaxRecord; n != 0 && (n < 64 || n > 1<<14) {
		return fmt.Errorf("records of at most %d bytes; it is 64 to 16384, or 0 for as long as they may be", n)
	}
	return nil
}
