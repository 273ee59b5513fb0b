// Package pki judges certificates: it builds paths from a leaf to a trust anchor
// through whatever certificates the peer showed, holds each to RFC 5280 and
// RFC 9525, and says why. It does no I/O, reads no clock, and does a bounded
// amount of work; what fetches stays outside.
//
// [Verify] answers a [Question] with a [Verdict]. A yes is cheap and carries the
// path; a no carries a stable code, the alert for the wire, and every path that
// was tried with every check on it. [Explain] tells the same of a yes.
//
// A path is validated by RFC 5280, section 6, whole: name constraints, policies
// (with RFC 9618's graph), path lengths. A [Profile] adds how strictly the form
// of certificates is judged. Revocation lists are judged where they are given;
// nothing is fetched. crypto/x509 is used to parse and for nothing else.
package pki
