package nethttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/idna"

	"github.com/mutual-tls/mutual/mtls"
)

// Transport is an http.RoundTripper over mtls. It speaks HTTP/2 or HTTP/1.1, as
// the server chooses by ALPN, keeps connections for the next request, and is
// safe for concurrent use. It goes through no proxy and makes no plain request.
//
// A server that refuses our certificate answers no request: the error wraps the
// *mtls.Refusal that says why.
type Transport struct {
	dial func(ctx context.Context, address string) (*mtls.Conn, error)
	one  *http.Transport // HTTP/1.1
	two  *http.Transport // HTTP/2

	mu    sync.Mutex
	known map[string]*origin
}

// origin is what is known of one HOST:PORT.
type origin struct {
	learning chan struct{} // full while somebody finds the protocol out
	mu       sync.Mutex
	protocol string  // "" until known
	parked   []*conn // made, and not yet taken by the transport of its protocol
}

// maxOrigins bounds what is remembered; a program that speaks to more asks anew.
const maxOrigins = 1 << 12

// NewTransport makes a Transport of client, which should offer Protocols. The
// name that a server is proven to have is the host of the URL.
func NewTransport(client *mtls.Client) *Transport {
	return NewTransportDial(func(ctx context.Context, address string) (*mtls.Conn, error) {
		if early, _ := ctx.Value(earlyKey{}).(bool); early {
			return client.DialEarly(ctx, "tcp", address)
		}
		return client.Dial(ctx, "tcp", address)
	}, nil)
}

// NewTransportDial makes a Transport that gets its connections from dial, which
// is given the URL's HOST:PORT and vouches that whoever answers is meant by it.
// The limits and time-outs are those of like; nil is http.DefaultTransport's.
func NewTransportDial(dial func(ctx context.Context, address string) (*mtls.Conn, error), like *http.Transport) *Transport {
	t := &Transport{dial: dial, known: make(map[string]*origin)}
	if like == nil {
		like, _ = http.DefaultTransport.(*http.Transport)
	}
	if like == nil { // somebody exchanged it
		like = &http.Transport{}
	}
	transport := func(protocol string, set func(*http.Protocols)) *http.Transport {
		h := like.Clone()
		h.Proxy, h.DialContext, h.TLSClientConfig, h.TLSNextProto = nil, nil, nil, nil
		h.ForceAttemptHTTP2 = false
		h.Protocols = new(http.Protocols)
		set(h.Protocols)
		h.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			return t.connect(ctx, protocol, address)
		}
		return h
	}
	t.one = transport(http1, func(p *http.Protocols) { p.SetHTTP1(true) })
	t.two = transport(http2, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	return t
}

// RoundTrip carries out one request, as http.RoundTripper says.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL == nil || req.URL.Scheme != "https" || req.URL.Host == "" {
		closeBody(req)
		return nil, fmt.Errorf("only https URLs with a host are reached with mutual TLS, and %q is none", req.URL.Redacted())
	}
	address, err := canonical(req.URL.Host)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	early := asksEarly(req)
	resp, again, err := t.send(req, address, early)
	if !again && (!early || err != nil || resp.StatusCode != http.StatusTooEarly) {
		return resp, err
	}
	if err == nil {
		_ = resp.Body.Close() // RFC 8470, section 5.2: once more, and not early
	}
	resp, _, err = t.send(req, address, false)
	return resp, err
}

// send carries out one request. Where it went over a connection whose early data
// was lost, the server has seen nothing of it, and it may go out again.
func (t *Transport) send(req *http.Request, address string, early bool) (resp *http.Response, again bool, err error) {
	held := &holder{}
	var last atomic.Pointer[conn]
	ctx := context.WithValue(context.WithValue(req.Context(), connKey{}, held), earlyKey{}, early)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if c, ok := i.Conn.(*conn); ok {
			held.conn = c.mutual
			last.Store(c)
			if !early {
				c.late.Store(true) // before anything of this request is written
			}
		}
	}})
	out := req.WithContext(ctx)
	var body *heldBody
	if req.Body != nil && req.Body != http.NoBody {
		body = &heldBody{ReadCloser: req.Body}
		out.Body = body
	}
	o := t.origin(address)
	resp, err = t.roundTrip(out, o, address, body)
	if c := last.Load(); err != nil && c != nil && c.lost.Load() && !body.used() {
		return nil, true, err
	}
	body.letGo()
	if err != nil {
		return nil, false, withRefusal(err, last.Load())
	}
	if held.conn != nil {
		resp.TLS = State(held.conn)
	}
	return resp, false, nil
}

// withRefusal makes sure that who was refused learns why: net/http does not keep
// what reading answered where a connection ends before its first answer, and a
// failed write knows less than what was read.
func withRefusal(err error, over *conn) error {
	if over == nil {
		return err
	}
	read := over.refusal.Load()
	if read == nil {
		return err
	}
	if told, ok := mtls.RefusalOf(err); ok && (told == read || read.Fault != mtls.PeerRefusedUs) {
		return err
	}
	return fmt.Errorf("%w (%w)", read, err)
}

