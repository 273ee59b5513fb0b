package identity

import (
	"errors"
	"fmt"
	"strings"
)

// MaxDNS is the longest DNS name in text (RFC 1035, section 2.3.4), and maxLabel
// the longest label.
const (
	MaxDNS   = 253
	maxLabel = 63
)

// MatchDNS says whether pattern, a DNS name as a certificate carries it, stands
// for name, a DNS name that was asked for. Case does not matter, nor does one
// trailing dot of name. The wildcard is a whole leftmost label, "*.", and stands
// for exactly one label (RFC 9525, section 6.3): "*.example.com" covers neither
// "example.com" nor "a.b.example.com", and "w*.example.com" covers nothing.
// What is no DNS name matches nothing.
func MatchDNS(pattern, name string) bool {
	name = strings.TrimSuffix(name, ".")
	return checkDNS(name) == nil && matchDNS(pattern, name)
}

// matchDNS is MatchDNS for a name that was checked. The pattern need not be: what
// equals a DNS name is one. So a certificate with thousands of names costs
// little more than comparing their lengths.
func matchDNS(pattern, name string) bool {
	if strings.HasPrefix(pattern, "*.") {
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			return false
		}
		pattern, name = pattern[1:], name[dot:]
	}
	return EqualFold(pattern, name)
}

// EqualFold compares two names in ASCII without regard to case. Unlike
// strings.EqualFold it folds no other letters: U+212A is not a "k".
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// Lower is s with its ASCII letters in lower case; s itself where it has none in
// upper case.
func Lower(s string) string {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

// CleanDNS is name in the form in which names are compared and kept: lower case,
// without a trailing dot. The error says why name is no DNS name, and what mends
// it. A wildcard is no name; see CleanPattern.
func CleanDNS(name string) (string, error) {
	n := strings.TrimSuffix(name, ".")
	if err := checkDNS(n); err != nil {
		return "", fmt.Errorf("%s is not a DNS name: %w", Quote(name), err)
	}
	return Lower(n), nil
}

// CleanPattern is CleanDNS that also takes a wildcard as the whole leftmost
// label: "*.example.com".
func CleanPattern(pattern string) (string, error) {
	p := strings.TrimSuffix(pattern, ".")
	if err := checkPattern(p); err != nil {
		return "", fmt.Errorf("%s is not a pattern of DNS names: %w", Quote(pattern), err)
	}
	return Lower(p), nil
}

var (
	errEmpty    = errors.New("it is empty")
	errLong     = fmt.Errorf("it is longer than %d bytes", MaxDNS)
	errLabel    = errors.New("a label is empty; labels are separated by single dots")
	errLabelLen = fmt.Errorf("a label is longer than %d bytes", maxLabel)
	errHyphen   = errors.New("a label begins or ends with a hyphen")
	errUnicode  = errors.New("it has letters outside ASCII; write it with A-labels (xn--…)")
	errByte     = errors.New("a label may hold letters, digits, hyphens and underscores only")
	errNumeric  = errors.New("its last label is a number, as in an IPv4 address")
	errStar     = errors.New("a wildcard has to be the whole leftmost label, with a name behind it: *.example.com")
)

func checkPattern(p string) error {
	rest, ok := strings.CutPrefix(p, "*.")
	if ok && len(p) > MaxDNS {
		return errLong
	}
	return checkDNS(rest)
}

// checkDNS holds name to what hosts are called in practice: RFC 1123 and
// underscores, which container networks put into names.
func checkDNS(name string) error {
	if name == "" {
		return errEmpty
	}
	if len(name) > MaxDNS {
		return errLong
	}
	start, numeric := 0, true
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			switch c := name[i]; {
			case '0' <= c && c <= '9':
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
				numeric = false
			case c == '*':
				return errStar
			case c >= 0x80:
				return errUnicode
			default:
				return errByte
			}
			continue
		}
		switch label := name[start:i]; {
		case label == "":
			return errLabel
		case len(label) > maxLabel:
			return errLabelLen
		case label[0] == '-' || label[len(label)-1] == '-':
			return errHyphen
		}
		if i < len(name) {
			start, numeric = i+1, true
		}
	}
	if numeric {
		return errNumeric
	}
	return nil
}

// ValidDNS is CleanDNS without the reasons: whether name is a DNS name. A
// wildcard is none.
func ValidDNS(name string) bool { return checkDNS(strings.TrimSuffix(name, ".")) == nil }
