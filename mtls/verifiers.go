package mtls

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki"
	"github.com/mutual-tls/mutual/policy"
	"github.com/mutual-tls/mutual/truststore"
)

// hinter is a Verifier that can tell peers which authorities it trusts.
type hinter interface{ hints() [][]byte }

// checker is a Verifier that knows at start that it can't judge a role.
type checker interface{ check(peer Role) error }

func checkVerifier(v Verifier, peer Role) error {
	if c, ok := v.(checker); ok {
		return c.check(peer)
	}
	return nil
}

// Certificates is the claimed chain, parsed once. The error is the peer's fault.
func (c *Claim) Certificates() ([]*pki.Certificate, error) {
	switch {
	case c.RawKey != nil:
		return nil, errRawKey
	case c.PreShared != "":
		return nil, errPreShared
	}
	if c.parsed == nil && c.parseErr == nil {
		c.parsed, c.parseErr = pki.ParseChain(c.Chain)
	}
	return c.parsed, c.parseErr
}

// Authorities is a Verifier that builds a path to one of the anchors: for a
// client's certificate or a server's, as the role says, and for the server's name
// where the peer is a server. Without anchors nobody is admitted, and NewServer
// and NewClient refuse to start.
//
// Certificates are held to the profile pki.Basic: what software of all kinds makes.
func Authorities(anchors *pki.Anchors) Verifier { return AuthoritiesWith(anchors, pki.Basic) }

// AuthoritiesWith is Authorities with another profile: pki.Private or pki.SVID
// for an authority of one's own.
func AuthoritiesWith(anchors *pki.Anchors, profile pki.Profile) Verifier {
	return &authorities{anchors: anchors, profile: profile}
}

type authorities struct {
	anchors    *pki.Anchors
	profile    pki.Profile
	known      pki.Known
	revocation *Revocation // nil asks about none
}

func (a *authorities) check(Role) error {
	if a.anchors.Len() == 0 {
		return errors.New("no authorities were given to verify the peer by: nobody could be admitted")
	}
	return a.revocation.check()
}

func (a *authorities) hints() [][]byte { return a.anchors.Subjects() }

func (a *authorities) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	return verifyPath(ctx, a.anchors, a.profile, &a.known, a.revocation, claim), nil
}

// Generation is a digest of the anchors and the profile.
func (a *authorities) Generation() ([sha256.Size]byte, bool) {
	sum := a.anchors.Sum()
	return a.revocation.digest(digest("authorities", sum[:], []byte{byte(a.profile)})), true
}

func verifyPath(ctx context.Context, anchors *pki.Anchors, profile pki.Profile, known *pki.Known, revocation *Revocation, claim *Claim) *Verdict {
	chain, err := claim.Certificates()
	if err != nil {
		return refusedPath(pki.Refused(err), nil)
	}
	q := pki.Question{Chain: chain, Anchors: anchors, Purpose: pki.ForClient, At: claim.Now, Profile: profile, Known: known}
	if claim.Role == RoleServer {
		q.Purpose, q.Name = pki.ForServer, claim.ServerName
		if q.Name == "" {
			v := verdictOf(code.BadAskedName, chain)
			v.Reason = "no server name was asked for, so any server of these authorities could stand here"
			v.Mend = "say which name the server must prove, or judge it with Pin"
			return v
		}
	}
	revocation.await(ctx, q, claim.Occasion)
	revocation.put(&q)
	q.OCSP, q.Stapled = claim.responses(), claim.AskedOCSP
	if q.Transparency = claim.transparency; q.Transparency != nil {
		q.Timestamps = claim.Timestamps
	}
	v := pki.Verify(q)
	if !v.OK {
		return refusedPath(v, chain)
	}
	return &Verdict{OK: true, Peer: peerOf(v.Path[0], v.Path), Until: v.NotAfter, Path: v}
}

// responses are those that came beside the chain and parse. One that does not is as
// none.
func (c *Claim) responses() []*pki.OCSPResponse {
	var out []*pki.OCSPResponse
	for _, b := range c.OCSP {
		if len(b) == 0 {
			continue
		}
		if r, err := pki.ParseOCSPResponse(b); err == nil {
			out = append(out, r)
		}
	}
	return out
}

