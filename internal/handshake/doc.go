// Package handshake is the handshake of TLS 1.3 (RFC 8446, section 4) as two
// pure state machines, Client and Server.
//
// Whole messages go in, at a level; events come out: bytes to send at a level,
// secrets for a direction, operations that somebody else must carry out, and
// the end. There is no socket, no clock, no goroutine and no global randomness
// here, and no record layer: TLS over a byte stream, DTLS and QUIC all drive
// the same machine.
//
// The states are functions, named as RFC 8446, appendix A names them. A message
// that a state has no branch for is unexpected_message, by construction.
package handshake
