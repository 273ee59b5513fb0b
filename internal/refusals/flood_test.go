package refusals

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Whoever is refused must not fill a disk: some lines of each host, and a count of
// what was held back.
func TestAFloodOfRefusalsIsACount(t *testing.T) {
	var out bytes.Buffer
	f := New(slog.New(slog.NewTextHandler(&out, nil)), slog.LevelDebug)
	f.hosts["192.0.2.9"] = &tally{} // a window that is open already: its end comes when the test says so
	admitted := func(remote string, times int) (n int) {
		for range times {
			if f.Admit(remote) {
				n++
			}
		}
		return n
	}
	if n := admitted("192.0.2.1:1000", burst-1) + admitted("192.0.2.1:2000", 5); n != burst {
		t.Errorf("%d lines of one host, whatever its port", n)
	}
	if n := admitted("[2001:db8::1]:1000", 1); n != 1 {
		t.Error("another host waits for the first")
	}
	f.sweep()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "4 more refusals of 192.0.2.1 ") || !strings.Contains(got, "held=4") {
		t.Errorf("what was held back is told as %q", got)
	}
	if n := admitted("192.0.2.1:1000", 1); n != 1 {
		t.Error("a new window has no room")
	}
}

// Nor its memory: so many hosts are told apart, and the others count together.
func TestManyHostsCountTogether(t *testing.T) {
	f := New(slog.New(slog.DiscardHandler), slog.LevelDebug)
	f.hosts["192.0.2.9"] = &tally{} // as above
	for i := range maxHosts - 1 {
		if !f.Admit(fmt.Sprintf("[2001:db8:%x::1]:1", i)) {
			t.Fatalf("host %d is held back", i)
		}
	}
	n := 0
	for i := range 3 * burst {
		if f.Admit(fmt.Sprintf("[2001:db9:%x::1]:1", i)) {
			n++
		}
	}
	if n != burst || len(f.hosts) != maxHosts+1 {
		t.Errorf("%d lines of further hosts, %d hosts are known", n, len(f.hosts))
	}
}
