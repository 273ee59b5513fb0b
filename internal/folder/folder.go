package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Default is where data lies if nobody says otherwise: /var/lib/mutual for root,
// else $XDG_STATE_HOME/mutual, and the platform's own place elsewhere.
func Default() (string, error) { return defaultPlace() }

// Make makes a private folder, and those above it that are missing, or checks
// the one that is there. A folder that others can enter, or that belongs to
// somebody else, is refused.
func Make(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return &Unwritten{path, err}
	}
	return Check(path)
}

// Check refuses a folder or a file that is not its owner's alone, or whose owner
// is somebody else, with the command that mends it.
func Check(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return &Unsafe{path, "it is a symbolic link, which may lead anywhere", "give the place that it leads to"}
	}
	if err := checkOwner(path, info); err != nil {
		return err
	}
	want := fs.FileMode(0o600)
	if info.IsDir() {
		want = 0o700
	}
	if mode := info.Mode().Perm(); hasModes && mode&0o077 != 0 {
		return &Unsafe{path, fmt.Sprintf("others than its owner can reach it (mode %04o)", mode),
			fmt.Sprintf("chmod %o %s", want, strconv.Quote(path))}
	}
	return nil
}

// Unsafe is a folder or file that is not its owner's alone.
type Unsafe struct{ Path, Why, Mend string }

// Error is one sentence with the mend.
func (u *Unsafe) Error() string {
	return fmt.Sprintf("%s is not safe for private keys: %s; mend it with: %s", u.Path, u.Why, u.Mend)
}

// Unwritten is a folder or file that could not be written: a full disk, missing
// rights. What was there before is there still.
type Unwritten struct {
	Path  string
	Cause error
}

// Error is one sentence.
func (u *Unwritten) Error() string { return fmt.Sprintf("%s can't be written: %v", u.Path, u.Cause) }

// Unwrap is the cause.
func (u *Unwritten) Unwrap() error { return u.Cause }

// MaxFile is the most that Read reads.
const MaxFile = 16 << 20

// Read reads a private file whole, after Check. An error is fs.ErrNotExist where
// there is none.
func Read(path string) ([]byte, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if info.Size() > MaxFile {
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", path, info.Size(), MaxFile)
	}
	// One buffer, so that no copy of a key stays behind.
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		clear(b)
		return nil, fmt.Errorf("%s can't be read whole: %w", path, err)
	}
	return b, nil
}

// Write puts a private file (0600) in the place of what was there: whoever looks,
// also after a crash, finds the former or the new one, whole.
func Write(path string, b []byte) error {
	fail := func(err error) error { return &Unwritten{path, err} }
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fail(errors.New("it is a folder; give the name of a file"))
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if errors.Is(err, fs.ErrNotExist) {
		return fail(fmt.Errorf("there is no folder %s: %w", filepath.Dir(path), fs.ErrNotExist))
	}
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fail(err)
	}
	return syncFolder(filepath.Dir(path))
}

// ErrLocked is Lock's answer while another process holds the lock.
var ErrLocked = errors.New("another process holds the lock")

// Lock is a lock that is held. Its holder's end, by whatever cause, releases it.
type Lock struct{ f *os.File }

// TryLock takes the lock of a file, which is made where it is missing, or answers
// ErrLocked at once.
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := tryLock(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &Lock{f}, nil
}

// Release gives the lock back.
func (l *Lock) Release() { _ = l.f.Close() }
