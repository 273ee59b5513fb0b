package mtls

import (
	"testing"
	"time"
)

func TestTheRegisterRefusesWhateverItMayHaveSeen(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	id := func(n byte) [32]byte { return [32]byte{n} }
	s := &strikes{most: 3}
	note := func(after time.Duration, n byte, want bool) {
		t.Helper()
		if got := s.note(start.Add(after), id(n)); got != want {
			t.Errorf("hello %d at %v: %v", n, after, got)
		}
	}
	note(0, 1, true)
	note(0, 1, false)
	note(time.Second, 2, true)
	note(strikeTime-1, 1, false)
	note(strikeTime-1, 3, true)
	note(strikeTime-1, 4, false) // it is full
	note(strikeTime, 4, true)    // the next map has begun
	note(strikeTime, 3, false)   // and the one before is remembered
	note(2*strikeTime-1, 3, false)
	note(2*strikeTime, 3, true) // older than any that could be fresh
	note(2*strikeTime, 4, false)
	note(2*strikeTime-strikeSlack, 5, true)
	note(2*strikeTime-strikeSlack-1, 6, false) // the clock was set back
	note(9*strikeTime, 3, true)
	note(9*strikeTime, 4, true)
	if n := len(s.young) + len(s.old); n > 2*3 {
		t.Errorf("%d are kept", n)
	}
	none := &strikes{}
	if none.note(start, id(1)) {
		t.Error("a register without room knows what is new")
	}
}
