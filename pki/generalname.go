package pki

import (
	"net/netip"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mutual-tls/mutual/identity"
)

// nameKind is a kind of GeneralName, by its tag (RFC 5280, section 4.2.1.6).
type nameKind uint8

const (
	nameOther      nameKind = 0
	nameEmail      nameKind = 1
	nameDNS        nameKind = 2
	nameDirectory  nameKind = 4
	nameURI        nameKind = 6
	nameIP         nameKind = 7
	nameRegistered nameKind = 8
)

var nameKinds = [...]string{"other name", "email address", "DNS name", "X.400 address", "directory name",
	"EDI party name", "URI", "IP address", "registered ID"}

func (k nameKind) String() string { return nameKinds[k] }

// generalName is one GeneralName as it is written: the contents of its tag. A
// directory name is the whole Name, a SEQUENCE.
type generalName struct {
	kind  nameKind
	bytes string
}

// readGeneralName reads one GeneralName, structure and tag only: whether what it
// holds is a name at all is asked where it matters.
func readGeneralName(in *cryptobyte.String) (generalName, bool) {
	var contents cryptobyte.String
	var tag der.Tag
	if !in.ReadAnyASN1(&contents, &tag) {
		return generalName{}, false
	}
	const class, constructed = 0x80, 0x20
	kind := nameKind(tag &^ (class | constructed))
	if tag&0xc0 != class || kind > nameRegistered {
		return generalName{}, false
	}
	switch kind {
	case nameEmail, nameDNS, nameURI, nameIP, nameRegistered:
		return generalName{kind, string(contents)}, tag&constructed == 0
	case nameDirectory:
		var name cryptobyte.String
		if !contents.ReadASN1Element(&name, der.SEQUENCE) || !contents.Empty() {
			return generalName{}, false
		}
		return generalName{kind, string(name)}, tag&constructed != 0
	}
	return generalName{kind, string(contents)}, tag&constructed != 0
}

// readGeneralNames reads GeneralNames, the value of a subject alternative name.
func readGeneralNames(value []byte) ([]generalName, bool) {
	in := cryptobyte.String(value)
	var names cryptobyte.String
	if !in.ReadASN1(&names, der.SEQUENCE) || !in.Empty() {
		return nil, false
	}
	var out []generalName
	for !names.Empty() {
		name, ok := readGeneralName(&names)
		if !ok {
			return nil, false
		}
		out = append(out, name)
	}
	return out, true
}

// words tells the name for people, quoted.
func (n generalName) words() string {
	switch n.kind {
	case nameIP:
		if a, ok := netip.AddrFromSlice([]byte(n.bytes)); ok {
			return n.kind.String() + " " + a.String()
		}
	case nameDNS, nameEmail, nameURI:
		return n.kind.String() + " " + identity.Quote(n.bytes)
	case nameDirectory:
		if d, ok := readDirectoryName(n.bytes); ok {
			return n.kind.String() + " " + d.words()
		}
	}
	return n.kind.String()
}

// smtpUTF8Mailbox is the other-name's OID 1.3.6.1.5.5.7.8.9 in DER: an email
// address, which the constraints of email addresses limit too (RFC 9598, section 6).
const smtpUTF8Mailbox = "\x06\x08\x2b\x06\x01\x05\x05\x07\x08\x09"

// splitEmail splits a mailbox into local part and host; false where it is none
// (RFC 5321, section 4.1.2, as far as a name can be compared: one "@" outside of
// quotes, a local part of atoms or one quoted string, a host that is a DNS name).
func splitEmail(s string) (local, host string, ok bool) {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at > 255 {
		return "", "", false
	}
	local, host = s[:at], s[at+1:]
	if !plainDNS(host) || !validLocalPart(local) {
		return "", "", false
	}
	return local, host, true
}

func validLocalPart(s string) bool {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		for i := 1; i < len(s)-1; i++ {
			switch s[i] {
			case '\\':
				i++
				if i == len(s)-1 {
					return false
				}
			case '"':
				return false
			}
			if s[i] < 0x20 || s[i] > 0x7e {
				return false
			}
		}
		return true
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0:
		case c == '.' && i > 0 && i < len(s)-1 && s[i-1] != '.':
		default:
			return false
		}
	}
	return s != ""
}

// plainDNS says that s is a DNS name as certificates and constraints write them:
// without a trailing dot, a wildcard, or an address's look.
func plainDNS(s string) bool {
	return s != "" && s[len(s)-1] != '.' && identity.ValidDNS(s)
}

// preferredDNS is plainDNS in RFC 1034's preferred syntax, which has no
// underscores (RFC 5280, section 4.2.1.6).
func preferredDNS(s string) bool { return plainDNS(s) && strings.IndexByte(s, '_') < 0 }

// uriHost is the host of a URI, lower case; false where there is no authority
// with a DNS name in it, and nothing that a host's constraint could be held
// against (RFC 5280, section 4.2.1.10).
func uriHost(s string) (string, bool) {
	scheme := strings.IndexByte(s, ':')
	if scheme < 1 || !strings.HasPrefix(s[scheme:], "://") || !validScheme(s[:scheme]) {
		return "", false
	}
	authority := s[scheme+3:]
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority = authority[:i]
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authority = authority[i+1:]
	}
	if i := strings.IndexByte(authority, ':'); i >= 0 {
		for _, c := range []byte(authority[i+1:]) {
			if c < '0' || c > '9' {
				return "", false
			}
		}
		authority = authority[:i]
	}
	authority = strings.TrimSuffix(authority, ".")
	return identity.Lower(authority), plainDNS(authority)
}

func validScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || c == '+' || c == '-' || c == '.')) {
			return false
		}
	}
	return s != ""
}
