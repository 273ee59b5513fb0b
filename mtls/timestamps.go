package mtls

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/mutual-tls/mutual/pki/ct"
)

// RequireTimestamps is a Verifier that asks v, and admits only whose certificate logs
// have promised to publish, enough of them for the policy (Certificate Transparency,
// RFC 6962). Timestamps count that stand in the certificate, in an OCSP response that
// stands, or beside the certificate in the handshake; peers show the latter two only
// where they are asked: Beside.Timestamps and Beside.OCSP.
//
// It is for public certificates. v has to build paths, as Authorities and SystemTrust
// do, also within AllOf, AnyOf, Allow and a SwapVerifier: who is proven otherwise, by a
// pin or by a function of one's own, is refused. A session can be resumed if what
// counts stands in the certificate; else its handshake is a full one.
//
// The policy's list of logs grows old within weeks. Put the Verifier into a
// SwapVerifier, and exchange it with the file.
func RequireTimestamps(v Verifier, policy *ct.Policy) Verifier { return &timestamps{v, policy} }

type timestamps struct {
	verifier Verifier
	policy   *ct.Policy
}

func (t *timestamps) check(peer Role) error {
	switch {
	case t.verifier == nil || t.policy == nil:
		return errors.New("RequireTimestamps needs a verifier and a policy")
	case len(t.Kinds()) == 0:
		return errors.New("RequireTimestamps judges certificates, and its verifier takes none")
	}
	return checkVerifier(t.verifier, peer)
}

func (t *timestamps) hints() [][]byte {
	if h, ok := t.verifier.(hinter); ok {
		return h.hints()
	}
	return nil
}

// Kinds is X509, if the verifier takes it: nothing else has timestamps.
func (t *timestamps) Kinds() []Kind {
	return slices.DeleteFunc(slices.Clone(kindsOf(t.verifier)), func(k Kind) bool { return k != X509 })
}

// Generation is that of the verifier, with the policy.
func (t *timestamps) Generation() ([sha256.Size]byte, bool) {
	of, ok := generationOf(t.verifier)
	sum := t.policy.Sum()
	return digest("timestamps", of[:], sum[:]), ok
}

func (t *timestamps) Verify(ctx context.Context, claim *Claim) (*Verdict, error) {
	_, _ = claim.Certificates() // parsed once, for both claims
	asked := *claim
	asked.transparency = t.policy
	v, err := ask(ctx, t.verifier, &asked)
	if err != nil || v == nil || !v.OK {
		return v, err
	}
	// That a yes rests on this policy is not taken on trust.
	if v.Path == nil || v.Path.Timestamps == nil || !v.Path.Timestamps.OK || v.Path.Timestamps.Policy != t.policy.Sum() {
		return nil, errors.New("timestamps are required, and the verifier that admits the peer did not judge them by the policy: it builds no path, or was given another policy")
	}
	return v, nil
}
