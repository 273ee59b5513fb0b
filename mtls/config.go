package mtls

import (
	"crypto/rand"
	"io"
	"net"
	"time"

	"github.com/mutual-tls/mutual/internal/observe"
)

// Observer sees a handshake as it happens; Event is one thing that it sees. No
// event carries a secret.
type (
	Observer = observe.Observer
	Event    = observe.Event
)

// ServerConfig is what a server is. Identity and Clients must be given.
type ServerConfig struct {
	// Identity shows who we are.
	Identity Identity
	// Clients says what is asked of them: Anonymous, Optional or Required.
	Clients ClientPolicy
	// PSKs are external pre-shared keys, one for each client; without an Identity
	// they are the only way in, and Clients may be left out. See PSK and PreShared.
	PSKs []PSK
	// ALPN are the application protocols that we speak, by preference. Empty:
	// none is ever selected. Not empty, and the client offers none of them: the
	// handshake ends with no_application_protocol; a client that offers none at
	// all goes on without.
	ALPN []string
	// Resumption, if not nil, gives clients tickets to resume with: see
	// ServerResumption.
	Resumption *ServerResumption
	// ECH, if not nil, are the keys with which we read what clients send encrypted
	// (Encrypted Client Hello, RFC 9849). Identity then needs a certificate for
	// their public names, too.
	ECH *ECHKeys
	// Filters, if there are any, ask clients for a certificate with certain
	// extensions, where they have several to choose from. Whoever is to be refused
	// without, the verifier refuses.
	Filters []ExtensionFilter
	// Cookies, if not nil, seal the state of a handshake between a client's two
	// hellos, which then costs us no memory: see docs/library.md. Each handshake
	// takes one round trip more. Not with ECH.
	Cookies *TicketKeys
	// LegacyPKCS1 takes signatures by PKCS #1 v1.5 of clients whose RSA keys can't do
	// RSASSA-PSS, as some TPMs' (RFC 9963). Off, TLS 1.3 has no such.
	LegacyPKCS1 bool
	// Refused, if not nil, is told of every connection that Listener refuses.
	// It is called concurrently.
	Refused func(remote net.Addr, refusal *Refusal)

	Common
}

// ClientConfig is what a client is. Servers must be given.
type ClientConfig struct {
	// Identity shows who we are to a server that asks; nil shows nothing.
	Identity Identity
	// Servers judges the server: Authorities, SystemTrust, Pin, AnyOf, AllOf, Allow.
	Servers Verifier
	// PSKs are external pre-shared keys, each for one server; without Servers they
	// are the only way. See PSK and PreShared.
	PSKs []PSK
	// NameAuthorities tells the server which authorities we verify it by, so that it
	// can choose among its certificates (RFC 8446, section 4.2.4). The names travel
	// in the clear.
	NameAuthorities bool
	// ALPN are the application protocols that we offer, by preference.
	ALPN []string
	// PostHandshakeAuth lets servers ask for our certificate after the handshake
	// (RFC 8446, section 4.6.2): Identity is asked then, and data flows on
	// meanwhile. A server may do so at any time, and learns who we are. It is not
	// offered where all of ALPN is HTTP/2 and HTTP/3, which forbid it.
	PostHandshakeAuth bool
	// KeyShares is how many key shares to send at first, 1 or 2; 0 is 2 where there
	// are post-quantum and classical groups (the first of each kind, so that a server
	// which prefers the other kind need not ask for it in a round trip more), else 1.
	KeyShares int
	// Shares are the groups in which key shares are sent at first, for those who
	// know what their servers take: from Groups, in their order. nil leaves it to
	// KeyShares; an empty list makes every server ask for one, a round trip more.
	Shares []Group
	// PermuteExtensions sends the extensions of the ClientHello in an order that
	// is drawn anew for each connection, so that nothing on the way can come to
	// rely on one. Off, a hello of ours looks like the one before it.
	PermuteExtensions bool
	// Resumption, if not nil, keeps the tickets of servers and resumes with them:
	// see ClientResumption.
	Resumption *ClientResumption
	// ECH, if not nil, hides whom we mean: see ClientECH.
	ECH *ClientECH

	Common
}

