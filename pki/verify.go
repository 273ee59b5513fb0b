package pki

import (
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki/ct"
)

// The budget of one search, whatever was shown. Real searches take two or three
// signatures and as many steps; a mesh of cross-signed authorities can be made to
// take any number (CVE-2026-32280). Running out refuses.
const (
	// MaxShown is the most certificates that are looked at in one chain.
	MaxShown = 100
	// maxPath is the longest path, leaf and anchor included.
	maxPath       = 12
	maxSignatures = 100
	maxSteps      = 500
	// maxLooks is how many certificates are looked at as possible issuers, by name.
	maxLooks = 100000
	// maxComparisons is how many names are held against name constraints.
	maxComparisons = 1 << 18
	// maxPolicyWork is how many steps are taken in the graph of policies.
	maxPolicyWork = 1 << 16
)

// Purpose is what a certificate is to be fit for.
type Purpose uint8

// The purposes. The zero value is none, and nothing is fit for it.
const (
	// ForServer: serverAuth, shown by a server.
	ForServer Purpose = iota + 1
	// ForClient: clientAuth, shown by a client.
	ForClient
	// ForAny does not look at extended key usages.
	ForAny
)

// String is "server", "client" or "any".
func (p Purpose) String() string {
	switch p {
	case ForServer:
		return "server"
	case ForClient:
		return "client"
	case ForAny:
		return "any"
	}
	return "none"
}

// usages are the extended key usages that matter here.
type usages uint8

const (
	usageServer usages = 1 << iota
	usageClient
	usageAny
)

func (u usages) allow(p Purpose) bool {
	switch p {
	case ForServer:
		return u&(usageServer|usageAny) != 0
	case ForClient:
		return u&(usageClient|usageAny) != 0
	}
	return p == ForAny
}

// Question is what Verify is asked.
type Question struct {
	// Chain is what was shown: the leaf first, the rest in any order, with
	// doubles and strangers among it.
	Chain []*Certificate
	// Anchors are the only ends of a path.
	Anchors *Anchors
	// Purpose is what the leaf is shown as.
	Purpose Purpose
	// Name is what the leaf has to stand for: a DNS name, an IP address or a
	// SPIFFE ID; "" asks for no name.
	Name string
	// At is the time to judge at.
	At time.Time
	// Supposed says that At is not what a clock says now, but what somebody asks
	// about; the words are about that time then.
	Supposed bool
	// Profile is how strictly the form of certificates is judged.
	Profile Profile
	// MaxIntermediates is how many authorities may stand between the leaf and the
	// anchor; those that are issued under their own name do not count. 0 sets no
	// limit beside the anchor's own, -1 allows none.
	MaxIntermediates int
	// Policies are certificate policies, OIDs with dots, of which one has to be
	// valid for the whole path (RFC 5280, section 6.1, user-initial-policy-set).
	// With none, any will do, and RequirePolicy asks for that much.
	Policies      []string
	RequirePolicy bool
	// NoPolicyMapping and NoAnyPolicy take away what authorities may say of
	// policies (initial-policy-mapping-inhibit, initial-any-policy-inhibit).
	NoPolicyMapping, NoAnyPolicy bool
	// Revocation is what becomes of a certificate of which nobody knows whether it is
	// revoked; the zero value lets it stand where nothing is given that is about it.
	Revocation RevocationMode
	// RevocationLeafOnly asks about the leaf and not about the authorities above it.
	RevocationLeafOnly bool
	// RevocationLists and those of RevocationSource are asked about every certificate
	// below the anchor whose issuer made one, as far as each covers.
	RevocationLists  []*RevocationList
	RevocationSource RevocationSource
	// OCSP are responses, stapled or fetched, in any order. What one says that can be
	// relied on counts: a certificate that is revoked, or that its responder does not
	// know, is refused. One that can't be relied on is as none.
	OCSP []*OCSPResponse
	// Stapled is whether whoever showed the chain was asked for responses: then a leaf
	// that says that it comes with one (RFC 7633) is refused without a good one.
	Stapled bool
	// Transparency, if not nil, asks for timestamps of logs that have promised to
	// publish the leaf: in it, in an OCSP response that stands, or among Timestamps,
	// which came beside it in the handshake (RFC 6962, section 3.3).
	Transparency *ct.Policy
	Timestamps   [][]byte
	// Known, if not nil, are answers and signatures of before, and learns those of
	// a path that stands.
	Known *Known
}

