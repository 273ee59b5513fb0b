package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

type serveFlags struct {
	gatewayFlags
	allow      []string
	clientAuth string
	// What comes with the authority.
	advertise []string
	joinOut   string
	lifetime  string
}

func (a *app) serveCommand() *cobra.Command {
	var s serveFlags
	c := &cobra.Command{
		Use:   "serve NAME --to ADDR --allow RULE,… --cert FILE --key FILE --client-ca FILE",
		Short: "Take mutual TLS in, and carry it to a plain service",
		Long: `serve takes mutual TLS in and carries it to a plain service behind it. Callers
prove themselves by a certificate of one of the authorities in --client-ca, and a
rule of --allow lets them in:

  web                   the DNS name in the certificate
  *.example.com         any one label in the place of the star
  spiffe://prod/web     a whole SPIFFE ID

The files are read again when they change: certificate and key both, or neither.`,
		Example: `  mutual serve orders --to 127.0.0.1:8080 --allow web \
         --cert orders.crt --key orders.key --client-ca ca.crt
  mutual serve site --to unix:/run/site.sock --client-auth none \
         --cert site.crt --key site.key --listen :443`,
		Args: exactly("the NAME of the service"),
		RunE: func(_ *cobra.Command, args []string) error { return a.serve(args[0], &s) },
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&s.to, "to", "", "the plain service: HOST:PORT or unix:PATH")
	f.StringSliceVar(&s.allow, "allow", nil, "who may come in; see above")
	f.StringVar(&s.cert, "cert", "", "our certificate, and its intermediates behind it (PEM)")
	f.StringVar(&s.key, "key", "", "its private key (PEM)")
	f.StringVar(&s.ca, "client-ca", "", "the authorities of callers (PEM)")
	f.StringVar(&s.clientAuth, "client-auth", "", "whether callers show a certificate: none, request or require (default require)")
	oneOf(c, "client-auth", "none", "request", "require")
	s.register(c, ":8443")
	f.StringSliceVar(&s.advertise, "advertise", nil, "address that callers are given (needs an authority)")
	f.StringVar(&s.joinOut, "join-out", "", "file for join lines (needs an authority)")
	f.StringVar(&s.lifetime, "lifetime", "", "lifetime of our certificate (needs an authority)")
	return c
}

func (a *app) serve(name string, s *serveFlags) error {
	name, err := identity.CleanDNS(name)
	if err != nil {
		return usage("the name of the service: %w", err)
	}
	switch {
	case len(s.advertise) > 0:
		return needsAuthority("--advertise")
	case s.joinOut != "":
		return needsAuthority("--join-out")
	case s.lifetime != "":
		return needsAuthority("--lifetime")
	case s.to == "":
		return usage("serve needs --to: the address of the plain service, as in --to 127.0.0.1:8080")
	case s.cert == "" || s.key == "":
		return usage("serve needs a certificate: give --cert FILE and --key FILE (an authority that makes them comes with a later version)")
	}
	if s.clientAuth == "" {
		s.clientAuth = "require"
	}
	switch s.clientAuth {
	case "none":
		if len(s.allow) > 0 {
			return usage("--client-auth none asks nobody for a name, so --allow can't be held to; leave one of them out")
		}
	case "request", "require":
		if s.ca == "" {
			return usage("callers can't be verified without authorities: give --client-ca FILE, or ask for no certificates with --client-auth none")
		}
		if s.clientAuth == "require" && len(s.allow) == 0 {
			return usage("nobody is let in: say who may come with --allow, as in --allow web")
		}
	default:
		return usage("--client-auth is %q; it can be none, request or require", s.clientAuth)
	}
	log := a.logger()
	hangup := hangups()
	if s.clientAuth == "none" && s.ca != "" {
		log.Warn("--client-auth none asks nobody for a certificate: --client-ca has no use, and anybody comes in")
		s.ca = ""
	}
	cfg, err := s.check(name, log)
	if err != nil {
		return err
	}
	wrap := func(v mtls.Verifier) mtls.Verifier { return v }
	if len(s.allow) > 0 {
		rules, err := policy.Parse(s.allow, "")
		if err != nil {
			return usage("--allow: %w", err)
		}
		wrap = func(v mtls.Verifier) mtls.Verifier { return mtls.Allow(v, rules) }
	}
	live, err := open(credential.Files{Cert: s.cert, Key: s.key, CA: s.ca}, wrap)
	if err != nil {
		return err
	}
	if err := live.Valid(now()); err != nil {
		log.Warn(err.Error())
	}
	if leaf := live.Leaf(); !leaf.StandsFor(name) {
		log.Warn(fmt.Sprintf("the certificate in %s is for %s, and not for %s: callers who ask for %s will refuse it", s.cert, names(leaf.Names()), name, name))
	}
	warnKey(s.key, log)
	callers := map[string]string{
		"none":    "anybody: no certificate is asked for",
		"request": "anybody without a certificate; with one of " + s.ca + ": " + allowed(s.allow),
		"require": "certificates of " + s.ca + ": " + allowed(s.allow),
	}[s.clientAuth]
	if s.dryRun {
		a.lines([2]string{"would serve", name + " on " + cfg.Listen.String()}, [2]string{"carried to", cfg.To.String()},
			[2]string{"certificate", until(live)}, [2]string{"callers", callers})
		return a.happened(describe(cfg, name, live, nil))
	}
	common, keylog, err := s.common(log)
	if err != nil {
		return err
	}
	if keylog != nil {
		defer keylog.Close()
	}
	cfg.Ready = func() error { return live.Valid(now()) }
	g, err := gateway.Serve(cfg, func(refused func(net.Addr, *mtls.Refusal)) (*mtls.Server, error) {
		sc := mtls.ServerConfig{Identity: live.Identity, ALPN: s.alpn, Refused: refused, Common: common}
		switch s.clientAuth {
		case "none":
			sc.Clients = mtls.Anonymous()
		case "request":
			sc.Clients = mtls.Optional(live.Verifier)
		default:
			sc.Clients = mtls.Required(live.Verifier)
		}
		return mtls.NewServer(sc)
	})
	if err != nil {
		return fail(exitFailed, err)
	}
	a.lines([2]string{"serving", name + " on " + g.Addr().String()}, [2]string{"carried to", cfg.To.String()},
		[2]string{"certificate", until(live)}, [2]string{"callers", callers}, healthLine(g))
	return a.runGateway(g, live, log, hangup, describe(cfg, name, live, g))
}

func allowed(rules []string) string {
	if len(rules) == 0 {
		return "any"
	}
	return strings.Join(rules, ", ")
}

func healthLine(g *gateway.Gateway) [2]string {
	if h, ok := g.HealthAddr(); ok {
		return [2]string{"health", "http://" + h.String() + "/readyz"}
	}
	return [2]string{}
}
