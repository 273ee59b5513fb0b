package main

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
)

// office is an authority with a place for its list, and certificates in files.
type office struct {
	t     *testing.T
	dir   string
	root  *mint.Authority
	place *httptest.Server
	list  atomic.Pointer[[]byte]
	asked atomic.Int64
}

func newOffice(t *testing.T) *office {
	o := &office{t: t, dir: t.TempDir(), root: mint.Root("Root")}
	o.place = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o.asked.Add(1)
		if b := o.list.Load(); b != nil {
			_, _ = w.Write(*b)
			return
		}
		http.Error(w, "none", http.StatusNotFound)
	}))
	t.Cleanup(o.place.Close)
	if err := o.root.WriteFile(o.file("ca.crt")); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *office) file(name string) string { return filepath.Join(o.dir, name) }

func (o *office) issue(name string, opts ...mint.Option) *mint.Leaf {
	o.t.Helper()
	l := o.root.Leaf(name, opts...)
	if _, _, err := l.WriteFiles(o.dir, name); err != nil {
		o.t.Fatal(err)
	}
	return l
}

func (o *office) listed(revoked ...*mint.Leaf) {
	o.t.Helper()
	now := time.Now()
	l := &x509.RevocationList{Number: big.NewInt(7), ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	for _, r := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.Cert.SerialNumber, RevocationTime: now})
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, o.root.Cert, o.root.Key)
	if err != nil {
		o.t.Fatal(err)
	}
	o.list.Store(&b)
}

// response writes an OCSP response about l, signed by an authority.
func (o *office) response(name string, l *mint.Leaf, by *mint.Authority, status int, from, to time.Duration) {
	o.t.Helper()
	now := time.Now()
	b, err := ocsp.CreateResponse(by.Cert, by.Cert, ocsp.Response{Status: status, SerialNumber: l.Cert.SerialNumber, IssuerHash: crypto.SHA1,
		ThisUpdate: now.Add(from), NextUpdate: now.Add(to), RevokedAt: now.Add(from)}, by.Key)
	if err == nil {
		err = os.WriteFile(o.file(name), b, 0o600)
	}
	if err != nil {
		o.t.Fatal(err)
	}
}

func TestVerifyJudgesAnOCSPResponseShownByHand(t *testing.T) {
	o := newOffice(t)
	l := o.issue("orders")
	must := o.issue("must", mint.Extension(pkix.Extension{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}))
	o.response("good", l, o.root, ocsp.Good, -time.Hour, time.Hour)
	o.response("revoked", l, o.root, ocsp.Revoked, -time.Hour, time.Hour)
	o.response("unknown", l, o.root, ocsp.Unknown, -time.Hour, time.Hour)
	o.response("over", l, o.root, ocsp.Good, -2*time.Hour, -time.Hour)
	o.response("forged", l, mint.Root("Root"), ocsp.Good, -time.Hour, time.Hour)
	o.response("must.good", must, o.root, ocsp.Good, -time.Hour, time.Hour)
	o.response("must.over", must, o.root, ocsp.Good, -2*time.Hour, -time.Hour)
	if err := errors.Join(os.WriteFile(o.file("none"), []byte("no response"), 0o600), os.WriteFile(o.file("huge"), make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		leaf, response string
		more           []string
		code           int
		words          []string
	}{
		"good":                           {"orders", "good", nil, exitDone, []string{"good by its issuer's OCSP response"}},
		"revoked":                        {"orders", "revoked", nil, exitRefused, []string{"M0121"}},
		"unknown to its issuer":          {"orders", "unknown", nil, exitRefused, []string{"M0121", "does not know it"}},
		"over":                           {"orders", "over", nil, exitRefused, []string{"M0135", "it ended at"}},
		"forged":                         {"orders", "forged", nil, exitRefused, []string{"M0135", "does not count"}},
		"of another":                     {"orders", "must.good", nil, exitRefused, []string{"M0135", "about another certificate"}},
		"over, and soft":                 {"orders", "over", []string{"--revocation", "soft"}, exitDone, []string{"let pass", "it ended at"}},
		"good, and hard":                 {"orders", "good", []string{"--revocation", "hard"}, exitDone, []string{"good by its issuer's OCSP response"}},
		"over, and must be stapled":      {"must", "must.over", nil, exitRefused, []string{"M0140", "it ended at"}},
		"good, and must be stapled":      {"must", "must.good", nil, exitDone, nil},
		"what is none":                   {"orders", "none", nil, exitFailed, []string{"expected an OCSP response in DER"}},
		"what is not there":              {"orders", "nowhere", nil, exitFailed, []string{"can't be read"}},
		"what is far too long":           {"orders", "huge", nil, exitFailed, []string{"more than 65536 bytes"}},
		"revoked, beside another's good": {"orders", "revoked", []string{"--ocsp", o.file("must.good")}, exitRefused, []string{"M0121"}},
	} {
		args := append([]string{"verify", o.file(c.leaf + ".crt"), "--ca", o.file("ca.crt"), "--ocsp", o.file(c.response), "--data", o.file("data")}, c.more...)
		code, out, err := command(args...)
		if code != c.code {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, err)
		}
		for _, w := range c.words {
			if !strings.Contains(strings.Join(strings.Fields(out+err), " "), w) {
				t.Errorf("%s: %q is not in\n%s%s", name, w, out, err)
			}
		}
	}
	if code, _, err := command("verify", "127.0.0.1:1", "--ca", o.file("ca.crt"), "--ocsp", o.file("good")); code != exitUsage || !strings.Contains(err, "--ocsp is for files") {
		t.Errorf("of a server: %d, %q", code, err)
	}
}

