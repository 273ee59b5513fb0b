package mtls

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
)

// PSK is an external pre-shared key: a secret that one client and one server have
// agreed on elsewhere, and that proves each to the other in the place of
// certificates (RFC 8446, section 2.2; RFC 9257). It is used with a key exchange
// always, so that a key that gets out tells nothing of what was said before.
//
// A key is for these two ends, in these two roles, and for nothing else. With a
// third holder, or with the same key the other way round, nobody knows any more
// who speaks (RFC 9257, section 4.1): the names are in it so that each side says
// whom it means. NewServer and NewClient refuse a secret that this process uses
// already for other ends, the other way round, with another hash, or raw and
// imported; what other processes do they do not see. Revoking a key is taking it out
// of the configuration.
type PSK struct {
	// Identity is what the key is found by. It travels in the clear.
	Identity []byte
	// Secret is the key: 16 random bytes or more, never a password.
	Secret []byte
	// Context is what else both sides know of the key (RFC 9258, section 5.1), such
	// as the names of both. It travels in the clear.
	Context []byte
	// Hash goes with the key: crypto.SHA256, which 0 is, or crypto.SHA384.
	Hash crypto.Hash
	// Client and Server are the two ends, by the names that the key proves: a DNS
	// name, an IP address or a SPIFFE ID. A client offers it to that server alone.
	Client, Server string
	// Raw has the key used as it is (RFC 8446, section 4.2.11), with suites of its
	// hash alone, and not imported for each (RFC 9258): for peers that do not
	// import, as OpenSSL and GnuTLS do not. Such a key must be used nowhere else,
	// not with another protocol or version either.
	Raw bool
}

// PreSharedKey is a Kind that no extension names: an external pre-shared key.
const PreSharedKey Kind = 0xff

const (
	minSecret   = 16 // RFC 9257, section 6
	maxSecret   = 512
	maxIdentity = 1 << 10 // of an identity and of a context: they stand in the first flight
	// maxOffered is how many keys a client has for one server.
	maxOffered = 8
	// maxPSKs bounds a server's table.
	maxPSKs = 1 << 16
	// maxTried is how many of a client's identities are tried as tickets.
	maxTried = 4
)

// PreShared is a Verifier that admits whoever proved one of the external
// pre-shared keys of the Server or Client, by the name that the key is for. It
// judges no certificate: to let in those too, put it into AnyOf; to let in some
// of the names alone, into Allow.
func PreShared() Verifier { return preShared{} }

type preShared struct{}

// Kinds is PreSharedKey alone.
func (preShared) Kinds() []Kind { return []Kind{PreSharedKey} }

// Generation is the same always: sessions are bound to their key.
func (preShared) Generation() ([sha256.Size]byte, bool) { return digest("pre-shared"), true }

func (preShared) Verify(_ context.Context, claim *Claim) (*Verdict, error) {
	peer := peerOfPSK(claim.PreShared)
	switch {
	case claim.PreShared == "":
		return verdictOf(code.NoCommonCertificateType, nil), nil
	case claim.Role == RoleServer && !sameName(claim.PreShared, claim.ServerName):
		v := verdictOf(code.WrongName, nil)
		v.Peer, v.Reason = peer, "the pre-shared key is that of "+identity.Quote(claim.PreShared)
		return v, nil
	}
	return &Verdict{OK: true, Peer: peer}, nil
}

func peerOfPSK(name string) Peer {
	p := Peer{Names: []string{name}, PreShared: true}
	if strings.HasPrefix(name, "spiffe://") {
		p.SPIFFE = name
	}
	return p
}

var errPreShared = errors.New("the peer proved a pre-shared key, and showed no certificate")

// psks are the keys of an endpoint, which never change.
type psks struct {
	list []*psk
	wire map[string]*target
	sums map[[sha256.Size]byte]*psk
}

// psk is one key.
type psk struct {
	PSK
	order   int
	peer    string // whom it proves to us
	sum     [sha256.Size]byte
	targets []*target
}

