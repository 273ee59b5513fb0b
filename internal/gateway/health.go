package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// ServeHealth answers at l, until the answer's Close: /healthz as long as the
// process lives, and /readyz while it can do its work, which ready says.
func ServeHealth(l net.Listener, ready func() error) io.Closer {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ready\n")
	})
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	go func() { _ = s.Serve(l) }()
	return s
}

// ready says why this gateway is not: it drains, or its certificate ended.
func (g *Gateway) ready() error {
	if g.draining.Load() {
		return errors.New("stopping")
	}
	if g.cfg.Ready != nil {
		return g.cfg.Ready()
	}
	return nil
}
