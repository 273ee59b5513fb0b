package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
)

// TestMain removes what program has built.
func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

var built struct {
	sync.Once
	dir, program string
	err          error
}

// program is the real program, built once for those tests that want it.
func program(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "mutual"); built.err != nil {
			return
		}
		built.program = filepath.Join(built.dir, "mutual")
		if out, err := exec.Command("go", "build", "-o", built.program, "github.com/mutual-tls/mutual/cmd/mutual").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.program
}

// gateway starts `mutual serve orders` in front of the plain service at to, and
// answers with its address. Without a --client-auth it wants the caller "web".
func (w *world) gateway(to string, args ...string) (p *peers.Process, address string) {
	w.t.Helper()
	cert, key := w.files(w.issuing.Leaf("orders", mint.Names("orders", "localhost"), mint.IPs("127.0.0.1")), "gateway")
	if len(args) == 0 || args[0] != "--client-auth" {
		args = append([]string{"--client-ca", w.ca, "--allow", "web"}, args...)
	}
	return w.mutual(append([]string{"serve", "orders", "--to", to, "--listen", "127.0.0.1:0", "--cert", cert, "--key", key}, args...)...)
}

// mutual starts the real program as a gateway, and answers with where it listens.
func (w *world) mutual(args ...string) (p *peers.Process, address string) {
	w.t.Helper()
	announce := filepath.Join(w.t.TempDir(), "announce.json")
	p = peers.Start(w.t, nil, program(w.t), append(args, "--announce", announce, "--log", "json", "--handshake-timeout", peers.Patience.String())...)
	for end := time.Now().Add(peers.Patience); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(announce); err == nil { // it is there whole, or not at all
			var said struct{ Listen []string }
			if err := json.Unmarshal(b, &said); err != nil || len(said.Listen) != 1 {
				w.t.Fatalf("announced %q: %v", b, err)
			}
			return p, said.Listen[0]
		}
		if p.Ended() || time.Now().After(end) {
			w.t.Fatalf("%v did not start:\n%s", args, p.Output())
		}
	}
}
