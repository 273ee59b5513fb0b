package mint

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/asn1"

	"github.com/mutual-tls/mutual/internal/suite"
)

// The standard library makes no id-RSASSA-PSS keys (RFC 4055, section 3.1). So a
// certificate is made with rsaEncryption, its algorithm is exchanged, and it is
// signed again.

type algorithm struct {
	OID        asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// asPSS gives the certificate an id-RSASSA-PSS key and has key sign it again.
func asPSS(der []byte, key crypto.Signer) []byte {
	var c struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		panic(err)
	}
	out, err := suite.SignWhole(rand.Reader, key, exchange(c.TBS.FullBytes, rsaEncryption, idRSASSAPSS))
	if err != nil {
		panic(err)
	}
	return out
}

// exchange puts one algorithm identifier, without parameters of its own, in the
// place of another. What holds it is one SEQUENCE, whose members are copied.
func exchange(der []byte, from, to asn1.ObjectIdentifier) []byte {
	before, err := asn1.Marshal(algorithm{from, asn1.NullRawValue})
	if err != nil {
		panic(err)
	}
	after, err := asn1.Marshal(algorithm{OID: to})
	if err != nil {
		panic(err)
	}
	return exchangeIn(der, before, after)
}

func exchangeIn(der, before, after []byte) []byte {
	if bytes.Equal(der, before) {
		return after
	}
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(der, &v); err != nil {
		panic(err)
	}
	if !v.IsCompound || !bytes.Contains(v.Bytes, before) {
		return der
	}
	var content []byte
	for rest := v.Bytes; len(rest) > 0; {
		var member asn1.RawValue
		next, err := asn1.Unmarshal(rest, &member)
		if err != nil {
			panic(err)
		}
		content = append(content, exchangeIn(member.FullBytes, before, after)...)
		rest = next
	}
	out, err := asn1.Marshal(asn1.RawValue{Class: v.Class, Tag: v.Tag, IsCompound: true, Bytes: content})
	if err != nil {
		panic(err)
	}
	return out
}
