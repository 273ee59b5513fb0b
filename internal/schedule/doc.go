// Package schedule is the key schedule of TLS 1.3 (RFC 8446, section 7).
//
// Early, Handshake and Main are the three secrets of section 7.1 as types: each
// gives what may be derived from it, and the next one, which consumes it. So no
// caller can take a step out of order, and each secret is zeroed when its step
// is over. What a method returns belongs to the caller, who zeroes it.
//
// The prefix of the labels is given, because DTLS has its own. Derivations go
// over plain hash calls on stack buffers: nothing is allocated but the results.
package schedule
