package interop

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
)

// No program that is still packaged says these hellos, so they are made by hand:
// SSL 2.0 (its draft of 1995, section 2.5), SSL 3.0 (RFC 6101, section 5.6.1.2),
// and TLS 1.0 to 1.2 (RFC 2246, 4346 and 5246, section 7.4.1.2).

// ssl2Hello is a CLIENT-HELLO in the format of SSL 2.0. With a later version it
// is what browsers sent for a decade (RFC 5246, appendix E.2).
func ssl2Hello(version uint16) []byte {
	ciphers := []byte{0x01, 0x00, 0x80, 0x07, 0x00, 0xc0, 0x00, 0x00, 0x2f, 0x00, 0x00, 0x35}
	body := []byte{1} // CLIENT-HELLO
	body = binary.BigEndian.AppendUint16(body, version)
	body = binary.BigEndian.AppendUint16(body, uint16(len(ciphers)))
	body = append(body, 0, 0)  // no session
	body = append(body, 0, 16) // the challenge's length
	body = append(body, ciphers...)
	body = append(body, "a challenge of 16"[:16]...)
	return append([]byte{0x80 | byte(len(body)>>8), byte(len(body))}, body...)
}

// hello is a ClientHello of SSL 3.0 to TLS 1.2.
func hello(record, version uint16, extensions []byte) []byte {
	body := binary.BigEndian.AppendUint16(nil, version)
	body = append(body, bytes.Repeat([]byte{7}, 32)...)           // random
	body = append(body, 0)                                        // no session
	body = append(body, 0, 6, 0xc0, 0x2b, 0xc0, 0x2f, 0x00, 0x2f) // suites of TLS 1.2 and of SSL 3.0
	body = append(body, 1, 0)                                     // no compression
	if extensions != nil {
		body = binary.BigEndian.AppendUint16(body, uint16(len(extensions)))
		body = append(body, extensions...)
	}
	return inRecord(record, 1, body)
}

// serverHello is a ServerHello of SSL 3.0 to TLS 1.2.
func serverHello(version uint16) []byte {
	body := binary.BigEndian.AppendUint16(nil, version)
	body = append(body, bytes.Repeat([]byte{9}, 32)...)
	body = append(body, 0, 0xc0, 0x2f, 0)
	return inRecord(version, 2, body)
}

func inRecord(version uint16, kind byte, body []byte) []byte {
	msg := append([]byte{kind, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	rec := binary.BigEndian.AppendUint16([]byte{22}, version)
	rec = binary.BigEndian.AppendUint16(rec, uint16(len(msg)))
	return append(rec, msg...)
}

var (
	someGroups   = []byte{0, 10, 0, 6, 0, 4, 0, 29, 0, 23}
	olderOnly    = []byte{0, 43, 0, 7, 6, 3, 3, 3, 2, 3, 1} // supported_versions
	ancientCalls = map[string][]byte{
		"SSL 2":                                ssl2Hello(0x0002),
		"SSL 3 in the format of SSL 2":         ssl2Hello(0x0300),
		"TLS 1.0 in the format of SSL 2":       ssl2Hello(0x0301),
		"TLS 1.2 in the format of SSL 2":       ssl2Hello(0x0303),
		"SSL 3":                                hello(0x0300, 0x0300, nil),
		"TLS 1.0":                              hello(0x0301, 0x0301, nil),
		"TLS 1.0 with extensions":              hello(0x0301, 0x0301, someGroups),
		"TLS 1.1":                              hello(0x0301, 0x0302, someGroups),
		"TLS 1.2":                              hello(0x0301, 0x0303, someGroups),
		"TLS 1.2 without extensions":           hello(0x0303, 0x0303, nil),
		"older versions in supported_versions": hello(0x0301, 0x0303, olderOnly),
	}
)

func TestAncientCallersAreRefused(t *testing.T) {
	w := newWorld(t)
	s := w.server(mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders")), Clients: mtls.Required(w.verifier())})
	l, err := s.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	g, gateway := w.gateway("127.0.0.1:" + strconv.Itoa(peers.FreePort(t)))
	for name, call := range ancientCalls {
		for by, address := range map[string]string{"library": l.Addr().String(), "gateway": gateway} {
			t.Run(name+"/"+by, func(t *testing.T) {
				c, err := net.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(peers.Patience))
				if _, err := c.Write(call); err != nil {
					t.Fatal(err)
				}
				versionIsRefused(t, c)
			})
		}
	}
	g.Await(`"alert":"protocol_version"`)
}

// versionIsRefused wants one alert, protocol_version, in a record that the oldest
// reader takes for one, and then the end: no reset.
func versionIsRefused(t *testing.T, c net.Conn) {
	t.Helper()
	head := make([]byte, 7)
	n, err := io.ReadFull(c, head)
	if err != nil {
		t.Fatalf("after % x: %v", head[:n], err)
	}
	// alert, 3.1 or 3.3, two bytes: fatal, protocol_version
	if !bytes.Equal(head, []byte{21, 3, 3, 0, 2, 2, 70}) && !bytes.Equal(head, []byte{21, 3, 1, 0, 2, 2, 70}) {
		t.Errorf("it answered % x", head)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("then came %s, %v", hex.EncodeToString(rest), err)
	}
}

func TestAncientServersAreRefused(t *testing.T) {
	for _, version := range []uint16{0x0300, 0x0301, 0x0302, 0x0303} {
		t.Run(fmt.Sprintf("%#04x", version), func(t *testing.T) {
			w := newWorld(t)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				c, err := l.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(peers.Patience))
				head := make([]byte, 5)
				if _, err := io.ReadFull(c, head); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint16(head[3:]))); err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Write(serverHello(version))
				answer := make([]byte, 7)
				if _, err := io.ReadFull(c, answer); err != nil || !bytes.Equal(answer[5:], []byte{2, 70}) || answer[0] != 21 {
					t.Errorf("we said % x, %v", answer, err)
				}
			}()
			_, err = w.call(mtls.ClientConfig{Servers: w.verifier()}, l.Addr().(*net.TCPAddr).Port)
			weRefused(t, err, "protocol_version")
			<-done
		})
	}
}
