package credential

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
)

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// desk is a folder with files that are watched.
type desk struct {
	t         *testing.T
	dir       string
	root      *mint.Authority
	live      *Live
	log       syncBuffer
	retrusted atomic.Int64
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, dir: t.TempDir(), root: mint.Root("Root")}
	cert, key, err := d.root.Leaf("orders").WriteFiles(d.dir, "orders")
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(d.dir, "ca.crt")
	if err := d.root.WriteFile(ca); err != nil {
		t.Fatal(err)
	}
	if d.live, err = Open(Files{Cert: cert, Key: key, CA: ca}, nil); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.live.Watch(ctx, 5*time.Millisecond, nil, slog.New(slog.NewTextHandler(&d.log, nil)), func() { d.retrusted.Add(1) })
	}()
	t.Cleanup(func() { stop(); <-done })
	return d
}

// write exchanges a file whole: who watches must not find half of one, and tell of it.
func (d *desk) write(name string, b []byte) {
	d.t.Helper()
	put(d.t, d.dir, name+".new", b)
	if err := os.Rename(filepath.Join(d.dir, name+".new"), filepath.Join(d.dir, name)); err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) await(what string, is func() bool) {
	d.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			d.t.Fatalf("%s: not so; the log says\n%s", what, d.log.String())
		}
	}
}

func (d *desk) serial() string { return d.live.Leaf().Serial() }

func TestANewPairIsUsedWhenBothAreThere(t *testing.T) {
	d := newDesk(t)
	next := d.root.Leaf("orders")
	before := d.serial()
	d.write("orders.crt", next.CertPEM())
	d.await("the half pair is told", func() bool { return strings.Contains(d.log.String(), "the former stay in use") })
	if d.serial() != before {
		t.Fatal("a certificate without its key is in use")
	}
	d.write("orders.key", next.KeyPEM())
	d.await("the new pair is in use", func() bool { return d.serial() != before })
	if d.live.Identity.Current().Chain()[0][0] != 0x30 || !bytes.Equal(d.live.Identity.Current().Chain()[0], next.Chain[0]) {
		t.Error("the identity shows another certificate")
	}
	if n := strings.Count(d.log.String(), "the former stay in use"); n != 1 {
		t.Errorf("the same trouble was told %d times:\n%s", n, d.log.String())
	}
	if strings.Contains(d.log.String(), "PRIVATE") {
		t.Error("the log shows a key")
	}
}

func TestWhatVanishesOrIsBrokenLeavesTheFormerInUse(t *testing.T) {
	d := newDesk(t)
	before := d.serial()
	for i, damage := range []func(){
		func() { d.write("orders.crt", []byte("-----BEGIN CERTIFICATE-----\nAA")) },
		func() { os.Remove(filepath.Join(d.dir, "orders.key")) },
		func() { d.write("ca.crt", nil) },
		func() { d.write("ca.crt", []byte("no PEM")) },
	} {
		damage()
		d.await("it is told", func() bool { return strings.Count(d.log.String(), "the former stay in use") == i+1 })
	}
	if d.serial() != before || d.retrusted.Load() != 0 {
		t.Error("what was broken is in use")
	}
	// and it heals
	next := d.root.Leaf("orders")
	d.write("orders.key", next.KeyPEM())
	d.write("orders.crt", next.CertPEM())
	d.await("it healed", func() bool { return d.serial() != before })
}

func TestNewAuthoritiesAreTrustedAndWhatStandsIsJudgedAgain(t *testing.T) {
	d := newDesk(t)
	d.write("ca.crt", append(d.root.PEM(), mint.Root("Next").PEM()...))
	d.await("what stands is judged again", func() bool { return d.retrusted.Load() == 1 })
}

