package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one thing that is measured, for both stacks alike.
type row struct {
	name  string
	unit  string
	batch int // how often one measurement repeats it
	// prepare makes what a stack needs, once; run does it n times.
	prepare func(s stack) (run func(n int) error, done func(), err error)
	// cpu measures processor time (both ends, the kernel's included) instead of
	// the clock.
	cpu bool
	// bytes that one repetition moves, for a rate.
	bytes int
}

// sample is one measurement of one stack.
type sample struct {
	seconds float64 // for one repetition
	allocs  float64
	bytes   float64
}

// result is a row's outcome.
type result struct {
	Name         string  `json:"name"`
	Unit         string  `json:"unit"`
	Ours         float64 `json:"ours"`
	Theirs       float64 `json:"theirs"`
	Ratio        float64 `json:"ratio"`
	RatioLow     float64 `json:"ratio_p25"`
	RatioHigh    float64 `json:"ratio_p75"`
	OurAllocs    float64 `json:"our_allocs"`
	TheirAllocs  float64 `json:"their_allocs"`
	OurBytes     float64 `json:"our_bytes"`
	TheirBytes   float64 `json:"their_bytes"`
	MebibytesSec float64 `json:"our_mib_per_second,omitempty"`
}

func main() {
	pattern := flag.String("run", "", "only rows whose name matches this expression")
	rounds := flag.Int("rounds", 31, "measurements of each row, each a pair")
	asJSON := flag.Bool("json", false, "one JSON array on standard output")
	only := flag.String("only", "", `"ours" or "theirs": run one stack alone, for a profile`)
	profile := flag.String("cpuprofile", "", "write a profile to this file")
	scale := flag.Float64("scale", 1, "repetitions of each measurement, times this")
	flag.Parse()
	if err := run(*pattern, *rounds, *asJSON, *only, *profile, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(pattern string, rounds int, asJSON bool, only, profile string, scale float64) error {
	match, err := regexp.Compile(pattern)
	if err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var results []result
	for _, r := range rows() {
		if !match.MatchString(r.name) {
			continue
		}
		r.batch = max(1, int(float64(r.batch)*scale))
		fmt.Fprintf(os.Stderr, "%s …\n", r.name)
		if only != "" {
			if err := alone(r, rounds, only); err != nil {
				return err
			}
			continue
		}
		res, err := compare(r, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		results = append(results, res)
	}
	if only != "" {
		return nil
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(results)
	}
	print(results)
	return nil
}

func alone(r row, rounds int, only string) error {
	s := ours
	if only == "theirs" {
		s = theirs
	}
	run, done, err := r.prepare(s)
	if err != nil {
		return err
	}
	defer done()
	for range rounds {
		m, err := measure(r, run)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "  %8.2f µs %7.0f allocs %8.0f B\n", m.seconds*1e6, m.allocs, m.bytes)
	}
	return nil
}

// compare measures both stacks in turn, in alternating order.
func compare(r row, rounds int) (result, error) {
	var runs [2]func(int) error
	for i, s := range []stack{ours, theirs} {
		run, done, err := r.prepare(s)
		if err != nil {
			return result{}, err
		}
		defer done()
		if err := run(max(1, r.batch/4)); err != nil { // warm
			return result{}, err
		}
		runs[i] = run
	}
	var ratios []float64
	var of [2][]sample
	for round := range rounds {
		var m [2]sample
		for k := range 2 {
			i := (round + k) % 2
			var err error
			if m[i], err = measure(r, runs[i]); err != nil {
				return result{}, err
			}
			of[i] = append(of[i], m[i])
		}
		ratios = append(ratios, m[0].seconds/m[1].seconds)
	}
	slices.Sort(ratios)
	q := func(f float64) float64 { return ratios[int(f*float64(len(ratios)-1)+0.5)] }
	out := result{Name: r.name, Unit: r.unit, Ratio: q(0.5), RatioLow: q(0.25), RatioHigh: q(0.75)}
	out.Ours, out.OurAllocs, out.OurBytes = medians(of[0])
	out.Theirs, out.TheirAllocs, out.TheirBytes = medians(of[1])
	if r.bytes > 0 {
		out.MebibytesSec = float64(r.bytes) / (1 << 20) / (out.Ours / 1e6)
	}
	return out, nil
}

func medians(of []sample) (microseconds, allocs, bytes float64) {
	m := func(get func(sample) float64) float64 {
		v := make([]float64, len(of))
		for i, s := range of {
			v[i] = get(s)
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return m(func(s sample) float64 { return s.seconds * 1e6 }), m(func(s sample) float64 { return s.allocs }), m(func(s sample) float64 { return s.bytes })
}

func measure(r row, run func(int) error) (sample, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start, cpu := time.Now(), processorTime()
	err := run(r.batch)
	elapsed := time.Since(start)
	if r.cpu {
		elapsed = processorTime() - cpu
	}
	runtime.ReadMemStats(&after)
	n := float64(r.batch)
	return sample{
		seconds: elapsed.Seconds() / n,
		allocs:  float64(after.Mallocs-before.Mallocs) / n,
		bytes:   float64(after.TotalAlloc-before.TotalAlloc) / n,
	}, err
}

func print(results []result) {
	fmt.Printf("%s, %s/%s, %d processors. Ratio: ours to crypto/tls, median of the rounds (quartiles); below 1 we are faster.\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join([]string{"row", "ours", "crypto/tls", "ratio", "quartiles", "allocations", "of crypto/tls", "bytes", "of crypto/tls", ""}, "\t"))
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%.2f %s\t%.2f %s\t%.3f\t%.3f–%.3f\t%.1f\t%.1f\t%.0f\t%.0f\t\n",
			r.Name, r.Ours, r.Unit, r.Theirs, r.Unit, r.Ratio, r.RatioLow, r.RatioHigh, r.OurAllocs, r.TheirAllocs, r.OurBytes, r.TheirBytes)
	}
	_ = w.Flush()
}
