// Package install puts authorities into the places where the programs of a machine
// look for whom to trust, and takes them out again: the system's bundle, the
// databases of NSS (Chromium, Firefox) and the keystores of Java.
//
// It is exact. What was trusted before us is left as it was, by installing and by
// uninstalling: a receipt says what was added, is written before anything is, and
// nothing is ever taken out that is not on it. Both can be said twice.
package install

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/identity"
	"github.com/mutual-tls/mutual/internal/folder"
	"github.com/mutual-tls/mutual/pki"
)

// Kind is a kind of store.
type Kind string

// The kinds of stores.
const (
	System Kind = "system" // the distribution's bundle: curl, OpenSSL, Go, Python
	NSS    Kind = "nss"    // Chromium and Firefox
	Java   Kind = "java"
)

// Kinds are all of them, in the order in which they are worked on: what is in the
// system's bundle reaches Java by itself on some distributions.
var Kinds = []Kind{System, NSS, Java}

// Machine is the machine, or the folder with one in it, whose stores are meant.
// It is not safe for concurrent use; two processes keep each other out.
type Machine struct {
	// Root is the folder that stands for "/": an image that is being made. Empty is
	// this machine. In a folder no program of it is run: the bundle is changed
	// beside the folder that it is made from, so the result is the same.
	Root string
	// Home is the home folder, as it is called inside of Root, whose NSS databases
	// are meant. Empty is that of the user, or of who called sudo.
	Home string
	// Kinds are the kinds of stores that are meant; none is all.
	Kinds []Kind
	// Receipt is the file that says what was added. Empty is the usual place:
	// /var/lib/mutual/trust.json for root and in a folder, else below
	// $XDG_STATE_HOME.
	Receipt string
	// DryRun tells what would be done, and does nothing.
	DryRun bool
	// Unconstrained takes roots that can speak for every name.
	Unconstrained bool
	// Now is the time to judge by; nil is time.Now.
	Now func() time.Time
}

// Action is what came of one certificate in one store.
type Action string

// The actions. Would-be ones are those of a dry run.
const (
	Added       Action = "added"
	Already     Action = "already trusted"  // before us, or by us earlier: see Step.Ours
	Removed     Action = "removed"          // and trusted no more
	Left        Action = "left"             // it is trusted, and not by our doing
	Absent      Action = "absent"           // there was nothing to remove
	WouldAdd    Action = "would be added"   //
	WouldRemove Action = "would be removed" //
	Skipped     Action = "skipped"          // the store is there and can't be worked on: see Step.Detail
	Failed      Action = "failed"           // see Step.Detail
	Trusted     Action = "trusted"          // Check's answer
	Untrusted   Action = "not trusted"      // Check's answer
)

// Step is what was done, or found, for one certificate in one store.
type Step struct {
	Store   Kind   `json:"store"`
	Place   string `json:"place"`
	Subject string `json:"subject"`
	SHA256  string `json:"sha256"`
	Action  Action `json:"action"`
	// Ours is whether a receipt says that we put it there.
	Ours bool `json:"ours"`
	// Detail is a sentence: what is in the way and what mends it.
	Detail string `json:"detail,omitempty"`
}

// Unlimited is the refusal of a root that no name constraints limit.
type Unlimited struct{ Subject string }

// Error says what it means and what mends it.
func (u *Unlimited) Error() string {
	return fmt.Sprintf("the root %s has no name constraints: whoever holds its key can pose as every site to this machine; say --unconstrained if that is meant", u.Subject)
}

// ErrNowhere is that no store was found.
var ErrNowhere = errors.New("no trust store was found here: neither a bundle of a distribution that is known, nor a database of NSS, nor a keystore of Java")

// store is one place where certificates are trusted.
type store interface {
	kind() Kind
	place() string
	// ready is nil where the store can be changed, and else says what mends it.
	ready() error
	// trusts are the certificates that programs which use it trust.
	trusts(ctx context.Context) (map[[32]byte]bool, error)
	// plan is what add would do, to be written on the receipt first.
	plan(ctx context.Context, c *pki.Certificate) (Entry, error)
	add(ctx context.Context, c *pki.Certificate, e Entry) error
	// remove undoes what e says, and is content where it is undone.
	remove(ctx context.Context, c *pki.Certificate, e Entry) error
}

