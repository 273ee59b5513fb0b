package revoke

import (
	"errors"
	"net/url"
	"time"
)

// silent are hosts that did not answer when they were asked last. One host may be the
// place of thousands of answers, and each that is asked for waits for its time-out: so
// all of one host wait together, and hold nobody else's news up.
type silent map[string]*away

// away is a host that did not answer.
type away struct {
	until time.Time
	fails int
	why   string
}

// silence is an error of somebody who was asked and did not begin to answer.
type silence struct{ cause error }

func (s *silence) Error() string { return s.cause.Error() }
func (s *silence) Unwrap() error { return s.cause }

// heard is told how it went to ask for a place.
func (s silent) heard(place string, err error, now time.Time) {
	var none *silence
	at := authority(place)
	switch {
	case err == nil || !errors.As(err, &none):
		delete(s, at)
	case s[at] == nil:
		s[at] = &away{now.Add(pause(0)), 1, err.Error()}
	default:
		if a := s[at]; !a.until.After(now) { // else some were asked at the same time
			a.until, a.why = now.Add(pause(a.fails)), err.Error()
			a.fails++
		}
	}
}

// waits says until when a place is not asked, and why.
func (s silent) waits(place string, now time.Time) (time.Time, string, bool) {
	a := s[authority(place)]
	if a == nil || !a.until.After(now) || a.until.After(now.Add(2*maxPause)) { // our clock was put back
		return time.Time{}, "", false
	}
	return a.until, a.why, true
}

// forget drops those that nobody asked for long.
func (s silent) forget(now time.Time) {
	for at, a := range s {
		if now.Sub(a.until).Abs() > forgetAfter {
			delete(s, at)
		}
	}
}

// postponed says whether it is at a host that did not answer a moment ago, and puts it
// off to when that is asked again.
func (k *Checker) postponed(it *item) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	until, why, waits := k.silent.waits(it.url, k.now())
	if waits {
		it.due, it.why = until, why
	}
	return waits
}

// authority is the host and port of a place that was found to be a URL.
func authority(place string) string {
	u, err := url.Parse(place)
	if err != nil {
		return place
	}
	return u.Scheme + "://" + u.Host
}
