package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
)

func (a *app) caStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say how the authority is",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := a.administer()
			if err != nil {
				return err
			}
			s, err := admin.Status(c.Context())
			if err != nil {
				return a.ofAdmin(err)
			}
			if a.json {
				return a.printJSON(s)
			}
			a.tellStatus(s)
			return nil
		},
	}
}

func (a *app) tellStatus(s *api.Status) {
	row := func(name, value string) { fmt.Fprintf(a.out, "%-14s  %s\n", name, value) }
	row("trust domain", s.Domain)
	row("reached at", strings.Join(s.Authority, ", "))
	row("process", fmt.Sprintf("%d, since %s", s.Process, s.Started.UTC().Format(time.RFC3339)))
	key := "not encrypted"
	if s.Encrypted {
		key = "encrypted"
	}
	row("key type", s.KeyType)
	row("root", s.Root)
	row("root's key", key)
	row("statement", fmt.Sprintf("number %d", s.Statement))
	for _, c := range s.Issuers {
		row(c.Role, fmt.Sprintf("%s, until %s, serial %s", c.Subject, c.NotAfter.UTC().Format("2006-01-02"), c.Serial))
	}
	row("certificates", fmt.Sprintf("%d valid, %d revoked; lineages: %d", s.Valid, s.Revoked, s.Lineages))
	for _, w := range s.Warnings {
		row("warning", w)
	}
	for _, w := range s.Alarms {
		row("ALARM", fmt.Sprintf("%s  %s (%s)", w.At.UTC().Format(time.RFC3339), w.Words, w.Code))
	}
}

func (a *app) caAnnounceCommand() *cobra.Command {
	var passphrase, keyType string
	c := &cobra.Command{
		Use:   "announce",
		Short: "Make a second root, and tell everybody to trust it too",
		Long: `announce opens the root's key, makes a second root with it, and has the authority
tell a statement of anchors that both have signed. Agents take no other statement:
whoever holds an issuer's key alone can't replace the root.`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if keyType != "" {
				if err := keystore.CheckKeyType(keyType); err != nil {
					return usage("--key-type: %w", err)
				}
			}
			dir, err := a.caFolder()
			if err != nil {
				return err
			}
			admin, err := a.administer()
			if err != nil {
				return err
			}
			// Not without an authority that would tell it.
			if _, err := admin.Status(c.Context()); err != nil {
				return a.ofAdmin(err)
			}
			o := ca.Options{Folder: dir, KeyType: keyType, Clock: clock.Now, Log: a.logger()}
			if passphrase != "" {
				if o.Passphrase, err = readPassphrase(passphrase); err != nil {
					return fail(exitFailed, err)
				}
				defer clear(o.Passphrase)
			}
			statement, err := ca.NewRoot(c.Context(), o)
			if err != nil {
				return fail(exitFailed, err)
			}
			s, err := admin.Announce(c.Context(), statement)
			if err != nil {
				return a.ofAdmin(err)
			}
			if a.json {
				return a.printJSON(s)
			}
			a.tellStatus(s)
			return nil
		},
	}
	c.Flags().StringVar(&keyType, "key-type", "", "the kind of the new root's key: "+keyTypes()+" (default: as the authority's first root)")
	c.Flags().StringVar(&passphrase, "passphrase-file", "", "file with the passphrase of the root's key, and for the new one's")
	return c
}

// exitOf is the exit code of an error: refused, unreachable, or failed.
func exitOf(err error) int {
	var p *api.Problem
	if errors.As(err, &p) {
		switch code.Code(p.Code) {
		case code.AuthorityDown, code.AuthorityBusy:
			return exitUnreachable
		case code.JoinLineDamaged:
			return exitUsage
		case code.NotTheAuthority, code.TokenUnknown, code.TokenExpired, code.TokenOtherKey, code.LineageFrozen, code.LineageRevoked,
			code.RenewalTooLate, code.NotTheHolder, code.NotAllowedToEnrol, code.NameNotGranted, code.NameReserved,
			code.KeyNotAccepted, code.StatementRefused:
			return exitRefused
		}
		return exitFailed
	}
	if r, ok := mtls.RefusalOf(err); ok {
		if r.Fault == mtls.Network {
			return exitUnreachable
		}
		return exitRefused
	}
	return exitFailed
}

// writePEM writes a file that is its owner's alone.
func writePEM(dir, name string, b []byte) error {
	return folder.Write(filepath.Join(dir, name), b)
}
