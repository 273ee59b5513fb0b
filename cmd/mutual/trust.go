package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/truststore/install"
)

type trustFlags struct {
	machine install.Machine
	stores  []string
}

func (a *app) trustCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Have this machine's programs trust your authority",
		Long: `trust puts an authority into the places where the programs of this machine look
for whom to trust, and takes it out again: the system's bundle (curl, OpenSSL, Go,
Python), the databases of Chromium and Firefox (NSS), and the keystores of Java.

Gateways and the library do not need it: they trust what they joined. It is for
browsers and tools that are to reach your services by their names.

What was trusted before is left as it was: a receipt says what was added, and only
that is taken out.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("trust has no %q; it has install, uninstall, list and check", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.trustInstallCommand(), a.trustUninstallCommand(), a.trustListCommand(), a.trustCheckCommand())
	return c
}

func (t *trustFlags) register(c *cobra.Command, changes bool) {
	f := c.Flags()
	f.SortFlags = false
	f.StringSliceVar(&t.stores, "store", nil, "only these kinds of stores: system, nss, java (default: all that are there)")
	oneOf(c, "store", "system", "nss", "java")
	f.StringVar(&t.machine.Root, "root", "", "a folder that stands for /: an image that is being made")
	f.StringVar(&t.machine.Home, "home", "", "the home folder whose browsers are meant (default: yours, with sudo too)")
	if changes {
		f.BoolVar(&t.machine.DryRun, "dry-run", false, "tell what would be done, and do nothing")
	}
}

// ready checks the flags and completes what they mean.
func (t *trustFlags) ready(a *app) error {
	for _, s := range t.stores {
		k := install.Kind(s)
		if !slices.Contains(install.Kinds, k) {
			return usage("--store is %q; it can be system, nss or java, several with commas", s)
		}
		t.machine.Kinds = append(t.machine.Kinds, k)
	}
	if t.machine.Root != "" {
		info, err := os.Stat(t.machine.Root)
		if err != nil || !info.IsDir() {
			return usage("--root %s is not a folder", identity.Quote(t.machine.Root))
		}
	}
	if a.data != "" {
		t.machine.Receipt = filepath.Join(a.data, "trust", "receipt.json")
	}
	return nil
}

func (a *app) trustInstallCommand() *cobra.Command {
	var t trustFlags
	c := &cobra.Command{
		Use:   "install [ROOT.crt]",
		Short: "Trust a root, wherever programs look",
		Long: `install has the stores of this machine trust the roots in a file (PEM), or without
one the root of this machine's own authority. Said again it changes nothing.

A root whose name constraints leave every DNS name open can pose as any site to this
machine: it takes --unconstrained to trust that.

With --json: an array of objects with store, place, subject, sha256, action, ours and
detail. The exit code is 1 where a store could not be changed; the others were.`,
		Example: `  sudo mutual trust install ca.crt --dry-run
  sudo mutual trust install ca.crt --unconstrained
  mutual trust install ca.crt --store nss`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := t.ready(a); err != nil {
				return err
			}
			roots, err := a.roots(args)
			if err != nil {
				return err
			}
			steps, err := t.machine.Install(c.Context(), roots...)
			var unlimited *install.Unlimited
			if errors.As(err, &unlimited) {
				return usage("%w", err)
			}
			if err == nil && !a.json {
				defer a.openAddresses(roots, t.machine.Unconstrained)
			}
			return a.trustTold(steps, err)
		},
	}
	t.register(c, true)
	c.Flags().BoolVar(&t.machine.Unconstrained, "unconstrained", false, "trust a root that can speak for every name")
	return c
}

// openAddresses says what constraints of DNS names alone leave open.
func (a *app) openAddresses(roots []*pki.Certificate, known bool) {
	for _, c := range roots {
		if _, ip := c.LimitsNames(); !ip && !known {
			fmt.Fprintf(a.err, "note: the name constraints of %s say nothing of IP addresses: it can speak for every one\n", c.Label())
		}
	}
}

func (a *app) trustUninstallCommand() *cobra.Command {
	var t trustFlags
	c := &cobra.Command{
		Use:   "uninstall [ROOT.crt]",
		Short: "Take out what install put in, and nothing else",
		Long: `uninstall takes the roots in a file, or without one all that install put in, out of
