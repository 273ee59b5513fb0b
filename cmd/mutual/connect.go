package main

import (
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/gateway"
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
		Use:   "connect --to HOST:PORT --listen ADDR --cert FILE --key FILE --server-ca FILE",
		Short: "Take plain connections in, and carry them over mutual TLS",
		Long: `connect takes plain connections in and carries each over mutual TLS to a server,
which must prove its name by an authority in --server-ca (without it: one that
this system trusts). Where the server refuses us, or can't prove itself, the plain
side sees its connection break, and the log says why.

The files are read again when they change: certificate and key both, or neither.`,
		Example: `  mutual connect --to orders.example:8443 --listen 127.0.0.1:9000 \
         --cert web.crt --key web.key --server-ca ca.crt
  mutual connect --to 10.0.0.7:8443 --server-name orders --listen unix:/run/orders.sock \
         --cert web.crt --key web.key --server-ca ca.crt`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return needsAuthority("a join line")
			}
			return a.connect(&s)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&s.to, "to", "", "the server: HOST:PORT")
	f.StringVar(&s.serverName, "server-name", "", "the name that it must prove (default: the host of --to)")
	f.StringVar(&s.cert, "cert", "", "our certificate, and its intermediates behind it (PEM)")
	f.StringVar(&s.key, "key", "", "its private key (PEM)")
	f.StringVar(&s.ca, "server-ca", "", "the authorities of the server (PEM; default: the system's)")
	s.register(c, "")
	f.StringVar(&s.service, "service", "", "the service to reach by name (needs an authority)")
	f.StringVar(&s.joinFile, "join-file", "", "file with a join line (needs an authority)")
	return c
}

func (a *app) connect(s *connectFlags) error {
	switch {
	case s.service != "":
		return needsAuthority("--service")
	case s.joinFile != "":
		return needsAuthority("--join-file")
	case s.to == "":
		return usage("connect needs --to: the server to reach, as in --to orders.example:8443")
	case s.listen == "":
		return usage("connect needs --listen: where plain connections come in, as in --listen 127.0.0.1:9000")
	case (s.cert == "") != (s.key == ""):
		return usage("a certificate and its key come together: give both --cert and --key, or neither")
	}
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
	live, err := open(credential.Files{Cert: s.cert, Key: s.key, CA: s.ca}, nil)
	if err != nil {
		return err
	}
	if err := live.Valid(now()); err != nil {
		log.Warn(err.Error())
	}
	warnKey(s.key, log)
	trust := s.ca
	if trust == "" {
		trust = "the authorities that this system trusts"
	}
	if s.dryRun {
		a.lines([2]string{"would listen on", cfg.Listen.String()}, [2]string{"and reach", cfg.Name + " at " + cfg.To.String()},
			[2]string{"proven by", trust}, [2]string{"shown to it", until(live)})
		return a.happened(describe(cfg, cfg.Name, live, nil))
	}
	common, keylog, err := s.common(log)
	if err != nil {
		return err
	}
	if keylog != nil {
		defer keylog.Close()
	}
	cc := mtls.ClientConfig{Servers: mtls.SystemTrust(), ALPN: s.alpn, Common: common}
	if live.Verifier != nil {
		cc.Servers = live.Verifier
	}
	if live.Identity != nil {
		cc.Identity = live.Identity
	}
	client, err := mtls.NewClient(cc)
	if err != nil {
		return fail(exitFailed, err)
	}
	cfg.Ready = func() error { return live.Valid(now()) }
	g, err := gateway.Connect(cfg, client, cfg.Name)
	if err != nil {
		return fail(exitFailed, err)
	}
	shown := until(live)
	if shown == "" {
		shown = "nothing"
	}
	a.lines([2]string{"listening on", g.Addr().String()}, [2]string{"reaching", cfg.Name + " at " + cfg.To.String()},
		[2]string{"proven by", trust}, [2]string{"shown to it", shown}, healthLine(g))
	return a.runGateway(g, live, log, hangup, describe(cfg, cfg.Name, live, g))
}

func now() time.Time { return time.Now() }
