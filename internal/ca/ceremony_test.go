package ca_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

func TestTheTrustDomainIsNamedAfterTheRootUnlessTold(t *testing.T) {
	w := newWorld(t)
	s, err := w.Status(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := "mutual-" + s.Root[:8] + ".internal"; w.Domain() != want || s.Domain != want {
		t.Errorf("%s, expected %s", w.Domain(), want)
	}
	if told := newWorld(t, func(o *ca.Options) { o.Domain = "prod.example" }); told.Domain() != "prod.example" {
		t.Errorf("%s", told.Domain())
	}
	for _, domain := range []string{"Prod.example", "prod.example.", "a b", "*.a", "10.0.0.1", "a/b", strings.Repeat("a.", 127) + "ab"} {
		if err := ca.Create(t.Context(), ca.Options{Folder: filepath.Join(t.TempDir(), "ca"), Domain: domain}); err == nil {
			t.Errorf("%q became a trust domain", domain)
		}
	}
}

func TestTheFilesOfAnAuthorityAreItsOwnersAlone(t *testing.T) {
	w := newWorld(t)
	w.join("web")
	var names []string
	err := filepath.WalkDir(w.options.Folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names = append(names, d.Name())
		return folder.Check(path)
	})
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"ca.db", "root.key", "issuer-1.key", "issuer-2.key", "ca.crt", "lock"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no %s among %v", want, names)
		}
	}
	b, err := os.ReadFile(filepath.Join(w.options.Folder, "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := pki.ParsePEM(b); err != nil || len(c) != 1 || !c[0].Equal(w.Root()) {
		t.Errorf("ca.crt: %v, %v", c, err)
	}
}

