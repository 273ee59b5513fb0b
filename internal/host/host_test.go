package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca/server"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/host"
)

const asChild = "MUTUAL_TEST_HOST_CHILD"

// TestMain is the child, too: it answers as an authority's admin socket does until
// its standard input ends, or ends as it is told to.
func TestMain(m *testing.M) {
	switch what, dir := os.Getenv(asChild), os.Getenv(asChild+"_FOLDER"); what {
	case "":
		os.Exit(m.Run())
	case "broken":
		os.Exit(1)
	default:
		f, err := os.OpenFile(filepath.Join(dir, "starts"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString("x")
		}
		if err != nil {
			os.Exit(1)
		}
		if _, err := folder.TryLock(filepath.Join(dir, "lock")); err != nil {
			os.Exit(host.ExitLocked)
		}
		l, err := server.ListenAdmin(dir)
		if err != nil {
			os.Exit(1)
		}
		go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = json.NewEncoder(w).Encode(&api.Status{Domain: "example.internal", Process: os.Getpid()})
		}))
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = l.Close()
		os.Exit(0)
	}
}

// config is a child in a folder. Its environment is the test's.
func config(t *testing.T, what, dir string) host.Config {
	t.Helper()
	t.Setenv(asChild, what)
	t.Setenv(asChild+"_FOLDER", dir)
	return host.Config{Folder: dir, Command: []string{os.Args[0]}, Stderr: io.Discard, Log: slog.New(slog.DiscardHandler)}
}

func starts(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, "starts"))
	return len(b)
}

func TestOneHostsAndTheNextTakesOver(t *testing.T) {
	dir := t.TempDir()
	c := config(t, "serve", dir)
	first, second := host.New(c), host.New(c)
	status, err := first.Start(t.Context())
	if err != nil || !first.Hosting() {
		t.Fatal(err)
	}
	found, err := second.Start(t.Context())
	if err != nil || found.Process != status.Process || second.Hosting() || starts(dir) != 1 {
		t.Fatalf("%+v, %v, %d starts", found, err, starts(dir))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		second.Run(ctx)
	}()
	first.Stop()
	first.Stop() // once more is nothing
	if first.Hosting() {
		t.Error("it hosts after its end")
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if s, err := second.Admin().Status(t.Context()); err == nil && s.Process != status.Process && second.Hosting() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody took over")
		}
	}
	cancel()
	<-done
	if _, err := second.Admin().Status(t.Context()); err == nil {
		t.Error("the child outlives who started it")
	}
}

// A folder that somebody holds, who does not answer yet, is waited for and not
// stormed.
func TestAFolderThatIsHeldIsWaitedFor(t *testing.T) {
	dir := t.TempDir()
	lock, err := folder.TryLock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	h := host.New(config(t, "serve", dir))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := h.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if n := starts(dir); n > 10 {
		t.Errorf("%d children were started in two seconds", n)
	}
	lock.Release()
	if _, err := h.Start(t.Context()); err != nil {
		t.Error(err)
	}
	h.Stop()
}

func TestAChildThatCanNotServeIsToldOf(t *testing.T) {
	dir := t.TempDir()
	if _, err := host.New(config(t, "broken", dir)).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "the authority ended: exit status 1") {
		t.Errorf("%v", err)
	}
	c := config(t, "serve", dir)
	c.Command = []string{filepath.Join(dir, "missing")}
	if _, err := host.New(c).Start(t.Context()); err == nil || !strings.Contains(err.Error(), "can't be started") {
		t.Errorf("%v", err)
	}
}
