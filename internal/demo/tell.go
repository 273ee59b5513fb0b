package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// event is one thing that happened.
type event struct {
	Event string `json:"event"` // certificates, started, answer, refused, try, ready, done
	Step  int    `json:"step,omitempty"`

	Dir          string  `json:"dir,omitempty"` // certificates
	Certificates []paper `json:"certificates,omitempty"`

	Name    string   `json:"name,omitempty"` // started; Command is without what the demo hears it by
	Address string   `json:"address,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Command []string `json:"command,omitempty"`

	URL    string `json:"url,omitempty"` // answer
	Answer string `json:"answer,omitempty"`

	Caller string   `json:"caller,omitempty"` // refused
	Here   *refusal `json:"server,omitempty"`
	There  *refusal `json:"client,omitempty"`

	With    string `json:"with,omitempty"` // try
	Refused bool   `json:"refused,omitempty"`
	Words   string `json:"-"`
	Line    lines  `json:"line,omitempty"`
}

// lines is a command for a shell, in pieces that go on lines of their own.
type lines []string

// MarshalJSON is the command as one line.
func (l lines) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(l, " ")) }

// teller puts events into words, or into JSON.
type teller struct {
	out    io.Writer
	json   bool
	colour bool
	step   int
	last   string
}

func newTeller(o Options) teller { return teller{out: o.Out, json: o.JSON, colour: o.Colour} }

// begin begins a step.
func (t *teller) begin(n int, title string) error {
	t.step, t.last = n, ""
	if t.json {
		return nil
	}
	return t.print("%s%s  %s\n", map[bool]string{true: "\n"}[n > 1], t.paint(cyan, fmt.Sprint(n)), t.paint(bold, title))
}

// tell tells an event.
func (t *teller) tell(e event) error {
	if t.json {
		e.Step = t.step
		j := json.NewEncoder(t.out)
		j.SetEscapeHTML(false)
		return j.Encode(e)
	}
	err := t.words(e)
	t.last = e.Event
	return err
}

func (t *teller) words(e event) error {
	switch e.Event {
	case "certificates":
		for _, p := range e.Certificates {
			if err := t.print("   %-13s %s\n", filepath.Base(p.File), t.paint(dim, p.What)); err != nil {
				return err
			}
		}
		return t.print("   %s\n", t.paint(dim, "in "+e.Dir+", which goes when the demo ends"))
	case "started":
		if e.Command[1] == "demo" {
			return t.print("   %s at http://%s  %s\n", e.Name, e.Address, t.paint(dim, fmt.Sprintf("(process %d; knows nothing of TLS)", e.PID)))
		}
		return t.print("   %s %s\n     %s\n", t.paint(dim, "$"), command(e.Command),
			t.paint(dim, fmt.Sprintf("listens on %s  (process %d)", e.Address, e.PID)))
	case "answer":
		return t.print("   %s GET %s\n     %s\n", t.paint(green, "✓"), e.URL, t.paint(dim, e.Answer))
	case "refused":
		return t.refused(e)
	case "try":
		return t.print("%s   %s\n   %s\n", map[bool]string{true: "\n"}[t.last == "try"], t.paint(dim, "# "+e.Words), strings.Join(e.Line, " \\\n     "))
	case "ready":
		return t.print("\n%s All went as it should, and stays up for you; Ctrl-C ends it, and takes everything away.\n", t.paint(green, "✓"))
	case "done":
		return t.print("\n%s All went as it should; the demo has ended, and nothing is left of it.\n", t.paint(green, "✓"))
	}
	return fmt.Errorf("there are no words for the event %s", e.Event)
}

// refused is what both ends said; of who comes by itself only one end is heard.
func (t *teller) refused(e event) error {
	if e.There == nil {
		return t.print("   %s orders  %s  %s\n", t.paint(red, "✗"), t.paint(yellow, e.Here.Code), wrap(e.Here.Reason, 20))
	}
	return t.print("   %s %s\n     orders  %s  %s\n     caller  %s  %s\n     wire           alert %s\n     mend           %s\n",
		t.paint(red, "✗"), e.Caller, t.paint(yellow, e.Here.Code), wrap(e.Here.Reason, 20),
		t.paint(yellow, e.There.Code), wrap(e.There.Reason, 20), e.Here.Alert, wrap(e.Here.Mend, 20))
}

// columns is how wide prose may be.
const columns = 96

// wrap breaks s between words; what follows the first line begins at indent.
func wrap(s string, indent int) string {
	var b strings.Builder
	at := indent
	for i, w := range strings.Fields(s) {
		n := utf8.RuneCountInString(w)
		switch {
		case i > 0 && at+1+n > columns:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		case i > 0:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += n
	}
	return b.String()
}

func (t *teller) print(format string, args ...any) error {
	_, err := fmt.Fprintf(t.out, format, args...)
	return err
}

// The colours that paint knows: ECMA-48, section 8.3.117.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours s for a terminal, and leaves it else.
func (t *teller) paint(sgr, s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

// command is a command line as a person would type it, a flag to a line.
func command(args []string) string {
	var b strings.Builder
	b.WriteString("mutual")
	width := 0
	for i := 1; i < len(args); i++ {
		a := quote(args[i])
		if strings.HasPrefix(a, "--") && i+1 < len(args) {
			i++
			a += " " + quote(args[i])
		}
		if width += len(a) + 1; width > 60 {
			b.WriteString(" \\\n      ")
			width = len(a)
		}
		b.WriteString(" " + a)
	}
	return b.String()
}

// quote makes an argument of s for a shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:=@%+,", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
