package main

import (
	"context"
	"crypto/fips140"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
	"github.com/mutual-tls/mutual/pki"
)

// gatewayFlags are what serve and connect both take.
type gatewayFlags struct {
	listen, to       string
	cert, key, ca    string
	crls             []string
	revocation       string
	alpn             []string
	health, announce string
	keylog           string
	dryRun           bool
	drain, idle      time.Duration
	handshake, grace time.Duration
	connections      int
	lifetime         time.Duration // of certificates that an authority makes
	keyType          string        // of their keys
}

func (g *gatewayFlags) register(c *cobra.Command, listen string) {
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&g.listen, "listen", listen, "where to listen: HOST:PORT, :PORT or unix:PATH")
	f.StringSliceVar(&g.alpn, "alpn", nil, "application protocols to agree on, preferred first; none is agreed on else")
	f.DurationVar(&g.drain, "drain", 30*time.Second, "how long connections may take to end after a stop")
	f.DurationVar(&g.handshake, "handshake-timeout", 10*time.Second, "how long a handshake may take")
	f.DurationVar(&g.idle, "idle-timeout", 0, "how long a connection may stand still; 0 is for ever")
	f.DurationVar(&g.grace, "grace", 30*time.Second, "from the end of a peer's certificate to the end of its connection")
	f.IntVar(&g.connections, "max-connections", 0, "carry at most so many at once; the next ones wait")
	f.DurationVar(&g.lifetime, "lifetime", 0, "how long our certificates are good for, with an authority (default 24h; 30s to 2160h)")
	f.StringVar(&g.keyType, "identity-key", "", "the kind of our keys, with an authority: "+keyTypes()+" (default: as it was, p256 at first)")
	f.StringArrayVar(&g.crls, "crl", nil, "with PEM files: what the peers' authorities have revoked (PEM or DER; several times for several)")
	f.StringVar(&g.revocation, "revocation", "off", "with PEM files: fetch news of revocations by the side, from where the peers' certificates\nsay: off, soft (whom nobody knows about passes) or hard (is refused)")
	oneOf(c, "revocation", revocationNames...)
	f.StringVar(&g.health, "health", "", "answer /healthz and /readyz at this address")
	f.StringVar(&g.announce, "announce", "", "write where we listen to this file, as JSON, when ready")
	f.StringVar(&g.keylog, "keylog", "", "write every connection's secrets to this file (debugging alone)")
	f.BoolVar(&g.dryRun, "dry-run", false, "say what would be done, and do nothing")
}

// check answers with the config that the flags make.
func (g *gatewayFlags) check(name string, log *slog.Logger) (gateway.Config, error) {
	cfg := gateway.Config{Name: name, Drain: g.drain, Idle: g.idle, MaxConnections: g.connections, Announce: g.announce, Log: log}
	for _, d := range []struct {
		flag string
		v    time.Duration
		zero bool
	}{{"--drain", g.drain, true}, {"--idle-timeout", g.idle, true}, {"--grace", g.grace, true}, {"--handshake-timeout", g.handshake, false}} {
		if d.v < 0 || d.v == 0 && !d.zero {
			return cfg, usage("%s is %v; it must be longer than nothing", d.flag, d.v)
		}
	}
	if g.connections < 0 {
		return cfg, usage("--max-connections is %d; 0 is no limit, and less makes no sense", g.connections)
	}
	if len(g.crls) > 0 && g.ca == "" {
		return cfg, usage("--crl is what authorities have revoked, and none were given: give --client-ca (serve) or --server-ca (connect); an authority of ours needs no lists")
	}
	if _, _, err := revocationMode(g.revocation); err != nil {
		return cfg, err
	}
	for i, p := range g.alpn {
		if g.alpn[i] = strings.TrimSpace(p); g.alpn[i] == "" {
			return cfg, usage("--alpn names an empty protocol; write for example --alpn http/1.1")
		}
	}
	var err error
	if cfg.To, err = gateway.ParseAddress(g.to); err != nil {
		return cfg, usage("--to: %w", err)
	}
	if host, _, _ := strings.Cut(cfg.To.Address, ":"); cfg.To.Network == "tcp" && (host == "" || strings.HasSuffix(cfg.To.Address, ":0")) {
		return cfg, usage("--to %s does not say whom to reach; write HOST:PORT", g.to)
	}
	if cfg.Listen, err = gateway.ParseAddress(g.listen); err != nil {
		return cfg, usage("--listen: %w", err)
	}
	if g.health != "" {
		a, err := gateway.ParseAddress(g.health)
		if err != nil {
			return cfg, usage("--health: %w", err)
		}
		cfg.Health = &a
	}
	if fips140.Enforced() {
		return cfg, usage("GODEBUG=fips140=only refuses the primitives that TLS is made of here; start without it")
	}
	return cfg, nil
}

