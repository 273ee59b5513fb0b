package interop

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/message"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/internal/suite"
	"github.com/mutual-tls/mutual/mtls"
)

// NSS is what Firefox has; tstclnt and selfserv are its test programs.

// database is an NSS database that trusts our authority, and holds the leaf (nil:
// none) under its base name.
func (w *world) database(l *mint.Leaf, name string) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	db := "sql:" + dir
	run := func(program string, args ...string) {
		w.t.Helper()
		if out, code := peers.Run(w.t, "", peers.Need(w.t, program), args...); code != 0 {
			w.t.Fatalf("%s %v: %s", program, args, out)
		}
	}
	run("nss-certutil", "-N", "-d", db, "--empty-password")
	run("nss-certutil", "-A", "-d", db, "-t", "CT,C,", "-n", "root", "-i", w.ca)
	if l != nil {
		cert, key := w.files(l, name)
		p12 := filepath.Join(w.dir, name+".p12")
		run("openssl35", "pkcs12", "-export", "-in", cert, "-inkey", key, "-name", name, "-passout", "pass:x", "-out", p12)
		run("nss-pk12util", "-i", p12, "-d", db, "-W", "x", "-K", "")
	}
	return db
}

// tstclnt is a command that calls orders on the port.
func (w *world) tstclnt(port int, db string, args ...string) []string {
	w.t.Helper()
	return append([]string{peers.Need(w.t, "nss-client"), "-h", "127.0.0.1", "-4", "-p", strconv.Itoa(port), "-a", "orders", "-d", db, "-V", "tls1.3:tls1.3"}, args...)
}

// selfserv starts a server that answers each request by HTTP with a page.
func (w *world) selfserv(db, name string, args ...string) (*peers.Process, int) {
	w.t.Helper()
	port := peers.FreePort(w.t)
	p := peers.Start(w.t, nil, peers.Need(w.t, "nss-server"), append([]string{"-d", db, "-p", strconv.Itoa(port), "-e", name, "-V", "tls1.3:tls1.3", "-v"}, args...)...)
	p.AwaitListening(port)
	return p, port
}

// Its server takes no external key, not of its own client either.
var nssPSK = pskPeer{
	name: "NSS", hash: crypto.SHA256, used: "Server Auth: 0-bit", alert: "SSL_ERROR_DECRYPT_ERROR_ALERT",
	client: func(w *world, port int, k mtls.PSK) []string {
		return w.tstclnt(port, w.database(nil, ""), "-v", "-z", "0x"+hex.EncodeToString(k.Secret)+":"+string(k.Identity))
	},
}

func TestNSSCalls(t *testing.T) {
	for _, c := range nssWays() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cfg := mtls.ServerConfig{Identity: own(t, w.issuing.Leaf("orders", mint.Key(c.key))), Clients: mtls.Required(w.verifier()), Common: c.common()}
			line := strings.Repeat("a line to be sent and sent back ", 30) + "\n"
			port, result := w.serveOnce(cfg, len(line))
			p := w.typed(w.tstclnt(port, w.database(w.issuing.Leaf("web", mint.Key(c.key)), "web"), "-n", "web"), line)
			p.Await(line)
			p.Stop()
			if o := await(t, result); o.err != nil || o.got != line || o.peer != "web" || o.neg.Suite != c.suite || o.neg.Group != c.group {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestNSSServes(t *testing.T) {
	for _, c := range nssWays() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p, port := w.selfserv(w.database(w.issuing.Leaf("orders", mint.Key(c.key)), "orders"), "orders", "-r", "-r")
			conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web", mint.Key(c.key))), Common: c.common()}, port)
			if err != nil {
				t.Fatal(err)
			}
			if err := exchange(conn, []byte("GET / HTTP/1.0\r\n\r\n"), []byte("HTTP")); err != nil {
				t.Error(err)
			}
			if n := conn.Negotiated(); n.Suite != c.suite || n.Group != c.group || !n.ClientAuthenticated {
				t.Errorf("agreed on %+v", n)
			}
			p.Await("subject DN: CN=web")
		})
	}
}

// nssWays are the ways to agree, with a certificate on both sides.
func nssWays() []combination {
	all := combinations([]mtls.Group{suite.X25519MLKEM768, suite.X25519, suite.P256, suite.P384}, []string{"p384"})
	return slices.DeleteFunc(all, func(c combination) bool { return !c.mutual })
}

