package server

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
)

const asAnother = "MUTUAL_TEST_ADMIN_SOCKET"

// Whoever gets at the socket all the same, because its folder was opened or the
// descriptor was handed on, is asked of the kernel.
func TestAnotherUserIsRefusedAtTheAdminSocket(t *testing.T) {
	if socket := os.Getenv(asAnother); socket != "" {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("GET " + api.PathAdminStatus + " HTTP/1.1\r\nHost: a\r\n\r\n"))
		n, err := c.Read(make([]byte, 1))
		if n == 0 && err != nil {
			t.Log("it was shown the door")
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	w := newWorld(t)
	for path := w.folder; path != "/" && path != os.TempDir(); path = filepath.Dir(path) {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(w.folder, api.AdminSocket)
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "test")
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(program, self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), asAnother+"="+socket)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, os.ErrPermission) {
		t.Skipf("no program can be started as another user here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "it was shown the door") {
		t.Errorf("%v\n%s", err, out)
	}
	w.await("the log says so", func() bool { return w.book.line("65534", string(code.FolderRefused)) != "" })
	if _, err := w.admin().Status(w.ctx); err != nil {
		t.Errorf("the owner: %v", err)
	}
}
