package mtls_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/mtls"
)

// messages are what each end sends, in order.
var messages = map[string][]message.Type{
	"server": {message.TypeClientHello, message.TypeCertificate, message.TypeCertificateVerify, message.TypeFinished},
	"client": {message.TypeServerHello, message.TypeEncryptedExtensions, message.TypeCertificateRequest, message.TypeCertificate, message.TypeCertificateVerify, message.TypeFinished},
}

// expected is what the end under test waits for where t does not come: a client
// knows only then that it is not asked for a certificate.
func expected(t message.Type) string {
	if t == message.TypeCertificateRequest {
		t = message.TypeCertificate
	}
	return "waiting for " + t.String()
}

// A peer that stops before any message, or in the middle of it, is given up when
// the handshake's time is over, by a refusal that says what was waited for.
//
// Pitfall: a handshake deadline that nothing clears (Traefik CVE-2026-22045).
func TestAPeerThatStopsIsGivenUpAtTheMessageThatIsMissing(t *testing.T) {
	leavesNothing(t)
	for _, s := range sides(t, newHouse(t), mtls.Common{}) {
		for _, at := range messages[s.name] {
			for _, part := range []string{"before", "in its header", "in the middle of"} {
				t.Run(fmt.Sprintf("%s/%s %v", s.name, part, at), func(t *testing.T) {
					mine, theirs := newLine()
					done := s.begin(mine)
					peer := s.peer(theirs)
					peer.before = func(h *hand, typ message.Type, msg []byte) error {
						if typ != at {
							return nil
						}
						rec := h.sealed(record.Handshake, msg...)
						switch part {
						case "in its header":
							rec = rec[:3]
						case "in the middle of":
							rec = rec[:len(rec)-1]
						default:
							rec = nil
						}
						_, _ = theirs.Write(rec)
						return errStopped
					}
					if err := peer.run(); err != errStopped {
						t.Fatal(err)
					}
					theirs.silence()
					a := <-done
					r := refusal(t, a.err)
					if r.Code != "M0701" || r.Fault != mtls.Network || !r.Timeout() || r.HasAlert || r.At != expected(at) {
						t.Errorf("%v at %q, expected %q", r, r.At, expected(at))
					}
					if mine.boundless || mine.open() {
						t.Errorf("waited without a deadline: %v; still open: %v", mine.boundless, mine.open())
					}
					// One deadline, set once, and nothing moves it: a peer that
					// trickles gains nothing by it.
					if mine.sets != 1 || mine.deadlines[0].IsZero() {
						t.Errorf("%d deadlines were set meanwhile", mine.sets)
					}
				})
			}
		}
	}
}

// With real time: however little is missing, and however steadily it comes.
func TestAPeerThatTricklesDoesNotOutliveTheHandshakesTime(t *testing.T) {
	leavesNothing(t)
	limits := &mtls.Limits{HandshakeTime: 300 * time.Millisecond}
	for _, s := range sides(t, newHouse(t), mtls.Common{Limits: limits}) {
		t.Run(s.name, func(t *testing.T) {
			mine, theirs := loopback(t)
			done := s.begin(mine)
			// A record whose end never comes.
			go func() {
				b := []byte{22, 3, 3, 0x40, 0, 1, 0, 0x3f, 0}
				for {
					if _, err := theirs.Write(b[:1]); err != nil {
						return
					}
					if b = b[1:]; len(b) == 0 {
						b = make([]byte, 9)
					}
					time.Sleep(2 * time.Millisecond)
				}
			}()
			if r := refusal(t, (<-done).err); r.Code != "M0701" || !r.Timeout() {
				t.Error(r)
			}
			_ = theirs.Close()
		})
	}
}

// dribble is a connection that is written and read a byte at a time.
type dribble struct{ net.Conn }

func (d dribble) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := d.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func (d dribble) Read(p []byte) (int, error) { return d.Conn.Read(p[:min(1, len(p))]) }

