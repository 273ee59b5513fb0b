package explain

import (
	"fmt"
	"io"
	"strings"
)

// Write tells the story to people.
func (s *Story) Write(w io.Writer, l Look) error {
	p := newPaper(l)
	title := printable(s.Target)
	if s.Address != "" && s.Address != s.Target {
		title += " at " + printable(s.Address)
	}
	p.line(p.in(bold, title))
	for i := range s.Steps {
		p.blank()
		p.step(&s.Steps[i])
	}
	if s.Speaks != nil {
		p.blank()
		p.line(p.in(bold, "What it speaks"))
		s.Speaks.write(p)
	}
	if len(s.Known) > 0 {
		p.blank()
		p.line(p.in(bold, "What each side knows now"))
		p.facts(4, s.Known)
	}
	p.blank()
	s.Verdict.write(p)
	return p.flush(w)
}

func (p *paper) step(s *Step) {
	to := "client"
	if s.From == "client" {
		to = "server"
	}
	how, i := "in the clear", yellow
	if s.Encrypted {
		how, i = "encrypted", green
	}
	p.sides(fmt.Sprintf("%2d  %s to %s: %s", s.N, s.From, to, s.Message), how, bold, i)
	p.text(4, s.Words)
	p.facts(4, s.Facts)
	p.unlike(s.Unlike)
	if p.look.Fields {
		p.blank()
		p.fields(s)
	}
	if p.look.Bytes {
		p.blank()
		p.dump(4, s.Bytes)
	}
	for i := range s.Then {
		p.blank()
		p.passage(&s.Then[i])
	}
}

func (p *paper) passage(g *Passage) {
	p.line("    " + p.in(cyan, g.Title))
	if g.Words != "" {
		p.text(4, g.Words)
	}
	p.facts(4, g.Facts)
	if g.After != "" {
		p.text(4, g.After)
	}
	p.unlike(g.Unlike)
}

// unlike says where the usual picture is too simple.
func (p *paper) unlike(words string) {
	if words == "" {
		return
	}
	for i, l := range wrap("Unlike in many pictures, "+words, p.look.Width-6) {
		front := "    "
		if i == 0 {
			front = "    " + p.in(yellow, "≠ ")
		} else {
			front += "  "
		}
		p.line(front + l)
	}
}

// fields writes a message's fields.
func (p *paper) fields(s *Step) {
	var list []Fact
	for _, f := range s.Fields {
		list = append(list, Fact{Label: f.Name, Value: f.Value})
	}
	p.facts(4, list)
}

// WriteOutcome tells people how it ended, and what the server speaks if that is
// not TLS 1.3.
func (s *Story) WriteOutcome(w io.Writer, l Look) error {
	p := newPaper(l)
	s.Verdict.write(p)
	if s.Speaks != nil {
		s.Speaks.write(p)
	}
	return p.flush(w)
}

// Sentence is why not, the mend and the code in one line; "" where it is OK.
func (o *Outcome) Sentence() string {
	if o.OK {
		return ""
	}
	words := o.Reason
	if o.Mend != "" {
		mend := strings.TrimSuffix(o.Mend, ".")
		words += "; " + strings.ToLower(mend[:1]) + mend[1:]
	}
	return escape(fmt.Sprintf("%s (%s)", words, o.Code))
}

func (o *Outcome) write(p *paper) {
	if o.OK {
		sign, i := Passed.sign()
		words := "The connection stands."
		if o.Admitted == "unknown" {
			words = "The connection stands, as far as the client can know."
		}
		p.line(p.in(i, sign+" "+words))
		return
	}
	sign, i := Failed.sign()
	for n, l := range wrap(fmt.Sprintf("%s (%s)", o.Reason, o.Code), p.look.Width-2) {
		front := "  "
		if n == 0 {
			front = sign + " "
		}
		p.line(p.in(i, front+l))
	}
	if o.Mend != "" {
		p.text(2, "Mend: "+o.Mend)
	}
	p.text(2, fmt.Sprintf("More: mutual explain %s", o.Code))
}
