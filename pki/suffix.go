package pki

import (
	_ "embed"
	"strings"

	"github.com/mutual-tls/mutual/identity"
)

// suffixList is the Public Suffix List as suffixes_make.go writes it: sorted
// lines, so that a name is found in the text itself and nothing is built at start.
//
//go:embed suffixes.txt
var suffixList string

// suffixKind is what the list says of a name, "" for nothing.
func suffixKind(name string) string {
	text := suffixList
	for len(text) > 0 {
		// The line that holds the middle; text always begins with a line.
		at := strings.LastIndexByte(text[:len(text)/2], '\n') + 1
		end := at + strings.IndexByte(text[at:], '\n')
		line, kind, _ := strings.Cut(text[at:end], " ")
		// As lines with their space are sorted, so are names.
		switch strings.Compare(line+" ", name+" ") {
		case 0:
			return kind
		case -1:
			text = text[end+1:]
		default:
			text = text[:at]
		}
	}
	return ""
}

// publicSuffix says whether others than its owner are given names below name: by
// a registry, or by a company. A top-level domain that the list does not know
// ("internal") counts as a company's.
func publicSuffix(name string) (registry, company bool) {
	kind := suffixKind(name)
	if strings.Contains(kind, "e") {
		return false, false
	}
	_, parent, found := strings.Cut(name, ".")
	if !found && kind == "" {
		return false, true
	}
	if found {
		kind += strings.ToLower(strings.Trim(suffixKind(parent), "rpe"))
	}
	return strings.Contains(kind, "r"), strings.Contains(kind, "p")
}

// ofRegistry says whether a name is a wildcard for all that a registry gives out:
// "*.com". No authority of the Web may issue it, and browsers take none. Suffixes
// of companies ("*.s3.amazonaws.com") are issued in practice, so that only the
// letter of the Baseline Requirements refuses them (section 3.2.2.6).
func ofRegistry(name string, p Profile) bool {
	base, wildcard := strings.CutPrefix(name, "*.")
	if !wildcard || !onWeb.has(p) {
		return false
	}
	registry, company := publicSuffix(identity.Lower(base))
	return registry || company && p == WebPKI
}
