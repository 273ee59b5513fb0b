package ca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
)

func TestTwentyJoinersRaceForOneTokenAndOneWins(t *testing.T) {
	w := newWorld(t)
	k := w.token("web")
	var all []*applicant
	for range 20 {
		all = append(all, apply(t))
	}
	var wins, refusals sync.Map
	var g sync.WaitGroup
	for i, who := range all {
		g.Go(func() {
			if out, err := w.Join(w.ctx, k, who.csr, 0); err != nil {
				refusals.Store(i, err)
			} else {
				wins.Store(i, out)
			}
		})
	}
	g.Wait()
	n := 0
	wins.Range(func(_, _ any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d joiners won", n)
	}
	refusals.Range(func(_, err any) bool { w.refused(err.(error), code.TokenOtherKey); return true })
	if found, err := w.Certificates(w.ctx, true); err != nil || len(found) != 1 {
		t.Errorf("%d certificates, %v", len(found), err)
	}
}

func TestALostAnswerIsGivenAgainToTheSameKey(t *testing.T) {
	w := newWorld(t)
	k, who := w.token("web"), apply(t)
	first, err := w.Join(w.ctx, k, who.csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	for range 8 {
		g.Go(func() {
			again, err := w.Join(w.ctx, k, who.csr, 0)
			if err != nil || !bytes.Equal(again.Chain[0], first.Chain[0]) || again.Lineage != first.Lineage || again.Service != "orders" {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
	g.Wait()
	w.reopen()
	if again, err := w.Join(w.ctx, k, who.csr, 0); err != nil || !bytes.Equal(again.Chain[0], first.Chain[0]) {
		t.Errorf("after a restart: %v", err)
	}
	w.clock.move(2 * time.Hour)
	_, err = w.Join(w.ctx, k, who.csr, 0)
	w.refused(err, code.TokenExpired)
	if len(w.alarms()) != 0 {
		t.Errorf("alarms: %v", w.alarms())
	}
}

func TestAnotherKeyForAUsedTokenIsRefusedAndRaisesOneAlarm(t *testing.T) {
	w := newWorld(t)
	k := w.token("web")
	if _, err := w.Join(w.ctx, k, apply(t).csr, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := w.Join(w.ctx, k, apply(t).csr, 0)
		w.refused(err, code.TokenOtherKey)
	}
	w.clock.move(48 * time.Hour) // a thief may come late
	_, err := w.Join(w.ctx, k, apply(t).csr, 0)
	w.refused(err, code.TokenOtherKey)
	if got := w.alarms(); !slices.Equal(got, []string{string(code.TokenOtherKey)}) {
		t.Errorf("alarms: %v", got)
	}
}

func TestATokenThatWasNeverMadeOrHasExpiredIsRefused(t *testing.T) {
	w := newWorld(t)
	_, err := w.Join(w.ctx, join.Token{1}, apply(t).csr, 0)
	w.refused(err, code.TokenUnknown)
	k, expires, err := w.NewToken(w.ctx, api.TokenRequest{Name: "web", Lifetime: 60})
	if err != nil || expires.Sub(w.clock.Now()).Round(time.Second) != time.Minute {
		t.Fatal(expires, err)
	}
	if n, err := w.NameInfo(w.ctx, "web"); err != nil || !n.Waiting || n.Joined {
		t.Errorf("%+v, %v", n, err)
	}
	w.clock.move(61 * time.Second)
	_, err = w.Join(w.ctx, k, apply(t).csr, 0)
	w.refused(err, code.TokenExpired)
	if n, err := w.NameInfo(w.ctx, "web"); err != nil || n.Waiting || n.Joined {
		t.Errorf("%+v, %v", n, err)
	}
	if found, err := w.Certificates(w.ctx, true); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
}

func TestTheDatabaseHoldsNoToken(t *testing.T) {
	w := newWorld(t)
	k := w.token("web")
	if _, err := w.Join(w.ctx, k, apply(t).csr, 0); err != nil {
		t.Fatal(err)
	}
	text, err := k.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(w.options.Folder, "*"))
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, k[:]) || bytes.Contains(b, text) {
			t.Errorf("%s holds the token", f)
		}
	}
}

func TestReservedNamesAreNeverGranted(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{api.NameAuthority, api.NameConsole, api.NameGateway} {
		_, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: name})
		w.refused(err, code.NameReserved)
		_, _, err = w.NewToken(w.ctx, api.TokenRequest{Name: "web", Names: []string{"a.example", name}})
		w.refused(err, code.NameReserved)
		_, err = w.Issue(w.ctx, api.IssueRequest{Name: name, CSR: apply(t).csr})
		w.refused(err, code.NameReserved)
	}
}

func TestWhatIsNoNameIsNotGranted(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"", "Web", "web.", "a b", "*.web", "10.0.0.1", "spiffe://a/b", "a/../b", "-a", "a..b", "wäb"} {
		_, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: name})
		w.refused(err, code.OutsideProfile)
	}
	for _, name := range []string{"*", "a.*", "*.*.a", "0.0.0.0", "fe80::1%eth0", "224.0.0.1", "x y"} {
		_, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: "web", Names: []string{name}})
		w.refused(err, code.OutsideProfile)
	}
	_, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: "web", Names: slices.Repeat([]string{"a"}, 33)})
	w.refused(err, code.OutsideProfile)
	for _, seconds := range []int64{-1, 31 * 24 * 3600, 1 << 62} {
		_, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: "web", Lifetime: seconds})
		w.refused(err, code.OutsideProfile)
	}
	_, _, err = w.NewToken(w.ctx, api.TokenRequest{Name: "web", Service: "Orders"})
	w.refused(err, code.OutsideProfile)
}

