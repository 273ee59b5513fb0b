package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// callers ask at once, each with a pause between its requests: a steady load
	// that leaves a small machine time for everything else.
	callers = 4
	breath  = 100 * time.Millisecond
)

// renewed is how a gateway's log tells that it took a new certificate.
const renewed = "a new certificate is in use for "

// rotate asks without end until the certificates that both sides began with are
// over, and wants every answer. Each request is a connection of its own, and so a
// handshake with whatever certificates are in use then.
func (d *demo) rotate(ctx context.Context) error {
	first, err := d.certificates(ctx)
	if err != nil {
		return err
	}
	// The one that is to be refused as expired is among them.
	var end time.Time
	for _, c := range first {
		if c.Head && (c.Name == "orders" || c.Name == "web" && c.NotAfter.Sub(c.NotBefore) < time.Hour) && c.NotAfter.After(end) {
			end = c.NotAfter
		}
	}
	if end.IsZero() {
		return fmt.Errorf("mutual list has no certificate of orders or web: %v", first)
	}
	// Others may be a little behind the second in which it ends.
	end = end.Add(time.Second)
	if err := d.tell(event{Event: "load", Callers: callers, Seconds: int(time.Until(end).Round(time.Second).Seconds())}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var answers atomic.Int64
	ended := make(chan error, callers)
	over := make(chan struct{})
	for i := range callers {
		go func() { ended <- d.keepAsking(ctx, i, over, &answers) }()
	}
	err = d.watchRenewals(ctx, end, ended)
	close(over)
	if err != nil {
		cancel(err)
		return err
	}
	for range callers {
		if err := <-ended; err != nil {
			return err
		}
	}
	return d.tell(event{Event: "rotated", Requests: int(answers.Load()), Rotations: d.rotations})
}

// keepAsking asks until it is over; an error ends it.
func (d *demo) keepAsking(ctx context.Context, n int, over <-chan struct{}, answers *atomic.Int64) error {
	for {
		n += callers
		if _, err := d.order(ctx, strconv.Itoa(n)); err != nil {
			return err
		}
		answers.Add(1)
		select {
		case <-over:
			return nil
		case <-time.After(breath):
		}
	}
}

// watchRenewals tells each new certificate as it comes into use, until end, by
// which both gateways must have one. A caller that failed ends it.
func (d *demo) watchRenewals(ctx context.Context, end time.Time, failed <-chan error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	seen, count := [2]int{}, [2]int{}
	for {
		for i, p := range [2]*process{d.serve, d.connect} {
			for ; seen[i] < p.said(); seen[i]++ {
				l := p.line(seen[i])
				name, rest, _ := strings.Cut(strings.TrimPrefix(l.Reason, renewed), ", ")
				if !strings.HasPrefix(l.Reason, renewed) {
					continue
				}
				count[i]++
				d.rotations++
				if err := d.tell(event{Event: "renewed", Name: name, Serial: l.Serial, Answer: rest}); err != nil {
					return err
				}
			}
		}
		if time.Now().After(end) {
			if count[0] == 0 || count[1] == 0 {
				return fmt.Errorf("the first certificates are over; orders took %d new ones, and web %d: expected one or more of each", count[0], count[1])
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case p := <-d.keeper.fallen:
			return p.fell()
		case <-tick.C:
		}
	}
}
