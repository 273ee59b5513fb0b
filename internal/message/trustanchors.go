package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Trust anchor identifiers (draft-ietf-tls-trust-anchor-ids-06): what an end trusts,
// and what the other's certificates stand under, in a few bytes each.

// TrustAnchorID names a trust anchor, or a group of such: a relative OID under
// 1.3.6.1.4.1 in its binary form, the contents of its DER (section 3 there).
type TrustAnchorID string

const (
	// MaxTrustAnchorID is the length of the longest, in bytes.
	MaxTrustAnchorID = 255
	// MaxTrustAnchors is the most of them in one list. The largest root programs
	// have some 150 anchors.
	MaxTrustAnchors = 1024
	// MaxTrustAnchorRanges is the most groups that one path is said to be in: each is
	// compared with all that a peer names.
	MaxTrustAnchorRanges = 64
)

// ParseTrustAnchorID reads one as it is written: numbers with dots between,
// "32473.1". A number has 64 bits at most.
func ParseTrustAnchorID(s string) (TrustAnchorID, error) {
	var b []byte
	for part := range strings.SplitSeq(s, ".") {
		v, err := strconv.ParseUint(part, 10, 64)
		if err != nil || part[0] == '+' || part[0] == '0' && len(part) > 1 {
			return "", fmt.Errorf("%.64q is no trust anchor identifier: that is numbers with dots between, like 32473.1", s)
		}
		b = appendComponent(b, v)
	}
	if len(b) > MaxTrustAnchorID {
		return "", fmt.Errorf("a trust anchor identifier of %d bytes; at most %d are allowed", len(b), MaxTrustAnchorID)
	}
	return TrustAnchorID(b), nil
}

// appendComponent appends a number in base 128, the most significant digit first,
// all but the last with the high bit (X.690, section 8.20.2).
func appendComponent(b []byte, v uint64) []byte {
	n := 1
	for rest := v >> 7; rest > 0; rest >>= 7 {
		n++
	}
	for i := n - 1; i > 0; i-- {
		b = append(b, byte(v>>(7*i))|0x80)
	}
	return append(b, byte(v)&0x7f)
}

