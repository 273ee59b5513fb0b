//go:build unix

package e2e

import (
	"os"
	"syscall"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
)

func TestAHangupDuringTheStartDoesNotStopIt(t *testing.T) {
	w := newWorld(t)
	key, err := os.ReadFile(w.file("orders.key"))
	if err != nil {
		t.Fatal(err)
	}
	pipe := w.file("pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	p := peers.Start(t, nil, binary, "serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--client-auth", "none",
		"--cert", w.file("orders.crt"), "--key", pipe)
	f, err := os.OpenFile(pipe, os.O_WRONLY, 0) // it has begun when it reads its key
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Cmd.Process.Signal(syscall.SIGHUP)
	_, _ = f.Write(key)
	_ = f.Close()
	p.Await("serving")
}