the stores. A root that was trusted before us stays trusted, and that is said.`,
		Example: `  sudo mutual trust uninstall
  sudo mutual trust uninstall ca.crt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := t.ready(a); err != nil {
				return err
			}
			var roots []*pki.Certificate
			if len(args) > 0 {
				var err error
				if roots, err = a.roots(args); err != nil {
					return err
				}
			}
			steps, err := t.machine.Uninstall(c.Context(), roots...)
			return a.trustTold(steps, err)
		},
	}
	t.register(c, true)
	return c
}

func (a *app) trustListCommand() *cobra.Command {
	var t trustFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List what install put in, and whether it is trusted still",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := t.ready(a); err != nil {
				return err
			}
			steps, err := t.machine.List(c.Context())
			return a.trustTold(steps, err)
		},
	}
	t.register(c, false)
	return c
}

func (a *app) trustCheckCommand() *cobra.Command {
	var t trustFlags
	c := &cobra.Command{
		Use:   "check [ROOT.crt]",
		Short: "Say which stores trust a root",
		Long: `check looks into every store of this machine, whoever put the root there. The exit
code is 0 where all that are there trust it, 3 where one does not, 1 where one can't
be read.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := t.ready(a); err != nil {
				return err
			}
			roots, err := a.roots(args)
			if err != nil {
				return err
			}
			steps, err := t.machine.Check(c.Context(), roots...)
			if err := a.trustTold(steps, err); err != nil {
				return err
			}
			for _, s := range steps {
				if s.Action == install.Untrusted {
					return fail(exitRefused, fmt.Errorf("%s does not trust %s; mutual trust install has it", s.Place, s.Subject))
				}
			}
			return nil
		},
	}
	t.register(c, false)
	return c
}

// roots are those of a file, or of this machine's authority.
func (a *app) roots(args []string) ([]*pki.Certificate, error) {
	var path string
	if len(args) > 0 {
		path = args[0]
	} else {
		dir := a.data
		if dir == "" {
			var err error
			if dir, err = folder.Default(); err != nil {
				return nil, fail(exitFailed, err)
			}
		}
		path = filepath.Join(dir, "ca", "ca.crt")
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(args) == 0:
		return nil, usage("there is no authority on this machine (%s is missing); name a file with the root's certificate", path)
	case err != nil:
		return nil, fail(exitFailed, err)
	}
	roots, err := pki.ParsePEM(b)
	if err == nil && len(roots) == 0 {
		err = errors.New("there is no certificate in it")
	}
	if err != nil {
		return nil, fail(exitFailed, fmt.Errorf("%s: %w", path, err))
	}
	return roots, nil
}

// trustTold tells the steps, and makes an exit code of the error.
func (a *app) trustTold(steps []install.Step, err error) error {
	if a.json {
		if steps == nil {
			steps = []install.Step{}
		}
		if err := a.printJSON(steps); err != nil {
			return fail(exitFailed, err)
		}
	} else if len(steps) > 0 {
		w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "STORE\tPLACE\tROOT\tSHA-256\tSTATE")
		for _, s := range steps {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.Store, identity.Printable(s.Place), s.Subject, s.SHA256[:16], stepState(s))
		}
		if err := w.Flush(); err != nil {
			return fail(exitFailed, err)
		}
	} else if err == nil {
		fmt.Fprintln(a.err, "nothing was put into the trust stores of this machine by mutual")
	}
	if err != nil {
		return fail(exitFailed, errors.New(strings.ReplaceAll(err.Error(), "\n", "; ")))
	}
	return nil
}

func stepState(s install.Step) string {
	state := string(s.Action)
	switch s.Action {
	case install.Already, install.Trusted:
		if s.Ours {
			state += ", by us"
		}
	}
	if s.Detail != "" {
		state += ": " + s.Detail
	}
	return state
}
