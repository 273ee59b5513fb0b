// Package wycheproof runs the Wycheproof test vectors over internal/suite: keys,
// points, signatures and ciphertexts made to find the mistakes that others made.
// It has tests only. The vectors that end in a decision which TLS makes for itself
// (a salt as long as the hash, no compressed points) expect that decision.
package wycheproof
