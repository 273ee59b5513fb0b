package clock

import (
	"strings"
	"time"
)

// Words is a duration as people write it: "1h", and not "1h0m0s".
func Words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
