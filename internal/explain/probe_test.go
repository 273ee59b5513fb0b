package explain

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
)

// greet is a server that says something first, whatever comes.
func greet(words string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, words)
		_, _ = c.Read(make([]byte, 4096))
	}
}

// oldServer speaks TLS as servers did that knew versions up to newest, down to
// SSL 3.0 or, if that is newer, oldest. It ends after its ServerHello.
func oldServer(oldest, newest uint16) func(net.Conn) {
	return func(c net.Conn) {
		hello := make([]byte, 5)
		if _, err := io.ReadFull(c, hello); err != nil || hello[0] != 22 {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(hello[3:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		version := min(binary.BigEndian.Uint16(body[4:]), newest)
		if version < oldest {
			_, _ = c.Write([]byte{21, 3, 0, 0, 2, 2, 70})
			return
		}
		m := message.ServerHello{LegacyVersion: version, CipherSuite: 0x002f}
		msg, err := m.Append([]byte{22, 3, byte(version), 0, 0})
		if err != nil {
			return
		}
		binary.BigEndian.PutUint16(msg[3:], uint16(len(msg)-5))
		_, _ = c.Write(msg)
		_, _ = c.Read(body)
	}
}

func TestServersThatSpeakSomethingElseAreRecognised(t *testing.T) {
	w := newWorld(t)
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	lines := func(c net.Conn) { // answers only what ends with a line break
		r := bufio.NewReader(c)
		for {
			l, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if strings.HasPrefix(l, "GET ") {
				_, _ = io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\n")
				return
			}
		}
	}
	for name, c := range map[string]struct {
		server   func(net.Conn)
		address  string
		protocol string
		words    string
	}{
		"net/http":           {nil, web.Listener.Addr().String(), "HTTP", "HTTP/1.1 400 Bad Request"},
		"slow HTTP":          {lines, "", "HTTP", "HTTP/1.0 200 OK"},
		"HTTP/0.9":           {greet("<!DOCTYPE HTML>\n<html lang=\"en\">\n"), "", "HTTP", "It speaks plain HTTP"},
		"colours":            {greet("\x1b[31mhello\r\n"), "", "another protocol", `it says "\x1b[31mhello"`},
		"SSH":                {greet("SSH-2.0-OpenSSH_9.9\r\n"), "", "SSH", "SSH-2.0-OpenSSH_9.9"},
		"SMTP":               {greet("220 mail.example.com ESMTP\r\n"), "", "SMTP", "STARTTLS"},
		"FTP":                {greet("220 FTP ready\r\n"), "", "FTP", "AUTH TLS"},
		"IMAP":               {greet("* OK ready\r\n"), "", "IMAP", "STARTTLS"},
		"POP3":               {greet("+OK ready\r\n"), "", "POP3", "STLS"},
		"MySQL":              {greet("\x4a\x00\x00\x00\x0a8.0.36\x00"), "", "MySQL", "MySQL"},
		"noise":              {greet("\x00\x01\x02\x03\x1b[2J"), "", "another protocol", `\x1b[2J`},
		"closes":             {func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }, "", "nothing", "closes"},
		"silent":             {func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "", "nothing", "silent"},
		"TLS 1.2 only":       {oldServer(0x0303, 0x0303), "", "TLS 1.2", "TLS 1.1  no: refused with protocol_version"},
		"TLS 1.0 to 1.2":     {oldServer(0x0301, 0x0303), "", "TLS 1.2", "TLS 1.0  yes: TLS_RSA_WITH_AES_128_CBC_SHA"},
		"TLS 1.1 at most":    {oldServer(0x0301, 0x0302), "", "TLS 1.1", "TLS 1.2  no: answered in TLS 1.1"},
		"TLS 1.0 alone":      {oldServer(0x0301, 0x0301), "", "TLS 1.0", "SSL 3.0  no: refused with protocol_version"},
		"SSL 3.0 alone":      {oldServer(0x0300, 0x0300), "", "SSL 3.0", "SSL 3.0  yes: TLS_RSA_WITH_AES_128_CBC_SHA"},
		"TLS, refusing all":  {greet("\x15\x03\x01\x00\x02\x02\x28"), "", "TLS", "refuses every version"},
		"TLS, then nonsense": {greet("\x16\x03\x01\x00\x04\x02\x00\x00\x00"), "", "TLS", "refuses every version"},
	} {
		t.Run(name, func(t *testing.T) {
			address := c.address
			if address == "" {
				address = listenWith(t, c.server)
			}
			target := w.target(address)
			switch name {
			case "silent":
				target.Timeout = time.Second // nothing comes later, either
			case "slow HTTP":
				target.Timeout = 4 * time.Second // it is asked three times, and answers the third
			}
			s := Live(context.Background(), target)
			if s.Verdict.OK || s.Verdict.Unreachable || s.Verdict.Code == "" || s.Verdict.Mend == "" {
				t.Errorf("the outcome is %+v", s.Verdict)
			}
			if s.Speaks == nil {
				t.Fatalf("it is not said what it speaks: %+v", s.Verdict)
			}
			if s.Speaks.Protocol != c.protocol {
				t.Errorf("it is said to speak %q, expected %q (%s)", s.Speaks.Protocol, c.protocol, s.Speaks.Words)
			}
			got := text(t, s, Look{Width: 200})
			if !strings.Contains(string(got), c.words) {
				t.Errorf("the story lacks %q:\n%s", c.words, got)
			}
			checkSafe(t, "the story", got)
			asJSON(t, s)
			if s.Speaks.Banner == "" {
				return
			}
			// It is the client that gives up, and nobody broke TLS who never spoke it.
			if s.Verdict.Code != string(code.NotTLS) || strings.Contains(string(got), "peer says") {
				t.Errorf("what is not TLS is told as if it were:\n%s", got)
			}
		})
	}
}

func TestTLS12ServerOfGoIsToldWithItsVersion(t *testing.T) {
	w := newWorld(t)
	cfg := w.theirs(w.orders)
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, tls.VersionTLS12
	s := told(t, w.target(serve(t, cfg)))
	if s.Speaks == nil || s.Speaks.Protocol != "TLS 1.2" || s.Verdict.Code != "M0510" {
		t.Fatalf("it speaks %+v, and the outcome is %+v", s.Speaks, s.Verdict)
	}
	golden(t, "story old version", text(t, s, Look{}))
}

// TestServerWithoutCommonGroundIsNotCalledOld: the sentinel in its TLS 1.2 answer
// says that it knows TLS 1.3.
func TestServerWithoutCommonGroundIsNotCalledOld(t *testing.T) {
	w := newWorld(t)
	cfg := w.theirs(w.orders)
	cfg.CurvePreferences = []tls.CurveID{tls.CurveP521}
	s := told(t, w.target(serve(t, cfg)))
	if s.Speaks == nil || !strings.Contains(s.Speaks.Words, "TLS 1.3 as well") {
		t.Errorf("it speaks %+v", s.Speaks)
	}
}

func TestUnreachableServersAreToldApart(t *testing.T) {
	w := newWorld(t)
	for address, code := range map[string]string{
		"127.0.0.1:1":           "M0705", // no system gives that port out by itself
		"no.such.invalid:443":   "M0706",
		"unix:/no/such/socket":  "M0705",
		"unix:/no/such/so\x1b]": "M0705",
	} {
		target := w.target(address)
		s := Live(context.Background(), target)
		if !s.Verdict.Unreachable || s.Verdict.Code != code || s.Verdict.Mend == "" {
			t.Errorf("%q: the outcome is %+v, expected %s", address, s.Verdict, code)
		}
		checkSafe(t, "the story", text(t, s, Look{}))
	}
}

func TestUnixSocketsAreReachedToo(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s := tls.Server(c, w.theirs(w.orders))
		_ = s.Handshake()
		_ = s.Close()
	}()
	if s := Live(context.Background(), w.target("unix:"+path)); !s.Verdict.OK {
		t.Errorf("the outcome is %+v", s.Verdict)
	}
}

// TestAnyFirstAnswerIsTakenWithoutPanic: what recognises protocols reads bytes of
// strangers.
func FuzzFirstAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 400\r\n"))
	f.Add([]byte("\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03"))
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x46"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s := recognise(b); s != nil {
			p := newPaper(Look{})
			s.write(p)
			checkSafe(t, "the banner", []byte(p.String()))
		}
		if len(b) > 0 {
			a, _ := readAnswer(0x0303, "TLS 1.2", b, io.EOF)
			checkSafe(t, "the answer", []byte(a.Words+a.Suite))
		}
	})
}
