package mint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes below
	_ "crypto/sha512"
	"encoding/asn1"

	"filippo.io/mldsa"
)

// The standard library makes no id-RSASSA-PSS keys (RFC 4055, section 3.1). So a
// certificate is made with rsaEncryption, its algorithm is exchanged, and it is
// signed again.

type certificate struct {
	TBS       asn1.RawValue
	Algorithm asn1.RawValue
	Signature asn1.BitString
}

type algorithm struct {
	OID        asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// asPSS gives the certificate an id-RSASSA-PSS key and signs it with key, which
// signs as crypto/x509 chose to: with the hash that fits a curve, else SHA-256.
func asPSS(der []byte, key crypto.Signer) []byte {
	var c certificate
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		panic(err)
	}
	tbs := exchange(c.TBS.FullBytes, rsaEncryption, idRSASSAPSS)
	return resign(tbs, c.Algorithm, key)
}

// resign signs tbs with key, as crypto/x509 would.
func resign(tbs []byte, algorithm asn1.RawValue, key crypto.Signer) []byte {
	var sig []byte
	var err error
	hash := crypto.SHA256
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		switch k.Curve.Params().BitSize {
		case 384:
			hash = crypto.SHA384
		case 521:
			hash = crypto.SHA512
		}
	}
	h := hash.New()
	h.Write(tbs)
	digest := h.Sum(nil)
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		sig, err = ecdsa.SignASN1(rand.Reader, k, digest)
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, tbs)
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(nil, k, crypto.SHA256, digest)
	case *mldsa.PrivateKey:
		sig, err = k.Sign(nil, tbs, &mldsa.Options{})
	}
	if err != nil {
		panic(err)
	}
	out, err := asn1.Marshal(certificate{asn1.RawValue{FullBytes: tbs}, algorithm, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
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
