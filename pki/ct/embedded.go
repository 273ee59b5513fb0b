package ct

import (
	"bytes"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// oidList is the extension with the timestamps in a certificate, 1.3.6.1.4.1.11129.2.4.2,
// as the contents of its OID (RFC 6962, section 3.3).
var oidList = []byte{0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02}

var (
	errCertificate = errors.New("the certificate is not well-formed DER")
	errEmbedded    = errors.New("the certificate's list of timestamps does not parse")
)

// Embedded are the timestamps that stand in a certificate, a DER one; none where it
// has no extension for them. It says nothing about what they are worth.
func Embedded(certificate []byte) ([][]byte, error) {
	_, list, err := split(certificate)
	return list, err
}

// split takes a certificate's timestamps out of it: what is left is what the logs
// have signed, the TBSCertificate without their extension (RFC 6962, section 3.2),
// every other byte as it was. It is nil where there are no timestamps.
func split(certificate []byte) (rest []byte, list [][]byte, err error) {
	in := cryptobyte.String(certificate)
	var whole, tbs, before, wrapped, extensions cryptobyte.String
	if !in.ReadASN1(&whole, der.SEQUENCE) || !in.Empty() || !whole.ReadASN1(&tbs, der.SEQUENCE) {
		return nil, nil, errCertificate
	}
	tag := der.Tag(3).ContextSpecific().Constructed()
	start := tbs
	for !tbs.Empty() && !tbs.PeekASN1Tag(tag) {
		var part cryptobyte.String
		var is der.Tag
		if !tbs.ReadAnyASN1Element(&part, &is) {
			return nil, nil, errCertificate
		}
	}
	before = start[:len(start)-len(tbs)]
	if tbs.Empty() {
		return nil, nil, nil
	}
	if !tbs.ReadASN1(&wrapped, tag) || !tbs.Empty() || !wrapped.ReadASN1(&extensions, der.SEQUENCE) || !wrapped.Empty() {
		return nil, nil, errCertificate
	}
	var kept []byte
	for !extensions.Empty() {
		var element, one, oid cryptobyte.String
		if !extensions.ReadASN1Element(&element, der.SEQUENCE) {
			return nil, nil, errCertificate
		}
		if one = element; !one.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
			return nil, nil, errCertificate
		}
		if !bytes.Equal(oid, oidList) {
			kept = append(kept, element...)
			continue
		}
		var value, octets cryptobyte.String
		if list != nil || !one.SkipOptionalASN1(der.BOOLEAN) || !one.ReadASN1(&value, der.OCTET_STRING) || !one.Empty() ||
			!value.ReadASN1(&octets, der.OCTET_STRING) || !value.Empty() {
			return nil, nil, errEmbedded
		}
		if list, err = ParseList(octets); err != nil {
			return nil, nil, errEmbedded
		}
	}
	if list == nil {
		return nil, nil, nil
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(certificate)))
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(before)
		if len(kept) == 0 {
			return // Extensions has at least one (RFC 5280, section 4.1)
		}
		b.AddASN1(tag, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(kept) })
		})
	})
	rest, err = b.Bytes()
	if err != nil {
		return nil, nil, errCertificate
	}
	return rest, list, nil
}
