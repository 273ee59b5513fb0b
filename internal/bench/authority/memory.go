package main

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/agent"
)

// quiet is how long the idle ones are left alone before they are measured: they
// ask for what is new, are answered, and wait.
const quiet = 3 * time.Second

// memory measures an idle authority, agents that do nothing but stay fresh and
// follow it, and the authority that they follow. The agents are in this process,
// which is why they come first: nothing else has used its memory yet.
func (h *house) memory(ctx context.Context, n int) (memory, error) {
	m := memory{Agents: n}
	if err := pass(ctx, quiet); err != nil {
		return m, err
	}
	m.AuthorityIdle = h.resident()
	agents := make([]*agent.Agent, n)
	// The first brings along what all share.
	shared, err := h.agent(ctx, "shared")
	if err != nil {
		return m, err
	}
	running, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { shared.Run(running) })
	if err := pass(ctx, quiet); err != nil {
		return m, err
	}
	before, routines := used(), runtime.NumGoroutine()
	for i := range agents {
		if agents[i], err = h.agent(ctx, fmt.Sprintf("agent%d", i)); err != nil {
			return m, err
		}
		all.Go(func() { agents[i].Run(running) })
	}
	if err := pass(ctx, quiet); err != nil {
		return m, err
	}
	after := used()
	m.HeapPerAgent = (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
	m.StackPerAgent = (float64(after.StackInuse) - float64(before.StackInuse)) / float64(n)
	m.RoutinesPer = float64(runtime.NumGoroutine()-routines) / float64(n)
	m.AuthorityServes = h.resident()
	runtime.KeepAlive(agents)
	return m, nil
}

// agent joins as somebody new, in a folder of its own.
func (h *house) agent(ctx context.Context, folder string) (*agent.Agent, error) {
	l, err := h.line(ctx)
	if err != nil {
		return nil, err
	}
	return agent.Join(ctx, l, agent.Options{Data: filepath.Join(h.dir, folder), Log: h.log})
}

// used is the memory in use, what is garbage cleared away.
func used() runtime.MemStats {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	runtime.ReadMemStats(&m)
	return m
}

func pass(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
