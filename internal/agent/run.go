package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/mutual-tls/mutual/internal/api"
	"github.com/mutual-tls/mutual/internal/clock"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/mtls"
)

const (
	// tick is how often the wall clock is looked at: timers do not count a
	// machine's sleep, and clocks are set.
	tick = time.Second
	// firstRetry and lastRetry bound the pause after a failure, which doubles.
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute
	// followEvery keeps a storm of changes, or an authority that answers at once and
	// has nothing to say, from costing both sides all their time.
	followEvery = 100 * time.Millisecond
	// registerEvery is how often the authority is told again where we are.
	registerEvery = 10 * time.Minute
	// readyTime is how long a start waits for the authority to hear of it.
	readyTime = 5 * time.Second
)

// Run keeps the identity fresh until ctx ends. Trouble is logged and tried again:
// what is in use stays in use until it ends.
func (a *Agent) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { a.keepFresh(ctx) })
	all.Go(func() { a.follow(ctx) })
	all.Go(func() { a.keepRegistered(ctx) })
	all.Wait()
}

// keepFresh renews when it is time, and takes what another process on the same
// folder has renewed.
func (a *Agent) keepFresh(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var pause pause
	for {
		if pause.over() {
			a.freshen(ctx, &pause)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (a *Agent) freshen(ctx context.Context, pause *pause) {
	if _, err := a.adopt(); err != nil {
		a.options.Log.Warn(fmt.Sprintf("the identity of %s on disk can't be read, and the one in use stays: %v", a.Name(), err), "code", string(code.IdentityUnreadable))
		pause.longer(lastRetry)
		return
	}
	if a.options.Clock().Before(a.due()) {
		return
	}
	switch err := a.Renew(ctx); {
	case err == nil:
		*pause = noPause()
	case ctx.Err() == nil:
		a.complain(err)
		pause.longer(a.longestPause(err))
	}
}

// due is when the certificate is to be renewed: at two thirds of its life, counted
// from when it was issued, and a little later, so that those who joined together
// do not renew together. A shorter life that was asked for since counts.
func (a *Agent) due() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	issued := a.state.IssuedAt
	if issued.Before(a.leaf.NotBefore()) || issued.After(a.leaf.NotAfter()) {
		issued = a.leaf.NotBefore()
	}
	life := a.leaf.NotAfter().Sub(issued)
	if want := a.options.Lifetime; want > 0 && want < life {
		life = want
	}
	return issued.Add(life*2/3 + time.Duration(float64(a.jitter)/float64(jitterScale)*float64(life)/20))
}

const jitterScale = 1 << 20

func drawJitter() time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(jitterScale))
	if err != nil {
		return 0
	}
	return time.Duration(n.Int64())
}

// Renew renews the certificate now, with a new key.
func (a *Agent) Renew(ctx context.Context) error {
	lock, err := await(ctx, a.home.file(lockFile))
	if err != nil {
		return err
	}
	defer lock.Release()
	// Whoever held the lock may have renewed.
	if adopted, err := a.adopt(); err != nil || adopted && a.options.Clock().Before(a.due()) {
		return err
	}
	err = a.renew(ctx)
	if err == nil && a.options.Clock().After(a.Leaf().NotAfter()) {
		err = a.renew(ctx) // it was an answer of long ago, given again
	}
	return err
}

// renew is one renewal. The caller holds the folder's lock.
func (a *Agent) renew(ctx context.Context) error {
	key, err := nextKey(a.home.file(nextKeyFile), a.options.KeyType, a.Leaf())
	if err != nil {
		return err
	}
	csr, err := request(key)
	if err != nil {
		return err
	}
	issued, err := a.client.Renew(ctx, &api.RenewRequest{CSR: csr, Lifetime: int64(a.options.Lifetime / time.Second)})
	if err != nil {
		var p *api.Problem
		if errors.As(err, &p) && p.Code == string(code.KeyNotAccepted) {
			removeFile(a.home.file(nextKeyFile)) // nothing was issued for it: the next try makes another
		}
		return err
	}
	a.hear()
	if err := a.trust.follow(issued.Statement); err != nil {
		a.refuseStatement(err)
	}
	if _, _, err := fresh(issued, key, a.SPIFFE(), a.trust.anchorsNow(), a.options.Clock()); err != nil {
		return api.NewProblem(0, code.AnswerOfAuthority, fmt.Sprintf("the authority's answer can't be used: %v", err))
	}
	if err := a.home.writeIdentity(key, issued.Chain); err != nil {
		return err // the next try asks with the same key, and gets the same answer
	}
	removeFile(a.home.file(nextKeyFile))
	a.mu.Lock()
	a.state.IssuedAt, a.state.Lineage, a.state.Standing = issued.IssuedAt, issued.Lineage, api.StateValid
	if len(issued.Authority) > 0 {
		a.state.Authority = issued.Authority
	}
	a.saveState()
	a.mu.Unlock()
	_, err = a.adopt()
	return err
}

