package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// connected is two ends that get along.
func connected(t testing.TB) (server, client *mtls.Conn) {
	t.Helper()
	h := newHouse(t)
	return met(t, h.serverConfig(), h.clientConfig())
}

// wait is f's answer, which must come.
func wait[T any](t testing.TB, what string, f func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case v := <-done:
		return v
	case <-time.After(time.Minute):
		t.Fatalf("%s does not return", what)
		panic("not reached")
	}
}

// whole is what comes from c up to its end.
func whole(t testing.TB, c *mtls.Conn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(soon())
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shaped is a transport whose writes and reads a test can hold.
type shaped struct {
	net.Conn
	write func(b []byte) (int, error)
	read  func(b []byte) (int, error)
}

func (s *shaped) Write(b []byte) (int, error) {
	if s.write != nil {
		return s.write(b)
	}
	return s.Conn.Write(b)
}

func (s *shaped) Read(b []byte) (int, error) {
	if s.read != nil {
		return s.read(b)
	}
	return s.Conn.Read(b)
}

func TestReadWriteAndCloseMayBeCalledAtOnce(t *testing.T) {
	for range 8 {
		server, client := connected(t)
		var wait sync.WaitGroup
		for _, c := range []*mtls.Conn{server, client} {
			for range 3 {
				wait.Go(func() {
					for b := noise(20000); ; {
						if _, err := c.Write(b); err != nil {
							return
						}
					}
				})
				wait.Go(func() {
					for b := make([]byte, 9000); ; {
						if _, err := c.Read(b); err != nil {
							return
						}
					}
				})
			}
			wait.Go(func() {
				for range 50 {
					_ = c.SetDeadline(soon())
					_, _ = c.Export("EXPORTER-test", nil, 16)
					_ = c.Rekey(false)
					_ = c.Context()
					_ = c.Negotiated()
					_, _ = c.Peer()
					_ = c.PeerChain()
					_ = c.Admitted(context.Background())
				}
				_ = c.Close()
			})
		}
		wait.Wait()
		if err := client.Close(); err != nil {
			t.Errorf("a second Close: %v", err)
		}
	}
}

func TestBytesArriveWholeInBothDirectionsAtOnce(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	// Keys change in the middle of it, often.
	sc.Limits, cc.Limits = &mtls.Limits{RekeyAfter: 3}, &mtls.Limits{RekeyAfter: 5}
	server, client := met(t, sc, cc)
	sent := noise(1 << 20)
	var all sync.WaitGroup
	for _, c := range []*mtls.Conn{server, client} {
		all.Go(func() {
			for b := sent; len(b) > 0; {
				n := min(len(b), 1+len(b)%50000)
				if _, err := c.Write(b[:n]); err != nil {
					t.Error(err)
					return
				}
				b = b[n:]
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() {
			_ = c.SetReadDeadline(soon())
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d bytes of %d came: %v", len(got), len(sent), err)
			}
		})
	}
	all.Wait()
}

// Each side asks the other for new keys, while data flows.
func TestKeysChangeOnRequestOfEitherSide(t *testing.T) {
	server, client := connected(t)
	for i := range 20 {
		from, to := server, client
		if i%2 == 0 {
			from, to = client, server
		}
		if err := from.Rekey(true); err != nil {
			t.Fatal(err)
		}
		for _, c := range [][2]*mtls.Conn{{from, to}, {to, from}} {
			if _, err := c[0].Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			var b [5]byte
			_ = c[1].SetReadDeadline(soon())
			if _, err := io.ReadFull(c[1], b[:]); err != nil || string(b[:]) != "hello" {
				t.Fatalf("round %d: %q, %v", i, b, err)
			}
		}
	}
}

func TestAHalfCloseEndsOneDirectionOnly(t *testing.T) {
	server, client := connected(t)
	if _, err := client.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a second one does nothing
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	if got := whole(t, server); string(got) != "question" {
		t.Errorf("%q came", got)
	}
	// It is our own doing, and nothing is waited for.
	_, err := client.Write([]byte("more"))
	if r, ok := mtls.RefusalOf(err); err == nil || ok {
		t.Errorf("a Write after CloseWrite gave %v, %v", err, r)
	}
	if _, err := server.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if got := whole(t, client); string(got) != "answer" {
		t.Errorf("%q came back", got)
	}
}

// A client that says at once that nothing comes from it is no broken client: it
// may be there to listen.
func TestACloseNotifyRightBehindTheHandshakeIsAHalfClose(t *testing.T) {
	for _, asks := range []bool{true, false} {
		h := newHouse(t)
		sc := h.serverConfig()
		if !asks {
			sc.Clients = mtls.Anonymous()
		}
		s, c := newServer(t, sc), newClient(t, h.clientConfig())
		st, ct := loopback(t)
		// The client's second flight waits for the close_notify behind it.
		var writes int
		var held []byte
		cork := &shaped{Conn: ct}
		cork.write = func(b []byte) (int, error) {
			if writes++; writes == 2 {
				held = bytes.Clone(b)
				return len(b), nil
			}
			held = append(held, b...)
			_, err := ct.Write(held)
			held = nil
			return len(b), err
		}
		accepted := make(chan error, 1)
		go func() {
			conn, err := s.Accept(context.Background(), st)
			if err == nil {
				_, err = conn.Write([]byte("the time is noon"))
			}
			if err == nil {
				_ = conn.SetReadDeadline(soon())
				if n, rerr := conn.Read(make([]byte, 1)); rerr != io.EOF {
					err = errors.Join(errors.New("the server's Read"), rerr)
					_ = n
				}
				_ = conn.Close()
			}
			accepted <- err
		}()
		client, err := c.Connect(context.Background(), cork, "orders")
		if err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := <-accepted; err != nil {
			t.Errorf("asked for a certificate: %v; the server: %v", asks, err)
		} else if got := whole(t, client); string(got) != "the time is noon" {
			t.Errorf("%q came", got)
		}
		_ = client.Close()
	}
}

func TestAReadThatRanOutOfTimeCanBeTriedAgain(t *testing.T) {
	server, client := connected(t)
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := server.Read(make([]byte, 10))
	var timeout net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("Read gave %v, expected a time-out", err)
	}
	_ = server.SetReadDeadline(soon())
	if _, err := client.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, err := server.Read(b); err != nil || string(b[:n]) != "late" {
		t.Errorf("%q, %v", b[:n], err)
	}
	// A Read that waits is woken by a deadline that is set meanwhile.
	waits := make(chan error, 1)
	go func() {
		_, err := server.Read(b)
		waits <- err
	}()
	_ = server.SetReadDeadline(time.Now())
	if err := <-waits; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read gave %v", err)
	}
}

