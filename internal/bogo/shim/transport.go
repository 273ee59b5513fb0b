package main

import (
	"encoding/binary"
	"net"
	"strconv"
	"sync"
	"time"
)

// lateness is how long an answer takes that is to come late.
const lateness = time.Millisecond

// dial connects with the runner, which knows us by our number.
func dial(s *settings) (net.Conn, error) {
	network, host := "tcp4", "127.0.0.1"
	if s.ipv6 {
		network, host = "tcp6", "::1"
	}
	c, err := net.Dial(network, net.JoinHostPort(host, strconv.Itoa(s.port)))
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(binary.LittleEndian.AppendUint64(nil, uint64(s.shimID))); err != nil {
		return nil, err
	}
	if s.async {
		return &dribble{Conn: c}, nil
	}
	return c, nil
}

// dribble is a connection that gives one byte at a time, and can hold back what
// is written.
type dribble struct {
	net.Conn
	ahead  [4 << 10]byte
	has    []byte
	before func() error // each Read, where it is set

	mu   sync.Mutex
	held chan struct{} // closed when writes may go on
	hit  chan struct{} // closed when a write is held back
}

func (d *dribble) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if d.before != nil {
		if err := d.before(); err != nil {
			return 0, err
		}
	}
	if len(d.has) == 0 {
		n, err := d.Conn.Read(d.ahead[:])
		if n == 0 {
			return 0, err
		}
		d.has = d.ahead[:n]
	}
	p[0] = d.has[0]
	d.has = d.has[1:]
	return 1, nil
}

// hold lets one byte of the next write through, and no more before release.
func (d *dribble) hold() {
	d.held, d.hit = make(chan struct{}), make(chan struct{})
}

func (d *dribble) release() { close(d.held) }

func (d *dribble) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held == nil || len(p) == 0 {
		return d.Conn.Write(p)
	}
	if _, err := d.Conn.Write(p[:1]); err != nil {
		return 0, err
	}
	close(d.hit)
	<-d.held
	d.held = nil
	n, err := d.Conn.Write(p[1:])
	return n + 1, err
}
