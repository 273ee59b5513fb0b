package mtls_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/mtls/brotli"
)

// noted is an observer that keeps what was agreed, and the messages.
type noted struct {
	mu       sync.Mutex
	agreed   map[string]string
	messages map[string]int // by who sent them and type
}

func (n *noted) Observe(e mtls.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.agreed == nil {
		n.agreed, n.messages = map[string]string{}, map[string]int{}
	}
	switch e.Kind {
	case observe.Agreed:
		n.agreed[e.Label] = e.Value
	case observe.Message:
		n.messages[e.From.String()+" "+e.Type.String()]++
	}
}

func (n *noted) sent(what string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.messages[what]
}

// say sends b from a to b, and holds that it arrives.
func say(t *testing.T, from io.Writer, to io.Reader, b []byte) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(b)
		done <- err
	}()
	got := make([]byte, len(b))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, b) {
		t.Fatalf("it arrived changed, or not: %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestCertificatesAreCompressedBothWays(t *testing.T) {
	h := newHouse(t)
	for _, a := range []mtls.CompressionAlgorithm{brotli.Algorithm(), mtls.Zstd(), mtls.Zlib()} {
		t.Run(a.Algorithm().String(), func(t *testing.T) {
			sc, cc := h.serverConfig(), h.clientConfig()
			var seen noted
			cc.Observer = &seen
			sc.Compression = mtls.Compression{Offer: true, Algorithms: []mtls.CompressionAlgorithm{a}}
			cc.Compression = mtls.Compression{Offer: true, Algorithms: brotli.All()}
			for range 2 { // the second time with what was made for the first
				server, client := met(t, sc, cc)
				say(t, client, server, []byte("hello"))
			}
			for _, side := range []string{"client", "server"} {
				if seen.sent(side+" CompressedCertificate") != 2 || seen.sent(side+" Certificate") != 0 {
					t.Errorf("%s: %v", side, seen.messages)
				}
			}
			if got := seen.agreed["the peer's certificate compressed"]; !strings.HasPrefix(got, a.Algorithm().String()) {
				t.Errorf("agreed on %q", got)
			}
		})
	}
}

func TestNothingIsCompressedUnlessBothWant(t *testing.T) {
	h := newHouse(t)
	for name, c := range map[string]struct {
		server, client mtls.Compression
		times          int
	}{
		"by default":            {mtls.Compression{}, mtls.Compression{}, 0},
		"the server has it off": {mtls.Compression{Off: true}, mtls.Compression{Offer: true}, 0},
		"the client offers it":  {mtls.Compression{}, mtls.Compression{Offer: true}, 1},
		"none in common": {mtls.Compression{Algorithms: []mtls.CompressionAlgorithm{mtls.Zlib()}},
			mtls.Compression{Offer: true, Algorithms: []mtls.CompressionAlgorithm{mtls.Zstd()}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			sc, cc := h.serverConfig(), h.clientConfig()
			var seen noted
			sc.Compression, cc.Compression, cc.Observer = c.server, c.client, &seen
			met(t, sc, cc)
			if got := seen.sent("server CompressedCertificate"); got != c.times || seen.sent("client CompressedCertificate") != 0 {
				t.Errorf("%v", seen.messages)
			}
		})
	}
}

// lying is a codec that sends what it should not: what lies makes of a body, or a
// stream that was made before.
type lying struct {
	mtls.CompressionAlgorithm
	as    message.Compression
	lies  func(b []byte) []byte
	ready []byte
}

func (l lying) Algorithm() message.Compression {
	if l.as != 0 {
		return l.as
	}
	return l.CompressionAlgorithm.Algorithm()
}

func (l lying) Compress(b []byte) ([]byte, error) {
	if l.ready != nil {
		return l.ready, nil
	}
	out, err := l.CompressionAlgorithm.Compress(l.lies(b))
	return out, err
}

func TestACertificateThatDoesNotDecompressIsRefused(t *testing.T) {
	h := newHouse(t)
	for name, lie := range map[string]func([]byte) []byte{
		"a bomb":       nil,
		"a byte more":  func(b []byte) []byte { return append(bytes.Clone(b), 0) },
		"a byte less":  func(b []byte) []byte { return b[:len(b)-1] },
		"another body": func(b []byte) []byte { return bytes.Repeat([]byte{7}, len(b)) },
	} {
		for _, a := range []mtls.CompressionAlgorithm{brotli.Algorithm(), mtls.Zstd(), mtls.Zlib()} {
			sc, cc := h.serverConfig(), h.clientConfig()
			liar := lying{CompressionAlgorithm: a, lies: lie}
			if lie == nil { // it takes its time to make, which a handshake does not have
				var err error
				if liar.ready, err = a.Compress(make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
			sc.Compression.Algorithms = []mtls.CompressionAlgorithm{liar}
			cc.Compression = mtls.Compression{Offer: true, Algorithms: brotli.All()}
			_, _, serverErr, clientErr := meet(t, newServer(t, sc), newClient(t, cc), "orders")
			refusal, ok := mtls.RefusalOf(clientErr)
			if !ok || serverErr == nil || refusal.Fault != mtls.PeerMisbehaved {
				t.Fatalf("%s, %s: %v", name, a.Algorithm(), clientErr)
			}
			if want := "M0230"; name != "another body" && refusal.Code != want {
				t.Errorf("%s, %s: %v", name, a.Algorithm(), clientErr)
			}
		}
	}
}

func TestRecordsKeepToTheLimitOfThePeer(t *testing.T) {
	h := newHouse(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 5000)
	for _, c := range []struct{ server, client int }{{64, 64}, {100, 16385}, {16385, 512}, {0, 64}, {64, 0}, {1000, 1000}} {
		sc, cc := h.serverConfig(), h.clientConfig()
		sc.RecordSizeLimit, cc.RecordSizeLimit = c.server, c.client
		cc.Padding.Block, sc.Padding.Random = 512, 300
		server, client := met(t, sc, cc) // the flights of the handshake are held to it too
		say(t, client, server, data)
		say(t, server, client, data)
		if err := client.Rekey(true); err != nil {
			t.Fatal(err)
		}
		say(t, client, server, data[:1000])
		say(t, server, client, data[:1000])
	}
	for _, n := range []int{-1, 1, 63, 16386} {
		cc := h.clientConfig()
		cc.RecordSizeLimit = n
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("a limit of %d is taken", n)
		}
	}
}

// lengths is a transport that notes how long the records are that are written.
type lengths struct {
	net.Conn
	mu   sync.Mutex
	wire []byte
	list []int
}

func (l *lengths) Write(b []byte) (int, error) {
	l.mu.Lock()
	l.wire = append(l.wire, b...)
	for len(l.wire) >= 5 {
		n := int(l.wire[3])<<8 | int(l.wire[4])
		if len(l.wire) < 5+n {
			break
		}
		l.list, l.wire = append(l.list, n), l.wire[5+n:]
	}
	l.mu.Unlock()
	return l.Conn.Write(b)
}

// longest is the length of the longest record up to now.
func (l *lengths) longest() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Max(l.list)
}

func TestRecordsAreNoLongerThanTheyAreToBe(t *testing.T) {
	h := newHouse(t)
	data := bytes.Repeat([]byte("0123456789abcdef"), 3000)
	const over = 17 // the type and the tag
	for _, most := range []int{0, 64, 512, 16384} {
		sc, cc := h.serverConfig(), h.clientConfig()
		sc.MaxRecord, cc.MaxRecord = most, most
		a, b := loopback(t)
		la, lb := &lengths{Conn: a}, &lengths{Conn: b}
		server, client := metAt(t, sc, cc, la, lb)
		say(t, client, server, data)
		say(t, server, client, data)
		want := most
		if most == 0 {
			want = 16384
		}
		if s, c := la.longest(), lb.longest(); s != want+over || c != want+over {
			t.Errorf("records of at most %d: the server's have up to %d bytes, the client's %d", most, s, c)
		}
	}
	for _, n := range []int{-1, 63, 16385} {
		cc := h.clientConfig()
		cc.MaxRecord = n
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("records of at most %d bytes are taken", n)
		}
	}
}