// A delegated credential (RFC 9345) stands for our certificate, where NSS asks for
// one: the key that signed is of another kind.
func TestNSSTakesADelegatedCredential(t *testing.T) {
	for _, asks := range []bool{true, false} {
		t.Run(fmt.Sprintf("asks %v", asks), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			h := &heard{}
			leaf := w.issuing.Leaf("orders", mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 4, 1, 44363, 44}, Value: []byte{5, 0}}))
			certificate := own(t, leaf)
			key, now := mint.Root("a key", mint.Key("p384")).Key, time.Now()
			credential, err := certificate.Delegate(nil, key.Public(), mtls.RoleServer, now, now.Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			delegated, err := mtls.NewDelegated(leaf.Chain, credential, key)
			if err != nil {
				t.Fatal(err)
			}
			port, result := w.serveOnce(mtls.ServerConfig{Identity: mtls.Choose(delegated, certificate), Clients: mtls.Anonymous(), Common: mtls.Common{Observer: h}}, 10)
			args, scheme := []string{"-v"}, "ecdsa_secp256r1_sha256"
			if asks {
				args, scheme = append(args, "-B"), "ecdsa_secp384r1_sha384"
			}
			p := w.typed(w.tstclnt(port, w.database(nil, ""), args...), "delegated\n")
			p.Await("delegated\n")
			p.Await("Signature Scheme: " + scheme)
			p.Stop()
			if o := await(t, result); o.err != nil || (len(h.hello().Delegated) > 0) != asks {
				t.Errorf("%v: it asked for %v", o.err, h.hello().Delegated)
			}
			sent := h.from(observe.Server, message.TypeCertificate)
			if len(sent) != 1 || bytes.Contains(sent[0], credential) != asks {
				t.Error("the credential is not where it is asked for")
			}
		})
	}
}

// tstclnt lets itself be asked only where it has a certificate.
func TestNSSIsAskedForACertificateLater(t *testing.T) {
	w := newWorld(t)
	port, result := w.serveAsking()
	command := w.tstclnt(port, w.database(w.issuing.Leaf("web"), "web"), "-E", "-n", "web")
	asked(t, w, command[0], command[1:], result, true)
}

// selfserv asks when a request has come.
func TestNSSAsksForACertificateLater(t *testing.T) {
	w := newWorld(t)
	p, port := w.selfserv(w.database(w.issuing.Leaf("orders"), "orders"), "orders", "-r", "-r", "-r", "-r", "-E")
	conn, err := w.call(mtls.ClientConfig{Servers: w.verifier(), Identity: own(t, w.issuing.Leaf("web")), PostHandshakeAuth: true}, port)
	if err != nil {
		t.Fatal(err)
	}
	if conn.Local() != nil {
		t.Error("it asked at once")
	}
	if err := exchange(conn, []byte("GET / HTTP/1.0\r\n\r\n"), []byte("HTTP")); err != nil {
		t.Error(err)
	}
	if conn.Local() == nil {
		t.Error("it did not ask")
	}
	p.Await("Subject: CN=web")
}

// tstclnt sends what it has to say at once, and comes back to say it early.
func TestNSSSendsEarlyData(t *testing.T) {
	w := newWorld(t)
	r := resumptions()[0]
	cfg := r.serving(w)
	cfg.Resumption.EarlyData = &mtls.ServerEarlyData{}
	port, results := w.takeEarly(cfg, 0)
	question := filepath.Join(w.dir, "question")
	if err := os.WriteFile(question, []byte("early"), 0o600); err != nil {
		t.Fatal(err)
	}
	command := w.tstclnt(port, w.database(nil, ""), "-Z", "-u", "-L", "2", "-A", question)
	p := peers.Start(t, nil, command[0], command[1:]...)
	if o := await(t, results); o.err != nil {
		t.Errorf("%+v", o)
	}
	p.Await("1 stateless resumes")
	// It may leave before our answer comes, when it has said all.
	if o := await(t, results); !strings.HasPrefix(o.got, "early") || o.neg.EarlyData != mtls.EarlyAccepted {
		t.Errorf("%+v", o)
	}
}

// selfserv refuses all early data in its first ten seconds, since it may have taken it
// before it was started; and what it remembers has too little room for a flood of
// tries.
func TestNSSTakesEarlyData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, port := w.selfserv(w.database(w.issuing.Leaf("orders"), "orders"), "orders", "-u", "-Z")
	r := resumptions()[0]
	cfg := r.calling(w)
	cfg.Limits = patient
	client, err := mtls.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), peers.Patience)
	defer cancel()
	request := []byte("GET / HTTP/1.0\r\n\r\n")
	pace := time.NewTicker(400 * time.Millisecond)
	defer pace.Stop()
	for accepted := false; !accepted; <-pace.C {
		transport, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.ConnectEarly(ctx, transport, "orders")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(peers.Patience))
		early := false
		if c.EarlyRoom() > 0 {
			_, err = c.WriteEarly(request)
			early = err == nil
		}
		if err := c.Handshake(ctx); err != nil {
			t.Fatal(err)
		}
		accepted = early && c.Negotiated().EarlyData == mtls.EarlyAccepted
		if accepted {
			request = nil
		}
		if err := exchange(c, request, []byte("HTTP")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}
