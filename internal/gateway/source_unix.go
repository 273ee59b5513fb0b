//go:build unix

package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// sourceOf reads from. What the kernel holds for us is read without a buffer of our
// own while nothing comes: so a connection that waits costs none, and one with bytes
// gets a buffer that takes them at once.
func sourceOf(from net.Conn) source {
	if c, ok := from.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s := &kernelSource{raw: raw}
			s.try = s.read
			return s
		}
	}
	return &steadySource{from: from}
}

type kernelSource struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // read, made once
	b   *[]byte
	n   int
	err error
}

func (s *kernelSource) next() (*[]byte, int, error) {
	s.b, s.n, s.err = nil, 0, nil
	if err := s.raw.Read(s.try); err != nil {
		return nil, 0, err // closed, or its time is over
	}
	return s.b, s.n, s.err
}

// read is false where nothing is there yet: it is called again when something is.
func (s *kernelSource) read(fd uintptr) bool {
	b := bigPool.Get().(*[]byte)
	for {
		n, err := syscall.Read(int(fd), *b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err == nil && n > 0:
			s.b, s.n = b, n
			return true
		}
		bigPool.Put(b)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err == nil:
			err = io.EOF
		default:
			err = os.NewSyscallError("read", err)
		}
		s.err = err
		return true
	}
}
