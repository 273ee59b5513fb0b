// Package ech is the cryptography of Encrypted Client Hello (RFC 9849): which
// config a client takes, the key that a hello is encrypted to, and the two ends of
// HPKE (RFC 9180), which are the standard library's. What the messages look like
// is internal/message's; when they are sent is internal/handshake's.
//
// HPKE draws its ephemeral keys from crypto/rand: the one thing in a handshake
// whose random source can't be given.
package ech
