package e2e

import (
	"bufio"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// What serve takes of callers beside what everybody does.

// answer answers one line, and closes.
func answer(c net.Conn) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil {
		_, _ = c.Write([]byte("you said " + line))
	}
}

func (w *world) caller(openssl, address string, args ...string) (string, int) {
	w.t.Helper()
	return peers.Run(w.t, "hello\n", openssl, append([]string{"s_client", "-connect", address, "-servername", "orders", "-CAfile", w.file("ca.crt"),
		"-verify_return_error", "-verify_hostname", "orders", "-cert", w.file("web.crt"), "-key", w.file("web.key"), "-cert_chain", w.file("web.crt"), "-ign_eof"}, args...)...)
}

func TestACallersCertificateMayComeCompressed(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		w := newWorld(t)
		s := w.mutual(w.service("tcp", echo))
		root, err := pki.Parse(w.root.DER)
		if err != nil {
			t.Fatal(err)
		}
		own, err := mtls.LoadCertificate(w.file("web.crt"), w.file("web.key"))
		if err != nil {
			t.Fatal(err)
		}
		var sent packed
		client, err := mtls.NewClient(mtls.ClientConfig{Identity: own, Servers: mtls.Authorities(pki.NewAnchors(root)), Common: mtls.Common{Observer: &sent}})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.Connect(t.Context(), dial(t, s.address), "orders")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ask(c, "hello"); err != nil || !bool(sent) {
			t.Errorf("the client's certificate came compressed: %v; %v", bool(sent), err)
		}
	})
	t.Run("OpenSSL's", func(t *testing.T) {
		openssl := peers.Need(t, "openssl35")
		w := newWorld(t)
		out, code := w.caller(openssl, w.mutual(w.service("tcp", answer)).address, "-msg")
		sends := false
		for line := range strings.Lines(out) {
			sends = sends || strings.HasPrefix(line, ">>> ") && strings.Contains(line, "CompressedCertificate")
		}
		if code != 0 || !strings.Contains(out, "you said hello") || !sends {
			t.Errorf("OpenSSL's certificate came compressed: %v, exit %d:\n%s", sends, code, out)
		}
	})
	t.Run("nobody's who does not", func(t *testing.T) { // Node has no way to
		node := peers.Need(t, "node26")
		w := newWorld(t)
		s := w.mutual(w.service("tcp", answer))
		script := w.file("call.js")
		if err := os.WriteFile(script, []byte(`
const [address, ca, cert, key] = process.argv.slice(2), fs = require('fs')
const [host, port] = address.split(':')
const c = require('tls').connect({host, port, servername: 'orders', ca: fs.readFileSync(ca), cert: fs.readFileSync(cert), key: fs.readFileSync(key)}, () => c.write('hello\n'))
c.on('data', d => process.stdout.write(d))
c.on('error', e => { console.log(e); process.exitCode = 1 })
`), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, code := peers.Run(t, "", node, script, s.address, w.file("ca.crt"), w.file("web.crt"), w.file("web.key")); code != 0 || out != "you said hello\n" {
			t.Errorf("Node is told %q, exit %d", out, code)
		}
	})
}

// packed is whether a client sent its certificate compressed.
type packed bool

func (p *packed) Observe(e observe.Event) {
	*p = *p || e.From == observe.Client && e.Type == message.TypeCompressedCertificate
}

// Others take P-521 for the key exchange by default, and some callers know no other.
func TestACallerThatKnowsP521AloneIsServed(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	w := newWorld(t)
	if out, code := w.caller(openssl, w.mutual(w.service("tcp", answer)).address, "-groups", "P-521"); code != 0 || !strings.Contains(out, "you said hello") || !strings.Contains(out, "521") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}