func TestVerifyKeepsWhatItFetches(t *testing.T) {
	o := newOffice(t)
	l := o.issue("orders", mint.Lists(o.place.URL+"/ca.crl"))
	o.listed(l)
	data := o.file("data")
	verify := []string{"verify", o.file("orders.crt"), "--ca", o.file("ca.crt"), "--revocation", "hard", "--data", data}
	for range 2 {
		if code, out, err := command(verify...); code != exitRefused || !strings.Contains(out, "M0121") || err != "" {
			t.Errorf("%d, %s, %q", code, out, err)
		}
	}
	if n := o.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	files, err := filepath.Glob(filepath.Join(data, "revocations", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	for path, mode := range map[string]os.FileMode{data: 0o700, filepath.Dir(files[0]): 0o700, files[0]: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v, %v", path, info.Mode(), err)
		}
	}
	// What can't be kept is no reason not to answer.
	if code, out, err := command(append(verify, "--data", o.file("ca.crt"))...); code != exitRefused || !strings.Contains(out, "M0121") || !strings.Contains(err, "not kept") {
		t.Errorf("%d, %s, %q", code, out, err)
	}
}

func TestRevocationIsForOtherPeoplesAuthorities(t *testing.T) {
	o := newOffice(t)
	o.issue("orders")
	pem := []string{"--cert", o.file("orders.crt"), "--key", o.file("orders.key"), "--dry-run"}
	serve := append([]string{"serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--data", o.file("data")}, pem...)
	for name, c := range map[string]struct {
		args  []string
		words string
	}{
		"no such mode":         {append(serve, "--client-ca", o.file("ca.crt"), "--allow", "web", "--revocation", "strict"), "it can be off, soft or hard"},
		"nothing":              {append(serve, "--client-ca", o.file("ca.crt"), "--allow", "web", "--revocation", ""), "is empty"},
		"nobody is asked":      {append(serve, "--client-auth", "none", "--revocation", "soft"), "asks for none"},
		"an authority of ours": {[]string{"serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--allow", "web", "--dry-run", "--revocation", "hard"}, "goes with PEM files"},
		"a join line":          {[]string{"connect", "--join-file", o.file("line"), "--listen", "127.0.0.1:0", "--dry-run", "--revocation", "hard"}, "goes with PEM files"},
		"verify, no such mode": {[]string{"verify", o.file("orders.crt"), "--revocation", "x"}, "it can be off, soft or hard"},
	} {
		if code, out, err := command(c.args...); code != exitUsage || out != "" || !strings.Contains(err, c.words) {
			t.Errorf("%s: %d, %q, %q", name, code, out, err)
		}
	}
}

// What would be done is told, with what is there, and nothing is made or asked.
func TestADryRunTellsWhatIsKnownOfRevocations(t *testing.T) {
	o := newOffice(t)
	l := o.issue("orders", mint.Lists(o.place.URL+"/ca.crl"))
	data := o.file("data")
	serve := []string{"serve", "orders", "--to", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--data", data, "--cert", o.file("orders.crt"),
		"--key", o.file("orders.key"), "--client-ca", o.file("ca.crt"), "--allow", "web", "--revocation", "hard", "--dry-run", "--json"}
	connect := []string{"connect", "--to", "127.0.0.1:1", "--server-name", "orders", "--listen", "127.0.0.1:0", "--data", data,
		"--server-ca", o.file("ca.crt"), "--revocation", "hard", "--dry-run", "--json"}
	state := func(args []string) (s newsState, words string) {
		t.Helper()
		code, out, err := command(args...)
		var h happening
		if e := json.Unmarshal([]byte(out), &h); code != exitDone || e != nil || h.Revocation == nil {
			t.Fatalf("%d, %v, %s, %s", code, e, out, err)
		}
		return *h.Revocation, err
	}
	for _, args := range [][]string{serve, connect} {
		s, words := state(args)
		if s.Mode != "hard" || len(s.News) != 0 || s.Folder != filepath.Join(data, "revocations") || !strings.Contains(words, "hard fail") || !strings.Contains(words, "nothing yet") {
			t.Errorf("%+v, %q", s, words)
		}
	}
	if _, err := os.Lstat(data); !os.IsNotExist(err) {
		t.Errorf("a folder was made: %v", err)
	}
	o.listed(l)
	if code, out, err := command("verify", o.file("orders.crt"), "--ca", o.file("ca.crt"), "--revocation", "soft", "--data", data); code != exitRefused {
		t.Fatalf("%d, %s, %s", code, out, err)
	}
	asked := o.asked.Load()
	for _, args := range [][]string{serve, connect} {
		s, words := state(args)
		if len(s.News) != 1 || !strings.Contains(words, "list number 7") {
			t.Fatalf("%+v, %q", s, words)
		}
		if n := s.News[0]; n.Kind != "list" || n.Number != "7" || n.Revoked == nil || *n.Revoked != 1 || !n.Current || n.Age < 60 || n.From != o.place.URL+"/ca.crl" || n.NextUpdate == "" {
			t.Errorf("%+v", n)
		}
	}
	if o.asked.Load() != asked {
		t.Error("a place was asked")
	}
}
