package mutual

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
)

// Dial connects to a service by its name. The authority knows where it is, and
// whoever answers has to prove to be the service in our own trust domain; of
// several addresses the first that does is taken. Whether the service lets us in,
// its Admitted tells, or the first Read.
func Dial(ctx context.Context, id *Identity, service string) (*mtls.Conn, error) {
	return id.dial(ctx, id.raw, service)
}

func (id *Identity) dial(ctx context.Context, c *mtls.Client, service string) (*mtls.Conn, error) {
	if err := id.isClosed(); err != nil {
		return nil, err
	}
	name, err := identity.CleanDNS(service)
	if err != nil {
		return nil, refuse(code.BadAskedName, mtls.Misuse, "a service is reached by its name: "+err.Error(), err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(id.open, cancel)()
	conn, err := id.agent.Reach(ctx, c, name)
	if closed := id.isClosed(); closed != nil {
		// Close did not see it stand.
		if err == nil {
			_ = conn.Abort()
		}
		return nil, closed
	}
	return conn, told(err)
}

// Client is an HTTP client whose host names are services: https://orders/ means
// the service "orders", wherever it is. A port has no meaning there, and one other
// than 443 is refused. The connections that it keeps are the identity's, so that
// each Client of an identity finds those of the others.
func Client(id *Identity) *http.Client { return &http.Client{Transport: id.requests} }

func (id *Identity) dialURL(ctx context.Context, address string) (*mtls.Conn, error) {
	service, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if port != "443" {
		return nil, refuse(code.BadAskedName, mtls.Misuse, "the port "+identity.Quote(port)+" can't be chosen: the authority knows where "+identity.Plain(service)+" is; write https://"+identity.Plain(service)+"/", nil)
	}
	return id.dial(ctx, id.web, service)
}

// refuse makes a refusal of the library's own.
func refuse(k code.Code, fault mtls.Fault, reason string, cause error) error {
	entry, _ := code.Lookup(k)
	return &mtls.Refusal{Code: string(k), Fault: fault, At: "before the handshake", Reason: reason, Mend: entry.Mend, Cause: cause}
}

// later are the problems that may be over at the next try.
var later = []code.Code{code.AuthorityDown, code.AuthorityBusy, code.ServiceUnknown}

// told makes a refusal of what the authority answered, so that callers have one
// type to look for.
func told(err error) error {
	var p *api.Problem
	if !errors.As(err, &p) {
		return err
	}
	fault := mtls.PeerRefusedUs
	switch {
	case slices.Contains(later, code.Code(p.Code)):
		fault = mtls.Network
	case p.Code == string(code.NotTheAuthority):
		fault = mtls.OurPolicy
	case p.Code == string(code.AnswerOfAuthority):
		fault = mtls.PeerMisbehaved
	case p.Status == 0:
		fault = mtls.Misuse
	}
	return &mtls.Refusal{Code: p.Code, ID: p.ID, Fault: fault, At: "asking the authority", Reason: p.Detail, Mend: p.Mend, Cause: err}
}
