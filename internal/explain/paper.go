package explain

import (
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Look says how to write for people. The zero value is plain text, brief, in 80
// columns.
type Look struct {
	// Colour is for terminals that show it.
	Colour bool
	// Width is the number of columns; 0 is 80.
	Width int
	// Fields and Bytes add each message's fields, and its bytes.
	Fields, Bytes bool
}

// ink is a way to stand out, as a terminal's escape sequence.
type ink string

const (
	bold   ink = "\x1b[1m"
	faint  ink = "\x1b[2m"
	red    ink = "\x1b[31m"
	green  ink = "\x1b[32m"
	yellow ink = "\x1b[33m"
	cyan   ink = "\x1b[36m"
)

const noInk = "\x1b[0m"

// paper is what is written on. Its text is gathered, so that there is one write
// and one error.
type paper struct {
	strings.Builder
	look Look
}

func newPaper(l Look) *paper {
	if l.Width <= 0 {
		l.Width = 80
	}
	return &paper{look: l}
}

func (p *paper) flush(w io.Writer) error {
	_, err := io.WriteString(w, p.String())
	return err
}

// in colours s where there is colour.
func (p *paper) in(i ink, s string) string {
	if !p.look.Colour || s == "" {
		return s
	}
	return string(i) + s + noInk
}

func (p *paper) blank() { p.WriteByte('\n') }

func (p *paper) line(s string) {
	p.WriteString(strings.TrimRight(s, " "))
	p.WriteByte('\n')
}

// text writes words at an indentation, broken between words.
func (p *paper) text(indent int, words string) {
	for _, l := range wrap(words, p.look.Width-indent) {
		p.line(strings.Repeat(" ", indent) + l)
	}
}

// sides writes left at the margin and right at the other, or right under it.
func (p *paper) sides(left, right string, leftInk, rightInk ink) {
	gap := p.look.Width - utf8.RuneCountInString(left) - utf8.RuneCountInString(right)
	if gap < 2 {
		gap = 2
	}
	p.line(p.in(leftInk, left) + strings.Repeat(" ", gap) + p.in(rightInk, right))
}

func (m Mark) sign() (string, ink) {
	switch m {
	case Passed:
		return "✓", green
	case Failed:
		return "✗", red
	case Unsure:
		return "?", yellow
	}
	return "", ""
}

// facts writes facts in two columns, with their marks in front where one of them
// has a mark.
func (p *paper) facts(indent int, list []Fact) {
	label, marked := 0, false
	for _, f := range list {
		label = max(label, utf8.RuneCountInString(f.Label))
		marked = marked || f.Mark != ""
	}
	for _, f := range list {
		front := strings.Repeat(" ", indent)
		width := indent
		if marked {
			sign, i := f.Mark.sign()
			if sign == "" {
				sign = " "
			}
			front += p.in(i, sign) + " "
			width += 2
		}
		value := width + label + 2
		front += p.in(faint, f.Label) + strings.Repeat(" ", value-width-utf8.RuneCountInString(f.Label))
		for i, l := range wrap(f.Value, p.look.Width-value) {
			if i > 0 {
				front = strings.Repeat(" ", value)
			}
			p.line(front + l)
		}
	}
}

// dump writes bytes as offset, hex and text.
func (p *paper) dump(indent int, b []byte) {
	for at := 0; at < len(b); at += 16 {
		row := b[at:min(at+16, len(b))]
		var s strings.Builder
		s.WriteString(strings.Repeat(" ", indent))
		s.WriteString(hex.EncodeToString([]byte{byte(at >> 16), byte(at >> 8), byte(at)})[1:])
		s.WriteString(" ")
		for i := range 16 {
			if i%8 == 0 {
				s.WriteByte(' ')
			}
			if i < len(row) {
				s.WriteString(hex.EncodeToString(row[i:i+1]) + " ")
			} else {
				s.WriteString("   ")
			}
		}
		s.WriteByte(' ')
		for _, c := range row {
			if c < ' ' || c > '~' {
				c = '.'
			}
			s.WriteByte(c)
		}
		p.line(p.in(faint, s.String()))
	}
}

// wrap breaks words into lines of at most width runes, at spaces; what is longer
// than a line is cut. Line breaks in words stay; what else could act on a terminal
// is escaped, for the case that whoever worded it forgot.
func wrap(words string, width int) []string {
	width = max(width, 20)
	var out []string
	for _, paragraph := range strings.Split(escape(words), "\n") {
		line := ""
		for _, w := range strings.Fields(paragraph) {
			for utf8.RuneCountInString(w) > width {
				if line != "" {
					out, line = append(out, line), ""
				}
				runes := []rune(w)
				out, w = append(out, string(runes[:width])), string(runes[width:])
			}
			switch {
			case line == "":
				line = w
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(w) <= width:
				line += " " + w
			default:
				out, line = append(out, line), w
			}
		}
		out = append(out, line)
	}
	return out
}

// escape is s in ASCII: its line breaks stay, and every other rune that is not
// printable ASCII stands as in a Go string; the ellipsis is in pages of ours.
func escape(s string) string {
	odd := func(r rune) bool { return (r < ' ' || r > '~') && r != '\n' && r != '…' }
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if odd(r) {
			q := strconv.QuoteToASCII(s[:n])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