// adopt takes the identity on disk where it is another than the one in use.
func (a *Agent) adopt() (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.home.stamp() == a.stamp {
		return false, nil
	}
	cert, leaf, stamp, err := a.home.readIdentity()
	if err != nil {
		return false, err
	}
	a.stamp = stamp
	if leaf.Equal(a.leaf) {
		return false, nil
	}
	// The time that it was issued is another process's to know, too.
	if s, err := a.home.readState(); err == nil && s.Lineage != "" {
		a.state.IssuedAt, a.state.Lineage, a.state.Standing = s.IssuedAt, s.Lineage, s.Standing
		a.state.Origin, a.state.Token = s.Origin, s.Token // it may have been enrolled anew
	}
	a.leaf, a.jitter = leaf, drawJitter()
	a.swap.Set(cert)
	// Who asks for updates is to do so as the new certificate, not to the end of
	// the former: no connection of that one is used again.
	a.client.Forget()
	a.nudge()
	a.options.Log.Info(fmt.Sprintf("a new certificate is in use for %s, valid until %s", a.state.Name, leaf.NotAfter().UTC().Format(time.RFC3339)),
		"serial", leaf.Serial(), "domain", a.state.Domain)
	return true, nil
}

// complain tells why a renewal failed, once a try. One that cannot succeed is
// told louder.
func (a *Agent) complain(err error) {
	log, left := a.options.Log.Warn, a.Leaf().NotAfter().Sub(a.options.Clock()).Round(time.Second)
	mend := "it is tried again"
	k := string(code.RenewalFailed)
	var p *api.Problem
	if errors.As(err, &p) && p.Code != "" {
		k = p.Code
	}
	if standing := standingOf(err); standing != "" {
		log = a.options.Log.Error
		a.stand(standing)
		mend = fmt.Sprintf("if it is to come back, enrol it anew: mutual token %s", a.Name())
	}
	if a.TooLate() {
		log, k = a.options.Log.Error, string(code.RenewalTooLate)
		mend = fmt.Sprintf("it can't be renewed any more; enrol it anew: mutual token %s", a.Name())
	}
	when := "ends in " + clock.Words(left)
	if left <= 0 {
		when = "ended " + clock.Words(-left) + " ago"
	}
	reason, _, _ := words(err)
	log(fmt.Sprintf("the certificate of %s could not be renewed; it %s: %s", a.Name(), when, reason), "code", k, "mend", mend)
}

// words are the reason of an error without its mend, its code and the mend: a
// sentence in a log has one of each.
func words(err error) (reason, k, mend string) {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Detail, p.Code, p.Mend
	}
	if r, ok := mtls.RefusalOf(err); ok {
		return r.Reason, r.Code, r.Mend
	}
	return err.Error(), string(code.AuthorityDown), ""
}

// standingOf is what a refusal says of the identity, "" for nothing.
func standingOf(err error) string {
	var p *api.Problem
	if errors.As(err, &p) {
		switch code.Code(p.Code) {
		case code.LineageRevoked:
			return api.StateRevoked
		case code.LineageFrozen:
			return api.StateFrozen
		}
	}
	if r, ok := mtls.RefusalOf(err); ok && r.Code == string(code.RefusedCertificateRevoked) {
		return api.StateRevoked // by the authority, which had proven itself
	}
	return ""
}

// stand takes in what the authority says of the identity, and says it once: until
// its end the certificate looks like any other.
func (a *Agent) stand(standing string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if standing == "" || a.state.Standing == standing {
		return
	}
	a.state.Standing = standing
	a.saveState()
	k := code.LineageRevoked
	if standing == api.StateFrozen {
		k = code.LineageFrozen
	}
	e, _ := code.Lookup(k)
	a.options.Log.Error(fmt.Sprintf("the identity %s is %s, the authority of %s says", a.state.Name, standing, a.state.Domain), "code", string(k), "mend", e.Mend)
}

