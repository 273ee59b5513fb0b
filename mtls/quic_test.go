package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
)

// quicEnd is one end as a QUIC stack holds it.
type quicEnd struct {
	*mtls.QUICConn
	out     [4][]byte
	secrets map[string][]byte
	peer    []byte // its parameters
	done    bool
	// remembered are the server's parameters that bind early data; refused is
	// whether it was.
	remembered []byte
	refused    bool
	early      []byte // handshake bytes, of which there may be none
	err        error
}

func (e *quicEnd) take(err error) {
	if e.err == nil {
		e.err = err
	}
	for e.err == nil {
		did, err := e.Work(context.Background())
		if e.err = err; !did {
			break
		}
	}
	for x, ok := e.Next(); ok; x, ok = e.Next() {
		switch x.Kind {
		case mtls.QUICSend:
			e.out[x.Level] = append(e.out[x.Level], x.Bytes...)
			if x.Level == mtls.QUICEarly {
				e.early = append(e.early, x.Bytes...)
			}
		case mtls.QUICReadSecret:
			e.secrets[fmt.Sprint(x.Level, " read")] = x.Secret
		case mtls.QUICWriteSecret:
			e.secrets[fmt.Sprint(x.Level, " write")] = x.Secret
			if x.Level == mtls.QUICEarly {
				e.remembered = x.Bytes
			}
		case mtls.QUICEarlyDataRefused:
			e.refused = true
		case mtls.QUICPeerParameters:
			e.peer = x.Bytes
		case mtls.QUICDone:
			e.done = true
		}
	}
}

func quicParameters(ours string) mtls.QUICConfig {
	return mtls.QUICConfig{
		Parameters: func(peer []byte) ([]byte, error) { return []byte(ours + " after " + string(peer)), nil },
		Remote:     &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4433},
	}
}

// quicMeet carries out a handshake over QUIC.
func quicMeet(t testing.TB, s *mtls.Server, c *mtls.Client) (server, client *quicEnd) {
	t.Helper()
	return quicMeetBy(t, s, c, quicParameters("server"), quicParameters("client"))
}

func quicMeetBy(t testing.TB, s *mtls.Server, c *mtls.Client, scfg, ccfg mtls.QUICConfig) (server, client *quicEnd) {
	t.Helper()
	sc, err := s.QUIC(scfg)
	if err != nil {
		t.Fatal(err)
	}
	cc, err := c.QUIC("orders", ccfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sc.Close(); _ = cc.Close() })
	server = &quicEnd{QUICConn: sc, secrets: map[string][]byte{}}
	client = &quicEnd{QUICConn: cc, secrets: map[string][]byte{}}
	client.take(nil)
	quicCarry(server, client)
	return server, client
}

// quicCarry moves bytes until nothing moves any more.
func quicCarry(server, client *quicEnd) {
	for moved := true; moved; {
		moved = false
		for _, way := range [][2]*quicEnd{{client, server}, {server, client}} {
			for level, b := range way[0].out {
				if len(b) > 0 && way[1].err == nil {
					way[0].out[level] = nil
					way[1].take(way[1].Receive(mtls.QUICLevel(level), b))
					moved = true
				}
			}
		}
	}
}

func (h *house) quic() (mtls.ServerConfig, mtls.ClientConfig) {
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.ALPN, cc.ALPN = []string{"h3"}, []string{"h3"}
	return sc, cc
}

func quicStands(t testing.TB, server, client *quicEnd) {
	t.Helper()
	if server.err != nil || client.err != nil {
		t.Fatalf("server %v, client %v", server.err, client.err)
	}
	if !server.done || !client.done || !server.Done() || !client.Done() {
		t.Fatal("the handshake is not over")
	}
	for _, l := range []string{"handshake", "application"} {
		if r, w := client.secrets[l+" read"], server.secrets[l+" write"]; len(r) == 0 || !bytes.Equal(r, w) {
			t.Errorf("at the level %s the secrets are %x and %x", l, r, w)
		}
	}
}

