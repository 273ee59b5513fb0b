package gateway

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// healthHandler answers /healthz as long as the process lives, and /readyz while
// it can do its work: not while it drains, nor with a certificate that ended.
func (g *Gateway) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		why := ""
		switch {
		case g.draining.Load():
			why = "stopping"
		case g.cfg.Ready != nil:
			if err := g.cfg.Ready(); err != nil {
				why = err.Error()
			}
		}
		if why != "" {
			http.Error(w, why, http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	return mux
}

// announce tells others where we are, in a file that is there whole or not at
// all, and is its owner's alone.
func (g *Gateway) announce() error {
	what := map[string][]string{"listen": {g.Addr().String()}}
	if a, ok := g.HealthAddr(); ok {
		what["health"] = []string{a.String()}
	}
	b, err := json.MarshalIndent(what, "", "  ")
	if err != nil {
		return err
	}
	fail := func(err error) error { return fmt.Errorf("--announce can't be written: %w", err) }
	f, err := os.CreateTemp(filepath.Dir(g.cfg.Announce), ".announce-*") // 0600
	if err != nil {
		return fail(err)
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(append(b, '\n')); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), g.cfg.Announce)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}
