package server

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
)

// All agents of a machine that slept wake with their authority, and ask it at once.
func TestAnAuthorityThatSleptShowsNoCertificateThatHasEnded(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.clock.move(30 * 24 * time.Hour)
		woke := w.clock.Now()
		conn, err := tls.Dial("tcp", w.port, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{api.ALPNJoin}})
		if err != nil {
			t.Fatal(err)
		}
		leaf := conn.ConnectionState().PeerCertificates[0]
		_ = conn.Close()
		if leaf.NotAfter.Before(woke) {
			t.Errorf("at %v it shows what ended at %v", woke, leaf.NotAfter)
		}
	}
}
