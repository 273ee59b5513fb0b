package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// holder holds an identity in memory: what an agent does, without its disk.
type holder struct {
	swap   *mtls.Swap
	client *client.Client
}

// applicant is a new key and the request for it.
func applicant() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	return key, csr, err
}

func enrol(ctx context.Context, l *join.Line) (*holder, error) {
	key, csr, err := applicant()
	if err != nil {
		return nil, err
	}
	answer, err := client.Join(ctx, l, csr, 0, time.Now)
	if err != nil {
		return nil, err
	}
	cert, err := mtls.NewCertificate(answer.Chain, key)
	if err != nil {
		return nil, err
	}
	h := &holder{swap: mtls.NewSwap(cert)}
	h.client, err = client.New(answer.Domain, h.swap, mtls.Authorities(pki.NewAnchors(answer.Root)), func() []string { return l.Authority }, time.Now)
	return h, err
}

// renew gets the successor of the certificate, for a new key.
func (h *holder) renew(ctx context.Context) error {
	key, csr, err := applicant()
	if err != nil {
		return err
	}
	issued, err := h.client.Renew(ctx, &api.RenewRequest{CSR: csr})
	if err != nil {
		return err
	}
	cert, err := mtls.NewCertificate(issued.Chain, key)
	if err != nil {
		return err
	}
	h.swap.Set(cert)
	return nil
}

// side has callers do something n times in all, side by side, each the next as soon
// as its last is done, and tells how fast that went.
func (h *house) side(name string, callers, n int, do func(caller, i int) error) (rate, error) {
	times := make([]time.Duration, n)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	before, began := h.processor(), time.Now()
	for caller := range callers {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				start := time.Now()
				if err := do(caller, i); err != nil {
					failed.Store(&err)
					return
				}
				times[i] = time.Since(start)
			}
		})
	}
	wait.Wait()
	took, used := time.Since(began), h.processor()-before
	if err := failed.Load(); err != nil {
		return rate{}, *err
	}
	return rate{Name: name, Callers: callers, Requests: n, PerSecond: float64(n) / took.Seconds(),
		P50: quantile(times, 0.5), P99: quantile(times, 0.99), Processor: used.Seconds() * 1e3 / float64(n)}, nil
}

// joins measures joining, with lines that were made before, and leaves an identity
// for each caller.
func (h *house) joins(ctx context.Context, callers, n int) (rate, []*holder, error) {
	lines := make([]*join.Line, n)
	for i := range lines {
		var err error
		if lines[i], err = h.line(ctx); err != nil {
			return rate{}, nil, err
		}
	}
	holders := make([]*holder, n)
	r, err := h.side("join", callers, n, func(_, i int) (err error) {
		holders[i], err = enrol(ctx, lines[i])
		return err
	})
	return r, holders[:min(callers, n)], err
}

// renewals measures renewing: a handshake with the certificate that is renewed,
// and its successor for a new key.
func (h *house) renewals(ctx context.Context, holders []*holder, n int) (rate, error) {
	return h.side("renewal", len(holders), n, func(caller, _ int) error { return holders[caller].renew(ctx) })
}