// Verify judges a chain. It needs one path that stands whole: from the leaf
// through shown certificates to an anchor, every link signed by the next, every
// check passed. It is pure, bounded, and safe for concurrent use; a yes builds no
// words.
//
// A leaf that is itself an anchor, byte for byte, is a path of one: it was
// trusted by itself. Any other authority's certificate is refused as a leaf.
func Verify(q Question) *Verdict {
	generation := q.generation()
	if v := q.Known.recall(&q, generation); v != nil {
		return v
	}
	s := &search{q: q, generation: generation}
	if v := s.prepare(); v != nil {
		return v
	}
	if s.find() {
		return s.accept()
	}
	return s.refuse()
}

// Explain judges as Verify does, and tells every check of a yes as well.
func Explain(q Question) *Verdict {
	s := &search{q: q, generation: q.generation()}
	if v := s.prepare(); v != nil {
		return v
	}
	if !s.find() {
		return s.refuse()
	}
	v := s.accept()
	v.Paths = []Path{s.describe()}
	return v
}

// prepare answers what needs no search.
func (s *search) prepare() *Verdict {
	s.edges, s.scale = s.few[:0], 1
	switch {
	case s.q.Profile >= profiles:
		return s.plain(code.Verifier, "a profile", "number "+itoa(int(s.q.Profile)), "report this: a caller chose a profile that there is not")
	case s.q.Revocation >= revocationModes:
		return s.plain(code.Verifier, "a mode of revocation", "number "+itoa(int(s.q.Revocation)), "report this: a caller chose a mode that there is not")
	case s.q.Purpose < ForServer || s.q.Purpose > ForAny:
		return s.plain(code.Verifier, "a purpose: server, client or any", "none", "say what the certificate is shown for")
	case len(s.q.Chain) == 0:
		return s.plain(code.CertificateRequired, "a certificate", "none", "")
	case len(s.q.Chain) > MaxShown:
		return s.plain(code.ChainTooLong, "at most "+itoa(MaxShown)+" certificates", itoa(len(s.q.Chain)), "")
	case s.q.Anchors.Len() == 0:
		return s.plain(code.NoAnchors, "at least one anchor", "none", "")
	}
	for _, c := range s.q.Chain {
		if c == nil {
			return s.plain(code.Verifier, "parsed certificates", "a nil certificate", "report this: a caller passed on a failed parse")
		}
	}
	if s.q.Name != "" {
		name, err := identity.Parse(s.q.Name)
		if err != nil {
			return s.plain(code.BadAskedName, "a DNS name, an IP address or a SPIFFE ID", err.Error(), "")
		}
		s.name = name
	}
	for _, p := range s.q.Policies {
		oid, ok := policyOID(p)
		if !ok {
			return s.plain(code.Verifier, "policies as OIDs with dots", identity.Quote(p), "correct the policy that is asked for")
		}
		s.policies = append(s.policies, oid)
	}
	s.path[0], s.n = s.q.Chain[0], 1
	return nil
}

func (s *search) accept() *Verdict {
	v := &Verdict{OK: true, Link: -1, Path: append([]*Certificate(nil), s.path[:s.n]...)}
	for i, c := range v.Path {
		if end := c.X509.NotAfter; i == 0 || end.Before(v.NotAfter) {
			v.NotAfter = end
		}
		if i < len(v.Path)-1 || i == 0 {
			verified.put(c)
		}
	}
	if !s.ends.IsZero() && s.ends.Before(v.NotAfter) {
		v.NotAfter = s.ends
	}
	v.Staple = s.staple
	v.Timestamps = s.timestamps()
	s.q.Known.remember(&s.q, s.generation, v, s.from, s.until)
	return v
}
