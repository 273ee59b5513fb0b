package explain

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mutual-tls/mutual/internal/code"
)

// TestTheListOfCodesIsTrue holds docs/codes.md to the codes.
func TestTheListOfCodesIsTrue(t *testing.T) {
	const file = "../../docs/codes.md"
	var b strings.Builder
	b.WriteString("# Codes\n\nWhat every refusal, log line and problem document names. `mutual explain CODE` prints one of them. This list is made of\n" +
		"`internal/code`: `go test ./internal/explain -run ListOfCodes -update` writes it anew.\n")
	family := ""
	for _, e := range code.All() {
		for _, f := range families {
			if strings.HasPrefix(string(e.Code), f.prefix) && f.prefix != family {
				family = f.prefix
				fmt.Fprintf(&b, "\n## %s: %s\n", f.prefix, f.title)
			}
		}
		fmt.Fprintf(&b, "\n### %s %s\n\n%s\n\n**Mend:** %s\n", e.Code, e.Title, e.What, e.Mend)
		if e.Alert != 0 {
			verb := "sent"
			if family == "M05" {
				verb = "received"
			}
			fmt.Fprintf(&b, "\n**Alert %s:** `%s` (%d)\n", verb, e.Alert, e.Alert)
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make it with: go test ./internal/explain -run ListOfCodes -update", err)
	}
	if string(got) != b.String() {
		t.Error("docs/codes.md is not what internal/code says; write it anew with: go test ./internal/explain -run ListOfCodes -update")
	}
}
