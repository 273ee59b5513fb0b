//go:build !mutualtest

package clock

import "time"

// Now is the time by the wall clock, without the monotonic reading: a
// certificate ends by the calendar, and a machine's sleep counts.
func Now() time.Time { return time.Now().Round(0) }
