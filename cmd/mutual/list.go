package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
)

func (a *app) listCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List who is enrolled, and until when",
		Args:  exactly(),
		RunE: func(c *cobra.Command, _ []string) error {
			admin, err := a.administer()
			if err != nil {
				return err
			}
			list, err := admin.Certificates(c.Context(), all)
			if err != nil {
				return a.ofAdmin(err)
			}
			return a.printCertificates(list)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "every certificate that was ever issued, and not the latest of each identity alone")
	return c
}

func (a *app) revokeCommand() *cobra.Command {
	r := &api.RevokeRequest{}
	c := &cobra.Command{
		Use:   "revoke NAME | SERIAL",
		Short: "Take certificates back",
		Long: `revoke takes back every certificate of a name, or the one with a serial number, or
those of a lineage. Its holder can't renew it, and gateways refuse it within
seconds. The name can be enrolled anew with a new token.`,
		Example: `  mutual revoke web
  mutual revoke 4f2a19c0…
  mutual revoke --lineage 7be1… --reason "laptop lost"`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && r.Lineage != "" {
				return nil
			}
			return exactly("a NAME or SERIAL, or --lineage ID")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				if r.Target = args[0]; r.Lineage != "" {
					return usage("revoke takes a name or serial number, or --lineage, and not both")
				}
			}
			admin, err := a.administer()
			if err != nil {
				return err
			}
			list, err := admin.Revoke(c.Context(), r)
			if err != nil {
				return a.ofAdmin(err)
			}
			return a.printCertificates(list)
		},
	}
	c.Flags().StringVar(&r.Lineage, "lineage", "", "take back the certificates of this lineage")
	c.Flags().StringVar(&r.Reason, "reason", "", "why, in words, for the record")
	return c
}

func (a *app) printCertificates(list []api.Certificate) error {
	if a.json {
		if list == nil {
			list = []api.Certificate{}
		}
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tUNTIL\tSERIAL\tLINEAGE")
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", identity.Plain(c.Name), c.State, c.NotAfter.UTC().Format(time.RFC3339), c.Serial, c.Lineage)
	}
	return w.Flush()
}
