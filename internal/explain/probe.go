package explain

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/suite"
)

// What a server speaks that does not speak TLS 1.3 with us. No connection here is
// ever brought to an end of a handshake: a hello goes out, the first answer is
// read, and that is all.

// Speech is what a server speaks.
type Speech struct {
	// Protocol is "TLS 1.2" (the newest that it answers in), "HTTP", "SSH",
	// "SMTP" and the like, "another protocol", or "nothing": it closes, or it is
	// silent.
	Protocol string `json:"protocol"`
	// Words say how we know.
	Words string `json:"words"`
	// Versions are the versions of TLS that it answers in, the newest first.
	Versions []Answer `json:"versions,omitempty"`
	// Banner is what it said first, quoted.
	Banner string `json:"banner,omitempty"`
}

// Answer is the answer to a hello that asks for at most Version.
type Answer struct {
	Version string `json:"version"`
	OK      bool   `json:"ok"`
	// Suite is what it chose, or Words why there is no answer.
	Suite string `json:"suite,omitempty"`
	Words string `json:"words,omitempty"`
}

// probeTime bounds each question, connecting included.
const probeTime = 2 * time.Second

// prober asks questions, each on a connection of its own.
type prober struct {
	dial       func(context.Context) (net.Conn, error)
	serverName string
	time       time.Duration
}

// listen finds out what a server speaks. heard is what it already said to a
// ClientHello of TLS 1.3.
func (q *prober) listen(ctx context.Context, heard []byte) *Speech {
	if s := recognise(heard); s != nil {
		return s
	}
	if s := q.askOlder(ctx); s != nil {
		return s
	}
	if isTLS(heard) {
		return &Speech{Protocol: "TLS", Words: "It answers in TLS, and refuses every version up to 1.3 as we offer it."}
	}
	said, err := q.ask(ctx, []byte("GET / HTTP/1.1\r\nHost: "+host(q.serverName)+"\r\nConnection: close\r\n\r\n"), aLine)
	if s := recognise(said); s != nil {
		return s
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Speech{Protocol: "nothing", Words: "It takes the connection and is silent, whether we speak TLS or HTTP."}
	}
	return &Speech{Protocol: "nothing", Words: "It takes the connection and closes it without a word."}
}

// host is a server's name as it may stand in a Host header.
func host(name string) string {
	if n, err := identity.Parse(name); err == nil && n.Kind() == identity.DNS {
		return n.String()
	}
	return "localhost"
}

// isTLS says whether b begins as an answer in TLS does: a record of handshake or
// alert, of version 3.
func isTLS(b []byte) bool { return len(b) >= 3 && (b[0] == 21 || b[0] == 22) && b[1] == 3 }

const plainHTTP = "It speaks plain HTTP on this port, without TLS."

// greetings are how protocols begin that speak in lines; the first that fits counts.
var greetings = []struct{ begin, within, protocol, words string }{
	{"HTTP/", "", "HTTP", plainHTTP},
	{"<!DOCTYPE", "", "HTTP", plainHTTP}, // what answers a bad request as HTTP/0.9 did
	{"<!doctype", "", "HTTP", plainHTTP},
	{"<html", "", "HTTP", plainHTTP},
	{"<HTML", "", "HTTP", plainHTTP},
	{"SSH-", "", "SSH", "It speaks SSH."},
	{"220", "FTP", "FTP", "It speaks FTP, in which TLS begins with AUTH TLS."},
	{"220", "", "SMTP", "It speaks SMTP, in which TLS begins with STARTTLS, or at once on port 465."},
	{"554", "", "SMTP", "It speaks SMTP, and turns us away."},
	{"421", "", "SMTP", "It speaks SMTP or FTP, and turns us away."},
	{"+OK", "", "POP3", "It speaks POP3, in which TLS begins with STLS, or at once on port 995."},
	{"* OK", "", "IMAP", "It speaks IMAP, in which TLS begins with STARTTLS, or at once on port 993."},
	{"-ERR", "", "Redis", "It answers in lines, as Redis does."},
	{"RFB ", "", "VNC", "It speaks VNC."},
	{"AMQP", "", "AMQP", "It speaks AMQP, without TLS."},
	{"ERROR", "", "lines", "It speaks a protocol of lines."},
	{"<?xml", "", "XML", "It speaks a protocol in XML."},
}