func refusedPath(v *pki.Verdict, chain []*pki.Certificate) *Verdict {
	out := &Verdict{Code: string(v.Code), Alert: v.Alert, Reason: v.Sentence(), Mend: v.Mend, Path: v}
	if len(chain) > 0 {
		out.Peer = peerOf(chain[0], nil)
	}
	return out
}

// verdictOf is a refusal with a code's own words.
func verdictOf(k code.Code, chain []*pki.Certificate) *Verdict {
	entry, _ := code.Lookup(k)
	v := &Verdict{Code: string(k), Alert: entry.Alert, Reason: entry.Title, Mend: entry.Mend}
	if len(chain) > 0 {
		v.Peer = peerOf(chain[0], nil)
	}
	return v
}

func peerOf(leaf *pki.Certificate, path []*pki.Certificate) Peer {
	return Peer{Names: leaf.Names(), SPIFFE: leaf.SPIFFE, Serial: leaf.Serial(), Leaf: leaf, Path: path}
}

// SystemTrust is a Verifier of servers by the authorities that this system
// trusts, by the rules that browsers hold the Web's servers to (pki.Browser). It
// does not judge clients: whom the Web trusts is nobody's list of friends.
func SystemTrust() Verifier { return systemTrust{} }

type systemTrust struct {
	revocation *Revocation // nil asks about none
	own        *pki.Known  // what is remembered, nil for what all share
}

func (s systemTrust) check(peer Role) error {
	if peer == RoleClient {
		return errors.New("the system's authorities are not a way to judge clients: anybody can get a certificate from them; give your own with Authorities")
	}
	if _, err := truststore.System(); err != nil {
		return err
	}
	return s.revocation.check()
}

// systemKnown is what SystemTrust remembers.
var systemKnown pki.Known

func (s systemTrust) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	if claim.Role != RoleServer {
		return nil, errors.New("the system's authorities do not judge clients")
	}
	anchors, err := truststore.System()
	if err != nil {
		return nil, err
	}
	known := &systemKnown
	if s.own != nil {
		known = s.own
	}
	return verifyPath(ctx, anchors, pki.Browser, known, s.revocation, claim), nil
}

// Generation is a digest of the system's anchors.
func (s systemTrust) Generation() ([sha256.Size]byte, bool) {
	anchors, err := truststore.System()
	if err != nil {
		return [sha256.Size]byte{}, false
	}
	sum := anchors.Sum()
	return s.revocation.digest(digest("system", sum[:])), true
}

// Pin is a Verifier that admits whoever holds one of the keys, given by the
// SHA-256 of their SubjectPublicKeyInfo, and asks nothing else: no authority, no
// name, no time.
func Pin(spkiSHA256 ...[sha256.Size]byte) Verifier { return pins(spkiSHA256) }

type pins [][sha256.Size]byte

func (p pins) check(Role) error {
	if len(p) == 0 {
		return errors.New("no keys were given to Pin: nobody could be admitted")
	}
	return nil
}

func (p pins) Verify(_ context.Context, claim *Claim) (*Verdict, error) {
	chain, err := claim.Certificates()
	if err != nil {
		return refusedPath(pki.Refused(err), nil), nil
	}
	sum := sha256.Sum256(chain[0].X509.RawSubjectPublicKeyInfo)
	for i := range p {
		if subtle.ConstantTimeCompare(p[i][:], sum[:]) == 1 {
			return &Verdict{OK: true, Peer: peerOf(chain[0], nil)}, nil
		}
	}
	return verdictOf(code.NotPinned, chain), nil
}

// Generation is a digest of the pins.
func (p pins) Generation() ([sha256.Size]byte, bool) {
	parts := make([][]byte, len(p))
	for i := range p {
		parts[i] = p[i][:]
	}
	return digest("pins", parts...), true
}

// AllOf is a Verifier that admits whom all of them admit. Who the peer is, the
// first says; the verdict ends with the earliest. The first refusal is the
// answer.
func AllOf(v ...Verifier) Verifier { return allOf(v) }

type allOf []Verifier