func TestByteByByteIsAsGoodAsWhole(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	for _, kind := range []string{"tcp", "pipe"} {
		t.Run(kind, func(t *testing.T) {
			st, ct := net.Pipe()
			if kind == "tcp" {
				st, ct = loopback(t)
			}
			done := make(chan error, 1)
			go func() {
				c, err := newServer(t, h.serverConfig()).Accept(context.Background(), dribble{st})
				if err == nil {
					err = echo(c)
					_ = c.Close()
				}
				done <- err
			}()
			c, err := newClient(t, h.clientConfig()).Connect(context.Background(), dribble{ct}, "orders")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := exchange(c, noise(2000)); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// A peer that goes away at any message, politely or not.
func TestAPeerThatGoesAwayMidwayIsTold(t *testing.T) {
	leavesNothing(t)
	for _, s := range sides(t, newHouse(t), mtls.Common{}) {
		for _, at := range messages[s.name] {
			for _, how := range []string{"with FIN", "with RST", "with close_notify"} {
				t.Run(fmt.Sprintf("%s/before %v, %s", s.name, at, how), func(t *testing.T) {
					mine, theirs := loopback(t)
					done := s.begin(mine)
					peer := s.peer(theirs)
					peer.before = func(h *hand, typ message.Type, _ []byte) error {
						if typ != at {
							return nil
						}
						switch how {
						case "with RST":
							_ = theirs.(*net.TCPConn).SetLinger(0)
						case "with close_notify":
							_ = h.send(record.Alert, 1, 0)
						}
						return errStopped
					}
					if err := peer.run(); err != errStopped {
						t.Fatal(err)
					}
					_ = theirs.Close()
					r := refusal(t, (<-done).err)
					if r.Fault != mtls.Network || !slices.Contains([]string{"M0708", "M0704"}, r.Code) {
						t.Errorf("%v: %v", r.Code, r)
					}
					if how != "with RST" && r.Code == "M0708" && !errors.Is(r, io.ErrUnexpectedEOF) {
						t.Errorf("%v is not io.ErrUnexpectedEOF", r)
					}
				})
			}
		}
	}
}

// established is the end under test, with a peer by hand that got along with it.
func established(t *testing.T, s side, mine, theirs net.Conn) (*mtls.Conn, *hand) {
	t.Helper()
	done := s.begin(mine)
	peer := s.peer(theirs)
	ran := make(chan error, 1)
	go func() {
		err := peer.run()
		if err == nil && s.name == "server" { // its ticket is on its way, and a pipe holds nothing
			_, _, err = peer.read()
		}
		ran <- err
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	if err := a.conn.Admitted(context.Background()); err != nil { // takes the peer's
		t.Fatal(err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.conn.Close() })
	return a.conn, peer
}

// An end without close_notify is an error on both sides, and no goroutine waits on.
func TestAnEndInTheMiddleOfTheStreamIsAnError(t *testing.T) {
	leavesNothing(t)
	for _, s := range sides(t, newHouse(t), mtls.Common{}) {
		for _, how := range []string{"FIN", "RST", "half a record and FIN"} {
			t.Run(s.name+"/"+how, func(t *testing.T) {
				mine, theirs := loopback(t)
				c, peer := established(t, s, mine, theirs)
				switch how {
				case "RST":
					_ = theirs.(*net.TCPConn).SetLinger(0)
				case "half a record and FIN":
					_, _ = theirs.Write(peer.sealed(record.ApplicationData, 'x', 'y')[:9])
				}
				_ = theirs.Close()
				n, err := c.Read(make([]byte, 10))
				r := refusal(t, err)
				if n != 0 || r.Fault != mtls.Network || how != "RST" && !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
					t.Errorf("%d bytes, %v", n, r)
				}
				if _, again := c.Read(make([]byte, 10)); again == nil || again == io.EOF {
					t.Errorf("and then: %v", again)
				}
			})
		}
	}
}

// What the peer floods us with is refused with the alert that fits, which it can
// read however much it had sent before.
//
// Pitfall: the alert must arrive: a close with bytes unread makes the kernel send a
// reset, which overtakes it.
func TestARefusalArrivesThoughMuchIsUnread(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	const much = 200 << 10
	flood := func(p *hand) []byte {
		var b []byte
		for len(b) < much {
			b = append(b, p.sealed(record.ApplicationData, noise(record.MaxPlaintext)...)...)
		}
		return b
	}
	bad := func(p *hand) []byte {
		b := p.sealed(record.ApplicationData, 'x')
		b[len(b)-1] ^= 1
		return b
	}
	for _, s := range sides(t, h, mtls.Common{}) {
		for name, f := range map[string]struct {
			first func(*hand) []byte
			want  alert.Alert
		}{
			"a record that does not open": {bad, alert.BadRecordMAC},
			"empty records": {func(p *hand) (b []byte) {
				for range 100 {
					b = append(b, p.sealed(record.ApplicationData)...)
				}
				return b
			}, alert.UnexpectedMessage},
			"KeyUpdates": {func(p *hand) (b []byte) {
				for range 100 {
					b = append(b, p.rekeyed(true)...)
				}
				return b
			}, alert.UnexpectedMessage},
			"warnings": {func(p *hand) (b []byte) {
				for range 100 {
					b = append(b, p.sealed(record.Alert, 1, byte(alert.UserCanceled))...)
				}
				return b
			}, alert.UnexpectedMessage},
			"a message of 16 MiB": {func(p *hand) []byte {
				return p.sealed(record.Handshake, byte(message.TypeNewSessionTicket), 0xff, 0xff, 0xff)
			}, alert.IllegalParameter},
			"change_cipher_spec": {func(*hand) []byte { return []byte{20, 3, 3, 0, 1, 1} }, alert.UnexpectedMessage},
			"a clear record":     {func(*hand) []byte { return []byte{21, 3, 3, 0, 2, 1, 0} }, alert.UnexpectedMessage},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				mine, theirs := loopback(t)
				c, peer := established(t, s, patient{mine}, theirs)
				read := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, c)
					read <- err
				}()
				_ = theirs.SetDeadline(soon())
				if _, err := theirs.Write(append(f.first(peer), flood(peer)...)); err != nil {
					t.Fatal(err)
				}
				if got, err := peer.alert(); err != nil || got != f.want {
					t.Errorf("the peer heard %v, %v", got, err)
				}
				_ = theirs.Close()
				r := refusal(t, <-read)
				if !r.Sent || r.Alert != f.want || r.Fault != mtls.PeerMisbehaved || r.Reason == "" || r.At == "" {
					t.Errorf("%v", r)
				}
				if _, err := c.Write([]byte("x")); err == nil {
					t.Error("Write goes on")
				}
			})
		}
	}
}

