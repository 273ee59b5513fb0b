package pki

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/text/unicode/norm"

	"github.com/mutual-tls/mutual/identity"
)

// directoryName is a Name in the form in which names are compared (RFC 5280,
// section 7.1): the order of the relative names stands, that of the attributes
// within one does not.
type directoryName [][]attribute

// attribute is a type, as the bytes of its OID, and a value: prepared text, or
// the bytes of a value that is no text, with its tag.
type attribute struct {
	oid, value string
	tag        der.Tag // 0 for text
}

// readDirectoryName reads a Name in DER.
func readDirectoryName(name string) (directoryName, bool) {
	in := cryptobyte.String(name)
	var rdns cryptobyte.String
	if !in.ReadASN1(&rdns, der.SEQUENCE) || !in.Empty() {
		return nil, false
	}
	var out directoryName
	for !rdns.Empty() {
		var set cryptobyte.String
		if !rdns.ReadASN1(&set, der.SET) || set.Empty() {
			return nil, false
		}
		var rdn []attribute
		for !set.Empty() {
			a, ok := readAttribute(&set)
			if !ok {
				return nil, false
			}
			rdn = append(rdn, a)
		}
		slices.SortFunc(rdn, func(a, b attribute) int {
			return cmp.Or(strings.Compare(a.oid, b.oid), strings.Compare(a.value, b.value), cmp.Compare(a.tag, b.tag))
		})
		out = append(out, rdn)
	}
	return out, true
}

func readAttribute(set *cryptobyte.String) (attribute, bool) {
	var pair, oid, value cryptobyte.String
	var tag der.Tag
	if !set.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
		!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
		return attribute{}, false
	}
	if text, ok := directoryString(tag, value); ok {
		return attribute{oid: string(oid), value: prepared(text)}, true
	}
	return attribute{oid: string(oid), value: string(value), tag: tag}, true
}

// directoryString is the text of a string type; false where the value is of
// another type, or is not what its type says.
func directoryString(tag der.Tag, value []byte) (string, bool) {
	const numericString, bmpString, universalString = der.Tag(18), der.Tag(30), der.Tag(28)
	switch tag {
	case der.UTF8String, der.PrintableString, der.IA5String, numericString:
		return string(value), utf8.Valid(value)
	case der.T61String: // in practice Latin-1
		runes := make([]rune, len(value))
		for i, b := range value {
			runes[i] = rune(b)
		}
		return string(runes), true
	case bmpString:
		if len(value)%2 != 0 {
			return "", false
		}
		units := make([]uint16, 0, len(value)/2)
		for i := 0; i < len(value); i += 2 {
			units = append(units, uint16(value[i])<<8|uint16(value[i+1]))
		}
		return string(utf16.Decode(units)), true
	case universalString:
		if len(value)%4 != 0 {
			return "", false
		}
		var b strings.Builder
		for i := 0; i < len(value); i += 4 {
			b.WriteRune(rune(value[i])<<24 | rune(value[i+1])<<16 | rune(value[i+2])<<8 | rune(value[i+3]))
		}
		return b.String(), true
	}
	return "", false
}

// prepared is a string as caseIgnoreMatch compares it (RFC 4518, section 2): what
// cannot be seen is dropped, compatible letters are one, case does not matter,
// and any run of spaces is one space.
func prepared(s string) string {
	plain, ascii := true, true
	for i := range len(s) {
		c := s[i]
		ascii = ascii && 0x20 <= c && c < 0x7f
		plain = plain && ascii && !('A' <= c && c <= 'Z' || c == ' ' && (i == 0 || i == len(s)-1 || s[i-1] == ' '))
	}
	switch {
	case plain:
		return s
	case ascii: // nearly every name there is
		out := make([]byte, 0, len(s))
		for i := range len(s) {
			c := s[i]
			switch {
			case c == ' ' && (len(out) == 0 || out[len(out)-1] == ' '):
				continue
			case 'A' <= c && c <= 'Z':
				c += 'a' - 'A'
			}
			out = append(out, c)
		}
		return string(bytes.TrimSuffix(out, []byte(" ")))
	}
	fold := func(s string) string {
		var b strings.Builder
		space := true // at the beginning none is kept
		for _, r := range s {
			switch {
			case unicode.IsSpace(r):
				if !space {
					b.WriteByte(' ')
				}
				space = true
				continue
			case unicode.In(r, unicode.Cc, unicode.Cf), 0xfe00 <= r && r <= 0xfe0f, r == 0x34f, r == 0xfffc:
				continue
			}
			space = false
			b.WriteRune(unicode.ToLower(unicode.ToUpper(r)))
		}
		return strings.TrimSuffix(b.String(), " ")
	}
	// Folding may take letters apart, and composing may make new ones to fold.
	return fold(norm.NFKC.String(fold(norm.NFKC.String(s))))
}

// maxCompared is how long a Name in DER may be to be compared by what it says;
// longer ones are compared by their bytes. Real ones have some 200 bytes, and a
// peer's names are read before anybody trusts them.
const maxCompared = 4096

// compared is a Name in DER in the form in which two are the same name (RFC 5280,
// section 7.1): case, spaces and the kind of string make no difference. What is
// no Name, or a long one, is the same as its very bytes and nothing else.
func compared(name []byte) string {
	d, ok := directoryName(nil), false
	if len(name) <= maxCompared {
		d, ok = readDirectoryName(string(name))
	}
	if !ok {
		return "=" + string(name)
	}
	b := make([]byte, 0, len(name)+len(name)/2)
	for _, rdn := range d {
		b = binary.AppendUvarint(append(b, '#'), uint64(len(rdn)))
		for _, a := range rdn {
			b = append(binary.AppendUvarint(b, uint64(len(a.oid))), a.oid...)
			b = append(binary.AppendUvarint(append(b, byte(a.tag)), uint64(len(a.value))), a.value...)
		}
	}
	return string(b)
}

// sameName says whether two Names in DER are the same name.
func sameName(a, b []byte) bool { return bytes.Equal(a, b) || compared(a) == compared(b) }

// within says whether d lies in the subtree below base: whether base's relative
// names are the first of d's.
func (d directoryName) within(base directoryName) bool {
	return len(d) >= len(base) && slices.EqualFunc(d[:len(base)], base, slices.Equal[[]attribute])
}

var attributeNames = map[string]string{
	"\x55\x04\x03": "CN", "\x55\x04\x06": "C", "\x55\x04\x07": "L", "\x55\x04\x08": "ST",
	"\x55\x04\x0a": "O", "\x55\x04\x0b": "OU", "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
}

// words tells the name for people, quoted, as it is compared.
func (d directoryName) words() string {
	var parts []string
	for _, rdn := range d[:min(len(d), 6)] {
		for _, a := range rdn[:min(len(rdn), 3)] {
			name, ok := attributeNames[a.oid]
			if !ok || a.tag != 0 {
				name, a.value = "an attribute", "..."
			}
			parts = append(parts, name+"="+a.value)
		}
	}
	if parts == nil {
		return "without parts"
	}
	return identity.Quote(strings.Join(parts, ", "))
}