// counted is a transport that counts what is written.
type counted struct {
	net.Conn
	n atomic.Int64
}

func (c *counted) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.Conn.Write(b)
}

func (c *counted) written() int { return int(c.n.Load()) }

func metOver(t *testing.T, sc mtls.ServerConfig, cc mtls.ClientConfig) (server, client *mtls.Conn, wire *counted) {
	t.Helper()
	a, b := loopback(t)
	wire = &counted{Conn: b}
	server, client = metAt(t, sc, cc, a, wire)
	return server, client, wire
}

// metAt is met over transports of the caller's, a the server's.
func metAt(t *testing.T, sc mtls.ServerConfig, cc mtls.ClientConfig, a, b net.Conn) (server, client *mtls.Conn) {
	t.Helper()
	s, done := newServer(t, sc), make(chan error, 1)
	go func() {
		var err error
		server, err = s.Accept(t.Context(), a)
		done <- err
	}()
	client, err := newClient(t, cc).Connect(t.Context(), b, "orders")
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	return server, client
}

func TestPaddingHidesHowLongRecordsAre(t *testing.T) {
	h := newHouse(t)
	sc, cc := h.serverConfig(), h.clientConfig()
	cc.Padding = mtls.Padding{Block: 256}
	server, client, wire := metOver(t, sc, cc)
	for _, n := range []int{1, 100, 255} {
		before := wire.written()
		say(t, client, server, make([]byte, n))
		if got := wire.written() - before; got != 5+256+16 {
			t.Errorf("%d bytes are %d on the wire", n, got)
		}
	}
	before := wire.written()
	say(t, client, server, make([]byte, 256))
	if got := wire.written() - before; got != 5+512+16 {
		t.Errorf("256 bytes are %d on the wire", got)
	}
	cc.Padding = mtls.Padding{Random: 1000}
	server, client, wire = metOver(t, sc, cc)
	sizes := map[int]bool{}
	for range 20 {
		before := wire.written()
		say(t, client, server, []byte("x"))
		n := wire.written() - before
		sizes[n] = true
		if n < 5+2+16 || n > 5+2+1000+16 {
			t.Errorf("a byte is %d on the wire", n)
		}
	}
	if len(sizes) < 5 {
		t.Errorf("the lengths do not vary: %v", sizes)
	}
	for _, p := range []mtls.Padding{{Block: -1}, {Random: -1}, {Block: 1 << 15}, {Random: 1 << 15}, {Block: 2, Random: 2}} {
		cc.Padding = p
		if _, err := mtls.NewClient(cc); err == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}

// What a server asks of a certificate's extensions, and of the signatures on it,
// decides among several (RFC 8446, sections 4.2.3 and 4.2.5).
func TestACertificateIsChosenByFiltersAndByTheSignaturesOnIt(t *testing.T) {
	h := newHouse(t)
	rsa := mint.Root("RSA Root", mint.Key("rsa2048"))
	servers := h.leaf("web", mint.Usage(1)) // serverAuth alone
	byRSA, byEC := certificate(t, rsa.Leaf("web.rsa")), h.leaf("web")
	eku := mtls.ExtensionFilter{OID: []byte("\x06\x03\x55\x1d\x25"), Values: []byte("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")}
	anyUsage := mtls.ExtensionFilter{OID: eku.OID, Values: []byte("\x30\x06\x06\x04\x55\x1d\x25\x00")}
	signs := mtls.ExtensionFilter{OID: []byte("\x06\x03\x55\x1d\x0f"), Values: []byte("\x03\x02\x07\x80")}
	agrees := mtls.ExtensionFilter{OID: signs.OID, Values: []byte("\x03\x02\x03\x08")}
	unknown := mtls.ExtensionFilter{OID: []byte("\x06\x01\x2a"), Values: []byte("\x05\x00")}
	broken := mtls.ExtensionFilter{OID: signs.OID, Values: []byte("\x03")}
	ec := mtls.Scheme(0x0403)
	for name, c := range map[string]struct {
		ask  mtls.Ask
		want *mtls.Certificate
	}{
		"nothing":                       {mtls.Ask{}, servers},
		"client usage":                  {mtls.Ask{Filters: []mtls.ExtensionFilter{eku, signs, unknown}}, byRSA},
		"any usage":                     {mtls.Ask{Filters: []mtls.ExtensionFilter{anyUsage}}, nil},
		"key agreement":                 {mtls.Ask{Filters: []mtls.ExtensionFilter{agrees}}, nil},
		"a broken filter":               {mtls.Ask{Filters: []mtls.ExtensionFilter{broken}}, nil},
		"signatures with ECDSA":         {mtls.Ask{Filters: []mtls.ExtensionFilter{eku}, CertificateSchemes: []mtls.Scheme{ec}}, byEC},
		"by schemes alone":              {mtls.Ask{Filters: []mtls.ExtensionFilter{eku}, Schemes: []mtls.Scheme{ec}}, byEC},
		"signatures with none of these": {mtls.Ask{CertificateSchemes: []mtls.Scheme{0x0807}}, servers},
	} {
		c.ask.Role = mtls.RoleClient
		if c.ask.Schemes == nil {
			c.ask.Schemes = []mtls.Scheme{ec, 0x0401}
		}
		got, err := mtls.Choose(servers, byRSA, byEC).Certificate(context.Background(), &c.ask)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got != nil, err)
		}
	}
	// Over the wire.
	sc, cc := h.serverConfig(), h.clientConfig()
	sc.Filters = []mtls.ExtensionFilter{eku}
	id := &asked{Identity: mtls.Choose(servers, byEC)}
	cc.Identity = id
	_, client := met(t, sc, cc)
	if client.Local() != byEC || len(id.last(t).Filters) != 1 || len(id.last(t).CertificateSchemes) == 0 {
		t.Errorf("asked %+v", id.last(t))
	}
}

