package joined

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/internal/peers"
)

// Each way not to get in has its exit code, its code and a sentence.
func TestHowJoiningFails(t *testing.T) {
	h := newMovedHouse(t)
	authority := h.authority()
	orders := h.orders("--lifetime", "720h") // longer than this test's time
	line := orders.Lines["web"]
	try := func(what, line string, code int, words ...string) {
		t.Helper()
		out, got := h.runAt(h.place(what), "connect", line, "--listen", "127.0.0.1:0")
		for _, w := range words {
			if got != code || !strings.Contains(out, w) {
				t.Errorf("%s: exit %d, expected %d with %q: %s", what, got, code, w, out)
			}
		}
		if strings.Contains(out, line) || strings.Contains(out, tokenOf(line)) {
			t.Errorf("%s: the token is shown", what)
		}
	}
	unknown := parsed(t, line)
	if _, err := rand.Read(unknown.Token[:]); err != nil {
		t.Fatal(err)
	}
	try("unknown", unknown.Text(), 3, "M0903", "mutual token")
	try("cut", line[:len(line)-3], 2, "M0901", "cut off")
	try("changed", strings.Replace(line, "/web/", "/wob/", 1), 2, "M0901", "check digits")
	try("words", "hello", 2, "M0901", "mutual+join:")
	stage.AwaitAnswer(t, h.caller("b", line).Address)
	try("twice", line, 3, "M0905")
	if s := h.status(); len(s.Alarms) != 1 || s.Alarms[0].Code != "M0905" || s.Alarms[0].Name != "web" {
		t.Errorf("alarms: %+v", s.Alarms)
	}
	late := h.line("late", "--service", "orders", "--lifetime", "5m")
	h.clock.set(10 * time.Minute)
	try("late", late, 3, "M0904", "expired")
	// Nobody there: also for who administers.
	waiting := h.line("waiting", "--service", "orders")
	orders.Stop()
	authority.Stop()
	try("away", waiting, 4, "M0921", "mutual ca")
	for _, args := range [][]string{{"list"}, {"ca", "status"}, {"revoke", "web"}, {"issue", "x", "--out", h.place("x")}, {"token", "x", "--out", h.place("y")}} {
		if out, code := h.run(args...); code != 4 || !strings.Contains(out, "no authority runs") {
			t.Errorf("%v: %d: %s", args, code, out)
		}
	}
	// The line was not lost by that.
	h.authority()
	h.orders("--allow", "waiting")
	stage.AwaitAnswer(t, h.caller("away", waiting).Address)
}

// tokenOf is the secret in a line.
func tokenOf(line string) string {
	l, err := join.Parse(line)
	if err != nil {
		return "no token at all"
	}
	b, _ := l.Token.MarshalText()
	return string(b)
}

