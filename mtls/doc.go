// Package mtls is mutual TLS as a library: TLS 1.3 (RFC 8446, RFC 9846) by an
// engine of our own, in which both ends are proven before a byte of the
// application passes, and every refusal says why.
//
// A [Server] accepts connections and a [Client] makes them; each is checked
// whole when it is made, never changes, and may be used by any number of
// goroutines. An [Identity] is asked for its certificate at each handshake, so
// a renewal is a swap. A [Verifier] judges the other side: at the handshake and
// at every later look, through one door. A connection that you hold is a
// connection whose peer was judged: [Conn.Peer] answers only what was proven.
//
// What is refused is a [*Refusal]: whose fault, at which message, which check,
// what was expected and found, and what mends it. The peer gets the bare alert.
//
// Sessions are resumed where both ends ask for it ([ServerResumption],
// [ClientResumption]): bound to what the decision rested on, and judged again each
// time.
//
// This package does not use crypto/tls and is not a drop-in for it; for
// net/http see the package nethttp beside it.
package mtls
