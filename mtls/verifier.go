package mtls

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"time"

	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/ct"
	"github.com/mutual-tls/mutual/policy"
)

// Verifier judges the other side. It is called concurrently, for every occasion
// alike, so that none can go round it. An error means trouble of our own (a
// store that can't be read): the connection is refused with
// certificate_unknown, and the peer is not blamed.
type Verifier interface {
	Verify(ctx context.Context, claim *Claim) (*Verdict, error)
}

// Occasion is why the verifier is asked.
type Occasion uint8

// The occasions.
const (
	// FullHandshake: the peer has just shown its chain and proven the key.
	FullHandshake Occasion = iota + 1
	// Resumption: the peer resumes a session; its chain is the one that was
	// verified then.
	Resumption
	// Recheck: the connection stands, and something that its admission rested
	// on may have changed.
	Recheck
)

// Claim is what a peer says it is. Its key has been proven; all else is for the
// verifier to judge.
type Claim struct {
	Occasion Occasion
	// Role is the peer's.
	Role Role
	// Chain is what the peer showed, leaf first, in DER. It is empty only where the
	// peer showed a raw public key, which a Verifier sees that asks for it: Kinds.
	Chain [][]byte
	// RawKey is that key, a SubjectPublicKeyInfo in DER; nil for a chain.
	RawKey []byte
	// PreShared is whom an external pre-shared key proves, which a Verifier sees
	// that asks for it; "" for none. Chain is empty then, too.
	PreShared string
	// OCSP are the responses that came beside the chain, one for each certificate
	// or nil; nil where we did not ask or none came. Timestamps are those beside the
	// leaf. They are the peer's bytes, and nobody has looked at them. A resumption
	// has none: who needs them refuses it, and gets a full handshake.
	OCSP, Timestamps [][]byte
	// Delegated is when the delegated credential ends by which the peer proved itself,
	// in place of the key in its leaf; zero for none. The verdict ends with it.
	Delegated time.Time
	// AskedOCSP is whether the peer was asked for responses: now, or at a Recheck, when
	// it showed its chain. A certificate that says that it comes with one (must-staple,
	// RFC 7633) is then refused without.
	AskedOCSP bool
	// ServerName is whom a client means to reach, "" when a client is judged.
	ServerName string
	// Now is the time to judge at.
	Now time.Time
	// Remote is the peer's address, nil where the transport has none.
	Remote net.Addr

	parsed       []*pki.Certificate
	parseErr     error
	transparency *ct.Policy // which RequireTimestamps asks for
}

// Verdict is a judgement with its reasons. It is immutable.
type Verdict struct {
	// OK is whether the peer may speak.
	OK bool
	// Peer is who was proven, where OK; where not, whom the certificate names.
	Peer Peer
	// Until is when the judgement ends by itself: the earliest notAfter of the
	// path. Zero where it does not end.
	Until time.Time

	// Code, Alert, Reason and Mend tell a refusal: a stable code, what goes on
	// the wire, one sentence, and what to do.
	Code   string
	Alert  Alert
	Reason string
	Mend   string

	// Path is the path validation, and Policy the rule that decided; each is
	// nil where it was not asked.
	Path   *pki.Verdict
	Policy *policy.Decision
}

// Peer is the other end of a connection, as its certificate names it.
type Peer struct {
	// Names are the DNS names, IP addresses in text, and URIs of the leaf.
	Names []string
	// SPIFFE is its SPIFFE ID, or "".
	SPIFFE string
	// Serial is the leaf's serial number in hex.
	Serial string
	// RawKey is the SubjectPublicKeyInfo of a peer that showed a raw public key and
	// so has no certificate: its Names are what our side calls it.
	RawKey []byte
	// PreShared is whether it proved an external pre-shared key, and so has no
	// certificate: its one name is the one that the key is for.
	PreShared bool
	// Leaf is the certificate, nil with a RawKey or PreShared; Path is the verified path from it
	// to the anchor, nil where the verifier needs none (a pin).
	Leaf *pki.Certificate
	Path []*pki.Certificate
}

// Name is what to call the peer in words: its first DNS name, else its SPIFFE
// ID, else its first other name, else its serial number, else its key's hash.
func (p Peer) Name() string {
	switch {
	case len(p.Names) > 0:
		return p.Names[0]
	case p.SPIFFE != "":
		return p.SPIFFE
	case p.Serial != "":
		return "serial " + p.Serial
	case p.RawKey != nil:
		sum := sha256.Sum256(p.RawKey)
		return "key " + hex.EncodeToString(sum[:8])
	}
	return ""
}

// ClientPolicy is what a server asks of its clients. The zero value is not one:
// whoever makes a server has to say which it is.
type ClientPolicy struct {
	mode     clientMode
	verifier Verifier
}

type clientMode uint8

const (
	clientsUnset clientMode = iota
	clientsAnonymous
	clientsOptional
	clientsRequired
	clientsOnRequest
)

// Anonymous asks clients for nothing: an ordinary TLS server.
func Anonymous() ClientPolicy { return ClientPolicy{mode: clientsAnonymous} }

// Optional asks for a certificate. A client without one is let in and has no
// Peer; one whose certificate v refuses is refused.
func Optional(v Verifier) ClientPolicy { return ClientPolicy{mode: clientsOptional, verifier: v} }

// Required refuses whoever shows no certificate, or one that v refuses.
func Required(v Verifier) ClientPolicy { return ClientPolicy{mode: clientsRequired, verifier: v} }
