package mtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/live"
)

// Renewal has connections outlive the certificates that they began with, where
// both ends are ours: before the first of the two certificates ends, each end
// proves the one that it has by then, and the connection stands by that. Neither
// the application nor its protocol notices.
//
// A server asks clients that offered it for their certificate (RFC 8446, section
// 4.6.2). All else goes over a side connection that the client opens to the same
// server, under an ALPN protocol of its own (RenewalProtocol): it carries exported
// authenticators (RFC 9261) of the connection that stands, so it renews that one and
// no other, and nobody can renew who is not its end. What is proven has to be the
// same names as before. Where it fails, all stays as it was: the connection lives
// to the end that it was admitted with.
//
// The zero value is right where a server is reached again at the address at which it
// was reached first. Certificates have to be exchanged before they end: an Identity
// that never changes, and has no more than it showed, renews nothing.
type Renewal struct {
	// Dial connects a client's side connection for c; nil dials the address that c
	// has at its other end.
	Dial func(ctx context.Context, c *Conn) (net.Conn, error)
	// Renewed, if not nil, is told of every renewal at this end: nil, or why it
	// failed. It is called concurrently.
	Renewed func(c *Conn, err error)
}

// RenewalProtocol is the ALPN protocol of side connections.
const RenewalProtocol = "mutual-renew/1"

// ErrSideConnection is Accept's answer to a side connection, which it has served
// to its end. A Listener keeps them to itself.
var ErrSideConnection = errors.New("it was a side connection that renewed others, and is over")

// ErrNotRenewed is the answer where the other end does not renew this connection:
// it is not ours, or not the one that the connection is with.
var ErrNotRenewed = errors.New("the other end does not renew this connection")

const (
	// serverShare and clientShare are when an end's own way of renewing begins: when
	// this share of what is left is left. An agent has its next certificate at
	// two thirds of a life and a twentieth; the server, which needs no side
	// connection, goes first.
	serverShare = 4
	clientShare = 5
	// leastLeft is what has to be left for another try.
	leastLeft = 200 * time.Millisecond
)

// renewals are an endpoint's.
type renewals struct {
	cfg  Renewal
	side handshake.Config // a client's, for side connections
	// concealing hides whom they are for, as it does for those that they renew.
	concealing *ClientECH
	due        *live.Set

	mu      sync.Mutex
	of      map[renewalID]*Conn // a server's connections
	queue   []*Conn             // a client's that are due
	running bool
}

// renewalID names a connection to its two ends, and to nobody else: it is exported.
type renewalID [32]byte

func newRenewals(e *endpoint, cfg *Renewal) *renewals {
	if cfg == nil {
		return nil
	}
	r := &renewals{cfg: *cfg, due: live.NewSet(e.clock), of: make(map[renewalID]*Conn)}
	if r.cfg.Dial == nil {
		r.cfg.Dial = func(ctx context.Context, c *Conn) (net.Conn, error) {
			a := c.transport.RemoteAddr()
			if a == nil {
				return nil, errors.New("the transport does not say where its other end is")
			}
			var d net.Dialer
			return d.DialContext(ctx, a.Network(), a.String())
		}
	}
	return r
}

// renewable is a connection's part.
type renewable struct {
	id    renewalID
	place live.Entry
	never atomic.Bool // the other end does not renew
}

// keepRenewed begins to keep a connection whose handshake is over.
func (c *Conn) keepRenewed() {
	r := c.renewals
	if r == nil || c.stream.Result().ALPN == RenewalProtocol || overQUIC(c.transport) != "" {
		return // a side connection renews, and is not renewed; QUIC has none
	}
	n := &renewable{}
	if c.role == RoleServer {
		var err error
		if n.id, err = c.renewalID(); err != nil {
			return
		}
		r.mu.Lock()
		r.of[n.id] = c
		r.mu.Unlock()
	}
	r.due.Add(&n.place, due{c}, time.Time{})
	c.renewal.Store(n)
	c.scheduleRenewal()
	if c.closed.Load() {
		c.forgetRenewal()
	}
}

func (c *Conn) renewalID() (id renewalID, err error) {
	b, err := c.Export("EXPORTER-mutual-renewal", nil, len(id))
	copy(id[:], b)
	return id, err
}

// leave takes the connection out of what stands.
func (c *Conn) leave() {
	c.standing.Remove(&c.place)
	c.forgetRenewal()
}

func (c *Conn) forgetRenewal() {
	n := c.renewal.Load()
	if n == nil {
		return
	}
	c.renewals.due.Remove(&n.place)
	c.renewals.mu.Lock()
	delete(c.renewals.of, n.id)
	c.renewals.mu.Unlock()
}

// sideways says whether this is a side connection.
func (c *Conn) sideways() bool {
	return c.renewals != nil && c.stream.Result().ALPN == RenewalProtocol
}

// renewalEnd is when the first of the two certificates ends; zero for never.
func (c *Conn) renewalEnd() time.Time {
	var end time.Time
	if u := c.until.Load(); u != nil {
		end = *u
	}
	if c.role == RoleClient {
		if l := c.Local(); l != nil {
			end = earliest(end, l.ends)
		}
	}
	return end
}