// fit refuses what should not be trusted for everything.
func (m *Machine) fit(c *pki.Certificate) error {
	now := time.Now()
	if m.Now != nil {
		now = m.Now()
	}
	dns, _ := c.LimitsNames()
	switch name := c.Label(); {
	case !c.X509.BasicConstraintsValid || !c.X509.IsCA:
		return fmt.Errorf("%s is not an authority's certificate (no basic constraints that say so); give the root", name)
	case !c.SelfIssued() || c.CheckSignatureBy(c) != nil:
		return fmt.Errorf("%s is not a root: it is signed by %s; give the root", name, c.IssuerLabel())
	case now.After(c.NotAfter()):
		return fmt.Errorf("the root %s ended on %s", name, c.NotAfter().UTC().Format(time.DateOnly))
	case !dns && !m.Unconstrained:
		return &Unlimited{name}
	}
	return nil
}

// Install has every store trust the roots. What fails in one store does not keep
// it from the others: the error then joins what failed, and the steps tell all.
func (m *Machine) Install(ctx context.Context, roots ...*pki.Certificate) ([]Step, error) {
	for _, c := range roots {
		if err := m.fit(c); err != nil {
			return nil, err
		}
	}
	before := make(map[string]map[[32]byte]bool) // by place
	look := func(stores []store) {
		for _, s := range stores {
			if trusted, err := s.trusts(ctx); err == nil {
				before[s.place()] = trusted
			}
		}
	}
	return m.each(ctx, roots, look, func(s store, r *Receipt, c *pki.Certificate, step *Step) error {
		trusted, err := s.trusts(ctx)
		if err != nil {
			return err
		}
		step.Ours = r.has(s, c)
		if trusted[c.SHA256] {
			step.Action = Already
			if step.Ours || m.DryRun || before[s.place()][c.SHA256] {
				return nil
			}
			// The system's own tool has handed it on: that is our doing, too.
			e, err := s.plan(ctx, c)
			if err == nil {
				step.Action, step.Ours = Added, true
				err = r.note(e)
			}
			return err
		}
		if err := s.ready(); err != nil {
			return err
		}
		if step.Action = WouldAdd; m.DryRun {
			return nil
		}
		e, err := s.plan(ctx, c)
		if err != nil {
			return err
		}
		if err := r.note(e); err != nil {
			return err
		}
		if err := s.add(ctx, c, e); err != nil {
			// Half of it may be done: undone it leaves nothing to remember.
			if s.remove(ctx, c, e) == nil {
				_ = r.strike(e)
			}
			return err
		}
		step.Action, step.Ours = Added, true
		return nil
	})
}

// Uninstall takes the roots out of every store that a receipt says we put them in.
// No roots are all those on the receipt.
func (m *Machine) Uninstall(ctx context.Context, roots ...*pki.Certificate) ([]Step, error) {
	if len(roots) == 0 {
		r, err := m.receipt()
		if err != nil {
			return nil, err
		}
		if roots, err = r.certificates(); err != nil {
			return nil, err
		}
		if len(roots) == 0 {
			return nil, nil
		}
	}
	return m.each(ctx, roots, nil, func(s store, r *Receipt, c *pki.Certificate, step *Step) error {
		e, ours := r.find(s, c)
		if ours {
			if err := s.ready(); err != nil {
				return err
			}
			if step.Action, step.Ours = WouldRemove, true; m.DryRun {
				return nil
			}
			if err := s.remove(ctx, c, e); err != nil {
				return err
			}
			if err := r.strike(e); err != nil {
				return err
			}
		}
		trusted, err := s.trusts(ctx)
		switch {
		case err != nil:
			return err
		case trusted[c.SHA256]:
			step.Action, step.Ours = Left, false
			step.Detail = "it was not put there by us"
		case ours:
			step.Action = Removed
		default:
			step.Action = Absent
		}
		return nil
	})
}

