package live

import (
	"sync"
	"testing"
	"time"
)

// one is a member that tells its name when it is due.
type one struct {
	Entry
	name string
	due  chan<- string
}

func (o *one) Due() { o.due <- o.name }

// clock is a wall clock that can be set, and that runs only where it is to.
type clock struct {
	mu    sync.Mutex
	stood time.Time     // zero: it runs
	ahead time.Duration // of the true one, or of where it stood
}

// stopped is a clock that stands until it is set: what is slow in between, as a
// machine that has too much to do, makes nobody due.
func stopped() *clock { return &clock{stood: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stood.IsZero() {
		return c.stood.Add(c.ahead)
	}
	return time.Now().Add(c.ahead)
}

func (c *clock) set(ahead time.Duration) {
	c.mu.Lock()
	c.ahead = ahead
	c.mu.Unlock()
}

func next(t *testing.T, due <-chan string) string {
	t.Helper()
	select {
	case name := <-due:
		return name
	case <-time.After(2 * time.Minute):
		t.Fatal("nobody is due")
		return ""
	}
}

// none checks that nobody is due but those who were told.
func none(t *testing.T, due <-chan string) {
	t.Helper()
	select {
	case name := <-due:
		t.Errorf("%q was due, too", name)
	default:
	}
}

func TestMembersAreDueInTheOrderOfTheirEnds(t *testing.T) {
	c, due := stopped(), make(chan string, 10)
	s := NewSet(c.now)
	start := c.now()
	all := map[string]*one{}
	for _, m := range []struct {
		name  string
		after time.Duration // 0: no end
	}{{"never", 0}, {"third", 90 * time.Millisecond}, {"first", 30 * time.Millisecond}, {"second", 60 * time.Millisecond}, {"long ago", -time.Hour}} {
		o := &one{name: m.name, due: due}
		all[m.name] = o
		end := time.Time{}
		if m.after != 0 {
			end = start.Add(m.after)
		}
		s.Add(&o.Entry, o, end)
	}
	if got := next(t, due); got != "long ago" {
		t.Errorf("due was %q", got)
	}
	c.set(89 * time.Millisecond)
	if a, b := next(t, due), next(t, due); a != "first" || b != "second" {
		t.Errorf("due were %q and %q", a, b)
	}
	none(t, due) // a moment before the third's end
	c.set(90 * time.Millisecond)
	if got := next(t, due); got != "third" {
		t.Errorf("due was %q", got)
	}
	// Whose end has come still stands, until it is taken out.
	if s.Len() != 5 || len(s.Members()) != 5 {
		t.Errorf("%d stand, expected 5", s.Len())
	}
	for _, o := range all {
		s.Remove(&o.Entry)
		s.Remove(&o.Entry) // a second time does nothing
	}
	if s.Len() != 0 {
		t.Errorf("%d stand, expected none", s.Len())
	}
}

func TestAnEndCanBeMovedBothWaysAndTakenAway(t *testing.T) {
	c, due := stopped(), make(chan string, 10)
	s := NewSet(c.now)
	members := map[string]*one{}
	for _, name := range []string{"sooner", "later", "gone", "endless"} {
		members[name] = &one{name: name, due: due}
		s.Add(&members[name].Entry, members[name], c.now().Add(time.Hour))
	}
	now := c.now()
	s.Move(&members["later"].Entry, now.Add(10*time.Millisecond))
	s.Move(&members["later"].Entry, now.Add(80*time.Millisecond))
	s.Move(&members["endless"].Entry, now.Add(20*time.Millisecond))
	s.Move(&members["endless"].Entry, time.Time{})
	s.Move(&members["gone"].Entry, now.Add(20*time.Millisecond))
	s.Remove(&members["gone"].Entry)
	s.Move(&members["gone"].Entry, now) // it is in no set any more
	s.Move(&members["sooner"].Entry, now.Add(40*time.Millisecond))
	c.set(100 * time.Millisecond)
	if a, b := next(t, due), next(t, due); a != "sooner" || b != "later" {
		t.Errorf("due were %q and %q", a, b)
	}
	// What was due may get another end, and is due again.
	s.Move(&members["sooner"].Entry, c.now())
	if got := next(t, due); got != "sooner" {
		t.Errorf("due was %q", got)
	}
	none(t, due)
}

// A timer does not count the time that a machine sleeps. The wall clock does, and
// is looked at every few seconds.
func TestAClockThatJumpsIsNoticed(t *testing.T) {
	c, due := &clock{}, make(chan string, 1)
	s := NewSet(c.now)
	o := &one{name: "o", due: due}
	s.Add(&o.Entry, o, c.now().Add(24*time.Hour))
	c.set(25 * time.Hour)
	next(t, due)
}

func TestASetMayBeUsedByManyAtOnce(t *testing.T) {
	s := NewSet(time.Now)
	due := make(chan string, 4000)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 200 {
				o := &one{due: due}
				s.Add(&o.Entry, o, time.Now().Add(time.Duration(i%3)*time.Millisecond))
				s.Move(&o.Entry, time.Now().Add(time.Duration(i%5)*time.Millisecond))
				_ = s.Members()
				_ = s.Len()
				s.Remove(&o.Entry)
			}
		})
	}
	wait.Wait()
	if s.Len() != 0 {
		t.Errorf("%d stand", s.Len())
	}
}
