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
	for why, b := range map[string][]byte{
		"forged":  append([]byte(cacheMagic), w.listBy(mint.Root("Root"), 8, nil)...),
		"cut off": append([]byte(cacheMagic), w.list(2)[:100]...),
		"other":   []byte("other"),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		w.serveBytes(w.list(5))
		w.is(w.checker(cached), c, pki.NotRevoked, "number 5")
		_ = why
	}
}

func TestTheFolderOfWhatWasFetchedIsBounded(t *testing.T) {
	dir := t.TempDir()
	d := &disk{dir: dir, most: 1000}
	for i := range 10 {
		id := key{kind: aList, url: strings.Repeat("x", i)}
		if err := d.store(&id, make([]byte, 200)); err != nil {
			t.Fatal(err)
		}
		// Files of one instant have no order: give each its own.
		at := time.Now().Add(time.Duration(i-20) * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, id.name()+cacheEnding), at, at); err != nil {
			t.Fatal(err)
		}
	}
	last := key{kind: aList, url: strings.Repeat("x", 9)}
	if _, err := d.load(&last); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	if d.store(&last, make([]byte, 1001)) == nil {
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
	f.Add(append([]byte(cacheMagic), b...), true)
	b, err = ocsp.CreateResponse(root.Cert, root.Cert, ocsp.Response{SerialNumber: c.X509.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour)}, root.Key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(cacheMagic), b...), false)
	k, err := New(Config{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, list bool) {
		der, err := readCached(b)
		if err != nil {
			return
		}
		it := &item{key: key{kind: aResponse}, issuer: issuer, about: c}
		if list {
			it.kind = aList
		}
		if k.take(it, der, true) == nil && it.list == nil && it.response == nil {
			t.Error("taken, and nothing is there")
		}
	})
}
