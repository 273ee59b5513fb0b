package interop

import (
	"crypto"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
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