func TestAWriteThatRanOutOfTimeIsTheLast(t *testing.T) {
	_, client := connected(t)
	_ = client.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	err := error(nil)
	for b := noise(1 << 20); err == nil; { // nobody reads
		_, err = client.Write(b)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Write gave %v", err)
	}
	_ = client.SetWriteDeadline(soon())
	if _, err := client.Write([]byte("x")); err == nil {
		t.Error("a record may have been sent in part, and another was sent behind it")
	}
}

func TestCloseWakesReadersAndWriters(t *testing.T) {
	_, client := connected(t)
	ends := make(chan error, 2)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ends <- err
	}()
	full := make(chan struct{})
	var once sync.Once
	go func() {
		b := noise(1 << 20)
		for {
			once.Do(func() { close(full) })
			if _, err := client.Write(b); err != nil {
				ends <- err
				return
			}
		}
	}()
	<-full
	if err := wait(t, "Close", client.Close); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ends; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, expected net.ErrClosed", err)
		}
	}
	if err := context.Cause(client.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the context's cause is %v", err)
	}
}

// Whoever is in the middle of a Write when Close comes forgets the keys on the
// way out.
func TestKeysAreForgottenByWhoeverClosesLast(t *testing.T) {
	h := newHouse(t)
	s, c := newServer(t, h.serverConfig()), newClient(t, h.clientConfig())
	st, ct := loopback(t)
	go func() {
		if conn, err := s.Accept(context.Background(), st); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	var holding atomic.Bool
	inside, release := make(chan struct{}), make(chan struct{})
	hold := &shaped{Conn: ct}
	hold.write = func(b []byte) (int, error) {
		if holding.CompareAndSwap(true, false) {
			close(inside)
			<-release
			return len(b), nil // it had gone out just before
		}
		return ct.Write(b)
	}
	client, err := c.Connect(context.Background(), hold, "orders")
	if err != nil {
		t.Fatal(err)
	}
	holding.Store(true)
	wrote := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte("hello"))
		wrote <- err
	}()
	<-inside
	_ = client.Close()
	close(release)
	if err := <-wrote; err != nil {
		t.Errorf("what had gone out is told as %v", err)
	}
	if _, err := client.Export("EXPORTER-test", nil, 16); err == nil {
		t.Error("the connection is closed, and its keys are still there")
	}
}

// While a connection is being ended for the peer's lie, the deadlines are no
// longer the user's: it ends in its time.
func TestALingeringEndCannotBeHeldUp(t *testing.T) {
	h := newHouse(t)
	s, c := newServer(t, h.serverConfig()), newClient(t, h.clientConfig())
	st, ct := loopback(t)
	go func() { _, _ = c.Connect(context.Background(), ct, "orders") }()
	server, err := s.Accept(context.Background(), st)
	if err != nil {
		t.Fatal(err)
	}
	// A peer that breaks the protocol, and then neither sends nor closes.
	if _, err := ct.Write([]byte{23, 3, 3, 0, 32, 31: 0, 36: 0}); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		for {
			select {
			case <-over:
				return
			default:
				_ = server.SetDeadline(time.Time{})
			}
		}
	}()
	defer close(over)
	err = wait(t, "Read", func() error {
		_, err := server.Read(make([]byte, 1))
		return err
	})
	if r := refusal(t, err); r.Alert.String() != "bad_record_mac" || !r.Sent || r.Fault != mtls.PeerMisbehaved || r.Mend == "" {
		t.Errorf("%+v", r)
	}
}

