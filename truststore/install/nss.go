package install

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// Where NSS databases lie in a home folder: Chromium's, then Firefox's profiles,
// as the distribution, Snap and Flatpak install them.
var nssFolders = []string{
	".pki/nssdb",
	".local/share/pki/nssdb",
	"snap/chromium/current/.pki/nssdb",
	".mozilla/firefox/*",
	".config/mozilla/firefox/*",
	"snap/firefox/common/.mozilla/firefox/*",
	".var/app/org.mozilla.firefox/.mozilla/firefox/*",
}

// Programs that read .pki/nssdb, and make it only once they are told to trust
// something: where one is installed, we make it.
var chromiums = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser", "microsoft-edge"}

const (
	nssTime = 20 * time.Second
	maxNSS  = 4096 // certificates in a database
)

// nss is one database of NSS (cert9.db; the older cert8.db is not read any more).
type nss struct {
	machine *Machine
	path    string // as this process names it
	name    string // inside of the root
	missing bool
}

func (m *Machine) nssStores() []store {
	home := m.home()
	if home == "" {
		return nil
	}
	var all []store
	seen := make(map[string]bool)
	chromium := false
	for i, pattern := range nssFolders {
		dir, err := within(m.Root, filepath.Join(home, filepath.Dir(pattern)))
		if err != nil {
			continue
		}
		found, err := filepath.Glob(filepath.Join(escaped(dir), filepath.Base(pattern)))
		if err != nil {
			continue
		}
		for _, f := range found {
			real, err := filepath.EvalSymlinks(f)
			if err != nil || seen[real] || !exists(filepath.Join(real, "cert9.db")) {
				continue
			}
			if !m.here() && !strings.HasPrefix(real, filepath.Clean(m.Root)+"/") {
				continue // a link that leads out
			}
			seen[real] = true
			chromium = chromium || i < 2
			all = append(all, &nss{machine: m, path: real, name: filepath.Join(home, filepath.Dir(pattern), filepath.Base(f))})
		}
	}
	if !chromium && m.here() {
		for _, p := range chromiums {
			if _, err := exec.LookPath(p); err == nil {
				dir := filepath.Join(home, nssFolders[0])
				return append(all, &nss{machine: m, path: dir, name: dir, missing: !exists(filepath.Join(dir, "cert9.db"))})
			}
		}
	}
	return all
}

// escaped is dir without meaning for Glob.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

func (n *nss) kind() Kind    { return NSS }
func (n *nss) place() string { return n.name }

func (n *nss) ready() error {
	if _, err := exec.LookPath("certutil"); err != nil {
		return &unready{"certutil is missing, which changes the databases of Chromium and Firefox; install the package libnss3-tools (Debian), nss-tools (Fedora) or nss (Arch)"}
	}
	return nil
}

// certutil never asks: it has no terminal and no input.
func (n *nss) certutil(ctx context.Context, args ...string) ([]byte, error) {
	if err := n.ready(); err != nil {
		return nil, err
	}
	return run(ctx, n.machine.as(), nssTime, "certutil", append([]string{"-d", "sql:" + n.path}, args...)...)
}

// known are the certificates of the database with nickname and trust.
type known struct{ nickname, trust string }

func (n *nss) list(ctx context.Context) (map[[32]byte]known, error) {
	if n.missing {
		return nil, nil
	}
	out, err := n.certutil(ctx, "-L")
	if err != nil {
		return nil, err
	}
	found := make(map[[32]byte]known)
	for line := range strings.SplitSeq(string(out), "\n") {
		line = strings.TrimRight(line, " ")
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.Count(line[i:], ",") != 2 || strings.Contains(line[i:], "/") {
			continue // the heading
		}
		k := known{strings.TrimRight(line[:i], " "), line[i+1:]}
		if k.nickname == "" {
			continue
		}
		if len(found) == maxNSS {
			return nil, fmt.Errorf("%s holds more than %d certificates", n.name, maxNSS)
		}
		text, err := n.certutil(ctx, "-L", "-n", k.nickname, "-a")
		if err != nil {
			continue // another's nickname that certutil itself can't find again
		}
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			found[sum(block.Bytes)] = k
		}
	}
	return found, nil
}

func (n *nss) trusts(ctx context.Context) (map[[32]byte]bool, error) {
	list, err := n.list(ctx)
	trusted := make(map[[32]byte]bool)
	for s, k := range list {
		ssl, _, _ := strings.Cut(k.trust, ",")
		trusted[s] = strings.ContainsRune(ssl, 'C')
	}
	return trusted, err
}

func (n *nss) plan(ctx context.Context, c *pki.Certificate) (Entry, error) {
	e := entry(n, c, "mutual "+fingerprint(c)[:16])
	list, err := n.list(ctx)
	if err != nil {
		return e, err
	}
	if k, ok := list[c.SHA256]; ok { // known, and not trusted: it gets its old trust back
		e.Name, e.Before = k.nickname, k.trust
	}
	if n.missing {
		for dir := n.path; !exists(dir); dir = filepath.Dir(dir) {
			e.Made = append(e.Made, dir)
		}
		if len(e.Made) == 0 { // the folder is there without a database
			e.Made = []string{filepath.Join(n.path, "cert9.db")}
		}
	}
	return e, nil
}

func (n *nss) add(ctx context.Context, c *pki.Certificate, e Entry) error {
	if n.missing {
		if err := n.machine.as().mkdir(n.path); err != nil {
			return err
		}
		n.missing = false
		if _, err := n.certutil(ctx, "-N", "--empty-password"); err != nil {
			return err
		}
	}
	if e.Before != "" {
		_, err := n.certutil(ctx, "-M", "-n", e.Name, "-t", "C,,")
		return err
	}
	file, err := os.CreateTemp("", "mutual-*.crt")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(encode(c))
	if err == nil {
		err = file.Chmod(0o644) // certutil may run as somebody else
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	_, err = n.certutil(ctx, "-A", "-n", e.Name, "-t", "C,,", "-i", file.Name())
	if name := pki.KeyName(c.Key); err != nil && strings.HasPrefix(name, "ML-DSA") {
		return fmt.Errorf("the browsers here take no root with a key of %s, which their NSS does not know; they need an authority with another kind of key (p256): %w", name, err)
	}
	return err
}

func (n *nss) remove(ctx context.Context, c *pki.Certificate, e Entry) error {
	list, err := n.list(ctx)
	if err != nil {
		return err
	}
	k, there := list[c.SHA256]
	switch {
	case !there:
	case e.Before != "":
		_, err = n.certutil(ctx, "-M", "-n", k.nickname, "-t", e.Before)
	default:
		_, err = n.certutil(ctx, "-D", "-n", k.nickname)
	}
	if err != nil || len(e.Made) == 0 || n.missing {
		return err
	}
	return n.unmake(ctx, e.Made)
}

// unmake takes away a database that we made, where nothing else came to be in it.
func (n *nss) unmake(ctx context.Context, made []string) error {
	list, err := n.list(ctx)
	if err != nil || len(list) > 0 {
		return err
	}
	if keys, err := n.certutil(ctx, "-K"); err == nil && len(keys) > 0 && strings.Contains(string(keys), "<") {
		return nil
	}
	for _, f := range []string{"cert9.db", "key4.db", "pkcs11.txt"} {
		_ = os.Remove(filepath.Join(n.path, f))
	}
	n.missing = true
	for _, dir := range made {
		_ = os.Remove(dir) // one that is not empty stays
	}
	return nil
}

func sum(der []byte) [32]byte { return sha256.Sum256(der) }