func (a allOf) check(peer Role) error {
	if len(a) == 0 {
		return errors.New("AllOf was given no verifier: everybody would be admitted")
	}
	if err := checkEach(a, peer); err != nil {
		return err
	}
	if len(a.Kinds()) == 0 {
		return errors.New("the verifiers in AllOf take nothing in common, certificate or raw public key: nobody could be admitted")
	}
	return nil
}

func checkEach(list []Verifier, peer Role) error {
	for _, v := range list {
		if v == nil {
			return errors.New("a verifier in the list is nil")
		}
		if err := checkVerifier(v, peer); err != nil {
			return err
		}
	}
	return nil
}

func (a allOf) hints() [][]byte {
	for _, v := range a {
		if h, ok := v.(hinter); ok {
			return h.hints()
		}
	}
	return nil
}

// Generation is that of them all, if all tell theirs.
func (a allOf) Generation() ([sha256.Size]byte, bool) { return generationOfAll("all of", a) }

// Kinds are those that all of them take.
func (a allOf) Kinds() []Kind { return kindsOfAll(a) }

func (a allOf) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	if len(a) == 0 {
		return nil, errors.New("AllOf was given no verifier")
	}
	var all *Verdict
	for _, v := range a {
		one, err := ask(ctx, v, claim)
		if err != nil || one == nil || !one.OK {
			return one, err
		}
		if all == nil {
			copied := *one
			all = &copied
			continue
		}
		if !one.Until.IsZero() && (all.Until.IsZero() || one.Until.Before(all.Until)) {
			all.Until = one.Until
		}
	}
	return all, nil
}

// AnyOf is a Verifier that admits whom one of them admits; they are asked in
// order. Where none does, the last refusal is the answer, and its reason tells
// the others too. An error of one is an error only if no other admits.
func AnyOf(v ...Verifier) Verifier { return anyOf(v) }

type anyOf []Verifier

func (a anyOf) check(peer Role) error {
	if len(a) == 0 {
		return errors.New("AnyOf was given no verifier: nobody could be admitted")
	}
	return checkEach(a, peer)
}

func (a anyOf) hints() [][]byte {
	var all [][]byte
	for _, v := range a {
		var names [][]byte
		if h, ok := v.(hinter); ok {
			names = h.hints()
		}
		if len(names) == 0 {
			return nil // whom it admits can't be told: better no hint than a wrong one
		}
		all = append(all, names...)
	}
	return all
}

// Generation is that of them all, if all tell theirs.
func (a anyOf) Generation() ([sha256.Size]byte, bool) { return generationOfAll("any of", a) }

// Kinds are those that one of them takes.
func (a anyOf) Kinds() []Kind { return kindsOfEach(a) }

func (a anyOf) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	var last *Verdict
	var reasons []string
	var failed error
	for _, v := range a {
		one, err := ask(ctx, v, claim)
		switch {
		case err != nil:
			failed = err
		case one == nil:
			failed = errors.New("a verifier gave no verdict")
		case one.OK:
			return one, nil
		default:
			last = one
			reasons = append(reasons, one.Reason)
		}
	}
	if failed != nil || last == nil {
		return nil, failed
	}
	joined := *last
	joined.Reason = strings.Join(reasons, "; and ")
	return &joined, nil
}

// Allow is a Verifier that asks v first, and then the policy about the leaf that
// was proven. Whom v proves and no rule lets in is refused with access_denied.
func Allow(v Verifier, p *policy.Policy) Verifier { return &allowed{v, p} }

type allowed struct {
	verifier Verifier
	policy   *policy.Policy
}

func (a *allowed) check(peer Role) error {
	if a.verifier == nil || a.policy == nil {
		return errors.New("Allow needs a verifier and a policy")
	}
	if kinds := kindsOf(a.verifier); !slices.Contains(kinds, X509) && !slices.Contains(kinds, PreSharedKey) {
		return errors.New("Allow judges the names in certificates, and its verifier takes none; RawKeys is a list of who is let in by itself")
	}
	return checkVerifier(a.verifier, peer)
}

func (a *allowed) hints() [][]byte {
	if h, ok := a.verifier.(hinter); ok {
		return h.hints()
	}
	return nil
}

// Generation is that of the verifier, with the rules.
func (a *allowed) Generation() ([sha256.Size]byte, bool) {
	of, ok := generationOf(a.verifier)
	rules := a.policy.Sum()
	return digest("allow", of[:], rules[:]), ok
}

