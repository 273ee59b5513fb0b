package explain

import (
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/internal/observe"
	"github.com/mutual-tls/mutual/mtls"
	"github.com/mutual-tls/mutual/pki"
)

// topics gather the checks of pki under the words that people know them by, in
// the order in which they are told.
var topics = []struct {
	name   string
	checks []string
}{
	{"authority", []string{"signature", "issuer", "issuer name", "path", "anchor", "authority", "path length", "name constraints", "policies"}},
	{"form", []string{"form"}},
	{"revocation", []string{"revocation"}},
	{"timestamps", []string{"timestamps"}},
	{"time", []string{"validity"}},
	{"strength", []string{"key", "signature algorithm"}},
	{"purpose", []string{"leaf", "key usage", "extended key usage", "critical extensions"}},
	{"domain name", []string{"name"}},
}

// judgement tells a verdict on whom ("server" or "client").
func (r *Recorder) judgement(whom string, v *mtls.Verdict) {
	r.judged, r.judge = v, "client"
	if whom == "client" {
		r.judge = "server"
	}
	r.story.Peer = peerOf(v)
	p := r.passage("the " + r.judge + " judges")
	path := v.Path
	if path == nil || len(path.Paths) == 0 && !path.OK {
		r.verdictWords(p, v)
		return
	}
	tried := path.Paths
	if len(tried) == 0 {
		tried = []pki.Path{{Chain: path.Path, OK: true}}
	}
	if !path.OK && len(tried) > 1 {
		p.Words = fmt.Sprintf("%s were tried; this one came nearest.", plural(len(tried), "path", "paths"))
	}
	r.pathWords(p, &tried[0], whom)
	if v.Policy != nil {
		mark := Passed
		if !v.Policy.Allowed {
			mark = Failed
		}
		p.fact(mark, "rule", "%s", v.Policy.Rule)
	}
}

// verdictWords tells a verdict that has no path.
func (r *Recorder) verdictWords(p *Passage, v *mtls.Verdict) {
	switch {
	case v.OK:
		p.fact(Passed, "admitted", "without a path to an authority")
	case v.Path != nil && v.Path.Expected != "":
		p.fact(Failed, "certificate", "expected %s\nfound %s", v.Path.Expected, v.Path.Found)
	default:
		p.fact(Failed, "certificate", "%s", v.Reason)
	}
}

func (r *Recorder) pathWords(p *Passage, path *pki.Path, whom string) {
	byName := map[string][]pki.Check{}
	for _, k := range path.Checks {
		byName[k.Name] = append(byName[k.Name], k)
	}
	for _, t := range topics {
		failed := false
		for _, name := range t.checks {
			for _, k := range byName[name] {
				if !k.OK {
					failed = true
					p.fact(Failed, t.name, "%s", failedWords(path, k))
				}
			}
		}
		if !failed {
			if words := r.passedWords(t.name, path, whom); words != "" {
				p.fact(Passed, t.name, "%s", words)
			}
		}
	}
}

func failedWords(path *pki.Path, k pki.Check) string {
	words := "expected " + k.Expected + "\nfound " + k.Found
	if len(path.Chain) > 1 && k.Certificate < len(path.Chain) {
		words = path.Chain[k.Certificate].Label() + ": " + words
	}
	return words
}

// passedWords tells a topic of which every check passed.
func (r *Recorder) passedWords(topic string, path *pki.Path, whom string) string {
	leaf, end := path.Chain[0], path.Chain[len(path.Chain)-1]
	switch topic {
	case "authority":
		trusted := r.Trusted
		if trusted == "" {
			trusted = "trusted here"
		}
		if len(path.Chain) == 1 {
			return leaf.Label() + " is itself " + trusted
		}
		return fmt.Sprintf("the signatures lead to %s, %s", end.Label(), trusted)
	case "time":
		first := end
		for _, c := range path.Chain {
			if c.NotAfter().Before(first.NotAfter()) {
				first = c
			}
		}
		if len(path.Chain) == 1 {
			return "valid now"
		}
		return fmt.Sprintf("all are valid now; %s ends first", first.Label())
	case "strength":
		return fmt.Sprintf("its key is %s, its signature %s", certificateKey(leaf), leaf.AlgorithmName())
	case "purpose":
		mark := x509.ExtKeyUsageServerAuth
		if whom == "client" {
			mark = x509.ExtKeyUsageClientAuth
		}
		switch {
		case len(leaf.X509.ExtKeyUsage)+len(leaf.X509.UnknownExtKeyUsage) == 0:
			return "not limited to any use"
		case !slices.Contains(leaf.X509.ExtKeyUsage, mark):
			return "made for any use (anyExtendedKeyUsage)"
		}
		return fmt.Sprintf("made for %ss (%sAuth)", whom, whom)
	case "domain name":
		if whom == "client" {
			return ""
		}
		return r.meant() + " is one of its names"
	}
	return ""
}

