package explain

import (
	"fmt"
	"io"

	"github.com/mutual-tls/mutual/internal/code"
	"github.com/mutual-tls/mutual/pki"
)

// WriteVerdict tells a path validation of what as a tree: each path, each
// certificate on it, each check.
func WriteVerdict(w io.Writer, what string, v *pki.Verdict, l Look) error {
	p := newPaper(l)
	if v.OK {
		sign, i := Passed.sign()
		p.line(p.in(i, fmt.Sprintf("%s %s stands, until %s", sign, printable(what), v.NotAfter.UTC().Format("2006-01-02 15:04 UTC"))))
	} else {
		sign, i := Failed.sign()
		entry, _ := code.Lookup(v.Code)
		p.line(p.in(i, fmt.Sprintf("%s %s is refused: %s (%s)", sign, printable(what), entry.Title, v.Code)))
		if len(v.Paths) == 0 && v.Expected != "" {
			p.facts(2, []Fact{{Label: "expected", Value: v.Expected}, {Label: "found", Value: v.Found}})
		}
		if v.Mend != "" {
			p.text(2, "Mend: "+v.Mend)
		}
		p.text(2, fmt.Sprintf("More: mutual explain %s", v.Code))
	}
	for n := range v.Paths {
		p.blank()
		if len(v.Paths) > 1 {
			p.line(p.in(bold, fmt.Sprintf("path %d of %d", n+1, len(v.Paths))))
		}
		p.path(&v.Paths[n])
	}
	return p.flush(w)
}

func (p *paper) path(path *pki.Path) {
	for i, c := range path.Chain {
		role := ""
		switch {
		case i == 0 && len(path.Chain) > 1:
			role = ", the leaf"
		case i > 0 && i == len(path.Chain)-1 && reached(path):
			role = ", the anchor"
		}
		p.line(p.in(bold, fmt.Sprintf("%2d  %s%s", i+1, c.Label(), role)))
		var list []Fact
		for _, k := range path.Checks {
			if k.Certificate != i {
				continue
			}
			f := Fact{Label: k.Name, Value: k.Found, Mark: Passed}
			if !k.OK {
				f.Mark = Failed
				f.Value = "expected " + k.Expected + "\nfound " + k.Found
			} else if k.Name == "signature" {
				f.Value = k.Expected
			}
			list = append(list, f)
		}
		p.facts(4, list)
	}
}

// reached says whether a path ends at an anchor.
func reached(path *pki.Path) bool {
	for _, k := range path.Checks {
		if k.Name == "anchor" {
			return true
		}
	}
	return false
}