// patient is a transport that gives whoever is waited for a minute more: on a busy
// machine a peer may need longer than it is given, to read an alert or to send all
// that it has.
type patient struct{ net.Conn }

func (patient) more(t time.Time) time.Time {
	if t.After(time.Now()) {
		return t.Add(time.Minute)
	}
	return t // none, or one that wakes
}

func (p patient) SetDeadline(t time.Time) error      { return p.Conn.SetDeadline(p.more(t)) }
func (p patient) SetReadDeadline(t time.Time) error  { return p.Conn.SetReadDeadline(p.more(t)) }
func (p patient) SetWriteDeadline(t time.Time) error { return p.Conn.SetWriteDeadline(p.more(t)) }

// The same in the handshake, where the certificate is what is refused.
func TestARefusedCertificatesAlertArrivesThoughMuchIsUnread(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	stranger := mint.Root("Another Root")
	for _, s := range sides(t, h, mtls.Common{}) {
		t.Run(s.name, func(t *testing.T) {
			mine, theirs := loopback(t)
			_ = theirs.SetDeadline(soon())
			done := s.begin(patient{mine})
			peer := s.peer(theirs)
			peer.leaf = stranger.Leaf("orders")
			peer.before = func(h *hand, typ message.Type, msg []byte) error {
				if typ != message.TypeFinished {
					return nil
				}
				_, err := theirs.Write(append(h.sealed(record.Handshake, msg...), noise(200<<10)...))
				return errors.Join(err, errStopped)
			}
			if err := peer.run(); !errors.Is(err, errStopped) {
				t.Fatal(err)
			}
			if s.name == "server" {
				// The server answers under its own application keys already.
				if err := peer.pump(); err != nil {
					t.Fatal(err)
				}
			}
			got, err := peer.alert()
			_ = theirs.Close() // which is waited for
			r := refusal(t, (<-done).err)
			if err != nil || got != alert.UnknownCA || r.Alert != alert.UnknownCA || !r.Sent {
				t.Errorf("the peer heard %v, %v; we say %v", got, err, r)
			}
		})
	}
}

// Pitfall: the reader never waits for the writer (Go CVE-2026-32283). The peer asks
// for new keys again and again and reads nothing; our writer is stuck, and reading
// goes on.
func TestTheReaderDoesNotWaitForTheWriter(t *testing.T) {
	leavesNothing(t)
	for _, s := range sides(t, newHouse(t), mtls.Common{}) {
		t.Run(s.name, func(t *testing.T) {
			mine, theirs := net.Pipe() // a write waits for its reader
			c, peer := established(t, s, mine, theirs)
			wrote := make(chan error, 1)
			go func() {
				_, err := c.Write(noise(1 << 20))
				wrote <- err
			}()
			// It is stuck once it has begun.
			if _, err := io.ReadFull(theirs, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			go func() {
				for range 100 {
					b := append(peer.rekeyed(true), peer.rekeyed(true)...)
					if _, err := theirs.Write(append(b, peer.sealed(record.ApplicationData, 'x')...)); err != nil {
						return
					}
				}
			}()
			if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
				t.Error(err)
			}
			_ = c.Close()
			if err := <-wrote; !errors.Is(err, net.ErrClosed) {
				t.Errorf("the writer was woken with %v", err)
			}
			_ = theirs.Close()
		})
	}
}

