package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/pki"
)

// lateRenewal is how long after its end a certificate may still be renewed:
// laptops sleep.
const lateRenewal = 30 * 24 * time.Hour

// lateStay is how long a connection with a certificate that has ended may stand.
const lateStay = time.Minute

// callers judges who calls at the port: a certificate that this authority issued,
// has on record and has not revoked. One that has ended is let in for 30 days,
// and may do nothing but renew: see whoever.
type callers struct{ s *Server }

func (c *callers) issued() mtls.Verifier {
	return mtls.AuthoritiesWith(pki.NewAnchors(c.s.authority.Roots()...), pki.Private)
}

// Generation is that of the roots: what is on record is looked up each time.
func (c *callers) Generation() ([32]byte, bool) {
	return c.issued().(mtls.Generation).Generation()
}

// Verify is the mtls.Verifier.
func (c *callers) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	ours := c.issued()
	v, err := ours.Verify(ctx, claim)
	if err != nil {
		return nil, err
	}
	chain, err := claim.Certificates()
	if err != nil {
		return v, nil // refused already
	}
	leaf := chain[0]
	if end := leaf.NotAfter(); !v.OK && v.Code == string(code.CertificateExpired) && claim.Now.After(end) && claim.Now.Sub(end) <= lateRenewal {
		then := *claim
		then.Now = end
		if v, err = ours.Verify(ctx, &then); err != nil {
			return nil, err
		}
		v.Until = claim.Now.Add(lateStay)
	}
	if !v.OK {
		return v, nil
	}
	standing, err := c.s.authority.Standing(ctx, leaf)
	var unknown *api.Problem
	switch {
	case errors.As(err, &unknown):
		return &mtls.Verdict{Code: string(code.CertificateRevoked), Peer: v.Peer,
			Reason: "its certificate is signed by our issuer, and is not on our record: an old copy of the database, or a stolen issuer's key"}, nil
	case err != nil:
		return nil, err
	case standing.State == api.StateRevoked:
		return &mtls.Verdict{Code: string(code.CertificateRevoked), Peer: v.Peer, Reason: "its certificate was revoked"}, nil
	}
	return v, nil
}

// caller is who was proven to ask.
type caller struct {
	leaf *pki.Certificate
	name string
}

// proven is the caller of a request that needs an identity, or a problem. Only
// where late says so may its certificate have ended.
func (s *Server) proven(r *http.Request, late bool) (*caller, error) {
	conn, ok := nethttp.Conn(r)
	if !ok || conn.Negotiated().ALPN != api.ALPN {
		return nil, api.NewProblem(http.StatusForbidden, code.NotAllowedToEnrol, "this request needs the protocol "+api.ALPN+" and a certificate of this authority")
	}
	peer, ok := conn.Peer()
	if !ok {
		return nil, api.NewProblem(http.StatusForbidden, code.NotAllowedToEnrol, "this request needs a certificate of this authority, and none was shown")
	}
	id, err := identity.ParseSPIFFE(peer.SPIFFE)
	if err != nil || id.TrustDomain() != s.authority.Domain() || len(id.Path()) < 2 {
		return nil, api.NewProblem(http.StatusForbidden, code.NotAllowedToEnrol, "the certificate that was shown has no SPIFFE ID of this trust domain")
	}
	if !late && s.clock().After(peer.Leaf.NotAfter()) {
		return nil, api.NewProblem(http.StatusForbidden, code.NotAllowedToEnrol, "the certificate that was shown has ended, and may only be renewed")
	}
	return &caller{leaf: peer.Leaf, name: strings.TrimPrefix(id.Path(), "/")}, nil
}

// joining says whether a request came by the protocol of joining.
func joining(r *http.Request) bool {
	conn, ok := nethttp.Conn(r)
	return ok && conn.Negotiated().ALPN == api.ALPNJoin
}
