//go:build !unix

package mtls

import (
	"net"
	"syscall"
)

// dropReceived has no way here to read without waiting.
func dropReceived(net.Conn) {}

func exhausted(syscall.Errno) bool { return false }
