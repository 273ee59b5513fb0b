package explain

import (
	"slices"
	"testing"
)

func TestWordsAreBrokenBetweenWordsAndMadeHarmless(t *testing.T) {
	for _, c := range []struct {
		words string
		width int
		want  []string
	}{
		{"", 20, []string{""}},
		{"one two", 20, []string{"one two"}},
		{"one two three four five", 20, []string{"one two three four", "five"}},
		{"first\nsecond", 20, []string{"first", "second"}},
		{"0123456789012345678901234", 20, []string{"01234567890123456789", "01234"}},
		{"a\x1b[31mb \u202ec \"d\"", 60, []string{`a\x1b[31mb \u202ec "d"`}},
		{`a\n` + "\x00", 60, []string{`a\n\x00`}},
		{"a\xffb\u009b\r\nc", 60, []string{`a\xffb\u009b\r`, "c"}},
	} {
		if got := wrap(c.words, c.width); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d) is %q, expected %q", c.words, c.width, got, c.want)
		}
	}
}

func TestBytesAreDumpedWithOffsetHexAndText(t *testing.T) {
	p := newPaper(Look{})
	p.dump(2, []byte("0123456789abcdef\x00\x1b~"))
	const want = "  00000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef\n" +
		"  00010  00 1b 7e                                          ..~\n"
	if p.String() != want {
		t.Errorf("the dump is\n%s, expected\n%s", p.String(), want)
	}
}
