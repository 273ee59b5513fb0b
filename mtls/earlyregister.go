package mtls

import (
	"context"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/handshake"
)

// EarlyRegister is who knows which hellos with early data were there before (RFC
// 8446, section 8.2). All servers that share ticket keys ask the same one. It is
// called concurrently and within a handshake.
type EarlyRegister interface {
	// Register notes id until the time that is given, and says whether it is new:
	// of all who ask about one, exactly one is told true. An error, or false, makes
	// it a handshake without early data. A register that is full says false, and so
	// does one that may have forgotten something, as after a restart, for the time
	// that it would have had to know it: 22 seconds.
	Register(ctx context.Context, id [32]byte, until time.Time) (fresh bool, err error)
}

const (
	// strikeSlack is how far a clock may be set back without notice.
	strikeSlack = 2 * time.Second
	// strikeTime is how long a hello has to be known: one is fresh for a window
	// before the time that it tells, and for one behind it.
	strikeTime = 2*handshake.EarlyWindow*time.Second + strikeSlack
	// maxStrikes is how many hellos are known of each such time: some 3,000 a
	// second.
	maxStrikes = 1 << 16
)

// strikes is the register of one process, in memory. It belongs to ticket keys
// that were drawn in it, and so has seen each hello with a ticket of theirs: a
// restart needs no time to be safe, for it has other keys.
//
// It keeps two maps, of the time that runs and of the one before, and drops the
// older one whole.
type strikes struct {
	mu           sync.Mutex
	most         int
	young, old   map[[32]byte]struct{}
	turn, latest time.Time
}

// note says whether id is new. Where it can't be sure, it is not.
func (s *strikes) note(now time.Time, id [32]byte) bool {
	now = now.Round(0) // by the clock that tickets tell the time of
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.latest.Add(-strikeSlack)) {
		return false // the clock was set back: what was forgotten may be fresh again
	}
	if now.After(s.latest) {
		s.latest = now
	}
	switch age := s.latest.Sub(s.turn); {
	case s.young == nil || age >= 2*strikeTime:
		s.young, s.old, s.turn = map[[32]byte]struct{}{}, nil, s.latest
	case age >= strikeTime:
		s.young, s.old, s.turn = map[[32]byte]struct{}{}, s.young, s.latest
	}
	if _, there := s.old[id]; there {
		return false
	}
	if _, there := s.young[id]; there || len(s.young) >= s.most {
		return false
	}
	s.young[id] = struct{}{}
	return true
}

// registerEarly asks whether a hello with early data is new.
func (c *Conn) registerEarly(ctx context.Context, op *handshake.Op) handshake.Answer {
	r, now := c.resumption, c.clock()
	var fresh bool
	switch {
	case r.register != nil:
		var err error
		if fresh, err = r.register.Register(ctx, op.EarlyID, now.Add(strikeTime)); err != nil {
			c.declined("the register of early data failed: " + err.Error())
			return handshake.Answer{Err: err}
		}
	case r.store != nil:
		fresh = true // a store gives each session once (RFC 8446, section 8.1)
	default:
		fresh = r.keys.strikes.note(now, op.EarlyID)
	}
	return handshake.Answer{Fresh: fresh}
}
