package main

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
)

type connectFlags struct {
	gatewayFlags
	serverName string
	// What comes with the authority.
	service, joinFile string
}

func (a *app) connectCommand() *cobra.Command {
	var s connectFlags
	c := &cobra.Command{
		Use:   "connect JOIN --listen ADDR",
		Short: "Take plain connections in, and carry them over mutual TLS",
		Long: `connect takes plain connections in and carries each over mutual TLS to a service,
which must prove its name. JOIN is a join line, as 'mutual serve' and 'mutual token'
print it, or - to read it from standard input: it says who we become, and what we
reach. It is used once; later the same command finds the identity on disk.

With --to and PEM files no authority is asked: the server must prove its name by an
authority in --server-ca (without it: one that this system trusts). The files are
read again when they change: certificate and key both, or neither.

Where the server refuses us, or can't prove itself, the plain side sees its
connection break, and the log says why.`,
		Example: `  mutual connect 'mutual+join:1/web/orders/…' --listen 127.0.0.1:9000
  mutual connect --join-file web.join --listen 127.0.0.1:9000
  mutual connect --to orders.example:8443 --listen 127.0.0.1:9000 \
         --cert web.crt --key web.key --server-ca ca.crt
  mutual connect --to 10.0.0.7:8443 --server-name orders --listen unix:/run/orders.sock \
         --cert web.crt --key web.key --server-ca ca.crt`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			line := ""
			if len(args) == 1 {
				line = args[0]
			}
			return a.connect(c.Context(), line, &s)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	s.register(c, "")
	f.StringVar(&s.service, "service", "", "another service to reach than the one that the line names")
	f.StringVar(&s.joinFile, "join-file", "", "file with the join line; - is standard input")
	f.StringVar(&s.to, "to", "", "the server: HOST:PORT")
	f.StringVar(&s.serverName, "server-name", "", "the name that it must prove (default: the host of --to)")
	f.StringVar(&s.cert, "cert", "", "our certificate, and its intermediates behind it (PEM)")
	f.StringVar(&s.key, "key", "", "its private key (PEM)")
	f.StringVar(&s.ca, "server-ca", "", "the authorities of the server (PEM; default: the system's)")
	return c
}

func (a *app) connect(ctx context.Context, line string, s *connectFlags) error {
	pem := s.to != "" || s.cert != "" || s.key != "" || s.ca != "" || s.serverName != ""
	joining := line != "" || s.joinFile != ""
	switch {
	case s.listen == "":
		return usage("connect needs --listen: where plain connections come in, as in --listen 127.0.0.1:9000")
	case joining && pem:
		return usage("a join line does without --to, --server-name and PEM files; give one or the other")
	case line != "" && s.joinFile != "":
		return usage("the join line is given twice: as an argument and as --join-file")
	case joining:
		return a.connectJoined(ctx, line, s)
	case s.service != "":
		return usage("--service goes with a join line: give it as an argument, or with --join-file")
	case s.lifetime != 0 || s.keyType != "":
		return usage("--lifetime and --identity-key are for certificates that an authority makes, and go with a join line")
	case s.to == "":
		return usage("connect needs a join line, or --to: the server to reach, as in --to orders.example:8443")
	case (s.cert == "") != (s.key == ""):
		return usage("a certificate and its key come together: give both --cert and --key, or neither")
	}
	return a.connectPEM(s)
}

func (a *app) connectPEM(s *connectFlags) error {
	log := a.logger()
	hangup := hangups()
	cfg, err := s.check(s.serverName, log)
	if err != nil {
		return err
	}
	if s.serverName == "" {
		if cfg.To.Network == "unix" {
			return usage("a server behind a Unix socket has no host name: give --server-name, the name that it must prove")
		}
		s.serverName, _, _ = net.SplitHostPort(cfg.To.Address)
	}
	name, err := identity.Parse(s.serverName)
	if err != nil {
		return usage("--server-name: %w", err)
	}
	cfg.Name = name.String()
	news, err := a.newsOf(&s.gatewayFlags, log)
	if err != nil {
		return err
	}
	defer news.close()
	live, err := open(credential.Files{Cert: s.cert, Key: s.key, CA: s.ca, CRLs: s.crls, Revocation: news.revocation()}, nil)
	if err != nil {
		return err
	}
	if err := live.Valid(now()); err != nil {
		log.Warn(err.Error())
	}
	warnUsage(live.Leaf(), s.cert, x509.ExtKeyUsageClientAuth, log)
	warnKey(s.key, log)
	trust := s.ca
	if trust == "" {
		trust = "the authorities that this system trusts"
	}
	if s.dryRun {
		a.lines([2]string{"would listen on", cfg.Listen.String()}, [2]string{"and reach", cfg.Name + " at " + cfg.To.String()},
			[2]string{"proven by", trust}, [2]string{"shown to it", until(live.Leaf())}, news.line())
		return a.happened(describe(cfg, cfg.Name, live.Leaf(), nil).knowing(news))
	}
	common, keylog, err := s.common(log)
	if err != nil {
		return err
	}
	if keylog != nil {
		defer keylog.Close()
	}
	common.Beside.OCSP = news != nil // what the server has to show counts, too
	cc := mtls.ClientConfig{
		Servers: mtls.SystemTrust(), ALPN: s.alpn, Resumption: &mtls.ClientResumption{}, PostHandshakeAuth: true, Common: common,
	}
	switch {
	case live.Verifier != nil:
		cc.Servers = live.Verifier
	case news != nil:
		cc.Servers = mtls.WithRevocation(cc.Servers, news.judge)
	}
	if live.Identity != nil {
		cc.Identity = live.Identity
	}
	client, err := mtls.NewClient(cc)
	if err != nil {
		return fail(exitFailed, err)
	}
	cfg.Ready = func() error { return live.Valid(now()) }
	g, err := gateway.Connect(cfg, gateway.At(cfg.To, client, cfg.Name))
	if err != nil {
		return fail(exitFailed, err)
	}
	shown := until(live.Leaf())
	if shown == "" {
		shown = "nothing"
	}
	a.lines([2]string{"listening on", g.Addr().String()}, [2]string{"reaching", cfg.Name + " at " + cfg.To.String()},
		[2]string{"proven by", trust}, [2]string{"shown to it", shown}, news.line(), healthLine(g))
	news.tell(log)
	return a.runGateway(context.Background(), g, log, running{keep: watching(g, live, news, log, hangup), ready: describe(cfg, cfg.Name, live.Leaf(), g).knowing(news)})
}

// connectJoined reaches a service by its name, as whom the line makes.
func (a *app) connectJoined(ctx context.Context, line string, s *connectFlags) error {
	if err := s.checkIdentity(); err != nil {
		return err
	}
	if err := s.oursNeedNoNews(); err != nil {
		return err
	}
	log := a.logger()
	s.to = "127.0.0.1:1" // not used: the authority knows where
	cfg, err := s.check("", log)
	if err != nil {
		return err
	}
	l, err := readLine(line, s.joinFile)
	if err != nil {
		return err
	}
	service := l.Service
	if s.service != "" {
		if service, err = identity.CleanDNS(s.service); err != nil {
			return usage("--service: %w", err)
		}
	}
	if service == "" {
		return usage("the join line names no service to reach: give --service NAME")
	}
	cfg.Name = service
	options, err := a.agentOptions(&s.gatewayFlags, log)
	if err != nil {
		return err
	}
	if s.dryRun {
		return a.dryConnect(l, service, cfg, options)
	}
	hangups() // everything is followed as it changes: there is nothing to read again
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	common, keylog, err := s.common(log)
	if err != nil {
		return err
	}
	if keylog != nil {
		defer keylog.Close()
	}
	id, err := a.joined(ctx, l, options)
	if err != nil {
		return err
	}
	client, err := mtls.NewClient(mtls.ClientConfig{
		Identity: id.Identity(), Servers: id.Server(), ALPN: s.alpn, Resumption: &mtls.ClientResumption{}, PostHandshakeAuth: true, Common: common,
	})
	if err != nil {
		return fail(exitFailed, err)
	}
	cfg.Ready = id.Valid
	g, err := gateway.Connect(cfg, gateway.Target{Name: service, Where: service, Recheck: client.Recheck,
		Reach: func(ctx context.Context) (*mtls.Conn, error) { return id.Reach(ctx, client, service) }})
	if err != nil {
		return fail(exitFailed, err)
	}
	where := "not known yet"
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	if addresses, err := id.Addresses(asking, service); err == nil && len(addresses) > 0 {
		where = "at " + strings.Join(addresses, ", ")
	} else if err != nil {
		log.Warn("it is not known yet where " + service + " is: " + err.Error())
	}
	cancel()
	a.lines([2]string{"listening on", g.Addr().String()}, [2]string{"reaching", service + ", " + where},
		[2]string{"proven by", "the authority of " + id.Domain()}, [2]string{"shown to it", until(id.Leaf())}, healthLine(g))
	ready := describe(cfg, service, id.Leaf(), g)
	ready.To, ready.Domain = "", id.Domain()
	return a.runGateway(ctx, g, log, running{keep: keeping(g, id, nil), ready: ready})
}

// dryConnect says what would be made and asked, and makes nothing.
func (a *app) dryConnect(l *join.Line, service string, cfg gateway.Config, o agent.Options) error {
	own := "would be asked for at " + strings.Join(l.Authority, ", ") + " with the line's token, and kept in " + o.Data
	id, ok := agent.Find(l, o)
	if ok {
		own = "is in " + id.Folder() + ": " + until(id.Leaf())
	}
	a.lines([2]string{"would listen on", cfg.Listen.String()}, [2]string{"and reach", service}, [2]string{"as", l.Name},
		[2]string{"certificate", own})
	planned := describe(cfg, service, leafOf(id), nil)
	planned.To = ""
	return a.happened(planned)
}

func now() time.Time { return clock.Now() }
