//go:build unix

package folder

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestAFolderIsItsOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := Make(dir); err != nil {
		t.Fatal(err)
	}
	if err := Make(dir); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	var u *Unsafe
	err := Make(dir)
	if !errors.As(err, &u) || !strings.Contains(u.Mend, "chmod 700") {
		t.Fatalf("a folder of its whole group: %v", err)
	}
	if out, err := exec.Command("sh", "-c", u.Mend).CombinedOutput(); err != nil {
		t.Fatalf("the mend fails: %s", out)
	}
	if err := Check(dir); err != nil {
		t.Errorf("mended as it says: %v", err)
	}
}

func TestAFolderOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	dir := filepath.Join(t.TempDir(), "a")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	var u *Unsafe
	if err := Make(dir); !errors.As(err, &u) || !strings.Contains(err.Error(), "chown") {
		t.Errorf("got %v", err)
	}
}

func TestALinkIsRefused(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := Check(link); err == nil {
		t.Error("a link passes")
	}
}

func TestAFileIsWrittenWholeAndPrivate(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "key")
	for _, what := range []string{"first", "second"} {
		if err := Write(file, []byte(what)); err != nil {
			t.Fatal(err)
		}
		got, err := Read(file)
		if err != nil || !bytes.Equal(got, []byte(what)) {
			t.Errorf("%q, %v", got, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil {
		t.Error("a key that everybody can read is read")
	}
	large := filepath.Join(dir, "large")
	if err := errors.Join(Write(large, nil), os.Truncate(large, MaxFile+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(large); err == nil {
		t.Errorf("more than %d bytes are read", MaxFile)
	}
	if _, err := Read(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestALockHoldsUntilItIsReleased(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	l, err := TryLock(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(file); !errors.Is(err, ErrLocked) {
		t.Errorf("a second holder: %v", err)
	}
	l.Release()
	l, err = TryLock(file)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}
