package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
)

// places are those of the connections that are carried at once.
type places struct {
	slots chan struct{} // nil: there is no limit
	log   *slog.Logger
	told  time.Time
}

// tellFull is how often it is said that others wait.
const tellFull = time.Minute

func newPlaces(n int, log *slog.Logger) *places {
	p := &places{log: log}
	if n > 0 {
		p.slots = make(chan struct{}, n)
	}
	return p
}

// take waits for a place. It is false where ctx ended first. One goroutine calls it.
func (p *places) take(ctx context.Context) bool {
	if p.slots == nil {
		return true
	}
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	if now := time.Now(); p.told.IsZero() || now.Sub(p.told) > tellFull {
		p.told = now
		e, _ := code.Lookup(code.TooManyConnections)
		p.log.Warn(fmt.Sprintf("carrying %s, as many as --max-connections allows: the next ones wait", connections(int64(cap(p.slots)))),
			"code", string(code.TooManyConnections), "mend", e.Mend)
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *places) leave() {
	if p.slots != nil {
		<-p.slots
	}
}
