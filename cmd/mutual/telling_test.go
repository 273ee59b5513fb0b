package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
)

// command runs a command line, and answers with its exit code and its words.
func command(args ...string) (code int, out, err string) {
	var o, e bytes.Buffer
	a := &app{out: &o, err: &e}
	root := a.root()
	root.SetArgs(args)
	failed := root.ExecuteContext(context.Background())
	if failed == nil {
		return exitDone, o.String(), e.String()
	}
	f := failureOf(failed)
	if !f.said {
		a.complain(f)
	}
	return f.code, o.String(), e.String()
}

// desk is a folder with the files of an authority, a server and a client, and a
// server of crypto/tls that requires certificates.
type desk struct{ dir, server string }

func (d *desk) file(name string) string { return filepath.Join(d.dir, name) }

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{dir: t.TempDir()}
	root := mint.Root("Example Root")
	ca := root.Intermediate("Example Issuing CA")
	leaf := ca.Leaf("orders.example.com", mint.IPs("127.0.0.1"))
	for name, l := range map[string]*mint.Leaf{
		"orders": leaf, "web": ca.Leaf("web"), "stranger": mint.Root("Another Root").Leaf("stranger"),
	} {
		if _, _, err := l.WriteFiles(d.dir, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.WriteFile(d.file("ca.crt")); err != nil {
		t.Fatal(err)
	}
	for i, der := range leaf.Chain {
		if err := os.WriteFile(d.file([]string{"leaf.der", "issuer.der"}[i]), der, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.file("orders.p7b"), bundle(t, leaf.Chain[1], leaf.Chain[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	loose := mint.Root("Loose Root", mint.KeyUsage(0)) // as "openssl req -x509" makes it
	if err := errors.Join(loose.WriteFile(d.file("loose.crt")), os.WriteFile(d.file("below.crt"), loose.Leaf("below").CertPEM(), 0o600)); err != nil {
		t.Fatal(err)
	}
	// The system's authorities are not ours, whatever this system is.
	if err := mint.Root("The Web").WriteFile(d.file("system.crt")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", d.file("system.crt"))
	pool := x509.NewCertPool()
	pool.AddCert(root.Cert)
	d.server = listen(t, func(c net.Conn) {
		s := tls.Server(c, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: leaf.Chain, PrivateKey: leaf.Key}},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool,
		})
		if s.Handshake() == nil {
			_, _ = s.Read(make([]byte, 1))
		}
		_ = s.Close()
	})
	return d
}

// bundle is certificates as PKCS #7 (RFC 5652, section 5.1), in DER.
func bundle(t *testing.T, certificates ...[]byte) []byte {
	t.Helper()
	type raw = asn1.RawValue
	b, err := asn1.Marshal(struct {
		Type asn1.ObjectIdentifier
		Data any `asn1:"explicit,tag:0"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, struct {
		Version      int
		Algorithms   raw
		Contents     struct{ Type asn1.ObjectIdentifier }
		Certificates raw
		Signers      raw
	}{1, raw{Tag: asn1.TagSet, IsCompound: true}, struct{ Type asn1.ObjectIdentifier }{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
		raw{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: bytes.Join(certificates, nil)}, raw{Tag: asn1.TagSet, IsCompound: true}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return l.Addr().String()
}

func TestTellingCommandsEndWithTheirExitCodes(t *testing.T) {
	d := newDesk(t)
	plain := listen(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n")); _, _ = c.Read(make([]byte, 1)) })
	nobody := fmt.Sprintf("127.0.0.1:%d", peers.FreePort(t))
	trust, us := "--server-ca="+d.file("ca.crt"), []string{"--cert=" + d.file("web.crt"), "--key=" + d.file("web.key")}
	past := time.Now().AddDate(-1, 0, 0).Format(time.DateOnly)
	for name, c := range map[string]struct {
		args []string
		code int
		want string // in the words, wherever they are
	}{
		"explain, proven":             {append([]string{"explain", d.server, trust}, us...), 0, "The connection stands"},
		"explain, by name":            {append([]string{"explain", d.server, trust, "--server-name=orders.example.com"}, us...), 0, "orders.example.com is one of its names"},
		"explain, no certificate":     {[]string{"explain", d.server, trust}, 3, "M0501"},
		"explain, wrong certificate":  {[]string{"explain", d.server, trust, "--cert=" + d.file("stranger.crt"), "--key=" + d.file("stranger.key")}, 3, "M0502"},
		"explain, wrong name":         {[]string{"explain", d.server, trust, "--server-name=billing"}, 3, "M0105"},
		"explain, fields":             {append([]string{"explain", d.server, trust, "--fields"}, us...), 0, "legacy_session_id"},
		"explain, bytes":              {append([]string{"explain", d.server, trust, "--bytes"}, us...), 0, "00000  01 00"},
		"explain, not TLS":            {[]string{"explain", plain, trust}, 3, "It speaks SSH."},
		"explain, nobody":             {[]string{"explain", nobody, trust}, 4, "M0705"},
		"explain, a code":             {[]string{"explain", "m0117"}, 0, "certificate does not parse"},
		"explain, mistyped":           {[]string{"explain", "M117"}, 2, "did you mean M0117?"},
		"explain, codes":              {[]string{"explain", "--codes"}, 0, "M0811"},
		"explain, nothing":            {[]string{"explain"}, 2, "needs HOST:PORT or a code"},
		"explain, no port":            {[]string{"explain", "example.com"}, 2, "example.com:443"},
		"explain, bad port":           {[]string{"explain", "example.com:notaport"}, 2, "no port between"},
		"explain, no host":            {[]string{"explain", ":443"}, 2, "names no host"},
		"explain, half an identity":   {[]string{"explain", d.server, us[0]}, 2, "both --cert and --key"},
		"explain, bad name":           {[]string{"explain", d.server, "--server-name=a b"}, 2, "name"},
		"explain, bad timeout":        {[]string{"explain", d.server, "--handshake-timeout=0s"}, 2, "longer"},
		"explain, no such authority":  {[]string{"explain", d.server, "--server-ca=" + d.file("none")}, 1, "none"},
		"explain, no such key":        {[]string{"explain", d.server, trust, us[0], "--key=" + d.file("none")}, 1, "none"},
		"explain, code and list":      {[]string{"explain", "--codes", "M0117"}, 2, "no argument"},
		"explain, by the letter":      {append([]string{"explain", d.server, trust, "--profile=svid"}, us...), 3, "one URI, a SPIFFE ID"},
		"verify, by the letter":       {[]string{"verify", d.file("orders.crt"), trust, "--profile=svid"}, 3, "one URI, a SPIFFE ID"},
		"verify, no such profile":     {[]string{"verify", d.file("orders.crt"), trust, "--profile=x"}, 2, "browser and webpki"},
		"inspect, a chain":            {[]string{"inspect", d.file("orders.crt")}, 0, "a chain of 2 certificates"},
		"inspect, a key":              {[]string{"inspect", d.file("orders.key")}, 0, "ECDSA P-256"},
		"inspect, DER":                {[]string{"inspect", d.file("leaf.der")}, 0, "orders.example.com"},
		"inspect, nothing":            {[]string{"inspect", d.file("none")}, 1, "none"},
		"inspect, a server":           {[]string{"inspect", d.server}, 0, "a chain of 2 certificates"},
		"inspect, no server":          {[]string{"inspect", nobody}, 4, "M0705"},
		"inspect, a server, not TLS":  {[]string{"inspect", plain}, 3, "It speaks SSH."},
		"inspect, no argument":        {[]string{"inspect"}, 2, "needs a file"},
		"verify, stands":              {[]string{"verify", d.file("orders.crt"), "--ca=" + d.file("ca.crt"), "--name=orders.example.com", "--purpose=server"}, 0, "stands, until"},
		"verify, DER in pieces":       {[]string{"verify", d.file("leaf.der"), d.file("issuer.der"), "--ca=" + d.file("ca.crt")}, 0, "stands, until"},
		"verify, a piece missing":     {[]string{"verify", d.file("leaf.der"), "--ca=" + d.file("ca.crt")}, 3, "M0103"},
		"verify, wrong name":          {[]string{"verify", d.file("orders.crt"), "--ca=" + d.file("ca.crt"), "--name=billing"}, 3, "M0105"},
		"verify, another time":        {[]string{"verify", d.file("orders.crt"), "--ca=" + d.file("ca.crt"), "--at=" + past}, 3, "M0102"},
		"verify, the system's":        {[]string{"verify", d.file("orders.crt"), "--purpose=client"}, 3, "M0103"},
		"verify, not a certificate":   {[]string{"verify", d.file("orders.key"), "--ca=" + d.file("ca.crt")}, 1, "expected certificates"},
		"verify, bad purpose":         {[]string{"verify", d.file("orders.crt"), "--purpose=both"}, 2, "server or client"},
		"verify, bad time":            {[]string{"verify", d.file("orders.crt"), "--at=noon"}, 2, "--at"},
		"verify, nothing":             {[]string{"verify"}, 2, "needs files"},
		"verify, no such file":        {[]string{"verify", d.file("none"), "--ca=" + d.file("ca.crt")}, 1, "none"},
		"verify, an empty name":       {[]string{"verify", d.file("orders.crt"), "--ca=" + d.file("ca.crt"), "--name="}, 2, "--name is empty"},
		"verify, empty authorities":   {[]string{"verify", d.file("orders.crt"), "--server-ca="}, 2, "--ca is empty"},
		"explain, an empty name":      {[]string{"explain", d.server, trust, "--server-name="}, 2, "--server-name is empty"},
		"verify, PKCS #7":             {[]string{"verify", d.file("orders.p7b"), "--ca=" + d.file("ca.crt"), "--name=orders.example.com"}, 0, "stands, until"},
		"inspect, PKCS #7":            {[]string{"inspect", d.file("orders.p7b")}, 0, "a chain of 2 certificates"},
		"verify, a host alone":        {[]string{"verify", "orders.example", "--ca=" + d.file("ca.crt")}, 1, "as in orders.example:443"},
		"verify, the root first":      {[]string{"verify", d.file("ca.crt"), d.file("issuer.der"), d.file("leaf.der"), "--ca=" + d.file("ca.crt")}, 3, "put the leaf first"},
		"verify, a loose root first":  {[]string{"verify", d.file("loose.crt"), d.file("below.crt"), "--ca=" + d.file("loose.crt")}, 0, "put the leaf first"},
		"verify, asked about a time":  {[]string{"verify", d.server, trust, "--at=" + past}, 3, "the time that was given"},
		"verify, a server":            {append([]string{"verify", d.server, "--ca=" + d.file("ca.crt")}, us...), 0, "stands, until"},
		"verify, a server's flags":    {[]string{"verify", d.server, trust, "--server-name=orders.example.com"}, 0, "stands, until"},
		"verify, a server, its name":  {[]string{"verify", d.server, trust, "--server-name=billing"}, 3, "✗ name"},
		"verify, a server, system's":  {[]string{"verify", d.server}, 3, "M0103"},
		"verify, a server, not TLS":   {[]string{"verify", plain, trust}, 3, "It speaks SSH."},
		"verify, a server, nobody":    {[]string{"verify", nobody, trust}, 4, "M0705"},
		"verify, a server for client": {[]string{"verify", d.server, trust, "--purpose=client"}, 2, "is a server"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := command(c.args...)
			if code != c.code {
				t.Errorf("the exit code is %d, expected %d", code, c.code)
			}
			if !strings.Contains(out+err, c.want) {
				t.Errorf("the words lack %q:\n%s%s", c.want, out, err)
			}
			if strings.Contains(out, "\x1b") {
				t.Error("there is colour in a pipe")
			}
			if code == exitUsage && out != "" {
				t.Errorf("a usage error has words on standard output: %s", out)
			}
		})
	}
}

// TestTellingCommandsPrintOneJSONValue: nothing else is on standard output, and
// the exit code is the same as without.
func TestTellingCommandsPrintOneJSONValue(t *testing.T) {
	d := newDesk(t)
	plain := listen(t, func(c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-x\r\n")); _, _ = c.Read(make([]byte, 1)) })
	trust := "--server-ca=" + d.file("ca.crt")
	for _, c := range []struct {
		args []string
		code int
		want []string // keys of the value
	}{
		{[]string{"explain", d.server, trust}, 3, []string{"target", "version", "suite", "group", "signature", "alpn", "peer", "client_authenticated", "steps", "verdict"}},
		{[]string{"explain", plain, trust}, 3, []string{"target", "speaks", "verdict"}},
		{[]string{"explain", "M0101"}, 0, []string{"code", "title", "what", "mend", "alert"}},
		{[]string{"inspect", d.file("orders.crt")}, 0, []string{"kind", "subject", "names", "serial", "issuer", "not_before", "not_after", "key", "usages", "ca", "sha256", "certificates"}},
		{[]string{"inspect", d.server}, 0, []string{"kind", "subject", "names", "certificates"}},
		{[]string{"inspect", plain}, 3, []string{"ok", "code", "mend"}},
		{[]string{"verify", d.file("orders.crt"), trust}, 0, []string{"target", "ok", "code", "mend", "paths"}},
		{[]string{"verify", d.file("leaf.der"), trust}, 3, []string{"ok", "code", "mend", "paths"}},
		{[]string{"verify", d.server, trust}, 0, []string{"ok", "code", "mend", "paths"}},
		{[]string{"verify", d.server, trust, "--server-name=billing"}, 3, []string{"ok", "code", "mend", "paths"}},
		{[]string{"verify", plain, trust}, 3, []string{"ok", "code", "mend", "paths"}},
	} {
		code, out, words := command(append(c.args, "--json")...)
		var v map[string]any
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Errorf("%q: standard output is no JSON value: %v\n%s", c.args, err, out)
			continue
		}
		if code != c.code || (words == "") != (code == 0) && !strings.Contains(words, "refused us") {
			t.Errorf("%q: the exit code is %d, expected %d; the words are %q", c.args, code, c.code, words)
		}
		for _, k := range c.want {
			if _, ok := v[k]; !ok {
				t.Errorf("%q: the value lacks %s", c.args, k)
			}
		}
		if ok, there := v["ok"]; there && ok != (c.code == 0) {
			t.Errorf("%q: ok is %v with exit code %d", c.args, ok, c.code)
		}
	}
	_, out, _ := command("explain", "--codes", "--json")
	var all []map[string]string
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) < 50 {
		t.Errorf("the list of codes has %d entries (%v)", len(all), err)
	}
}

func TestVerifyTellsAServerFromAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("file:443", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]bool{
		"example.com:443": true, "[::1]:443": true, "10.0.0.1:8443": true, "unix:/run/x": true,
		"file:443": false, "orders.crt": false, "C:\\x.crt": false, "dir/x:1": false, "host:https": false, ":443": false,
	} {
		if isServer(arg) != want {
			t.Errorf("%q is taken for a server: %v", arg, !want)
		}
	}
}

func TestTrustWorksOnAnImageAndSaysWhatItDid(t *testing.T) {
	image, dir := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(image, "etc", "pki", "ca-trust", "source", "anchors"), 0o755); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "ca.crt")
	if err := mint.Root("ours").WriteFile(root); err != nil {
		t.Fatal(err)
	}
	at := []string{"--root", image, "--data", filepath.Join(dir, "data")}
	for i, step := range []struct {
		args   []string
		code   int
		action string
	}{
		{[]string{"install", root}, exitUsage, ""},
		{[]string{"check", root}, exitRefused, "not trusted"},
		{[]string{"install", root, "--unconstrained", "--dry-run"}, exitDone, "would be added"},
		{[]string{"install", root, "--unconstrained"}, exitDone, "added"},
		{[]string{"install", root, "--unconstrained"}, exitDone, "already trusted"},
		{[]string{"check", root}, exitDone, "trusted"},
		{[]string{"list"}, exitDone, "trusted"},
		{[]string{"uninstall"}, exitDone, "removed"},
		{[]string{"check", root}, exitRefused, "not trusted"},
		{[]string{"install", "--store", "registry", root, "--unconstrained"}, exitUsage, ""},
		{[]string{"install"}, exitUsage, ""}, // no authority lies here
	} {
		code, out, _ := command(append(append([]string{"trust"}, step.args...), append(at, "--store", "system", "--json")...)...)
		if code != step.code {
			t.Errorf("step %d, %v: exit code %d", i, step.args, code)
		}
		if step.action == "" {
			continue
		}
		var got []struct{ Store, Place, SHA256, Action string }
		if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || got[0].Action != step.action || got[0].Store != "system" {
			t.Errorf("step %d, %v: %s, %v", i, step.args, out, err)
		}
	}
}
