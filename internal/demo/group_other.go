//go:build !unix

package demo

import (
	"os"
	"os/exec"
)

// Without process groups and SIGTERM processes are killed, and those of a demo
// that is killed itself stay: they hold nothing but ports of loopback.

const stopsGently = false

func stop(p *os.Process) { _ = p.Kill() }

func lead(*exec.Cmd) {}

func follow(*exec.Cmd, int) {}

func ignoreSignals() {}

func killGroup() {}
