package mtls

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/live"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// endpoint is what a Server and a Client have in common. It never changes.
type endpoint struct {
	role     Role
	identity Identity // nil: a client that shows nothing
	verifier Verifier // of the peer; nil: a server that asks for nothing
	hs       handshake.Config
	limits   Limits
	padding  Padding
	shorten  int
	clock    func() time.Time
	standing *live.Set
	rechecks atomic.Uint64 // how many have begun
	renewals *renewals     // nil: none are
	// resumption is what sessions are kept by; nil: none are.
	resumption *resumption
	ech        *ECHKeys    // a server's, nil for none
	psks       *psks       // nil: there are none
	cookies    *TicketKeys // nil: none are given
}

func newEndpoint(role Role, identity Identity, verifier Verifier, alpn []string, c *Common) (*endpoint, error) {
	if own, ok := identity.(*Certificate); ok && own == nil {
		return nil, errors.New("the Identity is a *Certificate that is nil: give one, or leave the Identity out")
	}
	if err := checkDelegated(identity, role, c.clock()()); err != nil {
		return nil, err
	}
	e := &endpoint{role: role, identity: identity, verifier: verifier, limits: c.limits(), clock: c.clock()}
	e.standing = live.NewSet(e.clock)
	e.renewals = newRenewals(e, c.Renewal)
	e.hs = handshake.Config{
		Suites: suite.Suites(), Groups: suite.Groups(), Schemes: suite.Schemes(),
		CertificateSchemes: suite.CertificateSchemes(), ALPN: slices.Clone(alpn),
		Random: c.random(), Observer: c.Observer, GREASE: c.GREASE,
	}
	if err := choose(&e.hs.Suites, c.Suites, "cipher suite"); err != nil {
		return nil, err
	}
	every := suite.EveryGroup()
	if err := choose(&every, c.Groups, "key exchange group"); err != nil {
		return nil, err
	}
	if c.Groups != nil {
		e.hs.Groups = every
	}
	if err := choose(&e.hs.Schemes, c.Schemes, "signature scheme"); err != nil {
		return nil, err
	}
	if err := c.forms(&e.hs); err != nil {
		return nil, err
	}
	e.padding, e.shorten = c.Padding, c.MaxRecord
	for i, p := range alpn {
		if len(p) == 0 || len(p) > 255 {
			return nil, fmt.Errorf("the ALPN protocol %q has %d bytes; it must have 1 to 255", p, len(p))
		}
		if slices.Contains(alpn[:i], p) {
			return nil, fmt.Errorf("the ALPN protocol %q is given twice", p)
		}
	}
	if c.DelegatedCredentials {
		e.hs.Delegated = delegatedSchemes()
	}
	if verifier != nil {
		e.hs.PeerTypes = func() []Kind { return onWire(kindsOf(verifier)) }
	}
	if identity != nil && role == RoleClient {
		e.hs.OwnTypes = func() []Kind { return kindsOf(identity) }
	}
	if c.TrustAnchors != nil {
		if err := c.TrustAnchors.check(role); err != nil {
			return nil, err
		}
		e.hs.TrustAnchors = c.TrustAnchors.named()
	}
	if c.KeyLog != nil {
		e.hs.KeyLog = (&keyLog{w: c.KeyLog}).write
	}
	return e, nil
}

// choose takes wanted, where it is given, as a choice among what there is.
func choose[T interface {
	comparable
	fmt.Stringer
}](all *[]T, wanted []T, what string) error {
	if wanted == nil {
		return nil
	}
	if len(wanted) == 0 {
		return fmt.Errorf("no %s is left to choose: give at least one, or nil for all", what)
	}
	for i, w := range wanted {
		if !slices.Contains(*all, w) {
			return fmt.Errorf("the %s %s is not one that we have", what, w)
		}
		if slices.Contains(wanted[:i], w) {
			return fmt.Errorf("the %s %s is given twice", what, w)
		}
	}
	*all = slices.Clone(wanted)
	return nil
}

// keyLog writes secrets in the NSS key log format, a line at a time.
type keyLog struct {
	mu sync.Mutex
	w  io.Writer
}

