package pemfile

import (
	"bytes"
	"encoding/pem"
	"strings"
	"testing"
)

func block(kind string, n int) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes.Repeat([]byte{0xa5}, n)}))
}

func TestWholeFilesGiveEveryBlock(t *testing.T) {
	two := block("CERTIFICATE", 100) + block("CERTIFICATE", 70)
	for name, file := range map[string]string{
		"plain":             two,
		"windows lines":     strings.ReplaceAll(two, "\n", "\r\n"),
		"byte order mark":   "\xef\xbb\xbf" + two,
		"comments":          "Subject: -----BEGIN of a story\n" + block("CERTIFICATE", 100) + "\nwhat is between\n" + block("CERTIFICATE", 70) + "the end",
		"no newline at end": strings.TrimSuffix(two, "\n"),
		"an empty block":    block("CERTIFICATE", 0) + block("CERTIFICATE", 7),
	} {
		got, err := Blocks([]byte(file), 2)
		if err != nil || len(got) != 2 {
			t.Errorf("%s: %d blocks, %v", name, len(got), err)
		}
	}
	if got, err := Blocks([]byte("no PEM here"), 2); err != nil || got != nil {
		t.Errorf("a file without PEM: %v, %v", got, err)
	}
}

func TestAFileThatIsCutAnywhereInABlockIsNotAShorterOne(t *testing.T) {
	first := block("CERTIFICATE", 100)
	whole := first + block("CERTIFICATE", 70)
	for n := len(first) + len(begin); n < len(whole)-1; n++ {
		if got, err := Blocks([]byte(whole[:n]), 9); err == nil {
			t.Fatalf("cut at %d of %d it is a file with %d blocks", n, len(whole), len(got))
		}
	}
}

func TestADamagedBlockIsNotPassedOver(t *testing.T) {
	a, b := block("CERTIFICATE", 100), block("CERTIFICATE", 70)
	for name, file := range map[string]string{
		"first damaged": strings.Replace(a, "paWl", "p!Wl", 1) + b,
		"last damaged":  a + strings.Replace(b, "paWl", "p!Wl", 1),
		"another end":   strings.Replace(a, "END CERTIFICATE", "END KEY", 1) + b,
		"no end":        a[:len(a)-len("-----END CERTIFICATE-----\n")] + b,
	} {
		if got, err := Blocks([]byte(file), 9); err == nil {
			t.Errorf("%s: a file with %d blocks", name, len(got))
		}
	}
}

func TestBlocksAreCounted(t *testing.T) {
	if _, err := Blocks([]byte(strings.Repeat(block("X", 3), 4)), 3); err == nil {
		t.Error("four blocks where three are taken")
	}
}
