package mtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/keystore"
)

// Scheme is a signature scheme (RFC 8446, section 4.2.3), Suite a cipher suite
// and Group a key exchange group. Their String is the IANA name.
type (
	Scheme = suite.Scheme
	Suite  = suite.ID
	Group  = suite.GroupID
)

// Identity is asked for a certificate at each handshake that needs one. A
// client's may answer nil, nil: it has none that fits. It is called
// concurrently, and must honour ctx, which ends with the handshake's time.
type Identity interface {
	Certificate(ctx context.Context, ask *Ask) (*Certificate, error)
}

// ErrNoneFits is what an Identity answers that would rather end the handshake than
// show no certificate: it has some, and none fits what the peer asks for.
var ErrNoneFits = errors.New("none of our certificates fits what the peer asks for")

// Role is an end of a connection.
type Role uint8

// The roles.
const (
	RoleServer Role = iota + 1
	RoleClient
)

// String is "server" or "client".
func (r Role) String() string {
	if r == RoleServer {
		return "server"
	}
	return "client"
}

// Ask is what is known of the certificate that a handshake needs.
type Ask struct {
	// Role is ours: the end that is to show a certificate.
	Role Role
	// ServerName is the name that the client asked for (SNI), lower case, or
	// "" where it named none. On the client's side it is the server's name.
	ServerName string
	// Schemes are the signature schemes that the peer verifies, its order.
	Schemes []Scheme
	// CertificateSchemes are those that it verifies in the signatures on
	// certificates, where it tells them apart; empty is Schemes (RFC 8446, section
	// 4.2.3).
	CertificateSchemes []Scheme
	// Filters are what a server wants of a client certificate's extensions.
	Filters []ExtensionFilter
	// Authorities are the DER names of the authorities that the peer says it
	// trusts; empty where it did not say.
	Authorities [][]byte
	// ALPN is what the client offered; nil on the client's side.
	ALPN []string
	// Kinds are the kinds of certificate that the peer takes of us; of another
	// there must be none in the answer. Empty is X509.
	Kinds []Kind
	// Delegated are the schemes of the delegated credentials that the peer takes; of
	// others, and where it is empty, there must be none in the answer.
	Delegated []Scheme
	// TrustAnchors are the identifiers of the trust anchors, or of groups of them,
	// that the peer says it trusts; nil where it does not speak of any. Certificate
	// .UnderTrustAnchor compares them.
	TrustAnchors []TrustAnchorID
	// Remote is the peer's address, nil where the transport has none.
	Remote net.Addr
}

// Certificate is a chain and the key of its first certificate, or a raw public key
// (NewRawKey). It is immutable and may be used by any number of connections at
// once.
type Certificate struct {
	kind    Kind
	spki    []byte // of a raw public key
	chain   [][]byte
	key     crypto.Signer
	schemes []Scheme
	issuers [][]byte   // DER names of the issuers along the chain
	signed  [][]Scheme // how each certificate is signed that is not self-issued
	leaf    *x509.Certificate
	ends    time.Time
	sum     [sha256.Size]byte // of the whole chain
	// delegated is the delegated credential whose key is in key, nil for none.
	delegated  *message.DelegatedCredential
	properties CertificateProperties
	// shown is what the handshake shows: the Certificate message is made once.
	shown  *handshake.Credential
	beside beside
}

// MaxChain is the most certificates that are sent or taken in one chain. Real
// chains have two to four.
const MaxChain = message.MaxChain

// NewCertificate checks that key belongs to the first certificate of chain
// (DER, leaf first), and that it is of a kind that TLS 1.3 can sign with.
func NewCertificate(chain [][]byte, key crypto.Signer) (*Certificate, error) {
	if len(chain) == 0 {
		return nil, errors.New("a certificate needs a chain: none was given")
	}
	if len(chain) > MaxChain {
		return nil, fmt.Errorf("the chain has %d certificates; at most %d can be sent", len(chain), MaxChain)
	}
	if key == nil {
		return nil, errors.New("a certificate needs its private key: none was given")
	}
	leaf, err := suite.CertificateKey(chain[0])
	if err != nil {
		return nil, fmt.Errorf("the first certificate of the chain does not parse: %w", err)
	}
	own, err := suite.PublicOf(key)
	if err != nil {
		return nil, fmt.Errorf("the private key can't be used: %w", err)
	}
	type equaler interface{ Equal(crypto.PublicKey) bool }
	if e, ok := leaf.Key.(equaler); !ok || !e.Equal(own.Key) {
		return nil, errors.New("the private key does not belong to the first certificate of the chain; put the leaf first, or give the key that was made with it")
	}
	c := &Certificate{chain: chain, key: suite.Fast(suite.GoBy(key, leaf.PSS)), schemes: leaf.Schemes()}
	if len(c.schemes) == 0 {
		return nil, errors.New("the key is of a kind that TLS 1.3 can't sign with; use ECDSA P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA of 2048 bits or more")
	}
	msg := message.Certificate{Entries: make([]message.CertificateEntry, len(chain))}
	for i, der := range chain {
		msg.Entries[i].Data = der
	}
	if err := c.readChain(); err != nil {
		return nil, err
	}
	wire, err := msg.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("the chain can't be sent: %w", err)
	}
	c.sum = sha256.Sum256(wire)
	c.shown = &handshake.Credential{Wire: wire, Schemes: c.schemes, Value: c}
	return c, nil
}