func (k *keyLog) write(label string, clientRandom, secret []byte) {
	line := fmt.Appendf(nil, "%s %x %x\n", label, clientRandom, secret)
	k.mu.Lock()
	defer k.mu.Unlock()
	_, _ = k.w.Write(line) // a log that can't be written must not stop the handshake
	clear(line)
}

// recheck judges every standing connection again.
func (e *endpoint) recheck(ctx context.Context) {
	e.rechecks.Add(1) // before it looks who stands: see Conn.stand
	var wait sync.WaitGroup
	gate := make(chan struct{}, 16) // verdicts are computation: a few at a time
	for _, m := range e.standing.Members() {
		c, ok := m.(*Conn)
		if !ok {
			continue
		}
		gate <- struct{}{}
		wait.Go(func() {
			defer func() { <-gate }()
			c.recheck(ctx)
		})
	}
	wait.Wait()
}

// abort ends every standing connection.
func (e *endpoint) abort() {
	for _, m := range e.standing.Members() {
		if c, ok := m.(*Conn); ok {
			_ = c.Abort()
		}
	}
}

// Server accepts connections. It is immutable and safe for concurrent use.
type Server struct {
	*endpoint
	refused func(net.Addr, *Refusal)
}

// NewServer checks cfg whole. What it refers to must not change afterwards.
func NewServer(cfg ServerConfig) (*Server, error) {
	onlyPSKs := cfg.Identity == nil && len(cfg.PSKs) > 0
	if onlyPSKs && cfg.Clients.mode == clientsUnset {
		cfg.Clients = Required(PreShared())
	}
	if cfg.Identity == nil && !onlyPSKs {
		return nil, errors.New("a server needs an Identity: give it a certificate and its key")
	}
	var auth handshake.ClientAuth
	switch cfg.Clients.mode {
	case clientsAnonymous:
	case clientsOnRequest:
	case clientsOptional:
		auth = handshake.RequestClientCertificate
	case clientsRequired:
		auth = handshake.RequireClientCertificate
	default:
		return nil, errors.New("ServerConfig.Clients is not set: say Anonymous(), Optional(verifier) or Required(verifier)")
	}
	if cfg.Clients.mode != clientsAnonymous {
		if cfg.Clients.verifier == nil {
			return nil, errors.New("clients can't be verified without a Verifier: without authorities there is no start")
		}
		if err := checkVerifier(cfg.Clients.verifier, RoleClient); err != nil {
			return nil, err
		}
	}
	e, err := newEndpoint(RoleServer, cfg.Identity, cfg.Clients.verifier, cfg.ALPN, &cfg.Common)
	if err != nil {
		return nil, err
	}
	e.hs.ClientAuth, e.hs.LegacyPKCS1 = auth, cfg.LegacyPKCS1
	if e.renewals != nil {
		e.hs.SideALPN = RenewalProtocol
	}
	if err := e.take(cfg.PSKs, onlyPSKs); err != nil {
		return nil, err
	}
	if h, ok := cfg.Clients.verifier.(hinter); ok {
		e.hs.Authorities = func() [][]byte { return fitting(h.hints()) }
	}
	e.hs.Certificates.Filters = slices.Clone(cfg.Filters)
	if err := e.bake(&cfg); err != nil {
		return nil, err
	}
	if cfg.Resumption != nil {
		if e.resumption, err = newServerResumption(cfg.Resumption, cfg.Clients.mode); err != nil {
			return nil, err
		}
		e.hs.Resume, e.hs.Tickets = true, cmp.Or(cfg.Resumption.Tickets, ticketsGiven)
		if e.hs.MaxEarlyData, err = earlyOf(cfg.Resumption); err != nil {
			return nil, err
		}
	}
	if cfg.ECH != nil {
		if cfg.ECH.ConfigList() == nil {
			return nil, errors.New("ServerConfig.ECH holds no key: make it with NewECHKeys")
		}
		e.ech, e.hs.ECH = cfg.ECH, true
	}
	return &Server{endpoint: e, refused: cfg.Refused}, nil
}

// maxHints is the most bytes of names that we tell in certificate_authorities.
// Many clients take no handshake message above 64 KiB, and the names are a hint.
const maxHints = 32 << 10

// fitting is names, or none where they are too many to be told: a part of them
// would have clients keep back a certificate that we take.
func fitting(names [][]byte) [][]byte {
	n := 0
	for _, name := range names {
		n += 2 + len(name)
	}
	if n > maxHints || len(names) > message.MaxAuthorities {
		return nil
	}
	return names
}