// Check says in which stores the roots are trusted now.
func (m *Machine) Check(ctx context.Context, roots ...*pki.Certificate) ([]Step, error) {
	looking := *m
	looking.DryRun = true // it makes no file, nor a lock
	return looking.each(ctx, roots, nil, func(s store, r *Receipt, c *pki.Certificate, step *Step) error {
		trusted, err := s.trusts(ctx)
		if err != nil {
			return err
		}
		step.Action, step.Ours = Untrusted, r.has(s, c)
		if trusted[c.SHA256] {
			step.Action = Trusted
		}
		return nil
	})
}

// List is what the receipt says that we added, and whether it is trusted still.
func (m *Machine) List(ctx context.Context) ([]Step, error) {
	r, err := m.receipt()
	if err != nil {
		return nil, err
	}
	roots, err := r.certificates()
	if err != nil || len(roots) == 0 {
		return nil, err
	}
	steps, err := m.Check(ctx, roots...)
	return slices.DeleteFunc(steps, func(s Step) bool { return !s.Ours }), err
}

// each does act for each root in each store, and collects what came of it. look,
// where it is not nil, sees the stores before.
func (m *Machine) each(ctx context.Context, roots []*pki.Certificate, look func([]store), act func(store, *Receipt, *pki.Certificate, *Step) error) ([]Step, error) {
	stores, err := m.stores()
	if err != nil {
		return nil, err
	}
	r, err := m.receipt()
	if err != nil {
		return nil, err
	}
	if !m.DryRun {
		if err := r.lock(); err != nil {
			return nil, err
		}
		defer r.unlock()
	}
	if look != nil {
		look(stores)
	}
	var steps []Step
	var failed []error
	for _, s := range stores {
		for _, c := range roots {
			step := Step{Store: s.kind(), Place: s.place(), Subject: c.Label(), SHA256: hex.EncodeToString(c.SHA256[:])}
			err := act(s, r, c, &step)
			var skip *unready
			switch {
			case errors.As(err, &skip):
				step.Action, step.Detail = Skipped, skip.Error()
				failed = append(failed, fmt.Errorf("%s: %w", s.place(), err))
			case err != nil:
				step.Action, step.Detail = Failed, identity.Printable(err.Error())
				failed = append(failed, fmt.Errorf("%s: %w", s.place(), err))
			}
			steps = append(steps, step)
		}
	}
	return steps, errors.Join(failed...)
}

// unready is a store that can't be worked on, and what mends it.
type unready struct{ mend string }

func (u *unready) Error() string { return u.mend }

func (m *Machine) wants(k Kind) bool { return len(m.Kinds) == 0 || slices.Contains(m.Kinds, k) }

// stores finds what is there.
func (m *Machine) stores() ([]store, error) {
	var all []store
	if m.wants(System) {
		s, err := m.systemStore()
		if err != nil {
			return nil, err
		}
		if s != nil {
			all = append(all, s)
		}
	}
	if m.wants(NSS) {
		all = append(all, m.nssStores()...)
	}
	if m.wants(Java) {
		all = append(all, m.javaStores()...)
	}
	if len(all) == 0 {
		return nil, ErrNowhere
	}
	return all, nil
}

// here says whether it is this machine, whose own programs can be run.
func (m *Machine) here() bool { return m.Root == "" || filepath.Clean(m.Root) == "/" }

// receipt opens the receipt; none yet is an empty one.
func (m *Machine) receipt() (*Receipt, error) {
	path := m.Receipt
	if path == "" {
		if m.here() {
			base, err := folder.Default()
			if err != nil {
				return nil, err
			}
			path = filepath.Join(base, "trust", "receipt.json")
		} else {
			var err error
			if path, err = within(m.Root, "/var/lib/mutual/trust/receipt.json"); err != nil {
				return nil, err
			}
		}
	}
	return openReceipt(path)
}

// exists says whether there is something of that name.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// as is who owns the home folder that is meant, where that is not us.
func (m *Machine) as() *owner {
	if m.Home != "" || !m.here() {
		return nil
	}
	return caller()
}

// home is the home folder whose databases are meant.
func (m *Machine) home() string {
	if m.Home != "" {
		return m.Home
	}
	if o := m.as(); o != nil {
		return o.home
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}
