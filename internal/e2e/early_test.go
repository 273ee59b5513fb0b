package e2e

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// earlyCaller is a caller "web" that sends early what it wants, and keeps tickets.
func (w *world) earlyCaller() *mtls.Client {
	w.t.Helper()
	identity, err := mtls.LoadCertificate(w.file("web.crt"), w.file("web.key"))
	if err != nil {
		w.t.Fatal(err)
	}
	pem, err := os.ReadFile(w.file("ca.crt"))
	if err != nil {
		w.t.Fatal(err)
	}
	certs, err := pki.ParsePEM(pem)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := mtls.NewClient(mtls.ClientConfig{Identity: identity, Servers: mtls.Authorities(pki.NewAnchors(certs...)), Resumption: &mtls.ClientResumption{}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// request sends a request, early where it may go so, and more behind it when the
// handshake is over.
func request(t *testing.T, c *mtls.Client, address, early, late string) (status int, body string, became mtls.EarlyData) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), peers.Patience)
	defer cancel()
	transport, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.ConnectEarly(ctx, transport, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(peers.Patience))
	if conn.EarlyRoom() > 0 {
		_, err = conn.WriteEarly([]byte(early))
	} else {
		_, err = conn.Write([]byte(early))
	}
	if err != nil {
		t.Fatal(err)
	}
	if late != "" {
		_, _ = conn.Write([]byte(late)) // who was answered already does not wait for it
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), conn.Negotiated().EarlyData
}

func TestRequestsThatCameEarly(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(rw, r.Method+" early "+r.Header.Get("Early-Data")+" body "+string(b))
	})}
	go func() { _ = service.Serve(l) }()
	t.Cleanup(func() { _ = service.Close() })

	const get = "GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n"
	const post = "POST / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
	off, on := w.mutual(l.Addr().String()), w.mutual(l.Addr().String(), "--early-data")
	for name, c := range map[string]struct {
		to          *gate
		early, late string
		status      int
		body        string
		became      mtls.EarlyData
	}{
		"off":               {off, get, "", 200, "GET early  body ", mtls.NoEarlyData},
		"safe":              {on, get, "", 200, "GET early 1 body ", mtls.EarlyAccepted},
		"unsafe":            {on, post, "body", 425, "", mtls.EarlyAccepted},
		"unsafe, all of it": {on, post + "body", "", 425, "", mtls.EarlyAccepted},
		"cut in its head":   {on, get[:20], get[20:], 200, "GET early  body ", mtls.EarlyAccepted},
		"an unsafe one cut": {on, post[:20], post[20:] + "body", 200, "POST early  body body", mtls.EarlyAccepted},
	} {
		caller := w.earlyCaller()
		if status, body, became := request(t, caller, c.to.address, get, ""); status != 200 || body != "GET early  body " || became != mtls.NoEarlyData {
			t.Errorf("%s, the first time: %d %q, %v", name, status, body, became)
		}
		if status, body, became := request(t, caller, c.to.address, c.early, c.late); status != c.status || body != c.body || became != c.became {
			t.Errorf("%s: %d %q, %v", name, status, body, became)
		}
	}
	// One behind the first is carried when the handshake is over, and unmarked.
	caller := w.earlyCaller()
	request(t, caller, on.address, get, "")
	two := strings.Replace(get, "Connection: close\r\n", "", 1) + strings.Replace(post, "Connection: close\r\n", "", 1)
	transport, err := net.Dial("tcp", on.address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := caller.ConnectEarly(context.Background(), transport, "orders")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(peers.Patience))
	if _, err := conn.WriteEarly([]byte(two)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("body")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for _, want := range []string{"GET early 1 body ", "POST early  body body"} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != want {
			t.Errorf("%q, expected %q", b, want)
		}
	}
}

func TestEarlyDataIsForHTTP(t *testing.T) {
	w := newWorld(t)
	p := peers.Start(t, nil, binary, "serve", "orders", "--to", "127.0.0.1:1", "--early-data", "--alpn", "h2", "--client-auth", "none",
		"--cert", w.file("orders.crt"), "--key", w.file("orders.key"))
	p.Await("--early-data is for requests of HTTP/1.1")
}