// changes is how often a server may change its mind between two dials for one
// request.
const changes = 3

func (t *Transport) roundTrip(req *http.Request, o *origin, address string, body *heldBody) (*http.Response, error) {
	protocol, learned, err := t.learn(req.Context(), o, address)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	defer learned()
	if protocol == http2 {
		// Others wait until the first connection can be shared.
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { learned() }}))
	} else {
		learned()
	}
	for try := 1; ; try++ {
		inner := t.one
		if protocol == http2 {
			inner = t.two
		}
		resp, err := inner.RoundTrip(req)
		o.discard(protocol)
		var changed *protocolChanged
		if err == nil || try == changes || !errors.As(err, &changed) || body.used() {
			return resp, err
		}
		protocol = changed.to
	}
}

// learn finds out what the origin speaks, with a connection that then serves the
// request. Others wait for the answer until learned is called, which may be called
// again and by anybody.
func (t *Transport) learn(ctx context.Context, o *origin, address string) (protocol string, learned func(), err error) {
	if p := o.spoken(); p != "" {
		return p, func() {}, nil
	}
	select {
	case o.learning <- struct{}{}:
	case <-ctx.Done():
		return "", nil, context.Cause(ctx)
	}
	learned = sync.OnceFunc(func() {
		o.speaks(protocol)
		<-o.learning
	})
	if protocol = o.spoken(); protocol != "" {
		learned()
		return protocol, learned, nil
	}
	m, err := t.dial(ctx, address)
	if err != nil {
		learned()
		return "", nil, err
	}
	protocol = spokenOver(m)
	c := wrap(m, false)
	o.park(c)
	return protocol, learned, nil
}

// connect is the dial of one of the two transports.
func (t *Transport) connect(ctx context.Context, want, address string) (net.Conn, error) {
	o := t.origin(address)
	if c := o.take(want); c != nil {
		return c, nil
	}
	m, err := t.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c := wrap(m, false)
	if got := spokenOver(m); got != want {
		o.park(c)
		o.speaks(got)
		return nil, &protocolChanged{address: address, from: want, to: got}
	}
	return c, nil
}

// protocolChanged is what a dial answers when the server, which is known for one
// protocol, now chose the other.
type protocolChanged struct{ address, from, to string }

func (e *protocolChanged) Error() string {
	return fmt.Sprintf("%s spoke %s and now chose %s", e.address, e.from, e.to)
}

func (t *Transport) origin(address string) *origin {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.known[address]
	if o == nil {
		if len(t.known) >= maxOrigins {
			for k := range t.known { // any: it is learned again when it is needed
				delete(t.known, k)
				break
			}
		}
		o = &origin{learning: make(chan struct{}, 1)}
		t.known[address] = o
	}
	return o
}

func (o *origin) spoken() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.protocol
}

func (o *origin) speaks(protocol string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.protocol = protocol
}

func (o *origin) park(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parked = append(o.parked, c)
}

func (o *origin) take(want string) *conn {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, c := range o.parked {
		if spokenOver(c.mutual) == want {
			o.parked = append(o.parked[:i], o.parked[i+1:]...)
			return c
		}
	}
	return nil
}

// discard closes what nobody took: the request went over another connection.
func (o *origin) discard(spoken string) {
	for c := o.take(spoken); c != nil; c = o.take(spoken) {
		_ = c.Close()
	}
}

// CloseIdleConnections closes what is kept for a next request.
func (t *Transport) CloseIdleConnections() {
	t.one.CloseIdleConnections()
	t.two.CloseIdleConnections()
}

// canonical is host as HOST:PORT, its name in ASCII.
func canonical(host string) (string, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "443"
	}
	if port == "" {
		port = "443"
	}
	for i := range len(name) {
		if name[i] >= 0x80 {
			if name, err = idna.Lookup.ToASCII(name); err != nil {
				return "", fmt.Errorf("the host %q is no name: %w", host, err)
			}
			break
		}
	}
	return net.JoinHostPort(strings.ToLower(name), port), nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// heldBody is a request's body that one of the transports may close unread, so
// that the other can have it still.
type heldBody struct {
	io.ReadCloser
	mu     sync.Mutex
	read   bool
	closed bool // asked to be, while it was held
	free   bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	b.mu.Unlock()
	return b.ReadCloser.Read(p)
}

func (b *heldBody) Close() error {
	b.mu.Lock()
	if !b.free && !b.read {
		b.closed = true
		b.mu.Unlock()
		return nil
	}
	b.mu.Unlock()
	return b.ReadCloser.Close()
}

func (b *heldBody) used() bool {
	if b == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.read
}

func (b *heldBody) letGo() {
	if b == nil {
		return
	}
	b.mu.Lock()
	b.free = true
	closed := b.closed && !b.read
	b.mu.Unlock()
	if closed {
		_ = b.ReadCloser.Close()
	}
}
