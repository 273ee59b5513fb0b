package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/internal/host"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/policy"
)

type serveFlags struct {
	gatewayFlags
	allow      []string
	clientAuth string
	earlyData  bool
	// What comes with the authority.
	authority         caFlags
	advertise         []string
	joinOut, joinFile string
}

func (a *app) serveCommand() *cobra.Command {
	var s serveFlags
	c := &cobra.Command{
		Use:   "serve NAME --to ADDR --allow RULE,…",
		Short: "Take mutual TLS in, and carry it to a plain service",
		Long: `serve takes mutual TLS in and carries it to a plain service behind it. The first
serve on a machine makes an authority there, and prints a join line for each plain
name in --allow: 'mutual connect LINE' makes its reader that name. Certificates
renew themselves. A rule of --allow says who may come in:

  web                   a name of our own trust domain
  *.example.com         any one label in the place of the star
  spiffe://prod/web     a whole SPIFFE ID

With PEM files (--cert, --key, --client-ca) no authority is made or asked: callers
prove themselves by a certificate of one of the authorities in --client-ca, and a
plain name is a DNS name in it. The files are read again when they change:
certificate and key both, or neither.`,
		Example: `  mutual serve orders --to 127.0.0.1:8080 --allow web
  mutual serve orders --to 127.0.0.1:8080 --allow web \
         --cert orders.crt --key orders.key --client-ca ca.crt
  mutual serve site --to unix:/run/site.sock --client-auth none \
         --cert site.crt --key site.key --listen :443`,
		Args: exactly("the NAME of the service"),
		RunE: func(c *cobra.Command, args []string) error { return a.serve(c.Context(), args[0], &s) },
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&s.to, "to", "", "the plain service: HOST:PORT or unix:PATH")
	f.StringSliceVar(&s.allow, "allow", nil, "who may come in; see above")
	f.StringVar(&s.clientAuth, "client-auth", "", "whether callers show a certificate: none, request or require (default require)")
	s.register(c, ":8443")
	f.BoolVar(&s.earlyData, "early-data", false, "carry a first HTTP/1.1 request that came early (0-RTT), and may be a replay, where its method is safe")
	f.StringSliceVar(&s.advertise, "advertise", nil, "addresses that callers are given, HOST:PORT (default: where it listens)")
	f.StringVar(&s.joinOut, "join-out", "", "write join lines to this file (0600)")
	f.StringVar(&s.joinFile, "join-file", "", "join by the line in this file instead of having an authority here; - is standard input")
	s.authority.register(c, "ca-listen")
	f.StringVar(&s.cert, "cert", "", "our certificate, and its intermediates behind it (PEM)")
	f.StringVar(&s.key, "key", "", "its private key (PEM)")
	f.StringVar(&s.ca, "client-ca", "", "the authorities of callers (PEM)")
	oneOf(c, "client-auth", "none", "request", "require")
	return c
}

func (a *app) serve(ctx context.Context, name string, s *serveFlags) error {
	name, err := identity.CleanDNS(name)
	if err != nil {
		return usage("the name of the service: %w", err)
	}
	pem := s.cert != "" || s.key != "" || s.ca != ""
	switch {
	case s.to == "":
		return usage("serve needs --to: the address of the plain service, as in --to 127.0.0.1:8080")
	case !pem:
	case len(s.advertise) > 0 || s.joinOut != "" || s.joinFile != "" || s.lifetime != 0 || s.keyType != "" || s.authority.given():
		return usage("--cert, --key and --client-ca do without an authority, and so without --advertise, --join-out, --join-file, --lifetime, --identity-key and what is said of the authority")
	case s.cert == "" || s.key == "":
		return usage("with PEM files, serve needs a certificate: give both --cert FILE and --key FILE")
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
		if pem && s.ca == "" {
			return usage("callers can't be verified without authorities: give --client-ca FILE, or ask for no certificates with --client-auth none")
		}
		if s.clientAuth == "require" && len(s.allow) == 0 {
			return usage("nobody is let in: say who may come with --allow, as in --allow web")
		}
	default:
		return usage("--client-auth is %q; it can be none, request or require", s.clientAuth)
	}
	if s.earlyData && len(s.alpn) > 0 && !slices.Contains(trimmed(s.alpn), "http/1.1") {
		return usage("--early-data is for requests of HTTP/1.1, and --alpn does not name it: add http/1.1, or leave --early-data out")
	}
	if pem {
		return a.servePEM(name, s)
	}
	return a.serveJoined(ctx, name, s)
}

