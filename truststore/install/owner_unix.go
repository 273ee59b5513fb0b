//go:build unix

package install

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// owner is whose files the NSS databases are, where sudo made us root: what is
// theirs is changed as them, and stays theirs. nil is ourselves.
type owner struct {
	uid, gid uint32
	home     string
}

// caller is who called sudo; nil where nobody did.
func caller() *owner {
	name := os.Getenv("SUDO_USER")
	if os.Geteuid() != 0 || name == "" || name == "root" {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil
	}
	return &owner{uint32(uid), uint32(gid), u.HomeDir}
}

// dress has a program run as the owner.
func (o *owner) dress(cmd *exec.Cmd) {
	if o == nil {
		return
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: o.uid, Gid: o.gid}}
	cmd.Env = append(os.Environ(), "HOME="+o.home)
}

// mkdir makes a folder as the owner would.
func (o *owner) mkdir(path string) error {
	if o == nil {
		return os.MkdirAll(path, 0o700)
	}
	cmd := exec.Command("mkdir", "-p", "-m", "700", "--", path)
	o.dress(cmd)
	return cmd.Run()
}
