package install

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// layout is how a distribution keeps the authorities that all programs trust.
type layout struct {
	name    string
	marker  string   // it is this distribution's where that is there
	anchors string   // the folder for one's own
	suffix  string   // of the files in it
	tool    []string // makes the bundle of it
	bundle  string   // what programs read
}

// The layouts; the first whose marker is there counts. SUSE's and Debian's tools
// have one name, and their folders tell them apart.
var layouts = []layout{
	{"Fedora", "/etc/pki/ca-trust/source", "/etc/pki/ca-trust/source/anchors", ".pem",
		[]string{"update-ca-trust", "extract"}, "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"},
	{"Arch", "/etc/ca-certificates/trust-source", "/etc/ca-certificates/trust-source/anchors", ".crt",
		[]string{"update-ca-trust"}, "/etc/ca-certificates/extracted/tls-ca-bundle.pem"},
	{"SUSE", "/etc/pki/trust", "/etc/pki/trust/anchors", ".pem",
		[]string{"update-ca-certificates"}, "/var/lib/ca-certificates/ca-bundle.pem"},
	{"Debian", "/etc/ssl/certs", "/usr/local/share/ca-certificates", ".crt", // Ubuntu and Alpine, too
		[]string{"update-ca-certificates"}, "/etc/ssl/certs/ca-certificates.crt"},
}

const (
	maxBundle = 16 << 20
	toolTime  = 2 * time.Minute
)

// system is the bundle of a distribution.
type system struct {
	machine *Machine
	layout  layout
}

func (m *Machine) systemStore() (store, error) {
	for _, l := range layouts {
		marker, err := within(m.Root, l.marker)
		if err != nil {
			return nil, err
		}
		if exists(marker) {
			return &system{m, l}, nil
		}
	}
	return nil, nil
}

func (s *system) kind() Kind    { return System }
func (s *system) place() string { return s.layout.anchors }

func (s *system) ready() error {
	if !s.machine.here() {
		return nil
	}
	if os.Geteuid() != 0 {
		return &unready{"the system's authorities are root's to change; run the command with sudo, or name other stores with --store"}
	}
	if _, err := exec.LookPath(s.layout.tool[0]); err != nil {
		return &unready{s.layout.tool[0] + " is missing; install the package ca-certificates"}
	}
	return nil
}

func (s *system) trusts(context.Context) (map[[32]byte]bool, error) {
	path, err := within(s.machine.Root, s.layout.bundle)
	if err != nil {
		return nil, err
	}
	b, err := slurp(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return fingerprints(b), nil
}

// plan names the file by the certificate, so that no other has that name.
func (s *system) plan(_ context.Context, c *pki.Certificate) (Entry, error) {
	e := entry(s, c, "mutual-"+fingerprint(c)[:16]+s.layout.suffix)
	for dir := s.layout.anchors; dir != "/"; dir = filepath.Dir(dir) {
		path, err := within(s.machine.Root, dir)
		if err != nil {
			return e, err
		}
		if exists(path) {
			break
		}
		e.Made = append(e.Made, dir)
	}
	if s.machine.here() {
		return e, nil
	}
	path, err := within(s.machine.Root, s.layout.bundle)
	if err != nil {
		return e, err
	}
	switch b, err := slurp(path); {
	case errors.Is(err, fs.ErrNotExist):
		for at := s.layout.bundle; at != "/"; at = filepath.Dir(at) {
			if path, err := within(s.machine.Root, at); err != nil || exists(path) {
				break
			}
			e.Made = append(e.Made, at)
		}
	case err != nil:
		return e, err
	case len(b) > 0 && b[len(b)-1] != '\n':
		e.Before = unended
	}
	return e, nil
}

// unended is a bundle whose last line has no end: it is given one, and loses it again.
const unended = "no end of line"

func (s *system) add(ctx context.Context, c *pki.Certificate, e Entry) error {
	dir, err := within(s.machine.Root, s.layout.anchors)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, e.Name), encode(c), 0o644); err != nil {
		return err
	}
	if s.machine.here() {
		if err := s.refresh(ctx); err != nil {
			return err
		}
	} else if err := s.edit(func(b []byte) []byte {
		if e.Before == unended {
			b = append(b, '\n')
		}
		return append(b, encode(c)...)
	}); err != nil {
		return err
	}
	trusted, err := s.trusts(ctx)
	if err == nil && !trusted[c.SHA256] {
		err = fmt.Errorf("%s ended well, and %s does not hold the root", s.layout.tool[0], s.layout.bundle)
	}
	return err
}

func (s *system) remove(ctx context.Context, c *pki.Certificate, e Entry) error {
	dir, err := within(s.machine.Root, s.layout.anchors)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, e.Name)
	if b, err := slurp(path); err == nil {
		// Somebody may have put something else there by now.
		if !fingerprints(b)[c.SHA256] {
			return fmt.Errorf("%s holds another certificate than the one that we put there; it is left", path)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if s.machine.here() {
		if err := s.refresh(ctx); err != nil {
			return err
		}
	} else if err := s.edit(func(b []byte) []byte { return without(b, encode(c), e.Before == unended) }); err != nil {
		return err
	}
	for _, made := range e.Made { // the innermost first; one that is not empty stays
		if path, err := within(s.machine.Root, made); err == nil {
			if info, err := os.Stat(path); err == nil && (info.IsDir() || info.Size() == 0) {
				_ = os.Remove(path)
			}
		}
	}
	return nil
}

// refresh has the distribution make its bundle.
func (s *system) refresh(ctx context.Context) error {
	_, err := run(ctx, nil, toolTime, s.layout.tool[0], s.layout.tool[1:]...)
	return err
}

// edit changes the bundle in a folder that stands for a machine, if there is one.
func (s *system) edit(change func([]byte) []byte) error {
	path, err := within(s.machine.Root, s.layout.bundle)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.create(path, change(nil))
	}
	if err != nil {
		return err
	}
	b, err := slurp(path)
	if err != nil {
		return err
	}
	return replace(path, change(b), info.Mode().Perm())
}

// create makes the bundle of a machine that had none, and an empty one goes.
func (s *system) create(path string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return replace(path, b, 0o644)
}

// without is b without the last of the blocks that are exactly block, and where
// that is wanted without the end of the line before it.
func without(b, block []byte, unended bool) []byte {
	i := bytes.LastIndex(b, block)
	if i < 0 {
		return b
	}
	rest := b[i+len(block):]
	if unended && i > 0 && len(rest) == 0 {
		i--
	}
	return append(bytes.Clone(b[:i]), rest...)
}

// fingerprints are those of the certificates in a bundle.
func fingerprints(b []byte) map[[32]byte]bool {
	found := make(map[[32]byte]bool)
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return found
		}
		if block.Type == "CERTIFICATE" {
			found[sum(block.Bytes)] = true
		}
	}
}

func slurp(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxBundle+1))
	if err == nil && len(b) > maxBundle {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxBundle)
	}
	return b, err
}

// replace writes a file whole or not at all.
func replace(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".mutual-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone, where all went well
	_, err = f.Write(b)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// run runs a program without input and gives what it said. It fails with the last
// thing that the program complained of.
func run(ctx context.Context, as *owner, limit time.Duration, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	as.dress(cmd)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(complaint.String())
		if said == "" {
			said = strings.TrimSpace(out.String())
		}
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		return nil, fmt.Errorf("%s failed (%w): %s", program, err, said)
	}
	return out.Bytes(), nil
}
