// Package ca is the authority of a trust domain: it decides who is certified as
// what, records that, and signs. It knows no network; internal/ca/server brings
// the questions.
//
// Every certificate takes the same seven steps: (1) the request is checked, (2)
// the bytes to be signed are built, serial number included, (3) those bytes are
// judged, (4) they are recorded, together with all that they use up, (5) they are
// signed, (6) the certificate is recorded, (7) it is given away. Nothing leaves
// before (6), and what was recorded at (4) and not at (6) is signed again, byte
// for byte the same, at the next start. So whatever left can be revoked, whenever
// the power failed.
package ca
