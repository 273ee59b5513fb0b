package pki

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/internal/alert"
	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki/ct"
)

// Verdict is the answer to a Question. It is immutable.
type Verdict struct {
	// OK is the answer. All that follows tells why not, but for Path, NotAfter
	// and, from Explain, Paths.
	OK bool
	// Code and Alert: the stable code, and what goes on the wire.
	Code  code.Code
	Alert alert.Alert
	// Path is the path that stands, leaf to anchor.
	Path []*Certificate
	// NotAfter is the earliest end on Path: the verdict does not outlive it.
	NotAfter time.Time
	// Staple is what the leaf's issuer said of it by OCSP, where that was given and
	// can be relied on.
	Staple *OCSPAnswer
	// Timestamps is what was made of those of logs, where the question asked for any.
	Timestamps *ct.Result
	// Link is which of the shown certificates was refused, counted from 0; -1
	// where it was none of them (an anchor, or no certificate at all).
	Link int
	// Subject is what the refused certificate is called, quoted; "" where there
	// is none.
	Subject string
	// Expected and Found are what the check wanted and what there was; Mend says
	// what to do. All are safe to print.
	Expected, Found, Mend string
	// Paths are the paths that were tried, at most maxPaths, the one that the
	// verdict tells of first.
	Paths []Path
}

// Path is a path that was tried.
type Path struct {
	// Chain is the leaf and what was put above it.
	Chain []*Certificate
	OK    bool
	// Checks are in the order of Chain.
	Checks []Check
}

// Check is one check of one certificate of a path.
type Check struct {
	// Name is the check's name; it is stable.
	Name string
	// Certificate is the place in the path's chain.
	Certificate int
	OK          bool
	// Code is why not; "" where OK.
	Code code.Code
	// Expected and Found are safe to print.
	Expected, Found string
}

// Sentence is one sentence for a log: what, at which certificate, expected, found.
func (v *Verdict) Sentence() string {
	if v.OK {
		return fmt.Sprintf("the certificate stands, on a path of %d up to anchor %s, until %s",
			len(v.Path), v.Path[len(v.Path)-1].Label(), stamp(v.NotAfter))
	}
	var b strings.Builder
	e, _ := code.Lookup(v.Code)
	b.WriteString(e.Title)
	switch {
	case v.Subject != "" && v.Link < 0:
		fmt.Fprintf(&b, ": trust anchor %s", v.Subject)
	case v.Subject != "" && v.Link == 0:
		fmt.Fprintf(&b, ": certificate 1, the leaf %s", v.Subject)
	case v.Link >= 0:
		fmt.Fprintf(&b, ": certificate %d", v.Link+1)
		if v.Subject != "" {
			b.WriteString(", " + v.Subject)
		}
	}
	if v.Expected != "" {
		fmt.Fprintf(&b, ": expected %s, found %s", v.Expected, v.Found)
	}
	return b.String()
}

// MarshalJSON is the form that `mutual verify --json` prints.
func (v *Verdict) MarshalJSON() ([]byte, error) {
	type cert struct {
		Subject  string `json:"subject"`
		Serial   string `json:"serial"`
		NotAfter string `json:"not_after"`
		SHA256   string `json:"sha256"`
	}
	type check struct {
		Check       string `json:"check"`
		Certificate int    `json:"certificate"`
		OK          bool   `json:"ok"`
		Code        string `json:"code,omitempty"`
		Expected    string `json:"expected"`
		Found       string `json:"found"`
	}
	type path struct {
		Chain  []cert  `json:"chain"`
		OK     bool    `json:"ok"`
		Checks []check `json:"checks"`
	}
	out := struct {
		OK       bool   `json:"ok"`
		Code     string `json:"code"`
		Alert    string `json:"alert,omitempty"`
		Link     *int   `json:"link,omitempty"`
		Subject  string `json:"subject,omitempty"`
		Expected string `json:"expected,omitempty"`
		Found    string `json:"found,omitempty"`
		Mend     string `json:"mend"`
		NotAfter string `json:"not_after,omitempty"`
		Paths    []path `json:"paths"`
	}{OK: v.OK, Code: string(v.Code), Subject: v.Subject, Expected: v.Expected, Found: v.Found, Mend: v.Mend, Paths: []path{}}
	if v.OK {
		out.NotAfter = stamp(v.NotAfter)
	} else {
		out.Alert = v.Alert.String()
		if v.Link >= 0 {
			out.Link = &v.Link
		}
	}
	paths := v.Paths
	if v.OK && len(paths) == 0 {
		paths = []Path{{Chain: v.Path, OK: true}}
	}
	for _, p := range paths {
		q := path{OK: p.OK, Chain: []cert{}, Checks: []check{}}
		for _, c := range p.Chain {
			q.Chain = append(q.Chain, cert{c.Label(), c.Serial(), stamp(c.NotAfter()), hex.EncodeToString(c.SHA256[:])})
		}
		for _, k := range p.Checks {
			q.Checks = append(q.Checks, check{k.Name, k.Certificate, k.OK, string(k.Code), k.Expected, k.Found})
		}
		out.Paths = append(out.Paths, q)
	}
	return json.Marshal(out)
}

// Refused is the verdict on a chain that does not parse, from ParseChain's error.
func Refused(err error) *Verdict {
	v := &Verdict{Code: code.Malformed, Link: -1, Expected: "an X.509 certificate in DER", Found: cut(err.Error())}
	if p, ok := err.(*ParseError); ok {
		v.Link, v.Found = p.Link, cut(p.Err.Error())
	}
	v.complete("")
	return v
}

// complete fills in what the code's page says, and the mend unless one is given.
func (v *Verdict) complete(mend string) {
	e, _ := code.Lookup(v.Code)
	v.Alert = e.Alert
	v.Mend = mend
	if mend == "" {
		v.Mend = e.Mend
	}
}

// plain is a verdict that needed no search.
func (s *search) plain(c code.Code, expected, found, mend string) *Verdict {
	v := &Verdict{Code: c, Link: -1, Expected: expected, Found: found}
	v.complete(mend)
	return v
}
