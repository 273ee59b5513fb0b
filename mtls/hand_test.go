package mtls_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/handshake"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/internal/schedule"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// hand is a peer by hand: it has honest keys, sends each message in a record of
// its own, and does between them what a test likes.
type hand struct {
	conn    net.Conn
	machine handshake.Machine
	leaf    *mint.Leaf
	result  *handshake.Result
	sealer  record.Sealer
	opener  record.Opener
	buf     []byte
	session []byte // the session identifier of the client's hello, at a server

	// before is called before each message that is sent; an error ends run.
	before func(h *hand, t message.Type, msg []byte) error
}

var errStopped = errors.New("the peer stops here")

func handConfig() *handshake.Config {
	return &handshake.Config{
		Suites: suite.Suites(), Groups: []suite.GroupID{suite.X25519}, Schemes: suite.Schemes(),
		CertificateSchemes: suite.CertificateSchemes(), Random: rand.Reader, KeyShares: 1,
		ClientAuth: handshake.RequireClientCertificate,
	}
}

func handClient(conn net.Conn, l *mint.Leaf) *hand {
	return &hand{conn: conn, leaf: l, machine: handshake.NewClient(handConfig(), "orders")}
}

func handServer(conn net.Conn, l *mint.Leaf) *hand {
	return &hand{conn: conn, leaf: l, machine: handshake.NewServer(handConfig())}
}

// run carries out the handshake, as far as the other end and before let it.
func (h *hand) run() error {
	if c, ok := h.machine.(*handshake.Client); ok {
		if err := c.Start(); err != nil {
			return err
		}
	}
	for {
		if err := h.pump(); err != nil || h.result != nil {
			return err
		}
		t, p, err := h.read()
		if err != nil {
			return err
		}
		switch t {
		case record.Alert:
			return fmt.Errorf("the other end sent %v", alert.Alert(p[1]))
		case record.Handshake:
			for len(p) > 0 {
				typ, n := message.Header(p)
				if typ == message.TypeClientHello {
					var m message.ClientHello
					if err := m.Parse(p[:message.HeaderLen+n]); err != nil {
						return err
					}
					h.session = bytes.Clone(m.SessionID)
				}
				level := handshake.Initial
				if h.opener.Encrypted() {
					level = handshake.Handshake
				}
				if err := h.machine.Message(level, p[:message.HeaderLen+n]); err != nil {
					return err
				}
				p = p[message.HeaderLen+n:]
				if err := h.pump(); err != nil {
					return err
				}
			}
		}
	}
}

func (h *hand) pump() error {
	for {
		e, ok := h.machine.Next()
		if !ok {
			return nil
		}
		switch e.Kind {
		case handshake.Send:
			for b := e.Bytes; len(b) > 0; {
				_, n := message.Header(b)
				msg := b[:message.HeaderLen+n]
				b = b[len(msg):]
				if h.before != nil {
					if err := h.before(h, message.Type(msg[0]), msg); err != nil {
						return err
					}
				}
				if err := h.send(record.Handshake, msg...); err != nil {
					return err
				}
			}
		case handshake.Keys:
			if e.Direction == handshake.Read {
				if err := h.opener.Set(e.Suite, schedule.TLS, e.Secret); err != nil {
					return err
				}
			} else if err := h.sealer.Set(e.Suite, schedule.TLS, e.Secret); err != nil {
				return err
			}
		case handshake.Ask:
			var a handshake.Answer
			switch e.Op.Kind {
			case handshake.SelectCertificate:
				a.Credential = h.credential()
			case handshake.Sign:
				a.Signature, a.Err = suite.Sign(rand.Reader, h.leaf.Key, e.Op.Scheme, e.Op.Input)
			}
			if err := h.machine.Resolve(e.Op, a); err != nil {
				return err
			}
		case handshake.Done:
			h.result = h.machine.Result()
		}
	}
}

func (h *hand) credential() *handshake.Credential {
	k, err := suite.PublicOf(h.leaf.Key)
	if err != nil {
		panic(err)
	}
	var m message.Certificate
	for _, der := range h.leaf.Chain {
		m.Entries = append(m.Entries, message.CertificateEntry{Data: der})
	}
	wire, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return &handshake.Credential{Wire: wire, Schemes: k.Schemes()}
}

// read is the content of the next record.
func (h *hand) read() (record.ContentType, []byte, error) {
	for {
		if len(h.buf) >= record.HeaderLen {
			outer, _, n := record.Header(h.buf)
			if n += record.HeaderLen; n <= len(h.buf) {
				rec := h.buf[:n:n]
				h.buf = h.buf[n:]
				if outer == record.Alert { // in the clear: the other end has no keys yet
					return outer, rec[record.HeaderLen:], nil
				}
				return h.opener.Open(rec)
			}
		}
		b := make([]byte, 32<<10)
		n, err := h.conn.Read(b)
		h.buf = append(h.buf, b[:n]...)
		if n == 0 && err != nil {
			return 0, nil, err
		}
	}
}

// alert reads until the other end's alert comes.
func (h *hand) alert() (alert.Alert, error) {
	for {
		t, p, err := h.read()
		if err != nil {
			return 0, err
		}
		if t == record.Alert {
			return alert.Alert(p[1]), nil
		}
	}
}

