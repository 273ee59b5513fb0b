package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/internal/host"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// What serve and connect do where an authority makes their certificates.

const (
	minLifetime = 30 * time.Second
	maxLifetime = 90 * 24 * time.Hour
)

// checkIdentity checks what is asked of an authority.
func (g *gatewayFlags) checkIdentity() error {
	if g.keyType != "" {
		if err := keystore.CheckKeyType(g.keyType); err != nil {
			return usage("--identity-key: %w", err)
		}
	}
	if g.lifetime != 0 && (g.lifetime < minLifetime || g.lifetime > maxLifetime) {
		return usage("--lifetime is %s; it can be %s to %s (90 days)", clock.Words(g.lifetime), clock.Words(minLifetime), clock.Words(maxLifetime))
	}
	return nil
}

// oursNeedNoNews refuses to fetch what an authority of ours tells by itself.
func (g *gatewayFlags) oursNeedNoNews() error {
	if g.revocation == "soft" || g.revocation == "hard" {
		return usage("--revocation %s fetches the news of other people's authorities, and goes with PEM files; an authority of ours tells its own within seconds, with nothing to set", g.revocation)
	}
	return nil
}

func (a *app) agentOptions(g *gatewayFlags, log *slog.Logger) (agent.Options, error) {
	data, err := a.dataFolder()
	if err == nil {
		err = ownFolder(data)
	}
	return agent.Options{Data: data, Lifetime: g.lifetime, KeyType: g.keyType, Log: log, Clock: now}, err
}

// readLine reads a join line from the argument, from a file, or, for "-", from
// standard input.
func readLine(argument, file string) (*join.Line, error) {
	text := argument
	if file == "" && argument == "-" {
		file = "-"
	}
	if file != "" {
		from := os.Stdin
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return nil, fail(exitFailed, fmt.Errorf("the join line can't be read: %w", err))
			}
			defer f.Close()
			from = f
		}
		b, err := io.ReadAll(io.LimitReader(from, 1<<16))
		if err != nil {
			return nil, fail(exitFailed, fmt.Errorf("the join line can't be read: %w", err))
		}
		text = string(b)
		clear(b)
	}
	l, err := join.Parse(text)
	if err != nil {
		return nil, usage("the join line can't be used: %w (%s)", err, code.JoinLineDamaged)
	}
	return l, nil
}

// startTime is how long joining may take; a renewal at a start is not waited for
// any longer either.
const startTime = 30 * time.Second

// joined makes or finds the identity of a line.
func (a *app) joined(ctx context.Context, l *join.Line, o agent.Options) (*agent.Agent, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	id, err := agent.Join(ctx, l, o)
	if err != nil {
		return nil, ofAuthority(err)
	}
	return usable(ctx, id)
}

// usable is an identity that is fresh, or can become so; one that was revoked is
// not served with.
func usable(ctx context.Context, id *agent.Agent) (*agent.Agent, error) {
	id.Freshen(ctx)
	if err := id.Ended(); err != nil {
		return nil, ofAuthority(err)
	}
	return id, nil
}

// keeping keeps a joined gateway's identity fresh, judges what stands again when
// trust changes, and, where this machine has the authority, sees that it is served.
func keeping(g *gateway.Gateway, id *agent.Agent, hosted *host.Host) func(context.Context) {
	return func(ctx context.Context) {
		var all sync.WaitGroup
		changed := id.Changed() // taken before anything can change
		all.Go(func() { id.Run(ctx) })
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-changed:
				}
				// The next change is awaited before this one is acted on: none is missed.
				changed = id.Changed()
				g.Recheck(ctx)
			}
		})
		if hosted != nil {
			all.Go(func() { hosted.Run(ctx) })
		}
		all.Wait()
		_ = id.Close()
	}
}

// stopsWith says that the authority stops with this process, where it does.
func stopsWith(id *agent.Agent, hosted *host.Host) func() string {
	return func() string {
		if hosted == nil || !hosted.Hosting() {
			return ""
		}
		return "the authority of " + id.Domain() + " stops with this process: certificates live to their ends, and `mutual ca`, or another `mutual serve` on this folder, serves it on"
	}
}

// hostConfig is the authority of this machine, started where nobody serves it. Its
// flags go to the child.
func (a *app) hostConfig(f *caFlags, log *slog.Logger) (host.Config, error) {
	dir, err := a.caFolder()
	if err != nil {
		return host.Config{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return host.Config{}, fail(exitFailed, err)
	}
	command := append([]string{self, "ca", "--data", filepath.Dir(dir), "--log", a.log, "--until-stdin-ends"}, f.args()...)
	if a.verbose {
		command = append(command, "--verbose")
	}
	return host.Config{Folder: dir, Command: command, Stderr: a.err, Log: log}, nil
}

// leafOf is the certificate of an identity, nil for none.
func leafOf(id *agent.Agent) *pki.Certificate {
	if id == nil {
		return nil
	}
	return id.Leaf()
}

// isMissing says that there is no such identity.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
