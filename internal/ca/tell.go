package ca

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/store"
	"github.com/mutual-tls/mutual/pki"
)

// Certificates are the heads of all lineages that have not ended for good; or with
// all every certificate that was ever issued, the authority's own leaves included.
func (a *Authority) Certificates(ctx context.Context, all bool) ([]api.Certificate, error) {
	now := a.now()
	out := []api.Certificate{}
	err := a.store.View(ctx, func(tx *store.Tx) error {
		read := tx.Heads
		if all {
			read = tx.Certificates
		}
		found, err := read()
		for _, c := range found {
			if all || now.Before(c.NotAfter.Add(RenewGrace)) {
				out = append(out, a.tell(c, now))
			}
		}
		return err
	})
	return out, err
}

func (a *Authority) tell(c *store.Certificate, now time.Time) api.Certificate {
	out := api.Certificate{Name: c.Name, Names: append([]string{c.Name}, c.Names...), Serial: fmt.Sprintf("%x", c.Serial),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Lineage: c.Lineage, Head: c.Head, State: api.StateValid,
		Issuer: a.issuer.Certificate.X509.Subject.CommonName, RevokedAt: c.RevokedAt}
	if id, err := identity.NewSPIFFE(a.domain, c.Name); err == nil {
		out.SPIFFE = id.String()
	}
	switch {
	case c.RevokedAt != nil || c.State == api.StateRevoked:
		out.State = api.StateRevoked
	case c.State == api.StateFrozen:
		out.State = api.StateFrozen
	case now.After(c.NotAfter):
		out.State = api.StateExpired
	}
	return out
}

// NameInfo says whether a name ever enrolled, and whether a token for it waits.
func (a *Authority) NameInfo(ctx context.Context, name string) (api.NameInfo, error) {
	out := api.NameInfo{Name: name}
	err := a.store.View(ctx, func(tx *store.Tx) error {
		lineages, err := tx.LineagesOf(name)
		if err != nil {
			return err
		}
		out.Joined = len(lineages) > 0
		out.Waiting, err = tx.Waiting(name, a.now())
		return err
	})
	return out, err
}

// warnBefore is how long before the end of an authority's certificate people are
// told.
const warnBefore = 90 * 24 * time.Hour

// maxAlarms bounds the alarms that a status shows.
const maxAlarms = 100

// Status says how the authority is. Its addresses are for the server to add.
func (a *Authority) Status(ctx context.Context) (api.Status, error) {
	now := a.now()
	a.trust.RLock()
	number := a.number
	a.trust.RUnlock()
	s := api.Status{Domain: a.domain, Root: fmt.Sprintf("%x", a.root.SHA256), RootPEM: string(certificatePEM(a.root.Raw)), Started: a.started,
		Authority: []string{}, Process: os.Getpid(), KeyType: a.keyType, Statement: number, Alarms: []api.Alarm{}, Warnings: []string{}}
	var own []*store.Authority
	err := a.store.View(ctx, func(tx *store.Tx) (err error) {
		if s.Lineages, s.Valid, s.Revoked, err = tx.Counts(now); err != nil {
			return err
		}
		alarms, err := tx.Alarms(maxAlarms)
		if err != nil {
			return err
		}
		s.Alarms = append(s.Alarms, alarms...)
		own, err = tx.Authorities()
		return err
	})
	if err != nil {
		return api.Status{}, err
	}
	for _, o := range own {
		c, err := pki.Parse(o.DER)
		if err != nil {
			return api.Status{}, fmt.Errorf("%w: a certificate of the authority's own does not parse: %w", ErrStore, err)
		}
		s.Issuers = append(s.Issuers, api.CAStatus{Subject: c.X509.Subject.CommonName, Role: o.Role, Serial: c.Serial(),
			NotAfter: c.NotAfter(), SHA256: fmt.Sprintf("%x", c.SHA256)})
		a.warn(&s, o, c, now)
	}
	return s, nil
}

// warn adds what people should know of a certificate of the authority's own. The
// name of a root's key is looked at, never its contents.
func (a *Authority) warn(s *api.Status, o *store.Authority, c *pki.Certificate, now time.Time) {
	switch left := c.NotAfter().Sub(now); {
	case left < 0:
		s.Warnings = append(s.Warnings, fmt.Sprintf("the %s %s ended at %s", o.Role, c.Label(), stamp(c.NotAfter())))
	case left < warnBefore:
		s.Warnings = append(s.Warnings, fmt.Sprintf("the %s %s ends in %d days, at %s; nothing that it signs outlives it", o.Role, c.Label(), int(left.Hours()/24), stamp(c.NotAfter())))
	}
	if o.Role != "root" || o.KeyFile == "" {
		return
	}
	path := filepath.Join(a.options.Folder, o.KeyFile)
	if here(path) {
		s.Warnings = append(s.Warnings, fmt.Sprintf("the key of %s lies unencrypted on this machine, in %s; keep it where no network is, or make the next authority with --passphrase-file", c.Label(), path))
	} else if c.Equal(a.root) {
		s.Encrypted = here(path + fileEncrypted)
	}
}
