package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/mutual-tls/mutual/mtls"
)

func rows() []row {
	var out []row
	for _, g := range []tls.CurveID{tls.X25519, tls.X25519MLKEM768} {
		for _, mutual := range []bool{false, true} {
			kind := "server-only"
			if mutual {
				kind = "mutual"
			}
			out = append(out, row{
				name: fmt.Sprintf("handshake %s %s", kind, g), unit: "µs", batch: 150,
				prepare: handshakes(setting{mutual: mutual, group: uint16(g)}),
			})
		}
	}
	for _, g := range []tls.CurveID{tls.X25519, tls.X25519MLKEM768} {
		out = append(out, row{
			name: fmt.Sprintf("same, mutual %s, peers met before", g), unit: "µs", batch: 150,
			prepare: handshakes(setting{mutual: true, group: uint16(g), known: true}),
		})
	}
	for _, g := range []tls.CurveID{tls.X25519, tls.X25519MLKEM768} {
		out = append(out, row{
			name: fmt.Sprintf("resumed handshake mutual %s", g), unit: "µs", batch: 150,
			prepare: resumptions(setting{mutual: true, group: uint16(g), resumed: true, known: true}),
		})
	}
	out = append(out, row{
		name: "same, question and answer, ours early", unit: "µs", batch: 150,
		prepare: questions(setting{mutual: true, group: uint16(tls.X25519), resumed: true, known: true, early: true}),
	})
	out = append(out, row{
		name: "handshake mutual X25519, the hello encrypted (ECH)", unit: "µs", batch: 150,
		prepare: handshakes(setting{mutual: true, group: uint16(tls.X25519), hidden: true}),
	})
	out = append(out, row{
		name: "handshake mutual X25519, our certificates compressed", unit: "µs", batch: 150,
		prepare: handshakes(setting{mutual: true, group: uint16(tls.X25519), compressed: true}),
	})
	for _, size := range []int{1 << 10, 16 << 10, 256 << 10} {
		out = append(out, row{
			name: fmt.Sprintf("bulk %d KiB writes", size>>10), unit: "µs/write", batch: (96 << 20) / size / 2, bytes: size,
			prepare: bulk(size),
		})
	}
	out = append(out, row{name: "path of three, verified anew", unit: "µs", batch: 500, prepare: func(s stack) (func(int) error, func(), error) {
		run, err := s.verify()
		return run, func() {}, err
	}})
	out = append(out, row{name: "same, verified before", unit: "µs", batch: 500, prepare: func(s stack) (func(int) error, func(), error) {
		run, err := s.again()
		return run, func() {}, err
	}})
	for _, pool := range []struct {
		name     string
		batch    int
		eachTime bool
	}{{"150 roots and a path of three, all parsed anew", 10, true}, {"same, the roots parsed before", 500, false}} {
		out = append(out, row{name: pool.name, unit: "µs", batch: pool.batch, prepare: func(s stack) (func(int) error, func(), error) {
			run, err := s.under(pool.eachTime)
			return run, func() {}, err
		}})
	}
	return append(out, row{name: "1-byte exchange", unit: "µs CPU", batch: 15000, cpu: true, prepare: exchange})
}

// pair is the two ends of one connection over loopback.
type pair struct{ server, client net.Conn }

func (p pair) close() {
	_ = p.client.Close()
	_ = p.server.Close()
}

// meeting makes pairs of connections, with a listener that stays.
type meeting struct {
	listener net.Listener
	accepted chan net.Conn
}

func newMeeting() (*meeting, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &meeting{l, make(chan net.Conn)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(m.accepted)
				return
			}
			m.accepted <- c
		}
	}()
	return m, nil
}

func (m *meeting) meet() (pair, error) {
	c, err := net.Dial("tcp", m.listener.Addr().String())
	if err != nil {
		return pair{}, err
	}
	s, ok := <-m.accepted
	if !ok {
		return pair{}, errors.New("the listener was closed")
	}
	return pair{server: s, client: c}, nil
}

// shake carries out both handshakes over p, side by side.
func shake(p pair, server, client func(net.Conn) (net.Conn, error)) (pair, error) {
	type outcome struct {
		c   net.Conn
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		c, err := server(p.server)
		done <- outcome{c, err}
	}()
	c, err := client(p.client)
	s := <-done
	if err = errors.Join(err, s.err); err != nil {
		return pair{}, err
	}
	return pair{server: s.c, client: c}, nil
}

func handshakes(set setting) func(stack) (func(int) error, func(), error) {
	return func(s stack) (func(int) error, func(), error) {
		server, client, err := s.shake(set)
		if err != nil {
			return nil, nil, err
		}
		m, err := newMeeting()
		if err != nil {
			return nil, nil, err
		}
		return func(n int) error {
			for range n {
				p, err := m.meet()
				if err != nil {
					return err
				}
				if p, err = shake(p, server, client); err != nil {
					return err
				}
				p.close()
			}
			return nil
		}, func() { _ = m.listener.Close() }, nil
	}
}

