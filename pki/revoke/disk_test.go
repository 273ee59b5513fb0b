package revoke

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki"
)

func TestWhatIsOnDiskOutlivesAnEndAndIsNotBelievedBlindly(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	dir := filepath.Join(t.TempDir(), "revocations")
	cached := func(cfg *Config) { cfg.Cache = dir }
	w.serveBytes(w.list(1, c))
	k := w.checker(cached)
	w.is(k, c, pki.Revoked, "")
	k.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	name := filepath.Join(dir, files[0].Name())
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	w.serve(http.NotFound)
	before := w.asked.Load()
	w.is(w.checker(cached), c, pki.Revoked, "")
	if w.asked.Load() != before {
		t.Error("what is on disk was fetched again")
	}
	it := &item{key: key{kind: aList, url: w.server.URL + "/list.crl", issuer: w.issuer().SHA256}, issuer: w.issuer()}
	cachedAs := func(it *item, answer []byte) []byte {
		b, err := appendCached(it, answer)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	elsewhere := *it
	elsewhere.url += "2"
	for why, b := range map[string][]byte{
		"forged":          cachedAs(it, w.listBy(mint.Root("Root"), 8, nil)),
		"cut off":         cachedAs(it, w.list(2)[:100]),
		"another place's": cachedAs(&elsewhere, w.list(9, c)),
		"cut off before":  cachedAs(it, w.list(2))[:100],
		"of before":       append([]byte("mutual revocation 1\n"), w.list(9, c)...),
		"other":           []byte("other"),
		"nothing":         nil,
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		w.serveBytes(w.list(5))
		w.is(w.checker(cached), c, pki.NotRevoked, "number 5")
		if t.Failed() {
			t.Fatal(why)
		}
	}
}

func TestTheFolderOfWhatWasFetchedIsBounded(t *testing.T) {
	dir := t.TempDir()
	d := &disk{dir: dir, most: 1000}
	issuer := parsed(t, mint.Root("Root").DER)
	d.most += 4 * int64(len(issuer.Raw))
	of := func(i int) *item {
		return &item{key: key{kind: aList, url: strings.Repeat("x", i), issuer: issuer.SHA256}, issuer: issuer}
	}
	half := filepath.Join(dir, ".new-1")
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(half, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		id := of(i)
		if err := d.store(id, make([]byte, 200)); err != nil {
			t.Fatal(err)
		}
		// Files of one instant have no order: give each its own.
		at := time.Now().Add(time.Duration(i-20) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, id.name()+cacheEnding), at, at); err != nil {
			t.Fatal(err)
		}
	}
	last := of(9)
	if _, err := d.load(last); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	if d.store(last, make([]byte, d.most)) == nil {
		t.Error("more than there may be is stored")
	}
}

// A disk that takes nothing more loses a cache, and no news.
func TestNewsCountThoughTheDiskTakesNone(t *testing.T) {
	w := newWorld(t)
	c := w.listed()
	dir := filepath.Join(t.TempDir(), "cache")
	var words bytes.Buffer
	k := w.checker(func(cfg *Config) { cfg.Cache, cfg.Log = dir, slog.New(slog.NewTextHandler(&words, nil)) })
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.serveBytes(w.list(1, c))
	w.is(k, c, pki.Revoked, "")
	k.Close() // what was under way is over
	if !strings.Contains(words.String(), "not on disk") {
		t.Errorf("it was logged: %q", words.String())
	}
}

func FuzzCachedFile(f *testing.F) {
	root := mint.Root("Root")
	issuer, err := pki.Parse(root.DER)
	if err != nil {
		f.Fatal(err)
	}
	c, err := pki.Parse(root.Leaf("orders").Chain[0])
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	b, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, root.Cert, root.Key)
	if err != nil {
		f.Fatal(err)
	}
	add := func(kind kind, answer []byte) {
		it := &item{key: key{kind: kind, url: "http://pki.example/"}, issuer: issuer, about: c}
		b, err := appendCached(it, answer)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	add(aList, b)
	b, err = ocsp.CreateResponse(root.Cert, root.Cert, ocsp.Response{SerialNumber: c.X509.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, root.Key)
	if err != nil {
		f.Fatal(err)
	}
	add(aResponse, b)
	k, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it, answer, err := readCached(b)
		if err != nil {
			return
		}
		again, err := appendCached(it, answer)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("written again it is another: %v", err)
		}
		if k.take(it, answer, true) == nil && it.list == nil && it.response == nil {
			t.Error("taken, and nothing is there")
		}
	})
}