// longestPause keeps a short life from being slept through.
func (a *Agent) longestPause(err error) time.Duration {
	if standingOf(err) != "" || a.TooLate() {
		return lastRetry
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	life := a.leaf.NotAfter().Sub(a.state.IssuedAt)
	return min(lastRetry, max(life/30, firstRetry))
}

// follow asks for what is new, again and again: the authority holds the request
// until there is something.
func (a *Agent) follow(ctx context.Context) {
	revision := ""
	var pause pause
	last, blind := a.options.Clock(), false
	for ctx.Err() == nil {
		asked, cancel := context.WithCancel(ctx)
		begun, services := time.Now(), a.followed()
		type answer struct {
			u   *api.Updates
			err error
		}
		got := make(chan answer, 1)
		go func(since string) {
			u, err := a.client.Updates(asked, since, services)
			got <- answer{u, err}
		}(revision)
		var r answer
		woken := false
		select {
		case r = <-got:
		case <-a.wake:
			// What is followed has changed: ask anew, for all of it.
			cancel()
			<-got
			woken, revision = true, ""
		}
		cancel()
		if woken {
			continue
		}
		if r.err != nil {
			if ctx.Err() != nil {
				return
			}
			if pause.first() {
				reason, k, mend := words(r.err)
				a.options.Log.Warn(fmt.Sprintf("nothing new is heard of the authority of %s: %s", a.Domain(), reason), "code", k, "mend", mend)
			}
			if age := a.options.Clock().Sub(last); age > blindAfter && !blind {
				blind = true
				e, _ := code.Lookup(code.RevocationsStale)
				a.options.Log.Warn(fmt.Sprintf("nothing was heard of the authority of %s for %s: what it revoked since is not known here, and no session is resumed",
					a.Domain(), clock.Words(age.Round(time.Minute))), "code", string(e.Code), "mend", e.Mend)
			}
			a.stand(standingOf(r.err))
			revision = ""
			pause.longer(30 * time.Second)
			if standingOf(r.err) != "" {
				pause.longer(lastRetry)
			}
			pause.wait(ctx, a.wake)
			continue
		}
		if !pause.first() {
			a.options.Log.Info("the authority of " + a.Domain() + " is heard of again")
		}
		pause = noPause()
		last, blind = a.options.Clock(), false
		a.hear()
		a.apply(r.u)
		revision = r.u.Revision
		rest(ctx, time.Until(begun.Add(followEvery)))
	}
}

func (a *Agent) followed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.interest))
}

func (a *Agent) hear() {
	a.mu.Lock()
	a.heard = a.options.Clock()
	a.mu.Unlock()
}

func (a *Agent) apply(u *api.Updates) {
	if err := a.trust.follow(u.Statement); err != nil {
		a.refuseStatement(err)
	}
	if err := a.trust.revise(u.Lists, u.Issuers); err != nil {
		a.options.Log.Warn("not taken from the authority: "+err.Error(), "code", string(code.RevocationsRefused))
	}
	a.learn(u.Services)
	a.mu.Lock()
	if len(u.Authority) > 0 && !slices.Equal(u.Authority, a.state.Authority) {
		a.state.Authority = u.Authority
		a.saveState()
	}
	a.mu.Unlock()
	if u.Standing.State == api.StateRevoked || u.Standing.State == api.StateFrozen {
		a.stand(u.Standing.State)
	}
}

func (a *Agent) refuseStatement(err error) {
	a.options.Log.Error("a statement of anchors was refused, and the one in force stays: "+err.Error(), "code", string(code.StatementRefused))
}

// keepRegistered tells the authority where we are, soon after a start, and now
// and then.
func (a *Agent) keepRegistered(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	var pause pause
	for {
		if pause.over() {
			if err := a.tell(ctx); err == nil {
				pause = noPause()
			} else if ctx.Err() == nil {
				if pause.first() {
					reason, k, mend := words(err)
					a.options.Log.Warn(fmt.Sprintf("the authority could not be told where %s is: %s", a.Name(), reason), "code", k, "mend", mend)
				}
				pause.longer(30 * time.Second)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// pause is the time between tries after failures. It is measured by the monotonic
// clock: a clock that is set does not lengthen it.
type pause struct {
	length time.Duration
	until  time.Time
}

func noPause() pause { return pause{} }

func (p *pause) first() bool { return p.length == 0 }

func (p *pause) over() bool { return !time.Now().Before(p.until) }

// longer doubles the pause up to most, and begins it. A quarter is left to chance.
func (p *pause) longer(most time.Duration) {
	p.length = min(max(2*p.length, firstRetry), most)
	p.until = time.Now().Add(p.length*3/4 + time.Duration(int64(p.length/4)*int64(drawJitter())/jitterScale))
}

// rest waits for a time, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// wait waits for the pause's end, or until it is woken.
func (p *pause) wait(ctx context.Context, wake <-chan struct{}) {
	t := time.NewTimer(time.Until(p.until))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-t.C:
	}
}
