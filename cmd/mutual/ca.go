package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/agent"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/ca/server"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/internal/host"
)

// caFlags are what an authority is made and served with, by `mutual ca` and, for
// its child, by `mutual serve`.
type caFlags struct {
	listenFlag string // what the flag for the address is called
	listen     string
	loopback   bool
	domain     string
	keyType    string
	passphrase string // a file
	advertise  []string
	announce   string
	health     string
	child      bool
}

// register adds the flags; listen is what the flag for the address is called.
func (f *caFlags) register(c *cobra.Command, listen string) {
	f.listenFlag = listen
	s := c.Flags()
	s.SortFlags = false
	s.StringVar(&f.listen, listen, "", "where the authority listens (default: port "+api.DefaultPort+" at the address of the default route)")
	s.BoolVar(&f.loopback, "loopback", false, "the authority listens on 127.0.0.1 only")
	s.StringVar(&f.domain, "domain", "", "the trust domain of a new authority, for ever (default: made from its root's hash)")
	s.StringVar(&f.keyType, "key-type", "", "the kind of a new authority's keys: "+keyTypes()+"; ROOT/ISSUERS, as in mldsa87/p256, for two (default p256)")
	s.StringVar(&f.passphrase, "passphrase-file", "", "file with a passphrase that encrypts the root's key")
}

// given says whether anything was said of the authority.
func (f *caFlags) given() bool {
	return f.listen != "" || f.loopback || f.domain != "" || f.keyType != "" || f.passphrase != ""
}

func (f *caFlags) check() error {
	if f.listen != "" && f.loopback {
		return usage("--loopback and --%s say two things of where the authority listens; give one of them", f.listenFlag)
	}
	if f.listen != "" {
		a, err := gateway.ParseAddress(f.listen)
		if err != nil {
			return usage("the authority's address: %w", err)
		}
		if a.Network != "tcp" {
			return usage("the authority listens on TCP: write HOST:PORT or :PORT")
		}
	}
	if f.keyType != "" {
		if _, _, err := ca.KeyTypes(f.keyType); err != nil {
			return usage("--key-type: %w, or two of them, the root's and the issuers', as in mldsa87/p256", err)
		}
	}
	if f.domain != "" {
		id, err := identity.ParseSPIFFE("spiffe://" + f.domain)
		if err != nil || id.Path() != "" {
			return usage("--domain %s is not a trust domain: lower-case letters, digits, dots and hyphens, as in prod.example", identity.Quote(f.domain))
		}
	}
	return nil
}

// args are the flags for a child.
func (f *caFlags) args() []string {
	var out []string
	add := func(flag, value string) {
		if value != "" {
			out = append(out, flag, value)
		}
	}
	add("--listen", f.listen)
	add("--domain", f.domain)
	add("--key-type", f.keyType)
	add("--passphrase-file", f.passphrase)
	if f.loopback {
		out = append(out, "--loopback")
	}
	return out
}

func (a *app) caCommand() *cobra.Command {
	var f caFlags
	c := &cobra.Command{
		Use:   "ca",
		Short: "Serve the authority, which is made where there is none",
		Long: `ca serves the authority of this machine's data folder: who holds a join line gets
a certificate from it, renews it, and hears of what was revoked. Where there is no
authority yet, its root, issuer and standby issuer are made. The root's key is not
opened again but by 'mutual ca announce'.

'mutual serve' starts it by itself, as a process of its own; use this command where
the authority has a machine to itself. It is administered on its own machine:
mutual token, issue, list, revoke, ca status.`,
		Example: `  mutual ca
  mutual ca --listen :8440 --advertise ca.internal:8440 --domain prod.example
  mutual ca status`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return a.ca(c.Context(), &f) },
	}
	f.register(c, "listen")
	c.Flags().StringSliceVar(&f.advertise, "advertise", nil, "addresses that others reach it at, HOST:PORT (default: where it listens)")
	c.Flags().StringVar(&f.announce, "announce", "", "write where it listens to this file, as JSON, when ready")
	c.Flags().StringVar(&f.health, "health", "", "answer /healthz and /readyz at this address")
	c.Flags().BoolVar(&f.child, "until-stdin-ends", false, "")
	_ = c.Flags().MarkHidden("until-stdin-ends")
	c.AddCommand(a.caStatusCommand(), a.caAnnounceCommand())
	return c
}