func TestQUICIsMutual(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.quic()
	s, c := newServer(t, sc), newClient(t, cc)
	server, client := quicMeet(t, s, c)
	quicStands(t, server, client)
	if p, ok := server.Peer(); !ok || p.Name() != "web" {
		t.Errorf("the server's peer is %v", p.Name())
	}
	if p, ok := client.Peer(); !ok || p.Name() != "orders" {
		t.Errorf("the client's peer is %v", p.Name())
	}
	if string(server.peer) != "client after " || string(client.peer) != "server after client after " {
		t.Errorf("the parameters that arrived are %q and %q", server.peer, client.peer)
	}
	if n := client.Negotiated(); n.ALPN != "h3" || !n.ClientAuthenticated {
		t.Errorf("agreed on %+v", n)
	}
	one, err1 := server.Export("EXPORTER-test", nil, 32)
	two, err2 := client.Export("EXPORTER-test", nil, 32)
	if err1 != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Errorf("exported %x (%v) and %x (%v)", one, err1, two, err2)
	}
	if s.Standing() != 1 || c.Standing() != 1 {
		t.Errorf("%d and %d connections stand", s.Standing(), c.Standing())
	}
	_ = server.Close()
	if s.Standing() != 0 {
		t.Error("it stands after Close")
	}
	if err := server.Receive(mtls.QUICApplication, []byte{4}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close Receive gives %v", err)
	}
}

// Who is refused over QUIC is refused as over TCP, and the code is the alert.
func TestQUICRefusesAsTLSDoes(t *testing.T) {
	h, stranger := newHouse(t), newHouse(t)
	sc, cc := h.quic()
	cc.Identity = stranger.leaf("web")
	server, client := quicMeet(t, newServer(t, sc), newClient(t, cc))
	var q *mtls.QUICError
	if !errors.As(server.err, &q) || q.Code != 0x0100+uint64(alert.UnknownCA) || q.Refusal.Code != string(code.UnknownAuthority) {
		t.Fatalf("the server's error is %v", server.err)
	}
	if server.secrets["application read"] != nil {
		t.Error("the server was given keys to read with")
	}
	if !client.done {
		t.Fatal("the client can't know yet")
	}
	r := client.PeerClosed(q.Code)
	if r.Fault != mtls.PeerRefusedUs || r.Alert != alert.UnknownCA || r.Sent {
		t.Errorf("what the client makes of it is %+v", r)
	}
	if cause := context.Cause(client.Context()); !errors.Is(cause, error(r)) {
		t.Errorf("the client's context ended with %v", cause)
	}
	select {
	case <-server.Ended():
	default:
		t.Error("the server's connection has not ended")
	}
}

func TestQUICResumesItsOwnSessionsAlone(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.quic()
	sc.Resumption, cc.Resumption = &mtls.ServerResumption{}, &mtls.ClientResumption{}
	s, c := newServer(t, sc), newClient(t, cc)
	for i, resumed := range []bool{false, true, true} {
		server, client := quicMeet(t, s, c)
		quicStands(t, server, client)
		if client.Negotiated().Resumed != resumed || server.Negotiated().Resumed != resumed {
			t.Errorf("connection %d: resumed is %v, expected %v", i, !resumed, resumed)
		}
		if p, ok := server.Peer(); !ok || p.Name() != "web" {
			t.Errorf("connection %d: the peer is %v", i, p.Name())
		}
	}
	// There are tickets for QUIC now, and none for TCP.
	_, client, serr, cerr := meet(t, s, c, "orders")
	if serr != nil || cerr != nil {
		t.Fatalf("server %v, client %v", serr, cerr)
	}
	if client.Negotiated().Resumed {
		t.Error("a session of QUIC's was resumed over TCP")
	}
}

// A change of policy reaches connections over QUIC, which their stack then closes.
func TestQUICConnectionsAreJudgedAgain(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.quic()
	var no atomic.Bool
	sc.Clients = mtls.Required(mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
		if no.Load() {
			return &mtls.Verdict{Reason: "not any more", Alert: alert.AccessDenied}, nil
		}
		return h.verifier().Verify(ctx, claim)
	}))
	s := newServer(t, sc)
	server, client := quicMeet(t, s, newClient(t, cc))
	quicStands(t, server, client)
	no.Store(true)
	s.Recheck(context.Background())
	select {
	case <-server.Ended():
	case <-time.After(time.Minute):
		t.Fatal("it did not end")
	}
	if e := server.Err(); e == nil || e.Code != 0x0100+uint64(alert.AccessDenied) || e.Refusal.Code == "" {
		t.Errorf("the error is %v", e)
	}
	if err := server.Receive(mtls.QUICApplication, []byte{4}); err == nil {
		t.Error("it goes on")
	}
	if s.Standing() != 0 {
		t.Error("it still stands")
	}
}