// recognise tells a protocol by its first bytes; nil where there are none, or TLS.
func recognise(b []byte) *Speech {
	if len(b) == 0 || isTLS(b) {
		return nil
	}
	banner := identity.Quote(firstLine(b))
	for _, g := range greetings {
		if strings.HasPrefix(string(b), g.begin) && strings.Contains(string(b), g.within) {
			return &Speech{Protocol: g.protocol, Words: g.words, Banner: banner}
		}
	}
	// MySQL and MariaDB begin with a packet: length, number 0, protocol 10, version.
	if len(b) > 5 && b[2] == 0 && b[3] == 0 && b[4] == 10 {
		return &Speech{Protocol: "MySQL", Words: "It speaks MySQL's protocol, in which TLS begins later.", Banner: banner}
	}
	return &Speech{Protocol: "another protocol", Words: "What it says is not TLS.", Banner: banner}
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(string(b[:min(len(b), 100)]), "\n")
	return strings.TrimRight(line, "\r")
}

// aLine says whether b holds a line, or as much as a line that tells anything.
func aLine(b []byte) bool { return len(b) >= 64 || strings.Contains(string(b), "\n") }

// anAnswer says whether b holds an alert, a ServerHello up to its cipher suite, or
// what is neither.
func anAnswer(b []byte) bool {
	switch {
	case len(b) < 7:
		return len(b) >= 3 && !isTLS(b)
	case b[0] == 22 && b[5] == byte(message.TypeServerHello):
		_, _, _, ok := serverHello(b)
		return ok || len(b) >= 5+helloBytes
	}
	return true
}

// ask sends b and reads until that is enough, or no more comes.
func (q *prober) ask(ctx context.Context, b []byte, enough func([]byte) bool) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, q.time)
	defer cancel()
	c, err := q.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	said := make([]byte, 0, tapped)
	for len(said) < cap(said) && !enough(said) {
		n, err := c.Read(said[len(said):cap(said)])
		said = said[:len(said)+n]
		if err != nil {
			return said, err
		}
	}
	return said, nil
}

// older are the versions that are asked for, and what they are called.
var older = []struct {
	version uint16
	name    string
}{{0x0303, "TLS 1.2"}, {0x0302, "TLS 1.1"}, {0x0301, "TLS 1.0"}, {0x0300, "SSL 3.0"}}

// askOlder asks in the versions before TLS 1.3, the newest first; nil where
// nothing answers in TLS.
func (q *prober) askOlder(ctx context.Context) *Speech {
	s := &Speech{}
	any, downgraded := false, false
	for _, v := range older {
		said, err := q.ask(ctx, oldHello(v.version, q.serverName), anAnswer)
		if len(said) == 0 && len(s.Versions) == 0 {
			return nil // not a word of TLS
		}
		if recognised := recognise(said); recognised != nil {
			return recognised
		}
		a, sentinel := readAnswer(v.version, v.name, said, err)
		any = any || a.OK
		downgraded = downgraded || sentinel
		s.Versions = append(s.Versions, a)
	}
	if !any {
		return nil
	}
	for _, a := range s.Versions {
		if a.OK {
			s.Protocol = a.Version
			break
		}
	}
	s.Words = "It does not speak TLS 1.3."
	if downgraded {
		s.Words = "It speaks TLS 1.3 as well, but takes nothing of what we offer there."
	}
	return s
}

// helloBytes is how much of a ServerHello is read: up to its cipher suite.
const helloBytes = 4 + 2 + 32 + 1 + 32 + 2

// readAnswer reads the answer to a hello of an older version. sentinel is whether
// the server marks that it could have spoken TLS 1.3 (RFC 8446, section 4.1.3).
func readAnswer(asked uint16, name string, said []byte, err error) (a Answer, sentinel bool) {
	a.Version = name
	switch {
	case len(said) == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		a.Words = "it is silent"
	case len(said) == 0:
		a.Words = "it closes without a word"
	case said[0] == 21 && len(said) >= 7:
		a.Words = "refused with " + alert.Alert(said[6]).String()
	case said[0] == 22:
		version, random, id, ok := serverHello(said)
		switch {
		case !ok:
			a.Words = "an answer that does not parse"
		case version != asked:
			a.Words = "answered in " + versionName(version)
		default:
			a.OK, a.Suite = true, oldSuite(id)
			sentinel = strings.HasPrefix(string(random[24:]), "DOWNGRD") && random[31] == 1
		}
	default:
		a.Words = "an answer that is cut off"
	}
	return a, sentinel
}