// What peers announce costs nothing before it comes, and what comes is bounded,
// however many of them there are.
func TestHalfSentMessagesCostLittleMemory(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	s := sides(t, h, mtls.Common{})[0]
	const peers = 50
	for _, c := range []struct {
		name string
		sent func() []byte
		most uint64 // for each peer
	}{
		{"a header that announces 128 KiB", func() []byte { return clearly(1, 2, 0, 0) }, 64 << 10},
		{"128 KiB but for the last byte", func() []byte {
			b := clearly()
			rest := append([]byte{1, 2, 0, 0}, make([]byte, 128<<10-1)...)
			for len(rest) > 0 {
				n := min(len(rest), record.MaxPlaintext)
				b = append(b, clearly(rest[:n]...)...)
				rest = rest[n:]
			}
			return b
		}, 512 << 10},
		{"the same in tiny records", func() (b []byte) {
			rest := append([]byte{1, 2, 0, 0}, make([]byte, 128<<10-1)...)
			for ; len(rest) > 0; rest = rest[min(100, len(rest)):] {
				b = append(b, clearly(rest[:min(100, len(rest))]...)...)
			}
			return b
		}, 512 << 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			sent := c.sent()
			before := heap()
			var ends []*line
			var waits []<-chan answer
			for range peers {
				mine, theirs := newLine()
				waits = append(waits, s.begin(mine))
				_, _ = theirs.Write(sent)
				ends = append(ends, theirs)
			}
			for _, e := range ends {
				for e.unread() {
					runtime.Gosched()
				}
			}
			used := (int64(heap()) - int64(before)) / peers
			// The test's own buffers hold what was sent, too.
			if most := int64(c.most) + 2*int64(len(sent)); used > most {
				t.Errorf("%d bytes for each peer, more than %d", used, most)
			}
			t.Logf("%d bytes for each peer", used)
			for i, e := range ends {
				_ = e.Close()
				if r := refusal(t, (<-waits[i]).err); r.Code != "M0708" {
					t.Error(r)
				}
			}
		})
	}
}

// clearly is a handshake record in the clear, nothing for nothing.
func clearly(content ...byte) []byte {
	if len(content) == 0 {
		return nil
	}
	return append([]byte{22, 3, 3, byte(len(content) >> 8), byte(len(content))}, content...)
}

