package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/ca/server"
	"github.com/mutual-tls/mutual/internal/join"
)

// house is an authority, in a process of its own, and its folder.
type house struct {
	dir   string
	pid   int    // of the authority
	end   func() // ends it
	admin *client.Admin
	names atomic.Int64
	log   *slog.Logger
}

// newHouse starts the program as the authority; with "" it is in this process, for
// a profile of both sides.
func newHouse(ctx context.Context, program string) (*house, error) {
	dir, err := os.MkdirTemp("", "mutual-bench")
	if err != nil {
		return nil, err
	}
	h := &house{dir: dir, pid: os.Getpid(), log: slog.New(slog.DiscardHandler), end: func() {}}
	if program == "" {
		err = h.startHere(ctx)
	} else {
		err = h.startApart(ctx, program)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("the authority did not start: %w", err)
	}
	return h, nil
}

func (h *house) close() {
	h.end()
	_ = os.RemoveAll(h.dir)
}

func (h *house) startHere(ctx context.Context) error {
	o := ca.Options{Folder: filepath.Join(h.dir, "ca"), Log: h.log}
	if err := ca.Create(ctx, o); err != nil {
		return err
	}
	a, err := ca.Open(ctx, o)
	if err != nil {
		return err
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	admin, err := server.ListenAdmin(o.Folder)
	if err != nil {
		return err
	}
	s, err := server.New(ctx, server.Config{Authority: a, Listen: port, Admin: admin, Advertise: []string{port.Addr().String()}, Log: h.log})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	h.end = func() {
		stop()
		<-done
		_ = a.Close()
	}
	h.admin = client.NewAdmin(o.Folder)
	return nil
}

func (h *house) startApart(ctx context.Context, program string) error {
	cmd := exec.Command(program, "ca", "--data", h.dir, "--listen", "127.0.0.1:0", "--until-stdin-ends")
	var said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	h.pid = cmd.Process.Pid
	h.end = func() {
		_ = pipe.Close() // it ends with its standard input
		_ = cmd.Wait()
	}
	h.admin = client.NewAdmin(filepath.Join(h.dir, "ca"))
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		_, err := h.admin.Status(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			h.end() // and what it said is whole
			h.end = func() {}
			return fmt.Errorf("%w: %s", err, said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// line is a join line for a name that nobody has.
func (h *house) line(ctx context.Context) (*join.Line, error) {
	made, err := h.admin.Token(ctx, &api.TokenRequest{Name: fmt.Sprintf("n%d", h.names.Add(1))})
	if err != nil {
		return nil, err
	}
	return join.Parse(made.Line)
}

// clockTick is the unit of processor time in /proc: 1/100 s on every Linux that
// Go runs on (USER_HZ).
const clockTick = 10 * time.Millisecond

// processor is the processor time that the authority has used, 0 where nobody
// tells.
func (h *house) processor() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.pid))
	if err != nil {
		return 0
	}
	// Behind the name, which may hold anything, utime and stime are the 12th and
	// 13th fields (proc_pid_stat(5)).
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * clockTick
}

// resident is the authority's memory, zero where nobody tells.
func (h *house) resident() resident {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.pid))
	if err != nil {
		return resident{}
	}
	var r resident
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(line, ":")
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case key == "VmRSS":
			r.All = n << 10
		case key == "RssAnon":
			r.Anon = n << 10
		}
	}
	return r
}
