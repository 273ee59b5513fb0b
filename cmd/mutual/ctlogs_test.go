package main

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
)

func TestVerifyAsksForTimestampsByTheListThatItIsGiven(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	root := mint.Root("Example Root")
	a, b := mint.NewLog("a's log", "One", ""), mint.NewLog("b's log", "Two", "")
	then := time.Now().Add(-time.Minute)
	logged, bare := root.Leaf("orders", mint.Logged(then, a, b)), root.Leaf("orders")
	for name, l := range map[string]*mint.Leaf{"logged": logged, "bare": bare} {
		if _, _, err := l.WriteFiles(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string][]byte{
		"ca.crt": root.PEM(), "logs.json": mint.LogList(a, b), "other.json": mint.LogList(a, mint.NewLog("c's log", "Three", "")), "none.json": []byte("{}"),
	} {
		if err := os.WriteFile(file(name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := func(l *mint.Leaf, beside ...[]byte) string {
		return listen(t, func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: l.Chain, PrivateKey: l.Key, SignedCertificateTimestamps: beside}}})
			_ = s.Handshake()
			_, _ = s.Read(make([]byte, 1))
			_ = s.Close()
		})
	}
	inside := server(logged)
	beside := server(bare, a.Promise(bare.Cert.Raw, then), b.Promise(bare.Cert.Raw, then))
	none := server(bare)
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"a file":                  {[]string{file("logged.crt"), "--ct-logs=" + file("logs.json")}, 0, `"a's log" at `},
		"a file, another list":    {[]string{file("logged.crt"), "--ct-logs=" + file("other.json")}, 3, "its log is not on the list"},
		"a file without":          {[]string{file("bare.crt"), "--ct-logs=" + file("logs.json")}, 3, "M0141"},
		"a file, nobody asks":     {[]string{file("bare.crt")}, 0, "stands, until"},
		"a list without logs":     {[]string{file("bare.crt"), "--ct-logs=" + file("none.json")}, 1, "names no log"},
		"no list":                 {[]string{file("bare.crt"), "--ct-logs=" + file("logs.txt")}, 1, "no such file"},
		"a server":                {[]string{inside, "--name=orders", "--ct-logs=" + file("logs.json")}, 0, "in the certificate"},
		"a server, beside":        {[]string{beside, "--name=orders", "--ct-logs=" + file("logs.json")}, 0, "in the handshake"},
		"a server without":        {[]string{none, "--name=orders", "--ct-logs=" + file("logs.json")}, 3, "none, in the certificate or beside it"},
		"a server, another list":  {[]string{inside, "--name=orders", "--ct-logs=" + file("other.json")}, 3, "M0141"},
		"a server, no such list":  {[]string{inside, "--name=orders", "--ct-logs=" + file("x.json")}, 1, "no such file"},
		"a server, nobody asks":   {[]string{none, "--name=orders"}, 0, "stands, until"},
		"a server, in JSON":       {[]string{inside, "--name=orders", "--json", "--ct-logs=" + file("logs.json")}, 0, `"check": "timestamps"`},
		"a server, in JSON, none": {[]string{none, "--name=orders", "--json", "--ct-logs=" + file("logs.json")}, 3, `"code": "M0141"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, words := command(append([]string{"verify", "--ca=" + file("ca.crt")}, c.args...)...)
			if code != c.code {
				t.Errorf("the exit code is %d, expected %d\n%s%s", code, c.code, out, words)
			}
			if flat := strings.Join(strings.Fields(out+words), " "); !strings.Contains(flat, c.want) {
				t.Errorf("the words lack %q:\n%s%s", c.want, out, words)
			}
		})
	}
}
