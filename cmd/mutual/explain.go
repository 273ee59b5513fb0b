package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/credential"
	"github.com/mutual-tls/mutual/internal/explain"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/truststore"
)

// tellingFlags are what explain and verify need to have a handshake.
type tellingFlags struct {
	name, ca  string
	cert, key string
	alpn      []string
	handshake time.Duration
	profile   string
}

func (t *tellingFlags) register(f *pflag.FlagSet) {
	f.StringVar(&t.cert, "cert", "", "our certificate for a server that asks, and its intermediates behind it (PEM)")
	f.StringVar(&t.key, "key", "", "its private key (PEM)")
	f.StringSliceVar(&t.alpn, "alpn", nil, "application protocols to offer, preferred first")
	f.StringVar(&t.profile, "profile", "", "how strictly certificates are judged: basic, private (RFC 5280 to the letter), svid,\nbrowser or webpki (default: browser with the system's authorities, else basic)")
	f.DurationVar(&t.handshake, "handshake-timeout", 10*time.Second, "how long connecting and the handshake may take, each")
}

// anchors are whom to trust, and words for who they are.
func (t *tellingFlags) anchors() (*pki.Anchors, string, error) {
	if t.ca == "" {
		a, err := truststore.System()
		if err != nil {
			return nil, "", fail(exitFailed, fmt.Errorf("the authorities that this system trusts can't be read: %w", err))
		}
		return a, "an authority that this system trusts", nil
	}
	a, err := credential.ReadAnchors(t.ca)
	if err != nil {
		return nil, "", fail(exitFailed, err)
	}
	article := "an"
	if a.Len() == 1 {
		article = "the"
	}
	return a, article + " authority in " + filepath.Base(t.ca), nil
}

var profileNames = []string{"basic", "private", "svid", "browser", "webpki"}

// judgedBy is the profile to judge by.
func (t *tellingFlags) judgedBy() (pki.Profile, error) {
	switch {
	case t.profile != "":
		p, err := pki.ParseProfile(t.profile)
		if err != nil {
			return 0, usage("--profile: %w", err)
		}
		return p, nil
	case t.ca == "":
		return pki.Browser, nil
	}
	return pki.Basic, nil
}

// target is the server at address, as the flags want it.
func (t *tellingFlags) target(address string) (explain.Target, error) {
	out := explain.Target{Address: address, ServerName: t.name, ALPN: t.alpn, Timeout: t.handshake}
	network, _, host, err := explain.Split(address)
	switch {
	case err != nil && !strings.Contains(address, ":"):
		return out, usage("%q says no port: write HOST:PORT, as in %s:443", address, address)
	case err != nil:
		return out, usage("%q is not HOST:PORT: %w", address, err)
	case network == "unix" && t.name == "":
		return out, usage("a server behind a Unix socket has no host name: give --server-name, the name that it must prove")
	case network == "tcp" && !isPort(address):
		return out, usage("%q has no port between 1 and 65535", address)
	case network == "tcp" && host == "":
		return out, usage("%q names no host: write HOST:PORT, as in localhost%s", address, address)
	case (t.cert == "") != (t.key == ""):
		return out, usage("a certificate and its key come together: give both --cert and --key, or neither")
	case t.handshake <= 0:
		return out, usage("--handshake-timeout is %v; it must be longer than nothing", t.handshake)
	}
	name := t.name
	if name == "" {
		name = host
	}
	if _, err := identity.Parse(name); err != nil {
		return out, usage("the server's name: %w", err)
	}
	if out.Profile, err = t.judgedBy(); err != nil {
		return out, err
	}
	if out.Anchors, out.Trusted, err = t.anchors(); err != nil {
		return out, err
	}
	if t.cert != "" {
		c, err := mtls.LoadCertificate(t.cert, t.key)
		if err != nil {
			return out, fail(exitFailed, err)
		}
		out.Identity = c
	}
	return out, nil
}

// isPort says whether address ends with a port that can be reached, a number or a
// service's name.
func isPort(address string) bool {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	n, err := net.LookupPort("tcp", port)
	return err == nil && n > 0
}

