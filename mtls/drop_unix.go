//go:build unix

package mtls

import (
	"net"
	"syscall"
)

// dropReceived reads and drops what has already arrived, without waiting. A
// close with bytes unread makes the kernel send a reset, which may overtake, at
// the peer, data that we sent before.
func dropReceived(transport net.Conn) {
	sc, ok := transport.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	b := getSmall()
	defer putSmall(b)
	_ = raw.Read(func(fd uintptr) bool {
		for left := lingerBytes; left > 0; {
			n, err := syscall.Read(int(fd), *b)
			if n <= 0 || err != nil {
				break
			}
			left -= n
		}
		return true
	})
}

// exhausted says whether an accept failed because this process, or the machine,
// has no descriptor or memory left for now.
func exhausted(err syscall.Errno) bool {
	return err == syscall.EMFILE || err == syscall.ENFILE || err == syscall.ENOBUFS || err == syscall.ENOMEM || err == syscall.ECONNABORTED
}
