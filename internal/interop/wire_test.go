package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/record"
	"github.com/mutual-tls/mutual/mtls"
)

// tap is a TCP proxy that remembers what went through it, connection by
// connection.
type tap struct {
	port int
	mu   sync.Mutex
	all  []*taped
}

// taped is what went over one connection.
type taped struct {
	mu               sync.Mutex
	up, down         []byte // from the client; from the server
	upDone, downDone bool
}

// tapped starts a tap before the port.
func (w *world) tapped(port int) *tap {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	tp := &tap{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				_ = c.Close()
				continue
			}
			one := &taped{}
			tp.mu.Lock()
			tp.all = append(tp.all, one)
			tp.mu.Unlock()
			go one.copy(s.(*net.TCPConn), c.(*net.TCPConn), &one.up, &one.upDone)
			go one.copy(c.(*net.TCPConn), s.(*net.TCPConn), &one.down, &one.downDone)
		}
	}()
	return tp
}

func (o *taped) copy(to, from *net.TCPConn, heard *[]byte, done *bool) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		o.mu.Lock()
		*heard = append(*heard, b[:n]...)
		o.mu.Unlock()
		_, werr := to.Write(b[:n])
		if err != nil || werr != nil {
			break
		}
	}
	_ = to.CloseWrite()
	o.mu.Lock()
	*done = true
	if o.upDone && o.downDone {
		_ = to.Close()
		_ = from.Close()
	}
	o.mu.Unlock()
}

// secret is what nobody on the wire may see. It is long, since a short one would
// come up in ciphertext by chance.
const secret = "the password of the ledger is swordfish-1729, and nobody on the wire may read it\n"

// caller is the client's name.
const caller = "a-caller-nobody-on-the-wire-may-know.example"

// hides checks that nothing of a secret, sixteen bytes of it in a row, is in what
// was captured.
func hides(t *testing.T, captured []byte, what string, secret []byte) {
	t.Helper()
	const window = 16
	for i := 0; i+window <= len(secret); i++ {
		if bytes.Contains(captured, secret[i:i+window]) {
			t.Errorf("%s is on the wire in the clear: %q", what, secret[i:i+window])
			return
		}
	}
}

// hidesAll holds a capture to what both ends keep to themselves, and to the one
// thing that is there to be seen: the name of the server, which shows that it was
// this traffic that was captured.
func hidesAll(t *testing.T, captured []byte, client, server *mint.Leaf) {
	t.Helper()
	if !bytes.Contains(captured, []byte("\x00\x06orders")) {
		t.Errorf("the server's name is not among the %d bytes captured", len(captured))
	}
	hides(t, captured, "what was said", []byte(secret))
	hides(t, captured, "the client's name", []byte(caller))
	for i, der := range client.Chain {
		hides(t, captured, fmt.Sprintf("certificate %d of the client", i+1), der)
	}
	hides(t, captured, "the server's certificate", server.Chain[0])
}

// talks are pairs of programs that say the secret to one another, the server
// behind the tap, once per call.
var talks = map[string]func(w *world, client, server *mint.Leaf) (*tap, func()){
	"our gateways": func(w *world, client, server *mint.Leaf) (*tap, func()) {
		tp := w.tapped(w.servingGateway(server))
		from := w.callingGateway(client, tp.port)
		return tp, func() { w.sayInPlain(from) }
	},
	"our client and OpenSSL": func(w *world, client, server *mint.Leaf) (*tap, func()) {
		cert, key := w.files(server, "orders")
		// s_server's answer is backwards, and the check for that is the exchange.
		_, port := w.sServer(peers.Need(w.t, "openssl"), cert, key, "-Verify", "5", "-CAfile", w.ca, "-verify_return_error")
		tp := w.tapped(port)
		return tp, func() {
			w.t.Helper()
			conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(w.t, client)}, tp.port)
			if err != nil {
				w.t.Fatal(err)
			}
			if err := exchange(conn, []byte(secret), backwards(secret)); err != nil {
				w.t.Fatal(err)
			}
			_ = conn.Close()
		}
	},
	"curl and our gateway": func(w *world, client, server *mint.Leaf) (*tap, func()) {
		curl := peers.Need(w.t, "curl")
		cert, key := w.files(client, "caller")
		tp := w.tapped(w.servingGateway(server))
		return tp, func() {
			w.t.Helper()
			_, code := w.curl(curl, &site{address: fmt.Sprintf("127.0.0.1:%d", tp.port)}, "--http0.9", "-H", "Secret: "+strings.TrimSpace(secret), "-m", "120", "--cert", cert, "--key", key)
			if code != 0 {
				w.t.Errorf("exit %d", code)
			}
		}
	},
}

func backwards(line string) []byte {
	b := []byte(strings.TrimSuffix(line, "\n"))
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return append(b, '\n')
}

