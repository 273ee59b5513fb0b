package live

import (
	"container/heap"
	"sync"
	"time"
)

// longest is the longest that the timer sleeps; a timer does not count the time
// that a machine is suspended, and certificates do.
const longest = 5 * time.Second

// Member is something that stands. Due is called once for each Add or Move whose
// time has come, on a goroutine of the set's own: it must not block.
type Member interface {
	Due()
}

// Entry is a member's place in its set. It is to be embedded or held by the
// member, and is the set's to change.
type Entry struct {
	member Member
	end    time.Time // zero: no end
	index  int       // in the heap; -1: in none
}

// Set is a set of members. It may be used concurrently.
type Set struct {
	clock func() time.Time

	mu      sync.Mutex
	entries ends
	timer   *time.Timer
	armed   time.Time // what the timer is set for; zero: it is not set
}

// NewSet is an empty set that lives by clock.
func NewSet(clock func() time.Time) *Set { return &Set{clock: clock} }

// Add puts e into the set for m, until end; a zero end is none. At its end e
// leaves the timetable and stays in the set.
func (s *Set) Add(e *Entry, m Member, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.member, e.end = m, end
	heap.Push(&s.entries, e)
	s.arm()
}

// Move gives e, which is in the set, another end.
func (s *Set) Move(e *Entry, end time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has(e) {
		return
	}
	e.end = end
	heap.Fix(&s.entries, e.index)
	s.arm()
}

// Remove takes e out. Its Due may still be under way.
func (s *Set) Remove(e *Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(e) {
		heap.Remove(&s.entries, e.index)
		e.member = nil
	}
}

func (s *Set) has(e *Entry) bool {
	return e.member != nil && e.index >= 0 && e.index < len(s.entries) && s.entries[e.index] == e
}

// Len is how many stand.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// Members are those that stand now.
func (s *Set) Members() []Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Member, len(s.entries))
	for i, e := range s.entries {
		all[i] = e.member
	}
	return all
}

// arm sets the timer for the first end, where it is not set for that already.
func (s *Set) arm() {
	if len(s.entries) == 0 || s.entries[0].end.IsZero() {
		if s.timer != nil && !s.armed.IsZero() {
			s.timer.Stop()
			s.armed = time.Time{}
		}
		return
	}
	first := s.entries[0].end
	if s.armed.Equal(first) {
		return
	}
	s.armed = first
	wait := min(max(first.Sub(s.clock()), 0), longest)
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.wake)
		return
	}
	s.timer.Reset(wait)
}

func (s *Set) wake() {
	var due []Member
	s.mu.Lock()
	now := s.clock()
	for len(s.entries) > 0 && !s.entries[0].end.IsZero() && !s.entries[0].end.After(now) {
		e := s.entries[0]
		due = append(due, e.member)
		e.end = time.Time{}
		heap.Fix(&s.entries, 0)
	}
	s.armed = time.Time{}
	s.arm()
	s.mu.Unlock()
	for _, m := range due {
		m.Due()
	}
}

// ends is a heap of entries, the earliest end first and those without one last.
type ends []*Entry

func (h ends) Len() int { return len(h) }

func (h ends) Less(i, j int) bool {
	a, b := h[i].end, h[j].end
	if a.IsZero() || b.IsZero() {
		return !a.IsZero()
	}
	return a.Before(b)
}

func (h ends) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *ends) Push(x any) {
	e := x.(*Entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *ends) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1
	return e
}
