//go:build mutualtest

package clock

import (
	"os"
	"strings"
	"time"
)

// Now is the time by the wall clock, moved by the duration ("-2h") that the file
// in MUTUAL_TEST_CLOCK holds at this moment.
func Now() time.Time {
	now := time.Now().Round(0)
	file := os.Getenv("MUTUAL_TEST_CLOCK")
	if file == "" {
		return now
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return now
	}
	if d, err := time.ParseDuration(strings.TrimSpace(string(b))); err == nil {
		now = now.Add(d)
	}
	return now
}
