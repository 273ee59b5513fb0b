package mtls

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/pemfile"
	"github.com/mutual-tls/mutual/keystore"
)

// Trust anchor identifiers (draft-ietf-tls-trust-anchor-ids-06): an end names the
// authorities that it verifies by in a few bytes each, and the other shows a
// certificate that stands under one of them. They choose, and prove nothing: what
// was chosen is judged as ever.

type (
	// TrustAnchorID names a trust anchor or a group of such: a relative OID in its
	// binary form. ParseTrustAnchorID reads what String writes, "32473.1". Whose it
	// is, the authority says.
	TrustAnchorID = message.TrustAnchorID
	// TrustAnchorRange is a range of identifiers: Base with one number more, from Min
	// to Max.
	TrustAnchorRange = message.TrustAnchorRange
	// CertificateProperties are what an authority says of a certification path beside
	// what is in its certificates.
	CertificateProperties = message.CertificateProperties
)

// ParseTrustAnchorID reads an identifier as it is written: numbers with dots between.
func ParseTrustAnchorID(s string) (TrustAnchorID, error) { return message.ParseTrustAnchorID(s) }

// TrustAnchors say which trust anchors we verify the peer by. They are not taken
// from the Verifier, which must trust what is named here: give the identifiers of
// its authorities, as those tell them, or of groups that they are in.
//
// What is named says something of who we are. A client's hello is read by whoever
// looks on (with ECH, by the server alone), so Named should hold nothing, or what
// all clients of its kind have in common: never a list that one user has for
// himself. What stands in IfOffered is told only to a server that said that it has
// it; a server that lies about what it has can find it out so, but nobody who only
// looks on. What must not be found out at all stands in neither.
type TrustAnchors struct {
	// Named are named to every peer. A client may name none: a server then tells
	// what it has all the same. A server names one at least.
	Named []TrustAnchorID
	// IfOffered, a client's, are named only to a server that says that it has a
	// certificate under them. Where what the server showed was refused, or the
	// handshake failed, Dial connects once more and names one alone: the server's
	// first that is in Named or here. Who dials by himself finds the server's list in
	// Refusal.TrustAnchors, and has ConnectNaming.
	IfOffered []TrustAnchorID
}

func (t *TrustAnchors) check(role Role) error {
	switch {
	case role == RoleServer && len(t.Named) == 0:
		return errors.New("a server's TrustAnchors name none: a client tells no list that could be chosen from")
	case role == RoleServer && len(t.IfOffered) > 0:
		return errors.New("TrustAnchors.IfOffered is a client's: nobody tells a server what he has")
	case len(t.Named) > message.MaxTrustAnchors:
		return fmt.Errorf("%d trust anchors are named; at most %d can be", len(t.Named), message.MaxTrustAnchors)
	}
	return checkAnchors(slices.Concat(t.Named, t.IfOffered))
}

func checkAnchors(ids []TrustAnchorID) error {
	seen := make(map[TrustAnchorID]bool, len(ids))
	for _, id := range ids {
		if !id.Valid() {
			return fmt.Errorf("%s is no trust anchor identifier: make it with ParseTrustAnchorID", id)
		}
		if seen[id] {
			return fmt.Errorf("the trust anchor %s is given twice", id)
		}
		seen[id] = true
	}
	return nil
}

// named is Named, not nil.
func (t *TrustAnchors) named() []TrustAnchorID { return append([]TrustAnchorID{}, t.Named...) }

