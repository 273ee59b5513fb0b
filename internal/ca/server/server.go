package server

import (
	"context"
	"errors"
	"fmt"
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
	identity  *mtls.Swap
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
	own, err := s.ownCertificate(ctx)
	if err != nil {
		return nil, err
	}
	s.identity = mtls.NewSwap(own)
	s.port, err = mtls.NewServer(mtls.ServerConfig{
		Identity: s.identity,
		Clients:  mtls.Optional(&callers{s}),
		ALPN:     []string{api.ALPN, api.ALPNJoin},
		Refused:  s.refused,
		Common:   mtls.Common{Clock: c.Clock},
	})
	return s, err
}

func (s *Server) ownCertificate(ctx context.Context) (*mtls.Certificate, error) {
	chain, key, err := s.authority.Serving(ctx)
	if err != nil {
		return nil, fmt.Errorf("the authority can't certify itself: %w", err)
	}
	return mtls.NewCertificate(chain, key)
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
	all.Go(func() { s.keepOwnCertificate(work) })
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

// keepOwnCertificate makes a new certificate for the port at two thirds of the
// life of the one in use.
func (s *Server) keepOwnCertificate(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	due := s.ownDue()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if s.clock().Before(due) {
			continue
		}
		own, err := s.ownCertificate(ctx)
		if err != nil {
			s.log.Error("the authority's own certificate could not be renewed: " + err.Error())
			due = s.clock().Add(time.Minute)
			continue
		}
		s.identity.Set(own)
		due = s.ownDue()
	}
}

func (s *Server) ownDue() time.Time {
	leaf, err := leafOf(s.identity.Current())
	if err != nil {
		return s.clock()
	}
	return leaf.NotBefore().Add(leaf.NotAfter().Sub(leaf.NotBefore()) * 2 / 3)
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
