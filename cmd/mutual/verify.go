package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/explain"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/revoke"
)

type verifyFlags struct {
	tellingFlags
	purpose, at string
	logs        string
	crls, ocsp  []string
	revocation  string
}

func (a *app) verifyCommand() *cobra.Command {
	var v verifyFlags
	c := &cobra.Command{
		Use:   "verify FILE... | verify HOST:PORT",
		Short: "Judge a certificate or a server, and say why",
		Long: `verify judges a chain of certificates (the leaf first, then its intermediates, in
one file or several; PEM, DER or PKCS #7; "-" reads standard input) or what a server
shows, and tells each path that was tried, each check on it, and what mends a refusal.

What looks like HOST:PORT is a server, unless there is a file of that name. Of a
server its name is checked, too, and that it holds its key.

Whether a certificate was revoked is asked of the lists in --crl, of the OCSP
responses in --ocsp and, with --revocation soft or hard, of the lists and OCSP
responders that the certificates name; what a server shows beside its certificate
counts, too. Whoever is revoked is refused in any case. What nobody knows about passes
with soft, and not with hard; nor does it where none of --ocsp can be relied on. What
is fetched is kept in the folder of data, and asked for again when it is due.

With --json: an object with ok, code, mend and paths (each with chain, ok, and
checks: check, certificate, ok, expected, found).

The exit code is 0 where the certificate stands, 3 where it is refused, 4 where the
server can't be reached.`,
		Example: `  mutual verify orders.crt --ca ca.crt --name orders --purpose server
  mutual verify leaf.crt intermediate.crt --ca root.crt --at 2027-01-01
  mutual verify orders.example:8443 --ca ca.crt
  mutual verify orders.crt --ca ca.crt --crl ca.crl
  mutual verify orders.crt --ca ca.crt --ocsp orders.ocsp
  mutual verify example.com:443 --revocation hard`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return exactly("files with certificates, or HOST:PORT")(c, args)
			}
			if len(args) == 1 && isServer(args[0]) {
				return a.verifyServer(c, &v, args[0])
			}
			return a.verifyFiles(c.Context(), &v, args)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	// The gateways' names for the same things do, too.
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.TrimPrefix(name, "server-"))
	})
	f.StringVar(&v.ca, "ca", "", "the authorities to trust (PEM; default: the system's); --server-ca is the same")
	f.StringVar(&v.name, "name", "", "the name that it must prove (of a server the default is its host); --server-name is the same")
	f.StringVar(&v.purpose, "purpose", "", "what files are judged for: server or client (default: either)")
	oneOf(c, "purpose", "server", "client")
	f.StringVar(&v.at, "at", "", "judge at this time: 2027-01-01, or 2027-01-01T12:00:00Z (default: now)")
	f.StringVar(&v.logs, "ct-logs", "", "ask for timestamps of the logs in this file, by Chrome's rule (Certificate\nTransparency; JSON, as Google and Apple publish their lists; default: not asked)")
	f.StringArrayVar(&v.crls, "crl", nil, "a revocation list, or a folder of them (PEM or DER; several times for several)")
	f.StringArrayVar(&v.ocsp, "ocsp", nil, "an OCSP response to judge as if it came beside the certificate (DER; several times\nfor several)")
	f.StringVar(&v.revocation, "revocation", "off", "fetch news of revocations from where certificates say: off, soft (what nobody knows\nabout passes) or hard (it is refused)")
	oneOf(c, "revocation", revocationNames...)
	v.register(f)
	oneOf(c, "profile", profileNames...)
	return c
}

