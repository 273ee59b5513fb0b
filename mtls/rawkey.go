package mtls

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// Kind is what an end proves itself with: a certificate, or a raw public key (RFC
// 7250). The two directions of a connection need not be of one kind. A raw
// public key names nobody: it counts only where our side knows it already.
type Kind = message.CertificateType

// The kinds. Where nothing else is said it is X509.
const (
	X509         = message.X509
	RawPublicKey = message.RawPublicKey
)

// Kinds is what a Verifier, or a client's Identity, may be besides: one that
// tells which kinds it takes, or can show, its first choice first. What does not
// tell has to do with X509 alone, and never sees another.
type Kinds interface{ Kinds() []Kind }

func kindsOf(v any) []Kind {
	if k, ok := v.(Kinds); ok {
		return k.Kinds()
	}
	return []Kind{X509}
}

// kindsOfEach are those of some of the list, in order.
func kindsOfEach[T any](list []T) (all []Kind) {
	for _, one := range list {
		for _, k := range kindsOf(one) {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

// kindsOfAll are those of every one in the list, in the order of the first.
func kindsOfAll[T any](list []T) (all []Kind) {
	for i, one := range list {
		kinds := kindsOf(one)
		if i == 0 {
			all = slices.Clone(kinds)
		}
		all = slices.DeleteFunc(all, func(k Kind) bool { return !slices.Contains(kinds, k) })
	}
	return all
}

// NewRawKey makes an identity of a bare key, to be shown to peers that know it. It
// has no chain, names nobody and ends at no time.
func NewRawKey(key crypto.Signer) (*Certificate, error) {
	if key == nil {
		return nil, errors.New("a raw public key needs its private key: none was given")
	}
	own, err := suite.PublicOf(key)
	if err != nil {
		return nil, fmt.Errorf("the private key can't be used: %w", err)
	}
	if own.PSS {
		return nil, errors.New("an id-RSASSA-PSS key can't be shown as a raw public key here; give one whose OID is rsaEncryption, or better an ECDSA or Ed25519 key")
	}
	spki, err := suite.MarshalPublicKey(own.Key)
	if err != nil {
		return nil, fmt.Errorf("the public key can't be written down: %w", err)
	}
	c := &Certificate{kind: RawPublicKey, spki: spki, key: key, schemes: own.Schemes()}
	if len(c.schemes) == 0 {
		return nil, errors.New("the key is of a kind that TLS 1.3 can't sign with; use ECDSA P-256, P-384 or P-521, Ed25519, ML-DSA, or RSA of 2048 bits or more")
	}
	msg := message.Certificate{Entries: []message.CertificateEntry{{Data: spki}}}
	wire, err := msg.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("the key can't be sent: %w", err)
	}
	c.sum = sha256.Sum256(wire)
	c.shown = &handshake.Credential{Type: RawPublicKey, Wire: wire, Schemes: c.schemes, Value: c}
	return c, nil
}

// Kind is what the certificate is: X509, or RawPublicKey as NewRawKey makes it.
func (c *Certificate) Kind() Kind { return c.kind }

func (c *Certificate) kindIn(kinds []Kind) bool {
	return slices.Contains(kinds, c.kind) || len(kinds) == 0 && c.kind == X509
}

// Kinds is the one kind.
func (c *Certificate) Kinds() []Kind { return []Kind{c.kind} }

// RawKey is the SubjectPublicKeyInfo in DER that NewRawKey made; nil where it is a
// chain. Its SHA-256 is what RawKeys of the other side wants. It must not be changed.
func (c *Certificate) RawKey() []byte { return c.spki }

// Kinds are those of all its certificates.
func (cs choice) Kinds() []Kind { return kindsOfEach(cs) }

// Kinds is that of the certificate in use.
func (s *Swap) Kinds() []Kind {
	if c := s.current.Load(); c != nil {
		return c.Kinds()
	}
	return []Kind{X509}
}

// RawKeys is a Verifier that admits whoever holds one of the keys, shown as a raw
// public key: no certificate and no authority, no time and no revocation, so that
// a key is taken back by taking it out. Each is given by the SHA-256 of its
// SubjectPublicKeyInfo, and the name beside it is what its holder is called; a
// server has to be called what the client means to reach. To let in what shows
// certificates too, put it into AnyOf.
func RawKeys(names map[[sha256.Size]byte]string) Verifier { return rawKeys{maps.Clone(names)} }

type rawKeys struct {
	names map[[sha256.Size]byte]string
}

// Kinds is RawPublicKey alone.
func (r rawKeys) Kinds() []Kind { return []Kind{RawPublicKey} }

func (r rawKeys) check(Role) error {
	if len(r.names) == 0 {
		return errors.New("no keys were given to RawKeys: nobody could be admitted")
	}
	for sum, name := range r.names {
		if _, err := identity.Parse(name); err != nil {
			return fmt.Errorf("the raw public key %x... has no good name: %w", sum[:4], err)
		}
	}
	return nil
}

func (r rawKeys) Verify(_ context.Context, claim *Claim) (*Verdict, error) {
	if claim.RawKey == nil {
		return verdictOf(code.NotPinned, nil), nil
	}
	// Looked up by a hash of what the peer chose: there is nothing secret to time.
	name, ok := r.names[sha256.Sum256(claim.RawKey)]
	if !ok {
		v := verdictOf(code.NotPinned, nil)
		v.Peer = peerOfKey(claim.RawKey)
		return v, nil
	}
	peer := peerOfKey(claim.RawKey)
	peer.Names = []string{name}
	if strings.HasPrefix(name, "spiffe://") {
		peer.SPIFFE = name
	}
	if claim.Role == RoleServer && claim.ServerName != "" && !sameName(name, claim.ServerName) {
		v := verdictOf(code.WrongName, nil)
		v.Peer = peer
		v.Reason = "the key is that of " + identity.Quote(name)
		return v, nil
	}
	return &Verdict{OK: true, Peer: peer}, nil
}

// sameName says whether two names, as people write them, are one.
func sameName(a, b string) bool {
	one, err1 := identity.Parse(a)
	two, err2 := identity.Parse(b)
	return err1 == nil && err2 == nil && one.String() == two.String()
}

// Generation is a digest of the keys and their names.
func (r rawKeys) Generation() ([sha256.Size]byte, bool) {
	var parts [][]byte
	for _, sum := range slices.SortedFunc(maps.Keys(r.names), func(a, b [sha256.Size]byte) int { return slices.Compare(a[:], b[:]) }) {
		parts = append(parts, slices.Clone(sum[:]), []byte(r.names[sum]))
	}
	return digest("raw keys", parts...), true
}

func peerOfKey(spki []byte) Peer { return Peer{RawKey: spki} }

// errRawKey is the answer to whoever looks for certificates where a raw public
// key was shown.
var errRawKey = errors.New("the peer showed a raw public key, and no certificate")

// kind is what the claim rests on.
func (c *Claim) kind() Kind {
	switch {
	case c.RawKey != nil:
		return RawPublicKey
	case c.PreShared != "":
		return PreSharedKey
	}
	return X509
}

// ask asks a verifier, unless what the peer showed is of a kind that it does not
// take: such a thing it must not even see.
func ask(ctx context.Context, v Verifier, claim *Claim) (*Verdict, error) {
	if !slices.Contains(kindsOf(v), claim.kind()) {
		refused := verdictOf(code.NoCommonCertificateType, nil)
		refused.Reason = "it showed a " + kindName(claim.kind()) + ", and such are not taken"
		return refused, nil
	}
	verdict, err := v.Verify(ctx, claim)
	return claim.within(verdict), err
}

func kindName(k Kind) string {
	switch k {
	case RawPublicKey:
		return "raw public key"
	case PreSharedKey:
		return "pre-shared key"
	}
	return "certificate"
}

// show puts into the claim what the peer showed.
func (c *Claim) show(chain [][]byte, kind Kind) {
	if kind == RawPublicKey {
		c.RawKey = chain[0]
		return
	}
	c.Chain = chain
}