func TestExchangingALinkIsSeen(t *testing.T) {
	root := mint.Root("Root")
	dir := t.TempDir()
	for _, v := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, _, err := root.Leaf("orders").WriteFiles(filepath.Join(dir, v), "orders"); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(dir, "now")
	if err := os.Symlink("1", at); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Files{Cert: filepath.Join(at, "orders.crt"), Key: filepath.Join(at, "orders.key")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	before := l.Leaf().Serial()
	_ = os.Symlink("2", at+".new")
	_ = os.Rename(at+".new", at)
	for range 2 {
		l.reload(false, slog.New(slog.DiscardHandler), nil)
	}
	if l.Leaf().Serial() == before {
		t.Error("the link leads elsewhere now, and nobody saw")
	}
}

// still is a folder with files that are looked at when a test says so.
func still(t *testing.T) (dir string, l *Live, ca *mint.Authority, look func(nudged bool) (retrusted bool)) {
	t.Helper()
	dir = t.TempDir()
	root := mint.Root("Root")
	ca = root.Intermediate("Issuing")
	cert, key, err := ca.Leaf("orders").WriteFiles(dir, "orders")
	if err != nil {
		t.Fatal(err)
	}
	anchors := filepath.Join(dir, "ca.crt")
	if err := root.WriteFile(anchors); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(Files{Cert: cert, Key: key, CA: anchors}, nil); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	return dir, l, ca, func(nudged bool) (retrusted bool) {
		l.reload(nudged, log, func() { retrusted = true })
		return retrusted
	}
}

func put(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAChainThatIsCutOffIsNotUsed(t *testing.T) {
	dir, l, ca, look := still(t)
	next := ca.Leaf("orders")
	whole := next.CertPEM()
	put(t, dir, "orders.key", next.KeyPEM())
	put(t, dir, "orders.crt", whole[:len(whole)-100]) // in the middle of the intermediate
	before := l.Leaf().Serial()
	for range 4 {
		look(false)
	}
	look(true)
	if l.Leaf().Serial() != before {
		t.Fatal("a leaf is in use whose intermediate was cut off")
	}
	put(t, dir, "orders.crt", whole)
	look(false)
	look(false)
	if l.Leaf().Serial() == before || len(l.Identity.Current().Chain()) != 2 {
		t.Error("the whole chain is not in use")
	}
}

func TestAuthoritiesThatAreCutOffAreNotUsed(t *testing.T) {
	dir, _, _, look := still(t)
	two := append(mint.Root("First").PEM(), mint.Root("Second").PEM()...)
	put(t, dir, "ca.crt", two[:len(two)-100])
	for range 4 {
		if look(false) || look(true) {
			t.Fatal("fewer authorities than were written are in use")
		}
	}
}

func TestWhatMayBeHalfWrittenIsLookedAtTwice(t *testing.T) {
	dir, l, ca, look := still(t)
	next := ca.Leaf("orders")
	whole := next.CertPEM()
	leaf := whole[:bytes.Index(whole[1:], []byte("-----BEGIN"))+1]
	before := l.Leaf().Serial()
	put(t, dir, "orders.key", next.KeyPEM())
	put(t, dir, "orders.crt", leaf) // whole in itself, and not all
	put(t, dir, "ca.crt", mint.Root("First").PEM())
	if look(false) || l.Leaf().Serial() != before {
		t.Fatal("taken at the first look")
	}
	put(t, dir, "orders.crt", whole)
	put(t, dir, "ca.crt", append(mint.Root("First").PEM(), mint.Root("Second").PEM()...))
	if look(false) || l.Leaf().Serial() != before {
		t.Fatal("taken at the first look after a change")
	}
	if !look(false) || l.Leaf().Serial() == before || len(l.Identity.Current().Chain()) != 2 {
		t.Error("not taken when it stayed the same")
	}
}

func TestANudgeSaysThatTheFilesAreFinished(t *testing.T) {
	dir, l, ca, look := still(t)
	next, before := ca.Leaf("orders"), l.Leaf().Serial()
	put(t, dir, "orders.key", next.KeyPEM())
	put(t, dir, "orders.crt", next.CertPEM())
	put(t, dir, "ca.crt", mint.Root("First").PEM())
	if !look(true) || l.Leaf().Serial() == before {
		t.Error("not taken at once")
	}
}

func TestFilesThatMakeNoStart(t *testing.T) {
	root, dir := mint.Root("Root"), t.TempDir()
	cert, key, err := root.Leaf("orders").WriteFiles(dir, "orders")
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := root.Leaf("web").WriteFiles(dir, "web")
	empty := filepath.Join(dir, "empty")
	_ = os.WriteFile(empty, nil, 0o600)
	for name, c := range map[string]struct {
		files Files
		says  string
	}{
		"a certificate without its key":   {Files{Cert: cert}, "come together"},
		"a key without its certificate":   {Files{Key: key}, "come together"},
		"a key of another":                {Files{Cert: cert, Key: other}, "key"},
		"a file that is not there":        {Files{Cert: cert + "x", Key: key}, "can't be read"},
		"no authorities in the file":      {Files{CA: empty}, "is empty"},
		"a key where authorities are due": {Files{CA: key}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.files, nil); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnEndedCertificateIsNotReady(t *testing.T) {
	root := mint.Root("Root")
	cert, key, err := root.Leaf("orders").WriteFiles(t.TempDir(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	l, err := Open(Files{Cert: cert, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if err := l.Valid(now); err != nil {
		t.Error(err)
	}
	if err := l.Valid(now.Add(48 * time.Hour)); err == nil || !strings.Contains(err.Error(), "expired at") {
		t.Errorf("got %v", err)
	}
	if err := l.Valid(now.Add(-48 * time.Hour)); err == nil || !strings.Contains(err.Error(), "not valid before") {
		t.Errorf("got %v", err)
	}
}

func TestANewRevocationListIsUsedAndWhatStandsJudgedAgain(t *testing.T) {
	root := mint.Root("Root")
	dir := t.TempDir()
	ca, crl := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.crl")
	if err := root.WriteFile(ca); err != nil {
		t.Fatal(err)
	}
	web := root.Leaf("web")
	write := func(number int64, revoked ...*mint.Leaf) {
		t.Helper()
		l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
		for _, r := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.Cert.SerialNumber, RevocationTime: time.Now()})
		}
		b, err := x509.CreateRevocationList(rand.Reader, l, root.Cert, root.Key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(crl, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	live, err := Open(Files{CA: ca, CRLs: []string{crl}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	code := func() string {
		t.Helper()
		v, err := live.Verifier.Verify(context.Background(), &mtls.Claim{Occasion: mtls.Recheck, Role: mtls.RoleClient, Chain: web.Chain, Now: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		return v.Code
	}
	if c := code(); c != "" {
		t.Fatalf("refused with %s", c)
	}
	write(2, web)
	retrusted := false
	live.reload(true, slog.New(slog.DiscardHandler), func() { retrusted = true })
	if c := code(); c != "M0121" || !retrusted {
		t.Errorf("%q, and judged again: %v", c, retrusted)
	}
	if err := os.WriteFile(crl, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	live.reload(true, slog.New(slog.DiscardHandler), nil)
	if c := code(); c != "M0121" {
		t.Errorf("a broken list let it in: %q", c)
	}
	if _, err := Open(Files{CA: ca, CRLs: []string{ca}}, nil); err == nil {
		t.Error("certificates are taken for a revocation list")
	}
}
