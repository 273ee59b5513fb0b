package api

import (
	"time"

	"github.com/mutual-tls/mutual/internal/join"
)

// The protocols that the authority's port agrees on by ALPN. Only whoever agreed
// on Join may send a token, and does so only to whom it has proven to be the
// authority: a service under the same root speaks neither.
const (
	ALPNJoin = "mutual-join/1"
	ALPN     = "mutual/1"
)

// The names that no profile issues: they belong to the product.
const (
	NameAuthority = "authority"
	NameConsole   = "console"
	NameGateway   = "gateway"
)

// Reserved says whether name is one that nobody may enrol as.
func Reserved(name string) bool {
	return name == NameAuthority || name == NameConsole || name == NameGateway
}

// DefaultPort is the authority's port.
const DefaultPort = "8440"

// MaxBody bounds a request's body in bytes, MaxStatement that of a statement which
// is announced (maxRoots roots of ML-DSA-87 and their signatures are some 160 KiB),
// MaxAnswer an answer's.
const (
	MaxBody      = 64 << 10
	MaxStatement = 256 << 10
	MaxAnswer    = 16 << 20
)

// The paths at the authority's port.
const (
	PathJoin    = "/v1/join"      // POST JoinRequest → Issued; ALPNJoin, no certificate
	PathRenew   = "/v1/renew"     // POST RenewRequest → Issued; the head of a lineage, up to 30 days after its end
	PathUpdates = "/v1/updates"   // GET ?since=REVISION&service=NAME… → Updates; waits until there is something newer, or Wait
	PathService = "/v1/services/" // GET NAME → Service; PUT NAME Registration, as NAME itself
	PathCRL     = "/v1/crl"       // GET → Revocations; anybody, also without a certificate
)

// Wait is how long the authority holds a request for updates open. It answers
// earlier when there are some.
const Wait = 25 * time.Second

// JoinRequest spends a token.
type JoinRequest struct {
	Token join.Token `json:"token"`
	// CSR is a certificate request (PKCS #10, DER). What counts in it is the key
	// and the proof of it. Names in it have to be ones that the token grants.
	CSR []byte `json:"csr"`
	// Lifetime in seconds, 0 for the authority's own choice.
	Lifetime int64 `json:"lifetime,omitempty"`
}

// RenewRequest asks for the successor of the certificate that was shown, with
// another key.
type RenewRequest struct {
	CSR      []byte `json:"csr"`
	Lifetime int64  `json:"lifetime,omitempty"`
}

// Issued is a certificate, and what its holder needs to know beside it.
type Issued struct {
	Domain string `json:"domain"`
	Name   string `json:"name"`
	// Service is what the token said that Name is to reach, or "".
	Service string `json:"service,omitempty"`
	Lineage string `json:"lineage"`
	// Chain is the certificate and its intermediates, in DER, leaf first, without the root.
	Chain [][]byte `json:"chain"`
	// IssuedAt is when it was issued: the certificate itself begins a little
	// earlier, for clocks that are behind.
	IssuedAt time.Time `json:"issued_at"`
	// Statement says whom to trust.
	Statement Statement `json:"statement"`
	// Authority are the authority's addresses.
	Authority []string `json:"authority"`
}

// Statement says which roots are the anchors of a trust domain. Signed is the JSON
// of Anchors, byte for byte what is signed; parse it only after Verify.
type Statement struct {
	Signed     []byte               `json:"signed"`
	Signatures []StatementSignature `json:"signatures"`
}

// StatementSignature is a root's signature over StatementContext and Signed.
type StatementSignature struct {
	// Root is the SHA-256 of the signing root's certificate.
	Root      []byte `json:"root"`
	Signature []byte `json:"signature"`
}

// Anchors is what a Statement says.
type Anchors struct {
	Domain string `json:"domain"`
	// Number rises with each statement of the domain; the first is 1.
	Number int64 `json:"number"`
	// NotAfter is the end of the statement: that of its earliest root.
	NotAfter time.Time `json:"not_after"`
	// Roots are the anchors' certificates, DER, the one in force first.
	Roots [][]byte `json:"roots"`
}

// Registration is where a service can be reached: HOST:PORT each.
type Registration struct {
	Addresses []string `json:"addresses"`
}

// Service is a service and its addresses, those heard of last first.
type Service struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// Revocations are the lists of what was revoked, one for each issuer (CRL, DER).
type Revocations struct {
	Lists   [][]byte `json:"lists"`
	Issuers [][]byte `json:"issuers"`
}

// Updates is all that an agent follows, as it is at Revision.
type Updates struct {
	// Revision changes with everything below. It is opaque.
	Revision  string      `json:"revision"`
	Statement Statement   `json:"statement"`
	Lists     [][]byte    `json:"lists"`
	Issuers   [][]byte    `json:"issuers"`            // who signs the lists: certificates below the roots
	Services  []Service   `json:"services,omitempty"` // those asked for that are known
	Authority []string    `json:"authority"`
	Standing  LineageInfo `json:"standing"`
}

// LineageInfo is what the authority says of who asks.
type LineageInfo struct {
	State string `json:"state"` // valid, revoked, frozen
}

// The states of a certificate or a lineage.
const (
	StateValid   = "valid"
	StateExpired = "expired"
	StateRevoked = "revoked"
	StateFrozen  = "frozen"
)