// scheduleRenewal says when the connection is to be renewed: when a share of what is
// left is left, and so more often as the end comes nearer.
func (c *Conn) scheduleRenewal() {
	n := c.renewal.Load()
	if n == nil {
		return
	}
	share := time.Duration(clientShare)
	if c.role == RoleServer {
		share = serverShare
	}
	end := c.renewalEnd()
	left := end.Sub(c.clock())
	if end.IsZero() || n.never.Load() || left < leastLeft {
		return // it lives to the end that it has
	}
	c.renewals.due.Move(&n.place, end.Add(-left/share))
}

// due is a connection as a member of what is to be renewed.
type due struct{ *Conn }

// Due is called when it is time.
func (d due) Due() {
	c := d.Conn
	if c.role == RoleServer {
		go c.renewByAsking()
		return
	}
	r := c.renewals
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, c)
	if !r.running {
		r.running = true
		go c.renewQueued()
	}
}

// renewByAsking is a server's way: it asks for the certificate that the client has
// by now, where the client lets it.
func (c *Conn) renewByAsking() {
	a, err := c.ask(true)
	if errors.Is(err, ErrAuthNotOffered) || errors.Is(err, ErrAuthForbidden) {
		return // the client will come by a side connection, if it is ours
	}
	if err == nil {
		patience := time.NewTimer(c.limits.HandshakeTime)
		defer patience.Stop()
		select {
		case <-a.over.Done():
			err = a.outcome()
		case <-patience.C:
			err = errors.New("the client has not answered yet")
		}
	}
	c.renewed(err)
}

// renewed tells how a renewal went, and says when the next one is.
func (c *Conn) renewed(err error) {
	if err != nil {
		c.note("no renewal", err.Error())
	}
	c.scheduleRenewal()
	if c.renewals.cfg.Renewed != nil {
		c.renewals.cfg.Renewed(c, err)
	}
}

// renewQueued renews what is due, until nothing is: of the connections with one
// server as many as have come together over one side connection.
func (e *endpoint) renewQueued() {
	r := e.renewals
	for {
		r.mu.Lock()
		batch := r.queue
		r.queue = nil
		if len(batch) == 0 {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		for len(batch) > 0 {
			var same, rest []*Conn
			for _, c := range batch {
				if sameServer(c, batch[0]) {
					same = append(same, c)
				} else {
					rest = append(rest, c)
				}
			}
			batch = rest
			e.renewTogether(same)
		}
	}
}

func sameServer(a, b *Conn) bool {
	one, other := a.transport.RemoteAddr(), b.transport.RemoteAddr()
	return a == b || a.serverName == b.serverName && one != nil && other != nil && one.Network() == other.Network() && one.String() == other.String()
}

func (e *endpoint) renewTogether(all []*Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*e.limits.HandshakeTime)
	defer cancel()
	side, err := e.openSide(ctx, all[0])
	for _, c := range all {
		if c.closed.Load() {
			continue
		}
		one := err
		if side != nil && one == nil {
			one = side.renew(ctx, c)
			var broken *sideBroken
			if errors.As(one, &broken) {
				err = one // nothing more comes over it
			}
		}
		if n := c.renewal.Load(); n != nil && errors.Is(one, ErrNotRenewed) {
			n.never.Store(true)
		}
		c.renewed(one)
	}
	if side != nil {
		_ = side.Close()
	}
}

// Renew renews a connection of this client's now, instead of when it is due: see
// Renewal, which has to be given. Where it fails, the connection stands as before.
func (c *Client) Renew(ctx context.Context, conn *Conn) error {
	if c.renewals == nil || conn.endpoint != c.endpoint || conn.renewal.Load() == nil {
		return refuseMisuse("the connection can't be renewed: it is not this client's, or the client has no Renewal")
	}
	side, err := c.openSide(ctx, conn)
	if err != nil {
		return err
	}
	defer func() { _ = side.Close() }()
	err = side.renew(ctx, conn)
	conn.renewed(err)
	return err
}

// openSide opens a side connection to the server of c, which has to be the same.
func (e *endpoint) openSide(ctx context.Context, c *Conn) (*side, error) {
	transport, err := e.renewals.cfg.Dial(ctx, c)
	if err != nil {
		return nil, refuseDial(c.plainPeerName(), err)
	}
	_, sni, err := cleanServerName(c.serverName)
	if err != nil {
		_ = transport.Close()
		return nil, err
	}
	m := handshake.NewClient(&e.renewals.side, sni)
	if how := e.renewals.concealing; how != nil {
		sealer, err := how.sealer(ctx, c.serverName)
		if err != nil {
			_ = transport.Close()
			return nil, err
		}
		if sealer != nil {
			m.Conceal(sealer)
		}
	}
	conn, refusal := e.handshake(ctx, transport, m, m, c.serverName, false)
	if refusal != nil {
		conn.linger()
		if refusal.Alert == alertNoProtocol && !refusal.Sent {
			return nil, fmt.Errorf("%w: %w", ErrNotRenewed, refusal)
		}
		return nil, refusal
	}
	s := &side{conn}
	if conn.stream.Result().ALPN != RenewalProtocol || !samePeers(conn, c) {
		_ = conn.Close()
		return nil, ErrNotRenewed
	}
	return s, nil
}

// samePeers says whether two connections are with the same peer: nobody on both,
// or the same names.
func samePeers(a, b *Conn) bool {
	one, ok := a.Peer()
	other, also := b.Peer()
	return ok == also && (!ok || sameNames(one, other))
}
