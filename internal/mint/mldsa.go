package mint

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"

	"filippo.io/mldsa"
)

// The standard library makes no certificates with ML-DSA in them (RFC 9881). So a
// certificate is made with a P-256 key in the place of each such key, keys and
// algorithm are exchanged, and it is signed again.

var mldsaKinds = map[string]mldsa.Parameters{"mldsa44": mldsa.MLDSA44(), "mldsa65": mldsa.MLDSA65(), "mldsa87": mldsa.MLDSA87()}

func isMLDSA(key crypto.Signer) bool {
	_, ok := key.(*mldsa.PrivateKey)
	return ok
}

// signMLDSA makes a certificate where its key, or its issuer's, is of ML-DSA.
func (t *template) signMLDSA(issuer *x509.Certificate, key crypto.Signer) []byte {
	standIn := newKey("p256")
	subject, parent, signer := t.key, *issuer, key
	if isMLDSA(subject) {
		subject = standIn
	}
	if isMLDSA(signer) {
		signer, parent.PublicKey = standIn, standIn.Public()
	}
	made, err := x509.CreateCertificate(rand.Reader, &t.Certificate, &parent, subject.Public(), signer)
	if err != nil {
		panic(err)
	}
	var c certificate
	if _, err := asn1.Unmarshal(made, &c); err != nil {
		panic(err)
	}
	tbs, algorithm := c.TBS.FullBytes, c.Algorithm
	if own, ok := t.key.(*mldsa.PrivateKey); ok {
		before, err := x509.MarshalPKIXPublicKey(standIn.Public())
		if err != nil {
			panic(err)
		}
		public := own.PublicKey().Bytes()
		tbs = exchangeIn(tbs, before, marshal(struct {
			Algorithm asn1.RawValue
			Key       asn1.BitString
		}{mldsaAlgorithm(own), asn1.BitString{Bytes: public, BitLength: 8 * len(public)}}))
		t.pkcs8 = mldsaPKCS8(own)
	}
	if k, ok := key.(*mldsa.PrivateKey); ok {
		tbs = exchangeIn(tbs, algorithm.FullBytes, mldsaAlgorithm(k).FullBytes)
		algorithm = mldsaAlgorithm(k)
	}
	return resign(tbs, algorithm, key)
}

func mldsaAlgorithm(k *mldsa.PrivateKey) asn1.RawValue {
	last := map[mldsa.Parameters]int{mldsa.MLDSA44(): 17, mldsa.MLDSA65(): 18, mldsa.MLDSA87(): 19}[k.PublicKey().Parameters()]
	return asn1.RawValue{FullBytes: marshal(algorithm{OID: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, last}})}
}

// mldsaPKCS8 is the key by its seed (RFC 9881, section 6).
func mldsaPKCS8(k *mldsa.PrivateKey) []byte {
	seed := marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Bytes: k.Bytes()})
	return marshal(struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}{0, mldsaAlgorithm(k), seed})
}

func marshal(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
