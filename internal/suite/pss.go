package suite

import (
	"crypto"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// pssParameters are RSASSA-PSS-params (RFC 4055, section 3.1), as far as they
// differ: the hash of MGF1 is that of the message, and the trailer is 1.
type pssParameters struct {
	hash crypto.Hash
	salt int
}

const (
	oidMGF1   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08"
	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"
)

var errPSS = unsupported("the RSASSA-PSS parameters are not one SHA-2 hash for both message and MGF1, a salt no longer than it, and trailer 1")

// parsePSSParameters reads the parameters from an AlgorithmIdentifier. The
// defaults of RFC 4055 mean SHA-1, so hash and mask function must be there.
func parsePSSParameters(in *cryptobyte.String) (pssParameters, error) {
	var seq, field, mgf, oid cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) {
		return pssParameters{}, errPSS
	}
	tag := func(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

	if !seq.ReadASN1(&field, tag(0)) {
		return pssParameters{}, errPSS
	}
	hash := readHash(&field)
	if hash == 0 || !field.Empty() {
		return pssParameters{}, errPSS
	}
	if !seq.ReadASN1(&field, tag(1)) || !field.ReadASN1(&mgf, der.SEQUENCE) || !field.Empty() ||
		!mgf.ReadASN1(&oid, der.OBJECT_IDENTIFIER) || string(oid) != oidMGF1 ||
		readHash(&mgf) != hash || !mgf.Empty() {
		return pssParameters{}, errPSS
	}
	salt, trailer := 20, 1 // the defaults
	var present bool
	if !seq.ReadOptionalASN1(&field, &present, tag(2)) ||
		present && (!field.ReadASN1Integer(&salt) || !field.Empty()) {
		return pssParameters{}, errPSS
	}
	if !seq.ReadOptionalASN1(&field, &present, tag(3)) ||
		present && (!field.ReadASN1Integer(&trailer) || !field.Empty()) {
		return pssParameters{}, errPSS
	}
	if !seq.Empty() || trailer != 1 || salt < 0 || salt > hash.Size() {
		return pssParameters{}, errPSS
	}
	return pssParameters{hash: hash, salt: salt}, nil
}

// readHash reads the AlgorithmIdentifier of a SHA-2 hash, 0 if it is not one.
// Its parameters are NULL or absent (RFC 4055, section 2.1: both are accepted).
func readHash(in *cryptobyte.String) crypto.Hash {
	var seq, oid, null cryptobyte.String
	if !in.ReadASN1(&seq, der.SEQUENCE) || !seq.ReadASN1(&oid, der.OBJECT_IDENTIFIER) {
		return 0
	}
	if !seq.Empty() && (!seq.ReadASN1(&null, der.NULL) || !null.Empty() || !seq.Empty()) {
		return 0
	}
	switch string(oid) {
	case oidSHA256:
		return crypto.SHA256
	case oidSHA384:
		return crypto.SHA384
	case oidSHA512:
		return crypto.SHA512
	}
	return 0
}
