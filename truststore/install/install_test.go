//go:build unix

package install

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/pki"
)

// image is a folder that stands for a machine of one distribution.
type image struct {
	t    *testing.T
	root string
}

func newImage(t *testing.T, files map[string]string) *image {
	t.Helper()
	i := &image{t, t.TempDir()}
	for name, text := range files {
		path := filepath.Join(i.root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch to, link := strings.CutPrefix(text, "-> "); {
		case link:
			err = os.Symlink(to, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func (i *image) machine() *Machine {
	return &Machine{Root: i.root, Home: "/root", Kinds: []Kind{System}, Unconstrained: true, Receipt: filepath.Join(i.t.TempDir(), "trust", "receipt.json")}
}

// all is everything in it: names, links, contents, modes.
func (i *image) all() map[string]string {
	found := make(map[string]string)
	err := filepath.WalkDir(i.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " " + to
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += "\n" + string(b)
		}
		found[path[len(i.root):]] = text
		return nil
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return found
}

func (i *image) unchanged(before map[string]string) {
	i.t.Helper()
	after := i.all()
	for name, text := range before {
		if after[name] != text {
			i.t.Errorf("%s is now %q and was %q", name, after[name], text)
		}
	}
	for name := range after {
		if _, was := before[name]; !was {
			i.t.Errorf("%s was not there before", name)
		}
	}
}

func root(t *testing.T, opts ...mint.Option) *pki.Certificate {
	t.Helper()
	c, err := pki.Parse(mint.Root("an authority of ours", opts...).DER)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// do has one store do it, and wants the action.
func do(t *testing.T, want Action, steps []Step, err error) Step {
	t.Helper()
	if err != nil || len(steps) != 1 || steps[0].Action != want {
		t.Fatalf("%+v, %v; wanted %q", steps, err, want)
	}
	return steps[0]
}

func TestEachDistributionsLayoutTakesARootAndGivesItBackExactly(t *testing.T) {
	other := string(mint.Root("another").PEM())
	for name, l := range map[string]struct {
		files   map[string]string
		anchors string
		bundle  string
	}{
		"Debian, Ubuntu": {map[string]string{"etc/ssl/certs/ca-certificates.crt": other, "usr/local/share/ca-certificates/": ""},
			"usr/local/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt"},
		"Debian without a folder for one's own": {map[string]string{"etc/ssl/certs/ca-certificates.crt": other},
			"usr/local/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt"},
		"Alpine, whose cert.pem is a link": {map[string]string{"etc/ssl/certs/ca-certificates.crt": other, "etc/ssl/cert.pem": "-> certs/ca-certificates.crt"},
			"usr/local/share/ca-certificates", "etc/ssl/cert.pem"},
		"Fedora": {map[string]string{"etc/pki/ca-trust/source/anchors/": "", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem": other,
			"etc/pki/tls/certs/ca-bundle.crt": "-> /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "etc/ssl/certs": "-> ../pki/tls/certs"},
			"etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"},
		"Arch": {map[string]string{"etc/ca-certificates/trust-source/anchors/": "", "etc/ca-certificates/extracted/tls-ca-bundle.pem": other,
			"etc/ssl/certs/ca-certificates.crt": "-> ../../ca-certificates/extracted/tls-ca-bundle.pem"},
			"etc/ca-certificates/trust-source/anchors", "etc/ca-certificates/extracted/tls-ca-bundle.pem"},
		"SUSE": {map[string]string{"etc/pki/trust/anchors/": "", "var/lib/ca-certificates/ca-bundle.pem": other},
			"etc/pki/trust/anchors", "var/lib/ca-certificates/ca-bundle.pem"},
		"a bundle whose last line has no end": {map[string]string{"etc/ssl/certs/ca-certificates.crt": strings.TrimRight(other, "\n")},
			"usr/local/share/ca-certificates", "etc/ssl/certs/ca-certificates.crt"},
		"no bundle yet": {map[string]string{"etc/pki/ca-trust/source/anchors/": ""},
			"etc/pki/ca-trust/source/anchors", "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			i, c := newImage(t, l.files), root(t)
			before, m, ctx := i.all(), i.machine(), context.Background()

			steps, err := m.Check(ctx, c)
			do(t, Untrusted, steps, err)
			if exists(filepath.Dir(m.Receipt)) {
				t.Error("looking made a folder")
			}

			dry := *m
			dry.DryRun = true
			steps, err = dry.Install(ctx, c)
			do(t, WouldAdd, steps, err)
			i.unchanged(before)

			steps, err = m.Install(ctx, c)
			if s := do(t, Added, steps, err); !s.Ours {
				t.Errorf("%+v", s)
			}
			b, err := os.ReadFile(filepath.Join(i.root, l.bundle))
			if err != nil || !fingerprints(b)[c.SHA256] {
				t.Errorf("the bundle does not hold it: %v", err)
			}
			files, err := os.ReadDir(filepath.Join(i.root, l.anchors))
			if err != nil || len(files) != 1 {
				t.Fatalf("%v, %v", files, err)
			}
			b, err = os.ReadFile(filepath.Join(i.root, l.anchors, files[0].Name()))
			if err != nil || string(b) != string(encode(c)) {
				t.Errorf("%s, %v", b, err)
			}

			with := i.all()
			steps, err = m.Install(ctx, c)
			if s := do(t, Already, steps, err); !s.Ours {
				t.Errorf("%+v", s)
			}
			i.unchanged(with)
			steps, err = m.List(ctx)
			do(t, Trusted, steps, err)

			dry.DryRun = true
			steps, err = dry.Uninstall(ctx)
			do(t, WouldRemove, steps, err)
			i.unchanged(with)

			steps, err = m.Uninstall(ctx)
			do(t, Removed, steps, err)
			i.unchanged(before)
			steps, err = m.Uninstall(ctx, c)
			do(t, Absent, steps, err)
			if steps, err = m.List(ctx); err != nil || len(steps) > 0 {
				t.Errorf("%v, %v", steps, err)
			}
		})
	}
}

func TestARootThatWasThereBeforeUsIsNeverRemoved(t *testing.T) {
	c := root(t)
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": string(encode(c)), "usr/local/share/ca-certificates/theirs.crt": string(encode(c))})
	before, m, ctx := i.all(), i.machine(), context.Background()
	steps, err := m.Install(ctx, c)
	if s := do(t, Already, steps, err); s.Ours {
		t.Errorf("it is said to be ours: %+v", s)
	}
	if steps, err = m.Uninstall(ctx); err != nil || len(steps) > 0 {
		t.Errorf("%v, %v", steps, err)
	}
	steps, err = m.Uninstall(ctx, c)
	do(t, Left, steps, err)
	i.unchanged(before)
}

// Somebody else may add the same root while ours is there.
func TestTakingOursOutLeavesTheOneThatCameAfter(t *testing.T) {
	c := root(t)
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": ""})
	m, ctx := i.machine(), context.Background()
	steps, err := m.Install(ctx, c)
	do(t, Added, steps, err)
	bundle := filepath.Join(i.root, "etc/ssl/certs/ca-certificates.crt")
	b, _ := os.ReadFile(bundle)
	if err := os.WriteFile(bundle, append(b, encode(c)...), 0o644); err != nil {
		t.Fatal(err)
	}
	steps, err = m.Uninstall(ctx)
	do(t, Left, steps, err)
	if b, _ := os.ReadFile(bundle); string(b) != string(encode(c)) {
		t.Errorf("%q", b)
	}
}

// A crash between the receipt and the deed leaves an entry without its deed.
func TestAnEntryWithoutItsDeedUndoesNothing(t *testing.T) {
	c := root(t)
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": ""})
	before, m, ctx := i.all(), i.machine(), context.Background()
	r, err := m.receipt()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.lock(); err != nil {
		t.Fatal(err)
	}
	s, err := m.systemStore()
	if err != nil {
		t.Fatal(err)
	}
	e, err := s.plan(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.note(e); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Uninstall(ctx); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("two processes at once: %v", err)
	}
	r.unlock()
	steps, err := m.Uninstall(ctx)
	do(t, Removed, steps, err)
	i.unchanged(before)
}

func TestAFileThatIsNotOursAnyMoreIsLeft(t *testing.T) {
	c := root(t)
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": ""})
	m, ctx := i.machine(), context.Background()
	steps, err := m.Install(ctx, c)
	do(t, Added, steps, err)
	files, _ := filepath.Glob(filepath.Join(i.root, "usr/local/share/ca-certificates/*"))
	if err := os.WriteFile(files[0], mint.Root("somebody's").PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Uninstall(ctx); err == nil || !strings.Contains(err.Error(), "it is left") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(files[0]); err != nil {
		t.Error("it was removed")
	}
}

func TestOnlyRootsThatMayBeTrustedAreInstalled(t *testing.T) {
	authority := mint.Root("root")
	leaves, err := pki.ParsePEM(mint.SelfSigned("a leaf").CertPEM())
	if err != nil {
		t.Fatal(err)
	}
	intermediate, err := pki.Parse(authority.Intermediate("issuer").DER)
	if err != nil {
		t.Fatal(err)
	}
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": ""})
	before := i.all()
	for name, c := range map[string]struct {
		cert *pki.Certificate
		said string
	}{
		"a leaf":          {leaves[0], "not an authority"},
		"an intermediate": {intermediate, "not a root"},
		"an old root":     {root(t, mint.Valid(time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))), "ended on"},
	} {
		if _, err := i.machine().Install(context.Background(), c.cert); err == nil || !strings.Contains(err.Error(), c.said) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := i.machine()
	m.Unconstrained = false
	var unlimited *Unlimited
	if _, err := m.Install(context.Background(), root(t)); !errors.As(err, &unlimited) {
		t.Errorf("a root that speaks for every name: %v", err)
	}
	i.unchanged(before)
	steps, err := m.Install(context.Background(), root(t, mint.NameConstraints("internal.example")))
	do(t, Added, steps, err)
}

// A folder that is not ours may hold links that lead out of it.
func TestNoLinkLeadsOutOfTheFolder(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "bundle.crt")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	i := newImage(t, map[string]string{"etc/ssl/certs/ca-certificates.crt": "-> " + strings.Repeat("../", 20) + outside[1:], "usr/local/share/ca-certificates": "-> " + filepath.Dir(outside)})
	if _, err := i.machine().Install(context.Background(), root(t)); err != nil {
		t.Log(err)
	}
	if b, err := os.ReadFile(outside); err != nil || len(b) > 0 {
		t.Errorf("it was written to: %q, %v", b, err)
	}
	if files, _ := os.ReadDir(filepath.Dir(outside)); len(files) != 1 {
		t.Errorf("%v", files)
	}
	loop := newImage(t, map[string]string{"etc/ssl/certs": "-> certs"})
	if _, err := loop.machine().Install(context.Background(), root(t)); err == nil {
		t.Error("a link to itself led somewhere")
	}
}

// NSS knows no ML-DSA as yet. One that does trusts the root.
func TestARootThatBrowsersDoNotKnowTheKeyOfIsToldSo(t *testing.T) {
	peers.Need(t, "certutil")
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".mozilla", "firefox", "abc.default"), 0o700); err != nil {
		t.Fatal(err)
	}
	m := &Machine{Home: home, Kinds: []Kind{NSS}, Unconstrained: true, Receipt: filepath.Join(t.TempDir(), "trust", "receipt.json")}
	steps, err := m.Install(context.Background(), root(t, mint.Key("mldsa65")))
	if err == nil {
		for _, s := range steps {
			if s.Action != Added {
				t.Errorf("%+v", s)
			}
		}
		return
	}
	for _, s := range steps {
		if s.Action != Failed || !strings.Contains(s.Detail, "no root with a key of ML-DSA-65") || s.Ours {
			t.Errorf("%+v", s)
		}
	}
	if kept, err := m.List(context.Background()); err != nil || len(kept) != 0 {
		t.Errorf("it is on the receipt: %+v, %v", kept, err)
	}
}

func TestADatabaseOfNSSGetsBackItsOldTrust(t *testing.T) {
	certutil := peers.Need(t, "certutil")
	home, ctx := t.TempDir(), context.Background()
	c := root(t)
	profile := filepath.Join(home, ".mozilla", "firefox", "abc.default")
	if err := os.MkdirAll(profile, 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, code := peers.Run(t, "", certutil, append([]string{"-d", "sql:" + profile}, args...)...)
		if code != 0 {
			t.Fatalf("certutil %v: %s", args, out)
		}
		return out
	}
	run("-N", "--empty-password")
	file := filepath.Join(home, "root.crt")
	if err := os.WriteFile(file, encode(c), 0o644); err != nil {
		t.Fatal(err)
	}
	run("-A", "-n", "known, not trusted", "-t", ",,", "-i", file)
	m := &Machine{Home: home, Kinds: []Kind{NSS}, Unconstrained: true, Receipt: filepath.Join(t.TempDir(), "trust", "receipt.json")}
	before := run("-L")
	step := func(steps []Step, err error) Action {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Place == profile {
				return s.Action
			}
		}
		t.Fatalf("%+v", steps)
		return ""
	}
	if a := step(m.Install(ctx, c)); a != Added {
		t.Error(a)
	}
	if a := step(m.Check(ctx, c)); a != Trusted {
		t.Error(a)
	}
	if a := step(m.Install(ctx, c)); a != Already {
		t.Error(a)
	}
	if a := step(m.Uninstall(ctx)); a != Removed {
		t.Error(a)
	}
	if after := run("-L"); after != before {
		t.Errorf("before:%s\nafter:%s", before, after)
	}
	if exists(filepath.Join(home, ".pki")) {
		t.Error("the database that was made for Chromium is there still")
	}
}
