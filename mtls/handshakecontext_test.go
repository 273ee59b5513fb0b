package mtls_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// A verifier may give its context to others, a database's driver say, who make
// contexts of it and hold them for longer than the handshake.
func TestWhatWasMadeOfAHandshakesContextEndsWithIt(t *testing.T) {
	h := newHouse(t)
	made := make(chan context.Context, 1)
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		child, cancel := context.WithCancel(ctx)
		t.Cleanup(cancel)
		made <- child
		return h.verifier().Verify(ctx, claim)
	}))
	if _, _, serr, cerr := meet(t, newServer(t, sc), newClient(t, cc), "orders"); serr != nil || cerr != nil {
		t.Fatalf("server %v, client %v", serr, cerr)
	}
	child := <-made
	select {
	case <-child.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("it did not end")
	}
	if !errors.Is(child.Err(), context.Canceled) {
		t.Errorf("it ended with %v", child.Err())
	}
}
