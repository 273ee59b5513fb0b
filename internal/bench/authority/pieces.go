package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/mtls"
)

// pieces measures the parts of a join by themselves, one after the other: what the
// caller does, the handshake, and what the authority does, on a disk and in memory,
// so that what is waited for and what is computed can be told apart.
func pieces(ctx context.Context, h *house, o *options) ([]piece, error) {
	var out []piece
	n := o.number
	add := func(name string, prepare func() error, do func() error) error {
		times := make([]time.Duration, n)
		for i := range times {
			if prepare != nil {
				if err := prepare(); err != nil {
					return err
				}
			}
			start := time.Now()
			if err := do(); err != nil {
				return err
			}
			times[i] = time.Since(start)
		}
		out = append(out, piece{Name: name, P50: quantile(times, 0.5), P99: quantile(times, 0.99)})
		return nil
	}

	if err := add("the caller's key and request", nil, func() error {
		_, _, err := applicant()
		return err
	}); err != nil {
		return nil, err
	}

	l, err := h.line(ctx)
	if err != nil {
		return nil, err
	}
	// As a joiner does it, but for the judgement of the root's hash.
	c, err := mtls.NewClient(mtls.ClientConfig{ALPN: []string{api.ALPNJoin}, Servers: mtls.VerifierFunc(
		func(context.Context, *mtls.Claim) (*mtls.Verdict, error) { return &mtls.Verdict{OK: true}, nil })})
	if err != nil {
		return nil, err
	}
	if err := add("connecting, and the handshake of both ends", nil, func() error {
		t, err := new(net.Dialer).DialContext(ctx, "tcp", l.Authority[0])
		if err != nil {
			return err
		}
		conn, err := c.Connect(ctx, t, "")
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		return nil, err
	}

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256([]byte("to be signed"))
	if err := add("the authority: one signature (P-256)", nil, func() error {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		return err
	}); err != nil {
		return nil, err
	}

	for _, at := range []struct{ where, folder string }{{"on this disk", h.dir}, {"in memory", o.fast}} {
		where, folder := at.where, at.folder
		if st, err := os.Stat(folder); folder == "" || err != nil || !st.IsDir() {
			continue
		}
		dir, err := os.MkdirTemp(folder, "mutual-bench")
		if err != nil {
			return nil, err
		}
		err = authorityAlone(ctx, h, dir, func(a *ca.Authority) error {
			var token join.Token
			var csr []byte
			if err := add("the authority: checks, signs, records twice, "+where, func() (err error) {
				if _, csr, err = applicant(); err != nil {
					return err
				}
				token, _, err = a.NewToken(ctx, api.TokenRequest{Name: "somebody"})
				return err
			}, func() error {
				_, err := a.Join(ctx, token, csr, 0)
				return err
			}); err != nil {
				return err
			}
			return add("the authority: one small record (a token), "+where, nil, func() error {
				_, _, err := a.NewToken(ctx, api.TokenRequest{Name: "somebody"})
				return err
			})
		})
		_ = os.RemoveAll(dir)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// authorityAlone opens an authority without its doors.
func authorityAlone(ctx context.Context, h *house, dir string, use func(*ca.Authority) error) error {
	o := ca.Options{Folder: filepath.Join(dir, "ca"), Log: h.log}
	if err := ca.Create(ctx, o); err != nil {
		return err
	}
	a, err := ca.Open(ctx, o)
	if err != nil {
		return err
	}
	err = use(a)
	if e := a.Close(); err == nil {
		err = e
	}
	return err
}
