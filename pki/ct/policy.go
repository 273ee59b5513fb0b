package ct

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/mutual-tls/mutual/identity"
)

// Rule is how many timestamps are enough.
type Rule struct {
	// Name is what the rule is called in words.
	Name string
	// Timestamps is how many logs must have promised, and Long how many for a
	// certificate that lives longer than 180 days; 0 is as many as for others. Beside
	// a certificate Timestamps are enough, however long it lives.
	Timestamps, Long int
	// Operators is of how many operators those logs must be; 0 is one.
	Operators int
}

// Chrome is what Chrome asks of public certificates, and Apple's programs nearly so:
// the promises of two logs, or of three for a certificate of more than 180 days, run
// by two operators at least.
var Chrome = Rule{Name: "Chrome's", Timestamps: 2, Long: 3, Operators: 2}

// longLife is where a certificate needs Rule.Long.
const longLife = 180 * 24 * time.Hour

// needed is how many timestamps must stand in a certificate of this life.
func (r *Rule) needed(life time.Duration) int {
	if life > longLife && r.Long > 0 {
		return r.Long
	}
	return r.Timestamps
}

// Policy is a rule over a list of logs. It is immutable and may be shared.
type Policy struct {
	logs *Logs
	rule Rule
	sum  [sha256.Size]byte
}

// NewPolicy is a policy. One that no certificate or every certificate would pass is
// an error.
func NewPolicy(logs *Logs, rule Rule) (*Policy, error) {
	switch {
	case logs == nil || logs.Len() == 0:
		return nil, errors.New("no logs were given to judge timestamps by: no certificate could have one that counts")
	case rule.Timestamps < 1 || rule.Long < 0 || rule.Operators < 0:
		return nil, errors.New("the rule asks for no timestamp: every certificate would pass")
	case rule.Operators > rule.Timestamps:
		return nil, fmt.Errorf("the rule asks for %d operators by %d timestamps: no certificate could pass", rule.Operators, rule.Timestamps)
	case rule.Long != 0 && rule.Long < rule.Timestamps:
		return nil, errors.New("the rule asks for fewer timestamps of a certificate that lives long")
	case rule.Timestamps > MaxTimestamps || rule.Long > MaxTimestamps:
		return nil, fmt.Errorf("the rule asks for more than the %d timestamps that are looked at", MaxTimestamps)
	}
	p := &Policy{logs: logs, rule: rule}
	p.sum = sha256.Sum256(fmt.Appendf(logs.sum[:], "%d %d %d", rule.Timestamps, rule.Long, rule.Operators))
	return p, nil
}

// Sum is a digest of all that the policy's answers rest on.
func (p *Policy) Sum() [sha256.Size]byte { return p.sum }

// Logs is the policy's list.
func (p *Policy) Logs() *Logs { return p.logs }

// Asks says what the policy asks of a certificate of this life, in words.
func (p *Policy) Asks(life time.Duration) string {
	words := fmt.Sprintf("timestamps of %d logs", p.rule.needed(life))
	if n := p.rule.needed(life); n == 1 {
		words = "a timestamp of a log"
	} else if p.rule.Operators > 1 {
		words += fmt.Sprintf(" of %d operators", p.rule.Operators)
	}
	if p.rule.Name != "" {
		words += " (" + p.rule.Name + " rule)"
	}
	return words
}

// Source is by which way a timestamp came.
type Source uint8

// The ways (RFC 6962, section 3.3).
const (
	InCertificate Source = iota + 1
	InHandshake
	InOCSP
)

// String is "in the certificate", "in the handshake" or "in the OCSP response".
func (s Source) String() string {
	switch s {
	case InCertificate:
		return "in the certificate"
	case InHandshake:
		return "in the handshake"
	}
	return "in the OCSP response"
}

// Evidence is a certificate with the timestamps that came with it.
type Evidence struct {
	// Certificate is in DER. It has been parsed by whoever asks, and stands.
	Certificate []byte
	// Issuer is the SubjectPublicKeyInfo of the key that signed it; nil where it is not
	// known, and then no timestamp in the certificate counts.
	Issuer []byte
	// NotBefore and NotAfter are the certificate's.
	NotBefore, NotAfter time.Time
	// Handshake are those from the TLS extension, OCSP those from an OCSP response that
	// was verified; of each MaxTimestamps are looked at.
	Handshake, OCSP [][]byte
}

// Result is what a policy makes of a certificate's timestamps. It is immutable.
type Result struct {
	// OK is whether they are enough.
	OK bool
	// Policy is the Sum of the policy whose answer it is.
	Policy [sha256.Size]byte
	// From is the latest of those that were counted: before, the answer might have been
	// another. No end comes of timestamps, but for the end of the list's own use.
	From time.Time
	// Timestamps are all that were looked at.
	Timestamps []Judged
	// Certificate and Beside are how many logs' count in the certificate and beside it,
	// each with the number of their operators.
	Certificate, Beside Count
}

