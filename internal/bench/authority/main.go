package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// options are the flags.
type options struct {
	program string
	callers int
	agents  int
	number  int
	fast    string
	profile string
}

// report is all that was measured.
type report struct {
	Go         string `json:"go"`
	Processors int    `json:"processors"`
	// Load is the machine's load average, before and after. Beside other work the
	// numbers say little.
	Load   [2]string `json:"load"`
	Rates  []rate    `json:"rates"`
	Pieces []piece   `json:"pieces"`
	Memory memory    `json:"memory"`
}

// rate is how fast one kind of request is answered.
type rate struct {
	Name      string  `json:"name"`
	Callers   int     `json:"callers"`
	Requests  int     `json:"requests"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	// Processor is the processor time of the authority's process, per request.
	Processor float64 `json:"authority_processor_ms"`
}

// piece is a part of a join, measured by itself.
type piece struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
}

// memory is what the idle ones take.
type memory struct {
	Agents          int      `json:"agents"`
	HeapPerAgent    float64  `json:"heap_bytes_per_agent"`
	StackPerAgent   float64  `json:"stack_bytes_per_agent"`
	RoutinesPer     float64  `json:"goroutines_per_agent"`
	AuthorityIdle   resident `json:"authority_idle"`
	AuthorityServes resident `json:"authority_followed"` // by Agents
}

// resident is the memory of a process.
type resident struct {
	All  int64 `json:"rss_bytes"`
	Anon int64 `json:"anonymous_bytes"` // of its own: the program's file not counted
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/mutual", "the program that is the authority (make build); \"\" has it in this process, for a profile")
	flag.IntVar(&o.callers, "callers", 16, "callers side by side, beside the one alone")
	flag.IntVar(&o.agents, "agents", 50, "idle agents whose memory is measured")
	flag.IntVar(&o.number, "requests", 400, "requests of each kind")
	flag.StringVar(&o.fast, "fast", "/dev/shm", "a folder in memory, to see what the disk costs; left out where it is missing")
	flag.StringVar(&o.profile, "cpuprofile", "", "write a profile of the joins and renewals of this process to this file")
	asJSON := flag.Bool("json", false, "one JSON object on standard output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	r, err := run(ctx, &o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/authority:", err)
		os.Exit(1)
	}
	if *asJSON {
		_ = json.NewEncoder(os.Stdout).Encode(r)
		return
	}
	r.print(os.Stdout)
}

func run(ctx context.Context, o *options) (*report, error) {
	r := &report{Go: runtime.Version(), Processors: runtime.GOMAXPROCS(0)}
	r.Load[0] = load()
	h, err := newHouse(ctx, o.program)
	if err != nil {
		return nil, err
	}
	defer h.close()
	if r.Memory, err = h.memory(ctx, o.agents); err != nil {
		return nil, fmt.Errorf("memory: %w", err)
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, err
		}
	}
	for _, callers := range []int{1, o.callers} {
		joins, holders, err := h.joins(ctx, callers, o.number)
		if err != nil {
			return nil, fmt.Errorf("joins: %w", err)
		}
		renewals, err := h.renewals(ctx, holders, o.number)
		if err != nil {
			return nil, fmt.Errorf("renewals: %w", err)
		}
		r.Rates = append(r.Rates, joins, renewals)
	}
	pprof.StopCPUProfile() // where none was started it does nothing
	if r.Pieces, err = pieces(ctx, h, o); err != nil {
		return nil, fmt.Errorf("pieces: %w", err)
	}
	r.Load[1] = load()
	return r, nil
}

// load is the load average of the last minute, "unknown" where nobody tells.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}

// quantile is one of times, in milliseconds. They are sorted by it.
func quantile(times []time.Duration, q float64) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[int(q*float64(len(times)-1)+0.5)].Seconds() * 1e3
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s, %d processors, load average %s before and %s after.\n\n", r.Go, r.Processors, r.Load[0], r.Load[1])
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "requests\tcallers\tper second\tp50\tp99\tauthority's processor\t")
	for _, x := range r.Rates {
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.2f ms\t%.2f ms\t%.2f ms\t\n", x.Name, x.Callers, x.PerSecond, x.P50, x.P99, x.Processor)
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "where the time goes, by one caller\tp50\tp99\t")
	for _, p := range r.Pieces {
		fmt.Fprintf(w, "%s\t%.3f ms\t%.3f ms\t\n", p.Name, p.P50, p.P99)
	}
	_ = w.Flush()
	m, kib := r.Memory, func(n int64) int64 { return n >> 10 }
	fmt.Fprintf(out, "\nidle agent: %.0f KiB of heap, %.0f KiB of stacks, %.1f goroutines (of %d)\n", m.HeapPerAgent/1024, m.StackPerAgent/1024, m.RoutinesPer, m.Agents)
	fmt.Fprintf(out, "idle authority: %d KiB resident, %d KiB of them its own; with %d agents that follow it %d KiB, %d KiB\n",
		kib(m.AuthorityIdle.All), kib(m.AuthorityIdle.Anon), m.Agents, kib(m.AuthorityServes.All), kib(m.AuthorityServes.Anon))
}