// readChain notes what is asked of the chain again and again.
func (c *Certificate) readChain() error {
	for i, der := range c.chain {
		parsed, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d of the chain does not parse: %w", i+1, err)
		}
		c.issuers = append(c.issuers, parsed.RawIssuer)
		if i == 0 {
			c.leaf = parsed
		}
		if !bytes.Equal(parsed.RawIssuer, parsed.RawSubject) { // nobody looks at those
			c.signed = append(c.signed, suite.SchemesOfCertificate(der))
		}
		c.ends = earliest(c.ends, parsed.NotAfter)
	}
	return nil
}

// LoadCertificate reads a chain (leaf first) and its key from PEM files.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	chain, key, err := keystore.LoadFiles(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	return NewCertificate(chain, key)
}

// Chain is the chain, leaf first, in DER; nil for a raw public key. It must not be
// changed.
func (c *Certificate) Chain() [][]byte { return c.chain }

// Schemes are the signature schemes that the key signs with, by preference.
func (c *Certificate) Schemes() []Scheme { return c.schemes }

// Signing is c with a key that signs with these schemes alone, the preferred
// first: for a key service that does not make all that its key could. An RSA key
// that can't do RSASSA-PSS, as some TPMs', may so sign by PKCS #1 v1.5 in a client
// (rsa_pkcs1_sha256_legacy, 0x0420, and the next; RFC 9963), which no certificate
// does unasked; the server has to take it: ServerConfig.LegacyPKCS1.
func (c *Certificate) Signing(schemes ...Scheme) (*Certificate, error) {
	if len(schemes) == 0 {
		return nil, errors.New("no signature scheme is left to sign with")
	}
	for i, s := range schemes {
		if !slices.Contains(c.schemes, s) && !c.legacy(s) {
			return nil, fmt.Errorf("the certificate's key does not sign with %s", s)
		}
		if slices.Contains(schemes[:i], s) {
			return nil, fmt.Errorf("the signature scheme %s is given twice", s)
		}
	}
	return c.copy(slices.Clone(schemes)), nil
}

// copy is c as another Certificate, with its own schemes.
func (c *Certificate) copy(schemes []Scheme) *Certificate {
	own := &Certificate{
		kind: c.kind, spki: c.spki, delegated: c.delegated, chain: c.chain, key: c.key, schemes: schemes,
		issuers: c.issuers, signed: c.signed, leaf: c.leaf, ends: c.ends, sum: c.sum, properties: c.properties,
	}
	own.shown = &handshake.Credential{Type: c.kind, Delegated: c.delegation(), Wire: c.shown.Wire, Schemes: own.schemes, Value: own}
	c.beside.mu.Lock()
	defer c.beside.mu.Unlock()
	own.beside.staple, own.beside.scts = c.beside.staple, c.beside.scts
	return own
}

// legacy says whether the key can sign with one of the schemes of RFC 9963.
func (c *Certificate) legacy(s Scheme) bool {
	pub, err := suite.PublicOf(c.key)
	return err == nil && s.IsLegacy() && pub.Fits(s)
}

// Certificate makes a Certificate an Identity that never changes. It is shown to
// whoever asks, even to a server that names other authorities: whoever gave one
// certificate meant that one, and "unknown authority" tells both ends more than
// "no certificate" does. One that its properties keep for those who named its trust
// anchor is shown to nobody else.
func (c *Certificate) Certificate(_ context.Context, ask *Ask) (*Certificate, error) {
	if !c.kindIn(ask.Kinds) || !c.takenBy(ask.Delegated) || c.forThose(ask) {
		return nil, nil
	}
	return c, nil
}

// IssuedUnder says whether one of the authorities, names in DER, issued a
// certificate of the chain.
func (c *Certificate) IssuedUnder(authorities [][]byte) bool {
	for _, issuer := range c.issuers {
		for _, a := range authorities {
			if bytes.Equal(a, issuer) {
				return true
			}
		}
	}
	return false
}

// Swap is an Identity whose certificate can be exchanged while it is in use.
// What stands keeps the certificate that it was made with; what comes gets the
// new one.
type Swap struct{ current atomic.Pointer[Certificate] }

// NewSwap is a Swap that holds c.
func NewSwap(c *Certificate) *Swap {
	s := &Swap{}
	s.current.Store(c)
	return s
}

// Set exchanges the certificate.
func (s *Swap) Set(c *Certificate) { s.current.Store(c) }

// Current is the certificate in use.
func (s *Swap) Current() *Certificate { return s.current.Load() }

// Certificate answers with the certificate in use.
func (s *Swap) Certificate(ctx context.Context, ask *Ask) (*Certificate, error) {
	c := s.current.Load()
	if c == nil {
		return nil, errors.New("this identity holds no certificate yet")
	}
	return c.Certificate(ctx, ask)
}
