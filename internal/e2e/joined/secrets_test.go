//go:build linux

package joined

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
)

// secret is something to look for, in each way that it can be written.
type secret struct {
	what string
	ways [][]byte
}

func secretOf(what string, raw []byte) secret {
	return secret{what, [][]byte{raw, []byte(hex.EncodeToString(raw)), []byte(base64.RawStdEncoding.EncodeToString(raw)), []byte(base64.RawURLEncoding.EncodeToString(raw))}}
}

func (s secret) in(b []byte) bool {
	for _, w := range s.ways {
		if bytes.Contains(b, w) {
			return true
		}
	}
	return false
}

// keys are the private keys in PEM files below a folder.
func keys(t *testing.T, dir string) (all []secret) {
	t.Helper()
	for _, path := range tree(t, dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // a folder, a socket
		}
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "PRIVATE KEY" {
				continue
			}
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			scalar, err := key.(*ecdsa.PrivateKey).Bytes()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, secretOf("the key in "+path, scalar), secret{"the key in " + path, [][]byte{
				block.Bytes, []byte(strings.Split(string(pem.EncodeToMemory(block)), "\n")[1])}})
		}
	}
	return all
}

// holders are the files that hold private keys, and have to.
func holder(path string) bool {
	return strings.HasSuffix(path, ".key") || filepath.Base(path) == "identity.pem"
}

// Tokens and private keys are where they have to be, and nowhere else: in no log,
// no list of processes, no database.
func TestSecretsAreNowhereElse(t *testing.T) {
	h := newMovedHouse(t)
	out := h.place("lines")
	orders := h.orders("--allow", "api", "--join-out", out, "--verbose", "--lifetime", "1h")
	// The lines come by file; the command line has none.
	file := write(t, h.place("web.join"), orders.Lines["web"])
	web := h.start("connect", "--join-file", file, "--data", h.place("b"), "--listen", "127.0.0.1:0", "--verbose", "--lifetime", "1h")
	api := h.start("connect", "--join-file", write(t, h.place("api.join"), orders.Lines["api"]), "--data", h.place("c"), "--listen", "127.0.0.1:0", "--verbose")
	spare := h.line("spare")
	said := new(strings.Builder)
	// Refusals, too: a token that is spent, one that is damaged.
	for _, line := range []string{orders.Lines["web"], spare[:len(spare)-2]} {
		text, code := h.runAt(h.place("d"), "connect", "--join-file", write(t, h.place("again.join"), line), "--listen", "127.0.0.1:0", "--verbose")
		if code == 0 {
			t.Error("joined twice")
		}
		said.WriteString(text)
	}
	var secrets []secret
	first := append(keys(t, h.data), keys(t, h.place("b"))...)
	h.clock.set(45 * 60 * 1e9)
	awaitRotations(t, 1, orders, web)
	stage.AwaitAnswer(t, web.Address)
	secrets = append(secrets, first...)
	secrets = append(secrets, keys(t, h.data)...)
	secrets = append(secrets, keys(t, h.place("b"))...)
	if len(secrets) < 20 {
		t.Fatalf("%d private keys are too few", len(secrets)/2)
	}
	for name, line := range map[string]string{"web": orders.Lines["web"], "api": orders.Lines["api"], "spare": spare} {
		token := parsed(t, line).Token
		secrets = append(secrets, secretOf("the token of "+name, token[:]))
	}
	for _, args := range [][]string{{"list", "--all", "--json"}, {"ca", "status"}, {"ca", "status", "--json"}, {"revoke", "api"}} {
		text, code := h.run(args...)
		if code != 0 {
			t.Errorf("%v: %d: %s", args, code, text)
		}
		said.WriteString(text)
	}
	look := func(where string, b []byte) {
		for _, s := range secrets {
			if s.in(b) {
				t.Errorf("%s is in %s", s.what, where)
			}
		}
	}
	look("what commands print", []byte(said.String()))
	for name, g := range map[string]*stage.Gate{"serve": orders, "connect": web, "api": api} {
		look("what "+name+" logs", []byte(g.Output()))
	}
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(lists) == 0 {
		t.Fatal(err)
	}
	for _, path := range lists {
		if b, err := os.ReadFile(path); err == nil {
			look(path, b)
			if b, err = os.ReadFile(filepath.Join(filepath.Dir(path), "environ")); err == nil {
				look(path+"'s environment", b)
			}
		}
	}
	// The database with its logs, and every other file that is not for keys.
	database := false
	for _, dir := range []string{h.data, h.place("b"), h.place("c")} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || holder(path) {
				return nil
			}
			b, err := os.ReadFile(path)
			if err == nil {
				look(path, b)
				database = database || strings.Contains(string(b), "SQLite format 3")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !database {
		t.Error("no database was looked at")
	}
	// A search that finds nothing anywhere finds nothing: it finds them at home.
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, s := range secrets {
		if s.in(b) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d tokens in %s, expected 2", found, out)
	}
}
