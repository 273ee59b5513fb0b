package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// The folders of a user are theirs alone by what they inherit; there are no
// permission bits to look at.
const hasModes = false

func defaultPlace() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "mutual"), err
}

func checkOwner(string, fs.FileInfo) error { return nil }

func syncFolder(string) error { return nil }

func tryLock(f *os.File) error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
