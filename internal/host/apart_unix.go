//go:build unix

package host

import (
	"os/exec"
	"syscall"
)

// apart keeps a terminal's Ctrl-C from the child: it is to outlive the drain of
// the one that started it.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
