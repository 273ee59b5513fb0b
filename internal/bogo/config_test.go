package bogo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheConfigIsOneThatTheRunnerTakes(t *testing.T) {
	b, err := os.ReadFile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		DisabledTests  map[string]string
		ErrorMap       map[string][]string
		HalfRTTTickets int
	}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	for pattern, reason := range c.DisabledTests {
		if _, err := filepath.Match(pattern, "any"); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
		if strings.Trim(pattern, "*") == "" || len(reason) < 10 || strings.Contains(reason, "\n") {
			t.Errorf("%q is left out without a reason in one line: %q", pattern, reason)
		}
	}
	for name, ours := range c.ErrorMap {
		// An empty part stands in every line: it would make any error the right one.
		if len(ours) == 0 {
			t.Errorf("%s has no error of ours beside it", name)
		}
		for _, part := range ours {
			if len(part) < 6 {
				t.Errorf("%s: %q says too little", name, part)
			}
		}
	}
}
