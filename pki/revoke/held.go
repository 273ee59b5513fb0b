package revoke

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki"
)

// Held is what is held of one place that is followed.
type Held struct {
	// From is the place as a certificate names it: quote it before it is printed.
	From string
	// Issuer is the authority whose news it is, About the serial number of the one
	// certificate that it is about: "" for a list. Both are safe to print.
	Issuer, About string
	// Number, and Revoked, how many certificates are on it, are of a list; Status is of
	// an answer.
	Number  string
	Revoked int
	Status  pki.OCSPStatus
	// Unproven is whether another key than the issuer's signed the list: it counts where
	// a chain shows that the issuer has that key, too.
	Unproven bool
	// ThisUpdate and NextUpdate are from when and until when it is the newest; zero
	// where nothing came yet.
	ThisUpdate, NextUpdate time.Time
	// Why is why the last try brought nothing, "" where it did. It is safe to print.
	Why string
}

// Held tells all that was fetched or is to be, by issuer and place.
func (k *Checker) Held() []Held {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]Held, 0, len(k.items))
	for _, it := range k.items {
		out = append(out, it.held())
	}
	slices.SortFunc(out, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Issuer, b.Issuer), cmp.Compare(a.From, b.From), cmp.Compare(a.About, b.About))
	})
	return out
}

// held is called with the Checker's lock.
func (it *item) held() Held {
	h := Held{From: it.url, Issuer: it.issuer.Label(), ThisUpdate: it.from, NextUpdate: it.to, Why: it.why}
	if it.kind == aResponse {
		h.About, h.Status = it.about.Serial(), it.status
	}
	if it.list != nil {
		h.Revoked, h.Unproven = it.list.Len(), it.unproven()
		if n := it.list.Number(); n != nil {
			h.Number = n.String()
		}
	}
	return h
}

// Words tells it in a sentence that is safe to print, at a time.
func (h Held) Words(now time.Time) string {
	what := "a revocation list of " + h.Issuer
	switch {
	case h.About != "" && h.Status != 0:
		what = fmt.Sprintf("%s's answer about the certificate with serial %s (%s)", h.Issuer, h.About, h.Status)
	case h.About != "":
		what = fmt.Sprintf("%s's answer about the certificate with serial %s", h.Issuer, h.About)
	case h.Number != "":
		what = fmt.Sprintf("revocation list number %s of %s with %d revoked", h.Number, h.Issuer, h.Revoked)
	}
	if h.Unproven {
		what += ", signed with another key than its issuer's"
	}
	switch {
	case h.ThisUpdate.IsZero():
		return what + ": nothing came yet"
	case now.After(h.NextUpdate):
		return fmt.Sprintf("%s, %s old, which ended at %s", what, h.age(now), stamp(h.NextUpdate))
	}
	return fmt.Sprintf("%s, %s old, which holds until %s", what, h.age(now), stamp(h.NextUpdate))
}

// age is how long ago it was made.
func (h Held) age(now time.Time) string {
	return max(now.Sub(h.ThisUpdate), 0).Round(time.Second).String()
}

// tell logs what came of a fetch, each news and each trouble once: a failure is loud
// when it is the first, and again for each time that what is held has ended.
func (k *Checker) tell(h Held, news bool, again int) {
	now := k.now()
	attrs := []any{"from", h.From, "issuer", h.Issuer}
	if !h.ThisUpdate.IsZero() {
		attrs = append(attrs, "age", h.age(now), "this_update", stamp(h.ThisUpdate), "next_update", stamp(h.NextUpdate))
	}
	switch {
	case h.Why != "":
		level := slog.LevelWarn
		if again > 0 && now.Before(h.NextUpdate) {
			level = slog.LevelDebug
		}
		entry, _ := code.Lookup(code.NewsNotFetched)
		k.cfg.Log.Log(context.Background(), level, "news of revocations were not fetched from "+host(h.From)+": "+h.Why+"; what is held: "+h.Words(now),
			append(attrs, "code", string(code.NewsNotFetched), "mend", entry.Mend)...)
	case news:
		k.cfg.Log.Info("news of revocations: "+h.Words(now), attrs...)
	case again > 0:
		k.cfg.Log.Info("news of revocations are fetched again: "+h.Words(now), attrs...)
	}
}
