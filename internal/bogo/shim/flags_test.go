package main

import (
	"errors"
	"slices"
	"testing"

	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

func TestFlagsGoToTheConnectionsThatTheyAreFor(t *testing.T) {
	w, err := parse([]string{"-port", "7", "-on-initial-expect-alpn", "a", "-on-resume-expect-alpn", "b", "-on-handshaker-async", "-on-shim-verify-fail"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*settings{w.initial, w.resumed, w.retried} {
		if s.port != 7 || s.async || !s.verifyFail {
			t.Errorf("port %d, async %v, verify-fail %v", s.port, s.async, s.verifyFail)
		}
	}
	if w.initial.expect.alpn != "a" || w.resumed.expect.alpn != "b" || w.retried.expect.alpn != "" {
		t.Errorf("%q, %q, %q", w.initial.expect.alpn, w.resumed.expect.alpn, w.retried.expect.alpn)
	}
}

func TestWhatIsNotDoneIsSaid(t *testing.T) {
	for _, args := range [][]string{{"-dtls"}, {"-max-version", "771"}, {"-some-flag-of-next-year"}} {
		if _, err := parse(args); !errors.Is(err, errUnimplemented) {
			t.Errorf("%q: %v", args, err)
		}
	}
	for _, args := range [][]string{{"port"}, {"-port"}, {"-port", "x"}} {
		if _, err := parse(args); err == nil || errors.Is(err, errUnimplemented) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// A client is used again where the flags that made it are the same.
func TestSettingsOfOneShapeShareAClient(t *testing.T) {
	w, err := parse([]string{"-curves", "29", "-on-resume-curves", "23", "-on-resume-verify-fail"})
	if err != nil {
		t.Fatal(err)
	}
	if w.initial.shape == w.resumed.shape || w.initial.shape != w.retried.shape {
		t.Errorf("%q, %q, %q", w.initial.shape, w.resumed.shape, w.retried.shape)
	}
	var c mtls.ClientConfig
	for _, change := range w.resumed.configure {
		change(&config{Common: &c.Common, client: &c})
	}
	if !slices.Equal(c.Groups, []mtls.Group{suite.X25519, suite.P256}) {
		t.Errorf("%v", c.Groups)
	}
}
