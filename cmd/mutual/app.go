package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/explain"
	"github.com/mutual-tls/mutual/internal/folder"
)

// app is what all commands share.
type app struct {
	out, err io.Writer
	json     bool
	log      string
	data     string
	verbose  bool
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "mutual",
		Short: "Mutual TLS made whole",
		Long: `mutual puts mutual TLS between services: both ends are proven, and every
refusal says why.

  A$ mutual serve orders --to 127.0.0.1:8080 --allow web     prints a join line for web
  B$ mutual connect '<join line>' --listen 127.0.0.1:9000

  mutual explain orders.example:8443     what a handshake says, in words
  mutual demo                            the whole story on one machine`,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				return usage("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
			}
			return usage("there is no command %q; mutual --help lists them", args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.SetOut(a.out)
	c.SetErr(a.err)
	f := c.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "one JSON value on standard output, words to standard error")
	f.StringVar(&a.log, "log", "text", "how to log to standard error: text or json")
	oneOf(c, "log", "text", "json")
	f.BoolVarP(&a.verbose, "verbose", "v", false, "log connections that go well, too")
	f.StringVar(&a.data, "data", "", "folder of the authority and of identities (default: /var/lib/mutual for root, else $XDG_STATE_HOME/mutual)")
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := noneEmpty(c.Flags()); err != nil {
			return err
		}
		if a.log != "text" && a.log != "json" {
			return usage("--log is %q; it can be text or json", a.log)
		}
		return nil
	}
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage("%v; %s --help lists the flags", err, c.CommandPath())
	})
	c.CompletionOptions.DisableDefaultCmd = true // ours has its place in the order
	c.AddCommand(a.commands()...)
	return c
}

// commands are all of them, in the order that help shows.
func (a *app) commands() []*cobra.Command {
	cobra.EnableCommandSorting = false
	return []*cobra.Command{a.serveCommand(), a.connectCommand(), a.caCommand(), a.tokenCommand(), a.issueCommand(), a.listCommand(), a.revokeCommand(), a.explainCommand(), a.inspectCommand(), a.verifyCommand(), a.trustCommand(), a.demoCommand(), a.completionCommand(), a.versionCommand()}
}

// complain tells a failure in one sentence.
func (a *app) complain(f *failure) {
	prefix := "mutual: "
	if a.colour(a.err) {
		prefix = "\x1b[31mmutual:\x1b[0m "
	}
	fmt.Fprintln(a.err, prefix+worded(f))
}

// worded is a failure in one sentence, with the code of a folder's or an address's
// trouble: those who meet it do not know it, and a command that mends is to stand at the end.
func worded(f *failure) string {
	text := f.Error()
	var unsafe *folder.Unsafe
	var unwritten *folder.Unwritten
	switch {
	case errors.As(f, &unsafe):
		return strings.Replace(text, unsafe.Path+" is", fmt.Sprintf("%s (%s) is", unsafe.Path, code.FolderRefused), 1)
	case errors.As(f, &unwritten):
		return fmt.Sprintf("%s (%s)", text, code.FolderUnwritten)
	case errors.Is(f, syscall.EADDRINUSE):
		return fmt.Sprintf("%s (%s)", text, code.AddressInUse)
	}
	return text
}

// printJSON prints one JSON value on standard output.
func (a *app) printJSON(v any) error { return explain.WriteJSON(a.out, v) }

// colour is whether w is a terminal whose user wants colour.
func (a *app) colour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

func (a *app) logger() *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if a.verbose {
		o.Level = slog.LevelDebug
	}
	if a.log == "json" {
		return slog.New(slog.NewJSONHandler(a.err, o))
	}
	return slog.New(slog.NewTextHandler(a.err, o))
}

// noneEmpty refuses a flag that is given as "": most often a script has forgotten to
// set a variable, and to go on without the flag is to do something else than was
// meant.
func noneEmpty(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		list, ok := f.Value.(pflag.SliceValue)
		if v := f.Value; err == nil && (v.Type() == "string" && v.String() == "" || ok && len(list.GetSlice()) == 0) {
			err = usage("--%s is empty; give it a value, or leave it out", f.Name)
		}
	})
	return err
}

// exactly is a check of arguments whose error says which are missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s needs %s; %s --help shows how", c.CommandPath(), strings.Join(names[len(args):], " and "), c.CommandPath())
		case len(args) > len(names):
			takes := "no argument"
			if len(names) > 0 {
				takes = strings.Join(names, " and ") + " alone"
			}
			return usage("%s takes %s, and %q is one too many", c.CommandPath(), takes, args[len(names)])
		}
		return nil
	}
}
