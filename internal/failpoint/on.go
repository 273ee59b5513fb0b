//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

var passed atomic.Int64

// At kills the process where the test wants it killed here.
func At(name string) {
	want, count, _ := strings.Cut(os.Getenv("MUTUAL_FAILPOINT"), ":")
	if want != name {
		return
	}
	n, _ := strconv.ParseInt(count, 10, 64)
	if passed.Add(1) < n {
		return
	}
	// Not os.Exit: nothing may be flushed, closed or said on the way out.
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		_ = p.Kill()
	}
	select {}
}
