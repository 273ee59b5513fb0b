package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// The codes that the process ends with, as the runner understands them.
const (
	ok            = 0
	failed        = 1
	notThere      = 89
	maxConnection = 10
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	w, err := parse(args)
	if err != nil {
		return tell("reading the flags", err)
	}
	if w.initial.supported {
		fmt.Println("No")
		return ok
	}
	keys, err := mtls.NewTicketKeys(0)
	if err != nil {
		return tell("making ticket keys", err)
	}
	p := &process{keys: keys, now: time.Now()}
	for i := range min(w.initial.resumeCount, maxConnection) + 1 {
		s := w.initial
		if i > 0 {
			s = w.resumed
		}
		p.current = &connection{process: p, settings: s, retry: w.retried, resumes: i > 0, secrets: map[string][]byte{}}
		if err := p.current.run(); err != nil {
			return tell(fmt.Sprintf("connection %d", i+1), err)
		}
		p.now = p.now.Add(time.Duration(s.after.resumptionDelay) * time.Second)
	}
	return ok
}

// tell says what went wrong, on the line in which the runner looks for it. The
// runner's names for errors are put beside parts of ours in config.json.
func tell(what string, err error) int {
	if errors.Is(err, errUnimplemented) {
		fmt.Fprintln(os.Stderr, err)
		return notThere
	}
	var r *mtls.Refusal
	if errors.As(err, &r) {
		way := "sent"
		if !r.Sent {
			way = "received"
		}
		if !r.HasAlert {
			way = "without"
		}
		fmt.Fprintf(os.Stderr, "%s: %s %s alert %s at %s: %s\n", what, r.Code, way, r.Alert, r.At, r.Reason)
		return failed
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	return failed
}