// isServer says whether arg means a server: HOST:PORT, and no file of that name.
func isServer(arg string) bool {
	if _, err := os.Lstat(arg); err == nil {
		return false
	}
	if strings.HasPrefix(arg, "unix:") {
		return true
	}
	host, port, err := net.SplitHostPort(arg)
	if err != nil || host == "" || strings.ContainsRune(host, os.PathSeparator) {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// isHost says whether arg could be a server's name.
func isHost(arg string) bool {
	_, err := identity.Parse(arg)
	return err == nil && !strings.Contains(arg, "/")
}

// misplaced says that what stands is not what somebody may have wanted judged: a file
// that begins with the authority itself.
func misplaced(v *pki.Verdict, chain []*pki.Certificate) string {
	if !v.OK || len(v.Path) != 1 {
		return ""
	}
	for i, c := range chain[1:] {
		if !c.Equal(chain[0]) && c.IssuedInName(chain[0]) {
			return fmt.Sprintf("note: the first certificate is judged, and that is the trusted authority itself; put the leaf first: certificate %d was issued by it", i+2)
		}
	}
	return ""
}

// clock is the time to judge at.
func (v *verifyFlags) clock() (func() time.Time, error) {
	if v.at == "" {
		return now, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, v.at); err == nil {
			return func() time.Time { return t }, nil
		}
	}
	return nil, usage("--at is %q; write a time as 2027-01-01 or 2027-01-01T12:00:00Z", v.at)
}

// asked is what is known of revocations, and what becomes of who is not known: nil
// where nobody asks. The checker is to be closed.
func (a *app) asked(v *verifyFlags, clock func() time.Time) (*revoke.Checker, pki.RevocationMode, error) {
	mode, fetch, err := revocationMode(v.revocation)
	if err != nil || !fetch && len(v.crls) == 0 {
		return nil, mode, err
	}
	// Somebody sits here and asked for it: places on this machine and inside are asked,
	// and a handshake waits.
	cfg := revoke.Config{Files: v.crls, Fetch: fetch, Private: true, Clock: clock, Timeout: v.handshake, InHandshake: v.handshake * 4 / 5}
	if fetch {
		if cfg.Cache, err = a.newsFolder(false); err == nil {
			err = folder.Make(cfg.Cache)
		}
		if err != nil { // it costs the next one a fetch, and nobody an answer
			cfg.Cache = ""
			fmt.Fprintf(a.err, "note: what is fetched is not kept: %v\n", err)
		}
	}
	k, err := revoke.New(cfg)
	if err != nil {
		return nil, mode, fail(exitFailed, err)
	}
	return k, mode, nil
}

// responses reads OCSP responses.
func responses(files []string) (out []*pki.OCSPResponse, err error) {
	for _, name := range files {
		b, err := readAtMost(name, pki.MaxOCSPResponse)
		if err != nil {
			return nil, fail(exitFailed, fmt.Errorf("the OCSP response can't be read: %w", err))
		}
		r, err := pki.ParseOCSPResponse(b)
		if err != nil {
			return nil, fail(exitFailed, fmt.Errorf("%s: %w; expected an OCSP response in DER, as `openssl ocsp -respout FILE` writes it", name, err))
		}
		out = append(out, r)
	}
	return out, nil
}

// readAtMost reads a file of at most so many bytes.
func readAtMost(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", name, most)
	}
	return b, err
}

// counts says whether every response can be relied on for some certificate of a path,
// the anchor last.
func counts(responses []*pki.OCSPResponse, path []*pki.Certificate, at time.Time) bool {
	for _, r := range responses {
		good := false
		for i := 0; i+1 < len(path); i++ {
			_, err := r.About(path[i], path[i+1], at)
			good = good || err == nil
		}
		if !good {
			return false
		}
	}
	return true
}

