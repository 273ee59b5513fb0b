package handshake

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/compress"
	"github.com/mutual-tls/mutual/internal/message"
)

// What is said of certificates beside showing them: in which form they may come
// (RFC 8879), what may stand beside them (RFC 8446, section 4.4.2.1), and by whom
// and of what kind they should be (sections 4.2.4 and 4.2.5).

// Certificates are the settings for that. The zero value asks for nothing.
type Certificates struct {
	// Codecs are what our own chain may be compressed by where the peer offers it,
	// the preferred first. With OfferCompression they are offered to the peer.
	Codecs           []compress.Codec
	OfferCompression bool
	// OCSP and SCT ask the peer for a response of its authority's, and for
	// timestamps, beside its certificates.
	OCSP, SCT bool
	// Filters are a server's, for the certificate of its clients.
	Filters []message.OIDFilter
}

// offered are the algorithms that the peer may use.
func (c *Certificates) offered() []message.Compression {
	if !c.OfferCompression {
		return nil
	}
	out := make([]message.Compression, len(c.Codecs))
	for i, codec := range c.Codecs {
		out[i] = codec.Algorithm()
	}
	return out
}

// offerForms puts into the hello what we say of the server's certificate.
func (c *Client) offerForms() {
	h := &c.hello
	h.CertCompression = c.cfg.Certificates.offered()
	h.OCSP, h.SCT = c.cfg.Certificates.OCSP, c.cfg.Certificates.SCT
	if c.cfg.Authorities != nil {
		h.Authorities = c.cfg.Authorities()
	}
}

// requestForms puts into a CertificateRequest of the handshake what we say of the
// client's.
func (s *Server) requestForms(cr *message.CertificateRequest) {
	own := &s.cfg.Certificates
	cr.Filters, cr.CertCompression, cr.OCSP, cr.SCT = own.Filters, own.offered(), own.OCSP, own.SCT
}

// forms are a chain in its compressed forms, each made when it is first wanted.
type forms struct {
	mu sync.Mutex
	of map[message.Compression][]byte // nil where compressing is of no use
}

// compressed is the whole CompressedCertificate of cred, nil for none.
func (cred *Credential) compressed(codec compress.Codec) ([]byte, error) {
	f := &cred.forms
	f.mu.Lock()
	defer f.mu.Unlock()
	if msg, made := f.of[codec.Algorithm()]; made {
		return msg, nil
	}
	body := cred.Wire[message.HeaderLen:]
	small, err := codec.Compress(body)
	var msg []byte
	if err == nil && small != nil {
		m := message.CompressedCertificate{Algorithm: codec.Algorithm(), Length: len(body), Compressed: small}
		msg, err = m.Append(nil)
	}
	if err != nil {
		return nil, err
	}
	if f.of == nil {
		f.of = map[message.Compression][]byte{}
	}
	f.of[codec.Algorithm()] = msg
	return msg, nil
}

// show sends our chain, compressed where the peer takes that and it is of use.
func (c *core) show(cred *Credential, theirs []message.Compression) error {
	msg := cred.Wire
	for _, codec := range c.cfg.Certificates.Codecs {
		if !has(theirs, codec.Algorithm()) {
			continue
		}
		small, err := cred.compressed(codec)
		if err != nil {
			return c.misuse(code.Internal, fmt.Errorf("compressing our certificate by %s failed: %w", codec.Algorithm(), err))
		}
		if small != nil {
			c.agreed("our certificate compressed", codec.Algorithm().String())
			msg = small
		}
		break
	}
	c.result.Local = cred
	c.add(msg)
	c.send(Handshake, msg)
	return nil
}

// isCertificate says whether a message of type t can be the peer's Certificate.
func (c *core) isCertificate(t message.Type) bool {
	return t == message.TypeCertificate || t == message.TypeCompressedCertificate && c.cfg.Certificates.OfferCompression
}

// readCertificate parses the peer's Certificate. What it says lies in msg, or in
// what msg decompresses to.
func (c *core) readCertificate(t message.Type, msg []byte, m *message.Certificate) error {
	if t == message.TypeCompressedCertificate {
		var err error
		if msg, err = c.decompress(msg); err != nil {
			return err
		}
	}
	return c.parsed(m.Parse(msg))
}

// decompress gives the Certificate that msg holds.
func (c *core) decompress(msg []byte) ([]byte, error) {
	var m message.CompressedCertificate
	if err := m.Parse(msg); err != nil {
		return nil, c.parsed(err)
	}
	var codec compress.Codec
	for _, own := range c.cfg.Certificates.Codecs {
		if own.Algorithm() == m.Algorithm {
			codec = own
		}
	}
	if codec == nil {
		return nil, c.misbehaved(alert.IllegalParameter, code.BadCompression, "the peer compressed its certificate by %s, which was not offered", m.Algorithm)
	}
	if m.Length > compress.MaxLength {
		return nil, c.misbehaved(alert.BadCertificate, code.BadCompression,
			"the peer's certificate is announced with %d bytes when decompressed; at most %d are taken", m.Length, compress.MaxLength)
	}
	n := m.Length
	whole := append(make([]byte, 0, message.HeaderLen+n), byte(message.TypeCertificate), byte(n>>16), byte(n>>8), byte(n))
	whole = whole[:message.HeaderLen+n]
	if err := codec.Decompress(whole[message.HeaderLen:], m.Compressed); err != nil {
		return nil, c.misbehaved(alert.BadCertificate, code.BadCompression, "the peer's certificate, %d bytes of %s for %d: %v", len(m.Compressed), m.Algorithm, n, err)
	}
	c.agreed("the peer's certificate compressed", fmt.Sprintf("%s, %d bytes for %d", m.Algorithm, len(m.Compressed), n))
	return whole, nil
}

// takeBeside takes what stands beside certificate i of the peer's: what we asked
// for, and nothing else (RFC 8446, section 4.4.2).
func (c *core) takeBeside(i, n int, x *message.Extension) error {
	switch {
	case x.Type == message.ExtStatusRequest && c.cfg.Certificates.OCSP:
		response, err := x.OCSPResponse()
		if err != nil {
			return c.parsed(err)
		}
		if c.ocsp == nil {
			c.ocsp = make([][]byte, n)
		}
		c.ocsp[i] = bytes.Clone(response)
		return nil
	case x.Type == message.ExtSCT && c.cfg.Certificates.SCT:
		list, err := x.SCTList()
		if err != nil {
			return c.parsed(err)
		}
		if i == 0 { // those of authorities' certificates are nobody's policy
			for _, one := range list {
				c.scts = append(c.scts, bytes.Clone(one))
			}
		}
		return nil
	case x.Type == message.ExtTrustAnchors && c.named != nil:
		return c.takeMark(i, x)
	}
	return c.misbehaved(alert.UnsupportedExtension, code.UnsupportedExtension, "a certificate came with the extension %s, which was not asked for", x.Type)
}
