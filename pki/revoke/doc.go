// Package revoke holds what authorities say of revocations: lists in files, lists and
// OCSP responses fetched from the places that certificates name, all of it kept on
// disk. It needs no agent and no authority of ours, and it is the only part of pki
// that fetches.
//
// A [Checker] is a pki.RevocationSource: Verify asks it about paths that stand but for
// this, and it answers from memory. What it does not have it fetches by the side, so
// that no handshake waits, and fetches again before it ends. Judging stays with pki:
// whatever is here is held to its signature, its scope and its times each time.
//
// The places are chosen by whoever made a certificate, so they are asked only for
// certificates whose path to an anchor stands, with bounds on time, size, redirects and
// addresses.
package revoke
