package mtls_test

import (
	"slices"
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

// Where there are groups of both kinds a server finds a share of either, whichever
// is preferred.
func TestAClientSharesOneGroupOfEachKind(t *testing.T) {
	h := newHouse(t)
	const hybrid, other = suite.X25519MLKEM768, suite.MLKEM1024
	for _, c := range []struct {
		groups []mtls.Group
		shares int
		want   []mtls.Group
	}{
		{[]mtls.Group{hybrid, other, suite.X25519}, 0, []mtls.Group{hybrid, suite.X25519}},
		{[]mtls.Group{suite.X25519, hybrid}, 0, []mtls.Group{suite.X25519, hybrid}},
		{[]mtls.Group{suite.X25519, suite.P256, other}, 0, []mtls.Group{suite.X25519, other}},
		{[]mtls.Group{suite.X25519, hybrid}, 1, []mtls.Group{suite.X25519}},
		{[]mtls.Group{suite.X25519, suite.P256}, 0, []mtls.Group{suite.X25519}},
		{[]mtls.Group{suite.X25519, suite.P256}, 2, []mtls.Group{suite.X25519, suite.P256}},
		{[]mtls.Group{hybrid, other}, 0, []mtls.Group{hybrid}},
	} {
		var got []mtls.Group
		cc := h.clientConfig()
		cc.Groups, cc.KeyShares = c.groups, c.shares
		cc.Observer = observe.Func(func(e observe.Event) {
			var m message.ClientHello
			if e.Kind == observe.Message && e.Type == message.TypeClientHello && got == nil && m.Parse(e.Bytes) == nil {
				for _, k := range m.KeyShares {
					got = append(got, k.Group)
				}
			}
		})
		met(t, h.serverConfig(), cc)
		if !slices.Equal(got, c.want) {
			t.Errorf("of %v, with KeyShares %d: shares in %v, and not in %v", c.groups, c.shares, got, c.want)
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
