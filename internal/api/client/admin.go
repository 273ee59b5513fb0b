package client

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
)

// Admin asks at an authority's admin socket. It is safe for concurrent use.
type Admin struct{ http *http.Client }

// ErrNoAuthority is the answer where nobody serves the admin socket.
var ErrNoAuthority = errors.New("no authority runs on this folder")

// NewAdmin is the admin of the authority in the folder, DATA/ca.
func NewAdmin(folder string) *Admin {
	socket := filepath.Join(folder, api.AdminSocket)
	d := net.Dialer{Timeout: dialTime}
	t := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := d.DialContext(ctx, "unix", socket)
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
				return nil, ErrNoAuthority
			}
			return c, err
		},
		MaxIdleConns: 1, IdleConnTimeout: 5 * time.Second,
	}
	// The transport speaks plain HTTP over the socket, whatever the URL says.
	t.DialTLSContext = t.DialContext
	return &Admin{plainClient(t)}
}

func admin[T any](ctx context.Context, a *Admin, method, path string, in any) (*T, error) {
	out, err := ask[T](ctx, a.http, patience, method, path, in)
	if errors.Is(err, ErrNoAuthority) {
		return nil, ErrNoAuthority
	}
	return out, err
}

// Status asks how the authority is.
func (a *Admin) Status(ctx context.Context) (*api.Status, error) {
	return admin[api.Status](ctx, a, http.MethodGet, api.PathAdminStatus, nil)
}

// Token makes a token.
func (a *Admin) Token(ctx context.Context, r *api.TokenRequest) (*api.TokenMade, error) {
	return admin[api.TokenMade](ctx, a, http.MethodPost, api.PathAdminTokens, r)
}

// Issue makes a certificate for software that brings its own TLS.
func (a *Admin) Issue(ctx context.Context, r *api.IssueRequest) (*api.Issued, error) {
	return admin[api.Issued](ctx, a, http.MethodPost, api.PathAdminIssue, r)
}

// Certificates lists what was issued: the heads of the lineages, or all.
func (a *Admin) Certificates(ctx context.Context, all bool) ([]api.Certificate, error) {
	path := api.PathAdminCertificates
	if all {
		path += "?all=1"
	}
	return list(admin[[]api.Certificate](ctx, a, http.MethodGet, path, nil))
}

// Revoke takes certificates back, and answers with those that it took back.
func (a *Admin) Revoke(ctx context.Context, r *api.RevokeRequest) ([]api.Certificate, error) {
	return list(admin[[]api.Certificate](ctx, a, http.MethodPost, api.PathAdminRevoke, r))
}

func list[T any](all *[]T, err error) ([]T, error) {
	if err != nil {
		return nil, err
	}
	return *all, nil
}

// Announce has the authority tell a statement of anchors.
func (a *Admin) Announce(ctx context.Context, s *api.Statement) (*api.Status, error) {
	return admin[api.Status](ctx, a, http.MethodPost, api.PathAdminStatement, s)
}

// Name asks what is known of a name.
func (a *Admin) Name(ctx context.Context, name string) (*api.NameInfo, error) {
	return admin[api.NameInfo](ctx, a, http.MethodGet, api.PathAdminNames+url.PathEscape(name), nil)
}
