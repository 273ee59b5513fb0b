//go:build unix

package demo

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// stopsGently is whether a process can be asked to end.
const stopsGently = true

func stop(p *os.Process) { _ = p.Signal(syscall.SIGTERM) }

// lead makes a process the leader of a new group. It stands outside the
// terminal's, so Ctrl-C reaches the demo alone, which ends the others in order.
func lead(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// follow puts a process into the group of leader.
func follow(c *exec.Cmd, leader int) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: leader}
}

func ignoreSignals() { signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) }

// killGroup kills our group, ourselves included, if it is ours.
func killGroup() {
	if syscall.Getpgrp() == os.Getpid() {
		_ = syscall.Kill(0, syscall.SIGKILL)
	}
}
