package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mutual-tls/mutual/identity"
)

// Address is where to listen or whom to reach: HOST:PORT, :PORT or unix:PATH.
type Address struct{ Network, Address string }

// ParseAddress reads an Address.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		switch {
		case path == "":
			return Address{}, errors.New("the address unix: has no path; write unix:/run/orders.sock")
		case len(path) > 107: // sun_path, unix(7)
			return Address{}, fmt.Errorf("the path of a Unix socket has at most 107 bytes, and this one %d", len(path))
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("%s is not an address; write HOST:PORT, :PORT or unix:PATH", identity.Quote(s))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
			return Address{}, fmt.Errorf("%s has no port between 0 and 65535", identity.Quote(s))
		}
	}
	return Address{"tcp", net.JoinHostPort(host, port)}, nil
}

// String is the address as it is written.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Address
	}
	return a.Address
}

// Of is the Address of a net.Addr.
func Of(a net.Addr) Address { return Address{a.Network(), a.String()} }

// Listen listens there. A Unix socket that nobody listens on any more is put
// away first, and the new one is its owner's alone. flag is the one that gave the
// address, for the words of an error.
func (a Address) Listen(flag string) (net.Listener, error) {
	if a.Network == "unix" {
		return a.listenUnix(flag)
	}
	l, err := net.Listen(a.Network, a.Address)
	if err != nil {
		return nil, a.explain(flag, err)
	}
	return l, nil
}

func (a Address) explain(flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("the address %s is taken by another program; stop that one, or give another with %s: %w", a, flag, err)
	case errors.Is(err, syscall.EACCES) && a.Network == "unix":
		return fmt.Errorf("the socket %s can't be made by this user; give another path with %s: %w", a, flag, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("the address %s needs rights that this program does not have; give a port of 1024 or above with %s: %w", a, flag, err)
	}
	return fmt.Errorf("can't listen on %s, which %s says: %w", a, flag, err)
}

func (a Address) listenUnix(flag string) (net.Listener, error) {
	if st, err := os.Lstat(a.Address); err == nil {
		if st.Mode()&os.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and is no socket; move it away, or give another path with %s", a.Address, flag)
		}
		c, err := net.DialTimeout("unix", a.Address, time.Second)
		if err == nil {
			_ = c.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, a.explain(flag, syscall.EADDRINUSE)
		}
		if err := os.Remove(a.Address); err != nil {
			return nil, a.explain(flag, err)
		}
	}
	// The socket is made under the mode that it is to have: between a Listen and
	// a chmod anybody could come in.
	defer ownOnly()()
	l, err := net.Listen("unix", a.Address)
	if err != nil {
		return nil, a.explain(flag, err)
	}
	return l, nil
}

// dialTime bounds how long what stands behind may take to answer.
const dialTime = 10 * time.Second

// Dial connects to it.
func (a Address) Dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime}
	return d.DialContext(ctx, a.Network, a.Address)
}
