package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/e2e/stage"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/internal/peers"
)

// newsWorld is a world whose authorities say where their lists are: a real server of
// HTTP, which gives what it is told to.
type newsWorld struct {
	*world
	place   *httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path
}

func newNewsWorld(t *testing.T) *newsWorld {
	w := &newsWorld{world: newWorld(t), answers: make(map[string]http.HandlerFunc)}
	w.place = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		h := w.answers[r.URL.Path]
		w.mu.Unlock()
		if h == nil {
			h = http.NotFound
		}
		h(rw, r)
	}))
	t.Cleanup(w.place.Close)
	w.issuing = w.root.Intermediate("Example Issuing", mint.Lists(w.place.URL+"/root.crl"))
	w.gives("/root.crl", w.crl(w.root, 1, nil))
	return w
}

func (w *newsWorld) answer(path string, h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answers[path] = h
}

func (w *newsWorld) gives(path string, b []byte) {
	w.answer(path, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(b) })
}

// listed makes the certificate of a name that says where its issuer's list is.
func (w *newsWorld) listed(name string) *mint.Leaf {
	w.t.Helper()
	l := w.issuing.Leaf(name, mint.Lists(w.place.URL+"/issuing.crl"))
	w.leaf(name, l)
	return l
}

func (w *newsWorld) crl(by *mint.Authority, number int64, edit func(*x509.RevocationList), revoked ...*mint.Leaf) []byte {
	w.t.Helper()
	now := time.Now()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(24 * time.Hour)}
	for _, r := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.Cert.SerialNumber, RevocationTime: now.Add(-time.Hour)})
	}
	if edit != nil {
		edit(l)
	}
	b, err := x509.CreateRevocationList(rand.Reader, l, by.Cert, by.Key)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// Whoever is let in while nobody knows is cut when the news come: a caller by the
// server's gateway, a server by the caller's. No handshake waits for them.
func TestNewsOfARevocationCutWhatStands(t *testing.T) {
	for _, side := range []string{"serve", "connect"} {
		t.Run(side, func(t *testing.T) {
			w := newNewsWorld(t)
			web, orders := w.listed("web"), w.listed("orders")
			data := filepath.Join(t.TempDir(), "data")
			told := make(chan struct{})
			peer, flags := web, map[string][]string{side: {"--revocation", "soft", "--data", data}}
			if side == "connect" {
				peer = orders
			}
			list := w.crl(w.issuing, 2, nil, peer)
			w.answer("/issuing.crl", func(rw http.ResponseWriter, r *http.Request) {
				select {
				case <-told:
					_, _ = rw.Write(list)
				case <-r.Context().Done():
				}
			})
			s := w.mutual(w.service("tcp", echo), flags["serve"]...)
			c := w.connect(s.address, "web", flags["connect"]...)
			judge := s
			if side == "connect" {
				judge = c
			}
			conn := dial(t, c.address)
			if err := ask(conn, "hello\n"); err != nil {
				t.Fatal(err)
			}
			close(told)
			if got, err := io.ReadAll(conn); !wasReset(err) || len(got) > 0 {
				t.Errorf("the plain side saw %q, %v", got, err)
			}
			if e := judge.awaitLog(t, "M0121"); e.Mend == "" || !strings.Contains(e.Found, "list number 2") {
				t.Errorf("the log says %+v", e)
			}
			judge.AwaitEntry(t, "of the news", func(e entry) bool {
				return e.Level == "INFO" && strings.Contains(e.Msg, "revocation list number 2") && strings.Contains(e.Msg, "with 1 revoked") && strings.Contains(e.Msg, "old, which holds until")
			})
			if side == "serve" {
				c.AwaitEntry(t, "of the alert", func(e entry) bool { return e.Alert == "certificate_revoked" })
			}
			again := dial(t, c.address)
			if got, err := io.ReadAll(again); !wasReset(err) || len(got) > 0 {
				t.Errorf("let in again: %q, %v", got, err)
			}
		})
	}
}

