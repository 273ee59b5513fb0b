package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// patience is how long one request may take, from the dial to the last byte of
// the answer; one that waits for updates may take api.Wait more.
const patience = 20 * time.Second

// dialTime is how long one address may take to answer, so that a dead one does
// not use up the time of the others.
const dialTime = 5 * time.Second

// Client asks the authority as an identity. It is safe for concurrent use.
type Client struct {
	inner     *mtls.Client
	name      string // spiffe://DOMAIN/authority
	addresses func() []string
	http      *http.Client
	transport *nethttp.Transport
}

// New makes a Client of the identity own, which may be swapped while it is in
// use. authorities judges the authority's path, and addresses says where to find
// it at this moment.
func New(domain string, own mtls.Identity, authorities mtls.Verifier, addresses func() []string, clock func() time.Time) (*Client, error) {
	id, err := identity.NewSPIFFE(domain, api.NameAuthority)
	if err != nil {
		return nil, err
	}
	inner, err := mtls.NewClient(mtls.ClientConfig{Identity: own, Servers: authorities, ALPN: []string{api.ALPN}, Common: mtls.Common{Clock: clock}})
	if err != nil {
		return nil, err
	}
	c := &Client{inner: inner, name: id.String(), addresses: addresses}
	c.transport = transport(c.dial)
	c.http = plainClient(c.transport)
	return c, nil
}

// Forget closes the connections that are kept, so that the next request shows the
// identity as it is then.
func (c *Client) Forget() { c.transport.CloseIdleConnections() }

// Renew asks for the successor of the certificate that the identity shows.
//
// It goes over a connection of its own: one that is kept may show the certificate
// before that one, and to renew that a second time freezes the identity.
func (c *Client) Renew(ctx context.Context, r *api.RenewRequest) (*api.Issued, error) {
	own := transport(c.dial)
	defer own.CloseIdleConnections()
	return ask[api.Issued](ctx, plainClient(own), patience, http.MethodPost, api.PathRenew, r)
}

func (c *Client) dial(ctx context.Context) (*mtls.Conn, error) {
	return reach(ctx, c.inner, c.addresses(), c.name, api.ALPN)
}

// Updates waits for something newer than revision, "" for none, about the named
// services too. The answer may be no newer: then nothing came in api.Wait.
func (c *Client) Updates(ctx context.Context, revision string, services []string) (*api.Updates, error) {
	q := url.Values{"since": {revision}, "service": services}
	return ask[api.Updates](ctx, c.http, patience+api.Wait, http.MethodGet, api.PathUpdates+"?"+q.Encode(), nil)
}

// Service asks where a service is.
func (c *Client) Service(ctx context.Context, name string) (*api.Service, error) {
	return ask[api.Service](ctx, c.http, patience, http.MethodGet, api.PathService+url.PathEscape(name), nil)
}

// Register tells where the identity, whose name is given, can be reached.
func (c *Client) Register(ctx context.Context, name string, addresses []string) error {
	_, err := ask[struct{}](ctx, c.http, patience, http.MethodPut, api.PathService+url.PathEscape(name), &api.Registration{Addresses: addresses})
	return err
}

func transport(dial func(ctx context.Context) (*mtls.Conn, error)) *nethttp.Transport {
	return nethttp.NewTransportDial(func(ctx context.Context, _ string) (*mtls.Conn, error) { return dial(ctx) }, &http.Transport{
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: patience + api.Wait, MaxResponseHeaderBytes: 16 << 10,
		DisableCompression: true,
	})
}

func plainClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// reach tries the addresses in order until one answers whom the client's verifier
// accepts as name. The error is that of the last address, or, if one answered and
// was not the one, of that: it tells more.
func reach(ctx context.Context, c *mtls.Client, addresses []string, name, alpn string) (*mtls.Conn, error) {
	if len(addresses) == 0 {
		return nil, api.NewProblem(0, code.AuthorityDown, "no address of the authority is known")
	}
	var worst error
	for i, address := range addresses {
		limit := patience
		if i < len(addresses)-1 {
			limit = dialTime
		}
		conn, err := connect(ctx, c, limit, address, name, alpn)
		if err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if r, ok := mtls.RefusalOf(worst); worst == nil || ok && r.Fault == mtls.Network {
			worst = err
		}
	}
	return nil, worst
}

func connect(ctx context.Context, c *mtls.Client, limit time.Duration, address, name, alpn string) (*mtls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	d := net.Dialer{Timeout: dialTime}
	plain, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, mtls.Unreachable(address, err)
	}
	conn, err := c.Connect(ctx, plain, name)
	if err != nil {
		return nil, err
	}
	if got := conn.Negotiated().ALPN; got != alpn {
		_ = conn.Abort()
		return nil, api.NewProblem(0, code.NotTheAuthority, fmt.Sprintf("whoever answers at %s does not speak %s as the authority does", identity.Quote(address), alpn))
	}
	return conn, nil
}

// ask sends one request and reads the answer. What the authority refuses is an
// *api.Problem, as is an authority that can't be reached.
func ask[T any](ctx context.Context, c *http.Client, limit time.Duration, method, path string, in any) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+api.NameAuthority+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, unreached(err)
	}
	defer resp.Body.Close()
	out := new(T)
	switch {
	case resp.StatusCode/100 != 2:
		return nil, problem(resp)
	case resp.StatusCode == http.StatusNoContent:
		return out, nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, api.MaxAnswer)).Decode(out); err != nil {
		if ctx.Err() != nil || isNetwork(err) {
			return nil, unreached(err)
		}
		return nil, api.NewProblem(0, code.AnswerOfAuthority, "the authority's answer does not parse")
	}
	return out, nil
}

// unreached keeps what tells more than "unreachable": a refusal, ours or the
// authority's, and a problem of ours. The rest is an authority that is away.
func unreached(err error) error {
	var p *api.Problem
	if errors.As(err, &p) {
		return p
	}
	if r, ok := mtls.RefusalOf(err); ok && r.Fault != mtls.Network {
		return r
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	why := err.Error()
	if r, ok := mtls.RefusalOf(err); ok {
		why = r.Reason
	}
	p = api.NewProblem(0, code.AuthorityDown, "the authority can't be reached: "+identity.Printable(why))
	return &away{p, err}
}

// away is an authority that can't be reached, with the error underneath.
type away struct {
	*api.Problem
	cause error
}

func (a *away) Unwrap() []error { return []error{a.Problem, a.cause} }

func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF)
}

// problem reads a problem document. Its words are the authority's, and are cleaned
// all the same before a terminal or a log sees them.
func problem(resp *http.Response) error {
	p := &api.Problem{}
	b, err := io.ReadAll(io.LimitReader(resp.Body, api.MaxBody))
	if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), api.ProblemType) || json.Unmarshal(b, p) != nil || p.Code == "" {
		return api.NewProblem(resp.StatusCode, code.AnswerOfAuthority, fmt.Sprintf("the authority answered with the status %d and without a reason", resp.StatusCode))
	}
	p.Status = resp.StatusCode
	for _, s := range []*string{&p.Type, &p.Title, &p.Detail, &p.Code, &p.Mend, &p.ID} {
		*s = identity.Printable(*s)
	}
	return p
}
