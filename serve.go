package mutual

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
	"github.com/mutual-tls/mutual/policy"
)

// Listen takes connections of those whom allow names: "web" in our own trust
// domain, "*.example.com", or a whole SPIFFE ID. Everybody else is refused, and the
// Logger told why. The authority is told the address, so that others find it by
// this identity's name; for an address that others reach another way see
// Advertise. The listener is closed when ctx ends, or the identity is closed;
// connections that were accepted stay when ctx ends.
func Listen(ctx context.Context, id *Identity, address string, allow ...string) (*mtls.Listener, error) {
	d, err := id.listen(ctx, address, nil, allow)
	if err != nil {
		return nil, err
	}
	return d.listener, nil
}

// door is one address that is listened on, and the server behind it.
type door struct {
	net.Listener
	id       *Identity
	address  []string // as others reach it
	server   *mtls.Server
	listener *mtls.Listener
	shut     bool
	release  func() bool // of the context that shuts it
}

// Close is called by the mtls.Listener, whoever closes that.
func (d *door) Close() error {
	d.id.mu.Lock()
	d.shut = true
	release := d.release
	d.id.mu.Unlock()
	if release != nil {
		release()
	}
	d.id.register()
	return d.Listener.Close()
}

func (id *Identity) listen(ctx context.Context, address string, alpn, allow []string) (*door, error) {
	if len(allow) == 0 {
		return nil, refuse(code.Misuse, mtls.Misuse, `nobody is named who may come in: give at least one name, as "web"`, nil)
	}
	rules, err := policy.Parse(allow, id.agent.Domain())
	if err != nil {
		return nil, refuse(code.Misuse, mtls.Misuse, "who may come in can't be told: "+err.Error(), err)
	}
	d := &door{id: id}
	d.server, err = mtls.NewServer(mtls.ServerConfig{
		Identity: id.agent.Identity(), Clients: mtls.Required(mtls.Allow(id.agent.Verifier(), rules)), ALPN: alpn,
		Resumption: &mtls.ServerResumption{}, Refused: id.refused, Common: mtls.Common{Clock: id.clock, Renewal: &mtls.Renewal{}},
	})
	if err != nil {
		return nil, err
	}
	if d.Listener, err = net.Listen("tcp", address); err != nil {
		return nil, fmt.Errorf("%s can't be listened on: %w", identity.Quote(address), err)
	}
	if d.address, err = agent.Advertise(d.Addr()); err != nil {
		_ = d.Listener.Close()
		return nil, err
	}
	d.listener = d.server.Wrap(d)
	id.mu.Lock()
	closed := id.closed
	if !closed {
		id.sweep()
		id.doors = append(id.doors, d)
		d.release = context.AfterFunc(ctx, func() { _ = d.listener.Close() })
	}
	id.mu.Unlock()
	if closed {
		_ = d.listener.Close()
		return nil, id.isClosed()
	}
	id.register()
	id.agent.Findable(ctx)
	return d, nil
}

func (id *Identity) refused(remote net.Addr, r *mtls.Refusal) {
	if r.Code == string(code.Canceled) {
		return // we stop listening, and the caller did nothing
	}
	id.refusals.Tell(remote.String(), r)
}

// servers are those who may have connections that stand.
func (id *Identity) servers() []*mtls.Server {
	id.mu.Lock()
	defer id.mu.Unlock()
	id.sweep()
	all := make([]*mtls.Server, len(id.doors))
	for i, d := range id.doors {
		all[i] = d.server
	}
	return all
}

// sweep forgets the doors that are shut, once nobody who came in by them is there
// any more. The caller holds mu.
func (id *Identity) sweep() {
	id.doors = slices.DeleteFunc(id.doors, func(d *door) bool { return d.shut && d.server.Standing() == 0 })
}

// Advertise tells the authority where others reach this identity, HOST:PORT each,
// instead of the addresses that are listened on: behind a load balancer, say. With
// none it is the latter again.
func (id *Identity) Advertise(addresses ...string) error {
	for _, a := range addresses {
		host, port, err := net.SplitHostPort(a)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err == nil {
			_, err = identity.Parse(host)
		}
		if err != nil || perr != nil || n == 0 {
			return refuse(code.Misuse, mtls.Misuse, "the address "+identity.Quote(a)+" to be advertised is not HOST:PORT", err)
		}
	}
	id.mu.Lock()
	id.advertised = slices.Clone(addresses)
	id.mu.Unlock()
	id.register()
	return nil
}

func (id *Identity) register() {
	id.mu.Lock()
	defer id.mu.Unlock()
	all := id.advertised
	if len(all) == 0 {
		for _, d := range id.doors {
			if !d.shut {
				all = append(all, d.address...)
			}
		}
	}
	id.agent.Register(all)
}

// drainTime is how long requests in flight may take once Serve is to end.
const drainTime = 30 * time.Second

// Serve answers HTTP/1.1 and HTTP/2 requests of those whom allow names with h, as
// Listen says, until ctx ends; requests in flight then have half a minute, and
// what is over is no error. Who asks, nethttp.Peer tells.
func Serve(ctx context.Context, id *Identity, address string, h http.Handler, allow ...string) error {
	// The door is not shut by ctx, but in the server's own order.
	d, err := id.listen(context.WithoutCancel(ctx), address, nethttp.Protocols(), allow)
	if err != nil {
		return err
	}
	s := nethttp.NewServer(&http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(id.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	})
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { drained <- drain(ctx, s) })
	err = s.Serve(d.listener)
	_ = d.listener.Close()
	if !stop() {
		return <-drained
	}
	_ = s.Close()
	if closed := id.isClosed(); closed != nil {
		return closed
	}
	return err
}

func drain(ctx context.Context, s *nethttp.Server) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := s.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		_ = s.Close()
		return fmt.Errorf("requests were still in flight %v after the end, and were cut: %w", drainTime, err)
	}
	return err
}
