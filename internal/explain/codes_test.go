package explain

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

func TestEveryCodeHasItsPageAndItsPlaceInTheList(t *testing.T) {
	var list bytes.Buffer
	if err := WriteCodes(&list, Look{}); err != nil {
		t.Fatal(err)
	}
	checkSafe(t, "the list", list.Bytes())
	for _, e := range code.All() {
		if !strings.Contains(list.String(), "  "+string(e.Code)+"  "+e.Title+"\n") {
			t.Errorf("the list lacks %s", e.Code)
		}
		var page bytes.Buffer
		if err := WriteCode(&page, e, Look{Width: 2000}); err != nil {
			t.Fatal(err)
		}
		checkSafe(t, "the page", page.Bytes())
		for _, want := range []string{string(e.Code), e.Title, e.What, e.Mend} {
			if !strings.Contains(page.String(), want) {
				t.Errorf("the page of %s lacks %q", e.Code, want)
			}
		}
	}
	if got := len(Pages()); got != len(code.All()) {
		t.Errorf("there are %d pages, expected %d", got, len(code.All()))
	}
}

func TestMistypedCodeIsAnsweredWithTheOneThatWasMeant(t *testing.T) {
	for typed, want := range map[string]code.Code{
		"M117": "M0117", "m0117x": "M0117", "MO117": "M0117", "M0128": "M0127", "M9999": "", "": "", "M0117M0117M0117M0117": "",
	} {
		got := Suggest(typed)
		if want == "M0127" { // any that is one digit off will do, below it best
			if got == "" || got > "M0128" {
				t.Errorf("%q suggests %q", typed, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%q suggests %q, expected %q", typed, got, want)
		}
	}
	for s, want := range map[string]bool{"M0117": true, "m1": true, "M": false, "M01x7": false, "example:443": false, "": false} {
		if IsCode(s) != want {
			t.Errorf("%q as a code is %v", s, !want)
		}
	}
}
