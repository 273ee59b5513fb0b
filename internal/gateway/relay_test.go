package gateway

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// pair is both ends of a connection.
func pair(t *testing.T, network, address string) (here, there plainConn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a.(plainConn), b.(plainConn)
}

// What waits is taken at once, though nothing was said of how much it is.
func TestTheFirstReadTakesWhatIsThere(t *testing.T) {
	here, there := pair(t, "unix", filepath.Join(t.TempDir(), "s")) // where what is written is there when Write returns
	want := bytes.Repeat([]byte("x"), 14<<10)
	if _, err := there.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := there.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	s := sourceOf(here)
	if _, kernel := s.(*steadySource); kernel {
		t.Skip("this system's connections are read with a buffer")
	}
	b, n, err := s.next()
	if err != nil || n != len(want) || !bytes.Equal((*b)[:n], want) {
		t.Fatalf("%d bytes and %v came first, expected %d", n, err, len(want))
	}
	if b, n, err = s.next(); b != nil || n != 0 || err != io.EOF {
		t.Errorf("behind the end came %d bytes and %v", n, err)
	}
}

// A source wakes for bytes that come late, for the end of its time, and for a close.
func TestASourceThatWaitsIsWoken(t *testing.T) {
	here, there := pair(t, "tcp", "127.0.0.1:0")
	s := sourceOf(here)
	type came struct {
		n   int
		err error
	}
	next := func() <-chan came {
		c := make(chan came, 1)
		go func() {
			_, n, err := s.next()
			c <- came{n, err}
		}()
		return c
	}
	first := next()
	if _, err := there.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if c := <-first; c.n != 5 || c.err != nil {
		t.Errorf("%d bytes and %v", c.n, c.err)
	}
	second := next()
	_ = here.SetReadDeadline(time.Unix(1, 0))
	if c := <-second; c.n != 0 || c.err == nil {
		t.Errorf("%d bytes and %v after the deadline", c.n, c.err)
	}
	_ = here.SetReadDeadline(time.Time{})
	third := next()
	_ = here.Close()
	if c := <-third; c.n != 0 || c.err == nil || c.err == io.EOF {
		t.Errorf("%d bytes and %v after a close", c.n, c.err)
	}
}

func TestABrokenConnectionIsNoEnd(t *testing.T) {
	here, there := pair(t, "tcp", "127.0.0.1:0")
	reset(there)
	if _, n, err := sourceOf(here).next(); n != 0 || err == nil || err == io.EOF {
		t.Errorf("%d bytes and %v after a reset", n, err)
	}
}