// common is what both roles of mtls are told.
func (g *gatewayFlags) common(log *slog.Logger) (mtls.Common, io.Closer, error) {
	limits := mtls.DefaultLimits()
	limits.HandshakeTime, limits.Grace = g.handshake, g.grace
	if g.grace == 0 {
		limits.Grace = -1 // none
	}
	c := mtls.Common{
		Limits: &limits, Clock: now, Renewal: &mtls.Renewal{Renewed: renewed(log)},
		Compression: mtls.Compression{Algorithms: brotli.All()}, // browsers offer brotli alone
	}
	if g.keylog == "" {
		return c, nil, nil
	}
	f, err := os.OpenFile(g.keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return c, nil, fail(exitFailed, fmt.Errorf("--keylog: %w", err))
	}
	if st, err := f.Stat(); err == nil && st.Mode().Perm()&0o077 != 0 && st.Mode().IsRegular() {
		_ = f.Close()
		return c, nil, fail(exitFailed, fmt.Errorf("--keylog: others may read %s, and it is to hold every secret: chmod 600 %s", g.keylog, g.keylog))
	}
	log.Warn("EVERY SECRET OF EVERY CONNECTION IS WRITTEN TO "+g.keylog+": whoever reads it reads all traffic", "file", g.keylog)
	c.KeyLog = f
	return c, f, nil
}

// renewed logs how renewals of connections go. One that fails leaves the connection
// as it is, and whoever is not ours renews nothing.
func renewed(log *slog.Logger) func(*mtls.Conn, error) {
	return func(c *mtls.Conn, err error) {
		p, _ := c.Peer()
		attrs := []any{"peer", identity.Plain(p.Name()), "remote", c.RemoteAddr().String()}
		if err != nil {
			log.Debug("connection not renewed: "+err.Error(), attrs...)
			return
		}
		log.Debug("connection renewed", attrs...)
	}
}

// warn tells what is unwise about a key's file.
func warnKey(keyFile string, log *slog.Logger) {
	if keyFile == "" {
		return
	}
	for _, w := range keystore.Warnings(keyFile) {
		log.Warn(w, "file", keyFile)
	}
}

// open reads the PEM files. What they lack is a usage error: nothing else that
// the user could wait for would mend it.
func open(f credential.Files, wrap func(mtls.Verifier) mtls.Verifier) (*credential.Live, error) {
	l, err := credential.Open(f, wrap)
	if err != nil {
		return nil, fail(exitFailed, fmt.Errorf("%w (%s)", err, code.BadFiles))
	}
	return l, nil
}

// warnUsage tells that a certificate is none for the side that shows it: no peer will
// take it.
func warnUsage(leaf *pki.Certificate, file string, want x509.ExtKeyUsage, log *slog.Logger) {
	if leaf == nil || len(leaf.X509.ExtKeyUsage)+len(leaf.X509.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.X509.ExtKeyUsage, want) || slices.Contains(leaf.X509.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return
	}
	name, peers := "serverAuth", "callers"
	if want == x509.ExtKeyUsageClientAuth {
		name, peers = "clientAuth", "servers that ask for it"
	}
	e, _ := code.Lookup(code.WrongUsage)
	log.Warn(fmt.Sprintf("the certificate in %s has extended key usages, and not %s: %s will refuse it", file, name, peers), "code", string(e.Code),
		"mend", "have one issued with "+name)
}

// running is what goes on beside a gateway's traffic.
type running struct {
	// keep keeps identity and trust fresh as long as anything stands: who is
	// trusted no more is not to outlive that in a drain.
	keep func(context.Context)
	// with, if not nil, says what stops with this process, "" for nothing.
	with func() string
	// ready is told when the gateway is.
	ready happening
}

