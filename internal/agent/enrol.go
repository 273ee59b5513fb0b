package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/api/client"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/internal/join"
	"github.com/mutual-tls/mutual/pki"
)

// enrol spends a line's token and makes the identity's folder of the answer. The
// key is kept beside until then, so that the same line asks with the same key
// again where an answer was lost. The caller holds the lock of ids.
func enrol(ctx context.Context, l *join.Line, ids string, o Options) (*Agent, error) {
	hash := l.Token.Hash()
	joining := filepath.Join(ids, ".joining-"+hex.EncodeToString(hash[:8]))
	err := folder.Make(joining)
	if err != nil {
		return nil, err
	}
	made := home(joining)
	s, ok := made.whole()
	if !ok {
		if s, err = ask(ctx, l, made, o); err != nil {
			if worthless(err) {
				_ = os.RemoveAll(joining) // no other answer will come to this key
			}
			return nil, err
		}
	}
	domain := filepath.Join(ids, s.Domain)
	if err := folder.Make(domain); err != nil {
		return nil, err
	}
	h := home(filepath.Join(domain, s.Name))
	if _, err := os.Lstat(string(h)); err == nil {
		old, err := open(h, o)
		var unsafe *folder.Unsafe
		switch {
		case errors.As(err, &unsafe):
			return nil, err
		case err == nil && old.state.Origin != s.Origin && !old.useless():
			return nil, api.NewProblem(0, code.IdentityUnreadable, fmt.Sprintf("%s holds an identity of another authority, whose trust domain is called %s too; move it away, and join again by the same line", h, s.Domain))
		}
		// What was there is of no use any more. Its key is not kept.
		if err := os.RemoveAll(string(h)); err != nil {
			return nil, err
		}
	}
	if err := os.Rename(joining, string(h)); err != nil {
		return nil, err
	}
	removeFile(h.file(nextKeyFile))
	return open(h, o)
}

// worthless says whether a token can never be used again with the key that it was
// tried with.
func worthless(err error) bool {
	var p *api.Problem
	if !errors.As(err, &p) || p.Status == 0 {
		return false
	}
	k := code.Code(p.Code)
	return k == code.TokenUnknown || k == code.TokenExpired || k == code.TokenOtherKey
}

// whole says whether the folder holds all of an identity: an answer came, and what
// was to follow did not.
func (h home) whole() (state, bool) {
	s, err := h.readState()
	if err != nil {
		return s, false
	}
	_, _, _, err = h.readIdentity()
	return s, err == nil
}

// ask spends the token, and fills the folder with what comes of it.
func ask(ctx context.Context, l *join.Line, made home, o Options) (state, error) {
	var none state
	key, err := nextKey(made.file(nextKeyFile), o.KeyType, nil)
	if err != nil {
		return none, err
	}
	csr, err := request(key)
	if err != nil {
		return none, err
	}
	answer, err := client.Join(ctx, l, csr, o.Lifetime, o.Clock)
	if err != nil {
		return none, err
	}
	unfit := func(err error) error {
		return api.NewProblem(0, code.AnswerOfAuthority, fmt.Sprintf("the authority's answer can't be used: %v", err))
	}
	// The domain becomes a folder's name: it has to be one, and no way out of it.
	if clean, err := identity.CleanDNS(answer.Proven); err != nil || clean != answer.Proven {
		return none, unfit(fmt.Errorf("its trust domain %s is no DNS name", identity.Quote(answer.Proven)))
	}
	if answer.Domain != answer.Proven || answer.Name != l.Name {
		return none, unfit(fmt.Errorf("it is for another name or trust domain than the line's"))
	}
	anchors, err := answer.Statement.Verify(answer.Domain, []*pki.Certificate{answer.Root}, o.Clock())
	if err != nil {
		return none, unfit(err)
	}
	spiffe := "spiffe://" + answer.Domain + "/" + answer.Name
	_, leaf, err := fresh(&answer.Issued, key, spiffe, pki.NewAnchors(anchors.Roots...), o.Clock())
	if err != nil {
		return none, unfit(err)
	}
	s := state{
		Name: answer.Name, Domain: answer.Domain, Service: answer.Service, Lineage: answer.Lineage,
		IssuedAt: answer.IssuedAt, Origin: hexOf(l.Root), Token: hexOf(l.Token.Hash()),
		Authority: answer.Authority, Standing: api.StateValid,
	}
	if len(s.Authority) == 0 {
		s.Authority = l.Authority
	}
	// Complete before it has its name: a crash leaves the whole folder or none.
	if err := made.writeIdentity(key, answer.Chain); err != nil {
		return none, err
	}
	if err := made.writeJSON(anchorsFile, answer.Statement); err != nil {
		return none, err
	}
	if err := made.writeState(s); err != nil {
		return none, err
	}
	o.Log.Info(fmt.Sprintf("joined %s as %s; the certificate is valid until %s", s.Domain, s.Name, leaf.NotAfter().UTC().Format(time.RFC3339)),
		"name", s.Name, "domain", s.Domain, "serial", leaf.Serial(), "lineage", s.Lineage)
	return s, nil
}