// A client that names its authorities gets the certificate that stands there.
func TestAServerChoosesByTheAuthoritiesOfTheClient(t *testing.T) {
	h := newHouse(t)
	other := mint.Root("Other Root")
	foreign := certificate(t, other.Intermediate("Other Issuing").Leaf("orders"))
	for _, named := range []bool{false, true} {
		sc, cc := h.serverConfig(), h.clientConfig()
		id := &asked{Identity: mtls.Choose(foreign, h.leaf("orders"))}
		sc.Identity = id
		cc.NameAuthorities = named
		_, _, _, err := meet(t, newServer(t, sc), newClient(t, cc), "orders")
		if (err == nil) != named || len(id.last(t).Authorities) > 0 != named {
			t.Errorf("named %v: %v, %d authorities", named, err, len(id.last(t).Authorities))
		}
	}
}

// What stands beside a certificate comes to who asked, server and client, as long
// as it holds, and is exchanged while it is used.
func TestWhatStandsBesideACertificateComesToWhoAsks(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	own, mine := h.leaf("orders"), h.leaf("web")
	staple := func(c *mtls.Certificate, b string, until time.Time) {
		t.Helper()
		if err := c.Staple(mtls.Staple{Response: []byte(b), From: now.Add(-time.Hour), Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(own.Timestamps([]byte("one"), []byte("two")), mine.Timestamps([]byte("three"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		asks     mtls.Beside
		response string
		until    time.Time
		wantOCSP string
		wantSCTs int
	}{
		{"nobody asks", mtls.Beside{}, "a", now.Add(time.Hour), "", 0},
		{"both ask", mtls.Beside{OCSP: true, Timestamps: true}, "a", now.Add(time.Hour), "a", 2},
		{"another answer", mtls.Beside{OCSP: true}, "b", now.Add(time.Hour), "b", 0},
		{"an answer that ended", mtls.Beside{OCSP: true, Timestamps: true}, "c", now.Add(-time.Minute), "", 2},
		{"timestamps alone", mtls.Beside{Timestamps: true}, "d", now.Add(time.Hour), "", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			staple(own, c.response, c.until)
			staple(mine, c.response+" of a client", c.until)
			var claims [2]*mtls.Claim
			note := func(i int) mtls.Verifier {
				return mtls.VerifierFunc(func(ctx context.Context, claim *mtls.Claim) (*mtls.Verdict, error) {
					claims[i] = claim
					return h.verifier().Verify(ctx, claim)
				})
			}
			sc := mtls.ServerConfig{Identity: own, Clients: mtls.Required(note(0)), Common: mtls.Common{Beside: c.asks}}
			cc := mtls.ClientConfig{Identity: mine, Servers: note(1), Common: mtls.Common{Beside: c.asks}}
			met(t, sc, cc)
			for i, claim := range claims {
				want, scts := c.wantOCSP, c.wantSCTs
				if i == 0 {
					scts /= 2
					if want != "" {
						want += " of a client"
					}
				}
				got := ""
				if claim.OCSP != nil {
					got = string(claim.OCSP[0])
					if len(claim.OCSP) != len(claim.Chain) {
						t.Errorf("%d responses for %d certificates", len(claim.OCSP), len(claim.Chain))
					}
				}
				if got != want || len(claim.Timestamps) != scts {
					t.Errorf("judged with %q and %d timestamps", got, len(claim.Timestamps))
				}
			}
		})
	}
	if own.Staple(mtls.Staple{Response: make([]byte, 1<<15), Until: now}) == nil || own.Staple(mtls.Staple{Response: []byte{1}}) == nil ||
		own.Timestamps(nil) == nil || own.Timestamps(make([][]byte, 17)...) == nil {
		t.Error("what can't be shown is taken")
	}
}