// component takes the first number off b, which is not empty. It is false where
// that is cut off, has a zero in front, or more than 64 bits.
func component(b string) (v uint64, rest string, ok bool) {
	if b[0] == 0x80 {
		return 0, "", false
	}
	for i := range len(b) {
		if v >= 1<<57 {
			return 0, "", false
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, "", false
}

// Valid says whether it has a length that travels and is a relative OID. What a
// peer sends is compared and no more, so nobody asks that of it.
func (id TrustAnchorID) Valid() bool {
	rest, ok := string(id), len(id) > 0 && len(id) <= MaxTrustAnchorID
	for ok && rest != "" {
		_, rest, ok = component(rest)
	}
	return ok
}

// String is the identifier as it is written, "32473.1", and hexadecimal where it is
// none, or has a number beyond 64 bits.
func (id TrustAnchorID) String() string {
	if !id.Valid() {
		return fmt.Sprintf("%#x", string(id))
	}
	var out []byte
	for rest := string(id); rest != ""; {
		var v uint64
		if v, rest, _ = component(rest); len(out) > 0 {
			out = append(out, '.')
		}
		out = strconv.AppendUint(out, v, 10)
	}
	return string(out)
}

// TrustAnchorRange is a range of identifiers (section 3.1 of the draft): Base with
// one number more, from Min to Max.
type TrustAnchorRange struct {
	Base     TrustAnchorID
	Min, Max uint64
}

// Contains says whether id is in the range.
func (r TrustAnchorRange) Contains(id TrustAnchorID) bool {
	if r.Base == "" || r.Base[len(r.Base)-1]&0x80 != 0 {
		return false
	}
	last, ok := strings.CutPrefix(string(id), string(r.Base))
	if !ok || last == "" {
		return false
	}
	v, rest, ok := component(last)
	return ok && rest == "" && r.Min <= v && v <= r.Max
}

// trustAnchorList reads a list of identifiers; only who asks may send an empty one
// (section 4.1 of the draft). It is not nil.
func trustAnchorList(x *Extension, t Type) ([]TrustAnchorID, error) {
	r := reader{b: x.Body}
	list := reader{b: r.vec16()}
	if !r.ok() || list.empty() && t == TypeEncryptedExtensions {
		return nil, decodeError(t, "%s does not parse", x.Type)
	}
	whole, n := string(list.b), 0
	for ; !list.empty(); n++ {
		if len(list.vec8()) == 0 {
			return nil, decodeError(t, "an identifier in %s is empty or cut off", x.Type)
		}
		if n == MaxTrustAnchors {
			return nil, decodeError(t, "%s has more than %d identifiers", x.Type, MaxTrustAnchors)
		}
	}
	out := make([]TrustAnchorID, n)
	for i := range out {
		end := 1 + int(whole[0])
		out[i], whole = TrustAnchorID(whole[1:end]), whole[end:]
	}
	return out, nil
}

// trustAnchors writes a list, and nothing where it is nil.
func (w *writer) trustAnchors(ids []TrustAnchorID) {
	if ids == nil {
		return
	}
	at := w.ext(ExtTrustAnchors)
	list := w.open(2)
	for _, id := range ids {
		one := w.open(1)
		w.b = append(w.b, id...)
		w.close(one, 1, "a trust anchor identifier")
	}
	w.close(list, 2, "the list of trust anchors")
	w.done(at, ExtTrustAnchors)
}

// TrustAnchorMark reads the trust_anchors beside a certificate: it is there, and
// empty.
func (x *Extension) TrustAnchorMark() error { return empty(x, TypeCertificate) }

// CertificateProperties is a CertificatePropertyList (section 6 of the draft): what
// an authority says of a path beside what is in its certificates.
type CertificateProperties struct {
	// TrustAnchor is what the path ends at, "" where nothing is said.
	TrustAnchor TrustAnchorID
	// Groups are the groups that the anchor is in, as ranges of their identifiers.
	Groups []TrustAnchorRange
	// Negotiated has the path shown only to who named its anchor, or a group of it.
	Negotiated bool
}

// The types of properties (section 9.3 of the draft).
const (
	propertyTrustAnchor = iota
	propertyGroups
	propertyNegotiated
)

// Parse reads a list. Properties that are not known are passed over.
func (p *CertificateProperties) Parse(b []byte) error {
	bad := func(why string) error { return errors.New("the certificate's properties do not parse: " + why) }
	*p = CertificateProperties{}
	r := reader{b: b}
	list := reader{b: r.vec16()}
	if !r.ok() {
		return bad("they do not end where they end")
	}
	for before := -1; !list.empty(); {
		kind, data := int(list.u16()), reader{b: list.vec16()}
		switch {
		case list.bad:
			return bad("one of them is cut off")
		case kind <= before:
			return bad("they are not in order, or one is there twice")
		}
		before = kind
		switch kind {
		case propertyTrustAnchor:
			if p.TrustAnchor = TrustAnchorID(data.b); !p.TrustAnchor.Valid() {
				return bad("trust_anchor_id is no relative OID")
			}
		case propertyGroups:
			if !p.parseGroups(&data) {
				return bad("trust_anchor_group_inclusions does not parse")
			}
		case propertyNegotiated:
			if p.Negotiated = true; !data.empty() {
				return bad("trust_anchor_negotiation is not empty")
			}
		}
	}
	return nil
}

// parseGroups reads a TrustAnchorRangeList, which is not empty.
func (p *CertificateProperties) parseGroups(data *reader) bool {
	list := reader{b: data.vec16()}
	for !list.empty() {
		g := TrustAnchorRange{Base: TrustAnchorID(list.vec8())}
		limits := list.take(16)
		if limits == nil || g.Base == "" || len(p.Groups) == MaxTrustAnchorRanges {
			return false
		}
		g.Min, g.Max = binary.BigEndian.Uint64(limits), binary.BigEndian.Uint64(limits[8:])
		p.Groups = append(p.Groups, g)
	}
	return data.ok() && len(p.Groups) > 0
}

// Append appends the list to b.
func (p *CertificateProperties) Append(b []byte) ([]byte, error) {
	w := writer{b: b}
	all := w.open(2)
	if p.TrustAnchor != "" {
		w.u16(propertyTrustAnchor)
		w.vec16([]byte(p.TrustAnchor), "trust_anchor_id")
	}
	if len(p.Groups) > 0 {
		w.u16(propertyGroups)
		data := w.open(2)
		list := w.open(2)
		for _, g := range p.Groups {
			w.vec8([]byte(g.Base), "the base of a range")
			w.b = binary.BigEndian.AppendUint64(w.b, g.Min)
			w.b = binary.BigEndian.AppendUint64(w.b, g.Max)
		}
		w.close(list, 2, "the ranges of groups")
		w.close(data, 2, "the ranges of groups")
	}
	if p.Negotiated {
		w.u16(propertyNegotiated)
		w.u16(0)
	}
	w.close(all, 2, "the properties of a certificate")
	if w.err != nil {
		return b, w.err
	}
	return w.b, nil
}
