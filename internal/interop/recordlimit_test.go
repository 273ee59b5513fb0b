package interop

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// record_size_limit (RFC 8449): what each side says is what the other keeps to,
// over a transfer of many records.

// much is what goes each way, in lines: programs look for their ends.
var much = strings.Repeat("a line among very many, that fill some records\n", 3000)

const (
	ourLimit   = 700
	theirLimit = 1024
	// Both are around what the limit counts.
	header, tag = 5, 16
)

// keeps checks that no protected record that went one way is longer than the limit
// allows, and that they came near it: so that it was this that limited them.
func keeps(t *testing.T, who string, wire []byte, limit, total int) {
	t.Helper()
	longest, records := 0, 0
	for len(wire) >= header {
		n := int(wire[3])<<8 | int(wire[4])
		if wire[0] == 23 {
			longest, records = max(longest, n), records+1
		}
		wire = wire[min(header+n, len(wire)):]
	}
	if longest > limit+tag || longest < limit+tag-8 || records < total/limit {
		t.Errorf("%s sent %d records, the longest of %d bytes; the other's limit is %d", who, records, longest, limit)
	}
}

// wires are what went through the one connection of a tap, when both ends are done.
func (tp *tap) wires(t *testing.T) (up, down []byte) {
	t.Helper()
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if len(tp.all) != 1 {
		t.Fatalf("%d connections went through", len(tp.all))
	}
	o := tp.all[0]
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.up), bytes.Clone(o.down)
}

func TestRecordsOfGnuTLSKeepToTheLimit(t *testing.T) {
	for _, version := range []string{"gnutls", "gnutls38"} {
		t.Run(version+" calls", func(t *testing.T) {
			cli := peers.Need(t, version+"-cli")
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			// Of each piece that it reads gnutls-cli sends one record, and loses the rest.
			const some = 20000
			port, result := w.serveOnce(mtls.ServerConfig{
				Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{RecordSizeLimit: ourLimit, Observer: h},
			}, some)
			tp := w.tapped(port)
			p := w.typed([]string{cli, "--port", strconv.Itoa(tp.port), "--sni-hostname", "orders", "--x509cafile", w.ca, "--verify-hostname", "orders", "127.0.0.1",
				"--recordsize", strconv.Itoa(theirLimit)}, much)
			p.Await("Peer has closed")
			p.Stop()
			if o := await(t, result); o.err != nil || len(o.got) != some || !strings.Contains(p.Output(), o.got) {
				t.Errorf("we saw %d bytes: %v\n%s", len(o.got), o.err, p.Output())
			}
			// Its number counts the content, and RFC 8449's the byte of the type too.
			if theirs, ours := h.hello().RecordSizeLimit, h.extensions().RecordSizeLimit; theirs != theirLimit+1 || ours != ourLimit {
				t.Errorf("it said %d, we %d", theirs, ours)
			}
			up, down := tp.wires(t)
			keeps(t, "GnuTLS", up, ourLimit, some)
			keeps(t, "we", down, theirLimit+1, some)
		})
		t.Run(version+" serves", func(t *testing.T) {
			serv := peers.Need(t, version+"-serv")
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			cert, key := w.files(w.issuing.Leaf("orders"), "orders")
			_, port := w.gnutlsServ(serv, cert, key, "--recordsize", strconv.Itoa(theirLimit))
			tp := w.tapped(port)
			conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Common: mtls.Common{RecordSizeLimit: ourLimit, Observer: h}}, tp.port)
			if err != nil {
				t.Fatal(err)
			}
			w.there(conn, much)
			if ours, theirs := h.hello().RecordSizeLimit, h.extensions().RecordSizeLimit; theirs != theirLimit+1 || ours != ourLimit {
				t.Errorf("it said %d, we %d", theirs, ours)
			}
			up, down := tp.wires(t)
			keeps(t, "GnuTLS", down, ourLimit, len(much))
			keeps(t, "we", up, theirLimit+1, len(much))
		})
	}
}

// there sends text and reads it back meanwhile.
func (w *world) there(conn *mtls.Conn, text string) {
	w.t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		sent <- err
	}()
	got := make([]byte, len(text))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		w.t.Errorf("after %d bytes: %v", n, err)
	}
	if err := <-sent; err != nil {
		w.t.Error(err)
	}
}

// NSS says the most that there is, and keeps to what we say.
func TestRecordsOfNSSKeepToTheLimit(t *testing.T) {
	t.Run("it calls", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		h := &heard{}
		port, result := w.serveOnce(mtls.ServerConfig{
			Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Anonymous(), Common: mtls.Common{RecordSizeLimit: ourLimit, Observer: h},
		}, len(much))
		tp := w.tapped(port)
		p := w.typed(w.tstclnt(tp.port, w.database(nil, "")), much)
		p.AwaitThat("all that came back", func(out string) bool { return strings.Contains(out, much) })
		p.Stop()
		if o := await(t, result); o.err != nil || o.got != much {
			t.Errorf("we saw %d bytes: %v", len(o.got), o.err)
		}
		if theirs, ours := h.hello().RecordSizeLimit, h.extensions().RecordSizeLimit; theirs != 16385 || ours != ourLimit {
			t.Errorf("it said %d, we %d", theirs, ours)
		}
		up, _ := tp.wires(t)
		keeps(t, "NSS", up, ourLimit, len(much))
	})
	t.Run("it serves", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		h := &heard{}
		// It sends so many blocks of 16 KiB to whoever asks for something.
		const blocks = 8
		_, port := w.selfserv(w.database(w.issuing.Leaf("orders"), "orders"), "orders", "-g", strconv.Itoa(blocks))
		tp := w.tapped(port)
		conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Common: mtls.Common{RecordSizeLimit: ourLimit, Observer: h}}, tp.port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, conn, blocks<<14); err != nil {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if ours, theirs := h.hello().RecordSizeLimit, h.extensions().RecordSizeLimit; theirs != 16385 || ours != ourLimit {
			t.Errorf("it said %d, we %d", theirs, ours)
		}
		_, down := tp.wires(t)
		keeps(t, "NSS", down, ourLimit, blocks<<14)
	})
}
