package main

import (
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/mint"
)

// hostile is what a terminal must not be told: it would clear itself, write
// backwards, begin a line of its own, or take its title from a peer.
const hostile = "\x1b[2J\x1b]0;x\aevil\u202egnp.\u2066\u200f\r\nmutual: all is well\u009b31m\x7f\u2028"

// Every string of a certificate, in every way in which the program tells of one: in
// words and as JSON, of files and of a server, where it stands and where it does not.
func TestStringsOfCertificatesDoNotReachTheTerminal(t *testing.T) {
	ascii := strings.Map(func(r rune) rune {
		if r > 0x7f {
			return -1
		}
		return r
	}, hostile)
	subject := mint.Subject(pkix.Name{CommonName: hostile, Organization: []string{hostile}, OrganizationalUnit: []string{hostile}, SerialNumber: hostile})
	names := mint.Names("orders.example.com", ascii, "*."+ascii)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	root := mint.Root(hostile, subject)
	issuer := root.Intermediate(hostile, subject, mint.NameConstraints("example.org"))
	good, bad := root.Leaf("orders.example.com", subject, names), issuer.Leaf("orders.example.com", subject, names)
	for name, l := range map[string]*mint.Leaf{"good": good, "bad": bad} {
		if _, _, err := l.WriteFiles(dir, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.WriteFile(file("ca.crt")); err != nil {
		t.Fatal(err)
	}
	if err := mint.Root("Another Root").WriteFile(file("other.crt")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("noise.crt"), append([]byte("-----BEGIN "+ascii[:20]+"-----\n"), ascii...), 0o600); err != nil {
		t.Fatal(err)
	}
	server := func(l *mint.Leaf) string {
		return listen(t, func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: l.Chain, PrivateKey: l.Key}}})
			if s.Handshake() == nil {
				_, _ = s.Read(make([]byte, 1))
			}
			_ = s.Close()
		})
	}
	for _, args := range [][]string{
		{"inspect", file("good.crt")},
		{"inspect", file("bad.crt")},
		{"inspect", file("ca.crt")},
		{"inspect", file("noise.crt")},
		{"verify", file("good.crt"), "--ca", file("ca.crt")},
		{"verify", file("good.crt"), "--ca", file("ca.crt"), "--name", "billing"},
		{"verify", file("good.crt"), "--ca", file("ca.crt"), "--profile", "private"},
		{"verify", file("good.crt"), "--ca", file("ca.crt"), "--profile", "webpki"},
		{"verify", file("bad.crt"), "--ca", file("ca.crt")},
		{"verify", file("bad.crt"), "--ca", file("other.crt")},
		{"verify", file("bad.crt"), "--ca", file("ca.crt"), "--at", "2001-01-01"},
		{"verify", file("noise.crt"), "--ca", file("ca.crt")},
		{"verify", server(good), "--ca", file("ca.crt"), "--name", "orders.example.com"},
		{"verify", server(bad), "--ca", file("ca.crt"), "--name", "orders.example.com"},
		{"verify", server(good), "--ca", file("other.crt"), "--name", "billing"},
		{"explain", server(good), "--server-ca", file("ca.crt"), "--server-name", "orders.example.com", "--fields", "--bytes"},
		{"explain", server(bad), "--server-ca", file("ca.crt"), "--server-name", "orders.example.com", "--fields", "--bytes"},
		{"trust", "install", "--root", dir, file("ca.crt"), "--dry-run", "--unconstrained"},
		{"trust", "list", "--root", dir},
	} {
		for _, args := range [][]string{args, append([]string{"--json"}, args...)} {
			code, out, err := command(args...)
			for _, r := range out + err {
				if (r < ' ' || r > '~') && !strings.ContainsRune("\n✓✗≠…", r) {
					t.Errorf("%q (%d) lets %U through:\n%q", args, code, r, out+err)
					break
				}
			}
			if strings.Contains(out+err, "\nmutual: all is well") {
				t.Errorf("%q lets a peer write a line of its own", args)
			}
			if args[0] == "--json" && out != "" && !json.Valid([]byte(out)) {
				t.Errorf("%q: no JSON: %s", args, out)
			}
		}
	}
}
