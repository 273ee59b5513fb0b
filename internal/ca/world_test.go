package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/pki/sign"
)

// hand is a clock that tests move.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) move(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// world is an authority in a folder of its own, and its clock.
type world struct {
	*testing.T
	*ca.Authority
	options ca.Options
	clock   *hand
	ctx     context.Context
}

func newWorld(t *testing.T, change ...func(*ca.Options)) *world {
	t.Helper()
	h := &hand{now: time.Now().Round(0)}
	w := &world{T: t, clock: h, ctx: context.Background(), options: ca.Options{Folder: filepath.Join(t.TempDir(), "ca"), Clock: h.Now,
		Log: slog.New(slog.DiscardHandler)}}
	for _, c := range change {
		c(&w.options)
	}
	if err := ca.Create(w.ctx, w.options); err != nil {
		t.Fatal(err)
	}
	w.open()
	t.Cleanup(func() {
		if w.Authority != nil {
			_ = w.Authority.Close()
		}
	})
	return w
}

func (w *world) open() {
	w.Helper()
	o := w.options
	o.Passphrase = nil // only ceremonies need it
	a, err := ca.Open(w.ctx, o)
	if err != nil {
		w.Fatal(err)
	}
	w.Authority = a
}

func (w *world) reopen() {
	w.Helper()
	if err := w.Authority.Close(); err != nil {
		w.Fatal(err)
	}
	w.open()
}

func (w *world) token(name string, names ...string) join.Token {
	w.Helper()
	k, _, err := w.NewToken(w.ctx, api.TokenRequest{Name: name, Service: "orders", Names: names})
	if err != nil {
		w.Fatal(err)
	}
	return k
}

// applicant has a key and a request made with it.
type applicant struct {
	key crypto.Signer
	csr []byte
}

func apply(t testing.TB, change ...func(*x509.CertificateRequest)) *applicant {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return applyWith(t, key, change...)
}

func applyWith(t testing.TB, key crypto.Signer, change ...func(*x509.CertificateRequest)) *applicant {
	t.Helper()
	r := &x509.CertificateRequest{Subject: pkix.Name{}}
	for _, c := range change {
		c(r)
	}
	csr, err := sign.Request(nil, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return &applicant{key, csr}
}

// join enrols under a name with a new key.
func (w *world) join(name string, names ...string) (*api.Issued, *pki.Certificate) {
	w.Helper()
	out, err := w.Join(w.ctx, w.token(name, names...), apply(w).csr, 0)
	if err != nil {
		w.Fatal(err)
	}
	return out, w.leaf(out)
}

func (w *world) leaf(out *api.Issued) *pki.Certificate {
	w.Helper()
	c, err := pki.Parse(out.Chain[0])
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// verify holds a chain to the root, as a peer does.
func (w *world) verify(chain [][]byte, name string, purpose pki.Purpose) {
	w.Helper()
	certs, err := pki.ParseChain(chain)
	if err != nil {
		w.Fatal(err)
	}
	// What the authority makes is held to the letter, and so may peers.
	for _, profile := range []pki.Profile{pki.Private, pki.SVID} {
		v := pki.Verify(pki.Question{Chain: certs, Anchors: pki.NewAnchors(w.Root()), Purpose: purpose, Name: name, At: w.clock.Now(), Profile: profile})
		if !v.OK {
			w.Fatalf("%s: %s", name, v.Sentence())
		}
	}
}

// refused wants a Problem with a code.
func (w *world) refused(err error, want code.Code) *api.Problem {
	w.Helper()
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != string(want) {
		w.Fatalf("%v, expected %s", err, want)
	}
	return p
}

// alarms are the codes of the alarms on record.
func (w *world) alarms() []string {
	w.Helper()
	s, err := w.Status(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, a := range s.Alarms {
		out = append(out, a.Code)
	}
	return out
}