// Under hard fail nobody comes in before the first news, and is told what to do; after
// a restart without a network what was fetched before is known at once.
func TestHardFailKnowsAtItsNextStartWhatWasFetched(t *testing.T) {
	w := newNewsWorld(t)
	w.listed("web")
	w.gives("/issuing.crl", w.crl(w.issuing, 4, nil))
	data := filepath.Join(t.TempDir(), "data")
	hard := []string{"--revocation", "hard", "--data", data}
	s := w.mutual(w.service("tcp", echo), hard...)
	c := w.connect(s.address, "web")
	if got, err := io.ReadAll(dial(t, c.address)); !wasReset(err) || len(got) > 0 {
		t.Errorf("the first one saw %q, %v", got, err)
	}
	if e := s.awaitLog(t, "M0135"); e.Alert != "certificate_unknown" || !strings.Contains(e.Found, "was not fetched yet") || !strings.Contains(e.Mend, "try again") {
		t.Errorf("the log says %+v", e)
	}
	stage.AwaitAnswer(t, c.address)
	s.AwaitEntry(t, "of the news", func(e entry) bool { return strings.Contains(e.Msg, "revocation list number 4") })

	// Both lists are on disk: the leaf's issuer's and the root's.
	var files []string
	stage.Await(t, "the lists are not on disk", func() (err error) {
		if files, err = filepath.Glob(filepath.Join(data, "revocations", "*.rev")); err == nil && len(files) != 2 {
			err = fmt.Errorf("there are %v", files)
		}
		return err
	})
	for path, mode := range map[string]os.FileMode{data: 0o700, filepath.Join(data, "revocations"): 0o700, files[0]: 0o600, files[1]: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	s.Stop()
	w.place.Close()

	var out bytes.Buffer
	args := []string{"serve", "orders", "--to", w.service("tcp", echo), "--listen", "127.0.0.1:0", "--cert", w.file("orders.crt"), "--key", w.file("orders.key"),
		"--client-ca", w.file("ca.crt"), "--allow", "web"}
	plan := exec.Command(binary, append(append(args, hard...), "--dry-run", "--json")...)
	plan.Stdout = &out
	if err := plan.Run(); err != nil {
		t.Fatal(err)
	}
	var planned struct {
		Revocation struct {
			Mode string
			News []struct {
				Number  string
				Current bool
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &planned); err != nil || planned.Revocation.Mode != "hard" || len(planned.Revocation.News) != 2 || !planned.Revocation.News[0].Current {
		t.Errorf("planned is %s, %v", out.Bytes(), err)
	}
	s = w.start(append(args, hard...)...)
	s.AwaitEntry(t, "of what is on disk", func(e entry) bool { return strings.Contains(e.Msg, "on disk: revocation list number 4") })
	c = w.connect(s.address, "web")
	if err := stage.Once(c.address); err != nil {
		t.Errorf("what was fetched before is not known: %v", err)
	}
}

// Whatever a place does, nobody is let in by it under hard fail, and the log says what
// it did, with the mend.
func TestAPlaceThatMisbehavesLetsNobodyIn(t *testing.T) {
	w := newNewsWorld(t)
	stale := w.crl(w.issuing, 1, func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = l.ThisUpdate.Add(-48*time.Hour), l.ThisUpdate.Add(-24*time.Hour)
	})
	other := mint.Root("Example Issuing")
	stranger := w.crl(other, 1, nil)
	named := *w.issuing.Cert
	named.PublicKey = other.Key.Public()
	forged := w.crl(&mint.Authority{Cert: &named, Key: other.Key}, 1, nil)
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	wait := func(r *http.Request) {
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}
	cases := map[string]struct {
		place string
		does  http.HandlerFunc
		words string
	}{
		"network down": {down.URL + "/", nil, "refused"},
		"stale":        {"", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(stale) }, "a list that ended at"},
		"wrong signer": {"", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(forged) }, "did not sign"},
		"other signer": {"", func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(stranger) }, "did not sign"},
		"huge": {"", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "1099511627776")
			rw.WriteHeader(http.StatusOK)
			rw.(http.Flusher).Flush()
			wait(r)
		}, "at most"},
		"slow": {"", func(rw http.ResponseWriter, r *http.Request) {
			_, _ = rw.Write(stale[:1])
			rw.(http.Flusher).Flush()
			wait(r)
		}, "did not answer in time"},
		"metadata": {"http://169.254.169.254/latest/meta-data", nil, "never asked"},
	}
	for name, c := range cases {
		place, path := c.place, "/"+strings.ReplaceAll(name, " ", "-")
		if place == "" {
			place = w.place.URL + path
			w.answer(path, c.does)
		}
		w.leaf(name, w.issuing.Leaf("web", mint.Lists(place)))
	}
	service := w.service("tcp", echo)
	for name, x := range cases {
		// Each has a gateway of its own: of many refusals in a row not all are told.
		s := w.mutual(service, "--revocation", "hard", "--data", filepath.Join(t.TempDir(), "data"))
		c := w.connect(s.address, name)
		refused := func(found string) {
			t.Helper()
			if got, err := io.ReadAll(dial(t, c.address)); !wasReset(err) || len(got) > 0 {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			s.AwaitEntry(t, "of a refusal for "+name, func(e entry) bool {
				return e.Code == "M0135" && e.Mend != "" && strings.Contains(e.Found, found)
			})
		}
		refused("was not fetched yet")
		if name == "other signer" { // it may be the issuer's next key, and nobody shows that it is
			s.AwaitEntry(t, "of another signer", func(e entry) bool { return strings.Contains(e.Msg, "signed with another key than its issuer's") })
		} else if e := s.AwaitEntry(t, "of a place that is "+name, func(e entry) bool { return e.Code == "M0812" && strings.Contains(e.Msg, x.words) }); e.Mend == "" || e.Level != "WARN" {
			t.Errorf("%s: the log says %+v", name, e)
		}
		refused(x.words)
	}
}