// What `mutual issue` writes is for software that brings its own TLS: it calls a
// service of ours, and is called.
func TestIssuedFilesWorkElsewhere(t *testing.T) {
	openssl, curl := peers.Need(t, "openssl"), peers.Need(t, "curl")
	h := newHouse(t)
	// A service that speaks HTTP behind ours.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "an answer\n") }), ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(l) }()
	t.Cleanup(func() { _ = web.Close() })
	h.to = l.Addr().String()
	orders := h.orders("--allow", "tool")
	out := h.place("pem")
	var issued struct {
		Name, Serial, Certificate, Key, CA string
		Names                              []string
		NotAfter                           time.Time `json:"not_after"`
	}
	h.json(&issued, "issue", "tool", "--out", out, "--names", "tool.example,127.0.0.1", "--lifetime", "48h")
	if issued.Name != "tool" || issued.CA != filepath.Join(out, "ca.crt") || time.Until(issued.NotAfter) < 47*time.Hour {
		t.Errorf("%+v", issued)
	}
	blocks := map[string]int{}
	for _, f := range []string{issued.Certificate, issued.Key, issued.CA} {
		st, err := os.Stat(f)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st, err)
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			blocks[filepath.Base(f)]++
		}
	}
	if blocks["tool.crt"] != 2 || blocks["tool.key"] != 1 || blocks["ca.crt"] != 1 {
		t.Errorf("certificates and keys in the files: %v", blocks)
	}
	_, port, err := net.SplitHostPort(orders.Address)
	if err != nil {
		t.Fatal(err)
	}
	said, code := peers.Run(t, "", curl, "--silent", "--show-error", "--cert", issued.Certificate, "--key", issued.Key, "--cacert", issued.CA,
		"--connect-to", "orders:"+port+":"+orders.Address, "https://orders:"+port+"/")
	if code != 0 || said != "an answer\n" {
		t.Errorf("curl: %d: %s", code, said)
	}
	said, code = peers.Run(t, "GET / HTTP/1.0\r\n\r\n", openssl, "s_client", "-connect", orders.Address, "-servername", "orders", "-verify_hostname", "orders",
		"-cert", issued.Certificate, "-cert_chain", issued.Certificate, "-key", issued.Key, "-CAfile", issued.CA, "-verify_return_error", "-ign_eof", "-quiet")
	if code != 0 || !strings.Contains(said, "an answer") {
		t.Errorf("openssl s_client: %d: %s", code, said)
	}
	// As a server, which a caller of ours reaches by PEM files.
	at := peers.FreePort(t)
	s := peers.Start(t, nil, openssl, "s_server", "-accept", fmt.Sprint(at), "-cert", issued.Certificate, "-cert_chain", issued.Certificate, "-key", issued.Key,
		"-CAfile", issued.CA, "-Verify", "3", "-verify_return_error", "-rev")
	s.AwaitListening(at)
	var caller struct{ Certificate, Key, CA string }
	h.json(&caller, "issue", "caller", "--out", h.place("caller"))
	g := h.start("connect", "--to", fmt.Sprintf("127.0.0.1:%d", at), "--server-name", "tool.example", "--server-ca", caller.CA, "--cert", caller.Certificate, "--key", caller.Key,
		"--listen", "127.0.0.1:0")
	c := stage.Dial(t, g.Address)
	fmt.Fprint(c, "abc\n")
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b[:3]) != "cba" {
		t.Errorf("%q, %v\n%s", b, err, g.Output())
	}
	// The list knows them, and a serial is enough to revoke one.
	found := false
	for _, c := range h.list() {
		found = found || c.Name == "tool" && c.Serial == issued.Serial
	}
	if !found {
		t.Errorf("%s is not in %+v", issued.Serial, h.list())
	}
	if out, code := h.run("revoke", issued.Serial); code != 0 {
		t.Errorf("%d: %s", code, out)
	}
	stage.Await(t, "it is let in still", func() error {
		said, code := peers.Run(t, "", curl, "--silent", "--show-error", "--cert", issued.Certificate, "--key", issued.Key, "--cacert", issued.CA,
			"--connect-to", "orders:"+port+":"+orders.Address, "https://orders:"+port+"/")
		if code == 0 {
			return fmt.Errorf("curl: %s", said)
		}
		return nil
	})
	orders.AwaitLog(t, "M0121")
}

