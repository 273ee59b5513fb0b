//go:build linux || darwin

package server

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// mayAdminister asks the kernel who connected.
func mayAdminister(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return errors.New("not a Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var uid uint32
	var uerr error
	if err := raw.Control(func(fd uintptr) { uid, uerr = callerOf(int(fd)) }); err != nil {
		return err
	}
	if uerr != nil {
		return uerr
	}
	if uid != 0 && int(uid) != os.Geteuid() {
		return fmt.Errorf("the user %d is neither this one nor root", uid)
	}
	return nil
}