func TestAFolderThatOthersCanReachIsRefused(t *testing.T) {
	w := newWorld(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.open()
	for _, name := range []string{".", "ca.db", "issuer-1.key"} {
		path := filepath.Join(w.options.Folder, name)
		if err := os.Chmod(path, 0o755); err != nil { //nolint:gosec // what the test is about
			t.Fatal(err)
		}
		_, err := ca.Open(w.ctx, w.options)
		var unsafe *folder.Unsafe
		if !errors.As(err, &unsafe) || !strings.Contains(unsafe.Mend, "chmod") {
			t.Errorf("%s: %v", name, err)
		}
		mode := fs.FileMode(0o600)
		if name == "." {
			mode = 0o700
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneProcessHasTheAuthority(t *testing.T) {
	w := newWorld(t)
	if _, err := ca.Open(w.ctx, w.options); !errors.Is(err, folder.ErrLocked) {
		t.Errorf("%v", err)
	}
	if err := ca.Create(w.ctx, w.options); !errors.Is(err, folder.ErrLocked) {
		t.Errorf("%v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ca.Create(w.ctx, w.options); !errors.Is(err, fs.ErrExist) {
		t.Errorf("%v", err)
	}
	w.open()
}

func TestTheRootKeyIsNotNeededByWhatRuns(t *testing.T) {
	w := newWorld(t)
	s, err := w.Status(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Encrypted || len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "unencrypted") {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(filepath.Join(w.options.Folder, "root.key")); err != nil {
		t.Fatal(err)
	}
	w.reopen()
	w.join("web")
	if s, err = w.Status(w.ctx); err != nil || len(s.Warnings) != 0 {
		t.Errorf("%v, %v", s.Warnings, err)
	}
}

func TestARootKeyUnderAPassphraseOpensWithItAlone(t *testing.T) {
	// Of whatever kind the key is: a phrase is stretched, which takes long.
	w := newWorld(t, func(o *ca.Options) { o.KeyType, o.Passphrase = "mldsa87", []byte("correct horse") })
	if ca.Exists(filepath.Dir(w.options.Folder)) || !ca.Exists(w.options.Folder) {
		t.Error("Exists is wrong")
	}
	b, err := os.ReadFile(filepath.Join(w.options.Folder, "root.key.age"))
	if err != nil || !bytes.HasPrefix(b, []byte("-----BEGIN AGE ENCRYPTED FILE-----")) {
		t.Fatalf("%v", err)
	}
	if _, err := os.Lstat(filepath.Join(w.options.Folder, "root.key")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a plain one, too: %v", err)
	}
	if s, err := w.Status(w.ctx); err != nil || !s.Encrypted || len(s.Warnings) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, wrong := range [][]byte{nil, []byte("wrong")} {
		o := w.options
		o.Passphrase = wrong
		if _, err := ca.NewRoot(w.ctx, o); err == nil || !strings.Contains(err.Error(), "passphrase") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	s, err := ca.NewRoot(w.ctx, w.options)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Verify(w.Domain(), []*pki.Certificate{w.Root()}, w.clock.Now()); err != nil || len(v.Roots) != 2 {
		t.Errorf("%v", err)
	}
}

func TestASecondRootIsAnnouncedAndFollowed(t *testing.T) {
	w := newWorld(t)
	first, err := w.Statement(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ca.NewRoot(w.ctx, w.options) // while the authority is open
	if err != nil {
		t.Fatal(err)
	}
	changed := w.Changed()
	if err := w.Announce(w.ctx, *s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Error("whoever follows the authority was not told")
	}
	check := func() {
		t.Helper()
		now, err := w.Statement(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		// An agent that knows the first root alone follows.
		v, err := now.Verify(w.Domain(), []*pki.Certificate{w.Root()}, w.clock.Now())
		if err != nil || v.Number != 2 || len(v.Roots) != 2 || !v.Roots[0].Equal(w.Root()) {
			t.Fatalf("%+v, %v", v, err)
		}
		st, err := w.Status(w.ctx)
		if err != nil || st.Statement != 2 || len(st.Issuers) != 4 || len(st.Warnings) != 2 {
			t.Errorf("%+v, %v", st, err)
		}
		out, _ := w.join("web")
		w.verify(out.Chain, "web", pki.ForServer)
	}
	check()
	w.reopen()
	check()
	for _, old := range []api.Statement{first, *s} {
		w.refused(w.Announce(w.ctx, old), code.StatementRefused)
	}
	third, err := ca.NewRoot(w.ctx, w.options)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Announce(w.ctx, *third); err != nil {
		t.Error(err)
	}
}

// key reads a key of the authority's, as a thief would.
func (w *world) key(name string) crypto.Signer {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.options.Folder, name))
	if err != nil {
		w.Fatal(err)
	}
	key, err := keystore.LoadKey(b)
	if err != nil {
		w.Fatal(err)
	}
	return key
}

// forge signs what a statement says with whatever keys.
func (w *world) forge(a api.Anchors, by map[crypto.Signer][32]byte) api.Statement {
	w.Helper()
	signed, err := json.Marshal(a)
	if err != nil {
		w.Fatal(err)
	}
	s := api.Statement{Signed: signed}
	for key, sum := range by {
		public, err := suite.PublicOf(key)
		if err != nil {
			w.Fatal(err)
		}
		scheme, err := api.StatementScheme(public)
		if err != nil {
			w.Fatal(err)
		}
		sig, err := suite.Sign(nil, key, scheme, api.StatementBytes(signed))
		if err != nil {
			w.Fatal(err)
		}
		s.Signatures = append(s.Signatures, api.StatementSignature{Root: sum[:], Signature: sig})
	}
	return s
}

func TestAStatementThatTheRootDidNotSignIsRefused(t *testing.T) {
	w := newWorld(t)
	evil := newWorld(t, func(o *ca.Options) { o.Domain = w.Domain() })
	out, _ := w.join("web")
	issuer, err := pki.Parse(out.Chain[1])
	if err != nil {
		t.Fatal(err)
	}
	root, theirs := w.Root(), evil.Root()
	end := root.NotAfter().Add(-time.Hour)
	own, stolen, foreign := w.key("root.key"), w.key("issuer-1.key"), evil.key("root.key")
	anchors := func(change func(*api.Anchors)) api.Anchors {
		a := api.Anchors{Domain: w.Domain(), Number: 2, NotAfter: end, Roots: [][]byte{root.Raw, theirs.Raw}}
		if change != nil {
			change(&a)
		}
		return a
	}
	both := map[crypto.Signer][32]byte{own: root.SHA256, foreign: theirs.SHA256}
	for what, s := range map[string]api.Statement{
		"by the issuer alone":               w.forge(anchors(nil), map[crypto.Signer][32]byte{stolen: issuer.SHA256}),
		"by the issuer in the root's name":  w.forge(anchors(nil), map[crypto.Signer][32]byte{stolen: root.SHA256, foreign: theirs.SHA256}),
		"by the new root alone":             w.forge(anchors(nil), map[crypto.Signer][32]byte{foreign: theirs.SHA256}),
		"by the old root alone":             w.forge(anchors(nil), map[crypto.Signer][32]byte{own: root.SHA256}),
		"by nobody":                         w.forge(anchors(nil), nil),
		"of another domain":                 w.forge(anchors(func(a *api.Anchors) { a.Domain = "elsewhere.example" }), both),
		"with the number in force":          w.forge(anchors(func(a *api.Anchors) { a.Number = 1 }), both),
		"past its end":                      w.forge(anchors(func(a *api.Anchors) { a.NotAfter = w.clock.Now().Add(-time.Hour) }), both),
		"that outlives its roots":           w.forge(anchors(func(a *api.Anchors) { a.NotAfter = root.NotAfter().Add(time.Hour) }), both),
		"without roots":                     w.forge(anchors(func(a *api.Anchors) { a.Roots = nil }), both),
		"without the root of the issuer":    w.forge(anchors(func(a *api.Anchors) { a.Roots = a.Roots[1:] }), both),
		"with the issuer among the anchors": w.forge(anchors(func(a *api.Anchors) { a.Roots = [][]byte{root.Raw, issuer.Raw} }), map[crypto.Signer][32]byte{own: root.SHA256, foreign: theirs.SHA256}),
	} {
		w.refused(w.Announce(w.ctx, s), code.StatementRefused)
		if strings.HasPrefix(what, "by the issuer") {
			if _, err := s.Verify(w.Domain(), []*pki.Certificate{root}, w.clock.Now()); err == nil {
				t.Errorf("an agent would follow a statement %s", what)
			}
		}
	}
	if s, err := w.Status(w.ctx); err != nil || s.Statement != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if err := w.Announce(w.ctx, w.forge(anchors(nil), both)); err != nil {
		t.Errorf("by both: %v", err)
	}
}

func TestTheAuthorityWarnsNinetyDaysBeforeACertificateOfItsOwnEnds(t *testing.T) {
	w := newWorld(t)
	about := func() (n int) {
		s, err := w.Status(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range s.Warnings {
			if regexp.MustCompile(`ends? .*(days|at)`).MatchString(text) && strings.Contains(text, "issuer") {
				n++
			}
		}
		return n
	}
	w.clock.move((3*365 - 91) * 24 * time.Hour)
	if n := about(); n != 0 {
		t.Errorf("%d warnings 91 days before", n)
	}
	w.clock.move(2 * 24 * time.Hour)
	if n := about(); n != 2 { // issuer and standby issuer
		t.Errorf("%d warnings 89 days before", n)
	}
}

func TestTheAuthorityOfAnUnfinishedCeremonyIsRefused(t *testing.T) {
	w := newWorld(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	db, crt := filepath.Join(w.options.Folder, "ca.db"), filepath.Join(w.options.Folder, "ca.crt")
	kept, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	// The database of a finished one is missing: that is no reason to begin anew.
	if _, err := ca.Open(w.ctx, w.options); !errors.Is(err, ca.ErrStore) || !strings.Contains(err.Error(), "copy") {
		t.Errorf("%v", err)
	}
	if err := os.Remove(crt); err != nil {
		t.Fatal(err)
	}
	_, err = ca.Open(w.ctx, w.options)
	w.refused(err, code.AuthorityUnfinished)
	if err := os.WriteFile(db, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = ca.Open(w.ctx, w.options)
	w.refused(err, code.AuthorityUnfinished)
	if !ca.Exists(w.options.Folder) {
		t.Error("a half-made authority is none")
	}
	for _, f := range []string{db + "-wal", db + "-shm"} {
		_ = os.Remove(f)
	}
	if err := os.WriteFile(db, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open() // only people's copy of the root was missing
	if _, err := os.Lstat(crt); err != nil {
		t.Error(err)
	}
}

func TestADamagedDatabaseIsRefusedWithHowToRestoreIt(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		w.join("web")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	defer w.open()
	db := filepath.Join(w.options.Folder, "ca.db")
	good, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	torn := bytes.Clone(good)
	for i := len(torn) / 2; i < len(torn)/2+8192; i++ {
		torn[i] = 0xa5
	}
	for what, b := range map[string][]byte{"torn": torn, "cut off": good[:len(good)/2], "no database": []byte(strings.Repeat("nothing here\n", 1000))} {
		if err := os.WriteFile(db, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ca.Open(w.ctx, w.options)
		if !errors.Is(err, ca.ErrStore) || !strings.Contains(err.Error(), "put a copy of it") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, f := range []string{db + "-wal", db + "-shm"} {
		_ = os.Remove(f)
	}
	if err := os.WriteFile(db, good, 0o600); err != nil {
		t.Fatal(err)
	}
}
