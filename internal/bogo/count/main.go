// Command count tells how a run of BoGo came out: how many tests passed, failed
// and were not implemented, by version and protocol, and which ones failed. Its
// argument is what the runner wrote with -json-output; with a second one it
// writes the table there too.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// results is the part of the runner's output that is of use here.
type results struct {
	Tests map[string]struct {
		Actual string `json:"actual"`
		Error  string `json:"error"`
	} `json:"tests"`
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "count RESULTS.json [TABLE]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file string, table []string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("%s is not what the runner writes: %w", file, err)
	}
	to := io.Writer(os.Stdout)
	if len(table) > 0 {
		f, err := os.Create(table[0])
		if err != nil {
			return err
		}
		defer f.Close()
		to = io.MultiWriter(os.Stdout, f)
	}
	bad := r.tell(to)
	if bad > 0 {
		return fmt.Errorf("%d tests did not pass", bad)
	}
	return nil
}

// The results, as the runner calls them, and as they are told.
var kinds = []struct{ actual, title string }{{"PASS", "passed"}, {"FAIL", "failed"}, {"SKIP", "unimplemented"}}

// tell writes the table and the tests that did not pass, and returns their number.
func (r *results) tell(w io.Writer) (bad int) {
	count := map[string]map[string]int{}
	var names []string
	for name, t := range r.Tests {
		g := group(name)
		for _, in := range []string{g, "all"} {
			if count[in] == nil {
				count[in] = map[string]int{}
			}
			count[in][t.Actual]++
		}
		if t.Actual != "PASS" {
			names = append(names, name)
		}
	}
	fmt.Fprintf(w, "%-24s", "")
	for _, k := range kinds {
		fmt.Fprintf(w, "%14s", k.title)
	}
	fmt.Fprintln(w)
	for _, g := range append(groups, "all") {
		if count[g] == nil {
			continue
		}
		fmt.Fprintf(w, "%-24s", g)
		for _, k := range kinds {
			fmt.Fprintf(w, "%14d", count[g][k.actual])
		}
		fmt.Fprintln(w)
	}
	slices.Sort(names)
	for _, name := range names {
		t := r.Tests[name]
		word := strings.ToLower(t.Actual)
		if crashed(t.Error) {
			word = "crash"
		}
		fmt.Fprintf(w, "%s: %s\n", word, name)
	}
	return len(names)
}

// crashed says whether the shim itself broke, or did not end.
func crashed(message string) bool {
	return strings.Contains(message, "panic: ") || strings.Contains(message, "fatal error: ") ||
		strings.Contains(message, "signal: killed") || strings.Contains(message, "i/o timeout")
}

// groups are what tests are told apart by: what their names say.
var groups = []string{"QUIC", "DTLS", "TLS 1.3", "TLS 1.2 and below", "highest version"}

func group(name string) string {
	in := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains("-"+name+"-", "-"+w+"-") })
	}
	switch {
	case in("QUIC") || strings.HasPrefix(name, "QUIC"):
		return "QUIC"
	case strings.Contains(name, "DTLS"):
		return "DTLS"
	case in("TLS1", "TLS11", "TLS12"):
		return "TLS 1.2 and below"
	case strings.Contains(name, "TLS13"):
		return "TLS 1.3"
	}
	return "highest version"
}
