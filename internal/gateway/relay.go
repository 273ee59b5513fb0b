package gateway

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// A plain connection is one of TCP or of a Unix socket.
type plainConn interface {
	net.Conn
	CloseWrite() error
}

// Buffers: what trickles out of a protected connection has a small one, what flows a
// big one. For plain connections see sourceOf.
const (
	smallBuffer = 4 << 10
	bigBuffer   = 64 << 10
)

var (
	smallPool = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	bigPool   = sync.Pool{New: func() any { b := make([]byte, bigBuffer); return &b }}
)

func pool(n int) *sync.Pool {
	if n == bigBuffer {
		return &bigPool
	}
	return &smallPool
}

// relay carries bytes between a plain and a protected connection until both
// directions have ended, or one broke.
type relay struct {
	plain  plainConn
	secure *mtls.Conn
	from   plainConn     // secure, or what is read of it in its place
	idle   time.Duration // 0: no limit
	// in counts what came from the peer, out what went to it.
	in, out atomic.Int64
	active  atomic.Int64 // when something last moved, by the clock's nanoseconds

	once sync.Once
	err  error // why it broke, nil for an orderly end
}

var errIdle = errors.New("nothing moved for the time that --idle-timeout allows")

// run carries everything over, and closes both.
func (r *relay) run() error {
	r.active.Store(time.Now().UnixNano())
	if r.idle > 0 {
		over := make(chan struct{})
		defer close(over)
		go r.watch(over)
	}
	var both sync.WaitGroup
	both.Go(func() { r.direction(r.secure, sourceOf(r.plain), &r.out) })
	r.direction(r.plain, &steadySource{from: r.from}, &r.in)
	both.Wait()
	if r.err == nil {
		_ = r.secure.Close()
		_ = r.plain.Close()
	}
	return r.err
}

// watch breaks the relay when nothing has moved for too long.
func (r *relay) watch(over <-chan struct{}) {
	for left := r.idle; left > 0; left = r.idle - time.Since(time.Unix(0, r.active.Load())) {
		timer := time.NewTimer(left)
		select {
		case <-over:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	r.broke(errIdle)
}

// direction carries what from sends to to, and then its end.
func (r *relay) direction(to plainConn, from source, count *atomic.Int64) {
	for {
		b, n, err := from.next()
		if n > 0 {
			r.active.Store(time.Now().UnixNano())
			_, werr := to.Write((*b)[:n])
			pool(len(*b)).Put(b)
			if werr != nil {
				r.broke(werr)
				return
			}
			count.Add(int64(n))
			r.active.Store(time.Now().UnixNano())
		}
		switch {
		case err == io.EOF:
			// Whoever is gone for good can't be told, and did not have to be.
			if err := to.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
				r.broke(err)
			}
			return
		case err != nil:
			r.broke(err)
			return
		}
	}
}

// source is where bytes come from. next waits for some, in a buffer of a pool, which
// the caller gives back. There is one where n is more than 0.
type source interface {
	next() (b *[]byte, n int, err error)
}

// steadySource reads what is no more than an io.Reader, into a buffer as large as the
// last bytes let expect.
type steadySource struct {
	from io.Reader
	want int
}

func (s *steadySource) next() (*[]byte, int, error) {
	b := pool(max(s.want, smallBuffer)).Get().(*[]byte)
	n, err := s.from.Read(*b)
	s.want = size(n, len(*b))
	if n == 0 {
		pool(len(*b)).Put(b)
		b = nil
	}
	return b, n, err
}

// size is how large the next buffer is to be, after n bytes came into one of has.
func size(n, has int) int {
	switch {
	case n == has:
		return bigBuffer
	case n < smallBuffer/2:
		return smallBuffer
	}
	return has
}

// broke ends both sides hard: neither is to take it for an orderly end. The first
// reason counts; what breaks because of it does not.
func (r *relay) broke(err error) {
	r.once.Do(func() {
		r.err = err
		reset(r.plain)
		_ = r.secure.Abort()
	})
}

// reset closes a plain connection so that the other end sees it break.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
