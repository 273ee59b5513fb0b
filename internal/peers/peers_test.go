package peers

import "testing"

// Test programs of several packages run at once, and begin where their process
// numbers say: a port that one was given must be none of the next one's.
func TestAPortIsGivenOnceWhileItsProgramRuns(t *testing.T) {
	given := FreePort(t)
	before := nextPort.Load()
	nextPort.Store(uint32(given - firstPort - 1)) // another test program's beginning
	defer nextPort.Store(before)
	if again := FreePort(t); again == given {
		t.Errorf("port %d was given twice", given)
	}
}
