//go:build linux

package joined

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
)

// network is a machine as far as the network goes: a network namespace with one
// address, and a user of its own with a home folder.
type network struct {
	t       *testing.T
	name    string
	address string
	uid     uint32
	home    string
}

// twoNetworks are two machines with a cable between them.
func twoNetworks(t *testing.T) (a, b *network) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make network namespaces")
	}
	ip := peers.Need(t, "ip")
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(ip, args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	if out, err := exec.Command(ip, "netns", "add", "mutual-probe").CombinedOutput(); err != nil && !strings.Contains(string(out), "File exists") {
		t.Skipf("this system makes no network namespaces: %s", out)
	}
	_ = exec.Command(ip, "netns", "del", "mutual-probe").Run()
	// Users enter no folder of root's.
	dir, err := os.MkdirTemp("", "machines")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	both := make([]*network, 2)
	for i := range both {
		n := &network{t: t, name: fmt.Sprintf("mutual-%d-%d", os.Getpid(), i), address: fmt.Sprintf("10.77.0.%d", i+1),
			uid: uint32(61001 + i), home: filepath.Join(dir, fmt.Sprint(i))}
		run("netns", "add", n.name)
		t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", n.name).Run() })
		if err := os.Mkdir(n.home, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(n.home, int(n.uid), int(n.uid)); err != nil {
			t.Fatal(err)
		}
		both[i] = n
	}
	a, b = both[0], both[1]
	run("-n", a.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b.name)
	for i, n := range both {
		run("-n", n.name, "link", "set", "lo", "up")
		run("-n", n.name, "link", "set", "eth0", "up")
		run("-n", n.name, "address", "add", n.address+"/24", "dev", "eth0")
		run("-n", n.name, "route", "add", "default", "via", both[1-i].address)
	}
	return a, b
}

// within calls f on a thread that is in the namespace: sockets that are made by it
// are, and so are programs that it starts.
func (n *network) within(f func()) {
	n.t.Helper()
	var wait sync.WaitGroup
	var err error
	wait.Go(func() {
		runtime.LockOSThread()
		// A thread that does not come back ends with its goroutine; the first one of
		// the process can't, and the kernel takes its view for the process's.
		var home, ns *os.File
		if home, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return
		}
		defer home.Close()
		if ns, err = os.Open("/run/netns/" + n.name); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return
		}
		defer func() {
			if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
				runtime.UnlockOSThread()
			}
		}()
		f()
	})
	wait.Wait()
	if err != nil {
		n.t.Fatalf("the namespace %s: %v", n.name, err)
	}
}

// command is the program as the machine's user, with nothing but its home.
func (n *network) command(args ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Env = []string{"HOME=" + n.home, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = n.home
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: n.uid, Gid: n.uid}}
	return cmd
}

func (n *network) start(args ...string) (g *stage.Gate) {
	n.t.Helper()
	n.within(func() { g = stage.Start(n.t, n.home, n.command(args...)) })
	if g == nil {
		n.t.FailNow() // it was said why
	}
	return g
}

// once asks a plain service on the machine itself.
func (n *network) once(address string) (err error) {
	n.within(func() { err = stage.Once(address) })
	return err
}

func (n *network) awaitAnswer(address string) {
	n.t.Helper()
	stage.Await(n.t, "nothing came back", func() error { return n.once(address) })
}

func (n *network) status() (s status, err error) {
	cmd := n.command("ca", "status", "--json")
	var out []byte
	n.within(func() { out, err = cmd.Output() })
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	return s, err
}

// The two commands as they stand in the README, on two machines that share no more
// than a cable, as users who share nothing. Whatever is killed comes back by the
// same line, and certificates are renewed meanwhile.
func TestTwoMachinesTwoUsersAndTheSameTwoCommands(t *testing.T) {
	t.Parallel()
	a, b := twoNetworks(t)
	a.within(func() {
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Error(err)
			return
		}
		stage.Serve(t, l, stage.Echo)
	})
	serve := func() *stage.Gate {
		t.Helper()
		return a.start("serve", "orders", "--to", "127.0.0.1:8080", "--allow", "web", "--lifetime", "60s")
	}
	orders := serve()
	if len(orders.Authority) != 1 || orders.Authority[0] != a.address+":8440" || !strings.Contains(orders.Output(), a.address+":8443") {
		t.Errorf("told to others: %v\n%s", orders.Authority, orders.Output())
	}
	line := orders.Lines["web"]
	connect := func() *stage.Gate {
		t.Helper()
		return b.start("connect", line, "--listen", "127.0.0.1:9000", "--lifetime", "60s")
	}
	web := connect()
	b.awaitAnswer("127.0.0.1:9000") // orders may be telling the authority at this moment where it is
	if err := a.once("127.0.0.1:9000"); err == nil {
		t.Error("the machines are one")
	}

	// serve, which takes the authority with it.
	kill(t, orders.Cmd.Process.Pid)
	orders = serve()
	if len(orders.Lines) != 0 {
		t.Errorf("lines of %d names after a restart", len(orders.Lines))
	}
	b.awaitAnswer("127.0.0.1:9000")

	// The authority alone. What stands does not notice, nor do new connections.
	before, err := a.status()
	if err != nil {
		t.Fatal(err)
	}
	kill(t, before.Process)
	if err := b.once("127.0.0.1:9000"); err != nil {
		t.Error(err)
	}
	stage.Await(t, "the authority stays away", func() error {
		after, err := a.status()
		if err == nil && after.Process == before.Process {
			err = errors.New("it was not killed")
		}
		return err
	})

	// connect.
	kill(t, web.Cmd.Process.Pid)
	_ = web.Wait(peers.Patience)
	web = connect()
	b.awaitAnswer("127.0.0.1:9000")

	// Both go on to renew, by themselves, and nobody notices.
	over := time.Now().Add(peers.Patience)
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	for ; rotations(orders) < 1 || rotations(web) < 1; <-pace.C {
		if err := b.once("127.0.0.1:9000"); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(over) {
			t.Fatalf("nothing is renewed:\n%s\n%s", orders.Output(), web.Output())
		}
	}
	for _, n := range []*network{a, b} {
		owned(t, n)
	}
}

// owned holds everything in a machine's home to be its user's own.
func owned(t *testing.T, n *network) {
	t.Helper()
	for _, path := range tree(t, n.home) {
		info, err := os.Lstat(path)
		if err != nil {
			continue // a temporary file
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != n.uid {
			t.Errorf("%s belongs to %d", path, st.Uid)
		}
		if info.Mode().Perm()&0o077 != 0 && strings.Contains(path, "/mutual/") {
			t.Errorf("%s is %v", path, info.Mode())
		}
	}
}

// Who may not administer the authority is told whose it is, and not to start it.
func TestAnotherUsersAuthorityIsNotAdministered(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	h := newHouse(t)
	h.authority()
	cmd := h.command("list", "--data", h.data)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
	if out, code := h.runCommand(cmd); code != 1 || !strings.Contains(out, "another user's") {
		t.Errorf("%d: %s", code, out)
	}
}