// target is a key in a form that a handshake can use.
type target struct {
	*psk
	wire   []byte
	suite  *suite.Suite
	secret []byte
	kind   handshake.Kind
}

// newPSKs checks the keys of who has the role, and derives what is used of them.
func newPSKs(role Role, list []PSK) (*psks, error) {
	if len(list) > maxPSKs {
		return nil, fmt.Errorf("%d pre-shared keys were given; at most %d can be kept", len(list), maxPSKs)
	}
	all := &psks{wire: map[string]*target{}, sums: map[[sha256.Size]byte]*psk{}}
	perServer := map[string]int{}
	secrets := make([][sha256.Size]byte, 0, len(list))
	known := make(map[[sha256.Size]byte]bool, len(list))
	for i := range list {
		k := &psk{PSK: list[i], order: i}
		if err := k.check(role); err != nil {
			return nil, fmt.Errorf("the pre-shared key %q can't be used: %w", k.Identity, err)
		}
		secret := sha256.Sum256(k.Secret)
		if known[secret] {
			return nil, fmt.Errorf("the pre-shared key %q has the secret of another: a key is for one client and one server", k.Identity)
		}
		known[secret], secrets = true, append(secrets, secret)
		if perServer[k.peer]++; role == RoleClient && perServer[k.peer] > maxOffered {
			return nil, fmt.Errorf("there are more than %d pre-shared keys for %s", maxOffered, k.peer)
		}
		k.derive(secret)
		for _, t := range k.targets {
			if all.wire[string(t.wire)] != nil {
				return nil, fmt.Errorf("two pre-shared keys have the identity %q and the same context", k.Identity)
			}
			all.wire[string(t.wire)] = t
		}
		all.list, all.sums[k.sum] = append(all.list, k), k
	}
	return all, usedPSKs.hold(all, secrets)
}

func (k *psk) check(role Role) error {
	if k.Hash == 0 {
		k.Hash = crypto.SHA256
	}
	switch {
	case len(k.Identity) == 0 || len(k.Identity) > maxIdentity || len(k.Context) > maxIdentity:
		return fmt.Errorf("an identity has 1 to %d bytes, and a context at most as many", maxIdentity)
	case len(k.Secret) < minSecret || len(k.Secret) > maxSecret:
		return fmt.Errorf("its secret has %d bytes; %d to %d random ones are needed (RFC 9257, section 6)", len(k.Secret), minSecret, maxSecret)
	case slices.Max(k.Secret) == slices.Min(k.Secret):
		return errors.New("its secret is one byte over and over: draw random ones")
	case k.Hash != crypto.SHA256 && k.Hash != crypto.SHA384:
		return errors.New("its hash has to be SHA-256 or SHA-384")
	case k.Raw && len(k.Context) > 0:
		return errors.New("a raw key has no context: only imported ones do")
	case sameName(k.Client, k.Server):
		return errors.New("its client and its server are the same")
	}
	for _, name := range []*string{&k.Client, &k.Server} {
		n, err := identity.Parse(*name)
		if err != nil {
			return fmt.Errorf("it has to name its client and its server: %w", err)
		}
		*name = n.String()
	}
	k.peer = k.Server
	if role == RoleServer {
		k.peer = k.Client
	}
	return nil
}

// derive keeps copies of what the caller owns, and makes the forms that are used.
func (k *psk) derive(secret [sha256.Size]byte) {
	own := suiteOf(k.Hash)
	k.Identity, k.Context = slices.Clone(k.Identity), slices.Clone(k.Context)
	k.sum = digest("pre-shared key", k.Identity, secret[:], k.Context, []byte(k.Hash.String()), []byte(k.Client), []byte(k.Server), []byte(fmt.Sprint(k.Raw)))
	if k.Raw {
		k.targets = []*target{{k, k.Identity, own, slices.Clone(k.Secret), handshake.ExternalPSK}}
	} else {
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
			to := suiteOf(h)
			wire := schedule.ImportedIdentity(k.Identity, k.Context, to)
			k.targets = append(k.targets, &target{k, wire, to, schedule.ImportPSK(own, to, k.Secret, wire), handshake.ImportedPSK})
		}
	}
	k.Secret = nil // the caller's
}