// Accept carries out the handshake over transport, judges the client, and
// answers with a connection whose peer is what the ClientPolicy asks for. It
// takes transport over. Where it fails the error is a *Refusal, the client was
// sent the alert and given up to a second to read it, and transport is closed.
func (s *Server) Accept(ctx context.Context, transport net.Conn) (*Conn, error) {
	c, refusal := s.accept(ctx, transport)
	if refusal != nil {
		c.linger()
		return nil, refusal
	}
	if c.sideways() {
		s.serveSide(ctx, c)
		return nil, ErrSideConnection
	}
	return c, nil
}

func (s *Server) accept(ctx context.Context, transport net.Conn) (*Conn, *Refusal) {
	return s.handshake(ctx, transport, handshake.NewServer(&s.hs), nil, "", false)
}

// Recheck judges every standing connection of this server's again, as after a
// change of trust or policy. Those that are refused now are told so, and cut.
func (s *Server) Recheck(ctx context.Context) { s.recheck(ctx) }

// Abort ends every standing connection of this server's, as Conn.Abort does.
func (s *Server) Abort() { s.abort() }

// Standing is how many proven connections of this server's stand.
func (s *Server) Standing() int { return s.standing.Len() }

// Client makes connections. It is immutable and safe for concurrent use.
type Client struct {
	*endpoint
	concealing *ClientECH
	anchors    *TrustAnchors
}

// NewClient checks cfg whole. What it refers to must not change afterwards.
func NewClient(cfg ClientConfig) (*Client, error) {
	onlyPSKs := cfg.Servers == nil && len(cfg.PSKs) > 0
	if onlyPSKs {
		cfg.Servers = PreShared()
	}
	if cfg.Servers == nil {
		return nil, errors.New("ClientConfig.Servers is not set: say how servers are judged: Authorities, SystemTrust, Pin, AnyOf, AllOf")
	}
	if err := checkVerifier(cfg.Servers, RoleServer); err != nil {
		return nil, err
	}
	e, err := newEndpoint(RoleClient, cfg.Identity, cfg.Servers, cfg.ALPN, &cfg.Common)
	if err != nil {
		return nil, err
	}
	if err := e.take(cfg.PSKs, onlyPSKs); err != nil {
		return nil, err
	}
	e.hs.PostHandshakeAuth = cfg.PostHandshakeAuth &&
		(len(cfg.ALPN) == 0 || slices.ContainsFunc(cfg.ALPN, func(p string) bool { return p != "h2" && p != "h3" }))
	if e.hs.Shares, err = shares(cfg.Shares, e.hs.Groups); err != nil {
		return nil, err
	}
	switch {
	case cfg.KeyShares < 0 || cfg.KeyShares > 2:
		return nil, fmt.Errorf("KeyShares is %d; one or two are sent, and 0 leaves the choice to us", cfg.KeyShares)
	case cfg.KeyShares > 0:
		e.hs.KeyShares = cfg.KeyShares
	case slices.ContainsFunc(e.hs.Groups, func(g Group) bool { return g.IsPostQuantum() != e.hs.Groups[0].IsPostQuantum() }):
		e.hs.KeyShares = 2
	default:
		e.hs.KeyShares = 1
	}
	e.hs.Permute = cfg.PermuteExtensions
	if h, ok := cfg.Servers.(hinter); ok && cfg.NameAuthorities {
		e.hs.Authorities = func() [][]byte { return fitting(h.hints()) }
	}
	if cfg.Resumption != nil {
		if e.resumption, err = newClientResumption(cfg.Resumption); err != nil {
			return nil, err
		}
		e.hs.Resume = true
		e.hs.TicketRequest = message.TicketRequest{Full: uint8(max(cfg.Resumption.Tickets, 1)), Resumed: 1, Made: true}
	}
	if cfg.ECH != nil {
		if err := cfg.ECH.check(); err != nil {
			return nil, err
		}
		e.hs.GreaseECH = cfg.ECH.Grease
	}
	if e.renewals != nil {
		e.renewals.side, e.renewals.concealing = e.hs, cfg.ECH
		h := &e.renewals.side
		h.ALPN, h.Resume, h.PSKs, h.PSKOnly, h.PostHandshakeAuth = []string{RenewalProtocol}, false, false, false, false
	}
	return &Client{e, cfg.ECH, cfg.TrustAnchors}, nil
}

