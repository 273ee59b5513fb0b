package ca

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki"
)

// changes tells those who follow the authority that there is something new.
type changes struct {
	mu    sync.Mutex
	epoch int64 // another one after each start
	count int64
	next  chan struct{}
}

func (c *changes) start(now time.Time) {
	c.epoch, c.next = now.UnixNano(), make(chan struct{})
}

func (c *changes) bump() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	close(c.next)
	c.next = make(chan struct{})
}

// Revision names the state of all that agents follow: statement, lists, services,
// standing. It is another one after a start.
func (a *Authority) Revision() string {
	a.changes.mu.Lock()
	defer a.changes.mu.Unlock()
	return strconv.FormatInt(a.changes.epoch, 36) + "." + strconv.FormatInt(a.changes.count, 36)
}

// Changed is closed at the next change. Take it before reading the state.
func (a *Authority) Changed() <-chan struct{} {
	a.changes.mu.Lock()
	defer a.changes.mu.Unlock()
	return a.changes.next
}

// A service is forgotten when it was not heard of for two days.
const (
	serviceForgotten = 48 * time.Hour
	maxAddresses     = 16
)

// Register records where a lineage of a name can be reached.
func (a *Authority) Register(ctx context.Context, name, lineage string, addresses []string) error {
	if len(addresses) == 0 || len(addresses) > maxAddresses {
		return problem(422, code.RequestMalformed, "%d addresses were given, expected 1 to %d", len(addresses), maxAddresses)
	}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		n, perr := strconv.ParseUint(port, 10, 16)
		if err == nil {
			_, err = identity.Parse(host)
		}
		if err != nil || perr != nil || n == 0 || identity.IsSPIFFE(host) {
			return problem(422, code.RequestMalformed, "the address %s is not HOST:PORT", identity.Quote(address))
		}
	}
	now, news := a.moment(), false
	err := a.store.Update(ctx, func(tx *store.Tx) error {
		l, err := tx.Lineage(lineage)
		if errors.Is(err, store.ErrNone) || err == nil && l.Name != name {
			return problem(403, code.NotTheHolder, "%s was not proven by whoever registers it", identity.Quote(name))
		}
		if err != nil {
			return err
		}
		switch l.State {
		case api.StateRevoked:
			return problem(403, code.LineageRevoked, "the identity %q was revoked", name)
		case api.StateFrozen:
			return frozen(name)
		}
		news, err = tx.Register(name, lineage, addresses, now, now.Add(-serviceForgotten))
		return err
	})
	if err == nil && news {
		a.changes.bump()
	}
	return err
}

// Service is where a service can be reached, those heard of last first.
func (a *Authority) Service(ctx context.Context, name string) (api.Service, error) {
	out := api.Service{Name: name}
	err := a.store.View(ctx, func(tx *store.Tx) error {
		all, err := tx.Addresses(name, a.now().Add(-serviceForgotten))
		for _, one := range all {
			for _, address := range one {
				if !slices.Contains(out.Addresses, address) {
					out.Addresses = append(out.Addresses, address)
				}
			}
		}
		return err
	})
	if err != nil {
		return api.Service{}, err
	}
	if len(out.Addresses) == 0 {
		return api.Service{}, problem(404, code.ServiceUnknown, "no service %s is registered", identity.Quote(name))
	}
	return out, nil
}

// Standing is what is on record of a certificate that was shown.
type Standing struct {
	api.LineageInfo        // revoked, too, where this very certificate was
	Name            string // "authority" for the authority's own leaf
	Lineage         string // "" for the authority's own leaf
	Head            bool   // it is the latest of its lineage
}

// Standing says how a certificate stands that was issued here; a Problem for one
// that was not.
func (a *Authority) Standing(ctx context.Context, shown *pki.Certificate) (*Standing, error) {
	c, err := a.find(ctx, shown)
	if err != nil {
		return nil, err
	}
	s := &Standing{LineageInfo: api.LineageInfo{State: api.StateValid}, Name: c.Name, Lineage: c.Lineage, Head: c.Head}
	if c.State != "" {
		s.State = c.State
	}
	if c.RevokedAt != nil {
		s.State = api.StateRevoked
	}
	return s, nil
}
