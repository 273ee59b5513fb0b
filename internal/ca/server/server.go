package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/refusals"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/nethttp"
)

// Config is what a Server is made of. All but Clock is needed.
type Config struct {
	Authority *ca.Authority
	// Listen takes those who join, renew and follow.
	Listen net.Listener
	// Admin is the admin socket; see ListenAdmin.
	Admin net.Listener
	// Advertise is where others reach Listen, HOST:PORT each.
	Advertise []string
	Log       *slog.Logger
	Clock     func() time.Time
}

// Server serves an authority until Run's context ends.
type Server struct {
	config    Config
	authority *ca.Authority
	log       *slog.Logger
	clock     func() time.Time
	own       *own
	port      *mtls.Server
	busy      chan struct{} // a place for each request that works at the port
	adminBusy chan struct{} // and at the admin socket
	waiting   chan struct{} // a place for each that waits for updates
	stopping  chan struct{}
	refusals  *refusals.Log
}

const (
	// maxBusy is how many requests may work at once: signatures and a database.
	maxBusy = 64
	// maxWaiting is how many may wait for updates. Each costs a connection.
	maxWaiting = 8192
	// requestTime is how long a request may take to come, and its answer to go.
	requestTime = 15 * time.Second
	// stopTime is how long requests in flight may take after a stop.
	stopTime = 5 * time.Second
	maxHead  = 16 << 10
	// maxTold is how many refusals of one host are told in ten seconds, of handshakes
	// and requests: an answer has an id to be found by in the log, so most are told.
	maxTold = 100
)

// New makes the authority's own certificate and the port.
func New(ctx context.Context, c Config) (*Server, error) {
	if c.Clock == nil {
		c.Clock = clock.Now
	}
	s := &Server{
		config: c, authority: c.Authority, log: c.Log, clock: c.Clock,
		busy: make(chan struct{}, maxBusy), adminBusy: make(chan struct{}, maxBusy), waiting: make(chan struct{}, maxWaiting), stopping: make(chan struct{}),
		refusals: refusals.New(c.Log, slog.LevelDebug).UpTo(maxTold),
	}
	var err error
	if s.own, err = newOwn(ctx, s); err != nil {
		return nil, err
	}
	s.port, err = mtls.NewServer(mtls.ServerConfig{
		Identity: s.own,
		Clients:  mtls.Optional(&callers{s}),
		ALPN:     []string{api.ALPN, api.ALPNJoin},
		Refused:  s.refused,
		Common:   mtls.Common{Clock: c.Clock},
	})
	return s, err
}

// Run serves until ctx ends; requests in flight are finished.
func (s *Server) Run(ctx context.Context) error {
	front := nethttp.NewServer(s.httpServer(s.front()))
	admin := s.httpServer(s.admin())
	failed := make(chan error, 2)
	var all sync.WaitGroup
	run := func(serve func() error) {
		all.Go(func() {
			if err := serve(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	l := s.port.Wrap(s.config.Listen)
	run(func() error { return front.Serve(l) })
	run(func() error { return admin.Serve(&owners{s.config.Admin, s.log}) })
	work, stop := context.WithCancel(ctx)
	all.Go(func() { s.own.keep(work) })
	all.Go(func() { s.recheck(work) })
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	close(s.stopping)
	stop()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if front.Shutdown(end) != nil {
		_ = front.Close()
	}
	if admin.Shutdown(end) != nil {
		_ = admin.Close()
	}
	_ = l.Close()
	all.Wait()
	return err
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: requestTime, ReadTimeout: requestTime, // to the body's end: who waits for updates is not cut
		DisableGeneralOptionsHandler: true, // an unknown path, like any other
		WriteTimeout:                 api.Wait + 2*requestTime, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// recheck judges the standing connections again when something was revoked.
func (s *Server) recheck(ctx context.Context) {
	changed := s.authority.Changed()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			// What changes from here on is another turn's.
			changed = s.authority.Changed()
			s.lookAgain(ctx)
		}
	}
}

// lookAgain judges all callers that stand. A stop in the middle of it does not
// reach it: a look into the database that is broken off would be taken for a
// refusal, and cut those who are about to be answered.
func (s *Server) lookAgain(ctx context.Context) { s.port.Recheck(context.WithoutCancel(ctx)) }

func (s *Server) refused(remote net.Addr, r *mtls.Refusal) {
	s.refusals.Tell(remote.String(), r)
}
