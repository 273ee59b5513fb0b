package gateway

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/mtls"
)

// Early data (0-RTT) of callers who speak HTTP/1.1: a first request that came early,
// and may be a replay, goes to the service at once where it is safe, marked with
// Early-Data: 1; one that is not safe is answered with 425 (Too Early), RFC 8470.
// What can't be told waits for the end of the handshake, as all else does that comes
// behind the first request.

// maxEarlyHead bounds the head of a request that is looked at. A server takes less
// early data than that.
const maxEarlyHead = 16 << 10

// tooEarly is what a caller is answered whose request was not to be sent early. It
// asks again over another connection.
const tooEarly = "HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// earlyKind is what came early.
type earlyKind uint8

const (
	unclear earlyKind = iota // no whole head of a request, or none that we understand
	safe
	unsafe
)

// markEarly looks at the request that b begins with: what kind it is, its head with
// the mark where it is safe, and what is behind that.
func markEarly(b []byte) (kind earlyKind, marked, rest []byte) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return unclear, nil, b
	}
	line, fields, _ := bytes.Cut(b[:end+2], []byte("\r\n"))
	parts := strings.Split(string(line), " ")
	if len(parts) != 3 || parts[1] == "" || parts[2] != "HTTP/1.1" || !isToken(parts[0]) || hasControls(line) {
		return unclear, nil, b
	}
	kind = unsafe
	switch parts[0] {
	case "GET", "HEAD", "OPTIONS":
		kind = safe
	}
	noted := false
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, _, ok := strings.Cut(string(field), ":")
		if !ok || !isToken(name) || hasControls(field) {
			return unclear, nil, b
		}
		switch strings.ToLower(name) {
		case "content-length", "transfer-encoding", "upgrade", "expect":
			kind = unsafe // more than a question comes with it
		case "early-data":
			noted = true
		}
	}
	if kind == unsafe {
		return unsafe, nil, nil
	}
	marked = append(bytes.Clone(line), "\r\n"...)
	if !noted {
		marked = append(marked, "Early-Data: 1\r\n"...)
	}
	return safe, append(marked, b[len(line)+2:end+4]...), b[end+4:]
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func hasControls(b []byte) bool {
	return bytes.ContainsFunc(b, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// takeEarly carries what a caller sent early to the service, where that may be, and
// gives what is to be carried behind it; nil where the caller was sent away, and
// both are closed unless there is an error.
func (g *Gateway) takeEarly(ctx context.Context, plain plainConn, secure *mtls.Conn, who string) (from plainConn, err error) {
	var b []byte
	buf := make([]byte, smallBuffer)
	for len(b) < maxEarlyHead && !bytes.Contains(b, []byte("\r\n\r\n")) {
		n, err := secure.ReadEarly(buf)
		b = append(b, buf[:n]...)
		if err != nil { // it is over, and the handshake with it, or it failed: Read tells
			return &behindEarly{Conn: secure, kept: b}, nil
		}
	}
	kind, marked, rest := markEarly(b)
	if p := secure.Negotiated().ALPN; p != "" && p != "http/1.1" {
		kind, rest = unclear, b
	}
	switch kind {
	case safe:
		if _, err := plain.Write(marked); err != nil {
			return nil, err
		}
	case unsafe:
		g.cfg.Log.Info(fmt.Sprintf("a request of %s came early that may not come twice: it was told to ask again (425)", identity.Plain(who)), "peer", who)
		if _, err := io.WriteString(secure, tooEarly); err != nil {
			return nil, err
		}
		if err := secure.Handshake(ctx); err != nil {
			return nil, err
		}
		sendAway(secure)
		_ = plain.Close()
		return nil, nil
	}
	return &behindEarly{Conn: secure, kept: rest}, nil
}

// How long and how much is read of a caller that was sent away, so that the answer
// arrives: a close with bytes unread makes the kernel send a reset, which overtakes it.
const (
	awayTime  = time.Second
	awayBytes = 256 << 10
)

// sendAway ends a connection whose caller was answered, and may still be sending.
func sendAway(secure *mtls.Conn) {
	_ = secure.CloseWrite()
	_ = secure.SetReadDeadline(time.Now().Add(awayTime))
	_, _ = io.CopyN(io.Discard, &behindEarly{Conn: secure}, awayBytes)
	_ = secure.Close()
}

// behindEarly is what a caller sent behind its first request: nothing before the
// handshake is over, then what came early, and then all else.
type behindEarly struct {
	*mtls.Conn
	kept []byte
	over bool
}

func (e *behindEarly) Read(p []byte) (int, error) {
	if err := e.Handshake(context.Background()); err != nil {
		return 0, err
	}
	if len(e.kept) > 0 {
		n := copy(p, e.kept)
		e.kept = e.kept[n:]
		return n, nil
	}
	if !e.over {
		n, err := e.ReadEarly(p)
		if err != io.EOF {
			return n, err
		}
		e.over = true
	}
	return e.Conn.Read(p)
}