// serverHello reads the beginning of a ServerHello in its record, as far as the
// cipher suite (RFC 5246, section 7.4.1.3).
func serverHello(rec []byte) (version uint16, random []byte, id suite.ID, ok bool) {
	const head = 5
	if len(rec) < head+4+2+32+1 || rec[head] != byte(message.TypeServerHello) {
		return 0, nil, 0, false
	}
	b := rec[head+4:]
	version, random, b = binary.BigEndian.Uint16(b), b[2:34], b[34:]
	if n := 1 + int(b[0]); n <= 33 && len(b) >= n+2 {
		return version, random, suite.ID(binary.BigEndian.Uint16(b[n:])), true
	}
	return 0, nil, 0, false
}

func versionName(v uint16) string {
	for _, o := range older {
		if o.version == v {
			return o.name
		}
	}
	return fmt.Sprintf("version %#04x", v)
}

// oldSuites are what the hellos of older versions offer: what servers of their
// times take, the good ones first, by the names of the IANA registry.
var oldSuites = []struct {
	id   suite.ID
	name string
}{
	{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
	{0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
	{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
	{0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
	{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
	{0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
	{0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"},
	{0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"},
	{0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"},
	{0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"},
	{0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"},
	{0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"},
	{0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"},
	{0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"},
	{0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"},
	{0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"},
	{0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"},
	{0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"},
	{0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"},
	{0x0005, "TLS_RSA_WITH_RC4_128_SHA"},
}

// renegotiation says that a hello knows of RFC 5746; it is no cipher suite.
const renegotiation suite.ID = 0x00ff

func oldSuite(id suite.ID) string {
	for _, s := range oldSuites {
		if s.id == id {
			return s.name
		}
	}
	return id.String()
}

// oldHello is a ClientHello that asks for at most version, in its record.
func oldHello(version uint16, serverName string) []byte {
	m := message.ClientHello{LegacyVersion: version, Compression: []byte{0}}
	_, _ = rand.Read(m.Random[:])
	for _, s := range oldSuites {
		m.CipherSuites = append(m.CipherSuites, s.id)
	}
	m.CipherSuites = append(m.CipherSuites, renegotiation)
	if version > 0x0300 { // SSL 3.0 knows no extensions, and some of its servers mind
		if n, err := identity.Parse(serverName); err == nil && n.Kind() == identity.DNS {
			m.ServerName = n.String()
		}
		m.Groups = []suite.GroupID{suite.X25519, suite.P256, suite.P384, suite.P521}
		m.Extensions = []message.Extension{
			{Type: message.ExtECPointFormats, Body: []byte{1, 0}},
			{Type: message.ExtExtendedMainSecret},
		}
	}
	if version == 0x0303 {
		m.Schemes = append(append([]suite.Scheme(nil), suite.CertificateSchemes()...), suite.ECDSAWithSHA1, suite.PKCS1WithSHA1)
	}
	b, err := m.Append([]byte{22, 3, byte(min(version, 0x0301)), 0, 0})
	if err != nil {
		return nil // a server name that is too long for a hello; identity.Parse allows none
	}
	binary.BigEndian.PutUint16(b[3:], uint16(len(b)-5))
	return b
}

// foreign makes what the server speaks part of the outcome.
func (o *Outcome) foreign(s *Speech) {
	switch {
	case len(s.Versions) > 0:
		o.Mend = "update the server's TLS library, or allow TLS 1.3 in its configuration"
	case s.Protocol == "HTTP":
		o.notTLS(s)
		o.Mend = "give the port on which it speaks TLS, or put `mutual serve` in front of it"
	default:
		o.notTLS(s)
	}
}

// notTLS gives an outcome the code of what it is: to the engine it looked like a bad
// record, or like nothing at all.
func (o *Outcome) notTLS(s *Speech) {
	if s.Banner == "" || o.Code == string(code.NotTLS) {
		return
	}
	entry, _ := code.Lookup(code.NotTLS)
	o.Code, o.Mend = string(code.NotTLS), entry.Mend
	o.Reason = "the server does not speak TLS: it says " + s.Banner
}

func (s *Speech) write(p *paper) {
	var list []Fact
	for _, a := range s.Versions {
		value := "no: " + a.Words
		if a.OK {
			value = "yes: " + a.Suite
		}
		list = append(list, Fact{Label: a.Version, Value: value})
	}
	if s.Banner != "" {
		list = append(list, Fact{Label: "it said", Value: s.Banner})
	}
	p.text(4, s.Words)
	p.facts(4, list)
}
