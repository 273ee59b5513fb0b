// Package message is the handshake messages of TLS 1.3 and their extensions
// (RFC 8446, section 4): parsing, which is strict, and making.
//
// Every length must be exact, nothing may trail, nothing may be there twice, and
// a known extension may only stand where the table of section 4.2 allows it.
// Parsing copies nothing: what a struct holds lies in the message it was parsed
// from. What relates one message to another, an extension that was never
// offered, say, is the handshake's to judge.
package message