func (a *app) verifyFiles(ctx context.Context, v *verifyFlags, files []string) error {
	clock, err := v.clock()
	if err != nil {
		return err
	}
	q := pki.Question{Name: v.name, At: clock(), Supposed: v.at != ""}
	switch v.purpose {
	case "":
		q.Purpose = pki.ForAny
	case "server":
		q.Purpose = pki.ForServer
	case "client":
		q.Purpose = pki.ForClient
	default:
		return usage("--purpose is %q; it can be server or client", v.purpose)
	}
	switch {
	case v.cert != "" || v.key != "":
		return usage("--cert and --key are for servers: name the files to judge as arguments")
	case v.name != "":
		if _, err := identity.Parse(v.name); err != nil {
			return usage("--name: %w", err)
		}
	}
	if q.Profile, err = v.judgedBy(); err != nil {
		return err
	}
	if v.purpose != "server" && v.profile == "" {
		q.Profile = pki.Basic // the Web's rules are for servers
	}
	if q.Anchors, _, err = v.anchors(); err != nil {
		return err
	}
	if q.Transparency, err = transparency(v.logs); err != nil {
		return err
	}
	if q.OCSP, err = responses(v.ocsp); err != nil {
		return err
	}
	q.Stapled = len(q.OCSP) > 0
	checker, mode, err := a.asked(v, clock)
	if err != nil {
		return err
	}
	if checker != nil {
		defer checker.Close()
	}
	var verdict *pki.Verdict
	q.Chain, err = explain.ReadChain(files, os.Stdin)
	var parse *pki.ParseError
	switch {
	case errors.As(err, &parse):
		verdict = pki.Refused(err)
	case errors.Is(err, fs.ErrNotExist) && len(files) == 1 && strings.Contains(files[0], ":"):
		return fail(exitFailed, fmt.Errorf("%w; a server is written HOST:PORT, with the port as a number", err))
	case errors.Is(err, fs.ErrNotExist) && len(files) == 1 && isHost(files[0]):
		return fail(exitFailed, fmt.Errorf("%w; if a server is meant, say its port, as in %s:443", err, files[0]))
	case err != nil:
		return fail(exitFailed, err)
	default:
		if checker != nil {
			if v := pki.Verify(q); v.OK { // nobody is asked about what does not stand
				checker.Fetch(ctx, v.Path)
			}
			q.Revocation, q.RevocationSource = mode, checker
		}
		if verdict = pki.Explain(q); verdict.OK && mode == pki.RevocationGiven && !counts(q.OCSP, verdict.Path, q.At) {
			// Whoever shows an answer means to go by it.
			q.Revocation, q.RevocationLeafOnly = pki.RevocationHard, true
			verdict = pki.Explain(q)
		}
		if note := misplaced(verdict, q.Chain); note != "" && !a.json {
			defer fmt.Fprintln(a.err, note)
		}
	}
	return a.judged(strings.Join(files, " "), verdict)
}

func (a *app) verifyServer(c *cobra.Command, v *verifyFlags, address string) error {
	clock, err := v.clock()
	switch {
	case err != nil:
		return err
	case len(v.ocsp) > 0:
		return usage("--ocsp is for files: a server shows its own response, and that is judged; leave --ocsp out, or name files")
	case v.purpose != "" && v.purpose != "server":
		return usage("--purpose is %q, and what shows its certificate at %s is a server", v.purpose, address)
	}
	target, err := v.target(address)
	if err != nil {
		return err
	}
	if target.Transparency, err = transparency(v.logs); err != nil {
		return err
	}
	checker, mode, err := a.asked(v, clock)
	if err != nil {
		return err
	}
	target.AskOCSP = true
	if checker != nil {
		defer checker.Close()
		target.Revocation = &mtls.Revocation{Source: checker, Mode: mode}
	}
	target.Clock, target.Supposed, target.Wait = clock, v.at != "", time.Nanosecond // what it makes of us is not the question
	s := explain.Live(c.Context(), target)
	o := &s.Verdict
	if j := o.Judgement; j != nil && (!j.OK || o.OK || o.Fault == mtls.PeerRefusedUs.String()) {
		if err := a.judged(address, j); err != nil || o.OK {
			return err
		}
		fmt.Fprintf(a.err, "the server stands, and for its part it refused us: %s\n", o.Sentence())
		return nil
	}
	// It did not come to a judgement, or what came after it was wrong.
	return a.ended(address, s)
}

// ended tells how a handshake ended that we learnt nothing else from.
func (a *app) ended(address string, s *explain.Story) error {
	o := &s.Verdict
	if !a.json {
		if o.Unreachable {
			return a.outcome(o)
		}
		if err := s.WriteOutcome(a.out, a.look()); err != nil {
			return fail(exitFailed, err)
		}
		return a.outcome(o)
	}
	whole, err := explain.VerdictJSON(address, o)
	if err == nil {
		err = explain.WriteJSON(a.out, whole)
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	return a.outcome(o)
}

// judged tells a verdict, and makes an exit code of it.
func (a *app) judged(what string, v *pki.Verdict) error {
	var err error
	if a.json {
		var whole json.RawMessage
		if whole, err = explain.VerdictJSON(what, v); err == nil {
			err = explain.WriteJSON(a.out, whole)
		}
	} else {
		err = explain.WriteVerdict(a.out, what, v, a.look())
	}
	switch {
	case err != nil:
		return fail(exitFailed, err)
	case v.OK:
		return nil
	}
	sentence := fmt.Errorf("%s (%s)", v.Sentence(), v.Code)
	if a.json {
		return fail(exitRefused, sentence)
	}
	return told(exitRefused, sentence)
}
