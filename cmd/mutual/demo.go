package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/internal/demo"
)

func (a *app) demoCommand() *cobra.Command {
	var once bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine",
		Long: `demo starts two plain HTTP services and puts mutual TLS between them by the two
commands, serve and connect, each part a process of its own, each machine a folder.
Requests go through while certificates renew themselves; callers who should not come
in, and a join line that leads to a stranger, are refused, and both ends say why.
It prints the lines to try it with curl and openssl, and stays up for that until
Ctrl-C. Nothing needs to be installed, only loopback is used, and nothing is left
behind.`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			program, err := os.Executable()
			if err != nil {
				return fail(exitFailed, err)
			}
			ctx, stop := untilStopped()
			defer stop()
			if err := demo.Run(ctx, demo.Options{Program: program, Out: a.out, JSON: a.json, Colour: a.colour(a.out), Once: once}); err != nil {
				return fail(exitFailed, err)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&once, "once", false, "end with the story, instead of staying up")
	c.AddCommand(a.demoService(), a.demoKeep())
	return c
}

// demoService is the process of a plain service.
func (a *app) demoService() *cobra.Command {
	var orders string
	c := &cobra.Command{
		Use:    "service NAME",
		Short:  "A plain service of the demo",
		Hidden: true,
		Args:   exactly("the NAME of the service"),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := untilStopped()
			defer stop()
			if err := demo.Service(ctx, args[0], orders, a.out); err != nil {
				return fail(exitFailed, err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&orders, "orders", "", "where web asks for orders: http://HOST:PORT")
	return c
}

// demoKeep is the process that tidies up.
func (a *app) demoKeep() *cobra.Command {
	return &cobra.Command{
		Use:    "keep",
		Short:  "Tidy up when the demo is gone",
		Hidden: true,
		Args:   exactly(),
		RunE: func(*cobra.Command, []string) error {
			if err := demo.Keep(os.Stdin, a.out); err != nil {
				return fail(exitFailed, err)
			}
			return nil
		},
	}
}

// untilStopped is a context that ends on the first signal to stop.
func untilStopped() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if s, ok := <-signals; ok {
			cancel(errors.New("stopped on " + s.String()))
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel(nil)
	}
}
