package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// Where the authorities of Java lie, as the distributions install it. On some of
// them all lead to one file that is made with the system's bundle.
var keystores = []string{
	"/etc/ssl/certs/java/cacerts",
	"/etc/pki/ca-trust/extracted/java/cacerts",
	"/etc/ca-certificates/extracted/java-cacerts.jks",
	"/usr/lib/jvm/*/lib/security/cacerts",
	"/usr/lib/jvm/*/jre/lib/security/cacerts",
	"/usr/java/*/lib/security/cacerts",
	"/opt/java/*/lib/security/cacerts",
}

const (
	// storePass is the password of every cacerts that anybody ships. It keeps
	// nothing secret: there are only certificates in it.
	storePass = "changeit"
	javaTime  = 60 * time.Second
)

// java is a keystore of trusted authorities.
type java struct {
	machine *Machine
	path    string // as this process names it
	name    string // inside of the root
}

func (m *Machine) javaStores() []store {
	patterns := keystores
	if home := os.Getenv("JAVA_HOME"); home != "" && m.here() {
		patterns = append(patterns[:len(patterns):len(patterns)], filepath.Join(escaped(home), "lib/security/cacerts"))
	}
	root := ""
	if !m.here() {
		root = filepath.Clean(m.Root)
	}
	var all []store
	seen := make(map[string]bool)
	for _, p := range patterns {
		found, _ := filepath.Glob(escaped(root) + p) // a bad pattern finds nothing
		for _, f := range found {
			name := f[len(root):]
			path, err := within(m.Root, name)
			if err == nil && root == "" {
				path, err = filepath.EvalSymlinks(path)
			}
			if err != nil || seen[path] || !exists(path) {
				continue
			}
			seen[path] = true
			all = append(all, &java{m, path, name})
		}
	}
	return all
}

func (j *java) kind() Kind    { return Java }
func (j *java) place() string { return j.name }

// keytool is the one on the path, or that of the Java whose keystore it is.
func (j *java) keytool() string {
	if path, err := exec.LookPath("keytool"); err == nil {
		return path
	}
	for _, dir := range []string{filepath.Join(filepath.Dir(j.path), "../../bin"), filepath.Join(os.Getenv("JAVA_HOME"), "bin")} {
		if path, err := exec.LookPath(filepath.Join(dir, "keytool")); err == nil && j.machine.here() {
			return path
		}
	}
	return ""
}

func (j *java) ready() error {
	if j.keytool() == "" {
		return &unready{"keytool is missing, which changes the keystores of Java; install a Java runtime"}
	}
	f, err := os.OpenFile(j.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrPermission) {
		return &unready{"the keystore is not ours to write; run the command with sudo, or name other stores with --store"}
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (j *java) run(ctx context.Context, args ...string) ([]byte, error) {
	tool := j.keytool()
	if tool == "" {
		return nil, j.ready()
	}
	return run(ctx, nil, javaTime, tool, append([]string{"-J-Duser.language=en"}, append(args, "-keystore", j.path, "-storepass", storePass)...)...)
}

func (j *java) trusts(ctx context.Context) (map[[32]byte]bool, error) {
	out, err := j.run(ctx, "-list", "-rfc")
	if err != nil {
		return nil, err
	}
	return fingerprints(out), nil
}

// plan names the entry as the distribution's own tool has, where that was first.
func (j *java) plan(ctx context.Context, c *pki.Certificate) (Entry, error) {
	alias, err := j.alias(ctx, c)
	if alias == "" {
		alias = "mutual-" + fingerprint(c)[:16]
	}
	return entry(j, c, alias), err
}

// alias is what the keystore calls c; "" where it does not have it.
func (j *java) alias(ctx context.Context, c *pki.Certificate) (string, error) {
	out, err := j.run(ctx, "-list", "-rfc")
	if err != nil {
		return "", err
	}
	for _, part := range strings.Split(string(out), "Alias name: ")[1:] {
		alias, rest, _ := strings.Cut(part, "\n")
		if fingerprints([]byte(rest))[c.SHA256] {
			return strings.TrimRight(alias, "\r"), nil
		}
	}
	return "", nil
}

func (j *java) add(ctx context.Context, c *pki.Certificate, e Entry) error {
	f, err := os.CreateTemp("", "mutual-*.crt")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(encode(c))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	_, err = j.run(ctx, "-importcert", "-noprompt", "-trustcacerts", "-alias", e.Name, "-file", f.Name())
	return err
}

func (j *java) remove(ctx context.Context, c *pki.Certificate, e Entry) error {
	alias, err := j.alias(ctx, c)
	switch {
	case err != nil:
		return err
	case alias == "": // the distribution's own tool may have taken it out
		return nil
	case alias != e.Name:
		return fmt.Errorf("the root is there as %s and not as %s, which we made: it is left", alias, e.Name)
	}
	_, err = j.run(ctx, "-delete", "-alias", e.Name)
	return err
}
