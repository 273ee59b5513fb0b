// Package observe says what an observer of a handshake sees: every message,
// every step of the key schedule, every operation and every verdict, in the
// order in which they happen. It carries no secret: a key is told by its name
// in RFC 8446, section 7.1, and never by its bytes.
//
// An absent observer costs one comparison with nil. `explain`, metrics and
// tests learn what they know from here and from nowhere else.
package observe
