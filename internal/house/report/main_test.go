package main

import (
	"strings"
	"testing"
)

func TestWhatARunAmountsTo(t *testing.T) {
	pass := `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":1.5}` + "\n"
	skip := `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:3: openssl is missing\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}` + "\n"
	for _, c := range []struct {
		name, in string
		strict   bool
		want     bool
		says     string
	}{
		{"all pass", pass, true, true, "1 tests passed in 1 packages, 0 failed, 0 skipped"},
		{"a skip is told", skip + pass, false, true, "skip  p TestB: b_test.go:3: openssl is missing"},
		{"a skip fails in CI", skip + pass, true, false, "a skip is a failure"},
		{"a failure shows its output", `{"Action":"output","Package":"p","Test":"TestC","Output":"expected 1\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestC"}` + "\n" + pass, false, false, "expected 1"},
		{"a test that never ended shows its output", `{"Action":"output","Package":"p","Test":"TestD","Output":"panic: test timed out\n"}` + "\n" + `{"Action":"fail","Package":"p"}` + "\n", false, false, "never ended: TestD\npanic: test timed out"},
		{"what does not build", `{"Action":"build-output","ImportPath":"q","Output":"x.go:1: no\n"}` + "\n" + `{"Action":"build-fail","ImportPath":"q"}` + "\n" + pass, false, false, "x.go:1: no"},
		{"a module that could not be tested", pass + `{"Action":"exit","Package":"other"}` + "\n", false, false, "in the module other"},
		{"nothing ran", "", false, false, "no test ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if got := report(strings.NewReader(c.in), &out, c.strict); got != c.want || !strings.Contains(out.String(), c.says) {
				t.Errorf("%v, saying\n%s", got, out.String())
			}
		})
	}
}
