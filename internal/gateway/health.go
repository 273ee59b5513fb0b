package gateway

import (
	"io"
	"net/http"
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