func (h *hand) send(t record.ContentType, content ...byte) error {
	_, err := h.conn.Write(h.sealed(t, content...))
	return err
}

func (h *hand) sealed(t record.ContentType, content ...byte) []byte {
	return h.sealer.Seal(nil, t, content, 0)
}

// rekeyed is a KeyUpdate; what is sealed behind it is under new keys.
func (h *hand) rekeyed(ask bool) []byte {
	b := []byte{byte(message.TypeKeyUpdate), 0, 0, 1, 0}
	if ask {
		b[4] = 1
	}
	rec := h.sealed(record.Handshake, b...)
	if err := h.sealer.Set(h.result.Suite, schedule.TLS, h.result.Standing.NextWrite()); err != nil {
		panic(err)
	}
	return rec
}

// line is an in-memory connection without limits whose time is the test's: after
// silence, whoever waits under a deadline runs out of time at once, and whoever
// waits without one is told on.
type line struct {
	mu        *sync.Mutex
	moved     *sync.Cond
	in, out   *bytes.Buffer
	ended     *[2]bool // closed, by side
	side      int
	silent    *bool
	read      time.Time
	write     time.Time
	deadlines []time.Time // all that were set for reading
	sets      int         // how many were set until the first ran out
	boundless bool        // somebody waited without a deadline after silence
}

func newLine() (a, b *line) {
	var mu sync.Mutex
	moved := sync.NewCond(&mu)
	one, two := &bytes.Buffer{}, &bytes.Buffer{}
	a = &line{mu: &mu, moved: moved, in: one, out: two, ended: new([2]bool), silent: new(bool)}
	b = &line{mu: &mu, moved: moved, in: two, out: one, ended: a.ended, side: 1, silent: a.silent}
	return a, b
}

// silence says that nothing more comes from either end.
func (l *line) silence() {
	l.mu.Lock()
	*l.silent = true
	l.mu.Unlock()
	l.moved.Broadcast()
}

func (l *line) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.ended[l.side]:
			return 0, net.ErrClosed
		case l.read.Equal(time.Unix(1, 0)):
			return 0, os.ErrDeadlineExceeded
		case l.in.Len() > 0:
			return l.in.Read(p)
		case l.ended[1-l.side]:
			return 0, io.EOF
		case *l.silent:
			l.boundless = l.boundless || l.read.IsZero()
			if l.sets == 0 {
				l.sets = len(l.deadlines)
			}
			return 0, os.ErrDeadlineExceeded
		}
		l.moved.Wait()
	}
}

func (l *line) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended[l.side] {
		return 0, net.ErrClosed
	}
	if l.ended[1-l.side] {
		return 0, io.ErrClosedPipe
	}
	l.moved.Broadcast()
	return l.out.Write(p)
}

func (l *line) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[l.side] = true
	l.moved.Broadcast()
	return nil
}

func (l *line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read, l.deadlines = t, append(l.deadlines, t)
	l.moved.Broadcast()
	return nil
}

func (l *line) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write = t
	return nil
}

func (l *line) SetDeadline(t time.Time) error {
	_ = l.SetWriteDeadline(t)
	return l.SetReadDeadline(t)
}

func (l *line) LocalAddr() net.Addr  { return &net.UnixAddr{Name: "line", Net: "unix"} }
func (l *line) RemoteAddr() net.Addr { return l.LocalAddr() }

// open says whether this end was not closed yet.
func (l *line) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended[l.side]
}

// leavesNothing checks, at the end of the test, that no goroutine of the library
// is left.
func leavesNothing(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		var left string
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if left = ours(); left == "" {
				return
			}
		}
		t.Errorf("a goroutine is left:\n%s", left)
	})
}

// ours is a goroutine that runs code of the library, or "".
func ours() string {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	for _, g := range strings.Split(string(b), "\n\n") {
		if strings.Contains(g, "mutual/mtls.") && !strings.Contains(g, "mtls_test.ours") {
			return g
		}
	}
	return ""
}

// side is the end under test: what it is called, and how it takes a transport.
type side struct {
	name   string
	accept func(ctx context.Context, transport net.Conn) (*mtls.Conn, error)
	// peer is the other end, by hand.
	peer func(net.Conn) *hand
}

func sides(t testing.TB, h *house, common mtls.Common) []side {
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Common, cc.Common = common, common
	s, c := newServer(t, sc), newClient(t, cc)
	orders, web := h.issuing.Leaf("orders"), h.issuing.Leaf("web")
	return []side{
		{"server", s.Accept, func(conn net.Conn) *hand { return handClient(conn, web) }},
		{"client", func(ctx context.Context, transport net.Conn) (*mtls.Conn, error) {
			return c.Connect(ctx, transport, "orders")
		}, func(conn net.Conn) *hand { return handServer(conn, orders) }},
	}
}

// answer is what a handshake came to.
type answer struct {
	conn *mtls.Conn
	err  error
}

func (s side) begin(transport net.Conn) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		c, err := s.accept(context.Background(), transport)
		done <- answer{c, err}
	}()
	return done
}
