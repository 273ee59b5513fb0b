package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// own is the authority's own certificate, which is made anew at two thirds of its
// life. A machine that slept past its end asks nobody first: then the handshake that
// would show it makes the next one, or all agents that wake with it would be told
// that their authority's certificate has ended.
type own struct {
	*mtls.Swap
	server *Server

	ends atomic.Int64 // Unix seconds; nobody waits for a renewal while there is time

	mu  sync.Mutex
	due time.Time
}

const (
	// ownRetry is the pause after one could not be made.
	ownRetry = time.Minute
	// ownTime bounds making one. A caller who leaves does not end it: all others
	// wait for it too.
	ownTime = 10 * time.Second
)

func newOwn(ctx context.Context, s *Server) (*own, error) {
	o := &own{Swap: mtls.NewSwap(nil), server: s}
	return o, o.make(ctx)
}

// Certificate answers with a certificate that is valid now, as far as one can be had.
func (o *own) Certificate(ctx context.Context, ask *mtls.Ask) (*mtls.Certificate, error) {
	if o.server.clock().Unix() >= o.ends.Load() {
		o.mu.Lock()
		o.renew(ctx)
		o.mu.Unlock()
	}
	return o.Swap.Certificate(ctx, ask)
}

// keep renews until ctx ends.
func (o *own) keep(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		o.mu.Lock()
		o.renew(ctx)
		o.mu.Unlock()
	}
}

// renew makes a new one if it is time to. The caller holds mu.
func (o *own) renew(ctx context.Context) {
	if o.server.clock().Before(o.due) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ownTime)
	defer cancel()
	if err := o.make(ctx); err != nil {
		o.server.log.Error("the authority's own certificate could not be renewed: " + err.Error())
		o.due = o.server.clock().Add(ownRetry)
	}
}

// make makes one and has it shown from now on. The caller holds mu, or is the first.
func (o *own) make(ctx context.Context) error {
	chain, key, err := o.server.authority.Serving(ctx)
	if err != nil {
		return fmt.Errorf("the authority can't certify itself: %w", err)
	}
	c, err := mtls.NewCertificate(chain, key)
	if err != nil {
		return err
	}
	leaf, err := pki.Parse(chain[0])
	if err != nil {
		return err
	}
	o.ends.Store(leaf.NotAfter().Unix())
	o.due = leaf.NotBefore().Add(leaf.NotAfter().Sub(leaf.NotBefore()) * 2 / 3)
	o.Set(c)
	return nil
}
