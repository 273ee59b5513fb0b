package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/mutual-tls/mutual/internal/code"
)

// families are the beginnings of codes and what they stand for.
var families = []struct{ prefix, title string }{
	{"M01", "the peer's certificate does not stand"},
	{"M02", "the peer broke the protocol"},
	{"M03", "no common ground"},
	{"M04", "policy"},
	{"M05", "the peer refused us"},
	{"M06", "our own configuration"},
	{"M07", "the network"},
	{"M08", "the gateways"},
	{"M09", "the authority, and who follows it"},
}

// IsCode says whether s has the form of a code, known or not.
func IsCode(s string) bool {
	if len(s) < 2 || s[0] != 'M' && s[0] != 'm' {
		return false
	}
	for _, c := range []byte(s[1:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Suggest is the code that s most likely meant, "" where none is near.
func Suggest(s string) code.Code {
	s = strings.ToUpper(s)
	var best code.Code
	for _, e := range code.All() {
		// One character off is a slip; of several codes the next one up will do.
		if distance(s, string(e.Code)) == 1 && (best == "" || string(e.Code) <= s) {
			best = e.Code
		}
	}
	return best
}

// distance is how many characters have to be changed, added or dropped to make b
// of a. Both are short.
func distance(a, b string) int {
	if len(a) > 16 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := diagonal
			if a[i] != b[j] {
				next = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// WriteCode writes a code's page.
func WriteCode(w io.Writer, e code.Entry, l Look) error {
	p := newPaper(l)
	p.line(p.in(bold, fmt.Sprintf("%s  %s", e.Code, e.Title)))
	p.blank()
	p.text(2, e.What)
	p.blank()
	list := []Fact{{Label: "mend", Value: e.Mend}}
	if e.Alert != 0 {
		label := "alert sent"
		if strings.HasPrefix(string(e.Code), "M05") {
			label = "alert received"
		}
		list = append(list, Fact{Label: label, Value: fmt.Sprintf("%s (%d)", e.Alert, uint8(e.Alert))})
	}
	p.facts(2, list)
	return p.flush(w)
}

// WriteCodes lists every code, by family.
func WriteCodes(w io.Writer, l Look) error {
	p := newPaper(l)
	all := code.All()
	for i, f := range families {
		if i > 0 {
			p.blank()
		}
		p.line(p.in(bold, f.prefix+"..  "+f.title))
		for _, e := range all {
			if strings.HasPrefix(string(e.Code), f.prefix) {
				p.line(fmt.Sprintf("  %s  %s", e.Code, e.Title))
			}
		}
	}
	return p.flush(w)
}

// CodePage is a code's page as JSON.
type CodePage struct {
	Code  string `json:"code"`
	Title string `json:"title"`
	What  string `json:"what"`
	Mend  string `json:"mend"`
	Alert string `json:"alert"`
}

// PageOf is the page of an entry.
func PageOf(e code.Entry) CodePage {
	p := CodePage{Code: string(e.Code), Title: e.Title, What: e.What, Mend: e.Mend}
	if e.Alert != 0 {
		p.Alert = e.Alert.String()
	}
	return p
}

// Pages are all pages, by code.
func Pages() []CodePage {
	var out []CodePage
	for _, e := range code.All() {
		out = append(out, PageOf(e))
	}
	return out
}