// Count is how many logs and operators have promised.
type Count struct{ Logs, Operators int }

// Judged is one timestamp and what became of it.
type Judged struct {
	Source Source
	// LogID and At are the timestamp's; zero where it does not parse.
	LogID [32]byte
	At    time.Time
	// Log is the log, nil where it is not on the list.
	Log *Log
	// Wrong says why it does not count, "" where it does.
	Wrong string
}

// Name is what to call its log.
func (j *Judged) Name() string {
	switch {
	case j.Log != nil:
		return identity.Quote(j.Log.Description)
	case j.At.IsZero():
		return "one"
	}
	return fmt.Sprintf("log %x...", j.LogID[:8])
}

// Judge says whether a certificate has the timestamps that the policy asks for, at a
// time. Those in the certificate have to be enough by themselves, or else those beside
// it: in a certificate one of a retired log counts if it is older than the retirement
// and another of a log that is in use stands beside it; elsewhere, where a timestamp
// can be as new as somebody likes, only logs in use count.
func (p *Policy) Judge(e Evidence, at time.Time) *Result {
	r := &Result{Policy: p.sum}
	inside := tally{p: p, r: r, e: &e, at: at}
	rest, list, err := split(e.Certificate)
	switch {
	case err != nil:
		r.Timestamps = append(r.Timestamps, Judged{Source: InCertificate, Wrong: err.Error()})
	case len(list) > 0 && e.Issuer == nil:
		r.Timestamps = append(r.Timestamps, Judged{Source: InCertificate, Wrong: "who issued the certificate is not known"})
	case len(list) > 0:
		issuer := sha256.Sum256(e.Issuer)
		inside.add(InCertificate, list, &entry{&issuer, rest})
	}
	beside := tally{p: p, r: r, e: &e, at: at}
	whole := &entry{content: e.Certificate}
	beside.add(InHandshake, e.Handshake, whole)
	beside.add(InOCSP, e.OCSP, whole)

	r.Certificate, r.Beside = inside.count(), beside.count()
	enough := func(c Count, logs int) bool { return c.Logs >= logs && c.Operators >= p.rule.Operators }
	switch {
	case enough(r.Certificate, p.rule.needed(e.NotAfter.Sub(e.NotBefore))) && inside.current:
		r.OK, r.From = true, inside.latest
	case enough(r.Beside, p.rule.Timestamps):
		r.OK, r.From = true, beside.latest
	}
	return r
}

// tally counts the timestamps that came in one way.
type tally struct {
	p       *Policy
	r       *Result
	e       *Evidence
	at      time.Time
	logs    []*Log
	names   []string // of operators
	current bool     // one of them is of a log in use
	latest  time.Time
}

func (t *tally) count() Count { return Count{len(t.logs), len(t.names)} }

// add judges timestamps about what a log was shown.
func (t *tally) add(from Source, list [][]byte, about *entry) {
	for _, b := range list[:min(len(list), MaxTimestamps)] {
		j := Judged{Source: from}
		j.Wrong = t.judge(&j, b, about)
		t.r.Timestamps = append(t.r.Timestamps, j)
	}
}

// judge says why a timestamp does not count, or counts it.
func (t *tally) judge(j *Judged, b []byte, about *entry) string {
	stamp, err := Parse(b)
	if err != nil {
		return err.Error()
	}
	j.LogID, j.At = stamp.Log, stamp.At
	l := t.p.logs.Log(stamp.Log)
	if l == nil {
		return "its log is not on the list"
	}
	j.Log = l
	switch ends := t.e.NotAfter; {
	case stamp.At.After(t.at):
		return "it is from the future"
	case !l.State.current() && l.State != Retired:
		return "its log is " + l.State.String()
	case l.State == Retired && j.Source != InCertificate:
		return "its log is retired"
	case l.State == Retired && !stamp.At.Before(l.Since):
		return "its log was retired before"
	case !l.From.IsZero() && ends.Before(l.From), !l.Until.IsZero() && !ends.Before(l.Until):
		return "its log takes no certificate that ends then"
	}
	for _, counted := range t.logs {
		if counted == l {
			return "another of the same log counts already"
		}
	}
	if !l.signed(stamp, about) {
		return "its log's key did not sign it for this certificate"
	}
	t.logs = append(t.logs, l)
	t.current = t.current || l.State.current()
	if stamp.At.After(t.latest) {
		t.latest = stamp.At
	}
	operator := l.operatorAt(stamp.At)
	for _, name := range t.names {
		if name == operator {
			return ""
		}
	}
	t.names = append(t.names, operator)
	return ""
}