// Kinds are those of its verifier whose names a rule can be about.
func (a *allowed) Kinds() []Kind {
	return slices.DeleteFunc(slices.Clone(kindsOf(a.verifier)), func(k Kind) bool { return k == RawPublicKey })
}

// namedOnly is what a rule is asked about where a name was proven without a
// certificate.
func namedOnly(name string) *pki.Certificate {
	if strings.HasPrefix(name, "spiffe://") {
		return &pki.Certificate{SPIFFE: name}
	}
	return &pki.Certificate{DNS: []string{name}}
}

func (a *allowed) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	v, err := ask(ctx, a.verifier, claim)
	if err != nil || v == nil || !v.OK {
		return v, err
	}
	out := *v
	judged := out.Peer.Leaf
	if claim.PreShared != "" {
		judged = namedOnly(claim.PreShared)
	}
	if judged == nil {
		return nil, errors.New("the verifier admitted a peer without naming its certificate, so no rule can be asked")
	}
	decision := a.policy.Decide(judged)
	out.Policy = &decision
	if decision.Allowed {
		return &out, nil
	}
	out.OK = false
	out.Code, out.Alert = string(code.NameNotAllowed), alert.AccessDenied
	out.Reason = "its " + kindName(claim.kind()) + " is good, and " + decision.Rule
	entry, _ := code.Lookup(code.NameNotAllowed)
	out.Mend = entry.Mend
	if name := out.Peer.Name(); !strings.HasPrefix(name, "serial ") {
		if _, err := identity.Parse(name); err != nil {
			return &out, nil
		}
		out.Mend = "if it is to be let in, add " + name + " to the rules (--allow)"
	}
	return &out, nil
}

// SwapVerifier is a Verifier that can be exchanged while it is in use, as when the
// authorities' file was written anew. Whoever exchanges it should have the Server
// or Client Recheck what stands.
type SwapVerifier struct{ current atomic.Pointer[Verifier] }

// NewSwapVerifier is a SwapVerifier that asks v.
func NewSwapVerifier(v Verifier) *SwapVerifier {
	s := &SwapVerifier{}
	s.Set(v)
	return s
}

// Set exchanges the verifier. With nil nobody is admitted.
func (s *SwapVerifier) Set(v Verifier) { s.current.Store(&v) }

func (s *SwapVerifier) get() Verifier {
	if v := s.current.Load(); v != nil {
		return *v
	}
	return nil
}

func (s *SwapVerifier) check(peer Role) error {
	v := s.get()
	if v == nil {
		return errors.New("the verifier holds none yet: nobody could be admitted")
	}
	return checkVerifier(v, peer)
}

func (s *SwapVerifier) hints() [][]byte {
	if h, ok := s.get().(hinter); ok {
		return h.hints()
	}
	return nil
}

// Generation is that of the verifier in use.
func (s *SwapVerifier) Generation() ([sha256.Size]byte, bool) { return generationOf(s.get()) }

// Kinds are those of the verifier in use.
func (s *SwapVerifier) Kinds() []Kind { return kindsOf(s.get()) }

// Verify asks the verifier in use.
func (s *SwapVerifier) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	v := s.get()
	if v == nil {
		return nil, errors.New("the verifier was taken away")
	}
	return ask(ctx, v, claim)
}

// VerifierFunc makes a Verifier of a function.
func VerifierFunc(f func(context.Context, *Claim) (*Verdict, error)) Verifier { return verifierFunc(f) }

type verifierFunc func(context.Context, *Claim) (*Verdict, error)

func (f verifierFunc) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	return f(ctx, claim)
}

// VerifierOf is VerifierFunc for a function whose verdicts rest on what restsOn is a
// digest of, and on nothing else that stays the same: it tells its Generation.
func VerifierOf(restsOn [sha256.Size]byte, f func(context.Context, *Claim) (*Verdict, error)) Verifier {
	return &verifierOf{f, restsOn}
}

type verifierOf struct {
	verifierFunc
	restsOn [sha256.Size]byte
}

// Generation is what was said.
func (v *verifierOf) Generation() ([sha256.Size]byte, bool) { return v.restsOn, true }
