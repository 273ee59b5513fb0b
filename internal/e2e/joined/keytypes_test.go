package joined

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/peers"
	"github.com/mutual-tls/mutual/keystore"
	"github.com/mutual-tls/mutual/pki"
)

// keyTypeOf is the type of key of the identity in a machine's folder of data, and
// the algorithm that its certificate is signed with.
func (h *house) keyTypeOf(data, name string) (keyType, signed string) {
	h.t.Helper()
	files, err := filepath.Glob(filepath.Join(data, "id", "*", name, "identity.pem"))
	if err != nil || len(files) != 1 {
		h.t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		h.t.Fatal(err)
	}
	_, chain, _ := bytes.Cut(b, []byte("-----END PRIVATE KEY-----\n"))
	c, err := pki.ParsePEM(chain)
	if err != nil {
		h.t.Fatal(err)
	}
	return keystore.TypeOf(c[0].Key.Key), c[0].AlgorithmName()
}

// An authority of ML-DSA, a service whose keys are of that kind, too, and a caller
// whose keys are not: joined, at work, renewed, given files, revoked.
func TestAnAuthorityOfMLDSALivesItsWholeLife(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders("--key-type", "mldsa65", "--identity-key", "mldsa44", "--lifetime", "1h")
	line := orders.Lines["web"]
	web := h.caller("b", line, "--lifetime", "1h")
	stage.AwaitAnswer(t, web.Address)
	check := func(when string) {
		t.Helper()
		for _, c := range []struct{ data, name, keyType string }{{h.data, "orders", "mldsa44"}, {h.place("b"), "web", "p256"}} {
			if k, s := h.keyTypeOf(c.data, c.name); k != c.keyType || s != "ML-DSA-65" {
				t.Errorf("%s %s has a key of %s, signed with %s", when, c.name, k, s)
			}
		}
	}
	check("at first")
	if out, code := h.run("ca", "status"); code != 0 || !strings.Contains(out, "mldsa65") {
		t.Errorf("%d: %s", code, out)
	}

	h.clock.set(44 * time.Minute)
	awaitRotations(t, 1, orders, web)
	stage.AwaitAnswer(t, web.Address)
	check("renewed,")

	// A start without the flag keeps the kind; one with it takes effect when the next
	// key is made.
	orders.Stop()
	web.Stop()
	orders = h.orders("--lifetime", "1h")
	web = h.caller("b", line, "--lifetime", "1h", "--identity-key", "mldsa87")
	h.clock.set(88 * time.Minute)
	awaitRotations(t, 1, orders, web)
	stage.AwaitAnswer(t, web.Address)
	if k, _ := h.keyTypeOf(h.data, "orders"); k != "mldsa44" {
		t.Errorf("orders has a key of %s after a start without the flag", k)
	}
	if k, _ := h.keyTypeOf(h.place("b"), "web"); k != "mldsa87" {
		t.Errorf("web has a key of %s, expected what it was told", k)
	}

	// A second root, of the same kind; everybody goes on.
	if out, code := h.run("ca", "announce"); code != 0 || !strings.Contains(out, "number 2") {
		t.Errorf("announce: %d: %s", code, out)
	}
	stage.AwaitAnswer(t, web.Address)

	if out, code := h.run("revoke", "web"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	orders.AwaitLog(t, "M0121")
	for _, c := range h.list("--all") {
		if c.Name == "web" && c.State != "revoked" {
			t.Errorf("%+v", c)
		}
	}
}

// What is issued for other software is verified by other software, from the root
// down, and shown by it.
func TestOpenSSLLivesWithAnMLDSAAuthority(t *testing.T) {
	openssl := peers.Need(t, "openssl35")
	h := newHouse(t)
	h.authority("--key-type", "mldsa87/mldsa65")
	pem := h.place("pem")
	for name, keyType := range map[string]string{"db": "mldsa65", "app": "p256"} {
		if out, code := h.run("issue", name, "--names", "localhost", "--key-type", keyType, "--out", pem); code != 0 {
			t.Fatalf("%d: %s", code, out)
		}
		file := func(kind string) string { return filepath.Join(pem, name+"."+kind) }
		out, err := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", filepath.Join(pem, "ca.crt"), "-untrusted", file("crt"),
			"-purpose", "sslserver", "-verify_hostname", "localhost", file("crt")).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if out, code := h.run("verify", file("crt"), "--ca", filepath.Join(pem, "ca.crt"), "--name", name, "--profile", "private"); code != 0 {
			t.Errorf("%d: %s", code, out)
		}
		for kind, words := range map[string]string{"crt": "ML-DSA-65", "key": "PKCS #8"} {
			if out, code := h.run("inspect", file(kind)); code != 0 || !strings.Contains(out, words) {
				t.Errorf("inspect: %d: %s", code, out)
			}
		}
	}
	// It serves with the one, and proves itself with it to a gateway of ours that
	// shows the other.
	at := peers.FreePort(t)
	address := fmt.Sprintf("127.0.0.1:%d", at)
	of := func(file string) string { return filepath.Join(pem, file) }
	server := peers.Start(t, nil, openssl, "s_server", "-accept", fmt.Sprint(at), "-cert", of("db.crt"), "-cert_chain", of("db.crt"), "-key", of("db.key"),
		"-CAfile", of("ca.crt"), "-verify", "3", "-verify_return_error", "-rev")
	server.AwaitListening(at)
	if out, code := h.run("verify", address, "--ca", of("ca.crt"), "--name", "db"); code != 0 {
		t.Errorf("verify %s: %d: %s", address, code, out)
	}
	gate := h.start("connect", "--to", address, "--server-name", "db", "--listen", "127.0.0.1:0", "--cert", of("app.crt"), "--key", of("app.key"), "--server-ca", of("ca.crt"))
	c := stage.Dial(t, gate.Address)
	if _, err := io.WriteString(c, "stressed\n"); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, len("desserts\n"))
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "desserts\n" {
		t.Errorf("%q, %v\n%s", answer, err, gate.Output())
	}
}

func TestAKeyTypeThatIsNoneIsAUsageError(t *testing.T) {
	h := newHouse(t)
	for _, args := range [][]string{
		{"ca", "--key-type", "mldsa66"}, {"ca", "--key-type", "mldsa65/"}, {"serve", "orders", "--to", h.to, "--allow", "web", "--key-type", "dilithium"},
		{"serve", "orders", "--to", h.to, "--allow", "web", "--identity-key", "mldsa65/p256"}, {"issue", "db", "--out", h.place("pem"), "--key-type", "p521"},
		{"ca", "announce", "--key-type", "mldsa87/p256"},
	} {
		if out, code := h.run(args...); code != 2 || !strings.Contains(out, "take p256, p384, ed25519, rsa, mldsa44, mldsa65 or mldsa87") {
			t.Errorf("%v: %d: %s", args, code, out)
		}
	}
	if _, err := os.Stat(filepath.Join(h.data, "ca")); err == nil {
		t.Error("something was made")
	}
}
