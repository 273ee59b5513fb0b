package ca

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/failpoint"
	"github.com/mutual-tls/mutual/pki"
)

// RenewGrace is how long after its end the head of a lineage may still renew:
// laptops sleep.
const RenewGrace = 30 * 24 * time.Hour

// Renew gives the holder of a lineage's head its successor, for a new key. Whoever
// showed the certificate has proven its key; its path was verified, and its end
// may be past.
//
// A certificate has one successor. The same key gets it again, since an answer may
// be lost. Another key means that two hold the certificate.
func (a *Authority) Renew(ctx context.Context, shown *pki.Certificate, csr []byte, wish time.Duration) (*api.Issued, error) {
	life, err := lifetime(wish)
	if err != nil {
		return nil, err
	}
	r, err := a.readRequest(csr)
	if err != nil {
		return nil, err
	}
	c, err := a.find(ctx, shown)
	if err != nil {
		return nil, err
	}
	if c.Lineage == "" {
		return nil, problem(403, code.NotAllowedToEnrol, "the certificate of %q is not one that is renewed", c.Name)
	}
	defer a.hold([]byte(c.Lineage))()
	return a.settle(ctx, func() (*store.Certificate, error) { return a.renew(ctx, c.ID, r, life) })
}

func (a *Authority) renew(ctx context.Context, id int64, r *request, life time.Duration) (*store.Certificate, error) {
	var c *store.Certificate
	var next *store.Intent
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if c, err = tx.Certificate(id); err != nil {
			return err
		}
		if next, err = tx.Successor(id); errors.Is(err, store.ErrNone) {
			next, err = nil, nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := refuseState(c); err != nil {
		return nil, err
	}
	if end := c.NotAfter.Add(RenewGrace); a.now().After(end) {
		return nil, problem(403, code.RenewalTooLate, "the certificate of %q ended at %s, and could be renewed until %s", c.Name, stamp(c.NotAfter), stamp(end))
	}
	switch {
	case c.SPKI == r.hash:
		return nil, problem(422, code.KeyNotAccepted, "the key is the one of the certificate that is to be renewed; a renewal takes a new one")
	case next != nil && next.SPKI != r.hash:
		return nil, a.freeze(ctx, c)
	case next != nil:
		return a.again(ctx, func(tx *store.Tx) (*store.Intent, error) { return tx.Successor(id) })
	}
	grant, err := a.grant(c.Name, c.Names)
	if err != nil {
		return nil, err
	}
	if err := r.within(grant); err != nil {
		return nil, err
	}
	return a.issue(ctx, &order{profile: signing.Leaf, name: c.Name, names: c.Names, spki: r.spki, hash: r.hash, lifetime: life,
		lineage: c.Lineage, predecessor: id,
		claim: func(tx *store.Tx, _ time.Time) error {
			// Anything may have happened since it was looked at.
			now, err := tx.Certificate(id)
			if err != nil {
				return err
			}
			if !now.Head {
				return store.ErrConflict
			}
			return refuseState(now)
		}})
}

// freeze refuses the second renewal of one certificate. Two hold its key, and
// which of them is the owner can't be told here: neither gets anything.
func (a *Authority) freeze(ctx context.Context, c *store.Certificate) error {
	alarm := &api.Alarm{At: a.moment(), Code: string(code.LineageFrozen), Name: c.Name, Serial: fmt.Sprintf("%x", c.Serial),
		Words: fmt.Sprintf("two hold the identity %q: its certificate %x was renewed a second time, with another key; the identity is frozen", c.Name, c.Serial)}
	err := a.alarm(ctx, alarm, c.Lineage, func(tx *store.Tx) error {
		err := tx.MoveLineage(c.Lineage, api.StateValid, api.StateFrozen)
		if errors.Is(err, store.ErrConflict) {
			return nil // somebody moved it meanwhile, and nothing is issued either way
		}
		return err
	})
	if err != nil {
		return err
	}
	failpoint.At("ca-freeze-1-recorded")
	a.changes.bump()
	return frozen(c.Name)
}

// find is the record of a certificate that was shown: by issuer, serial number and
// key. Its bytes do not count, since a signature can be written in two ways.
func (a *Authority) find(ctx context.Context, shown *pki.Certificate) (*store.Certificate, error) {
	unknown := problem(403, code.NotAllowedToEnrol, "the certificate %s is not on record here", shown.Label())
	issuer, ok := a.issuers[string(shown.X509.RawIssuer)]
	if !ok {
		return nil, unknown
	}
	var c *store.Certificate
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		c, err = tx.CertificateBy(issuer, shown.X509.SerialNumber.Bytes())
		return err
	})
	if errors.Is(err, store.ErrNone) || err == nil && c.SPKI != hashOf(shown.X509.RawSubjectPublicKeyInfo) {
		return nil, unknown
	}
	return c, err
}
