// Package code holds the stable codes of what can go wrong, each with its words:
// a title, what it means, what mends it, and the alert that it puts on the wire.
// A code stands in every refusal, log line and problem document, and
// `mutual explain CODE` prints its page.
//
// The first two digits say where to look: M01 a certificate, M02 the peer broke
// the protocol, M03 no common ground, M04 policy, M05 the peer refused us, M06
// our own configuration, M07 the network, M08 the gateway, M09 the authority. A
// code that a release had is never reused, never given another meaning, and keeps
// its page.
package code
