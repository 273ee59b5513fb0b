package clock

import (
	"testing"
	"time"
)

func TestADurationIsToldAsPeopleWriteIt(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 10 * time.Second: "10s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h", 10 * time.Hour: "10h",
		time.Hour + time.Second: "1h0m1s", 90 * time.Minute: "1h30m", 2160 * time.Hour: "2160h", -time.Hour: "-1h", 1500 * time.Millisecond: "1.5s",
	} {
		if got := Words(d); got != want {
			t.Errorf("%d is %q, expected %q", d, got, want)
		}
	}
}