func suiteOf(h crypto.Hash) *suite.Suite {
	if h == crypto.SHA384 {
		return suite.ByID(suite.AES256GCMSHA384)
	}
	return suite.ByID(suite.AES128GCMSHA256)
}

// session is what a machine gets: it zeroes its secret.
func (t *target) session(index int) *handshake.Session {
	return &handshake.Session{
		Kind: t.kind, Suite: t.suite, Secret: slices.Clone(t.secret), Ticket: t.wire, Proven: t.psk, Index: index,
		Age: func() uint32 { return 0 }, // RFC 8446, section 4.2.11
	}
}

// offer is what a client offers to the server that it means.
func (p *psks) offer(server string) (all []*handshake.Session) {
	if p == nil {
		return nil
	}
	for _, k := range p.list {
		if k.Server == server {
			for _, t := range k.targets {
				all = append(all, t.session(0))
			}
		}
	}
	return all
}

// open finds the key behind what a client offers: ours that comes first.
func (p *psks) open(identities [][]byte, s *suite.Suite) *handshake.Session {
	if p == nil {
		return nil
	}
	var best *target
	at := 0
	for i, id := range identities {
		if t := p.wire[string(id)]; t != nil && t.suite.Hash == s.Hash && (best == nil || t.order < best.order) {
			best, at = t, i
		}
	}
	if best == nil {
		return nil
	}
	return best.session(at)
}

// has is whether one of the identities is a key of ours with the hash of s.
func (p *psks) has(identities [][]byte, s *suite.Suite) bool {
	return slices.ContainsFunc(identities, func(id []byte) bool {
		t := p.wire[string(id)]
		return t != nil && t.suite.Hash == s.Hash
	})
}

// of finds the key that a session began with.
func (p *psks) of(sum []byte) *psk {
	if p == nil || len(sum) != sha256.Size {
		return nil
	}
	return p.sums[[sha256.Size]byte(sum)]
}

// proven is the key in what a machine hands back; nil where it was none.
func proven(v any) *psk {
	k, _ := v.(*psk)
	return k
}

// prove puts into the claim what an external key proves.
func (c *Claim) prove(v any) {
	if k := proven(v); k != nil {
		c.PreShared = k.peer
	}
}

// take sets the endpoint up for the keys, and says whether they are all that it
// has to prove itself by, or to judge by.
func (e *endpoint) take(list []PSK, only bool) (err error) {
	if len(list) == 0 {
		return nil
	}
	if !slices.Contains(kindsOf(e.verifier), PreSharedKey) {
		return errors.New("pre-shared keys were given, and the Verifier takes none: say PreShared(), or AnyOf(PreShared(), ...) to take certificates too")
	}
	if e.psks, err = newPSKs(e.role, list); err != nil {
		return err
	}
	e.hs.PSKs, e.hs.PSKOnly, e.hs.HasKey = true, only, e.psks.has
	if only {
		// With another suite no key would do: a raw one has one hash.
		e.hs.Suites = slices.DeleteFunc(slices.Clone(e.hs.Suites), func(id Suite) bool { return !e.psks.fit(suite.ByID(id)) })
		if len(e.hs.Suites) == 0 {
			return errors.New("none of the cipher suites has the hash of a pre-shared key: add one, or a key")
		}
	}
	return nil
}

// fit is whether a key can be used with the suite.
func (p *psks) fit(s *suite.Suite) bool {
	for _, t := range p.wire {
		if t.suite.Hash == s.Hash {
			return true
		}
	}
	return false
}

// onWire are the kinds that extensions name.
func onWire(kinds []Kind) []Kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return k == PreSharedKey })
}
