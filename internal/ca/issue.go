package ca

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/failpoint"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// order is what is to be certified, after its request was checked.
type order struct {
	profile     *signing.Profile
	name        string
	names       []string // more of them
	spki        []byte
	hash        [sha256.Size]byte // of spki
	lifetime    time.Duration
	lineage     string // "" for what is of no lineage
	predecessor int64  // 0: none
	// claim takes what the certificate uses up, in the transaction that records the
	// intent.
	claim func(*store.Tx, time.Time) error
}

// issue takes an order through the steps of the design: build, judge, record,
// sign, record. What it answers with is on record.
func (a *Authority) issue(ctx context.Context, o *order) (*store.Certificate, error) {
	now, err := a.time()
	if err != nil {
		return nil, err
	}
	end := now.Truncate(time.Second).Add(o.lifetime)
	if limit := a.issuer.Certificate.NotAfter(); end.After(limit) {
		return nil, problem(422, code.OutsideProfile, "the certificate would end at %s, after its issuer, which ends at %s", stamp(end), stamp(limit))
	}
	grant, err := a.grant(o.name, o.names)
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-issue-1-checked")

	tbs, serial, err := a.build(o, grant, now, end)
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-issue-2-built")

	judged, err := a.issuer.Judge(o.profile, *grant, tbs)
	if err != nil {
		return nil, problem(422, code.LintRefused, "%s", err.Error())
	}
	failpoint.At("ca-issue-3-judged")

	// From here on it goes to its end, whether the asker waits or not.
	ctx = context.WithoutCancel(ctx)
	in := &store.Intent{Profile: o.profile.Name, Issuer: a.issuerID, Serial: serial.Bytes(), TBS: tbs, SPKI: o.hash,
		Name: o.name, Lineage: o.lineage, Predecessor: o.predecessor, At: now}
	leave, err := judged.Record(func() error {
		return a.store.Update(ctx, func(tx *store.Tx) error {
			if used, err := tx.KeyUsed(o.hash); err != nil {
				return err
			} else if used {
				return problem(422, code.KeyNotAccepted, "the key was certified before, and each certificate has a key of its own")
			}
			if o.claim != nil {
				if err := o.claim(tx, now); err != nil {
					return err
				}
			}
			return tx.AddIntent(in)
		})
	})
	if err != nil {
		return nil, err
	}
	a.signedAt(now)
	failpoint.At("ca-issue-4-recorded")
	return a.finish(ctx, in, leave)
}

// build makes the bytes to be signed.
func (a *Authority) build(o *order, grant *signing.Grant, now, end time.Time) ([]byte, *big.Int, error) {
	serial, err := newSerial(a.options.Random)
	if err != nil {
		return nil, nil, err
	}
	subject := signing.Name("")
	if len(o.name) <= 64 { // RFC 5280, appendix A: ub-common-name
		subject = signing.Name(o.name)
	}
	by := a.issuer.Certificate.X509
	t := &signing.Template{Profile: o.profile, Serial: serial, Issuer: by.RawSubject, Subject: subject,
		NotBefore: now.Truncate(time.Second).Add(-signing.Backdate), NotAfter: end, SPKI: o.spki,
		DNS: grant.DNS, IPs: grant.IPs, SPIFFE: grant.SPIFFE, AuthorityKeyID: by.SubjectKeyId, Algorithm: a.issuer.Algorithm()}
	tbs, err := t.Bytes()
	return tbs, serial, err
}

// finish signs what is on record as an intent, and records the certificate. Where
// the lineage was revoked meanwhile, so is the certificate, and nobody gets it.
func (a *Authority) finish(ctx context.Context, in *store.Intent, leave *signing.Leave) (*store.Certificate, error) {
	der, err := a.issuer.Sign(leave)
	if err != nil {
		return nil, err
	}
	c, err := pki.Parse(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate that was just signed does not parse: %w", err)
	}
	failpoint.At("ca-issue-5-signed")
	var out *store.Certificate
	err = a.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.AddCertificate(in, der, c.NotBefore(), c.NotAfter()); err != nil {
			return err
		}
		if in.Lineage != "" {
			l, err := tx.Lineage(in.Lineage)
			if err != nil {
				return err
			}
			if l.State == api.StateRevoked {
				if err := tx.Revoke(in.ID, a.moment(), "its lineage was revoked while it was issued"); err != nil {
					return err
				}
			}
		}
		var err error
		out, err = tx.Certificate(in.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-issue-6-recorded")
	if out.RevokedAt != nil {
		a.changes.bump()
	}
	return out, nil
}

// recover finishes what was recorded and not signed when the last process ended.
func (a *Authority) recover(ctx context.Context) error {
	var pending []*store.Intent
	if err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		pending, err = tx.Pending()
		return err
	}); err != nil {
		return err
	}
	for _, in := range pending {
		if _, err := a.resume(ctx, in); err != nil {
			return fmt.Errorf("the certificate %x of %q was about to be signed when the authority ended, and can't be finished: %w", in.Serial, in.Name, err)
		}
		a.log.Warn("finished a certificate that was about to be signed when the authority ended", "name", in.Name, "serial", fmt.Sprintf("%x", in.Serial))
	}
	return nil
}