// shares checks the groups in which key shares are to be sent (RFC 8446, section
// 4.2.8): each from groups, once, in their order.
func shares(wanted, groups []Group) ([]Group, error) {
	from := 0
	for _, g := range wanted {
		i := slices.Index(groups[from:], g)
		if i < 0 {
			return nil, fmt.Errorf("a key share in %s can't be sent: it is not among Groups, or not in their order", g)
		}
		from += i + 1
	}
	return slices.Clone(wanted), nil
}

// Dial connects to address, whose host part is the server's name.
func (c *Client) Dial(ctx context.Context, network, address string) (*Conn, error) {
	return c.dial(ctx, network, address, false)
}

func (c *Client) dial(ctx context.Context, network, address string, early bool) (*Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, refuseMisuse("the address %q is not HOST:PORT; to reach a server by another address than its name use Connect", address)
	}
	how := attempt{early: early}
	conn, err := c.dialOnce(ctx, network, address, host, how)
	for err != nil && c.again(&how, err) {
		conn, err = c.dialOnce(ctx, network, address, host, how)
	}
	return conn, err
}

// attempt is how to connect this time: with data before the handshake is over, and
// with ECH configs and trust anchors in the place of those that failed.
type attempt struct {
	early   bool
	configs ECHConfigList
	anchors []TrustAnchorID
}

// again says whether to connect once more after err, and changes how: once with the
// ECH configs that the server gave, and once naming a trust anchor that it has.
func (c *Client) again(how *attempt, err error) bool {
	if how.configs == nil {
		if how.configs = c.concealing.retryWith(err); how.configs != nil {
			return true
		}
	}
	if how.anchors == nil {
		how.anchors = c.anchors.instead(err)
		return how.anchors != nil
	}
	return false
}

func (c *Client) dialOnce(ctx context.Context, network, address, host string, how attempt) (*Conn, error) {
	var d net.Dialer
	if deadline := time.Now().Add(c.limits.HandshakeTime); d.Deadline.IsZero() {
		d.Deadline = deadline
	}
	transport, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, refuseDial(address, err)
	}
	if how.early && (c.concealing != nil && c.concealing.Retry || c.anchors != nil) {
		transport = c.changeable(transport, network, address, host, how)
	}
	return c.connect(ctx, transport, host, how)
}

// Connect carries out the handshake over transport with the server that is
// meant: a DNS name, an IP address, or a SPIFFE ID. It takes transport over.
// Where it fails the error is a *Refusal, the server was sent the alert, and
// transport is closed.
//
// The server has not judged our certificate yet when Connect returns; Admitted
// waits for that, and Read and Write tell of a refusal too.
func (c *Client) Connect(ctx context.Context, transport net.Conn, serverName string) (*Conn, error) {
	return c.connect(ctx, transport, serverName, attempt{})
}

func (c *Client) connect(ctx context.Context, transport net.Conn, serverName string, how attempt) (*Conn, error) {
	name, sni, err := cleanServerName(serverName)
	if err != nil {
		_ = transport.Close()
		return nil, err
	}
	m := handshake.NewClient(&c.hs, sni)
	if err := c.conceal(ctx, m, name, how.configs); err != nil {
		_ = transport.Close()
		return nil, err
	}
	m.NameTrustAnchors(how.anchors)
	if t, ok := transport.(*changing); ok {
		t.machine = m
	}
	conn, refusal := c.handshake(ctx, transport, m, m, name, how.early)
	if refusal != nil {
		refusal.learned(m)
		conn.linger()
		return nil, refusal
	}
	return conn, nil
}

// Recheck judges every standing connection of this client's again, as after a
// change of trust. Those that are refused now are told so, and cut.
func (c *Client) Recheck(ctx context.Context) { c.recheck(ctx) }

// Abort ends every standing connection of this client's, as Conn.Abort does.
func (c *Client) Abort() { c.abort() }

// Standing is how many connections of this client's stand.
func (c *Client) Standing() int { return c.standing.Len() }