// resumptions are handshakes that go on from the one before. A byte follows each,
// with which the next ticket comes.
func resumptions(set setting) func(stack) (func(int) error, func(), error) {
	return func(s stack) (func(int) error, func(), error) {
		server, client, err := s.shake(set)
		if err != nil {
			return nil, nil, err
		}
		m, err := newMeeting()
		if err != nil {
			return nil, nil, err
		}
		one := func() (pair, error) {
			p, err := m.meet()
			if err != nil {
				return p, err
			}
			return shake(p, func(c net.Conn) (net.Conn, error) {
				c, err := server(c)
				if err == nil {
					_, err = c.Write([]byte{1})
				}
				return c, err
			}, func(c net.Conn) (net.Conn, error) {
				c, err := client(c)
				if err == nil {
					_, err = io.ReadFull(c, make([]byte, 1))
				}
				return c, err
			})
		}
		first, err := one()
		if err != nil {
			return nil, nil, err
		}
		first.close()
		return func(n int) error {
			for range n {
				p, err := one()
				if err != nil {
					return err
				}
				if !resumed(p.server) || !resumed(p.client) {
					return errors.New("a handshake was not resumed")
				}
				p.close()
			}
			return nil
		}, func() { _ = m.listener.Close() }, nil
	}
}

// questions are resumed handshakes with a byte from the client and one back; ours
// goes early. Another byte follows, with which the next ticket comes.
func questions(set setting) func(stack) (func(int) error, func(), error) {
	return func(s stack) (func(int) error, func(), error) {
		server, client, err := s.shake(set)
		if err != nil {
			return nil, nil, err
		}
		m, err := newMeeting()
		if err != nil {
			return nil, nil, err
		}
		one := func() (pair, error) {
			p, err := m.meet()
			if err != nil {
				return p, err
			}
			return shake(p, func(c net.Conn) (net.Conn, error) {
				c, err := server(c)
				if err != nil {
					return c, err
				}
				return c, answer(c)
			}, func(c net.Conn) (net.Conn, error) {
				c, err := client(c)
				if err != nil {
					return c, err
				}
				return c, ask(c)
			})
		}
		first, err := one()
		if err != nil {
			return nil, nil, err
		}
		first.close()
		return func(n int) error {
			for range n {
				p, err := one()
				if err != nil {
					return err
				}
				if !resumed(p.server) || !resumed(p.client) || wasLate(p.client) {
					return errors.New("a handshake was not resumed, or without early data")
				}
				p.close()
			}
			return nil
		}, func() { _ = m.listener.Close() }, nil
	}
}

func ask(c net.Conn) error {
	write := c.Write
	if m, ok := c.(*mtls.Conn); ok && !m.HandshakeOver() {
		write = m.WriteEarly
	}
	if _, err := write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 2))
	return err
}

func answer(c net.Conn) error {
	read := c.Read
	m, ours := c.(*mtls.Conn)
	if ours && m.Negotiated().EarlyData == mtls.EarlyAccepted {
		read = m.ReadEarly
	}
	if _, err := read(make([]byte, 1)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	if ours {
		if err := m.Handshake(context.Background()); err != nil {
			return err
		}
	}
	_, err := c.Write([]byte{1})
	return err
}

// wasLate says whether c is ours and sent nothing early.
func wasLate(c net.Conn) bool {
	m, ok := c.(*mtls.Conn)
	return ok && m.Negotiated().EarlyData != mtls.EarlyAccepted
}

// connected is one connection whose handshake is done.
func connected(s stack) (pair, func(), error) {
	server, client, err := s.shake(setting{mutual: true, group: uint16(tls.X25519)})
	if err != nil {
		return pair{}, nil, err
	}
	m, err := newMeeting()
	if err != nil {
		return pair{}, nil, err
	}
	p, err := m.meet()
	if err == nil {
		p, err = shake(p, server, client)
	}
	return p, func() { p.close(); _ = m.listener.Close() }, err
}

func bulk(size int) func(stack) (func(int) error, func(), error) {
	return func(s stack) (func(int) error, func(), error) {
		p, done, err := connected(s)
		if err != nil {
			return nil, nil, err
		}
		data, sink := make([]byte, size), make([]byte, 64<<10)
		return func(n int) error {
			read := make(chan error, 1)
			go func() {
				left := n * size
				for left > 0 {
					k, err := p.server.Read(sink)
					if err != nil {
						read <- err
						return
					}
					left -= k
				}
				read <- nil
			}()
			for range n {
				if _, err := p.client.Write(data); err != nil {
					return err
				}
			}
			return <-read
		}, done, nil
	}
}

func exchange(s stack) (func(int) error, func(), error) {
	p, done, err := connected(s)
	if err != nil {
		return nil, nil, err
	}
	return func(n int) error {
		echoed := make(chan error, 1)
		go func() {
			b := make([]byte, 1)
			for range n {
				if _, err := io.ReadFull(p.server, b); err != nil {
					echoed <- err
					return
				}
				if _, err := p.server.Write(b); err != nil {
					echoed <- err
					return
				}
			}
			echoed <- nil
		}()
		b := make([]byte, 1)
		for range n {
			if _, err := p.client.Write(b); err != nil {
				return err
			}
			if _, err := io.ReadFull(p.client, b); err != nil {
				return err
			}
		}
		return <-echoed
	}, done, nil
}
