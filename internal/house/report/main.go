// Command report reads what `go test -json` prints and says what it amounts to:
// the output of what failed, a line for each package, and every skip by name.
// With CI set a skip is a failure too: there everything must be installed.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	if !report(os.Stdin, os.Stdout, os.Getenv("CI") != "") {
		os.Exit(1)
	}
}

// report answers whether all is well.
func report(r io.Reader, w io.Writer, strict bool) bool {
	type key struct{ pkg, test string }
	output := make(map[key][]string)
	var failed, skipped []key
	var ended []string
	passed, packages := 0, 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(w, lines.Text()) // what the toolchain says itself
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "output":
			output[k] = append(output[k], e.Output)
		case "exit": // the Makefile's word that go test ended with an error
			ended = append(ended, e.Package)
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "build-fail":
			failed = append(failed, key{e.ImportPath, ""})
		case "pass":
			if e.Test == "" {
				packages++
				fmt.Fprintf(w, "ok    %6.1fs  %s\n", e.Elapsed, e.Package)
			} else {
				passed++
			}
			delete(output, k)
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, k)
			}
		case "fail":
			failed = append(failed, k)
			if e.Test == "" {
				fmt.Fprintf(w, "FAIL  %6.1fs  %s\n", e.Elapsed, e.Package)
			}
			fmt.Fprint(w, strings.Join(output[k], ""))
			delete(output, k)
			if e.Test != "" {
				break
			}
			// A package that ran out of time, or panicked, leaves tests that never
			// ended: why it did so is in what they printed.
			for left, said := range output {
				waits := strings.HasPrefix(said[len(said)-1], "=== PAUSE")
				if left.pkg == e.Package && !waits && !slices.Contains(skipped, left) {
					fmt.Fprintf(w, "never ended: %s\n%s", left.test, strings.Join(said, ""))
					delete(output, left)
				}
			}
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Fprintln(w, "the tests' output can't be read:", err)
		return false
	}
	fmt.Fprintf(w, "\n%d tests passed in %d packages, %d failed, %d skipped\n", passed, packages, len(failed), len(skipped))
	for _, k := range skipped {
		why := strings.Join(output[k], "")
		if i := slices.IndexFunc(output[k], func(s string) bool { return strings.Contains(s, ".go:") }); i >= 0 {
			why = strings.TrimSpace(output[k][i])
		}
		fmt.Fprintf(w, "skip  %s %s: %s\n", k.pkg, k.test, strings.TrimSpace(why))
	}
	switch {
	case packages == 0 && len(failed) == 0:
		fmt.Fprintln(w, "no test ran")
		return false
	case len(failed) > 0:
		return false
	case len(ended) > 0:
		fmt.Fprintf(w, "go test ended with an error in the module %s, though no test failed: it says above why\n", strings.Join(ended, ", "))
		return false
	case strict && len(skipped) > 0:
		fmt.Fprintln(w, "with CI set, a skip is a failure: install what is missing (make peers)")
		return false
	}
	return true
}
