package agent

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/ca"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// caKey is a key out of the authority's folder.
func (w *world) caKey(name string) *ecdsa.PrivateKey {
	w.Helper()
	b, err := os.ReadFile(filepath.Join(w.folder, name))
	if err != nil {
		w.Fatal(err)
	}
	block, _ := pem.Decode(b)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		w.Fatal(err)
	}
	return k.(*ecdsa.PrivateKey)
}

// signer signs a statement as the holder of a certificate.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate []byte
}

func stated(t testing.TB, a api.Anchors, by ...signer) api.Statement {
	t.Helper()
	signed, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	s := api.Statement{Signed: signed}
	for _, b := range by {
		digest := sha256.Sum256(api.StatementBytes(signed))
		signature, err := b.key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(b.certificate)
		s.Signatures = append(s.Signatures, api.StatementSignature{Root: sum[:], Signature: signature})
	}
	return s
}

// selfSigned is a root that anybody can make.
func selfSigned(t testing.TB, name string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(20, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, der}
}

func TestOnlyTheRootsMoveTheAnchors(t *testing.T) {
	w := newWorld(t)
	a := w.join("web")
	root := signer{w.caKey("root.key"), w.ca.Root().Raw}
	issuer := signer{w.caKey("issuer-1.key"), w.ca.Issuers()[0]}
	stranger := selfSigned(t, "a stranger")
	end := w.ca.Root().NotAfter()
	domain := w.ca.Domain()
	in := func(roots ...[]byte) api.Anchors {
		return api.Anchors{Domain: domain, Number: 9, NotAfter: end, Roots: roots}
	}
	other := in(root.certificate)
	other.Domain = "other.internal"
	lower := in(root.certificate)
	lower.Number = 0
	same := in(root.certificate)
	same.Number, same.NotAfter = 1, end.Add(-time.Hour)
	past := in(root.certificate)
	past.NotAfter = w.clock.Now().Add(-time.Minute)
	longer := in(root.certificate)
	longer.NotAfter = end.Add(time.Hour)
	torn := stated(t, in(root.certificate), root)
	torn.Signed = append([]byte(" "), torn.Signed...)
	moved := stated(t, in(root.certificate, stranger.certificate), root, stranger)
	moved.Signatures[1].Signature = moved.Signatures[0].Signature
	for name, s := range map[string]api.Statement{
		"by the issuer alone":                     stated(t, in(issuer.certificate), issuer),
		"by the issuer, of the root":              stated(t, in(root.certificate), issuer),
		"by the issuer in the root's name":        stated(t, in(root.certificate), signer{issuer.key, root.certificate}),
		"by a stranger":                           stated(t, in(stranger.certificate), stranger),
		"by a stranger beside the root":           stated(t, in(root.certificate, stranger.certificate), stranger),
		"by the root, with a root that is silent": stated(t, in(root.certificate, stranger.certificate), root),
		"with another's signature":                moved,
		"of another domain":                       stated(t, other, root),
		"with a lower number":                     stated(t, lower, root),
		"with the number in force":                stated(t, same, root),
		"past its end":                            stated(t, past, root),
		"that outlives its root":                  stated(t, longer, root),
		"of no roots":                             stated(t, in(), root),
		"with another byte":                       torn,
		"of nobody":                               stated(t, in(root.certificate)),
	} {
		t.Run(name, func(t *testing.T) {
			before, err := os.ReadFile(a.home.file(anchorsFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := a.trust.follow(s); err == nil {
				t.Error("it was followed")
			}
			after, _ := os.ReadFile(a.home.file(anchorsFile))
			if !bytes.Equal(before, after) || a.trust.anchors.Number != 1 || len(a.trust.anchors.Roots) != 1 {
				t.Error("something has changed")
			}
			// By the authority's own doors it does not come either.
			if err := w.ca.Announce(w.ctx, s); err == nil {
				t.Error("the authority has announced it")
			}
		})
	}
	if err := a.trust.follow(stated(t, in(root.certificate), root)); err != nil {
		t.Errorf("what should be followed: %v", err)
	}
	if a.trust.anchors.Number != 9 {
		t.Error("it was not followed")
	}
}

// under makes a leaf below a root, as that root's issuer would.
func under(t testing.TB, root signer, spiffe string) [][]byte {
	t.Helper()
	parent, err := x509.ParseCertificate(root.certificate)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(spiffe)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(11), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{id},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{der}
}

func admits(t testing.TB, a *Agent, chain [][]byte) bool {
	t.Helper()
	v, err := a.Verifier().Verify(context.Background(), &mtls.Claim{Role: mtls.RoleClient, Chain: chain, Now: a.options.Clock()})
	if err != nil {
		t.Fatal(err)
	}
	return v.OK
}

func TestASecondRootIsFollowedAndKept(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("web"), w.join("orders")
	stop := w.run(a, b)
	w.await("both follow", func() bool { return !a.Heard().IsZero() && !b.Heard().IsZero() })
	s, err := ca.NewRoot(w.ctx, w.options)
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Claimed()
	if err != nil || len(second) != 2 {
		t.Fatal(err)
	}
	chain := under(t, signer{w.caKey("root-2.key"), second[1].Raw}, "spiffe://"+w.ca.Domain()+"/later")
	if admits(t, a, chain) {
		t.Fatal("a root is trusted that nobody announced")
	}
	changed := a.Changed()
	if err := w.ca.Announce(w.ctx, *s); err != nil {
		t.Fatal(err)
	}
	for _, one := range []*Agent{a, b} {
		w.await("the second root is trusted", func() bool { return admits(t, one, chain) })
		first, _ := keyOf(t, b)
		if !admits(t, one, first) {
			t.Error("the first root is not trusted any more")
		}
	}
	w.await("somebody is told that trust has changed", func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	})
	stop()
	w.stop()
	if again := w.reopen(a); !admits(t, again, chain) {
		t.Error("the second root was forgotten at a restart")
	}
}

// crl signs a list of revocations.
func crl(t testing.TB, issuer *x509.Certificate, key crypto.Signer, number int64, at time.Time, serials ...*big.Int) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: at, NextUpdate: at.Add(24 * time.Hour)}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: at})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestOnlyANewerListOfOurIssuersIsTaken(t *testing.T) {
	w := newWorld(t)
	a, b := w.join("web"), w.join("orders")
	chain, _ := keyOf(t, b)
	serial := b.Leaf().X509.SerialNumber
	issuer := w.ca.Issuers()[0]
	by, err := x509.ParseCertificate(issuer)
	if err != nil {
		t.Fatal(err)
	}
	key, now := w.caKey("issuer-1.key"), w.clock.Now()
	if err := a.trust.revise([][]byte{crl(t, by, key, 50, now)}, [][]byte{issuer}); err != nil {
		t.Fatal(err)
	}
	other := mint.Root("Somebody Else")
	foreign, err := x509.ParseCertificate(other.DER)
	if err != nil {
		t.Fatal(err)
	}
	bad := crl(t, by, key, 60, now, serial)
	bad[len(bad)-1] ^= 1
	own, _ := pki.Parse(chain[0])
	_, ownKey := keyOf(t, b)
	pretender := *own.X509 // a leaf that would like to be an issuer
	pretender.KeyUsage |= x509.KeyUsageCRLSign
	named := *by
	strangerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	named.PublicKey = strangerKey.Public()
	for name, c := range map[string]struct{ list, issuer []byte }{
		"a lower number":           {crl(t, by, key, 49, now, serial), issuer},
		"the same number":          {crl(t, by, key, 50, now, serial), issuer},
		"a time to come":           {crl(t, by, key, 60, now.Add(time.Hour), serial), issuer},
		"a wrong signature":        {bad, issuer},
		"another's key":            {crl(t, &named, strangerKey, 60, now, serial), issuer},
		"another authority":        {crl(t, foreign, other.Key, 60, now, serial), other.DER},
		"a leaf for an issuer":     {crl(t, &pretender, ownKey, 60, now, serial), chain[0]},
		"no issuer with it":        {crl(t, by, key, 60, now, serial), nil},
		"what is no list":          {[]byte("no list"), issuer},
		"nothing":                  {nil, issuer},
		"an issuer that is no DER": {crl(t, by, key, 60, now, serial), []byte("no certificate")},
	} {
		t.Run(name, func(t *testing.T) {
			if err := a.trust.revise([][]byte{c.list}, [][]byte{c.issuer}); err == nil {
				t.Error("it was taken")
			}
			if !admits(t, a, chain) {
				t.Error("it is in use")
			}
		})
	}
	a.apply(&api.Updates{Lists: [][]byte{bad}, Issuers: [][]byte{issuer}})
	if !w.book.has(string(code.RevocationsRefused)) {
		t.Error("no word of a list that was not taken")
	}
	// One that is refused beside one that is good does not keep the good one out.
	if err := a.trust.revise([][]byte{bad, crl(t, by, key, 51, now, serial)}, [][]byte{issuer}); err == nil {
		t.Error("no word of the bad one")
	}
	if admits(t, a, chain) || admits(t, w.reopen(a), chain) {
		t.Error("a good list is not in use, or not kept")
	}
	if err := a.trust.revise(make([][]byte, maxLists+1), nil); err == nil {
		t.Error("any number of lists is read")
	}
}

