package ca

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/failpoint"
	"github.com/mutual-tls/mutual/internal/join"
)

// A token is good for an hour unless told, and a month at the most: it lies around
// meanwhile.
const (
	tokenLifetime = time.Hour
	tokenLongest  = 30 * 24 * time.Hour
)

// NewToken makes a token that lets its holder enrol once. The authority keeps its
// hash.
func (a *Authority) NewToken(ctx context.Context, q api.TokenRequest) (join.Token, time.Time, error) {
	k, err := a.newToken(q)
	if err != nil {
		return join.Token{}, time.Time{}, err
	}
	var token join.Token
	if _, err := io.ReadFull(a.options.Random, token[:]); err != nil {
		return join.Token{}, time.Time{}, fmt.Errorf("there is no randomness for a token: %w", err)
	}
	k.Hash = token.Hash()
	failpoint.At("ca-token-1-checked")
	if err := a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error { return tx.AddToken(k) }); err != nil {
		return join.Token{}, time.Time{}, err
	}
	failpoint.At("ca-token-2-recorded")
	return token, k.Expires, nil
}

func (a *Authority) newToken(q api.TokenRequest) (*store.Token, error) {
	names, err := checkNames(q.Name, q.Names)
	if err != nil {
		return nil, err
	}
	if q.Service != "" {
		if clean, err := identity.CleanDNS(q.Service); err != nil || clean != q.Service {
			return nil, problem(422, code.OutsideProfile, "the service %s is not a DNS name in lower case", identity.Quote(q.Service))
		}
	}
	life := seconds(q.Lifetime)
	if q.Lifetime == 0 {
		life = tokenLifetime
	}
	if life <= 0 || life > tokenLongest {
		return nil, problem(422, code.OutsideProfile, "a token for %v is asked for, expected 1s to %v", life, tokenLongest)
	}
	now := a.moment()
	return &store.Token{Name: q.Name, Names: names, Service: q.Service, Made: now, Expires: now.Add(life)}, nil
}

// Join spends a token. The first key that comes with it is certified; the same key
// is answered alike until the token expires, since an answer may be lost; another
// key is refused, and raises an alarm.
func (a *Authority) Join(ctx context.Context, token join.Token, csr []byte, wish time.Duration) (*api.Issued, error) {
	life, err := lifetime(wish)
	if err != nil {
		return nil, err
	}
	r, err := a.readRequest(csr)
	if err != nil {
		return nil, err
	}
	hash := token.Hash()
	defer a.hold(hash[:])()
	return a.settle(ctx, func() (*store.Certificate, error) { return a.join(ctx, hash, r, life) })
}

// settle makes an answer of what f comes to. Where f finds that somebody else was
// faster it looks again, and then sees what they did.
func (a *Authority) settle(ctx context.Context, f func() (*store.Certificate, error)) (*api.Issued, error) {
	c, err := f()
	if errors.Is(err, store.ErrConflict) {
		c, err = f()
	}
	if err != nil {
		return nil, err
	}
	return a.answer(ctx, c)
}

func (a *Authority) join(ctx context.Context, hash [32]byte, r *request, life time.Duration) (*store.Certificate, error) {
	var k *store.Token
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		k, err = tx.Token(hash)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNone):
		return nil, problem(403, code.TokenUnknown, "the token is not one of this authority's")
	case err != nil:
		return nil, err
	case k.SPKI != nil && string(k.SPKI) != string(r.hash[:]):
		return nil, a.twoKeys(ctx, k)
	case a.now().After(k.Expires):
		return nil, problem(403, code.TokenExpired, "the token for %q expired at %s", k.Name, stamp(k.Expires))
	case k.SPKI != nil:
		return a.again(ctx, func(tx *store.Tx) (*store.Intent, error) { return tx.FirstOf(k.Lineage) })
	}
	l := &store.Lineage{Name: k.Name, Names: k.Names, Service: k.Service}
	return a.begin(ctx, l, r, life, func(tx *store.Tx, now time.Time) error { return tx.SpendToken(hash, r.hash, l.ID, now) })
}

// twoKeys refuses a token that comes with a second key, and raises the alarm.
func (a *Authority) twoKeys(ctx context.Context, k *store.Token) error {
	alarm := &api.Alarm{At: a.moment(), Code: string(code.TokenOtherKey), Name: k.Name,
		Words: fmt.Sprintf("one token, two keys: the token for %q was used, and came again with another key", k.Name)}
	if err := a.alarm(ctx, alarm, fmt.Sprintf("%x", k.Hash), nil); err != nil {
		return err
	}
	return problem(403, code.TokenOtherKey, "the token for %q was used already, with another key", k.Name)
}

// alarm puts an alarm on record, and what else belongs to the same moment.
func (a *Authority) alarm(ctx context.Context, alarm *api.Alarm, about string, also func(*store.Tx) error) error {
	err := a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		return tx.AddAlarm(alarm, about)
	})
	if err == nil {
		a.log.Error(alarm.Words, "code", alarm.Code, "name", alarm.Name, "serial", alarm.Serial)
	}
	return err
}

// again is the certificate of an intent, which somebody asks for once more.
func (a *Authority) again(ctx context.Context, find func(*store.Tx) (*store.Intent, error)) (*store.Certificate, error) {
	var in *store.Intent
	var c *store.Certificate
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if in, err = find(tx); err != nil || in.Pending {
			return err
		}
		c, err = tx.Certificate(in.ID)
		return err
	})
	if err == nil && in.Pending {
		return a.resume(ctx, in) // its signature failed, or the record of it
	}
	return c, err
}
