package server

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
)

// ListenAdmin listens at the admin socket of an authority's folder. The caller
// holds the folder's lock, so that a socket that is there is nobody's.
func ListenAdmin(folder string) (net.Listener, error) {
	path := filepath.Join(folder, api.AdminSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the admin socket %s can't be made: %w", path, err)
	}
	// The folder lets nobody in meanwhile.
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// owners lets only this user, and root, in.
type owners struct {
	net.Listener
	log *slog.Logger
}

func (o *owners) Accept() (net.Conn, error) {
	for {
		c, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		err = mayAdminister(c)
		if err == nil {
			return c, nil
		}
		_ = c.Close()
		o.log.Warn("refused at the admin socket: "+err.Error(), "code", string(code.FolderRefused))
	}
}

// admin is what the admin socket answers.
func (s *Server) admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+api.PathAdminStatus, s.working(s.adminBusy, s.status))
	mux.Handle("POST "+api.PathAdminTokens, s.working(s.adminBusy, s.token))
	mux.Handle("POST "+api.PathAdminIssue, s.working(s.adminBusy, s.issue))
	mux.Handle("GET "+api.PathAdminCertificates, s.working(s.adminBusy, s.certificates))
	mux.Handle("POST "+api.PathAdminRevoke, s.working(s.adminBusy, s.revoke))
	mux.Handle("POST "+api.PathAdminStatement, s.working(s.adminBusy, s.announce))
	mux.Handle("GET "+api.PathAdminNames+"{name}", s.working(s.adminBusy, s.name))
	return s.straight(mux, api.MaxStatement) // which is announced here
}

func (s *Server) status(r *http.Request) (any, error) {
	out, err := s.authority.Status(r.Context())
	if err != nil {
		return nil, err
	}
	out.Authority, out.Process = s.config.Advertise, os.Getpid()
	return out, nil
}

func (s *Server) token(r *http.Request) (any, error) {
	in, err := body[api.TokenRequest](r)
	if err != nil {
		return nil, err
	}
	token, expires, err := s.authority.NewToken(r.Context(), *in)
	if err != nil {
		return nil, err
	}
	l := join.Line{Name: in.Name, Service: in.Service, Authority: s.config.Advertise, Root: s.authority.Root().SHA256, Token: token}
	if err := l.Check(); err != nil {
		return nil, api.NewProblem(http.StatusBadRequest, code.RequestMalformed, "no join line can be made: "+err.Error())
	}
	s.log.Info("a token was made", "name", in.Name, "service", in.Service, "expires", expires.UTC().Format(time.RFC3339))
	return &api.TokenMade{Line: l.Text(), Expires: expires}, nil
}

func (s *Server) issue(r *http.Request) (any, error) {
	in, err := body[api.IssueRequest](r)
	if err != nil {
		return nil, err
	}
	return s.issued(s.authority.Issue(r.Context(), *in))
}

func (s *Server) certificates(r *http.Request) (any, error) {
	out, err := s.authority.Certificates(r.Context(), r.URL.Query().Get("all") != "")
	if err == nil && out == nil {
		out = []api.Certificate{}
	}
	return out, err
}

func (s *Server) revoke(r *http.Request) (any, error) {
	in, err := body[api.RevokeRequest](r)
	if err != nil {
		return nil, err
	}
	out, err := s.authority.Revoke(r.Context(), *in)
	if err != nil {
		return nil, err
	}
	for _, c := range out {
		s.log.Info(fmt.Sprintf("revoked %s", c.Name), "name", c.Name, "serial", c.Serial, "lineage", c.Lineage)
	}
	return out, nil
}

func (s *Server) announce(r *http.Request) (any, error) {
	in, err := body[api.Statement](r)
	if err != nil {
		return nil, err
	}
	if err := s.authority.Announce(r.Context(), *in); err != nil {
		return nil, err
	}
	s.log.Warn("a new statement of anchors was announced: whom the trust domain trusts has changed")
	return s.status(r)
}

func (s *Server) name(r *http.Request) (any, error) {
	return s.authority.NameInfo(r.Context(), r.PathValue("name"))
}