func TestARevokedIdentityIsOutWithinSeconds(t *testing.T) {
	w := newWorld(t)
	web, orders := w.join("web"), w.join("orders")
	stop := w.run(web, orders)
	s := w.serve(mtls.ServerConfig{Identity: orders.Identity(), Clients: mtls.Required(orders.Verifier())})
	if err := w.speak(web, s.address, "orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ca.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var err error
	w.await("the service refuses it", func() bool { err = w.speak(web, s.address, "orders"); return err != nil })
	refused(t, err, code.RefusedCertificateRevoked)
	if took := time.Since(begun); took >= api.Wait { // which is when it would have asked again by itself
		t.Errorf("it took %v, and was not told at once", took)
	}
	refused(t, web.Renew(w.ctx), code.RefusedCertificateRevoked, code.LineageRevoked)
	w.await("it knows", func() bool { web.mu.Lock(); defer web.mu.Unlock(); return web.state.Standing == api.StateRevoked })
	if n := len(w.issued("web")); n != 1 {
		t.Errorf("%d certificates of one that was revoked", n)
	}
	stop()
	w.stop()
	chain, _ := keyOf(t, web)
	if admits(t, w.reopen(orders), chain) {
		t.Error("the list was forgotten while the authority was away")
	}
	w.start()
	// A new line is another identity, under the same name.
	again, err := Join(w.ctx, w.line("web"), web.options)
	if err != nil {
		t.Fatal(err)
	}
	if again.state.Lineage == web.state.Lineage || again.Leaf().Equal(web.Leaf()) {
		t.Error("it came back as it was")
	}
	if err := w.speak(again, s.address, "orders"); err != nil {
		t.Error(err)
	}
}

// A copy that renews after its owner shows itself: nobody goes on with the
// identity, and somebody is told.
func TestACopiedIdentityFreezes(t *testing.T) {
	w := newWorld(t)
	owner := w.join("web")
	thief := w.copied(owner)
	if err := owner.Renew(w.ctx); err != nil {
		t.Fatal(err)
	}
	err := thief.Renew(w.ctx)
	refused(t, err, code.LineageFrozen)
	if n := len(w.issued("web")); n != 2 {
		t.Errorf("%d certificates", n)
	}
	if a := w.alarms(); len(a) != 1 || a[0] != string(code.LineageFrozen) {
		t.Errorf("the alarms are %v", a)
	}
	stop := w.run(owner)
	w.await("the owner is told", func() bool { owner.mu.Lock(); defer owner.mu.Unlock(); return owner.state.Standing == api.StateFrozen })
	stop()
	if !w.book.has("the identity web is frozen") {
		t.Error("the owner's log does not say so")
	}
	refused(t, owner.Renew(w.ctx), code.LineageFrozen)
	again, err := Join(w.ctx, w.line("web"), owner.options)
	if err != nil {
		t.Fatal(err)
	}
	if again.state.Lineage == owner.state.Lineage {
		t.Error("it came back as it was")
	}
	if err := again.Renew(w.ctx); err != nil {
		t.Error(err)
	}
	// What the former process still knows does not overwrite what is there now.
	owner.learn([]api.Service{{Name: "orders", Addresses: []string{"127.0.0.1:1"}}})
	if s, err := again.home.readState(); err != nil || s.Lineage != again.state.Lineage || s.Standing != api.StateValid {
		t.Errorf("%+v, %v", s, err)
	}
}
