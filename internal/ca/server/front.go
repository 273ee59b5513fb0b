package server

import (
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
)

const (
	maxServices  = 64 // that one agent follows
	maxAddresses = 16 // of one service's instance
)

// front is what the port answers.
func (s *Server) front() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST "+api.PathJoin, s.working(s.busy, s.join))
	mux.Handle("POST "+api.PathRenew, s.working(s.busy, s.renew))
	mux.Handle("GET "+api.PathUpdates, s.answering(s.updates))
	mux.Handle("GET "+api.PathService+"{name}", s.working(s.busy, s.service))
	mux.Handle("PUT "+api.PathService+"{name}", s.working(s.busy, s.register))
	mux.Handle("GET "+api.PathCRL, s.working(s.busy, s.revocations))
	return s.straight(mux, api.MaxBody)
}

func (s *Server) join(r *http.Request) (any, error) {
	if !joining(r) {
		return nil, api.NewProblem(http.StatusForbidden, code.NotAllowedToEnrol, "joining needs the protocol "+api.ALPNJoin)
	}
	in, err := body[api.JoinRequest](r)
	if err != nil {
		return nil, err
	}
	lifetime, err := seconds(in.Lifetime)
	if err != nil {
		return nil, err
	}
	return s.issued(s.authority.Join(r.Context(), in.Token, in.CSR, lifetime))
}

func (s *Server) renew(r *http.Request) (any, error) {
	who, err := s.proven(r, true)
	if err != nil {
		return nil, err
	}
	in, err := body[api.RenewRequest](r)
	if err != nil {
		return nil, err
	}
	lifetime, err := seconds(in.Lifetime)
	if err != nil {
		return nil, err
	}
	return s.issued(s.authority.Renew(r.Context(), who.leaf, in.CSR, lifetime))
}

func (s *Server) issued(out *api.Issued, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	out.Authority = s.config.Advertise
	return out, nil
}

// updates waits until there is something newer than what the agent has.
func (s *Server) updates(r *http.Request) (any, error) {
	who, err := s.proven(r, false)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	services := q["service"]
	if len(services) > maxServices {
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "more than "+strconv.Itoa(maxServices)+" services are asked for")
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, busy()
	}
	limit := time.NewTimer(api.Wait)
	defer limit.Stop()
	for waiting := true; waiting; {
		changed := s.authority.Changed()
		if s.authority.Revision() != q.Get("since") {
			break
		}
		select {
		case <-changed:
		case <-limit.C:
			waiting = false
		case <-s.stopping:
			waiting = false
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	out := &api.Updates{Revision: s.authority.Revision(), Authority: s.config.Advertise}
	if out.Statement, err = s.authority.Statement(r.Context()); err != nil {
		return nil, err
	}
	if out.Lists, err = s.authority.Lists(r.Context()); err != nil {
		return nil, err
	}
	out.Issuers = s.authority.Issuers()
	standing, err := s.authority.Standing(r.Context(), who.leaf)
	if err != nil {
		return nil, err
	}
	out.Standing.State = standing.State
	for _, name := range services {
		if one, err := s.authority.Service(r.Context(), name); err == nil {
			out.Services = append(out.Services, one)
		}
	}
	return out, nil
}

func (s *Server) service(r *http.Request) (any, error) {
	if _, err := s.proven(r, false); err != nil {
		return nil, err
	}
	return s.authority.Service(r.Context(), r.PathValue("name"))
}

func (s *Server) register(r *http.Request) (any, error) {
	who, err := s.proven(r, false)
	if err != nil {
		return nil, err
	}
	if name := r.PathValue("name"); name != who.name {
		return nil, api.NewProblem(http.StatusForbidden, code.NotTheHolder, "the addresses of "+identity.Quote(name)+" are its own to tell, and "+identity.Quote(who.name)+" asks")
	}
	in, err := body[api.Registration](r)
	if err != nil {
		return nil, err
	}
	if len(in.Addresses) > maxAddresses {
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "more than "+strconv.Itoa(maxAddresses)+" addresses")
	}
	for _, a := range in.Addresses {
		host, port, err := net.SplitHostPort(a)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err == nil {
			_, err = identity.Parse(host)
		}
		if err != nil || perr != nil || n == 0 {
			return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "the address "+identity.Quote(a)+" is not HOST:PORT")
		}
	}
	standing, err := s.authority.Standing(r.Context(), who.leaf)
	if err != nil {
		return nil, err
	}
	return nil, s.authority.Register(r.Context(), who.name, standing.Lineage, in.Addresses)
}

// revocations are for everybody: they say nothing that a certificate's holder
// would not be refused with.
func (s *Server) revocations(r *http.Request) (any, error) {
	lists, err := s.authority.Lists(r.Context())
	if err != nil {
		return nil, err
	}
	return &api.Revocations{Lists: lists, Issuers: s.authority.Issuers()}, nil
}

func unknown(r *http.Request) (any, error) {
	return nil, api.NewProblem(http.StatusNotFound, code.UnknownPath, "there is nothing at "+identity.Quote(r.Method+" "+r.URL.Path))
}

// longestLifetime keeps the arithmetic of durations from running over; profiles
// have bounds of their own.
const longestLifetime = 100 * 365 * 24 * 3600

func seconds(n int64) (time.Duration, error) {
	if n < 0 || n > longestLifetime {
		return 0, api.NewProblem(http.StatusBadRequest, code.OutsideProfile, "a lifetime of "+strconv.FormatInt(n, 10)+" seconds is none")
	}
	return time.Duration(n) * time.Second, nil
}
