package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/gateway"
	"github.com/mutual-tls/mutual/internal/peers"
)

// A Ctrl-C that comes when all but the last step of a start is done is obeyed like
// any other.
func TestASignalThatCameDuringTheStartStopsTheGateway(t *testing.T) {
	at, err := gateway.ParseAddress("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	g, err := gateway.Connect(gateway.Config{Name: "orders", Listen: at, Drain: time.Minute, Log: log}, gateway.Target{})
	if err != nil {
		t.Fatal(err)
	}
	starting, stop := context.WithCancel(context.Background())
	stop()
	ended := make(chan error, 1)
	go func() {
		a := &app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}
		ended <- a.runGateway(starting, g, log, running{keep: func(ctx context.Context) { <-ctx.Done() }})
	}()
	select {
	case err := <-ended:
		if err != nil || !strings.Contains(said.String(), "stopping on interrupt") {
			t.Errorf("it ended with %v, and said %s", err, said.String())
		}
	case <-time.After(peers.Patience):
		t.Fatal("the signal was lost")
	}
}