// runGateway carries traffic until a signal: the first begins to drain, the
// second cuts. One that came while the gateway started, and ended starting, was
// the first.
func (a *app) runGateway(starting context.Context, g *gateway.Gateway, log *slog.Logger, r running) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals, now := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if starting.Err() != nil {
		signals <- os.Interrupt
	}
	if err := a.happened(r.ready); err != nil { // not before a signal means a drain
		return fail(exitFailed, err)
	}
	go func() {
		s := <-signals
		log.Info("stopping on " + s.String() + "; once more cuts what still stands")
		if r.with != nil {
			if what := r.with(); what != "" {
				log.Warn(what)
			}
		}
		stop()
		<-signals
		close(now)
	}()
	keeping, over := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() {
		r.keep(keeping)
		close(kept)
	}()
	err := g.Run(ctx, now)
	over()
	<-kept
	if err != nil {
		return fail(exitFailed, err)
	}
	return a.happened(happening{Event: "stopped"})
}

// happening is a line of --json: what a gateway would do, does, and has ended.
type happening struct {
	Event    string   `json:"event"` // planned, ready, stopped
	Name     string   `json:"name,omitempty"`
	Listen   []string `json:"listen,omitempty"`
	To       string   `json:"to,omitempty"`
	Health   []string `json:"health,omitempty"`
	Domain   string   `json:"domain,omitempty"`
	Names    []string `json:"names,omitempty"` // of our certificate
	NotAfter string   `json:"not_after,omitempty"`
	// Revocation is what is fetched, and what was there already.
	Revocation *newsState `json:"revocation,omitempty"`
}

// describe is the happening of a gateway; g is nil where it is only planned, leaf
// where there is no certificate, or none yet.
func describe(cfg gateway.Config, name string, leaf *pki.Certificate, g *gateway.Gateway) happening {
	h := happening{Event: "planned", Name: name, Listen: []string{cfg.Listen.String()}, To: cfg.To.String()}
	if g != nil {
		h.Event, h.Listen = "ready", []string{g.Addr().String()}
		if at, ok := g.HealthAddr(); ok {
			h.Health = []string{at.String()}
		}
	}
	if leaf != nil {
		h.Names, h.NotAfter = leaf.Names(), leaf.NotAfter().UTC().Format(time.RFC3339)
	}
	return h
}

// happened prints one line, with --json alone.
func (a *app) happened(h happening) error {
	if !a.json {
		return nil
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	return e.Encode(h)
}

// watching keeps what came from PEM files as the files say, and what stands as the
// news do.
func watching(g *gateway.Gateway, live *credential.Live, n *news, log *slog.Logger, hangup <-chan os.Signal) func(context.Context) {
	return func(ctx context.Context) {
		var both sync.WaitGroup
		if n != nil {
			both.Go(func() { n.follow(ctx, g.Recheck) })
		}
		live.Watch(ctx, time.Second, hangup, log, func() { g.Recheck(ctx) })
		both.Wait()
	}
}

// knowing is what a gateway tells of itself, with what it knows of revocations.
func (h happening) knowing(n *news) happening {
	h.Revocation = n.state()
	return h
}

// lines prints what a gateway is about to do, aligned, to standard error.
func (a *app) lines(pairs ...[2]string) {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p[0]))
	}
	for _, p := range pairs {
		if p[1] != "" {
			fmt.Fprintf(a.err, "%-*s  %s\n", width, p[0], p[1])
		}
	}
}

// until is when a certificate ends, in words.
func until(leaf *pki.Certificate) string {
	if leaf == nil {
		return ""
	}
	end := leaf.NotAfter().UTC().Format(time.RFC3339)
	if now().After(leaf.NotAfter()) {
		return fmt.Sprintf("%s, EXPIRED at %s", names(leaf.Names()), end)
	}
	return fmt.Sprintf("%s, valid until %s", names(leaf.Names()), end)
}

func names(list []string) string {
	clean := make([]string, len(list))
	for i, n := range list {
		clean[i] = identity.Plain(n)
	}
	if len(clean) > 4 {
		clean = append(slices.Clone(clean[:4]), fmt.Sprintf("and %d more", len(list)-4))
	}
	return strings.Join(clean, ", ")
}