// resume judges recorded bytes again, and finishes them.
func (a *Authority) resume(ctx context.Context, in *store.Intent) (*store.Certificate, error) {
	if in.Issuer != a.issuerID {
		return nil, errors.New("its issuer is not the one in use")
	}
	profile := signing.ProfileNamed(in.Profile)
	if profile == nil || profile.CA {
		return nil, fmt.Errorf("its profile %q is not one of a leaf", in.Profile)
	}
	var names []string
	if in.Lineage != "" {
		if err := a.store.View(ctx, func(tx *store.Tx) error {
			l, err := tx.Lineage(in.Lineage)
			if err == nil {
				names = l.Names
			}
			return err
		}); err != nil {
			return nil, err
		}
	}
	grant, err := a.grant(in.Name, names)
	if err != nil {
		return nil, err
	}
	judged, err := a.issuer.Judge(profile, *grant, in.TBS)
	if err != nil {
		return nil, err
	}
	leave, err := judged.Record(func() error { return nil }) // it was read from there
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-recover-1-judged")
	return a.finish(context.WithoutCancel(ctx), in, leave)
}

// lifetime holds a wish to the profile of leaves.
func lifetime(wish time.Duration) (time.Duration, error) {
	p := signing.Leaf
	if wish == 0 {
		return p.Lifetime, nil
	}
	if wish < p.Shortest || wish > p.Longest {
		return 0, problem(422, code.OutsideProfile, "a lifetime of %s is asked for, and the profile %q allows %s to %s", clock.Words(wish), p.Name, clock.Words(p.Shortest), clock.Words(p.Longest))
	}
	return wish.Truncate(time.Second), nil
}

// seconds is a number of seconds that somebody wrote down, as a duration that
// can't overflow.
func seconds(n int64) time.Duration {
	const most = int64(1<<62) / int64(time.Second)
	return time.Duration(min(max(n, -1), most)) * time.Second
}

// newLineage is the identifier of a new lineage.
func newLineage(random io.Reader) (string, error) {
	b := make([]byte, 12)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("there is no randomness for a lineage: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// answer is what the holder of a certificate on record is told. What may not be
// given to anybody any more is refused.
func (a *Authority) answer(ctx context.Context, c *store.Certificate) (*api.Issued, error) {
	if err := refuseState(c); err != nil {
		return nil, err
	}
	s, err := a.Statement(ctx)
	if err != nil {
		return nil, err
	}
	return &api.Issued{Domain: a.domain, Name: c.Name, Service: c.Service, Lineage: c.Lineage, IssuedAt: c.IssuedAt,
		Chain: [][]byte{c.DER, a.issuer.Certificate.Raw}, Statement: s}, nil
}

// refuseState refuses what was revoked or frozen.
func refuseState(c *store.Certificate) error {
	switch {
	case c.RevokedAt != nil || c.State == api.StateRevoked:
		return problem(403, code.LineageRevoked, "the identity %q (serial number %x) was revoked", c.Name, c.Serial)
	case c.State == api.StateFrozen:
		return frozen(c.Name)
	}
	return nil
}

func frozen(name string) error {
	return problem(403, code.LineageFrozen, "the identity %q is frozen: one of its certificates was renewed twice, with two keys", name)
}

// Issue certifies a key for software that brings its own TLS, as the head of a new
// lineage. Whoever asks may: the door that the question came by saw to that.
func (a *Authority) Issue(ctx context.Context, q api.IssueRequest) (*api.Issued, error) {
	names, err := checkNames(q.Name, q.Names)
	if err != nil {
		return nil, err
	}
	life, err := lifetime(seconds(q.Lifetime))
	if err != nil {
		return nil, err
	}
	r, err := a.readRequest(q.CSR)
	if err != nil {
		return nil, err
	}
	c, err := a.begin(ctx, &store.Lineage{Name: q.Name, Names: names}, r, life, nil)
	if err != nil {
		return nil, err
	}
	return a.answer(ctx, c)
}

// begin issues the first certificate of a new lineage.
func (a *Authority) begin(ctx context.Context, l *store.Lineage, r *request, life time.Duration, claim func(*store.Tx, time.Time) error) (*store.Certificate, error) {
	grant, err := a.grant(l.Name, l.Names)
	if err != nil {
		return nil, err
	}
	if err := r.within(grant); err != nil {
		return nil, err
	}
	if l.ID, err = newLineage(a.options.Random); err != nil {
		return nil, err
	}
	l.State = api.StateValid
	return a.issue(ctx, &order{profile: signing.Leaf, name: l.Name, names: l.Names, spki: r.spki, hash: r.hash, lifetime: life, lineage: l.ID,
		claim: func(tx *store.Tx, now time.Time) error {
			l.Made = now
			if err := tx.AddLineage(l); err != nil || claim == nil {
				return err
			}
			return claim(tx, now)
		}})
}

// Serving makes a fresh leaf for the authority's own door, with a key that is in
// memory only. The chain has the root at its end: a joiner knows the root's hash,
// and not yet the root.
//
// The key is on P-256, for it is good for a day; but under an issuer of ML-DSA it
// is of that kind, too, so that who joins such an authority is not told whom to
// trust under a weaker one.
func (a *Authority) Serving(ctx context.Context) (chain [][]byte, key crypto.Signer, err error) {
	keyType := defaultKeyType
	if t := keystore.TypeOf(a.issuer.Certificate.Key.Key); strings.HasPrefix(t, "mldsa") {
		keyType = t
	}
	if key, err = keystore.NewKey(keyType); err != nil {
		return nil, nil, err
	}
	spki, err := suite.MarshalPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	p := signing.Serving
	left := a.issuer.Certificate.NotAfter().Sub(a.now()).Truncate(time.Second)
	c, err := a.issue(ctx, &order{profile: p, name: api.NameAuthority, spki: spki, hash: sha256.Sum256(spki), lifetime: min(p.Lifetime, left)})
	if err != nil {
		return nil, nil, err
	}
	return [][]byte{c.DER, a.issuer.Certificate.Raw, a.root.Raw}, key, nil
}