func TestANameOutsideTheGrantIsRefusedAndTheTokenStaysGood(t *testing.T) {
	w := newWorld(t)
	k := w.token("web", "www.example.com", "10.0.0.7", "*.web.example")
	uri := func(s string) []*url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return []*url.URL{u}
	}
	for what, change := range map[string]func(*x509.CertificateRequest){
		"a DNS name":     func(r *x509.CertificateRequest) { r.DNSNames = []string{"web", "orders"} },
		"a wildcard":     func(r *x509.CertificateRequest) { r.DNSNames = []string{"*.example.com"} },
		"an address":     func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 8)} },
		"a SPIFFE ID":    func(r *x509.CertificateRequest) { r.URIs = uri("spiffe://" + w.Domain() + "/orders") },
		"a common name":  func(r *x509.CertificateRequest) { r.Subject.CommonName = "orders" },
		"the authority":  func(r *x509.CertificateRequest) { r.DNSNames = []string{"authority"} },
		"a foreign name": func(r *x509.CertificateRequest) { r.URIs = uri("spiffe://elsewhere.example/web") },
	} {
		_, err := w.Join(w.ctx, k, apply(t, change).csr, 0)
		if p := w.refused(err, code.NameNotGranted); p.Status != 403 {
			t.Errorf("%s: %+v", what, p)
		}
	}
	// What is granted may be asked for, and need not be.
	out, err := w.Join(w.ctx, k, apply(t, func(r *x509.CertificateRequest) {
		r.Subject.CommonName, r.DNSNames, r.URIs = "web", []string{"WWW.example.com"}, uri("spiffe://"+w.Domain()+"/web")
		r.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 7)}
	}).csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.leaf(out).Names(); !slices.Equal(got, []string{"web", "www.example.com", "*.web.example", "10.0.0.7", "spiffe://" + w.Domain() + "/web"}) {
		t.Errorf("%v", got)
	}
}

func TestARequestThatIsNotOneIsRefusedAndTheTokenStaysGood(t *testing.T) {
	w := newWorld(t)
	k, good := w.token("web"), apply(t).csr
	broken := bytes.Clone(good)
	broken[len(broken)-3] ^= 1
	foreign := apply(t, func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@example.com"} }).csr
	for _, csr := range [][]byte{nil, {0x30, 0}, good[:len(good)-1], append(bytes.Clone(good), 0), broken, foreign} {
		_, err := w.Join(w.ctx, k, csr, 0)
		w.refused(err, code.RequestMalformed)
	}
	_, err := w.Join(w.ctx, k, make([]byte, api.MaxBody+1), 0)
	w.refused(err, code.RequestTooLarge)
	for _, life := range []time.Duration{time.Second, 91 * 24 * time.Hour, -time.Hour} {
		_, err := w.Join(w.ctx, k, good, life)
		w.refused(err, code.OutsideProfile)
	}
	if found, err := w.Certificates(w.ctx, true); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := w.Join(w.ctx, k, good, 0); err != nil {
		t.Error(err)
	}
}

func TestKeysThatAreNotAccepted(t *testing.T) {
	w := newWorld(t)
	k := w.token("web")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(w.options.Folder, "issuer-1.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	own, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for what, csr := range map[string][]byte{
		"RSA 1024":         applyWith(t, short).csr,
		"P-224":            applyWith(t, odd).csr,
		"the issuer's own": applyWith(t, own.(*ecdsa.PrivateKey)).csr,
	} {
		if _, err := w.Join(w.ctx, k, csr, 0); err == nil {
			t.Errorf("%s was certified", what)
		} else {
			w.refused(err, code.KeyNotAccepted)
		}
	}
	// A key has one certificate: another identity's is refused.
	who := apply(t)
	if _, err := w.Join(w.ctx, w.token("orders"), who.csr, 0); err != nil {
		t.Fatal(err)
	}
	_, err = w.Join(w.ctx, k, who.csr, 0)
	w.refused(err, code.KeyNotAccepted)

	for _, bits := range []int{2048, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Join(w.ctx, w.token("rsa"), applyWith(t, key).csr, 0); err != nil {
			t.Errorf("RSA %d: %v", bits, err)
		}
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Join(w.ctx, w.token("ed"), applyWith(t, key).csr, 0); err != nil {
		t.Error(err)
	}
}
