package mtls

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// temporary says whether an accept that failed is worth another try, and when:
// a process that has run out of descriptors gets some back as connections end.
func temporary(err error) (bool, time.Duration) {
	var errno syscall.Errno
	if errors.As(err, &errno) && exhausted(errno) {
		return true, 50 * time.Millisecond
	}
	return false, 0
}

// sleep waits for d, or for the end of ctx, and says which: true for d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
