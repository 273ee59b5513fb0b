package api

import (
	"time"

	"github.com/mutual-tls/mutual/internal/join"
)

// The paths at the admin socket, a Unix socket in the authority's folder. Whoever
// asks there is the folder's owner, or root: the kernel says so.
const (
	AdminSocket = "admin.sock" // in the folder ca/

	PathAdminStatus       = "/admin/status"       // GET → Status
	PathAdminTokens       = "/admin/tokens"       // POST TokenRequest → TokenMade
	PathAdminIssue        = "/admin/issue"        // POST IssueRequest → Issued
	PathAdminCertificates = "/admin/certificates" // GET ?all=1 → []Certificate
	PathAdminRevoke       = "/admin/revoke"       // POST RevokeRequest → []Certificate
	PathAdminStatement    = "/admin/statement"    // POST Statement → Status: announce anchors
	PathAdminNames        = "/admin/names/"       // GET NAME → NameInfo
)

// TokenRequest asks for a token.
type TokenRequest struct {
	Name    string `json:"name"`
	Service string `json:"service,omitempty"`
	// Names are more DNS names and IP addresses that are granted.
	Names    []string `json:"names,omitempty"`
	Lifetime int64    `json:"lifetime,omitempty"` // seconds; 0: an hour
}

// TokenMade is a token that was made, as a join line. It is a secret.
type TokenMade struct {
	Line    string    `json:"line"`
	Expires time.Time `json:"expires"`
}

// Parsed is the line.
func (t *TokenMade) Parsed() (*join.Line, error) { return join.Parse(t.Line) }

// IssueRequest asks for a certificate for software that brings its own TLS.
type IssueRequest struct {
	Name     string   `json:"name"`
	Names    []string `json:"names,omitempty"`
	CSR      []byte   `json:"csr"`
	Lifetime int64    `json:"lifetime,omitempty"`
}

// Certificate is a certificate on record.
type Certificate struct {
	Name      string     `json:"name"`
	SPIFFE    string     `json:"spiffe"`
	Names     []string   `json:"names"`
	Serial    string     `json:"serial"` // hex
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	Lineage   string     `json:"lineage"`
	Head      bool       `json:"head"` // the latest of its lineage
	State     string     `json:"state"`
	Issuer    string     `json:"issuer"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// RevokeRequest takes back what one of its fields names.
type RevokeRequest struct {
	// Target is a name or a serial number.
	Target  string `json:"target,omitempty"`
	Lineage string `json:"lineage,omitempty"`
	Reason  string `json:"reason,omitempty"` // in words, for the record
}

// NameInfo is what is known of a name.
type NameInfo struct {
	Name string `json:"name"`
	// Joined is whether it ever enrolled.
	Joined bool `json:"joined"`
	// Waiting is whether a token for it can still be used.
	Waiting bool `json:"waiting"`
}

// Status is how an authority is.
type Status struct {
	Domain string `json:"domain"`
	// Root is the SHA-256 of the root in force, in hex.
	Root      string    `json:"root"`
	RootPEM   string    `json:"root_pem"`
	Started   time.Time `json:"started"`
	Authority []string  `json:"authority"`
	Process   int       `json:"process"`
	KeyType   string    `json:"key_type"`
	// Encrypted is whether the root's key on this machine is encrypted.
	Encrypted bool       `json:"root_key_encrypted"`
	Issuers   []CAStatus `json:"issuers"` // roots, issuers, standby issuers
	Statement int64      `json:"statement"`
	Lineages  int        `json:"lineages"`
	Valid     int        `json:"valid"`
	Revoked   int        `json:"revoked"`
	Alarms    []Alarm    `json:"alarms"`
	Warnings  []string   `json:"warnings"`
}

// CAStatus is one certificate of the authority's own.
type CAStatus struct {
	Subject  string    `json:"subject"`
	Role     string    `json:"role"` // root, issuer, standby
	Serial   string    `json:"serial"`
	NotAfter time.Time `json:"not_after"`
	SHA256   string    `json:"sha256"`
}

// Alarm is something that a person should look at.
type Alarm struct {
	At     time.Time `json:"at"`
	Code   string    `json:"code"`
	Words  string    `json:"words"`
	Name   string    `json:"name,omitempty"`
	Serial string    `json:"serial,omitempty"`
}
