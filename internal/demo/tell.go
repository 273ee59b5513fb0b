package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mutual-tls/mutual/internal/api"
)

// event is one thing that happened.
type event struct {
	// Event is started, authority, answer, issued, load, renewed, rotated, misled,
	// refused, list, handshake, try, ready or done.
	Event string `json:"event"`
	Step  int    `json:"step,omitempty"`

	Name    string   `json:"name,omitempty"` // started, authority, renewed
	Address string   `json:"address,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Command []string `json:"command,omitempty"` // without what the demo hears it by
	Join    string   `json:"join,omitempty"`    // authority: the line, with stars for the token

	URL    string `json:"url,omitempty"` // answer
	Answer string `json:"answer,omitempty"`
	Dir    string `json:"dir,omitempty"` // issued

	Callers   int    `json:"callers,omitempty"` // load, rotated, renewed
	Seconds   int    `json:"seconds,omitempty"`
	Requests  int    `json:"requests,omitempty"`
	Rotations int    `json:"rotations,omitempty"`
	Serial    string `json:"serial,omitempty"`

	Code string `json:"code,omitempty"` // misled
	Exit int    `json:"exit,omitempty"`

	Caller string `json:"caller,omitempty"` // refused
	Here   *entry `json:"server,omitempty"`
	There  *entry `json:"client,omitempty"`

	Certificates []api.Certificate `json:"certificates,omitempty"` // list
	Handshake    *handshake        `json:"handshake,omitempty"`

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
	ok := t.paint(green, "✓")
	switch e.Event {
	case "started":
		if e.Command[1] == "demo" {
			return t.print("   %s at http://%s  %s\n", e.Name, e.Address, t.paint(dim, fmt.Sprintf("(process %d; knows nothing of TLS)", e.PID)))
		}
		what := ""
		if e.Command[1] == "ca" {
			what = e.Name + ", which "
		}
		return t.command(e.Command, fmt.Sprintf("%slistens on %s  (process %d)", what, e.Address, e.PID))
	case "authority":
		return t.print("     %s\n     %s\n\n     %s\n", t.paint(dim, fmt.Sprintf("made the authority of %s, at %s  (process %d)", e.Name, e.Address, e.PID)),
			t.paint(dim, "and a join line for web, good for an hour and one use; its token is shown in stars:"), e.Join)
	case "answer":
		return t.print("   %s GET %s\n     %s\n", ok, e.URL, t.paint(dim, e.Answer))
	case "issued":
		return t.command(e.Command, e.Answer)
	case "load":
		return t.print("   %d callers ask without end, each request over a handshake of its own, until the certificates\n   that both sides began with are over, in %d s\n", e.Callers, e.Seconds)
	case "renewed":
		return t.print("   %s %-7s %s\n", ok, e.Name, t.paint(dim, "a new key and certificate, "+e.Answer))
	case "rotated":
		return t.print("   %s %d requests, %d rotations, no error\n", ok, e.Requests, e.Rotations)
	case "misled":
		return t.print("   %s %s\n   %s ops     %s  %s\n     %s\n", t.paint(dim, "$"), command(e.Command), t.paint(red, "✗"), t.paint(yellow, e.Code), wrap(e.Answer, 20),
			t.paint(dim, fmt.Sprintf("exit code %d, and the token was not sent: ops joins by it below", e.Exit)))
	case "refused":
		return t.refused(e)
	case "list":
		return t.list(e)
	case "handshake":
		return t.handshake(e)
	case "try":
		return t.print("%s   %s\n   %s\n", map[bool]string{true: "\n"}[t.last == "try"], t.paint(dim, "# "+e.Words), strings.Join(e.Line, " \\\n     "))
	case "ready":
		return t.print("\n%s All went as it should, and stays up for you; Ctrl-C ends it, and takes everything away.\n", ok)
	case "done":
		return t.print("\n%s All went as it should; the demo has ended, and nothing is left of it.\n", ok)
	}
	return fmt.Errorf("there are no words for the event %s", e.Event)
}

// command is a command that was run, and what came of it.
func (t *teller) command(args []string, what string) error {
	return t.print("   %s %s\n     %s\n", t.paint(dim, "$"), command(args), t.paint(dim, what))
}

func (t *teller) list(e event) error {
	if err := t.print("   %s %s\n", t.paint(dim, "$"), command(e.Command)); err != nil {
		return err
	}
	row := func(name, state, until, lineage string) error {
		return t.print("     %-8s %-9s %-22s %s\n", name, state, until, lineage)
	}
	if err := row("NAME", "STATE", "UNTIL", "LINEAGE"); err != nil {
		return err
	}
	for _, c := range e.Certificates {
		if err := row(c.Name, c.State, c.NotAfter.UTC().Format(time.RFC3339), c.Lineage); err != nil {
			return err
		}
	}
	return t.print("     %s\n", t.paint(dim, fmt.Sprintf("and %d before them, which these replaced: all are on record", e.Rotations)))
}

func (t *teller) handshake(e event) error {
	h := e.Handshake
	if err := t.print("   %s %s\n", t.paint(dim, "$"), command(e.Command)); err != nil {
		return err
	}
	row := func(name, what string) error { return t.print("     %-8s %s\n", name, wrap(what, 14)) }
	for _, f := range h.Steps {
		if err := row(f.From, strings.Join(f.Messages, ", ")); err != nil {
			return err
		}
	}
	for _, r := range [][2]string{
		{"keys", strings.Join([]string{h.Version, h.Group, h.Suite, h.Signature}, ", ")},
		{"orders", "is proven to be " + h.Peer.SPIFFE + ", until " + h.Peer.NotAfter},
		{"web", "is proven, and was let in"},
	} {
		if err := row(r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
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
