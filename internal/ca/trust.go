package ca

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/failpoint"
	"github.com/mutual-tls/mutual/pki"
)

// Statement is the statement of anchors in force.
func (a *Authority) Statement(context.Context) (api.Statement, error) {
	a.trust.RLock()
	defer a.trust.RUnlock()
	return a.statement, nil
}

// Announce puts another statement of anchors in force. It comes from the roots, by
// a ceremony; the authority, which has no root's key, can only hand it on, and
// refuses what agents would refuse.
func (a *Authority) Announce(ctx context.Context, s api.Statement) error {
	refuse := func(format string, args ...any) error {
		return problem(422, code.StatementRefused, format, args...)
	}
	now := a.moment()
	a.trust.Lock()
	defer a.trust.Unlock()
	inForce, err := anchors(&a.statement)
	if err != nil {
		return err
	}
	v, err := s.Verify(a.domain, inForce, now)
	switch {
	case err != nil:
		return refuse("%s", err.Error())
	case v.Number <= a.number:
		return refuse("the statement has the number %d, and number %d is in force", v.Number, a.number)
	case !slices.ContainsFunc(v.Roots, a.root.Equal):
		return refuse("the statement leaves out %s, which the issuer in use stands under", a.root.Label())
	}
	failpoint.At("ca-announce-1-checked")
	keys := maps.Clone(a.keys)
	err = a.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		own, err := tx.Authorities()
		if err != nil {
			return err
		}
		for _, r := range v.Roots {
			if slices.ContainsFunc(own, func(o *store.Authority) bool { return o.SHA256 == r.SHA256 }) {
				continue
			}
			spki := hashOf(r.X509.RawSubjectPublicKeyInfo)
			if err := tx.AddAuthority(&store.Authority{Role: "root", DER: r.Raw, SHA256: r.SHA256, SPKI: spki, KeyFile: a.keyFileOf(r), Made: now}); err != nil {
				return err
			}
			keys[spki] = true
		}
		return tx.AddStatement(v.Number, s, now)
	})
	if errors.Is(err, store.ErrConflict) {
		return refuse("a new root of the statement has the key of an authority on record, or its number was taken meanwhile")
	}
	if err != nil {
		return err
	}
	failpoint.At("ca-announce-2-recorded")
	a.statement, a.number, a.keys = s, v.Number, keys
	a.changes.bump()
	return nil
}

// anchors are the roots of the statement in force, which was verified before it
// came into force.
func anchors(s *api.Statement) ([]*pki.Certificate, error) {
	var a api.Anchors
	if err := json.Unmarshal(s.Signed, &a); err != nil {
		return nil, fmt.Errorf("%w: the statement in force does not parse: %w", ErrStore, err)
	}
	return pki.ParseChain(a.Roots)
}

// keyFileOf is where the key of a root lies that a ceremony made here, "" for one
// that came from elsewhere. Ceremonies leave the certificate beside the key.
func (a *Authority) keyFileOf(root *pki.Certificate) string {
	files, err := filepath.Glob(filepath.Join(a.options.Folder, "root-*.crt"))
	if err != nil {
		return ""
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if c, err := pki.ParsePEM(b); err == nil && len(c) == 1 && c[0].Equal(root) {
			return strings.TrimSuffix(filepath.Base(f), ".crt") + ".key"
		}
	}
	return ""
}

func hashOf(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }
