package ca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/mint"
	"github.com/mutual-tls/mutual/pki"
)

func TestACopiedIdentityThatRenewsAfterItsOwnerFreezesBoth(t *testing.T) {
	w := newWorld(t)
	out, first := w.join("web")
	other, _ := w.join("other")
	next, err := w.Renew(w.ctx, first, apply(t).csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	head := w.leaf(next)

	before := w.Revision()
	changed := w.Changed()
	thief := apply(t)
	_, err = w.Renew(w.ctx, first, thief.csr, 0)
	w.refused(err, code.LineageFrozen)
	if got := w.alarms(); !slices.Equal(got, []string{string(code.LineageFrozen)}) {
		t.Errorf("alarms: %v", got)
	}
	select {
	case <-changed:
	default:
		t.Error("whoever follows the authority was not told")
	}
	if w.Revision() == before {
		t.Error("the revision is the same")
	}
	_, err = w.Renew(w.ctx, first, thief.csr, 0)
	w.refused(err, code.LineageFrozen)
	_, err = w.Renew(w.ctx, head, apply(t).csr, 0) // the owner
	w.refused(err, code.LineageFrozen)
	if s, err := w.Standing(w.ctx, head); err != nil || s.State != api.StateFrozen {
		t.Errorf("%+v, %v", s, err)
	}
	err = w.Register(w.ctx, "web", out.Lineage, []string{"10.0.0.1:8443"})
	w.refused(err, code.LineageFrozen)
	w.reopen()
	_, err = w.Renew(w.ctx, head, apply(t).csr, 0)
	w.refused(err, code.LineageFrozen)

	list, err := w.Certificates(w.ctx, false)
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, c := range list {
		if want := map[string]string{out.Lineage: api.StateFrozen, other.Lineage: api.StateValid}[c.Lineage]; c.State != want {
			t.Errorf("%s is %s, expected %s", c.Name, c.State, want)
		}
	}
	// It can be taken back, and the name can begin anew.
	if taken, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil || len(taken) != 2 {
		t.Errorf("%v, %v", taken, err)
	}
	if again, _ := w.join("web"); again.Lineage == out.Lineage {
		t.Error("the name came back in its old lineage")
	}
}

func TestAThiefWhoRenewsFirstIsFoundByTheOwner(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	stolen, err := w.Renew(w.ctx, first, apply(t).csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Renew(w.ctx, first, apply(t).csr, 0)
	w.refused(err, code.LineageFrozen)
	_, err = w.Renew(w.ctx, w.leaf(stolen), apply(t).csr, 0)
	w.refused(err, code.LineageFrozen)
}

func TestALostRenewalIsGivenAgainToTheSameKey(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	who := apply(t)
	var answers sync.Map
	var g sync.WaitGroup
	for i := range 8 {
		g.Go(func() {
			out, err := w.Renew(w.ctx, first, who.csr, 0)
			if err != nil {
				t.Error(err)
				return
			}
			answers.Store(i, string(out.Chain[0]))
		})
	}
	g.Wait()
	w.reopen()
	out, err := w.Renew(w.ctx, first, who.csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	answers.Range(func(_, a any) bool {
		if a.(string) != string(out.Chain[0]) {
			t.Error("two certificates for one renewal")
		}
		return true
	})
	if found, err := w.Certificates(w.ctx, true); err != nil || len(found) != 2 {
		t.Errorf("%d certificates, %v", len(found), err)
	}
	if len(w.alarms()) != 0 {
		t.Errorf("alarms: %v", w.alarms())
	}
}

func TestManyRenewalsOfOneHeadWithManyKeysMakeOneSuccessor(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	var g sync.WaitGroup
	for range 10 {
		who := apply(t)
		g.Go(func() { _, _ = w.Renew(w.ctx, first, who.csr, 0) })
	}
	g.Wait()
	found, err := w.Certificates(w.ctx, true)
	if err != nil || len(found) != 2 || found[0].State != api.StateFrozen {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestARenewalTakesANewKey(t *testing.T) {
	w := newWorld(t)
	k, who := w.token("web"), apply(t)
	out, err := w.Join(w.ctx, k, who.csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	first := w.leaf(out)
	_, err = w.Renew(w.ctx, first, who.csr, 0)
	w.refused(err, code.KeyNotAccepted)
	second, err := w.Renew(w.ctx, first, apply(t).csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Renew(w.ctx, w.leaf(second), who.csr, 0) // one that it had before
	w.refused(err, code.KeyNotAccepted)
	if len(w.alarms()) != 0 {
		t.Errorf("alarms: %v", w.alarms())
	}
}

func TestAnExpiredHeadRenewsForThirtyDays(t *testing.T) {
	for after, want := range map[time.Duration]bool{time.Hour: true, 29*24*time.Hour + 23*time.Hour: true, 31 * 24 * time.Hour: false} {
		w := newWorld(t)
		_, first := w.join("web")
		w.clock.move(24*time.Hour + after)
		out, err := w.Renew(w.ctx, first, apply(t).csr, 0)
		if !want {
			w.refused(err, code.RenewalTooLate)
			continue
		}
		if err != nil {
			t.Errorf("%v after its end: %v", after, err)
			continue
		}
		w.verify(out.Chain, "web", pki.ForServer)
	}
}

func TestARevokedLineageCannotRenewOrComeBackByItsToken(t *testing.T) {
	w := newWorld(t)
	k, who := w.token("web"), apply(t)
	out, err := w.Join(w.ctx, k, who.csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	first := w.leaf(out)
	if err := w.Register(w.ctx, "web", out.Lineage, []string{"10.0.0.1:8443"}); err != nil {
		t.Fatal(err)
	}
	taken, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web", Reason: "stolen"})
	if err != nil || len(taken) != 1 || taken[0].State != api.StateRevoked || taken[0].Serial != first.Serial() || taken[0].RevokedAt == nil {
		t.Fatalf("%+v, %v", taken, err)
	}
	_, err = w.Renew(w.ctx, first, apply(t).csr, 0)
	w.refused(err, code.LineageRevoked)
	_, err = w.Join(w.ctx, k, who.csr, 0)
	w.refused(err, code.LineageRevoked)
	err = w.Register(w.ctx, "web", out.Lineage, []string{"10.0.0.1:8443"})
	w.refused(err, code.LineageRevoked)
	_, err = w.Service(w.ctx, "web")
	w.refused(err, code.ServiceUnknown)
	if s, err := w.Standing(w.ctx, first); err != nil || s.State != api.StateRevoked {
		t.Errorf("%+v, %v", s, err)
	}
	_, err = w.Revoke(w.ctx, api.RevokeRequest{Target: "web"})
	w.refused(err, code.NothingToRevoke)
}

// A line that was made before and not used must not bring back who was taken out;
// one that is made afterwards does, as a new lineage.
func TestARevokedNameComesBackByANewTokenOnly(t *testing.T) {
	w := newWorld(t)
	former, _ := w.join("web")
	unused, other := w.token("web"), w.token("orders")
	if _, err := w.Revoke(w.ctx, api.RevokeRequest{Target: "web"}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Join(w.ctx, unused, apply(t).csr, 0)
	w.refused(err, code.TokenExpired)
	if _, err := w.Join(w.ctx, other, apply(t).csr, 0); err != nil {
		t.Errorf("another name's token: %v", err)
	}
	if anew, _ := w.join("web"); anew.Lineage == former.Lineage {
		t.Error("it is the lineage that was revoked")
	}
}

// revokedSerials are the entries of the one list, whose signature is checked.
func (w *world) revokedSerials() (serials []string, number int64) {
	w.Helper()
	lists, err := w.Lists(w.ctx)
	if err != nil || len(lists) != 1 {
		w.Fatal(lists, err)
	}
	l, err := x509.ParseRevocationList(lists[0])
	if err != nil {
		w.Fatal(err)
	}
	out, _ := w.join("reader")
	issuer, err := pki.Parse(out.Chain[1])
	if err != nil {
		w.Fatal(err)
	}
	if err := l.CheckSignatureFrom(issuer.X509); err != nil {
		w.Error(err)
	}
	now := w.clock.Now()
	if now.Before(l.ThisUpdate) || !now.Before(l.NextUpdate) {
		w.Errorf("the list stands from %v to %v", l.ThisUpdate, l.NextUpdate)
	}
	for _, e := range l.RevokedCertificateEntries {
		serials = append(serials, e.SerialNumber.Text(16))
	}
	return serials, l.Number.Int64()
}

func TestRevocationByNameSerialAndLineage(t *testing.T) {
	w := newWorld(t)
	out1, first := w.join("web")
	_, second := w.join("web")
	next, err := w.Renew(w.ctx, first, apply(t).csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	head := w.leaf(next)
	_, n1 := w.revokedSerials()

	// A certificate that is not a head takes nothing with it.
	colons := strings.ToUpper(first.Serial()[:2]) + ":" + first.Serial()[2:]
	if taken, err := w.Revoke(w.ctx, api.RevokeRequest{Target: colons}); err != nil || len(taken) != 1 || taken[0].Serial != first.Serial() {
		t.Fatalf("%+v, %v", taken, err)
	}
	_, err = w.Renew(w.ctx, first, apply(t).csr, 0)
	w.refused(err, code.LineageRevoked)
	if s, err := w.Standing(w.ctx, head); err != nil || s.State != api.StateValid {
		t.Errorf("%+v, %v", s, err)
	}
	serials, n2 := w.revokedSerials()
	if !slices.Equal(serials, []string{first.Serial()}) || n2 <= n1 {
		t.Errorf("%v in list %d after list %d", serials, n2, n1)
	}

	// A head does: without it the lineage can't go on.
	if taken, err := w.Revoke(w.ctx, api.RevokeRequest{Target: second.Serial()}); err != nil || len(taken) != 1 {
		t.Fatalf("%+v, %v", taken, err)
	}
	_, err = w.Renew(w.ctx, second, apply(t).csr, 0)
	w.refused(err, code.LineageRevoked)

	if taken, err := w.Revoke(w.ctx, api.RevokeRequest{Lineage: out1.Lineage}); err != nil || len(taken) != 1 || taken[0].Serial != head.Serial() {
		t.Fatalf("%+v, %v", taken, err)
	}
	w.reopen()
	serials, n3 := w.revokedSerials()
	if want := []string{first.Serial(), second.Serial(), head.Serial()}; !slices.Equal(serials, want) || n3 <= n2 {
		t.Errorf("%v in list %d", serials, n3)
	}
	for _, q := range []api.RevokeRequest{{Target: "nobody"}, {Target: "00ff00ff00ff"}, {Lineage: "x"}, {Target: first.Serial()}, {Lineage: out1.Lineage}} {
		_, err := w.Revoke(w.ctx, q)
		w.refused(err, code.NothingToRevoke)
	}
	for _, q := range []api.RevokeRequest{{}, {Target: "web", Lineage: "x"}, {Target: "web", Reason: strings.Repeat("a", 1001)}} {
		_, err := w.Revoke(w.ctx, q)
		w.refused(err, code.RequestMalformed)
	}
}

func TestListsAreRenewedHourlyAndTheirNumbersRise(t *testing.T) {
	w := newWorld(t)
	first, err := w.Lists(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Lists(w.ctx)
	if err != nil || !bytes.Equal(first[0], again[0]) {
		t.Errorf("a list was signed for nothing: %v", err)
	}
	w.reopen()
	if again, err = w.Lists(w.ctx); err != nil || !bytes.Equal(first[0], again[0]) {
		t.Errorf("a restart made another list: %v", err)
	}
	_, n1 := w.revokedSerials()
	changed := w.Changed()
	w.clock.move(61 * time.Minute)
	_, n2 := w.revokedSerials()
	if n2 <= n1 {
		t.Errorf("list %d after list %d", n2, n1)
	}
	select {
	case <-changed:
	default:
		t.Error("whoever follows the authority was not told")
	}
}

func TestACertificateOfAnotherAuthorityIsNotRenewed(t *testing.T) {
	w := newWorld(t)
	_, mine := w.join("web")
	foreign := mint.Root("elsewhere").Leaf("web")
	c, err := pki.Parse(foreign.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Renew(w.ctx, c, apply(t).csr, 0)
	w.refused(err, code.NotAllowedToEnrol)
	_, err = w.Standing(w.ctx, c)
	w.refused(err, code.NotAllowedToEnrol)
	// Nor is the authority's own leaf, which has no lineage.
	chain, _, err := w.Serving(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = pki.Parse(chain[0]); err != nil {
		t.Fatal(err)
	}
	_, err = w.Renew(w.ctx, c, apply(t).csr, 0)
	w.refused(err, code.NotAllowedToEnrol)
	// A certificate with the right issuer and serial number, for another key.
	forged := *mine.X509
	forged.RawSubjectPublicKeyInfo = c.X509.RawSubjectPublicKeyInfo
	_, err = w.Renew(w.ctx, &pki.Certificate{X509: &forged}, apply(t).csr, 0)
	w.refused(err, code.NotAllowedToEnrol)
}

func TestIssueMakesALineageOfItsOwn(t *testing.T) {
	w := newWorld(t)
	out, err := w.Issue(w.ctx, api.IssueRequest{Name: "db", Names: []string{"db.example.com", "::1"}, CSR: apply(t).csr, Lifetime: 3600})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"db", "db.example.com", "::1"} {
		w.verify(out.Chain, name, pki.ForServer)
	}
	if c := w.leaf(out); c.NotAfter().Sub(out.IssuedAt.Truncate(time.Second)) != time.Hour {
		t.Errorf("it ends at %v", c.NotAfter())
	}
	if _, err := w.Renew(w.ctx, w.leaf(out), apply(t).csr, 0); err != nil {
		t.Error(err)
	}
	if n, err := w.NameInfo(w.ctx, "db"); err != nil || !n.Joined {
		t.Errorf("%+v, %v", n, err)
	}
	for _, life := range []int64{1, -5, 1 << 62} {
		_, err := w.Issue(w.ctx, api.IssueRequest{Name: "db", CSR: apply(t).csr, Lifetime: life})
		w.refused(err, code.OutsideProfile)
	}
}

func TestNothingOutlivesItsIssuer(t *testing.T) {
	w := newWorld(t)
	w.clock.move(3*365*24*time.Hour - 30*time.Minute)
	late := w.token("web")
	_, err := w.Join(w.ctx, late, apply(t).csr, 0)
	w.refused(err, code.OutsideProfile)
	if out, err := w.Join(w.ctx, late, apply(t).csr, 10*time.Minute); err != nil {
		t.Error(err)
	} else {
		w.verify(out.Chain, "web", pki.ForServer)
	}
	chain, _, err := w.Serving(w.ctx) // the authority's own door stays open to the end
	if err != nil {
		t.Fatal(err)
	}
	w.verify(chain[:2], "authority", pki.ForServer)
}

func TestNothingIsSignedWhileTheClockIsBack(t *testing.T) {
	w := newWorld(t)
	_, first := w.join("web")
	k := w.token("orders")
	w.clock.move(-4 * time.Minute) // clocks are corrected
	if _, err := w.Renew(w.ctx, first, apply(t).csr, 0); err != nil {
		t.Error(err)
	}
	w.clock.move(-2 * time.Minute)
	for _, back := range []string{"running", "after a restart"} {
		_, err := w.Join(w.ctx, k, apply(t).csr, 0)
		if p := w.refused(err, code.ClockWentBack); p.Status != 503 {
			t.Errorf("%s: %+v", back, p)
		}
		_, _, err = w.Serving(w.ctx)
		w.refused(err, code.ClockWentBack)
		_, err = w.Revoke(w.ctx, api.RevokeRequest{Target: "nobody"})
		w.refused(err, code.NothingToRevoke)
		w.reopen()
	}
	w.clock.move(2 * time.Minute)
	if _, err := w.Join(w.ctx, k, apply(t).csr, 0); err != nil {
		t.Error(err)
	}
}

func TestTheKeyOfARequestIsTheKeyOfItsCertificate(t *testing.T) {
	w := newWorld(t)
	who := apply(t)
	out, err := w.Join(w.ctx, w.token("web"), who.csr, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !who.key.(*ecdsa.PrivateKey).PublicKey.Equal(w.leaf(out).X509.PublicKey) {
		t.Error("another key was certified")
	}
}
