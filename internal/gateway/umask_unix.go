//go:build unix

package gateway

import "syscall"

// ownOnly lets new files be their owner's alone until the answer is called. The
// mask is the whole process's, so this is for its start.
func ownOnly() (restore func()) {
	former := syscall.Umask(0o177)
	return func() { syscall.Umask(former) }
}