// WithProperties is c with what its authority says of its path (section 6 of the
// draft). A certificate with a TrustAnchor is shown to peers that name the anchor or
// a group of it, and a server tells clients that ask that it has it: anchors that
// are nobody's business stay without. The chain has to be whole and in order, each
// certificate issued by the next, without the anchor itself: whoever named the
// anchor may build no path of his own.
func (c *Certificate) WithProperties(p CertificateProperties) (*Certificate, error) {
	if c.kind != X509 {
		return nil, errors.New("a raw public key stands under no trust anchor")
	}
	if p.TrustAnchor == "" && len(p.Groups) > 0 {
		return nil, errors.New("groups of trust anchors are given, and not the trust anchor itself")
	}
	if p.TrustAnchor != "" && !p.TrustAnchor.Valid() {
		return nil, fmt.Errorf("%s is no trust anchor identifier: make it with ParseTrustAnchorID", p.TrustAnchor)
	}
	if len(p.Groups) > message.MaxTrustAnchorRanges {
		return nil, fmt.Errorf("%d groups of trust anchors; at most %d are compared", len(p.Groups), message.MaxTrustAnchorRanges)
	}
	for _, g := range p.Groups {
		if !g.Base.Valid() || g.Min > g.Max {
			return nil, fmt.Errorf("the groups of trust anchors %s.%d to %d are no range", g.Base, g.Min, g.Max)
		}
	}
	if p.TrustAnchor != "" {
		if err := c.inOrder(); err != nil {
			return nil, err
		}
	}
	p.Groups = slices.Clone(p.Groups)
	own := c.copy(c.schemes)
	own.properties = p
	return own, nil
}

// Properties are what WithProperties was given; they must not be changed.
func (c *Certificate) Properties() CertificateProperties { return c.properties }

// inOrder says why the chain is not one that a relying party can take as it stands
// (section 4.2 of the draft).
func (c *Certificate) inOrder() error {
	for i, der := range c.chain[1:] {
		issuer, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		if !bytes.Equal(issuer.RawSubject, c.issuers[i]) {
			return fmt.Errorf("certificate %d of the chain did not issue the one before it: a chain with a trust anchor is in order, and has nothing else in it", i+2)
		}
		if i == len(c.chain)-2 && bytes.Equal(issuer.RawSubject, issuer.RawIssuer) {
			return errors.New("the chain ends with a trust anchor: leave that out, the peer has it")
		}
	}
	return nil
}

// UnderTrustAnchor says whether the peer named the certificate's trust anchor, or a
// group that it is in.
func (c *Certificate) UnderTrustAnchor(named []TrustAnchorID) bool {
	p := &c.properties
	if p.TrustAnchor == "" {
		return false
	}
	for _, id := range named {
		if id == p.TrustAnchor || slices.ContainsFunc(p.Groups, func(g TrustAnchorRange) bool { return g.Contains(id) }) {
			return true
		}
	}
	return false
}

// forThose says whether the certificate must be kept for peers that named who stands
// above it, and this one did not.
func (c *Certificate) forThose(ask *Ask) bool {
	return c.properties.Negotiated && !c.UnderTrustAnchor(ask.TrustAnchors) &&
		(len(ask.Authorities) == 0 || !c.IssuedUnder(ask.Authorities))
}

// Anchored is an Identity that can say under which trust anchors it has
// certificates for a client, by preference; a server tells clients that ask. Certificate,
// Swap and what Choose gives are such.
type Anchored interface {
	TrustAnchors(ask *Ask) []TrustAnchorID
}

// TrustAnchors is the trust anchor that the certificate stands under, where the peer
// takes the certificate.
func (c *Certificate) TrustAnchors(ask *Ask) []TrustAnchorID {
	if id := c.properties.TrustAnchor; id != "" && c.Fits(ask) {
		return []TrustAnchorID{id}
	}
	return nil
}

// TrustAnchors is that of the certificate in use.
func (s *Swap) TrustAnchors(ask *Ask) []TrustAnchorID {
	if c := s.current.Load(); c != nil {
		return c.TrustAnchors(ask)
	}
	return nil
}

// TrustAnchors are those of all certificates that the peer takes. That they are for
// one service is the caller's to see to: give each name a Choose of its own.
func (cs choice) TrustAnchors(ask *Ask) (out []TrustAnchorID) {
	for _, c := range cs {
		out = append(out, c.TrustAnchors(ask)...)
	}
	return out
}