func peerOf(v *mtls.Verdict) *Peer {
	if v.Peer.Leaf == nil {
		return nil
	}
	leaf := v.Peer.Leaf
	return &Peer{
		Name: v.Peer.Name(), Names: v.Peer.Names, SPIFFE: v.Peer.SPIFFE, Serial: v.Peer.Serial,
		Issuer: leaf.X509.Issuer.String(), NotAfter: leaf.NotAfter().UTC(), Proven: v.OK,
	}
}

// alert adds the alert that ended the handshake, unless the story has it.
func (r *Recorder) alert(e observe.Event) {
	if r.alertFrom != "" {
		return
	}
	r.alertFrom = e.From.String()
	s := Step{N: len(r.story.Steps) + 1, From: r.alertFrom, Message: "alert", Encrypted: r.story.Suite != "" && r.hasKeys()}
	s.Words = "I refuse, and that is all I say about it."
	// The pages of alerts are written for the side that gets them.
	if entry, ok := code.Lookup(code.ByAlert(e.Alert)); ok && r.alertFrom == "server" && r.judge != "server" {
		s.Words = "I refuse."
		s.fact("alert", "%s (%d): %s", e.Alert, uint8(e.Alert), entry.Title)
	} else {
		s.fact("alert", "%s (%d). Why exactly, the other side never learns", e.Alert, uint8(e.Alert))
	}
	s.Bytes = []byte{2, byte(e.Alert)}
	s.Fields = describeAlert(e.Alert)
	r.story.Steps = append(r.story.Steps, s)
}

// hasKeys says whether handshake keys were told of.
func (r *Recorder) hasKeys() bool {
	for _, s := range r.story.Steps {
		for _, p := range s.Then {
			if p.Title == keysTitle {
				return true
			}
		}
	}
	return false
}

// know ends the story of a handshake that came to its end.
func (r *Recorder) know(admitted string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	cipher, _ := cipherWords(r.suite)
	known := func(label, format string, args ...any) {
		r.story.Known = append(r.story.Known, Fact{Label: label, Value: fmt.Sprintf(format, args...)})
	}
	if v := r.judged; v != nil && v.OK && r.judge == "client" {
		words := "talks to " + r.meant()
		if v.Path != nil && len(v.Path.Path) > 0 {
			words += ": " + v.Path.Path[len(v.Path.Path)-1].Label() + " vouches for it"
		}
		if !v.Until.IsZero() {
			words += ", " + ends(v.Path.Path[0].NotBefore(), v.Until, r.now())
		}
		known("the client", "%s", words)
	}
	client := r.shown["client"]
	switch {
	case !r.asked:
		known("the server", "does not know who the client is, and did not ask: one-sided TLS, as on the Web")
	case client == nil:
		known("the server", "does not know who the client is: it asked, and was shown nothing")
	case admitted == "yes":
		known("the server", "talks to %s, and let it in", client.Label())
	default:
		known("the server", "was shown %s and has not said what it makes of it", client.Label())
	}
	known("both", "hold %s keys that nobody else has, for this connection", cipher)
	seen := "two addresses, and how much was sent when"
	if r.hello.ServerName != "" {
		seen = "two addresses, the name " + plain(r.hello.ServerName) + ", and how much was sent when"
	}
	known("a listener", "saw %s; no certificate and no data", seen)
}

// meant is whom the client looked for, as far as the wire or the judgement tells.
func (r *Recorder) meant() string {
	if r.hello.ServerName != "" {
		return plain(r.hello.ServerName)
	}
	if v := r.judged.Path; v != nil {
		for _, p := range v.Paths {
			for _, k := range p.Checks {
				if k.Name == "name" {
					return k.Expected
				}
			}
		}
	}
	return plain(r.judged.Peer.Name())
}
