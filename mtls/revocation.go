package mtls

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/mutual-tls/mutual/pki"
)

// Revocation is how a Verifier asks whether certificates are revoked.
//
// Source is asked at every full handshake, at every resumption and at every Recheck,
// and answers from memory: pki.Lists has fixed lists, and the Checker of pki/revoke has
// files and what it fetches by the side. Whoever changes what a source holds has the
// Server or Client Recheck; with a Checker that is
//
//	checker.OnChange(func() { server.Recheck(ctx) })
//
// Responses that come beside a chain are asked for by Common.Beside, and count as well.
type Revocation struct {
	Source pki.RevocationSource
	// Mode is what becomes of a certificate that nobody knows about: the zero value and
	// pki.RevocationSoft let it pass (the zero value unless there is a list about it that
	// can't be relied on), pki.RevocationHard refuses it. Under hard fail a connection
	// ends where what says that it is good ends, if nothing newer has come.
	Mode pki.RevocationMode
	// LeafOnly asks about the leaf, and not about the authorities above it.
	LeafOnly bool
}

// awaiting is a source that can wait for news, as a Checker does with InHandshake.
type awaiting interface {
	// Waits says whether it does.
	Waits() bool
	// Await waits for news about a path that stands but for this.
	Await(ctx context.Context, path []*pki.Certificate)
}

// WithRevocation is v, which also refuses who is revoked. It takes what builds a path:
// Authorities, AuthoritiesWith or SystemTrust. Allow, AllOf, AnyOf and a SwapVerifier
// go around it.
func WithRevocation(v Verifier, r Revocation) Verifier {
	switch v := v.(type) {
	case *authorities:
		return &authorities{anchors: v.anchors, profile: v.profile, revocation: &r}
	case systemTrust:
		return systemTrust{revocation: &r, own: &pki.Known{}}
	}
	return unrevocable{v}
}

// unrevocable is a verifier that was given to WithRevocation and can't use it: whoever
// is made with it does not start.
type unrevocable struct{ Verifier }

var errUnrevocable = errors.New("WithRevocation takes Authorities, AuthoritiesWith or SystemTrust, which build paths; put it inside of Allow, AllOf, AnyOf or a SwapVerifier")

func (unrevocable) check(Role) error { return errUnrevocable }

func (unrevocable) Verify(context.Context, *Claim) (*Verdict, error) { return nil, errUnrevocable }

// check says whether there is anything to ask.
func (r *Revocation) check() error {
	if r == nil {
		return nil
	}
	switch {
	case r.Mode > pki.RevocationHard:
		return errors.New("Revocation.Mode is none of those that there are")
	case r.Source == nil && r.Mode != pki.RevocationHard:
		return errors.New("Revocation.Source is not set, and without one only pki.RevocationHard asks for anything: OCSP responses beside the chain")
	}
	return nil
}

// put makes it part of a question.
func (r *Revocation) put(q *pki.Question) {
	if r != nil {
		q.Revocation, q.RevocationLeafOnly, q.RevocationSource = r.Mode, r.LeafOnly, r.Source
	}
}

// await has the source wait, where it does, for news about the path that stands. Only a
// full handshake waits: a resumption can become one, and a connection that stands has
// its own time.
func (r *Revocation) await(ctx context.Context, q pki.Question, occasion Occasion) {
	if r == nil || occasion != FullHandshake {
		return
	}
	source, ok := r.Source.(awaiting)
	if !ok || !source.Waits() {
		return
	}
	q.OCSP, q.Stapled = nil, false
	v := pki.Verify(q)
	if !v.OK {
		return
	}
	path := v.Path
	if r.LeafOnly && len(path) > 2 {
		path = path[:2]
	}
	source.Await(ctx, path)
}

// digest is of what stays the same; news do not, and are asked for each time.
func (r *Revocation) digest(of [sha256.Size]byte) [sha256.Size]byte {
	if r == nil {
		return of
	}
	leaf := byte(0)
	if r.LeafOnly {
		leaf = 1
	}
	return digest("revocation", of[:], []byte{byte(r.Mode), leaf})
}
