package explain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mutual-tls/mutual/identity"
)

// Write tells a file's content to people. name is what the file is called.
func (t *Thing) Write(w io.Writer, name string, now time.Time, l Look) error {
	p := newPaper(l)
	p.line(p.in(bold, fmt.Sprintf("%s: %s", printable(name), t.kindWords())))
	if t.Kind == "chain" {
		for i, c := range t.Certificates {
			p.blank()
			p.line(p.in(bold, fmt.Sprintf("%2d  %s", i+1, c.certificate.Label())))
			p.facts(4, c.facts(now))
			p.warnings(c.Warnings)
		}
	} else {
		p.facts(4, t.facts(now))
	}
	p.warnings(t.Warnings)
	if k := t.PrivateKey; k != nil {
		p.blank()
		p.line(p.in(bold, "    and a private key"))
		p.facts(4, k.facts(now))
		p.warnings(k.Warnings)
	}
	return p.flush(w)
}

func (t *Thing) kindWords() string {
	switch t.Kind {
	case "chain":
		return fmt.Sprintf("a chain of %d certificates", len(t.Certificates))
	case "csr":
		return "a certificate request (CSR)"
	case "key":
		if t.Encrypted {
			return "a private key, encrypted"
		}
		return "a private key"
	case "crl":
		if t.Base != "" {
			return "a delta revocation list"
		}
		return "a revocation list (CRL)"
	case "ocsp":
		return "an OCSP response"
	case "certificate":
		if t.CA {
			return "the certificate of an authority"
		}
	}
	return "a " + t.Kind
}

// warnings writes what is wrong, in its own line each.
func (p *paper) warnings(list []string) {
	for _, words := range list {
		for i, l := range wrap(words, p.look.Width-6) {
			front := "      "
			if i == 0 {
				front = "    " + p.in(yellow, "! ")
			}
			p.line(front + l)
		}
	}
}

// facts are what is told of one thing: what stands first is asked most.
func (t *Thing) facts(now time.Time) []Fact {
	var out []Fact
	add := func(label, value string) {
		if value != "" {
			out = append(out, Fact{Label: label, Value: value})
		}
	}
	isCertificate := t.certificate != nil
	if isCertificate || t.Kind == "csr" {
		names := make([]string, len(t.Names))
		for i, n := range t.Names {
			names[i] = plain(n)
		}
		switch {
		case len(names) > 0:
			add("names", listed(names, 20))
		case !t.CA:
			add("names", "none that count")
		}
		add("subject", printable(t.Subject))
	}
	if isCertificate {
		issuer := printable(t.Issuer)
		if t.certificate.SelfIssued() {
			issuer = "itself"
		}
		add("issued by", issuer)
		from := t.NotBefore
		add("valid", fmt.Sprintf("from %s\n%s", when(*from, now), ends(*from, *t.NotAfter, now)))
	}
	if t.Kind == "crl" || t.Kind == "ocsp" {
		out = append(out, t.revocationFacts(now)...)
	}
	for _, u := range t.ListURLs {
		add("list at", printable(u))
	}
	for _, u := range t.ResponderURLs {
		add("OCSP at", printable(u))
	}
	if t.MustStaple {
		add("must-staple", "it comes with an OCSP response, to whoever asks")
	}
	add("public key", t.Key)
	add("format", t.Format)
	if isCertificate || t.Kind == "csr" {
		add("usages", usageWords(t))
		authority := "no"
		if t.CA {
			authority = "yes" + t.pathWords()
		}
		add("authority", authority)
	}
	add("timestamps", stampsWords(t.Timestamps))
	add("signature", t.Signature)
	add("serial", t.Serial)
	if t.SHA256 != t.KeySHA256 {
		add("SHA-256", t.SHA256)
	}
	add("key's hash", t.KeySHA256)
	return out
}

func (t *Thing) pathWords() string {
	if t.certificate == nil {
		return ""
	}
	x := t.certificate.X509
	switch {
	case x.MaxPathLen > 0:
		return fmt.Sprintf(", with at most %s below it", plural(x.MaxPathLen, "authority", "authorities"))
	case x.MaxPathLen == 0 && x.MaxPathLenZero:
		return ", with no authority below it"
	}
	return ""
}

func usageWords(t *Thing) string {
	if len(t.Usages) == 0 {
		return "not limited"
	}
	return strings.Join(t.Usages, ", ")
}

// printable is s as it is where it is plain text, and quoted where it is not.
func printable(s string) string {
	if len(s) > 400 {
		return identity.Quote(s)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return identity.Quote(s)
		}
	}
	return s
}
