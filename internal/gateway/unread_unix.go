//go:build unix

package gateway

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// unreadTime is how long a caller on a Unix socket that is to be refused has for
// saying something.
const unreadTime = time.Second

// awaitUnread waits until there is something to read in a Unix socket, so that it
// breaks when it is closed (see admission); a TCP connection breaks anyway.
func awaitUnread(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok || c.LocalAddr().Network() != "unix" {
		return
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(unreadTime))
	var one [1]byte
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
}