func TestAnEndWithoutCloseNotifyIsTold(t *testing.T) {
	server, client := connected(t)
	if _, err := client.Write([]byte("half a sent")); err != nil {
		t.Fatal(err)
	}
	_ = client.NetConn().Close()
	_ = server.SetReadDeadline(soon())
	got, err := io.ReadAll(server)
	if r := refusal(t, err); string(got) != "half a sent" || !errors.Is(err, io.ErrUnexpectedEOF) || r.Fault != mtls.Network || r.Mend == "" {
		t.Errorf("%q, %+v", got, r)
	}
}

// Whoever gives a handshake up says so, user_canceled and then close_notify (RFC
// 9846, section 6.1), and the peer's refusal tells it.
func TestAHandshakeThatIsGivenUpIsSaidToThePeer(t *testing.T) {
	h := newHouse(t)
	st, ct := loopback(t)
	ctx, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan error, 1)
	go func() {
		_, err := newServer(t, h.serverConfig()).Accept(ctx, patient{st})
		gaveUp <- err
	}()
	cancel()
	_ = ct.SetDeadline(soon())
	said, err := io.ReadAll(ct)
	if string(said) != "\x15\x03\x03\x00\x02\x01\x5a\x15\x03\x03\x00\x02\x01\x00" || err != nil {
		t.Errorf("the client reads %x, %v", said, err)
	}
	if r := refusal(t, <-gaveUp); r.Code != "M0608" || r.HasAlert {
		t.Errorf("the server says %+v", r)
	}

	st, ct = loopback(t)
	if _, err := ct.Write(said); err != nil {
		t.Fatal(err)
	}
	_, err = newServer(t, h.serverConfig()).Accept(context.Background(), st)
	if r := refusal(t, err); r.Code != "M0518" || r.Fault != mtls.Network || !strings.Contains(r.Reason, "gave the handshake up") {
		t.Errorf("who is told so says %+v", r)
	}
}

// The channel binding is the exporter of RFC 9266, the same at both ends and of
// no other connection.
func TestTheChannelBindingIsThatOfTheConnection(t *testing.T) {
	server, client := connected(t)
	_, other := connected(t)
	bind := func(c *mtls.Conn) string {
		t.Helper()
		b, err := c.ChannelBinding()
		if err != nil || len(b) != 32 {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return string(b)
	}
	if want, err := client.Export("EXPORTER-Channel-Binding", nil, 32); err != nil || bind(server) != string(want) || bind(client) != string(want) {
		t.Errorf("the ends are bound to %x and %x, expected %x (%v)", bind(server), bind(client), want, err)
	}
	if bind(client) == bind(other) {
		t.Error("two connections have one binding")
	}
	_ = client.Close()
	if _, err := client.ChannelBinding(); err == nil {
		t.Error("a closed connection can be bound to")
	}
}

func TestAHandshakeEndsWithItsContextAndWithItsTime(t *testing.T) {
	h := newHouse(t)
	for name, make := range map[string]func(t *testing.T) (context.Context, *mtls.Limits, string){
		"cancelled before": func(t *testing.T) (context.Context, *mtls.Limits, string) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return ctx, nil, "M0608"
		},
		"cancelled in the middle": func(t *testing.T) (context.Context, *mtls.Limits, string) {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, nil, "M0608"
		},
		"out of the caller's time": func(t *testing.T) (context.Context, *mtls.Limits, string) {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			t.Cleanup(cancel)
			return ctx, nil, "M0701"
		},
		"out of our time": func(*testing.T) (context.Context, *mtls.Limits, string) {
			return context.Background(), &mtls.Limits{HandshakeTime: 20 * time.Millisecond}, "M0701"
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, side := range []string{"server", "client"} {
				ctx, limits, code := make(t)
				sc, cc := h.serverConfig(), h.clientConfig()
				sc.Limits, cc.Limits = limits, limits
				st, ct := loopback(t)
				err := wait(t, "the handshake", func() (err error) {
					if side == "server" {
						_, err = newServer(t, sc).Accept(ctx, st)
					} else {
						_, err = newClient(t, cc).Connect(ctx, ct, "orders")
					}
					return err
				})
				if r := refusal(t, err); r.Code != code || r.Fault != mtls.Network || r.Mend == "" || r.HasAlert {
					t.Errorf("the %s: %+v", side, r)
				}
			}
		})
	}
}
