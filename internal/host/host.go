package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
)

// ExitLocked is the exit code by which a child says that another process hosts
// the folder.
const ExitLocked = 75

// Config says which authority, and how to start it.
type Config struct {
	// Folder is the authority's, DATA/ca.
	Folder string
	// Command is the program that serves it, with its arguments. Its standard
	// input is a pipe that ends when this process does, by whatever cause: it has
	// to end then.
	Command []string
	// Stderr is the child's.
	Stderr io.Writer
	Log    *slog.Logger
}

// Host watches one authority. It is safe for concurrent use.
type Host struct {
	config Config
	admin  *client.Admin

	mu    sync.Mutex
	child *child
}

// child is a process of ours that serves the authority.
type child struct {
	cmd  *exec.Cmd
	pipe io.Closer
	done chan struct{}
	err  error
}

// startTime is how long an authority may take to answer after it was started: a
// large RSA key is made in it.
const startTime = 60 * time.Second

// New is a Host that has started nothing.
func New(c Config) *Host { return &Host{config: c, admin: client.NewAdmin(c.Folder)} }

// Start answers when the folder's authority does, which is started where nobody
// serves it.
func (h *Host) Start(ctx context.Context) (*api.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		status, err := h.admin.Status(ctx)
		if err == nil {
			return status, nil
		}
		if !errors.Is(err, client.ErrNoAuthority) && ctx.Err() == nil {
			h.Stop()
			return nil, fmt.Errorf("the authority in %s does not answer: %w", h.config.Folder, err)
		}
		if err := h.see(); err != nil {
			return nil, err
		}
		pause := 20 * time.Millisecond
		if !h.Hosting() {
			pause = 250 * time.Millisecond // another process has the folder: none is started in a row
		}
		select {
		case <-ctx.Done():
			h.Stop()
			return nil, fmt.Errorf("the authority in %s did not start: %w", h.config.Folder, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// see starts a child where none of ours runs. That another process hosts the
// folder is well, too.
func (h *Host) see() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.child != nil {
		select {
		case <-h.child.done:
			c := h.child
			h.child = nil
			var exit *exec.ExitError
			if errors.As(c.err, &exit) && exit.ExitCode() == ExitLocked {
				return nil // somebody else is about to serve it
			}
			return fmt.Errorf("the authority ended: %w", ended(c.err))
		default:
			return nil
		}
	}
	cmd := exec.Command(h.config.Command[0], h.config.Command[1:]...)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = h.config.Stderr
	apart(cmd)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("the authority can't be started: %w", err)
	}
	c := &child{cmd: cmd, pipe: pipe, done: make(chan struct{})}
	go func() {
		c.err = cmd.Wait()
		close(c.done)
	}()
	h.child = c
	return nil
}

func ended(err error) error {
	if err == nil {
		return errors.New("it stopped by itself")
	}
	return err
}

// Admin is the authority's admin socket.
func (h *Host) Admin() *client.Admin { return h.admin }

// Hosting says whether the authority runs as a child of this process, and stops
// with it.
func (h *Host) Hosting() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.child == nil {
		return false
	}
	select {
	case <-h.child.done:
		return false
	default:
		return true
	}
}

// steady is how long a child has to run to be taken for one that can.
const steady = time.Minute

// Run hosts the authority where nobody else does, until ctx ends. Then a child of
// ours is stopped.
func (h *Host) Run(ctx context.Context) {
	defer h.Stop()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	failures := 0
	var since time.Time // the child that runs now
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if h.Hosting() {
			if failures > 0 && time.Since(since) > steady {
				failures = 0 // what fell long ago is no reason to wait when it falls again
			}
			continue
		}
		if _, err := h.admin.Status(ctx); !errors.Is(err, client.ErrNoAuthority) {
			failures = 0
			continue // it is served, or too busy to say so
		}
		was := failures
		if err := h.see(); err != nil {
			failures++
			h.config.Log.Error(err.Error())
			// A child that can't start is not started in a row for ever.
			select {
			case <-ctx.Done():
				return
			case <-time.After(min(time.Duration(1<<min(was, 6))*time.Second, time.Minute)):
			}
			continue
		}
		if h.Hosting() {
			since = time.Now()
			h.config.Log.Info("this process hosts the authority now")
		}
	}
}

// Stop stops the child, if there is one, and waits for it.
func (h *Host) Stop() {
	h.mu.Lock()
	c := h.child
	h.child = nil
	h.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.pipe.Close()
	select {
	case <-c.done:
	case <-time.After(10 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}
