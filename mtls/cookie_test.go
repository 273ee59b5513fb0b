package mtls_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/mtls"
)

// Servers that share the keys of their cookies are one server to a client that
// meets another one with its second hello; without the keys, or too late, it is
// refused.
func TestACookieIsGoodForAShortTimeWhereTheKeysAre(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]struct {
		keys  *mtls.TicketKeys
		after time.Duration
		good  bool
	}{
		"the same keys":  {shared(t, 1), 0, true},
		"a minute later": {shared(t, 1), time.Minute, true},
		"too late":       {shared(t, 1), 62 * time.Second, false},
		"other keys":     {shared(t, 2), 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			time0 := newClock()
			sc := h.serverConfig()
			sc.Common, sc.Cookies = time0.common(), shared(t, 1)
			first := newServer(t, sc)
			sc.Cookies = want.keys
			second := newServer(t, sc)

			// The first server is given up after its HelloRetryRequest.
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ours, theirs := newPlace(t).transports()
			go func() { _, _ = newClient(t, h.clientConfig()).Connect(ctx, theirs, "orders") }()
			hello := readRecord(t, ours)
			a, b := net.Pipe()
			gone, stop := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() { _, _ = first.Accept(gone, b); close(done) }()
			if _, err := a.Write(hello); err != nil {
				t.Fatal(err)
			}
			retry := readRecord(t, a)
			stop()
			_ = a.Close()
			<-done

			time0.pass(want.after)
			if _, err := ours.Write(retry); err != nil {
				t.Fatal(err)
			}
			if ccs := readRecord(t, ours); ccs[0] != 20 { // of the disguise, which belongs to the first
				t.Fatalf("%x came", ccs)
			}
			conn, err := second.Accept(ctx, piped{ours})
			if (err == nil) != want.good {
				t.Fatalf("%v", err)
			}
			if err != nil {
				if r := refusal(t, err); r.Alert.String() != "illegal_parameter" {
					t.Errorf("%+v", r)
				}
				return
			}
			if !conn.Negotiated().Retried {
				t.Error("it was not retried")
			}
		})
	}
}

// piped is a connection whose client has the address of a pipe, as the first
// server saw it.
type piped struct{ net.Conn }

func (piped) RemoteAddr() net.Addr { a, _ := net.Pipe(); return a.RemoteAddr() }

func readRecord(t *testing.T, c net.Conn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(soon())
	defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	head := make([]byte, 5)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return bytes.Join([][]byte{head, body}, nil)
}

func TestCookiesGoWithAllElse(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.resuming()
	sc.Cookies = shared(t, 1)
	s, c, p := newServer(t, sc), newClient(t, cc), newPlace(t)
	for i := range 2 {
		server, client, resumed := p.visit(s, c, "orders")
		if resumed != (i > 0) || !server.Negotiated().Retried || !client.Negotiated().Retried {
			t.Errorf("connection %d resumed: %v", i+1, resumed)
		}
	}
	sc.Cookies = &mtls.TicketKeys{}
	if _, err := mtls.NewServer(sc); err == nil {
		t.Error("cookies without a key are accepted")
	}
}
