package explain

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/pki"
)

// Revoked is one certificate on a list, or one of which an OCSP response speaks.
type Revoked struct {
	Serial string `json:"serial"`
	// Status is of a response: "good", "revoked" or "unknown".
	Status string     `json:"status,omitempty"`
	At     *time.Time `json:"revoked_at,omitempty"`
	Reason string     `json:"reason,omitempty"`
}

// maxRevoked is how many entries of a list are told.
const maxRevoked = 1000

func inspectList(b []byte, now time.Time) (*Thing, error) {
	r, err := pki.ParseRevocationList(b)
	if err != nil {
		return nil, err
	}
	t := newThing("crl")
	n, sum := r.Len(), r.SHA256()
	t.Issuer, t.Signature, t.SHA256 = r.Issuer(), r.AlgorithmName(), hex.EncodeToString(sum[:])
	t.Scope, t.Entries = r.ScopeWords(), &n
	if r.Number() != nil {
		t.Number = r.Number().String()
	}
	if r.Base() != nil {
		t.Base = r.Base().String()
	}
	t.times(r.ThisUpdate, r.NextUpdate)
	r.Each(func(serial string, e pki.RevocationEntry) bool {
		one := Revoked{Serial: serial, At: &e.RevokedAt}
		if e.Reason != 0 {
			one.Reason = pki.ReasonWords(e.Reason)
		}
		t.Revoked = append(t.Revoked, one)
		return len(t.Revoked) < maxRevoked
	})
	switch {
	case r.Fault() != "":
		t.Warnings = append(t.Warnings, "it can't be relied on: "+r.Fault())
	case r.NextUpdate.IsZero():
		t.Warnings = append(t.Warnings, "it does not say when it ends, so nobody can tell whether it is the newest")
	case now.After(r.NextUpdate):
		t.Warnings = append(t.Warnings, "it is over: the next one was due "+span(now.Sub(r.NextUpdate))+" ago")
	}
	if n > len(t.Revoked) {
		t.Warnings = append(t.Warnings, fmt.Sprintf("only the first %d of its %d entries are told", len(t.Revoked), n))
	}
	return t, nil
}

func inspectResponse(b []byte, now time.Time) (*Thing, error) {
	r, err := pki.ParseOCSPResponse(b)
	if err != nil {
		return nil, err
	}
	t := newThing("ocsp")
	t.Issuer, t.Signature, t.SHA256 = r.Signer(), r.AlgorithmName(), sum(b)
	for i, s := range r.Says() {
		one := Revoked{Serial: s.Serial, Status: s.Status.String()}
		if s.Status == pki.OCSPRevoked {
			at := s.RevokedAt
			one.At = &at
			if s.Reason != 0 {
				one.Reason = pki.ReasonWords(s.Reason)
			}
		}
		t.Revoked = append(t.Revoked, one)
		if i == 0 {
			t.Serial = s.Serial
			t.times(s.ThisUpdate, s.NextUpdate)
			if !s.NextUpdate.IsZero() && now.After(s.NextUpdate) {
				t.Warnings = append(t.Warnings, "it is over since "+span(now.Sub(s.NextUpdate)))
			}
		}
	}
	return t, nil
}

// times are from when and until when it is the newest.
func (t *Thing) times(from, to time.Time) {
	from = from.UTC()
	t.NotBefore = &from
	if !to.IsZero() {
		to = to.UTC()
		t.NotAfter = &to
	}
}

// toldRevoked is how many are told to people.
const toldRevoked = 20

func (t *Thing) revocationFacts(now time.Time) (out []Fact) {
	add := func(label, value string) {
		if value != "" {
			out = append(out, Fact{Label: label, Value: value})
		}
	}
	add("signed by", printable(t.Issuer))
	if t.NotBefore != nil {
		words := "from " + when(*t.NotBefore, now)
		if t.NotAfter != nil {
			words += "\n" + ends(*t.NotBefore, *t.NotAfter, now)
		}
		add("holds", words)
	}
	add("number", t.Number)
	if t.Base != "" {
		add("changes", "what came after list number "+t.Base)
	}
	add("covers", t.Scope)
	if t.Entries != nil {
		add("revoked", plural(*t.Entries, "certificate", "certificates"))
	}
	for i, r := range t.Revoked {
		if i == toldRevoked {
			add("", fmt.Sprintf("and %d more", len(t.Revoked)-i))
			break
		}
		words := r.Status
		if r.At != nil {
			if words == "" {
				words = "revoked"
			}
			words += " " + r.At.UTC().Format("2006-01-02 15:04 UTC")
		}
		if r.Reason != "" {
			words += ", " + r.Reason
		}
		add("serial", r.Serial+"\n"+words)
	}
	return out
}
