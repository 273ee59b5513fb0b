package ca

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/signing"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/failpoint"
)

// maxReason bounds the words that a person gives for the record.
const maxReason = 1000

// Revoke takes back all lineages of a name, one lineage, or one certificate by its
// serial number; the head of a lineage takes its lineage with it. It answers with
// the certificates that were taken back by it.
func (a *Authority) Revoke(ctx context.Context, q api.RevokeRequest) ([]api.Certificate, error) {
	if (q.Target == "") == (q.Lineage == "") {
		return nil, problem(400, code.RequestMalformed, "give either a name or serial number, or a lineage")
	}
	if len(q.Reason) > maxReason {
		return nil, problem(400, code.RequestMalformed, "the reason has %d bytes, expected at most %d", len(q.Reason), maxReason)
	}
	now := a.moment()
	failpoint.At("ca-revoke-1-checked")
	var taken []*store.Certificate
	err := a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		lineages, single, err := revokable(tx, q)
		if err != nil {
			return err
		}
		// A line that lies around must not bring back who was just taken out.
		for _, l := range lineages {
			if err := tx.EndTokens(l.Name, now); err != nil {
				return err
			}
		}
		for _, l := range lineages {
			if err := tx.MoveLineage(l.ID, l.State, api.StateRevoked); err != nil {
				return err
			}
			all, err := tx.CertificatesOf(l.ID)
			if err != nil {
				return err
			}
			for _, c := range all {
				// What has ended needs no revocation; the head has one, since it may renew.
				if c.RevokedAt == nil && (c.Head || !now.After(c.NotAfter)) {
					single = append(single, c)
				}
			}
		}
		for _, c := range single {
			if err := tx.Revoke(c.ID, now, q.Reason); err != nil {
				return err
			}
			if c, err = tx.Certificate(c.ID); err != nil {
				return err
			}
			taken = append(taken, c)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-revoke-2-recorded")
	a.changes.bump()
	a.log.Warn("revoked", "target", q.Target, "lineage", q.Lineage, "certificates", len(taken), "reason", q.Reason)
	if _, err := a.Lists(ctx); err != nil {
		return nil, fmt.Errorf("what was revoked is on record, and nothing of it is renewed; the list that tells others can't be signed yet: %w", err)
	}
	out := make([]api.Certificate, 0, len(taken))
	for _, c := range taken {
		out = append(out, a.tell(c, now))
	}
	return out, nil
}

// revokable finds what a request names: whole lineages, or single certificates.
func revokable(tx *store.Tx, q api.RevokeRequest) (lineages []*store.Lineage, single []*store.Certificate, err error) {
	nothing := func(format string, args ...any) error { return problem(404, code.NothingToRevoke, format, args...) }
	if q.Lineage != "" {
		l, err := tx.Lineage(q.Lineage)
		if errors.Is(err, store.ErrNone) {
			return nil, nil, nothing("there is no lineage %s", identity.Quote(q.Lineage))
		}
		if err == nil && l.State == api.StateRevoked {
			err = nothing("the lineage %s is revoked already", identity.Quote(q.Lineage))
		}
		return []*store.Lineage{l}, nil, err
	}
	all, err := tx.LineagesOf(q.Target)
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		if l.State != api.StateRevoked {
			lineages = append(lineages, l)
		}
	}
	if len(all) > 0 {
		if len(lineages) == 0 {
			err = nothing("all that %q had is revoked already", q.Target)
		}
		return lineages, nil, err
	}
	return revokableBySerial(tx, q.Target, nothing)
}

func revokableBySerial(tx *store.Tx, target string, nothing func(string, ...any) error) (lineages []*store.Lineage, single []*store.Certificate, err error) {
	serial, ok := parseSerial(target)
	if !ok {
		return nil, nil, nothing("nothing was ever issued to %s", identity.Quote(target))
	}
	found, err := tx.WithSerial(serial)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range found {
		switch {
		case c.RevokedAt != nil || c.State == api.StateRevoked:
		case c.Head:
			l, err := tx.Lineage(c.Lineage)
			if err != nil {
				return nil, nil, err
			}
			lineages = append(lineages, l)
		default:
			single = append(single, c)
		}
	}
	switch {
	case len(found) == 0:
		err = nothing("no certificate has the name or the serial number %s", identity.Quote(target))
	case len(lineages)+len(single) == 0:
		err = nothing("the certificate %s is revoked already", identity.Quote(target))
	}
	return lineages, single, err
}

