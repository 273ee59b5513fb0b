package mtls_test

import (
	"sync/atomic"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

func TestAClientSendsTheSharesThatItIsTold(t *testing.T) {
	h := newHouse(t)
	for _, c := range []struct {
		shares  []mtls.Group
		group   mtls.Group
		retried bool
	}{
		{nil, suite.X25519, false},
		{[]mtls.Group{suite.P256}, suite.X25519, true},
		{[]mtls.Group{suite.X25519, suite.P256, suite.P384}, suite.X25519, false},
		{[]mtls.Group{}, suite.X25519, true},
	} {
		cc := h.clientConfig()
		cc.Groups = []mtls.Group{suite.X25519, suite.P256, suite.P384}
		cc.Shares = c.shares
		_, client := met(t, h.serverConfig(), cc)
		if n := client.Negotiated(); n.Group != c.group || n.Retried != c.retried {
			t.Errorf("shares in %v: %v, retried: %v", c.shares, n.Group, n.Retried)
		}
	}
	for _, wrong := range [][]mtls.Group{{suite.P384, suite.P256}, {suite.P256, suite.P256}, {suite.X25519MLKEM768}} {
		cc := h.clientConfig()
		cc.Groups, cc.Shares = []mtls.Group{suite.X25519, suite.P256, suite.P384}, wrong
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("shares in %v were taken", wrong)
		}
	}
}

// A server says that it took the name, but not of a session (RFC 6066, section 3).
func TestAServerTellsThatItTookTheServerName(t *testing.T) {
	h := newHouse(t)
	var told, hellos atomic.Int32
	sc, cc := h.resuming()
	cc.Observer = observe.Func(func(e observe.Event) {
		var m message.EncryptedExtensions
		if e.Kind == observe.Message && e.Type == message.TypeEncryptedExtensions && m.Parse(e.Bytes) == nil {
			hellos.Add(1)
			if m.ServerName {
				told.Add(1)
			}
		}
	})
	p, s, c := newPlace(t), newServer(t, sc), newClient(t, cc)
	for _, want := range []bool{false, true} {
		if _, _, resumed := p.visit(s, c, "orders"); resumed != want {
			t.Fatalf("resumed: %v", resumed)
		}
	}
	if told.Load() != 1 || hellos.Load() != 2 {
		t.Errorf("told in %d of %d handshakes, of which the second was resumed", told.Load(), hellos.Load())
	}
}
