package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind is what kind of name a Name is.
type Kind uint8

// The kinds. The zero value is no name.
const (
	DNS Kind = iota + 1
	IP
	URI
)

// String is the kind in words.
func (k Kind) String() string {
	switch k {
	case DNS:
		return "DNS name"
	case IP:
		return "IP address"
	case URI:
		return "SPIFFE ID"
	}
	return "no name"
}

// Name is a name that can be asked for: a DNS name, an IP address or a SPIFFE
// ID. The zero value is none. It is comparable.
type Name struct {
	kind Kind
	text string
	addr netip.Addr
}

// Parse reads a name as a person or a URL writes it: a SPIFFE ID, an IP address
// (in brackets or not), or a DNS name. The error says what is wrong with it.
func Parse(s string) (Name, error) {
	if IsSPIFFE(s) {
		if err := checkSPIFFE(s); err != nil {
			return Name{}, fmt.Errorf("%s is not a SPIFFE ID: %w", Quote(s), err)
		}
		return Name{kind: URI, text: s}, nil
	}
	if strings.Contains(s, "://") {
		return Name{}, fmt.Errorf("%s is not a name: of URIs only SPIFFE IDs can be asked for; give the host alone", Quote(s))
	}
	if looksLikeIP(s) {
		a, err := parseIP(s)
		if err != nil {
			return Name{}, err
		}
		return Name{kind: IP, text: a.String(), addr: a}, nil
	}
	n, err := CleanDNS(s)
	if err != nil {
		return Name{}, err
	}
	return Name{kind: DNS, text: n}, nil
}

// looksLikeIP tells addresses from DNS names by their first bytes' alphabet,
// without the error that netip.ParseAddr would allocate for each DNS name. A
// DNS name has no colon, and its last label is not a number.
func looksLikeIP(s string) bool {
	if s == "" {
		return false
	}
	if strings.IndexByte(s, ':') >= 0 || s[0] == '[' {
		return true
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	for i := range len(last) {
		if last[i] < '0' || last[i] > '9' {
			return false
		}
	}
	return last != ""
}

var errZone = errors.New("a certificate can't name an address with a zone; ask for a DNS name instead")

func parseIP(s string) (netip.Addr, error) {
	t := s
	if strings.HasPrefix(t, "[") && strings.HasSuffix(t, "]") {
		t = t[1 : len(t)-1]
	}
	a, err := netip.ParseAddr(t)
	if err != nil {
		return a, fmt.Errorf("%s is not an IP address, nor a DNS name: give a host without a port", Quote(s))
	}
	if a.Zone() != "" {
		return a, fmt.Errorf("%s: %w", Quote(s), errZone)
	}
	return a.Unmap(), nil
}

// Kind is the name's kind.
func (n Name) Kind() Kind { return n.kind }

// String is the name in its clean form.
func (n Name) String() string { return n.text }

// Addr is the address of a name of the kind IP. An IPv4 address is never in its
// IPv6 form.
func (n Name) Addr() netip.Addr { return n.addr }

// IsZero says that there is no name.
func (n Name) IsZero() bool { return n.kind == 0 }

// MatchDNS says whether pattern, a DNS name as a certificate carries it, stands
// for n. It is MatchDNS for a name that was parsed already, and false for other
// kinds of names.
func (n Name) MatchDNS(pattern string) bool { return n.kind == DNS && matchDNS(pattern, n.text) }

// maxQuoted is how many bytes of a foreign string are shown.
const maxQuoted = 120

// Plain is a name as it is where it is a clean one, and quoted else: what a peer
// wrote must not speak to a terminal.
func Plain(name string) string {
	if n, err := Parse(name); err == nil && n.String() == name {
		return name
	}
	return Quote(name)
}

// Quote puts a string that somebody else wrote into a form that is safe for a
// terminal and a log: in quotes, escaped, and cut at 120 bytes.
func Quote(s string) string {
	if len(s) <= maxQuoted {
		return strconv.QuoteToASCII(s)
	}
	cut := maxQuoted
	for cut > maxQuoted-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.QuoteToASCII(s[:cut]) + fmt.Sprintf(" and %d more bytes", len(s)-cut)
}

// Printable is s as it is where it is printable ASCII of reasonable length, and
// quoted else: for sentences that somebody else wrote.
func Printable(s string) string {
	if len(s) > 2000 {
		return Quote(s)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return Quote(s)
		}
	}
	return s
}