// look is how standard output is written to.
func (a *app) look() explain.Look {
	l := explain.Look{Colour: a.colour(a.out)}
	if f, ok := a.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			l.Width = min(max(w, 60), 100)
		}
	}
	return l
}

func (a *app) explainCommand() *cobra.Command {
	var t tellingFlags
	var fields, bytes, codes bool
	c := &cobra.Command{
		Use:   "explain HOST:PORT | explain CODE",
		Short: "Tell a handshake with a server, or what a code means",
		Long: `explain has a handshake with a server and tells it: who sent what, what was
agreed, which keys came from where, each certificate and who vouches for it, each
check, and what both sides know in the end. Of a server that does not speak TLS 1.3
it says what it speaks. The server gets to see a client that shakes hands and
leaves; nothing is asked of it.

With a code, as refusals have it, it says what the code means and what mends it.

With --json: an object with target, version, suite, group, signature (the server's),
alpn, peer, client_authenticated, steps (each with n, from, message, words, fields)
and verdict (ok, code, mend, paths).

The exit code is 0 where the connection stands, 3 where one side refuses the other
or no TLS 1.3 comes about, 4 where there is no connection at all.`,
		Example: `  mutual explain example.com:443
  mutual explain orders.example:8443 --server-ca ca.crt --cert web.crt --key web.key
  mutual explain 10.0.0.7:8443 --server-name orders --server-ca ca.crt --fields
  mutual explain M0104`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case codes && len(args) == 0:
				return a.listCodes()
			case codes:
				return usage("explain --codes lists all codes, and takes no argument")
			case len(args) != 1:
				return exactly("HOST:PORT or a code")(c, args)
			case explain.IsCode(args[0]):
				return a.explainCode(args[0])
			}
			l := a.look()
			l.Fields, l.Bytes = fields, bytes
			target, err := t.target(args[0])
			if err != nil {
				return err
			}
			return a.tell(explain.Live(c.Context(), target), l)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&t.name, "server-name", "", "the name that the server must prove (default: the host of HOST:PORT)")
	f.StringVar(&t.ca, "server-ca", "", "the authorities to trust (PEM; default: the system's)")
	t.register(f)
	oneOf(c, "profile", profileNames...)
	f.BoolVar(&fields, "fields", false, "tell every field of every message")
	f.BoolVar(&bytes, "bytes", false, "show the bytes of every message, as they are before encryption")
	f.BoolVar(&codes, "codes", false, "list all codes")
	return c
}

// tell tells a story, and makes an exit code of its outcome.
func (a *app) tell(s *explain.Story, l explain.Look) error {
	var err error
	switch {
	case a.json:
		err = explain.WriteJSON(a.out, s)
	case !s.Verdict.Unreachable: // of what did not begin there is no story
		err = s.Write(a.out, l)
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	return a.outcome(&s.Verdict)
}

// outcome is the error that an outcome is. Where words went to standard output it
// is not told once more.
func (a *app) outcome(o *explain.Outcome) error {
	if o.OK {
		return nil
	}
	sentence := errors.New(o.Sentence())
	switch {
	case o.Unreachable:
		return fail(exitUnreachable, sentence)
	case a.json:
		return fail(exitRefused, sentence)
	}
	return told(exitRefused, sentence)
}

func (a *app) explainCode(s string) error {
	e, ok := code.Lookup(code.Code(strings.ToUpper(s)))
	if !ok {
		mend := "mutual explain --codes lists all"
		if near := explain.Suggest(s); near != "" {
			mend = fmt.Sprintf("did you mean %s? %s", near, mend)
		}
		return usage("there is no code %s; %s", strings.ToUpper(s), mend)
	}
	if a.json {
		return explain.WriteJSON(a.out, explain.PageOf(e))
	}
	return explain.WriteCode(a.out, e, a.look())
}

func (a *app) listCodes() error {
	if a.json {
		return explain.WriteJSON(a.out, explain.Pages())
	}
	return explain.WriteCodes(a.out, a.look())
}