// caFolder is DATA/ca. Its admin socket has to be one that the system can name.
func (a *app) caFolder() (string, error) {
	data, err := a.dataFolder()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(data, "ca")
	socket, most := filepath.Join(dir, api.AdminSocket), len(syscall.RawSockaddrUnix{}.Path)-1 // with a zero byte behind it
	if len(socket) > most {
		return "", fail(exitFailed, fmt.Errorf("the name of the folder is too long: the socket %s would have %d bytes, and this system takes %d; give a shorter folder with --data", socket, len(socket), most))
	}
	return dir, nil
}

// dataFolder is --data, or the usual place.
func (a *app) dataFolder() (string, error) {
	if a.data != "" {
		return filepath.Abs(a.data)
	}
	data, err := folder.Default()
	if err != nil {
		return "", fail(exitFailed, err)
	}
	return data, nil
}

// ownFolder refuses what can't be the folder of data: a file, or a folder with
// somebody else's things, whose rights are not to be changed for us.
func ownFolder(data string) error {
	info, err := os.Stat(data)
	if err != nil {
		return nil // it is made, or whoever needs it says why not
	}
	if !info.IsDir() {
		return fail(exitFailed, fmt.Errorf("%s is a file; give a folder with --data", data))
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	all, err := os.ReadDir(data)
	if err != nil || len(all) == 0 {
		return nil
	}
	for _, e := range all {
		if name := e.Name(); name == "ca" || name == "id" || name == "revocations" {
			return nil
		}
	}
	return fail(exitFailed, fmt.Errorf("%s holds other things, and others can reach it; give a folder of its own, as in --data %s", data, filepath.Join(data, "mutual")))
}

// settings are what whoever hosts the folder next has to know.
type settings struct {
	Listen    string   `json:"listen"` // as it was bound
	Advertise []string `json:"advertise,omitempty"`
}

const settingsFile = "settings.json"

func (a *app) ca(ctx context.Context, f *caFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	dir, err := a.caFolder()
	if err != nil {
		return err
	}
	log := a.logger()
	hangups() // there is nothing to read again, and nothing to stop for
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.child {
		// The pipe from whoever started us ends when they do, kill -9 included.
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	if err := ownFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := folder.Make(filepath.Dir(dir)); err != nil {
		return fail(exitFailed, err)
	}
	if err := folder.Make(dir); err != nil {
		return fail(exitFailed, err)
	}
	options := ca.Options{Folder: dir, Domain: f.domain, KeyType: f.keyType, Clock: clock.Now, Log: log}
	if f.passphrase != "" {
		if options.Passphrase, err = readPassphrase(f.passphrase); err != nil {
			return fail(exitFailed, err)
		}
	}
	made := false
	if !ca.Exists(dir) {
		switch err := ca.Create(ctx, options); {
		case err == nil:
			made = true
		case !errors.Is(err, folder.ErrLocked) && !errors.Is(err, fs.ErrExist):
			return fail(exitFailed, err)
		}
	}
	clear(options.Passphrase)
	options.Passphrase = nil
	authority, err := ca.Open(ctx, options)
	if errors.Is(err, folder.ErrLocked) {
		if f.child {
			return told(host.ExitLocked, err)
		}
		return fail(exitFailed, fmt.Errorf("the authority in %s is served by another process already; `mutual ca status` tells which", dir))
	}
	if err != nil {
		return fail(exitFailed, err)
	}
	defer func() {
		if err := authority.Close(); err != nil {
			log.Error("the authority did not end in order: " + err.Error())
		}
	}()
	if f.domain != "" && f.domain != authority.Domain() {
		return fail(exitFailed, fmt.Errorf("the authority in %s is of the trust domain %s, which is for ever; leave --domain out, or give another folder with --data", dir, authority.Domain()))
	}
	port, advertise, err := f.open(dir, log)
	if err != nil {
		return fail(exitFailed, err)
	}
	admin, err := server.ListenAdmin(dir)
	if err != nil {
		_ = port.Close()
		return fail(exitFailed, err)
	}
	said := gateway.Announcement{Listen: []string{port.Addr().String()}, Authority: advertise}
	if f.health != "" {
		at, err := gateway.ParseAddress(f.health)
		if err != nil {
			return usage("--health: %w", err)
		}
		l, err := at.Listen("--health")
		if err != nil {
			return fail(exitFailed, err)
		}
		// It answers when the authority does: the port is served from here on.
		defer gateway.ServeHealth(l, func() error { return ctx.Err() }).Close()
		said.Health = []string{gateway.Of(l.Addr()).String()}
	}
	s, err := server.New(ctx, server.Config{Authority: authority, Listen: port, Admin: admin, Advertise: advertise, Log: log, Clock: clock.Now})
	if err != nil {
		return fail(exitFailed, err)
	}
	if f.announce != "" {
		if err := said.Write(f.announce); err != nil {
			return fail(exitFailed, err)
		}
	}
	word := "serving"
	if made {
		word = "made"
	}
	root := authority.Root()
	a.lines([2]string{"authority", word + " " + authority.Domain()}, [2]string{"listening on", port.Addr().String()},
		[2]string{"reached at", strings.Join(advertise, ", ")}, [2]string{"root", fmt.Sprintf("%x", root.SHA256)}, [2]string{"folder", dir})
	if err := s.Run(ctx); err != nil {
		return fail(exitFailed, err)
	}
	log.Info("the authority of " + authority.Domain() + " stopped; certificates live to their ends meanwhile")
	return nil
}

// open listens where the flags say, or where the authority listened before, or at
// port 8440 of this machine's own address; join lines and agents know the place,
// so it is kept.
func (f *caFlags) open(dir string, log *slog.Logger) (net.Listener, []string, error) {
	var former settings
	file := filepath.Join(dir, settingsFile)
	if b, err := folder.Read(file); err == nil {
		if err := json.Unmarshal(b, &former); err != nil {
			return nil, nil, fmt.Errorf("%s does not parse; remove it, and say --listen", file)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	var tries []string
	own := net.JoinHostPort(agent.Outward().String(), api.DefaultPort)
	host, port, _ := net.SplitHostPort(f.listen)
	formerHost, _, _ := net.SplitHostPort(former.Listen)
	switch {
	case f.loopback:
		if formerHost == "127.0.0.1" {
			tries = append(tries, former.Listen)
		}
		tries = append(tries, net.JoinHostPort("127.0.0.1", api.DefaultPort))
	case f.listen != "" && port == "0" && former.Listen != "" && formerHost == host:
		tries = []string{former.Listen, f.listen}
	case f.listen != "":
		tries = []string{f.listen}
	case former.Listen != "":
		tries = []string{former.Listen, own}
	default:
		tries = []string{own}
	}
	var l net.Listener
	var err error
	for _, t := range tries {
		if l, err = net.Listen("tcp", t); err == nil {
			break
		}
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, nil, fmt.Errorf("the address %s is taken by another program; stop that one, or have the authority listen elsewhere: mutual ca --listen ADDR, mutual serve … --ca-listen ADDR", tries[len(tries)-1])
	case err != nil:
		return nil, nil, fmt.Errorf("the authority can't listen on %s: %w", tries[len(tries)-1], err)
	}
	now := settings{Listen: l.Addr().String(), Advertise: f.advertise}
	if len(now.Advertise) == 0 {
		now.Advertise = former.Advertise
	}
	advertise := now.Advertise
	if len(advertise) == 0 {
		if advertise, err = agent.Advertise(l.Addr()); err != nil {
			_ = l.Close()
			return nil, nil, err
		}
	}
	if former.Listen != "" && former.Listen != now.Listen {
		log.Warn(fmt.Sprintf("the authority listened on %s before, and now on %s: agents find it again where they are told of it, and join lines of before lead nowhere", former.Listen, now.Listen))
	}
	b, err := json.MarshalIndent(now, "", "  ")
	if err == nil {
		err = folder.Write(file, append(b, '\n'))
	}
	if err != nil {
		_ = l.Close()
		return nil, nil, err
	}
	return l, advertise, nil
}

// readPassphrase is the first line of a file that is its owner's alone.
func readPassphrase(file string) ([]byte, error) {
	b, err := folder.Read(file)
	if err != nil {
		return nil, fmt.Errorf("--passphrase-file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	clear(b)
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return nil, fmt.Errorf("--passphrase-file: the first line of %s is empty", file)
	}
	return []byte(line), nil
}

// ofAuthority gives an error of the authority's, or of reaching it, its exit code.
func ofAuthority(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) {
		return err
	}
	return fail(exitOf(err), err)
}

// administer is the admin socket of this machine's authority.
func (a *app) administer() (*client.Admin, error) {
	dir, err := a.caFolder()
	if err != nil {
		return nil, err
	}
	return client.NewAdmin(dir), nil
}

// ofAdmin words the answer of an admin socket that nobody serves.
func (a *app) ofAdmin(err error) error {
	if errors.Is(err, client.ErrNoAuthority) {
		dir, _ := a.caFolder()
		return fail(exitUnreachable, fmt.Errorf("no authority runs on %s; start it with `mutual ca`, or say with --data where it lies", dir))
	}
	if errors.Is(err, fs.ErrPermission) {
		dir, _ := a.caFolder()
		return fail(exitFailed, fmt.Errorf("the authority on %s is another user's; run this as the user it runs as, or as root", dir))
	}
	return ofAuthority(err)
}