// clients is the policy of --client-auth, by a verifier that has the rules in it.
func (s *serveFlags) clients(v mtls.Verifier) mtls.ClientPolicy {
	switch s.clientAuth {
	case "none":
		return mtls.Anonymous()
	case "request":
		return mtls.Optional(v)
	}
	return mtls.Required(v)
}

// common adds what is for callers: they may compress their certificates (RFC 8879;
// what comes of it has a bound), and who knows no other group finds P-521.
func (s *serveFlags) common(log *slog.Logger) (mtls.Common, io.Closer, error) {
	c, keylog, err := s.gatewayFlags.common(log)
	c.Compression.Offer = true
	c.Groups = append(slices.Clone(suite.Groups()), suite.P521)
	return c, keylog, err
}

// resumption is how callers resume, with ticket keys of our own.
func (s *serveFlags) resumption() *mtls.ServerResumption {
	r := &mtls.ServerResumption{}
	if s.earlyData {
		r.EarlyData = &mtls.ServerEarlyData{}
	}
	return r
}

// callers says who comes in, in words; of are whose certificates count.
func (s *serveFlags) callers(of string) string {
	switch s.clientAuth {
	case "none":
		return "anybody: no certificate is asked for"
	case "request":
		return "anybody without a certificate; with one of " + of + ": " + allowed(s.allow)
	}
	return "certificates of " + of + ": " + allowed(s.allow)
}