func TestQUICNeedsWhatItNeeds(t *testing.T) {
	h := newHouse(t)
	s, c := newServer(t, h.serverConfig()), newClient(t, h.clientConfig())
	if _, err := s.QUIC(quicParameters("")); err == nil {
		t.Error("a server without ALPN is taken")
	}
	if _, err := c.QUIC("orders", quicParameters("")); err == nil {
		t.Error("a client without ALPN is taken")
	}
	sc, cc := h.quic()
	if _, err := newServer(t, sc).QUIC(mtls.QUICConfig{}); err == nil {
		t.Error("a server without parameters is taken")
	}
	if _, err := newClient(t, cc).QUIC("or ders", quicParameters("")); err == nil {
		t.Error("a bad name is taken")
	}
}

// Over QUIC, too, a handshake does not last for ever.
func TestQUICHandshakesEnd(t *testing.T) {
	h := newHouse(t)
	sc, _ := h.quic()
	sc.Limits = &mtls.Limits{HandshakeTime: time.Nanosecond}
	server, err := newServer(t, sc).QUIC(quicParameters("server"))
	if err != nil {
		t.Fatal(err)
	}
	err = server.Receive(mtls.QUICInitial, []byte{1})
	if r, ok := mtls.RefusalOf(err); !ok || r.Code != string(code.HandshakeTimeout) {
		t.Errorf("the error is %v", err)
	}
}

// What a peer breaks of QUIC's own rules is not told by an alert.
func TestQUICViolationsHaveQUICsCode(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.quic()
	server, client := quicMeet(t, newServer(t, sc), newClient(t, cc))
	quicStands(t, server, client)
	err := server.Receive(mtls.QUICHandshake, []byte{1})
	var q *mtls.QUICError
	if !errors.As(err, &q) || q.Code != 0x0a || q.Refusal.HasAlert || q.Refusal.Code != string(code.QUICViolation) {
		t.Errorf("the error is %v", err)
	}
	if again := server.Receive(mtls.QUICApplication, nil); again == nil {
		t.Error("the error does not stay")
	}
}

// Early data over QUIC: both ends have its secret where the session allows it and
// nothing that it is bound to has changed, and the client knows the parameters that
// limit it. What is refused is told to both.
func TestQUICEarlyData(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.quic()
	sc.Resumption, cc.Resumption = &mtls.ServerResumption{EarlyData: &mtls.ServerEarlyData{}}, &mtls.ClientResumption{}
	now := time.Now() // for both, and for as long as it takes
	sc.Clock = func() time.Time { return now }
	cc.Clock = sc.Clock
	s, c := newServer(t, sc), newClient(t, cc)
	scfg, ccfg := quicParameters("server"), quicParameters("client")
	scfg.EarlyContext = []byte("settings")
	server, client := quicMeetBy(t, s, c, scfg, ccfg)
	quicStands(t, server, client)
	was := string(client.peer)

	ccfg.Early = true
	server, client = quicMeetBy(t, s, c, scfg, ccfg)
	quicStands(t, server, client)
	if one, two := client.secrets["early write"], server.secrets["early read"]; len(one) == 0 || !bytes.Equal(one, two) {
		t.Errorf("the secrets of early data are %x and %x", one, two)
	}
	if string(client.remembered) != was {
		t.Errorf("the parameters that are remembered are %q, and were %q", client.remembered, was)
	}
	if n := server.Negotiated(); n.EarlyData != mtls.EarlyAccepted || client.Negotiated().EarlyData != mtls.EarlyAccepted || client.refused || server.refused {
		t.Errorf("what became of it: %v, %v", n.EarlyData, client.Negotiated().EarlyData)
	}
	for _, b := range [][]byte{client.early, server.early} {
		if len(b) > 0 {
			t.Errorf("handshake bytes were sent early: %x", b)
		}
	}

	// Other settings than those of the session: it is resumed, without early data.
	scfg.EarlyContext = []byte("other settings")
	server, client = quicMeetBy(t, s, c, scfg, ccfg)
	quicStands(t, server, client)
	if n := client.Negotiated(); !n.Resumed || n.EarlyData != mtls.EarlyRejected || !client.refused || !server.refused || server.secrets["early read"] != nil {
		t.Errorf("under other settings it is %+v", n)
	}

	// Whoever does not say so sends nothing early.
	ccfg.Early = false
	server, client = quicMeetBy(t, s, c, scfg, ccfg)
	quicStands(t, server, client)
	if client.secrets["early write"] != nil || client.Negotiated().EarlyData != mtls.NoEarlyData {
		t.Error("early data was offered unasked")
	}
}
