package mtls_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// A connection whose certificate has ended lives through its grace, whatever is
// judged again meanwhile; it does not live through being trusted no more.
func TestALookInTheGraceCutsForNewsAndNotForTime(t *testing.T) {
	h := newHouse(t)
	var ahead atomic.Int64
	trust := mtls.NewSwapVerifier(h.verifier())
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Clients = mtls.Required(trust)
	sc.Limits = &mtls.Limits{Grace: time.Hour}
	sc.Clock = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cc.Identity = h.leaf("web", mint.Lifetime(time.Hour))
	s := newServer(t, sc)
	server, client, serr, cerr := meet(t, s, newClient(t, cc), "orders")
	if serr != nil || cerr != nil {
		t.Fatalf("server %v, client %v", serr, cerr)
	}
	_ = client.SetDeadline(time.Now().Add(30 * time.Second))
	ahead.Store(int64(61 * time.Minute))
	s.Recheck(t.Context())
	if err := passes(server, client); err != nil {
		t.Errorf("in its grace: %v", err)
	}
	trust.Set(mtls.Authorities(pki.NewAnchors(anchorsOf(t, mint.Root("Another Root")).Certificates()...)))
	s.Recheck(t.Context())
	if err := passes(server, client); err == nil {
		t.Error("its authority is not trusted any more, and it stands")
	} else if r, ok := mtls.RefusalOf(err); !ok || r.Alert.String() != "unknown_ca" {
		t.Errorf("cut with %v", err)
	}
}

// passes sends a byte from the server to the client.
func passes(server, client *mtls.Conn) error {
	if _, err := server.Write([]byte("x")); err != nil {
		return err
	}
	_, err := client.Read(make([]byte, 1))
	return err
}