func (a *app) servePEM(name string, s *serveFlags) error {
	log := a.logger()
	hangup := hangups()
	if s.clientAuth == "none" && s.ca != "" {
		log.Warn("--client-auth none asks nobody for a certificate: --client-ca has no use, and anybody comes in")
		s.ca = ""
	}
	if s.clientAuth == "none" && s.revocation != "off" {
		return usage("--revocation %s asks about callers' certificates, and --client-auth none asks for none; leave one of them out", s.revocation)
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
	news, err := a.newsOf(&s.gatewayFlags, log)
	if err != nil {
		return err
	}
	defer news.close()
	live, err := open(credential.Files{Cert: s.cert, Key: s.key, CA: s.ca, CRLs: s.crls, Revocation: news.revocation()}, wrap)
	if err != nil {
		return err
	}
	if err := live.Valid(now()); err != nil {
		log.Warn(err.Error())
	}
	if leaf := live.Leaf(); !leaf.StandsFor(name) {
		log.Warn(fmt.Sprintf("the certificate in %s is for %s, and not for %s: callers who ask for %s will refuse it", s.cert, names(leaf.Names()), name, name))
	}
	warnUsage(live.Leaf(), s.cert, x509.ExtKeyUsageServerAuth, log)
	warnKey(s.key, log)
	callers := s.callers(s.ca)
	if s.dryRun {
		a.lines([2]string{"would serve", name + " on " + cfg.Listen.String()}, [2]string{"carried to", cfg.To.String()},
			[2]string{"certificate", until(live.Leaf())}, [2]string{"callers", callers}, news.line())
		return a.happened(describe(cfg, name, live.Leaf(), nil).knowing(news))
	}
	common, keylog, err := s.common(log)
	if err != nil {
		return err
	}
	if keylog != nil {
		defer keylog.Close()
	}
	common.Beside.OCSP = news != nil // what callers have to show counts, too
	cfg.EarlyData = s.earlyData
	cfg.Ready = func() error { return live.Valid(now()) }
	g, err := gateway.Serve(cfg, func(refused func(net.Addr, *mtls.Refusal)) (*mtls.Server, error) {
		sc := mtls.ServerConfig{
			Identity: live.Identity, Clients: mtls.Anonymous(), ALPN: s.alpn, Resumption: s.resumption(), Refused: refused, Common: common,
		}
		if live.Verifier != nil {
			sc.Clients = s.clients(live.Verifier)
		}
		return mtls.NewServer(sc)
	})
	if err != nil {
		return fail(exitFailed, err)
	}
	a.lines([2]string{"serving", name + " on " + g.Addr().String()}, [2]string{"carried to", cfg.To.String()},
		[2]string{"certificate", until(live.Leaf())}, [2]string{"callers", callers}, news.line(), healthLine(g))
	news.tell(log)
	return a.runGateway(context.Background(), g, log, running{keep: watching(g, live, news, log, hangup), ready: describe(cfg, name, live.Leaf(), g).knowing(news)})
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

// serveJoined serves with a certificate of an authority: this machine's own, which
// is made or started where need be, or the one that a line named.
func (a *app) serveJoined(ctx context.Context, name string, s *serveFlags) error {
	if api.Reserved(name) {
		return usage("the name %s belongs to the product itself; choose another", name)
	}
	if err := s.checkIdentity(); err != nil {
		return err
	}
	if err := s.authority.check(); err != nil {
		return err
	}
	if err := s.oursNeedNoNews(); err != nil {
		return err
	}
	if s.joinFile != "" && s.authority.given() {
		return usage("--join-file names the authority, and the other flags make one here; give one of them")
	}
	log := a.logger()
	cfg, err := s.check(name, log)
	if err != nil {
		return err
	}
	if cfg.Listen.Network == "unix" && len(s.advertise) == 0 {
		return usage("--listen %s can't be told to callers: give --advertise HOST:PORT", cfg.Listen)
	}
	for _, at := range trimmed(s.advertise) {
		if to, err := gateway.ParseAddress(at); err != nil || to.Network != "tcp" || strings.HasPrefix(at, ":") || strings.HasSuffix(at, ":0") {
			return usage("--advertise %s does not tell callers where to go; write HOST:PORT", at)
		}
	}
	if _, err := policyOf(s.allow, "example.internal"); err != nil {
		return err // before anything is made
	}
	options, err := a.agentOptions(&s.gatewayFlags, log)
	if err != nil {
		return err
	}
	if s.dryRun {
		return a.dryServe(name, s, cfg, options)
	}
	var line *join.Line
	if s.joinFile != "" {
		if line, err = readLine("", s.joinFile); err != nil { // before signals are taken: it may wait for somebody who writes
			return err
		}
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
	id, hosted, err := a.identityOf(ctx, name, line, s, options)
	if err != nil {
		return err
	}
	stopHost := func() {
		if hosted != nil {
			hosted.Stop()
		}
	}
	rules, err := policyOf(s.allow, id.Domain())
	if err != nil {
		stopHost()
		return err
	}
	verifier := id.Verifier()
	if rules != nil {
		verifier = mtls.Allow(verifier, rules)
	}
	cfg.EarlyData = s.earlyData
	cfg.Ready = id.Valid
	g, err := gateway.Serve(cfg, func(refused func(net.Addr, *mtls.Refusal)) (*mtls.Server, error) {
		return mtls.NewServer(mtls.ServerConfig{
			Identity: id.Identity(), Clients: s.clients(verifier), ALPN: s.alpn, Resumption: s.resumption(), Refused: refused, Common: common,
		})
	})
	if err != nil {
		stopHost()
		return fail(exitFailed, err)
	}
	if err := a.inviting(ctx, name, s, g, id, hosted); err != nil {
		stopHost()
		return err
	}
	ready := describe(cfg, name, id.Leaf(), g)
	ready.Domain = id.Domain()
	return a.runGateway(ctx, g, log, running{keep: keeping(g, id, hosted), with: stopsWith(id, hosted), ready: ready})
}

func policyOf(allow []string, domain string) (*policy.Policy, error) {
	if len(allow) == 0 {
		return nil, nil
	}
	rules, err := policy.Parse(allow, domain)
	if err != nil {
		return nil, usage("--allow: %w", err)
	}
	return rules, nil
}

// identityOf makes or finds the identity NAME: by a line, on disk, or by a token
// of this machine's own authority, which is started for it.
func (a *app) identityOf(ctx context.Context, name string, l *join.Line, s *serveFlags, o agent.Options) (*agent.Agent, *host.Host, error) {
	if l != nil {
		if l.Name != name {
			return nil, nil, usage("the join line makes its reader %s, and %s is to be served", l.Name, name)
		}
		id, err := a.joined(ctx, l, o)
		return id, nil, err
	}
	dir := filepath.Join(o.Data, "ca")
	for _, d := range []string{o.Data, dir} {
		if err := folder.Check(d); err != nil && !isMissing(err) {
			return nil, nil, fail(exitFailed, err)
		}
	}
	if !ca.Exists(dir) {
		// Joined by a line before: the authority is on another machine.
		id, err := agent.Open("", name, o)
		if err == nil {
			id, err = usable(ctx, id)
			return id, nil, err
		}
		if !isMissing(err) {
			return nil, nil, ofAuthority(err)
		}
	}
	config, err := a.hostConfig(&s.authority, o.Log)
	if err != nil {
		return nil, nil, err
	}
	if err := folder.Make(o.Data); err != nil {
		return nil, nil, fail(exitFailed, err)
	}
	hosted := host.New(config)
	status, err := hosted.Start(ctx)
	if err != nil {
		// What is on disk serves until it ends, and the authority is tried again.
		id, oerr := agent.Open("", name, o)
		if oerr != nil || id.Valid() != nil || ctx.Err() != nil {
			return nil, nil, fail(exitFailed, err)
		}
		o.Log.Error(fmt.Sprintf("%v; %s serves on with the certificate on disk, and the authority is tried again", err, name))
		return id, hosted, nil
	}
	id, err := agent.Open(status.Domain, name, o)
	if isMissing(err) || err == nil && id.TooLate() {
		id, err = a.enrolHere(ctx, name, hosted.Admin(), o)
	}
	if err == nil {
		id, err = usable(ctx, id)
	}
	if err != nil {
		hosted.Stop()
		return nil, nil, ofAuthority(err)
	}
	return id, hosted, nil
}

// enrolHere joins this machine's own authority, like anybody, with a token that
// nobody needs to carry.
func (a *app) enrolHere(ctx context.Context, name string, admin *client.Admin, o agent.Options) (*agent.Agent, error) {
	made, err := admin.Token(ctx, &api.TokenRequest{Name: name, Lifetime: 600})
	if err != nil {
		return nil, err
	}
	l, err := join.Parse(made.Line)
	if err != nil {
		return nil, err
	}
	return a.joined(ctx, l, o)
}

// inviting tells the authority where the service is, and people how to join it.
func (a *app) inviting(ctx context.Context, name string, s *serveFlags, g *gateway.Gateway, id *agent.Agent, hosted *host.Host) error {
	where := trimmed(s.advertise)
	if len(where) == 0 {
		var err error
		if where, err = agent.Advertise(g.NetAddr()); err != nil {
			return fail(exitFailed, err)
		}
	}
	id.Register(where)
	id.Findable(ctx)
	a.lines([2]string{"serving", name + " on " + g.Addr().String() + ", told to callers as " + strings.Join(where, ", ")}, [2]string{"carried to", s.to},
		[2]string{"certificate", until(id.Leaf())}, [2]string{"callers", s.callers(id.Domain())}, healthLine(g))
	if hosted == nil {
		if len(plainNames(s.allow)) > 0 {
			fmt.Fprintf(a.err, "to let callers join, make lines on the authority's machine: mutual token NAME --service %s\n", name)
		}
		return nil
	}
	lines, err := a.joinLines(ctx, name, s, hosted.Admin())
	if errors.Is(err, client.ErrNoAuthority) {
		return nil // what is on disk serves on without it
	}
	if err != nil {
		return a.ofAdmin(err)
	}
	var authority []string
	if status, err := hosted.Admin().Status(ctx); err == nil {
		authority = status.Authority
	}
	g.Tell(authority, lines)
	return nil
}

// joinLines makes a line for each plain name that has neither joined nor a line
// that can still be used, where there is a place to show it.
func (a *app) joinLines(ctx context.Context, service string, s *serveFlags, admin *client.Admin) (map[string]string, error) {
	shown := isTerminal(a.out) && !a.json
	lines := make(map[string]string)
	var fresh []*join.Line
	for _, name := range plainNames(s.allow) {
		if api.Reserved(name) {
			continue
		}
		info, err := admin.Name(ctx, name)
		if err != nil {
			return nil, err
		}
		if info.Joined || info.Waiting {
			continue
		}
		if !shown && s.joinOut == "" && s.announce == "" {
			fmt.Fprintf(a.err, "a join line for %s is a secret, and standard output is no terminal; make one with: mutual token %s --service %s --out FILE\n", name, name, service)
			continue
		}
		made, err := admin.Token(ctx, &api.TokenRequest{Name: name, Service: service})
		if err != nil {
			return nil, err
		}
		l, err := made.Parsed()
		if err != nil {
			return nil, err
		}
		lines[name] = made.Line
		fresh = append(fresh, l)
	}
	if len(fresh) == 0 {
		return nil, nil
	}
	if s.joinOut != "" {
		if err := writeLines(s.joinOut, fresh); err != nil {
			return nil, fail(exitFailed, err)
		}
		fmt.Fprintf(a.err, "join lines are in %s, each good for an hour and one use: mutual connect --join-file FILE --listen ADDR\n", s.joinOut)
	}
	if shown {
		for _, l := range fresh {
			fmt.Fprintf(a.err, "\non the machine of %s, within an hour:\n\n", l.Name)
			fmt.Fprintf(a.out, "  mutual connect '%s' --listen 127.0.0.1:9000\n\n", l.Text())
		}
	}
	return lines, nil
}

// writeLines writes lines to a file that may hold those of other names already.
func writeLines(file string, fresh []*join.Line) error {
	var b strings.Builder
	if old, err := folder.Read(file); err == nil {
		for line := range strings.Lines(string(old)) {
			l, err := join.Parse(line)
			if err != nil {
				continue
			}
			replaced := false
			for _, f := range fresh {
				replaced = replaced || f.Name == l.Name
			}
			if !replaced {
				b.WriteString(l.Text() + "\n")
			}
		}
		clear(old)
	}
	for _, l := range fresh {
		b.WriteString(l.Text() + "\n")
	}
	return folder.Write(file, []byte(b.String()))
}

// plainNames are the rules that name one name of our own trust domain.
func plainNames(allow []string) []string {
	var out []string
	for _, rule := range allow {
		if strings.Contains(rule, "*") || identity.IsSPIFFE(rule) {
			continue
		}
		if name, err := identity.CleanDNS(strings.TrimSpace(rule)); err == nil {
			out = append(out, name)
		}
	}
	return out
}

// dryServe says what would be made and asked, and makes nothing.
func (a *app) dryServe(name string, s *serveFlags, cfg gateway.Config, o agent.Options) error {
	dir := filepath.Join(o.Data, "ca")
	var authority, own string
	switch {
	case s.joinFile != "":
		l, err := readLine("", s.joinFile)
		if err != nil {
			return err
		}
		authority = "is at " + strings.Join(l.Authority, ", ") + ", by the join line"
	case ca.Exists(dir):
		authority = "is in " + dir
	default:
		authority = "would be made in " + dir
	}
	id, err := agent.Open("", name, o)
	switch {
	case err == nil:
		own = "is in " + id.Folder() + ": " + until(id.Leaf())
	case isMissing(err) && s.joinFile == "" && ca.Exists(dir), isMissing(err) && s.joinFile == "":
		own = "would be asked for with a token of its own, and kept in " + filepath.Join(o.Data, "id")
	case isMissing(err):
		own = "would be asked for with the line's token, and kept in " + filepath.Join(o.Data, "id")
	default:
		return ofAuthority(err)
	}
	lines := strings.Join(plainNames(s.allow), ", ")
	if lines != "" && s.joinFile == "" {
		lines = "would be made for those of " + lines + " that never joined"
	} else {
		lines = ""
	}
	a.lines([2]string{"would serve", name + " on " + cfg.Listen.String()}, [2]string{"carried to", cfg.To.String()}, [2]string{"authority", authority},
		[2]string{"certificate", own}, [2]string{"callers", s.callers("the authority")}, [2]string{"join lines", lines})
	return a.happened(describe(cfg, name, leafOf(id), nil))
}