// available is what a server tells a client that asked: each once, and no more than
// a client takes.
func available(identity Identity, ask *Ask) (out []TrustAnchorID) {
	a, ok := identity.(Anchored)
	if !ok || ask.Role != RoleServer || ask.TrustAnchors == nil {
		return nil
	}
	seen, n := map[TrustAnchorID]bool{}, 0
	for _, id := range a.TrustAnchors(ask) {
		if seen[id] || !id.Valid() {
			continue
		}
		if n += 1 + len(id); n > maxHints || len(out) == message.MaxTrustAnchors {
			break
		}
		seen[id] = true
		out = append(out, id)
	}
	return out
}

// TrustAnchors are those that the server said it has certificates under, where we
// are a client that named some, or asked.
func (c *Conn) TrustAnchors() []TrustAnchorID {
	if c.unproven() {
		return nil
	}
	return slices.Clone(c.stream.Result().TrustAnchors)
}

// ConnectNaming is Connect that names these trust anchors in the place of
// TrustAnchors.Named: for who learned from a Refusal, or elsewhere, what the server
// has.
func (c *Client) ConnectNaming(ctx context.Context, transport net.Conn, serverName string, anchors ...TrustAnchorID) (*Conn, error) {
	if err := checkAnchors(anchors); err != nil {
		_ = transport.Close()
		return nil, refuseMisuse("%v", err)
	}
	return c.connect(ctx, transport, serverName, attempt{anchors: append([]TrustAnchorID{}, anchors...)})
}

// learned notes what a handshake that failed taught of the server's anchors.
func (r *Refusal) learned(m *handshake.Client) {
	r.TrustAnchors, r.named = slices.Clone(m.TrustAnchors()), m.PeerNamed()
}

// instead is what to name alone, once more, after err: nil for nothing (section 4.3
// of the draft).
func (t *TrustAnchors) instead(err error) []TrustAnchorID {
	r, ok := RefusalOf(err)
	if t == nil || !ok || r.Timeout() || r.Code == string(code.Canceled) || r.Fault == PeerMisbehaved || r.Fault == Misuse {
		return nil
	}
	shown := r.named // the server's first that we named is what failed
	for _, id := range r.TrustAnchors {
		switch named := slices.Contains(t.Named, id); {
		case named && shown:
			shown = false
		case named || slices.Contains(t.IfOffered, id):
			return []TrustAnchorID{id}
		}
	}
	return nil
}

// maxPropertiesFile is the longest file with a chain and its properties.
const maxPropertiesFile = 1 << 20

// LoadCertificateWithProperties reads a file of the type
// application/pem-certificate-chain-with-properties (section 6.4 of the draft), as
// ACME gives it, and the key from another PEM file.
func LoadCertificateWithProperties(certFile, keyFile string) (*Certificate, error) {
	info, err := os.Stat(certFile)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPropertiesFile {
		return nil, fmt.Errorf("%s has %d bytes; a chain with properties has at most %d", certFile, info.Size(), maxPropertiesFile)
	}
	b, err := os.ReadFile(certFile)
	if err != nil {
		return nil, err
	}
	p, chain, err := ParseChainWithProperties(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := keystore.LoadKeyFile(keyFile)
	if err != nil {
		return nil, err
	}
	c, err := NewCertificate(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	return c.WithProperties(p)
}

// ParseChainWithProperties takes such a file apart: one block of CERTIFICATE
// PROPERTIES, and the chain, leaf first.
func ParseChainWithProperties(b []byte) (p CertificateProperties, chain [][]byte, err error) {
	blocks, err := pemfile.Blocks(b, 1+MaxChain)
	if err != nil {
		return p, nil, err
	}
	const properties, certificate = "CERTIFICATE PROPERTIES", "CERTIFICATE"
	if len(blocks) < 2 || blocks[0].Type != properties {
		return p, nil, fmt.Errorf("expected a PEM block %q and a chain behind it", properties)
	}
	for i, one := range blocks[1:] {
		if one.Type != certificate {
			return p, nil, fmt.Errorf("PEM block %d is %.40q, and %q was expected", i+2, one.Type, certificate)
		}
		chain = append(chain, one.Bytes)
	}
	return p, chain, p.Parse(blocks[0].Bytes)
}
