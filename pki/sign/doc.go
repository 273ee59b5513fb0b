// Package sign makes certificates, requests for them and lists of revocations, as
// crypto/x509 does and by its templates, with ML-DSA (RFC 9881) among the keys.
//
// It is for whoever has an authority of their own and its key at hand: whatever is
// asked for is signed. The authority of `mutual ca`, which judges and records what
// it signs, is another thing.
package sign