// servingGateway is the port of `mutual serve` before a service that sends back
// the first piece that comes, and ends.
func (w *world) servingGateway(server *mint.Leaf) int {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 4<<10)
				n, _ := c.Read(b)
				_, _ = c.Write(b[:n])
			}()
		}
	}()
	cert, key := w.files(server, "serving")
	_, address := w.mutual("serve", "orders", "--to", l.Addr().String(), "--listen", "127.0.0.1:0",
		"--cert", cert, "--key", key, "--client-ca", w.ca, "--allow", caller)
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// callingGateway is the address of `mutual connect` to the port.
func (w *world) callingGateway(client *mint.Leaf, port int) string {
	w.t.Helper()
	cert, key := w.files(client, "calling")
	_, address := w.mutual("connect", "--to", "127.0.0.1:"+strconv.Itoa(port), "--server-name", "orders", "--server-ca", w.ca,
		"--listen", "127.0.0.1:0", "--cert", cert, "--key", key)
	return address
}

func (w *world) sayInPlain(address string) {
	w.t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(peers.Patience))
	if err := exchange(c, []byte(secret), []byte(secret)); err != nil {
		w.t.Fatal(err)
	}
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		w.t.Errorf("then came %q, %v", rest, err)
	}
}

// Nothing that the two say, and nothing of who calls, is on the wire; and for the
// same words nothing comes twice but what is public and fixed.
func TestTheWireShowsNothing(t *testing.T) {
	for name, talk := range talks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			client, server := w.issuing.Leaf(caller), w.issuing.Leaf("orders")
			tp, say := talk(w, client, server)
			const times = 4
			for range times {
				say()
			}
			tp.mu.Lock()
			all := tp.all
			tp.mu.Unlock()
			if len(all) != times {
				t.Fatalf("%d connections went through", len(all))
			}
			seen := make(map[string]string)
			for i, one := range all {
				one.mu.Lock()
				hidesAll(t, append(append([]byte{}, one.up...), one.down...), client, server)
				novel(t, seen, i, one)
				one.mu.Unlock()
			}
		})
	}
}

// novel checks that no random, session, key share or ciphertext of the connection
// was seen before.
func novel(t *testing.T, seen map[string]string, i int, one *taped) {
	t.Helper()
	once := func(what string, b []byte) {
		if before, again := seen[string(b)]; again && len(b) > 0 {
			t.Errorf("%s of connection %d is %s again", what, i, before)
		}
		seen[string(b)] = fmt.Sprintf("%s of connection %d", what, i)
	}
	var ch message.ClientHello
	var sh message.ServerHello
	sealed := 0
	for side, b := range map[string][]byte{"client": one.up, "server": one.down} {
		first := true
		for len(b) >= record.HeaderLen {
			kind, _, n := record.Header(b)
			if len(b) < record.HeaderLen+n {
				break
			}
			body := b[record.HeaderLen : record.HeaderLen+n]
			b = b[record.HeaderLen+n:]
			switch {
			case kind == record.Handshake && first && side == "client":
				if err := ch.Parse(body); err != nil {
					t.Fatal(err)
				}
			case kind == record.Handshake && first:
				if err := sh.Parse(body); err != nil {
					t.Fatal(err)
				}
			case kind == record.ApplicationData:
				once("a "+side+"'s ciphertext", body)
				sealed++
			case kind == record.ChangeCipherSpec:
			default:
				t.Errorf("the %s sent a record of type %d in the clear", side, kind)
			}
			first = false
		}
	}
	once("the client's random", ch.Random[:])
	once("the client's session", ch.SessionID)
	for _, s := range ch.KeyShares {
		once("the client's share for "+s.Group.String(), s.Data)
	}
	once("the server's random", sh.Random[:])
	once("the server's share", sh.KeyShare.Data)
	// Each side's Finished and data, at the least.
	if !sh.HasKeyShare || len(ch.KeyShares) == 0 || sealed < 4 {
		t.Errorf("connection %d was not understood: %d ciphertexts", i, sealed)
	}
}

// The kernel's own view, by the program that an intruder would take.
func TestTcpdumpSeesNothing(t *testing.T) {
	tcpdump := peers.Need(t, "tcpdump")
	if os.Geteuid() != 0 {
		t.Skip("tcpdump needs root: sudo make test")
	}
	w := newWorld(t)
	client, server := w.issuing.Leaf(caller), w.issuing.Leaf("orders")
	port := w.servingGateway(server)
	from := w.callingGateway(client, port)
	file := filepath.Join(t.TempDir(), "capture.pcap")
	p := peers.Start(t, nil, tcpdump, "-i", "lo", "-U", "-s", "0", "-B", "8192", "-Z", "root", "-w", file, "tcp and port "+strconv.Itoa(port))
	p.Await("listening on")
	for range 3 {
		w.sayInPlain(from)
	}
	var captured []byte
	for end := time.Now().Add(peers.Patience); ; time.Sleep(20 * time.Millisecond) { // until it wrote what it saw
		var err error
		if captured, err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
		if bytes.Count(captured, []byte("\x00\x06orders")) >= 3 && len(captured) > 3*4000 || time.Now().After(end) {
			break
		}
	}
	_ = p.Cmd.Process.Signal(syscall.SIGINT)
	if err := p.Wait(peers.Patience); err != nil {
		t.Error(err)
	}
	captured, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	hidesAll(t, captured, client, server)
}
