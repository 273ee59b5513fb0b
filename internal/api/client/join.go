package client

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// Joined is the answer to a token, and who gave it.
type Joined struct {
	api.Issued
	// Root is the root that the line names.
	Root *pki.Certificate
	// Proven is the trust domain whose authority answered.
	Proven string
}

// Join spends a line's token. Before it is sent, whoever answers has to show a
// path to the very root that the line names, to be that root's authority and none
// of its services, and to speak the protocol of joining.
func Join(ctx context.Context, l *join.Line, csr []byte, lifetime time.Duration, clock func() time.Time) (*Joined, error) {
	pin := &pinned{root: l.Root}
	inner, err := mtls.NewClient(mtls.ClientConfig{Servers: pin, ALPN: []string{api.ALPNJoin}, Common: mtls.Common{Clock: clock}})
	if err != nil {
		return nil, err
	}
	var proven atomic.Pointer[mtls.Conn] // net/http dials on a goroutine of its own
	t := transport(func(ctx context.Context) (*mtls.Conn, error) {
		conn, err := reach(ctx, inner, l.Authority, "", api.ALPNJoin)
		if err == nil {
			proven.Store(conn)
		}
		return conn, err
	})
	defer t.CloseIdleConnections()
	issued, err := ask[api.Issued](ctx, plainClient(t), patience, http.MethodPost, api.PathJoin,
		&api.JoinRequest{Token: l.Token, CSR: csr, Lifetime: int64(lifetime / time.Second)})
	if err != nil {
		return nil, err
	}
	peer, ok := proven.Load().Peer()
	if !ok || len(peer.Path) == 0 {
		return nil, api.NewProblem(0, code.NotTheAuthority, "the authority did not prove itself")
	}
	id, err := identity.ParseSPIFFE(peer.SPIFFE)
	if err != nil {
		return nil, err
	}
	return &Joined{Issued: *issued, Root: peer.Path[len(peer.Path)-1], Proven: id.TrustDomain()}, nil
}

// pinned judges the authority by the hash of its root alone, which is all that a
// line can say. The authority shows the root along with its chain.
type pinned struct{ root [32]byte }

// Generation is the pin.
func (p *pinned) Generation() ([32]byte, bool) { return p.root, true }

func (p *pinned) Verify(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
	chain, err := claim.Certificates()
	if err != nil {
		return mtls.Authorities(pki.NewAnchors()).Verify(ctx, claim)
	}
	var root *pki.Certificate
	for _, c := range chain[1:] {
		if c.SHA256 == p.root {
			root = c
		}
	}
	if root == nil {
		return not("it shows no path to the root that the join line names; its issuer is " + chain[len(chain)-1].IssuerLabel()), nil
	}
	id, err := identity.ParseSPIFFE(chain[0].SPIFFE)
	if err != nil || id.Path() != "/"+api.NameAuthority {
		return not(fmt.Sprintf("it is %s, a service under the same root and not the authority itself", chain[0].Label())), nil
	}
	named := *claim
	named.ServerName = id.String()
	v, err := mtls.Authorities(pki.NewAnchors(root)).Verify(ctx, &named)
	if err == nil && !v.OK && v.Code == string(code.UnknownAuthority) {
		return not("its certificate does not lead to the root that the join line names, which it shows beside"), nil
	}
	return v, err
}

func not(why string) *mtls.Verdict {
	return &mtls.Verdict{Code: string(code.NotTheAuthority), Reason: "whoever answers is not the authority of the join line: " + why}
}
