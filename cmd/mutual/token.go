package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/folder"
)

func (a *app) tokenCommand() *cobra.Command {
	var service, out string
	var names []string
	var lifetime time.Duration
	c := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a join line, with which NAME can enrol once",
		Long: `token makes a join line: whoever uses it first, with 'mutual connect' or the
library, becomes NAME. It is a secret until it is used or has expired: it is shown
on a terminal, or written to a file with --out, and nowhere else.

What is to serve needs no --service: 'mutual serve NAME --join-file FILE' takes the
line instead of making an authority.`,
		Example: `  mutual token web --service orders
  mutual token web --service orders --out web.join
  mutual token api --names api.example.com,10.0.0.7 --lifetime 24h --out api.join`,
		Args: exactly("the NAME to enrol"),
		RunE: func(c *cobra.Command, args []string) error {
			r := &api.TokenRequest{Service: service, Names: trimmed(names), Lifetime: int64(lifetime / time.Second)}
			var err error
			if r.Name, err = identity.CleanDNS(args[0]); err != nil {
				return usage("the name to enrol: %w", err)
			}
			if service != "" {
				if r.Service, err = identity.CleanDNS(service); err != nil {
					return usage("--service: %w", err)
				}
			}
			if lifetime < time.Second {
				return usage("--lifetime is %v; a token lives for a second at least", lifetime)
			}
			if out == "" && !isTerminal(a.out) {
				return usage("a join line is a secret, and standard output is no terminal: give --out FILE")
			}
			admin, err := a.administer()
			if err != nil {
				return err
			}
			made, err := admin.Token(c.Context(), r)
			if err != nil {
				return a.ofAdmin(err)
			}
			return a.giveLine(r, made, out)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&service, "service", "", "the service that NAME is to reach with 'mutual connect'")
	f.StringSliceVar(&names, "names", nil, "more DNS names and IP addresses for its certificate")
	f.DurationVar(&lifetime, "lifetime", time.Hour, "how long the line can be used")
	f.StringVar(&out, "out", "", "write the line to this file (0600)")
	return c
}

func (a *app) giveLine(r *api.TokenRequest, made *api.TokenMade, out string) error {
	if out != "" {
		if err := folder.Write(out, []byte(made.Line+"\n")); err != nil {
			return fail(exitFailed, err)
		}
	}
	if a.json {
		v := map[string]any{"name": r.Name, "service": r.Service, "expires": made.Expires}
		if out != "" {
			v["file"] = out
		} else {
			v["line"] = made.Line
		}
		return a.printJSON(v)
	}
	left := clock.Words(rounded(made.Expires.Sub(clock.Now())))
	if out != "" {
		use := fmt.Sprintf("mutual connect --join-file %s --listen ADDR", out)
		if r.Service == "" { // it calls nobody that we know of
			use = fmt.Sprintf("mutual serve %s --to ADDR --allow RULE --join-file %s", r.Name, out)
		}
		fmt.Fprintf(a.err, "a join line for %s is in %s, good for %s and one use: %s\n", r.Name, out, left, use)
		return nil
	}
	fmt.Fprintf(a.err, "a join line for %s, good for %s and one use:\n", r.Name, left)
	_, err := fmt.Fprintln(a.out, made.Line)
	return err
}

// rounded is a time that is left, as exactly as people want to know.
func rounded(d time.Duration) time.Duration {
	if d > 2*time.Minute {
		return d.Round(time.Minute)
	}
	return d.Round(time.Second)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func trimmed(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