// OpenSSL's responder, asked by a gateway that was given no list at all.
func TestOpenSSLsResponderIsAskedByAGateway(t *testing.T) {
	openssl := peers.Need(t, "openssl")
	w := newNewsWorld(t)
	port := peers.FreePort(t)
	responder := mint.Responders(fmt.Sprintf("http://127.0.0.1:%d", port))
	good, bad := w.issuing.Leaf("web", responder), w.issuing.Leaf("web", responder)
	w.leaf("good", good)
	w.leaf("bad", bad)
	key, err := x509.MarshalPKCS8PrivateKey(w.issuing.Key)
	if err != nil {
		t.Fatal(err)
	}
	index := fmt.Sprintf("V\t401231235959Z\t\t%X\tunknown\t/CN=web\nR\t401231235959Z\t250101000000Z,keyCompromise\t%X\tunknown\t/CN=web\n", good.Cert.SerialNumber, bad.Cert.SerialNumber)
	for name, b := range map[string][]byte{"issuing.crt": w.issuing.PEM(), "issuing.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), "index.txt": []byte(index)} {
		if err := os.WriteFile(w.file(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := peers.Start(t, nil, openssl, "ocsp", "-index", w.file("index.txt"), "-port", fmt.Sprint(port), "-ndays", "1",
		"-CA", w.file("issuing.crt"), "-rsigner", w.file("issuing.crt"), "-rkey", w.file("issuing.key"))
	p.AwaitListening(port)
	s := w.mutual(w.service("tcp", echo), "--revocation", "hard", "--data", filepath.Join(t.TempDir(), "data"))
	stage.AwaitAnswer(t, w.connect(s.address, "good").address)
	revoked := w.connect(s.address, "bad")
	stage.Await(t, "it was not heard that it is revoked", func() error {
		_, _ = io.ReadAll(dial(t, revoked.address))
		for _, e := range s.Log() {
			if e.Code == "M0121" && strings.Contains(e.Found, "keyCompromise") {
				return nil
			}
		}
		return fmt.Errorf("the log is\n%s", s.Output())
	})
	s.AwaitEntry(t, "of the answer", func(e entry) bool {
		return strings.Contains(e.Msg, "answer about the certificate") && strings.Contains(e.Msg, "(revoked)")
	})
}