// unread says whether the other end has not read everything yet.
func (l *line) unread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Len() > 0
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A peer that floods a handshake is refused before its time is over: no hang, no
// growth.
func TestFloodsInTheHandshakeAreRefused(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	retry := message.ServerHello{LegacyVersion: 0x0303, Random: message.RetryRandom, CipherSuite: 0x1301, Version: 0x0304, Cookie: []byte("again")}
	for _, s := range sides(t, h, mtls.Common{}) {
		for name, f := range map[string]struct {
			only string
			at   message.Type
			put  func(*hand) []byte
			want alert.Alert
		}{
			"change_cipher_spec": {"", message.TypeCertificate, func(*hand) []byte { return slices.Repeat([]byte{20, 3, 3, 0, 1, 1}, 10000) }, alert.UnexpectedMessage},
			"data":               {"", message.TypeCertificate, func(p *hand) []byte { return p.sealed(record.ApplicationData, noise(1000)...) }, alert.UnexpectedMessage},
			"empty data":         {"", message.TypeCertificate, func(p *hand) []byte { return p.sealed(record.ApplicationData) }, alert.UnexpectedMessage},
			"warnings": {"", message.TypeCertificate, func(p *hand) (b []byte) {
				for range 100 {
					b = append(b, p.sealed(record.Alert, 1, byte(alert.UserCanceled))...)
				}
				return b
			}, alert.UnexpectedMessage},
			"clear data first":   {"server", message.TypeClientHello, func(*hand) []byte { return slices.Repeat([]byte{23, 3, 3, 0, 1, 0}, 1000) }, alert.UnexpectedMessage},
			"a huge message":     {"", message.TypeCertificate, func(p *hand) []byte { return p.sealed(record.Handshake, 11, 0xff, 0xff, 0xff) }, alert.IllegalParameter},
			"a chain of 1000":    {"", message.TypeCertificate, func(p *hand) []byte { return chainOf(p, 1000) }, alert.DecodeError},
			"a chain of nothing": {"server", message.TypeCertificate, func(p *hand) []byte { return p.sealed(record.Handshake, 11, 0, 0, 4, 0, 0, 0, 0) }, alert.CertificateRequired},
			"two HelloRetryRequests": {"client", message.TypeServerHello, func(p *hand) []byte {
				again := retry
				again.SessionID = p.session
				b, err := again.Append(nil)
				if err != nil {
					panic(err)
				}
				return slices.Repeat(clearly(b...), 50)
			}, alert.UnexpectedMessage},
		} {
			if f.only != "" && f.only != s.name {
				continue
			}
			t.Run(s.name+"/"+name, func(t *testing.T) {
				mine, theirs := newLine()
				done := s.begin(mine)
				peer := s.peer(theirs)
				peer.before = func(h *hand, typ message.Type, _ []byte) error {
					if typ != f.at {
						return nil
					}
					_, _ = theirs.Write(f.put(h))
					return errStopped
				}
				if err := peer.run(); err != errStopped {
					t.Fatal(err)
				}
				theirs.silence()
				r := refusal(t, (<-done).err)
				if !r.HasAlert || !r.Sent || r.Alert != f.want || mine.boundless {
					t.Errorf("%v, expected %v", r, f.want)
				}
			})
		}
	}
}

// chainOf is a Certificate with n certificates that are none.
func chainOf(p *hand, n int) []byte {
	var body []byte
	for range n {
		body = append(body, 0, 0, 1, 0x30, 0, 0)
	}
	msg := append([]byte{11, 0, byte((len(body) + 4) >> 8), byte(len(body) + 4), 0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	return p.sealed(record.Handshake, msg...)
}

// Pitfall: Close keeps the caller's deadline (golang/go #45162), and is bounded
// where there is none.
func TestCloseKeepsTheCallersDeadline(t *testing.T) {
	leavesNothing(t)
	for _, s := range sides(t, newHouse(t), mtls.Common{}) {
		for _, set := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/%v", s.name, set), func(t *testing.T) {
				mine, theirs := newLine()
				c, _ := established(t, s, mine, theirs)
				given := time.Now().Add(2 * time.Second)
				if set {
					_ = c.SetWriteDeadline(given)
				}
				_ = c.Close()
				got := mine.write
				if set && !got.Equal(given) || got.IsZero() || got.After(time.Now().Add(6*time.Second)) {
					t.Errorf("Close wrote with the deadline %v; the caller's: %v, %v", got, set, given)
				}
			})
		}
	}
}

// Many at once, through a Listener: those that stall hold up nobody, those that
// lie are told, and nothing is left when it is closed.
func TestAListenerAmongHostilePeers(t *testing.T) {
	leavesNothing(t)
	h := newHouse(t)
	var mu sync.Mutex
	codes := map[string]int{}
	sc := h.serverConfig()
	sc.Refused = func(_ net.Addr, r *mtls.Refusal) {
		mu.Lock()
		defer mu.Unlock()
		codes[r.Code]++
	}
	l, err := newServer(t, sc).Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var hostile []net.Conn
	for i := range 60 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		hostile = append(hostile, c)
		switch i % 4 {
		case 1:
			_, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		case 2:
			_, _ = c.Write([]byte{22, 3, 3, 0, 200, 1})
		case 3:
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = echo(c); _ = c.Close() }()
		}
	}()
	c, err := newClient(t, h.clientConfig()).Connect(context.Background(), dial(t, l.Addr()), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(c, noise(100000)); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	// The others wait to be given up; those who lie are not to be told apart by that.
	awaits(t, "the liars are refused", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return codes["M0215"] == 15
	})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range hostile {
		_ = c.Close()
	}
	mu.Lock()
	defer mu.Unlock()
	total := 0
	for code, n := range codes {
		if !strings.HasPrefix(code, "M") {
			t.Errorf("%d refusals with the code %q", n, code)
		}
		total += n
	}
	if codes["M0215"] != 15 || total < 45 {
		t.Errorf("refused: %v", codes)
	}
}

func dial(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	return c
}
