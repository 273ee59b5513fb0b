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
	if b, ascii := appendFolded(nil, s); ascii { // nearly every name there is
		if string(b) == s {
			return s
		}
		return string(b)
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
	if len(name) <= maxCompared {
		if b, ok := appendCompared(make([]byte, 0, len(name)+16), name); ok {
			return string(b)
		}
	}
	return "\xff" + string(name)
}

// appendCompared writes for each relative name how many attributes it has, and
// these in a fixed order.
func appendCompared(b []byte, name []byte) ([]byte, bool) {
	in := cryptobyte.String(name)
	var rdns, set cryptobyte.String
	ok := in.ReadASN1(&rdns, der.SEQUENCE) && in.Empty()
	for ok && !rdns.Empty() {
		if !rdns.ReadASN1(&set, der.SET) {
			return nil, false
		}
		start := len(b)
		if b, ok = appendAttribute(append(b, 1), &set); !ok {
			return nil, false
		}
		if set.Empty() {
			continue
		}
		all := [][]byte{bytes.Clone(b[start+1:])}
		for !set.Empty() {
			one, ok := appendAttribute(nil, &set)
			if !ok {
				return nil, false
			}
			all = append(all, one)
		}
		slices.SortFunc(all, bytes.Compare)
		b = binary.AppendUvarint(b[:start], uint64(len(all)))
		b = append(b, bytes.Join(all, nil)...)
	}
	return b, ok
}

// appendAttribute writes the next attribute of set: its type, and its value as
// prepared text up to a zero, which no text holds, or else with its tag and length.
func appendAttribute(b []byte, set *cryptobyte.String) ([]byte, bool) {
	var pair, oid, value cryptobyte.String
	var tag der.Tag
	if !set.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1(&oid, der.OBJECT_IDENTIFIER) ||
		!pair.ReadAnyASN1(&value, &tag) || !pair.Empty() {
		return nil, false
	}
	b = append(binary.AppendUvarint(b, uint64(len(oid))), oid...)
	if tag == der.UTF8String || tag == der.PrintableString {
		if text, ascii := appendFolded(append(b, 0), value); ascii {
			return append(text, 0), true
		}
	}
	if text, ok := directoryString(tag, value); ok {
		return append(append(append(b, 0), prepared(text)...), 0), true
	}
	return append(binary.AppendUvarint(append(b, byte(tag)), uint64(len(value))), value...), true
}

// appendFolded is prepared for text of printable ASCII; false is other text.
func appendFolded[T string | cryptobyte.String](b []byte, s T) ([]byte, bool) {
	start := len(b)
	for i := range len(s) {
		c := s[i]
		switch {
		case c < 0x20 || c >= 0x7f:
			return b, false
		case c == ' ' && (len(b) == start || b[len(b)-1] == ' '):
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	if len(b) > start && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b, true
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