// parseSerial reads a serial number as people copy it: hex, with colons or not.
func parseSerial(s string) ([]byte, bool) {
	s = strings.ReplaceAll(s, ":", "")
	if s == "" || len(s) > 64 {
		return nil, false
	}
	if len(s)%2 == 1 {
		s = "0" + s
	}
	b, err := hex.DecodeString(s)
	return new(big.Int).SetBytes(b).Bytes(), err == nil
}

// A list is signed anew every hour and at each revocation, and stands for a day,
// so that whoever can't ask for some time is not left without.
const (
	listRenewed = time.Hour
	listStands  = 24 * time.Hour
	// listKeeps is how long after its end a certificate stays on the list: longer
	// than it could have been renewed.
	listKeeps = 2 * RenewGrace
)

// Lists are the signed lists of what was revoked, one for each issuer that has
// issued anything: the one in use.
func (a *Authority) Lists(ctx context.Context) ([][]byte, error) {
	a.lists.Lock()
	defer a.lists.Unlock()
	now := a.moment()
	var last *store.List
	var count int64
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if count, err = tx.CountRevocations(a.issuerID); err != nil {
			return err
		}
		if last, err = tx.List(a.issuerID); errors.Is(err, store.ErrNone) {
			last, err = nil, nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if last != nil && last.Covers == count && now.Sub(last.At) < listRenewed && !now.Before(last.At.Add(-back)) {
		return [][]byte{last.DER}, nil
	}
	der, err := a.signList(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	a.changes.bump()
	return [][]byte{der}, nil
}

// signList takes a list through the same steps as a certificate. One that was
// recorded and not signed leaves a gap in the numbers, which only have to rise.
func (a *Authority) signList(ctx context.Context) ([]byte, error) {
	now, err := a.time()
	if err != nil {
		return nil, err
	}
	issuer := a.issuer.Certificate
	l := &store.List{Issuer: a.issuerID, At: now}
	var revoked []store.Revocation
	if err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if l.Number, err = tx.LastNumber(a.issuerID); err != nil {
			return err
		}
		l.Number++
		revoked, l.Covers, err = tx.Revocations(a.issuerID, now.Add(-listKeeps))
		return err
	}); err != nil {
		return nil, err
	}
	t := &signing.ListTemplate{Issuer: issuer.X509.RawSubject, Algorithm: a.issuer.Algorithm(), AuthorityKeyID: issuer.X509.SubjectKeyId,
		Number: l.Number, ThisUpdate: now.Add(-signing.Backdate), NextUpdate: now.Add(listStands)}
	for _, r := range revoked {
		at := r.At
		if at.After(t.ThisUpdate) { // the list begins a little before now, and tells nothing of later
			at = t.ThisUpdate
		}
		t.Revoked = append(t.Revoked, signing.Revoked{Serial: new(big.Int).SetBytes(r.Serial), At: at})
	}
	if l.TBS, err = t.Bytes(); err != nil {
		return nil, err
	}
	judged, err := a.issuer.JudgeList(l.TBS)
	if err != nil {
		return nil, err
	}
	leave, err := judged.Record(func() error {
		return a.store.Update(ctx, func(tx *store.Tx) error { return tx.AddList(l) })
	})
	if err != nil {
		return nil, err
	}
	a.signedAt(now)
	failpoint.At("ca-list-1-recorded")
	der, err := a.issuer.Sign(leave)
	if err != nil {
		return nil, err
	}
	failpoint.At("ca-list-2-signed")
	if err := a.store.Update(ctx, func(tx *store.Tx) error { return tx.SignedList(l, der) }); err != nil {
		return nil, err
	}
	failpoint.At("ca-list-3-recorded")
	return der, nil
}
