package ca_test

import (
	"strings"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/pki"
)

func TestAnIdentityJoinsRenewsAndStands(t *testing.T) {
	for _, keyType := range []string{"p256", "p384", "ed25519", "rsa", "mldsa44", "mldsa65", "mldsa87", "mldsa87/p256", "p256/mldsa44"} {
		t.Run(strings.ReplaceAll(keyType, "/", " over "), func(t *testing.T) {
			w := newWorld(t, func(o *ca.Options) { o.KeyType = keyType })
			out, err := w.Join(w.ctx, w.token("web", "www.example.com", "10.0.0.7"), apply(t).csr, 0)
			if err != nil {
				t.Fatal(err)
			}
			if out.Name != "web" || out.Service != "orders" || out.Domain != w.Domain() || out.Lineage == "" || len(out.Chain) != 2 {
				t.Errorf("%+v", out)
			}
			id := "spiffe://" + w.Domain() + "/web"
			for _, name := range []string{"web", "www.example.com", "10.0.0.7", id} {
				w.verify(out.Chain, name, pki.ForServer)
			}
			w.verify(out.Chain, "", pki.ForClient)
			first := w.leaf(out)
			if first.SPIFFE != id || first.X509.Subject.CommonName != "web" || first.NotAfter().Sub(out.IssuedAt.Truncate(time.Second)) != 24*time.Hour {
				t.Errorf("%v, %v to %v, issued at %v", first.Names(), first.NotBefore(), first.NotAfter(), out.IssuedAt)
			}
			v, err := out.Statement.Verify(w.Domain(), []*pki.Certificate{w.Root()}, w.clock.Now())
			if err != nil || v.Number != 1 || len(v.Roots) != 1 {
				t.Fatalf("%+v, %v", v, err)
			}

			w.clock.move(16 * time.Hour)
			again, err := w.Renew(w.ctx, first, apply(t).csr, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			w.verify(again.Chain, "web", pki.ForServer)
			second := w.leaf(again)
			if again.Lineage != out.Lineage || again.Service != "orders" || second.Serial() == first.Serial() {
				t.Errorf("%+v", again)
			}
			for c, head := range map[*pki.Certificate]bool{first: false, second: true} {
				if s, err := w.Standing(w.ctx, c); err != nil || s.State != "valid" || s.Head != head || s.Name != "web" || s.Lineage != out.Lineage {
					t.Errorf("%+v, %v", s, err)
				}
			}
			lists, err := w.Lists(w.ctx)
			if err != nil || len(lists) != 1 {
				t.Fatal(err)
			}
			chain, key, err := w.Serving(w.ctx)
			if err != nil || key == nil || len(chain) != 3 {
				t.Fatal(err)
			}
			w.verify(chain[:2], "authority", pki.ForServer)
			w.verify(chain[:2], "spiffe://"+w.Domain()+"/authority", pki.ForServer)
		})
	}
}