// The fields that scripts rely on. (Without the race detector: a passphrase is
// stretched, which takes it a minute.)
func TestWhatScriptsRead(t *testing.T) {
	h := newMovedHouse(t)
	orders := h.orders("--domain", "prod.example", "--key-type", "p384", "--passphrase-file", write(t, h.place("pass"), "a phrase\n"))
	stage.AwaitAnswer(t, h.caller("b", orders.Lines["web"]).Address)
	var list []map[string]any
	h.json(&list, "list", "--all")
	for _, c := range list {
		for _, field := range []string{"name", "serial", "not_before", "not_after", "lineage", "state"} {
			if _, ok := c[field].(string); !ok {
				t.Errorf("no %s in %v", field, c)
			}
		}
	}
	s := h.status()
	if s.Domain != "prod.example" || len(s.Root) != 64 || s.Process == 0 || len(s.Authority) != 1 || s.Statement != 1 || s.Lineages != 2 || s.Valid < 2 || !s.Encrypted || len(s.Issuers) != 3 || len(s.Alarms) != 0 {
		t.Errorf("%+v", s)
	}
	var revoked []certificate
	h.json(&revoked, "revoke", "web")
	if len(revoked) != 1 || revoked[0].Name != "web" || revoked[0].State != "revoked" {
		t.Errorf("%+v", revoked)
	}
	if s := h.status(); s.Revoked != 1 {
		t.Errorf("%+v", s)
	}
	cmd := h.command("token", "api", "--json", "--out", h.place("line"), "--data", h.data)
	var made struct {
		Name, File, Line string
		Expires          time.Time
	}
	if out, err := cmd.Output(); err != nil || json.Unmarshal(out, &made) != nil || made.Name != "api" || made.File != h.place("line") || made.Line != "" || made.Expires.IsZero() {
		t.Errorf("%v, %+v", err, made)
	}
	// The root's key can't be opened without its phrase, and nothing needs it.
	if out, code := h.run("ca", "announce"); code != 1 || !strings.Contains(out, "passphrase") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := h.run("ca", "announce", "--passphrase-file", h.place("pass")); code != 0 {
		t.Errorf("%d: %s", code, out)
	}
	if s := h.status(); s.Statement != 2 {
		t.Errorf("%+v", s)
	}
}

// A second root is announced, and whoever runs follows; so does whoever was away.
func TestASecondRootIsFollowed(t *testing.T) {
	h := newHouse(t)
	orders := h.orders()
	line := orders.Lines["web"]
	web := h.caller("b", line)
	absent := h.line("away", "--service", "orders")
	h.caller("away", absent).Stop()
	stage.AwaitAnswer(t, web.Address)
	if out, code := h.run("ca", "announce"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	follows := func(e stage.Entry) bool { return strings.HasPrefix(e.Msg, "statement 2 of ") }
	for _, g := range []*stage.Gate{orders, web} {
		g.AwaitEntry(t, "that it follows the statement", follows)
	}
	stage.AwaitAnswer(t, web.Address)
	h.caller("away", absent).AwaitEntry(t, "that it follows the statement", follows)
	// A restart stands on what it followed, and the line names the root of then.
	web.Stop()
	stage.AwaitAnswer(t, h.caller("b", line).Address)
	var issued struct{ CA string }
	h.json(&issued, "issue", "tool", "--out", h.place("pem"))
	b, err := os.ReadFile(issued.CA)
	if err != nil || strings.Count(string(b), "BEGIN CERTIFICATE") != 2 {
		t.Errorf("%v: %s", err, b)
	}
	h.caller("new", h.line("new", "--service", "orders")).Stop()
}

// What has no place to go to is not issued: it would be on record, good, and nobody's.
func TestNothingIsIssuedToAPlaceThatCannotBeWritten(t *testing.T) {
	h := newHouse(t)
	h.authority()
	file := write(t, h.place("file"), "not a folder")
	for _, out := range []string{file, filepath.Join(file, "below")} {
		if said, code := h.run("issue", "tool", "--out", out); code != 1 || !strings.Contains(said, "nothing was issued") {
			t.Errorf("%s: %d: %s", out, code, said)
		}
	}
	for _, c := range h.list("--all") {
		if c.Name == "tool" {
			t.Errorf("on record is %+v", c)
		}
	}
	if _, code := h.run("issue", "console", "--out", h.place("new")); code != 3 {
		t.Errorf("a reserved name: %d", code)
	}
	if _, err := os.Stat(h.place("new")); err == nil {
		t.Error("a folder is left of what was refused")
	}
}
