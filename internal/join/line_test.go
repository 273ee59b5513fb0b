package join

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func sample() *Line {
	l := &Line{Name: "web", Service: "orders", Authority: []string{"10.0.0.5:8440", "[fd00::5]:8440", "ca.example.internal:8440"}}
	for i := range l.Root {
		l.Root[i] = byte(i * 7)
	}
	for i := range l.Token {
		l.Token[i] = byte(255 - i)
	}
	return l
}

func same(a, b *Line) bool {
	return a.Name == b.Name && a.Service == b.Service && a.Root == b.Root && a.Token == b.Token &&
		strings.Join(a.Authority, " ") == strings.Join(b.Authority, " ")
}

func TestALineReadsAsItWasWritten(t *testing.T) {
	for _, service := range []string{"orders", ""} {
		l := sample()
		l.Service = service
		if service == "" {
			l.Authority = slices.Repeat([]string{"ca.example.internal:8440"}, maxAddresses)
		}
		for _, text := range []string{l.Text(), "  '" + l.Text() + "'\n", "\"" + l.Text() + "\"", l.Text()[:40] + "\r\n  " + l.Text()[40:]} {
			got, err := Parse(text)
			if err != nil || !same(got, l) {
				t.Errorf("%q is %+v, %v", text, got, err)
			}
		}
	}
}

// The same root and token in other letters would be another line for the same thing.
func TestARootAndATokenAreWrittenInOneWay(t *testing.T) {
	parts := strings.Split(sample().Text(), "/")
	for i, what := range map[int]string{4: "root", 5: "token"} {
		odd := slices.Clone(parts[:6])
		last := len(odd[i]) - 1
		const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		odd[i] = odd[i][:last] + string(letters[strings.IndexByte(letters, odd[i][last])|1]) // the last bit means nothing
		head := strings.Join(odd, "/")
		if _, err := Parse(head + "/" + check(head)); err == nil || strings.Contains(err.Error(), "check digits") {
			t.Errorf("the %s in other letters: %v", what, err)
		}
	}
}

func TestALineIsOneWordToAShell(t *testing.T) {
	if i := strings.IndexFunc(sample().Text(), func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+:/.,-_[]", r)
	}); i >= 0 {
		t.Errorf("the character at %d is not safe in %s", i, sample().Text())
	}
}

// However a paste was cut or changed, it says so, and never shows the token.
func TestADamagedLineSaysSo(t *testing.T) {
	text := sample().Text()
	token, _ := sample().Token.MarshalText()
	for n := range len(text) {
		_, err := Parse(text[:n])
		if err == nil {
			t.Errorf("the first %d bytes pass", n)
			continue
		}
		if n > len(scheme)+2 && !strings.Contains(err.Error(), "cut off") {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		if strings.Contains(err.Error(), string(token)) {
			t.Errorf("the error tells the token: %v", err)
		}
	}
	for i := range text {
		changed := text[:i] + "z" + text[i+1:]
		if text[i] == 'z' {
			continue
		}
		if _, err := Parse(changed); err == nil {
			t.Errorf("a changed byte %d passes", i)
		}
	}
}

func TestALineWithBadNamesOrAddressesIsRefused(t *testing.T) {
	for what, change := range map[string]func(*Line){
		"no name":          func(l *Line) { l.Name = "" },
		"capital name":     func(l *Line) { l.Name = "Web" },
		"wildcard":         func(l *Line) { l.Name = "*.web" },
		"bad service":      func(l *Line) { l.Service = "a b" },
		"no address":       func(l *Line) { l.Authority = nil },
		"no port":          func(l *Line) { l.Authority = []string{"10.0.0.5"} },
		"port 0":           func(l *Line) { l.Authority = []string{"10.0.0.5:0"} },
		"no host":          func(l *Line) { l.Authority = []string{":8440"} },
		"too many":         func(l *Line) { l.Authority = strings.Split(strings.Repeat("a:1,", maxAddresses)+"a:1", ",") },
		"control in host":  func(l *Line) { l.Authority = []string{"a\x1b:1"} },
		"socket as a path": func(l *Line) { l.Authority = []string{"unix:1"}; l.Name = "a/b" },
	} {
		l := sample()
		change(l)
		if got, err := Parse(l.Text()); err == nil {
			t.Errorf("%s: passes as %v", what, got)
		}
	}
}

func TestAnotherVersionIsNamed(t *testing.T) {
	text := strings.Replace(sample().Text(), "join:1/", "join:2/", 1)
	if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("got %v", err)
	}
}

func TestATokenIsNotPrinted(t *testing.T) {
	l := sample()
	token, _ := l.Token.MarshalText()
	for _, s := range []string{l.String(), fmt.Sprint(l), fmt.Sprintf("%v %+v %#v %s %x", *l, *l, *l, l.Token, l.Token.String())} {
		if strings.Contains(s, string(token)) || strings.Contains(s, "255, 254") || strings.Contains(s, "0xff, 0xfe") {
			t.Errorf("it is in %s", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().Text())
	f.Add("mutual+join:1/web/-/a:1/x/y/z")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(l.Text())
		if err != nil || !same(l, again) {
			t.Errorf("%q is %v, which is %v, %v", s, l, again, err)
		}
	})
}