// Common is what both roles may set. The zero value is right for nearly all.
type Common struct {
	// Suites, Groups and Schemes, by preference; nil is all that we have, ordered
	// by what the processor accelerates; the groups P-521 and ML-KEM-1024 alone have
	// to be asked for. Schemes are those that the peer may sign
	// with, and we sign with before others; what we can sign with at all is our
	// certificate's to say.
	Suites  []Suite
	Groups  []Group
	Schemes []Scheme
	// DelegatedCredentials has us take delegated credentials (RFC 9345) of peers: keys
	// that the key of their certificate signed for some days. What we show ourselves
	// does not depend on it: see NewDelegated.
	DelegatedCredentials bool
	// GREASE mixes values that mean nothing among what we offer (RFC 8701), as
	// browsers do: a peer, or a box on the way, that can't stand what it does not
	// know is found out before TLS learns something new. Off, every byte that we
	// offer is one that we mean.
	GREASE bool
	// Compression of certificates; the zero value compresses our own where the peer
	// offers it.
	Compression Compression
	// Beside is what the peer is asked to show beside its certificate.
	Beside Beside
	// TrustAnchors, if not nil, name what we trust by identifiers of a few bytes, so
	// that the peer can choose among its certificates: see TrustAnchors, and its word
	// on what they give away. A draft, whose extension has no number yet: what is
	// spoken is its revision 06 under BoringSSL's number, 0xca34.
	TrustAnchors *TrustAnchors
	// Padding of what we send; the zero value is none.
	Padding Padding
	// RecordSizeLimit is the longest protected record that we take, its type and
	// padding counted, 64 to 16,385; 0 says nothing to the peer (RFC 8449). For
	// machines with little memory: short records are slow.
	RecordSizeLimit int
	// MaxRecord is how many bytes a record of ours holds at most, 64 to 16,384; 0 is
	// as many as TLS and the peer allow. A peer has nothing of a record before it has
	// all of it: short ones are for slow ways, and for peers with little memory that
	// can't say so. Each costs 22 bytes on the way, and time on both sides.
	MaxRecord int

	// Renewal, if not nil, has connections outlive their certificates, where the
	// other end has it too: see Renewal.
	Renewal *Renewal
	// Limits bounds what a peer may cost us; nil is DefaultLimits.
	Limits *Limits
	// Observer sees every handshake; nil sees none.
	Observer Observer
	// KeyLog is given the secrets of every connection in the NSS key log format,
	// which lets whoever reads it decrypt everything. For debugging alone.
	KeyLog io.Writer
	// Clock is the time to judge by; nil is time.Now. It is called concurrently.
	Clock func() time.Time
	// Random is the source of every key; nil is crypto/rand. It must be safe for
	// concurrent use, and is for tests alone.
	Random io.Reader
}

// Limits bounds what a peer may cost. What a protocol limit needs no setting for
// is a constant of the engine.
type Limits struct {
	// HandshakeTime is how long a handshake may take, from the first byte to the
	// last. Default 10 s.
	HandshakeTime time.Duration
	// Handshakes is how many may be under way at once in a Listener, which shares
	// them between the addresses of its clients. Default 1024.
	Handshakes int
	// Grace is how long a connection may outlive the end of the certificate that
	// admitted its peer: its Context ends at once, the connection is cut after
	// Grace. Default 30 s; negative is none.
	Grace time.Duration
	// RekeyAfter is how many records are sent under one key, if that is less
	// than what the cipher suite allows. 0: what the suite allows.
	RekeyAfter uint64
}

// handshakeTime is a variable for the tests of this package alone: a machine that is
// busy with the tests of others takes its time.
var handshakeTime = 10 * time.Second

// DefaultLimits are the limits where none are given.
func DefaultLimits() Limits {
	return Limits{HandshakeTime: handshakeTime, Handshakes: 1024, Grace: 30 * time.Second}
}

func (c *Common) limits() Limits {
	l := DefaultLimits()
	if c.Limits == nil {
		return l
	}
	if c.Limits.HandshakeTime > 0 {
		l.HandshakeTime = c.Limits.HandshakeTime
	}
	if c.Limits.Handshakes > 0 {
		l.Handshakes = c.Limits.Handshakes
	}
	if c.Limits.Grace != 0 {
		l.Grace = max(c.Limits.Grace, 0)
	}
	l.RekeyAfter = c.Limits.RekeyAfter
	return l
}

func (c *Common) clock() func() time.Time {
	if c.Clock != nil {
		return c.Clock
	}
	return time.Now
}

func (c *Common) random() io.Reader {
	if c.Random != nil {
		return c.Random
	}
	return rand.Reader
}
